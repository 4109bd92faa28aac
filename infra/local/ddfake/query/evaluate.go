package query

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
)

// aggregators are those of MetricsAggregator.
var aggregators = []string{"avg", "min", "max", "sum", "last", "percentile", "mean", "l2norm", "area"}

// everything is the group of a query without groups.
const everything = "*"

// table is what a query or formula comes to: by group, one value for each interval, or one alone. NaN is no data.
type table map[string][]float64

// window is a span of the store's time, in intervals of equal width.
type window struct {
	from, to time.Time
	interval time.Duration
	// scale is how much of the store's time is one unit of the caller's.
	scale float64
}

// maxWindow bounds the store's time that one request may ask about.
const maxWindow = 100 * 24 * time.Hour

// windowOf translates a span of the caller's time. Least is the least interval that the caller wants, in its time.
func (a api) windowOf(from, to time.Time, least time.Duration) (window, error) {
	w := window{from: a.opts.ToStandIn(from).Truncate(time.Second), to: a.opts.ToStandIn(to).Truncate(time.Second)}
	if !w.to.After(w.from) {
		w.to = w.from.Add(time.Second)
	}
	if w.to.Sub(w.from) > maxWindow {
		return window{}, fmt.Errorf("the window is longer than %d days", maxWindow/(24*time.Hour))
	}
	w.scale = float64(w.to.Sub(w.from)) / float64(to.Sub(from))
	if wanted := float64(least) * w.scale; wanted < float64(maxWindow) {
		w.interval = time.Duration(wanted).Truncate(time.Second)
	} else {
		w.interval = maxWindow
	}
	w.interval = max(w.interval, interval(w.to.Sub(w.from)))
	return w, nil
}

// interval is the width of an interval in a window of the given length.
func interval(length time.Duration) time.Duration {
	for _, row := range []struct{ length, interval time.Duration }{
		{time.Hour, 20 * time.Second}, {4 * time.Hour, time.Minute}, {24 * time.Hour, 5 * time.Minute},
		{48 * time.Hour, 10 * time.Minute}, {7 * 24 * time.Hour, time.Hour}, {31 * 24 * time.Hour, 4 * time.Hour},
	} {
		if length <= row.length {
			return row.interval
		}
	}
	const points = 1500
	day := 24 * time.Hour
	return max(day, (length/points + day - 1).Truncate(day))
}

// series evaluates a query to one value for each interval.
func (a api) series(q metric.Query, w window) table {
	t := table{}
	for _, s := range a.opts.Metrics.Series(q, w.from, w.to, w.interval) {
		t[s.Group] = s.Values
	}
	return t
}

// reduced evaluates a query to one value. A percentile is that of the whole window, not a mean of percentiles.
func (a api) reduced(q query, w window) table {
	if q.Aggregator == "percentile" {
		w.interval = w.to.Sub(w.from)
	}
	t := a.series(q.parsed, w)
	for group, values := range t {
		t[group] = []float64{reduce(q.Aggregator, values, w.interval)}
	}
	return t
}

func reduce(aggregator string, values []float64, width time.Duration) float64 {
	known := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(known) == 0 {
		return math.NaN()
	}
	sum, squares := 0.0, 0.0
	for _, v := range known {
		sum += v
		squares += v * v
	}
	switch aggregator {
	case "min":
		return slices.Min(known)
	case "max":
		return slices.Max(known)
	case "sum":
		return sum
	case "last", "percentile":
		return known[len(known)-1]
	case "l2norm":
		return math.Sqrt(squares)
	case "area":
		return sum * width.Seconds()
	}
	return sum / float64(len(known)) // avg and mean
}

// column is one formula or query of an answer.
type column struct {
	name   string
	values table
}

// columns evaluates the formulas, or the queries where there are none. n is how many values a group has.
func (a *attributes) columns(evaluated []table, n int) []column {
	byName := map[string]table{}
	for i, q := range a.Queries {
		byName[q.Name] = evaluated[i]
	}
	var out []column
	for _, f := range a.Formulas {
		out = append(out, column{f.Formula, f.parsed.over(byName, n)})
	}
	if len(out) == 0 {
		for i, q := range a.Queries {
			out = append(out, column{q.Name, evaluated[i]})
		}
	}
	return out
}

// groups are those of all columns, in the order of their names, or in that of the formula with a limit.
func (a *attributes) groups(columns []column) []string {
	var names []string
	for _, c := range columns {
		for group := range c.values {
			if !slices.Contains(names, group) {
				names = append(names, group)
			}
		}
	}
	slices.Sort(names)
	for i, f := range a.Formulas {
		if f.Limit == nil {
			continue
		}
		at := func(group string) float64 {
			if v := columns[i].values[group]; len(v) > 0 {
				return v[0]
			}
			return math.NaN()
		}
		slices.SortStableFunc(names, func(x, y string) int {
			u, v := at(x), at(y)
			switch {
			case math.IsNaN(u) || math.IsNaN(v): // what has no value comes last
				return cmp.Compare(b2i(math.IsNaN(u)), b2i(math.IsNaN(v)))
			case f.Limit.Order == "asc":
				return cmp.Compare(u, v)
			}
			return cmp.Compare(v, u)
		})
		if count := int(f.Limit.Count); count > 0 && count < len(names) {
			names = names[:count]
		}
	}
	return names
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// tags are the tags of a group; none for everything.
func tags(group string) []string {
	if group == everything {
		return []string{}
	}
	return strings.Split(group, ",")
}
