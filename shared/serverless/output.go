package serverless

import (
	"context"
	"log/slog"
	"net/http"

	"gopkg.in/DataDog/dd-trace-go.v1/ddtrace/tracer"

	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// output is where telemetry leaves the process.
type output struct {
	sink telemetry.Sink
	// traced is whether Datadog's Lambda wrapper starts the tracer, with tracerOptions.
	traced        bool
	tracerOptions []tracer.StartOption
	close         func(ctx context.Context) error
}

// openTelemetry returns the output of a function. Only log lines leave the process: no exporter is part of the build,
// and the log says so at start, so that missing data has an explanation.
func openTelemetry(ctx context.Context, _ config, log *slog.Logger) (output, error) {
	log.WarnContext(ctx, "telemetry is not exported: spans, metrics and events are discarded")
	return output{sink: discard{}, close: func(context.Context) error { return nil }}, nil
}

// discard is a Sink without an exporter.
type discard struct{}

var _ telemetry.Sink = discard{}

func (discard) Begin(ctx context.Context, _ string, _ http.Header) (context.Context, telemetry.Span) {
	return ctx, discardSpan{}
}
func (discard) Record(context.Context, *telemetry.Exchange) {}
func (discard) Emit([]telemetry.Point)                      {}
func (discard) Event(context.Context, telemetry.Event)      {}
func (discard) Flush(context.Context) error                 { return nil }

type discardSpan struct{}

func (discardSpan) Trace() telemetry.Trace { return telemetry.Trace{} }
func (discardSpan) Inject(http.Header)     {}
func (discardSpan) End(int, error)         {}
