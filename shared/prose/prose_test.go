package prose_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/prose"
)

func TestSentences(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"full stops, questions and exclamations end sentences": {"It rains. Does it? Yes!", []string{"It rains.", "Does it?", "Yes!"}},
		"abbreviations and initials do not":                    {"Dr. J. Smith paid, e.g. to Acme Inc. in May. Then he left.", []string{"Dr. J. Smith paid, e.g. to Acme Inc. in May.", "Then he left."}},
		"decimals do not":                                      {"It costs 3.50 EUR. Cheap.", []string{"It costs 3.50 EUR.", "Cheap."}},
		"the number of a heading belongs to it":                {"2. Grant of Rights. You may use it.", []string{"2. Grant of Rights.", "You may use it."}},
		"a line that goes on is one sentence":                  {"The mill stands\nby the river.", []string{"The mill stands by the river."}},
		"a blank line ends a heading":                          {"A title\n\nThe text.", []string{"A title", "The text."}},
		"list items are sentences":                             {"You must:\n (a) give notice\n (b) keep it", []string{"You must:", "(a) give notice", "(b) keep it"}},
		"quotes close with their sentence":                     {`"Go." He went.`, []string{`"Go."`, "He went."}},
		"marks alone are no sentence":                          {"... !!! ---", nil},
		"nothing is no sentence":                               {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, prose.Sentences(tt.text)); diff != "" {
				t.Errorf("Sentences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSentencesWithoutFullStopsAreCut(t *testing.T) {
	for _, s := range prose.Sentences(strings.Repeat("word ", 20_000)) {
		if len(s) > 600 {
			t.Fatalf("a sentence of %d bytes", len(s))
		}
	}
}

func TestTermsMeetAcrossForms(t *testing.T) {
	for _, pair := range [][2]string{
		{"licenses", "licensed"}, {"licensing", "license"}, {"terminates", "terminated"}, {"termination", "terminates"}, {"granted", "grants"},
		{"companies", "company"}, {"running", "run"}, {"redistribution", "redistribute"},
	} {
		if a, b := prose.Stem(pair[0]), prose.Stem(pair[1]); a != b {
			t.Errorf("%s has stem %q, %s has %q", pair[0], a, pair[1], b)
		}
	}
	if diff := cmp.Diff([]string{prose.Stem("mills"), prose.Stem("cost"), "1,732.50", "eur"}, prose.Terms("The mills cost 1,732.50 EUR.")); diff != "" {
		t.Errorf("Terms (-want +got):\n%s", diff)
	}
}

func FuzzSentences(f *testing.F) {
	f.Add("Dr. A. went. Then?")
	f.Add("\n (a) x\r\n\r\n9.9 .")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range prose.Sentences(text) {
			if s == "" || len(s) > 600 || (utf8.ValidString(text) && !utf8.ValidString(s)) {
				t.Errorf("bad sentence %q", s)
			}
		}
		prose.Terms(text)
	})
}
