package monitor

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
)

const (
	// lookBack bounds how far before the alert window the history of basic is read, and maxHistory how many points of it
	// count.
	lookBack   = 2 * time.Hour
	maxHistory = 60
	// minHistory points are needed for a band; with fewer there is no verdict.
	minHistory = 8
	// madScale makes the median absolute deviation of normal noise its standard deviation.
	madScale = 1.4826
	// floorShare of the median is the least deviation of basic, so that the noise of a flat baseline is not an anomaly.
	floorShare = 0.2
)

// anomaly is anomalies(query, algorithm, bounds, …).
//
// Datadog describes its three algorithms in words and publishes none, so the bands here are our own. The words are kept:
// basic knows no season, uses little data and adjusts quickly; agile and robust are in seasonal.go.
//
// For basic, history is the last 60 points with data, within two hours, before the alert window. With m its median,
//
//	deviation = max(1.4826 × median(|x - m|), 0.2 × |m|)
//	band      = m ± bounds × deviation
//
// For all three, the value of the monitor is the part of the alert window's points that is outside. All points of the
// window are judged by the history before it, so a step cannot hide in its own band before the window is full. Points
// filled with zero are judged but are no history, so that traffic which returns after a pause is not a surprise.
type anomaly struct {
	query                       metric.Query
	algorithm                   string
	season                      season // zero for basic
	bounds                      float64
	above, below                bool
	interval                    time.Duration
	alertWindow, recoveryWindow time.Duration
	zeroFill                    bool
}

func (c condition) withAnomaly(body string) (condition, error) {
	m := anomalies.FindStringSubmatch(body)
	if m == nil {
		return c, errors.New("want anomalies(query, 'basic', bounds, key='value', …)")
	}
	if !slices.Contains([]string{"basic", "agile", "robust"}, m[2]) {
		return c, fmt.Errorf("unknown anomaly algorithm %q", m[2])
	}
	a := &anomaly{algorithm: m[2], above: true, below: true}
	var err error
	if a.query, err = metric.Parse(m[1]); err != nil {
		return c, err
	}
	if a.bounds, err = strconv.ParseFloat(m[3], 64); err != nil || a.bounds <= 0 {
		return c, fmt.Errorf("bounds %q are not above 0", m[3])
	}
	seen := map[string]bool{}
	for _, arg := range argument.FindAllStringSubmatch(m[4], -1) {
		if seen[arg[1]] {
			return c, fmt.Errorf("anomalies: %s twice", arg[1])
		}
		seen[arg[1]] = true
		if err := a.set(arg[1], arg[2]+arg[3]); err != nil {
			return c, err
		}
	}
	switch {
	case c.aggregator != "avg":
		return c, errors.New("an anomaly monitor aggregates by avg")
	case a.interval <= 0 || a.alertWindow <= 0:
		return c, errors.New("anomalies needs interval and alert_window")
	case a.interval%flush != 0 || a.interval > a.alertWindow/5:
		return c, fmt.Errorf("interval %v is not a multiple of %v up to a fifth of the alert window %v", a.interval, flush, a.alertWindow)
	case a.alertWindow > c.window:
		return c, fmt.Errorf("alert_window %v is longer than the window %v", a.alertWindow, c.window)
	case c.threshold < 0 || c.threshold > 1 || !c.above():
		return c, fmt.Errorf("want >= or > a part from 0 to 1, have %s %v", c.operator, c.threshold)
	case c.operator == ">=" && c.threshold == 0:
		return c, errors.New("a part of at least 0 is always anomalous")
	}
	if err := a.checkSeason(); err != nil {
		return c, err
	}
	// Only for a count can a missing value be a zero.
	a.zeroFill = a.zeroFill && a.query.AsCount()
	a.recoveryWindow = a.alertWindow
	c.anomaly, c.query = a, a.query
	return c, nil
}

func (a *anomaly) set(key, value string) (err error) {
	switch key {
	case "direction":
		a.above, a.below = value != "below", value != "above"
		if !slices.Contains([]string{"above", "below", "both"}, value) {
			err = fmt.Errorf("direction %q is not above, below or both", value)
		}
	case "interval":
		var n int
		if n, err = strconv.Atoi(value); err != nil || n > 86400 {
			return fmt.Errorf("interval %q is not seconds up to a day", value)
		}
		a.interval = time.Duration(n) * time.Second
	case "alert_window":
		a.alertWindow, err = parseWindow(value)
	case "count_default_zero":
		a.zeroFill = strings.EqualFold(value, "true")
		if !a.zeroFill && !strings.EqualFold(value, "false") {
			err = fmt.Errorf("count_default_zero %q is not true or false", value)
		}
	case "seasonality":
		var ok bool
		if a.season, ok = seasons()[value]; !ok {
			err = fmt.Errorf("seasonality %q is not hourly, daily or weekly", value)
		}
	case "timezone":
		err = fmt.Errorf("anomalies: timezone: %w", ErrNotEvaluated)
	default:
		err = fmt.Errorf("anomalies: unknown argument %s", key)
	}
	return err
}

// read judges the windows that end at the last whole interval.
func (a *anomaly) read(data Data, now time.Time, window time.Duration) []reading {
	to := now.Truncate(a.interval)
	before := max(lookBack, window)
	if a.season.period > 0 {
		before = a.season.period * time.Duration(a.season.most)
	}
	var out []reading
	for _, sr := range data.Series(a.query, to.Add(-before-a.alertWindow), to, a.interval) {
		r := reading{group: sr.Group, tags: sr.Tags, first: sr.First, last: sr.Last}
		if a.zeroFill && !r.last.IsZero() {
			r.last = to // silence after the first point is zero, which is data
		}
		r.value = a.part(sr.Values, a.alertWindow)
		r.recovery = r.value
		if a.recoveryWindow != a.alertWindow {
			r.recovery = a.part(sr.Values, a.recoveryWindow)
		}
		out = append(out, r)
	}
	return out
}

// part returns the part of the window's points outside the band, or NaN without enough history or points.
func (a *anomaly) part(values []float64, window time.Duration) float64 {
	cut := len(values) - int(window/a.interval)
	begin := slices.IndexFunc(values, func(v float64) bool { return !math.IsNaN(v) })
	if begin < 0 || cut <= begin {
		return math.NaN()
	}
	expect := a.expectation(values[:cut])
	if expect == nil {
		return math.NaN()
	}
	judged, outside := 0, 0
	for i, v := range values[cut:] {
		if math.IsNaN(v) {
			if !a.zeroFill {
				continue
			}
			v = 0
		}
		middle, deviation := expect(i)
		if math.IsNaN(middle) {
			continue
		}
		judged++
		if a.above && v > middle+a.bounds*deviation || a.below && v < middle-a.bounds*deviation {
			outside++
		}
	}
	if judged == 0 {
		return math.NaN()
	}
	return float64(outside) / float64(judged)
}

// expectation is what a history lets one expect of the point i after it: the middle of the band and one deviation. The middle
// is NaN where nothing can be said.
type expectation func(i int) (middle, deviation float64)

// expectation returns nil when the history is too short for any verdict.
func (a *anomaly) expectation(values []float64) expectation {
	if a.algorithm == "basic" {
		return basic(values)
	}
	h := newHistory(values, int(a.season.period/a.interval), a.zeroFill)
	switch {
	case h == nil:
		return nil
	case a.algorithm == "agile":
		return h.agile(int(a.alertWindow / a.interval))
	}
	return h.robust()
}

func basic(values []float64) expectation {
	history := make([]float64, 0, maxHistory)
	for i := len(values) - 1; i >= 0 && len(history) < maxHistory; i-- {
		if !math.IsNaN(values[i]) {
			history = append(history, values[i])
		}
	}
	if len(history) < minHistory {
		return nil
	}
	m := median(history)
	for i, v := range history {
		history[i] = math.Abs(v - m)
	}
	deviation := max(madScale*median(history), floorShare*math.Abs(m))
	return func(int) (float64, float64) { return m, deviation }
}

// median sorts its argument. It is NaN of nothing.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
