package analysis

import (
	"fmt"
	"math"
	"strings"

	"github.com/llm-reliability/control-plane/shared/attribution"
)

// dimension is a way to cut the traffic.
type dimension struct {
	name string
	// tags group by it. The first one is the dimension; others come along.
	tags []string
}

// dimensions are in the order in which they win when they explain a change equally well: a caller can be asked.
func dimensions() []dimension {
	return []dimension{{"caller", []string{"caller"}}, {"endpoint", []string{"endpoint"}}, {"model", []string{"model", "provider"}}}
}

// cutting is the traffic of a window and of the time before it, cut by one dimension.
type cutting struct {
	dimension
	before, now []group
}

// measure is a ratio that may become abnormal. A higher one is worse.
type measure struct {
	name, unit string
	of         func(Totals) attribution.Reading
	// An anomaly is at least factor times what was before, and at least step more: a rate that was 0 has no factor.
	factor, step float64
}

// measures are what is looked at. The table is in the package comment.
func measures() []measure {
	return []measure{
		{"cost_per_request", "USD", func(t Totals) attribution.Reading { return attribution.Reading{Sum: t.USD, Count: t.Priced} }, 1.3, 0},
		{"mean_latency", "ms", func(t Totals) attribution.Reading { return attribution.Reading{Sum: t.Milliseconds, Count: t.Requests} }, 1.3, 20},
		{"error_rate", "fraction", func(t Totals) attribution.Reading { return attribution.Reading{Sum: t.Errors, Count: t.Requests} }, 1.5, 0.02},
		{"ungrounded_rate", "fraction", func(t Totals) attribution.Reading { return attribution.Reading{Sum: t.Ungrounded, Count: t.Judged} }, 1.5, 0.05},
	}
}

// fewest is the number of requests below which a ratio says nothing.
const fewest = 20

// Anomaly is a measure that is much worse than before, and where that comes from.
type Anomaly struct {
	Measure string  `json:"measure"`
	Unit    string  `json:"unit"`
	Before  float64 `json:"before"`
	Now     float64 `json:"now"`
	// Explanations are the dimensions that explain it, the best first; none when everything became worse alike.
	Explanations []attribution.Explanation `json:"explanations"`
	// Summary says the same as a sentence.
	Summary string `json:"summary"`
}

// anomalies compares every measure with the time before.
func anomalies(cuttings []cutting) []Anomaly {
	out := []Anomaly{}
	if len(cuttings) == 0 {
		return out
	}
	before, now := sum(cuttings[0].before), sum(cuttings[0].now)
	for _, m := range measures() {
		was, is := m.of(before), m.of(now)
		b, ok := was.Ratio()
		n, alsoOK := is.Ratio()
		if !ok || !alsoOK || was.Count < fewest || is.Count < fewest || n < b*m.factor || n < b+m.step || n <= b {
			continue
		}
		var cut []attribution.Dimension
		for _, c := range cuttings {
			cut = append(cut, attribution.Dimension{Name: c.name, Before: readings(c.before, m), Now: readings(c.now, m)})
		}
		a := Anomaly{Measure: m.name, Unit: m.unit, Before: digits(b), Now: digits(n), Explanations: tidy(attribution.Explain(cut))}
		a.Summary = a.sentence()
		out = append(out, a)
	}
	return out
}

// readings are those of one measure, by the value of the dimension.
func readings(groups []group, m measure) map[string]attribution.Reading {
	out := map[string]attribution.Reading{}
	for _, g := range groups {
		if len(g.tags) > 0 {
			r, o := m.of(g.Totals), out[g.tags[0]]
			out[g.tags[0]] = attribution.Reading{Sum: r.Sum + o.Sum, Count: r.Count + o.Count}
		}
	}
	return out
}

// tidy rounds what is shown, and makes an empty list of none.
func tidy(explanations []attribution.Explanation) []attribution.Explanation {
	out := []attribution.Explanation{}
	for _, e := range explanations {
		e.Share, e.Surprise = digits(e.Share), digits(e.Surprise)
		for i := range e.Elements {
			x := &e.Elements[i]
			x.Share = digits(x.Share)
			for _, v := range []*float64{x.Before, x.Now} {
				if v != nil {
					*v = digits(*v)
				}
			}
		}
		out = append(out, e)
	}
	return out
}

func (a Anomaly) sentence() string {
	s := fmt.Sprintf("%s went from %v to %v %s", strings.ReplaceAll(a.Measure, "_", " "), a.Before, a.Now, a.Unit)
	if len(a.Explanations) == 0 {
		return s + "; no caller, endpoint or model alone explains it."
	}
	e := a.Explanations[0]
	names := make([]string, len(e.Elements))
	for i, x := range e.Elements {
		names[i] = x.Value
	}
	return fmt.Sprintf("%s; the %s %s explains %.0f %% of it.", s, e.Dimension, strings.Join(names, ", "), 100*e.Share)
}

// digits rounds to six significant digits.
func digits(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow10(5 - int(math.Floor(math.Log10(math.Abs(v)))))
	if rounded := math.Round(v*scale) / scale; !math.IsNaN(rounded) && !math.IsInf(rounded, 0) {
		return rounded
	}
	return v
}
