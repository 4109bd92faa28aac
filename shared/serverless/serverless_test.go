package serverless_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

func TestWrap(t *testing.T) {
	sum := sha256.Sum256([]byte("the-key"))
	keys, err := serverless.ParseAPIKeys([]env.Secret{env.Secret("web:" + hex.EncodeToString(sum[:]))})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ok", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, serverless.Caller(r.Context())) })
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("s3cret") })
	mux.HandleFunc("GET /late", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		panic("s3cret")
	})
	tests := map[string]struct {
		method, path, token string
		status              int
		contains            string
	}{
		"a caller with a key is known by name":             {"POST", "/ok", "the-key", 200, "web"},
		"a wrong key is refused":                           {"POST", "/ok", "other", 401, `"status":401`},
		"an error below /v1/ has OpenAI's form":            {"POST", "/v1/x", "", 401, `"type":"authentication_error"`},
		"an unknown path is a problem":                     {"GET", "/none", "the-key", 404, `"status":404`},
		"a wrong method is a problem that names the right": {"GET", "/ok", "the-key", 405, "use POST"},
		"a panic is a 500":                                 {"GET", "/panic", "the-key", 500, `"status":500`},
		"a panic in an event stream ends it with an error": {"GET", "/late", "the-key", 200, "event: error"},
		"health is open to all":                            {"GET", "/health", "", 200, `"status":"ok"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var sink telemetry.Memory
			client, err := telemetry.New(telemetry.Options{Sink: &sink, Logger: slog.New(slog.DiscardHandler), Function: "f"})
			if err != nil {
				t.Fatal(err)
			}
			h := serverless.Wrap(serverless.Function{Handler: mux, Auth: keys}, serverless.Options{Name: "f", Telemetry: client})
			r := httptest.NewRequest(tt.method, tt.path, nil)
			r.Header.Set("Authorization", "Bearer "+tt.token)
			r.Header.Set("X-Request-Id", "r-1")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.contains) {
				t.Errorf("got %d %s, want %d with %q", w.Code, w.Body, tt.status, tt.contains)
			}
			if strings.Contains(w.Body.String(), "s3cret") {
				t.Errorf("the response shows the panic: %s", w.Body)
			}
			if got := w.Header().Get("X-Request-Id"); got != "r-1" {
				t.Errorf("request ID is %q, want r-1", got)
			}
			if diff := cmp.Diff(sink.Statuses(), []int{tt.status}); diff != "" || sink.Flushes() != 1 {
				t.Errorf("%d flushes, want 1; span statuses (-got +want):\n%s", sink.Flushes(), diff)
			}
		})
	}
}

// late is a sink that knows how much of the response had been sent when the request was recorded.
type late struct {
	telemetry.Memory
	sent func() bool
	was  bool
}

func (l *late) Record(ctx context.Context, e *telemetry.Exchange) {
	l.was = l.sent()
	l.Memory.Record(ctx, e)
}

func TestAWholeResponseLeavesBeforeItIsRecorded(t *testing.T) {
	whole := func(w http.ResponseWriter) { httpjson.Write(w, 200, "answer") }
	for name, tt := range map[string]struct {
		early bool
		write func(http.ResponseWriter)
		sent  bool
	}{
		"where the process runs on":        {true, whole, true},
		"not where it may be frozen":       {false, whole, false},
		"not without a length, as a piece": {true, func(w http.ResponseWriter) { io.WriteString(w, "piece") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			sink := &late{sent: func() bool { return w.Flushed }}
			client, err := telemetry.New(telemetry.Options{Sink: sink, Logger: slog.New(slog.DiscardHandler), Function: "f"})
			if err != nil {
				t.Fatal(err)
			}
			h := serverless.Wrap(serverless.Function{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				client.Record(r.Context(), &telemetry.Exchange{})
				tt.write(w)
			})}, serverless.Options{Name: "f", Telemetry: client, Early: tt.early})
			h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if len(sink.Exchanges()) != 1 || sink.was != tt.sent {
				t.Errorf("%d recorded, sent before is %v, want %v", len(sink.Exchanges()), sink.was, tt.sent)
			}
		})
	}
}

func TestHealthIsDegradedWithoutControlState(t *testing.T) {
	h := serverless.Wrap(serverless.Function{
		Handler: http.NotFoundHandler(),
		Health:  func(context.Context) serverless.Health { return serverless.Health{Provider: "embedded"} },
	}, serverless.Options{Name: "f", Version: "1"})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
	var got serverless.HealthDocument
	if err := json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := serverless.HealthDocument{Status: "degraded", Function: "f", Version: "1", Provider: "embedded", ControlState: "unreachable"}
	if diff := cmp.Diff(got, want); diff != "" || w.Code != 200 {
		t.Errorf("status %d, want 200; health (-got +want):\n%s", w.Code, diff)
	}
}

func TestParseNamesEveryBadEntryAndNoSecret(t *testing.T) {
	_, err := serverless.ParseAPIKeys([]env.Secret{"s3cret", "name:s3cret"})
	if got, want := err.Error(), "cannot be used: entry 1 is no name:sha256 pair, entry 2 has no SHA-256 in hexadecimal"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = serverless.ParseControlSecrets([]env.Secret{"short", "brief"})
	if got, want := err.Error(), "cannot be used: secret 1 is shorter than 24 characters, secret 2 is shorter than 24 characters"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestControlSecretsAcceptBothDuringRotation(t *testing.T) {
	s, err := serverless.ParseControlSecrets([]env.Secret{"old-old-old-old-old-old-old", "new-new-new-new-new-new-new"})
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]bool{
		"Bearer old-old-old-old-old-old-old": true, "bearer new-new-new-new-new-new-new": true,
		"Basic new-new-new-new-new-new-new": false, "Bearer new": false, "": false,
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Authorization", header)
		if _, got := s.Authenticate(r); got != want {
			t.Errorf("%q accepted is %v, want %v", header, got, want)
		}
	}
}
