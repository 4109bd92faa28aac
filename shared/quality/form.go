package quality

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/shared/prose"
)

// refusals are how an answer begins to say that there is none. Apostrophes are straight, and all is in lower case.
var refusals = []string{
	"document does not", "document doesn't", "text does not", "text doesn't", "context does not", "context doesn't", "passage does not", "passage doesn't",
	"not mentioned in", "not stated in", "not specified in", "not provided in", "not answered in", "no information", "no mention of", "not enough information",
	"i cannot answer", "i can't answer", "i cannot help", "i can't help", "i can't assist", "i cannot assist", "i'm unable to", "i am unable to", "i'm not able to",
	"i'm sorry, but", "i am sorry, but", "i don't know", "i do not know", "as an ai", "cannot be determined", "can't be determined", "i can't provide", "i cannot provide",
}

// refusal says whether an answer only says that there is none. A longer one that says so of a part is an answer.
func refusal(answer string) bool {
	const short = 300
	if len(answer) > short {
		return false
	}
	lower := strings.ReplaceAll(strings.ToLower(answer), "\u2019", "'")
	return slices.ContainsFunc(refusals, func(r string) bool { return strings.Contains(lower, r) })
}

// truncated says whether a text of some length ends within a sentence, or within a block of code. A list, a heading or a short
// answer needs no full stop.
func truncated(answer string) bool {
	const words = 20
	text := strings.TrimSpace(answer)
	if strings.Count(text, "```")%2 == 1 {
		return true
	}
	last := text[strings.LastIndexByte(text, '\n')+1:]
	if len(strings.Fields(last)) < words {
		return false
	}
	end, _ := utf8.DecodeLastRuneInString(text)
	return unicode.IsLetter(end) || unicode.IsDigit(end) || strings.ContainsRune(",;(-\u2013\u2014&", end)
}

// kind is what a question asks for.
type kind int

const (
	anything kind = iota
	number
	name
	moment
)

// asksFor reads the kind off the words with which a question asks.
func asksFor(question string) kind {
	lower := " " + strings.Join(prose.Words(question), " ") + " "
	for _, k := range []struct {
		kind  kind
		words []string
	}{
		{number, []string{" how many ", " how much ", " how old ", " how long ", " how far ", " how tall ", " what percentage ", " what number "}},
		{moment, []string{" when ", " what year ", " which year ", " what date ", " what time "}},
		{name, []string{" who ", " whom ", " whose "}},
	} {
		if slices.ContainsFunc(k.words, func(w string) bool { return strings.Contains(lower, w) }) {
			return k.kind
		}
	}
	return anything
}

// months are words of a time that have no digit. "may" is too often another word.
var months = map[string]bool{
	"january": true, "february": true, "march": true, "april": true, "june": true, "july": true, "august": true, "september": true, "october": true,
	"november": true, "december": true, "monday": true, "tuesday": true, "wednesday": true, "thursday": true, "friday": true, "saturday": true, "sunday": true,
	"today": true, "yesterday": true, "tomorrow": true, "noon": true, "midnight": true, "always": true, "never": true, "after": true, "before": true, "during": true,
}

// has says whether an answer has what a question of this kind asks for.
func (k kind) has(answer string) bool {
	if k == anything {
		return true
	}
	for _, w := range prose.Words(answer) {
		digit := w[0] >= '0' && w[0] <= '9'
		if (k == number || k == moment) && (digit || numbers[w] != "") || k == moment && months[w] {
			return true
		}
	}
	if k != name {
		return false
	}
	// A name has a capital; where it begins the sentence that can't be told, and a person may be told by what he is.
	return strings.ContainsFunc(answer, unicode.IsUpper) || len(strings.Fields(answer)) > 0 && !strings.ContainsFunc(answer, unicode.IsDigit)
}

// relevance says how far the answer is one to the question; ok is false when the question has no terms.
func relevance(a Answer, asked, terms []string, nearest map[string]float64) (r float64, ok bool) {
	if len(asked) == 0 {
		return 0, false
	}
	said := count(terms)
	distinct, covered := 0.0, 0.0
	for t := range count(asked) {
		if t == "mani" || t == "much" { // they ask, and are not what is asked about
			continue
		}
		distinct++
		if said[t] > 0 || nearest[t] > 0 {
			covered++
		}
	}
	if distinct == 0 {
		return 0, false
	}
	r = covered / distinct
	if !asksFor(a.Question).has(a.Text) {
		r /= 2
	}
	return r, true
}
