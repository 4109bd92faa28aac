package workflow_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/datadog"
	function "github.com/llm-reliability/control-plane/functions/remediation"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/remediation"
)

// inProcess serves requests by a handler, without a socket.
func inProcess(h http.Handler) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec.Result(), nil
	}
}

// TestMonitorsWorkflowsAndTheFunctionFit renders each monitor's message, starts the workflow that it mentions, and lets
// it call the real remediation function.
func TestMonitorsWorkflowsAndTheFunctionFit(t *testing.T) {
	tests := map[string]struct {
		tags []string
		want control.Override // the parts that are checked
	}{
		"cost-anomaly-detection": {tags: []string{"function:qa"}, want: control.Override{Action: control.SwitchModel, Scope: control.Scope{Function: "qa"}, Params: control.Params{Model: "economy"}}},
		"quality-degradation":    {tags: []string{"function:qa"}, want: control.Override{Action: control.SwitchModel, Scope: control.Scope{Function: "qa"}, Params: control.Params{Model: "quality"}}},
		"latency-slo-burn":       {want: control.Override{Action: control.EnableCache, Params: control.Params{CacheTTL: control.Duration(5 * time.Minute)}}},
	}
	workflows := map[string]*workflow.Workflow{}
	all, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.Kind == assets.Workflow {
			w, err := workflow.Parse("w-"+a.Key, resolved(t, assets.Workflow, a.Key))
			if err != nil {
				t.Fatal(err)
			}
			workflows[w.Handle] = w
		}
	}
	for key, test := range tests {
		t.Run(key, func(t *testing.T) {
			m, err := monitor.Parse(4711, resolved(t, assets.Monitor, key))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				store := new(controltest.Memory)
				env := environment(t, inProcess(remediationFunction(t, store)), &sinks{})
				transition := monitor.Transition{Tags: test.tags, From: monitor.OK, To: monitor.Alert, Kind: monitor.KindAlert, Value: 1, Threshold: 1, At: time.Now(), TriggeredAt: time.Now(), LastTriggeredAt: time.Now()}
				notify := func() { start(t, m, transition, workflows, env) }

				notify()
				o := only(t, store)
				got := control.Override{Action: o.Action, Scope: o.Scope, Params: o.Params}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("override (-want +got):\n%s", diff)
				}
				if got, want := o.End.Sub(o.Start), 30*time.Minute; got != want {
					t.Errorf("the override holds for %v, want %v", got, want)
				}

				<-time.After(time.Hour)
				transition.From, transition.Kind, transition.At = monitor.Alert, monitor.KindRenotify, time.Now()
				notify()
				if o := only(t, store); o.Active(time.Now()) {
					t.Error("a renotification made an override of its own")
				}
			})
			synctest.Test(t, func(t *testing.T) {
				store := new(controltest.Memory)
				env := environment(t, inProcess(remediationFunction(t, store)), &sinks{})
				transition := monitor.Transition{Tags: test.tags, From: monitor.OK, To: monitor.Alert, Kind: monitor.KindAlert, Value: 1, Threshold: 1, At: time.Now(), TriggeredAt: time.Now(), LastTriggeredAt: time.Now()}
				start(t, m, transition, workflows, env)
				<-time.After(8 * time.Minute)
				transition.From, transition.To, transition.Kind, transition.At = monitor.Alert, monitor.OK, monitor.KindRecovery, time.Now()
				start(t, m, transition, workflows, env)
				if o := only(t, store); o.Ended == nil || !o.Ended.At.Equal(time.Now()) {
					t.Errorf("the override was not reverted: %+v", o)
				}
			})
		})
	}
}

// start runs the one workflow that the message of a transition mentions, and wants it to succeed in every step.
func start(t *testing.T, m *monitor.Monitor, transition monitor.Transition, workflows map[string]*workflow.Workflow, env workflow.Environment) {
	t.Helper()
	message := m.Message(transition, func(at time.Time) time.Time { return at })
	var runs int
	for _, mention := range monitor.Mentions(message) {
		if mention.Kind != monitor.MentionWorkflow {
			// People hear of an alert when the remedy has not helped, and On-Call hears of the recovery to resolve its page.
			if mention.Kind != monitor.MentionOnCall || transition.Kind == monitor.KindAlert {
				t.Errorf("the message mentions %s %s:\n%s", mention.Kind, mention.Handle, message)
			}
			continue
		}
		w := workflows[mention.Handle]
		if w == nil {
			t.Fatalf("there is no workflow %s", mention.Handle)
		}
		runs++
		inputs := map[string]any{}
		for name, v := range mention.Params {
			inputs[name] = v
		}
		run := w.Run(t.Context(), workflow.Trigger{
			Kind: workflow.MonitorTrigger, RunID: fmt.Sprintf("run-%d", time.Now().Unix()), Inputs: inputs,
			MonitorID: m.ID, MonitorName: m.Name, URL: "https://dd.example/monitors/4711",
		}, env)
		if got := strings.Join(names(run), " "); run.Status != workflow.Success || strings.ContainsAny(got, "!×") {
			t.Fatalf("%s: %s: %s\n%+v", w.Name, run.Status, got, run.Steps)
		}
	}
	if runs != 1 {
		t.Fatalf("the message starts %d workflows, want 1:\n%s", runs, message)
	}
}

func only(t *testing.T, store control.Store) control.Override {
	t.Helper()
	state, err := store.State(t.Context(), time.Time{})
	if err != nil || len(state.Overrides) != 1 {
		t.Fatalf("overrides = %+v (%v), want one", state.Overrides, err)
	}
	return state.Overrides[0]
}

func remediationFunction(t *testing.T, store control.Store) http.Handler {
	t.Helper()
	c, err := remediation.New(remediation.Options{Store: store, Base: control.Settings{Model: "standard"}, Limits: remediation.Limits{
		Models: []string{"economy", "standard", "quality"}, Functions: []string{"qa", "completion"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := function.New(function.Options{Controller: c})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestEveryMonitorAndSLOCanBeEvaluated(t *testing.T) {
	all, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		switch a.Kind {
		case assets.Monitor:
			_, err = monitor.Parse(1, resolved(t, a.Kind, a.Key))
		case assets.SLO:
			_, err = slo.Parse("slo-1", resolved(t, a.Kind, a.Key))
		}
		if err != nil {
			t.Errorf("%s: %v", a.File, err)
		}
	}
}
