package local_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-reliability/control-plane/infra/local"
	"github.com/llm-reliability/control-plane/infra/local/ddfake"
)

// TestWhatIsEscalatedIsOnTheTimeline asks the stack's own function, which opens the incident and pages the team that the assets made.
func TestWhatIsEscalatedIsOnTheTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := local.InProcess(t.Context(), local.Options{StateDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("close: %v", err)
			}
		}()
		ask := func(path, more, want string) {
			t.Helper()
			body := `{"idempotency_key":"k","timestamp":"` + time.Now().Format(time.RFC3339) + `","source":{"kind":"operator","operator":"ann","cycle":"c"},` + more + `}`
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/escalation/"+path, strings.NewReader(body))
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
			answer, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(answer), want) {
				t.Fatalf("%s: %d %s, %v; want %s", path, resp.StatusCode, answer, err, want)
			}
		}
		ask("incident", `"title":"Provider down","severity":"SEV-1"`, `"result":"created"`)
		ask("page", `"title":"Provider down","policy":"critical-errors"`, `"urgency":"high"`)
		for _, path := range []string{"incident", "page"} {
			ask(path, `"transition":"recovery"`, `"state":"resolved"`)
		}
		var got []string
		for _, e := range s.Datadog.Timeline() {
			switch e.Kind {
			case ddfake.KindIncident, ddfake.KindIncidentUpdate, ddfake.KindPage, ddfake.KindPageResolved:
				got = append(got, e.Kind+": "+e.Text)
			}
		}
		want := []string{
			"incident: Provider down (SEV-1)", "page: Provider down, urgency high, for llm-platform", "incident_update: Provider down: resolved", "page_resolved: Provider down",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("timeline:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
