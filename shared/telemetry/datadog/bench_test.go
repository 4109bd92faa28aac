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
)

// BenchmarkRecord is the cost of recording one exchange: the request's span, four spans below it, metrics, log line. The
// bare spans are the same number of spans made with the SDK and nothing set on them, in the same run.
func BenchmarkRecord(b *testing.B) {
	a := startAgent(b)
	s := start(b, a, io.Discard, nil)
	client, err := telemetry.New(telemetry.Options{Sink: s, Logger: telemetry.NewLogger(io.Discard, nil, "s", "e", "v"), Function: "qa"})
	if err != nil {
		b.Fatal(err)
	}
	e := exchange()
	e.Attempts = e.Attempts[1:]
	settle := func() {
		b.StopTimer()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Flush(ctx)
		b.StartTimer()
	}
	b.Run("exchange", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			ctx, span := client.Begin(b.Context(), "qa", http.Header{})
			client.Record(ctx, e)
			span.End(200, nil)
			if i%1000 == 999 {
				settle()
			}
		}
	})
	b.Run("bare SDK spans", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			root, ctx := tracer.StartSpanFromContext(b.Context(), "http.request")
			workflow, ctx := llmobs.StartWorkflowSpan(ctx, "qa")
			retrieval, _ := llmobs.StartRetrievalSpan(ctx, "document")
			retrieval.Finish()
			model, _ := llmobs.StartLLMSpan(ctx, "google.qa")
			model.Finish()
			task, _ := llmobs.StartTaskSpan(ctx, "quality")
			task.Finish()
			workflow.Finish()
			root.Finish()
			if i%1000 == 999 {
				settle()
			}
		}
	})
}
