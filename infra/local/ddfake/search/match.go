package search

import (
	"net/netip"
	"strings"
	"unicode"
)

// node is a part of a query.
type node interface {
	match(e *Event) bool
	// write writes the canonical form; outer is the precedence of what is around.
	write(b *strings.Builder, outer int)
	visit(see func(key string))
}

const (
	precedenceOr = iota
	precedenceAnd
	precedenceNot
)

type (
	everything struct{}
	and        []node
	or         []node
	not        struct{ node }
	exists     struct{ key string }
	// words are found in text: in that of the key, or with key "" where free text is.
	words struct {
		key   string
		pat   pattern
		steps []step
	}
	value struct {
		key string
		pat pattern
	}
	compare struct {
		key, op string
		bound   bound
	}
	span struct {
		key          string
		from, to     bound
		fromIn, toIn bool
	}
	cidr struct {
		key      string
		prefixes []netip.Prefix
	}
	bound struct {
		text string
		n    float64
	}
)

func (everything) match(*Event) bool { return true }

func (a and) match(e *Event) bool {
	for _, n := range a {
		if !n.match(e) {
			return false
		}
	}
	return true
}

func (o or) match(e *Event) bool {
	for _, n := range o {
		if n.match(e) {
			return true
		}
	}
	return false
}

func (n not) match(e *Event) bool { return !n.node.match(e) }

func (x exists) match(e *Event) bool { return len(e.values(x.key)) > 0 }

func (w words) match(e *Event) bool {
	if find(w.steps, e.Message) {
		return true
	}
	switch w.key {
	case "message":
		return false
	case anyKey:
		return anywhere(e.Attributes, w.steps)
	}
	for _, path := range []string{"title", "error.message", "error.stack"} {
		for _, v := range Values(e.Attributes, path) {
			if find(w.steps, Text(v)) {
				return true
			}
		}
	}
	return false
}

// anywhere reports whether words are found in a value or in what is in it.
func anywhere(v any, steps []step) bool {
	switch v := v.(type) {
	case nil:
		return false
	case map[string]any:
		for _, inner := range v {
			if anywhere(inner, steps) {
				return true
			}
		}
		return false
	case []any:
		for _, inner := range v {
			if anywhere(inner, steps) {
				return true
			}
		}
		return false
	default:
		return find(steps, Text(v))
	}
}

func (v value) match(e *Event) bool {
	fold := !strings.HasPrefix(v.key, "@")
	want, numeric := number(v.pat.plain())
	for _, have := range e.values(v.key) {
		if _, text := have.(string); numeric && !text {
			if n, ok := Number(have); ok && n == want {
				return true
			}
		}
		if v.pat.glob(Text(have), fold) {
			return true
		}
	}
	return false
}

func (c compare) match(e *Event) bool {
	for _, have := range e.values(c.key) {
		n, ok := Number(have)
		if !ok {
			continue
		}
		switch c.op {
		case ">":
			ok = n > c.bound.n
		case ">=":
			ok = n >= c.bound.n
		case "<":
			ok = n < c.bound.n
		default:
			ok = n <= c.bound.n
		}
		if ok {
			return true
		}
	}
	return false
}

func (s span) match(e *Event) bool {
	for _, have := range e.values(s.key) {
		n, ok := Number(have)
		if ok && (n > s.from.n || s.fromIn && n == s.from.n) && (n < s.to.n || s.toIn && n == s.to.n) {
			return true
		}
	}
	return false
}

func (c cidr) match(e *Event) bool {
	for _, have := range e.values(c.key) {
		address, err := netip.ParseAddr(Text(have))
		if err != nil {
			continue
		}
		for _, prefix := range c.prefixes {
			if prefix.Contains(address.Unmap()) {
				return true
			}
		}
	}
	return false
}

func (everything) write(b *strings.Builder, _ int) { b.WriteString("*") }

func list(b *strings.Builder, nodes []node, operator string, own, outer int) {
	if outer > own {
		b.WriteString("(")
		defer b.WriteString(")")
	}
	for i, n := range nodes {
		if i > 0 {
			b.WriteString(operator)
		}
		// One more: a list in a list of its own kind keeps its parentheses, so that it reads back as it was.
		n.write(b, own+1)
	}
}

func (a and) write(b *strings.Builder, outer int) { list(b, a, " AND ", precedenceAnd, outer) }
func (o or) write(b *strings.Builder, outer int)  { list(b, o, " OR ", precedenceOr, outer) }

func (n not) write(b *strings.Builder, _ int) {
	b.WriteString("-")
	n.node.write(b, precedenceNot)
}

func (x exists) write(b *strings.Builder, _ int) { b.WriteString(name(x.key) + ":*") }

func (w words) write(b *strings.Builder, _ int) {
	if w.key != "" {
		b.WriteString(w.key + ":")
	}
	b.WriteString(w.pat.String())
}

func (v value) write(b *strings.Builder, _ int) { b.WriteString(name(v.key) + ":" + v.pat.String()) }
func (c compare) write(b *strings.Builder, _ int) {
	b.WriteString(name(c.key) + ":" + c.op + c.bound.text)
}

func (s span) write(b *strings.Builder, _ int) {
	open, end := "{", "}"
	if s.fromIn {
		open = "["
	}
	if s.toIn {
		end = "]"
	}
	b.WriteString(name(s.key) + ":" + open + s.from.text + " TO " + s.to.text + end)
}

func (c cidr) write(b *strings.Builder, _ int) {
	b.WriteString("CIDR(" + c.key)
	for _, prefix := range c.prefixes {
		b.WriteString("," + prefix.String())
	}
	b.WriteString(")")
}

func (everything) visit(func(string))    {}
func (n not) visit(see func(string))     { n.node.visit(see) }
func (x exists) visit(see func(string))  { see(x.key) }
func (w words) visit(see func(string))   { see(w.key) }
func (v value) visit(see func(string))   { see(v.key) }
func (c compare) visit(see func(string)) { see(c.key) }
func (s span) visit(see func(string))    { see(s.key) }
func (c cidr) visit(see func(string))    { see(c.key) }

func (a and) visit(see func(string)) {
	for _, n := range a {
		n.visit(see)
	}
}

func (o or) visit(see func(string)) {
	for _, n := range o {
		n.visit(see)
	}
}

// pattern is text in which some glyphs are wildcards: * for any text, ? for one character.
type pattern []glyph

type glyph struct {
	r    rune
	wild bool
}

// plain returns the text of a pattern without wildcards, else "".
func (p pattern) plain() string {
	var b strings.Builder
	for _, g := range p {
		if g.wild {
			return ""
		}
		b.WriteRune(g.r)
	}
	return b.String()
}

// String writes the pattern so that it reads back as it is.
func (p pattern) String() string {
	if len(p) == 0 {
		return `""`
	}
	var b strings.Builder
	switch p.plain() {
	case "AND", "OR", "NOT", "CIDR":
		b.WriteByte('\\')
	}
	for i, g := range p {
		special := unicode.IsSpace(g.r) || strings.ContainsRune(ending+operator+`\*?&|`, g.r) || i == 0 && (g.r == '-' || g.r == '@')
		if special && !g.wild {
			b.WriteByte('\\')
		}
		b.WriteRune(g.r)
	}
	return b.String()
}

// name writes a key so that it reads back as it is.
func name(key string) string {
	if rest, ok := strings.CutPrefix(key, "@"); ok {
		return "@" + literal(rest).String()
	}
	return literal(key).String()
}

func literal(text string) pattern {
	var p pattern
	for _, r := range text {
		p = append(p, glyph{r: r})
	}
	return p
}

// glob matches a whole value. It takes time in the product of both lengths at most.
func (p pattern) glob(text string, fold bool) bool {
	runes := []rune(text)
	i, j, star, from := 0, 0, -1, 0
	for j < len(runes) {
		switch {
		case i < len(p) && p[i] == (glyph{'*', true}):
			star, from = i, j
			i++
		case i < len(p) && (p[i].wild || p[i].r == runes[j] || fold && unicode.ToLower(p[i].r) == unicode.ToLower(runes[j])):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == (glyph{'*', true}) {
		i++
	}
	return i == len(p)
}

// step is one step of an automaton that finds words in text.
type step struct {
	kind stepKind
	r    rune
}

type stepKind byte

const (
	letter     stepKind = iota // one character, in any case
	one                        // any one character
	inWord                     // any number of characters of a word
	between                    // one character that is of no word
	betweenAll                 // any number of them
)

func isWord(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

// compile turns a pattern into steps. Whatever is between words is equal, and at the ends it does not count.
func compile(p pattern) []step {
	var steps []step
	for _, g := range p {
		switch {
		case g == glyph{'*', true}:
			steps = append(steps, step{kind: inWord})
		case g == glyph{'?', true}:
			steps = append(steps, step{kind: one})
		case isWord(g.r):
			steps = append(steps, step{letter, unicode.ToLower(g.r)})
		case len(steps) > 0 && steps[len(steps)-1].kind != betweenAll:
			steps = append(steps, step{kind: between}, step{kind: betweenAll})
		}
	}
	if n := len(steps); n > 0 && steps[n-1].kind == betweenAll {
		steps = steps[:n-2]
	}
	return steps
}

// find runs the automaton from every beginning of a word to an end of one. It takes time in the product of both lengths.
func find(steps []step, text string) bool {
	now, next := make([]bool, len(steps)+1), make([]bool, len(steps)+1)
	before, begun := rune(0), false
	advance := func(r rune, end bool) bool {
		if boundary := !begun || end || !isWord(before) || !isWord(r); boundary {
			now[0] = true
			pass(steps, now)
			if now[len(steps)] {
				return true
			}
		}
		pass(steps, now)
		clear(next)
		for i, s := range steps {
			if !now[i] {
				continue
			}
			switch s.kind {
			case letter:
				next[i+1] = next[i+1] || s.r == unicode.ToLower(r)
			case one:
				next[i+1] = true
			case inWord:
				next[i] = next[i] || isWord(r)
			case between:
				next[i+1] = next[i+1] || !isWord(r)
			case betweenAll:
				next[i] = next[i] || !isWord(r)
			}
		}
		now, next = next, now
		before, begun = r, true
		return false
	}
	for _, r := range text {
		if advance(r, false) {
			return true
		}
	}
	return advance(0, true)
}

// pass goes over steps that need no character.
func pass(steps []step, now []bool) {
	for i, s := range steps {
		if now[i] && (s.kind == inWord || s.kind == betweenAll) {
			now[i+1] = true
		}
	}
}
