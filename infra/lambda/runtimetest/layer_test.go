package runtimetest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
)

// TestBesideTheExtension runs the function where it finds Datadog's extension as on Lambda: by its file and on its ports.
// Then the wrapper tells the extension of every invocation, and the extension makes the span of it.
func TestBesideTheExtension(t *testing.T) {
	if !runtimetest.InSandbox(t, given+"="+binary(t, completion)) {
		return
	}
	const prompt = "Who wrote the first program? " + document
	l := startBeside(t, runtimetest.StartLayer(t, delay), completion)
	l.Freeze(l.process)
	direct, err := json.Marshal(map[string]any{
		"method": "POST", "path": "/completion", "headers": map[string]string{"Authorization": "Bearer " + apiKey}, "body": map[string]any{"prompt": prompt},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for i, event := range [][]byte{completionEvent(t, true), completionEvent(t, false), direct, completionEvent(t, true)} {
		begun := len(l.extension.Posts())
		o := wait(t, l.Invoke(event))
		if o.Failed || o.ErrorType != "" || !bytes.Contains(o.Body(), []byte("Ada Lovelace")) {
			t.Fatalf("invocation %d failed: %s %s", i+1, o.ErrorType, o.Body())
		}
		if paths := l.extension.Pending(); len(paths) > 0 {
			t.Errorf("at the freeze of invocation %d, these posts had no answer yet: %q", i+1, paths)
		}
		calls := l.extension.Calls()[seen:]
		seen += len(calls)
		if paths := []string{"/lambda/start-invocation", "/lambda/end-invocation"}; len(calls) != 2 || calls[0].Path != paths[0] || calls[1].Path != paths[1] {
			t.Fatalf("invocation %d: the extension was told %+v, want %q", i+1, calls, paths)
		}
		start, end := calls[0], calls[1]
		if !bytes.Equal(start.Body, event) {
			t.Errorf("invocation %d: start-invocation has %s, want the event", i+1, start.Body)
		}
		// What was sent as a stream is not told a second time.
		if stream := i != 2; stream && string(end.Body) != "{}" {
			t.Errorf("invocation %d: end-invocation has %s, want nothing of a stream", i+1, end.Body)
		}
		if id := end.Header.Get("Lambda-Runtime-Aws-Request-Id"); id == "" || id != start.Header.Get("Lambda-Runtime-Aws-Request-Id") {
			t.Errorf("invocation %d: begin and end have different IDs, %q and %q", i+1, start.Header, end.Header)
		}
		if end.At.After(o.Ended) {
			t.Errorf("invocation %d: its end was told after the response had ended", i+1)
		}
		traces := l.extension.Intake.Traces()
		if len(traces) != i+1 {
			t.Fatalf("%d traces for %d invocations", len(traces), i+1)
		}
		// The extension began the trace, and drops the span that the wrapper made; ours is below that one's ID.
		spans := map[string]intake.APMSpan{}
		for _, span := range traces[i] {
			spans[span.Name] = span
		}
		wrapper, request := spans["aws.lambda"], spans["http.request"]
		if wrapper.Resource != "dd-tracer-serverless-span" {
			t.Errorf("the wrapper's span has the resource %q, by which the extension can't know it", wrapper.Resource)
		}
		if request.ParentID != wrapper.SpanID || end.Header.Get("X-Datadog-Span-Id") != strconv.FormatUint(wrapper.SpanID, 10) {
			t.Errorf("the request's span is not below the invocation's: %+v", spans)
		}
		id, err := strconv.ParseUint(end.Header.Get("X-Datadog-Trace-Id"), 10, 64)
		if want := fmt.Sprintf("%016x", id); err != nil || !strings.HasSuffix(request.TraceID, want) {
			t.Errorf("the request's span is in trace %s, want that of the extension, %s", request.TraceID, want)
		}
		posts := l.extension.Posts()[begun:]
		if !slices.ContainsFunc(posts, func(p runtimetest.Post) bool { return strings.HasSuffix(p.Path, "/api/v2/llmobs") && p.Status/100 == 2 }) {
			t.Errorf("invocation %d: no span of LLM Observability was acknowledged: %+v", i+1, posts)
		}
	}
	if got := len(l.extension.Intake.LLMSpans()); got < 4 {
		t.Errorf("%d spans of LLM Observability for 4 invocations", got)
	}
	if err := l.extension.Sync(patience(t)); err != nil {
		t.Fatal(err)
	}
	counts := l.extension.Intake.Counts()
	if counts.Datagrams["d"] == 0 || len(counts.Malformed) > 0 || counts.Unserved > 0 {
		t.Errorf("got %+v, want distributions, and nothing malformed or unserved", counts)
	}
	// The payloads stay between function and extension, which leaves them out of its own spans unless it is told otherwise
	// (DD_CAPTURE_LAMBDA_PAYLOAD, which serverless.yml sets). What goes on to Datadog has neither prompt nor answer nor key.
	for _, secret := range []string{apiKey, prompt, "Ada Lovelace", "Babbage"} {
		if bytes.Contains(l.extension.Telemetry(), []byte(secret)) {
			t.Errorf("telemetry holds %q", secret)
		}
	}
	checkOutput(t, l.process)
	for _, line := range l.process.Lines() {
		if strings.Contains(line, `"library"`) {
			t.Errorf("a library complains: %s", line)
		}
	}
}
