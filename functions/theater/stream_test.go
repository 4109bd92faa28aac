package theater_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/env"
)

// watch reads a stream to its end, in virtual time, and returns the names of its events, with IDs; a pause is a comment.
func watch(t *testing.T, opts theater.Options, after string) []string {
	t.Helper()
	f, err := theater.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/theater/events", nil)
	r.Header.Set("Last-Event-ID", after)
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	var got []string
	for block := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
		name, id := "comment", ""
		for line := range strings.SplitSeq(block, "\n") {
			if v, ok := strings.CutPrefix(line, "event: "); ok {
				name = v
			}
			if v, ok := strings.CutPrefix(line, "id: "); ok {
				id = " " + v
			}
		}
		got = append(got, name+id)
	}
	return got
}

// happened are entries that come one after the other, one for each of the first looks.
func happened(looks *atomic.Int64, total int) func(string) ([]theater.Entry, error) {
	return func(after string) ([]theater.Entry, error) {
		looks.Add(1)
		from := 0
		// An unknown ID means all.
		_, _ = fmt.Sscanf(after, "e%d", &from)
		var out []theater.Entry
		for i := from; i < min(total, int(looks.Load())); i++ {
			out = append(out, theater.Entry{ID: fmt.Sprintf("e%d", i+1), Kind: theater.KindAlert})
		}
		return out, nil
	}
}

func TestStream(t *testing.T) {
	broken := errors.New("down")
	tests := map[string]struct {
		source func(*atomic.Int64) source
		after  string
		want   []string
	}{
		"what is new, as it happens, and nothing twice": {
			source: func(n *atomic.Int64) source { return source{entries: happened(n, 3)} },
			want:   []string{"entry e1", "state", "entry e2", "entry e3", "comment", "comment", "comment", "end"},
		},
		"it goes on after what was seen": {
			source: func(n *atomic.Int64) source { return source{entries: happened(n, 3)} }, after: "e2",
			want: []string{"state", "entry e3", "comment", "comment", "comment", "end"},
		},
		"the state only when it changes, and time is no change": {
			source: func(n *atomic.Int64) source {
				return source{state: func() (theater.State, error) {
					s := theater.State{At: time.Now()}
					if n.Add(1) > 5 {
						s.Speed = 2
					}
					return s, nil
				}}
			},
			want: []string{"state", "comment", "state", "comment", "comment", "end"},
		},
		"a source that is down for a while says so once, and that it is over": {
			source: func(n *atomic.Int64) source {
				return source{state: func() (theater.State, error) {
					if n.Add(1) < 4 {
						return theater.State{}, broken
					}
					return theater.State{}, nil
				}}
			},
			want: []string{"trouble", "state", "trouble", "comment", "comment", "end"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var looks atomic.Int64
				got := watch(t, theater.Options{Source: tt.source(&looks), Interval: 5 * time.Second, Watch: 59 * time.Second}, tt.after)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAStreamEndsWithItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		go func() {
			<-time.After(12 * time.Second)
			close(done)
		}()
		start := time.Now()
		got := watch(t, theater.Options{Source: source{}, Interval: time.Second, Done: done}, "")
		if diff := cmp.Diff([]string{"state", "end"}, got); diff != "" || time.Since(start) != 12*time.Second {
			t.Errorf("after %v (-want +got):\n%s", time.Since(start), diff)
		}
	})
}

func TestAStreamEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := theater.New(theater.Options{Source: source{}, Interval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-time.After(3 * time.Second)
			cancel()
		}()
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/theater/events", nil))
		if strings.Contains(w.Body.String(), "event: end") {
			t.Errorf("who left was told the end: %s", w.Body)
		}
	})
}

func TestOverrideEntries(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	monitor := control.Source{Kind: control.Monitor, Monitor: "Cost Anomaly Detection", Reason: "cost doubled"}
	overrides := []control.Override{
		{ID: "later", Action: control.Freeze, Start: at.Add(time.Hour), End: at.Add(2 * time.Hour)},
		{ID: "held", Action: control.SwitchModel, Scope: control.Scope{Function: "qa"}, Params: control.Params{Model: "economy", Percent: 20}, Start: at.Add(-time.Minute), End: at.Add(time.Hour), Source: monitor},
		{ID: "reverted", Action: control.EnableCache, Start: at.Add(-time.Hour), End: at.Add(time.Hour), Source: monitor,
			Ended: &control.Ending{At: at.Add(-30 * time.Minute), Cause: "reverted", Source: control.Source{Kind: control.Operator, Operator: "ann"}}},
		{ID: "over", Action: control.Limit, Start: at.Add(-2 * time.Hour), End: at.Add(-time.Hour), Source: control.Source{Reason: "a test"}},
	}
	var got []string
	for _, e := range theater.OverrideEntries(overrides, at) {
		got = append(got, fmt.Sprintf("%s %s %s | %s | %s", e.At.Format("15:04"), e.ID, e.Kind, e.Title, e.Why))
	}
	want := []string{
		"10:00 over#start override | Limits, everywhere | a test",
		"11:00 over#end expired | Ran out: Limits, everywhere | its time was over",
		"11:00 reverted#start override | Answer repeats from the cache, everywhere | Cost Anomaly Detection: cost doubled",
		"11:30 reverted#end revert | Ended: Answer repeats from the cache, everywhere | reverted: ann",
		"11:59 held#start override | Model economy for 20 %, for qa | Cost Anomaly Detection: cost doubled",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestDeployed(t *testing.T) {
	var reads atomic.Int64
	var insightsDown, remediationDown atomic.Bool
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reads.Add(1)
		if r.Header.Get("Authorization") != "Bearer the-secret" {
			t.Errorf("%s asked with %q", r.URL, r.Header.Get("Authorization"))
		}
		switch {
		case r.URL.Path == "/remediation" && !remediationDown.Load():
			fmt.Fprint(w, `{"in_force":[{"id":"a","action":"switch-model","params":{"model":"economy"},"start":"2026-11-24T00:00:00Z","end":"2096-11-24T00:00:00Z","source":{"kind":"monitor"}}],"history":[]}`)
		case r.URL.Path == "/insights" && !insightsDown.Load() && r.URL.Query().Get("only") == "health":
			fmt.Fprint(w, `{"health_score":91.5,"parts":{"cost":{"score":80,"weight":1,"inputs":{"ratio":1.4}}},"left_out":[],"window":"1h"}`)
		case r.URL.Path == "/insights" && !insightsDown.Load():
			fmt.Fprint(w, `{"health_score":91.5,"parts":{},"left_out":[],"window":"1h","cost":{"usd":1.25}}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(backend.Close)
	deployed := func() *theater.Deployed {
		return &theater.Deployed{InsightsURL: backend.URL + "/", RemediationURL: backend.URL, Secret: env.Secret("the-secret"), Fresh: time.Hour}
	}
	d := deployed()
	s, err := d.State(t.Context())
	if err != nil || s.Health == nil || *s.Health.Score != 91.5 || s.Cost == nil || s.Cost.USD != 1.25 || s.Cost.Window != "1h" || len(s.InForce) != 1 || len(s.Unavailable) != 0 {
		t.Errorf("state: got %+v, %v", s, err)
	}
	if entries, err := d.Entries(t.Context(), "nothing"); err != nil || len(entries) != 1 || entries[0].ID != "a#start" {
		t.Errorf("entries: got %+v, %v", entries, err)
	}
	if entries, err := d.Entries(t.Context(), "a#start"); err != nil || len(entries) != 0 {
		t.Errorf("entries after the last: got %+v, %v", entries, err)
	}
	if _, err := d.State(t.Context()); err != nil || reads.Load() != 3 {
		t.Errorf("reads: got %d, want 3, since nothing is old", reads.Load())
	}
	insightsDown.Store(true)
	s, err = deployed().State(t.Context())
	if diff := cmp.Diff([]string{"the health score", "the cost"}, s.Unavailable); err != nil || diff != "" || len(s.InForce) != 1 || s.Health != nil {
		t.Errorf("without insights: %v (-want +got):\n%s", err, diff)
	}
	remediationDown.Store(true)
	if _, err := deployed().State(t.Context()); err == nil || strings.Contains(err.Error(), "the-secret") {
		t.Errorf("without anything: got %v, want an error", err)
	}
	if _, err := deployed().Entries(t.Context(), ""); err == nil {
		t.Error("entries without remediation: want an error")
	}
}
