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
	groundedness, nearest := ground(document, answer)
	similarity = max(similarity, cosine(count(terms), nearest))
	if refusal(answer) {
		groundedness = 1
	}
	return Signals{SemanticSimilarity: &similarity, Groundedness: &groundedness, Ungrounded: groundedness < Threshold}
}

// statement is a sentence of an answer: its terms, sorted and each once, and its claims.
type statement struct{ terms, claims []string }

// ground returns the groundedness of an answer and the term counts of the document sentences that support it best.
func ground(document, answer string) (groundedness float64, nearest map[string]float64) {
	var statements []statement
	for _, s := range prose.Sentences(answer) {
		if terms := unique(s); len(terms) > 0 {
			statements = append(statements, statement{terms, claims(s)})
		}
	}
	d := index(document, statements)
	nearest = map[string]float64{}
	total, sum := 0.0, 0.0
	for _, s := range statements {
		score, first, last := d.best(s.terms)
		for _, claim := range s.claims {
			switch {
			case d.words[claim]:
			case claim[0] >= '0' && claim[0] <= '9':
				score *= 0.3
			default:
				score *= 0.7
			}
		}
		for _, sentence := range d.sentences[first:last] {
			for _, t := range unique(sentence) {
				nearest[t]++
			}
		}
		sum += score * float64(len(s.terms))
		total += float64(len(s.terms))
	}
	if total == 0 {
		return 0, nearest
	}
	return sum / total, nearest
}

func unique(sentence string) []string {
	terms := prose.Terms(sentence)
	slices.Sort(terms)
	return slices.Compact(terms)
}

// source is a document, as far as the statements of an answer touch it: what they don't name is not kept, since a document
// has many more words than an answer.
type source struct {
	sentences []string
	// in lists, by a term, the sentences that hold it, in order.
	in map[string][]int
	// words are the claims, in lower case, and whether the document holds them.
	words map[string]bool
	// own and both are room for best: a score for each sentence, by itself and with its neighbour.
	own, both []float64
}

func index(document string, statements []statement) *source {
	d := &source{sentences: prose.Sentences(document), in: map[string][]int{}, words: map[string]bool{}}
	d.own, d.both = make([]float64, len(d.sentences)), make([]float64, len(d.sentences))
	for _, s := range statements {
		for _, t := range s.terms {
			d.in[t] = nil
		}
		for _, c := range s.claims {
			d.words[c] = false
		}
	}
	for i, s := range d.sentences {
		for _, w := range prose.Words(s) {
			if _, ok := d.words[w]; ok {
				d.words[w] = true
			}
			if prose.IsStop(w) {
				continue
			}
			t := prose.Stem(w)
			if list, ok := d.in[t]; ok && (len(list) == 0 || list[len(list)-1] != i) {
				d.in[t] = append(list, i)
			}
		}
	}
	return d
}

// best returns the highest support of the terms by a sentence or two neighbours, and which these are: first up to, and
// without, last. A term of the neighbour counts a little less, so that one sentence wins over two that hold the same.
func (d *source) best(terms []string) (score float64, first, last int) {
	clear(d.own)
	clear(d.both)
	whole := 0.0
	for _, t := range terms {
		in := d.in[t]
		weight := math.Log(1 + float64(len(d.sentences)+1)/float64(max(1, len(in))))
		whole += weight
		before := -1
		for _, i := range in {
			if i > 0 && before != i-1 {
				d.both[i-1] += 0.9 * weight
			}
			d.own[i] += weight
			d.both[i] += weight
			before = i
		}
	}
	for i := range d.sentences {
		if s := d.own[i] / whole; s > score {
			score, first, last = s, i, i+1
		}
		if s := d.both[i] / whole; s > score {
			score, first, last = s, i, i+2
		}
	}
	return score, first, last
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
