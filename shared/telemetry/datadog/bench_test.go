package datadog_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"
	"github.com/DataDog/dd-trace-go/v2/llmobs"

	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/datadog"
)

// BenchmarkRecord is the cost of recording one exchange: the request's span, four spans below it, metrics, log line, evaluations. It is
// recorded in the background, as on Cloud Run, and, under the second name, with datagrams and batches that do not outlive a
// request, as on Lambda. The bare spans are the same number of spans made with the SDK and nothing set on them, in the same run.
//
// Run it with DD_INSTRUMENTATION_TELEMETRY_ENABLED=false, as functions are deployed; scripts/bench does. Otherwise the SDK counts for
// itself what it does, in both. It reads that variable when it is loaded.
func BenchmarkRecord(b *testing.B) {
	record := func(s *datadog.Sink) func(*testing.B) {
		client, err := telemetry.New(telemetry.Options{Sink: s, Logger: telemetry.NewLogger(io.Discard, nil, "s", "e", "v"), Function: "qa"})
		if err != nil {
			b.Fatal(err)
		}
		e := exchange()
		e.Attempts = e.Attempts[1:]
		return settling(s, func(ctx context.Context) {
			ctx, span := client.Begin(ctx, "qa", http.Header{})
			client.Record(ctx, e)
			span.End(200, nil)
		})
	}
	forgetful := func() *agent {
		a := startAgent(b)
		a.forgets.Store(true)
		return a
	}
	sink := start(b, forgetful(), io.Discard, func(c *datadog.Config) { c.Background = true })
	b.Run("exchange", record(sink))
	b.Run("bare SDK spans", settling(sink, func(ctx context.Context) {
		root, ctx := tracer.StartSpanFromContext(ctx, "http.request")
		workflow, ctx := llmobs.StartWorkflowSpan(ctx, "qa")
		retrieval, _ := llmobs.StartRetrievalSpan(ctx, "document")
		retrieval.Finish()
		model, _ := llmobs.StartLLMSpan(ctx, "google.qa")
		model.Finish()
		task, _ := llmobs.StartTaskSpan(ctx, "quality")
		task.Finish()
		workflow.Finish()
		root.Finish()
	}))
	b.Run("exchange of one request", record(start(b, forgetful(), io.Discard, nil)))
}

// settling repeats work, and has what it made delivered now and then, while the clock stands.
func settling(s *datadog.Sink, work func(context.Context)) func(*testing.B) {
	return func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			work(b.Context())
			if i%1000 == 999 {
				b.StopTimer()
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				_ = s.Flush(ctx) // what was not delivered in time costs nobody here
				cancel()
				b.StartTimer()
			}
		}
	}
}
