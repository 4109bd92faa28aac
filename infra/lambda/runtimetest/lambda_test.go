package runtimetest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
)

func TestCompletionStreams(t *testing.T) {
	l := startLambda(t, completion)
	for range 3 {
		o := wait(t, l.Invoke(completionEvent(t, true)))
		if got, want := o.ContentType, "application/vnd.awslambda.http-integration-response"; got != want {
			t.Errorf("content type of the invocation is %q, want %q", got, want)
		}
		r := response(t, o)
		if r.Status != http.StatusOK || r.Header.Get("Content-Type") != "text/event-stream" || !strings.Contains(r.Body, "event: done\n") {
			t.Errorf("got status %d, header %v, body %q; want a whole event stream", r.Status, r.Header, r.Body)
		}
		if n := strings.Count(r.Body, "data: "); n < 3 {
			t.Errorf("%d events came, want several", n)
		}
	}
}

// TestStreamLeavesPieceByPiece cannot pass when a response is collected before it is sent: its second piece is only
// written when its first one has arrived.
func TestStreamLeavesPieceByPiece(t *testing.T) {
	opened := make(chan struct{})
	gate := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-opened:
		case <-r.Context().Done():
		}
	}))
	defer gate.Close()
	l := startLambda(t, probe, "GATE_URL="+gate.URL)
	inv := l.Invoke(runtimetest.URLEvent(t, "POST", "/gate", nil, ""))
	_, err := inv.Until(patience(t), func(o runtimetest.Outcome) bool { return bytes.HasSuffix(o.Body(), []byte("first ")) })
	close(opened)
	if err != nil {
		t.Fatal(err)
	}
	o := wait(t, inv)
	if r := response(t, o); r.Body != "first second" {
		t.Errorf("got %q, want %q", r.Body, "first second")
	}
}

func TestProcessLivesAfterErrors(t *testing.T) {
	const ok = `{"method":"POST","path":"/ok"}`
	tests := map[string]struct {
		event    []byte
		failed   bool
		status   int
		contains string
	}{
		"a panic is a 500": {
			event:  runtimetest.URLEvent(t, "POST", "/panic", nil, ""),
			status: 500, contains: `"status":500`,
		},
		"a panic in a stream ends it with an error event": {
			event:  runtimetest.URLEvent(t, "POST", "/panic-in-stream", nil, ""),
			status: 200, contains: "event: error\n",
		},
		"an unknown path is a 404": {
			event:  runtimetest.URLEvent(t, "POST", "/none", nil, ""),
			status: 404, contains: `"status":404`,
		},
		"an event of another kind is an error of the invocation": {
			event:  []byte(`{"Records":[]}`),
			failed: true, contains: "neither a function URL request nor",
		},
	}
	l := startLambda(t, probe)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := wait(t, l.Invoke(tt.event))
			if o.Failed != tt.failed || !strings.Contains(string(o.Body()), tt.contains) {
				t.Errorf("failed is %v, body %q; want %v, and %q in it", o.Failed, o.Body(), tt.failed, tt.contains)
			}
			if !tt.failed {
				if r := response(t, o); r.Status != tt.status {
					t.Errorf("status is %d, want %d", r.Status, tt.status)
				}
			}
			next := wait(t, l.Invoke([]byte(ok)))
			if next.Failed || !strings.Contains(string(next.Body()), `"status":200`) {
				t.Errorf("the next event got %q, want a status of 200", next.Body())
			}
		})
	}
	checkOutput(t, l.process)
}

// TestTelemetryIsAcknowledgedBeforeTheResponseEnds is about the freeze: what is still on its way when the response has
// ended may never arrive. It is also another proof of streaming: the text is there before the telemetry about it.
func TestTelemetryIsAcknowledgedBeforeTheResponseEnds(t *testing.T) {
	l := startLambda(t, completion)
	const llmobs, traces = "/evp_proxy/v2/api/v2/llmobs", "/v0.4/traces"
	for i := range 3 {
		seen := len(l.extension.Posts())
		inv := l.Invoke(completionEvent(t, true))
		begun, err := inv.Until(patience(t), func(o runtimetest.Outcome) bool { return bytes.Contains(o.Body(), []byte("Ada Lovelace")) })
		if err != nil {
			t.Fatal(err)
		}
		text := begun.Chunks[len(begun.Chunks)-1].At
		o := wait(t, inv)
		acknowledged := map[string]int{}
		for _, p := range l.extension.Posts()[seen:] {
			if p.Status/100 == 2 && p.Acknowledged.After(text) && p.Acknowledged.Before(o.Ended) {
				acknowledged[p.Path]++
			}
		}
		if acknowledged[llmobs] == 0 || acknowledged[traces] == 0 {
			t.Errorf("invocation %d: acknowledged between the text and the end of the response were %v, want %s and %s", i+1, acknowledged, llmobs, traces)
		}
	}
	if got := len(l.extension.Intake.LLMSpans()); got < 3 {
		t.Errorf("%d LLM Observability spans arrived for 3 invocations", got)
	}
	if err := l.extension.Sync(patience(t)); err != nil {
		t.Fatal(err)
	}
	// The extension drops every other type of metric without a word.
	counts := l.extension.Intake.Counts()
	if counts.Datagrams["d"] == 0 || len(counts.Malformed) > 0 || counts.Unserved > 0 {
		t.Errorf("got %+v, want distributions, and nothing malformed or unserved", counts)
	}
	for kind := range counts.Datagrams {
		if kind != "d" && kind != "_e" {
			t.Errorf("a datagram of type %q was sent, want distributions and events only", kind)
		}
	}
	checkOutput(t, l.process)
}

func TestPanicIsAnErrorInTheTrace(t *testing.T) {
	l := startLambda(t, probe)
	wait(t, l.Invoke(runtimetest.URLEvent(t, "POST", "/panic", nil, "")))
	for _, trace := range l.extension.Intake.Traces() {
		for _, span := range trace {
			if span.Name == "http.request" && span.Error && span.Meta["http.status_code"] == "500" {
				return
			}
		}
	}
	t.Errorf("no span has the error: %+v", l.extension.Intake.Traces())
}

func TestDirectInvocation(t *testing.T) {
	tests := map[string]struct {
		key, body string
		status    int
	}{
		"a good request is answered":      {apiKey, `{"prompt":"Who wrote it? Ada wrote it."}`, 200},
		"a body as text is taken as well": {apiKey, `"{\"prompt\":\"Who wrote it? Ada wrote it.\"}"`, 200},
		"a bad request is refused":        {apiKey, `{"prompt":""}`, 400},
		"a wrong key is refused":          {"other", `{"prompt":"Who?"}`, 401},
	}
	l := startLambda(t, completion)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			event, err := json.Marshal(map[string]any{
				"method": "POST", "path": "/completion", "body": json.RawMessage(tt.body),
				"headers": map[string]string{"Authorization": "Bearer " + tt.key},
			})
			if err != nil {
				t.Fatal(err)
			}
			o := wait(t, l.Invoke(event))
			var got struct {
				Status int             `json:"status"`
				Body   json.RawMessage `json:"body"`
			}
			if err := json.Unmarshal(o.Body(), &got); err != nil {
				t.Fatalf("read %q: %v", o.Body(), err)
			}
			if o.Failed || got.Status != tt.status || len(got.Body) == 0 {
				t.Errorf("got %s, want status %d and a body", o.Body(), tt.status)
			}
		})
	}
}

func TestSIGTERMEndsTheProcess(t *testing.T) {
	l := startLambda(t, completion)
	wait(t, l.Invoke(completionEvent(t, false)))
	if err := l.process.Terminate(); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, l.process); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
	checkOutput(t, l.process)
}

func TestNoAPIKeyInTheEnvironment(t *testing.T) {
	l := startLambda(t, completion)
	if _, err := l.Ready(patience(t)); err != nil {
		t.Fatal(err)
	}
	for _, v := range l.process.Env {
		if name, _, _ := strings.Cut(v, "="); strings.Contains(name, "API_KEY") && strings.HasPrefix(name, "DD_") {
			t.Errorf("the function is given %s", name)
		}
	}
}
