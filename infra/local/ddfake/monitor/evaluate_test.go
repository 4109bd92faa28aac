package monitor_test

import (
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
)

// phase is a time for which one value is sent every 10 s; NaN sends nothing.
type phase struct {
	minutes int
	value   float64
}

var silence = math.NaN()

// play sends the phases as metric m of function:qa, evaluates every 10 s, and tells each transition as
// "when kind from->to".
func play(t *testing.T, m *monitor.Monitor, phases []phase) []string {
	t.Helper()
	w := newWorld(t)
	var state monitor.State
	var out []string
	at := start
	for _, p := range phases {
		for range p.minutes * 6 {
			if !math.IsNaN(p.value) {
				w.Add("m", []string{"function:qa"}, p.value, at)
			}
			at = at.Add(10 * time.Second)
			var transitions []monitor.Transition
			state, transitions = m.Evaluate(w, state, at)
			for _, tr := range transitions {
				out = append(out, fmt.Sprintf("%v %s %s->%s", at.Sub(start), tr.Kind, tr.From, tr.To))
			}
		}
	}
	return out
}

func TestTransitions(t *testing.T) {
	// With max, a value is seen 10 s after it came and is out of the window a minute after it went.
	const above, perGroup, below = "max(last_1m):max:m{*} > 10", "max(last_1m):max:m{*} by {function} > 10", "min(last_1m):min:m{*} <= 10"
	tests := map[string]struct {
		query, options string
		phases         []phase
		want           []string
	}{
		"alert and recovery": {above, `"thresholds":{"critical":10}`, []phase{{2, 1}, {2, 12}, {2, 1}},
			[]string{"2m10s alert OK->Alert", "5m0s recovery Alert->OK"}},
		"the threshold itself is not above it": {above, `"thresholds":{"critical":10}`, []phase{{2, 10}}, nil},
		"the threshold itself is at most it": {below, `"thresholds":{"critical":10}`, []phase{{1, 10}, {2, 11}},
			[]string{"10s alert OK->Alert", "2m0s recovery Alert->OK"}},
		"through warn to alert and back": {above, `"thresholds":{"critical":10,"warning":5}`, []phase{{2, 1}, {2, 7}, {2, 12}, {2, 7}, {2, 1}},
			[]string{"2m10s warn OK->Warn", "4m10s alert Warn->Alert", "7m0s warn Alert->Warn", "9m0s recovery Warn->OK"}},
		"from alert to OK past the warning": {above, `"thresholds":{"critical":10,"warning":5}`, []phase{{1, 12}, {2, 1}},
			[]string{"10s alert OK->Alert", "2m0s recovery Alert->OK"}},
		"a warning holds until its recovery": {above, `"thresholds":{"critical":10,"warning":5,"warning_recovery":3}`, []phase{{1, 7}, {2, 4}, {2, 3}},
			[]string{"10s warn OK->Warn", "4m0s recovery Warn->OK"}},
		"an alert holds until its recovery": {above, `"thresholds":{"critical":10,"critical_recovery":8}`, []phase{{1, 12}, {2, 9}, {2, 8}},
			[]string{"10s alert OK->Alert", "4m0s recovery Alert->OK"}},
		"an alert below holds until its recovery": {below, `"thresholds":{"critical":10,"critical_recovery":15}`, []phase{{1, 9}, {2, 14}, {2, 15}},
			[]string{"10s alert OK->Alert", "4m0s recovery Alert->OK"}},
		"a recovered alert may still be a warning": {above, `"thresholds":{"critical":10,"critical_recovery":8,"warning":5}`, []phase{{1, 12}, {2, 7}},
			[]string{"10s alert OK->Alert", "2m0s warn Alert->Warn"}},

		"silence keeps the status": {above, `"thresholds":{"critical":10}`, []phase{{1, 12}, {20, silence}, {1, 1}},
			[]string{"10s alert OK->Alert", "21m10s recovery Alert->OK"}},
		"no data is told after its timeframe": {above, `"notify_no_data":true,"no_data_timeframe":5`, []phase{{2, 1}, {8, silence}, {1, 1}},
			[]string{"7m0s no_data OK->No Data", "10m10s recovery No Data->OK"}},
		"the timeframe is twice the window by itself": {above, `"notify_no_data":true`, []phase{{2, 1}, {8, silence}},
			[]string{"4m0s no_data OK->No Data"}},
		"an alert may fall silent and come back": {above, `"notify_no_data":true`, []phase{{1, 12}, {4, silence}, {1, 12}},
			[]string{"10s alert OK->Alert", "3m0s no_data Alert->No Data", "5m10s alert No Data->Alert"}},
		"a silent alert is resolved after timeout_h": {above, `"timeout_h":1`, []phase{{1, 12}, {70, silence}},
			[]string{"10s alert OK->Alert", "1h1m0s recovery Alert->OK"}},

		"a reminder comes every interval, as often as said": {above, `"renotify_interval":10,"renotify_occurrences":2`, []phase{{40, 12}},
			[]string{"10s alert OK->Alert", "10m10s renotify Alert->Alert", "20m10s renotify Alert->Alert"}},
		"without occurrences reminders do not end": {above, `"renotify_interval":10`, []phase{{31, 12}},
			[]string{"10s alert OK->Alert", "10m10s renotify Alert->Alert", "20m10s renotify Alert->Alert", "30m10s renotify Alert->Alert"}},
		"a new alert is reminded of anew": {above, `"renotify_interval":10,"renotify_occurrences":1`, []phase{{15, 12}, {2, 1}, {15, 12}},
			[]string{"10s alert OK->Alert", "10m10s renotify Alert->Alert", "16m0s recovery Alert->OK", "17m10s alert OK->Alert", "27m10s renotify Alert->Alert"}},
		"a warning is not reminded of by itself": {above, `"thresholds":{"critical":10,"warning":5},"renotify_interval":10`, []phase{{15, 7}},
			[]string{"10s warn OK->Warn"}},
		"a warning is when its status is named": {above, `"thresholds":{"critical":10,"warning":5},"renotify_interval":10,"renotify_statuses":["warn"]`, []phase{{15, 7}, {15, 12}},
			[]string{"10s warn OK->Warn", "10m10s renotify Warn->Warn", "15m10s alert Warn->Alert"}},
		"silence is reminded of": {above, `"notify_no_data":true,"renotify_interval":10,"renotify_statuses":["no data"]`, []phase{{1, 1}, {15, silence}},
			[]string{"3m0s no_data OK->No Data", "13m0s renotify No Data->No Data"}},

		"a percentile": {"percentile(last_1m):p95:m{*} by {function} > 10", `"new_group_delay":0`, []phase{{2, 1}, {2, 12}, {2, 1}},
			[]string{"2m20s alert OK->Alert", "4m50s recovery Alert->OK"}},
		"a percentile of one outlier in many": {"percentile(last_5m):p90:m{*} > 10", ``, []phase{{5, 1}, {1, 5}, {4, 1}}, nil},
		"a change upwards": {"change(max(last_1m),last_5m):max:m{*} > 5", ``, []phase{{6, 1}, {4, 12}, {6, 12}},
			[]string{"6m10s alert OK->Alert", "12m0s recovery Alert->OK"}},
		"a change upwards is none downwards": {"change(max(last_1m),last_5m):max:m{*} < -5", ``, []phase{{6, 1}, {4, 12}}, nil},
		"a change without a past":            {"change(max(last_1m),5m_ago):max:m{*} > 5", ``, []phase{{4, 12}}, nil},
		"a change across a gap is no change": {"change(max(last_1m),5m_ago):max:m{*} > 5", ``, []phase{{2, 1}, {6, silence}, {2, 12}}, nil},
		"a change in percent":                {"pct_change(avg(last_1m),5m_ago):avg:m{*} >= 50", ``, []phase{{6, 2}, {2, 3}}, []string{"7m0s alert OK->Alert"}},
		"a change in percent of nothing":     {"pct_change(avg(last_1m),5m_ago):avg:m{*} >= 50", ``, []phase{{6, 0}, {2, 3}}, nil},
		"an equal":                           {"max(last_1m):max:m{*} == 7", ``, []phase{{2, 1}, {2, 7}, {2, 8}}, []string{"2m10s alert OK->Alert", "4m10s recovery Alert->OK"}},
		"an unequal":                         {"max(last_1m):max:m{*} != 7", ``, []phase{{2, 7}, {1, 8}}, []string{"2m10s alert OK->Alert"}},
		"one alert of all groups":            {perGroup, `"notify_by":["*"]`, []phase{{1, 12}, {2, 1}}, []string{"10s alert OK->Alert", "2m0s recovery Alert->OK"}},

		"an evaluation delay looks at the past": {above, `"evaluation_delay":120`, []phase{{2, 1}, {2, 12}, {5, 1}},
			[]string{"4m10s alert OK->Alert", "7m0s recovery Alert->OK"}},
		"one group is not new": {above, `"new_group_delay":600`, []phase{{1, 12}},
			[]string{"10s alert OK->Alert"}},
		"a new group waits a minute": {perGroup, ``, []phase{{2, 12}},
			[]string{"1m0s alert OK->Alert"}},
		"a new group waits as long as said": {perGroup, `"new_group_delay":180`, []phase{{5, 12}},
			[]string{"3m0s alert OK->Alert"}},
		"a long window does not make the wait shorter": {"max(last_5m):max:m{*} by {function} > 10", ``, []phase{{2, 12}},
			[]string{"1m0s alert OK->Alert"}},
		"silence in a long window begins with the last point": {"max(last_5m):max:m{*} > 10", `"notify_no_data":true,"no_data_timeframe":7`, []phase{{2, 1}, {10, silence}},
			[]string{"9m0s no_data OK->No Data"}},
		"silence in a ratio begins with the last point": {"sum(last_5m):default_zero(sum:n{*}.as_count()) / sum:m{*}.as_count() > 10", `"notify_no_data":true,"no_data_timeframe":7`, []phase{{2, 1}, {10, silence}},
			[]string{"9m0s no_data OK->No Data"}},
		"silence filled with zero is data": {"sum(last_5m):default_zero(sum:n{*}) < 1", ``, []phase{{1, silence}},
			[]string{"10s alert OK->Alert"}},
		"a new group need not wait": {perGroup, `"new_group_delay":0`, []phase{{1, 12}},
			[]string{"10s alert OK->Alert"}},
		"a new group that is good again before is not told": {perGroup, `"new_group_delay":180`, []phase{{1, 12}, {4, 1}}, nil},
		"a full window is waited for, but for its first minute": {"max(last_5m):max:m{*} > 10", `"require_full_window":true`, []phase{{6, 12}},
			[]string{"4m0s alert OK->Alert"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := parseMonitor("query alert", test.query, test.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, play(t, m, test.phases)); diff != "" {
				t.Errorf("transitions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnomalies(t *testing.T) {
	const asWritten, recoveryAt0 = `"thresholds":{"critical":0.8}`, `"thresholds":{"critical":0.8,"critical_recovery":0}`
	query := func(args string) string {
		return "avg(last_30m):anomalies(sum:m{*}.as_count(), 'basic', 3, interval=60, alert_window='last_5m'" + args + ") >= 0.8"
	}
	tests := map[string]struct {
		query, recovery, thresholds string
		phases                      []phase
		want                        []string
	}{
		// Of five points of a minute, four must be outside: the fourth is whole four minutes after the change.
		"above": {query(", direction='above'"), "last_5m", asWritten, []phase{{30, 1}, {6, 9}, {10, 1}},
			[]string{"34m0s alert OK->Alert", "38m0s recovery Alert->OK"}},
		"below is not above":                   {query(", direction='above'"), "last_5m", asWritten, []phase{{30, 9}, {6, 1}}, nil},
		"below":                                {query(", direction='below'"), "last_5m", asWritten, []phase{{30, 9}, {6, 1}}, []string{"34m0s alert OK->Alert"}},
		"above is not below":                   {query(", direction='below'"), "last_5m", asWritten, []phase{{30, 1}, {6, 9}}, nil},
		"both, and above":                      {query(", direction='both'"), "last_5m", asWritten, []phase{{30, 1}, {6, 9}}, []string{"34m0s alert OK->Alert"}},
		"both is meant by default":             {query(""), "last_5m", asWritten, []phase{{30, 9}, {6, 1}}, []string{"34m0s alert OK->Alert"}},
		"too short a history gives no verdict": {query(""), "last_5m", asWritten, []phase{{6, 1}, {5, 9}}, nil},
		"a recovery at 0 needs the whole recovery window": {query(", direction='above'"), "last_5m", recoveryAt0, []phase{{30, 1}, {6, 9}, {15, 1}},
			[]string{"34m0s alert OK->Alert", "41m0s recovery Alert->OK"}},
		"a shorter recovery window takes less": {query(", direction='above'"), "last_3m", recoveryAt0, []phase{{30, 1}, {6, 9}, {15, 1}},
			[]string{"34m0s alert OK->Alert", "39m0s recovery Alert->OK"}},
		"a flat history allows for some noise": {query(""), "last_5m", asWritten, []phase{{30, 1}, {6, 1.5}}, nil},
		"filled silence is data, until all before it is forgotten": {query(", count_default_zero='true', direction='above'"), "last_5m", asWritten + `,"notify_no_data":true`,
			[]phase{{30, 1}, {200, silence}}, []string{"3h34m0s no_data OK->No Data"}},
		"silence is no anomaly of its own":  {query(", direction='below'"), "last_5m", asWritten, []phase{{30, 9}, {10, silence}}, nil},
		"silence that is filled is one":     {query(", direction='below', count_default_zero='true'"), "last_5m", asWritten, []phase{{30, 9}, {10, silence}}, []string{"34m0s alert OK->Alert"}},
		"only of a count is silence filled": {strings.Replace(query(", direction='below', count_default_zero='true'"), ".as_count()", "", 1), "last_5m", asWritten, []phase{{30, 9}, {10, silence}}, nil},
		"a filled silence keeps no history": {query(", count_default_zero='true', direction='above'"), "last_5m", asWritten, []phase{{15, 1}, {60, silence}, {20, 1}}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := parseMonitor("query alert", test.query, `"threshold_windows":{"trigger_window":"last_5m","recovery_window":"`+test.recovery+`"},`+test.thresholds)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, play(t, m, test.phases)); diff != "" {
				t.Errorf("transitions (-want +got):\n%s", diff)
			}
		})
	}
}

// The times of a cycle identify it: whoever reverts on recovery finds what the alert has made by them.
func TestTheTimesOfACycle(t *testing.T) {
	m, err := parseMonitor("query alert", "max(last_1m):max:m{*} > 10", `"thresholds":{"critical":10,"warning":5}`)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	var state monitor.State
	var got []monitor.Transition
	for i, v := range []float64{1, 7, 12, 1, 1, 12} {
		w.Add("m", nil, v, start.Add(time.Duration(i)*time.Minute+50*time.Second))
		var ts []monitor.Transition
		state, ts = m.Evaluate(w, state, start.Add(time.Duration(i+1)*time.Minute))
		got = append(got, ts...)
	}
	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	want := []monitor.Transition{
		{Group: "*", From: monitor.OK, To: monitor.Warn, Kind: monitor.KindWarn, Value: 7, Threshold: 5, At: minute(2), TriggeredAt: minute(2), LastTriggeredAt: minute(2)},
		{Group: "*", From: monitor.Warn, To: monitor.Alert, Kind: monitor.KindAlert, Value: 12, Threshold: 10, At: minute(3), TriggeredAt: minute(2), LastTriggeredAt: minute(3)},
		{Group: "*", From: monitor.Alert, To: monitor.OK, Kind: monitor.KindRecovery, Value: 1, Threshold: 10, At: minute(4), TriggeredAt: minute(2), LastTriggeredAt: minute(3)},
		{Group: "*", From: monitor.OK, To: monitor.Alert, Kind: monitor.KindAlert, Value: 12, Threshold: 10, At: minute(6), TriggeredAt: minute(6), LastTriggeredAt: minute(6)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
}

func TestGroupsAreJudgedOnTheirOwn(t *testing.T) {
	m, err := parseMonitor("query alert", "max(last_1m):max:m{*} by {function,model} > 10", ``)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	var state monitor.State
	if got := state.Overall(); got != monitor.NoData {
		t.Errorf("overall status of a new monitor = %s, want No Data", got)
	}
	var got []string
	for i := range 60 {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		w.Add("m", []string{"function:qa", "model:a"}, 1, at)
		if i >= 30 { // the second group joins after 5 minutes, and is bad from its start
			w.Add("m", []string{"function:qa", "model:b"}, 12, at)
		}
		w.Add("m", []string{"function:chat"}, 99, at) // has no model, so it is in no group
		before := state
		var first, second []monitor.Transition
		state, first = m.Evaluate(w, before, at.Add(10*time.Second))
		_, second = m.Evaluate(w, before, at.Add(10*time.Second))
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("a second evaluation of the same state differs (-first +second):\n%s", diff)
		}
		for _, tr := range first {
			got = append(got, fmt.Sprintf("%v %s %s", tr.At.Sub(start), tr.Kind, tr.Group))
		}
	}
	if diff := cmp.Diff([]string{"6m0s alert function:qa,model:b"}, got); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	if got := state.Overall(); got != monitor.Alert || state.Groups["function:qa,model:a"].Status != monitor.OK || len(state.Groups) != 2 {
		t.Errorf("overall = %s of %v, want Alert of two groups", got, state.Groups)
	}
}

// A burn rate takes no data for uptime, so it is never without data, not even when its objective is gone.
func TestABurnRateWithoutItsObjectiveKeepsItsStatus(t *testing.T) {
	m, err := parseMonitor("slo alert", burnQuery, `"notify_no_data":true`)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	state, transitions := m.Evaluate(w, monitor.State{}, start)
	w.objective.ID = "another"
	state, later := m.Evaluate(w, state, start.Add(time.Hour))
	if len(transitions)+len(later) > 0 || state.Overall() != monitor.OK {
		t.Errorf("transitions = %v, %v, status = %s, want none and OK", transitions, later, state.Overall())
	}
}

// 30 days have 43,200 slices of a minute, of which 432 may be bad.
func TestErrorBudget(t *testing.T) {
	m, err := parseMonitor("slo alert", `error_budget("latency").over("30d") > 80`, `"thresholds":{"critical":80,"warning":50}`)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	var state monitor.State
	var got []string
	for minute := range 500 {
		v := 9000.0
		if minute%100 == 0 { // a gap, which is not bad
			v = math.NaN()
		}
		if !math.IsNaN(v) {
			w.Add("llm.request.duration", []string{service}, v, start.Add(time.Duration(minute)*time.Minute))
		}
		if minute%20 == 19 {
			next, transitions := m.Evaluate(w, state, start.Add(time.Duration(minute+1)*time.Minute))
			state = next
			for _, tr := range transitions {
				got = append(got, fmt.Sprintf("%d %s %.1f", minute+1, tr.Kind, tr.Value))
			}
		}
	}
	// After 29 days the first hundred minutes still count; after 30 and a day none does.
	for _, days := range []int{29, 31} {
		next, transitions := m.Evaluate(w, state, start.Add(time.Duration(days)*24*time.Hour))
		state = next
		for _, tr := range transitions {
			got = append(got, fmt.Sprintf("day %d %s %.1f", days, tr.Kind, tr.Value))
		}
	}
	if diff := cmp.Diff([]string{"220 warn 50.2", "360 alert 82.4", "day 31 recovery 0.0"}, got); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
}

// assets returns the monitors that are deployed, with their references resolved: every SLO is that of the test.
func assets(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := fs.Glob(datadog.FS, "monitors/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("list monitors: %d files, %v", len(files), err)
	}
	out := map[string][]byte{}
	for _, name := range files {
		text, err := fs.ReadFile(datadog.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`\$\{slo:[^}]+\}`).ReplaceAll(text, []byte("latency"))
		out[name] = regexp.MustCompile(`\$\{[a-z-]+:([^}]+)\}`).ReplaceAll(text, []byte("$1"))
	}
	return out
}

func TestTheDeployedMonitorsAreEvaluated(t *testing.T) {
	for name, text := range assets(t) {
		m, err := monitor.Parse(1, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := m.Check(newWorld(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, mention := range monitor.Mentions(m.Message(monitor.Transition{Group: "*", To: monitor.Alert, Kind: monitor.KindAlert}, nil)) {
			if mention.Kind == monitor.MentionUnknown {
				t.Errorf("%s mentions @%s, which reaches nothing", name, mention.Handle)
			}
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	w := newWorld(b)
	for i := range 360 {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		for f := range 4 {
			for m := range 3 {
				tags := []string{service, fmt.Sprintf("function:f%d", f), fmt.Sprintf("model:m%d", m), "env:local", "outcome:success"}
				// Three requests per bucket, of durations that differ as real ones do.
				for k := range 3 {
					w.Add("llm.request.duration", tags, 300+float64((i*7+f*31+m*101+k*977)%1500), at)
					w.Add("llm.request.cost", tags, 0.001+float64(k)*0.0001, at)
					w.Add("llm.request.count", tags, 1, at)
					w.Add("llm.quality.groundedness", tags, 0.9, at)
				}
				if i%50 == 0 {
					w.Add("llm.request.error", append(tags[:4:4], "outcome:error"), 1, at)
				}
			}
		}
	}
	for name, text := range assets(b) {
		b.Run(strings.TrimSuffix(strings.TrimPrefix(name, "monitors/"), ".json"), func(b *testing.B) {
			m, err := monitor.Parse(1, text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				m.Evaluate(w, monitor.State{}, start.Add(time.Hour))
			}
		})
	}
}
