package monitor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
)

// parseMonitor reads a monitor of a query and options without their braces.
func parseMonitor(kind, query, options string) (*monitor.Monitor, error) {
	text, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	return monitor.Parse(7, []byte(`{"name":"n","type":"`+kind+`","message":"m","query":`+string(text)+`,"options":{`+options+`}}`))
}

func TestParseKeepsWhatIsWritten(t *testing.T) {
	m, err := monitor.Parse(7, []byte(`{"id":1,"name":"p95 of {{model.name}}","type":"query alert","tags":["a:b"],"priority":2,
		"query":"percentile(last_5m):p95:llm.request.duration{service:x} by {model} > 2","message":"slow @webhook-w",
		"options":{"thresholds":{"critical":2,"critical_recovery":1.6,"warning":1.5},"notify_no_data":false,"no_data_timeframe":20,
		"require_full_window":false,"evaluation_delay":60,"new_group_delay":60,"include_tags":true,"notify_audit":false,"renotify_interval":15,
		"renotify_occurrences":3,"renotify_statuses":["alert"],"timeout_h":0}}`))
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != 7 || m.Name != "p95 of {{model.name}}" || m.Type != "query alert" || m.Template != "slow @webhook-w" || m.Priority != 2 {
		t.Errorf("monitor = %+v, want what is written, with the id 7", m)
	}
	tr := monitor.Transition{Group: "model:a", Tags: []string{"model:a"}, To: monitor.Alert, Kind: monitor.KindAlert}
	if got, want := m.Title(tr, nil), "[Triggered on {model:a}] p95 of a"; got != want {
		t.Errorf("Title = %q, want %q", got, want)
	}
}

func TestParseRefusesQueries(t *testing.T) {
	anomaly := func(args string) string { return "avg(last_30m):anomalies(sum:a{*}, " + args + ") >= 0.8" }
	const windows = `,"threshold_windows":{"trigger_window":"last_5m","recovery_window":"last_5m"}`
	tests := map[string]struct {
		kind, query, options string
		want                 string
		notEvaluated         bool
	}{
		"nothing":                             {"query alert", "", "", "want an expression, an operator of > >= < <= == !=, and a number", false},
		"no comparison":                       {"query alert", "avg(last_5m):avg:a{*}", "", "want an expression, an operator of > >= < <= == !=, and a number", false},
		"no window":                           {"query alert", "avg:a{*} > 5", "", "want aggregator(last_5m):query", false},
		"a window of seconds":                 {"query alert", "avg(last_5s):avg:a{*} > 5", "", `window "last_5s" is not between last_1m and last_1w`, false},
		"a window of a month":                 {"query alert", "avg(last_31d):avg:a{*} > 5", "", `window "last_31d" is not between last_1m and last_1w`, false},
		"no window at all":                    {"query alert", "avg(last_0m):avg:a{*} > 5", "", `window "last_0m" is not between last_1m and last_1w`, false},
		"a metric query that is none":         {"query alert", "avg(last_5m):a{*} > 5", "", "metric query, offset 1: want : or ( after a", false},
		"a percentile of an average":          {"query alert", "percentile(last_5m):avg:a{*} > 5", "", "percentile() needs one percentile query", false},
		"an average of a ratio of counts":     {"query alert", "avg(last_5m):sum:a{*}.as_count() / sum:b{*}.as_count() > 5", "", "arithmetic with as_count needs sum(), have avg()", false},
		"a burn rate as a query alert":        {"query alert", burnQuery, "", `type "query alert" does not fit the query`, false},
		"a metric as an slo alert":            {"slo alert", qualQuery, "", `type "slo alert" does not fit the query`, false},
		"a burn rate without short window":    {"slo alert", `burn_rate("x").over("30d").long_window("1h") > 14.4`, "", "want burn_rate(", false},
		"a long window of half an hour":       {"slo alert", `burn_rate("x").over("30d").long_window("30m").short_window("5m") > 14.4`, "", "want a long window of 1h to 48h and a shorter short one", false},
		"a short window that is longer":       {"slo alert", `burn_rate("x").over("30d").long_window("1h").short_window("2h") > 14.4`, "", "want a long window of 1h to 48h and a shorter short one", false},
		"a long window that is none":          {"slo alert", `burn_rate("x").over("30d").long_window("h").short_window("5m") > 14.4`, "", "long_window: ", false},
		"an algorithm that does not exist":    {"query alert", anomaly("'simple', 3, interval=60, alert_window='last_5m'"), "", `unknown anomaly algorithm "simple"`, false},
		"anomalies without an algorithm":      {"query alert", anomaly("3"), "", "want anomalies(query, 'basic', bounds, key='value', …)", false},
		"bounds of zero":                      {"query alert", anomaly("'basic', 0, interval=60, alert_window='last_5m'"), "", `bounds "0" are not above 0`, false},
		"an argument twice":                   {"query alert", anomaly("'basic', 3, interval=60, interval=60, alert_window='last_5m'"), "", "anomalies: interval twice", false},
		"an argument for later":               {"query alert", anomaly("'basic', 3, interval=60, alert_window='last_5m', timezone='utc'"), "", "anomalies: timezone: not evaluated here", true},
		"a direction that does not exist":     {"query alert", anomaly("'basic', 3, direction='up', interval=60, alert_window='last_5m'"), "", `direction "up" is not above, below or both`, false},
		"seasonality of basic":                {"query alert", anomaly("'basic', 3, interval=60, alert_window='last_5m', seasonality='hourly'"), "", "basic takes no seasonality", false},
		"count_default_zero of neither":       {"query alert", anomaly("'basic', 3, interval=60, alert_window='last_5m', count_default_zero='yes'"), "", `count_default_zero "yes" is not true or false`, false},
		"no interval":                         {"query alert", anomaly("'basic', 3, alert_window='last_5m'"), "", "anomalies needs interval and alert_window", false},
		"an interval above a fifth":           {"query alert", anomaly("'basic', 3, interval=120, alert_window='last_5m'"), "", "interval 2m0s is not a multiple of 10s up to a fifth of the alert window 5m0s", false},
		"an alert window above the window":    {"query alert", anomaly("'basic', 3, interval=60, alert_window='last_1h'"), "", "alert_window 1h0m0s is longer than the window 30m0s", false},
		"a maximum of anomalies":              {"query alert", "max(last_30m):anomalies(sum:a{*}, 'basic', 3, interval=60, alert_window='last_5m') >= 0.8", "", "an anomaly monitor aggregates by avg", false},
		"a part above 1":                      {"query alert", "avg(last_30m):anomalies(sum:a{*}, 'basic', 3, interval=60, alert_window='last_5m') >= 80", "", "want >= or > a part from 0 to 1, have >= 80", false},
		"anomalies without windows":           {"query alert", anomaly("'basic', 3, interval=60, alert_window='last_5m'"), "", "an anomaly monitor needs threshold_windows", false},
		"another trigger window":              {"query alert", anomaly("'basic', 3, interval=60, alert_window='last_10m'"), windows[1:], "trigger_window 5m0s is not the alert_window 10m0s of the query", false},
		"a recovery window above the query":   {"query alert", anomaly("'basic', 3, interval=60, alert_window='last_5m'"), strings.Replace(windows[1:], `recovery_window":"last_5m`, `recovery_window":"last_1h`, 1), "recovery_window 1h0m0s is outside 2m0s..5m0s", false},
		"a recovery window that is too short": {"query alert", strings.Replace(anomaly("'basic', 3, interval=60, alert_window='last_10m'"), "0.8", "0.5", 1), `"threshold_windows":{"trigger_window":"last_10m","recovery_window":"last_5m"}`, "recovery_window 5m0s is outside 6m0s..10m0s", false},
		"a trigger window alone":              {"query alert", anomaly("'basic', 3, interval=60, alert_window='last_5m'"), `"threshold_windows":{"trigger_window":"last_5m"}`, "an anomaly monitor needs threshold_windows with trigger_window and recovery_window", false},
		"a part of at least nothing":          {"query alert", "avg(last_30m):anomalies(sum:a{*}, 'basic', 3, interval=60, alert_window='last_5m') >= 0", "", "a part of at least 0 is always anomalous", false},
		"a season of a month":                 {"query alert", anomaly("'agile', 3, interval=60, alert_window='last_5m', seasonality='monthly'"), "", `seasonality "monthly" is not hourly, daily or weekly`, false},
		"agile without a season":              {"query alert", anomaly("'agile', 3, interval=60, alert_window='last_5m'"), "", "agile without seasonality: not evaluated here", true},
		"robust by the half minute":           {"query alert", anomaly("'robust', 3, interval=30, alert_window='last_5m', seasonality='daily'"), "", "interval 30s with daily seasonality is not whole minutes that divide the season: not evaluated here", true},
		"an argument that does not exist":     {"query alert", anomaly("'basic', 3, interval=60, window='last_5m'"), "", "anomalies: unknown argument window", false},

		"a change by no window of time":      {"query alert", "change(last_5m):avg:a{*} > 5", "", "time aggregator change: not evaluated here", true},
		"a change over 3 minutes":            {"query alert", "change(avg(last_5m),last_3m):avg:a{*} > 5", "", "change: a shift of 3m is not one of 5m,", false},
		"a change of three days":             {"query alert", "change(avg(last_3d),last_1d):avg:a{*} > 5", "", "change: window 72h0m0s is above 48h", false},
		"a change of a ratio of counts":      {"query alert", "change(sum(last_5m),last_1h):sum:a{*}.as_count() / sum:b{*}.as_count() > 5", "", "change of arithmetic with as_count: not evaluated here", true},
		"an error budget above all of it":    {"slo alert", `error_budget("x").over("7d") > 101`, "", "an error budget of 101 % is above 100", false},
		"an error budget below":              {"slo alert", `error_budget("x").over("7d") < 75`, "", "an SLO alert compares by > or >=, have <", false},
		"an error budget of nothing":         {"slo alert", `error_budget("x").over("7d") > 0`, "", "threshold 0 is not above 0", false},
		"an error budget over nothing":       {"slo alert", `error_budget("x") > 75`, "", `want error_budget("id").over("30d")`, false},
		"a burn rate that is not above":      {"slo alert", strings.Replace(burnQuery, ">", "<=", 1), "", "an SLO alert compares by > or >=, have <=", false},
		"a warning before an equal":          {"query alert", "avg(last_5m):avg:a{*} == 5", `"thresholds":{"critical":5,"warning":4}`, "thresholds.warning has no meaning for this query", false},
		"another type":                       {"rum alert", `rum("x").rollup("count").last("5m") > 1`, "", `type "rum alert": not evaluated here`, true},
		"a log alert as an event alert":      {"event-v2 alert", logQuery, "", `type "event-v2 alert" does not fit the query`, false},
		"a metric as a log alert":            {"log alert", qualQuery, "", `type "log alert" does not fit the query`, false},
		"logs without an index":              {"log alert", strings.Replace(logQuery, `.index("*")`, "", 1), "", `logs needs index("*")`, false},
		"events with an index":               {"event-v2 alert", `events("a").index("*").rollup("count").last("5m") > 1`, "", "events has no index", false},
		"logs without a rollup":              {"log alert", `logs("a").index("*").last("5m") > 1`, "", "want rollup()", false},
		"logs without a window":              {"log alert", `logs("a").index("*").rollup("count") > 1`, "", "want last()", false},
		"logs of three days":                 {"log alert", `logs("a").index("*").rollup("count").last("3d") > 1`, "", "last: 3d is above 48h", false},
		"a window before the groups":         {"log alert", `logs("a").index("*").rollup("count").last("5m").by("b") > 1`, "", `want last("5m") at the end`, false},
		"a rollup that does not exist":       {"log alert", strings.Replace(logQuery, "count", "mode", 1), "", `rollup: method "mode" is unknown`, false},
		"a count of a facet":                 {"log alert", strings.Replace(logQuery, `"count"`, `"count", "@a"`, 1), "", "rollup: count takes no facet", false},
		"an average of nothing":              {"log alert", strings.Replace(logQuery, `"count"`, `"avg"`, 1), "", "rollup: avg needs one facet such as @duration", false},
		"five facets":                        {"log alert", strings.Replace(logQuery, "@error.kind", "a,b,c,d,e", 1), "", "by: 5 facets, want 1 to 4", false},
		"a facet twice":                      {"log alert", strings.Replace(logQuery, "@error.kind", "a,a", 1), "", "by: a twice", false},
		"a facet with a space":               {"log alert", strings.Replace(logQuery, "@error.kind", "a b", 1), "", `by: "a b" is no facet`, false},
		"an unknown part":                    {"log alert", strings.Replace(logQuery, ".by(", ".of(", 1), "", "of() is unknown", false},
		"a part twice":                       {"log alert", strings.Replace(logQuery, `.by("@error.kind")`, `.by("a").by("b")`, 1), "", "by twice", false},
		"a search that is none":              {"log alert", strings.Replace(logQuery, "status:error", "(status:error", 1), "", "search query", false},
		"a text without an end":              {"log alert", `logs("a).index("*").rollup("count").last("5m") > 1`, "", "logs(): want , or ), have", false},
		"text without quotes":                {"log alert", `logs(a).index("*").rollup("count").last("5m") > 1`, "", "logs(): want a text in quotes, have", false},
		"nothing behind a comma":             {"log alert", `logs("a",).index("*").rollup("count").last("5m") > 1`, "", "logs(): nothing after the comma", false},
		"no data of logs as of metrics":      {"log alert", logQuery, `"notify_no_data":true`, "a log alert has on_missing_data, not notify_no_data and no_data_timeframe", false},
		"no data of metrics as of logs":      {"query alert", qualQuery, `"on_missing_data":"default"`, "on_missing_data is for monitors on logs, events and spans, not for a query alert", false},
		"missing data of another kind":       {"log alert", logQuery, `"on_missing_data":"ok"`, `on_missing_data "ok" is not default, show_no_data, show_and_notify_no_data or resolve`, false},
		"a retention of a metric":            {"query alert", qualQuery, `"group_retention_duration":"1h"`, "group_retention_duration is for monitors on logs, events and spans, not for a query alert", false},
		"a retention of minutes":             {"log alert", logQuery, `"group_retention_duration":"30m"`, `group_retention_duration "30m" is not between 1h and 72h`, false},
		"one alert of all groups of metrics": {"query alert", qualQuery, `"groupby_simple_monitor":true`, "groupby_simple_monitor is for log monitors", false},
		"log samples of a metric":            {"query alert", qualQuery, `"enable_logs_sample":true`, "enable_logs_sample is for log monitors", false},
		"notifications by no group":          {"query alert", qualQuery, `"notify_by":["model"]`, `notify_by: "model" is not among the groups {function} of the query`, false},
		"notifications by some groups":       {"query alert", "avg(last_5m):avg:a{*} by {function,model} > 1", `"notify_by":["model"]`, "notify_by of some groups: not evaluated here", true},
		"a preset that does not exist":       {"query alert", qualQuery, `"notification_preset_name":"hide"`, `notification_preset_name "hide" is unknown`, false},
		"a composite of nothing":             {"composite", "", "", "composite: want the id of a monitor, ! or (, have", false},
		"a composite of a query":             {"composite", qualQuery, "", "composite: want the id of a monitor, ! or (, have", false},
		"a composite of half an operator":    {"composite", "1 & 2", "", `composite: unexpected "& 2"`, false},
		"a composite that does not end":      {"composite", "1 && (2 || 3", "", "composite: want ), have", false},
		"a composite of monitor 0":           {"composite", "0 && 1", "", "composite: want the id of a monitor, ! or (, have", false},
		"a composite of eleven":              {"composite", "1&&2&&3&&4&&5&&6&&7&&8&&9&&10&&11", "", "composite: more than 10 monitors", false},
		"a composite that is too deep":       {"composite", strings.Repeat("(", 40) + "1", "", "composite: nested deeper than 32", false},
		"a composite of too many negations":  {"composite", strings.Repeat("!", 40) + "1", "", "composite: nested deeper than 32", false},
		"a composite with a threshold":       {"composite", "1 && 2", `"thresholds":{"critical":1}`, "a composite has no thresholds", false},
		"a composite with a warning":         {"composite", "1 && 2", `"thresholds":{"warning":1}`, "thresholds.warning has no meaning for this query", false},

		"windows of no anomaly": {"query alert", qualQuery, windows[1:], "threshold_windows are for anomaly monitors", false},

		"another critical than the query":    {"query alert", qualQuery, `"thresholds":{"critical":0.6}`, "thresholds.critical 0.6 is not the threshold 0.7 of the query", false},
		"a warning beyond critical":          {"query alert", qualQuery, `"thresholds":{"warning":0.6}`, "thresholds.warning 0.6 is on the wrong side of critical 0.7", false},
		"a recovery at critical":             {"query alert", qualQuery, `"thresholds":{"critical_recovery":0.7}`, "thresholds.critical_recovery 0.7 is on the wrong side of critical 0.7", false},
		"a warning recovery of no warning":   {"query alert", qualQuery, `"thresholds":{"warning_recovery":0.9}`, "thresholds.warning_recovery 0.9 has no warning beyond it", false},
		"a warning recovery before":          {"query alert", qualQuery, `"thresholds":{"warning":0.9,"warning_recovery":0.8}`, "thresholds.warning_recovery 0.8 has no warning beyond it", false},
		"a negative delay":                   {"query alert", qualQuery, `"evaluation_delay":-1`, "evaluation_delay -1 is negative", false},
		"a negative delay of new groups":     {"query alert", qualQuery, `"new_group_delay":-1`, "new_group_delay -1 is negative", false},
		"a timeout above a day":              {"query alert", qualQuery, `"timeout_h":25`, "timeout_h 25 is above 24", false},
		"a status that does not exist":       {"query alert", qualQuery, `"renotify_statuses":["ok"]`, `renotify_statuses: "ok" is not alert, warn or no data`, false},
		"an option that it does not know":    {"query alert", qualQuery, `"silenced":{}`, `unknown field "silenced"`, false},
		"a threshold that is no number":      {"query alert", qualQuery, `"thresholds":{"critical":"0.7"}`, "cannot unmarshal string", false},
		"an option of another type entirely": {"query alert", qualQuery, `"renotify_interval":"10"`, "cannot unmarshal string", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseMonitor(test.kind, test.query, test.options)
			if err == nil || !strings.HasPrefix(err.Error(), "parse monitor 7: ") || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Parse = %v, want parse monitor 7: … %s", err, test.want)
			}
			if got := errors.Is(err, monitor.ErrNotEvaluated); got != test.notEvaluated {
				t.Errorf("is ErrNotEvaluated = %v, want %v (%v)", got, test.notEvaluated, err)
			}
		})
	}
}

func TestParseRefusesDocuments(t *testing.T) {
	const rest = `"type":"query alert","query":"avg(last_5m):avg:a{*} by {function} > 1"`
	tests := map[string]struct{ text, want string }{
		"what is not JSON":                {`{`, "unexpected end of JSON input"},
		"a second document":               {`{"name":"n","message":"",` + rest + `}{}`, "after top-level value"},
		"a key that it does not know":     {`{"name":"n","multi":true,` + rest + `}`, `unknown field "multi"`},
		"priority 0":                      {`{"name":"n","priority":0,` + rest + `}`, "priority 0 is not between 1 and 5"},
		"priority 6":                      {`{"name":"n","priority":6,` + rest + `}`, "priority 6 is not between 1 and 5"},
		"an unknown variable":             {`{"name":"n","message":"{{valeu}}",` + rest + `}`, "message: unknown variable {{valeu}}"},
		"a tag that is no group":          {`{"name":"n","message":"{{model.name}}",` + rest + `}`, "message: unknown variable {{model.name}}"},
		"a variable that is not closed":   {`{"name":"n","message":"{{value",` + rest + `}`, "message: {{value is not closed"},
		"an unknown block":                {`{"name":"n","message":"{{#is_bad}}{{/is_bad}}",` + rest + `}`, "message: unknown block {{#is_bad}}"},
		"a block that is not closed":      {`{"name":"n","message":"{{#is_alert}}x",` + rest + `}`, "message: {{#is_alert}} is not closed"},
		"a block closed by another":       {`{"name":"n","message":"{{#is_alert}}x{{/is_warning}}",` + rest + `}`, `message: {{#is_alert}} is closed by {{/is_warning}}`},
		"a closing tag of nothing":        {`{"name":"n","message":"x{{/is_alert}}",` + rest + `}`, "message: {{/is_alert}} closes nothing"},
		"a closing tag without a name":    {`{"name":"n","message":"x{{/}}@oncall-t",` + rest + `}`, "message: {{/}} closes nothing"},
		"a match without a text":          {`{"name":"n","message":"{{#is_match \"function.name\"}}{{/is_match}}",` + rest + `}`, "message: is_match needs a variable and a text"},
		"a match of an unknown variable":  {`{"name":"n","message":"{{#is_match \"model.name\" \"x\"}}{{/is_match}}",` + rest + `}`, `message: is_match: unknown variable "model.name"`},
		"a condition with an argument":    {`{"name":"n","message":"{{#is_alert \"x\"}}{{/is_alert}}",` + rest + `}`, "message: is_alert takes no arguments"},
		"an argument without quotes":      {`{"name":"n","message":"{{#is_match function.name x}}{{/is_match}}",` + rest + `}`, "want quoted arguments"},
		"blocks in blocks without end":    {`{"name":"n","message":"` + strings.Repeat("{{#is_alert}}", 20) + `",` + rest + `}`, "message: blocks nested deeper than 16"},
		"an unknown variable in the name": {`{"name":"{{x}}","message":"",` + rest + `}`, "name: unknown variable {{x}}"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := monitor.Parse(7, []byte(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), "parse monitor 7: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Parse = %v, want parse monitor 7: … %s", err, test.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	tests := map[string]struct{ query, want string }{
		"what can burn so fast":        {burnQuery, ""},
		"an objective that is none":    {strings.Replace(burnQuery, "latency", "other", 1), `monitor 7: no slo "other"`},
		"a timeframe of no target":     {strings.Replace(burnQuery, "30d", "7d", 1), `monitor 7: slo "latency" has no timeframe 7d`},
		"faster than it can ever burn": {strings.Replace(burnQuery, "14.4", "101", 1), "monitor 7: burn rate 101 is above the highest possible, 100"},
		"as fast as it can ever burn":  {strings.Replace(burnQuery, "14.4", "100", 1), ""},
		"a budget":                     {`error_budget("latency").over("30d") > 100`, ""},
		"a budget of no objective":     {`error_budget("other").over("30d") > 80`, `monitor 7: no slo "other"`},
		"a budget over no timeframe":   {`error_budget("latency").over("90d") > 80`, `monitor 7: slo "latency" has no timeframe 90d`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := parseMonitor("slo alert", test.query, "")
			if err != nil {
				t.Fatal(err)
			}
			switch err := m.Check(newWorld(t)); {
			case err == nil && test.want != "", err != nil && err.Error() != test.want:
				t.Errorf("Check = %v, want %q", err, test.want)
			}
		})
	}
}

func TestBlocksOfAMessage(t *testing.T) {
	text := ""
	for _, name := range []string{"is_alert", "is_warning", "is_no_data", "is_recovery", "is_alert_recovery", "is_warning_recovery", "is_no_data_recovery", "is_alert_to_warning", "is_renotify"} {
		text += "{{#" + name + "}}" + name + " {{/" + name + "}}"
	}
	m, err := monitor.Parse(1, []byte(`{"name":"n","type":"query alert","query":"avg(last_5m):avg:a{*} > 1","message":"`+text+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		from, to monitor.Status
		kind     monitor.Kind
		want     string
	}{
		"an alert":                 {monitor.OK, monitor.Alert, monitor.KindAlert, "is_alert "},
		"a reminder of an alert":   {monitor.Alert, monitor.Alert, monitor.KindRenotify, "is_alert is_renotify "},
		"a warning":                {monitor.OK, monitor.Warn, monitor.KindWarn, "is_warning "},
		"a warning after an alert": {monitor.Alert, monitor.Warn, monitor.KindWarn, "is_warning is_alert_to_warning "},
		"no data":                  {monitor.OK, monitor.NoData, monitor.KindNoData, "is_no_data "},
		"an alert is over":         {monitor.Alert, monitor.OK, monitor.KindRecovery, "is_recovery is_alert_recovery "},
		"a warning is over":        {monitor.Warn, monitor.OK, monitor.KindRecovery, "is_recovery is_warning_recovery "},
		"data is back":             {monitor.NoData, monitor.OK, monitor.KindRecovery, "is_recovery is_no_data_recovery "},
	}
	for name, test := range tests {
		if got := m.Message(monitor.Transition{From: test.from, To: test.to, Kind: test.kind}, nil); got != test.want {
			t.Errorf("%s: message = %q, want %q", name, got, test.want)
		}
	}
}

func TestMatchesOfAMessage(t *testing.T) {
	tests := map[string]struct{ block, want string }{
		"a part matches":                {`{{#is_match "function.name" "compl"}}yes{{/is_match}}`, "yes"},
		"another text does not":         {`{{#is_match "function.name" "qa"}}yes{{/is_match}}`, ""},
		"one of several is enough":      {`{{#is_match "function.name" "qa" "completion"}}yes{{/is_match}}`, "yes"},
		"the empty text is no part":     {`{{#is_match "function.name" ""}}yes{{/is_match}}`, ""},
		"negated":                       {`{{^is_match "function.name" "qa"}}yes{{/is_match}}`, "yes"},
		"a part is not an exact match":  {`{{#is_exact_match "function.name" "compl"}}yes{{/is_exact_match}}`, ""},
		"the whole text is":             {`{{#is_exact_match "function.name" "completion"}}yes{{/is_exact_match}}`, "yes"},
		"a block in a block needs both": {`{{#is_alert}}{{#is_match "function.name" "qa"}}yes{{/is_match}}no{{/is_alert}}`, "no"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(test.block)
			if err != nil {
				t.Fatal(err)
			}
			m, err := monitor.Parse(1, []byte(`{"name":"n","type":"query alert","query":"avg(last_5m):avg:a{*} by {function} > 1","message":`+string(text)+`}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Message(monitor.Transition{Tags: []string{"function:completion"}, To: monitor.Alert, Kind: monitor.KindAlert}, nil); got != test.want {
				t.Errorf("Message = %q, want %q", got, test.want)
			}
		})
	}
}

func TestVariablesOfAMessage(t *testing.T) {
	m, err := monitor.Parse(1, []byte(`{"name":"n","type":"query alert","query":"avg(last_5m):avg:a{*} by {function} > 1",
		"options":{"thresholds":{"critical":1,"warning":0.75,"critical_recovery":0.5}},
		"message":"{{value}}|{{threshold}}|{{comparator}}|{{warn_threshold}}|{{alert_recovery_threshold}}|{{warn_recovery_threshold}}|{{first_triggered_at}}|{{first_triggered_at_epoch}}|{{last_triggered_at}}|{{last_triggered_at_epoch}}|{{triggered_duration_sec}}|{{function.name}}"}`))
	if err != nil {
		t.Fatal(err)
	}
	got := m.Message(monitor.Transition{
		Tags: []string{"function:a:b"}, To: monitor.Alert, Kind: monitor.KindAlert, Value: 1.23456, Threshold: 1,
		At: start.Add(90 * time.Second), TriggeredAt: start, LastTriggeredAt: start.Add(time.Minute),
	}, nil)
	want := "1.235|1|>|0.75|0.5||Fri Jan 2 2026 03:00:00 UTC|1767322800000|Fri Jan 2 2026 03:01:00 UTC|1767322860000|90|a:b"
	if got != want {
		t.Errorf("Message =\n%s, want\n%s", got, want)
	}
}

func TestVariablesOfAnObjective(t *testing.T) {
	m, err := monitor.Parse(1, []byte(`{"name":"n","type":"slo alert","query":"burn_rate(\"latency\").over(\"30d\").long_window(\"1h\").short_window(\"5m\") > 14.4",
		"message":"{{value}} of {{timeframe}}: {{long_window_burn_rate}} and {{short_window_burn_rate}}"}`))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	for i := range 20 {
		w.Add("llm.request.duration", []string{service}, 9000, start.Add(time.Duration(i)*time.Minute))
	}
	_, transitions := m.Evaluate(w, monitor.State{}, start.Add(20*time.Minute))
	if len(transitions) != 1 {
		t.Fatalf("transitions = %+v, want one", transitions)
	}
	if got, want := m.Message(transitions[0], nil), "33.333 of 30d: 33.333 and 100"; got != want {
		t.Errorf("Message = %q, want %q", got, want)
	}
}

func TestMentionsInText(t *testing.T) {
	w := func(handle string, params map[string]string) monitor.Mention {
		return monitor.Mention{Kind: monitor.MentionWorkflow, Handle: handle, Params: params}
	}
	tests := map[string]struct {
		text string
		want []monitor.Mention
	}{
		"none":                           {"nothing here, not even a@b", nil},
		"every kind":                     {"@oncall-t @incident-i @webhook-w @slack-s-t @pagerduty-p @pagerduty @team-x @a@b.c", []monitor.Mention{{Kind: monitor.MentionOnCall, Handle: "t"}, {Kind: monitor.MentionIncident, Handle: "i"}, {Kind: monitor.MentionWebhook, Handle: "w"}, {Kind: monitor.MentionSlack, Handle: "s-t"}, {Kind: monitor.MentionPagerDuty, Handle: "p"}, {Kind: monitor.MentionPagerDuty}, {Kind: monitor.MentionTeam, Handle: "x"}, {Kind: monitor.MentionEmail, Handle: "a@b.c"}}},
		"at the start of a line":         {"x\n@oncall-t\n", []monitor.Mention{{Kind: monitor.MentionOnCall, Handle: "t"}}},
		"a kind without a handle":        {"@oncall-", []monitor.Mention{{Kind: monitor.MentionUnknown, Handle: "oncall-"}}},
		"an address without a dot":       {"@a@b", []monitor.Mention{{Kind: monitor.MentionUnknown, Handle: "a@b"}}},
		"a workflow without parameters":  {"@workflow-a", []monitor.Mention{w("a", nil)}},
		"a workflow with none in parens": {"@workflow-a()", []monitor.Mention{w("a", nil)}},
		"spaces between parameters":      {`@workflow-a( x = "1" , y=2 ) z`, []monitor.Mention{w("a", map[string]string{"x": "1", "y": "2"})}},
		"parentheses and commas in text": {`@workflow-a(x="f(1), g")`, []monitor.Mention{w("a", map[string]string{"x": "f(1), g"})}},
		"a mention in a parameter":       {`@workflow-a(x=" @oncall-t ") @oncall-u`, []monitor.Mention{w("a", map[string]string{"x": " @oncall-t "}), {Kind: monitor.MentionOnCall, Handle: "u"}}},
		"an empty parameter":             {`@workflow-a(x="")`, []monitor.Mention{w("a", map[string]string{"x": ""})}},
		"parameters without an end":      {`@workflow-a(x="1"`, []monitor.Mention{{Kind: monitor.MentionUnknown, Handle: "a"}}},
		"a parameter without a value":    {`@workflow-a(x=)`, []monitor.Mention{{Kind: monitor.MentionUnknown, Handle: "a"}}},
		"parameters after the end":       {`@workflow-a(x=1)y=2)`, []monitor.Mention{w("a", map[string]string{"x": "1"})}},
		"no space before a mention":      {`@workflow-a(x=1)@oncall-t`, []monitor.Mention{w("a", map[string]string{"x": "1"})}},
		"no space after an address":      {`@a@b.c@oncall-t`, []monitor.Mention{{Kind: monitor.MentionEmail, Handle: "a@b.c"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, monitor.Mentions(test.text)); diff != "" {
				t.Errorf("Mentions (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, query := range []string{
		costQuery, burnQuery, qualQuery, errorQuery, logQuery, "max(last_1m):max:m{*} by {function}.rollup(max, 60) <= -1.5", "avg(last_1w):default_zero(avg:m{*}) > 0",
		"percentile(last_5m):p95:m{*} by {function} > 2", "pct_change(avg(last_5m),last_1h):sum:m{*} by {function}.as_count() >= 50", "change(max(last_1m),5m_ago):max:m{*} != 0",
		`error_budget("latency").over("30d") > 75`, "1 && !(2 || 3) || 1", "!!1",
		"avg(last_1h):anomalies(sum:m{*} by {function}.as_count(), 'agile', 2, interval=60, alert_window='last_5m', seasonality='hourly', count_default_zero='true') > 0.5",
		"avg(last_1h):anomalies(avg:m{*}, 'robust', 2, direction='below', interval=60, alert_window='last_5m', seasonality='hourly') > 0",
		`events("source:watchdog \"a b\"").rollup("cardinality", "@error.kind").by("story_key","@duration").last("30m") == 1`,
		`llm-observability("@status:error").rollup("pc95", "@duration").by("model").last("2h") < 3`,
		`trace-analytics("*").index("a", "b").rollup("avg", "@duration").last("1d") > 1`,
	} {
		f.Add(query)
	}
	w := newWorld(f)
	for i := range 60 {
		at := start.Add(time.Duration(i) * 10 * time.Second)
		w.Add("m", []string{"function:qa"}, float64(i), at.Add(-time.Duration(i)*10*time.Minute))
		for _, source := range []string{monitor.SourceLogs, monitor.SourceEvents, monitor.SourceSpans, monitor.SourceLLM} {
			w.happened[source] = append(w.happened[source], happening(fmt.Sprint("a ", i, " model:", i%3), at))
		}
	}
	for id := range int64(3) {
		m, err := parseMonitor("query alert", "max(last_5m):max:m{*} by {function} > 1", "")
		if err != nil {
			f.Fatal(err)
		}
		w.monitors[id+1], w.states[id+1] = m, stateOf("function:qa=Alert")
	}
	f.Fuzz(func(t *testing.T, query string) {
		kind, options := "query alert", ""
		switch word, _, _ := strings.Cut(query, "("); {
		case word == "burn_rate" || word == "error_budget":
			kind = "slo alert"
		case word == monitor.SourceLogs:
			kind = "log alert"
		case word == monitor.SourceEvents:
			kind = "event-v2 alert"
		case word == monitor.SourceSpans:
			kind = "trace-analytics alert"
		case word == monitor.SourceLLM:
			kind = "llm-observability alert"
		case !strings.Contains(query, ":"):
			kind = "composite"
		case strings.Contains(query, "anomalies"):
			options = `"threshold_windows":{"trigger_window":"last_5m","recovery_window":"last_5m"}`
		}
		m, err := parseMonitor(kind, query, options)
		if err != nil {
			return
		}
		// What is accepted can be checked and evaluated, and again from the state that it left.
		_ = m.Check(w)
		state, _ := m.Evaluate(w, monitor.State{}, start.Add(5*time.Minute))
		_, transitions := m.Evaluate(w, state, start.Add(10*time.Minute))
		for _, tr := range transitions {
			if tr.Kind == "" || tr.From == tr.To && tr.Kind != monitor.KindRenotify {
				t.Fatalf("%q: transition %+v", query, tr)
			}
			if m.Message(tr, nil) != "m" {
				t.Fatalf("%q: message of %+v", query, tr)
			}
		}
	})
}

func FuzzMentions(f *testing.F) {
	for _, text := range []string{`x @workflow-a-b(name="v w", other=1) @oncall-t @me@x.io`, `@workflow-a(`, `@`, `@@`, "@a(\n@b", `@workflow-x(a=1)b=2)`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mentions := monitor.Mentions(text)
		for _, m := range mentions {
			if m.Handle == "" && m.Kind != monitor.MentionPagerDuty || !strings.Contains(text, m.Handle) {
				t.Fatalf("%q mentions %+v", text, m)
			}
			if m.Params != nil && m.Kind != monitor.MentionWorkflow {
				t.Fatalf("%q: %+v has parameters", text, m)
			}
			for name, value := range m.Params {
				if name == "" || !strings.Contains(text, name) || !strings.Contains(text, value) {
					t.Fatalf("%q: parameter %q = %q", text, name, value)
				}
			}
		}
		// Text before and after, with space between, changes nothing.
		if diff := cmp.Diff(mentions, monitor.Mentions("before "+text)); diff != "" {
			t.Fatalf("%q (-alone +after text):\n%s", text, diff)
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, text := range []string{"plain", "{{#is_alert}}{{value}}{{/is_alert}}{{^is_alert}}x{{/is_alert}}", `{{#is_match "function.name" "q"}}a{{/is_match}}`, "{{/}}x", "{{function.name}} @oncall-t", "}}{{"} {
		f.Add(text, "qa")
	}
	f.Fuzz(func(t *testing.T, text, function string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		m, err := monitor.Parse(1, []byte(`{"name":"n","type":"query alert","query":"avg(last_5m):avg:a{*} by {function} < 0.7","message":`+string(quoted)+`}`))
		if err != nil {
			return
		}
		tr := monitor.Transition{Group: "function:" + function, Tags: []string{"function:" + function}, To: monitor.Alert, Kind: monitor.KindAlert, At: start}
		got := m.Message(tr, nil)
		if !strings.Contains(m.Template, "{{") && got != m.Template {
			t.Fatalf("%q without variables reads as %q", text, got)
		}
		if !strings.Contains(function, "{") && strings.Contains(got, "{{") {
			t.Fatalf("%q leaves %q", text, got)
		}
		if i := strings.LastIndex(m.Template, "}}"); i >= 0 && !strings.HasSuffix(got, m.Template[i+2:]) {
			t.Fatalf("%q reads as %q, without its end", text, got)
		}
	})
}
