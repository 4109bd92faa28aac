package monitor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// burst is a time for which one event is sent every 10 s; "" sends nothing. The text names kind, tag values and number:
// "timeout", "timeout model:a", "timeout 250".
type burst struct {
	minutes int
	event   string
}

func happening(text string, at time.Time) search.Event {
	fields := strings.Fields(text)
	e := search.Event{Timestamp: at, Service: "llm-reliability-control-plane", Status: "error", Message: "failed", Attributes: map[string]any{
		"error": map[string]any{"kind": fields[0]},
	}}
	for _, f := range fields[1:] {
		var n float64
		if _, err := fmt.Sscanf(f, "%g", &n); err == nil {
			e.Attributes["duration"] = n
			continue
		}
		e.Tags = append(e.Tags, f)
	}
	return e
}

// playEvents sends the bursts, evaluates every 10 s, and tells each transition as "when group kind value".
func playEvents(t *testing.T, m *monitor.Monitor, source string, bursts []burst) []string {
	t.Helper()
	w := newWorld(t)
	var state monitor.State
	var out []string
	at := start
	for _, b := range bursts {
		for range b.minutes * 6 {
			if b.event != "" {
				for one := range strings.SplitSeq(b.event, "; ") {
					w.happened[source] = append(w.happened[source], happening(one, at))
				}
			}
			at = at.Add(10 * time.Second)
			var transitions []monitor.Transition
			state, transitions = m.Evaluate(w, state, at)
			for _, tr := range transitions {
				out = append(out, fmt.Sprintf("%v %s %s %v", at.Sub(start), tr.Group, tr.Kind, tr.Value))
			}
		}
	}
	return out
}

func TestEvents(t *testing.T) {
	query := func(rest string) string {
		return `logs("service:llm-reliability-control-plane -@error.kind:ignored").index("*")` + rest
	}
	const perKind = `.rollup("count").by("@error.kind").last("1m") > 3`
	tests := map[string]struct {
		query, options string
		bursts         []burst
		want           []string
	}{
		"a count fires and recovers": {query(`.rollup("count").last("1m") > 3`), "", []burst{{2, ""}, {2, "timeout"}, {2, ""}},
			[]string{"2m40s * alert 4", "4m30s * recovery 3"}},
		"what the search does not find does not count":           {query(`.rollup("count").last("1m") > 3`), "", []burst{{5, "ignored"}}, nil},
		"another service does not count":                         {strings.Replace(query(`.rollup("count").last("1m") > 3`), "service:llm", "service:other-llm", 1), "", []burst{{5, "timeout"}}, nil},
		"single events do not fire":                              {query(`.rollup("count").last("1m") > 6`), "", []burst{{5, "timeout"}}, nil},
		"a group waits, fires and recovers by silence":           {query(perKind), "", []burst{{3, "timeout"}, {3, ""}}, []string{"1m0s @error.kind:timeout alert 6", "3m30s @error.kind:timeout recovery 3"}},
		"groups are separate":                                    {query(perKind), `"new_group_delay":0`, []burst{{1, "a; b; b"}, {1, "a"}}, []string{"20s @error.kind:b alert 4", "40s @error.kind:a alert 4", "1m50s @error.kind:b recovery 2"}},
		"two facets make one group":                              {query(`.rollup("count").by("@error.kind,model").last("1m") > 3`), `"new_group_delay":0`, []burst{{1, "a model:x"}}, []string{"40s @error.kind:a,model:x alert 4"}},
		"an event without the facet is in no group":              {query(`.rollup("count").by("model").last("1m") > 3`), `"new_group_delay":0`, []burst{{2, "a"}}, nil},
		"one alert of all groups is that of the worst":           {query(perKind), `"groupby_simple_monitor":true`, []burst{{1, "a; b; b"}}, []string{"20s * alert 4"}},
		"notify_by of all is the same":                           {query(perKind), `"notify_by":["*"]`, []burst{{1, "a; b; b"}, {2, ""}}, []string{"20s * alert 4", "1m50s * recovery 2"}},
		"notify_by of every group changes nothing":               {query(perKind), `"notify_by":["@error.kind"]`, []burst{{2, "a"}}, []string{"1m0s @error.kind:a alert 6"}},
		"one alert of all groups of which none is there":         {query(`.rollup("count").by("@error.kind").last("1m") < 1`), `"groupby_simple_monitor":true`, []burst{{1, ""}, {1, "a"}}, []string{"10s * alert 0", "1m10s * recovery 1"}},
		"the worst of all groups below is the least":             {query(`.rollup("count").by("@error.kind").last("1m") <= 2`), `"groupby_simple_monitor":true`, []burst{{1, "a; a; a; b"}}, []string{"10s * alert 1", "30s * recovery 3"}},
		"the worst of all groups is the one that equals":         {query(`.rollup("count").by("@error.kind").last("1m") == 4`), `"notify_by":["*"]`, []burst{{1, "a; b; b"}}, []string{"20s * alert 4", "30s * recovery 3", "40s * alert 4", "50s * recovery 5"}},
		"the worst of all groups is the one that does not equal": {query(`.rollup("count").by("@error.kind").last("1m") != 1`), `"notify_by":["*"]`, []burst{{1, "a; b; b"}}, []string{"10s * alert 2"}},
		"the worst of all groups is none without a measure":      {query(`.rollup("min", "@duration").by("@error.kind").last("1m") < 10`), `"notify_by":["*"]`, []burst{{1, "a; b 5"}}, []string{"10s * alert 5"}},
		"distinct values":                                        {query(`.rollup("cardinality", "@error.kind").last("1m") >= 3`), "", []burst{{1, "a; b"}, {1, "a; b; c"}}, []string{"1m10s * alert 3"}},
		"an average":                                             {query(`.rollup("avg", "@duration").last("1m") > 100`), "", []burst{{1, "a 50"}, {1, "a 250"}}, []string{"1m20s * alert 116.66666666666667"}},
		"a percentile":                                           {query(`.rollup("pc95", "@duration").last("1m") > 100`), "", []burst{{1, "a 50; a 60; a 70; a 80"}, {1, "a 50; a 60; a 70; a 250"}}, []string{"1m20s * alert 250"}},
		"a single outlier is no median":                          {query(`.rollup("median", "@duration").last("1m") > 100`), "", []burst{{5, "a 50; a 90; a 900"}}, nil},
		"a sum":                                                  {query(`.rollup("sum", "@duration").last("1m") > 100`), "", []burst{{1, "a 30"}}, []string{"40s * alert 120"}},
		"no measure is no value":                                 {query(`.rollup("max", "@duration").last("1m") < 100`), "", []burst{{5, "a"}}, nil},
		"a measure that goes away keeps the status":              {query(`.rollup("max", "@duration").last("1m") > 100`), "", []burst{{1, "a 200"}, {9, ""}, {1, "a 20"}}, []string{"10s * alert 200", "10m10s * recovery 20"}},
		"a count below one tells of silence":                     {query(`.rollup("count").last("1m") < 1`), "", []burst{{2, "a"}, {3, ""}, {1, "a"}}, []string{"3m0s * alert 0", "5m10s * recovery 1"}},
		"a count below one before anything came":                 {query(`.rollup("count").last("1m") < 1`), "", []burst{{1, ""}}, []string{"10s * alert 0"}},
		"a group that goes is no count below":                    {query(`.rollup("count").by("@error.kind").last("1m") < 3`), `"new_group_delay":0`, []burst{{1, "a; b"}, {3, "b"}}, []string{"10s @error.kind:a alert 1", "10s @error.kind:b alert 1", "30s @error.kind:a recovery 3", "30s @error.kind:b recovery 3", "1m40s @error.kind:a alert 2", "2m0s @error.kind:a recovery 0"}},
		"all groups that go are":                                 {query(`.rollup("count").by("@error.kind").last("1m") < 1`), ``, []burst{{2, "a; b"}, {2, ""}}, []string{"3m0s @error.kind:a alert 0", "3m0s @error.kind:b alert 0"}},
		"an equal":                                               {query(`.rollup("count").last("1m") == 3`), "", []burst{{1, "a"}}, []string{"30s * alert 3", "40s * recovery 4"}},
		"an unequal":                                             {query(`.rollup("count").last("1m") != 0`), "", []burst{{1, ""}, {1, "a"}}, []string{"1m10s * alert 1"}},
		"missing data can be a count of zero":                    {query(perKind), `"on_missing_data":"default"`, []burst{{2, "a"}, {2, ""}}, []string{"1m0s @error.kind:a alert 6", "2m30s @error.kind:a recovery 3"}},
		"missing data can resolve":                               {query(perKind), `"on_missing_data":"resolve"`, []burst{{2, "a; a; a; a"}, {2, ""}}, []string{"1m0s @error.kind:a alert 24", "3m0s @error.kind:a recovery NaN"}},
		"missing data can be told":                               {query(`.rollup("count").last("1m") > 3`), `"on_missing_data":"show_and_notify_no_data"`, []burst{{1, "a"}, {3, ""}, {1, "a"}}, []string{"40s * alert 4", "1m30s * recovery 3", "2m0s * no_data NaN", "4m10s * recovery 1", "4m40s * alert 4"}},
		"missing data can be shown only":                         {query(`.rollup("count").last("1m") > 6`), `"on_missing_data":"show_no_data"`, []burst{{1, "a"}, {3, ""}, {1, "a"}}, nil},
		"an alert that was told is told to be over":              {query(`.rollup("max", "@duration").last("1m") > 100`), `"on_missing_data":"show_no_data"`, []burst{{1, "a 200"}, {3, ""}, {1, "a 20"}}, []string{"10s * alert 200", "4m10s * recovery 20"}},
		"a reminder":                                             {query(`.rollup("count").last("1m") > 3`), `"renotify_interval":1,"renotify_occurrences":1`, []burst{{4, "a"}}, []string{"40s * alert 4", "1m40s * renotify 6"}},
		"flapping around the threshold is not told":              {query(`.rollup("count").last("1m") > 5`), `"thresholds":{"critical":5,"critical_recovery":2}`, []burst{{1, "a"}, {1, ""}}, []string{"1m0s * alert 6", "1m40s * recovery 2"}},
		"a delay of the evaluation":                              {query(`.rollup("count").last("1m") > 3`), `"evaluation_delay":60`, []burst{{1, "a"}, {2, ""}}, []string{"1m40s * alert 4", "2m30s * recovery 3"}},
		"a full window is no matter of events":                   {query(`.rollup("count").last("1m") > 3`), `"require_full_window":true`, []burst{{1, "a"}}, []string{"40s * alert 4"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := parseMonitor("log alert", test.query, test.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, playEvents(t, m, monitor.SourceLogs, test.bursts)); diff != "" {
				t.Errorf("transitions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEverySourceIsSearched(t *testing.T) {
	tests := map[string]struct{ kind, query string }{
		monitor.SourceLogs:   {"log alert", `logs("@error.kind:a").index("main").rollup("count").last("5m") > 3`},
		monitor.SourceEvents: {"event-v2 alert", `events("@error.kind:a").rollup("count").by("story_key").last("30m") > 0`},
		monitor.SourceSpans:  {"trace-analytics alert", `trace-analytics("@error.kind:a").index("trace-search", "djm-search").rollup("count").last("5m") > 3`},
		monitor.SourceLLM:    {"llm-observability alert", `llm-observability("@error.kind:a status:error").rollup("count").last("5m") > 3`},
	}
	for source, test := range tests {
		m, err := parseMonitor(test.kind, test.query, "")
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		for other := range tests {
			if got := playEvents(t, m, other, []burst{{2, "a story_key:1"}}); (len(got) == 1) != (other == source) {
				t.Errorf("%s on %s: transitions = %v", test.kind, other, got)
			}
		}
	}
}

// A story is one group: it alerts once, however long it stays in the window, and the next one alerts anew.
func TestStories(t *testing.T) {
	m, err := parseMonitor("event-v2 alert", `events("source:watchdog (story_category:apm OR story_category:logs)").rollup("count").by("story_key").last("30m") > 0`, `"on_missing_data":"default"`)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	story := func(minute int, key, category string) {
		w.happened[monitor.SourceEvents] = append(w.happened[monitor.SourceEvents], search.Event{
			Timestamp: start.Add(time.Duration(minute) * time.Minute), Source: "watchdog", Tags: []string{"story_key:" + key, "story_category:" + category},
		})
	}
	story(1, "a", "apm")
	story(5, "a", "apm")
	story(10, "b", "logs")
	story(11, "c", "infrastructure")
	var state monitor.State
	var got []string
	for minute := range 26 * 60 {
		next, transitions := m.Evaluate(w, state, start.Add(time.Duration(minute)*time.Minute))
		state = next
		for _, tr := range transitions {
			got = append(got, fmt.Sprint(minute, " ", tr.Group, " ", tr.Kind))
		}
	}
	want := []string{"2 story_key:a alert", "11 story_key:b alert", "36 story_key:a recovery", "41 story_key:b recovery"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
	if len(state.Groups) > 0 {
		t.Errorf("groups after a day of silence = %v, want none", state.Groups)
	}
}

// A group is forgotten for its silence, not because nobody looked.
func TestAGroupThatWasNotLookedAt(t *testing.T) {
	m, err := parseMonitor("log alert", `logs("*").index("*").rollup("count").by("@error.kind").last("5m") > 0`, `"group_retention_duration":"1h"`)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	var state monitor.State
	var got []string
	for _, at := range []time.Duration{0, 2 * time.Minute, 3 * time.Hour, 6 * time.Hour} {
		if at < 6*time.Hour {
			w.happened[monitor.SourceLogs] = append(w.happened[monitor.SourceLogs], happening("a", start.Add(at-time.Second)))
		}
		next, transitions := m.Evaluate(w, state, start.Add(at))
		state = next
		got = append(got, fmt.Sprint(at, " ", len(transitions), " of ", len(state.Groups)))
	}
	if diff := cmp.Diff([]string{"0s 0 of 1", "2m0s 1 of 1", "3h0m0s 0 of 1", "6h0m0s 0 of 0"}, got); diff != "" {
		t.Errorf("transitions of groups (-want +got):\n%s", diff)
	}
}

func TestVariablesOfEvents(t *testing.T) {
	log := &search.Event{
		Timestamp: start, Service: "s", Status: "error", Source: "go", Host: "h", Message: "it failed", TraceID: "1", SpanID: "2",
		Tags:       []string{"env:prod", "env:eu", "dot.key:v"},
		Attributes: map[string]any{"error": map[string]any{"message": "late"}, "title": "a title", "resource_name": "GET /", "n": 3.0},
	}
	tests := map[string]struct {
		kind, query, text, want string
	}{
		"logs": {"log alert", `logs("status:error service:s").index("*").rollup("count").by("@error.kind").last("5m") > 1`,
			"{{log.message}}|{{log.status}}|{{log.service}}|{{log.source}}|{{log.trace_id}}|{{log.span_id}}|{{log.timestamp}}|{{log.attributes.[error.message]}}|{{log.attributes.n}}|{{log.tags.env}}|{{log.tags.[dot.key]}}|{{log.attributes.none}}|{{log.link}}|{{[@error.kind].name}}|{{@error.kind.name}}",
			"it failed|error|s|go|1|2|2026-01-02T03:00:00Z|late|3|eu,prod|v||/logs?query=status%3Aerror+AND+service%3As|timeout|timeout"},
		"events": {"event-v2 alert", `events("a").rollup("count").by("@error.kind").last("5m") > 1`,
			"{{event.title}}|{{event.text}}|{{event.host.name}}|{{event.tags}}|{{event.tags.env}}|{{event.tags.[dot.key]}}|{{event.id}}",
			"a title|it failed|h|env:prod,env:eu,dot.key:v|eu,prod|v|"},
		"spans": {"trace-analytics alert", `trace-analytics("a").index("*").rollup("count").by("@error.kind").last("5m") > 1`,
			"{{span.resource_name}}|{{span.service}}|{{span.attributes.[error.message]}}|{{span.tags.env}}", "GET /|s|late|eu,prod"},
		"a match of a part": {"log alert", `logs("a").index("*").rollup("count").last("5m") > 1`,
			`{{#is_match "log.attributes.n" "3"}}three{{/is_match}}{{#is_match "log.service" "x"}}x{{/is_match}}`, "three"},
		"a match of a group": {"log alert", `logs("a").index("*").rollup("count").by("@error.kind").last("5m") > 1`,
			`{{#is_exact_match "[@error.kind].name" "timeout"}}late{{/is_exact_match}}`, "late"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := monitor.Parse(1, fmt.Appendf(nil, `{"name":"n","type":%q,"query":%q,"message":%q}`, test.kind, test.query, test.text))
			if err != nil {
				t.Fatal(err)
			}
			got := m.Message(monitor.Transition{Group: "@error.kind:timeout", Tags: []string{"@error.kind:timeout"}, Event: log}, nil)
			if got != test.want {
				t.Errorf("Message =\n%s, want\n%s", got, test.want)
			}
			without := m.Message(monitor.Transition{Group: "@error.kind:timeout", Tags: []string{"@error.kind:timeout"}}, nil)
			if strings.Contains(without, "it failed") || strings.Contains(without, "three") {
				t.Errorf("Message without an event = %q", without)
			}
		})
	}
}

func TestTheMessageNamesTheLatestEvent(t *testing.T) {
	m, err := monitor.Parse(1, []byte(`{"name":"n","type":"log alert","query":"logs(\"*\").index(\"*\").rollup(\"count\").last(\"5m\") > 1","message":"{{log.message}}"}`))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	for i, text := range []string{"second", "third", "first"} {
		w.happened[monitor.SourceLogs] = append(w.happened[monitor.SourceLogs], search.Event{Timestamp: start.Add(time.Duration((i+1)%3) * time.Second), Message: text})
	}
	_, transitions := m.Evaluate(w, monitor.State{}, start.Add(time.Minute))
	if len(transitions) != 1 || m.Message(transitions[0], nil) != "third" {
		t.Errorf("transitions = %+v, want one whose message is that of the third event", transitions)
	}
}

func TestParseRefusesVariables(t *testing.T) {
	tests := map[string]struct{ kind, query, text string }{
		"of a log in a metric monitor":       {"query alert", "avg(last_5m):avg:a{*} > 1", "log.message"},
		"of an event in a log monitor":       {"log alert", logQuery, "event.title"},
		"of a log that has no such part":     {"log alert", logQuery, "log.body"},
		"of an event that has no such part":  {"event-v2 alert", `events("a").rollup("count").last("5m") > 1`, "event.body"},
		"of an attribute without a name":     {"log alert", logQuery, "log.attributes."},
		"of an LLM span":                     {"llm-observability alert", `llm-observability("a").rollup("count").last("5m") > 1`, "span.service"},
		"of a facet that is no group":        {"log alert", logQuery, "@model.name"},
		"of a composite in a metric monitor": {"query alert", "avg(last_5m):avg:a{*} > 1", "a.value"},
		"of a part that is not there":        {"composite", "1 && 2", "c.value"},
		"of a value that is not there":       {"composite", "1 && 2", "value"},
		"of a burn rate in an error budget":  {"slo alert", `error_budget("x").over("7d") > 75`, "long_window_burn_rate"},
		"of a window that is not there":      {"slo alert", burnQuery, "wide_window_burn_rate"},
		"of a group of one alert":            {"log alert", logQuery + "#simple", "@error.kind.name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			query, simple := strings.CutSuffix(test.query, "#simple")
			_, err := monitor.Parse(1, fmt.Appendf(nil, `{"name":"n","type":%q,"query":%q,"message":"{{%s}}","options":{"groupby_simple_monitor":%v}}`, test.kind, query, test.text, simple))
			if want := "message: unknown variable {{" + test.text + "}}"; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Parse = %v, want %s", err, want)
			}
		})
	}
}
