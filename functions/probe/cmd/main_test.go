package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

func TestBuild(t *testing.T) {
	good := map[string]string{
		"LRCP_CONTROL_SECRETS": "0123456789-0123456789-0123456789", "LRCP_PROBE_API_KEY": "s3cret-key",
		"LRCP_PROBE_QA_URL": "https://qa.example", "LRCP_PROBE_COMPLETION_URL": "https://completion.example/",
	}
	f, err := build(t.Context(), serverless.Deps{Getenv: func(name string) string { return good[name] }})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := routes.Find("probe", f.Schedule.Method, f.Schedule.Path); !ok {
		t.Errorf("the schedule asks for %s %s, which is no route", f.Schedule.Method, f.Schedule.Path)
	}
	for token, want := range map[string]bool{"0123456789-0123456789-0123456789": true, "s3cret-key": false} {
		r := httptest.NewRequest(http.MethodPost, "/probe", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if _, ok := f.Auth.Authenticate(r); ok != want {
			t.Errorf("%s is let in: %v, want %v", token, ok, want)
		}
	}

	bad := map[string]string{"LRCP_PROBE_QA_URL": "http://qa.example", "LRCP_PROBE_TIMEOUT": "soon", "LRCP_SCHEDULE_IDENTITY": "a@b", "LRCP_CONTROL_SECRETS": "s3cret"}
	_, err = build(t.Context(), serverless.Deps{Getenv: func(name string) string { return bad[name] }})
	for _, name := range []string{
		"LRCP_CONTROL_SECRETS", "LRCP_PROBE_API_KEY", "LRCP_PROBE_QA_URL", "LRCP_PROBE_COMPLETION_URL", "LRCP_PROBE_TIMEOUT", "LRCP_SCHEDULE_AUDIENCE",
	} {
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %v, want %s in it and no secret", err, name)
		}
	}
}
