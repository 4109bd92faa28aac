package safety

import (
	"hash/maphash"
	"slices"
	"strings"
)

// absurd is from how many of a thing on nobody reads the answer.
var absurd = map[string]int{
	"times": 1000, "words": 20000, "tokens": 50000, "characters": 100000, "pages": 100, "lines": 10000, "paragraphs": 1000, "sentences": 2000,
	"essays": 100, "stories": 100, "poems": 200, "examples": 2000, "numbers": 10000, "digits": 10000, "items": 10000, "copies": 200,
}

var makers = []string{"repeat", "write", "say", "print", "output", "generate", "count", "list", "produce", "type", "continue", "create", "give", "keep", "echo", "wiederhole", "schreibe", "repite", "escribe", "répète", "écris"}

var endless = []string{"forever", "endlessly", "infinitely", "indefinitely", "nonstop", "non-stop", "eternally", "unendlich", "infinitamente", "indéfiniment"}

var endlessPhrases = []string{
	"without stopping", "without ever stopping", "never stop", "do not stop", "don't stop", "until you run out", "until you cannot", "until you can't",
	"as many times as", "as long as you can", "as many tokens", "maximum number of tokens",
}

// tokenAbuse says whether a text asks for an answer without end, or of a length that nobody reads, or is itself long and one
// thing over and over.
func tokenAbuse(text string) bool {
	if repetitive(text) {
		return true
	}
	for sentence := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '!' || r == '?' || r == '\n' || r == ';' || r == '。' }) {
		for len(sentence) > 0 {
			piece := sentence
			if dot := strings.Index(sentence, ". "); dot >= 0 {
				piece, sentence = sentence[:dot], sentence[dot+2:]
			} else {
				sentence = ""
			}
			if len(piece) >= 8 && burns(piece) {
				return true
			}
		}
	}
	return false
}

// burns looks at one sentence: an order to make something, near its beginning, and how much of it.
func burns(sentence string) bool {
	made, at, counted := -1, 0, false
	amount := 0
	for word := range strings.FieldsSeq(sentence) {
		word = strings.ToLower(strings.Trim(word[:min(len(word), 40)], ".,:()\"'*"))
		at++
		switch {
		case at <= 2 && slices.Contains([]string{"why", "how", "what", "when", "who", "which", "does", "did", "is", "are"}, word):
			return false
		case made < 0 && slices.Contains(makers, word):
			made, counted = at, word == "count" || word == "list" || word == "print"
			continue
		case made < 0:
			continue
		}
		if slices.Contains(endless, word) && at-made <= 20 {
			return true
		}
		if at-made > 9 {
			continue
		}
		if n, ok := quantity(word, amount); ok {
			amount = n
			if counted && amount >= 100000 && strings.Contains(strings.ToLower(sentence[:min(len(sentence), 400)]), " to ") {
				return true
			}
			continue
		}
		if most, ok := absurd[strings.TrimSuffix(word, "s")+"s"]; ok && amount >= most {
			return true
		}
		if word != "the" && word != "different" && word != "of" && word != "unique" && word != "random" {
			amount = 0
		}
	}
	if made < 0 {
		return false
	}
	lower := strings.ToLower(sentence[:min(len(sentence), 1000)])
	return slices.ContainsFunc(endlessPhrases, func(p string) bool { return strings.Contains(lower, p) })
}

// quantity reads a number, or a word that multiplies the number before it.
func quantity(word string, before int) (int, bool) {
	scale := 1
	switch strings.TrimSuffix(word, "s") {
	case "thousand", "million", "billion", "trillion":
		scale = map[byte]int{'t': 1000, 'm': 1e6, 'b': 1e9}[word[0]]
		return min(max(before, 1)*scale, 1e12), true
	}
	if strings.HasSuffix(word, "k") && len(word) > 1 {
		word, scale = word[:len(word)-1], 1000
	}
	n := 0
	for i := range len(word) {
		switch c := word[i]; {
		case digit(c):
			n = min(n*10+int(c-'0'), 1e12)
		case c == ',' && i > 0:
		default:
			return 0, false
		}
	}
	return min(n*scale, 1e12), n > 0
}

// repetitive says whether a long text is nearly one thing over and over: of its pieces of eight bytes, few are different.
func repetitive(text string) bool {
	const long, piece, share = 4000, 8, 40
	if len(text) < long {
		return false
	}
	seed := maphash.MakeSeed()
	var seen [1 << 16 / 64]uint64
	distinct := 0
	most := min(len(text)/share, 1<<15)
	for i := 0; i+piece <= len(text); i++ {
		h := maphash.String(seed, text[i:i+piece]) & (1<<16 - 1)
		if seen[h/64]&(1<<(h%64)) == 0 {
			seen[h/64] |= 1 << (h % 64)
			if distinct++; distinct > most {
				return false
			}
		}
	}
	return true
}
