package monitor

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxParts is how many monitors a composite may combine, maxCompositeDepth how deep parentheses go.
	maxParts          = 10
	maxCompositeDepth = 32
)

// composite is a boolean expression over the states of other monitors: 1 && !(2 || 3).
//
// A status counts as true unless it is OK. As Datadog documents, && is the least severe of two, || the most severe, and !
// turns OK into Alert, No Data into itself, and all else into OK. When all monitors have one group there is one; else the
// groups are those that all monitors with groups have in common, by the values of their tags: a group of more tags goes
// with one of fewer when it has all values of it.
type composite struct {
	root *operation
	ids  []int64 // in the order of the text, each once
}

// operation is a monitor's id, or an operator: one operand for '!', two for '&' and '|'.
type operation struct {
	id    int64
	op    byte
	parts []*operation
}

func parseComposite(text string) (*composite, error) {
	p := &compositeParser{rest: text, composite: &composite{}}
	root, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.rest != "" {
		return nil, fmt.Errorf("composite: unexpected %.40q", p.rest)
	}
	p.root = root
	return p.composite, nil
}

type compositeParser struct {
	*composite
	rest string
}

func (p *compositeParser) accept(token string) bool {
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = strings.TrimLeft(rest, " \n\t")
	}
	return ok
}

func (p *compositeParser) or(depth int) (*operation, error) {
	return p.chain('|', "||", depth, func() (*operation, error) {
		return p.chain('&', "&&", depth, func() (*operation, error) { return p.operand(depth) })
	})
}

func (p *compositeParser) chain(op byte, token string, depth int, next func() (*operation, error)) (*operation, error) {
	if depth > maxCompositeDepth {
		return nil, fmt.Errorf("composite: nested deeper than %d", maxCompositeDepth)
	}
	left, err := next()
	for err == nil && p.accept(token) {
		var right *operation
		right, err = next()
		left = &operation{op: op, parts: []*operation{left, right}}
	}
	return left, err
}

func (p *compositeParser) operand(depth int) (*operation, error) {
	p.accept("") // space
	switch {
	case p.accept("!"):
		if depth++; depth > maxCompositeDepth {
			return nil, fmt.Errorf("composite: nested deeper than %d", maxCompositeDepth)
		}
		of, err := p.operand(depth)
		return &operation{op: '!', parts: []*operation{of}}, err
	case p.accept("("):
		o, err := p.or(depth + 1)
		if err == nil && !p.accept(")") {
			err = fmt.Errorf("composite: want ), have %.40q", p.rest)
		}
		return o, err
	}
	digits := len(p.rest) - len(strings.TrimLeft(p.rest, "0123456789"))
	id, err := strconv.ParseInt(p.rest[:digits], 10, 64)
	if err != nil || id == 0 {
		return nil, fmt.Errorf("composite: want the id of a monitor, ! or (, have %.40q", p.rest)
	}
	p.accept(p.rest[:digits])
	if !slices.Contains(p.ids, id) {
		if p.ids = append(p.ids, id); len(p.ids) > maxParts {
			return nil, fmt.Errorf("composite: more than %d monitors", maxParts)
		}
	}
	return &operation{id: id}, nil
}

// variables are the values of the parts, by the letters that Datadog gives them.
func (c *composite) variables() []string {
	out := make([]string, len(c.ids))
	for i := range c.ids {
		out[i] = string(rune('a'+i)) + ".value"
	}
	return out
}

// severity orders the statuses, as Datadog does for composites.
func severity(s Status) int { return slices.Index([]Status{OK, NoData, Warn, Alert}, s) }

func (o *operation) status(of map[int64]Status) Status {
	switch o.op {
	case '!':
		switch s := o.parts[0].status(of); s {
		case NoData:
			return NoData
		case OK:
			return Alert
		}
		return OK
	case '&', '|':
		a, b := o.parts[0].status(of), o.parts[1].status(of)
		if (severity(a) < severity(b)) == (o.op == '&') {
			return a
		}
		return b
	}
	return of[o.id]
}

// compositePart is one monitor of a composite as it stands.
type compositePart struct {
	id    int64
	state State
	// multi is set when the monitor has groups.
	multi bool
}

func (c *composite) read(data Data, now time.Time) []reading {
	parts := make([]compositePart, 0, len(c.ids))
	// widest is the monitor whose groups have the most tags: its groups are those of the composite.
	widest := -1
	dimensions := 0
	for _, id := range c.ids {
		m, state, ok := data.Monitor(id)
		if !ok {
			return nil
		}
		by := len(m.condition.by())
		parts = append(parts, compositePart{id: id, state: state, multi: by > 0})
		if by > dimensions {
			widest, dimensions = len(parts)-1, by
		}
	}
	if widest < 0 {
		if r, ok := c.combine(parts, nil, now); ok {
			return []reading{r}
		}
		return nil
	}
	var out []reading
	groups := parts[widest].state.Groups
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if r, ok := c.combine(parts, groups[name].Tags, now); ok {
			r.group, r.tags = name, groups[name].Tags
			out = append(out, r)
		}
	}
	return out
}

// combine judges one group; ok is false when not all monitors have it.
func (c *composite) combine(parts []compositePart, tags []string, now time.Time) (reading, bool) {
	r := reading{group: "*", value: math.NaN(), recovery: math.NaN(), first: now, last: now, values: map[string]float64{}}
	of := map[int64]Status{}
	names := c.variables()
	for i, p := range parts {
		g, ok := p.find(tags)
		if !ok {
			return r, false
		}
		of[p.id] = g.Status
		r.values[names[i]] = g.Value
	}
	r.status = c.root.status(of)
	return r, true
}

// find returns the group that goes with the tags. A monitor without groups, or that was never evaluated, goes with all.
func (p compositePart) find(tags []string) (Group, bool) {
	if !p.multi {
		if g, ok := p.state.Groups["*"]; ok {
			return g, true
		}
		return Group{Status: NoData, Value: math.NaN()}, true
	}
	for _, name := range slices.Sorted(maps.Keys(p.state.Groups)) {
		if g := p.state.Groups[name]; within(g.Tags, tags) {
			return g, true
		}
	}
	return Group{}, false
}

// within reports whether every value of some tags is a value of others, whatever their keys.
func within(tags, others []string) bool {
	value := func(tag string) string { _, v, _ := strings.Cut(tag, ":"); return v }
	return !slices.ContainsFunc(tags, func(t string) bool {
		return !slices.ContainsFunc(others, func(o string) bool { return value(o) == value(t) })
	})
}

// check holds that the monitors exist and are not composites, and that the message names only tags of their groups.
func (c *composite) check(data Data, named []string) error {
	var by []string
	for _, id := range c.ids {
		m, _, ok := data.Monitor(id)
		switch {
		case !ok:
			return fmt.Errorf("no monitor %d", id)
		case m.condition.composite != nil:
			return fmt.Errorf("monitor %d is a composite itself", id)
		}
		by = append(by, m.condition.by()...)
	}
	for _, key := range named {
		if !slices.Contains(by, key) {
			return errors.New("no monitor of the composite has groups by " + key)
		}
	}
	return nil
}
