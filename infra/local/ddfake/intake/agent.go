package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	pb "github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"
)

// Limits of request bodies in bytes. The extension refuses proxied bodies over 2 MB, the agent over 10 MB; the trace
// limit is the agent's default.
const (
	extensionProxyLimit = 2 << 20
	agentProxyLimit     = 10 << 20
	traceLimit          = 25 << 20
)

// readTimeout bounds how long a client may take to send a body.
const readTimeout = 5 * time.Second

// keptText is how many bytes of one input or output are kept.
const keptText = 16 << 10

// APMSpan is one span of a trace.
type APMSpan struct {
	// TraceID has 32 hexadecimal digits, as log correlation writes it.
	TraceID  string             `json:"trace_id"`
	SpanID   uint64             `json:"span_id,string"`
	ParentID uint64             `json:"parent_id,string"`
	Service  string             `json:"service"`
	Name     string             `json:"name"`
	Resource string             `json:"resource"`
	Type     string             `json:"type"`
	Start    time.Time          `json:"start"`
	Duration time.Duration      `json:"duration"`
	Error    bool               `json:"error"`
	Meta     map[string]string  `json:"meta,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	// At is when it arrived, in the stand-in's time; Start is in the sender's.
	At time.Time `json:"at"`
}

// LLMSpan is one LLM Observability span.
type LLMSpan struct {
	SpanID    string `json:"span_id"`
	TraceID   string `json:"trace_id"`
	ParentID  string `json:"parent_id"`
	SessionID string `json:"session_id,omitempty"`
	// APMTraceID links the span to its APM trace.
	APMTraceID string             `json:"apm_trace_id,omitempty"`
	Name       string             `json:"name"`
	Kind       string             `json:"kind"`
	Status     string             `json:"status"`
	Model      string             `json:"model,omitempty"`
	Provider   string             `json:"provider,omitempty"`
	Start      time.Time          `json:"start"`
	Duration   time.Duration      `json:"duration"`
	Input      IO                 `json:"input,omitzero"`
	Output     IO                 `json:"output,omitzero"`
	Metadata   map[string]any     `json:"metadata,omitempty"`
	Metrics    map[string]float64 `json:"metrics,omitempty"`
	ErrorType  string             `json:"error_type,omitempty"`
	Error      string             `json:"error,omitempty"`
	Tags       []string           `json:"tags,omitempty"`
	// At is when it arrived, in the stand-in's time; Start is in the sender's.
	At time.Time `json:"at"`
}

// IO is what went into a span or came out of it.
type IO struct {
	Value     string           `json:"value,omitempty"`
	Messages  []ChatMessage    `json:"messages,omitempty"`
	Documents []map[string]any `json:"documents,omitempty"`
}

// ChatMessage is one message of a conversation.
type ChatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// JoinTag names the spans that an evaluation is of by a tag that they have.
type JoinTag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Evaluation is one score or verdict about an LLM Observability span.
type Evaluation struct {
	JoinOn struct {
		Span *struct {
			SpanID  string `json:"span_id"`
			TraceID string `json:"trace_id"`
		} `json:"span,omitempty"`
		Tag *JoinTag `json:"tag,omitempty"`
	} `json:"join_on"`
	MLApp            string   `json:"ml_app"`
	TimestampMS      int64    `json:"timestamp_ms"`
	MetricType       string   `json:"metric_type"`
	Label            string   `json:"label"`
	ScoreValue       *float64 `json:"score_value,omitempty"`
	CategoricalValue *string  `json:"categorical_value,omitempty"`
	BooleanValue     *bool    `json:"boolean_value,omitempty"`
	Assessment       string   `json:"assessment,omitempty"`
	Reasoning        string   `json:"reasoning,omitempty"`
	Tags             []string `json:"tags,omitempty"`
}

// The routes for LLM Observability below the agent's proxy to Datadog's intakes.
const (
	routeSpans = "/evp_proxy/v2/api/v2/llmobs"
	routeEvals = "/evp_proxy/v2/api/intake/llm-obs/v2/eval-metric"
)

// Agent returns the HTTP API that tracers speak to on port 8126. A body that cannot be read is answered with 400, one
// that is too large with 413, and both are counted as malformed.
func (in *Intake) Agent() http.Handler {
	mux := http.NewServeMux()
	proxyLimit := int64(extensionProxyLimit)
	endpoints := []string{"/v0.4/traces", "/v0.6/stats", routeSpans, routeEvals, "/telemetry/proxy/"}
	if in.opts.Profile == Agent {
		proxyLimit = agentProxyLimit
		endpoints = []string{"/v0.4/traces", "/v0.6/stats", "/evp_proxy/v2/", "/telemetry/proxy/"}
	}
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"version": "7.0.0-standin", "endpoints": endpoints, "client_drop_p0s": false, "config": map[string]any{}})
	})
	for _, method := range []string{"POST", "PUT"} {
		mux.Handle(method+" /v0.4/traces", in.body("traces", traceLimit, in.takeTraces))
		mux.Handle(method+" /v0.6/stats", in.body("stats", traceLimit, ignore))
	}
	mux.Handle("POST /telemetry/proxy/", in.body("telemetry", traceLimit, ignore))
	mux.Handle("POST "+routeSpans, in.body("llmobs", proxyLimit, in.takeLLMSpans))
	mux.Handle("POST "+routeEvals, in.body("eval_metric", proxyLimit, in.takeEvaluations))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		in.mu.Lock()
		in.counts.Unserved++
		in.mu.Unlock()
		http.NotFound(w, r)
	})
	return in.faulty(mux)
}

// body reads a bounded body and lets take have it.
func (in *Intake) body(what string, limit int64, take func([]byte) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Without a connection, as in a test, there is no deadline to set, and no slow client either.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
		if err == nil {
			err = take(data)
		}
		if err != nil {
			in.malformed(what)
			status := http.StatusBadRequest
			if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, err.Error(), status)
			return
		}
		if what == "traces" {
			answer(w, map[string]any{"rate_by_service": map[string]float64{}})
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
}

func ignore([]byte) error { return nil }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// The client is gone when this fails; there is no one left to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// takeTraces reads the v0.4 payload: a msgpack array of traces, each an array of spans.
func (in *Intake) takeTraces(data []byte) error {
	var payload pb.Traces
	rest, err := payload.UnmarshalMsg(data)
	if err != nil {
		return fmt.Errorf("decode traces: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("decode traces: %d bytes left over", len(rest))
	}
	now := in.opts.Now()
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, t := range payload {
		trace := make([]APMSpan, 0, len(t))
		for _, s := range t {
			if s != nil {
				span := apmSpan(s, t)
				span.At = now
				trace = append(trace, span)
			}
		}
		in.traces.add(trace)
		in.counts.Traces++
		in.counts.Spans += len(trace)
	}
	return nil
}

// apmSpan converts a span. The upper half of a 128-bit trace ID stands in the meta of the first span of a piece only.
func apmSpan(s *pb.Span, piece pb.Trace) APMSpan {
	upper := uint64(0)
	if first := piece[0]; first != nil {
		if n, err := strconv.ParseUint(first.Meta["_dd.p.tid"], 16, 64); err == nil {
			upper = n
		}
	}
	return APMSpan{
		TraceID: fmt.Sprintf("%016x%016x", upper, s.TraceID), SpanID: s.SpanID, ParentID: s.ParentID, Service: s.Service, Name: s.Name,
		Resource: s.Resource, Type: s.Type, Start: time.Unix(0, s.Start), Duration: time.Duration(s.Duration), Error: s.Error != 0,
		Meta: s.Meta, Metrics: s.Metrics,
	}
}

// llmEnvelope is what the SDK sends for each span.
type llmEnvelope struct {
	EventType string        `json:"event_type"`
	Spans     []llmWireSpan `json:"spans"`
}

type llmWireSpan struct {
	SpanID    string             `json:"span_id"`
	TraceID   string             `json:"trace_id"`
	ParentID  string             `json:"parent_id"`
	SessionID string             `json:"session_id"`
	Name      string             `json:"name"`
	StartNS   int64              `json:"start_ns"`
	Duration  int64              `json:"duration"`
	Status    string             `json:"status"`
	Tags      []string           `json:"tags"`
	Metrics   map[string]float64 `json:"metrics"`
	Meta      struct {
		Kind         string         `json:"span.kind"`
		Model        string         `json:"model_name"`
		Provider     string         `json:"model_provider"`
		Input        IO             `json:"input"`
		Output       IO             `json:"output"`
		Metadata     map[string]any `json:"metadata"`
		ErrorType    string         `json:"error.type"`
		ErrorMessage string         `json:"error.message"`
	} `json:"meta"`
	DD struct {
		APMTraceID string `json:"apm_trace_id"`
	} `json:"_dd"`
}

// takeLLMSpans reads what dd-trace-go sends: a JSON array with an envelope for each span. The batch is taken whole or
// not at all.
func (in *Intake) takeLLMSpans(data []byte) error {
	var envelopes []llmEnvelope
	if err := json.Unmarshal(data, &envelopes); err != nil {
		return fmt.Errorf("decode LLM Obs spans: %w", err)
	}
	var spans []LLMSpan
	for i, e := range envelopes {
		if e.EventType != "span" {
			return fmt.Errorf("envelope %d: event_type is %q, not span", i, e.EventType)
		}
		for _, s := range e.Spans {
			if s.SpanID == "" || s.TraceID == "" || s.ParentID == "" || s.Name == "" || s.StartNS <= 0 || !kinds[s.Meta.Kind] {
				return fmt.Errorf("envelope %d: span %q of kind %q lacks a required field or has an unknown kind", i, s.Name, s.Meta.Kind)
			}
			spans = append(spans, s.span())
		}
	}
	in.AddLLMSpans(spans...)
	return nil
}

// kinds are the span kinds of LLM Observability.
var kinds = map[string]bool{
	"agent": true, "workflow": true, "llm": true, "tool": true, "task": true, "embedding": true, "retrieval": true, "experiment": true, "step": true,
}

func (s llmWireSpan) span() LLMSpan {
	return LLMSpan{
		SpanID: s.SpanID, TraceID: s.TraceID, ParentID: s.ParentID, SessionID: s.SessionID, APMTraceID: s.DD.APMTraceID, Name: s.Name,
		Kind: s.Meta.Kind, Status: s.Status, Model: s.Meta.Model, Provider: s.Meta.Provider, Start: time.Unix(0, s.StartNS),
		Duration: time.Duration(s.Duration), Input: s.Meta.Input, Output: s.Meta.Output, Metadata: s.Meta.Metadata, Metrics: s.Metrics,
		ErrorType: s.Meta.ErrorType, Error: s.Meta.ErrorMessage, Tags: s.Tags,
	}
}

// AddLLMSpans takes spans that did not come over the wire. Long texts are cut in what is kept.
func (in *Intake) AddLLMSpans(spans ...LLMSpan) {
	now := in.opts.Now()
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, s := range spans {
		s.At = now
		s.Input, s.Output = s.Input.cut(), s.Output.cut()
		in.counts.LLMSpans[s.Kind]++
		in.spans.add(s)
	}
}

func (io IO) cut() IO {
	short := func(s string) string { return strings.ToValidUTF8(s[:min(len(s), keptText)], "") }
	out := IO{Value: short(io.Value)}
	for _, d := range io.Documents {
		d = maps.Clone(d)
		for key, value := range d {
			if text, ok := value.(string); ok {
				d[key] = short(text)
			}
		}
		out.Documents = append(out.Documents, d)
	}
	for _, m := range io.Messages {
		out.Messages = append(out.Messages, ChatMessage{m.Role, short(m.Content)})
	}
	return out
}

// takeEvaluations reads one envelope of evaluations.
func (in *Intake) takeEvaluations(data []byte) error {
	var envelope struct {
		Data struct {
			Type       string
			Attributes struct{ Metrics []Evaluation }
		}
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return fmt.Errorf("decode evaluations: %w", err)
	}
	if envelope.Data.Type != "evaluation_metric" {
		return fmt.Errorf("data.type is %q, not evaluation_metric", envelope.Data.Type)
	}
	for i, e := range envelope.Data.Attributes.Metrics {
		if (e.JoinOn.Span == nil) == (e.JoinOn.Tag == nil) || e.Label == "" || e.MetricType == "" {
			return fmt.Errorf("evaluation %d: exactly one join, a label and a metric_type are required", i)
		}
	}
	in.AddEvaluations(envelope.Data.Attributes.Metrics...)
	return nil
}

// AddEvaluations takes evaluations that did not come over the wire.
func (in *Intake) AddEvaluations(evaluations ...Evaluation) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, e := range evaluations {
		in.counts.Evaluations++
		in.evals.add(e)
	}
}
