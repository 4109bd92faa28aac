package metric

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	maxLength = 4096
	maxDepth  = 32
)

// SyntaxError says where a query stops being understood, and why.
type SyntaxError struct {
	// Pos is the offset in bytes.
	Pos    int
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("metric query, offset %d: %s", e.Pos, e.Reason)
}

// Parse reads Datadog's metric query text. What it does not know it refuses with a *SyntaxError: a query that is only half
// understood would be evaluated to something else than at Datadog.
func Parse(text string) (q Query, err error) {
	if len(text) > maxLength {
		return Query{}, &SyntaxError{Pos: maxLength, Reason: fmt.Sprintf("longer than %d bytes", maxLength)}
	}
	p := &parser{text: text}
	defer func() {
		// The parser unwinds by panic with its own error type; everything else is a defect and goes on.
		if r := recover(); r != nil {
			e, ok := r.(*SyntaxError)
			if !ok {
				panic(r)
			}
			q, err = Query{}, e
		}
	}()
	root := p.sum(0)
	if p.space(); p.pos < len(p.text) {
		p.fail("unexpected %q", p.text[p.pos:p.pos+1])
	}
	q = Query{root: root}
	leaves := 0
	q.leaves(func(l *leaf) {
		leaves++
		if len(l.by) > 0 {
			if q.by != nil && !slices.Equal(q.by, l.by) {
				p.fail("queries joined by arithmetic must have the same groups, have {%s} and {%s}", strings.Join(q.by, ","), strings.Join(l.by, ","))
			}
			q.by = l.by
		}
	})
	q.leaves(func(l *leaf) {
		if len(q.by) > 0 && len(l.by) == 0 {
			p.fail("queries joined by arithmetic must have the same groups, one has none")
		}
	})
	if leaves == 0 {
		p.fail("no metric")
	}
	return q, nil
}

type parser struct {
	text string
	pos  int
}

func (p *parser) fail(format string, args ...any) {
	panic(&SyntaxError{Pos: p.pos, Reason: fmt.Sprintf(format, args...)})
}

func (p *parser) space() {
	for p.pos < len(p.text) && (p.text[p.pos] == ' ' || p.text[p.pos] == '\n' || p.text[p.pos] == '\t') {
		p.pos++
	}
}

// peek returns the next byte that is not space, or 0 at the end.
func (p *parser) peek() byte {
	p.space()
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

// accept skips the token if it is next.
func (p *parser) accept(token string) bool {
	p.space()
	if !strings.HasPrefix(p.text[p.pos:], token) {
		return false
	}
	p.pos += len(token)
	return true
}

func (p *parser) expect(token string) {
	if !p.accept(token) {
		p.fail("want %q", token)
	}
}

// take returns the longest run of bytes that belong; it may be empty.
func (p *parser) take(belongs func(byte) bool) string {
	p.space()
	start := p.pos
	for p.pos < len(p.text) && belongs(p.text[p.pos]) {
		p.pos++
	}
	return p.text[start:p.pos]
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isName(c byte) bool   { return isLetter(c) || isDigit(c) || c == '_' || c == '.' }
func isKey(c byte) bool    { return isName(c) || c == '-' || c == '/' }
func isValue(c byte) bool  { return isKey(c) || c == ':' || c == '*' || c == '@' || c >= 0x80 }

func (p *parser) sum(depth int) node {
	if depth > maxDepth {
		p.fail("nested deeper than %d", maxDepth)
	}
	left := p.product(depth)
	for c := p.peek(); c == '+' || c == '-'; c = p.peek() {
		p.pos++
		left = &binary{op: c, left: left, right: p.product(depth)}
	}
	return left
}

func (p *parser) product(depth int) node {
	left := p.operand(depth)
	for c := p.peek(); c == '*' || c == '/'; c = p.peek() {
		p.pos++
		left = &binary{op: c, left: left, right: p.operand(depth)}
	}
	return left
}

func (p *parser) operand(depth int) node {
	switch c := p.peek(); {
	case c == '(':
		p.pos++
		n := p.sum(depth + 1)
		p.expect(")")
		return n
	case isDigit(c) || c == '-':
		return p.number()
	case !isLetter(c):
		p.fail("want a query, a function, a number or (")
	}
	start := p.pos
	name := p.take(isName)
	switch {
	case p.accept("("):
		if name != "default_zero" {
			p.pos = start
			p.fail("function %s is not evaluated here", name)
		}
		n := p.sum(depth + 1)
		p.expect(")")
		return &zero{of: n}
	case p.accept(":"):
		return p.query(name, start)
	}
	p.fail("want : or ( after %s", name)
	return nil
}

func (p *parser) number() node {
	start := p.pos
	p.accept("-")
	digits := p.take(func(c byte) bool { return isDigit(c) || c == '.' })
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsInf(v, 0) {
		p.pos = start
		p.fail("want a number")
	}
	if p.text[start] == '-' {
		v = -v
	}
	return number(v)
}

func (p *parser) query(aggregator string, start int) node {
	l := &leaf{aggregator: aggregator}
	if !slices.Contains([]string{"sum", "avg", "min", "max", "count"}, aggregator) && l.quantile() == 0 {
		p.pos = start
		p.fail("aggregator %s is not evaluated here", aggregator)
	}
	if l.metric = p.take(isName); l.metric == "" || !isLetter(l.metric[0]) {
		p.fail("want the name of a metric")
	}
	p.expect("{")
	l.filter = p.or(0)
	p.expect("}")
	if p.accept("by") {
		p.expect("{")
		for {
			key := p.take(isKey)
			if key == "" {
				p.fail("want a tag key")
			}
			if slices.Contains(l.by, key) {
				p.fail("tag key %s twice", key)
			}
			l.by = append(l.by, strings.ToLower(key))
			if !p.accept(",") {
				break
			}
		}
		p.expect("}")
	}
	for p.accept(".") {
		p.modifier(l)
	}
	return l
}

func (p *parser) modifier(l *leaf) {
	start := p.pos
	name := p.take(isName)
	p.expect("(")
	switch {
	case name == "as_count" && !l.asCount:
		if l.aggregator != "sum" && l.aggregator != "count" {
			p.fail("as_count needs sum or count")
		}
		l.asCount = true
	case name == "rollup" && l.method == "":
		l.method = p.take(isName)
		want := l.aggregator
		if l.quantile() > 0 {
			want = "avg"
		}
		if l.method != want {
			p.fail("rollup of %s is evaluated here by %s only", l.aggregator, want)
		}
		if p.accept(",") {
			n, err := strconv.ParseInt(p.take(isDigit), 10, 32)
			if err != nil || n < fineSeconds || n%fineSeconds != 0 || n > 86400 {
				p.fail("want seconds of rollup, a multiple of %d up to a day", fineSeconds)
			}
			l.rollup = n
		}
	default:
		p.pos = start
		p.fail("modifier %s is unknown, repeated or not evaluated here", name)
	}
	p.expect(")")
}

// or reads terms joined by OR; a comma is AND, and AND binds closer.
func (p *parser) or(depth int) filter {
	if depth > maxDepth {
		p.fail("nested deeper than %d", maxDepth)
	}
	terms := []filter{p.and(depth)}
	for p.word("OR") {
		terms = append(terms, p.and(depth))
	}
	return join("OR", terms)
}

func (p *parser) and(depth int) filter {
	terms := []filter{p.term(depth)}
	for p.accept(",") || p.word("AND") {
		terms = append(terms, p.term(depth))
	}
	return join("AND", terms)
}

func join(op string, terms []filter) filter {
	if len(terms) == 1 {
		return terms[0]
	}
	return filter{op: op, of: terms}
}

// word accepts a keyword in either case when it stands alone.
func (p *parser) word(w string) bool {
	p.space()
	end := p.pos + len(w)
	if end > len(p.text) || !strings.EqualFold(p.text[p.pos:end], w) || end < len(p.text) && isValue(p.text[end]) {
		return false
	}
	p.pos = end
	return true
}

func (p *parser) term(depth int) filter {
	if depth > maxDepth {
		p.fail("nested deeper than %d", maxDepth)
	}
	if p.accept("!") || p.word("NOT") {
		f := p.term(depth + 1)
		f.not = !f.not
		return f
	}
	if p.accept("(") {
		f := p.or(depth + 1)
		p.expect(")")
		return f
	}
	if p.accept("*") {
		return filter{}
	}
	f := filter{key: strings.ToLower(p.take(isKey))}
	if f.key == "" {
		p.fail("want a tag or *")
	}
	if p.accept(":") {
		f.value = []string{p.value()}
		return f
	}
	f.not = p.word("NOT")
	if !p.word("IN") {
		p.fail("want key:value")
	}
	p.expect("(")
	for {
		f.value = append(f.value, p.value())
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	return f
}

func (p *parser) value() string {
	v := p.take(isValue)
	if v == "" {
		p.fail("want the value of a tag")
	}
	return strings.ToLower(v)
}
