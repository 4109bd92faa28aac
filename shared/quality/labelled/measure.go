package labelled

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/shared/prose"
)

// Scorer gives an answer a score; a higher one means more support.
type Scorer struct {
	Name  string
	Score func(Pair) float64
}

// Jaccard is the overlap of words: those that the answer and the document share, of those that either has.
func Jaccard(p Pair) float64 {
	a, d := set(p.Answer), set(p.Document.Text)
	shared := 0
	for w := range a {
		if d[w] {
			shared++
		}
	}
	if len(a)+len(d) == shared {
		return 0
	}
	return float64(shared) / float64(len(a)+len(d)-shared)
}

func set(text string) map[string]bool {
	out := map[string]bool{}
	for _, w := range prose.Words(text) {
		out[w] = true
	}
	return out
}

// Row is how a scorer does on one kind.
type Row struct {
	Kind Kind
	N    int
	// AUROC is the probability that a supported answer scores higher than one of this kind, by scorer; ties count half. For a
	// supported kind it is that of scoring higher than an unsupported answer of any kind.
	AUROC []float64
	// Below is the share of the answers that score below a threshold, by scorer.
	Below []float64
}

// Measure scores all pairs, and returns a row for each kind and one for all unsupported ones.
func Measure(pairs []Pair, threshold float64, scorers ...Scorer) []Row {
	scores := make([]map[Kind][]float64, len(scorers))
	for i, s := range scorers {
		scores[i] = map[Kind][]float64{}
		for _, p := range pairs {
			scores[i][p.Kind] = append(scores[i][p.Kind], s.Score(p))
		}
	}
	side := func(by map[Kind][]float64, supported bool) (out []float64) {
		for _, k := range Kinds() {
			if k.Supported() == supported {
				out = append(out, by[k]...)
			}
		}
		return out
	}
	var rows []Row
	row := func(kind Kind, own func(map[Kind][]float64) []float64, supported bool) {
		r := Row{Kind: kind}
		for i := range scorers {
			mine, others := own(scores[i]), side(scores[i], !supported)
			r.N = len(mine)
			if supported {
				r.AUROC = append(r.AUROC, AUROC(mine, others))
			} else {
				r.AUROC = append(r.AUROC, AUROC(others, mine))
			}
			below := 0
			for _, v := range mine {
				if v < threshold {
					below++
				}
			}
			r.Below = append(r.Below, float64(below)/float64(max(len(mine), 1)))
		}
		rows = append(rows, r)
	}
	for _, k := range Kinds() {
		row(k, func(by map[Kind][]float64) []float64 { return by[k] }, k.Supported())
	}
	row("all supported", func(by map[Kind][]float64) []float64 { return side(by, true) }, true)
	row("all unsupported", func(by map[Kind][]float64) []float64 { return side(by, false) }, false)
	return rows
}

// AUROC is the area under the receiver operating characteristic: the probability that a positive scores higher than a negative,
// ties counted half.
func AUROC(positives, negatives []float64) float64 {
	sorted := slices.Sorted(slices.Values(negatives))
	if len(sorted) == 0 || len(positives) == 0 {
		return 0
	}
	wins := 0.0
	for _, p := range positives {
		below, _ := slices.BinarySearch(sorted, p)
		above := below
		for above < len(sorted) && sorted[above] == p {
			above++
		}
		wins += float64(below) + float64(above-below)/2
	}
	return wins / float64(len(positives)*len(sorted))
}

// Table writes rows as Markdown.
func Table(rows []Row, scorers ...Scorer) string {
	var b strings.Builder
	b.WriteString("| kind | n |")
	for _, s := range scorers {
		fmt.Fprintf(&b, " AUROC %s |", s.Name)
	}
	fmt.Fprintf(&b, " %s below the threshold |\n| --- | --- |%s --- |\n", scorers[0].Name, strings.Repeat(" --- |", len(scorers)))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %d |", r.Kind, r.N)
		for _, v := range r.AUROC {
			fmt.Fprintf(&b, " %.3f |", v)
		}
		fmt.Fprintf(&b, " %.1f %% |\n", 100*r.Below[0])
	}
	return b.String()
}
