// Package prose cuts English text into sentences and words, and words to their stems. It is what the embedded model and
// the quality signals have in common. It understands nothing: it is rules over characters, linear in the text.
package prose

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSentence bounds a sentence, in bytes: longer ones are cut at a space, so that a text without full stops is still
// made of pieces of a readable size.
const maxSentence = 600

// Sentences returns the sentences of a text, in order, each with its white space folded. A sentence ends at . ! or ?
// before white space, unless it ends in an abbreviation, an initial or the number of a list item; at a blank line; and
// before a line that looks like a list item.
func Sentences(text string) []string {
	var out []string
	for block := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		start := 0
		for i := 0; i < len(block); i++ {
			switch c := block[i]; {
			case c == '\n' && listItem(block[i+1:]):
				out = add(out, block[start:i])
				start = i + 1
			case (c == '.' || c == '!' || c == '?') && endsSentence(block, start, i):
				end := i + 1
				for end < len(block) && strings.IndexByte("\"')]", block[end]) >= 0 {
					end++
				}
				out = add(out, block[start:end])
				start, i = end, end-1
			}
		}
		out = add(out, block[start:])
	}
	return out
}

// add appends a sentence, folded, and cut where it is too long. Pieces without a letter or digit are no sentences.
func add(out []string, s string) []string {
	s = fold(s)
	for len(s) > maxSentence {
		cut := strings.LastIndexByte(s[:maxSentence], ' ')
		if cut <= 0 {
			cut = maxSentence
			for !utf8.RuneStart(s[cut]) {
				cut--
			}
		}
		out = append(out, strings.TrimSpace(s[:cut]))
		s = strings.TrimSpace(s[cut:])
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		out = append(out, s)
	}
	return out
}

// fold puts one space in the place of any white space, and none at the ends. It copies only what is not so already.
func fold(s string) string {
	s = strings.TrimSpace(s)
	folded := true
	for i := 0; i < len(s) && folded; i++ {
		folded = s[i] > ' ' && s[i] < utf8.RuneSelf || s[i] == ' ' && s[i-1] != ' '
	}
	if folded {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for field := range strings.FieldsSeq(s) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(field)
	}
	return b.String()
}

var abbreviations = []string{"mr", "mrs", "ms", "dr", "prof", "st", "no", "vs", "etc", "e.g", "i.e", "inc", "ltd", "co", "corp", "fig", "approx", "cf", "sec", "art", "u.s"}

// endsSentence says whether the mark at i, in the sentence that begins at start, ends it.
func endsSentence(s string, start, i int) bool {
	if next := i + 1; next < len(s) && strings.IndexByte(" \n\t\"')]", s[next]) < 0 {
		return false
	}
	if s[i] != '.' {
		return true
	}
	word := s[start:i]
	if space := strings.LastIndexAny(word, " \n\t("); space >= 0 {
		word = word[space+1:]
	}
	word = strings.TrimLeft(word, "\"'([")
	initial := len(word) == 1 && word[0] >= 'A' && word[0] <= 'Z' // a small letter is the name of a thing
	word = strings.ToLower(word)
	first := strings.TrimSpace(s[start:i])
	number := first != "" && strings.Trim(first, "0123456789.") == ""
	return !number && !initial && !slices.Contains(abbreviations, word)
}

// listItem says whether a line begins like "- ", "* ", "(a) ", "12. ".
func listItem(line string) bool {
	line = strings.TrimLeft(line, " \t")
	if strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "* ") || strings.HasPrefix(line, "• ") {
		return true
	}
	mark, _, ok := strings.Cut(line[:min(len(line), 6)], " ")
	return ok && len(mark) > 1 && strings.IndexByte(".)", mark[len(mark)-1]) >= 0 && strings.Trim(mark, "()0123456789abcdeivx.") == ""
}

// Words returns the words and numbers of a text in lower case. A number keeps its decimals and separators; an apostrophe
// or hyphen inside a word separates.
func Words(text string) []string {
	text = strings.ToLower(text) // all at once: a copy of each word that is capitalised would cost more
	words := make([]string, 0, len(text)/6)
	start := -1
	for i, r := range text {
		inside := letter(r)
		if !inside && start >= 0 && (r == '.' || r == ',') && i > 0 && i+1 < len(text) && digit(text[i-1]) && digit(text[i+1]) {
			inside = true
		}
		switch {
		case inside && start < 0:
			start = i
		case !inside && start >= 0:
			words = append(words, text[start:i])
			start = -1
		}
	}
	if start >= 0 {
		words = append(words, text[start:])
	}
	return words
}

// letter is whether a rune belongs to a word, where the text is in lower case.
func letter(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || '0' <= r && r <= '9'
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// IsStop says whether a word carries no meaning of its own, such as "the".
func IsStop(word string) bool {
	switch word {
	case "a", "an", "the", "and", "or", "but", "if", "of", "to", "in", "on", "at", "by", "for", "with", "from", "as", "into", "about",
		"is", "are", "was", "were", "be", "been", "being", "am", "do", "does", "did", "has", "have", "had", "can", "could", "may",
		"might", "must", "shall", "should", "will", "would", "it", "its", "this", "that", "these", "those", "he", "she", "they",
		"them", "his", "her", "their", "i", "you", "your", "we", "our", "me", "my", "us", "what", "which", "who", "whom", "whose",
		"when", "where", "why", "how", "there", "here", "than", "then", "so", "such", "also", "any", "each", "other", "s", "t",
		"under", "please", "tell", "mean", "means":
		return true
	}
	return false
}

// rules are the endings that Stem cuts, and what it puts in their place; the first that fits holds.
var rules = []struct{ ending, put string }{
	{"ational", "ate"}, {"ization", "ize"}, {"fulness", "ful"}, {"ically", "ic"}, {"ements", ""}, {"ations", "at"}, {"ement", ""},
	{"ation", "at"}, {"ities", ""}, {"ments", ""}, {"ness", ""}, {"ment", ""}, {"sses", "ss"}, {"ings", ""}, {"ions", ""},
	{"ies", "y"}, {"ing", ""}, {"ion", ""}, {"ity", ""}, {"ors", ""}, {"ers", ""}, {"ed", ""}, {"es", ""}, {"or", ""}, {"er", ""}, {"ly", ""}, {"s", ""}, {"e", ""},
}

// Stem cuts the commonest English endings off a word in lower case, so that "licenses", "licensed" and "licensing" meet.
// It is a few rules, not a full stemmer: what matters is that both sides of a comparison are cut alike.
func Stem(word string) string {
	if len(word) < 4 || digit(word[0]) {
		return word
	}
	last := word[len(word)-1]
	for _, rule := range rules {
		if rule.ending[len(rule.ending)-1] != last {
			continue
		}
		if stem, ok := strings.CutSuffix(word, rule.ending); ok && len(stem) >= 3 && !(rule.ending == "s" && strings.HasSuffix(stem, "s")) {
			word = stem + rule.put
			break
		}
	}
	word = strings.TrimSuffix(word, "e")
	if n := len(word); n > 3 && word[n-1] == word[n-2] && strings.IndexByte("bdgmnprt", word[n-1]) >= 0 {
		word = word[:n-1]
	}
	if stem, ok := strings.CutSuffix(word, "y"); ok && len(stem) >= 3 {
		word = stem + "i"
	}
	return word
}

// Terms returns the stems of the words of a text that carry meaning, in order, repetitions included.
func Terms(text string) []string {
	words := Words(text)
	terms := words[:0]
	for _, w := range words {
		if !IsStop(w) {
			terms = append(terms, Stem(w))
		}
	}
	return terms
}
