package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/quality"
	"github.com/llm-reliability/control-plane/shared/safety"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// screened notes what the safety screen sees in a request, and refuses what the policy says. Where that is nothing, what is seen is
// only counted, and looking waits until the answer is on its way.
func (g *Gateway) screened(ctx context.Context, req llm.Request, e *telemetry.Exchange) *llm.Error {
	if !g.opts.Block.Any() {
		telemetry.Later(ctx, func() { e.Safety = observed(screen(req)) })
		return nil
	}
	signals := screen(req)
	e.Safety = observed(signals)
	if reason := g.opts.Block.Refuses(signals); reason != "" {
		e.Safety.Blocked = true
		return &llm.Error{Kind: llm.Blocked, Public: reason, Err: errors.New(reason)}
	}
	return nil
}

// screen looks at a request by who speaks in it. The user's words are the question, or the messages of users where there is none.
// The document is data that the prompt marks as such, and may quote anything: its score is a signal of its own. System messages are
// the application's, and answers the model's: both may say what an injection says, and leave with the request all the same.
func screen(req llm.Request) safety.Signals {
	t := safety.Texts{Document: req.Document}
	if req.Question != "" {
		t.Asked = []string{req.Question}
		return safety.Screen(t)
	}
	for _, m := range req.Messages {
		if m.Role == llm.System || m.Role == llm.Assistant {
			t.Trusted = append(t.Trusted, m.Content)
		} else {
			t.Asked = append(t.Asked, m.Content)
		}
	}
	return safety.Screen(t)
}

func observed(s safety.Signals) telemetry.Safety {
	return telemetry.Safety{
		PromptInjection: s.PromptInjection, InjectionSuspected: s.InjectionSuspected,
		DocumentInjection: s.DocumentInjection, DocumentSuspected: s.DocumentSuspected,
		TokenAbuse: s.TokenAbuse, PII: s.PII,
	}
}

// score computes the quality signals of an answer to a question. A completion has none that would mean something.
func score(req llm.Request, answer string, finish llm.FinishReason) *telemetry.Quality {
	if req.Question == "" {
		return nil
	}
	start := time.Now()
	s := quality.Score(quality.Answer{Question: req.Question, Document: req.Document, Text: answer, Cut: finish == llm.FinishLength})
	return &telemetry.Quality{
		SemanticSimilarity: s.SemanticSimilarity, Groundedness: s.Groundedness, Ungrounded: s.Ungrounded,
		AnswerRelevance: s.AnswerRelevance, Refusal: s.Refusal, Truncated: s.Truncated,
		Start: start, Duration: time.Since(start),
	}
}
