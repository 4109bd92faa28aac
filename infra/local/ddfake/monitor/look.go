package monitor

import (
	"math"
	"time"
)

// Sight is what a monitor sees of one group.
type Sight struct {
	Group string
	// Value is compared with the threshold; NaN for no data.
	Value float64
	// Point and Upper are the last whole point that an anomaly monitor judges, and the upper edge of what it expects there; NaN
	// for other monitors, and where nothing can be said.
	Point, Upper float64
}

// Look returns what the monitor sees at a time, in the order of the groups' names. It judges nothing.
func (m *Monitor) Look(data Data, at time.Time) []Sight {
	at = at.Add(-time.Duration(m.Options.EvaluationDelay) * time.Second)
	points := map[string][2]float64{}
	if a := m.condition.anomaly; a != nil {
		points = a.edges(data, at)
	}
	var out []Sight
	for _, r := range m.condition.read(data, at) {
		s := Sight{Group: r.group, Value: r.value, Point: math.NaN(), Upper: math.NaN()}
		if p, ok := points[r.group]; ok {
			s.Point, s.Upper = p[0], p[1]
		}
		out = append(out, s)
	}
	return out
}

// edges returns the last point of each group, and the upper edge of the band there.
func (a *anomaly) edges(data Data, now time.Time) map[string][2]float64 {
	to := now.Truncate(a.interval)
	before := lookBack
	if a.season.period > 0 {
		before = a.season.period * time.Duration(a.season.most)
	}
	out := map[string][2]float64{}
	for _, sr := range data.Series(a.query, to.Add(-before-a.alertWindow), to, a.interval) {
		last, upper := len(sr.Values)-1, math.NaN()
		judged := int(a.alertWindow / a.interval)
		if last < judged {
			continue
		}
		if expect := a.expectation(sr.Values[:last+1-judged]); expect != nil {
			middle, deviation := expect(judged - 1)
			upper = middle + a.bounds*deviation
		}
		point := sr.Values[last]
		if math.IsNaN(point) && a.zeroFill {
			point = 0
		}
		out[sr.Group] = [2]float64{point, upper}
	}
	return out
}
