// Package safety screens texts for prompt injection, personal data and attempts to burn tokens, and redacts personal data.
// It is pure, linear in the text, and made of documented patterns; it decides nothing.
package safety

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Suspected is the score from which a prompt counts as an injection.
const Suspected = 0.6

// Signals are what a screen saw.
type Signals struct {
	// PromptInjection is a score 0..1: 1 − Π (1 − weight) over the patterns that match.
	PromptInjection    float64
	InjectionSuspected bool
	TokenAbuse         bool
	// PII lists the kinds of personal data that were seen, sorted.
	PII []string
}

// pattern compiles an expression when it is first needed: all of them together would take a cold start a millisecond. The
// tests need every one.
func pattern(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// injections are the patterns, over the text in lower case with white space folded, and how much each says by itself.
// A pattern is tried only if one of the words that it needs is there: searching for words is fifty times faster.
var injections = []struct {
	weight  float64
	needs   []string
	pattern func() *regexp.Regexp
}{
	{0.9, []string{"ignore", "disregard", "forget", "override", "bypass"}, pattern(`\b(ignore|disregard|forget|override|bypass)\b.{0,30}\b(previous|prior|above|earlier|preceding|all|any|your)\b.{0,30}\b(instructions?|prompts?|rules?|directives?|guidelines|guardrails|context)\b`)},
	{0.8, []string{"prompt", "instructions above", "text above", "initial instructions"}, pattern(`\b(reveal|print|show|repeat|output|leak|display|tell me)\b.{0,30}\b(your|the|all)\b.{0,20}\b(system prompt|hidden prompt|initial instructions|instructions above|prompt above|text above)\b`)},
	{0.7, []string{"you are now", "you are no longer"}, pattern(`\byou are (now|no longer)\b.{0,60}\b(dan|jailbroken|unrestricted|unfiltered|evil|free|bound|not bound|without|no restrictions|anything)\b`)},
	{0.7, []string{"do anything now", " mode", "stay in character", "ethical", "moral"}, pattern(`\b(do anything now|developer mode|jailbreak mode|god mode|dan mode|stay in character|no ethical|without any (ethical|moral)|no moral)\b`)},
	{0.7, []string{"im_start", "im_end", "system", "endoftext", "inst]", "instruction"}, pattern(`<\|?(im_start|im_end|system|endoftext)\|?>|\[/?inst\]|<<sys>>|###\s*(system|instruction)s?\s*:`)},
	{0.5, []string{"pretend", "act as if", "roleplay", "role-play", "simulate"}, pattern(`\b(pretend|act as if|roleplay|role-play|simulate)\b.{0,60}\b(no (rules|restrictions|limits|filters?)|not bound|unrestricted|unfiltered|uncensored)\b`)},
	{0.5, []string{"new instruction", "new rule", "new task"}, pattern(`\bnew (instructions?|rules?|task)\s*:`)},
	{0.4, []string{"refuse", "apologi", "mention", "warn", "decline"}, pattern(`\b(do not|don't|never)\b.{0,20}\b(refuse|apologi[sz]e|mention|warn|decline)\b.{0,80}\b(policy|policies|ethic|guideline|openai|illegal|rules)\b`)},
	{0.3, []string{"uncensored", "unfiltered", "unrestricted"}, pattern(`\b(uncensored|unfiltered|unrestricted)\b`)},
}

var forever = pattern(`\b(repeat|write|say|print|output)\b.{0,60}\b(forever|endlessly|infinitely|without stopping|until you run out|(\d{4,}|million|thousand|ten thousand) times)\b`)

var forEver = []string{"forever", "endless", "infinite", "without stopping", "run out", " times"}

func holds(text string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// Screen looks at all texts together.
func Screen(texts ...string) Signals {
	joined := strings.Join(texts, "\n")
	folded := strings.Join(strings.Fields(strings.ToLower(joined)), " ")
	innocent := 1.0
	for _, p := range injections {
		if holds(folded, p.needs) && p.pattern().MatchString(folded) {
			innocent *= 1 - p.weight
		}
	}
	score := math.Round((1-innocent)*1000) / 1000
	return Signals{
		PromptInjection:    score,
		InjectionSuspected: score >= Suspected,
		TokenAbuse:         (holds(folded, forEver) && forever().MatchString(folded)) || repetitive(folded),
		PII:                kindsOf(joined),
	}
}

// repetitive says whether a long text is nearly one word, over and over.
func repetitive(folded string) bool {
	const long, share = 2000, 20
	words := strings.Fields(folded)
	if len(words) < long {
		return false
	}
	distinct := map[string]bool{}
	for _, w := range words {
		distinct[w] = true
	}
	return len(distinct) < len(words)/(share*10)
}

// personal are the kinds of personal data and secrets. check, where it is set, must agree with a match.
var personal = []struct {
	kind    string
	pattern func() *regexp.Regexp
	// needs says cheaply whether the pattern can match at all.
	needs func(text string) bool
	check func(string) bool
}{
	{"key", pattern(`\b(sk-[A-Za-z0-9_-]{16,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|AIza[0-9A-Za-z_-]{35}|xox[bp]-[A-Za-z0-9-]{10,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+)`), prefixes, nil},
	{"email", pattern(`\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b`), at, nil},
	{"iban", pattern(`\b[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,4})?\b`), digits, iban},
	{"card", pattern(`\b[0-9](?:[ -]?[0-9]){12,18}\b`), digits, luhn},
	{"phone", pattern(`(?:\+[0-9]{1,3}[ .-]?)(?:\(?[0-9]{1,4}\)?[ .-]?){2,4}[0-9]{2,4}\b|\(?\b[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}\b`), digits, nil},
}

func at(text string) bool { return strings.Contains(text, "@") }

func prefixes(text string) bool {
	return holds(text, []string{"sk-", "AKIA", "gh", "AIza", "xox", "eyJ"})
}

// digits says whether a text has as many digits as the shortest number that is looked for.
func digits(text string) bool {
	n := 0
	for i := range len(text) {
		if text[i] >= '0' && text[i] <= '9' {
			n++
		}
	}
	return n >= 8
}

func kindsOf(text string) []string {
	var kinds []string
	for _, p := range personal {
		if p.needs(text) && slices.ContainsFunc(p.pattern().FindAllString(text, -1), func(m string) bool { return p.check == nil || p.check(m) }) {
			kinds = append(kinds, p.kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// Redact replaces personal data and secrets by their kind in brackets, as in [email].
func Redact(text string) string {
	for _, p := range personal {
		if !p.needs(text) {
			continue
		}
		text = p.pattern().ReplaceAllStringFunc(text, func(m string) string {
			if p.check != nil && !p.check(m) {
				return m
			}
			return "[" + p.kind + "]"
		})
	}
	return text
}

// luhn is the check sum of card numbers (ISO/IEC 7812-1).
func luhn(s string) bool {
	sum, n := 0, 0
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < '0' || s[i] > '9' {
			continue
		}
		d := int(s[i] - '0')
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		n++
	}
	return n >= 13 && n <= 19 && sum%10 == 0
}

// iban is the check sum of account numbers (ISO 13616): the number, its first four characters moved to the end and its
// letters read as 10 to 35, leaves 1 modulo 97.
func iban(s string) bool {
	s = strings.ReplaceAll(s, " ", "")
	if len(s) < 15 || len(s) > 34 {
		return false
	}
	rest := 0
	for _, c := range s[4:] + s[:4] {
		if c >= 'A' {
			rest = (rest*100 + int(c-'A') + 10) % 97
		} else {
			rest = (rest*10 + int(c-'0')) % 97
		}
	}
	return rest == 1
}
