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
	// lookBack bounds how far before the alert window history is read, and maxHistory how many points of it count.
	lookBack   = 2 * time.Hour
	maxHistory = 60
	// minHistory points are needed for a band; with fewer there is no verdict.
	minHistory = 8
	// madScale makes the median absolute deviation of normal noise its standard deviation.
	madScale = 1.4826
	// floorShare of the median is the least deviation, so that the noise of a flat baseline is not an anomaly.
	floorShare = 0.2
)

// anomaly is anomalies(query, 'basic', bounds, …).
//
// Datadog describes 'basic' as a lagging rolling quantile and does not publish it, so the band here is our own. History is
// the last 60 points with data, within two hours, before the alert window. With m its median,
//
//	deviation = max(1.4826 × median(|x - m|), 0.2 × |m|)
//	band      = m ± bounds × deviation
//
// and the value of the monitor is the part of the alert window's points that is outside. All points of the window are
// judged by the same history, so a step cannot hide in its own band before the window is full. Points filled with zero are
// judged but are no history, so that traffic which returns after a pause is not a surprise.
type anomaly struct {
	query                       metric.Query
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
	if m[2] == "agile" || m[2] == "robust" {
		return c, fmt.Errorf("anomaly algorithm %s: %w", m[2], ErrNotEvaluated)
	}
	if m[2] != "basic" {
		return c, fmt.Errorf("unknown anomaly algorithm %q", m[2])
	}
	a := &anomaly{above: true, below: true}
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
	}
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
		err = errors.New("basic takes no seasonality")
	default:
		err = fmt.Errorf("anomalies: unknown argument %s", key)
	}
	return err
}

// read judges the windows that end at the last whole interval.
func (a *anomaly) read(data Data, now time.Time, window time.Duration) []reading {
	to := now.Truncate(a.interval)
	from := to.Add(-max(lookBack, window) - a.alertWindow)
	var out []reading
	for _, sr := range data.Series(a.query, from, to, a.interval) {
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
	low, high, ok := a.band(values[:cut])
	if !ok {
		return math.NaN()
	}
	judged, outside := 0, 0
	for _, v := range values[cut:] {
		if math.IsNaN(v) {
			if !a.zeroFill {
				continue
			}
			v = 0
		}
		judged++
		if a.above && v > high || a.below && v < low {
			outside++
		}
	}
	if judged == 0 {
		return math.NaN()
	}
	return float64(outside) / float64(judged)
}

// band returns the bounds that history allows.
func (a *anomaly) band(values []float64) (low, high float64, ok bool) {
	history := make([]float64, 0, maxHistory)
	for i := len(values) - 1; i >= 0 && len(history) < maxHistory; i-- {
		if !math.IsNaN(values[i]) {
			history = append(history, values[i])
		}
	}
	if len(history) < minHistory {
		return 0, 0, false
	}
	m := median(history)
	for i, v := range history {
		history[i] = math.Abs(v - m)
	}
	deviation := max(madScale*median(history), floorShare*math.Abs(m))
	return m - a.bounds*deviation, m + a.bounds*deviation, true
}

// median sorts its argument.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
