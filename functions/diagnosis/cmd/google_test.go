package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/diagnosis"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/googleauth"
)

// model answers, or fails with an error.
type model struct{ err error }

func (m model) Generate(_ context.Context, req llm.Request) (*llm.Response, error) {
	if m.err != nil {
		return nil, m.err
	}
	return &llm.Response{Text: "ready", Model: req.Model, Finish: llm.FinishStop}, nil
}

func (model) Stream(context.Context, llm.Request) iter.Seq2[llm.Chunk, error] {
	panic("a diagnosis streams nothing")
}

// loopback sends what is meant for Google to a server of the test.
type loopback struct{ address string }

func (l loopback) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", l.address
	return http.DefaultTransport.RoundTrip(r)
}

// TestCredentialsOfGoogle has the login of a user, and what Google says of it.
func TestCredentialsOfGoogle(t *testing.T) {
	good := fmt.Sprintf(`{"access_token":"ya29.s3cret","expires_in":3600,"email":"a@example.com","scope":"%s","exp":"%d"}`,
		googleauth.CloudPlatform, time.Now().Add(time.Hour).Unix())
	ok := func(w http.ResponseWriter) { fmt.Fprint(w, good) }
	says := func(status int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	for name, tt := range map[string]struct {
		answer             func(http.ResponseWriter)
		model              model
		verdict            diagnosis.Verdict
		observed, identity string
	}{
		"they work":                             {ok, model{}, diagnosis.OK, "answered", "a@example.com"},
		"they have ended":                       {says(400, `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`), model{}, diagnosis.Expired, "expired", ""},
		"they are refused":                      {says(401, `{"error":"invalid_client"}`), model{}, diagnosis.Invalid, "unauthenticated", ""},
		"Google fails":                          {says(500, ""), model{}, diagnosis.Unknown, "provider_fault", ""},
		"they work, and may not call the model": {ok, model{&llm.Error{Kind: llm.Forbidden, Provider: "google"}}, diagnosis.Invalid, "forbidden", "a@example.com"},
		"they work, and the model is busy":      {ok, model{&llm.Error{Kind: llm.RateLimited, Provider: "google"}}, diagnosis.Unknown, "rate_limited", "a@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				tt.answer(w)
			}))
			defer server.Close()
			found, err := googleauth.Detect(googleauth.Options{
				JSON: `{"type":"authorized_user","client_id":"a","client_secret":"s3cret","refresh_token":"s3cret"}`,
				HTTP: &http.Client{Transport: loopback{server.Listener.Addr().String()}},
			})
			if err != nil {
				t.Fatal(err)
			}
			h, err := diagnosis.New(diagnosis.Options{Backends: []diagnosis.Backend{{
				Provider: "google", Model: "gemini", Client: tt.model, Credentials: google{found, diagnosis.Key{Client: tt.model, Model: "gemini"}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/diagnosis/auth", strings.NewReader("")))
			var report diagnosis.Report
			if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || strings.Contains(w.Body.String(), "s3cret") {
				t.Fatalf("%v: %s", err, w.Body)
			}
			evidence := report.Evidence[0]
			if report.Verdict != tt.verdict || evidence.Observed != tt.observed || evidence.Credential.Kind != "authorized_user" || evidence.Credential.Identity != tt.identity {
				t.Errorf("got %s, want %s, %s and %q", w.Body, tt.verdict, tt.observed, tt.identity)
			}
			if tt.identity == "" {
				return
			}
			c := evidence.Credential
			if c.ExpiresAt != nil || c.TokenExpiresAt == nil || time.Until(*c.TokenExpiresAt) < 50*time.Minute || strings.Contains(evidence.Detail, "expire") {
				t.Errorf("a token that is renewed counts as an end: %s", w.Body)
			}
			if diff := cmp.Diff([]string{googleauth.CloudPlatform}, c.Scopes); diff != "" {
				t.Errorf("scopes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestATokenWithoutTheScope is forbidden the model, and says that the scope is missing, which no grant would give it.
func TestATokenWithoutTheScope(t *testing.T) {
	for scopes, want := range map[string]bool{"email openid": true, googleauth.CloudPlatform: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"ya29","expires_in":3600,"email":"a@example.com","scope":"%s"}`, scopes)
		}))
		defer server.Close()
		found, err := googleauth.Detect(googleauth.Options{
			JSON: `{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}`,
			HTTP: &http.Client{Transport: loopback{server.Listener.Addr().String()}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []model{{&llm.Error{Kind: llm.Forbidden, Provider: "google"}}, {}} {
			_, err = google{found, diagnosis.Key{Client: m, Model: "gemini"}}.Check(t.Context())
			if got := errors.Is(err, diagnosis.ErrScope); got != (want && m.err != nil) {
				t.Errorf("scopes %q, the model says %v: got %v", scopes, m.err, err)
			}
		}
	}
}

func TestOnlyGooglesBackendsGetGooglesCredentials(t *testing.T) {
	route := func() []diagnosis.Backend {
		return []diagnosis.Backend{
			{Provider: "google", Model: "g", Client: model{}, Credentials: diagnosis.None{}},
			{Provider: "openai", Model: "o", Client: model{}, Credentials: diagnosis.Key{}},
		}
	}
	const login = `{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}`
	for name, tt := range map[string]struct {
		backends []diagnosis.Backend
		vars     map[string]string
		want     string // the type of the first backend's credentials
		bad      string
	}{
		"a login":                   {route(), map[string]string{"LRCP_GOOGLE_CREDENTIALS": login}, "main.google", ""},
		"the machine's own":         {route(), nil, "main.google", ""},
		"a stand-in":                {route(), map[string]string{"VERTEX_AI_EMULATOR_HOST": "127.0.0.1:1", "LRCP_GOOGLE_CREDENTIALS": "{"}, "diagnosis.None", ""},
		"no JSON":                   {route(), map[string]string{"LRCP_GOOGLE_CREDENTIALS": "{"}, "", "LRCP_GOOGLE_CREDENTIALS can't be used"},
		"no JSON, and nobody looks": {route()[1:], map[string]string{"LRCP_GOOGLE_CREDENTIALS": "{"}, "diagnosis.Key", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := env.New(func(name string) string { return tt.vars[name] })
			got := withGoogle(e, tt.backends)
			if tt.bad != "" {
				if err := e.Err(); err == nil || !strings.Contains(err.Error(), tt.bad) {
					t.Errorf("got %v, want %q", err, tt.bad)
				}
				return
			}
			if first := fmt.Sprintf("%T", got[0].Credentials); e.Err() != nil || first != tt.want {
				t.Errorf("got %s, %v, want %s", first, e.Err(), tt.want)
			}
			if last := fmt.Sprintf("%T", got[len(got)-1].Credentials); last != "diagnosis.Key" {
				t.Errorf("the other provider has %s", last)
			}
		})
	}
}
