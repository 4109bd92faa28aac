package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/infra/local"
	"github.com/llm-reliability/control-plane/infra/local/demo"
)

// virtual runs f on a stack in virtual time.
func virtual(t *testing.T, f func(t *testing.T, s *local.Stack)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		// A bubble begins in the year 2000, before there were prices.
		<-time.After(time.Until(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)))
		s, err := local.InProcess(t.Context(), local.Options{StateDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		f(t, s)
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

func request(t *testing.T, s *local.Stack, method, path, body string, out any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.ControlSecret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(data, out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
	return resp.StatusCode
}

func play(t *testing.T, s *local.Stack, scenario, key string) (theater.Performance, int) {
	t.Helper()
	var p theater.Performance
	status := request(t, s, http.MethodPost, "/theater/scenarios/"+scenario,
		fmt.Sprintf(`{"idempotency_key":%q,"timestamp":%q}`, key, time.Now().Format(time.RFC3339)), &p)
	return p, status
}

func look(t *testing.T, s *local.Stack) theater.State {
	t.Helper()
	var state theater.State
	if status := request(t, s, http.MethodGet, "/theater/state", "", &state); status != http.StatusOK {
		t.Fatalf("state: %d", status)
	}
	return state
}

// TestTheStagePlaysOneAfterTheOther plays two scenarios that were asked for at once, and looks at what the page would show.
func TestTheStagePlaysOneAfterTheOther(t *testing.T) {
	virtual(t, func(t *testing.T, s *local.Stack) {
		first, status := play(t, s, "quality", "k1")
		if status != http.StatusAccepted {
			t.Fatalf("play: %d", status)
		}
		synctest.Wait() // now it plays
		if again, status := play(t, s, "quality", "k1"); status != http.StatusAccepted || again.ID != first.ID || !again.Asked.Equal(first.Asked) {
			t.Errorf("the same key: got %d %+v, want the same performance", status, again)
		}
		if _, status := play(t, s, "cost", "k1"); status != http.StatusConflict {
			t.Errorf("the key of another: got %d, want 409", status)
		}
		if _, status := play(t, s, "flood", "k2"); status != http.StatusNotFound {
			t.Errorf("an unknown scenario: got %d, want 404", status)
		}
		if second, status := play(t, s, "injection", "k2"); status != http.StatusAccepted || second.State != theater.Queued {
			t.Errorf("the second: got %d %+v, want it queued", status, second)
		}
		for i := range 6 {
			want := http.StatusAccepted
			if i >= 4 { // with the second, five wait
				want = http.StatusTooManyRequests
			}
			if _, status := play(t, s, "errors", fmt.Sprint("more", i)); status != want {
				t.Errorf("one more: got %d, want %d", status, want)
			}
		}
		over := func(key string) theater.Performance {
			for range 3 * 60 {
				for _, p := range look(t, s).Performances {
					if p.ID == key && (p.State == theater.Done || p.State == theater.Failed) {
						return p
					}
				}
				<-time.After(time.Minute)
			}
			t.Fatalf("%s is not over", key)
			return theater.Performance{}
		}
		names := func(p theater.Performance) (out []string) {
			for _, phase := range p.Phases {
				out = append(out, phase.Name)
			}
			return out
		}
		p := over("k1")
		if diff := cmp.Diff([]string{"clicked", "traffic", "fault", "alert", "workflow", "override", "cleared", "recovered", "reverted"}, names(p)); p.State != theater.Done || diff != "" {
			t.Errorf("quality: %s %s, phases (-want +got):\n%s", p.State, p.Failure, diff)
		}
		state := look(t, s)
		if state.Health == nil || state.Health.Score == nil || state.Cost == nil || state.Cost.USD <= 0 || len(state.History) != 1 || len(state.InForce) != 0 || len(state.Unavailable) != 0 {
			t.Errorf("state after quality: %+v", state)
		}
		quality := state.Charts[slices.IndexFunc(state.Charts, func(c theater.Chart) bool { return c.Key == "quality" })]
		if len(quality.At) != 60 || len(quality.Series[0].Values) != 60 || len(quality.Thresholds) != 2 || quality.Thresholds[0].Value != 0.7 {
			t.Errorf("the chart of quality: %+v", quality)
		}
		if p := over("k2"); p.State != theater.Done || slices.Contains(names(p), "workflow") || !slices.Contains(names(p), "override") {
			t.Errorf("injection: %s %s, phases %v", p.State, p.Failure, names(p))
		}
	})
}

// TestTheTableOfRoutesNamesWhatIsPlayed holds the table against the stage.
func TestTheTableOfRoutesNamesWhatIsPlayed(t *testing.T) {
	var listed []string
	for _, r := range routes.All() {
		if name, ok := strings.CutPrefix(r.Path, "/theater/scenarios/"); ok {
			listed = append(listed, name)
		}
	}
	want := demo.Names()
	slices.Sort(want)
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("scenarios (-played +listed):\n%s", diff)
	}
}

// events reads the first entries of a stream, until one of a kind.
func events(t *testing.T, s *local.Stack, after, until string) (ids, kinds []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/theater/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.ControlSecret)
	req.Header.Set("Last-Event-ID", after)
	resp, err := s.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var buffer []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(chunk)
		buffer = append(buffer, chunk[:n]...)
		for {
			block, rest, whole := strings.Cut(string(buffer), "\n\n")
			if !whole {
				break
			}
			buffer = []byte(rest)
			if strings.HasPrefix(block, "event: state") && until == "state" {
				return ids, kinds
			}
			id, data, found := strings.Cut(strings.TrimPrefix(block, "event: entry\nid: "), "\ndata: ")
			if !strings.HasPrefix(block, "event: entry\n") || !found {
				continue
			}
			var e theater.Entry
			if err := json.Unmarshal([]byte(data), &e); err != nil || e.ID != id {
				t.Fatalf("entry %s: %v", block, err)
			}
			ids, kinds = append(ids, id), append(kinds, e.Kind)
			if e.Kind == until {
				return ids, kinds
			}
		}
		if err != nil {
			t.Fatalf("the stream ended before there was a %s: %v after %v", until, err, kinds)
		}
	}
}

// TestAStreamGoesOnWhereItBroke plays a scenario over sockets, and leaves in the middle.
func TestAStreamGoesOnWhereItBroke(t *testing.T) {
	s, err := local.Start(t.Context(), local.Options{Listen: "127.0.0.1:0", DatadogListen: "127.0.0.1:0", StateDir: t.TempDir(), Speed: 200})
	if err != nil {
		t.Fatal(err)
	}
	if _, status := play(t, s, "errors", "k1"); status != http.StatusAccepted {
		t.Fatalf("play: %d", status)
	}
	ids, kinds := events(t, s, "", theater.KindAlert)
	if want := []string{theater.KindScenario, theater.KindFault}; !slices.Equal(want, kinds[:2]) {
		t.Errorf("it begins with %v, want %v", kinds, want)
	}
	more, later := events(t, s, ids[len(ids)-1], theater.KindResolved)
	for _, id := range more {
		if slices.Contains(ids, id) {
			t.Errorf("%s came twice", id)
		}
	}
	for _, kind := range []string{theater.KindWorkflow, theater.KindStep, theater.KindIncident, theater.KindPage, theater.KindCleared, theater.KindRecovery} {
		if !slices.Contains(later, kind) {
			t.Errorf("nothing of the kind %s in %v", kind, later)
		}
	}
	if again, _ := events(t, s, "another-boot.17", "state"); len(again) < len(ids)+len(more) {
		t.Errorf("who comes from another process gets %d entries, want all %d", len(again), len(ids)+len(more))
	}
	// Somebody watches when it ends: that must not take longer.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/theater/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.ControlSecret)
	resp, err := s.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(string(rest), "event: end\ndata: {}\n\n") {
		t.Errorf("the stream of a stack that ends: %v, want an end", err)
	}
}
