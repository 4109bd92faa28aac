package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// flush is the interval of the agent. Windows end at its multiples, so that no half-filled bucket is judged.
const flush = 10 * time.Second

// condition is the parsed query of a monitor. At most one of the pointers is set; without any it is a threshold on a metric.
type condition struct {
	aggregator string // avg, sum, min, max or percentile
	window     time.Duration
	query      metric.Query
	operator   string
	threshold  float64
	// simple makes one alert of all groups: that of the worst.
	simple bool

	change    *change
	anomaly   *anomaly
	objective *objective
	events    *events
	composite *composite
}

// change compares the points of the window with those of some time before.
type change struct {
	percent bool
	shift   time.Duration
}

var (
	comparison = regexp.MustCompile(`^(?s:(.*\S))\s*(>=|<=|==|!=|>|<)\s*(-?[0-9]+(?:\.[0-9]+)?)\s*$`)
	metricForm = regexp.MustCompile(`^(?s:\s*([a-z_]+)\((last_[0-9]+[a-z])\)\s*:\s*(.*))$`)
	changeForm = regexp.MustCompile(`^(?s:(change|pct_change)\(\s*(avg|sum|min|max)\((last_[0-9]+[a-z])\)\s*,\s*(?:last_([0-9]+[mhd])|([0-9]+[mhd])_ago)\s*\)\s*:\s*(.*))$`)
	anomalies  = regexp.MustCompile(`^(?s:anomalies\((.*\S)\s*,\s*'([a-z]+)'\s*,\s*([0-9]+(?:\.[0-9]+)?)\s*((?:,\s*[a-z_]+\s*=\s*(?:'[^']*'|[0-9]+)\s*)*)\)\s*)$`)
	argument   = regexp.MustCompile(`,\s*([a-z_]+)\s*=\s*(?:'([^']*)'|([0-9]+))`)
)

// parseCondition reads the query of a monitor of a type.
func parseCondition(kind, text string) (c condition, err error) {
	if kind == "composite" {
		c.composite, err = parseComposite(text)
		return c, err
	}
	parts := comparison.FindStringSubmatch(text)
	if parts == nil {
		return condition{}, errors.New("want an expression, an operator of > >= < <= == !=, and a number")
	}
	c.operator = parts[2]
	if c.threshold, err = strconv.ParseFloat(parts[3], 64); err != nil {
		return condition{}, fmt.Errorf("threshold: %w", err)
	}
	expression := strings.TrimSpace(parts[1])
	switch {
	case strings.HasPrefix(expression, "burn_rate"), strings.HasPrefix(expression, "error_budget"):
		c, err = c.withObjective(expression)
	case isEvents(expression):
		c.events, c.window, err = parseEvents(expression)
	default:
		c, err = c.withMetric(expression)
	}
	if err != nil {
		return c, err
	}
	if !slices.Contains(c.kinds(), kind) {
		return c, fmt.Errorf("type %q does not fit the query", kind)
	}
	return c, nil
}

// kinds are the types of monitors that the condition can have.
func (c condition) kinds() []string {
	switch {
	case c.objective != nil:
		return []string{"slo alert"}
	case c.events != nil:
		return []string{c.events.kind()}
	}
	return []string{"query alert", "metric alert"}
}

func (c condition) withMetric(expression string) (condition, error) {
	m := metricForm.FindStringSubmatch(expression)
	if m == nil {
		if m = changeForm.FindStringSubmatch(expression); m != nil {
			return c.withChange(m)
		}
		return c, fmt.Errorf("want aggregator(last_5m):query, have %q", expression)
	}
	c.aggregator = m[1]
	if !slices.Contains([]string{"avg", "sum", "min", "max", "percentile"}, c.aggregator) {
		return c, fmt.Errorf("time aggregator %s: %w", c.aggregator, ErrNotEvaluated)
	}
	var err error
	if c.window, err = parseWindow(m[2]); err != nil {
		return c, err
	}
	body := strings.TrimSpace(m[3])
	if strings.HasPrefix(body, "anomalies(") {
		return c.withAnomaly(body)
	}
	if c.query, err = metric.Parse(body); err != nil {
		return c, err
	}
	switch {
	case c.aggregator == "percentile" && !c.query.Percentile():
		return c, errors.New("percentile() needs one percentile query such as p95:…")
	case c.counts() && c.aggregator != "sum":
		return c, fmt.Errorf("arithmetic with as_count needs sum(), have %s()", c.aggregator)
	}
	return c, nil
}

func (c condition) withChange(m []string) (condition, error) {
	c.change, c.aggregator = &change{percent: m[1] == "pct_change"}, m[2]
	var err error
	if c.window, err = parseWindow(m[3]); err != nil {
		return c, err
	}
	shift := m[4] + m[5]
	if c.change.shift, err = parseWindow("last_" + shift); err != nil {
		return c, err
	}
	switch {
	case c.window > 48*time.Hour:
		return c, fmt.Errorf("%s: window %v is above 48h", m[1], c.window)
	case !slices.Contains([]string{"5m", "10m", "15m", "30m", "1h", "2h", "4h", "1d"}, shift):
		return c, fmt.Errorf("%s: a shift of %s is not one of 5m, 10m, 15m, 30m, 1h, 2h, 4h and 1d", m[1], shift)
	}
	if c.query, err = metric.Parse(m[6]); err != nil {
		return c, err
	}
	if c.counts() {
		return c, fmt.Errorf("%s of arithmetic with as_count: %w", m[1], ErrNotEvaluated)
	}
	return c, nil
}

// counts reports whether the documented order for counts holds: time is aggregated before arithmetic, so that a ratio is the
// ratio of the sums (https://docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/).
func (c condition) counts() bool { return c.query.AsCount() && c.query.Arithmetic() }

func (c condition) above() bool { return c.operator == ">" || c.operator == ">=" }

// sided reports whether one side of the threshold alerts, so that there are thresholds before and after it.
func (c condition) sided() bool { return c.operator != "==" && c.operator != "!=" }

// by are the keys of the groups that alert on their own.
func (c condition) by() []string {
	switch {
	case c.simple:
		return nil
	case c.events != nil:
		return c.events.by
	}
	return c.query.By()
}

// crossed reports whether a value is on the alerting side of a bound.
func (c condition) crossed(v, bound float64) bool {
	switch c.operator {
	case ">":
		return v > bound
	case ">=":
		return v >= bound
	case "<":
		return v < bound
	case "<=":
		return v <= bound
	case "==":
		return v == bound
	}
	return v != bound
}

// recovered reports whether a value has come back to a recovery threshold. The bound itself counts, or a recovery at 0 of
// an anomaly could never happen.
func (c condition) recovered(v, bound float64) bool {
	if c.above() {
		return v <= bound
	}
	return v >= bound
}

// parseWindow reads last_5m, last_4h, last_1d or last_1w.
func parseWindow(s string) (time.Duration, error) {
	text, ok := strings.CutPrefix(s, "last_")
	if !ok || len(text) < 2 {
		return 0, fmt.Errorf("window %q is not like last_5m", s)
	}
	units := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}
	unit := units[text[len(text)-1]]
	n, err := strconv.Atoi(text[:len(text)-1])
	if err != nil || unit == 0 || n < 1 || n > 10080 || time.Duration(n)*unit > 7*24*time.Hour {
		return 0, fmt.Errorf("window %q is not between last_1m and last_1w", s)
	}
	return time.Duration(n) * unit, nil
}

// reading is the value of one group at one evaluation.
type reading struct {
	group string
	tags  []string
	value float64 // NaN for no verdict
	// recovery is the value that a recovery is judged by; only an anomaly with two windows has another one.
	recovery float64
	// first is the start of the group's earliest data in the window; last the end of its latest. Zero for none.
	first, last time.Time
	// values are what the message can name besides the value, sample is the latest event of the group.
	values map[string]float64
	sample *search.Event
	// status is that of a composite, which has no value.
	status Status
}

// read evaluates the condition for every group.
func (c condition) read(data Data, now time.Time) []reading {
	readings := c.readGroups(data, now)
	switch {
	case !c.simple:
		return readings
	case len(readings) == 0 && c.events != nil:
		return []reading{c.events.absent("*", false)}
	case len(readings) == 0:
		return nil
	}
	worst := slices.MaxFunc(readings, func(a, b reading) int { return c.compare(a.value, b.value) })
	worst.group, worst.tags = "*", nil
	return []reading{worst}
}

// compare orders two values: the one that is nearer to an alert is the greater one, and no value is the least.
func (c condition) compare(a, b float64) int {
	switch {
	case math.IsNaN(a) || math.IsNaN(b):
		return cmp.Compare(a, b)
	case c.above():
		return cmp.Compare(a, b)
	case c.sided():
		return cmp.Compare(b, a)
	case c.crossed(a, c.threshold) == c.crossed(b, c.threshold):
		return 0
	case c.crossed(a, c.threshold):
		return 1
	}
	return -1
}

func (c condition) readGroups(data Data, now time.Time) []reading {
	switch {
	case c.composite != nil:
		return c.composite.read(data, now)
	case c.objective != nil:
		return c.objective.read(data, now)
	case c.events != nil:
		return c.events.read(data, now, c.window)
	case c.anomaly != nil:
		return c.anomaly.read(data, now, c.window)
	}
	to := now.Truncate(flush)
	before := c.before(data, to)
	var out []reading
	for _, sr := range data.Series(c.query, to.Add(-c.window), to, c.interval()) {
		if c.change != nil {
			sr.Values = c.change.points(before[sr.Group], sr.Values)
		}
		r := reading{group: sr.Group, tags: sr.Tags, value: aggregate(c.aggregator, sr.Values), first: sr.First, last: sr.Last}
		r.recovery = r.value
		out = append(out, r)
	}
	return out
}

// before returns the points with which those of a window are compared, by group.
func (c condition) before(data Data, to time.Time) map[string][]float64 {
	if c.change == nil {
		return nil
	}
	out := map[string][]float64{}
	to = to.Add(-c.change.shift)
	for _, sr := range data.Series(c.query, to.Add(-c.window), to, c.interval()) {
		out[sr.Group] = sr.Values
	}
	return out
}

// points returns the difference of each point that exists now and existed before, in percent of what it was if so asked.
func (c *change) points(before, now []float64) []float64 {
	out := slices.Repeat([]float64{math.NaN()}, len(now))
	for i := range min(len(before), len(now)) {
		out[i] = now[i] - before[i]
		if c.percent {
			out[i] = 100 * out[i] / math.Abs(before[i])
		}
		if math.IsInf(out[i], 0) {
			out[i] = math.NaN()
		}
	}
	return out
}

// interval is the width of the points that are aggregated over the window.
func (c condition) interval() time.Duration {
	switch {
	case c.counts() || c.aggregator == "percentile":
		return c.window
	case c.query.Rollup() > 0:
		return min(c.query.Rollup(), c.window)
	case c.window < 5*time.Minute:
		return flush
	}
	return time.Minute
}

func aggregate(how string, values []float64) float64 {
	n, sum, low, high := 0, 0.0, math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) {
			n++
			sum += v
			low, high = min(low, v), max(high, v)
		}
	}
	switch {
	case n == 0:
		return math.NaN()
	case how == "sum":
		return sum
	case how == "min":
		return low
	case how == "max":
		return high
	}
	return sum / float64(n)
}
