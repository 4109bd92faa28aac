package runtimetest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/query"
)

const controlSecret = "runtimetest-control-secret"

// The event of an EventBridge rule, as serverless.yml makes one.
const scheduleEvent = `{"version":"0","id":"53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa","detail-type":"Scheduled Event","source":"aws.events",` +
	`"account":"123456789012","time":"2026-11-25T19:00:00Z","region":"eu-west-1",` +
	`"resources":["arn:aws:events:eu-west-1:123456789012:rule/insights"],"detail":{}}`

// metrics is a stand-in for Datadog's API of metric queries, with an hour of requests that went well, and its address.
func metrics(t *testing.T) string {
	t.Helper()
	store, err := metric.New(metric.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tags := []string{"service:llm-reliability-control-plane", "env:test"}
	for i := range 60 {
		at := time.Now().Add(-time.Duration(i) * time.Minute)
		store.Add("llm.request.count", tags, 1, at)
		store.Add("llm.request.duration", tags, 500, at)
	}
	handler, err := query.New(query.Options{Metrics: store, APIKey: "datadog-api-key", AppKey: "datadog-app-key"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestScheduleEmitsTheHealthScore(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer broken.Close()
	tests := map[string]struct {
		datadog string
		failed  bool
		want    string
	}{
		"a score is emitted": {metrics(t), false, `"emitted":true`},
		"where there is none to be had, the invocation fails": {broken.URL, true, "scheduled GET /insights: status 503"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := startLambda(t, insights, "LRCP_CONTROL_SECRETS="+controlSecret, "LRCP_DATADOG_URL="+tt.datadog,
				"DD_API_KEY=datadog-api-key", "DD_APP_KEY=datadog-app-key", "LRCP_INSIGHTS_WINDOW=1h")
			l.Freeze(l.process)
			for range 2 {
				o := wait(t, l.Invoke([]byte(scheduleEvent)))
				if o.Failed != tt.failed || !bytes.Contains(o.Body(), []byte(tt.want)) {
					t.Errorf("failed is %v, want %v; got %s, want %s in it", o.Failed, tt.failed, o.Body(), tt.want)
				}
				if paths := l.extension.Pending(); len(paths) > 0 {
					t.Errorf("at the freeze, these posts had no answer yet: %q", paths)
				}
			}
			if err := l.extension.Sync(patience(t)); err != nil {
				t.Fatal(err)
			}
			if got := bytes.Count(l.extension.Telemetry(), []byte("llm.health_score:")); (got == 2) == tt.failed {
				t.Errorf("the score was emitted %d times for 2 events", got)
			}
			if got := len(l.extension.Intake.Traces()); got != 2 {
				t.Errorf("%d traces for 2 events", got)
			}
			checkOutput(t, l.process)
		})
	}
}

func TestOnlyAScheduleGoesWithoutASecret(t *testing.T) {
	l := startLambda(t, insights, "LRCP_CONTROL_SECRETS="+controlSecret, "LRCP_DATADOG_URL="+metrics(t), "DD_API_KEY=datadog-api-key", "DD_APP_KEY=datadog-app-key")
	url := func(header map[string]string, body string) []byte {
		return runtimetest.URLEvent(t, "GET", "/insights", header, body)
	}
	tests := map[string]struct {
		event  []byte
		status int
	}{
		"a request with the secret is answered":         {url(map[string]string{"authorization": "Bearer " + controlSecret}, ""), 200},
		"a request without it is refused":               {url(nil, ""), 401},
		"a request whose body is a schedule's event":    {url(nil, scheduleEvent), 401},
		"a request whose headers are those of an event": {url(map[string]string{"source": "aws.events", "detail-type": "Scheduled Event", "x-lrcp-emit": "health_score"}, ""), 401},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if r := response(t, wait(t, l.Invoke(tt.event))); r.Status != tt.status {
				t.Errorf("status is %d, want %d: %s", r.Status, tt.status, r.Body)
			}
		})
	}
}

func TestFunctionWithoutAScheduleRefusesItsEvent(t *testing.T) {
	l := startLambda(t, completion)
	if o := wait(t, l.Invoke([]byte(scheduleEvent))); !o.Failed || !bytes.Contains(o.Body(), []byte("has no job")) {
		t.Errorf("failed is %v: %s; want an error that says that there is no job", o.Failed, o.Body())
	}
}

// TestWorkflowSwitchesTheModel goes the way of Datadog's workflow: it invokes remediation, with the secret in the payload, and
// a data function on the same state then answers with the other model.
func TestWorkflowSwitchesTheModel(t *testing.T) {
	state := functionEnv(t)
	payload := func(secret string) []byte {
		now := time.Now()
		event, err := json.Marshal(map[string]any{
			"method": "POST", "path": "/remediation/switch-model", "headers": map[string]string{"Authorization": "Bearer " + secret},
			"body": map[string]any{
				"idempotency_key": "run-1", "timestamp": now.Format(time.RFC3339), "scope": map[string]any{"function": "completion"},
				"params": map[string]any{"model": "economy"}, "duration": "30m",
				"source": map[string]any{"kind": "monitor", "monitor": "Cost", "monitor_id": "7", "workflow_run": "run-1", "cycle": "c-1", "triggered_at": now.Format(time.RFC3339)},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return event
	}
	model := func() string {
		l := startLambda(t, completion, state...)
		r := response(t, wait(t, l.Invoke(completionEvent(t, false))))
		stop(t, l)
		var doc struct {
			Metadata struct{ Model string }
		}
		if err := json.Unmarshal([]byte(r.Body), &doc); err != nil || doc.Metadata.Model == "" {
			t.Fatalf("no model in %d %s: %v", r.Status, r.Body, err)
		}
		return doc.Metadata.Model
	}
	before := model()

	l := startLambda(t, remediation, slices.Concat(state, []string{"LRCP_CONTROL_SECRETS=" + controlSecret})...)
	l.Freeze(l.process)
	for _, tt := range []struct {
		secret string
		status string
	}{{"another-secret-of-that-length", `"status":401`}, {controlSecret, `"status":200`}} {
		o := wait(t, l.Invoke(payload(tt.secret)))
		if o.Failed || !bytes.Contains(o.Body(), []byte(tt.status)) {
			t.Fatalf("got %s, want %s", o.Body(), tt.status)
		}
		if paths := l.extension.Pending(); len(paths) > 0 {
			t.Errorf("at the freeze, these posts had no answer yet: %q", paths)
		}
	}
	if err := l.process.Continue(); err != nil {
		t.Fatal(err)
	}
	stop(t, l)
	if bytes.Contains(l.extension.Telemetry(), []byte(controlSecret)) || strings.Contains(strings.Join(l.process.Lines(), ""), controlSecret) {
		t.Error("the secret is in the telemetry, or in the log")
	}

	if after := model(); after == before || !strings.Contains(after, "economy") {
		t.Errorf("the model is %s, and was %s; want that of the economy tier", after, before)
	}
}

// stop ends a function as Lambda does, so that it lets go of its state.
func stop(t *testing.T, l lambda) {
	t.Helper()
	if err := l.process.Terminate(); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, l.process); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
}
