package safety

import (
	"fmt"
	"slices"
	"strings"
)

// Policy says what requests are refused for. Its zero value refuses nothing: all is observed only.
type Policy struct {
	Injection         bool
	DocumentInjection bool
	TokenAbuse        bool
	// PII are the kinds of personal data and secrets that may not be sent to a model.
	PII []string
}

// ParsePolicy reads a list of what to block: injection, document_injection, token_abuse, pii for all kinds of personal data and
// secrets, pii: and one kind, as in pii:card; or the one word none. The error does not repeat the word, which may be a secret in the wrong place.
func ParsePolicy(list []string) (Policy, error) {
	var p Policy
	if slices.Equal(list, []string{"none"}) {
		return Policy{}, nil
	}
	for i, word := range list {
		kind, one := strings.CutPrefix(word, "pii:")
		switch {
		case word == "injection":
			p.Injection = true
		case word == "document_injection":
			p.DocumentInjection = true
		case word == "token_abuse":
			p.TokenAbuse = true
		case word == "pii":
			p.PII = Kinds()
		case one && slices.Contains(kinds[:], kind):
			if !slices.Contains(p.PII, kind) {
				p.PII = append(p.PII, kind)
			}
		default:
			return Policy{}, fmt.Errorf("word %d is not one of none (alone), injection, document_injection, token_abuse, pii, pii:%s", i+1, strings.Join(kinds[:], ", pii:"))
		}
	}
	slices.Sort(p.PII)
	return p, nil
}

// Any is whether there is anything that the policy refuses.
func (p Policy) Any() bool {
	return p.Injection || p.DocumentInjection || p.TokenAbuse || len(p.PII) > 0
}

// Refuses says why a request with these signals is not served; "" when it is. The reason is fit for the caller: it holds nothing
// of the text.
func (p Policy) Refuses(s Signals) string {
	switch {
	case p.Injection && s.InjectionSuspected:
		return "the prompt looks like an injection"
	case p.DocumentInjection && s.DocumentSuspected:
		return "the document looks as if it gives orders to the model"
	case p.TokenAbuse && s.TokenAbuse:
		return "the prompt looks made to burn tokens"
	}
	for _, kind := range p.PII {
		if slices.Contains(s.PII, kind) {
			return "the request holds personal data or a secret of the kind " + kind
		}
	}
	return ""
}
