package monitor

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
)

// flush is the interval of the agent. Windows end at its multiples, so that no half-filled bucket is judged.
const flush = 10 * time.Second

// condition is the parsed query of a monitor. For a burn rate only burn is set, besides operator and threshold.
type condition struct {
	aggregator string // avg, sum, min, max or percentile
	window     time.Duration
	query      metric.Query
	operator   string
	threshold  float64

	anomaly *anomaly
	burn    *burn
}

// burn is the condition of a burn-rate monitor.
type burn struct {
	id, over    string
	long, short time.Duration
}

var (
	comparison = regexp.MustCompile(`^(?s:(.*\S))\s*(>=|<=|>|<)\s*(-?[0-9]+(?:\.[0-9]+)?)\s*$`)
	metricForm = regexp.MustCompile(`^(?s:\s*([a-z_]+)\((last_[0-9]+[a-z])\)\s*:\s*(.*))$`)
	anomalies  = regexp.MustCompile(`^(?s:anomalies\((.*\S)\s*,\s*'([a-z]+)'\s*,\s*([0-9]+(?:\.[0-9]+)?)\s*((?:,\s*[a-z_]+\s*=\s*(?:'[^']*'|[0-9]+)\s*)*)\)\s*)$`)
	argument   = regexp.MustCompile(`,\s*([a-z_]+)\s*=\s*(?:'([^']*)'|([0-9]+))`)
	burnForm   = regexp.MustCompile(`^\s*burn_rate\("([^"]+)"\)\.over\("([^"]+)"\)\.long_window\("([^"]+)"\)\.short_window\("([^"]+)"\)$`)
)

func parseCondition(text string) (condition, error) {
	parts := comparison.FindStringSubmatch(text)
	if parts == nil {
		return condition{}, errors.New("want an expression, an operator of > >= < <=, and a number")
	}
	c := condition{operator: parts[2]}
	var err error
	if c.threshold, err = strconv.ParseFloat(parts[3], 64); err != nil {
		return condition{}, fmt.Errorf("threshold: %w", err)
	}
	expression := strings.TrimSpace(parts[1])
	switch {
	case strings.HasPrefix(expression, "burn_rate"):
		c.burn, err = parseBurn(expression)
		return c, err
	case strings.HasPrefix(expression, "error_budget"):
		return c, fmt.Errorf("error_budget: %w", ErrNotEvaluated)
	}
	m := metricForm.FindStringSubmatch(expression)
	if m == nil {
		return c, fmt.Errorf("want aggregator(last_5m):query, have %q", expression)
	}
	c.aggregator = m[1]
	if !slices.Contains([]string{"avg", "sum", "min", "max", "percentile"}, c.aggregator) {
		return c, fmt.Errorf("time aggregator %s: %w", c.aggregator, ErrNotEvaluated)
	}
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

// counts reports whether the documented order for counts holds: time is aggregated before arithmetic, so that a ratio is the
// ratio of the sums (https://docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/).
func (c condition) counts() bool { return c.query.AsCount() && c.query.Arithmetic() }

func (c condition) above() bool { return c.operator == ">" || c.operator == ">=" }

func (c condition) by() []string { return c.query.By() }

// crossed reports whether a value is on the alerting side of a bound.
func (c condition) crossed(v, bound float64) bool {
	switch c.operator {
	case ">":
		return v > bound
	case ">=":
		return v >= bound
	case "<":
		return v < bound
	}
	return v <= bound
}

// recovered reports whether a value has come back to a recovery threshold. The bound itself counts, or a recovery at 0 of
// an anomaly could never happen.
func (c condition) recovered(v, bound float64) bool {
	if c.above() {
		return v <= bound
	}
	return v >= bound
}

func parseBurn(text string) (*burn, error) {
	m := burnForm.FindStringSubmatch(text)
	if m == nil {
		return nil, errors.New(`want burn_rate("id").over("30d").long_window("1h").short_window("5m")`)
	}
	b := &burn{id: m[1], over: m[2]}
	var err error
	if b.long, err = parseWindow("last_" + m[3]); err != nil {
		return nil, fmt.Errorf("long_window: %w", err)
	}
	if b.short, err = parseWindow("last_" + m[4]); err != nil {
		return nil, fmt.Errorf("short_window: %w", err)
	}
	if b.long < time.Hour || b.long > 48*time.Hour || b.short >= b.long {
		return nil, fmt.Errorf("want a long window of 1h to 48h and a shorter short one, have %v and %v", b.long, b.short)
	}
	return b, nil
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
}

// read evaluates the condition for every group.
func (c condition) read(data Data, now time.Time) []reading {
	switch {
	case c.burn != nil:
		return c.readBurn(data, now)
	case c.anomaly != nil:
		return c.anomaly.read(data, now, c.window)
	}
	to := now.Truncate(flush)
	var out []reading
	for _, sr := range data.Series(c.query, to.Add(-c.window), to, c.interval()) {
		r := reading{group: sr.Group, tags: sr.Tags, value: aggregate(c.aggregator, sr.Values), first: sr.First, last: sr.Last}
		r.recovery = r.value
		out = append(out, r)
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

func (c condition) readBurn(data Data, now time.Time) []reading {
	r := reading{group: "*", value: math.NaN(), first: now.Add(-c.burn.long), last: now}
	if objective, ok := data.SLO(c.burn.id); ok {
		long, short := objective.BurnRate(data, c.burn.over, c.burn.long, c.burn.short, now)
		r.value = min(long, short) // above the threshold exactly when both are
	}
	r.recovery = r.value
	return []reading{r}
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
