package query_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/assets/schema"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/query"
)

var begin = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// start returns an API over one minute of requests of two functions; edit may change its options.
func start(t testing.TB, edit func(*query.Options)) http.Handler {
	t.Helper()
	store, err := metric.New(metric.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for second := range 60 {
		at := begin.Add(time.Duration(second) * time.Second)
		store.Add("requests", []string{"function:qa", "env:test"}, 1, at)
		store.Add("duration", []string{"function:qa", "env:test"}, float64(100+second), at)
		if second%2 == 0 {
			store.Add("requests", []string{"function:chat", "env:test"}, 1, at)
		}
		if second == 10 {
			store.Add("errors", []string{"function:qa", "env:test"}, 3, at)
		}
	}
	opts := query.Options{Metrics: store}
	if edit != nil {
		edit(&opts)
	}
	h, err := query.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func call(h http.Handler, method, target, body string) (int, []byte) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("DD-API-KEY", "k")
	r.Header.Set("DD-APPLICATION-KEY", "a")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, bytes.TrimSpace(w.Body.Bytes())
}

// body is a v2 request for the minute, with what else attributes hold.
func body(typ, rest string) string {
	return fmt.Sprintf(`{"data":{"type":%q,"attributes":{"from":%d,"to":%d,%s}}}`, typ, begin.UnixMilli(), begin.Add(time.Minute).UnixMilli(), rest)
}

// one is a query of metrics; an empty aggregator is none.
func one(name, aggregator, text string) string {
	q := map[string]any{"data_source": "metrics", "query": text}
	for k, v := range map[string]string{"name": name, "aggregator": aggregator} {
		if v != "" {
			q[k] = v
		}
	}
	out, err := json.Marshal(q)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func describe(t *testing.T, api, name string, doc []byte) {
	t.Helper()
	d, err := schema.Load(t.Context(), schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Check(api, name, doc) {
		if strings.Contains(p.Reason, "only Datadog sets this key") {
			continue // Datadog's part is played here
		}
		t.Errorf("%s: %v: %s", name, p, doc)
	}
}

// column is either kind of column.
type column struct {
	Name, Type string
	Values     []any
}

func TestScalar(t *testing.T) {
	h := start(t, nil)
	for name, tt := range map[string]struct {
		queries, formulas string
		want              []column
	}{
		"a query by itself": {one("n", "sum", "sum:requests{*}"), "", []column{{"n", "number", []any{90.0}}}},
		"groups": {one("n", "sum", "sum:requests{*} by {function}"), "",
			[]column{{"function", "group", []any{[]any{"chat"}, []any{"qa"}}}, {"n", "number", []any{30.0, 60.0}}}},
		"groups by two tags": {one("n", "sum", "sum:errors{*} by {env,function}"), "",
			[]column{{"env", "group", []any{[]any{"test"}}}, {"function", "group", []any{[]any{"qa"}}}, {"n", "number", []any{3.0}}}},
		"a ratio, absent as nothing": {one("e", "sum", "sum:errors{*} by {function}") + "," + one("n", "sum", "sum:requests{*} by {function}"), `{"formula":"e / n * 100"}`,
			[]column{{"function", "group", []any{[]any{"chat"}, []any{"qa"}}}, {"e / n * 100", "number", []any{nil, 5.0}}}},
		"a ratio, absent as zero": {one("e", "sum", "sum:errors{*} by {function}") + "," + one("n", "sum", "sum:requests{*} by {function}"), `{"formula":"default_zero(e) / n"}`,
			[]column{{"function", "group", []any{[]any{"chat"}, []any{"qa"}}}, {"default_zero(e) / n", "number", []any{0.0, 0.05}}}},
		"the example of the description": {one("", "sum", "sum:requests{*}") + "," + one("", "max", "max:duration{*}"), `{"formula":"a+b","limit":{"count":10}}`,
			[]column{{"a+b", "number", []any{249.0}}}},
		"a limit keeps the largest": {one("n", "sum", "sum:requests{*} by {function}"), `{"formula":"-n","limit":{"count":1}}`,
			[]column{{"function", "group", []any{[]any{"chat"}}}, {"-n", "number", []any{-30.0}}}},
		"a limit keeps the smallest": {one("n", "sum", "sum:requests{*} by {function}"), `{"formula":"-n","limit":{"count":1,"order":"asc"}}`,
			[]column{{"function", "group", []any{[]any{"qa"}}}, {"-n", "number", []any{-60.0}}}},
		"no data":                     {one("n", "sum", "sum:nothing{*}"), "", []column{{"n", "number", []any{}}}},
		"no data by groups":           {one("n", "sum", "sum:nothing{*} by {function}"), `{"formula":"n"}`, []column{{"function", "group", []any{}}, {"n", "number", []any{}}}},
		"no data as zero":             {one("n", "sum", "sum:nothing{*}"), `{"formula":"default_zero(n)"}`, []column{{"default_zero(n)", "number", []any{0.0}}}},
		"a division by zero":          {one("n", "sum", "sum:requests{*}"), `{"formula":"n/(n-n)"}`, []column{{"n/(n-n)", "number", []any{nil}}}},
		"the mean of three intervals": {one("n", "avg", "sum:requests{*}"), "", []column{{"n", "number", []any{30.0}}}},
		"the last interval":           {one("n", "last", "min:duration{*}"), "", []column{{"n", "number", []any{140.0}}}},
		"the least":                   {one("n", "min", "min:duration{*}"), "", []column{{"n", "number", []any{100.0}}}},
		"the area":                    {one("n", "area", "sum:requests{*}"), "", []column{{"n", "number", []any{1800.0}}}},
		"the norm":                    {one("n", "l2norm", "count:duration{*}"), "", []column{{"n", "number", []any{34.64101615137755}}}},
	} {
		t.Run(name, func(t *testing.T) {
			rest := `"queries":[` + tt.queries + `]`
			if tt.formulas != "" {
				rest += `,"formulas":[` + tt.formulas + `]`
			}
			req := body("scalar_request", rest)
			describe(t, "v2", "ScalarFormulaQueryRequest", []byte(req))
			status, doc := call(h, "POST", "/api/v2/query/scalar", req)
			describe(t, "v2", "ScalarFormulaQueryResponse", doc)
			var got struct {
				Data struct {
					Type       string
					Attributes struct{ Columns []column }
				}
			}
			if err := json.Unmarshal(doc, &got); err != nil || status != http.StatusOK || got.Data.Type != "scalar_response" {
				t.Fatalf("got %d %s, %v", status, doc, err)
			}
			if diff := cmp.Diff(tt.want, got.Data.Attributes.Columns); diff != "" {
				t.Errorf("columns (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPercentileIsOfTheWholeWindow would get 138, the mean of the percentiles of three intervals, otherwise.
func TestPercentileIsOfTheWholeWindow(t *testing.T) {
	_, doc := call(start(t, nil), "POST", "/api/v2/query/scalar", body("scalar_request", `"queries":[`+one("p", "percentile", "p95:duration{*}")+`]`))
	var got struct {
		Data struct {
			Attributes struct{ Columns []struct{ Values []float64 } }
		}
	}
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	if c := got.Data.Attributes.Columns; len(c) != 1 || c[0].Values[0] < 154 || c[0].Values[0] > 159 {
		t.Errorf("got %s, want about 156", doc)
	}
}

func TestTimeseries(t *testing.T) {
	req := body("timeseries_request", `"interval":30000,"formulas":[{"formula":"n"},{"formula":"2*n"}],"queries":[`+one("n", "", "sum:requests{*} by {function}")+`]`)
	describe(t, "v2", "TimeseriesFormulaQueryRequest", []byte(req))
	status, doc := call(start(t, nil), "POST", "/api/v2/query/timeseries", req)
	describe(t, "v2", "TimeseriesFormulaQueryResponse", doc)
	want := fmt.Sprintf(`{"data":{"attributes":{"series":[`+
		`{"group_tags":["function:chat"],"query_index":0,"unit":null},{"group_tags":["function:qa"],"query_index":0,"unit":null},`+
		`{"group_tags":["function:chat"],"query_index":1,"unit":null},{"group_tags":["function:qa"],"query_index":1,"unit":null}],`+
		`"times":[%d,%d],"values":[[15,15],[30,30],[30,30],[60,60]]},"type":"timeseries_response"}}`, begin.UnixMilli(), begin.Add(30*time.Second).UnixMilli())
	if diff := cmp.Diff(want, string(doc)); diff != "" || status != http.StatusOK {
		t.Errorf("status %d (-want +got):\n%s", status, diff)
	}
}

func TestV1(t *testing.T) {
	target := "/api/v1/query?" + url.Values{
		"from": {fmt.Sprint(begin.Unix())}, "to": {fmt.Sprint(begin.Add(time.Minute).Unix())}, "query": {"sum:errors{*} by {function}"},
	}.Encode()
	status, doc := call(start(t, nil), "GET", target, "")
	describe(t, "v1", "MetricsQueryResponse", doc)
	var got struct {
		Status  string `json:"status"`
		ResType string `json:"res_type"`
		Series  []struct {
			Scope    string       `json:"scope"`
			Interval int          `json:"interval"`
			TagSet   []string     `json:"tag_set"`
			Points   [][2]float64 `json:"pointlist"`
		} `json:"series"`
	}
	if err := json.Unmarshal(doc, &got); err != nil || status != http.StatusOK {
		t.Fatalf("got %d %s, %v", status, doc, err)
	}
	if got.Status != "ok" || got.ResType != "time_series" || len(got.Series) != 1 {
		t.Fatalf("got %s, want one series", doc)
	}
	s := got.Series[0]
	if diff := cmp.Diff([][2]float64{{float64(begin.UnixMilli()), 3}}, s.Points); diff != "" || s.Scope != "function:qa" || s.TagSet[0] != "function:qa" || s.Interval != 20 {
		t.Errorf("got %s; points (-want +got):\n%s", doc, diff)
	}
}

// TestTimesAreTheCallers has a store whose time runs sixty times as fast as the caller's, from the same beginning.
func TestTimesAreTheCallers(t *testing.T) {
	h := start(t, func(o *query.Options) {
		o.ToStandIn = func(t time.Time) time.Time { return begin.Add(t.Sub(begin) * 60) }
		o.ToCaller = func(t time.Time) time.Time { return begin.Add(t.Sub(begin) / 60) }
	})
	second := fmt.Sprintf(`"from":%d,"to":%d,`, begin.UnixMilli(), begin.Add(time.Second).UnixMilli())
	status, doc := call(h, "POST", "/api/v2/query/timeseries", `{"data":{"type":"timeseries_request","attributes":{`+second+`"queries":[`+one("n", "", "sum:requests{function:qa}")+`]}}}`)
	ms := begin.UnixMilli()
	want := fmt.Sprintf(`"times":[%d,%d,%d],"values":[[20,20,20]]`, ms, ms+333, ms+666)
	if status != http.StatusOK || !strings.Contains(string(doc), want) {
		t.Errorf("got %d %s, want %s in it", status, doc, want)
	}
}

func TestRefusals(t *testing.T) {
	good := `"queries":[` + one("n", "sum", "sum:requests{*}") + `]`
	with := func(queries ...string) string { return `"queries":[` + strings.Join(queries, ",") + `]` }
	for name, tt := range map[string]struct{ path, body, reason string }{
		"no JSON":                        {"scalar", `{`, "invalid JSON"},
		"two objects":                    {"scalar", body("scalar_request", good) + "{}", "more follows"},
		"no data":                        {"scalar", `{}`, "data and data.attributes are required"},
		"another type":                   {"scalar", body("timeseries_request", good), "data.type must be scalar_request"},
		"an unknown field":               {"scalar", body("scalar_request", good+`,"form":1`), "unknown field"},
		"no queries":                     {"scalar", body("scalar_request", `"queries":[]`), "want 1 to 50 queries"},
		"no window":                      {"scalar", `{"data":{"type":"scalar_request","attributes":{` + good + `}}}`, "from and to are required"},
		"a window that is turned around": {"scalar", `{"data":{"type":"scalar_request","attributes":{"from":2,"to":1,` + good + `}}}`, "from must be before to"},
		"a window of centuries":          {"scalar", `{"data":{"type":"scalar_request","attributes":{"from":0,"to":253402300799999,` + good + `}}}`, "longer than 100 days"},
		"another data source":            {"scalar", body("scalar_request", strings.Replace(good, `"metrics"`, `"spans"`, 1)), `data source "spans"`},
		"no aggregator":                  {"scalar", body("scalar_request", with(one("n", "", "sum:requests{*}"))), "aggregator must be one of"},
		"a query that is none":           {"scalar", body("scalar_request", with(one("n", "sum", "requests"))), "queries[0]: metric query, offset"},
		"a name twice":                   {"scalar", body("scalar_request", with(one("n", "sum", "sum:a{*}"), one("n", "sum", "sum:b{*}"))), "the name n stands twice"},
		"a name that is none":            {"scalar", body("scalar_request", with(one("2n", "sum", "sum:a{*}"))), `"2n" is no name`},
		"different groups":               {"scalar", body("scalar_request", with(one("m", "sum", "sum:a{*}"), one("n", "sum", "sum:b{*} by {c}"))), "must have the same groups"},
		"a formula of an unknown query":  {"scalar", body("scalar_request", good+`,"formulas":[{"formula":"m"}]`), `"m" is neither`},
		"a formula that breaks off":      {"scalar", body("scalar_request", good+`,"formulas":[{"formula":"(n"}]`), "want )"},
		"a formula with more after it":   {"scalar", body("scalar_request", good+`,"formulas":[{"formula":"n n"}]`), "unexpected"},
		"a formula too deep":             {"scalar", body("scalar_request", good+`,"formulas":[{"formula":"`+strings.Repeat("(", 40)+`n"}]`), "nested deeper"},
		"a function":                     {"scalar", body("scalar_request", good+`,"formulas":[{"formula":"abs(n)"}]`), `"abs" is neither`},
		"an order that is none":          {"scalar", body("scalar_request", good+`,"formulas":[{"formula":"n","limit":{"order":"up"}}]`), "an order of asc or desc"},
		"an interval of scalars":         {"scalar", body("scalar_request", good+`,"interval":1`), "unknown field interval"},
		"an aggregator of series":        {"timeseries", body("timeseries_request", good), "unknown field aggregator"},
	} {
		status, doc := call(start(t, nil), "POST", "/api/v2/query/"+tt.path, tt.body)
		describe(t, "v2", "APIErrorResponse", doc)
		if status != http.StatusBadRequest || !strings.Contains(strings.ReplaceAll(string(doc), `\"`, `"`), tt.reason) {
			t.Errorf("%s: got %d %s, want 400 with %s", name, status, doc, tt.reason)
		}
	}
	for _, params := range []string{"", "from=1&to=2", "from=2&to=1&query=sum:a{*}", "from=x&to=1&query=sum:a{*}"} {
		if status, doc := call(start(t, nil), "GET", "/api/v1/query?"+params, ""); status != http.StatusBadRequest {
			t.Errorf("v1 %q: got %d %s, want 400", params, status, doc)
		}
	}
}

func TestBothKeysAreNeeded(t *testing.T) {
	for name, tt := range map[string]struct {
		api, app string
		status   int
	}{
		"both": {"right", "right", 400}, "no API key": {"", "right", 403}, "no application key": {"right", "", 403}, "a wrong one": {"right", "wrong", 403},
	} {
		h := start(t, func(o *query.Options) { o.APIKey, o.AppKey = "right", "right" })
		r := httptest.NewRequest("POST", "/api/v2/query/scalar", strings.NewReader("{}"))
		r.Header.Set("DD-API-KEY", tt.api)
		r.Header.Set("DD-APPLICATION-KEY", tt.app)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != tt.status {
			t.Errorf("%s: got %d %s, want %d", name, w.Code, w.Body, tt.status)
		}
	}
}

func FuzzScalar(f *testing.F) {
	h := start(f, nil)
	f.Add("sum:requests{*} by {function}", "n*-2", "sum")
	f.Add("p95:duration{*}", "default_zero(n)/(n-1.5)", "percentile")
	f.Add("sum:a{*}.rollup(sum, 10)", "((", "area")
	f.Fuzz(func(t *testing.T, text, formula, aggregator string) {
		f, err := json.Marshal(formula)
		if err != nil {
			t.Fatal(err)
		}
		req := body("scalar_request", `"formulas":[{"formula":`+string(f)+`}],"queries":[`+one("n", aggregator, text)+`]`)
		status, doc := call(h, "POST", "/api/v2/query/scalar", req)
		if status != http.StatusOK && status != http.StatusBadRequest || !json.Valid(doc) {
			t.Errorf("%s: got %d %s", req, status, doc)
		}
	})
}
