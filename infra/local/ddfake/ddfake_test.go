package ddfake_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake"
)

const toyMonitor = `{"name":"Toy","type":"query alert","query":"sum(last_5m):sum:toy.errors{*} by {function}.as_count() > 3",
	"message":"{{#is_alert}} @workflow-fix(function=\"{{function.name}}\") @oncall-team @workflow-missing {{/is_alert}}{{#is_recovery}} @workflow-fix(back=\"yes\") {{/is_recovery}}",
	"options":{"thresholds":{"critical":3},"new_group_delay":0}}`

const toyWorkflow = `{"data":{"type":"workflows","attributes":{"name":"Fix","published":true,"spec":{"handle":"fix",
	"inputSchema":{"parameters":[{"name":"function","type":"STRING","defaultValue":""},{"name":"back","type":"STRING","defaultValue":"no"}]},
	"triggers":[{"monitorTrigger":{},"startStepNames":["Act"]}],
	"steps":[{"name":"Act","actionId":"com.datadoghq.slack.send_simple_message","parameters":[
		{"name":"teamId","value":"T"},{"name":"channel","value":"#c"},{"name":"text","value":"{{ Trigger.function }} back {{ Trigger.back }}"}]}]}}}}`

// toy returns a stand-in with the toy workflow and a monitor.
func toy(t *testing.T, monitor string) *ddfake.Datadog {
	t.Helper()
	clock, err := ddfake.NewClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := ddfake.New(ddfake.Options{Clock: clock, HTTP: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	for kind, object := range map[string][2]string{"workflow": {"fix", toyWorkflow}, "monitor": {"7", monitor}} {
		if err := d.Put(kind, object[0], []byte(object[1])); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := toy(t, toyMonitor)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.Run(ctx) }()
		for range 5 {
			d.Intake().Datagram([]byte("toy.errors:1|d|#function:qa\ntoy.errors:1|d|#function:qa\n"))
			<-time.After(30 * time.Second)
		}
		for range 15 {
			d.Intake().Datagram([]byte("toy.errors:0|d|#function:qa"))
			<-time.After(time.Minute)
		}
		cancel()
		<-done

		var got []string
		for _, e := range d.Timeline() {
			got = append(got, strings.TrimSpace(fmt.Sprint(e.Kind, " ", e.To, e.Step, e.Status)))
		}
		// What a workflow does is recorded after the mentions of the same message.
		want := []string{
			"transition Alert", "page", "delivery_failure", "workflow_started", "notification", "workflow_step Actsuccess", "workflow_finished success",
			"transition OK", "workflow_started", "notification", "workflow_step Actsuccess", "workflow_finished success",
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("timeline: got - want +\n%s", diff)
		}
	})
}

// A workflow that runs may be on another core: it must not come between what else a message mentions.
func TestMentionsAreFollowedBeforeAWorkflowRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const missing = 5000
		var mentions strings.Builder
		for i := range missing {
			fmt.Fprintf(&mentions, " @workflow-missing%d", i)
		}
		d := toy(t, strings.ReplaceAll(toyMonitor, " @workflow-missing", mentions.String()))
		d.Intake().Datagram([]byte("toy.errors:9|d|#function:qa"))
		<-time.After(time.Minute)
		d.Evaluate(t.Context())
		d.Wait()
		failures := 0
		for _, e := range d.Timeline() {
			switch e.Kind {
			case ddfake.KindDeliveryFailure:
				failures++
			case ddfake.KindWorkflowStarted:
				if failures != missing {
					t.Errorf("the workflow started when %d of %d mentions had failed", failures, missing)
				}
				return
			}
		}
		t.Errorf("the workflow did not start; %d mentions failed", failures)
	})
}

func TestFastClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		clock, err := ddfake.NewClock(start, 60)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := clock.Wait(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("a minute took %v, want 1s", got)
		}
		if got, want := clock.Now(), start.Add(time.Minute); !got.Equal(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := clock.Wall(clock.Now()); !got.Equal(time.Now()) {
			t.Errorf("got wall time %v, want %v", got, time.Now())
		}
	})
}

func TestPageEscapes(t *testing.T) {
	clock, err := ddfake.NewClock(time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := ddfake.New(ddfake.Options{Clock: clock, HTTP: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	d.Intake().Datagram([]byte("_e{8,0}:<script>|"))
	for _, path := range []string{"/", "/api/state", "/api/timeline", "/api/llmobs"} {
		w := httptest.NewRecorder()
		d.API().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "<script>") {
			t.Errorf("%s: got status %d and body %s", path, w.Code, w.Body)
		}
	}
}
