package monitor_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

const (
	service     = "service:llm-reliability-control-plane"
	costQuery   = "avg(last_30m):anomalies(sum:llm.request.cost{" + service + "} by {function}.as_count(), 'basic', 3, direction='above', interval=60, alert_window='last_5m', count_default_zero='true') >= 0.8"
	burnQuery   = `burn_rate("latency").over("30d").long_window("1h").short_window("5m") > 14.4`
	qualQuery   = "avg(last_5m):avg:llm.quality.groundedness{" + service + "} by {function} < 0.7"
	errorQuery  = "sum(last_5m):default_zero(sum:llm.request.error{" + service + "} by {function}.as_count()) / sum:llm.request.count{" + service + "} by {function}.as_count() * 100 > 5"
	logQuery    = `logs("service:llm-reliability-control-plane status:error").index("*").rollup("count").by("@error.kind").last("5m") > 3`
	costWindows = `,"threshold_windows":{"trigger_window":"last_5m","recovery_window":"last_5m"}`
)

// world is the data of a test.
type world struct {
	*metric.Store
	objective *slo.SLO
	happened  map[string][]search.Event
	monitors  map[int64]*monitor.Monitor
	states    map[int64]monitor.State
}

func (w world) SLO(id string) (*slo.SLO, bool) { return w.objective, id == w.objective.ID }

func (w world) Events(source string, _, _ time.Time) []search.Event { return w.happened[source] }

func (w world) Monitor(id int64) (*monitor.Monitor, monitor.State, bool) {
	m, ok := w.monitors[id]
	return m, w.states[id], ok
}

func newWorld(t testing.TB) world {
	t.Helper()
	s, err := metric.New(metric.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := slo.Parse("latency", []byte(`{"type":"time_slice","name":"p95","sli_specification":{"time_slice":{"comparator":"<","threshold":2000,"query_interval_seconds":60,
		"query":{"formulas":[{"formula":"query1"}],"queries":[{"data_source":"metrics","name":"query1","query":"p95:llm.request.duration{`+service+`}"}]}}},
		"thresholds":[{"timeframe":"30d","target":99}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return world{Store: s, objective: o, happened: map[string][]search.Event{}, monitors: map[int64]*monitor.Monitor{}, states: map[int64]monitor.State{}}
}

func newMonitor(t testing.TB, kind, query, options string) *monitor.Monitor {
	t.Helper()
	text, err := json.Marshal(query)
	if err != nil {
		t.Fatal(err)
	}
	m, err := monitor.Parse(7, []byte(`{"name":"n","type":"`+kind+`","message":"m","query":`+string(text)+`,"options":{"thresholds":{`+options+`}`))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// event is a transition as a table shows it: at which minute after the start, and what.
type event struct {
	Minute float64
	Kind   monitor.Kind
	Group  string
}

// run feeds six points a minute and evaluates as often, and returns the transitions.
func run(t testing.TB, m *monitor.Monitor, minutes int, feed func(w world, minute int, at time.Time)) []event {
	t.Helper()
	w := newWorld(t)
	if err := m.Check(w); err != nil {
		t.Fatal(err)
	}
	var state monitor.State
	var out []event
	for i := range minutes * 6 {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		feed(w, i/6, at)
		now := at.Add(10 * time.Second)
		var ts []monitor.Transition
		state, ts = m.Evaluate(w, state, now)
		for _, tr := range ts {
			out = append(out, event{now.Sub(start).Minutes(), tr.Kind, tr.Group})
		}
	}
	return out
}

func TestCostAnomaly(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	tests := map[string]struct {
		cost  func(minute int) float64 // NaN for no traffic
		fires bool
	}{
		"a sustained step fires and recovers": {func(m int) float64 {
			if m >= 30 && m < 42 {
				return 5
			}
			return 1
		}, true},
		"a single minute does not": {func(m int) float64 {
			if m == 30 {
				return 50
			}
			return 1
		}, false},
		"the start of traffic does not": {func(int) float64 { return 1 }, false},
		"a gap and its return do not": {func(m int) float64 {
			if m >= 20 && m < 45 {
				return math.NaN()
			}
			return 1
		}, false},
		"noise of 30 % does not":     {func(int) float64 { return 0.7 + 0.6*rng.Float64() }, false},
		"growth of 2 % a minute not": {func(m int) float64 { return 1 + 0.02*float64(m) }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMonitor(t, "query alert", costQuery, `"critical":0.8}`+costWindows+`}`)
			got := run(t, m, 90, func(w world, minute int, at time.Time) {
				if v := test.cost(minute); !math.IsNaN(v) {
					w.Add("llm.request.cost", []string{service, "function:qa"}, v/6, at)
				}
			})
			if !test.fires {
				if len(got) > 0 {
					t.Errorf("transitions = %v, want none", got)
				}
				return
			}
			if len(got) != 2 || got[0].Kind != monitor.KindAlert || got[1].Kind != monitor.KindRecovery {
				t.Fatalf("transitions = %v, want alert and recovery", got)
			}
			if after := got[0].Minute - 30; after < 3 || after > 6 {
				t.Errorf("fired %v minutes after the step, want 3 to 6", after)
			}
			if after := got[1].Minute - 42; after < 0 || after > 6 {
				t.Errorf("recovered %v minutes after the end, want at most 6", after)
			}
		})
	}
}

func TestTheOtherThreeMonitorsFireAndRecover(t *testing.T) {
	tests := map[string]struct {
		kind, query, options string
		feed                 func(w world, bad bool, at time.Time)
		group                string
	}{
		"latency burn": {"slo alert", burnQuery, `"critical":14.4}}`, func(w world, bad bool, at time.Time) {
			v := 800.0
			if bad {
				v = 6000
			}
			w.Add("llm.request.duration", []string{service, "function:qa"}, v, at)
		}, "*"},
		"quality": {"query alert", qualQuery, `"critical":0.7,"critical_recovery":0.8}}`, func(w world, bad bool, at time.Time) {
			v := 0.9
			if bad {
				v = 0.2
			}
			w.Add("llm.quality.groundedness", []string{service, "function:qa"}, v, at)
		}, "function:qa"},
		"errors": {"query alert", errorQuery, `"critical":5}}`, func(w world, bad bool, at time.Time) {
			w.Add("llm.request.count", []string{service, "function:qa"}, 1, at)
			if bad {
				w.Add("llm.request.error", []string{service, "function:qa"}, 1, at)
			}
		}, "function:qa"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, newMonitor(t, test.kind, test.query, test.options), 70, func(w world, minute int, at time.Time) {
				test.feed(w, minute >= 20 && minute < 40, at)
			})
			for i := range got {
				got[i].Minute = 0
			}
			want := []event{{0, monitor.KindAlert, test.group}, {0, monitor.KindRecovery, test.group}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("transitions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMentions(t *testing.T) {
	got := monitor.Mentions(`x @workflow-a-b(name="v w", other=1) @oncall-t me@x.io @me@x.io @nobody`)
	want := []monitor.Mention{
		{Kind: monitor.MentionWorkflow, Handle: "a-b", Params: map[string]string{"name": "v w", "other": "1"}},
		{Kind: monitor.MentionOnCall, Handle: "t"},
		{Kind: monitor.MentionEmail, Handle: "me@x.io"},
		{Kind: monitor.MentionUnknown, Handle: "nobody"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Mentions (-want +got):\n%s", diff)
	}
}

func TestMessage(t *testing.T) {
	m, err := monitor.Parse(1, []byte(`{"name":"n","type":"query alert","query":"avg(last_5m):avg:a{*} by {function} < 0.7",
		"message":"{{#is_alert}}bad {{function.name}} {{value}} {{comparator}} {{threshold}} {{last_triggered_at_epoch}}{{/is_alert}}{{^is_alert}}fine{{/is_alert}}{{#is_match \"function.name\" \"q\"}} q{{/is_match}}"}`))
	if err != nil {
		t.Fatal(err)
	}
	tr := monitor.Transition{
		Group: "function:qa", Tags: []string{"function:qa"}, From: monitor.OK, To: monitor.Alert, Kind: monitor.KindAlert,
		Value: 0.25, Threshold: 0.7, At: start, TriggeredAt: start, LastTriggeredAt: start,
	}
	wall := func(time.Time) time.Time { return time.UnixMilli(42) }
	if got, want := m.Message(tr, wall), "bad qa 0.25 < 0.7 42 q"; got != want {
		t.Errorf("Message = %q, want %q", got, want)
	}
	tr.From, tr.To, tr.Kind = monitor.Alert, monitor.OK, monitor.KindRecovery
	if got, want := m.Message(tr, wall), "fine q"; got != want {
		t.Errorf("Message = %q, want %q", got, want)
	}
}
