package quality

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/shared/prose"
)

// claim is a number or a name in a statement, in normal form.
type claim struct {
	text   string
	number bool
	// first is set for a word that begins the sentence, and may have its capital for that. It is a name where the document has
	// it elsewhere only.
	first bool
}

// numbers are the words for numbers, but for one, which is more often another word.
var numbers = map[string]string{
	"zero": "0", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
	"eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
	"twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90", "hundred": "100", "thousand": "1000",
}

// normal is the form in which words are compared: 1,000 is 1000, 2.50 is 2.5, and two is 2.
func normal(word string) string {
	if word[0] < '0' || word[0] > '9' {
		if n, ok := numbers[word]; ok {
			return n
		}
		return word
	}
	// A comma with three digits behind it separates thousands, and others decimals.
	parts := strings.Split(word, ",")
	for _, p := range parts[1:] {
		if len(p) != 3 && !strings.Contains(p, ".") {
			return word
		}
	}
	word = strings.Join(parts, "")
	if whole, decimals, ok := strings.Cut(word, "."); ok && !strings.Contains(decimals, ".") {
		if decimals = strings.TrimRight(decimals, "0"); decimals == "" {
			return whole
		}
		return whole + "." + decimals
	}
	return word
}

// claims returns the numbers and the capitalised words of a sentence.
func claims(sentence string) []claim {
	var out []claim
	for i, field := range strings.Fields(sentence) {
		bare := strings.TrimLeftFunc(field, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		initial, _ := utf8.DecodeRuneInString(bare)
		for j, w := range prose.Words(bare) {
			switch n := normal(w); {
			case n[0] >= '0' && n[0] <= '9':
				out = append(out, claim{text: n, number: true})
			case unicode.IsUpper(initial) && !prose.IsStop(w):
				out = append(out, claim{text: w, first: i == 0 && j == 0})
			}
		}
	}
	return out
}
