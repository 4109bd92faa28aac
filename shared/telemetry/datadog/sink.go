package datadog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/DataDog/dd-trace-go/v2/ddtrace/ext"
	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"

	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/dogstatsd"
)

// Sink implements telemetry.Sink over the tracer, LLM Observability and DogStatsD.
type Sink struct {
	config    Config
	transport *transport
	statsd    *dogstatsd.Client
	conn      net.Conn
	// llmobs is whether LLM Observability runs. With the Lambda wrapper only the first span tells.
	llmobs atomic.Bool
	// spans counts the LLM Observability spans that were finished, roots the local root spans that were.
	spans, roots atomic.Int64

	mu sync.Mutex
	// counted is how much of the outstanding spans and traces is counted as dropped already; lost is how many of each the
	// transport had lost when that was last counted.
	counted, lost outstanding
	// expired counts the flushes in a row that ran out of time, patience is when the next may take its full time again.
	expired  int
	patience time.Time
}

// outstanding is a number of LLM Observability spans and of traces.
type outstanding struct{ spans, traces int }

var _ telemetry.Sink = (*Sink)(nil)

// Start starts the tracer and returns a Sink. It never fails the function: with telemetry off, or the agent absent or
// slow, requests are served all the same, and one log line says why their telemetry is missing. It takes at most
// StartTimeout longer than the SDK itself.
func Start(ctx context.Context, c Config) *Sink {
	if c.StartTimeout == 0 {
		c.StartTimeout = 250 * time.Millisecond
	}
	s := &Sink{config: c, transport: newTransport(agentTransport(), c.StartTimeout)}
	if !c.Enabled {
		c.Logger.WarnContext(ctx, "telemetry is off: no spans, metrics or events leave this process")
		return s
	}
	s.startStatsd(ctx)
	tracer.UseLogger(sdkLogger{c.Logger})
	if c.StartedByWrapper {
		s.llmobs.Store(c.LLMObs)
		return s
	}
	err := tracer.Start(s.TracerOptions()...)
	s.llmobs.Store(c.LLMObs && err == nil)
	s.transport.mu.Lock()
	reached, failure := s.transport.reached, s.transport.failure
	s.transport.mu.Unlock()
	switch {
	case !reached:
		c.Logger.WarnContext(ctx, "the Datadog agent does not answer: telemetry is sent, and counted as dropped while it does not arrive",
			slog.String("error.message", fmt.Sprint(failure)))
	case err != nil:
		c.Logger.WarnContext(ctx, "LLM Observability did not start: its spans are plain APM spans", slog.String("error.message", err.Error()))
	}
	return s
}

// agentTransport is the default transport without its proxies: the agent is next door.
func agentTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second,
	}
}

func (s *Sink) startStatsd(ctx context.Context) {
	conn, err := net.Dial("udp", s.config.StatsdAddr)
	if err == nil {
		s.conn = conn
		s.statsd, err = dogstatsd.New(dogstatsd.Options{Writer: conn, Tags: []string{
			"service:" + s.config.Service, "env:" + s.config.Env, "version:" + s.config.Version,
		}})
	}
	if err != nil {
		s.config.Logger.WarnContext(ctx, "DogStatsD can't be reached: metrics and events are not sent", slog.String("error.message", err.Error()))
	}
}

// TracerOptions are what the tracer must be started with: the transport, and the identity of the function. They are for
// whoever starts the tracer instead of Start.
func (s *Sink) TracerOptions() []tracer.StartOption {
	return []tracer.StartOption{
		tracer.WithAgentURL(s.config.AgentURL),
		tracer.WithHTTPClient(&http.Client{Transport: s.transport, Timeout: 5 * time.Second}),
		tracer.WithService(s.config.Service), tracer.WithEnv(s.config.Env), tracer.WithServiceVersion(s.config.Version),
		tracer.WithLLMObsEnabled(s.config.LLMObs), tracer.WithLLMObsMLApp(s.config.MLApp), tracer.WithLLMObsAgentlessEnabled(false),
		tracer.WithLambdaMode(false), tracer.WithLogStartup(false),
		// The agent computes the statistics; and without them the tracer sends every trace, so that each can be waited for.
		tracer.WithStatsComputation(false),
	}
}

// Close stops the tracer, if Start started it, and closes the socket.
func (s *Sink) Close(ctx context.Context) error {
	err := s.Flush(ctx)
	if s.config.Enabled && !s.config.StartedByWrapper {
		tracer.Stop()
	}
	if s.conn != nil {
		err = errors.Join(err, s.conn.Close())
	}
	return err
}

// span is the APM span of a request.
type span struct {
	sink *Sink
	apm  *tracer.Span
	// root is whether it is the first of its trace in this process: then its end completes what is sent of the trace.
	root bool
}

// Begin implements telemetry.Sink.
func (s *Sink) Begin(ctx context.Context, name string, header http.Header) (context.Context, telemetry.Span) {
	if !s.config.Enabled {
		return ctx, span{sink: s}
	}
	opts := []tracer.StartSpanOption{tracer.SpanType(ext.SpanTypeWeb), tracer.ResourceName(name), tracer.Tag(ext.SpanKind, ext.SpanKindServer)}
	_, inside := tracer.SpanFromContext(ctx)
	if !inside {
		if parent, err := tracer.Extract(tracer.HTTPHeadersCarrier(header)); err == nil {
			opts = append(opts, tracer.ChildOf(parent))
		}
	}
	apm, ctx := tracer.StartSpanFromContext(ctx, "http.request", opts...)
	return ctx, span{s, apm, !inside}
}

// Trace implements telemetry.Span.
func (s span) Trace() telemetry.Trace {
	if s.apm == nil {
		return telemetry.Trace{}
	}
	c := s.apm.Context()
	return telemetry.Trace{TraceID: c.TraceID(), SpanID: strconv.FormatUint(c.SpanID(), 10)}
}

// Inject implements telemetry.Span.
func (s span) Inject(header http.Header) {
	if s.apm == nil {
		return
	}
	if err := tracer.Inject(s.apm.Context(), tracer.HTTPHeadersCarrier(header)); err != nil {
		// Only a tracer that is not running refuses; then there is no trace to carry.
		return
	}
}

// End implements telemetry.Span.
func (s span) End(status int, err error) {
	if s.apm == nil {
		return
	}
	s.apm.SetTag(ext.HTTPCode, strconv.Itoa(status))
	s.apm.Finish(tracer.WithError(err))
	if s.root {
		s.sink.roots.Add(1)
	}
}

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

// The patience of Flush with an agent that does not answer: after so many expiries in a row, flushes wait only shortly
// until the pause is over. Requests must not all pay the full timeout for a dead agent.
const (
	expiriesBeforePause = 3
	pause               = 10 * time.Second
	shortWait           = 10 * time.Millisecond
)

// Flush implements telemetry.Sink. What the agent has not acknowledged when ctx ends is counted as dropped, once; it may
// still arrive later, if the process lives.
func (s *Sink) Flush(ctx context.Context) error {
	if !s.config.Enabled {
		return nil
	}
	if s.statsd != nil {
		s.statsd.Flush()
	}
	spans, roots := int(s.spans.Load()), int(s.roots.Load())
	s.transport.mu.Lock()
	posts := s.transport.posts
	s.transport.mu.Unlock()
	tracer.Flush()

	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if s.config.StartedByWrapper {
		// The root of the trace is the wrapper's, so nobody can tell how many payloads will come: it is the first after
		// this flush, if one comes at all.
		begun, stop := context.WithTimeout(ctx, shortWait)
		s.transport.wait(begun, func() bool { return s.transport.posts > posts })
		stop()
	}
	ok := s.transport.wait(ctx, func() bool {
		t := s.transport
		return t.spans.total() >= spans && t.traces.total() >= roots && (!s.config.StartedByWrapper || t.inFlight == 0)
	})
	return s.account(ok, outstanding{spans, roots})
}

// bounded shortens ctx while the agent is known not to answer.
func (s *Sink) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expired >= expiriesBeforePause && time.Now().Before(s.patience) {
		return context.WithTimeout(ctx, shortWait)
	}
	return ctx, func() {}
}

// account counts, once each, what was lost and what is outstanding after a flush of everything up to finished.
func (s *Sink) account(ok bool, finished outstanding) error {
	s.transport.mu.Lock()
	spans, traces := s.transport.spans, s.transport.traces
	s.transport.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost := spans.lost - s.lost.spans + traces.lost - s.lost.traces; lost > 0 {
		s.drop("agent_refused", lost)
		s.lost = outstanding{spans.lost, traces.lost}
	}
	if s.statsd != nil {
		if n := int(s.statsd.TakeDropped()); n > 0 {
			s.drop("statsd_write", n)
		}
	}
	if ok {
		s.expired, s.counted = 0, outstanding{}
		return nil
	}
	if s.expired++; s.expired >= expiriesBeforePause && time.Now().After(s.patience) {
		s.patience = time.Now().Add(pause)
	}
	waiting := outstanding{max(0, finished.spans-spans.total()), max(0, finished.traces-traces.total())}
	if n := max(0, waiting.spans-s.counted.spans) + max(0, waiting.traces-s.counted.traces); n > 0 {
		s.drop("flush_timeout", n)
	}
	s.counted = waiting
	return fmt.Errorf("%d LLM Observability spans and %d traces not acknowledged", waiting.spans, waiting.traces)
}

func (s *Sink) drop(reason string, n int) {
	if s.statsd != nil {
		s.statsd.Emit([]telemetry.Point{{Metric: "llm.telemetry.dropped", Value: float64(n), Tags: []string{"function:" + s.config.Function, "reason:" + reason}}})
		s.statsd.Flush()
	}
}

// sdkLogger keeps the SDK's own lines off the standard streams, where each would be a plain line among JSON. What they
// tell is told by our one line at start and by llm.telemetry.dropped.
type sdkLogger struct{ log *slog.Logger }

// Log implements tracer.Logger.
func (l sdkLogger) Log(msg string) { l.log.Debug("datadog sdk", slog.String("error.message", msg)) }
