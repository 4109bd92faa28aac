package probe_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/probe"
)

// one is a golden set of one case, on a document about a mill.
func one(t testing.TB, kase string) probe.Golden {
	t.Helper()
	g, err := probe.ParseGolden([]byte(`{"documents":{"mill":"The mill was built in 1732 by the abbey of St. Aurel. It grinds rye."},"cases":[` + kase + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAFactIsFoundInAnyOfItsForms(t *testing.T) {
	for name, tt := range map[string]struct {
		fact, answer string
		found        bool
	}{
		"a word":                              {`"words":["rye"]`, "It grinds Rye.", true},
		"a word at the very end":              {`"words":["rye"]`, "rye", true},
		"a part of a word is not the word":    {`"words":["rye"]`, "The Ryedale mill", false},
		"words over a line end":               {`"words":["abbey of"]`, "The Abbey\n  of St. Aurel", true},
		"one of several":                      {`"words":["barley","rye"]`, "rye", true},
		"none of several":                     {`"words":["barley","rye"]`, "oats", false},
		"words with signs are no expression":  {`"words":["a.c"]`, "abc", false},
		"an expression":                       {`"match":["hold\\w* its shape"]`, "It HOLDS its shape.", true},
		"an expression over lines":            {`"match":["expired.*certificate"]`, "expired\ncertificate", true},
		"a number":                            {`"number":35`, "It takes **35** minutes.", true},
		"a number with a comma of thousands":  {`"number":3200`, "about 3,200 orders", true},
		"a number with a narrow space":        {`"number":3200`, "about 3\u202f200 orders", true},
		"a number without a separator":        {`"number":3200`, "about 3200 orders", true},
		"a number with decimals":              {`"number":3.5`, "3.50 tonnes", true},
		"a number at the end of a sentence":   {`"number":1898`, "in 1898.", true},
		"a part of a number is not it":        {`"number":35`, "1350 or 3.5 or 35.2", false},
		"two numbers are not one":             {`"number":3200`, "3 200", false},
		"a list of years is no large number":  {`"number":1732`, "1731, 1732", true},
		"an alternative to a number in words": {`"number":14,"words":["fourteen"]`, "Fourteen hours.", true},
		"nothing":                             {`"number":14`, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := one(t, `{"name":"c","endpoint":"/qa","question":"q","facts":[{"name":"the fact",`+tt.fact+`}]}`).Cases()[0]
			want := []string{"the fact"}
			if tt.found {
				want = nil
			}
			if diff := cmp.Diff(want, c.Missing(tt.answer)); diff != "" {
				t.Errorf("missing in %q (-want +got):\n%s", tt.answer, diff)
			}
		})
	}
}

func TestBadGoldenSetsAreNamed(t *testing.T) {
	fact := `"facts":[{"name":"f","words":["w"]}]`
	for name, tt := range map[string]struct{ set, want string }{
		"not JSON":              {`{`, "read golden set"},
		"empty":                 {`{}`, "no cases"},
		"two values":            {`{"cases":[]} {}`, "something after it"},
		"an unknown field":      {`{"casses":[]}`, `"casses"`},
		"no name":               {`{"cases":[{"endpoint":"/qa","question":"q",` + fact + `}]}`, `case 1, "": a name is`},
		"a name twice":          {`{"cases":[{"name":"a","endpoint":"/qa","question":"q",` + fact + `},{"name":"a","endpoint":"/qa","question":"q",` + fact + `}]}`, `case 2, "a": the name stands twice`},
		"another endpoint":      {`{"cases":[{"name":"a","endpoint":"/v1","question":"q",` + fact + `}]}`, `"/v1" is not`},
		"no question":           {`{"cases":[{"name":"a","endpoint":"/qa","question":" ",` + fact + `}]}`, "a question has"},
		"a document not there":  {`{"cases":[{"name":"a","endpoint":"/qa","document":"d","question":"q",` + fact + `}]}`, `no document "d"`},
		"no fact":               {`{"cases":[{"name":"a","endpoint":"/qa","question":"q"}]}`, "expects no fact"},
		"a fact without a name": {`{"cases":[{"name":"a","endpoint":"/qa","question":"q","facts":[{"words":["w"]}]}]}`, "it has no name"},
		"a fact of nothing":     {`{"cases":[{"name":"a","endpoint":"/qa","question":"q","facts":[{"name":"f"}]}]}`, "no words, match or number"},
		"words of nothing":      {`{"cases":[{"name":"a","endpoint":"/qa","question":"q","facts":[{"name":"f","words":[" "]}]}]}`, "words are empty"},
		"a bad expression":      {`{"cases":[{"name":"a","endpoint":"/qa","question":"q","facts":[{"name":"f","match":["("]}]}]}`, "compile"},
		"an expression that always holds": {`{"cases":[{"name":"a","endpoint":"/qa","question":"q","facts":[{"name":"f","match":["x*"]}]}]}`,
			"matches the empty text"},
		"a bad expression that is forbidden": {`{"cases":[{"name":"a","endpoint":"/qa","question":"q",` + fact + `,"forbid":["["]}]}`, "forbid: compile"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := probe.ParseGolden([]byte(tt.set)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// TestTheBuiltInSetIsWhole holds what the package says of its set.
func TestTheBuiltInSetIsWhole(t *testing.T) {
	g, err := probe.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	endpoints, documents := map[string]int{}, 0
	for _, c := range g.Cases() {
		endpoints[c.Endpoint]++
		if c.Document == "" {
			continue
		}
		documents++
		// Every fact stands in the document, and nothing that is forbidden does; but for what no document holds.
		if missing := c.Missing(c.Document); (len(missing) > 0) != c.Unanswerable && !c.Unanswerable {
			t.Errorf("%s: its document lacks %v", c.Name, missing)
		}
		if c.Forbidden(c.Document) && !c.Unanswerable {
			t.Errorf("%s: its document says what is forbidden", c.Name)
		}
		if missing := c.Missing("Certainly! Here is my answer."); len(missing) != c.Facts() {
			t.Errorf("%s: an answer that says nothing lacks only %v", c.Name, missing)
		}
	}
	if n := len(g.Cases()); n < 12 || documents <= n/2 || documents == n || endpoints[probe.QA] == 0 || endpoints[probe.Completion] == 0 {
		t.Errorf("%d cases, %d with a document, by endpoint %v", n, documents, endpoints)
	}
}

// TestAnswersOfManyModels has, for each case, what models say when they are right, in their own ways, and what they say when not.
func TestAnswersOfManyModels(t *testing.T) {
	g, err := probe.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]struct{ good, bad []string }{
		"ferry-crossing-time": {
			[]string{"35 minutes.", "In calm weather, a crossing takes **35 minutes**.", "The crossing lasts thirty-five minutes when the weather is calm."},
			[]string{"A crossing takes 40 minutes.", "The document does not say."},
		},
		"ferry-captain": {
			[]string{"Captain Ilse Brandt.", "Ilse Brandt, who took command in 2011.", "The ship has been commanded by **Ilse Brandt** since 2011."},
			[]string{"The captain.", "Ilse Brandt and Priya Nair.", "Tomas Wielander"},
		},
		"ferry-capacity": {
			[]string{"The Kestrel can carry up to 180 passengers and 24 cars.", "- 180 passengers\n- 24 cars", "180 people and 24 vehicles."},
			[]string{"It carries 180 passengers.", "24 cars and 80 passengers"},
		},
		"library-loan-period": {
			[]string{"Three weeks.", "Books may be kept for 21 days (three weeks).", "You get a three-week loan.", "3 weeks"},
			[]string{"Two weeks.", "A book can be renewed twice."},
		},
		"library-fine": {
			[]string{"The fine is 20 cents per day, up to a maximum of €5 per book.", "Late returns cost 20 cents each day, capped at 5 euros.", "€0.20 a day, never more than five euros."},
			[]string{"20 cents a day.", "It never exceeds 5 euros a book.", "50 cents a day, at most 15 euros."},
		},
		"library-renewal": {
			[]string{"Twice, unless another member has reserved it.", "A book may be renewed up to two times.", "Up to 2 times."},
			[]string{"Once.", "Ten times."},
		},
		"outage-cause": {
			[]string{"An expired TLS certificate on the load balancer caused the outage.", "The certificate on the load balancer had expired.", "It was caused by an expired certificate."},
			[]string{"The load balancer failed.", "An unread mailbox."},
		},
		"outage-orders": {
			[]string{"About 3,200 orders were delayed.", "Roughly 3200.", "3\u202f200 orders"},
			[]string{"None was lost.", "320 orders."},
		},
		"apple-year": {
			[]string{"In 1898.", "Tomas Wielander raised it in 1898 from a chance seedling."},
			[]string{"In the 19th century.", "In 1889."},
		},
		"apple-bakers": {
			[]string{"Because it holds its shape in the oven.", "Bakers value it since it keeps its shape when baked.", "The apple doesn't lose its shape in the oven.", "Its shape is well kept when baked, which keeps bakers happy."},
			[]string{"Because its flesh is firm.", "Because it resists scab."},
		},
		"kiln-glaze": {
			[]string{"Cobalt.", "The blue glaze contains cobalt.", "It has **cobalt** in it."},
			[]string{"Copper.", "The green glaze contains copper."},
		},
		"document-without-answer": {
			[]string{
				"The document does not answer the question.", "The document doesn't mention giraffes.", "The document doesn’t say.", "I cannot answer this from the document.",
				"There is no information about giraffes in the document.",
			},
			[]string{"Giraffes grow up to 5.5 metres tall.", "The document does not say, but they grow to 18 feet."},
		},
		"unknowable-without-document": {
			[]string{
				"I do not know.", "I'm not aware of a ferry of that name; it may be fictional.", "I don't have any information about this ferry.",
				"The embedded model has no knowledge of its own and answers from a document only.",
			},
			[]string{"The Kestrel made her maiden voyage in 1987.", "It is not known exactly, but it was 1987.", "The Kestrel is a fine ship that has sailed for years."},
		},
		"completion-question": {
			[]string{"A firing lasts 14 hours.", "14 hours", "Firing takes fourteen hours."},
			[]string{"Two days.", "1,280 degrees"},
		},
		"completion-name": {
			[]string{"Priya Nair renewed the certificate and restarted the balancer.", "It was **Priya Nair**."},
			[]string{"Halden Foods.", "Nobody."},
		},
		"completion-month": {
			[]string{"Until April.", "The fruit keeps in a cool cellar until April.", "april"},
			[]string{"October.", "Until spring."},
		},
		"completion-repeat": {
			[]string{"The heron stands in the shallow water at dawn.", `"The heron stands in the shallow water at dawn."`},
			[]string{"The heron stood in the water.", "I can't do that."},
		},
	}
	for _, c := range g.Cases() {
		says, ok := answers[c.Name]
		if !ok {
			t.Errorf("%s has no answers here", c.Name)
		}
		for answer, want := range map[bool][]string{true: says.good, false: says.bad} {
			for _, text := range want {
				if got := len(c.Missing(text)) == 0 && !c.Forbidden(text); got != answer {
					t.Errorf("%s: %q passes: %v, want %v", c.Name, text, got, answer)
				}
			}
		}
	}
}

func FuzzParseGolden(f *testing.F) {
	f.Add(`{"documents":{"d":"t"},"cases":[{"name":"a","endpoint":"/qa","document":"d","question":"q","facts":[{"name":"f","words":["w"],"match":["m"],"number":1}],"forbid":["x"]}]}`, "w 1,000 m")
	f.Add(`{"cases":[]}`, "")
	f.Fuzz(func(t *testing.T, set, answer string) {
		g, err := probe.ParseGolden([]byte(set))
		if err != nil {
			return
		}
		for _, c := range g.Cases() {
			if missing := c.Missing(answer); len(missing) > c.Facts() || c.Facts() == 0 {
				t.Errorf("%d of %d facts are missing", len(missing), c.Facts())
			}
			c.Forbidden(answer)
		}
	})
}
