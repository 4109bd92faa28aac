package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/serverless"
)

func TestBuild(t *testing.T) {
	const secret = "s3cret-0123456789-0123456789"
	good := map[string]string{
		"LRCP_CONTROL_SECRETS": secret, "LRCP_THEATER_INSIGHTS_URL": "https://insights.example", "LRCP_THEATER_REMEDIATION_URL": "https://remediation.example",
		"LRCP_THEATER_QA_URL": "https://qa.example", "LRCP_PROBE_API_KEY": "s3cret-key", "DD_SITE": "us5.datadoghq.com",
		"DD_RUM_APPLICATION_ID": "app", "DD_RUM_CLIENT_TOKEN": "pub",
	}
	f, err := build(t.Context(), serverless.Deps{Getenv: func(name string) string { return good[name] }})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	f.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/theater/config", nil))
	body := w.Body.String()
	if w.Code != http.StatusOK || !strings.Contains(body, `"site":"us5.datadoghq.com"`) || !strings.Contains(body, "https://us5.datadoghq.com/monitors/manage") || strings.Contains(body, "s3cret") {
		t.Errorf("config: %d %s", w.Code, body)
	}
	r := httptest.NewRequest(http.MethodGet, "/theater/state", nil)
	if _, ok := f.Auth.Authenticate(r); ok {
		t.Error("the state is shown without a secret")
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	if _, ok := f.Auth.Authenticate(r); !ok {
		t.Error("the secret does not open the state")
	}

	bad := map[string]string{"LRCP_CONTROL_SECRETS": "s3cret", "LRCP_THEATER_INSIGHTS_URL": "http://insights.example", "LRCP_THEATER_QA_URL": "https://qa.example", "DD_RUM_APPLICATION_ID": "app"}
	_, err = build(t.Context(), serverless.Deps{Getenv: func(name string) string { return bad[name] }})
	for _, name := range []string{"LRCP_CONTROL_SECRETS", "LRCP_THEATER_INSIGHTS_URL", "LRCP_THEATER_REMEDIATION_URL", "LRCP_PROBE_API_KEY", "DD_RUM_CLIENT_TOKEN"} {
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %v, want %s in it and no secret", err, name)
		}
	}
}
