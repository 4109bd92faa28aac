// Package datadog sends telemetry to a Datadog agent: the Lambda extension, serverless-init, or one beside the process.
// It is the Sink that makes good the promise that telemetry is delivered before the platform freezes the function, and
// counted when it is not. It is the only package besides serverless that knows Datadog's SDK.
//
// The SDK can start to send, but cannot say when the agent has taken what it sent; and it does not recognise the Lambda
// extension as something that takes LLM Observability. Both are made good in the transport that it is given: see delivery.
package datadog

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"

	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/dogstatsd"
)

const (
	// patience is how many flushes in a row may time out before the sink stops to wait in each of them.
	patience = 3
	// probeInterval is how often it waits nevertheless, to see whether the agent has recovered.
	probeInterval = 10 * time.Second
)

// Sink implements telemetry.Sink with Datadog's SDK. The SDK keeps one tracer for the process, so only one Sink can be
// started at a time.
type Sink struct {
	cfg      Config
	delivery *delivery
	agentURL string
	statsd   *dogstatsd.Client
	conn     net.Conn
	tracing  bool

	mu sync.Mutex
	// expired counts the flushes in a row that timed out, probe is when the next one waits again.
	expired    int
	probe      time.Time
	unreported map[string]uint64
}

var _ telemetry.Sink = (*Sink)(nil)

// Start connects to the agent and starts the tracer, unless Datadog's wrapper is to do that. It never fails: what
// cannot be started is left out, and one log line says so. It takes at most StartTimeout longer than the SDK itself.
func Start(ctx context.Context, c Config) *Sink {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 250 * time.Millisecond
	}
	if c.MLApp == "" {
		c.MLApp = c.Service
	}
	s := &Sink{cfg: c, unreported: map[string]uint64{}}
	if !c.Enabled {
		c.Logger.InfoContext(ctx, "telemetry is off: spans, metrics and events are discarded")
		return s
	}
	if err := s.openStatsd(); err != nil {
		c.Logger.WarnContext(ctx, "metrics are not sent", slog.String("error.message", err.Error()))
	}
	if !c.Tracing {
		return s
	}
	var err error
	if s.delivery, s.agentURL, err = newDelivery(c.AgentURL, c.StartTimeout, c.Logger); err != nil {
		c.Logger.WarnContext(ctx, "spans are not sent", slog.String("error.message", err.Error()))
		return s
	}
	s.tracing = true
	tracer.UseLogger(sdkLogger{c.Logger})
	if c.TracerStartedByWrapper {
		return s
	}
	if err := tracer.Start(s.TracerOptions()...); err != nil {
		// The transport has told why already when the agent cannot do LLM Observability; traces go out all the same.
		c.Logger.DebugContext(ctx, "tracer started in part", slog.String("error.message", err.Error()))
	}
	return s
}

func (s *Sink) openStatsd() error {
	conn, err := dialStatsd(s.cfg.StatsdAddr)
	if err != nil {
		return err
	}
	client, err := dogstatsd.New(dogstatsd.Options{
		Writer: conn, Tags: []string{"service:" + s.cfg.Service, "env:" + s.cfg.Env, "version:" + s.cfg.Version},
	})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.conn, s.statsd = conn, client
	return nil
}

// TracerOptions are the options with which the tracer must be started, by Start or by Datadog's wrapper; nil when
// tracing is off.
func (s *Sink) TracerOptions() []tracer.StartOption {
	if !s.tracing {
		return nil
	}
	opts := []tracer.StartOption{
		tracer.WithService(s.cfg.Service),
		tracer.WithEnv(s.cfg.Env),
		tracer.WithServiceVersion(s.cfg.Version),
		tracer.WithAgentURL(s.agentURL),
		tracer.WithHTTPClient(&http.Client{Transport: s.delivery, Timeout: requestTimeout}),
		// Every trace goes to the agent, so that each one sent can be awaited; the agent computes the statistics.
		tracer.WithStatsComputation(false),
		tracer.WithSendRetries(0),
		// The SDK would send its own metrics as counts and gauges.
		tracer.WithStatsdClient(&statsd.NoOpClientDirect{}),
		tracer.WithAppSecEnabled(false),
		tracer.WithLogStartup(false),
		// Without this, the tracer prints traces to standard output when it finds itself on Lambda.
		tracer.WithLambdaMode(false),
		tracer.WithLLMObsEnabled(s.cfg.LLMObs),
	}
	if s.cfg.LLMObs {
		opts = append(opts, tracer.WithLLMObsMLApp(s.cfg.MLApp), tracer.WithLLMObsAgentlessEnabled(false))
	}
	return opts
}

// sdkLogger takes the SDK's own log lines. They are for debugging: what they tell of losses is counted here.
type sdkLogger struct{ *slog.Logger }

func (l sdkLogger) Log(msg string) { l.Debug("datadog sdk", slog.String("detail", msg)) }

// Emit implements telemetry.Sink.
func (s *Sink) Emit(points []telemetry.Point) {
	if s.statsd != nil {
		s.statsd.Emit(points)
	}
}

// Event implements telemetry.Sink.
func (s *Sink) Event(_ context.Context, e telemetry.Event) {
	if s.statsd != nil {
		s.statsd.Event(e)
	}
}

// Flush implements telemetry.Sink. What was not acknowledged when ctx ends is counted as dropped, even if the agent
// takes it later. Spans of concurrent requests are waited for, and counted, together.
//
// When three flushes in a row have timed out, only one in ten seconds waits, until one succeeds. In between, Flush
// leaves spans to the SDK's own rhythm of two seconds, and the next flush that waits accounts for them.
func (s *Sink) Flush(ctx context.Context) error {
	if s.statsd != nil {
		s.statsd.Flush()
	}
	var err error
	if s.tracing && s.waits(time.Now()) {
		err = s.delivery.wait(ctx, tracer.Flush)
		s.mu.Lock()
		s.expired++
		if err == nil {
			s.expired = 0
		}
		s.mu.Unlock()
	}
	s.report()
	return err
}

func (s *Sink) waits(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expired >= patience && now.Before(s.probe) {
		return false
	}
	s.probe = now.Add(probeInterval)
	return true
}

// report emits what was lost. A report that is itself lost is made again next time.
func (s *Sink) report() {
	if s.statsd == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tracing {
		for reason, n := range s.delivery.takeLost() {
			s.unreported[reason] += n
		}
	}
	if n := s.statsd.TakeDropped(); n > 0 {
		s.unreported["statsd_write"] += n
	}
	if len(s.unreported) == 0 {
		return
	}
	var points []telemetry.Point
	for _, reason := range slices.Sorted(maps.Keys(s.unreported)) {
		points = append(points, telemetry.Point{
			Metric: "llm.telemetry.dropped", Value: float64(s.unreported[reason]),
			Tags: []string{"function:" + s.cfg.Function, "reason:" + reason},
		})
	}
	s.statsd.Emit(points)
	s.statsd.Flush()
	if s.statsd.TakeDropped() == 0 {
		clear(s.unreported)
	}
}

// Close flushes, stops the tracer and closes the sockets. When ctx ends first, requests of the SDK are aborted, and its
// goroutines end after Close has returned, within the second that the SDK may pause between two tries.
func (s *Sink) Close(ctx context.Context) error {
	var errs []error
	if s.tracing {
		s.mu.Lock()
		s.expired = 0 // this one waits in any case
		s.mu.Unlock()
	}
	errs = append(errs, s.Flush(ctx))
	if s.tracing {
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			tracer.Stop()
		}()
		select {
		case <-stopped:
		case <-ctx.Done():
		}
		s.delivery.abort()
		if t, ok := s.delivery.base.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(errs...)
}
