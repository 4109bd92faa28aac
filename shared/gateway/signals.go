package gateway

import (
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/quality"
	"github.com/llm-reliability/control-plane/shared/safety"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// screen looks at what the caller wrote as instructions: the question, or all messages where there is none.
func screen(req llm.Request) telemetry.Safety {
	texts := []string{req.Question}
	if req.Question == "" {
		texts = texts[:0]
		for _, m := range req.Messages {
			if m.Role != llm.Assistant {
				texts = append(texts, m.Content)
			}
		}
	}
	s := safety.Screen(texts...)
	return telemetry.Safety{PromptInjection: s.PromptInjection, InjectionSuspected: s.InjectionSuspected, TokenAbuse: s.TokenAbuse, PII: s.PII}
}

// score computes the quality signals of an answer to a question. A completion has none that would mean something.
func score(req llm.Request, answer string) *telemetry.Quality {
	if req.Question == "" {
		return nil
	}
	start := time.Now()
	s := quality.Score(req.Question, req.Document, answer)
	return &telemetry.Quality{
		SemanticSimilarity: s.SemanticSimilarity, Groundedness: s.Groundedness, Ungrounded: s.Ungrounded,
		Start: start, Duration: time.Since(start),
	}
}
