package metric

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Series is one group of a query's answer.
type Series struct {
	// Group names the group, such as "function:qa" or "function:qa,model:m"; "*" for a query without groups.
	Group string
	// Tags are the group's tags, in the order of the query.
	Tags []string
	// From is the start of the first interval.
	From     time.Time
	Interval time.Duration
	// Values holds one value per interval. NaN means that there was no data, which is not zero.
	Values []float64
	// First and Last are where the data behind the values begins and ends, to the bucket and not to the interval; both
	// zero without data. What default_zero fills in is data.
	First, Last time.Time
}

// grid is n intervals of equal width, in Unix seconds.
type grid struct {
	from, width int64
	n           int
}

// result is the answer of one node by group. Groups of a zero result that are absent read as 0.
type result struct {
	constant bool // one value for every group
	zero     bool
	groups   map[string]line
}

// line is one group of a result.
type line struct {
	values []float64
	// first and last bound the data, in Unix seconds.
	first, last int64
}

// filled is a line with the same value everywhere.
func (g grid) filled(v float64) line {
	return line{values: constant(v, g.n), first: g.from, last: g.end()}
}

func (g grid) end() int64 { return g.from + int64(g.n)*g.width }

// Series answers a query for the intervals from, from+interval, … that begin before to. Times are cut to seconds. Groups are in
// the order of their names.
func (s *Store) Series(q Query, from, to time.Time, interval time.Duration) []Series {
	g := grid{from: from.Unix(), width: max(seconds(interval), 1)}
	g.n = int(max((to.Unix()-g.from+g.width-1)/g.width, 0))
	if q.root == nil || g.n == 0 {
		return nil
	}
	s.mu.Lock()
	r := q.root.evaluate(s, g)
	s.mu.Unlock()
	if len(q.by) == 0 && len(r.groups) == 0 && r.zero {
		r.groups = map[string]line{"*": g.filled(0)}
	}
	var out []Series
	for _, group := range slices.Sorted(maps.Keys(r.groups)) {
		l := r.groups[group]
		sr := Series{
			Group: group, From: time.Unix(g.from, 0).UTC(),
			Interval: time.Duration(g.width) * time.Second, Values: l.values,
		}
		if l.first < l.last {
			sr.First, sr.Last = time.Unix(l.first, 0).UTC(), time.Unix(l.last, 0).UTC()
		}
		if group != "*" {
			sr.Tags = strings.Split(group, ",")
		}
		out = append(out, sr)
	}
	return out
}

func constant(v float64, n int) []float64 { return slices.Repeat([]float64{v}, n) }

func (n number) evaluate(_ *Store, g grid) result {
	return result{constant: true, groups: map[string]line{"*": g.filled(float64(n))}}
}

func (n *zero) evaluate(s *Store, g grid) result {
	r := n.of.evaluate(s, g)
	for group, l := range r.groups {
		for i, v := range l.values {
			if math.IsNaN(v) {
				l.values[i] = 0
			}
		}
		r.groups[group] = line{values: l.values, first: g.from, last: g.end()}
	}
	r.zero = true
	return r
}

func (n *binary) evaluate(s *Store, g grid) result {
	l, r := n.left.evaluate(s, g), n.right.evaluate(s, g)
	out := result{constant: l.constant && r.constant, zero: l.zero && r.zero, groups: map[string]line{}}
	names := map[string]bool{}
	for _, side := range []result{l, r} {
		for group := range side.groups {
			if !side.constant || out.constant {
				names[group] = true
			}
		}
	}
	for group := range names {
		a, okA := l.at(group, g)
		b, okB := r.at(group, g)
		if !okA || !okB {
			continue
		}
		both := line{values: make([]float64, g.n), first: max(a.first, b.first), last: min(a.last, b.last)}
		if both.first >= both.last { // apart, though perhaps within one interval
			both.first, both.last = min(a.first, b.first), max(a.last, b.last)
		}
		for i := range both.values {
			both.values[i] = apply(n.op, a.values[i], b.values[i])
		}
		out.groups[group] = both
	}
	return out
}

// at returns a group; ok is false when the result has nothing for it.
func (r result) at(group string, g grid) (l line, ok bool) {
	if l, ok = r.groups[group]; ok {
		return l, true
	}
	switch {
	case r.constant:
		return r.groups["*"], true
	case r.zero:
		return g.filled(0), true
	}
	return line{}, false
}

// apply does one operation. NaN, no data, stays NaN, and a division by zero has no value.
func apply(op byte, a, b float64) float64 {
	switch op {
	case '+':
		return a + b
	case '-':
		return a - b
	case '*':
		return a * b
	}
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

// cell gathers the buckets of one interval of one group.
type cell struct {
	count, sum, min, max float64
	of                   []*bucket // for percentiles only
}

func (c *cell) take(b *bucket, percentile bool) {
	if c.count == 0 {
		c.min, c.max = b.min, b.max
	}
	c.count += b.count
	c.sum += b.sum
	c.min, c.max = min(c.min, b.min), max(c.max, b.max)
	if percentile {
		c.of = append(c.of, b)
	}
}

func (n *leaf) evaluate(s *Store, g grid) result {
	out := result{groups: map[string]line{}}
	fine := g
	if n.rollup > 0 {
		fine.from = floor(g.from, n.rollup)
		fine.width = n.rollup
		fine.n = int((g.end() - fine.from + n.rollup - 1) / n.rollup)
	}
	cells := map[string][]cell{}
	for _, sr := range s.metrics[n.metric] {
		group, ok := n.group(sr.tags)
		if !ok || !n.filter.matches(sr.tags) {
			continue
		}
		end := fine.end()
		first, _ := slices.BinarySearchFunc(sr.buckets, fine.from, func(b bucket, t int64) int { return int(b.start - t) })
		last := first
		for ; last < len(sr.buckets) && sr.buckets[last].start < end; last++ {
			row := cells[group]
			if row == nil {
				row = make([]cell, fine.n)
				cells[group] = row
			}
			b := &sr.buckets[last]
			row[(b.start-fine.from)/fine.width].take(b, n.quantile() > 0)
		}
		if first == last {
			continue
		}
		from, to := max(sr.buckets[first].start, g.from), min(sr.buckets[last-1].start+sr.buckets[last-1].width, g.end())
		if l, ok := out.groups[group]; ok {
			from, to = min(from, l.first), max(to, l.last)
		}
		out.groups[group] = line{first: from, last: to}
	}
	for group, row := range cells {
		values := make([]float64, fine.n)
		for i := range row {
			values[i] = n.value(s, &row[i])
		}
		if n.rollup > 0 {
			values = n.regroup(values, fine, g)
		}
		l := out.groups[group]
		l.values = values
		out.groups[group] = l
	}
	return out
}

// group returns the name of the group that a tag set belongs to; ok is false when a tag is missing.
func (n *leaf) group(tags []string) (name string, ok bool) {
	if len(n.by) == 0 {
		return "*", true
	}
	parts := make([]string, 0, len(n.by))
	for _, key := range n.by {
		i := slices.IndexFunc(tags, func(t string) bool {
			return len(t) > len(key) && t[len(key)] == ':' && strings.HasPrefix(t, key)
		})
		if i < 0 {
			return "", false
		}
		parts = append(parts, tags[i])
	}
	return strings.Join(parts, ","), true
}

func (n *leaf) value(s *Store, c *cell) float64 {
	if c.count == 0 {
		return math.NaN()
	}
	switch n.aggregator {
	case "sum":
		return c.sum
	case "avg":
		return c.sum / c.count
	case "min":
		return c.min
	case "max":
		return c.max
	case "count":
		return c.count
	}
	// A sketch knows the extremes only within its accuracy, the cell knows them exactly.
	return min(max(s.quantile(c.of, n.quantile()), c.min), c.max)
}

// regroup puts rolled-up points into the intervals that were asked for: a point belongs to the interval in which it starts.
func (n *leaf) regroup(points []float64, fine, g grid) []float64 {
	out := constant(math.NaN(), g.n)
	held := make([]int, g.n)
	for i, v := range points {
		start := fine.from + int64(i)*fine.width
		j := int((start - g.from) / g.width)
		if math.IsNaN(v) || start < g.from || j >= g.n {
			continue
		}
		held[j]++
		switch {
		case held[j] == 1:
			out[j] = v
		case n.aggregator == "sum" || n.aggregator == "count":
			out[j] += v
		case n.aggregator == "min":
			out[j] = min(out[j], v)
		case n.aggregator == "max":
			out[j] = max(out[j], v)
		default:
			out[j] += (v - out[j]) / float64(held[j])
		}
	}
	return out
}
