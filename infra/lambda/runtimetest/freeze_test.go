package runtimetest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
)

// arrived is what the extension has got so far.
type arrived struct {
	Traces, Spans, LLMSpans, Evaluations, Datagrams int
}

func (l lambda) arrived(t *testing.T) arrived {
	t.Helper()
	if err := l.extension.Sync(patience(t)); err != nil {
		t.Fatal(err)
	}
	in := l.extension.Intake
	a := arrived{Traces: len(in.Traces()), LLMSpans: len(in.LLMSpans()), Evaluations: len(in.Evaluations())}
	for _, trace := range in.Traces() {
		a.Spans += len(trace)
	}
	for _, n := range in.Counts().Datagrams {
		a.Datagrams += n
	}
	return a
}

func (a arrived) since(b arrived) arrived {
	return arrived{a.Traces - b.Traces, a.Spans - b.Spans, a.LLMSpans - b.LLMSpans, a.Evaluations - b.Evaluations, a.Datagrams - b.Datagrams}
}

// TestNothingIsLostInTheFreeze stops the process at the end of each response, as Lambda does. What has arrived then must be
// complete: nothing may come when the process goes on, and each invocation must have brought a whole trace. Meanwhile the
// extension closes its connections, which the process must not trip over.
func TestNothingIsLostInTheFreeze(t *testing.T) {
	direct, err := json.Marshal(map[string]any{
		"method": "POST", "path": "/completion", "headers": map[string]string{"Authorization": "Bearer " + apiKey},
		"body": map[string]any{"prompt": "Who wrote the first program? " + document},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		event []byte
		llm   bool // whether a model is asked
	}{
		"a stream":                         {completionEvent(t, true), true},
		"a response as a whole":            {completionEvent(t, false), true},
		"a direct invocation":              {direct, true},
		"a response without a body":        {runtimetest.URLEvent(t, http.MethodHead, "/health", nil, ""), false},
		"an event that nobody understands": {[]byte(`{"Records":[]}`), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := startLambda(t, completion)
			l.Freeze(l.process)
			var before, first arrived
			for i := range 4 {
				o := wait(t, l.Invoke(tt.event))
				if o.ErrorType != "" {
					t.Fatalf("invocation %d ended with %s", i+1, o.ErrorType)
				}
				if paths := l.extension.Pending(); len(paths) > 0 {
					t.Errorf("at the freeze of invocation %d, these posts had no answer yet: %q", i+1, paths)
				}
				now := l.arrived(t)
				got := now.since(before)
				before = now
				if i == 0 {
					first = got // the first has the spans and metrics of a cold start as well
				}
				if got.Traces != 1 || (got.LLMSpans > 0) != tt.llm || tt.llm && got.Datagrams == 0 {
					t.Errorf("before the freeze of invocation %d, %+v had arrived, want a trace, and all that belongs to it", i+1, got)
				}
				if diff := cmp.Diff([]int{got.Spans, got.LLMSpans, got.Evaluations}, []int{first.Spans, first.LLMSpans, first.Evaluations}); diff != "" {
					t.Errorf("invocation %d brought another number of spans than the first (-got +want):\n%s", i+1, diff)
				}
				l.extension.Disconnect()
			}
			if err := l.process.Continue(); err != nil {
				t.Fatal(err)
			}
			if err := l.process.Terminate(); err != nil {
				t.Fatal(err)
			}
			exitCode(t, l.process)
			if diff := cmp.Diff(l.arrived(t), before); diff != "" {
				t.Errorf("something arrived after the last freeze (-got +want):\n%s", diff)
			}
			if lost := string(l.extension.Telemetry()); strings.Contains(lost, "llm.telemetry.dropped") {
				t.Error("the function counts telemetry as lost")
			}
		})
	}
}
