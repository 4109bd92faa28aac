// Package intake takes telemetry in as Datadog's agent and Lambda extension do: DogStatsD datagrams, the agent's HTTP
// API for traces and LLM Observability, and log lines. It keeps the most recent of everything in memory and counts what
// it took and what it refused.
//
// It judges nothing: monitors read the metrics from where they were put, see Options.Metrics.
//
//	what                     as Datadog                                    differs here
//	DogStatsD                protocol 1.0 to 1.5; events                   sets and service checks are refused and counted
//	                                                                       counts and gauges are kept as distributions
//	                                                                       a sampled value counts 1/rate times, whole
//	Extension profile        h and ms dropped, first packed value only,    timestamps are taken, not refused
//	                         sample rate ignored, LLM Obs body up to 2 MB,
//	                         /info with concrete routes only
//	Agent profile            /info with prefixes, proxy bodies up to 10 MB no remote configuration
//	traces                   v0.4 in msgpack                               other versions are 404; nothing is sampled away
//	LLM Observability        spans and evaluations in the SDK's shapes     validated at the door, not later; no scores
//	                                                                       of its own
//	time                     metrics get the time of arrival               the stand-in's clock, which may run fast
package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// Profile says which of Datadog's intakes is played.
type Profile string

// The profiles.
const (
	// Extension plays the Lambda extension.
	Extension Profile = "extension"
	// Agent plays the agent, and the sidecar of Cloud Run.
	Agent Profile = "agent"
)

// Metrics is where metric values go. Add must not keep tags.
type Metrics interface {
	Add(name string, tags []string, value float64, at time.Time)
}

// Options are the dependencies of an Intake.
type Options struct {
	// Metrics is required.
	Metrics Metrics
	// Now is the time at which metrics and events arrive; required.
	Now func() time.Time
	// Profile is Extension when empty.
	Profile Profile
	// Keep is how many traces, LLM Obs spans, evaluations, events and log lines are kept, each; 2000 when zero.
	Keep int
	// OnEvent is called for every event that arrives, outside all locks; it may be nil.
	OnEvent func(Event)
	// OnLog is called for every log line that is taken, outside all locks; it may be nil.
	OnLog func(Log)
}

// Counts are what an Intake took and refused since it was made.
type Counts struct {
	// Datagrams counts messages by DogStatsD type, Dropped those that the profile drops silently, by type.
	Datagrams map[Type]int `json:"datagrams"`
	Dropped   map[Type]int `json:"dropped"`
	// Malformed counts what was refused, by reason.
	Malformed map[string]int `json:"malformed"`
	// Unserved counts requests for routes that are not played, such as remote configuration.
	Unserved    int            `json:"unserved"`
	Traces      int            `json:"traces"`
	Spans       int            `json:"spans"`
	LLMSpans    map[string]int `json:"llm_spans"`
	Evaluations int            `json:"evaluations"`
	Logs        int            `json:"logs"`
}

// Intake takes telemetry in. It is safe for concurrent use.
type Intake struct {
	opts Options

	mu     sync.Mutex
	fault  Fault
	counts Counts
	traces recent[[]APMSpan]
	spans  recent[LLMSpan]
	evals  recent[Evaluation]
	events recent[Event]
	logs   recent[Log]
}

// New checks the options and returns an Intake.
func New(opts Options) (*Intake, error) {
	if opts.Metrics == nil || opts.Now == nil {
		return nil, errors.New("intake: Metrics and Now are required")
	}
	switch opts.Profile {
	case "":
		opts.Profile = Extension
	case Extension, Agent:
	default:
		return nil, fmt.Errorf("intake: unknown profile %q", opts.Profile)
	}
	if opts.Keep == 0 {
		opts.Keep = 2000
	}
	return &Intake{
		opts:   opts,
		counts: Counts{Datagrams: map[Type]int{}, Dropped: map[Type]int{}, Malformed: map[string]int{}, LLMSpans: map[string]int{}},
		traces: recent[[]APMSpan]{most: opts.Keep}, spans: recent[LLMSpan]{most: opts.Keep}, evals: recent[Evaluation]{most: opts.Keep},
		events: recent[Event]{most: opts.Keep}, logs: recent[Log]{most: opts.Keep},
	}, nil
}

// Datagram takes one DogStatsD datagram: lines that are parted by newlines. A line that is refused does not spoil the
// others.
func (in *Intake) Datagram(b []byte) {
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		message, err := ParseLine(string(line))
		switch {
		case err != nil:
			in.malformed(reason(err))
		case message.Event != nil:
			in.AddEvent(*message.Event)
		default:
			in.metric(*message.Metric)
		}
	}
}

// reason returns the word that counts an error of ParseLine.
func reason(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if errors.Unwrap(err) == nil {
			return err.Error()
		}
	}
	return "other"
}

func (in *Intake) malformed(reason string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.counts.Malformed[reason]++
}

func (in *Intake) metric(m Metric) {
	in.mu.Lock()
	in.counts.Datagrams[m.Type]++
	drop := in.opts.Profile == Extension && (m.Type == Histogram || m.Type == Timer)
	if drop {
		in.counts.Dropped[m.Type]++
	}
	in.mu.Unlock()
	if drop {
		return
	}
	times := 1
	if in.opts.Profile == Extension {
		m.Values = m.Values[:1]
	} else {
		times = int(math.Round(1 / m.Rate))
	}
	at := m.At
	if at.IsZero() {
		at = in.opts.Now()
	}
	for _, v := range m.Values {
		switch m.Type {
		case Count:
			in.opts.Metrics.Add(m.Name, m.Tags, v*float64(times), at)
		case Gauge:
			in.opts.Metrics.Add(m.Name, m.Tags, v, at)
		default:
			for range times {
				in.opts.Metrics.Add(m.Name, m.Tags, v, at)
			}
		}
	}
}

// AddEvent takes an event, at the time of its arrival when it has none.
func (in *Intake) AddEvent(e Event) {
	if e.At.IsZero() {
		e.At = in.opts.Now()
	}
	in.mu.Lock()
	in.counts.Datagrams[EventType]++
	in.events.add(e)
	in.mu.Unlock()
	if in.opts.OnEvent != nil {
		in.opts.OnEvent(e)
	}
}

// ServeUDP takes datagrams from conn until ctx ends, and then closes it. It returns nil when ctx ended.
func (in *Intake) ServeUDP(ctx context.Context, conn net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() {
		// Closing is what ends the read below; there is no one to tell about an error of it.
		_ = conn.Close()
	})
	defer stop()
	// An IPv4 datagram is never longer.
	buf := make([]byte, 65536)
	for {
		n, _, err := conn.ReadFrom(buf)
		if n > 0 {
			in.Datagram(buf[:n])
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read datagram: %w", err)
		}
	}
}

// Log is one structured log line.
type Log struct {
	At      time.Time       `json:"at"`
	Service string          `json:"service"`
	Status  string          `json:"status"`
	Message string          `json:"message"`
	Line    json.RawMessage `json:"line"`
}

// maxLine is the size from which on Datadog cuts a log line; longer lines are refused here.
const maxLine = 1 << 20

// Log takes one log line, a JSON object with the standard attributes service, status and message.
func (in *Intake) Log(line []byte) {
	l := Log{At: in.opts.Now()}
	var standard struct{ Service, Status, Message string }
	if len(line) > maxLine || json.Unmarshal(line, &standard) != nil {
		in.malformed("log")
		return
	}
	l.Service, l.Status, l.Message = standard.Service, standard.Status, standard.Message
	l.Line = bytes.Clone(line)
	in.mu.Lock()
	in.counts.Logs++
	in.logs.add(l)
	in.mu.Unlock()
	if in.opts.OnLog != nil {
		in.opts.OnLog(l)
	}
}

// LogWriter returns a writer for a logger that writes one whole line at a time, as slog's handlers do.
func (in *Intake) LogWriter() LogWriter { return LogWriter{in} }

// LogWriter hands what is written to an Intake.
type LogWriter struct{ in *Intake }

// Write takes one or more whole lines; it never fails.
func (w LogWriter) Write(p []byte) (int, error) {
	for line := range bytes.SplitSeq(p, []byte("\n")) {
		if len(line) > 0 {
			w.in.Log(line)
		}
	}
	return len(p), nil
}

// Fault makes the HTTP API misbehave. The zero Fault is none.
type Fault struct {
	// Delay is waited before each answer.
	Delay time.Duration
	// Status is answered instead of taking the request; 0 takes it.
	Status int
	// Times is after how many requests the fault is over; 0 is never.
	Times int
}

// SetFault makes the HTTP API misbehave from the next request on.
func (in *Intake) SetFault(f Fault) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.fault = f
}

// nextFault returns the fault of one request and counts it.
func (in *Intake) nextFault() Fault {
	in.mu.Lock()
	defer in.mu.Unlock()
	f := in.fault
	if f.Times > 0 {
		if in.fault.Times--; in.fault.Times == 0 {
			in.fault = Fault{}
		}
	}
	return f
}

// faulty wraps next in the fault.
func (in *Intake) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := in.nextFault()
		if f.Delay > 0 {
			timer := time.NewTimer(f.Delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		if f.Status != 0 {
			http.Error(w, http.StatusText(f.Status), f.Status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Counts returns what was taken and refused so far.
func (in *Intake) Counts() Counts {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.counts
	c.Datagrams, c.Dropped = maps.Clone(c.Datagrams), maps.Clone(c.Dropped)
	c.Malformed, c.LLMSpans = maps.Clone(c.Malformed), maps.Clone(c.LLMSpans)
	return c
}

// Traces returns the most recent APM traces, oldest first. A trace that came in several pieces is several here.
func (in *Intake) Traces() [][]APMSpan { return locked(&in.mu, &in.traces) }

// LLMSpans returns the most recent LLM Observability spans, oldest first.
func (in *Intake) LLMSpans() []LLMSpan { return locked(&in.mu, &in.spans) }

// Evaluations returns the most recent evaluations, oldest first.
func (in *Intake) Evaluations() []Evaluation { return locked(&in.mu, &in.evals) }

// Events returns the most recent events, oldest first.
func (in *Intake) Events() []Event { return locked(&in.mu, &in.events) }

// Logs returns the most recent log lines, oldest first.
func (in *Intake) Logs() []Log { return locked(&in.mu, &in.logs) }

// recent keeps the last most items.
type recent[T any] struct {
	most  int
	next  int
	items []T
}

func (r *recent[T]) add(item T) {
	if len(r.items) < r.most {
		r.items = append(r.items, item)
		return
	}
	r.items[r.next] = item
	r.next = (r.next + 1) % r.most
}

func locked[T any](mu *sync.Mutex, r *recent[T]) []T {
	mu.Lock()
	defer mu.Unlock()
	return append(append(make([]T, 0, len(r.items)), r.items[r.next:]...), r.items[:r.next]...)
}
