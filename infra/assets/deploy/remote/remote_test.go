package remote_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/remote"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// server answers every path by a table, and keeps what was sent.
type server struct {
	answers map[string]string
	asked   []string
	sent    map[string]string
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	key := r.Method + " " + r.URL.Path
	s.asked = append(s.asked, key)
	var body json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&body); err == nil {
		if s.sent == nil {
			s.sent = map[string]string{}
		}
		s.sent[key] = string(body)
	}
	w := httptest.NewRecorder()
	answer, ok := s.answers[key]
	if !ok && r.Method == http.MethodGet {
		w.WriteHeader(http.StatusNotFound)
	}
	w.Body.WriteString(answer)
	return w.Result(), nil
}

func client(t *testing.T, s http.RoundTripper) *remote.Client {
	t.Helper()
	api, err := ddapi.New(ddapi.Options{APIKey: "k", AppKey: "k", HTTP: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	return remote.New(api, func(s string) string { return strings.ReplaceAll(s, "hunter2", "«secret»") })
}

func decode(t *testing.T, s string) any {
	t.Helper()
	v, err := diff.Decode([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMarks(t *testing.T) {
	t.Parallel()
	const tagged, by = `"managed_by:llm-reliability-control-plane"`, `managed-by:llm-reliability-control-plane key:`
	tests := map[string]struct {
		kind       assets.Kind
		path, list string
		want       string
	}{
		"both tags":                           {assets.Monitor, "/api/v1/monitor", `[{"id":1,"tags":[` + tagged + `,"asset_key:monitor-a.b-c"]}]`, "a.b-c"},
		"the key alone is somebody else's":    {assets.Monitor, "/api/v1/monitor", `[{"id":1,"tags":["asset_key:monitor-a"]}]`, ""},
		"the manager alone says no key":       {assets.Monitor, "/api/v1/monitor", `[{"id":1,"tags":[` + tagged + `]}]`, ""},
		"the key of another kind":             {assets.SLO, "/api/v1/slo", `{"data":[{"id":"1","tags":[` + tagged + `,"asset_key:monitor-a"]}]}`, ""},
		"a line of a description":             {assets.Dashboard, "/api/v1/dashboard", `{"dashboards":[{"id":"1","description":"All of it.\n` + by + `dashboard/overview"}]}`, "overview"},
		"a description without a key":         {assets.Dashboard, "/api/v1/dashboard", `{"dashboards":[{"id":"1","description":"managed-by:llm-reliability-control-plane"}]}`, ""},
		"a description with another kind":     {assets.Dashboard, "/api/v1/dashboard", `{"dashboards":[{"id":"1","description":"` + by + `team/overview"}]}`, ""},
		"a cell of a notebook":                {assets.Notebook, "/api/v1/notebooks", `{"data":[{"id":1,"attributes":{"cells":[{"attributes":{"definition":{"text":"x"}}},{"attributes":{"definition":{"text":"` + by + `notebook/root"}}}]}}]}`, "root"},
		"a kind that can't say whose it is":   {assets.Archive, "/api/v2/logs/config/archives", `{"data":[{"id":"1","attributes":{"name":"` + by + `archive/a","rehydration_tags":[` + tagged + `]}}]}`, ""},
		"tags that are no texts are no marks": {assets.Monitor, "/api/v1/monitor", `[{"id":1,"tags":[1,{}]}]`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, err := client(t, &server{answers: map[string]string{"GET " + test.path: test.list}}).List(t.Context(), test.kind, "")
			if err != nil || len(objects) != 1 {
				t.Fatalf("%d objects, %v", len(objects), err)
			}
			if objects[0].ID != "1" || objects[0].Mark != test.want {
				t.Errorf("object %+v, want the mark %q", objects[0], test.want)
			}
		})
	}
}

func TestUpdatesSendWhatTheAPIWants(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind             assets.Kind
		live, body       string
		method, sentBody string
	}{
		"layers of a schedule keep their identifiers by name": {
			assets.Schedule, `{"data":{"attributes":{"layers":[{"id":"l1","name":"b"},{"id":"l2","name":"a"}]}}}`,
			`{"data":{"type":"schedules","attributes":{"layers":[{"name":"a"},{"name":"new"}]}}}`,
			"PUT /api/v2/on-call/schedules/x", `{"data":{"id":"x","type":"schedules","attributes":{"layers":[{"id":"l2","name":"a"},{"name":"new"}]}}}`,
		},
		"steps of a policy keep theirs by place": {
			assets.EscalationPolicy, `{"data":{"attributes":{"steps":[{"id":"s1"},{"id":"s2"}]}}}`, `{"data":{"type":"policies","attributes":{"steps":[{"a":1}]}}}`,
			"PUT /api/v2/on-call/escalation-policies/x", `{"data":{"id":"x","type":"policies","attributes":{"steps":[{"a":1,"id":"s1"}]}}}`,
		},
		"a cell that shows something else is a new one": {
			assets.Notebook, `{"data":{"attributes":{"cells":[{"id":"c1","attributes":{"definition":{"type":"markdown"}}},{"id":"c2","attributes":{"definition":{"type":"markdown"}}}]}}}`,
			`{"data":{"attributes":{"cells":[{"attributes":{"definition":{"type":"markdown"}}},{"attributes":{"definition":{"type":"toplist"}}}]}}}`,
			"PUT /api/v1/notebooks/x", `{"data":{"attributes":{"cells":[{"id":"c1","attributes":{"definition":{"type":"markdown"}}},{"attributes":{"definition":{"type":"toplist"}}}]}}}`,
		},
		"headers and tokens of a connection that go are named": {
			assets.Connection, `{"data":{"attributes":{"integration":{"credentials":{"headers":[{"name":"A"},{"name":"B"}],"tokens":[{"name":"t"}]}}}}}`,
			`{"data":{"type":"action_connection","attributes":{"integration":{"type":"HTTP","credentials":{"headers":[{"name":"B","value":"b"}]}}}}}`,
			"PATCH /api/v2/actions/connections/x",
			`{"data":{"type":"action_connection","attributes":{"integration":{"type":"HTTP","credentials":{"headers":[{"name":"B","value":"b"},{"name":"A","deleted":true}],"tokens":[{"name":"t","type":"SECRET","value":"","deleted":true}]}}}}}`,
		},
		"a metric from spans is changed without what is fixed": {
			assets.SpansMetric, `{}`, `{"data":{"type":"spans_metrics","id":"x","attributes":{"compute":{"aggregation_type":"distribution","path":"@d","include_percentiles":true},"filter":{"query":"*"}}}}`,
			"PATCH /api/v2/apm/config/metrics/x", `{"data":{"type":"spans_metrics","attributes":{"compute":{"include_percentiles":true},"filter":{"query":"*"}}}}`,
		},
		"the rules of a scanner group are left out": {
			assets.ScannerGroup, `{}`, `{"meta":{},"data":{"type":"sensitive_data_scanner_group","attributes":{"name":"n"},"relationships":{"rules":{"data":[]}}}}`,
			"PATCH /api/v2/sensitive-data-scanner/config/groups/x", `{"meta":{},"data":{"id":"x","type":"sensitive_data_scanner_group","attributes":{"name":"n"},"relationships":{}}}`,
		},
		"an application has another type in an update": {
			assets.RUMApplication, `{}`, `{"data":{"type":"rum_application_create","attributes":{"name":"n"}}}`,
			"PATCH /api/v2/rum/applications/x", `{"data":{"id":"x","type":"rum_application_update","attributes":{"name":"n"}}}`,
		},
		"a handle is named in the body": {
			assets.IncidentHandle, `{}`, `{"data":{"type":"incidents_handles","attributes":{"name":"@incident-a"}}}`,
			"PUT /api/v2/incidents/config/global/incident-handles", `{"data":{"id":"x","type":"incidents_handles","attributes":{"name":"@incident-a"}}}`,
		},
		"percentiles are changed without the type of the metric": {
			assets.MetricTags, `{}`, `{"data":{"type":"manage_tags","id":"x","attributes":{"metric_type":"distribution","tags":["a"]}}}`,
			"PATCH /api/v2/metrics/x/tags", `{"data":{"type":"manage_tags","id":"x","attributes":{"tags":["a"]}}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			live := remote.Object{ID: "x", Body: decode(t, test.live)}
			if err := client(t, s).Update(t.Context(), live, test.kind, decode(t, test.body)); err != nil {
				t.Fatal(err)
			}
			if s.sent[test.method] == "" {
				t.Fatalf("sent %v", s.sent)
			}
			if d := cmp.Diff(decode(t, test.sentBody), decode(t, s.sent[test.method])); d != "" {
				t.Errorf("body:\n%s", d)
			}
		})
	}
}

func TestNamesOfServersAreHidden(t *testing.T) {
	t.Parallel()
	s := roundTrip(func(*http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.WriteHeader(http.StatusBadRequest)
		w.Body.WriteString(`{"errors":["the value hunter2 is too short"]}`)
		return w.Result(), nil
	})
	_, err := client(t, s).Create(t.Context(), assets.GlobalVariable, "", "v", decode(t, `{"name":"V"}`))
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "«secret» is too short") {
		t.Errorf("error = %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestEveryPathIsDatadogs calls every operation of every kind, and looks the path and the method up in Datadog's OpenAPI
// description.
func TestEveryPathIsDatadogs(t *testing.T) {
	t.Parallel()
	known := description(t)
	if len(known) < 1000 {
		t.Fatalf("the description has %d operations", len(known))
	}
	s := &server{answers: map[string]string{}}
	var asked []string
	record := roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		for name := range r.URL.Query() {
			asked[len(asked)-1] += " " + name
		}
		return s.RoundTrip(r)
	})
	c := client(t, record)
	body := decode(t, `{"id":"x","name":"n","kind":"service","metadata":{"name":"n"},"public_id":"x","data":[{"id":"x"}]}`)
	jsonAPI := decode(t, `{"data":{"id":"x","type":"t","attributes":{"name":"n"},"relationships":{"teams":{"data":[{"id":"t"}]}}}}`)
	var errs []error // Answers are empty: what is made of them is for the tests with the stand-in.
	for _, kind := range assets.Kinds() {
		traits := remote.TraitsOf(kind)
		for _, b := range []any{body, jsonAPI} {
			_, errCreate := c.Create(t.Context(), kind, "u", "x", b)
			_, errFind := c.Find(t.Context(), kind, "u", "x", b)
			_, errGet := c.Get(t.Context(), kind, "u", "x")
			errs = append(errs, errCreate, errFind, errGet)
			if kind != assets.NotificationChannel { // It has no update.
				errs = append(errs, c.Update(t.Context(), remote.Object{ID: "x", Scope: "u", Body: b}, kind, b))
			}
			if traits.Kept == "" && !traits.Always {
				errs = append(errs, c.Delete(t.Context(), kind, "u", "x", true))
			}
		}
	}
	if len(errs) < 5*len(assets.Kinds()) || len(asked) < len(errs)/2 {
		t.Errorf("%d requests for %d operations", len(asked), len(errs))
	}
	// Orders are never made: PUT is their update. One of the two bodies has no identifier where a kind has it.
	made := func(call string) bool {
		return strings.Contains(call, "//") || strings.HasPrefix(call, "POST /api/v1/logs/config/pipeline-order") || strings.HasPrefix(call, "POST /api/v2/logs/config/archive-order")
	}
	asked = slices.DeleteFunc(asked, made)
	slices.Sort(asked)
	for _, call := range slices.Compact(asked) {
		if reason := undescribed(call, known); reason != "" {
			t.Errorf("%s: %s", call, reason)
		}
	}
}

// operation is one operation of the description.
type operation struct {
	method     string
	path       *regexp.Regexp
	parameters []string
}

// undescribed says what is not in the description of a call, or "".
func undescribed(call string, known []operation) string {
	fields := strings.Fields(call)
	for _, op := range known {
		if op.method != fields[0] || !op.path.MatchString(fields[1]) {
			continue
		}
		for _, parameter := range fields[2:] {
			if !slices.Contains(op.parameters, parameter) {
				return "no parameter " + parameter
			}
		}
		return ""
	}
	return "no such operation"
}

var inPath = regexp.MustCompile(`\\\{[^}]*\\\}`)

func description(t *testing.T) []operation {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/DataDog/datadog-api-client-go/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []operation
	for _, version := range []string{"v1", "v2"} {
		doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(strings.TrimSpace(string(dir)), ".generator", "schemas", version, "openapi.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths.Map() {
			for method, op := range item.Operations() {
				o := operation{method: method, path: regexp.MustCompile("^" + inPath.ReplaceAllString(regexp.QuoteMeta(path), `[^/]+`) + "$")}
				for _, p := range op.Parameters {
					o.parameters = append(o.parameters, p.Value.Name)
				}
				all = append(all, o)
			}
		}
	}
	return all
}
