package monitor

import (
	"regexp"
	"strings"
)

// MentionKind is what a mention reaches.
type MentionKind string

// The kinds of mentions. MentionUnknown is one that reaches nothing: most often a typing error.
const (
	MentionWorkflow  MentionKind = "workflow"
	MentionOnCall    MentionKind = "oncall"
	MentionIncident  MentionKind = "incident"
	MentionWebhook   MentionKind = "webhook"
	MentionSlack     MentionKind = "slack"
	MentionPagerDuty MentionKind = "pagerduty"
	MentionTeam      MentionKind = "team"
	MentionEmail     MentionKind = "email"
	MentionUnknown   MentionKind = "unknown"
)

// Mention is one @-mention of a message.
type Mention struct {
	Kind MentionKind
	// Handle is without the @ and the prefix of its kind; an address for MentionEmail.
	Handle string
	// Params are those of a workflow, nil for none.
	Params map[string]string
}

const parameterForm = `([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?:"([^"]*)"|([^\s",()]+))`

var (
	mentionWord = regexp.MustCompile(`(?:^|\s)@([^\s@()]+(?:@[^\s@()]+)?)`)
	parameter   = regexp.MustCompile(parameterForm)
	// parameters are name="text" or name=word, separated by commas, in parentheses.
	parameters = regexp.MustCompile(`^\(\s*(?:` + parameterForm + `\s*(?:,\s*` + parameterForm + `\s*)*)?\)`)
)

// Mentions finds the mentions of a rendered message, in order. As Datadog documents, a mention needs white space around it:
// what follows without space is read as part of its name. The parameters of a workflow mention nobody.
func Mentions(text string) []Mention {
	var out []Mention
	end := 0 // of the mention before, with its parameters
	for _, at := range mentionWord.FindAllStringSubmatchIndex(text, -1) {
		if at[0] < end {
			continue
		}
		m := classify(text[at[2]:at[3]])
		end = at[3]
		if m.Kind == MentionWorkflow && strings.HasPrefix(text[end:], "(") {
			list := parameters.FindString(text[end:])
			if list == "" {
				m.Kind = MentionUnknown
			}
			for _, p := range parameter.FindAllStringSubmatch(list, -1) {
				if m.Params == nil {
					m.Params = map[string]string{}
				}
				m.Params[p[1]] = p[2] + p[3]
			}
			end += len(list)
		}
		out = append(out, m)
	}
	return out
}

func classify(word string) Mention {
	if name, domain, ok := strings.Cut(word, "@"); ok {
		if name != "" && strings.Contains(domain, ".") {
			return Mention{Kind: MentionEmail, Handle: word}
		}
		return Mention{Kind: MentionUnknown, Handle: word}
	}
	if word == "pagerduty" {
		return Mention{Kind: MentionPagerDuty}
	}
	prefix, handle, _ := strings.Cut(word, "-")
	switch kind := MentionKind(prefix); kind {
	case MentionWorkflow, MentionOnCall, MentionIncident, MentionWebhook, MentionSlack, MentionPagerDuty, MentionTeam:
		if handle != "" {
			return Mention{Kind: kind, Handle: handle}
		}
	}
	return Mention{Kind: MentionUnknown, Handle: word}
}
