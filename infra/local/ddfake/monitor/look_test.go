package monitor_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
)

// TestLookSeesWhatEvaluateJudges looks through a threshold and an anomaly monitor at the same ten minutes.
func TestLookSeesWhatEvaluateJudges(t *testing.T) {
	begin := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		query, thresholds string
		// perMinute is the count of one minute.
		perMinute func(minute int) int
		// want are value, point and upper edge; "NaN" where there is none.
		want []string
	}{
		"a threshold": {
			"sum(last_5m):sum:m{*}.as_count() > 40", `{"thresholds":{"critical":40}}`, func(int) int { return 6 }, []string{"*: 30 NaN NaN"},
		},
		"an anomaly in its last five minutes": {
			"avg(last_30m):anomalies(sum:m{*}.as_count(), 'basic', 3, direction='above', interval=60, alert_window='last_5m', count_default_zero='true') >= 0.8",
			`{"thresholds":{"critical":0.8,"critical_recovery":0},"threshold_windows":{"trigger_window":"last_5m","recovery_window":"last_5m"}}`,
			func(minute int) int {
				if minute >= 25 {
					return 50
				}
				return 10
			},
			// The band is the median and three times a fifth of it.
			[]string{"*: 1 50 16"},
		},
		"an anomaly without enough history": {
			"avg(last_30m):anomalies(sum:m{*}.as_count(), 'basic', 3, direction='above', interval=60, alert_window='last_5m', count_default_zero='true') >= 0.8",
			`{"thresholds":{"critical":0.8,"critical_recovery":0},"threshold_windows":{"trigger_window":"last_5m","recovery_window":"last_5m"}}`,
			func(minute int) int {
				if minute >= 22 {
					return 10
				}
				return 0
			},
			[]string{"*: NaN 10 NaN"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := monitor.Parse(7, []byte(fmt.Sprintf(`{"name":"M","type":"query alert","query":%q,"message":"x","options":%s}`, tt.query, tt.thresholds)))
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			for minute := range 30 {
				for i := range tt.perMinute(minute) {
					w.Add("m", nil, 1, begin.Add(time.Duration(minute)*time.Minute+time.Duration(i)*time.Millisecond))
				}
			}
			now := begin.Add(30 * time.Minute)
			var got []string
			for _, s := range m.Look(w, now) {
				got = append(got, fmt.Sprintf("%s: %.4g %.4g %.4g", s.Group, s.Value, s.Point, s.Upper))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sights (-want +got):\n%s", diff)
			}
			state, _ := m.Evaluate(w, monitor.State{}, now)
			for _, s := range m.Look(w, now) {
				if v := state.Groups[s.Group].Value; v != s.Value && !math.IsNaN(s.Value) {
					t.Errorf("%s: Look sees %v, Evaluate judged %v", s.Group, s.Value, v)
				}
			}
		})
	}
}
