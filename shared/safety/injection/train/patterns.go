package main

import (
	"regexp"
	"strings"
)

// patterns are the nine expressions that the model replaced, with what each said by itself: the bar that it is held to.
var patterns = []struct {
	weight  float64
	pattern *regexp.Regexp
}{
	{0.9, regexp.MustCompile(`\b(ignore|disregard|forget|override|bypass)\b.{0,30}\b(previous|prior|above|earlier|preceding|all|any|your)\b.{0,30}\b(instructions?|prompts?|rules?|directives?|guidelines|guardrails|context)\b`)},
	{0.8, regexp.MustCompile(`\b(reveal|print|show|repeat|output|leak|display|tell me)\b.{0,30}\b(your|the|all)\b.{0,20}\b(system prompt|hidden prompt|initial instructions|instructions above|prompt above|text above)\b`)},
	{0.7, regexp.MustCompile(`\byou are (now|no longer)\b.{0,60}\b(dan|jailbroken|unrestricted|unfiltered|evil|free|bound|not bound|without|no restrictions|anything)\b`)},
	{0.7, regexp.MustCompile(`\b(do anything now|developer mode|jailbreak mode|god mode|dan mode|stay in character|no ethical|without any (ethical|moral)|no moral)\b`)},
	{0.7, regexp.MustCompile(`<\|?(im_start|im_end|system|endoftext)\|?>|\[/?inst\]|<<sys>>|###\s*(system|instruction)s?\s*:`)},
	{0.5, regexp.MustCompile(`\b(pretend|act as if|roleplay|role-play|simulate)\b.{0,60}\b(no (rules|restrictions|limits|filters?)|not bound|unrestricted|unfiltered|uncensored)\b`)},
	{0.5, regexp.MustCompile(`\bnew (instructions?|rules?|task)\s*:`)},
	{0.4, regexp.MustCompile(`\b(do not|don't|never)\b.{0,20}\b(refuse|apologi[sz]e|mention|warn|decline)\b.{0,80}\b(policy|policies|ethic|guideline|openai|illegal|rules)\b`)},
	{0.3, regexp.MustCompile(`\b(uncensored|unfiltered|unrestricted)\b`)},
}

// patternScore is 1 − Π (1 − weight) over the patterns that match.
func patternScore(text string) float64 {
	folded := strings.Join(strings.Fields(strings.ToLower(text)), " ")
	innocent := 1.0
	for _, p := range patterns {
		if p.pattern.MatchString(folded) {
			innocent *= 1 - p.weight
		}
	}
	return 1 - innocent
}

// patternSuspected was the patterns' threshold.
const patternSuspected = 0.6
