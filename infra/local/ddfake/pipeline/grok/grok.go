// Package grok reads rules of Datadog's grok dialect and parses text with them: "name %{matcher:extract:filter} …", one rule a
// line, of which the first that matches the whole text wins.
//
//	what                  as Datadog                                      differs here
//	regular expressions   the page "Parsing" names RE2's syntax           RE2, so that no rule and no text can hang the stand-in;
//	                                                                      lookarounds and backreferences, which Datadog may take,
//	                                                                      are refused; atomic groups and possessive quantifiers
//	                                                                      are read as plain ones: what they match is the same,
//	                                                                      but a rule may match here that does not match there
//	references            to helper rules and to rules above              the same; helper rules see helper rules above them
//	data                  any text, newlines included                     as short as possible; the page is silent on that
//	repeated extract      (not documented)                                the values become a list
//	null, ""              not displayed                                   left out
//	a filter that fails   (not documented)                                the attribute is left out
//	date                  milliseconds; Joda patterns                     of y M d H h k K m s S a E Z X z and quoted text; only
//	                                                                      English names; of zone names those in date.go
//	date without a year   the current one, by an example                  the year of the log's time; time alone is of 1970
//	keyvalue              pairs whose values have characters that are     the same; pairs in brackets are a guess
//	                      not allowed are skipped
//	array                 elements are separated                          and trimmed of spaces, a guess; no rule as last argument
//	rubyhash, xml         parsed                                          refused, as are csv with another quotation mark and
//	                                                                      locales other than English
package grok

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	maxRules      = 200
	maxRule       = 16 << 10
	maxExpression = 64 << 10
)

// Rules are rules that were understood. They are immutable.
type Rules struct{ rules []rule }

type rule struct {
	name     string
	re       *regexp.Regexp
	captures []capture
}

// capture is what becomes of a group of the expression.
type capture struct {
	group   string
	index   int
	path    string
	convert func(text string, now time.Time) (any, bool)
	filter  filter
}

// Parse reads match rules and the helper rules that they may refer to.
func Parse(match, support string) (*Rules, error) {
	p := &parser{definitions: map[string]string{}}
	if _, err := p.rules(support, false); err != nil {
		return nil, fmt.Errorf("read the support rules: %w", err)
	}
	rules, err := p.rules(match, true)
	if err != nil {
		return nil, fmt.Errorf("read the match rules: %w", err)
	}
	if len(rules) == 0 {
		return nil, errors.New("there is no match rule")
	}
	return &Rules{rules}, nil
}

// Match parses a text with the first rule that matches all of it, and returns the rule's name. Dates without a year are in
// the year of now.
func (r *Rules) Match(text string, now time.Time) (attributes map[string]any, name string, ok bool) {
	for _, rule := range r.rules {
		groups := rule.re.FindStringSubmatchIndex(text)
		if groups == nil {
			continue
		}
		found := map[string]any{}
		for _, c := range rule.captures {
			from, to := groups[2*c.index], groups[2*c.index+1]
			if from < 0 {
				continue
			}
			var value any = text[from:to]
			done := true
			if c.convert != nil {
				value, done = c.convert(text[from:to], now)
			}
			if done && c.filter != nil {
				value, done = c.filter(value)
			}
			if done {
				insert(found, c.path, value)
			}
		}
		return found, rule.name, true
	}
	return nil, "", false
}

// insert adds a value to an object. An object without a path becomes part of it, and values of one path a list.
func insert(object map[string]any, path string, value any) {
	if value == nil || value == "" {
		return
	}
	if path == "" || path == "." {
		inner, ok := value.(map[string]any)
		if !ok {
			return
		}
		for key, v := range inner {
			insert(object, key, v)
		}
		return
	}
	key, rest, nested := strings.Cut(path, ".")
	if !nested {
		switch have := object[key].(type) {
		case nil:
			object[key] = value
		case []any:
			object[key] = append(slices.Clip(have), value)
		default:
			object[key] = []any{have, value}
		}
		return
	}
	inner, ok := object[key].(map[string]any)
	if !ok {
		if _, taken := object[key]; taken {
			// A scalar is in the way: the name keeps its dot.
			object[path] = value
			return
		}
		inner = map[string]any{}
		object[key] = inner
	}
	insert(inner, rest, value)
}

type parser struct {
	// definitions are the rules so far, by name.
	definitions map[string]string
	// The rule that is being read:
	out      strings.Builder
	captures []capture
	depth    int
}

var ruleName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.]*$`)

func (p *parser) rules(text string, compile bool) ([]rule, error) {
	var rules []rule
	lines := strings.Split(text, "\n")
	if len(lines) > maxRules {
		return nil, fmt.Errorf("more than %d lines", maxRules)
	}
	for _, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if len(line) > maxRule {
			return nil, fmt.Errorf("a rule is longer than %d bytes", maxRule)
		}
		name, definition, ok := strings.Cut(strings.TrimLeft(line, " \t"), " ")
		if !ok || !ruleName.MatchString(name) {
			return nil, fmt.Errorf("%.60q: a rule is a name of letters, digits, _ and ., a space and a pattern", line)
		}
		if _, twice := p.definitions[name]; twice {
			return nil, fmt.Errorf("two rules are named %s", name)
		}
		// Helper rules are compiled, too: their mistakes are to be found where they are.
		made, err := p.rule(name, definition)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", name, err)
		}
		p.definitions[name] = definition
		if compile {
			rules = append(rules, made)
		}
	}
	return rules, nil
}

func (p *parser) rule(name, definition string) (rule, error) {
	p.out.Reset()
	p.captures, p.depth = nil, 0
	p.out.WriteString(`\A(?:`)
	if err := p.pattern(definition); err != nil {
		return rule{}, err
	}
	p.out.WriteString(`)\z`)
	re, err := regexp.Compile(p.out.String())
	if err != nil {
		return rule{}, fmt.Errorf("%w (expressions are RE2's: without lookarounds and backreferences)", err)
	}
	made := rule{name: name, re: re, captures: p.captures}
	for i := range made.captures {
		made.captures[i].index = re.SubexpIndex(made.captures[i].group)
	}
	return made, nil
}

// pattern copies an expression, and puts groups where tokens are.
func (p *parser) pattern(text string) error {
	quantified, class := false, 0
	for i := 0; i < len(text); {
		if p.out.Len() > maxExpression {
			return fmt.Errorf("the expression is longer than %d bytes", maxExpression)
		}
		c := text[i]
		rest := text[i:]
		wasQuantified := quantified
		quantified = false
		switch {
		case c == '\\' && i+1 < len(text):
			p.out.WriteString(text[i : i+2])
			i += 2
			continue
		case class > 0:
			switch {
			case strings.HasPrefix(rest, "[:"):
				if end := strings.Index(rest, ":]"); end > 0 {
					p.out.WriteString(rest[:end+2])
					i += end + 2
					continue
				}
			case c == ']':
				class = 0
			}
		case c == '[':
			class = 1
			for _, start := range []string{"[^]", "[]", "[^"} {
				if strings.HasPrefix(rest, start) {
					p.out.WriteString(start[:len(start)-1])
					i += len(start) - 1
					c = start[len(start)-1]
					break
				}
			}
		case strings.HasPrefix(rest, "%{"):
			length, err := p.token(rest)
			if err != nil {
				return err
			}
			i += length
			continue
		case strings.HasPrefix(rest, "(?>"):
			p.out.WriteString("(?:")
			i += 3
			continue
		case strings.HasPrefix(rest, "(?<") && len(rest) > 3 && rest[3] != '=' && rest[3] != '!':
			end := strings.IndexByte(rest, '>')
			if end < 0 {
				return fmt.Errorf("%.40q: the name of a group has no end", rest)
			}
			p.out.WriteString("(?P<" + p.group(capture{path: rest[3:end]}) + ">")
			i += end + 1
			continue
		case wasQuantified && c == '+':
			i++
			continue
		case c == '*', c == '+', c == '?' && i > 0 && text[i-1] != '(', c == '}':
			quantified = !wasQuantified
		}
		p.out.WriteByte(c)
		i++
	}
	return nil
}

// group adds a capture and returns the name of its group.
func (p *parser) group(c capture) string {
	c.group = fmt.Sprintf("g%d", len(p.captures))
	p.captures = append(p.captures, c)
	return c.group
}

// token reads %{matcher:extract:filter} and returns its length.
func (p *parser) token(text string) (int, error) {
	end := closing(text)
	if end < 0 {
		return 0, fmt.Errorf("%.60q: a %%{ without its }", text)
	}
	whole := text[:end+1]
	t := &tokenizer{text: text[2:end]}
	matcher, err := t.call()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", whole, err)
	}
	var c capture
	named := false
	var filterCall call
	if t.take(":") {
		c.path = strings.TrimSpace(t.until(':'))
		named = c.path != ""
		if strings.ContainsAny(c.path, " \t\"'(){}[]%") || strings.Contains(c.path, "..") || len(c.path) > 1 && strings.HasSuffix(c.path, ".") || len(c.path) > 1 && strings.HasPrefix(c.path, ".") {
			return 0, fmt.Errorf("%s: %q is not the path of an attribute", whole, c.path)
		}
		if t.take(":") {
			if filterCall, err = t.call(); err != nil {
				return 0, fmt.Errorf("%s: %w", whole, err)
			}
			if c.filter, err = newFilter(filterCall); err != nil {
				return 0, fmt.Errorf("%s: %w", whole, err)
			}
		}
	}
	if t.rest() != "" {
		return 0, fmt.Errorf("%s: unexpected %q", whole, t.rest())
	}
	definition, isRule := p.definitions[matcher.name]
	if isRule && len(matcher.args) == 0 {
		return end + 1, p.reference(definition, c, named)
	}
	expression, convert, err := newMatcher(matcher)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", whole, err)
	}
	c.convert = convert
	if !named && c.filter == nil {
		p.out.WriteString("(?:")
	} else {
		p.out.WriteString("(?P<" + p.group(c) + ">")
	}
	if matcher.name == "regex" {
		// The pattern is the author's own, with all that is copied from one.
		if err := p.pattern(expression); err != nil {
			return 0, fmt.Errorf("%s: %w", whole, err)
		}
	} else {
		p.out.WriteString(expression)
	}
	p.out.WriteString(")")
	return end + 1, nil
}

func (p *parser) reference(definition string, c capture, named bool) error {
	// Rules only refer to rules above, so there are no circles; but each may double the one before.
	if p.depth++; p.depth > 32 {
		return errors.New("more than 32 references in each other")
	}
	defer func() { p.depth-- }()
	if named || c.filter != nil {
		p.out.WriteString("(?P<" + p.group(c) + ">")
	} else {
		p.out.WriteString("(?:")
	}
	if err := p.pattern(definition); err != nil {
		return err
	}
	p.out.WriteString(")")
	return nil
}

// closing returns where the } of a token is, outside of quotation marks.
func closing(text string) int {
	quote := byte(0)
	for i := 2; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && c == '"':
			quote = c
		case quote == 0 && c == '}':
			return i
		}
	}
	return -1
}
