package grok

import (
	"fmt"
	"strings"
)

// call is a matcher or filter with its arguments: a name alone, or name("text", 5, other("x")).
type call struct {
	name string
	args []argument
}

// argument is a text in quotation marks, or else a call: also numbers and words are such.
type argument struct {
	text   string
	quoted bool
	call   call
}

// texts returns arguments that must be in quotation marks.
func (c call) texts(least, most int) ([]string, error) {
	if len(c.args) < least || len(c.args) > most {
		return nil, fmt.Errorf("%s takes %d to %d arguments, not %d", c.name, least, most, len(c.args))
	}
	var texts []string
	for _, a := range c.args {
		if !a.quoted {
			return nil, fmt.Errorf("%s takes texts in quotation marks", c.name)
		}
		texts = append(texts, a.text)
	}
	return texts, nil
}

type tokenizer struct {
	text  string
	pos   int
	depth int
}

func (t *tokenizer) rest() string { return strings.TrimSpace(t.text[t.pos:]) }

func (t *tokenizer) space() {
	for t.pos < len(t.text) && (t.text[t.pos] == ' ' || t.text[t.pos] == '\t') {
		t.pos++
	}
}

func (t *tokenizer) take(what string) bool {
	t.space()
	if strings.HasPrefix(t.text[t.pos:], what) {
		t.pos += len(what)
		return true
	}
	return false
}

func (t *tokenizer) until(end byte) string {
	start := t.pos
	if i := strings.IndexByte(t.text[t.pos:], end); i >= 0 {
		t.pos += i
	} else {
		t.pos = len(t.text)
	}
	return t.text[start:t.pos]
}

func (t *tokenizer) call() (call, error) {
	if t.depth++; t.depth > 8 {
		return call{}, fmt.Errorf("more than 8 calls in each other")
	}
	defer func() { t.depth-- }()
	t.space()
	start := t.pos
	for t.pos < len(t.text) && !strings.ContainsRune(" \t:(),\"", rune(t.text[t.pos])) {
		t.pos++
	}
	c := call{name: t.text[start:t.pos]}
	if c.name == "" {
		return call{}, fmt.Errorf("a name is missing at %q", t.text[start:])
	}
	if !t.take("(") {
		return c, nil
	}
	if t.take(")") {
		return call{}, fmt.Errorf("%s() has no arguments", c.name)
	}
	for {
		a, err := t.argument()
		if err != nil {
			return call{}, err
		}
		c.args = append(c.args, a)
		if t.take(")") {
			return c, nil
		}
		if !t.take(",") {
			return call{}, fmt.Errorf("%s( … lacks a , or ) before %q", c.name, t.rest())
		}
	}
}

func (t *tokenizer) argument() (argument, error) {
	t.space()
	if !t.take(`"`) {
		inner, err := t.call()
		text := inner.name
		if err == nil && t.take(":") {
			// An argument with a name, as in decodeuricomponent:true.
			value, valueErr := t.call()
			text, err = text+":"+value.name, valueErr
		}
		return argument{text: text, call: inner}, err
	}
	start := t.pos
	var b strings.Builder
	for t.pos < len(t.text) {
		c := t.text[t.pos]
		switch {
		case c == '"':
			t.pos++
			return argument{text: b.String(), quoted: true}, nil
		case c == '\\' && t.pos+1 < len(t.text) && (t.text[t.pos+1] == '"' || t.text[t.pos+1] == '\\'):
			// Other escapes are the regular expression's.
			t.pos++
			c = t.text[t.pos]
		}
		b.WriteByte(c)
		t.pos++
	}
	return argument{}, fmt.Errorf("a quotation mark without its second one at %q", t.text[start-1:])
}
