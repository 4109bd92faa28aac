package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

func TestBuild(t *testing.T) {
	good := map[string]string{
		"LRCP_CONTROL_SECRETS": "0123456789-0123456789-0123456789", "DD_API_KEY": "s3cret-api", "LRCP_ESCALATION_APP_KEY": "s3cret-app",
		"LRCP_STATE": "bolt:" + filepath.Join(t.TempDir(), "state.db"),
	}
	f, err := build(t.Context(), serverless.Deps{Getenv: func(name string) string { return good[name] }})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := routes.Find("escalation", f.Schedule.Method, f.Schedule.Path); !ok {
		t.Errorf("the schedule asks for %s %s, which is no route", f.Schedule.Method, f.Schedule.Path)
	}
	if !f.Health(t.Context()).ControlReachable {
		t.Error("the outbox can't be reached")
	}
	w := httptest.NewRecorder()
	f.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, f.Schedule.Path, nil))
	if w.Code != http.StatusOK {
		t.Errorf("the schedule's request: %d %s", w.Code, w.Body)
	}
	if err := f.Close(t.Context()); err != nil || f.Health(t.Context()).ControlReachable {
		t.Errorf("after Close: %v, reachable", err)
	}

	bad := map[string]string{"LRCP_CONTROL_SECRETS": "s3cret", "LRCP_SCHEDULE_IDENTITY": "a@b", "LRCP_STATE": "redis:x"}
	_, err = build(t.Context(), serverless.Deps{Getenv: func(name string) string { return bad[name] }})
	for _, name := range []string{"LRCP_CONTROL_SECRETS", "DD_API_KEY", "LRCP_ESCALATION_APP_KEY", "LRCP_STATE", "LRCP_SCHEDULE_AUDIENCE"} {
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %v, want %s in it and no secret", err, name)
		}
	}
	for name, value := range map[string]string{"DD_SITE": "evil.example.com", "LRCP_DATADOG_URL": "http://evil.example.com"} {
		_, err := build(t.Context(), serverless.Deps{Getenv: func(n string) string {
			if n == name {
				return value
			}
			return good[n]
		}})
		if err == nil {
			t.Errorf("%s=%s was taken", name, value)
		}
	}
}
