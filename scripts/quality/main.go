// Command quality measures the groundedness of answers on labelled pairs, next to the plain overlap of words, and prints a table in
// Markdown. The documents are cut in two by their names: the signal was tuned on one half (-half tuned), and what counts is the
// other one.
package main

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"slices"

	"github.com/llm-reliability/control-plane/shared/quality"
	"github.com/llm-reliability/control-plane/shared/quality/labelled"
)

func main() {
	half := flag.String("half", "held-out", "held-out or tuned")
	n := flag.Int("n", 500, "pairs of each kind")
	seed := flag.Uint64("seed", 1, "seed of the pairs")
	worst := flag.Int("worst", 0, "how many of the worst pairs of each kind to show")
	flag.Parse()
	if err := run(*half, *n, *seed, *worst); err != nil {
		fmt.Fprintln(os.Stderr, "quality:", err)
		os.Exit(1)
	}
}

func run(half string, n int, seed uint64, worst int) error {
	if half != "held-out" && half != "tuned" || n < 1 {
		return errors.New("-half is held-out or tuned, and -n at least 1")
	}
	docs, err := labelled.Documents()
	if err != nil {
		return err
	}
	docs = slices.DeleteFunc(docs, func(d labelled.Document) bool { return tuned(d) != (half == "tuned") })
	pairs := labelled.Pairs(docs, n, seed)
	scorers := []labelled.Scorer{{Name: "groundedness", Score: groundedness}, {Name: "Jaccard", Score: labelled.Jaccard}}
	fmt.Printf("%d documents, %s half, seed %d\n\n%s", len(docs), half, seed, labelled.Table(labelled.Measure(pairs, quality.Threshold, scorers...), scorers...))
	show(pairs, worst)
	return nil
}

// tuned is whether a document is of the half that was looked at.
func tuned(d labelled.Document) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(d.Name))
	return h.Sum32()%2 == 0
}

func groundedness(p labelled.Pair) float64 {
	s := quality.Score(quality.Answer{Document: p.Document.Text, Text: p.Answer})
	return *s.Groundedness
}

// show prints the pairs that the signal gets wrong most.
func show(pairs []labelled.Pair, worst int) {
	for _, kind := range labelled.Kinds() {
		of := slices.DeleteFunc(slices.Clone(pairs), func(p labelled.Pair) bool { return p.Kind != kind })
		slices.SortStableFunc(of, func(a, b labelled.Pair) int {
			if x, y := groundedness(a), groundedness(b); (x < y) == kind.Supported() {
				return -1
			}
			return 1
		})
		for _, p := range of[:min(worst, len(of))] {
			fmt.Printf("\n%s %.2f %s: %s\n", kind, groundedness(p), p.Document.Name, p.Answer)
		}
	}
}
