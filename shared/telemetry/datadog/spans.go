package datadog

import (
	"cmp"
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/DataDog/dd-trace-go/v2/ddtrace/ext"
	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"
	"github.com/DataDog/dd-trace-go/v2/llmobs"

	"github.com/llm-reliability/control-plane/shared/safety"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Record implements telemetry.Sink. The spans are made after the fact, with the times that the exchange holds: a workflow
// for the request, below it a retrieval where a document was used, an llm span for each attempt, and a task for the
// quality scoring.
func (s *Sink) Record(ctx context.Context, e *telemetry.Exchange) {
	if !s.config.Enabled {
		return
	}
	ctx = within(ctx)
	if !s.llmobs.Load() {
		s.plain(ctx, e)
		return
	}
	opts := []llmobs.StartSpanOption{llmobs.WithStartTime(e.Start)}
	if e.Session != "" {
		opts = append(opts, llmobs.WithSessionID(e.Session))
	}
	workflow, ctx := llmobs.StartWorkflowSpan(ctx, e.Function, opts...)
	if workflow.SpanID() == "" {
		// The wrapper started the tracer and LLM Observability did not start with it: say it once, and trace plainly.
		if s.llmobs.Swap(false) {
			s.config.Logger.WarnContext(ctx, "LLM Observability did not start: its spans are plain APM spans")
		}
		s.plain(ctx, e)
		return
	}
	s.retrieval(ctx, e)
	for i := range e.Attempts {
		s.attempt(ctx, e, &e.Attempts[i])
	}
	s.task(ctx, e)
	input := e.Question
	if input == "" && len(e.Messages) > 0 {
		input = e.Messages[len(e.Messages)-1].Content
	}
	workflow.AnnotateTextIO(s.capture(input), s.capture(e.Output), llmobs.WithAnnotatedTags(tags(e)))
	s.evaluate(workflow, e)
	s.finished[spans].Add(1)
	workflow.Finish(finish(e.Start.Add(e.Duration), failure(e))...)
}

// failure is the error of a request that failed; a client that hung up or sent nonsense is none of ours.
func failure(e *telemetry.Exchange) error {
	if e.Outcome == telemetry.OutcomeError || e.Outcome == telemetry.OutcomeBlocked {
		return redacted(e.Err)
	}
	return nil
}

// redacted is an error as it may leave the process: providers quote in their messages what they were sent.
func redacted(err error) error {
	if err == nil {
		return nil
	}
	if text := safety.Redact(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

func finish(at time.Time, err error) []llmobs.FinishSpanOption {
	opts := []llmobs.FinishSpanOption{llmobs.WithFinishTime(at)}
	if err != nil {
		opts = append(opts, llmobs.WithError(err))
	}
	return opts
}

// tags are the exchange's bounded tags as LLM Observability takes them, and the overrides in force.
func tags(e *telemetry.Exchange) map[string]string {
	m := make(map[string]string, 9)
	for _, tag := range [...][2]string{
		{requestTag, e.RequestID}, {"function", e.Function}, {"endpoint", e.Endpoint}, {"request_type", string(e.Type)},
		{"outcome", string(e.Outcome)}, {"cache", string(e.Cache)}, {"tier", e.Tier}, {"caller", e.Caller},
	} {
		if tag[1] != "" {
			m[tag[0]] = tag[1]
		}
	}
	if len(e.Overrides) > 0 {
		m["override_action"] = e.Overrides[len(e.Overrides)-1].Action
	}
	return m
}

func (s *Sink) retrieval(ctx context.Context, e *telemetry.Exchange) {
	if e.Document == "" {
		return
	}
	span, _ := llmobs.StartRetrievalSpan(ctx, "document", llmobs.WithStartTime(e.Start))
	var documents []llmobs.RetrievedDocument
	if text := s.capture(e.Document); text != "" {
		documents = []llmobs.RetrievedDocument{{Text: text, Name: "document"}}
	}
	span.AnnotateRetrievalIO(s.capture(e.Question), documents,
		llmobs.WithAnnotatedMetadata(map[string]any{"document_characters": utf8.RuneCountInString(e.Document)}))
	s.finished[spans].Add(1)
	span.Finish(llmobs.WithFinishTime(e.Start))
}

func (s *Sink) attempt(ctx context.Context, e *telemetry.Exchange, a *telemetry.Attempt) {
	span, ctx := llmobs.StartLLMSpan(ctx, a.Provider+"."+string(e.Type), llmobs.WithStartTime(a.Start),
		llmobs.WithModelName(a.Model), llmobs.WithModelProvider(a.Provider))
	metrics := map[string]float64{}
	if u := a.Usage; u != nil {
		metrics[llmobs.MetricKeyInputTokens] = float64(u.InputTokens)
		metrics[llmobs.MetricKeyOutputTokens] = float64(u.OutputTokens)
		metrics[llmobs.MetricKeyTotalTokens] = float64(u.Total())
		if u.CachedTokens > 0 {
			metrics["non_cached_input_tokens"] = float64(u.InputTokens - u.CachedTokens)
			metrics[llmobs.MetricKeyCacheReadInputTokens] = float64(u.CachedTokens)
		}
		if u.ReasoningTokens > 0 {
			metrics[llmobs.MetricKeyReasoningOutputTokens] = float64(u.ReasoningTokens)
		}
	}
	if a.CostUSD != nil {
		metrics["total_cost"] = *a.CostUSD
	}
	if a.FirstToken > 0 {
		metrics[llmobs.MetricKeyTimeToFirstToken] = a.FirstToken.Seconds()
	}
	opts := []llmobs.AnnotateOption{
		llmobs.WithAnnotatedMetrics(metrics),
		llmobs.WithAnnotatedMetadata(metadata(a)),
	}
	if e.PromptID != "" {
		opts = append(opts, llmobs.WithAnnotatedPrompt(llmobs.Prompt{ID: e.PromptID, Version: e.PromptVersion}))
	}
	span.AnnotateLLMIO(s.input(e), s.output(a), opts...)
	if apm, ok := tracer.SpanFromContext(ctx); ok {
		label(apm, e, a)
	}
	s.finished[spans].Add(1)
	span.Finish(finish(a.Start.Add(a.Duration), redacted(a.Err))...)
}

// metadata is what there is to say about an attempt. What most are not goes without saying: the SDK encodes each entry three times.
func metadata(a *telemetry.Attempt) map[string]any {
	m := map[string]any{}
	if a.Finish != "" {
		m["finish_reason"] = string(a.Finish)
	}
	if a.Retry {
		m["retry"] = true
	}
	if a.Fallback {
		m["fallback"] = true
	}
	return m
}

// label sets the llm.* tags of a model call on its APM span, and what makes it an edge of the service map.
func label(apm *tracer.Span, e *telemetry.Exchange, a *telemetry.Attempt) {
	apm.SetTag(ext.SpanKind, ext.SpanKindClient)
	apm.SetTag(ext.PeerService, a.Provider)
	apm.SetTag("llm.provider", a.Provider)
	if a.Location != "" {
		apm.SetTag("llm.location", a.Location)
	}
	apm.SetTag("llm.request.model", cmp.Or(a.Requested, a.Model))
	apm.SetTag("llm.response.model", a.Model)
	apm.SetTag("llm.request.type", string(e.Type))
	apm.SetTag("llm.request.latency", float64(a.Duration)/float64(time.Millisecond))
	if a.Usage != nil {
		apm.SetTag("llm.request.input_tokens", a.Usage.InputTokens)
		apm.SetTag("llm.response.output_tokens", a.Usage.OutputTokens)
	}
	if a.CostUSD != nil {
		apm.SetTag("llm.request.cost", *a.CostUSD)
	}
}

// task tells how long the scoring took. The scores are evaluations of the request.
func (s *Sink) task(ctx context.Context, e *telemetry.Exchange) {
	q := e.Quality
	if q == nil {
		return
	}
	span, _ := llmobs.StartTaskSpan(ctx, "quality", llmobs.WithStartTime(q.Start))
	s.finished[spans].Add(1)
	span.Finish(llmobs.WithFinishTime(q.Start.Add(q.Duration)))
}

// evaluate submits the signals as evaluations of the request.
func (s *Sink) evaluate(span *llmobs.WorkflowSpan, e *telemetry.Exchange) {
	submit := func(label string, score *float64) {
		if score == nil {
			return
		}
		s.finished[evaluations].Add(1)
		llmobs.SubmitEvaluationFromSpan(label, *score, span)
	}
	if q := e.Quality; q != nil {
		submit("semantic_similarity", q.SemanticSimilarity)
		submit("groundedness", q.Groundedness)
		submit("answer_relevance", q.AnswerRelevance)
	}
	if e.Safety.InjectionSuspected {
		submit("prompt_injection", &e.Safety.PromptInjection)
	}
}

// requestTag is the tag by which the workflow span of a request is found.
const requestTag = "request_id"

// Evaluate implements telemetry.Sink. The evaluation joins the workflow span by its tag, since whoever evaluates does not have the
// span, which may be another process's. One that the SDK does not take counts as not acknowledged, and so as dropped.
func (s *Sink) Evaluate(e telemetry.Evaluation) {
	if !s.config.Enabled || !s.llmobs.Load() {
		return
	}
	s.finished[evaluations].Add(1)
	llmobs.SubmitEvaluationFromTag(e.Label, e.Score, llmobs.JoinTag{Key: requestTag, Value: e.RequestID})
}

// plain makes APM spans only.
func (s *Sink) plain(ctx context.Context, e *telemetry.Exchange) {
	for i := range e.Attempts {
		a := &e.Attempts[i]
		apm, _ := tracer.StartSpanFromContext(ctx, "llm.request", tracer.StartTime(a.Start), tracer.ResourceName(a.Model))
		label(apm, e, a)
		apm.Finish(tracer.FinishTime(a.Start.Add(a.Duration)), tracer.WithError(redacted(a.Err)))
	}
}

// The bounds of what is captured, in bytes: of one text, and of all texts of one span. The Lambda extension takes bodies
// of 2 MB at most.
const (
	maxText  = 16 << 10
	maxEvent = 512 << 10
)

// capture returns what may leave the process of a text. It is redacted before it is cut: half of a card number looks like none.
func (s *Sink) capture(text string) string {
	switch s.config.Capture {
	case CaptureTruncated:
		return cut(safety.Redact(text), maxText)
	case CaptureFull:
		return cut(safety.Redact(text), maxEvent/2)
	}
	return ""
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// input returns the messages as they may leave the process, newest first in line when not all fit.
func (s *Sink) input(e *telemetry.Exchange) []llmobs.LLMMessage {
	if s.config.Capture == CaptureNone {
		return nil
	}
	left := maxEvent / 2
	var out []llmobs.LLMMessage
	for i := len(e.Messages) - 1; i >= 0 && left > 0; i-- {
		text := cut(s.capture(e.Messages[i].Content), left)
		left -= len(text)
		out = append([]llmobs.LLMMessage{{Role: string(e.Messages[i].Role), Content: text}}, out...)
	}
	return out
}

func (s *Sink) output(a *telemetry.Attempt) []llmobs.LLMMessage {
	text := s.capture(a.Output)
	if text == "" {
		return nil
	}
	return []llmobs.LLMMessage{{Role: "assistant", Content: text}}
}
