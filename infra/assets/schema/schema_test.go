package schema_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/dlclark/regexp2/v2"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/schema"
)

func load(t testing.TB, o schema.Options) *schema.Description {
	t.Helper()
	d, err := schema.Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCheck(t *testing.T) {
	d := load(t, schema.Options{})
	tests := map[string]struct {
		api, schema, body string
		want              []string
	}{
		"a good body has no problem": {"v1", "Monitor", `{"type": "query alert", "query": "q", "options": {"thresholds": {"critical": 2.5}, "silenced": {"*": null}}}`, nil},
		"an unknown key in an open object": {"v1", "Monitor", `{"type": "query alert", "query": "q", "options": {"tresholds": {}}}`,
			[]string{`options.tresholds: unknown key; is "thresholds" meant?`}},
		"an unknown key in a closed object": {"v1", "SLOTimeSliceSpec", `{"time_slice": {"comparator": "<", "threshold": 1, "query": {"formulas": [{"formula": "a"}], "queries": []}, "window": 1}}`,
			[]string{"time_slice.window: unknown key"}},
		"all problems at once": {"v1", "Monitor", `{"type": "query", "options": {"notify_no_data": "no", "priority": 1}, "priority": 9.5}`,
			[]string{`options.notify_no_data: "no" is not of type boolean`, "options.priority: unknown key", "priority: 9.5 is not of type integer",
				"query: required, but missing", `type: "query" is not one of "composite"`}},
		"a key that only Datadog sets": {"v1", "Monitor", `{"type": "query alert", "query": "q", "overall_state": "OK"}`,
			[]string{"overall_state: only Datadog sets this key; it is dropped when it is sent"}},
		"null": {"v1", "Monitor", `{"type": "query alert", "query": null}`, []string{"query: null is not allowed"}},
		"a branch is chosen by its type": {"v1", "Dashboard", `{"title": "t", "layout_type": "ordered", "widgets": [{"definition": {"type": "note", "contents": "x"}}]}`,
			[]string{"widgets[0].definition.content: required, but missing", `widgets[0].definition.contents: unknown key; is "content" meant?`}},
		"a branch that does not exist": {"v1", "Dashboard", `{"title": "t", "layout_type": "ordered", "widgets": [{"definition": {"type": "notes", "content": "x"}}]}`,
			[]string{`widgets[0].definition.type: "notes" is not one of "alert_graph"`}},
		"a branch without a type": {"v1", "LogsPipeline", `{"name": "n", "processors": [{"sources": ["a"]}]}`,
			[]string{`processors[0].type: required, but missing: it says which form this is, one of "arithmetic-processor"`}},
		"two branches of one type: the nearer one": {"v1", "LogsProcessor", `{"type": "lookup-processor", "source": "s", "target": "t", "lookup_table": "a,b"}`,
			[]string{`lookup_table: "a,b" is not of type array`}},
		"a branch that is known by its key": {"v2", "Trigger", `{"monitorTrigger": {"rateLimit": {"count": 1, "intervall": "9s"}}, "startStepNames": ["A"]}`,
			[]string{`monitorTrigger.rateLimit.intervall: unknown key; is "interval" meant?`}},
		"a branch that is known by what is inside": {"v1", "NotebookCellCreateRequest", `{"type": "notebook_cells", "attributes": {"definition": {"type": "timeseries", "requests": []}, "graph_size": "xxl"}}`,
			[]string{"attributes.definition.requests: has 0 items; at least 1 are needed", `attributes.graph_size: "xxl" is not one of "xs"`}},
		"a list that is too short":  {"v1", "Dashboard", `{"title": "t", "layout_type": "ordered", "widgets": [{"definition": {"type": "servicemap", "service": "s", "filters": []}}]}`, []string{"widgets[0].definition.filters: has 0 items; at least 1 are needed"}},
		"a map of texts":            {"v1", "SyntheticsTestHeaders", `{"X-Any": "a", "Other": 1}`, []string{"Other: 1 is not of type string"}},
		"a UUID":                    {"v2", "ScheduleCreateRequest", `{"data": {"type": "schedules", "attributes": {"name": "n", "time_zone": "UTC", "layers": [{"name": "l", "effective_date": "2026-01-05", "rotation_start": "2026-01-05T00:00:00Z", "interval": {"days": 7}, "members": [{"user": {"id": 7}}]}]}}}`, []string{"data.attributes.layers[0].effective_date: \"2026-01-05\" is not a time such as 2026-01-31T09:00:00Z", "data.attributes.layers[0].members[0].user.id: 7 is not of type string"}},
		"free values are free":      {"v2", "Parameter", `{"name": "n", "value": {"any": [{"thing": null}]}}`, nil},
		"a number with a fraction":  {"v1", "Monitor", `{"type": "query alert", "query": "q", "options": {"renotify_interval": 1.5}}`, []string{"options.renotify_interval: 1.5 is not of type integer"}},
		"a key that needs quotes":   {"v1", "Monitor", `{"type": "query alert", "query": "q", "a b": 1}`, []string{`["a b"]: unknown key`}},
		"text after the number":     {"v1", "Monitor", `{`, []string{"not valid JSON"}},
		"a schema that isn't there": {"v1", "Monitors", `{}`, []string{"the description of API v1 has no schema Monitors"}},
		"an API that isn't there":   {"v3", "Monitor", `{}`, []string{`there is no version "v3" of the API`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range d.Check(test.api, test.schema, []byte(test.body)) {
				got = append(got, p.String())
			}
			if len(got) != len(test.want) {
				t.Fatalf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("problem %q, want %q", got[i], want)
				}
			}
		})
	}
}

// TestDefectsAreStillThere keeps the list of defects from outliving them.
func TestDefectsAreStillThere(t *testing.T) {
	repaired, raw := load(t, schema.Options{}), load(t, schema.Options{KeepDefects: true})
	for _, defect := range schema.Defects() {
		t.Run(defect.Schema+" "+defect.Property, func(t *testing.T) {
			if defect.Reason == "" {
				t.Error("no reason")
			}
			if got := repaired.Check(defect.API, defect.Schema, []byte(defect.Example)); len(got) > 0 {
				t.Errorf("repaired, but %v", got)
			}
			if got := raw.Check(defect.API, defect.Schema, []byte(defect.Example)); len(got) == 0 {
				t.Error("the description takes the example: the entry is no longer needed")
			}
		})
	}
}

func TestLoadSaysHowToGetTheModule(t *testing.T) {
	_, err := schema.Load(t.Context(), schema.Options{Dir: t.TempDir()})
	if !errors.Is(err, schema.ErrNotFound) || !strings.Contains(err.Error(), "go mod download github.com/DataDog/datadog-api-client-go/v2") {
		t.Errorf("error = %v", err)
	}
}

// TestNothingPassesThatAnOpenAPIValidatorRefuses changes every value of the repository's assets in several ways, and
// compares with kin-openapi's own validator: Check must refuse all that it refuses.
func TestNothingPassesThatAnOpenAPIValidatorRefuses(t *testing.T) {
	d := load(t, schema.Options{KeepDefects: true})
	docs := map[string]*openapi3.T{}
	for _, api := range []string{"v1", "v2"} {
		docs[api] = schema.Doc(d, api)
	}
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	seen := map[assets.Kind]int{}
	for _, a := range loaded {
		if seen[a.Kind]++; seen[a.Kind] > 1 {
			continue // One of a kind is enough: the schema is the same.
		}
		api, name := a.Kind.Schema()
		var body any
		if err := json.Unmarshal(a.Body, &body); err != nil {
			t.Fatal(err)
		}
		body = trim(body)
		mutate(body, "", func(what string) {
			plain := docs[api].Components.Schemas[name].Value.VisitJSON(body, openapi3.DisableSchemaErrorDetails())
			if plain == nil || strings.Contains(plain.Error(), "more than one") {
				return
			}
			refused++
			if got := d.CheckValue(api, name, body); len(got) == 0 {
				t.Errorf("%s: %s: no problem, but %v", a.File, what, plain)
			}
		})
	}
	if refused < 100 {
		t.Errorf("only %d bodies were refused: the test says little", refused)
	}
}

// trim leaves the first item of each list: kin-openapi takes long for the many branches of a dashboard's widgets.
func trim(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = trim(v[k])
		}
	case []any:
		v = v[:min(len(v), 1)]
		for i := range v {
			v[i] = trim(v[i])
		}
		return v
	}
	return v
}

// mutate calls f with each value of a body gone or replaced, one at a time, and puts it back.
func mutate(v any, path string, f func(what string)) {
	replacements := []any{nil, "x", -1.0, true, []any{}, map[string]any{}}
	switch v := v.(type) {
	case map[string]any:
		for k, old := range v {
			for _, r := range replacements {
				v[k] = r
				f(schema.Join(path, k) + " replaced")
			}
			delete(v, k)
			f(schema.Join(path, k) + " deleted")
			v[k] = old
			mutate(old, schema.Join(path, k), f)
		}
	case []any:
		for i, old := range v {
			for _, r := range replacements {
				v[i] = r
				f(schema.Index(path, i) + " replaced")
			}
			v[i] = old
			mutate(old, schema.Index(path, i), f)
		}
	}
}

// TestEveryPatternCanBeRead guards the rule that a pattern which can't be read holds nobody back.
func TestEveryPatternCanBeRead(t *testing.T) {
	d := load(t, schema.Options{})
	n := 0
	for _, api := range []string{"v1", "v2"} {
		for name, ref := range schema.Doc(d, api).Components.Schemas {
			for property, p := range ref.Value.Properties {
				if p.Value.Pattern == "" {
					continue
				}
				n++
				if _, err := regexp2.Compile(p.Value.Pattern, regexp2.ECMAScript); err != nil {
					t.Errorf("%s.%s: %v", name, property, err)
				}
			}
		}
	}
	if n == 0 {
		t.Error("no patterns at all")
	}
}

func TestLoadReadsOnce(t *testing.T) {
	a, b := load(t, schema.Options{}), load(t, schema.Options{})
	if schema.Doc(a, "v2") != schema.Doc(b, "v2") {
		t.Error("read twice")
	}
}

func TestPaths(t *testing.T) {
	got := schema.Index(schema.Join(schema.Join("", "a"), "b-c"), 2) + schema.Join("", "x.y")
	if diff := cmp.Diff(`a.b-c[2]["x.y"]`, got); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkCheck(b *testing.B) {
	d := load(b, schema.Options{})
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, a := range loaded {
			api, name := a.Kind.Schema()
			d.Check(api, name, a.Body)
		}
	}
}

// FuzzCheck looks for bodies that the walk can't bear.
func FuzzCheck(f *testing.F) {
	d := load(f, schema.Options{})
	f.Add("v1", "Monitor", []byte(`{"type": "query alert", "query": "q"}`))
	f.Add("v1", "Dashboard", []byte(`{"widgets": [{"definition": {"type": "group", "widgets": [{}]}}]}`))
	f.Add("v2", "CreateWorkflowRequest", []byte(`{"data": {"attributes": {"spec": {"steps": [[]]}}}}`))
	f.Fuzz(func(t *testing.T, api, name string, body []byte) {
		for _, p := range d.Check(api, name, body) {
			if p.Reason == "" {
				t.Errorf("a problem without a reason at %q", p.Path)
			}
		}
	})
}
