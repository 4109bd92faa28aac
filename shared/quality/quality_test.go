package quality_test

import (
	"os"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/quality"
)

const document = `The mill stands by the river Orla, two miles below the town of Brenn. It was built in 1732 by the abbey of St. Aurel.
Today it belongs to a cooperative of 41 farmers. The mill grinds rye and spelt, about 3.5 tonnes a day.`

func TestGroundedness(t *testing.T) {
	for name, tt := range map[string]struct {
		answer    string
		low, high float64
	}{
		"a quotation is fully grounded":           {"It was built in 1732 by the abbey of St. Aurel.", 0.99, 1},
		"a paraphrase is mostly grounded":         {"The abbey of St. Aurel built it in 1732.", 0.8, 1},
		"two quotations from two places":          {"The mill stands by the river Orla. It belongs to a cooperative of 41 farmers.", 0.9, 1},
		"a changed number is not grounded":        {"It was built in 1832 by the abbey of St. Aurel.", 0, 0.4},
		"a swapped name is hardly grounded":       {"It was built in 1732 by the abbey of St. Gallen.", 0, 0.69},
		"an answer on something else is not":      {"Bananas were first shipped to Lisbon in 1847 by captain Almeida.", 0, 0.1},
		"half of the answer is supported":         {"The mill grinds rye and spelt. Elephants sleep four hours at night in Kenya.", 0.3, 0.6},
		"an honest refusal claims nothing":        {"The document does not answer the question.", 1, 1},
		"an answer without words is not grounded": {"...", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := quality.Score("Who built the mill?", document, tt.answer)
			if s.Groundedness == nil || *s.Groundedness < tt.low || *s.Groundedness > tt.high {
				t.Fatalf("groundedness %v, want %v to %v", *s.Groundedness, tt.low, tt.high)
			}
			if want := *s.Groundedness < quality.Threshold; s.Ungrounded != want {
				t.Errorf("ungrounded %v at %v", s.Ungrounded, *s.Groundedness)
			}
		})
	}
}

func TestWithoutADocumentGroundednessIsAbsent(t *testing.T) {
	s := quality.Score("Who built the mill?", " ", "The abbey.")
	if s.Groundedness != nil || s.Ungrounded || s.SemanticSimilarity == nil {
		t.Errorf("signals %+v, want similarity only", s)
	}
}

func TestSimilarityPrefersWhatIsAboutTheQuestion(t *testing.T) {
	near := quality.Score("Who built the mill?", "", "The mill was built by monks.").SemanticSimilarity
	far := quality.Score("Who built the mill?", "", "Bananas are yellow.").SemanticSimilarity
	if *near <= *far || *far != 0 {
		t.Errorf("near %v, far %v", *near, *far)
	}
}

func FuzzScore(f *testing.F) {
	f.Add("q", document, "It was built in 1732.")
	f.Add("", "\x00", "A. 1")
	f.Fuzz(func(t *testing.T, question, document, answer string) {
		s := quality.Score(question, document, answer)
		for _, v := range []*float64{s.SemanticSimilarity, s.Groundedness} {
			if v != nil && !(*v >= 0 && *v <= 1) {
				t.Errorf("a signal of %v", *v)
			}
		}
	})
}

func BenchmarkScore(b *testing.B) {
	license, err := os.ReadFile("../../LICENSE")
	if err != nil {
		b.Fatal(err)
	}
	answer := strings.Repeat("Licensor shall mean the copyright owner or entity authorized by the copyright owner. ", 2)
	b.ReportAllocs()
	for b.Loop() {
		quality.Score("Who is the Licensor?", string(license), answer)
	}
}
