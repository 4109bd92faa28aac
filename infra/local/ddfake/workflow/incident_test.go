package workflow_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
)

const (
	providerDown = `{"verdict":"down","summary":"the status feed tells of an outage","evidence":[{"source":"status feed","observed":"outage","detail":"Vertex AI in europe-west1","latency_ms":12},"a live call timed out"],"next_action":"Fail over to another region."}`
	authOK       = `{"verdict":"ok","summary":"the credentials work","evidence":[],"next_action":""}`
)

// runbook is the workflow Runbook: Error Burst at work.
type runbook struct {
	*workflow.Workflow
	function *fakeFunction
	sinks    *sinks
	runs     int
}

func newRunbook(t *testing.T) *runbook {
	t.Helper()
	w, err := workflow.Parse("w-1", resolved(t, assets.Workflow, "error-burst"))
	if err != nil {
		t.Fatal(err)
	}
	return &runbook{Workflow: w, sinks: &sinks{}, function: &fakeFunction{paths: map[string]answer{
		"/diagnosis/provider": {status: 200, body: providerDown}, "/diagnosis/auth": {status: 200, body: authOK}, "/escalation/incident": {status: 202, body: `{"result":"queued"}`},
	}}}
}

// run starts the workflow as the monitor does, and wants it to end well.
func (r *runbook) run(t *testing.T, transition, triggeredAt string) []string {
	t.Helper()
	r.runs++
	run := r.Run(t.Context(), workflow.Trigger{
		Kind: workflow.MonitorTrigger, RunID: fmt.Sprintf("run-%d", r.runs), MonitorID: 4711, MonitorName: "Error Burst", URL: "https://dd.example/monitors/4711",
		Inputs: map[string]any{"transition": transition, "function": "qa", "triggered_at": triggeredAt},
	}, environment(t, r.function, r.sinks))
	if run.Status != workflow.Success {
		t.Fatalf("status = %s (%s), want success", run.Status, run.Error)
	}
	return names(run)
}

const alertAt = "946684800000"

var (
	diagnosed = []string{"Prepare", "Is_recovery", "Check_provider", "Verify_authentication", "Assess", "Find_incident", "Match_incident", "Has_incident"}
	paged     = append(slices.Clone(diagnosed), "Create_incident", "Page_on_call", "Remember_page", "Notify_team")
)

func TestRunbookOfAnErrorBurst(t *testing.T) {
	tests := map[string]struct {
		paths  map[string]answer
		broken []string
		steps  []string
		waited time.Duration
		// cells and description are what the incident and the page must say; an empty cells wants no incident.
		cells, description []string
	}{
		"both verdicts are in the incident and in the page": {
			steps: paged,
			cells: []string{
				"**Provider**: down. the status feed tells of an outage\n\n* status feed: outage: Vertex AI in europe-west1\n* a live call timed out\n\nNext: Fail over to another region.",
				"**Authentication**: ok. the credentials work",
			},
			description: []string{"Provider: down (the status feed tells of an outage); Authentication: ok (the credentials work)", "https://dd.example/incidents/1", "datadog/playbooks/error-burst.md"},
		},
		"a diagnosis that is down keeps nobody from being paged": {
			paths: map[string]answer{"/diagnosis/provider": {down: true}, "/diagnosis/auth": {status: 503, body: busy}}, waited: 10 * time.Second,
			steps:       slices.Concat(paged[:2], []string{"Check_provider ×2 !", "Verify_authentication ×2 !"}, paged[4:]),
			cells:       []string{"**Provider**: the diagnosis failed: POST /diagnosis/provider: ", "**Authentication**: the diagnosis failed: POST /diagnosis/auth answered 503: the store does not answer"},
			description: []string{"Provider: the diagnosis failed; Authentication: the diagnosis failed"},
		},
		"nor does one that answers nonsense": {
			paths: map[string]answer{"/diagnosis/provider": {status: 200, body: `[1]`}, "/diagnosis/auth": {status: 200, body: `{"verdict":{"x":1},"evidence":7,"next_action":null}`}},
			steps: paged, cells: []string{"**Provider**: the diagnosis failed: it answered without a verdict", `**Authentication**: {"x":1}.`}, description: []string{"Provider: the diagnosis failed"},
		},
		"incidents that can't be searched": {
			broken: []string{"Incidents"}, waited: 10 * time.Second,
			steps: slices.Concat(paged[:5], []string{"Find_incident ×2 !"}, paged[8:]), cells: []string{"**Provider**: down"}, description: []string{"Provider: down"},
		},
		"an incident that can't be opened": {
			broken: []string{"CreateIncident"}, steps: append(slices.Clone(diagnosed), "Create_incident !", "Page_without_incident", "Notify_without_incident", "Escalate_incident"),
			description: []string{"Provider: down", "The incident could not be created.", "datadog/playbooks/error-burst.md"},
		},
		"a page that can't be kept with the incident": {
			broken: []string{"Keep"}, waited: 20 * time.Second, steps: slices.Concat(paged[:10], []string{"Remember_page ×3 !", "Notify_team"}),
			cells: []string{"**Provider**: down"}, description: []string{"Provider: down"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRunbook(t)
				if test.paths != nil {
					r.function.paths = test.paths
				}
				r.sinks.broken = test.broken
				begin := time.Now()
				if diff := cmp.Diff(test.steps, r.run(t, "alert", alertAt)); diff != "" {
					t.Errorf("steps (-want +got):\n%s", diff)
				}
				if got := time.Since(begin); got != test.waited {
					t.Errorf("the run took %v, want %v", got, test.waited)
				}
				var cells string
				if len(test.cells) > 0 {
					if len(r.sinks.incidents) != 1 {
						t.Fatalf("%d incidents, want 1", len(r.sinks.incidents))
					}
					i := r.sinks.incidents[0]
					if i.Severity != "SEV-2" || i.Title != "Error Burst: qa, 2000-01-01 00:00:00 UTC" {
						t.Errorf("incident %q of %s", i.Title, i.Severity)
					}
					cells = strings.Join(i.Cells, "\n\n")
				} else if len(r.sinks.incidents) > 0 {
					t.Errorf("incidents: %+v", r.sinks.incidents)
				}
				for _, want := range test.cells {
					if !strings.Contains(cells, want) {
						t.Errorf("the incident does not say %q:\n%s", want, cells)
					}
				}
				if len(r.sinks.pages) != 1 || r.sinks.pages[0].Urgency != "high" || !slices.Contains(r.sinks.pages[0].Tags, "route:critical-errors") {
					t.Fatalf("pages = %+v, want one of high urgency for the critical route", r.sinks.pages)
				}
				for _, want := range test.description {
					if !strings.Contains(r.sinks.pages[0].Description, want) {
						t.Errorf("the page does not say %q: %s", want, r.sinks.pages[0].Description)
					}
				}
				for _, c := range r.function.calls {
					if c.Path == "/escalation/incident" {
						checkEscalation(t, c.Body)
					}
				}
				if len(r.sinks.messages) != 1 || !strings.Contains(r.sinks.messages[0].Text, "Provider: ") {
					t.Errorf("messages = %+v, want one with the verdicts", r.sinks.messages)
				}
			})
		})
	}
}

func TestOneErrorBurstIsOneIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunbook(t)
		r.run(t, "alert", alertAt)
		<-time.After(time.Minute)
		if diff := cmp.Diff(append(slices.Clone(diagnosed), "Add_verdicts"), r.run(t, "alert", alertAt)); diff != "" {
			t.Errorf("steps of a second run (-want +got):\n%s", diff)
		}
		recovery := []string{"Prepare", "Is_recovery", "Find_incident_to_close", "Match_incident_to_close", "Has_incident_to_close", "Add_recovery", "Recall_page", "Find_page", "Has_page", "Resolve_page", "Notify_recovery"}
		if diff := cmp.Diff(recovery, r.run(t, "recovery", alertAt)); diff != "" {
			t.Errorf("steps of the recovery (-want +got):\n%s", diff)
		}
		if len(r.sinks.incidents) != 1 || len(r.sinks.pages) != 1 {
			t.Fatalf("%d incidents and %d pages, want one of each", len(r.sinks.incidents), len(r.sinks.pages))
		}
		if diff := cmp.Diff([]string{"page-1"}, r.sinks.resolved); diff != "" {
			t.Errorf("resolved pages (-want +got):\n%s", diff)
		}
		cells := r.sinks.incidents[0].Cells
		if got := strings.Join(cells[len(cells)-2:], "\n"); !strings.Contains(got, "the runbook ran again") || !strings.Contains(got, "the monitor recovered") {
			t.Errorf("the end of the timeline: %s", got)
		}
		r.run(t, "alert", "946688400000")
		if len(r.sinks.incidents) != 2 || len(r.sinks.pages) != 2 {
			t.Errorf("the next alert: %d incidents and %d pages, want two of each", len(r.sinks.incidents), len(r.sinks.pages))
		}
	})
}

func TestARecoveryIsToldWhateverElseFails(t *testing.T) {
	for _, broken := range []string{"Incidents", "AddToTimeline", "Kept", "ResolvePage"} {
		t.Run(broken, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRunbook(t)
				r.run(t, "alert", alertAt)
				r.sinks.messages, r.sinks.broken = nil, []string{broken}
				r.run(t, "recovery", alertAt)
				if len(r.sinks.messages) != 1 || !strings.Contains(r.sinks.messages[0].Text, "Error Burst recovered for qa") {
					t.Errorf("messages = %+v", r.sinks.messages)
				}
			})
		})
	}
}

func TestARemedysIncidentHearsOfTheRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := workflow.Parse("w-1", resolved(t, assets.Workflow, "cost-spike"))
		if err != nil {
			t.Fatal(err)
		}
		function, actions := &fakeFunction{paths: map[string]answer{"/remediation/switch-model": {status: 200, body: applied}, "/remediation/revert": {status: 200, body: reverted}}}, &sinks{}
		for _, transition := range []string{"alert", "recovery"} {
			run := w.Run(t.Context(), workflow.Trigger{
				Kind: workflow.MonitorTrigger, RunID: "run-1", MonitorID: 4711, MonitorName: "Cost",
				Inputs: map[string]any{"transition": transition, "function": "qa", "triggered_at": alertAt},
			}, environment(t, function, actions))
			if run.Status != workflow.Success {
				t.Fatalf("%s: %s", transition, run.Error)
			}
		}
		cells := actions.incidents[0].Cells
		if got := cells[len(cells)-1]; !strings.Contains(got, "the monitor recovered. Revert of the override: reverted.") {
			t.Errorf("the last cell: %s", got)
		}
	})
}

func TestSearchIncidents(t *testing.T) {
	const search = `{"name":"A","actionId":"com.datadoghq.dd.incidents.searchIncidents","parameters":[{"name":"query","value":"%s"}%s]}`
	at := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	all := &sinks{incidents: []workflow.Opened{
		{Number: 1, Created: at, Incident: workflow.Incident{Title: "old", State: "resolved", Severity: "SEV-2", Fields: map[string]any{"services": []any{"a", "b"}, "detection_method": "monitor"}}},
		{Number: 2, Created: at.Add(time.Hour), Incident: workflow.Incident{Title: "mid", State: "active", Severity: "SEV-3", Fields: map[string]any{"services": []any{"b"}}}},
		{Number: 3, Created: at.Add(2 * time.Hour), Incident: workflow.Incident{Title: "new", State: "stable", Severity: "SEV-2"}},
	}}
	tests := map[string]struct {
		query, more string
		want        []any
		total       float64
	}{
		"one state":                {query: "state:active", want: []any{"mid"}, total: 1},
		"either of two, by age":    {query: "state:(active OR stable)", want: []any{"new", "mid"}, total: 2},
		"a value of a list":        {query: "services:b", want: []any{"mid", "old"}, total: 2},
		"two facets":               {query: "services:b AND severity:SEV-2", want: []any{"old"}, total: 1},
		"a single value":           {query: "detection_method:monitor", want: []any{"old"}, total: 1},
		"nothing":                  {query: "state:active AND severity:SEV-1", want: []any{}},
		"a page smaller than that": {query: "state:(active OR stable OR resolved)", more: `,{"name":"page_size","value":1}`, want: []any{"new"}, total: 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, err := workflow.Parse("w-1", document(fmt.Sprintf(search, test.query, test.more)))
			if err != nil {
				t.Fatal(err)
			}
			run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger}, environment(t, nil, all))
			data, _ := run.Steps[0].Output["data"].(map[string]any)
			attributes, _ := data["attributes"].(map[string]any)
			got := []any{}
			incidents, _ := attributes["incidents"].([]any)
			for _, i := range incidents {
				one, _ := i.(map[string]any)
				data, _ := one["data"].(map[string]any)
				attributes, _ := data["attributes"].(map[string]any)
				got = append(got, attributes["title"])
			}
			if diff := cmp.Diff(test.want, got); diff != "" || attributes["total"] != test.total {
				t.Errorf("found %v of %v, want %v of %v: %s", got, attributes["total"], test.want, test.total, run.Error)
			}
		})
	}
}

func TestActionsOnWhatDoesNotExist(t *testing.T) {
	tests := map[string]struct{ action, params, fails string }{
		"an incident without number": {"com.datadoghq.dd.incidents.updateTimeline", `{"name":"incidentId","value":"the last"},{"name":"content","value":"x"}`, `incidentId "the last" is not the number of an incident`},
		"a key that nothing is kept under": {
			"com.datadoghq.dd.incidents.getIncidentAutomationData", `{"name":"incidentId","value":"7"},{"name":"key","value":"page"}`, "incident 7: not found",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, err := workflow.Parse("w-1", document(`{"name":"A","actionId":"`+test.action+`","parameters":[`+test.params+`]}`))
			if err != nil {
				t.Fatal(err)
			}
			run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger}, environment(t, nil, &sinks{}))
			if run.Status != workflow.Failure || !strings.Contains(run.Error, test.fails) {
				t.Errorf("run = %s %q, want failure with %q", run.Status, run.Error, test.fails)
			}
		})
	}
}
