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
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
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
// a data function on the same table answers with the other model, as soon as it reads its state again, after a second.
func TestWorkflowSwitchesTheModel(t *testing.T) {
	table := httptest.NewServer(&dynamotest.Table{Name: "lrcp"})
	t.Cleanup(table.Close)
	state := []string{
		"LRCP_STATE=dynamodb:lrcp", "AWS_ENDPOINT_URL_DYNAMODB=" + table.URL, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key",
	}
	data := startLambda(t, completion, state...)
	model := func() string {
		r := response(t, wait(t, data.Invoke(completionEvent(t, false))))
		var doc struct {
			Metadata struct{ Model string }
		}
		if err := json.Unmarshal([]byte(r.Body), &doc); err != nil || doc.Metadata.Model == "" {
			t.Fatalf("no model in %d %s: %v", r.Status, r.Body, err)
		}
		return doc.Metadata.Model
	}
	before := model()

	workflow := startLambda(t, remediation, slices.Concat(state, []string{"LRCP_CONTROL_SECRETS=" + controlSecret})...)
	workflow.Freeze(workflow.process)
	for _, tt := range []struct{ secret, status string }{
		{"another-secret-of-that-length", `"status":401`}, {controlSecret, `"status":200`},
	} {
		o := wait(t, workflow.Invoke(switchModel(t, tt.secret)))
		if o.Failed || !bytes.Contains(o.Body(), []byte(tt.status)) {
			t.Fatalf("got %s, want %s", o.Body(), tt.status)
		}
		if paths := workflow.extension.Pending(); len(paths) > 0 {
			t.Errorf("at the freeze, these posts had no answer yet: %q", paths)
		}
	}
	if bytes.Contains(workflow.extension.Telemetry(), []byte(controlSecret)) || strings.Contains(strings.Join(workflow.process.Lines(), ""), controlSecret) {
		t.Error("the secret is in the telemetry, or in the log")
	}

	ctx := patience(t)
	for tick := time.Tick(50 * time.Millisecond); ; {
		after := model()
		if after != before && strings.Contains(after, "economy") {
			return
		}
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatalf("the model is %s, and was %s; want that of the economy tier", after, before)
		}
	}
}

func switchModel(t *testing.T, secret string) []byte {
	t.Helper()
	now := time.Now().Format(time.RFC3339)
	event, err := json.Marshal(map[string]any{
		"method": "POST", "path": "/remediation/switch-model", "headers": map[string]string{"Authorization": "Bearer " + secret},
		"body": map[string]any{
			"idempotency_key": "run-1", "timestamp": now, "scope": map[string]any{"function": "completion"},
			"params": map[string]any{"model": "economy"}, "duration": "30m",
			"source": map[string]any{"kind": "monitor", "monitor": "Cost", "monitor_id": "7", "workflow_run": "run-1", "cycle": "c-1", "triggered_at": now},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return event
}
