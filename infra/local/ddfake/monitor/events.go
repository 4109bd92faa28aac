package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// The sources that can be searched, by the word that begins the query.
const (
	SourceLogs   = "logs"
	SourceEvents = "events"
	SourceSpans  = "trace-analytics"
	SourceLLM    = "llm-observability"
)

const (
	// maxFacets and maxGroups are Datadog's bounds of "by". Above the latter, the groups with the highest values count.
	maxFacets = 4
	maxGroups = 1000
	// retention is how long a group without data is remembered, unless group_retention_duration says otherwise.
	retention = 24 * time.Hour
)

// events is the condition of a monitor on logs, events, spans or LLM spans. All have one form:
//
//	source("search").index("*").rollup("method"[, "facet"]).by("facet,…").last("5m")
//
// with index for logs and spans only. An event with several values of a facet counts in each of their groups, and one
// without the facet in none. A window holds the events from its start, inclusive, to its end.
type events struct {
	source  string
	search  search.Query
	method  string
	measure string // the facet that is measured or counted by its values; empty for count
	by      []string
	// missing is on_missing_data.
	missing string
}

// call is one part of a query, such as rollup("count").
type call struct {
	name string
	args []string
}

func isEvents(text string) bool {
	name, _, ok := strings.Cut(text, "(")
	return ok && slices.Contains([]string{SourceLogs, SourceEvents, SourceSpans, SourceLLM}, strings.TrimSpace(name))
}

// kind is the type of the monitor.
func (e *events) kind() string {
	return map[string]string{
		SourceLogs: "log alert", SourceEvents: "event-v2 alert", SourceSpans: "trace-analytics alert", SourceLLM: "llm-observability alert",
	}[e.source]
}

func parseEvents(text string) (*events, time.Duration, error) {
	calls, err := parseCalls(text)
	if err != nil {
		return nil, 0, err
	}
	e := &events{source: calls[0].name}
	if len(calls[0].args) != 1 {
		return nil, 0, fmt.Errorf(`want %s("search")`, e.source)
	}
	if e.search, err = search.Parse(calls[0].args[0]); err != nil {
		return nil, 0, err
	}
	var window time.Duration
	seen := map[string]bool{}
	for i, c := range calls[1:] {
		if seen[c.name] {
			return nil, 0, fmt.Errorf("%s twice", c.name)
		}
		seen[c.name] = true
		switch c.name {
		case "index":
			if e.source != SourceLogs && e.source != SourceSpans {
				return nil, 0, fmt.Errorf("%s has no index", e.source)
			}
			if len(c.args) == 0 || slices.Contains(c.args, "") {
				return nil, 0, errors.New("index() needs a name or *")
			}
		case "rollup":
			err = e.setRollup(c.args)
		case "by":
			err = e.setBy(c.args)
		case "last":
			if i != len(calls)-2 || len(c.args) != 1 {
				return nil, 0, errors.New(`want last("5m") at the end`)
			}
			if window, err = parseWindow("last_" + c.args[0]); err == nil && window > 48*time.Hour {
				err = fmt.Errorf("last: %s is above 48h", c.args[0])
			}
		default:
			err = fmt.Errorf("%s() is unknown", c.name)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	for _, name := range []string{"rollup", "last"} {
		if !seen[name] {
			return nil, 0, fmt.Errorf("want %s()", name)
		}
	}
	if !seen["index"] && (e.source == SourceLogs || e.source == SourceSpans) {
		return nil, 0, fmt.Errorf(`%s needs index("*")`, e.source)
	}
	return e, window, nil
}

func (e *events) setRollup(args []string) error {
	if len(args) == 0 {
		return errors.New("rollup() needs a method")
	}
	e.method = args[0]
	switch {
	case e.method == "count":
		if len(args) > 1 {
			return errors.New("rollup: count takes no facet")
		}
	case e.method != "cardinality" && !slices.Contains([]string{"avg", "sum", "min", "max", "median"}, e.method) && quantile(e.method) == 0:
		return fmt.Errorf("rollup: method %q is unknown", e.method)
	case len(args) != 2 || !isFacet(args[1]):
		return fmt.Errorf("rollup: %s needs one facet such as @duration", e.method)
	default:
		e.measure = args[1]
	}
	return nil
}

func (e *events) setBy(args []string) error {
	for _, arg := range args {
		for facet := range strings.SplitSeq(arg, ",") {
			facet = strings.TrimSpace(facet)
			if !isFacet(facet) {
				return fmt.Errorf("by: %q is no facet", facet)
			}
			if slices.Contains(e.by, facet) {
				return fmt.Errorf("by: %s twice", facet)
			}
			e.by = append(e.by, facet)
		}
	}
	if n := len(e.by); n == 0 || n > maxFacets {
		return fmt.Errorf("by: %d facets, want 1 to %d", n, maxFacets)
	}
	return nil
}

func isFacet(s string) bool {
	s = strings.TrimPrefix(s, "@")
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/") == ""
}

// quantile returns the quantile of a method such as pc95, or 0.
func quantile(method string) float64 {
	return map[string]float64{"pc75": 0.75, "pc90": 0.9, "pc95": 0.95, "pc98": 0.98, "pc99": 0.99}[method]
}

// parseCalls reads name("text", …).name(…)…; at least one call is returned. A quote and a backslash inside a text stand behind
// a backslash; before anything else a backslash is the search's own.
func parseCalls(text string) ([]call, error) {
	var out []call
	for {
		open := strings.IndexByte(text, '(')
		if open <= 0 {
			return nil, fmt.Errorf("want name(…), have %.40q", text)
		}
		c := call{name: strings.TrimSpace(text[:open])}
		text = strings.TrimLeft(text[open+1:], " ")
		for !strings.HasPrefix(text, ")") {
			arg, rest, err := parseText(text)
			if err != nil {
				return nil, fmt.Errorf("%s(): %w", c.name, err)
			}
			c.args = append(c.args, arg)
			text = strings.TrimLeft(rest, " ")
			if rest, ok := strings.CutPrefix(text, ","); ok {
				text = strings.TrimLeft(rest, " ")
				if strings.HasPrefix(text, ")") {
					return nil, fmt.Errorf("%s(): nothing after the comma", c.name)
				}
			} else if !strings.HasPrefix(text, ")") {
				return nil, fmt.Errorf("%s(): want , or ), have %.40q", c.name, text)
			}
		}
		out = append(out, c)
		text = text[1:]
		if text == "" {
			return out, nil
		}
		rest, ok := strings.CutPrefix(text, ".")
		if !ok {
			return nil, fmt.Errorf("unexpected %.40q after %s()", text, c.name)
		}
		text = rest
	}
}

func parseText(text string) (value, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		return "", "", fmt.Errorf("want a text in quotes, have %.40q", text)
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], nil
		case c == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a text that does not end")
}

// tally gathers the events of one group.
type tally struct {
	reading
	count    int
	distinct map[string]bool
	numbers  []float64
}

func (e *events) read(data Data, now time.Time, window time.Duration) []reading {
	groups := map[string]*tally{}
	matched := false
	for _, ev := range data.Events(e.source, now.Add(-window), now) {
		if ev.Timestamp.Before(now.Add(-window)) || !ev.Timestamp.Before(now) || !e.search.Match(ev) {
			continue
		}
		matched = true
		for _, tags := range e.groups(ev) {
			name := strings.Join(tags, ",")
			if len(e.by) == 0 {
				name = "*"
			}
			t := groups[name]
			if t == nil {
				t = &tally{reading: reading{group: name, tags: tags}, distinct: map[string]bool{}}
				groups[name] = t
			}
			e.take(t, ev)
		}
	}
	out := make([]reading, 0, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		t := groups[name]
		t.value = e.value(t)
		t.recovery = t.value
		out = append(out, t.reading)
	}
	if len(out) > maxGroups {
		slices.SortStableFunc(out, func(a, b reading) int { return cmp.Compare(b.value, a.value) })
		out = out[:maxGroups]
	}
	if len(e.by) == 0 && !matched {
		out = append(out, e.absent("*", false))
	}
	return out
}

// absent is the reading of a group without events. Where silence is zero, it is so for a count only; and a group that just is
// not there, while others are, is no alert of a count that is too low: that is for events which are there but too few.
func (e *events) absent(group string, others bool) reading {
	r := reading{group: group, value: math.NaN()}
	if e.method == "count" && e.missing == "" {
		r.value = 0
		if others {
			r.status = OK
		}
	}
	r.recovery = r.value
	return r
}

// groups returns the tags of each group that an event belongs to; without facets that is one group without tags.
func (e *events) groups(ev search.Event) [][]string {
	out := [][]string{nil}
	for _, facet := range e.by {
		values, _ := ev.Facet(facet)
		next := make([][]string, 0, len(out)*len(values))
		for _, tags := range out {
			for _, v := range values {
				next = append(next, append(slices.Clone(tags), facet+":"+v))
			}
		}
		if out = next; len(out) > maxGroups {
			out = out[:maxGroups]
		}
	}
	return out
}

func (e *events) take(t *tally, ev search.Event) {
	t.count++
	if t.first.IsZero() || ev.Timestamp.Before(t.first) {
		t.first = ev.Timestamp
	}
	if t.sample == nil || !ev.Timestamp.Before(t.last) {
		t.last, t.sample = ev.Timestamp, &ev
	}
	if e.measure == "" {
		return
	}
	values, _ := ev.Facet(e.measure)
	for _, v := range values {
		t.distinct[v] = true
		if n, err := strconv.ParseFloat(v, 64); err == nil && n-n == 0 {
			t.numbers = append(t.numbers, n)
		}
	}
}

// value is that of a group, or NaN when none of its events has the measure.
func (e *events) value(t *tally) float64 {
	switch {
	case e.method == "count":
		return float64(t.count)
	case e.method == "cardinality":
		return float64(len(t.distinct))
	case e.method == "median":
		return median(t.numbers)
	case quantile(e.method) > 0 && len(t.numbers) > 0:
		slices.Sort(t.numbers)
		return t.numbers[int(math.Ceil(quantile(e.method)*float64(len(t.numbers))))-1]
	}
	return aggregate(e.method, t.numbers)
}
