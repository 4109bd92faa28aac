package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sink carries telemetry out of the process. Record, Emit and Event must not block on the network and never fail the
// request: what a sink cannot deliver, it counts and reports as a "llm.telemetry.dropped" point of its own.
type Sink interface {
	// Begin opens the span of a request, as a child of the trace in header when there is one, and returns a context
	// that carries it.
	Begin(ctx context.Context, name string, header http.Header) (context.Context, Span)
	// Record makes the spans of an exchange below the span in ctx.
	Record(ctx context.Context, e *Exchange)
	// Evaluate submits an evaluation, where the sink has spans that it could be of.
	Evaluate(e Evaluation)
	// Emit sends metric points, every one as a distribution.
	Emit(points []Point)
	// Event posts an event for people and for the audit trail.
	Event(ctx context.Context, e Event)
	// Flush waits until everything recorded so far was acknowledged, or ctx ends; then it returns an error that says
	// how much was not.
	Flush(ctx context.Context) error
}

// Span is the span of one request.
type Span interface {
	// Trace returns the identifiers for logs and responses.
	Trace() Trace
	// Inject adds the headers that carry the trace to another service.
	Inject(header http.Header)
	// End closes the span with an HTTP status; err is nil when the request did not fail.
	End(status int, err error)
}

// Trace identifies a span as Datadog's log correlation wants it: a 128-bit hexadecimal trace and a decimal span.
type Trace struct {
	TraceID string
	SpanID  string
}

// Event is something that people should see on a timeline: an override made, refused or reverted.
type Event struct {
	Title string
	Text  string
	// Type is "info", "success", "warning" or "error".
	Type string
	Tags []string
	// AggregationKey groups the events of one override.
	AggregationKey string
}

type spanKey struct{}

// TraceFrom returns the trace of the request that ctx belongs to; zero when there is none.
func TraceFrom(ctx context.Context) Trace {
	if span, ok := ctx.Value(spanKey{}).(Span); ok {
		return span.Trace()
	}
	return Trace{}
}

// Inject adds the trace of ctx to the headers of a call to another service.
func Inject(ctx context.Context, header http.Header) {
	if span, ok := ctx.Value(spanKey{}).(Span); ok {
		span.Inject(header)
	}
}

// Evaluation is a score of the answer to a request that is over, given by somebody who did not serve it. It goes to the span of
// that request.
type Evaluation struct {
	// RequestID is that of the request; without one there is nothing to evaluate.
	RequestID string
	// Label names the score, such as "probe_facts".
	Label string
	// Score is 0 to 1.
	Score float64
}

// Options are the dependencies of a Client.
type Options struct {
	// Sink is required.
	Sink Sink
	// Logger is required; it is best made by NewLogger.
	Logger *slog.Logger
	// Function is the deployed function's name, the tag of metrics that do not come from an exchange.
	Function string
	// FlushTimeout bounds Flush; 300 ms when zero.
	FlushTimeout time.Duration
}

// Client records what the functions do. A nil *Client is valid and records nothing.
type Client struct {
	opts    Options
	metrics map[string]Metric
	// failing is whether the last flush was not acknowledged.
	failing atomic.Bool
}

// New checks the options and returns a Client.
func New(opts Options) (*Client, error) {
	if opts.Sink == nil || opts.Logger == nil {
		return nil, errors.New("telemetry: Sink and Logger are required")
	}
	if opts.FlushTimeout == 0 {
		opts.FlushTimeout = 300 * time.Millisecond
	}
	c := &Client{opts: opts, metrics: map[string]Metric{}}
	for _, m := range catalogue {
		c.metrics[m.Name] = m
	}
	return c, nil
}

// Begin opens the span of a request. The caller must End it.
func (c *Client) Begin(ctx context.Context, name string, header http.Header) (context.Context, Span) {
	if c == nil {
		return ctx, noSpan{}
	}
	ctx, span := c.opts.Sink.Begin(ctx, name, header)
	recording := &recordingSpan{Span: span, log: c.opts.Logger}
	return context.WithValue(ctx, spanKey{}, recording), recording
}

// recordingSpan is the span of a request together with what was put off until it ends.
type recordingSpan struct {
	Span
	log     *slog.Logger
	mu      sync.Mutex
	pending []func()
	ended   bool
}

// later keeps work until the span ends; it returns false when that is over.
func (s *recordingSpan) later(work func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.pending = append(s.pending, work)
	return true
}

// End implements Span: it does what was put off, and closes the span.
func (s *recordingSpan) End(status int, err error) {
	s.mu.Lock()
	pending := s.pending
	s.pending, s.ended = nil, true
	s.mu.Unlock()
	for _, work := range pending {
		s.do(work)
	}
	s.Span.End(status, err)
}

// do does work that was put off. The recovery of the request is behind by then: a defect here would end the process on Lambda, for a
// request that was answered.
func (s *recordingSpan) do(work func()) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic after the response", slog.String("error.kind", "panic"), slog.String("error.message", fmt.Sprint(v)), slog.String("error.stack", string(debug.Stack())))
		}
	}()
	work()
}

// Later does work when the span of the request in ctx ends, after what was put off before: the response is on its way by then, and
// nobody waits for what the work costs. Outside of a request, and where nothing is recorded, it does the work at once.
func Later(ctx context.Context, work func()) {
	if span, ok := ctx.Value(spanKey{}).(*recordingSpan); !ok || !span.later(work) {
		work()
	}
}

// Record derives spans, metrics and the log line from one exchange, Later: it must not change any more but by what was put off
// before.
func (c *Client) Record(ctx context.Context, e *Exchange) {
	if c != nil {
		Later(ctx, func() { c.record(ctx, e) })
	}
}

func (c *Client) record(ctx context.Context, e *Exchange) {
	c.opts.Sink.Record(ctx, e)
	c.opts.Sink.Emit(Points(e))
	if level := level(e); c.opts.Logger.Enabled(ctx, level) {
		// A group without a name is written as if its attributes were the line's own; the line then copies one, not all.
		c.opts.Logger.LogAttrs(ctx, level, "request", slog.GroupAttrs("", LogAttrs(e)...))
	}
}

// Add emits one point of a metric that does not come from an exchange. A name or tag key that the catalogue does not
// list is a defect: the point is not sent, it is counted as dropped, and the log says so. Tags without a value are left out,
// and the function is added where tags name none.
func (c *Client) Add(ctx context.Context, metric string, value float64, tags ...string) {
	if c == nil {
		return
	}
	tags = appendKnown(nil, tags)
	if !slices.ContainsFunc(tags, func(t string) bool { return strings.HasPrefix(t, "function:") }) {
		tags = appendKnown(tags, []string{"function:" + c.opts.Function})
	}
	if err := c.check(metric, tags); err != nil {
		c.opts.Logger.ErrorContext(ctx, "metric not in the catalogue", slog.String("error.message", err.Error()))
		c.opts.Sink.Emit([]Point{{"llm.telemetry.dropped", 1, []string{"function:" + c.opts.Function, "reason:not_in_catalogue"}}})
		return
	}
	c.opts.Sink.Emit([]Point{{metric, value, tags}})
}

func (c *Client) check(metric string, tags []string) error {
	m, ok := c.metrics[metric]
	if !ok {
		return fmt.Errorf("metric %q is unknown", metric)
	}
	for _, tag := range tags {
		key, _, _ := strings.Cut(tag, ":")
		if !slices.Contains(m.Tags, key) {
			return fmt.Errorf("metric %q has no tag %q", metric, key)
		}
	}
	return nil
}

// Evaluate submits an evaluation.
func (c *Client) Evaluate(e Evaluation) {
	if c != nil && e.RequestID != "" {
		c.opts.Sink.Evaluate(e)
	}
}

// Event posts an event.
func (c *Client) Event(ctx context.Context, e Event) {
	if c != nil {
		c.opts.Sink.Event(ctx, e)
	}
}

// Logger returns the client's logger; a nil Client has one that discards.
func (c *Client) Logger() *slog.Logger {
	if c == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.opts.Logger
}

// Flush waits, at most for FlushTimeout, until what was recorded is acknowledged. It is called once at the end of every
// request, before the response ends, because the platform may freeze the process right after. What it could not
// deliver the sink counts; the log says when deliveries begin to fail and when they work again, not each time.
func (c *Client) Flush(ctx context.Context) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.FlushTimeout)
	defer cancel()
	err := c.opts.Sink.Flush(ctx)
	switch failed := c.failing.Swap(err != nil); {
	case err != nil && !failed:
		c.opts.Logger.WarnContext(ctx, "telemetry not acknowledged", slog.String("error.message", err.Error()))
	case err == nil && failed:
		c.opts.Logger.InfoContext(ctx, "telemetry acknowledged again")
	}
}

type noSpan struct{}

func (noSpan) Trace() Trace       { return Trace{} }
func (noSpan) Inject(http.Header) {}
func (noSpan) End(int, error)     {}
