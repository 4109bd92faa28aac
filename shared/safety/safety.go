// Package safety screens texts for prompt injection, personal data and attempts to burn tokens, redacts personal data, and holds
// the policy that says which of these a request is refused for. It is pure and linear in the text. The score of injections is
// the subpackage's; all else is made of documented rules.
package safety

import (
	"math"

	"github.com/llm-reliability/control-plane/shared/safety/injection"
)

// Suspected is the score from which a prompt counts as an injection.
const Suspected = injection.Suspected

// DocumentSuspected is the score from which a document counts as one that gives orders. It is higher than a prompt's: documents
// are long, and quote, instruct and advertise by their nature.
const DocumentSuspected = 0.9

// Signals are what a screen saw.
type Signals struct {
	// PromptInjection is the score of what the caller asks, 0 to 1: the worst of its texts.
	PromptInjection    float64
	InjectionSuspected bool
	// DocumentInjection is the score of the document that the answer is to come from. It is a signal of its own, since a document
	// is data, which the prompt marks as such: that it gives orders says nothing of the caller.
	DocumentInjection float64
	DocumentSuspected bool
	TokenAbuse        bool
	// PII lists the kinds of personal data and secrets that were seen, sorted.
	PII []string
}

// Texts are the parts of a request, by who they speak for.
type Texts struct {
	// Asked is what the user wrote: the question or messages.
	Asked []string
	// Document is what the answer is to come from.
	Document string
	// Trusted is what the application wrote, such as system messages. It is meant to instruct the model, and only searched for
	// personal data.
	Trusted []string
}

// Screen looks at the texts of a request.
func Screen(t Texts) Signals {
	var s Signals
	var found [len(kinds)]bool
	for _, text := range t.Asked {
		s.PromptInjection = max(s.PromptInjection, round(injection.Score(text)))
		s.TokenAbuse = s.TokenAbuse || tokenAbuse(text)
		mark(&found, text)
	}
	if t.Document != "" {
		s.DocumentInjection = round(injection.Score(t.Document))
		mark(&found, t.Document)
	}
	for _, text := range t.Trusted {
		mark(&found, text)
	}
	for i, kind := range kinds {
		if found[i] {
			s.PII = append(s.PII, kind)
		}
	}
	s.InjectionSuspected = s.PromptInjection >= Suspected
	s.DocumentSuspected = s.DocumentInjection >= DocumentSuspected
	return s
}

// round keeps three digits, without rounding up to a threshold.
func round(score float64) float64 { return math.Floor(score*1000) / 1000 }
