// Package quality scores an answer against its question and document, with bounded signals that need no model. It is pure
// and fast, and it judges words, not truth: a later signal may be better, the interface stays.
package quality

import (
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/llm-reliability/control-plane/shared/prose"
)

// Threshold is the groundedness below which an answer counts as not supported by its document.
const Threshold = 0.5

// Signals score an answer, each 0..1; nil where a signal does not apply.
type Signals struct {
	// SemanticSimilarity says how near the answer is to its question and, where there is one, to its document.
	SemanticSimilarity *float64
	// Groundedness is the share of the answer that the document supports; nil without a document.
	Groundedness *float64
	// Ungrounded is set when Groundedness is below Threshold.
	Ungrounded bool
}

// Score computes the signals of an answer.
//
//	support(a, d)   = Σ w(t) over terms t of a that stand in d, over Σ w(t) over all terms of a;
//	                  w(t) = ln(1 + N / n(t)): rare terms of the document weigh more, and terms that it lacks most
//	sentence(a)     = max over document sentences d, and pairs of neighbours, of support(a, d),
//	                  × 0.3 for every number, and × 0.7 for every name, in a that the document does not hold
//	groundedness    = mean of sentence(a) over the answer's sentences, each weighted by its number of terms
//	similarity      = cosine between the term weights of the answer and of the question; with a document it is the
//	                  larger of that and of the cosine with the document's best sentences
//
// An answer that says honestly that the document does not tell is grounded: it claims nothing.
func Score(question, document, answer string) Signals {
	terms := prose.Terms(answer)
	similarity := cosine(count(terms), count(prose.Terms(question)))
	if strings.TrimSpace(document) == "" {
		return Signals{SemanticSimilarity: &similarity}
	}
	d := index(document)
	groundedness, nearest := d.support(answer)
	similarity = max(similarity, cosine(count(terms), nearest))
	if refusal(answer) {
		groundedness = 1
	}
	return Signals{SemanticSimilarity: &similarity, Groundedness: &groundedness, Ungrounded: groundedness < Threshold}
}

// source is a document made ready for comparison.
type source struct {
	sentences [][]string
	// in counts the sentences that hold a term; words are all words of the document in lower case.
	in    map[string]int
	words map[string]bool
}

func index(document string) source {
	d := source{in: map[string]int{}, words: map[string]bool{}}
	for _, s := range prose.Sentences(document) {
		for _, w := range prose.Words(s) {
			d.words[w] = true
		}
		terms := slices.Compact(slices.Sorted(slices.Values(prose.Terms(s))))
		for _, t := range terms {
			d.in[t]++
		}
		d.sentences = append(d.sentences, terms)
	}
	return d
}

func (d source) weight(term string) float64 {
	return math.Log(1 + float64(len(d.sentences)+1)/float64(max(1, d.in[term])))
}

// support returns the groundedness of an answer and the term counts of the document sentences that support it best.
func (d source) support(answer string) (groundedness float64, nearest map[string]float64) {
	nearest = map[string]float64{}
	total, sum := 0.0, 0.0
	for _, s := range prose.Sentences(answer) {
		terms := slices.Compact(slices.Sorted(slices.Values(prose.Terms(s))))
		if len(terms) == 0 {
			continue
		}
		score, best := d.best(terms)
		for _, claim := range claims(s) {
			switch {
			case d.words[claim]:
			case claim[0] >= '0' && claim[0] <= '9':
				score *= 0.3
			default:
				score *= 0.7
			}
		}
		for _, i := range best {
			for _, t := range d.sentences[i] {
				nearest[t]++
			}
		}
		sum += score * float64(len(terms))
		total += float64(len(terms))
	}
	if total == 0 {
		return 0, nearest
	}
	return sum / total, nearest
}

// best returns the highest support of the terms by a sentence or two neighbours, and which these are. A term of the
// neighbour counts a little less, so that one sentence wins over two that hold the same.
func (d source) best(terms []string) (score float64, sentences []int) {
	whole := 0.0
	for _, t := range terms {
		whole += d.weight(t)
	}
	held := func(i int, t string) bool {
		if i < 0 || i >= len(d.sentences) {
			return false
		}
		_, ok := slices.BinarySearch(d.sentences[i], t)
		return ok
	}
	for i := range d.sentences {
		own, both := 0.0, 0.0
		for _, t := range terms {
			switch {
			case held(i, t):
				own += d.weight(t)
				both += d.weight(t)
			case held(i+1, t):
				both += 0.9 * d.weight(t)
			}
		}
		if own/whole > score {
			score, sentences = own/whole, []int{i}
		}
		if both/whole > score {
			score, sentences = both/whole, []int{i, i + 1}
		}
	}
	return score, sentences
}

// claims returns the numbers, and the capitalised words that do not begin it, of a sentence, in lower case.
func claims(sentence string) []string {
	var out []string
	for i, field := range strings.Fields(sentence) {
		for _, w := range prose.Words(field) {
			first := []rune(strings.TrimLeftFunc(field, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }))
			if (w[0] >= '0' && w[0] <= '9') || (i > 0 && len(first) > 0 && unicode.IsUpper(first[0]) && !prose.IsStop(w)) {
				out = append(out, w)
			}
		}
	}
	return out
}

// refusal says whether an answer only says that there is none.
func refusal(answer string) bool {
	const short = 200
	lower := strings.ToLower(answer)
	return len(answer) < short && (strings.Contains(lower, "document does not") || strings.Contains(lower, "document doesn't") ||
		strings.Contains(lower, "not mentioned in the document") || strings.Contains(lower, "no information in the document"))
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
