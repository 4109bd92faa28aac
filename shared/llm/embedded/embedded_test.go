package embedded_test

import (
	"os"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	"github.com/llm-reliability/control-plane/shared/llm/llmtest"
)

const mill = `The mill stands by the river Orla, two miles below the town of Brenn. It was built in 1732 by the abbey of St. Aurel.
Today it belongs to a cooperative of 41 farmers. The mill grinds rye and spelt, about 3.5 tonnes a day. In winter the river freezes
and the stones rest until March. Visitors are welcome on Sundays. The entrance costs 4 EUR for adults; children pay nothing.`

func ask(t testing.TB, model, question, document string) *llm.Response {
	t.Helper()
	r, err := embedded.New().Generate(t.Context(), llm.Request{
		Type: llm.QA, Model: model, Question: question, Document: document,
		Messages: []llm.Message{{Role: llm.User, Content: document + "\n" + question}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// hits are questions with a phrase that the answer must contain.
type hits []struct{ question, phrase string }

var aboutMill = hits{
	{"When was the mill built?", "1732"},
	{"Who built the mill?", "abbey of St. Aurel"},
	{"Where does the mill stand?", "river Orla"},
	{"How many farmers own the cooperative?", "41 farmers"},
	{"What does the mill grind?", "rye and spelt"},
	{"What happens in winter?", "freezes"},
	{"When are visitors welcome?", "Sundays"},
	{"How much does the entrance cost?", "4 EUR"},
}

var aboutLicense = hits{
	{"Who is the Licensor?", "copyright owner or entity"},
	{"What does Derivative Works mean?", "based on (or derived from) the Work"},
	{"When does a patent license terminate?", "terminate as of the date such litigation is filed"},
	{"Does the License grant permission to use trademarks?", "does not grant permission to use the trade names"},
	{"What does Contribution mean?", "any work of authorship"},
	{"May you charge a fee for warranty or support?", "charge a fee"},
	{"What does Legal Entity mean?", "acting entity"},
	{"What does Object form mean?", "mechanical transformation"},
	{"What is Source form?", "preferred form for making modifications"},
	{"Under what basis is the Work provided?", `"AS IS" BASIS`},
	{"Who is liable for damages?", "be liable to You for damages"},
	{"Must you give recipients a copy of the license?", "a copy of this License"},
	{"What must modified files carry?", "prominent notices"},
	{"Is the copyright license royalty-free?", "royalty-free"},
	{"What does Contributor mean?", "any individual or Legal Entity"},
	{"What is control of an entity?", "fifty percent"},
	{"Under which terms are contributions submitted?", "terms and conditions of this License"},
}

func TestAnswersHoldThePhraseThatIsAskedFor(t *testing.T) {
	license, err := os.ReadFile("../../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		model string
		// want is the least number of hits, of 8 on the mill and 17 on the licence.
		mill, license int
	}{
		"economy":  {embedded.Economy, 8, 13},
		"standard": {embedded.Standard, 8, 15},
		"quality":  {embedded.Quality, 8, 15},
	} {
		t.Run(name, func(t *testing.T) {
			count := func(document string, questions hits) (n int) {
				for _, q := range questions {
					answer := ask(t, tt.model, q.question, document).Text
					if strings.Contains(answer, q.phrase) {
						n++
					} else {
						t.Logf("%s\n  -> %s", q.question, answer)
					}
				}
				t.Logf("%d of %d", n, len(questions))
				return n
			}
			if got := count(mill, aboutMill); got < tt.mill {
				t.Errorf("mill: %d hits, want at least %d", got, tt.mill)
			}
			if got := count(string(license), aboutLicense); got < tt.license {
				t.Errorf("licence: %d hits, want at least %d", got, tt.license)
			}
		})
	}
}

func TestAnswersNameTheirModel(t *testing.T) {
	r := ask(t, embedded.Standard, "When was it built?", mill)
	if r.Provider != "embedded" || r.Model != "embedded-standard" || r.Finish != llm.FinishStop || r.Usage == nil {
		t.Errorf("response %+v, want provider, model, finish and usage", r)
	}
}

func TestNothingToQuoteIsSaid(t *testing.T) {
	for name, tt := range map[string]struct{ question, document, want string }{
		"no document":                  {"Who?", "", "no knowledge of its own"},
		"a document on something else": {"How tall are giraffes?", mill, "does not answer"},
		"a document of marks":          {"Who?", "... !!!", "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ask(t, embedded.Quality, tt.question, tt.document).Text; !strings.Contains(got, tt.want) {
				t.Errorf("answer %q, want %q in it", got, tt.want)
			}
		})
	}
}

func chat(t testing.TB, maxTokens int, stop []string, messages ...llm.Message) *llm.Response {
	t.Helper()
	r, err := embedded.New().Generate(t.Context(), llm.Request{Type: llm.Chat, Model: embedded.Standard, Messages: messages, MaxTokens: maxTokens, Stop: stop})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCompletionExtracts(t *testing.T) {
	user := func(text string) llm.Message { return llm.Message{Role: llm.User, Content: text} }
	for name, tt := range map[string]struct {
		messages []llm.Message
		want     string
	}{
		"a summary is made of the text's own sentences": {[]llm.Message{user("Summarise this: " + mill)}, "mill"},
		"a question in the prompt is answered":          {[]llm.Message{user(mill + " Who built the mill?")}, "abbey"},
		"a question about what was said before":         {[]llm.Message{user(mill), {Role: llm.Assistant, Content: "Noted."}, user("How many farmers are there?")}, "41"},
		"an instruction without material":               {[]llm.Message{user("What is love?")}, "no knowledge"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := chat(t, 0, nil, tt.messages...).Text; !strings.Contains(got, tt.want) {
				t.Errorf("completion %q, want %q in it", got, tt.want)
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	r := chat(t, 5, nil, llm.Message{Role: llm.User, Content: "Summarise: " + mill})
	if got := embedded.Tokens(r.Text); got == 0 || got > 5 || r.Finish != llm.FinishLength || r.Usage.OutputTokens != got {
		t.Errorf("%d tokens, finish %q, usage %+v; want 1 to 5 by length", got, r.Finish, r.Usage)
	}
	if r := chat(t, 0, []string{"river"}, llm.Message{Role: llm.User, Content: "Where is the mill? " + mill}); strings.Contains(r.Text, "river") {
		t.Errorf("%q goes on after its stop string", r.Text)
	}
}

func TestStreamIsTheAnswerInPieces(t *testing.T) {
	req := llm.Request{Type: llm.QA, Model: embedded.Standard, Question: "What happens in winter?", Document: mill}
	whole, err := embedded.New().Generate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	var last llm.Chunk
	chunks := 0
	for chunk, err := range embedded.New().Stream(t.Context(), req) {
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(chunk.Text)
		last = chunk
		chunks++
	}
	if text.String() != whole.Text || chunks < 3 || last.Finish != llm.FinishStop || *last.Usage != *whole.Usage {
		t.Errorf("stream of %d chunks is %q with %+v, want %q with %+v", chunks, text.String(), last, whole.Text, whole)
	}
}

func TestConformance(t *testing.T) {
	llmtest.Conformance(t, func(*testing.T) (llm.Model, llm.Request) {
		return embedded.New(), llm.Request{
			Type: llm.QA, Model: embedded.Standard, Question: "What happens in winter?", Document: mill,
			Messages: []llm.Message{{Role: llm.User, Content: mill + "\nWhat happens in winter?"}}, Stop: []string{"spring"},
		}
	})
}

func FuzzGenerate(f *testing.F) {
	f.Add("When was it built?", mill)
	f.Add("?", "\x00. \n\n1. (a) ::")
	f.Fuzz(func(t *testing.T, question, document string) {
		r, err := embedded.New().Generate(t.Context(), llm.Request{Model: embedded.Quality, Question: question, Document: document})
		if err != nil {
			if llm.AsError(err).Kind != llm.Empty {
				t.Fatal(err)
			}
			return
		}
		if strings.TrimSpace(r.Text) == "" {
			t.Error("an empty answer")
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	license, err := os.ReadFile("../../../LICENSE")
	if err != nil {
		b.Fatal(err)
	}
	for name, document := range map[string]string{"5 pages": string(license), "one sentence of 100 kB": strings.Repeat("word and another ", 6000)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(b, embedded.Standard, "When does a patent license terminate?", document)
			}
		})
	}
}
