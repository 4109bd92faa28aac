package search

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxLength = 16 << 10
	maxDepth  = 64
	// anyKey is the key of full-text search.
	anyKey = "*"
)

// SyntaxError says where a query stops being understood, and why.
type SyntaxError struct {
	// Pos is the offset in bytes, and Near the text from there.
	Pos    int
	Near   string
	Reason string
}

func (e *SyntaxError) Error() string {
	if e.Near == "" {
		return "search query, at the end: " + e.Reason
	}
	return fmt.Sprintf("search query, at %q: %s", e.Near, e.Reason)
}

// Parse reads a search. The empty text and "*" match everything. What it does not know it refuses with a *SyntaxError: a
// query that is only half understood would find something else than at Datadog.
func Parse(text string) (q Query, err error) {
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
	if len(text) > maxLength {
		p.failAt(maxLength, "the query is longer than %d bytes", maxLength)
	}
	if !utf8.ValidString(text) {
		p.fail("the query is not valid UTF-8")
	}
	if p.space(); p.pos == len(text) {
		return Query{}, nil
	}
	root := p.or("", 0)
	if p.pos < len(text) {
		p.fail("a ) without its (")
	}
	if _, ok := root.(everything); ok {
		root = nil
	}
	return Query{root}, nil
}

type parser struct {
	text string
	pos  int
}

func (p *parser) failAt(pos int, format string, args ...any) {
	near := p.text[pos:]
	if i := strings.IndexByte(near, ' '); i > 0 {
		near = near[:i]
	}
	if len(near) > 40 {
		near = strings.ToValidUTF8(near[:40], "") + "…"
	}
	panic(&SyntaxError{Pos: pos, Near: near, Reason: fmt.Sprintf(format, args...)})
}

func (p *parser) fail(format string, args ...any) { p.failAt(p.pos, format, args...) }

func (p *parser) space() {
	for p.pos < len(p.text) {
		r, size := utf8.DecodeRuneInString(p.text[p.pos:])
		if !unicode.IsSpace(r) {
			return
		}
		p.pos += size
	}
}

func (p *parser) at(prefix string) bool { return strings.HasPrefix(p.text[p.pos:], prefix) }

func (p *parser) take(prefix string) bool {
	if p.at(prefix) {
		p.pos += len(prefix)
		return true
	}
	return false
}

// keyword takes a word that is an operator. Operators are in capitals.
func (p *parser) keyword(word string) bool {
	if !p.at(word) {
		return false
	}
	rest := p.text[p.pos+len(word):]
	if r, _ := utf8.DecodeRuneInString(rest); rest != "" && !unicode.IsSpace(r) && r != '(' && r != ')' && r != '"' {
		return false
	}
	p.pos += len(word)
	return true
}

// or and its callees read inside key:( … ) with the key, else with "".
func (p *parser) or(key string, depth int) node {
	if depth > maxDepth {
		p.fail("more than %d parentheses and negations in each other", maxDepth)
	}
	nodes := []node{p.and(key, depth)}
	for {
		p.space()
		if !p.keyword("OR") && !p.take("||") {
			break
		}
		nodes = append(nodes, p.and(key, depth))
	}
	return join(nodes, func(nodes []node) node { return or(nodes) })
}

func (p *parser) and(key string, depth int) node {
	nodes := []node{p.not(key, depth)}
	for {
		p.space()
		if p.pos == len(p.text) || p.at(")") || p.at("||") {
			break
		}
		start := p.pos
		if p.keyword("OR") {
			p.pos = start
			break
		}
		if !p.keyword("AND") {
			p.take("&&")
		}
		nodes = append(nodes, p.not(key, depth))
	}
	return join(nodes, func(nodes []node) node { return and(nodes) })
}

func join(nodes []node, combine func([]node) node) node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	return combine(nodes)
}

func (p *parser) not(key string, depth int) node {
	if depth > maxDepth {
		p.fail("more than %d parentheses and negations in each other", maxDepth)
	}
	p.space()
	start := p.pos
	if p.keyword("NOT") {
		return not{p.not(key, depth+1)}
	}
	if p.take("-") || p.take("!") {
		if r, _ := utf8.DecodeRuneInString(p.text[p.pos:]); p.pos == len(p.text) || unicode.IsSpace(r) {
			p.failAt(start, "nothing is negated here: the term follows without a space; a - that is meant is escaped as \\-")
		}
		return not{p.not(key, depth+1)}
	}
	return p.primary(key, depth)
}

func (p *parser) primary(key string, depth int) node {
	start := p.pos
	if p.keyword("AND") || p.keyword("OR") || p.take("&&") || p.take("||") {
		p.failAt(start, "%s needs a term on both sides", p.text[start:p.pos])
	}
	switch {
	case p.pos == len(p.text):
		p.fail("a term is missing")
	case p.at(")"):
		p.fail("a term is missing before )")
	case p.at("("):
		return p.group(key, depth)
	case key != "":
		return p.value(key)
	case p.at(`"`):
		pat := p.quoted()
		if p.at(":") {
			p.failAt(start, "the name before : is not quoted; escape what is special in it")
		}
		return p.words("", pat, start)
	}
	word := p.word(false)
	raw := p.text[start:p.pos]
	if raw == "CIDR" && p.at("(") {
		return p.cidr()
	}
	if p.take(":") {
		return p.keyed(p.key(word, raw, start), depth)
	}
	if strings.HasPrefix(raw, "@") {
		p.failAt(start, "an attribute needs a value, as in @name:value; @name:* finds events that have it")
	}
	return p.words("", word, start)
}

func (p *parser) group(key string, depth int) node {
	start := p.pos
	p.take("(")
	inner := p.or(key, depth+1)
	if !p.take(")") {
		p.failAt(start, "a ( without its )")
	}
	return inner
}

// key checks the name before a colon.
func (p *parser) key(word pattern, raw string, start int) string {
	if raw == anyKey {
		return anyKey
	}
	var b strings.Builder
	for _, g := range word {
		if g.wild {
			p.failAt(start, "a name has no wildcards; only *:text searches all attributes")
		}
		b.WriteRune(g.r)
	}
	name := b.String()
	switch name {
	case anyKey:
		p.failAt(start, "a name has no wildcards; only *:text searches all attributes")
	case "@":
		p.failAt(start, "the name of the attribute is missing after @")
	case "_exists_", "_missing_":
		p.failAt(start, "write @name:* for events that have an attribute, and -@name:* for those that do not")
	}
	return name
}

func (p *parser) keyed(key string, depth int) node {
	if p.at("(") {
		return p.group(key, depth)
	}
	return p.value(key)
}

// value reads what follows a key, or one term inside key:( … ).
func (p *parser) value(key string) node {
	start := p.pos
	text := key == anyKey || key == "message"
	switch {
	case p.at(`"`):
		return p.is(key, p.quoted(), start)
	case p.at("["), p.at("{"):
		if text {
			p.fail("text has no ranges")
		}
		return p.span(key)
	case p.at(">"), p.at("<"):
		if text {
			p.fail("text is not compared")
		}
		op := p.text[p.pos : p.pos+1]
		p.pos++
		if p.take("=") {
			op += "="
		}
		return compare{key, op, p.bound()}
	}
	word := p.word(true)
	if p.at(":") {
		p.failAt(start, `a : in a value is escaped as \: or the value is quoted; inside key:( … ) there are no other keys`)
	}
	if word[0] == (glyph{r: '-'}) && p.text[start] == '-' {
		if _, ok := number(p.text[start:p.pos]); !ok {
			p.failAt(start, "a value that begins with - is escaped as \\- or quoted; to exclude, write - before the key")
		}
	}
	return p.is(key, word, start)
}

func (p *parser) is(key string, pat pattern, start int) node {
	if len(pat) == 1 && pat[0] == (glyph{'*', true}) {
		if key == anyKey {
			return everything{}
		}
		return exists{key}
	}
	if key == anyKey || key == "message" {
		return p.words(key, pat, start)
	}
	return value{key, pat}
}

func (p *parser) words(key string, pat pattern, start int) node {
	if len(pat) == 1 && pat[0] == (glyph{'*', true}) {
		return everything{}
	}
	steps := compile(pat)
	if len(steps) == 0 {
		p.failAt(start, "nothing to search for: text is found by its words, which are of letters, digits and _")
	}
	return words{key, pat, steps}
}

const (
	ending   = "()[]{}\":" // ends a word
	operator = "<>=!#“”"   // is refused inside a word
)

// word reads up to the next separator. It is never empty.
func (p *parser) word(value bool) pattern {
	start := p.pos
	var pat pattern
	for p.pos < len(p.text) {
		r, size := utf8.DecodeRuneInString(p.text[p.pos:])
		if unicode.IsSpace(r) || strings.ContainsRune(ending, r) || p.at("&&") || p.at("||") {
			break
		}
		if strings.ContainsRune(operator, r) {
			p.fail("%q is special: escape it as \\%c, or quote the text with straight quotes", r, r)
		}
		p.pos += size
		switch r {
		case '\\':
			if p.pos == len(p.text) {
				p.failAt(start, "a \\ at the end escapes nothing")
			}
			r, size = utf8.DecodeRuneInString(p.text[p.pos:])
			p.pos += size
			pat = append(pat, glyph{r: r})
		case '*', '?':
			pat = append(pat, glyph{r, true})
		default:
			pat = append(pat, glyph{r: r})
		}
	}
	if len(pat) == 0 {
		switch {
		case value:
			p.fail("a value is missing after :")
		case p.pos < len(p.text):
			p.fail("%q is special: escape it as \\%c, or quote the text", p.text[p.pos], p.text[p.pos])
		}
		p.fail("a term is missing")
	}
	return pat
}

// quoted reads text in double quotes, in which only \" and \\ are escapes and nothing is a wildcard.
func (p *parser) quoted() pattern {
	start := p.pos
	p.take(`"`)
	pat := pattern{}
	for p.pos < len(p.text) {
		if p.take(`"`) {
			return pat
		}
		if p.at(`\"`) || p.at(`\\`) {
			p.pos++
		}
		r, size := utf8.DecodeRuneInString(p.text[p.pos:])
		p.pos += size
		pat = append(pat, glyph{r: r})
	}
	p.failAt(start, "a quotation mark without its second one")
	return nil
}

// bound reads a number, or a duration, which counts in nanoseconds.
func (p *parser) bound() bound {
	start := p.pos
	if p.pos == len(p.text) {
		p.fail("a number is missing")
	}
	p.word(true)
	text := p.text[start:p.pos]
	n, ok := number(text)
	if !ok {
		d, err := time.ParseDuration(text)
		if err != nil {
			p.failAt(start, "only numbers are compared")
		}
		n = float64(d)
	}
	return bound{text, n}
}

func (p *parser) span(key string) node {
	start := p.pos
	s := span{key: key, from: bound{"*", math.Inf(-1)}, to: bound{"*", math.Inf(1)}}
	s.fromIn = p.take("[")
	if !s.fromIn {
		p.take("{")
	}
	end := func() bool {
		p.space()
		if !p.at("*") {
			return true
		}
		p.pos++
		return false
	}
	if end() {
		s.from = p.bound()
	}
	p.space()
	if !p.keyword("TO") {
		p.failAt(start, "a range is written [1 TO 5], or {1 TO 5} without its bounds")
	}
	if end() {
		s.to = p.bound()
	}
	p.space()
	s.toIn = p.take("]")
	if !s.toIn && !p.take("}") {
		p.failAt(start, "a range is written [1 TO 5], or {1 TO 5} without its bounds")
	}
	if s.from.n > s.to.n {
		p.failAt(start, "a range that begins above its end finds nothing")
	}
	return s
}

func (p *parser) cidr() node {
	start := p.pos
	length := strings.IndexByte(p.text[p.pos:], ')')
	if length < 0 {
		p.failAt(start, "a ( without its )")
	}
	parts := strings.Split(p.text[p.pos+1:p.pos+length], ",")
	c := cidr{key: strings.TrimSpace(parts[0])}
	if len(c.key) < 2 || c.key[0] != '@' || strings.ContainsAny(c.key, " \\\"()[]{}:*?") || len(parts) < 2 {
		p.fail("CIDR takes an attribute and blocks, as in CIDR(@network.client.ip,10.0.0.0/8)")
	}
	for _, part := range parts[1:] {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			p.fail("%q is no block of addresses, as 10.0.0.0/8 is", strings.TrimSpace(part))
		}
		c.prefixes = append(c.prefixes, prefix.Masked())
	}
	p.pos += length + 1
	return c
}

// number reads a number, without the forms that only Go has.
func number(text string) (float64, bool) {
	if text == "" || strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}
