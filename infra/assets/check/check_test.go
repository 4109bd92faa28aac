package check_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/check"
	"github.com/llm-reliability/control-plane/infra/assets/schema"
)

// TestNames holds the names that the specification gives, by kind.
func TestNames(t *testing.T) {
	all, _ := fixture(t)
	want := map[assets.Kind][]string{
		assets.Monitor: {
			"Latency SLO Burn", "Cost Anomaly Detection", "Error Burst", "Quality Degradation", "Safety Block Surge", "Health Score Degradation",
			"Daily Cost Budget",
		},
		assets.Workflow:         {"Auto-Remediate Cost Spike", "Auto-Remediate Latency Spike", "Auto-Remediate Quality Degradation", "Runbook: Error Burst"},
		assets.EscalationPolicy: {"LLM Critical Errors", "LLM Cost Alerts", "LLM Quality Degradation"},
		assets.Schedule:         {"Primary LLM On-Call", "LLM Cost Team On-Call"},
	}
	for kind, names := range want {
		var have []string
		for _, a := range all {
			if a.Kind != kind {
				continue
			}
			var body struct {
				Name string `json:"name"`
				Data struct {
					Attributes struct {
						Name string `json:"name"`
					} `json:"attributes"`
				} `json:"data"`
			}
			if err := json.Unmarshal(a.Body, &body); err != nil {
				t.Fatal(err)
			}
			have = append(have, body.Name+body.Data.Attributes.Name)
		}
		for _, name := range names {
			if !slices.Contains(have, name) {
				t.Errorf("there is no %s %q, only %q", kind, name, have)
			}
		}
	}
}

// TestRules are the rules that no asset of this repository gives an occasion to break.
func TestRules(t *testing.T) {
	tags := func(kind, key string) string {
		return `"tags": ["service:llm-reliability-control-plane", "team:llm-platform", "managed_by:llm-reliability-control-plane", "asset_key:` + kind + `-` + key + `"]`
	}
	monitor := func(rest string) string {
		return `{"name": "M", "priority": 3, "message": "{{#is_alert}}a{{/is_alert}}", ` + tags("monitor", "m") + `, ` + rest + `}`
	}
	tests := map[string]struct {
		file, body, path, reason string
	}{
		"a composite of one":                        {"monitors/m.json", monitor(`"type": "composite", "query": "${monitor:m}"`), "query", "joins at least two references"},
		"a composite of a composite":                {"monitors/m.json", monitor(`"type": "composite", "query": "${monitor:m} && ${monitor:m}"`), "query", "is a composite monitor itself"},
		"a composite of an SLO":                     {"monitors/m.json", monitor(`"type": "composite", "query": "${slo:m} && ${monitor:m}"`), "query", "${slo:m} is no monitor"},
		"a composite with thresholds":               {"monitors/m.json", monitor(`"type": "composite", "query": "${monitor:a} && ${monitor:b}", "options": {"thresholds": {"critical": 1}}`), "options.thresholds", "no thresholds of its own"},
		"an error budget above 100 %":               {"monitors/m.json", monitor(`"type": "slo alert", "query": "error_budget(\"${slo:o}\").over(\"7d\") > 180", "options": {"thresholds": {"critical": 180}}`), "query", "in percent, above 0 and up to 100"},
		"an SLO alert of another form":              {"monitors/m.json", monitor(`"type": "slo alert", "query": "burn(\"x\") > 1"`), "query", "is neither burn_rate"},
		"a log monitor with an unknown method":      {"monitors/m.json", monitor(`"type": "log alert", "query": "logs(\"status:error\").rollup(\"count\").group(\"a\").last(\"5m\") > 1"`), "query", "no method group()"},
		"a log monitor grouped by nothing":          {"monitors/m.json", monitor(`"type": "log alert", "query": "logs(\"status:error\").rollup(\"count\").by(\"@a.b\").last(\"5m\") > 1"`), "query", "writes @a.b to logs"},
		"a query without a comparison":              {"monitors/m.json", monitor(`"type": "query alert", "query": "avg(last_5m):avg:llm.health_score{*}"`), "query", "and a number"},
		"a query without a window":                  {"monitors/m.json", monitor(`"type": "query alert", "query": "avg:llm.health_score{*} > 1"`), "query", "begins like avg(last_5m):"},
		"an average of a percentile":                {"monitors/m.json", monitor(`"type": "query alert", "query": "avg(last_5m):p95:llm.request.duration{*} > 2000"`), "query", "percentile(…) goes with one percentile"},
		"an anomaly without a season":               {"monitors/m.json", monitor(`"type": "query alert", "query": "avg(last_4h):anomalies(avg:llm.request.cost{*}, 'agile', 3, interval=60, alert_window='last_15m') >= 1"`), "query", "needs a seasonality"},
		"an anomaly with an unknown argument":       {"monitors/m.json", monitor(`"type": "query alert", "query": "avg(last_4h):anomalies(avg:llm.request.cost{*}, 'basic', 3, intervall=60, alert_window='last_15m') >= 1"`), "query", "no argument intervall"},
		"a metric of Datadog with a tag of ours":    {"monitors/m.json", monitor(`"type": "query alert", "query": "avg(last_5m):avg:ml_obs.span.duration{function:qa} > 1"`), "query", "the metric ml_obs.span.duration has no tag function"},
		"an SLO of monitors":                        {"slos/s.json", `{"name": "S", "type": "monitor", "thresholds": [], ` + tags("slo", "s") + `}`, "type", `the type "monitor" does not go with what is measured`},
		"a count of good events only":               {"slos/s.json", `{"name": "S", "type": "metric", "thresholds": [], "sli_specification": {"count": {"good_events_formula": {"formula": "a"}, "queries": [{"name": "a", "query": "sum:llm.request.count{*}.as_count()"}]}}, ` + tags("slo", "s") + `}`, "sli_specification.count", "either bad events or all events"},
		"two archives of which one has no order":    {"logs/archives/a.json", `{"data": {"attributes": {"name": "A (3 days)", "query": "service:llm-reliability-control-plane", "destination": {"type": "s3", "path": "p"}}}}`, "", "0 orders of kind archive-order"},
		"an archive without lifecycle":              {"logs/archives/a.json", `{"data": {"attributes": {"name": "A (3 days)", "query": "service:llm-reliability-control-plane", "destination": {"type": "s3", "path": "p"}}}}`, "data.attributes.destination", "there is no logs/lifecycle/s3.json"},
		"an archive that does not say for how long": {"logs/archives/a.json", `{"data": {"attributes": {"name": "A", "query": "service:llm-reliability-control-plane"}}}`, "data.attributes.name", "does not say for how long"},
		"a nested pipeline in a nested one":         {"logs/pipelines/p.json", `{"name": "P", "is_enabled": true, "processors": [{"type": "pipeline", "name": "a", "is_enabled": true, "processors": [{"type": "pipeline", "name": "b", "is_enabled": true}]}], ` + tags("pipeline", "p") + `}`, "processors[0].processors[0]", "nest one level deep"},
		"a lookup without two columns":              {"logs/pipelines/p.json", `{"name": "P", "is_enabled": true, "processors": [{"type": "lookup-processor", "name": "a", "is_enabled": true, "source": "status", "lookup_table": ["a"]}], ` + tags("pipeline", "p") + `}`, "processors[0].lookup_table[0]", "a row is key,value"},
		"a dashboard that places itself":            {"dashboards/d.json", `{"title": "D", "layout_type": "ordered", "reflow_type": "auto", "widgets": [{"layout": {"x": 0}, "definition": {"type": "note", "content": "c"}}]}`, "widgets[0].layout", "takes no layout"},
		"a widget that asks for nothing":            {"dashboards/d.json", `{"title": "D", "layout_type": "ordered", "reflow_type": "auto", "widgets": [{"definition": {"type": "timeseries", "requests": []}}]}`, "widgets[0].definition.requests", "asks for nothing"},
		"six tags":                                  {"dashboards/d.json", `{"title": "D", "layout_type": "free", "widgets": [], "tags": ["team:a", "team:b", "team:c", "team:d", "team:e", "team:f"]}`, "tags", "at most 5 tags"},
		"a button with an input that is missing":    {"dashboards/d.json", `{"title": "D", "layout_type": "ordered", "reflow_type": "auto", "widgets": [{"definition": {"type": "run_workflow", "workflow_id": "x"}}]}`, "widgets[0].definition.workflow_id", "no reference to a workflow"},
		"a policy with both kinds of routing":       {"oncall/routing/r.json", `{"data": {"id": "${team:t}", "attributes": {"rules": [{"policy_id": "${escalation-policy:p}", "actions": [{"type": "escalation_policy", "policy_id": "${escalation-policy:p}"}]}]}}}`, "data.attributes.rules[0].actions[0]", "takes one of the two"},
		"a routing rule with a workflow":            {"oncall/routing/r.json", `{"data": {"id": "${team:t}", "attributes": {"rules": [{"actions": [{"type": "workflow", "handle": "w"}], "policy_id": "${escalation-policy:p}"}]}}}`, "data.attributes.rules[0].actions[0].handle", "no workflow with the handle"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			folder := fstest.MapFS{
				test.file:     &fstest.MapFile{Data: []byte(test.body)},
				"slos/o.json": &fstest.MapFile{Data: []byte(`{"name": "O", "type": "metric", "thresholds": [{"timeframe": "7d", "target": 99}]}`)},
			}
			var got []string
			for _, p := range check.All(check.Options{FS: folder}) {
				if p.Path == test.path && strings.Contains(p.Reason, test.reason) {
					return
				}
				got = append(got, p.String())
			}
			t.Errorf("no problem at %q that says %q, but\n%s", test.path, test.reason, strings.Join(got, "\n"))
		})
	}
}

func TestWhatCannotBeLoadedIsInTheReport(t *testing.T) {
	folder := fstest.MapFS{
		"monitors/broken.json": &fstest.MapFile{Data: []byte(`{"a":`)},
		"monitors/twice.json":  &fstest.MapFile{Data: []byte(`{"a": 1, "a": 2}`)},
		"widgets/w.json":       &fstest.MapFile{Data: []byte(`{}`)},
		"slos/early.json":      &fstest.MapFile{Data: []byte(`{"description": "${dashboard:none}"}`)},
	}
	r, err := check.Run(t.Context(), check.Options{FS: folder})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []check.Problem{
		{File: "monitors/broken.json", Reason: "not valid JSON"},
		{File: "monitors/twice.json", Reason: "duplicate key a"},
		{File: "widgets/w.json", Reason: "the folder is of no known kind"},
		{File: "slos/early.json", Path: "description", Reason: "${dashboard:none} names no asset file"},
	} {
		if !slices.ContainsFunc(r.Problems, func(p check.Problem) bool {
			return p.File == want.File && p.Path == want.Path && strings.Contains(p.Reason, want.Reason)
		}) {
			t.Errorf("no %s in %v", want, r.Problems)
		}
	}
	if r.OK() {
		t.Error("the report says that all is well")
	}
}

func TestReport(t *testing.T) {
	r := check.Report{
		Assets: map[assets.Kind]int{assets.Monitor: 2, assets.SLO: 1},
		Problems: []check.Problem{
			{File: "monitors/a.json", Reason: "no file in tests covers it"}, {File: "monitors/a.json", Path: "query", Reason: "r <1>"}, {File: "slos/b.json", Path: "type", Reason: "r"},
		},
	}
	var text, document bytes.Buffer
	if err := errors.Join(r.WriteText(&text), r.WriteJSON(&document)); err != nil {
		t.Fatal(err)
	}
	want := "monitors/a.json\n  (file): no file in tests covers it\n  query: r <1>\nslos/b.json\n  type: r\n3 problems in 2 files; 3 assets of 2 kinds were checked.\n"
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Error(diff)
	}
	var back check.Report
	if err := json.Unmarshal(document.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(document.String(), "r <1>") {
		t.Errorf("characters are escaped that need not be: %s", document.String())
	}
	text.Reset()
	document.Reset()
	good := check.Report{Assets: map[assets.Kind]int{assets.Monitor: 2}}
	if err := errors.Join(good.WriteText(&text), good.WriteJSON(&document)); err != nil {
		t.Fatal(err)
	}
	if text.String() != "2 assets of 1 kinds are valid.\n" || !strings.Contains(document.String(), `"problems": []`) {
		t.Errorf("%s%s", text.String(), document.String())
	}
}

func TestRunNeedsAFolderAndTheDescription(t *testing.T) {
	if _, err := check.Run(t.Context(), check.Options{}); err == nil {
		t.Error("no error without a folder")
	}
	if _, err := schema.Load(t.Context(), schema.Options{Dir: t.TempDir()}); !errors.Is(err, schema.ErrNotFound) {
		t.Errorf("error = %v", err)
	}
}

// TestFacetsAreThoseOfTheCode holds the lists of attributes and span tags in this package against the source that writes them.
func TestFacetsAreThoseOfTheCode(t *testing.T) {
	written := map[string]bool{}
	attribute := regexp.MustCompile(`(?:slog\.[A-Za-z0-9]+|SetTag|str|flag)\(\s*"([a-z0-9_.]+)"`)
	for _, dir := range []string{"../../../shared", "../../../functions"} {
		err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(file)
			for _, m := range attribute.FindAllStringSubmatch(string(raw), -1) {
				written[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Concat(check.LogAttributes, check.SpanTags) {
		if !written[name] {
			t.Errorf("no code writes %s", name)
		}
	}
}

// FuzzAll looks for bodies that the rules can't bear.
func FuzzAll(f *testing.F) {
	all, _ := fixture(f)
	for _, a := range all {
		if a.Kind.Folder() != "" && len(a.Body) < 4000 {
			f.Add(string(a.Kind), a.Key, []byte(a.Body))
		}
	}
	f.Add("monitor", "m", []byte(`{"type": "query alert", "query": "avg(last_5m):anomalies(avg:a{*}, 'basic', 2) > 1", "message": "{{#is_alert}}@x-{{/is_alert}}"}`))
	f.Fuzz(func(t *testing.T, kind, key string, body []byte) {
		if !assets.Kind(kind).Known() {
			return
		}
		for _, p := range check.All(check.Options{FS: fstest.MapFS{}, Assets: []assets.Asset{{Kind: assets.Kind(kind), Key: key, File: "f.json", Body: body}}}) {
			if p.Reason == "" {
				t.Errorf("a problem without a reason at %q", p.Path)
			}
		}
	})
}
