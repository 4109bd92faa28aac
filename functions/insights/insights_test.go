package insights_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/insights"
	ddmetrics "github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// metrics answers with what it holds, of the window or of the time before; it remembers the spans that it was asked for.
type metrics struct {
	window, before map[string]float64
	err            error
	delay          time.Duration
	spans          []time.Duration
}

func (m *metrics) Scalar(ctx context.Context, queries []ddmetrics.Query, from, to time.Time) (map[string]float64, error) {
	m.spans = append(m.spans, to.Sub(from))
	select {
	case <-time.After(m.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if m.err != nil {
		return nil, m.err
	}
	if len(m.spans)%2 == 0 {
		return m.before, nil
	}
	return m.window, nil
}

func healthy() *metrics {
	return &metrics{
		window: map[string]float64{"requests": 100, "errors": 5, "p95": 5000, "cost": 0.2, "priced": 100, "grounded": 47.5, "judged": 50},
		before: map[string]float64{"cost": 2, "priced": 1000},
	}
}

func start(t testing.TB, m insights.Metrics) (*insights.Function, http.Handler, *telemetry.Memory) {
	t.Helper()
	memory := &telemetry.Memory{}
	tel, err := telemetry.New(telemetry.Options{Sink: memory, Logger: slog.New(slog.DiscardHandler), Function: "insights"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := insights.New(insights.Options{Metrics: m, Telemetry: tel, Scope: "service:s,env:e"})
	if err != nil {
		t.Fatal(err)
	}
	return f, serverless.Wrap(serverless.Function{Handler: f.Handler()}, serverless.Options{Name: "insights", Telemetry: tel}), memory
}

func get(h http.Handler, target, emit string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("X-Request-Id", "r-1")
	if emit != "" {
		r.Header.Set(insights.EmitHeader, emit)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands at the beginning of 2000
		m := healthy()
		_, h, memory := start(t, m)
		w := get(h, "/insights", "")
		want := `{"health_score":72.5,"parts":{` +
			`"cost":{"score":100,"weight":0.15,"inputs":{"ratio":1,"usd_per_request":0.002,"usd_per_request_before":0.002}},` +
			`"performance":{"score":50,"weight":0.25,"inputs":{"p95_ms":5000}},` +
			`"quality":{"score":100,"weight":0.2,"inputs":{"groundedness":0.95,"ungrounded_rate":0}},` +
			`"reliability":{"score":50,"weight":0.3,"inputs":{"error_rate":0.05,"fallback_rate":0}},` +
			`"security":{"score":100,"weight":0.1,"inputs":{"block_rate":0,"injection_rate":0,"token_abuse_rate":0}}},` +
			`"left_out":[],"window":"1h","at":"2000-01-01T00:00:00Z","emitted":false,"request_id":"r-1"}`
		if diff := cmp.Diff(want, strings.TrimSpace(w.Body.String())); diff != "" || w.Code != http.StatusOK {
			t.Errorf("status %d (-want +got):\n%s", w.Code, diff)
		}
		if diff := cmp.Diff([]time.Duration{time.Hour, 24 * time.Hour}, m.spans); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
		if _, n := memory.Sum("llm.health_score"); n != 0 {
			t.Errorf("the score was emitted %d times, nobody asked for it", n)
		}
	})
}

func TestScheduleEmitsTheScore(t *testing.T) {
	f, h, memory := start(t, healthy())
	if w := get(h, "/insights", insights.EmitScore); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"emitted":true`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	flushes := memory.Flushes()
	if err := f.Emit(t.Context()); err != nil || memory.Flushes() != flushes+1 {
		t.Errorf("Emit: %v, %d flushes more, want 1", err, memory.Flushes()-flushes)
	}
	if sum, n := memory.Sum("llm.health_score", "function:insights"); sum != 2*72.5 || n != 2 {
		t.Errorf("got %v in %d points, want 145 in 2", sum, n)
	}
}

func TestNoTrafficIsNoScore(t *testing.T) {
	f, h, memory := start(t, &metrics{})
	w := get(h, "/insights", insights.EmitScore)
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "health_score") || !strings.Contains(w.Body.String(), `"parts":{}`) || !strings.Contains(w.Body.String(), `"emitted":false`) {
		t.Errorf("got %d %s, want no score", w.Code, w.Body)
	}
	if err := f.Emit(t.Context()); err != nil {
		t.Errorf("Emit: %v", err)
	}
	if _, n := memory.Sum("llm.health_score"); n != 0 {
		t.Errorf("emitted %d points of nothing", n)
	}
}

func TestUnreachableDatadogIs503AndTellsNothingInternal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, m := range map[string]*metrics{
			"refused": {err: errors.New("dial 10.1.2.3: refused")}, "slow": {delay: time.Hour},
		} {
			f, h, _ := start(t, m)
			begun := time.Now()
			w := get(h, "/insights", insights.EmitScore)
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("%s: took %s, want at most 10s", name, took)
			}
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "10" || !strings.Contains(w.Body.String(), `"code":"metrics_unavailable"`) || strings.Contains(w.Body.String(), "10.1.2.3") {
				t.Errorf("%s: got %d %s", name, w.Code, w.Body)
			}
			if err := f.Emit(t.Context()); err == nil {
				t.Errorf("%s: Emit returned no error", name)
			}
		}
	})
}

func TestBadRequestsAreProblems(t *testing.T) {
	_, h, _ := start(t, healthy())
	for name, tt := range map[string]struct {
		method, target, emit string
		status               int
		field                string
	}{
		"a window that is none":   {"GET", "/insights?window=week", "", 400, "window"},
		"a window too short":      {"GET", "/insights?window=4m", "", 400, "window"},
		"a window too long":       {"GET", "/insights?window=25h", "", 400, "window"},
		"a window that is good":   {"GET", "/insights?window=15m", "", 200, ""},
		"another thing to emit":   {"GET", "/insights", "everything", 400, insights.EmitHeader},
		"a score of its own time": {"GET", "/insights?window=15m", insights.EmitScore, 400, "window"},
		"a route of issue 6":      {"GET", "/insights/recommendations", "", 404, ""},
	} {
		w := get(h, tt.target, tt.emit)
		var p httpjson.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != tt.status || tt.field != "" && (len(p.Errors) != 1 || p.Errors[0].Field != tt.field) {
			t.Errorf("%s: got %d %s, want %d of %q", name, w.Code, w.Body, tt.status, tt.field)
		}
	}
	if w := get(h, "/insights?window=90m", ""); !strings.Contains(w.Body.String(), `"window":"1h30m"`) {
		t.Errorf("got %s, want the window that was asked for", w.Body)
	}
}

var metricOf = regexp.MustCompile(`^(?:sum|count|p95):([a-z_.]+)\{service:s\}(?:\.as_count\(\))?$`)

func TestEveryQueryReadsTheCatalogue(t *testing.T) {
	catalogue := telemetry.Catalogue()
	window, before := insights.Queries("service:s")
	names := map[string]bool{}
	for _, q := range window {
		m := metricOf.FindStringSubmatch(q.Text)
		if m == nil {
			t.Fatalf("%s: %q is no query that is understood here", q.Name, q.Text)
		}
		i := slices.IndexFunc(catalogue, func(c telemetry.Metric) bool { return c.Name == m[1] })
		if i < 0 || strings.HasPrefix(q.Text, "p95:") && !catalogue[i].Percentiles() {
			t.Errorf("%s: %s is not in the catalogue, or has no percentiles", q.Name, m[1])
		}
		if names[q.Name] {
			t.Errorf("the name %s stands twice", q.Name)
		}
		names[q.Name] = true
	}
	for _, q := range before {
		if !slices.Contains(window, q) {
			t.Errorf("%+v is not compared with anything", q)
		}
	}
}

// api answers every call with a document.
type api struct {
	doc string
	err error
	got []byte
}

func (a *api) Do(_ context.Context, method, path string, _ url.Values, in, out any) error {
	if method != http.MethodPost || path != "/api/v2/query/scalar" {
		return errors.New("no such route")
	}
	a.got, _ = json.Marshal(in)
	if a.err != nil {
		return a.err
	}
	return json.Unmarshal([]byte(a.doc), out)
}

func TestDatadogAnswers(t *testing.T) {
	answer := func(columns string) string {
		return `{"data":{"type":"scalar_response","attributes":{"columns":[` + columns + `]}}}`
	}
	queries := []ddmetrics.Query{{Name: "a", Text: "sum:x{*}", Aggregator: "sum"}, {Name: "b", Text: "p95:y{*}", Aggregator: "percentile"}}
	for name, tt := range map[string]struct {
		api  api
		want map[string]float64
		bad  bool
	}{
		"two values":               {api{doc: answer(`{"name":"b","type":"number","values":[2.5],"meta":{"unit":null}},{"name":"a","type":"number","values":[1]}`)}, map[string]float64{"a": 1, "b": 2.5}, false},
		"null is no data":          {api{doc: answer(`{"name":"a","type":"number","values":[null]}`)}, map[string]float64{}, false},
		"no values are no data":    {api{doc: answer(`{"name":"a","type":"number","values":[]}`)}, map[string]float64{}, false},
		"no columns are no data":   {api{doc: answer(``)}, map[string]float64{}, false},
		"a group is no value":      {api{doc: answer(`{"name":"a","type":"group","values":[["x"]]}`)}, map[string]float64{}, false},
		"errors beside the answer": {api{doc: `{"data":{},"errors":"partial"}`}, nil, true},
		"a value that is no value": {api{doc: answer(`{"name":"a","type":"number","values":["1"]}`)}, nil, true},
		"an error":                 {api{err: errors.New("403")}, nil, true},
	} {
		got, err := ddmetrics.Datadog{API: &tt.api}.Scalar(t.Context(), queries, time.UnixMilli(1000), time.UnixMilli(2000))
		if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != tt.bad {
			t.Errorf("%s: error %v, want %v; values (-want +got):\n%s", name, err, tt.bad, diff)
		}
		want := `{"data":{"type":"scalar_request","attributes":{"from":1000,"to":2000,"formulas":[{"formula":"a"},{"formula":"b"}],"queries":[` +
			`{"data_source":"metrics","name":"a","query":"sum:x{*}","aggregator":"sum"},{"data_source":"metrics","name":"b","query":"p95:y{*}","aggregator":"percentile"}]}}}`
		if diff := cmp.Diff(want, string(tt.api.got)); diff != "" {
			t.Errorf("%s: request (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzDatadogAnswers(f *testing.F) {
	f.Add(`{"data":{"attributes":{"columns":[{"name":"requests","type":"number","values":[1e308]},{"name":"errors","type":"number","values":[-1]}]}}}`)
	f.Add(`{"data":{"attributes":{"columns":[{"name":"requests","type":"number","values":[5,null]},{"name":"p95","type":"number","values":[0]}]}},"errors":""}`)
	f.Add(`{"data":{"attributes":{"columns":[{"name":"requests","type":"number","values":[1e-308]},{"name":"errors","type":"number","values":[1e308]}]}}}`)
	f.Fuzz(func(t *testing.T, doc string) {
		_, h, _ := start(t, ddmetrics.Datadog{API: &api{doc: doc}})
		w := get(h, "/insights", insights.EmitScore)
		var got insights.Document
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK && w.Code != http.StatusServiceUnavailable {
			t.Fatalf("%q: got %d %s", doc, w.Code, w.Body)
		}
		if s := got.Score; s != nil && (*s < 0 || *s > 100) {
			t.Errorf("%q: score %v", doc, *s)
		}
	})
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	for _, o := range []insights.Options{{}, {Scope: "*"}, {Metrics: healthy()}} {
		if _, err := insights.New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
