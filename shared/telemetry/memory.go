package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// Memory is a Sink that keeps everything, for tests. The zero value is ready, and it is safe for concurrent use.
type Memory struct {
	mu        sync.Mutex
	spans     int
	exchanges []*Exchange
	evals     []Evaluation
	points    []Point
	events    []Event
	ended     []int
	flushes   int
}

var _ Sink = (*Memory)(nil)

type memorySpan struct {
	m     *Memory
	trace Trace
}

func (s memorySpan) Trace() Trace { return s.trace }

func (s memorySpan) Inject(h http.Header) { h.Set("x-datadog-trace-id", s.trace.TraceID) }

func (s memorySpan) End(status int, _ error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.ended = append(s.m.ended, status)
}

// Begin implements Sink.
func (m *Memory) Begin(ctx context.Context, _ string, _ http.Header) (context.Context, Span) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spans++
	return ctx, memorySpan{m, Trace{TraceID: fmt.Sprintf("%032x", m.spans), SpanID: fmt.Sprint(m.spans)}}
}

// Record implements Sink.
func (m *Memory) Record(_ context.Context, e *Exchange) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exchanges = append(m.exchanges, e)
}

// Evaluate implements Sink.
func (m *Memory) Evaluate(e Evaluation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evals = append(m.evals, e)
}

// Emit implements Sink.
func (m *Memory) Emit(points []Point) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.points = append(m.points, points...)
}

// Event implements Sink.
func (m *Memory) Event(_ context.Context, e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, e)
}

// Flush implements Sink.
func (m *Memory) Flush(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushes++
	return nil
}

// Exchanges returns what was recorded, oldest first.
func (m *Memory) Exchanges() []*Exchange {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.exchanges)
}

// Evaluations returns what was submitted, oldest first.
func (m *Memory) Evaluations() []Evaluation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.evals)
}

// Events returns what was posted, oldest first.
func (m *Memory) Events() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// Statuses returns the HTTP statuses of the ended spans, oldest first.
func (m *Memory) Statuses() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ended)
}

// Flushes returns how often Flush was called.
func (m *Memory) Flushes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flushes
}

// Sum adds up the values of a metric over the points that carry all of the tags; n is how many there are.
func (m *Memory) Sum(metric string, tags ...string) (sum float64, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.points {
		if p.Metric != metric || slices.ContainsFunc(tags, func(t string) bool { return !slices.Contains(p.Tags, t) }) {
			continue
		}
		sum += p.Value
		n++
	}
	return sum, n
}
