package embedded

import (
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/llm-reliability/control-plane/shared/prose"
)

// The parameters of BM25, at their usual values: how soon repetition saturates, and how much length counts.
const (
	k1 = 1.2
	b  = 0.75
)

// index holds the terms of each sentence and in how many sentences each term stands.
type index struct {
	terms   [][]string
	in      map[string]int
	average float64
}

func newIndex(sentences []string) index {
	x := index{terms: make([][]string, len(sentences)), in: map[string]int{}}
	total := 0
	for i, s := range sentences {
		x.terms[i] = prose.Terms(s)
		total += len(x.terms[i])
		for j, t := range x.terms[i] {
			if !slices.Contains(x.terms[i][:j], t) {
				x.in[t]++
			}
		}
	}
	x.average = max(1, float64(total)/float64(max(1, len(sentences))))
	return x
}

// idf is the weight of a term: ln(1 + (N − n + 0.5) / (n + 0.5)).
func (x index) idf(term string) float64 {
	n := float64(x.in[term])
	return math.Log(1 + (float64(len(x.terms))-n+0.5)/(n+0.5))
}

// bm25 is the score of sentence i for the given terms (Robertson and Zaragoza, "The Probabilistic Relevance Framework",
// 2009): Σ idf(t) × f × (k1 + 1) / (f + k1 × (1 − b + b × length / average length)).
func (x index) bm25(query []string, i int) float64 {
	score := 0.0
	for _, q := range query {
		f := 0.0
		for _, t := range x.terms[i] {
			if t == q {
				f++
			}
		}
		if f > 0 {
			score += x.idf(q) * f * (k1 + 1) / (f + k1*(1-b+b*float64(len(x.terms[i]))/x.average))
		}
	}
	return score
}

// rank scores every sentence for a question: BM25, more for question words that stand side by side, more for the kind of
// thing that is asked for, and a part of what its neighbours score. Sentences that share no term score 0.
func rank(question string, sentences []string, r ranking) []float64 {
	x := newIndex(sentences)
	query := prose.Terms(question)
	unique := slices.Compact(slices.Sorted(slices.Values(query)))
	want := hint(question)
	base := make([]float64, len(sentences))
	for i := range sentences {
		score := x.bm25(unique, i)
		if score > 0 {
			for j := 1; j < len(query); j++ {
				for k := 1; k < len(x.terms[i]); k++ {
					if x.terms[i][k-1] == query[j-1] && x.terms[i][k] == query[j] {
						score += r.pairs * (x.idf(query[j-1]) + x.idf(query[j])) / 2
						break
					}
				}
			}
			if r.hints > 0 && want != nil && want(sentences[i]) {
				score *= 1 + r.hints/2
			}
			if r.hints > 0 && defines(sentences[i], unique) {
				score *= 1 + 2*r.hints
			}
			// A heading, or a question, repeats the words of a question and answers nothing.
			if len(x.terms[i]) < 4 || strings.HasSuffix(sentences[i], "?") || strings.HasSuffix(sentences[i], ":") {
				score /= 2
			}
		}
		base[i] = score
	}
	if r.neighbours == 0 {
		return base
	}
	scores := slices.Clone(base)
	for i := range base {
		if base[i] == 0 {
			continue
		}
		if i > 0 {
			scores[i] += r.neighbours * base[i-1]
		}
		if i+1 < len(base) {
			scores[i] += r.neighbours * base[i+1]
		}
	}
	return scores
}

// hint returns what a sentence must look like that holds the kind of thing which the question asks for; nil when the
// question does not tell.
func hint(question string) func(sentence string) bool {
	q := strings.ToLower(question)
	digits := func(s string) bool { return strings.ContainsFunc(s, unicode.IsDigit) }
	switch {
	case strings.Contains(q, "how many"), strings.Contains(q, "how much"), strings.Contains(q, "what year"), strings.HasPrefix(q, "when"):
		return func(s string) bool {
			return digits(s) || strings.Contains(s, " date ") || strings.Contains(s, "when ") || strings.Contains(s, "until")
		}
	case strings.HasPrefix(q, "who"):
		return func(s string) bool {
			return strings.Contains(s, " by ") || strings.Contains(s, "shall mean") || names(s) > 0
		}
	case strings.Contains(q, "mean"), strings.HasPrefix(q, "what is "), strings.HasPrefix(q, "define"):
		return func(s string) bool {
			return strings.Contains(s, " mean") || strings.Contains(s, " is a ") || strings.Contains(s, " is the ") || strings.Contains(s, " refers to ")
		}
	case strings.HasPrefix(q, "why"):
		return func(s string) bool { return strings.Contains(s, "because") || strings.Contains(s, " so that ") }
	}
	return nil
}

// defines says whether a sentence begins with the asked terms in quotes, as definitions in contracts do.
func defines(sentence string, query []string) bool {
	rest, ok := strings.CutPrefix(sentence, `"`)
	if !ok {
		return false
	}
	phrase, _, ok := strings.Cut(rest, `"`)
	return ok && slices.Equal(slices.Compact(slices.Sorted(slices.Values(prose.Terms(phrase)))), query)
}

// names counts the capitalised words that do not begin the sentence.
func names(s string) (n int) {
	for i, w := range strings.Fields(s) {
		if i > 0 && len(w) > 1 && w[0] >= 'A' && w[0] <= 'Z' {
			n++
		}
	}
	return n
}

// central scores every sentence by how much it shares with the whole text: the mean weight of its terms over the square
// root of its length, so that neither fragments nor monsters win. The first sentence, which often says what follows, gets
// a quarter more.
func central(sentences []string) []float64 {
	x := newIndex(sentences)
	frequency := map[string]float64{}
	for _, terms := range x.terms {
		for _, t := range terms {
			frequency[t]++
		}
	}
	scores := make([]float64, len(sentences))
	for i, terms := range x.terms {
		if len(terms) == 0 {
			continue
		}
		for j, t := range terms {
			if !slices.Contains(terms[:j], t) {
				scores[i] += math.Log1p(frequency[t])
			}
		}
		scores[i] /= math.Sqrt(float64(len(terms)) + 4)
	}
	if len(scores) > 0 {
		scores[0] *= 1.25
	}
	return scores
}

// best returns up to most sentences with the highest scores above 0, joined in their own order. Each but the first must
// reach the given share of the best score.
func best(sentences []string, scores []float64, most int, share float64) string {
	order := make([]int, len(sentences))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case scores[i] > scores[j]:
			return -1
		case scores[i] < scores[j]:
			return 1
		}
		return 0
	})
	var chosen []int
	for _, i := range order[:min(most, len(order))] {
		if scores[i] > 0 && scores[i] >= share*scores[order[0]] {
			chosen = append(chosen, i)
		}
	}
	slices.Sort(chosen)
	texts := make([]string, len(chosen))
	for i, c := range chosen {
		texts[i] = sentences[c]
	}
	return strings.Join(texts, " ")
}
