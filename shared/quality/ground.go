package quality

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/shared/prose"
)

// The factors of a statement whose sentence is found, but says something else. They were set on the tuned half of the labelled
// pairs; see scripts/quality.
const (
	numberNowhere   = 0.3
	numberElsewhere = 0.6
	nameNowhere     = 0.6
	nameElsewhere   = 0.7
	denied          = 0.45
	// added is the longest run of terms that a paraphrase may have of its own.
	added = 2
)

// statement is a sentence of an answer.
type statement struct {
	// run are its terms in order, and terms the same, sorted and each once.
	run, terms []string
	claims     []claim
	denied     []string
}

// ground returns the groundedness of an answer and the term counts of the document sentences that support it best.
func ground(document, answer string) (groundedness float64, nearest map[string]float64) {
	var statements []statement
	for _, s := range prose.Sentences(answer) {
		run := terms(s)
		if len(run) == 0 {
			continue
		}
		terms := slices.Sorted(slices.Values(run))
		statements = append(statements, statement{run, slices.Compact(terms), claims(s), denials(s)})
	}
	d := index(document, statements)
	nearest = map[string]float64{}
	total, sum := 0.0, 0.0
	for _, s := range statements {
		score, first, last := d.best(s.terms)
		for _, sentence := range d.sentences[first:last] {
			for _, t := range unique(sentence) {
				nearest[t]++
			}
		}
		sum += score * d.agreement(s, first, last) * float64(len(s.terms))
		total += float64(len(s.terms))
	}
	if total == 0 {
		return 0, nearest
	}
	return sum / total, nearest
}

// term is the form in which a word that carries meaning is looked for.
func term(word string) string {
	if n := normal(word); n[0] >= '0' && n[0] <= '9' {
		return n
	}
	return prose.Stem(word)
}

// terms are those of a sentence in order, repetitions included.
func terms(sentence string) []string {
	words := prose.Words(sentence)
	out := words[:0]
	for _, w := range words {
		if !prose.IsStop(w) {
			out = append(out, term(w))
		}
	}
	return out
}

func unique(sentence string) []string {
	return slices.Compact(slices.Sorted(slices.Values(terms(sentence))))
}

// agreement is how far a statement says what the sentences say that are nearest to it: the product of the factors above.
func (d *source) agreement(s statement, first, last int) float64 {
	factor := 1.0
	if first == last {
		return factor
	}
	near, there := map[string]bool{}, view{map[string]bool{}, map[string]bool{}}
	for _, sentence := range d.sentences[first:last] {
		for _, w := range prose.Words(sentence) {
			near[normal(w)] = true
		}
		there.add(terms(sentence), denials(sentence))
	}
	for _, c := range s.claims {
		switch {
		case near[c.text]:
		case c.number && d.words[c.text]:
			factor *= numberElsewhere
		case c.number:
			factor *= numberNowhere
		case d.words[c.text]:
			factor *= nameElsewhere
		case !c.first:
			factor *= nameNowhere
		}
	}
	here := view{map[string]bool{}, map[string]bool{}}
	if here.add(s.terms, s.denied); here.contradicts(there) || there.contradicts(here) {
		factor *= denied
	}
	stands := there.terms()
	if run := longestRun(s.run, stands); run > added {
		factor *= float64(added) / float64(run)
	}
	return factor
}

// view is what some sentences say, and what they deny: terms of either.
type view struct{ says, denies map[string]bool }

// add adds a sentence. What it denies it does not say.
func (v view) add(terms, denied []string) {
	for _, t := range denied {
		v.denies[t] = true
	}
	for _, t := range terms {
		if !slices.Contains(denied, t) {
			v.says[t] = true
		}
	}
}

// contradicts is whether v denies a term, and never says it, that the other says and never denies.
func (v view) contradicts(o view) bool {
	for t := range v.denies {
		if !v.says[t] && o.says[t] && !o.denies[t] {
			return true
		}
	}
	return false
}

func (v view) terms() map[string]bool {
	all := maps.Clone(v.says)
	maps.Copy(all, v.denies)
	return all
}

// longestRun is the longest row of terms of which none stands there.
func longestRun(terms []string, stands map[string]bool) (longest int) {
	run := 0
	for _, t := range terms {
		if run++; stands[t] {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest
}

// source is a document, as far as the statements of an answer touch it: what they don't name is not kept, since a document
// has many more words than an answer.
type source struct {
	sentences []string
	// in lists, by a term, the sentences that hold it, in order.
	in map[string][]int
	// words are the claims, and whether the document holds them.
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
			d.words[c.text] = false
		}
	}
	for i, s := range d.sentences {
		for _, w := range prose.Words(s) {
			n := normal(w)
			if _, ok := d.words[n]; ok {
				d.words[n] = true
			}
			if prose.IsStop(w) {
				continue
			}
			t := term(w)
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
			score, first, last = s, i, min(i+2, len(d.sentences))
		}
	}
	return score, first, last
}

// negating are the words that deny what follows them.
func negating(word string) bool {
	switch word {
	case "not", "never", "no", "cannot", "without", "neither", "nor", "none":
		return true
	}
	return false
}

// denials returns the terms that a sentence denies: the first two that follow a word that denies.
func denials(sentence string) (out []string) {
	const reach = 2
	left := 0
	// An apostrophe separates words: don't is don and t.
	before := ""
	for _, w := range prose.Words(sentence) {
		switch {
		case negating(w), w == "t" && (strings.HasSuffix(before, "n") || before == "can"):
			left = reach
		case left > 0 && !prose.IsStop(w):
			out = append(out, term(w))
			left--
		}
		before = w
	}
	return out
}
