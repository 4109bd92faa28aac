package ddfake

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/dogstatsd"
)

// Sink returns a telemetry sink that feeds the stand-in within the process, without SDK and sockets, so that whole loops
// run on virtual time. Tags, such as "service:a", go to every point and event. It makes LLM Observability spans but no
// APM traces.
func (d *Datadog) Sink(tags ...string) (telemetry.Sink, error) {
	statsd, err := dogstatsd.New(dogstatsd.Options{Writer: datagrams{d.intake}, Tags: tags})
	if err != nil {
		return nil, fmt.Errorf("make telemetry sink: %w", err)
	}
	return &sink{intake: d.intake, tags: tags, statsd: statsd}, nil
}

type sink struct {
	intake *intake.Intake
	tags   []string
	statsd *dogstatsd.Client
	spans  atomic.Uint64
}

type sinkSpan struct{ trace telemetry.Trace }

func (s sinkSpan) Trace() telemetry.Trace { return s.trace }
func (s sinkSpan) Inject(h http.Header)   { h.Set("x-datadog-trace-id", s.trace.SpanID) }
func (s sinkSpan) End(int, error)         {}

// Begin implements telemetry.Sink.
func (s *sink) Begin(ctx context.Context, _ string, _ http.Header) (context.Context, telemetry.Span) {
	n := s.spans.Add(1)
	return ctx, sinkSpan{telemetry.Trace{TraceID: fmt.Sprintf("%032x", n), SpanID: strconv.FormatUint(n, 10)}}
}

// Record implements telemetry.Sink: a workflow span for the exchange, a retrieval span for its document, and an llm span
// for each attempt.
func (s *sink) Record(ctx context.Context, e *telemetry.Exchange) {
	trace := telemetry.TraceFrom(ctx).TraceID
	span := func(parent, kind, name string, start time.Time, took time.Duration, failure string) intake.LLMSpan {
		status := "ok"
		if failure != "" {
			status = "error"
		}
		return intake.LLMSpan{
			SpanID: strconv.FormatUint(s.spans.Add(1), 10), TraceID: trace, APMTraceID: trace, ParentID: parent, SessionID: e.Session, Name: name, Kind: kind,
			Status: status, ErrorType: failure, Start: start, Duration: took, Tags: append(append(e.Tags(), "request_id:"+e.RequestID), s.tags...),
		}
	}
	root := span("undefined", "workflow", e.Function, e.Start, e.Duration, e.ErrorType)
	root.Output.Value = e.Output
	spans := []intake.LLMSpan{root}
	if e.Document != "" {
		retrieval := span(root.SpanID, "retrieval", "document", e.Start, 0, "")
		retrieval.Input.Value = e.Question
		retrieval.Output.Documents = []map[string]any{{"text": e.Document}}
		spans = append(spans, retrieval)
	}
	for _, a := range e.Attempts {
		llm := span(root.SpanID, "llm", a.Model, a.Start, a.Duration, a.ErrorType)
		llm.Model, llm.Provider, llm.Metrics = a.Model, a.Provider, map[string]float64{}
		for _, m := range e.Messages {
			llm.Input.Messages = append(llm.Input.Messages, intake.ChatMessage{Role: string(m.Role), Content: m.Content})
		}
		if a.Output != "" {
			llm.Output.Messages = []intake.ChatMessage{{Role: "assistant", Content: a.Output}}
		}
		if a.Usage != nil {
			llm.Metrics["input_tokens"], llm.Metrics["output_tokens"] = float64(a.Usage.InputTokens), float64(a.Usage.OutputTokens)
			llm.Metrics["total_tokens"] = float64(a.Usage.Total())
		}
		if a.CostUSD != nil {
			llm.Metrics["total_cost"] = *a.CostUSD
		}
		spans = append(spans, llm)
	}
	s.intake.AddLLMSpans(spans...)
}

// Evaluate implements telemetry.Sink.
func (s *sink) Evaluate(e telemetry.Evaluation) {
	out := intake.Evaluation{MetricType: "score", Label: e.Label, ScoreValue: &e.Score, TimestampMS: time.Now().UnixMilli(), Tags: s.tags}
	out.JoinOn.Tag = &intake.JoinTag{Key: "request_id", Value: e.RequestID}
	s.intake.AddEvaluations(out)
}

// Emit implements telemetry.Sink.
func (s *sink) Emit(points []telemetry.Point) {
	s.statsd.Emit(points)
	s.statsd.Flush()
}

// Event implements telemetry.Sink.
func (s *sink) Event(_ context.Context, e telemetry.Event) {
	s.statsd.Event(e)
	s.statsd.Flush()
}

// datagrams hands what is written to the intake, as a socket would.
type datagrams struct{ intake *intake.Intake }

func (d datagrams) Write(p []byte) (int, error) {
	d.intake.Datagram(p)
	return len(p), nil
}

// Flush implements telemetry.Sink; everything has arrived already.
func (s *sink) Flush(context.Context) error { return nil }
