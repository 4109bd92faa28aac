package serverless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/datadog"
)

// output is where telemetry leaves the process.
type output struct {
	sink telemetry.Sink
	// traced is whether Datadog's Lambda wrapper starts the tracer, with tracerOptions.
	traced        bool
	tracerOptions []tracer.StartOption
	// background is whether nobody waits for the delivery before the process ends.
	background bool
	// invoked tells that an invocation has come out of that wrapper.
	invoked func()
	close   func(ctx context.Context) error
}

// openTelemetry starts the delivery to the Datadog agent beside the function: the Lambda extension, the Cloud Run sidecar,
// or any other. A configuration that e refuses starts nothing; the sink then keeps what it gets, for as long as it takes
// to find out what else is wrong.
func openTelemetry(ctx context.Context, cfg config, e *env.Env, log *slog.Logger) (output, error) {
	c := datadog.ConfigFromEnv(e)
	if e.Err() != nil {
		return output{sink: &telemetry.Memory{}, close: func(context.Context) error { return nil }}, nil //nolint:nilerr // run reports it, together with what else is wrong
	}
	var errs []error
	for name, value := range datadog.Defaults() {
		if os.Getenv(name) == "" {
			errs = append(errs, os.Setenv(name, value))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return output{}, fmt.Errorf("set defaults of the Datadog libraries: %w", err)
	}
	c.Function, c.Logger, c.StartedByWrapper = cfg.name, log, cfg.lambda
	sink := datadog.Start(ctx, c)
	return output{
		background: c.Background && !cfg.lambda,
		sink:       sink, traced: cfg.lambda && c.Enabled, tracerOptions: sink.TracerOptions(), invoked: sink.Invoked, close: sink.Close,
	}, nil
}
