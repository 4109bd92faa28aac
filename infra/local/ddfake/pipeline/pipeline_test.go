package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

type object = map[string]any

// processors makes a pipeline of processors that are all enabled.
func processors(t *testing.T, texts ...string) *pipeline.Pipeline {
	t.Helper()
	for i, text := range texts {
		texts[i] = strings.Replace(text, "{", `{"is_enabled": true, `, 1)
	}
	p, err := pipeline.Parse("p", []byte(`{"name": "test", "is_enabled": true, "processors": [`+strings.Join(texts, ",")+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func notes(all []pipeline.Note) string {
	var b strings.Builder
	for _, n := range all {
		fmt.Fprintf(&b, "%s: %s\n", n.Processor, n.Text)
	}
	return b.String()
}

func TestProcessors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		processors []string
		log, want  pipeline.Log
		note       string // what the notes must contain; "" for no note at all
	}{
		"grok reads the message": {
			processors: []string{`{"type": "grok-parser", "source": "message", "samples": ["INFO req=a latency=12"],
				"grok": {"match_rules": "rule %{word:level} %{_req} latency=%{number:latency_ms}", "support_rules": "_req req=%{notSpace:http.request_id}"}}`},
			log:  pipeline.Log{Message: "INFO req=abc latency=12.5", Attributes: object{"http": object{"method": "GET"}}},
			want: pipeline.Log{Message: "INFO req=abc latency=12.5", Attributes: object{"level": "INFO", "latency_ms": 12.5, "http": object{"method": "GET", "request_id": "abc"}}},
		},
		"grok reads an attribute": {
			processors: []string{`{"type": "grok-parser", "source": "command.line", "grok": {"match_rules": "r %{data:command.args:keyvalue}"}}`},
			log:        pipeline.Log{Attributes: object{"command": object{"line": "a=1 b=x"}}},
			want:       pipeline.Log{Attributes: object{"command": object{"line": "a=1 b=x", "args": object{"a": 1.0, "b": "x"}}}},
		},
		"grok without a match": {
			processors: []string{`{"type": "grok-parser", "source": "message", "grok": {"match_rules": "r %{integer:n}"}}`},
			log:        pipeline.Log{Message: "x"}, want: pipeline.Log{Message: "x"}, note: `no rule matches "x"`,
		},
		"grok of a number": {
			processors: []string{`{"type": "grok-parser", "source": "n", "grok": {"match_rules": "r %{integer:m}"}}`},
			log:        pipeline.Log{Attributes: object{"n": 5.0}}, want: pipeline.Log{Attributes: object{"n": 5.0}}, note: "has no text",
		},
		"date in ISO 8601": {
			processors: []string{`{"type": "date-remapper", "sources": ["absent", "at"]}`},
			log:        pipeline.Log{Attributes: object{"at": "2026-03-01T00:00:00.5+01:00"}},
			want:       pipeline.Log{Timestamp: time.Date(2026, 2, 28, 23, 0, 0, 5e8, time.UTC), Attributes: object{"at": "2026-03-01T00:00:00.5+01:00"}},
		},
		"date in milliseconds": {
			processors: []string{`{"type": "date-remapper", "sources": ["at"]}`},
			log:        pipeline.Log{Attributes: object{"at": 1480436496431.0}},
			want:       pipeline.Log{Timestamp: time.UnixMilli(1480436496431).UTC(), Attributes: object{"at": 1480436496431.0}},
		},
		"date of syslog": {
			processors: []string{`{"type": "date-remapper", "sources": ["at"]}`},
			log:        pipeline.Log{Timestamp: now, Attributes: object{"at": "Jan  2 03:04:05"}},
			want:       pipeline.Log{Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Attributes: object{"at": "Jan  2 03:04:05"}},
		},
		"no date": {
			processors: []string{`{"type": "date-remapper", "sources": ["at"]}`},
			log:        pipeline.Log{Timestamp: now, Attributes: object{"at": "yesterday"}}, want: pipeline.Log{Timestamp: now, Attributes: object{"at": "yesterday"}},
			note: "no date that is recognised",
		},
		"service, message, trace and span": {
			processors: []string{
				`{"type": "service-remapper", "sources": ["dd.service"]}`, `{"type": "message-remapper", "sources": ["gone", "msg"]}`,
				`{"type": "trace-id-remapper"}`, `{"type": "span-id-remapper", "sources": ["span"]}`,
			},
			log:  pipeline.Log{Attributes: object{"dd.service": "a", "msg": "hello", "dd": object{"trace_id": "12"}, "span": 34.0}},
			want: pipeline.Log{Service: "a", Message: "hello", TraceID: "12", SpanID: "34", Attributes: object{"dd.service": "a", "msg": "hello", "dd": object{"trace_id": "12"}, "span": 34.0}},
		},
		"only the first remapper that applies counts": {
			processors: []string{
				`{"type": "status-remapper", "sources": ["absent"]}`, `{"type": "status-remapper", "sources": ["a"]}`, `{"type": "status-remapper", "sources": ["b"]}`,
			},
			log: pipeline.Log{Attributes: object{"a": "warn", "b": "error"}}, want: pipeline.Log{Status: "warn", Attributes: object{"a": "warn", "b": "error"}},
			note: "already applied by status-remapper[1]",
		},
		"remap an attribute": {
			processors: []string{`{"type": "attribute-remapper", "sources": ["llm.model"], "target": "model.name"}`},
			log:        pipeline.Log{Attributes: object{"llm": object{"model": "m"}}}, want: pipeline.Log{Attributes: object{"model": object{"name": "m"}}},
		},
		"remap a key with dots": {
			processors: []string{`{"type": "attribute-remapper", "sources": ["llm.model"], "target": "llm.name", "preserve_source": true}`},
			log:        pipeline.Log{Attributes: object{"llm.model": "m"}}, want: pipeline.Log{Attributes: object{"llm.model": "m", "llm": object{"name": "m"}}},
		},
		"remap to a tag": {
			processors: []string{`{"type": "attribute-remapper", "sources": ["llm.model"], "target": "model", "target_type": "tag", "preserve_source": true}`},
			log:        pipeline.Log{Tags: []string{"a:b"}, Attributes: object{"llm.model": "Big Model (1)"}},
			want:       pipeline.Log{Tags: []string{"a:b", "model:big_model__1_"}, Attributes: object{"llm.model": "Big Model (1)"}},
		},
		"remap a tag to an attribute": {
			processors: []string{`{"type": "attribute-remapper", "source_type": "tag", "sources": ["env"], "target": "stage"}`},
			log:        pipeline.Log{Tags: []string{"env:prod", "x:y"}}, want: pipeline.Log{Tags: []string{"x:y"}, Attributes: object{"stage": "prod"}},
		},
		"remap with a conflict": {
			processors: []string{`{"type": "attribute-remapper", "sources": ["a", "b"], "target": "c"}`},
			log:        pipeline.Log{Attributes: object{"a": 1.0, "b": 2.0}}, want: pipeline.Log{Attributes: object{"b": 2.0, "c": 1.0}},
			note: "c is already set",
		},
		"remap over a conflict": {
			processors: []string{`{"type": "attribute-remapper", "sources": ["a"], "target": "env", "target_type": "tag", "override_on_conflict": true}`},
			log:        pipeline.Log{Tags: []string{"env:dev"}, Attributes: object{"a": "prod"}}, want: pipeline.Log{Tags: []string{"env:prod"}},
		},
		"remap with a cast": {
			processors: []string{
				`{"type": "attribute-remapper", "sources": ["a"], "target": "a", "target_format": "integer"}`,
				`{"type": "attribute-remapper", "sources": ["b"], "target": "b", "target_format": "string"}`,
				`{"type": "attribute-remapper", "sources": ["c"], "target": "d", "target_format": "double"}`,
				`{"type": "attribute-remapper", "sources": ["e"], "target": "e", "target_format": "integer"}`,
			},
			log: pipeline.Log{Attributes: object{"a": "42", "b": 7.0, "c": "1.5", "e": "x"}}, want: pipeline.Log{Attributes: object{"a": 42.0, "b": "7", "d": 1.5, "e": "x"}},
		},
		"an object is no tag": {
			processors: []string{`{"type": "attribute-remapper", "sources": ["a"], "target": "t", "target_type": "tag"}`},
			log:        pipeline.Log{Attributes: object{"a": object{"b": "c"}}}, want: pipeline.Log{Attributes: object{"a": object{"b": "c"}}}, note: "can't be a tag",
		},
		"URLs": {
			processors: []string{`{"type": "url-parser", "sources": ["http.url"], "target": "http.url_details", "normalize_ending_slashes": true}`},
			log:        pipeline.Log{Attributes: object{"http": object{"url": "https://api.example.com:8443/v1/qa/?tier=economy&x=1&x=2#top"}}},
			want: pipeline.Log{Attributes: object{"http": object{"url": "https://api.example.com:8443/v1/qa/?tier=economy&x=1&x=2#top", "url_details": object{
				"scheme": "https", "host": "api.example.com", "port": 8443.0, "path": "/v1/qa", "hash": "top", "queryString": object{"tier": "economy", "x": []any{"1", "2"}},
			}}}},
		},
		"a path is a URL, and what is there is replaced": {
			processors: []string{`{"type": "url-parser", "sources": ["http.url"], "target": "http.url_details", "normalize_ending_slashes": null}`},
			log:        pipeline.Log{Attributes: object{"http.url": "/qa/?a=b", "http.url_details.path": "/old"}},
			want: pipeline.Log{Attributes: object{"http.url": "/qa/?a=b", "http.url_details.path": "/qa/",
				"http": object{"url_details": object{"queryString": object{"a": "b"}}}}},
		},
		"user agents": {
			processors: []string{`{"type": "user-agent-parser", "sources": ["ua"], "target": "details"}`},
			log:        pipeline.Log{Attributes: object{"ua": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"}},
			want: pipeline.Log{Attributes: object{
				"ua":      "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
				"details": object{"browser": object{"family": "Chrome", "major": "120", "minor": "0", "patch": "0"}, "os": object{"family": "Windows", "major": "10"}, "device": object{"family": "Other"}},
			}},
		},
		"user agents that are encoded": {
			processors: []string{`{"type": "user-agent-parser", "sources": ["ua"], "target": "d", "is_encoded": true}`},
			log:        pipeline.Log{Attributes: object{"ua": "curl%2F8.5.0"}},
			want: pipeline.Log{Attributes: object{"ua": "curl%2F8.5.0",
				"d": object{"browser": object{"family": "curl", "major": "8", "minor": "5", "patch": "0"}, "os": object{"family": "Other"}, "device": object{"family": "Other"}}}},
		},
		"the first category that matches": {
			processors: []string{`{"type": "category-processor", "target": "severity", "categories": [
				{"name": "critical", "filter": {"query": "@http.status_code:>=500 @error.kind:(auth OR unavailable)"}},
				{"name": "high", "filter": {"query": "@http.status_code:>=500"}}, {"name": "low", "filter": {"query": "*"}}]}`},
			log: pipeline.Log{Attributes: object{"http.status_code": 503.0, "error.kind": "deadline"}}, want: pipeline.Log{Attributes: object{"http.status_code": 503.0, "error.kind": "deadline", "severity": "high"}},
		},
		"no category": {
			processors: []string{`{"type": "category-processor", "target": "c", "categories": [{"name": "x", "filter": {"query": "env:prod"}}]}`},
			note:       "no category matches",
		},
		"arithmetic": {
			processors: []string{
				`{"type": "arithmetic-processor", "expression": "llm.cost / (input-tokens + 2.5 * out) - -1", "target": "cost_per_token"}`,
				`{"type": "arithmetic-processor", "expression": "1 / 3", "target": "third"}`,
				`{"type": "arithmetic-processor", "expression": "(5-3) * @absent + out", "target": "with_zero", "is_replace_missing": true}`,
			},
			log:  pipeline.Log{Attributes: object{"llm.cost": "0.5", "input-tokens": 25.0, "out": 10.0}},
			want: pipeline.Log{Attributes: object{"llm.cost": "0.5", "input-tokens": 25.0, "out": 10.0, "cost_per_token": 1.01, "third": 0.333333333, "with_zero": 10.0}},
		},
		"arithmetic without a value": {
			processors: []string{`{"type": "arithmetic-processor", "expression": "a + b", "target": "c"}`},
			log:        pipeline.Log{Attributes: object{"a": 1.0, "b": "x"}}, want: pipeline.Log{Attributes: object{"a": 1.0, "b": "x"}}, note: "b is missing or is no number",
		},
		"arithmetic that divides by zero": {
			processors: []string{`{"type": "arithmetic-processor", "expression": "a / 0", "target": "c"}`},
			log:        pipeline.Log{Attributes: object{"a": 1.0}}, want: pipeline.Log{Attributes: object{"a": 1.0}}, note: "the result is no number",
		},
		"string builder": {
			processors: []string{
				`{"type": "string-builder-processor", "template": "%{http.method} %{http.url} was %{http.status_code}", "target": "a"}`,
				`{"type": "string-builder-processor", "template": "%{ids} by %{users.name} on %{service}%{http}", "target": "b", "is_replace_missing": true}`,
			},
			log: pipeline.Log{Service: "svc", Attributes: object{"http": object{"method": "GET", "url": "/qa", "status_code": 200.0}, "ids": []any{123.0, 456.0}, "users": []any{object{"name": "John"}, object{"name": "Jack"}}}},
			want: pipeline.Log{Service: "svc", Attributes: object{"http": object{"method": "GET", "url": "/qa", "status_code": 200.0}, "ids": []any{123.0, 456.0}, "users": []any{object{"name": "John"}, object{"name": "Jack"}},
				"a": "GET /qa was 200", "b": "123,456 by John,Jack on svc"}},
		},
		"string builder without a value": {
			processors: []string{`{"type": "string-builder-processor", "template": "x%{gone}", "target": "a"}`}, note: "gone has no value",
		},
		"string builder cuts": {
			processors: []string{`{"type": "string-builder-processor", "template": "` + strings.Repeat("x", 300) + `", "target": "a"}`},
			want:       pipeline.Log{Attributes: object{"a": strings.Repeat("x", 256)}}, note: "was cut",
		},
		"lookup": {
			processors: []string{
				`{"type": "lookup-processor", "source": "model", "target": "provider", "lookup_table": ["a,openai", "b,x, y"]}`,
				`{"type": "lookup-processor", "source": "code", "target": "name", "lookup_table": ["1,one"], "default_lookup": "unknown"}`,
			},
			log: pipeline.Log{Attributes: object{"model": "b", "code": 2.0}}, want: pipeline.Log{Attributes: object{"model": "b", "code": 2.0, "provider": "x, y", "name": "unknown"}},
		},
		"lookup without a value": {
			processors: []string{`{"type": "lookup-processor", "source": "model", "target": "provider", "lookup_table": ["a,openai"]}`},
			log:        pipeline.Log{Attributes: object{"model": "z"}}, want: pipeline.Log{Attributes: object{"model": "z"}}, note: "is not in the table",
		},
		"exclude an attribute": {
			processors: []string{`{"type": "exclude-attribute", "attribute_to_exclude": "llm.prompt"}`},
			log:        pipeline.Log{Attributes: object{"llm": object{"prompt": "secret"}, "llm.prompt": "secret", "x": 1.0}}, want: pipeline.Log{Attributes: object{"x": 1.0}},
		},
		"geography is not known": {
			processors: []string{`{"type": "geo-ip-parser", "sources": ["network.client.ip"], "target": "network.client.geoip"}`}, note: "there is no database",
		},
		"arrays": {
			processors: []string{
				`{"type": "array-processor", "operation": {"type": "length", "source": "tags", "target": "n"}}`,
				`{"type": "array-processor", "operation": {"type": "select", "source": "headers", "target": "referrer", "filter": "name:Referrer", "value_to_extract": "value"}}`,
				`{"type": "array-processor", "operation": {"type": "append", "source": "ip", "target": "ips", "preserve_source": false}}`,
				`{"type": "array-processor", "operation": {"type": "key-value", "source": "headers", "target": "h", "key_to_extract": "name", "value_to_extract": "value"}}`,
			},
			log: pipeline.Log{Attributes: object{"tags": []any{"a", "b"}, "ip": "1.2.3.4", "headers": []any{object{"name": "Accept", "value": "x"}, object{"name": "Referrer", "value": "y"}}}},
			want: pipeline.Log{Attributes: object{"tags": []any{"a", "b"}, "headers": []any{object{"name": "Accept", "value": "x"}, object{"name": "Referrer", "value": "y"}},
				"n": 2.0, "referrer": "y", "ips": []any{"1.2.3.4"}, "h": object{"Accept": "x", "Referrer": "y"}}},
		},
		"decoder": {
			processors: []string{
				`{"type": "decoder-processor", "source": "a", "target": "x", "binary_to_text_encoding": "base64", "input_representation": "utf_8"}`,
				`{"type": "decoder-processor", "source": "b", "target": "y", "binary_to_text_encoding": "base16", "input_representation": "utf_8"}`,
			},
			log: pipeline.Log{Attributes: object{"a": "aGVsbG8=", "b": "6869"}}, want: pipeline.Log{Attributes: object{"a": "aGVsbG8=", "b": "6869", "x": "hello", "y": "hi"}},
		},
		"nested pipelines have their own filter": {
			processors: []string{
				`{"type": "pipeline", "name": "errors", "filter": {"query": "status:error"}, "processors": [
					{"type": "service-remapper", "is_enabled": true, "sources": ["s"]}, {"type": "exclude-attribute", "name": "off", "attribute_to_exclude": "s"}]}`,
				`{"type": "pipeline", "name": "others", "filter": {"query": "-status:error"}, "processors": [{"type": "exclude-attribute", "is_enabled": true, "attribute_to_exclude": "s"}]}`,
			},
			log: pipeline.Log{Status: "error", Attributes: object{"s": "a"}}, want: pipeline.Log{Status: "error", Service: "a", Attributes: object{"s": "a"}},
			note: "errors/off: the processor is not enabled",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, err := json.Marshal(c.log)
			if err != nil {
				t.Fatal(err)
			}
			got, all := processors(t, c.processors...).Process(c.log)
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s\nnotes: %s", diff, notes(all))
			}
			if text := notes(all); (c.note == "") != (text == "") || !strings.Contains(text, c.note) {
				t.Errorf("notes are %q, want %q", text, c.note)
			}
			if after, err := json.Marshal(c.log); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the log that was passed changed to %s: %v", after, err)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	p := processors(t, `{"type": "status-remapper", "sources": ["s"]}`)
	for value, want := range map[any]string{
		0.0: "emergency", 3.0: "error", 7.0: "debug", 8.0: "info", "4": "warn", "Emergency": "emergency", "fatal": "emergency", "ALERT": "alert", "crit": "critical",
		"critical": "critical", "Error": "error", "err": "error", "WARNING": "warn", "notice": "notice", "information": "info", "DEBUG": "debug", "trace": "debug",
		"verbose": "debug", "OK": "ok", "Success": "ok", "high": "info", "low": "info", true: "debug",
	} {
		if got, _ := p.Process(pipeline.Log{Attributes: object{"s": value}}); got.Status != want {
			t.Errorf("%v is %s, want %s", value, got.Status, want)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	parse := func(text string) *pipeline.Pipeline {
		p, err := pipeline.Parse(text[:12], []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	pipelines := []*pipeline.Pipeline{
		parse(`{"name": "a", "is_enabled": true, "filter": {"query": "@kind:x"}, "processors": [
			{"type": "service-remapper", "is_enabled": true, "sources": ["s"]}, {"type": "attribute-remapper", "is_enabled": true, "sources": ["s"], "target": "t"}]}`),
		parse(`{"name": "b", "is_enabled": true, "filter": {"query": "service:one"}, "processors": [
			{"type": "service-remapper", "is_enabled": true, "sources": ["kind"]}, {"type": "string-builder-processor", "is_enabled": true, "template": "%{t}!", "target": "u"}]}`),
		parse(`{"name": "c", "filter": {"query": "*"}, "processors": [{"type": "service-remapper", "is_enabled": true, "sources": ["kind"]}]}`),
		parse(`{"name": "d", "is_enabled": true, "filter": {"query": "service:two"}, "processors": [{"type": "exclude-attribute", "is_enabled": true, "attribute_to_exclude": "kind"}]}`),
	}
	got, all := pipeline.Run(pipelines, pipeline.Log{Attributes: object{"kind": "x", "s": "one"}})
	want := pipeline.Log{Service: "one", Attributes: object{"kind": "x", "t": "one", "u": "one!"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text := notes(all); !strings.Contains(text, "service-remapper was already applied") || !strings.Contains(text, "the pipeline is not enabled") {
		t.Errorf("notes are %q", text)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	one := func(processor string) string { return `{"name": "x", "processors": [` + processor + `]}` }
	for text, want := range map[string]string{
		`{`:                              "unexpected EOF",
		`{}`:                             "it has no name",
		`{"name": "x"} {}`:               "more than one document",
		`{"name": "x", "enabled": true}`: `unknown field "enabled"`,
		`{"name": "x", "filter": {"query": "(a"}}`:                        "a ( without its )",
		`{"name": "x", "filter": {"query": "*:a"}}`:                       "full-text search",
		one(`{"type": "magic"}`):                                          `processors[0] (magic[0]): there is no processor type "magic"`,
		one(`{}`):                                                         "the type is missing",
		one(`{"type": "schema-processor"}`):                               "is not executed here",
		one(`{"type": "date-remapper", "name": "d"}`):                     "processors[0] (d): sources are missing",
		one(`{"type": "date-remapper", "sources": ["a"], "target": "b"}`): `unknown field "target"`,
		one(`{"type": "grok-parser", "source": "message", "grok": {"match_rules": "r %{nope:x}"}}`):                                                            "no matcher",
		one(`{"type": "grok-parser", "grok": {"match_rules": "r x"}}`):                                                                                         "the source is missing",
		one(`{"type": "grok-parser", "source": "m", "samples": ["1","2","3","4","5","6"], "grok": {"match_rules": "r x"}}`):                                    "at most 5 samples",
		one(`{"type": "attribute-remapper", "sources": ["a"], "target": "b", "target_type": "metric"}`):                                                        "attribute or tag",
		one(`{"type": "attribute-remapper", "sources": ["a"], "target": "b:c"}`):                                                                               "has a : or a comma",
		one(`{"type": "attribute-remapper", "sources": ["a"], "target": "b", "target_type": "tag", "target_format": "string"}`):                                "not for a target that is a tag",
		one(`{"type": "attribute-remapper", "sources": ["a"], "target": "b", "target_format": "float"}`):                                                       "not \"float\"",
		one(`{"type": "attribute-remapper", "sources": ["a"]}`):                                                                                                "the target is missing",
		one(`{"type": "url-parser", "sources": ["a"], "target": "b", "is_encoded": true}`):                                                                     `unknown field "is_encoded"`,
		one(`{"type": "user-agent-parser", "sources": ["a"]}`):                                                                                                 "the target is missing",
		one(`{"type": "category-processor", "target": "a", "categories": [{"name": "x", "filter": {"query": "a"}}, {"name": "x", "filter": {"query": "b"}}]}`): "there twice",
		one(`{"type": "category-processor", "target": "a", "categories": [{"name": "x", "filter": {"query": "a:"}}]}`):                                         `category "x"`,
		one(`{"type": "arithmetic-processor", "expression": "a +", "target": "b"}`):                                                                            "a value is missing at the end",
		one(`{"type": "arithmetic-processor", "expression": "(a", "target": "b"}`):                                                                             "a ( without its )",
		one(`{"type": "arithmetic-processor", "expression": "a b", "target": "b"}`):                                                                            `unexpected "b"`,
		one(`{"type": "arithmetic-processor", "expression": "a ^ b", "target": "b"}`):                                                                          "unexpected",
		one(`{"type": "arithmetic-processor", "expression": "1.2.3", "target": "b"}`):                                                                          "is no number",
		one(`{"type": "string-builder-processor", "template": "%{a", "target": "b"}`):                                                                          "a block is written",
		one(`{"type": "lookup-processor", "source": "a", "target": "b", "lookup_enrichment_table": "t"}`):                                                      "reference tables",
		one(`{"type": "lookup-processor", "source": "a", "target": "b", "lookup_table": ["ab"]}`):                                                              `is "key,value"`,
		one(`{"type": "exclude-attribute", "attribute_to_exclude": "status"}`):                                                                                 "can't be excluded",
		one(`{"type": "array-processor", "operation": {"type": "sum", "source": "a", "target": "b"}}`):                                                         `no array operation "sum"`,
		one(`{"type": "array-processor", "operation": {"type": "select", "source": "a", "target": "b", "filter": "x:y z:1", "value_to_extract": "v"}}`):        "a filter of one term",
		one(`{"type": "decoder-processor", "source": "a", "target": "b", "binary_to_text_encoding": "base32"}`):                                                "base64 or base16",
		one(`{"type": "pipeline", "processors": [{"type": "pipeline"}]}`):                                                                                      "holds only processors",
	} {
		_, err := pipeline.Parse("p", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "read pipeline p") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestFromLine(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		line string
		want pipeline.Log
	}{
		"a text is the message":      {"plain text\n", pipeline.Log{Timestamp: now, Status: "info", Message: "plain text"}},
		"broken JSON is the message": {`{"a": `, pipeline.Log{Timestamp: now, Status: "info", Message: `{"a":`}},
		"an array is the message":    {`[1]`, pipeline.Log{Timestamp: now, Status: "info", Message: `[1]`}},
		"reserved attributes": {
			`{"timestamp": "2026-01-02T03:04:05Z", "severity": "WARN", "service": "a", "hostname": "h", "message": "m", "ddsource": "go", "ddtags": "env:Prod, team:x", "dd": {"trace_id": "1", "span_id": "2", "env": "dev"}, "n": 1}`,
			pipeline.Log{Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Status: "warn", Service: "a", Host: "h", Message: "m", Source: "go", TraceID: "1", SpanID: "2",
				Tags: []string{"env:prod", "team:x"}, Attributes: object{"severity": "WARN", "hostname": "h", "dd": object{"trace_id": "1", "span_id": "2", "env": "dev"}, "n": 1.0}},
		},
		"the first date that is one": {`{"timestamp": "soon", "date": 1480436496431}`, pipeline.Log{Timestamp: time.UnixMilli(1480436496431).UTC(), Status: "info", Attributes: object{"date": 1480436496431.0}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := pipeline.FromLine([]byte(c.line), now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := pipeline.FromLine(bytes.Repeat([]byte("x"), 2<<20), now); err == nil {
		t.Error("a line of 2 MiB is read")
	}
}

// TestOurOwnLines runs lines of the functions' logger through a pipeline as in datadog/logs.
func TestOurOwnLines(t *testing.T) {
	t.Parallel()
	cost := 0.000656
	exchange := &telemetry.Exchange{RequestID: "req-1", Function: "qa", Endpoint: "/qa", Type: "qa", Tier: "standard", Model: "embedded-standard", Provider: "embedded",
		Outcome: telemetry.OutcomeError, Status: 503, Duration: 1500 * time.Millisecond, ErrorType: "overloaded", CostUSD: &cost}
	var out bytes.Buffer
	logger := telemetry.NewLogger(&out, nil, "llm-reliability-control-plane", "local", "1.2.3")
	logger.LogAttrs(context.Background(), 8, "request failed", telemetry.LogAttrs(exchange)...)

	log, err := pipeline.FromLine(out.Bytes(), now)
	if err != nil {
		t.Fatal(err)
	}
	p := processors(t,
		`{"type": "category-processor", "target": "llm.severity", "categories": [{"name": "critical", "filter": {"query": "@http.status_code:>=500 @error.kind:overloaded"}}, {"name": "low", "filter": {"query": "*"}}]}`,
		`{"type": "arithmetic-processor", "expression": "duration / 1000000", "target": "llm.request.latency"}`,
		`{"type": "attribute-remapper", "sources": ["llm.provider"], "target": "provider", "target_type": "tag", "preserve_source": true}`,
		`{"type": "string-builder-processor", "template": "%{service} %{http.route}", "target": "title"}`)
	got, all := p.Process(log)
	if len(all) > 0 {
		t.Errorf("notes: %s", notes(all))
	}
	for query, want := range map[string]bool{
		`service:llm-reliability-control-plane status:error "request failed"`: true, "@llm.severity:critical": true, "@llm.request.latency:1500": true,
		"env:local version:1.2.3 provider:embedded": true, "@llm.request.cost:<0.001": true, "@http.route:/qa @http.request_id:req-1": true,
		`@title:"llm-reliability-control-plane /qa"`: true, "status:info": false,
	} {
		q, err := search.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		if q.Match(got) != want {
			t.Errorf("%s: found is %t in %+v", query, !want, got)
		}
	}
	if time.Since(got.Timestamp) > time.Minute {
		t.Errorf("the time is %s", got.Timestamp)
	}
}

func FuzzProcess(f *testing.F) {
	f.Add(`{"name": "x", "is_enabled": true, "filter": {"query": "-status:ok"}, "processors": [
		{"type": "grok-parser", "is_enabled": true, "source": "message", "grok": {"match_rules": "r %{word:a.b} %{data::keyvalue}"}},
		{"type": "attribute-remapper", "is_enabled": true, "sources": ["a.b", "a"], "target": "a.b.c", "override_on_conflict": true},
		{"type": "arithmetic-processor", "is_enabled": true, "expression": "a - b / (c)", "target": "d"},
		{"type": "url-parser", "is_enabled": true, "sources": ["message"], "target": "a.b"},
		{"type": "string-builder-processor", "is_enabled": true, "template": "%{a} x %{a.b}", "target": "a"}]}`, `{"message": "w a=1 b=2", "a.b": {"c": [1, {"d": null}]}}`)
	f.Fuzz(func(t *testing.T, document, line string) {
		p, err := pipeline.Parse("p", []byte(document))
		if err != nil {
			return
		}
		log, err := pipeline.FromLine([]byte(line), now)
		if err != nil {
			return
		}
		before, err := json.Marshal(log)
		if err != nil {
			t.Fatal(err)
		}
		first, _ := p.Process(log)
		second, _ := p.Process(log)
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("a second run differs:\n%s", diff)
		}
		if after, err := json.Marshal(log); err != nil || !bytes.Equal(before, after) {
			t.Fatalf("the log changed from %s to %s: %v", before, after, err)
		}
	})
}
