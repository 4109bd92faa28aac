package metric

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query is a parsed metric query: one query, or arithmetic over several.
type Query struct {
	root node
	by   []string
}

// String returns the query in a canonical form that Parse reads back to the same query.
func (q Query) String() string {
	if q.root == nil {
		return ""
	}
	return q.root.String()
}

// By returns the tag keys of the groups, in the order of the text. It is empty for a query of one group.
func (q Query) By() []string { return slices.Clone(q.by) }

// Metrics returns the names of the metrics that the query reads, each once.
func (q Query) Metrics() []string {
	var names []string
	q.leaves(func(l *leaf) {
		if !slices.Contains(names, l.metric) {
			names = append(names, l.metric)
		}
	})
	return names
}

// Arithmetic reports whether the query combines anything by + - * or /.
func (q Query) Arithmetic() bool {
	found := false
	walk(q.root, func(n node) {
		if _, ok := n.(*binary); ok {
			found = true
		}
	})
	return found
}

// AsCount reports whether any part of the query has the modifier as_count.
func (q Query) AsCount() bool {
	found := false
	q.leaves(func(l *leaf) { found = found || l.asCount })
	return found
}

// Percentile reports whether the query is one percentile, without arithmetic.
func (q Query) Percentile() bool {
	l, ok := q.root.(*leaf)
	return ok && l.quantile() > 0
}

// Rollup returns the longest interval that a rollup of the query names, or 0.
func (q Query) Rollup() time.Duration {
	var longest time.Duration
	q.leaves(func(l *leaf) { longest = max(longest, time.Duration(l.rollup)*time.Second) })
	return longest
}

func (q Query) leaves(f func(*leaf)) {
	walk(q.root, func(n node) {
		if l, ok := n.(*leaf); ok {
			f(l)
		}
	})
}

// node is one part of a query's tree: number, leaf, zero or binary.
type node interface {
	fmt.Stringer
	// evaluate answers for n intervals of a grid.
	evaluate(s *Store, g grid) result
}

type number float64

type leaf struct {
	aggregator, metric string
	filter             filter
	by                 []string
	asCount            bool
	method             string // of rollup, empty for none
	rollup             int64  // seconds, 0 for none
}

// zero is default_zero(of).
type zero struct{ of node }

type binary struct {
	op          byte
	left, right node
}

func walk(n node, f func(node)) {
	if n == nil {
		return
	}
	f(n)
	switch n := n.(type) {
	case *zero:
		walk(n.of, f)
	case *binary:
		walk(n.left, f)
		walk(n.right, f)
	}
}

func (n number) String() string { return strconv.FormatFloat(float64(n), 'f', -1, 64) }

func (n *zero) String() string { return "default_zero(" + n.of.String() + ")" }

func (n *leaf) String() string {
	var b strings.Builder
	b.WriteString(n.aggregator + ":" + n.metric + "{" + n.filter.String() + "}")
	if len(n.by) > 0 {
		b.WriteString(" by {" + strings.Join(n.by, ",") + "}")
	}
	if n.asCount {
		b.WriteString(".as_count()")
	}
	switch {
	case n.rollup > 0:
		fmt.Fprintf(&b, ".rollup(%s, %d)", n.method, n.rollup)
	case n.method != "":
		fmt.Fprintf(&b, ".rollup(%s)", n.method)
	}
	return b.String()
}

// quantile returns the quantile of a percentile aggregator, or 0.
func (n *leaf) quantile() float64 {
	switch n.aggregator {
	case "p50":
		return 0.50
	case "p75":
		return 0.75
	case "p90":
		return 0.90
	case "p95":
		return 0.95
	case "p99":
		return 0.99
	}
	return 0
}

func (n *binary) precedence() int {
	if n.op == '+' || n.op == '-' {
		return 1
	}
	return 2
}

func (n *binary) String() string {
	side := func(c node, least int) string {
		if b, ok := c.(*binary); ok && b.precedence() < least {
			return "(" + c.String() + ")"
		}
		return c.String()
	}
	return side(n.left, n.precedence()) + " " + string(n.op) + " " + side(n.right, n.precedence()+1)
}

// filter selects tag sets: a term, or terms joined by AND or OR.
type filter struct {
	op    string // "", "AND" or "OR"; "" is a term
	not   bool
	key   string   // empty for "*", which selects everything
	value []string // any of these; more than one is written with IN
	of    []filter
}

func (f filter) String() string {
	if f.op == "" {
		prefix := ""
		if f.not {
			prefix = "!"
		}
		switch {
		case f.key == "":
			return prefix + "*"
		case len(f.value) == 1:
			return prefix + f.key + ":" + f.value[0]
		case f.not:
			return f.key + " NOT IN (" + strings.Join(f.value, ",") + ")"
		default:
			return f.key + " IN (" + strings.Join(f.value, ",") + ")"
		}
	}
	parts := make([]string, len(f.of))
	simple := f.op == "AND"
	for i, c := range f.of {
		parts[i] = c.String()
		if c.op != "" {
			parts[i] = "(" + parts[i] + ")"
		}
		simple = simple && c.op == "" && len(c.value) < 2
	}
	text := strings.Join(parts, " "+f.op+" ")
	if simple {
		text = strings.Join(parts, ",")
	}
	if f.not {
		return "NOT (" + text + ")"
	}
	return text
}

// matches reports whether a tag set is selected.
func (f filter) matches(tags []string) bool {
	var yes bool
	switch f.op {
	case "AND":
		yes = !slices.ContainsFunc(f.of, func(c filter) bool { return !c.matches(tags) })
	case "OR":
		yes = slices.ContainsFunc(f.of, func(c filter) bool { return c.matches(tags) })
	default:
		yes = f.key == "" || slices.ContainsFunc(tags, func(t string) bool {
			key, value, _ := strings.Cut(t, ":")
			return key == f.key && slices.ContainsFunc(f.value, func(p string) bool { return wildcard(p, value) })
		})
	}
	return yes != f.not
}

// wildcard reports whether the pattern, in which * stands for any text, matches the whole value.
func wildcard(pattern, value string) bool {
	first, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == value
	}
	if !strings.HasPrefix(value, first) {
		return false
	}
	value = value[len(first):]
	for {
		part, more, found := strings.Cut(rest, "*")
		if !found {
			return strings.HasSuffix(value, rest)
		}
		i := strings.Index(value, part)
		if i < 0 {
			return false
		}
		value, rest = value[i+len(part):], more
	}
}
