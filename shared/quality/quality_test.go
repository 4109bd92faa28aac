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
			s := quality.Score(quality.Answer{Question: "Who built the mill?", Document: document, Text: tt.answer})
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
	s := quality.Score(quality.Answer{Question: "Who built the mill?", Document: " ", Text: "The abbey."})
	if s.Groundedness != nil || s.Ungrounded || s.SemanticSimilarity == nil {
		t.Errorf("signals %+v, want similarity only", s)
	}
}

func TestSimilarityPrefersWhatIsAboutTheQuestion(t *testing.T) {
	near := quality.Score(quality.Answer{Question: "Who built the mill?", Text: "The mill was built by monks."}).SemanticSimilarity
	far := quality.Score(quality.Answer{Question: "Who built the mill?", Text: "Bananas are yellow."}).SemanticSimilarity
	if *near <= *far || *far != 0 {
		t.Errorf("near %v, far %v", *near, *far)
	}
}

func FuzzScore(f *testing.F) {
	f.Add("q", document, "It was built in 1732.")
	f.Add("", "\x00", "A. 1")
	f.Fuzz(func(t *testing.T, question, document, answer string) {
		s := quality.Score(quality.Answer{Question: question, Document: document, Text: answer})
		for _, v := range []*float64{s.SemanticSimilarity, s.Groundedness, s.AnswerRelevance} {
			if v != nil && !(*v >= 0 && *v <= 1) {
				t.Errorf("a signal of %v", *v)
			}
		}
	})
}

func TestNumbersAreComparedByValue(t *testing.T) {
	const report = "The plant made 1,000 tonnes in 1999. It has two ovens. The loss was 2.50 percent of the output. Forty people work there."
	for answer, grounded := range map[string]bool{
		"The plant made 1000 tonnes in 1999.":     true,
		"The plant made 10,000 tonnes in 1999.":   false,
		"It has 2 ovens.":                         true,
		"It has three ovens.":                     false,
		"The loss was 2.5 percent of the output.": true,
		"The loss was 25 percent of the output.":  false,
		"40 people work there.":                   true,
	} {
		s := quality.Score(quality.Answer{Document: report, Text: answer})
		if (*s.Groundedness >= 0.75) != grounded {
			t.Errorf("%q: groundedness %.2f, want supported to be %v", answer, *s.Groundedness, grounded)
		}
	}
}

func TestDenialsAreNotWhatTheyDeny(t *testing.T) {
	const manual = "The pump is not suited for salt water. The valve opens at 5 bar. It cannot be opened by hand. No oil is needed."
	for answer, grounded := range map[string]bool{
		"The pump is not suited for salt water.": true,
		"The pump isn't suited for salt water.":  true,
		"The pump is suited for salt water.":     false,
		"The valve does not open at 5 bar.":      false,
		"It can be opened by hand.":              false,
		"It can't be opened by hand.":            true,
		"Oil is needed.":                         false,
	} {
		s := quality.Score(quality.Answer{Document: manual, Text: answer})
		if s.Ungrounded == grounded {
			t.Errorf("%q: groundedness %.2f, want supported to be %v", answer, *s.Groundedness, grounded)
		}
	}
}

func TestRelevance(t *testing.T) {
	for name, tt := range map[string]struct {
		question, answer string
		low, high        float64
	}{
		"an answer to the question":            {"Who built the mill?", "The mill was built by the abbey of St. Aurel.", 1, 1},
		"one that the document connects":       {"When was the mill built?", "In 1732, by the abbey.", 0.5, 1},
		"an answer to another question":        {"Who paints the ceiling?", "It grinds rye and spelt.", 0, 0},
		"a question for a number without one":  {"How many farmers own the mill?", "Today the mill belongs to the farmers.", 0, 0.5},
		"a question for a number with a word":  {"How many mills are there?", "There are two mills.", 1, 1},
		"a question for a time without one":    {"When was the mill built?", "The mill was built by the abbey.", 0.5, 0.5},
		"a question for a time with a weekday": {"When is the mill open?", "The mill is open on Monday.", 1, 1},
		"a question for a name":                {"Who built the mill?", "The mill was built in 1732.", 0.5, 1},
		"a refusal":                            {"Who painted the mill?", "The document does not say who painted the mill.", 0, 0},
	} {
		got := quality.Score(quality.Answer{Question: tt.question, Document: document, Text: tt.answer}).AnswerRelevance
		if got == nil || *got < tt.low || *got > tt.high {
			t.Errorf("%s: relevance %v, want %v to %v", name, show(got), tt.low, tt.high)
		}
	}
	if got := quality.Score(quality.Answer{Question: "Who?", Text: "Me."}).AnswerRelevance; got != nil {
		t.Errorf("a question without terms: relevance %v", *got)
	}
}

func show(v *float64) any {
	if v == nil {
		return nil
	}
	return *v
}

func TestRefusalsAndTruncation(t *testing.T) {
	long := strings.Repeat("The mill grinds rye and spelt for the farmers of the town, ", 4)
	for answer, want := range map[string][2]bool{
		"The document does not mention it.":                {true, false},
		"I\u2019m sorry, but I can\u2019t help with that.": {true, false},
		"As an AI, I have no opinion.":                     {true, false},
		"The mill was built in 1732.":                      {false, false},
		"":                                                 {false, false},
		long + "and the mill was":                          {false, true},
		long + "and the town.":                             {false, false},
		long + "and these:\n- rye\n- spelt":                {false, false},
		"```go\nfunc main() {":                             {false, true},
		"```go\nfunc main() {}\n```":                       {false, false},
		"In short: 41":                                     {false, false},
		strings.Repeat("It is a long answer. ", 20) + "The document does not say more.": {false, false},
	} {
		s := quality.Score(quality.Answer{Question: "Who built the mill?", Document: document, Text: answer})
		if got := [2]bool{s.Refusal, s.Truncated}; got != want {
			t.Errorf("%q: refusal and truncation are %v, want %v", answer, got, want)
		}
	}
	if !quality.Score(quality.Answer{Text: "Yes.", Cut: true}).Truncated {
		t.Error("what the model says was cut is not truncated")
	}
}

func BenchmarkScore(b *testing.B) {
	license, err := os.ReadFile("../../LICENSE")
	if err != nil {
		b.Fatal(err)
	}
	answer := strings.Repeat("Licensor shall mean the copyright owner or entity authorized by the copyright owner. ", 2)
	for name, size := range map[string]int{"2 KB": 2_000, "10 KB": 10_000, "100 KB": 100_000} {
		document := strings.Repeat(string(license), size/len(license)+1)[:size]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				quality.Score(quality.Answer{Question: "Who is the Licensor?", Document: document, Text: answer})
			}
		})
	}
}
