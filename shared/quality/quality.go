// Package quality scores an answer against its question and document, with bounded signals that need no model. It is pure
// and fast, and it judges words, not truth: a later signal may be better, the interface stays.
//
// How well groundedness tells supported answers from others is measured by scripts/quality.
package quality

import (
	"math"
	"strings"
)

// Threshold is the groundedness below which an answer counts as not supported by its document.
const Threshold = 0.5

// Answer is what is judged.
type Answer struct {
	Question, Document, Text string
	// Cut is set when the model stopped for a limit of length.
	Cut bool
}

// Signals score an answer, each 0..1; nil where a signal does not apply.
type Signals struct {
	// SemanticSimilarity says how near the answer is to its question and, where there is one, to its document.
	SemanticSimilarity *float64
	// Groundedness is the share of the answer that the document supports; nil without a document.
	Groundedness *float64
	// Ungrounded is set when Groundedness is below Threshold.
	Ungrounded bool
	// AnswerRelevance says how far the answer is one to the question; nil when the question has no words that carry meaning.
	AnswerRelevance *float64
	// Refusal is set when the answer only says that there is none.
	Refusal bool
	// Truncated is set when the answer ends before it is over.
	Truncated bool
}

// Score computes the signals of an answer.
//
//	support(a, d)   = Σ w(t) over terms t of a that stand in d, over Σ w(t) over all terms of a;
//	                  w(t) = ln(1 + N / n(t)): rare terms of the document weigh more, and terms that it lacks most
//	sentence(a)     = max over document sentences d, and pairs of neighbours, of support(a, d),
//	                  × 0.3 for every number in a that the document does not hold, × 0.6 for one that stands elsewhere in it;
//	                  × 0.7 for every name in a that the document does not hold, × 0.8 for one that stands elsewhere in it;
//	                  × 0.45 where a denies what d says, or says what d denies;
//	                  × 2 / l for the longest run of l > 2 terms of a that d does not hold: a clause that was added
//	groundedness    = mean of sentence(a) over the answer's sentences, each weighted by its number of terms
//	similarity      = cosine between the term weights of the answer and of the question; with a document it is the
//	                  larger of that and of the cosine with the document's best sentences
//	relevance       = share of the question's terms that stand in the answer, or in the document sentences that support it,
//	                  × 0.5 where the question asks for a number, a name or a time and the answer has none; 0 for a refusal
//
// An answer that says honestly that the document does not tell is grounded: it claims nothing.
func Score(a Answer) Signals {
	said, asked := terms(a.Text), terms(a.Question)
	similarity := cosine(count(said), count(asked))
	s := Signals{Refusal: refusal(a.Text), Truncated: a.Cut || truncated(a.Text)}
	var nearest map[string]float64
	if strings.TrimSpace(a.Document) != "" {
		var groundedness float64
		groundedness, nearest = ground(a.Document, a.Text)
		similarity = max(similarity, cosine(count(said), nearest))
		if s.Refusal {
			groundedness = 1
		}
		s.Groundedness, s.Ungrounded = &groundedness, groundedness < Threshold
	}
	s.SemanticSimilarity = &similarity
	if r, ok := relevance(a, asked, said, nearest); ok {
		if s.Refusal {
			r = 0
		}
		s.AnswerRelevance = &r
	}
	return s
}

func count(terms []string) map[string]float64 {
	counts := make(map[string]float64, len(terms))
	for _, t := range terms {
		counts[t]++
	}
	return counts
}

// cosine is the cosine of the angle between two vectors of counts; 0 when one is empty.
func cosine(a, b map[string]float64) float64 {
	dot, na, nb := 0.0, 0.0, 0.0
	for t, x := range a {
		dot += x * b[t]
		na += x * x
	}
	for _, y := range b {
		nb += y * y
	}
	if na == 0 || nb == 0 {
		return 0
	}
	return min(1, dot/math.Sqrt(na*nb))
}
