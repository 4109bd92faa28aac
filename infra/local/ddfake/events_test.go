package ddfake_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
)

// What comes in is found by the facets that Datadog gives it, for as long as the window lasts.
func TestSearchesOfMonitors(t *testing.T) {
	const line = `{"service":"s","status":"error","message":"it failed","ddsource":"go","ddtags":"team:llm","dd.trace_id":"7","dd":{"env":"prod"},"error":{"kind":"timeout"},"duration":1500000000}`
	tests := map[string]struct {
		kind  string
		query string
		found bool
	}{
		"a log by its status":             {"log alert", `logs("status:error service:s").index("*").rollup("count").last("5m") > 0`, true},
		"a log by its source and tags":    {"log alert", `logs("source:go team:llm env:prod").index("*").rollup("count").last("5m") > 0`, true},
		"a log by an attribute":           {"log alert", `logs("@error.kind:timeout @duration:>1s").index("*").rollup("count").last("5m") > 0`, true},
		"a log by its words":              {"log alert", `logs("failed").index("*").rollup("count").last("5m") > 0`, true},
		"a log by its trace":              {"log alert", `logs("trace_id:7").index("*").rollup("count").last("5m") > 0`, true},
		"a log by another status":         {"log alert", `logs("status:info").index("*").rollup("count").last("5m") > 0`, false},
		"a measure of a log":              {"log alert", `logs("*").index("*").rollup("max", "@duration").by("@error.kind").last("5m") > 1000000000`, true},
		"a story of Watchdog":             {"event-v2 alert", `events("source:watchdog (story_category:apm OR story_category:logs) service:s").rollup("count").by("story_key").last("5m") > 0`, true},
		"a story of another category":     {"event-v2 alert", `events("source:watchdog story_category:infrastructure").rollup("count").last("5m") > 0`, false},
		"an event by its title":           {"event-v2 alert", `events("unusual").rollup("count").last("5m") > 0`, true},
		"an LLM span":                     {"llm-observability alert", `llm-observability("@event_type:span @ml_app:app @status:error @meta.span.kind:llm @kind:llm @model_name:m service:s env:prod").rollup("count").last("5m") > 0`, true},
		"an LLM span of another kind":     {"llm-observability alert", `llm-observability("@meta.span.kind:workflow").rollup("count").last("5m") > 0`, false},
		"an LLM span has no empty facets": {"llm-observability alert", `llm-observability("@session_id:*").rollup("count").last("5m") > 0`, false},
		"tokens of an LLM span":           {"llm-observability alert", `llm-observability("@ml_app:app").rollup("sum", "@metrics.total_tokens").by("@model_name").last("5m") > 41`, true},
		"an APM span is no LLM span":      {"trace-analytics alert", `trace-analytics("*").index("*").rollup("count").last("5m") > 0`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			clock := ddfake.NewManualClock(time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC))
			d, err := ddfake.New(ddfake.Options{Clock: clock, HTTP: http.DefaultClient})
			if err != nil {
				t.Fatal(err)
			}
			body, err := json.Marshal(map[string]any{"name": "n", "type": test.kind, "query": test.query, "message": "m", "options": map[string]any{"new_group_delay": 0}})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Put("monitor", "1", body); err != nil {
				t.Fatal(err)
			}
			d.Intake().Log([]byte(line))
			d.Intake().AddEvent(intake.Event{Title: "Unusual latency", Text: "p95 is up", Source: "watchdog", Tags: []string{"story_category:apm", "story_key:k", "service:s"}})
			d.Intake().AddLLMSpans(intake.LLMSpan{Kind: "llm", Status: "error", Model: "m", Start: time.Now(), Metrics: map[string]float64{"total_tokens": 42}, Tags: []string{"ml_app:app", "service:s", "env:prod"}})
			var got []string
			for minute := range 8 {
				clock.Advance(clock.Now().Add(time.Minute))
				d.Evaluate(t.Context())
				for _, e := range d.Timeline() {
					if e.Kind == ddfake.KindTransition {
						got = append(got, fmt.Sprint(minute+1, " ", e.To))
					}
				}
			}
			want := map[bool]string{true: "Alert", false: ""}[test.found]
			found := ""
			if len(got) > 0 {
				found = got[0][2:]
			}
			if found != want {
				t.Errorf("transitions = %q, want %q first", got, want)
			}
		})
	}
}

// A composite is judged after its parts, whatever its name, so that it sees how they stand in the same round.
func TestCompositesAreJudgedLast(t *testing.T) {
	clock := ddfake.NewManualClock(time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC))
	d, err := ddfake.New(ddfake.Options{Clock: clock, HTTP: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	put := func(id, name, kind, query string) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"name": name, "type": kind, "query": query, "message": "m"})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Put("monitor", id, body); err != nil {
			t.Fatal(err)
		}
	}
	put("1", "x", "query alert", "max(last_5m):max:a{*} > 1")
	put("2", "y", "query alert", "max(last_5m):max:b{*} > 1")
	put("3", "a composite", "composite", "1 && 2")
	if err := d.Put("monitor", "4", []byte(`{"name":"n","type":"composite","query":"1 && 9","message":"m"}`)); err == nil {
		t.Error("a composite of a monitor that is none is taken")
	}
	d.Intake().Datagram([]byte("a:2|d\nb:2|d"))
	clock.Advance(clock.Now().Add(time.Minute))
	d.Evaluate(t.Context())
	var got []string
	for _, e := range d.Timeline() {
		got = append(got, fmt.Sprint(e.Monitor, " ", e.To))
	}
	if diff := cmp.Diff([]string{"x Alert", "y Alert", "a composite Alert"}, got); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
}
