package pipeline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// expression is arithmetic over attributes, whose values the caller looks up.
type expression func(attribute func(name string) float64) float64

// parseExpression reads +, -, * and / with parentheses. A - is only an operator with spaces around it, for names may hold
// one.
func parseExpression(text string) (expression, error) {
	if len(text) > 4096 {
		return nil, errors.New("it is longer than 4096 bytes")
	}
	p := &expressionParser{text: text}
	e, err := p.sum(0)
	if err != nil {
		return nil, err
	}
	if p.peek() != 0 {
		return nil, fmt.Errorf("unexpected %q", p.text[p.pos:])
	}
	return e, nil
}

type expressionParser struct {
	text string
	pos  int
}

func (p *expressionParser) peek() byte {
	for p.pos < len(p.text) && (p.text[p.pos] == ' ' || p.text[p.pos] == '\t' || p.text[p.pos] == '\n') {
		p.pos++
	}
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

func (p *expressionParser) sum(depth int) (expression, error) {
	left, err := p.product(depth)
	if err != nil {
		return nil, err
	}
	for {
		operator := p.peek()
		if operator != '+' && operator != '-' {
			return left, nil
		}
		p.pos++
		right, err := p.product(depth)
		if err != nil {
			return nil, err
		}
		l := left
		if operator == '+' {
			left = func(a func(string) float64) float64 { return l(a) + right(a) }
		} else {
			left = func(a func(string) float64) float64 { return l(a) - right(a) }
		}
	}
}

func (p *expressionParser) product(depth int) (expression, error) {
	left, err := p.value(depth)
	if err != nil {
		return nil, err
	}
	for {
		operator := p.peek()
		if operator != '*' && operator != '/' {
			return left, nil
		}
		p.pos++
		right, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		l := left
		if operator == '*' {
			left = func(a func(string) float64) float64 { return l(a) * right(a) }
		} else {
			left = func(a func(string) float64) float64 { return l(a) / right(a) }
		}
	}
}

const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@$"

func (p *expressionParser) value(depth int) (expression, error) {
	if depth > 64 {
		return nil, errors.New("more than 64 parentheses in each other")
	}
	c := p.peek()
	switch {
	case c == 0:
		return nil, errors.New("a value is missing at the end")
	case c == '-':
		p.pos++
		inner, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		return func(a func(string) float64) float64 { return -inner(a) }, nil
	case c == '(':
		p.pos++
		inner, err := p.sum(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.peek() != ')' {
			return nil, errors.New("a ( without its )")
		}
		p.pos++
		return inner, nil
	case !strings.ContainsRune(nameCharacters, rune(c)):
		return nil, fmt.Errorf("unexpected %q", p.text[p.pos:])
	}
	start := p.pos
	number := c >= '0' && c <= '9' || c == '.'
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		if !strings.ContainsRune(nameCharacters, rune(c)) && (number || c != '-') {
			break
		}
		p.pos++
	}
	text := p.text[start:p.pos]
	if number {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", text)
		}
		return func(func(string) float64) float64 { return n }, nil
	}
	name := strings.TrimPrefix(text, "@")
	return func(a func(string) float64) float64 { return a(name) }, nil
}
