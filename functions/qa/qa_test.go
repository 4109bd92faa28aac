package qa_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/internal/functiontest"
	"github.com/llm-reliability/control-plane/functions/qa"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/httpjson"
)

func start(t testing.TB) *functiontest.Function {
	return functiontest.Start(t, "qa", nil, func(gw *gateway.Gateway) (http.Handler, error) { return qa.New(qa.Options{Gateway: gw}) })
}

func post(t testing.TB, f *functiontest.Function, contentType, body string) (int, http.Header, []byte) {
	t.Helper()
	resp, err := f.Client.Post(f.URL+"/qa", contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, data
}

const document = "The mill stands by the river Orla. It was built in 1732 by the abbey of St. Aurel. It grinds rye."

func TestAnswerComesFromTheDocumentAndSaysHow(t *testing.T) {
	f := start(t)
	body, _ := json.Marshal(map[string]string{"question": "Who built the mill?", "document": document})
	status, header, data := post(t, f, "application/json; charset=utf-8", string(body))
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, data)
	}
	var got qa.Response
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.Answer, "abbey of St. Aurel") {
		t.Errorf("answer %q", got.Answer)
	}
	m := got.Metadata
	if m.RequestID == "" || m.RequestID != header.Get("X-Request-Id") || m.TraceID == "" || m.Model != "embedded-standard" || m.Provider != "embedded" ||
		m.Route != "standard" || m.Attempts != 1 || m.Cached || m.InputTokens == nil || *m.InputTokens == 0 || m.CostUSD == nil || *m.CostUSD <= 0 {
		t.Errorf("metadata %s", data)
	}
	if m.Quality == nil || m.Quality.Groundedness == nil || *m.Quality.Groundedness < 0.9 || m.Quality.Ungrounded {
		t.Errorf("quality %+v", m.Quality)
	}
	for _, metric := range []string{"llm.request.count", "llm.request.duration", "llm.request.cost", "llm.quality.groundedness", "product_analytics.endpoint_usage"} {
		if _, n := f.Memory.Sum(metric, "function:qa", "endpoint:/qa", "model:embedded-standard", "outcome:success", "caller:anonymous"); n != 1 {
			t.Errorf("%s was emitted %d times, want once", metric, n)
		}
	}
}

func TestBadInput(t *testing.T) {
	long := strings.Repeat("x", 1001)
	for name, tt := range map[string]struct {
		contentType, body string
		status            int
		fields            []string
		detail            string
	}{
		"empty body":                  {"application/json", "", 400, nil, "empty"},
		"not JSON":                    {"application/json", "{", 400, nil, "not valid JSON"},
		"an array":                    {"application/json", "[]", 400, nil, "must be a JSON object"},
		"two values":                  {"application/json", `{"question":"q"} {}`, 400, nil, "nothing after it"},
		"another content type":        {"text/plain", `{"question":"q"}`, 415, nil, "application/json"},
		"no content type":             {"", `{"question":"q"}`, 415, nil, "application/json"},
		"invalid UTF-8":               {"application/json", "{\"question\":\"\xff\"}", 400, nil, "UTF-8"},
		"no question":                 {"application/json", `{"document":"d"}`, 400, []string{"question"}, ""},
		"a blank question":            {"application/json", `{"question":" \n"}`, 400, []string{"question"}, ""},
		"a question that is too long": {"application/json", `{"question":"` + long + `"}`, 400, []string{"question"}, ""},
		"a document that is too long": {"application/json", `{"question":"q","document":"` + strings.Repeat("d", 100_001) + `"}`, 400, []string{"document"}, ""},
		"a body that is too large":    {"application/json", `{"question":"q","document":"` + strings.Repeat("d", 2<<20) + `"}`, 413, nil, "larger"},
		"every bad field at once":     {"application/json", `{"question":7,"documents":"d","model":"gpt-9"}`, 400, []string{"documents", "question"}, ""},
		"an unknown model":            {"application/json", `{"question":"q","model":"gpt-9"}`, 400, []string{"model"}, ""},
		"a field twice":               {"application/json", `{"question":"q","question":"r"}`, 400, []string{"question"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			status, header, data := post(t, f, tt.contentType, tt.body)
			var p httpjson.Problem
			if err := json.Unmarshal(data, &p); err != nil {
				t.Fatalf("status %d, body %s: %v", status, data, err)
			}
			var fields []string
			for _, e := range p.Errors {
				fields = append(fields, e.Field)
			}
			if diff := cmp.Diff(tt.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if status != tt.status || p.Status != tt.status || header.Get("Content-Type") != "application/problem+json" || p.RequestID == "" || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("status %d, %s", status, data)
			}
			if _, n := f.Memory.Sum("llm.request.count", "outcome:rejected"); n != 1 {
				t.Errorf("telemetry counted %d rejected requests, want 1", n)
			}
		})
	}
}

func TestOtherRoutesAndMethodsAreProblems(t *testing.T) {
	f := start(t)
	for path, want := range map[string]int{"/qa": http.StatusMethodNotAllowed, "/nothing": http.StatusNotFound} {
		resp, err := f.Client.Get(f.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("GET %s: %d %s, want %d as a problem", path, resp.StatusCode, resp.Header.Get("Content-Type"), want)
		}
	}
}

func TestHugeSentenceIsAnswered(t *testing.T) {
	f := start(t)
	body, _ := json.Marshal(map[string]string{"question": "What is the word?", "document": strings.Repeat("the word is mill and ", 4761)})
	if status, _, data := post(t, f, "application/json", string(body)); status != http.StatusOK || len(data) > 4000 {
		t.Errorf("status %d with %d bytes, want 200 and a short answer", status, len(data))
	}
}

func FuzzRequest(f *testing.F) {
	fn := start(f)
	f.Add([]byte(`{"question":"Who?","document":"It was Ann."}`))
	f.Add([]byte(`{"question":null,"model":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/qa", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		fn.Handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK && (w.Code < 400 || w.Code >= 500) {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}

func BenchmarkQA(b *testing.B) {
	license, err := os.ReadFile("../../LICENSE")
	if err != nil {
		b.Fatal(err)
	}
	f := start(b)
	body, _ := json.Marshal(map[string]string{"question": "When does a patent license terminate?", "document": string(license)})
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/qa", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		f.Handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}

// TestCallersAreLimited goes through the whole function: what a caller over its limit is told, and what is counted.
func TestCallersAreLimited(t *testing.T) {
	f := functiontest.StartWith(t, "qa", functiontest.Setup{Limits: functiontest.Limits(t, "*:rpm=2")}, func(gw *gateway.Gateway) (http.Handler, error) { return qa.New(qa.Options{Gateway: gw}) })
	for range 2 {
		if status, _, data := post(t, f, "application/json", `{"question":"Who?"}`); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, data)
		}
	}
	status, header, data := post(t, f, "application/json", `{"question":"Who?"}`)
	var problem httpjson.Problem
	if err := json.Unmarshal(data, &problem); err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if status != http.StatusTooManyRequests || err != nil || seconds < 30 || seconds > 120 || problem.Code != "limit_exceeded" ||
		problem.Detail != `the limit of 2 requests a minute for the caller "anonymous" is used up` {
		t.Errorf("status %d, Retry-After %q: %s", status, header.Get("Retry-After"), data)
	}
	if most, left := header.Get("X-Ratelimit-Limit-Requests"), header.Get("X-Ratelimit-Remaining-Requests"); most != "2" || left != "0" {
		t.Errorf("it is told that %q of %q requests are left", left, most)
	}
	if sum, n := f.Memory.Sum("llm.limit.exceeded", "limit:requests", "caller:anonymous", "outcome:rejected"); sum != 1 || n != 1 {
		t.Errorf("counted %v in %d points", sum, n)
	}
}

// TestACapInForceLimitsACaller is the action limit of the control state.
func TestACapInForceLimitsACaller(t *testing.T) {
	f := start(t)
	now := time.Now()
	if err := f.Store.Commit(t.Context(), "0", []control.Override{{
		ID: "o-1", Action: control.Limit, Params: control.Params{RequestsPerMinute: 1}, Scope: control.Scope{Caller: "anonymous"}, Start: now.Add(-time.Minute), End: now.Add(time.Hour), Created: now,
	}}); err != nil {
		t.Fatal(err)
	}
	if status, _, data := post(t, f, "application/json", `{"question":"Who?"}`); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, data)
	}
	if status, _, data := post(t, f, "application/json", `{"question":"Who?"}`); status != http.StatusTooManyRequests || !strings.Contains(string(data), "1 requests a minute") {
		t.Errorf("status %d: %s", status, data)
	}
	if sum, _ := f.Memory.Sum("llm.limit.exceeded", "limit:override"); sum != 1 {
		t.Errorf("counted %v", sum)
	}
}
