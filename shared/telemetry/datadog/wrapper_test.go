package datadog_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"

	"github.com/llm-reliability/control-plane/shared/telemetry/datadog"
)

// The root of the trace is the wrapper's span, which ends when the request's has ended and was flushed.
func TestFlushAfterAnInvocationWaitsForItsTrace(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, func(c *datadog.Config) { c.StartedByWrapper = true })
	if err := tracer.Start(s.TracerOptions()...); err != nil {
		t.Fatal(err)
	}
	defer tracer.Stop()
	a.set(func() { a.delay = 50 * time.Millisecond })
	for i := 1; i <= 3; i++ {
		root, ctx := tracer.StartSpanFromContext(t.Context(), "aws.lambda")
		ctx, span := s.Begin(ctx, "qa", http.Header{})
		s.Record(ctx, exchange())
		span.End(200, nil)
		flush(t, s)
		if got := len(a.llmSpans(t)); got != 5*i {
			t.Errorf("invocation %d: %d LLM Observability spans after the request, want %d", i, got, 5*i)
		}
		root.Finish()
		s.Invoked()
		flush(t, s)
		// That of the wrapper, of the request, and five below it.
		if got := len(a.apmSpans(t)); got != 7*i {
			t.Errorf("invocation %d: %d spans after it, want %d", i, got, 7*i)
		}
	}
}

func flush(t *testing.T, s *datadog.Sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Error(err)
	}
}
