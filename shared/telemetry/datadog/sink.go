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

	"github.com/DataDog/datadog-go/v5/statsd"
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
	// finished counts what was given to the SDK to send. Of traces these are the ones whose root is ours.
	finished [tracks]atomic.Int64

	// stopping is the SDK's own end, which may outlast Close.
	stopping sync.WaitGroup

	mu sync.Mutex
	// seen is how far the transport was when losses were last counted; overdue is how many of the items that were not
	// settled then are counted as dropped already.
	seen    [tracks]progress
	overdue [tracks]int
	// expired counts the flushes in a row that ran out of time, patience is when the next may take its full time again.
	expired  int
	patience time.Time
	// Where nobody waits, due is what was finished when it was last looked at, at that time.
	due      [tracks]int
	lookedAt time.Time
}

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
func agentTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second,
	}
}

// In the background, datagrams are as large as the agent reads by default, and metrics wait no longer than the agent would let
// them.
const (
	backgroundBytes = 8192
	backgroundDelay = time.Second
)

func (s *Sink) startStatsd(ctx context.Context) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", s.config.StatsdAddr)
	if err == nil {
		s.conn = conn
		opts := dogstatsd.Options{Writer: conn, Tags: []string{
			"service:" + s.config.Service, "env:" + s.config.Env, "version:" + s.config.Version,
		}}
		if s.background() {
			opts.MaxBytes, opts.Delay = backgroundBytes, backgroundDelay
		}
		s.statsd, err = dogstatsd.New(opts)
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
		// There is no profiler here that would look at the labels of goroutines.
		tracer.WithProfilerCodeHotspots(false), tracer.WithProfilerEndpoints(false),
		// The agent computes the statistics; and without them the tracer sends every trace, so that each can be waited for.
		tracer.WithStatsComputation(false),
		// The SDK's own metrics are counts and timers, which serverless platforms do not keep.
		tracer.WithStatsdClient(&statsd.NoOpClientDirect{}),
	}
}

// Close flushes, stops the tracer, if Start started it, and closes the socket. The SDK waits for its own requests before
// it stops, which may take seconds with an agent that hangs; when ctx ends first, Close leaves that to the SDK.
func (s *Sink) Close(ctx context.Context) error {
	// The last flush waits whatever came before: what it can't deliver is lost, and must be counted.
	s.mu.Lock()
	s.expired = 0
	s.mu.Unlock()
	err := s.Flush(ctx)
	if s.background() {
		if s.statsd != nil {
			s.statsd.Flush()
		}
		err = s.acknowledged(ctx)
	}
	if s.config.Enabled && !s.config.StartedByWrapper {
		stopped := make(chan struct{})
		s.stopping.Go(func() {
			defer close(stopped)
			tracer.Stop()
		})
		select {
		case <-stopped:
		case <-ctx.Done():
		}
		s.transport.base.CloseIdleConnections()
	}
	if s.conn != nil {
		err = errors.Join(err, s.conn.Close())
	}
	return err
}

// span is the APM span of a request. Where it is the first of its trace, it is made when it is needed first, with the time at which it
// began: that is after the response has left, as a rule.
type span struct {
	sink   *Sink
	ctx    context.Context
	name   string
	header http.Header
	begun  time.Time

	make sync.Once
	apm  *tracer.Span
	// root is whether it is the first of its trace in this process: then its end completes what is sent of the trace.
	root bool
}

// spanKey is the key of a *span in a context.
type spanKey struct{}

// Begin implements telemetry.Sink.
func (s *Sink) Begin(ctx context.Context, name string, header http.Header) (context.Context, telemetry.Span) {
	if !s.config.Enabled {
		return ctx, &span{sink: s}
	}
	begun := &span{sink: s, ctx: ctx, name: name, header: header, begun: time.Now()}
	if _, inside := tracer.SpanFromContext(ctx); inside {
		// The wrapper's span, on Lambda, is over at the first byte of a stream, and would take the trace with it.
		begun.made()
	}
	return context.WithValue(ctx, spanKey{}, begun), begun
}

// within returns a context whose spans are below that of the request.
func within(ctx context.Context) context.Context {
	if s, ok := ctx.Value(spanKey{}).(*span); ok {
		return tracer.ContextWithSpan(ctx, s.made())
	}
	return ctx
}

// made returns the span; nil where none is.
func (s *span) made() *tracer.Span {
	if s.ctx == nil {
		return nil
	}
	s.make.Do(func() {
		opts := []tracer.StartSpanOption{
			tracer.StartTime(s.begun), tracer.SpanType(ext.SpanTypeWeb), tracer.ResourceName(s.name), tracer.Tag(ext.SpanKind, ext.SpanKindServer),
		}
		ctx := within(s.ctx)
		_, inside := tracer.SpanFromContext(ctx)
		if !inside {
			if parent, err := tracer.Extract(tracer.HTTPHeadersCarrier(s.header)); err == nil {
				opts = append(opts, func(c *tracer.StartSpanConfig) { c.Parent = parent })
			}
		}
		s.apm, _ = tracer.StartSpanFromContext(ctx, "http.request", opts...)
		s.root = !inside
	})
	return s.apm
}

// Trace implements telemetry.Span.
func (s *span) Trace() telemetry.Trace {
	apm := s.made()
	if apm == nil {
		return telemetry.Trace{}
	}
	c := apm.Context()
	return telemetry.Trace{TraceID: c.TraceID(), SpanID: strconv.FormatUint(c.SpanID(), 10)}
}

// Inject implements telemetry.Span.
func (s *span) Inject(header http.Header) {
	apm := s.made()
	if apm == nil {
		return
	}
	if err := tracer.Inject(apm.Context(), tracer.HTTPHeadersCarrier(header)); err != nil {
		// Only a tracer that is not running refuses; then there is no trace to carry.
		return
	}
}

// End implements telemetry.Span.
func (s *span) End(status int, err error) {
	apm := s.made()
	if apm == nil {
		return
	}
	apm.SetTag(ext.HTTPCode, strconv.Itoa(status))
	if s.root {
		s.sink.finished[traces].Add(1)
	}
	apm.Finish(tracer.WithError(err))
}

// Invoked tells that an invocation has come out of Datadog's Lambda wrapper. The wrapper's span is the root of a trace that
// the SDK sends as one, when the spans of the request have ended too; so a flush has one more to wait for.
func (s *Sink) Invoked() {
	if s.config.Enabled && s.config.StartedByWrapper {
		s.finished[traces].Add(1)
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

// The patience of Flush with an agent that does not answer: after so many expiries in a row, flushes do not wait until the
// pause is over. Requests must not all pay the full timeout for a dead agent.
const (
	expiriesBeforePause = 3
	pause               = 10 * time.Second
)

var errPaused = errors.New("the agent does not answer: flush put off")

// Flush implements telemetry.Sink. What the agent has not acknowledged when ctx ends is counted as dropped, once; it may
// still arrive later, if the process lives. Flushes of concurrent requests wait for each other's items.
//
// After three expiries in a row, only one flush in ten seconds waits, until one succeeds. The others return an error at
// once: their items leave in the SDK's own rhythm of two seconds, and the next flush that waits accounts for them.
//
// With Background, no flush waits: it accounts for what was lost or is late.
func (s *Sink) Flush(ctx context.Context) error {
	if !s.config.Enabled {
		return nil
	}
	if s.background() {
		s.lookBack(time.Now())
		return nil
	}
	if s.statsd != nil {
		s.statsd.Flush()
	}
	return s.acknowledged(ctx)
}

// background is whether nobody waits for the agent but Close.
func (s *Sink) background() bool {
	return s.config.Enabled && s.config.Background && !s.config.StartedByWrapper
}

// late is when an item that nobody waits for counts as dropped. The SDK sends every two seconds, and tries for some more.
const late = 30 * time.Second

// batch is how many items may wait for the SDK's rhythm. Under load, more would come together than memory is there for.
const batch = 512

// lookBack accounts for what was lost so far, and, now and then, for what was finished long ago and is not settled.
func (s *Sink) lookBack(now time.Time) {
	waiting := 0
	for t, p := range s.transport.progress() {
		waiting += int(s.finished[t].Load()) - p.begun
	}
	if waiting >= batch {
		tracer.Flush()
	}
	s.account()
	s.mu.Lock()
	due, look := s.due, now.Sub(s.lookedAt) >= late
	if look {
		s.lookedAt = now
		for t := range tracks {
			s.due[t] = int(s.finished[t].Load())
		}
	}
	s.mu.Unlock()
	if look {
		s.overdueOf(due)
	}
}

// acknowledged sends what there is, and waits until the agent has it or ctx ends.
func (s *Sink) acknowledged(ctx context.Context) error {
	if s.paused(time.Now()) {
		s.account()
		return errPaused
	}
	var finished [tracks]int
	for t := range tracks {
		finished[t] = int(s.finished[t].Load())
	}
	tracer.Flush()

	done := func() bool {
		for t, p := range s.transport.tracks {
			if p.settled() < finished[t] {
				return false
			}
		}
		return true
	}
	again := func() {
		// The SDK's worker may take the wish to flush before it takes the last trace, and then keeps that.
		for t, p := range s.transport.progress() {
			if p.begun < finished[t] {
				tracer.Flush()
				return
			}
		}
	}
	if s.transport.wait(ctx, done, again) {
		s.account()
		s.mu.Lock()
		s.expired = 0
		s.mu.Unlock()
		return nil
	}
	s.mu.Lock()
	s.expired++
	s.patience = time.Now().Add(pause)
	s.mu.Unlock()
	missing := s.overdueOf(finished)
	return fmt.Errorf("%d traces, %d LLM Observability spans and %d evaluations not acknowledged: %w",
		missing[traces], missing[spans], missing[evaluations], ctx.Err())
}

// paused tells whether a flush must not wait; the one that may, at the end of a pause, begins the next.
func (s *Sink) paused(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expired < expiriesBeforePause {
		return false
	}
	if now.Before(s.patience) {
		return true
	}
	s.patience = now.Add(pause)
	return false
}

// account counts, once each, what was lost since it was last called. The SDK sends in order, so what is settled first is
// what was overdue.
func (s *Sink) account() {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := 0
	for t, now := range s.transport.progress() {
		known := min(s.overdue[t], now.settled()-s.seen[t].settled())
		s.overdue[t] -= known
		lost += max(0, now.lost-s.seen[t].lost-known)
		s.seen[t] = now
	}
	s.drop("agent_refused", lost)
	if s.statsd != nil {
		s.drop("statsd_write", int(s.statsd.TakeDropped()))
	}
}

// overdueOf counts as dropped those of the finished items that are not settled and not counted yet, and returns how many
// are not settled.
func (s *Sink) overdueOf(finished [tracks]int) (missing [tracks]int) {
	s.account()
	s.mu.Lock()
	defer s.mu.Unlock()
	late := 0
	for t, p := range s.seen {
		missing[t] = max(0, finished[t]-p.settled())
		n := max(0, missing[t]-s.overdue[t])
		s.overdue[t] += n
		late += n
	}
	s.drop("flush_timeout", late)
	return missing
}

func (s *Sink) drop(reason string, n int) {
	if s.statsd != nil && n > 0 {
		s.statsd.Emit([]telemetry.Point{{Metric: "llm.telemetry.dropped", Value: float64(n), Tags: []string{"function:" + s.config.Function, "reason:" + reason}}})
		s.statsd.Flush()
	}
}

// sdkLogger keeps the SDK's own lines off the standard streams, where each would be a plain line among JSON. What they
// tell is told by our one line at start and by llm.telemetry.dropped.
type sdkLogger struct{ log *slog.Logger }

// Log implements tracer.Logger.
func (l sdkLogger) Log(msg string) { l.log.Debug("datadog sdk", slog.String("error.message", msg)) }
