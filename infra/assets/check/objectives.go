package check

import (
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
)

// checkSLO holds the documented rules of an SLO.
func checkSLO(c *checker, d *doc) {
	frames := map[string]float64{}
	for _, t := range d.body.key("thresholds").items() {
		frame := t.key("timeframe")
		target, ok := t.key("target").number()
		if !ok || target <= 0 || target >= 100 {
			c.bad(d, t.key("target"), "the target is in percent, above 0 and below 100")
		}
		if warning, ok := t.key("warning").number(); ok && (warning <= target || warning >= 100) {
			c.bad(d, t.key("warning"), "the warning at %v is not above the target of %v", warning, target)
		}
		if _, twice := frames[frame.text()]; twice {
			c.bad(d, frame, "there are two thresholds for %s", frame.text())
		}
		frames[frame.text()] = target
	}
	if at := d.body.key("timeframe"); at.exists() {
		target, ok := frames[at.text()]
		if !ok {
			c.bad(d, at, "the main timeframe %q has no threshold", at.text())
		} else if got, ok := d.body.key("target_threshold").number(); ok && got != target {
			c.bad(d, d.body.key("target_threshold"), "it is %v, but the threshold for %s has the target %v", got, at.text(), target)
		}
	}
	slice := d.body.key("sli_specification", "time_slice")
	count := d.body.key("sli_specification", "count")
	switch kind := d.body.key("type").text(); {
	case kind == "time_slice" && slice.exists():
		c.sliQueries(d, slice.key("query"), slice.key("query", "formulas").index(0).key("formula"))
		if bound, ok := slice.key("threshold").number(); ok {
			for _, q := range slice.key("query", "queries").items() {
				c.unitOf(d, slice.key("threshold"), q.key("query").text(), bound)
			}
		}
	case kind == "metric" && count.exists():
		good, total, bad := count.key("good_events_formula"), count.key("total_events_formula"), count.key("bad_events_formula")
		if total.exists() == bad.exists() {
			c.bad(d, count, "a count needs good events, and either bad events or all events")
		}
		for _, formula := range []node{good, total, bad} {
			if formula.exists() {
				c.sliQueries(d, count, formula.key("formula"))
			}
		}
		for _, q := range count.key("queries").items() {
			c.counted(d, q.key("query"))
		}
	case kind == "metric" && d.body.key("query").exists():
		for _, key := range []string{"numerator", "denominator"} {
			at := d.body.key("query", key)
			c.metricQuery(d, at, at.text(), nil)
			c.counted(d, at)
		}
	default:
		c.bad(d, d.body.key("type"), "the type %q does not go with what is measured", kind)
	}
}

// sliQueries checks queries, and that a formula names only these.
func (c *checker) sliQueries(d *doc, of, formula node) {
	var names []string
	for _, q := range of.key("queries").items() {
		names = append(names, q.key("name").text())
		c.metricQuery(d, q.key("query"), q.key("query").text(), nil)
	}
	c.formula(d, formula, names)
}

// counted holds that a query of events counts them: the sum of a distribution is not a number of events otherwise.
func (c *checker) counted(d *doc, at node) {
	if !strings.Contains(at.text(), ".as_count()") {
		c.bad(d, at, "events are counted with .as_count()")
	}
}

// formula holds that a formula names queries that exist, and functions that Datadog has.
func (c *checker) formula(d *doc, at node, queries []string) {
	for _, m := range word.FindAllStringSubmatch(at.text(), -1) {
		switch {
		case m[2] == "(" && !slices.Contains(functions, m[1]):
			c.bad(d, at, "the formula calls %s(), which is no function that is known here", m[1])
		case m[2] == "" && !slices.Contains(queries, m[1]):
			c.bad(d, at, "the formula names %s, but the queries are %s", m[1], strings.Join(queries, ", "))
		}
	}
}

// functions are those of Datadog's page "Functions" that formulas here may call.
var functions = []string{
	"abs", "anomalies", "autosmooth", "clamp_max", "clamp_min", "count_nonzero", "count_not_null", "cumsum", "cutoff_max", "cutoff_min", "day_before",
	"default_zero", "derivative", "diff", "dt", "ewma_10", "ewma_20", "ewma_3", "ewma_5", "ewma_7", "exclude_null", "fill", "forecast", "hour_before", "integral", "log10",
	"log2", "median_3", "median_5", "median_7", "median_9", "month_before", "monotonic_diff", "moving_rollup", "outliers", "per_hour", "per_minute",
	"per_second", "piecewise_constant", "robust_trend", "throughput", "timeshift", "top", "trend_line", "week_before",
}

func (c *checker) unitOf(d *doc, at node, query string, bound float64) {
	if q, err := parseMetric(query); err == nil {
		c.inUnit(d, at, q, bound)
	}
}

// parseSLO lets the stand-in's evaluator read the SLO.
func parseSLO(c *checker, d *doc) {
	if _, err := slo.Parse("id", d.full); err != nil {
		c.unless(d, "", err.Error())
	}
}
