package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	controlplane "github.com/llm-reliability/control-plane"
	"github.com/llm-reliability/control-plane/infra/local"
)

func start(t testing.TB) *local.Stack {
	t.Helper()
	stack, err := local.Start(t.Context(), local.Options{Listen: "127.0.0.1:0", DatadogListen: "127.0.0.1:0", StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := stack.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return stack
}

func ask(t testing.TB, client *http.Client, s *local.Stack, body []byte) int {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/qa", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.APIKey)
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

func question(t testing.TB) []byte {
	body, err := json.Marshal(map[string]string{"question": "When does a patent license terminate?", "document": controlplane.License()})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestTelemetryArrivesOverTheRealFormats asks one question and looks at what the stand-in has when the answer is there.
func TestTelemetryArrivesOverTheRealFormats(t *testing.T) {
	s := start(t)
	if status := ask(t, s.HTTP, s, question(t)); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	counts := s.Datadog.Intake().Counts()
	for kind, want := range map[string]int{"workflow": 1, "retrieval": 1, "llm": 1, "task": 1} {
		if got := counts.LLMSpans[kind]; got != want {
			t.Errorf("%d LLM Observability spans of kind %s, want %d", got, kind, want)
		}
	}
	if counts.Traces == 0 || counts.Logs == 0 || len(counts.Malformed) > 0 {
		t.Errorf("counts %+v, want traces and logs, and nothing malformed", counts)
	}
}

// TestWithoutItsSecretNothingIsServed shows that every function but its health is closed.
func TestWithoutItsSecretNothingIsServed(t *testing.T) {
	s := start(t)
	for path, want := range map[string]int{"/health": 200, "/qa": 401, "/completion": 401, "/v1/chat/completions": 401, "/remediation": 401} {
		resp, err := s.HTTP.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s without a secret: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

// BenchmarkStack is the whole stack on this machine: sockets, authentication, gateway, embedded model on five pages, quality
// signals, real SDKs, acknowledged telemetry, and the stand-in that receives it, in one process.
func BenchmarkStack(b *testing.B) {
	s := start(b)
	body := question(b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if status := ask(b, client, s, body); status != http.StatusOK {
				b.Errorf("status %d", status)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// TestProductAnalyticsHearOfARequest asks a question, and looks at what the intake of server-side events got.
func TestProductAnalyticsHearOfARequest(t *testing.T) {
	s := start(t)
	if status := ask(t, s.HTTP, s, question(t)); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	names := map[string]bool{}
	for _, e := range s.ProductAnalytics.Events() {
		names[e.Name] = true
		if e.User == "" || len(e.Attributes["llm"]) == 0 {
			t.Errorf("event %+v, want a user and what the request was", e)
		}
	}
	if !names["endpoint_used"] || !names["answer_delivered"] {
		t.Errorf("events %v, want endpoint_used and answer_delivered", names)
	}
}
