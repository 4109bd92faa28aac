package scanner

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

const maxPattern = 4096

// relation is a JSON:API relationship with one object.
type relation struct {
	Data *struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"data"`
}

func (r *relation) id() string {
	if r == nil || r.Data == nil {
		return ""
	}
	return r.Data.ID
}

type meta struct {
	Version int64 `json:"version"`
}

type groupDocument struct {
	Meta *meta `json:"meta"`
	Data struct {
		Type       string `json:"type"`
		Attributes struct {
			Name        string   `json:"name"`
			Description string   `json:"description"`
			Enabled     bool     `json:"is_enabled"`
			Products    []string `json:"product_list"`
			Filter      struct {
				Query string `json:"query"`
			} `json:"filter"`
			Samplings []struct {
				Product string  `json:"product"`
				Rate    float64 `json:"rate"`
			} `json:"samplings"`
		} `json:"attributes"`
		Relationships struct {
			Configuration *relation `json:"configuration"`
			Rules         struct {
				Data []json.RawMessage `json:"data"`
			} `json:"rules"`
		} `json:"relationships"`
	} `json:"data"`
}

func parseGroup(raw []byte) (group, error) {
	var body groupDocument
	if err := strictjson.Decode(raw, &body); err != nil {
		return group{}, err
	}
	a := body.Data.Attributes
	switch {
	case body.Data.Type != "sensitive_data_scanner_group":
		return group{}, fmt.Errorf("its type is %q, not sensitive_data_scanner_group", body.Data.Type)
	case a.Name == "":
		return group{}, errors.New("it has no name")
	case len(body.Data.Relationships.Rules.Data) > 0:
		return group{}, errors.New("a group is made without rules; each rule names its group")
	}
	query, err := search.Parse(a.Filter.Query)
	if err != nil {
		return group{}, fmt.Errorf("read filter %q: %w", a.Filter.Query, err)
	}
	if len(a.Products) == 0 {
		a.Products = []string{"logs"}
	}
	for _, product := range a.Products {
		if !slices.Contains([]string{"logs", "rum", "events", "apm"}, product) {
			return group{}, fmt.Errorf("there is no product %q", product)
		}
	}
	for _, s := range a.Samplings {
		if s.Product == "logs" && s.Rate != 100 {
			return group{}, fmt.Errorf("a sampling of %g %% of logs is not executed here, only 100", s.Rate)
		}
	}
	return group{name: a.Name, enabled: a.Enabled && slices.Contains(a.Products, "logs"), filter: query}, nil
}

type ruleDocument struct {
	Meta *meta `json:"meta"`
	Data struct {
		Type       string `json:"type"`
		Attributes struct {
			Name        string       `json:"name"`
			Description string       `json:"description"`
			Enabled     bool         `json:"is_enabled"`
			Pattern     string       `json:"pattern"`
			Namespaces  []string     `json:"namespaces"`
			Excluded    []string     `json:"excluded_namespaces"`
			Priority    *int         `json:"priority"`
			Tags        []string     `json:"tags"`
			Replacement *replacement `json:"text_replacement"`
			Keywords    *struct {
				Keywords    []string `json:"keywords"`
				Window      int      `json:"character_count"`
				Recommended bool     `json:"use_recommended_keywords"`
			} `json:"included_keyword_configuration"`
			Suppressions suppressions `json:"suppressions"`
		} `json:"attributes"`
		Relationships struct {
			Group    *relation `json:"group"`
			Standard *relation `json:"standard_pattern"`
		} `json:"relationships"`
	} `json:"data"`
}

func parseRule(raw []byte) (r rule, owner string, err error) {
	var body ruleDocument
	if err := strictjson.Decode(raw, &body); err != nil {
		return rule{}, "", err
	}
	a := body.Data.Attributes
	owner = body.Data.Relationships.Group.id()
	switch {
	case body.Meta == nil:
		return rule{}, "", errors.New("meta is missing, which may be empty")
	case body.Data.Type != "sensitive_data_scanner_rule":
		return rule{}, "", fmt.Errorf("its type is %q, not sensitive_data_scanner_rule", body.Data.Type)
	case a.Name == "":
		return rule{}, "", errors.New("it has no name")
	case owner == "":
		return rule{}, "", errors.New("it names no group")
	case body.Data.Relationships.Standard.id() != "":
		return rule{}, "", errors.New("standard patterns are not published, so they are not executed here")
	case a.Priority != nil && (*a.Priority < 1 || *a.Priority > 5):
		return rule{}, "", fmt.Errorf("the priority is 1 to 5, not %d", *a.Priority)
	}
	r = rule{name: a.Name, enabled: a.Enabled, namespaces: a.Namespaces, excluded: a.Excluded, tags: a.Tags, suppressions: a.Suppressions}
	if r.re, err = Compile(a.Pattern); err != nil {
		return rule{}, "", fmt.Errorf("read pattern %q: %w", a.Pattern, err)
	}
	for _, path := range a.Excluded {
		inside := func(namespace string) bool { return strings.HasPrefix(path, namespace+".") }
		if len(a.Namespaces) > 0 && !slices.ContainsFunc(a.Namespaces, inside) {
			return rule{}, "", fmt.Errorf("the excluded namespace %q is not below one of the namespaces", path)
		}
	}
	if k := a.Keywords; k != nil {
		switch {
		case k.Recommended:
			return rule{}, "", errors.New("use_recommended_keywords is only for standard patterns")
		case k.Window < 1 || k.Window > 50:
			return rule{}, "", fmt.Errorf("the character_count is 1 to 50, not %d", k.Window)
		case len(k.Keywords) > 30:
			return rule{}, "", errors.New("there are at most 30 keywords")
		}
		r.window = k.Window
		for _, word := range k.Keywords {
			r.keywords = append(r.keywords, strings.ToLower(word))
		}
	}
	if r.replace, err = a.Replacement.function(); err != nil {
		return rule{}, "", err
	}
	return r, owner, nil
}

type replacement struct {
	Type string  `json:"type"`
	Text *string `json:"replacement_string"`
	Size int     `json:"number_of_chars"`
	Save bool    `json:"should_save_match"`
}

// function returns what a match becomes; nil for what stays.
func (r *replacement) function() (func(string) string, error) {
	if r == nil {
		return nil, nil
	}
	partial := strings.HasPrefix(r.Type, "partial_replacement_")
	switch {
	case partial && r.Size < 1:
		return nil, fmt.Errorf("%s needs number_of_chars above 0", r.Type)
	case r.Save && r.Type != "replacement_string":
		return nil, errors.New("should_save_match is only for replacement_string")
	}
	switch r.Type {
	case "", "none":
		return nil, nil
	case "hash":
		return hash, nil
	case "replacement_string":
		if r.Text == nil {
			return nil, errors.New("replacement_string is missing")
		}
		return func(string) string { return *r.Text }, nil
	case "partial_replacement_from_beginning":
		return func(match string) string { return mask(match, r.Size, true) }, nil
	case "partial_replacement_from_end":
		return func(match string) string { return mask(match, r.Size, false) }, nil
	}
	return nil, fmt.Errorf("there is no replacement of type %q", r.Type)
}

// mask puts an asterisk in place of each of the first or last characters.
func mask(match string, size int, first bool) string {
	runes := []rune(match)
	size = min(size, len(runes))
	stars := strings.Repeat("*", size)
	if first {
		return stars + string(runes[size:])
	}
	return string(runes[:len(runes)-size]) + stars
}

// Compile reads a pattern of the scanner's syntax.
func Compile(pattern string) (*regexp.Regexp, error) {
	switch {
	case pattern == "":
		return nil, errors.New("it is empty")
	case len(pattern) > maxPattern:
		return nil, fmt.Errorf("it is longer than %d bytes", maxPattern)
	case !utf8.ValidString(pattern):
		return nil, errors.New("it is not valid UTF-8")
	}
	// What RE2 writes in another way.
	var b strings.Builder
	class := false
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c != '\\' || i+1 == len(pattern) {
			switch {
			case c == '[' && !class:
				class = true
			case c == ']' && class:
				class = false
			}
			b.WriteByte(c)
			continue
		}
		i++
		switch pattern[i] {
		case 'Q':
			// Up to \E everything is literal.
			text := pattern[i+1:]
			i = len(pattern)
			if end := strings.Index(text, `\E`); end >= 0 {
				i -= len(text) - end - 1
				text = text[:end]
			}
			b.WriteString(regexp.QuoteMeta(text))
		case 'h':
			if class {
				b.WriteString(` \t`)
			} else {
				b.WriteString(`[ \t]`)
			}
		case 'H':
			if class {
				return nil, errors.New(`\H in a class is not known here`)
			}
			b.WriteString(`[^ \t]`)
		case 'e':
			b.WriteString(`\x1b`)
		default:
			b.WriteString(pattern[i-1 : i+1])
		}
	}
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("%w (no lookarounds, backreferences, atomic groups, possessive quantifiers)", err)
	}
	return re, nil
}
