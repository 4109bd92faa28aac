package monitor_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
)

// batch is an hourly pattern with 4 % of noise: twenty minutes of high traffic, forty of low.
func batch(noise *rand.Rand, minute int) float64 {
	v := 20.0
	if minute%60 < 20 {
		v = 100
	}
	return v * (0.96 + 0.08*noise.Float64())
}

// withoutRace leaves a test to the run without the race detector, with which arithmetic takes ten times as long.
func withoutRace(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("arithmetic that takes ten times as long with the race detector; make test runs it without")
	}
}

func TestSeasonalAnomalies(t *testing.T) {
	withoutRace(t)
	const hours = 14
	between := func(from, to int, then func(v float64) float64) func(v float64, minute int) float64 {
		return func(v float64, minute int) float64 {
			if minute >= from*60 && minute < to*60 {
				return then(v)
			}
			return v
		}
	}
	times := func(n float64) func(float64) float64 { return func(v float64) float64 { return n * v } }
	plus := func(n float64) func(float64) float64 { return func(v float64) float64 { return v + n } }
	none := func(float64) float64 { return math.NaN() }
	same := func(v float64, _ int) float64 { return v }
	const (
		above, below, both = "direction='above'", "direction='below'", "direction='both'"
		filled             = ", count_default_zero='true'"
	)
	// The answers are the kinds of transitions with the minutes since the tenth hour, which is at a peak.
	tests := map[string]struct {
		args                 string
		traffic              func(v float64, minute int) float64
		basic, agile, robust string
	}{
		"the pattern itself is an anomaly to basic only": {both, same,
			"alert 12 recovery 28 alert 72 recovery 88 alert 132 recovery 148 alert 192 recovery 208", "", ""},
		// Twelve of fifteen points must be outside. Agile has the new level when eight points of it lie before the window.
		"a level shift is what agile gets used to, and robust does not": {above, between(10, hours, plus(60)),
			"", "alert 12 recovery 23", "alert 12"},
		"an anomaly of an hour ends with itself, but its end is one to agile": {both, between(10, 11, plus(60)),
			"", "alert 12 recovery 23 alert 72 recovery 83", "alert 12 recovery 68"},
		// After two hours agile knows no other pattern; robust does.
		"a pattern that flattens": {both, between(10, hours, func(float64) float64 { return 20 }),
			"", "alert 12 recovery 23 alert 32 recovery 43 alert 72 recovery 83 alert 92 recovery 103",
			"alert 12 recovery 28 alert 72 recovery 88 alert 132 recovery 148 alert 192 recovery 208"},
		"a spike of one minute": {both, func(v float64, minute int) float64 {
			return between(10, 11, plus(0))(v+500*float64(b(minute == 630)), minute)
		}, "", "", ""},
		"a deploy: five minutes of half the traffic": {both, func(v float64, minute int) float64 { return v * (1 - 0.5*float64(b(minute >= 630 && minute < 635))) }, "", "", ""},
		"growth of a percent an hour":                {both, func(v float64, minute int) float64 { return v * (1 + float64(minute)/6000) }, "", "", ""},
		"noise of a fifth": {both, func(v float64, minute int) float64 {
			return v * (0.8 + 0.4*rand.New(rand.NewPCG(1, uint64(minute))).Float64())
		},
			"", "", ""},
		"too short a history": {both, func(v float64, minute int) float64 {
			return between(0, 11, none)(between(12, hours, times(5))(v, minute), minute)
		}, "", "", ""},
		"a gap of two hours and its return": {both, between(10, 12, none), "", "", ""},
		"a gap of three hours that is zero": {above + filled, between(10, 13, none), "", "", ""},
		"an outage that is zero":            {below + filled, between(10, 11, none), "", "alert 12 recovery 68", "alert 12 recovery 68"},
		"an outage without zeroes":          {below, between(10, 11, none), "", "", ""},
		"silence of every hour belongs to it": {below + filled, func(v float64, minute int) float64 {
			return v / float64(b(minute%60 < 30)) * float64(b(minute%60 < 30))
		}, "", "", ""},
		"traffic below, where above is asked": {above, between(10, hours, plus(-18)), "", "", ""},
		"a shift that is small at this scale": {both, func(v float64, minute int) float64 { return between(10, hours, plus(60))(v, minute) + 1000 }, "", "", "alert 12"},
		"two peaks that were out, and one that is not": {above + filled, func(v float64, minute int) float64 {
			if minute >= 600 && minute < 720 && minute%60 < 40 {
				return math.NaN()
			}
			return v
		}, "", "", ""},
		// One season at another level is no trend.
		"three hours of history with an anomaly in the last": {below, func(v float64, minute int) float64 {
			return between(0, 7, none)(between(9, 10, plus(60))(v, minute), minute)
		}, "", "alert 15 recovery 23", ""},
		// It is within what those minutes have always been, though the rest of the hour is quiet.
		"noise of the peak only": {both, func(_ float64, minute int) float64 {
			if minute%60 >= 20 {
				return 20
			}
			return 60 + 80*float64(rand.New(rand.NewPCG(2, uint64(minute))).IntN(2))
		}, "", "", ""},
		"a shift before the history that is looked": {both, between(0, 2, plus(300)), "", "", ""},
	}
	for name, test := range tests {
		for algorithm, want := range map[string]string{"basic": test.basic, "agile": test.agile, "robust": test.robust} {
			if algorithm == "basic" && !strings.Contains(name, "basic") {
				continue
			}
			t.Run(name+"/"+algorithm, func(t *testing.T) {
				season := ", seasonality='hourly'"
				if algorithm == "basic" {
					season = ""
				}
				m, err := parseMonitor("query alert",
					"avg(last_1h):anomalies(sum:m{*}.as_count(), '"+algorithm+"', 3, "+test.args+", interval=60, alert_window='last_15m'"+season+") >= 0.8",
					`"thresholds":{"critical":0.8,"critical_recovery":0.5},"threshold_windows":{"trigger_window":"last_15m","recovery_window":"last_15m"}`)
				if err != nil {
					t.Fatal(err)
				}
				w, noise := newWorld(t), rand.New(rand.NewPCG(7, 8))
				var state monitor.State
				var got []string
				for minute := range hours * 60 {
					if v := test.traffic(batch(noise, minute), minute); !math.IsNaN(v) {
						w.Add("m", nil, v, start.Add(time.Duration(minute)*time.Minute))
					}
					if minute < 600 {
						continue
					}
					next, transitions := m.Evaluate(w, state, start.Add(time.Duration(minute+1)*time.Minute))
					state = next
					for _, tr := range transitions {
						got = append(got, fmt.Sprint(tr.Kind, " ", minute+1-600))
					}
				}
				if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
					t.Errorf("transitions (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func b(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// A window may be longer than a season: each of its points is judged by the same phase of the seasons before it.
func TestAWindowOfTwoSeasons(t *testing.T) {
	withoutRace(t)
	for _, algorithm := range []string{"agile", "robust"} {
		m, err := parseMonitor("query alert",
			"avg(last_4h):anomalies(sum:m{*}.as_count(), '"+algorithm+"', 3, interval=60, alert_window='last_2h', seasonality='hourly') >= 0.8",
			`"threshold_windows":{"trigger_window":"last_2h","recovery_window":"last_2h"}`)
		if err != nil {
			t.Fatal(err)
		}
		w, noise := newWorld(t), rand.New(rand.NewPCG(7, 8))
		var state monitor.State
		var got []string
		for minute := range 14 * 60 {
			v := batch(noise, minute)
			if minute >= 600 {
				v += 60
			}
			w.Add("m", nil, v, start.Add(time.Duration(minute)*time.Minute))
			if minute < 480 {
				continue
			}
			next, transitions := m.Evaluate(w, state, start.Add(time.Duration(minute+1)*time.Minute))
			state = next
			for _, tr := range transitions {
				got = append(got, fmt.Sprint(minute+1-600, " ", tr.Kind))
			}
		}
		want := map[string][]string{"agile": {"96 alert", "180 recovery"}, "robust": {"96 alert"}}[algorithm]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: transitions (-want +got):\n%s", algorithm, diff)
		}
	}
}

// Days and weeks, with points of ten minutes and of an hour. What is asked is whether anything fires.
func TestLongSeasons(t *testing.T) {
	withoutRace(t)
	const day = 24 * time.Hour
	weekday := func(at time.Time) bool { return at.Weekday() != time.Saturday && at.Weekday() != time.Sunday }
	tests := map[string]struct {
		seasonality, interval, window string
		step, history, judged         time.Duration
		value                         func(at time.Time, since time.Duration) float64 // since the end of the history
		fires                         map[string]bool
	}{
		"a day and a night": {"daily", "600", "1h", 10 * time.Minute, 5 * day, day, func(at time.Time, _ time.Duration) float64 {
			return 100 - 80*math.Cos(2*math.Pi*float64(at.Sub(at.Truncate(day)))/float64(day))
		}, map[string]bool{"basic": true}},
		"the traffic of noon at night": {"daily", "600", "1h", 10 * time.Minute, 5 * day, day, func(at time.Time, since time.Duration) float64 {
			if since > 21*time.Hour {
				return 180
			}
			return 100 - 80*math.Cos(2*math.Pi*float64(at.Sub(at.Truncate(day)))/float64(day))
		}, map[string]bool{"basic": true, "agile": true, "robust": true}},
		"two days of history are too few": {"daily", "600", "1h", 10 * time.Minute, 2 * day, day / 2, func(_ time.Time, since time.Duration) float64 {
			if since > 0 {
				return 1000
			}
			return 1
		}, map[string]bool{"basic": true}},
		"quiet week-ends": {"weekly", "3600", "5h", time.Hour, 5 * 7 * day, 7 * day, func(at time.Time, _ time.Duration) float64 {
			if weekday(at) {
				return 100
			}
			return 20
		}, map[string]bool{}},
		"a quiet working day": {"weekly", "3600", "5h", time.Hour, 5 * 7 * day, 7 * day, func(at time.Time, since time.Duration) float64 {
			if weekday(at) && (since < 3*day || since > 4*day) {
				return 100
			}
			return 20
		}, map[string]bool{"agile": true, "robust": true}},
	}
	for name, test := range tests {
		for _, algorithm := range []string{"basic", "agile", "robust"} {
			if algorithm == "basic" && test.seasonality == "weekly" {
				continue // it would need eight points of an hour within two hours
			}
			t.Run(name+"/"+algorithm, func(t *testing.T) {
				season := ", seasonality='" + test.seasonality + "'"
				if algorithm == "basic" {
					season = ""
				}
				m, err := parseMonitor("query alert",
					"avg(last_1d):anomalies(avg:m{*}, '"+algorithm+"', 3, interval="+test.interval+", alert_window='last_"+test.window+"'"+season+") >= 0.8",
					`"threshold_windows":{"trigger_window":"last_`+test.window+`","recovery_window":"last_`+test.window+`"}`)
				if err != nil {
					t.Fatal(err)
				}
				w, noise := newWorld(t), rand.New(rand.NewPCG(9, 10))
				var state monitor.State
				fired := false
				begin := start.Truncate(day)
				for since := -test.history; since < test.judged; since += test.step {
					at := begin.Add(since)
					w.Add("m", nil, test.value(at, since)*(0.97+0.06*noise.Float64()), at)
					if since < 0 {
						continue
					}
					next, transitions := m.Evaluate(w, state, at.Add(test.step))
					state, fired = next, fired || len(transitions) > 0
				}
				if fired != test.fires[algorithm] {
					t.Errorf("fired = %v, want %v", fired, test.fires[algorithm])
				}
			})
		}
	}
}

func BenchmarkSeasons(b *testing.B) {
	for _, seasonality := range []string{"hourly", "daily", "weekly"} {
		for _, algorithm := range []string{"agile", "robust"} {
			b.Run(seasonality+"/"+algorithm, func(b *testing.B) {
				m, err := parseMonitor("query alert",
					"avg(last_1h):anomalies(sum:m{*}.as_count(), '"+algorithm+"', 3, interval=600, alert_window='last_1h', seasonality='"+seasonality+"') >= 0.8",
					`"threshold_windows":{"trigger_window":"last_1h","recovery_window":"last_1h"}`)
				if err != nil {
					b.Fatal(err)
				}
				w := newWorld(b)
				const points = 42 * 24 * 6
				for i := range points {
					w.Add("m", nil, float64(i%144), start.Add(time.Duration(i)*10*time.Minute))
				}
				b.ReportAllocs()
				for b.Loop() {
					m.Evaluate(w, monitor.State{}, start.Add(points*10*time.Minute))
				}
			})
		}
	}
}
