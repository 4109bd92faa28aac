package telemetry

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/safety"
)

// NewLogger returns a logger that writes JSON lines in Datadog's standard attributes: timestamp, status, message,
// service, dd.service, dd.env, dd.version, and dd.trace_id and dd.span_id of the request in the context. See
// https://docs.datadoghq.com/logs/log_configuration/attributes_naming_convention/.
func NewLogger(w io.Writer, level slog.Leveler, service, env, version string) *slog.Logger {
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		// An attribute of the caller may have the name of a built-in one, so the values decide, too. The key comes first, since
		// to look at the value of every attribute of every line as an interface takes memory.
		switch a.Key {
		case slog.TimeKey:
			if a.Value.Kind() == slog.KindTime {
				return slog.String("timestamp", a.Value.Time().UTC().Format(time.RFC3339Nano))
			}
		case slog.LevelKey:
			if v, ok := a.Value.Any().(slog.Level); ok {
				return slog.String("status", strings.ToLower(v.String()))
			}
		case slog.MessageKey:
			if a.Value.Kind() == slog.KindString {
				a.Key = "message"
			}
		}
		return a
	}})
	return slog.New(traced{h}).With(
		slog.String("service", service), slog.String("dd.service", service), slog.String("dd.env", env), slog.String("dd.version", version))
}

// traced adds the identifiers of the context's trace to each record. They must be at the top of the line to correlate, so
// group attributes with slog.Group and not with WithGroup, which nests whatever a record adds.
type traced struct{ slog.Handler }

func (t traced) Handle(ctx context.Context, r slog.Record) error {
	if trace := TraceFrom(ctx); trace.TraceID != "" {
		r.AddAttrs(slog.String("dd.trace_id", trace.TraceID), slog.String("dd.span_id", trace.SpanID))
	}
	return t.Handler.Handle(ctx, r)
}

func (t traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{t.Handler.WithAttrs(attrs)} }
func (t traced) WithGroup(name string) slog.Handler       { return traced{t.Handler.WithGroup(name)} }

func level(e *Exchange) slog.Level {
	if e.Outcome == OutcomeError {
		return slog.LevelError
	}
	if len(e.Degraded) > 0 || e.Safety.InjectionSuspected || e.Safety.TokenAbuse {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// LogAttrs returns the attributes of an exchange's log line. They never hold prompts or answers.
func LogAttrs(e *Exchange) []slog.Attr {
	attrs := make([]slog.Attr, 0, 36)
	str := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	flag := func(key string, set bool) {
		if set {
			attrs = append(attrs, slog.Bool(key, true))
		}
	}
	str("http.request_id", e.RequestID)
	str("llm.function", e.Function)
	str("http.method", e.HTTP.Method)
	str("http.url", e.HTTP.URL)
	str("http.route", e.Endpoint)
	str("http.useragent", e.HTTP.UserAgent)
	str("llm.request.type", string(e.Type))
	str("llm.caller", e.Caller)
	str("llm.tier", e.Tier)
	str("llm.response.model", e.Model)
	str("llm.provider", e.Provider)
	str("llm.cache", string(e.Cache))
	str("llm.outcome", string(e.Outcome))
	if e.Status != 0 {
		attrs = append(attrs, slog.Int("http.status_code", e.Status))
	}
	// Datadog's standard attribute "duration" is in nanoseconds.
	attrs = append(attrs, slog.Int64("duration", e.Duration.Nanoseconds()), slog.Int("llm.attempts", len(e.Attempts)))
	if e.FirstToken > 0 {
		attrs = append(attrs, slog.Float64("llm.time_to_first_token_ms", ms(e.FirstToken)))
	}
	if u, ok := e.usage(); ok {
		attrs = append(attrs, slog.Int("llm.request.input_tokens", u.InputTokens), slog.Int("llm.response.output_tokens", u.OutputTokens))
	}
	flag("llm.usage_estimated", e.UsageEstimated)
	if e.CostUSD != nil {
		attrs = append(attrs, slog.Float64("llm.request.cost", *e.CostUSD))
	}
	if q := e.Quality; q != nil {
		if q.SemanticSimilarity != nil {
			attrs = append(attrs, slog.Float64("llm.quality.semantic_similarity", *q.SemanticSimilarity))
		}
		if q.Groundedness != nil {
			attrs = append(attrs, slog.Float64("llm.quality.groundedness", *q.Groundedness))
		}
		flag("llm.quality.ungrounded", q.Ungrounded)
	}
	if s := e.Safety; s.PromptInjection > 0 {
		attrs = append(attrs, slog.Float64("llm.safety.prompt_injection", s.PromptInjection))
	}
	// What the security pipeline sorts by; the same conditions as those of the llm.safety metrics.
	flag("llm.safety.injection_suspected", e.Safety.InjectionSuspected)
	flag("llm.safety.document_suspected", e.Safety.DocumentSuspected)
	flag("llm.safety.token_abuse", e.Safety.TokenAbuse)
	flag("llm.safety.blocked", e.blocked())
	if len(e.Safety.PII) > 0 {
		attrs = append(attrs, slog.Any("llm.safety.pii", e.Safety.PII))
	}
	if len(e.Overrides) > 0 {
		ids := make([]string, len(e.Overrides))
		for i, o := range e.Overrides {
			ids[i] = o.ID
		}
		attrs = append(attrs, slog.Any("llm.overrides", ids))
	}
	if len(e.Skipped) > 0 {
		attrs = append(attrs, slog.Any("llm.skipped", e.Skipped))
	}
	if len(e.Degraded) > 0 {
		attrs = append(attrs, slog.Any("llm.degraded", e.Degraded))
	}
	str("error.kind", e.ErrorType)
	if e.Err != nil {
		attrs = append(attrs, slog.String("error.message", safety.Redact(e.Err.Error())))
	}
	return attrs
}
