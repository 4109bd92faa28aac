package monitor

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// minSeasons is the history that agile and robust need, as documented. With less there is no verdict.
	minSeasons = 3
	// references are the latest seasons with a value from which agile predicts, of the last looked that it looks at; recents
	// is the least number of latest points from which it takes the level, and errorPoints that of the latest predictions
	// whose errors make its band.
	references  = 3
	looked      = 6
	recents     = 9
	errorPoints = 120
	// agileFloor of the expected value is the least deviation of agile.
	agileFloor = 0.05
	// robustFloor of the height of the profile is the least deviation of robust; flatFloor of the level is against
	// rounding only.
	robustFloor = 0.05
	flatFloor   = 0.001
	// trendSeasons are needed before robust believes in a trend. With fewer, one season at another level would make one.
	trendSeasons = 6
	// neighbours are the points on either side of a phase whose residuals count for the deviation of that phase, at most a
	// twelfth of a season.
	neighbours = 30
)

// season is the length of a season, and how many of them before the alert window are read.
type season struct {
	name   string
	period time.Duration
	most   int
}

// seasons are those of Datadog. It may use up to six weeks for all of them; here it is a day, two weeks and six weeks.
func seasons() map[string]season {
	const day = 24 * time.Hour
	return map[string]season{
		"hourly": {"hourly", time.Hour, 24}, "daily": {"daily", day, 14}, "weekly": {"weekly", 7 * day, 6},
	}
}

func (a *anomaly) checkSeason() error {
	switch s := a.season; {
	case a.algorithm == "basic":
		if s.period > 0 {
			return errors.New("basic takes no seasonality")
		}
	case s.period == 0:
		return fmt.Errorf("%s without seasonality: %w", a.algorithm, ErrNotEvaluated)
	case a.interval%time.Minute != 0 || s.period%a.interval != 0 || s.period/a.interval < 2:
		// Old points are kept by the minute, and a point must have the same place in every season.
		return fmt.Errorf("interval %v with %s seasonality is not whole minutes that divide the season: %w", a.interval, s.name, ErrNotEvaluated)
	}
	return nil
}

// history is what lies before the alert window, oldest first.
type history struct {
	// raw is as it was measured. In filled, silence is zero where zeroes are filled in and at least half of the seasons are
	// silent at that phase: a night without traffic is part of the pattern, an outage is not.
	raw, filled []float64
	period      int
	// season holds the beginning of each whole season with data, newest first.
	season []int
}

// newHistory returns nil when fewer than three whole seasons have data.
func newHistory(values []float64, period int, zeroFill bool) *history {
	begin := slices.IndexFunc(values, func(v float64) bool { return !math.IsNaN(v) })
	if begin < 0 {
		return nil
	}
	h := &history{raw: values, filled: slices.Clone(values), period: period}
	for start := len(values) - period; start >= begin; start -= period {
		if slices.ContainsFunc(values[start:start+period], func(v float64) bool { return !math.IsNaN(v) }) {
			h.season = append(h.season, start)
		}
	}
	if len(h.season) < minSeasons {
		return nil
	}
	if zeroFill {
		h.fill()
	}
	return h
}

// fill makes zeroes of the silence that belongs to the pattern.
func (h *history) fill() {
	for p := range h.period {
		silent := 0
		for _, s := range h.season {
			if math.IsNaN(h.raw[s+p]) {
				silent++
			}
		}
		if 2*silent < len(h.season) {
			continue
		}
		for _, s := range h.season {
			if math.IsNaN(h.raw[s+p]) {
				h.filled[s+p] = 0
			}
		}
	}
}

// robust decomposes into a trend and a seasonal profile, both by medians. With m(s) the median of season s and t(s) its age,
//
//	slope      = median of the slopes between all pairs of m(s) (Theil and Sen); 0 with fewer than six seasons
//	level(s)   = median over s of (m(s) - slope × t(s)) + slope × t(s)
//	profile(p) = median over s of (x(s,p) - level(s))        for every phase p of a season
//	residual   = x(s,p) - level(s) - (the profile of p without season s)
//	deviation  = 1.4826 × median(|residual|), the larger one of all phases and of those around p;
//	             at least 0.05 × (highest - lowest of the profile) and 0.001 × |level|
//	band       = level + profile(p) ± bounds × deviation
//
// An anomaly moves neither as long as it fills fewer than about a third of the seasons that are read; then the trend
// follows, and the residuals widen the band on the way. A constant that is added to all points changes next to nothing.
func (h *history) robust() expectation {
	level := h.trend()
	at := func(s int) float64 {
		return level(float64(s)/float64(h.period) - float64(len(h.raw))/float64(h.period))
	}
	profile := make([]float64, h.period)
	residuals := make([][]float64, h.period)
	var all []float64
	low, high := math.Inf(1), math.Inf(-1)
	rest := make([]float64, 0, len(h.season))
	others := make([]float64, 0, len(h.season))
	for p := range h.period {
		rest = rest[:0]
		for _, s := range h.season {
			if v := h.filled[s+p]; !math.IsNaN(v) {
				rest = append(rest, v-at(s))
			}
		}
		if len(rest) < 2 {
			profile[p] = math.NaN()
			continue
		}
		for i, v := range rest {
			others = append(append(others[:0], rest[:i]...), rest[i+1:]...)
			residuals[p] = append(residuals[p], math.Abs(v-median(others)))
		}
		all = append(all, residuals[p]...)
		profile[p] = median(rest)
		low, high = min(low, profile[p]), max(high, profile[p])
	}
	if len(all) < minHistory {
		return nil
	}
	overall, near := madScale*median(all), min(neighbours, h.period/12)
	return func(i int) (float64, float64) {
		p := i % h.period
		if math.IsNaN(profile[p]) {
			return math.NaN(), 0
		}
		var around []float64
		for d := -near; d <= near; d++ {
			around = append(around, residuals[(p+d+h.period)%h.period]...)
		}
		now := level(float64(i / h.period))
		return now + profile[p], max(overall, madScale*median(around), robustFloor*(high-low), flatFloor*math.Abs(now))
	}
}

// trend returns the level of the season that begins at a time, in seasons since the end of the history.
func (h *history) trend() func(t float64) float64 {
	var times, medians []float64
	for _, s := range h.season {
		var one []float64
		for _, v := range h.filled[s : s+h.period] {
			if !math.IsNaN(v) {
				one = append(one, v)
			}
		}
		times = append(times, float64(s-len(h.raw))/float64(h.period))
		medians = append(medians, median(one))
	}
	slope := 0.0
	if len(medians) >= trendSeasons {
		var slopes []float64
		for i := range medians {
			for j := range i {
				slopes = append(slopes, (medians[j]-medians[i])/(times[j]-times[i]))
			}
		}
		slope = median(slopes)
	}
	for i := range medians {
		medians[i] -= slope * times[i]
	}
	base := median(medians)
	return func(t float64) float64 { return base + slope*t }
}

// agile predicts from the same phase of the last seasons, each moved to the level of the immediate past: a seasonal
// difference, as in SARIMA, with medians in place of averages. With x the points and P a season,
//
//	shift(j)  = median of (x(i) - x(i-jP)) over the last points before the window, as many as the window has, at least nine
//	expected  = median of (x(t-jP) + shift(j)) over the latest three j, of six, that have a value
//	error     = x(i) - what would have been expected of it, for the last 120 points before the window
//	deviation = max(1.4826 × median(|error|), 0.05 × |expected|)
//	band      = expected ± bounds × deviation
//
// A level shift is an anomaly until more than half of those last points have it; then it is the level, and the return is an
// anomaly in its turn. What is shorter than half a window moves nothing. The width of the band does not grow with a shift, but with the scale of the metric.
func (h *history) agile(window int) expectation {
	n, last := len(h.raw), max(recents, window)
	var errs []float64
	for i := n - 1; i >= 0 && len(errs) < errorPoints; i-- {
		if math.IsNaN(h.raw[i]) {
			continue
		}
		if v := h.shifted(h.shifts(i, last), i, i); !math.IsNaN(v) {
			errs = append(errs, math.Abs(h.raw[i]-v))
		}
	}
	if len(errs) < minHistory {
		return nil
	}
	deviation, shifts := madScale*median(errs), h.shifts(n, last)
	return func(i int) (float64, float64) {
		v := h.shifted(shifts, n+i, n)
		return v, max(deviation, agileFloor*math.Abs(v))
	}
}

// shifts returns how far the last points before end are from the same phase j+1 seasons earlier, for each j; NaN for none.
// Points that were filled in do not count, or traffic that returns would be a surprise.
func (h *history) shifts(end, last int) [looked]float64 {
	var out [looked]float64
	differences := make([]float64, 0, last)
	for j := range out {
		differences = differences[:0]
		for i := end - 1; i >= (j+1)*h.period && len(differences) < last; i-- {
			if d := h.raw[i] - h.filled[i-(j+1)*h.period]; !math.IsNaN(d) {
				differences = append(differences, d)
			}
		}
		out[j] = math.NaN()
		if len(differences) > last/2 {
			out[j] = median(differences)
		}
	}
	return out
}

// shifted returns what is expected at i of the points before end, or NaN when fewer than two seasons tell.
func (h *history) shifted(shifts [looked]float64, i, end int) float64 {
	// A window longer than a season looks further back.
	for i >= end+h.period {
		i -= h.period
	}
	out := make([]float64, 0, references)
	for j, shift := range shifts {
		if at := i - (j+1)*h.period; at >= 0 && len(out) < references {
			if v := h.filled[at] + shift; !math.IsNaN(v) {
				out = append(out, v)
			}
		}
	}
	if len(out) < 2 {
		return math.NaN()
	}
	return median(out)
}
