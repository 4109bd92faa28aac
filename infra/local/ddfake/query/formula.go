package query

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const (
	maxFormula = 1024
	maxDepth   = 32
)

// expression is a parsed formula.
type expression interface {
	// at returns the value of a group at a position.
	at(queries map[string]table, group string, i int) float64
}

type (
	number float64
	name   string
	filled struct{ of expression }
	binary struct {
		op          byte
		left, right expression
	}
)

func (n number) at(map[string]table, string, int) float64 { return float64(n) }

func (n name) at(queries map[string]table, group string, i int) float64 {
	if values := queries[string(n)][group]; i < len(values) {
		return values[i]
	}
	return math.NaN()
}

func (f filled) at(queries map[string]table, group string, i int) float64 {
	if v := f.of.at(queries, group, i); !math.IsNaN(v) {
		return v
	}
	return 0
}

func (b binary) at(queries map[string]table, group string, i int) float64 {
	l, r := b.left.at(queries, group, i), b.right.at(queries, group, i)
	switch b.op {
	case '+':
		return l + r
	case '-':
		return l - r
	case '*':
		return l * r
	}
	if r == 0 {
		return math.NaN()
	}
	return l / r
}

// root is a whole formula.
type root struct{ expression }

// over evaluates a formula for every group of any query. Where no query has data there is one group only if the formula makes
// something of nothing.
func (f root) over(queries map[string]table, n int) table {
	t := table{}
	for _, q := range queries {
		for group := range q {
			t[group] = nil
		}
	}
	if len(t) == 0 && !math.IsNaN(f.at(queries, everything, 0)) {
		t[everything] = nil
	}
	for group := range t {
		values := make([]float64, n)
		for i := range values {
			values[i] = f.at(queries, group, i)
		}
		t[group] = values
	}
	return t
}

// parser reads a formula by recursive descent. The first thing that it does not understand stays in err.
type parser struct {
	text  string
	pos   int
	names map[string]bool
	err   error
}

// parseFormula reads a formula over queries of the given names.
func parseFormula(text string, names map[string]bool) (root, error) {
	if len(text) > maxFormula {
		return root{}, fmt.Errorf("the formula is longer than %d bytes", maxFormula)
	}
	p := &parser{text: text, names: names}
	e := p.sum(0)
	if p.peek() != 0 {
		p.fail("unexpected %q", p.text[p.pos:p.pos+1])
	}
	if p.err != nil {
		return root{}, p.err
	}
	return root{e}, nil
}

// fail keeps the first reason, and ends the reading.
func (p *parser) fail(format string, args ...any) expression {
	if p.err == nil {
		p.err = fmt.Errorf("formula, offset %d: %s", p.pos, fmt.Sprintf(format, args...))
	}
	p.pos = len(p.text)
	return number(0)
}

// peek returns the next byte that is not space, or 0 at the end.
func (p *parser) peek() byte {
	for p.pos < len(p.text) && p.text[p.pos] == ' ' {
		p.pos++
	}
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

func (p *parser) sum(depth int) expression {
	if depth > maxDepth {
		return p.fail("nested deeper than %d", maxDepth)
	}
	left := p.product(depth)
	for c := p.peek(); c == '+' || c == '-'; c = p.peek() {
		p.pos++
		left = binary{c, left, p.product(depth)}
	}
	return left
}

func (p *parser) product(depth int) expression {
	left := p.operand(depth)
	for c := p.peek(); c == '*' || c == '/'; c = p.peek() {
		p.pos++
		left = binary{c, left, p.operand(depth)}
	}
	return left
}

func (p *parser) operand(depth int) expression {
	switch c := p.peek(); {
	case depth > maxDepth:
		return p.fail("nested deeper than %d", maxDepth)
	case c == '(':
		p.pos++
		return p.closed(p.sum(depth + 1))
	case c == '-':
		p.pos++
		return binary{'-', number(0), p.operand(depth + 1)}
	case '0' <= c && c <= '9':
		v, err := strconv.ParseFloat(p.take("0123456789."), 64)
		if err != nil || math.IsInf(v, 0) {
			return p.fail("want a number")
		}
		return number(v)
	case !isName(string(rune(c))):
		return p.fail("want a query, a number or (")
	}
	word := p.take(nameBytes)
	switch {
	case p.names[word] && p.peek() != '(':
		return name(word)
	case word == "default_zero" && p.peek() == '(':
		p.pos++
		return filled{p.closed(p.sum(depth + 1))}
	}
	return p.fail("%q is neither a query nor a function that is evaluated here", word)
}

func (p *parser) closed(e expression) expression {
	if p.peek() != ')' {
		return p.fail("want )")
	}
	p.pos++
	return e
}

func (p *parser) take(of string) string {
	start := p.pos
	for p.pos < len(p.text) && strings.IndexByte(of, p.text[p.pos]) >= 0 {
		p.pos++
	}
	return p.text[start:p.pos]
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"

// isName is whether a text can be the name of a query in a formula.
func isName(s string) bool {
	return s != "" && len(s) <= 100 && strings.Trim(s, nameBytes) == "" && (s[0] < '0' || s[0] > '9')
}
