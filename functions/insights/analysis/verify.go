package analysis

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
)

// Verdict says whether a remediation helped.
type Verdict string

// The verdicts.
const (
	Better  Verdict = "better"
	Unclear Verdict = "unclear"
	Worse   Verdict = "worse"
)

// Verification compares the traffic of an override's scope before it with the traffic under it.
type Verification struct {
	ID     string         `json:"id"`
	Action control.Action `json:"action"`
	Scope  control.Scope  `json:"scope"`
	Start  time.Time      `json:"start"`
	Until  time.Time      `json:"until"`
	// Monitor is what asked for it; empty for an operator.
	Monitor string `json:"monitor,omitempty"`
	// Measure is what the action is there to improve; Before and Now are its values, absent where there was no traffic.
	Measure string   `json:"measure"`
	Before  *float64 `json:"before,omitempty"`
	Now     *float64 `json:"now,omitempty"`
	Verdict Verdict  `json:"verdict"`
	// Why says how the verdict came about.
	Why string `json:"why"`
}

const (
	// longest is how much time is looked at before and after the start of an override.
	longest = 15 * time.Minute
	// settle is the part of that after the start in which instances still learn of it.
	settle = 0.1
	// change is the part of a mean by which it must change to be better or worse.
	change = 0.10
	// deviations is how many standard errors a rate must change by.
	deviations = 1.96
)

// aim is the measure that an override is there to improve; ok is false for one that improves none.
func aim(o control.Override) (name string, ok bool) {
	switch {
	case o.Action == control.SwitchModel && o.Params.Model == "quality", o.Action == control.Route && o.Params.Strategy == "quality":
		return "ungrounded_rate", true
	case o.Action == control.SwitchModel, o.Action == control.Limit, o.Action == control.Route && o.Params.Strategy == "cost":
		return "cost_per_request", true
	case o.Action == control.EnableCache, o.Action == control.Route:
		return "mean_latency", true
	case o.Action == control.Failover:
		return "error_rate", true
	}
	return "", false
}

// verify reads the traffic before and under an override.
func (a *Analyst) verify(ctx context.Context, o control.Override, now time.Time) (Verification, error) {
	name, _ := aim(o)
	v := Verification{ID: o.ID, Action: o.Action, Scope: o.Scope, Start: o.Start, Until: o.Until(), Monitor: o.Source.Monitor, Measure: name}
	end := now
	if v.Until.Before(end) {
		end = v.Until
	}
	took := min(end.Sub(o.Start), longest)
	from := o.Start.Add(time.Duration(float64(took) * settle))
	if took <= 0 || !from.Before(o.Start.Add(took)) {
		v.Verdict, v.Why = Unclear, "it has only just begun"
		return v, nil
	}
	scope := within(a.opts.Scope, o.Scope)
	before, err := a.whole(ctx, scope, o.Start.Add(-took), o.Start)
	if err != nil {
		return v, err
	}
	after, err := a.whole(ctx, scope, from, o.Start.Add(took))
	if err != nil {
		return v, err
	}
	v.judge(before, after)
	return v, nil
}

// judge compares. A remediation that helps its measure and makes errors or unsupported answers more frequent is worse.
func (v *Verification) judge(before, after Totals) {
	v.Verdict = Unclear
	for _, m := range measures() {
		c := compare(m, before, after)
		switch {
		case m.name == v.Measure:
			v.Before, v.Now = c.before, c.now
			v.Verdict, v.Why = c.verdict, c.why
		case c.verdict == Worse && m.unit == "fraction":
			v.Verdict, v.Why = Worse, strings.ReplaceAll(m.name, "_", " ")+" became worse: "+c.why
			return
		}
	}
}

// comparison is that of one measure.
type comparison struct {
	before, now *float64
	verdict     Verdict
	why         string
}

// compare says of a mean that it changed when it did by a tenth, and of a rate when the two differ by a z-test of proportions:
//
//	z = (q − p) / √( r (1 − r) (1/m + 1/n) ),  r = (p m + q n) / (m + n)
func compare(m measure, before, after Totals) (c comparison) {
	was, is := m.of(before), m.of(after)
	c.verdict = Unclear
	p, ok := was.Ratio()
	if ok {
		c.before = shown(p)
	}
	q, alsoOK := is.Ratio()
	if alsoOK {
		c.now = shown(q)
	}
	if !ok || !alsoOK || was.Count < fewest || is.Count < fewest {
		c.why = fmt.Sprintf("too little traffic: %.0f requests before, %.0f since, and %d are needed of each", was.Count, is.Count, fewest)
		return c
	}
	c.why = fmt.Sprintf("%v before, %v since, over %.0f and %.0f requests", *c.before, *c.now, was.Count, is.Count)
	var by float64 // above 1 is worse, below -1 is better
	if m.unit == "fraction" {
		r := min(1, (was.Sum+is.Sum)/(was.Count+is.Count))
		if spread := math.Sqrt(r * (1 - r) * (1/was.Count + 1/is.Count)); spread > 0 {
			by = (q - p) / spread / deviations
		}
	} else if p > 0 {
		by = (q - p) / p / change
	}
	switch {
	case by >= 1:
		c.verdict = Worse
	case by <= -1:
		c.verdict = Better
	}
	return c
}

func shown(v float64) *float64 {
	v = digits(v)
	return &v
}

// within narrows the scope of a query to that of an override.
func within(scope string, s control.Scope) string {
	for _, t := range []struct{ tag, value string }{{"function", s.Function}, {"endpoint", s.Endpoint}, {"caller", s.Caller}} {
		if t.value != "" {
			scope += "," + t.tag + ":" + t.value
		}
	}
	return scope
}
