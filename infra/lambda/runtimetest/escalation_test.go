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
	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
)

// TestTwoInstancesEscalateOnce has two instances of the real binary on one table: one opens the incident, the other knows it; what meets
// Datadog down is in the table before the caller is told so, and the schedule's event is let in without a secret.
func TestTwoInstancesEscalateOnce(t *testing.T) {
	const datadogKey, appKey = "datadog-api-key", "escalation-application-key"
	datadog, err := api.New(api.Options{Now: time.Now, APIKey: datadogKey, AppKey: appKey})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(datadog)
	t.Cleanup(server.Close)
	backend := &dynamotest.Table{Name: "lrcp"}
	table := httptest.NewServer(backend)
	t.Cleanup(table.Close)
	env := []string{
		"LRCP_STATE=dynamodb:lrcp", "AWS_ENDPOINT_URL_DYNAMODB=" + table.URL, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key", "AWS_REGION=eu-west-1",
		"LRCP_CONTROL_SECRETS=" + controlSecret, "LRCP_DATADOG_URL=" + server.URL, "DD_API_KEY=" + datadogKey, "LRCP_ESCALATION_APP_KEY=" + appKey,
	}
	one, other := startLambda(t, escalation, env...), startLambda(t, escalation, env...)
	ask := func(l lambda, cycle, secret string, status int, want string) {
		t.Helper()
		body, err := json.Marshal(map[string]any{
			"idempotency_key": "run-" + cycle, "timestamp": time.Now().Format(time.RFC3339), "title": "Error burst", "severity": "SEV-2",
			"source": map[string]any{"kind": "monitor", "monitor": "Error Burst", "cycle": cycle},
			"links":  []any{map[string]any{"kind": "playbook", "url": "https://example.com/playbook.md"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		header := map[string]string{"authorization": "Bearer " + secret, "content-type": "application/json"}
		r := response(t, wait(t, l.Invoke(runtimetest.URLEvent(t, "POST", "/escalation/incident", header, string(body)))))
		if r.Status != status || !strings.Contains(r.Body, want) {
			t.Errorf("got %d %s, want %d with %s", r.Status, r.Body, status, want)
		}
	}
	ask(one, "c-1", "another-secret-of-that-length", http.StatusUnauthorized, "")
	ask(one, "c-1", controlSecret, http.StatusOK, `"result":"created"`)
	ask(other, "c-1", controlSecret, http.StatusOK, `"result":"known"`)
	datadog.SetFault(api.Fault{Status: http.StatusInternalServerError})
	ask(other, "c-2", controlSecret, http.StatusAccepted, `"result":"queued"`)
	waits := slices.ContainsFunc(backend.Items(), func(i dynamotest.Item) bool {
		return i["pk"]["S"] == "escalation#record#incident:c-2" && i["due"]["S"] != nil
	})
	if n := len(datadog.Objects("incident")); n != 1 || !waits {
		t.Errorf("%d incidents, and the one that could not be sent waits in the table: %v", n, waits)
	}
	if o := wait(t, one.Invoke([]byte(scheduleEvent))); o.Failed || !bytes.Contains(o.Body(), []byte(`"given_up":0`)) {
		t.Errorf("schedule: failed is %v: %s", o.Failed, o.Body())
	}
	for _, l := range []lambda{one, other} {
		checkOutput(t, l.process)
		for _, secret := range []string{controlSecret, datadogKey, appKey} {
			if bytes.Contains(l.extension.Telemetry(), []byte(secret)) || strings.Contains(strings.Join(l.process.Lines(), ""), secret) {
				t.Errorf("%s is in the telemetry, or in the log", secret)
			}
		}
	}
}
