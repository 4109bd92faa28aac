// Package escalation_test runs the function escalation against the stand-in for Datadog's API, on virtual time: what one event leaves at
// Datadog, whatever fails on the way.
package escalation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/escalation"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
)

func TestAnIncidentFromAlertToRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		begin := time.Now()
		got := w.ask(h, incidentPath, incident(nil), http.StatusOK)
		if got.Result != escalation.Created || got.Event != "7:qa:1" || got.Incident.URL != "https://app.datadoghq.com/incidents/1" || got.Incident.State != "active" {
			t.Fatalf("alert: got %+v, %+v", got, got.Incident)
		}
		there := w.objects("incident")[0]
		want := map[string]string{
			"severity": "SEV-2", "state": "active", "detection_method": "monitor", "services": "[llm-reliability-control-plane]", "teams": "[llm-platform]",
		}
		for name, value := range want {
			if there.field(name) != value {
				t.Errorf("field %s: got %q, want %q", name, there.field(name), value)
			}
		}
		if !there.Customer || there.Scope != "answers fail" || there.Start != begin.Add(-2*time.Minute).UTC().Format(time.RFC3339) || there.Detected != begin.Add(-3*time.Minute).UTC().Format(time.RFC3339) || there.End != "" {
			t.Errorf("impact: got %+v", there)
		}
		for _, part := range []string{
			"More than 5 % of the requests failed.", "Monitor: Error Burst", "Impact: answers fail", "[Dashboard](https://app.datadoghq.com/dashboard/lists)",
			"[What to (do)](https://example.com/error-burst.md)", "* 2000-01-01 00:00:00 UTC: the provider was asked", "* " + begin.Add(-3*time.Minute).UTC().Format("2006-01-02 15:04:05 UTC") + ": it began.",
		} {
			if part = strings.Replace(part, "2000-01-01 00:00:00 UTC", begin.Add(-time.Minute).UTC().Format("2006-01-02 15:04:05 UTC"), 1); !strings.Contains(there.cells(), part) {
				t.Errorf("the timeline lacks %q:\n%s", part, there.cells())
			}
		}
		var links []string
		for _, a := range w.objects("incident-attachment") {
			links = append(links, a.Attachment.Title)
		}
		slices.Sort(links)
		if diff := cmp.Diff([]string{"Dashboard", "Logs", "Notebook", "Traces", "What to [do]"}, links); diff != "" {
			t.Errorf("links (-want +got):\n%s", diff)
		}

		// Asked for again, with the same key and with another: the same incident, and not a request to change it.
		sent := w.sent
		for _, edit := range []map[string]any{nil, {"idempotency_key": "other", "title": "Other", "severity": "SEV-1"}} {
			if again := w.ask(h, incidentPath, incident(edit), http.StatusOK); again.Result != escalation.Known || *again.Incident != *got.Incident {
				t.Errorf("again: got %+v, %+v", again, again.Incident)
			}
		}
		if w.sent != sent {
			t.Errorf("repeated calls sent %d requests", w.sent-sent)
		}

		for _, step := range []struct{ transition, told, state string }{{"stable", "The quota was raised.", "stable"}, {"recovery", "The monitor recovered.", "resolved"}} {
			time.Sleep(time.Minute)
			for _, want := range []escalation.Result{escalation.Updated, escalation.Known} {
				r := w.ask(h, incidentPath, after(step.transition, step.told, nil), http.StatusOK)
				if r.Result != want || r.Incident.State != step.state || r.Incident.ID != got.Incident.ID {
					t.Errorf("%s: got %+v, %+v, want %s", step.transition, r, r.Incident, want)
				}
			}
		}
		there = w.objects("incident")[0]
		summary := there.field("summary")
		if there.field("state") != "resolved" || there.End != time.Now().UTC().Format(time.RFC3339) || !strings.Contains(summary, "Stable. The quota was raised.") || !strings.Contains(summary, "Resolved. The monitor recovered.") {
			t.Errorf("recovered: got %+v", there)
		}
		// What comes late opens nothing again.
		if r := w.ask(h, incidentPath, incident(nil), http.StatusOK); r.Result != escalation.Known || r.Incident.State != "resolved" {
			t.Errorf("a late alert: got %+v, %+v", r, r.Incident)
		}
		if r := w.ask(h, incidentPath, after("stable", "", nil), http.StatusOK); r.Result != escalation.Known || r.Incident.State != "resolved" {
			t.Errorf("a late stable: got %+v, %+v", r, r.Incident)
		}
		if n := len(w.objects("incident")); n != 1 || len(w.objects("incident-attachment")) != 5 {
			t.Errorf("%d incidents with %d links", n, len(w.objects("incident-attachment")))
		}
		if got := w.count("llm.escalation.sent", "action:incident"); got != 3 || w.count("llm.escalation.sent", "reason:resolved", "function:escalation") != 1 {
			t.Errorf("sent: got %v, want 3", got)
		}
		w.quiet()
	})
}

func TestAPageFromAlertToRecovery(t *testing.T) {
	for policy, urgency := range map[string]string{"critical-errors": "high", "cost-alerts": "low", "quality-degradation": "low"} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.instance()
				got := w.ask(h, pagePath, page(map[string]any{"policy": policy}), http.StatusOK)
				if got.Result != escalation.Created || got.Page.Urgency != urgency || got.Page.State != "triggered" || got.Incident != nil {
					t.Fatalf("alert: got %+v, %+v", got, got.Page)
				}
				if again := w.ask(h, pagePath, page(nil), http.StatusOK); again.Result != escalation.Known || *again.Page != *got.Page {
					t.Errorf("again: got %+v, %+v", again, again.Page)
				}
				there := w.objects("page")[0]
				want := []string{"service:llm-reliability-control-plane", "team:llm-platform", "route:" + policy}
				if diff := cmp.Diff(want, there.Tags); diff != "" || there.Urgency != urgency || there.Target.Type != "team_handle" || there.Target.Identifier != "llm-platform" {
					t.Errorf("page %+v, tags (-want +got):\n%s", there, diff)
				}
				if !strings.Contains(there.Description, "Playbook: https://example.com/error-burst.md") || strings.Contains(there.Description, "again") {
					t.Errorf("description: %s", there.Description)
				}
				for _, step := range [][2]string{{"acknowledge", "acknowledged"}, {"recovery", "resolved"}} {
					if r := w.ask(h, pagePath, after(step[0], "", nil), http.StatusOK); r.Result != escalation.Updated || r.Page.State != step[1] {
						t.Errorf("%s: got %+v, %+v", step[0], r, r.Page)
					}
				}
				if pages := w.objects("page"); len(pages) != 1 || pages[0].Status != "resolved" {
					t.Errorf("pages: %+v", pages)
				}
			})
		})
	}
}

func TestARecoveryOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, path := range []string{incidentPath, pagePath} {
			if r := w.ask(w.instance(), path, after("recovery", "", nil), http.StatusOK); r.Result != escalation.NothingOpen {
				t.Errorf("%s: got %+v", path, r)
			}
		}
		if w.store.Records() != 0 || w.sent != 0 {
			t.Errorf("%d records, %d requests", w.store.Records(), w.sent)
		}
	})
}

// TestManyCallersAtOnce has several instances asked for the same thing: one makes it, and all answer with it.
func TestManyCallersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.delay = 300 * time.Millisecond
		instances := []http.Handler{w.instance(), w.instance(), w.instance()}
		const callers = 30
		var wg sync.WaitGroup
		results, ids := make([]escalation.Result, callers), make([]string, callers)
		for i := range callers {
			wg.Go(func() {
				body := incident(map[string]any{"idempotency_key": fmt.Sprint("key-", i)})
				r := w.ask(instances[i%3], incidentPath, body, http.StatusOK)
				results[i], ids[i] = r.Result, r.Incident.ID
			})
		}
		wg.Wait()
		made := 0
		for i, r := range results {
			if r == escalation.Created {
				made++
			} else if r != escalation.Known {
				t.Errorf("caller %d: %s", i, r)
			}
			if ids[i] != ids[0] {
				t.Errorf("caller %d has another incident", i)
			}
		}
		if n := len(w.objects("incident")); made != 1 || n != 1 || len(w.objects("incident-attachment")) != 5 {
			t.Errorf("%d callers made %d incidents", made, n)
		}
	})
}

// TestARecoveryWhileTheAlertIsUnderWay reaches one instance when another is still opening the incident.
func TestARecoveryWhileTheAlertIsUnderWay(t *testing.T) {
	for name, tt := range map[string]struct {
		path, kind, state string
		alert             func(map[string]any) string
	}{
		"incident": {incidentPath, "incident", "resolved", incident},
		"page":     {pagePath, "page", "resolved", page},
	} {
		for _, wait := range []time.Duration{0, 100 * time.Millisecond, 450 * time.Millisecond, 900 * time.Millisecond, 2 * time.Second} {
			t.Run(fmt.Sprint(name, wait), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.delay = 200 * time.Millisecond
					one, other := w.instance(), w.instance()
					var wg sync.WaitGroup
					wg.Go(func() { w.ask(one, tt.path, tt.alert(nil), http.StatusOK) })
					time.Sleep(wait + time.Millisecond)
					r := w.ask(other, tt.path, after("recovery", "over", nil), http.StatusOK)
					wg.Wait()
					there := w.objects(tt.kind)
					if len(there) != 1 || r.Result != escalation.Updated {
						t.Fatalf("got %+v and %d objects", r, len(there))
					}
					if state := there[0].Status + strings.Trim(there[0].field("state"), "<nil>"); state != tt.state {
						t.Errorf("at Datadog: %s, want %s", state, tt.state)
					}
				})
			})
		}
	}
}

// TestDatadogDown is down for half an hour: callers are told, and all is sent once when it is back.
func TestDatadogDown(t *testing.T) {
	for name, tt := range map[string]struct {
		fault  api.Fault
		delay  time.Duration
		reason string
	}{
		"it fails":                 {fault: api.Fault{Status: 500}, reason: "unavailable"},
		"it hangs up":              {fault: api.Fault{Match: func(*http.Request) bool { return true }}, reason: "unavailable"},
		"it limits":                {fault: api.Fault{Status: 429, Header: map[string]string{"X-RateLimit-Reset": "60"}}, reason: "rate_limited"},
		"it does not answer":       {delay: time.Hour, reason: "timeout"},
		"the key has no rights":    {fault: api.Fault{Status: 403}, reason: "forbidden"},
		"it does it, and fails":    {fault: api.Fault{Status: 500, After: true, Match: posts(incidentsPath)}, reason: "unavailable"},
		"it does it, and hangs up": {fault: api.Fault{After: true, Match: posts(incidentsPath)}, reason: "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.instance()
				w.delay = tt.delay
				w.api.SetFault(tt.fault)
				begin := time.Now()
				r := w.ask(h, incidentPath, incident(nil), http.StatusAccepted)
				if took := time.Since(begin); took > 15*time.Second {
					t.Errorf("the caller waited %s", took)
				}
				if r.Result != escalation.Queued || r.Queue == nil || r.Queue.Reason != tt.reason || r.Queue.Attempts != 1 || !r.Queue.NextAttempt.After(time.Now()) || r.Incident != nil {
					t.Fatalf("got %+v, %+v", r, r.Queue)
				}
				if tt.delay == 0 && tt.fault.Match == nil {
					w.ask(h, pagePath, page(nil), http.StatusAccepted)
				}
				// It recovers meanwhile, which is queued as well, unless only what opens incidents fails: then it is found.
				time.Sleep(time.Minute)
				want := http.StatusAccepted
				if tt.fault.After {
					want = http.StatusOK
				}
				w.ask(h, incidentPath, after("recovery", "over", nil), want)
				for range 30 { // the schedule
					time.Sleep(time.Minute)
					if code, text := call(h, queuePath, ""); code != http.StatusOK {
						t.Fatalf("queue: %d %s", code, text)
					}
				}
				w.delay = 0
				w.api.SetFault(api.Fault{})
				time.Sleep(time.Hour)
				code, text := call(h, queuePath, "")
				if code != http.StatusOK || strings.Contains(text, `"done":0`) != tt.fault.After {
					t.Errorf("queue when Datadog is back: %d %s", code, text)
				}
				there := w.objects("incident")
				if len(there) != 1 || there[0].field("state") != "resolved" || len(w.objects("incident-attachment")) != 5 {
					t.Errorf("at Datadog: %d incidents, %d links: %+v", len(there), len(w.objects("incident-attachment")), there)
				}
				if tt.delay == 0 && tt.fault.Match == nil && len(w.objects("page")) != 1 {
					t.Errorf("%d pages", len(w.objects("page")))
				}
				if _, text := call(h, queuePath, ""); text != `{"done":0,"waiting":0,"given_up":0}`+"\n" {
					t.Errorf("the queue is not empty: %s", text)
				}
				if w.count("llm.escalation.queued", "reason:"+tt.reason) == 0 || w.count("llm.escalation.failed") != 0 {
					t.Errorf("queued %v, failed %v", w.count("llm.escalation.queued"), w.count("llm.escalation.failed"))
				}
				w.quiet()
			})
		})
	}
}

const incidentsPath = "/api/v2/incidents"

func posts(path string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == path }
}

// TestTheNextCallTakesAlong has no schedule: a call about something else sends what waits.
func TestTheNextCallTakesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		w.api.SetFault(api.Fault{Status: 503})
		w.ask(h, incidentPath, incident(nil), http.StatusAccepted)
		w.ask(h, pagePath, page(cycle("other")), http.StatusAccepted)
		w.api.SetFault(api.Fault{})
		time.Sleep(time.Minute)
		w.ask(h, pagePath, page(nil), http.StatusOK)
		if i, p := len(w.objects("incident")), len(w.objects("page")); i != 1 || p != 2 {
			t.Errorf("%d incidents, %d pages, want 1 and 2", i, p)
		}
	})
}

func TestAPageThatWasOvertakenWakesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		w.api.SetFault(api.Fault{Status: 429, Header: map[string]string{"X-RateLimit-Reset": "60"}})
		w.ask(h, pagePath, page(nil), http.StatusAccepted)
		w.api.SetFault(api.Fault{})
		time.Sleep(time.Minute)
		if r := w.ask(h, pagePath, after("recovery", "", nil), http.StatusOK); r.Result != escalation.Overtaken || r.Page != nil {
			t.Errorf("got %+v", r)
		}
		time.Sleep(time.Hour)
		call(h, queuePath, "")
		if n := len(w.objects("page")); n != 0 {
			t.Errorf("%d pages", n)
		}
	})
}

// TestAPageWhoseAnswerIsLost may have been sent: nobody can tell, so that it is sent again, and says so.
func TestAPageWhoseAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		w.api.SetFault(api.Fault{Status: 502, After: true, Times: 1, Match: posts("/api/v2/on-call/pages")})
		w.ask(h, pagePath, page(nil), http.StatusAccepted)
		time.Sleep(time.Minute)
		call(h, queuePath, "")
		pages := w.objects("page")
		again := slices.IndexFunc(pages, func(p attributes) bool { return strings.Contains(p.Description, "Sent again") })
		if len(pages) != 2 || again < 0 || strings.Contains(pages[1-again].Description, "Sent again") {
			t.Errorf("pages: %+v", pages)
		}
	})
}

// TestAPageWhoseAnswerIsLostAndWhoseEventIsOver can't be resolved, since nobody knows its ID; another one would only wake somebody again.
func TestAPageWhoseAnswerIsLostAndWhoseEventIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		w.api.SetFault(api.Fault{Status: 502, After: true, Times: 1, Match: posts("/api/v2/on-call/pages")})
		w.ask(h, pagePath, page(nil), http.StatusAccepted)
		time.Sleep(time.Minute)
		if r := w.ask(h, pagePath, after("recovery", "", nil), http.StatusOK); r.Result != escalation.Overtaken {
			t.Errorf("got %+v", r)
		}
		time.Sleep(time.Hour)
		call(h, queuePath, "")
		if n := len(w.objects("page")); n != 1 {
			t.Errorf("%d pages, want the one whose answer was lost", n)
		}
	})
}

// TestPoison is what Datadog will never take: it is given up at once, and holds up nothing.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance(func(o *escalation.Options) { o.Team = "nobody" })
		code, text := call(h, pagePath, page(nil))
		if code != http.StatusBadGateway || !strings.Contains(text, `"code":"refused"`) {
			t.Errorf("got %d %s", code, text)
		}
		if w.count("llm.escalation.failed", "action:page", "reason:refused") != 1 || len(w.sink.Events()) != 1 {
			t.Errorf("failed %v, events %+v", w.count("llm.escalation.failed"), w.sink.Events())
		}
		// Another deployment has the right team: asked for again, it is tried again.
		if r := w.ask(w.instance(), pagePath, page(nil), http.StatusOK); r.Result != escalation.Created {
			t.Errorf("got %+v", r)
		}
	})
}

func TestGivenUpAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		w.api.SetFault(api.Fault{Status: 500})
		r := w.ask(h, incidentPath, incident(nil), http.StatusAccepted)
		begin, attempts := time.Now(), 0
		for w.count("llm.escalation.failed") == 0 && time.Since(begin) < 48*time.Hour {
			time.Sleep(time.Minute)
			call(h, queuePath, "")
			attempts++
		}
		if took := time.Since(begin); took > 24*time.Hour || took < 12*time.Hour || time.Now().After(r.Queue.GivesUp) {
			t.Errorf("given up after %s, the caller was told by %s", took, r.Queue.GivesUp)
		}
		if w.count("llm.escalation.failed", "action:incident", "reason:expired") != 1 || w.count("llm.escalation.queued") > 24 {
			t.Errorf("failed %v after %v attempts", w.count("llm.escalation.failed"), w.count("llm.escalation.queued"))
		}
		if code, _ := call(h, incidentPath, after("recovery", "", nil)); code != http.StatusAccepted {
			t.Errorf("a recovery of what was given up: got %d, want it to be tried again", code)
		}
		w.api.SetFault(api.Fault{})
		time.Sleep(time.Hour)
		call(h, queuePath, "")
		if there := w.objects("incident"); len(there) != 1 || there[0].field("state") != "resolved" {
			t.Errorf("at Datadog: %+v", there)
		}
	})
}

// TestAnIncidentOfAnothersMakingIsAdopted has a workflow open the incident, and not hear that it did.
func TestAnIncidentOfAnothersMakingIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		theirs := w.ask(h, incidentPath, incident(cycle("theirs")), http.StatusOK).Incident.ID
		for _, adopt := range []bool{true, false} { // in this order: afterwards there are two of the title
			edit := cycle(fmt.Sprint("ours-", adopt))
			edit["adopt"] = adopt
			if r := w.ask(h, incidentPath, incident(edit), http.StatusOK); (r.Incident.ID == theirs) != adopt {
				t.Errorf("adopt %v: got incident %s, theirs is %s", adopt, r.Incident.ID, theirs)
			}
		}
		edit := cycle("later")
		edit["adopt"], edit["title"] = true, "Another title"
		if r := w.ask(h, incidentPath, incident(edit), http.StatusOK); r.Incident.ID == theirs {
			t.Error("one of another title was adopted")
		}
		if n := len(w.objects("incident")); n != 3 {
			t.Errorf("%d incidents, want 3", n)
		}
	})
}

// TestWhatAPersonResolvedStaysResolved has somebody close the incident by hand before the function says that it is stable.
func TestWhatAPersonResolvedStaysResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		id := w.ask(h, incidentPath, incident(nil), http.StatusOK).Incident.ID
		r := httptest.NewRequest(http.MethodPatch, incidentsPath+"/"+id, strings.NewReader(
			`{"data":{"type":"incidents","id":"`+id+`","attributes":{"fields":{"state":{"type":"dropdown","value":"resolved"}}}}}`))
		r.Header.Set("DD-API-KEY", apiKey)
		r.Header.Set("DD-APPLICATION-KEY", appKey)
		w.api.ServeHTTP(httptest.NewRecorder(), r)
		if got := w.ask(h, incidentPath, after("stable", "", nil), http.StatusOK); got.Incident.State != "resolved" || w.objects("incident")[0].field("state") != "resolved" {
			t.Errorf("got %+v", got.Incident)
		}
	})
}

// TestCutAtEveryStep ends an instance at each of its effects, just before it and just after, and has the next ones go on: in the end
// there is exactly one incident, resolved, with each of its links once, and one page, or a second one that says so.
func TestCutAtEveryStep(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at, more := 0, true; more; at++ {
			t.Run(fmt.Sprint("step ", at, " after ", after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { more = cutAt(t, at, after) })
			})
			if at > 60 {
				t.Fatal("the steps do not end")
			}
		}
	}
}

func cutAt(t *testing.T, at int, behind bool) bool {
	w := newWorld(t)
	w.cut = &cut{at: at, after: behind}
	dying := w.instance()
	requests := []struct{ path, body string }{{incidentPath, incident(nil)}, {pagePath, page(nil)}, {incidentPath, after("recovery", "over", nil)}, {pagePath, after("recovery", "over", nil)}}
	for _, r := range requests {
		call(dying, r.path, r.body)
	}
	reached := w.cut.reached()
	w.cut = nil
	alive := w.instance()
	time.Sleep(2 * time.Minute)
	// Callers that got no answer ask again, as workflows do; the schedule does the rest.
	for i, r := range requests {
		if code, text := call(alive, r.path, freshly(t, r.body)); code != http.StatusOK && code != http.StatusAccepted {
			t.Errorf("request %d again: %d %s", i, code, text)
		}
		call(alive, queuePath, "")
	}
	time.Sleep(time.Hour)
	call(alive, queuePath, "")
	there := w.objects("incident")
	if len(there) != 1 || there[0].field("state") != "resolved" {
		t.Errorf("%d incidents: %+v", len(there), there)
	}
	if n := len(w.objects("incident-attachment")); n != 5 {
		t.Errorf("%d links, want 5", n)
	}
	pages := w.objects("page")
	said := slices.ContainsFunc(pages, func(p attributes) bool { return strings.Contains(p.Description, "Sent again") })
	if len(pages) < 1 || len(pages) > 2 || len(pages) == 2 && !said {
		t.Errorf("pages: %+v", pages)
	}
	if !slices.ContainsFunc(pages, func(p attributes) bool { return p.Status == "resolved" }) {
		t.Errorf("no page was resolved: %+v", pages)
	}
	if _, text := call(alive, queuePath, ""); text != `{"done":0,"waiting":0,"given_up":0}`+"\n" {
		t.Errorf("the queue is not empty: %s", text)
	}
	return reached
}

// freshly is a request with the timestamp of now.
func freshly(t *testing.T, body string) string {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	doc["timestamp"] = time.Now().Format(time.RFC3339Nano)
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestTheStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		w.store.Fail(errors.New("dial 10.1.2.3: refused"))
		for _, r := range [][2]string{{incidentPath, incident(nil)}, {pagePath, page(nil)}, {queuePath, ""}} {
			code, text := call(h, r[0], r[1])
			if code != http.StatusServiceUnavailable || !strings.Contains(text, "store_unavailable") || strings.Contains(text, "10.1.2.3") {
				t.Errorf("%s: got %d %s", r[0], code, text)
			}
		}
		if w.sent != 0 {
			t.Errorf("%d requests were sent for what is not durable", w.sent)
		}
	})
}

func TestWhoMayNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.instance()
		for _, path := range []string{incidentPath, pagePath, queuePath} {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(incident(nil)))
			r.Header.Set("Authorization", "Bearer "+control+"x")
			r.Header.Set("Content-Type", "application/json")
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			if rec.Code != http.StatusUnauthorized {
				t.Errorf("%s with a wrong secret: got %d", path, rec.Code)
			}
		}
		old := time.Now().Add(-6 * time.Minute).Format(time.RFC3339)
		if code, text := call(h, incidentPath, incident(map[string]any{"timestamp": old})); code != http.StatusBadRequest || !strings.Contains(text, "bad_timestamp") {
			t.Errorf("a stale timestamp: got %d %s", code, text)
		}
		if w.store.Records() != 0 || w.sent != 0 {
			t.Errorf("%d records, %d requests", w.store.Records(), w.sent)
		}
	})
}
