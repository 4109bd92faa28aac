package analysis_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llm-reliability/control-plane/functions/insights/analysis"
	"github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// request is one that the fake has seen. Its tags are those of a metric.
type request struct {
	at   time.Time
	tags map[string]string
	// values are by the name of the query.
	values map[string]float64
}

// traffic answers queries from what it has seen.
type traffic struct {
	requests []request
	err      error
}

// see adds n requests between two ages.
func (f *traffic) see(n int, from, to time.Duration, tags string, values map[string]float64) {
	step := (from - to) / time.Duration(n)
	parsed := map[string]string{}
	for t := range strings.FieldsSeq(tags) {
		k, v, _ := strings.Cut(t, ":")
		parsed[k] = v
	}
	for i := range n {
		f.requests = append(f.requests, request{now.Add(-from + time.Duration(i)*step), parsed, values})
	}
}

var queryText = regexp.MustCompile(`^(sum|count):([a-z._]+)\{([^}]*)\}(?: by \{([^}]*)\})?\.as_count\(\)$`)

func (f *traffic) Rows(_ context.Context, queries []metrics.Query, from, to time.Time) ([]metrics.Row, error) {
	if f.err != nil {
		return nil, f.err
	}
	rows := map[string]*metrics.Row{}
	for _, q := range queries {
		parts := queryText.FindStringSubmatch(q.Text)
		if parts == nil {
			return nil, errors.New("the fake does not read " + q.Text)
		}
		for _, r := range f.requests {
			if r.at.Before(from) || !r.at.Before(to) || !matches(r, parts[3]) {
				continue
			}
			v, ok := r.values[q.Name]
			if !ok {
				continue
			}
			var tags []string
			if parts[4] != "" {
				for key := range strings.SplitSeq(parts[4], ",") {
					tags = append(tags, r.tags[key])
				}
			}
			group := strings.Join(tags, ",")
			if rows[group] == nil {
				rows[group] = &metrics.Row{Tags: tags, Values: map[string]float64{}}
			}
			rows[group].Values[q.Name] += v
		}
	}
	var out []metrics.Row
	for _, r := range rows {
		out = append(out, *r)
	}
	return out, nil
}

func matches(r request, scope string) bool {
	for t := range strings.SplitSeq(scope, ",") {
		if k, v, _ := strings.Cut(t, ":"); k != "service" && r.tags[k] != v {
			return false
		}
	}
	return true
}

// answered are the values of a request with an answer from a document.
func answered(usd, ms float64) map[string]float64 {
	return map[string]float64{"requests": 1, "usd": usd, "priced": 1, "ms": ms, "judged": 1, "input": 1000, "output": 100}
}

// with returns a copy with more values.
func with(values map[string]float64, name string, v float64) map[string]float64 {
	out := map[string]float64{name: v}
	for k, old := range values {
		if k != name {
			out[k] = old
		}
	}
	return out
}

const (
	web   = "caller:web endpoint:/qa function:qa model:gemini-3.8-flash provider:google"
	batch = "caller:batch endpoint:/completion function:completion model:gemini-3.8-flash provider:google"
)

// day has the same traffic for a day and, in the last hour, what an hour is given.
func day(hour func(*traffic)) *traffic {
	f := &traffic{}
	f.see(2400, 25*time.Hour, time.Hour, web, answered(0.001, 400))
	f.see(1200, 25*time.Hour, time.Hour, batch, answered(0.001, 400))
	hour(f)
	return f
}

func analyst(t testing.TB, o analysis.Options) *analysis.Analyst {
	t.Helper()
	o.Scope, o.Service = "service:s", "s"
	if o.Catalog == nil {
		known, err := catalog.BuiltIn()
		if err != nil {
			t.Fatal(err)
		}
		o.Catalog = known
	}
	a, err := analysis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnomaliesAreExplainedByWhatWasPlanted(t *testing.T) {
	for name, tt := range map[string]struct {
		hour func(*traffic)
		want []string
	}{
		"an hour like those before": {func(f *traffic) {
			f.see(100, time.Hour, 0, web, answered(0.001, 400))
			f.see(50, time.Hour, 0, batch, answered(0.001, 400))
		}, []string{}},
		"a caller whose prompts grew": {func(f *traffic) {
			f.see(100, time.Hour, 0, web, answered(0.001, 400))
			f.see(50, time.Hour, 0, batch, answered(0.006, 400))
		}, []string{"cost per request went from 0.001 to 0.00266667 USD; the caller batch explains 100 % of it."}},
		"an endpoint that fails, and is slow": {func(f *traffic) {
			webCompletes, batchAsks := strings.Replace(batch, "caller:batch", "caller:web", 1), strings.Replace(web, "caller:web", "caller:batch", 1)
			f.see(1200, 25*time.Hour, time.Hour, webCompletes, answered(0.001, 400))
			f.see(2400, 25*time.Hour, time.Hour, batchAsks, answered(0.001, 400))
			f.see(100, time.Hour, 0, web, answered(0.001, 400))
			f.see(100, time.Hour, 0, batchAsks, answered(0.001, 400))
			f.see(50, time.Hour, 0, batch, answered(0.001, 2400))
			f.see(10, time.Hour, 0, webCompletes, answered(0.001, 2400))
			f.see(40, time.Hour, 0, webCompletes, with(answered(0.001, 2400), "errors", 1))
		}, []string{
			"mean latency went from 400 to 1066.67 ms; the endpoint /completion explains 100 % of it.",
			"error rate went from 0 to 0.133333 fraction; the endpoint /completion explains 100 % of it.",
		}},
		"a model whose answers are not supported": {func(f *traffic) {
			f.see(60, time.Hour, 0, web, answered(0.001, 400))
			f.see(60, time.Hour, 0, batch, answered(0.001, 400))
			f.see(30, time.Hour, 0, strings.Replace(web, "3.8-flash", "3.8-pro", 1), with(answered(0.001, 400), "ungrounded", 1))
			f.see(30, time.Hour, 0, strings.Replace(batch, "3.8-flash", "3.8-pro", 1), with(answered(0.001, 400), "ungrounded", 1))
		}, []string{"ungrounded rate went from 0 to 0.333333 fraction; the model gemini-3.8-pro explains 100 % of it."}},
		"everything slow alike": {func(f *traffic) {
			f.see(100, time.Hour, 0, web, answered(0.001, 900))
			f.see(50, time.Hour, 0, batch, answered(0.001, 900))
		}, []string{"mean latency went from 400 to 900 ms; no caller, endpoint or model alone explains it."}},
		"too little traffic to say": {func(f *traffic) { f.see(19, time.Hour, 0, web, answered(0.1, 90000)) }, []string{}},
		"no traffic":                {func(*traffic) {}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := analyst(t, analysis.Options{Metrics: day(tt.hour)}).Report(t.Context(), now, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, a := range r.Anomalies {
				got = append(got, a.Summary)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("anomalies (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCostDriversAndSavings(t *testing.T) {
	known, err := catalog.Parse([]byte(`{"models":[
		{"name":"big","provider":"p","tier":"standard","prices":[{"from":"2026-01-01","input":10,"output":20,"read":"2026-01-02","source":"a test"}]},
		{"name":"small","provider":"p","tier":"economy","prices":[{"from":"2026-01-01","input":1,"output":2,"read":"2026-01-02","source":"a test"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	f := &traffic{}
	big, small := "caller:web endpoint:/qa model:big provider:p", "caller:app endpoint:/qa model:small provider:p"
	// While the cache was on, a quarter of the looks were hits.
	f.see(30, 10*time.Hour, 9*time.Hour, big, map[string]float64{"requests": 1, "misses": 1, "usd": 0.006, "priced": 1, "input": 500, "output": 50})
	f.see(10, 10*time.Hour, 9*time.Hour, big, map[string]float64{"requests": 1, "hits": 1, "usd": 0, "priced": 1, "input": 500})
	// 1000 tokens in and 100 out cost 0.012 on the big model, and 0.0012 on the small one.
	f.see(100, time.Hour, 0, big, map[string]float64{"requests": 1, "usd": 0.012, "priced": 1, "input": 1000, "output": 100})
	f.see(50, time.Hour, 0, small, map[string]float64{"requests": 1, "usd": 0.0012, "priced": 1, "input": 1000, "output": 100})
	f.see(7, time.Hour, 0, "caller:odd endpoint:/qa model:unknown provider:x", map[string]float64{"requests": 1, "input": 1000, "output": 100})
	r, err := analyst(t, analysis.Options{Metrics: f, Catalog: known}).Report(t.Context(), now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := &analysis.Cost{
		USD: 1.26, Unpriced: 7,
		Drivers: []analysis.Driver{
			{Dimension: "caller", Value: "web", USD: 1.2, Share: 0.952381, Requests: 100}, {Dimension: "caller", Value: "app", USD: 0.06, Share: 0.047619, Requests: 50},
			{Dimension: "endpoint", Value: "/qa", USD: 1.26, Share: 1, Requests: 157},
			{Dimension: "model", Value: "big", USD: 1.2, Share: 0.952381, Requests: 100}, {Dimension: "model", Value: "small", USD: 0.06, Share: 0.047619, Requests: 50},
		},
		Savings: []analysis.Saving{
			{Kind: "cheaper_tier", USD: 1.08, Assumption: "all requests at the price of the economy tier of the same provider, with the same tokens; 95 % of the cost is not of that tier now. Whether its answers are good enough, the quality signals must say."},
			{Kind: "shorter_prompt", USD: 0.525, Assumption: "prompts of 500 tokens, as in the time before, and not of 1000; answers stay as they are."},
			{Kind: "cache", USD: 0.3297, Assumption: "requests repeat as they did while the response cache was last in use, in the time before: 25.0 % of its looks were hits; each saves the mean cost of a request."},
		},
	}
	if diff := cmp.Diff(want, r.Cost, cmpopts.EquateApprox(1e-9, 0)); diff != "" {
		t.Errorf("cost (-want +got):\n%s", diff)
	}
}

// overrides lists what it holds.
type overrides struct {
	list []control.Override
	err  error
}

func (o overrides) Overrides(context.Context) ([]control.Override, error) { return o.list, o.err }

func TestRemediationsAreVerified(t *testing.T) {
	start := now.Add(-30 * time.Minute)
	economy := control.Override{
		ID: "o-1", Action: control.SwitchModel, Params: control.Params{Model: "economy"}, Scope: control.Scope{Function: "qa"},
		Start: start, End: now.Add(time.Hour), Source: control.Source{Kind: control.Monitor, Monitor: "Cost Anomaly Detection"},
	}
	quality := economy
	quality.Params.Model = "quality"
	fresh := economy
	fresh.Start = now
	cached := economy
	cached.Action, cached.Params = control.EnableCache, control.Params{}
	freeze := economy
	freeze.Action = control.Freeze
	before := func(f *traffic, values map[string]float64) { f.see(100, 45*time.Minute, 30*time.Minute, web, values) }
	after := func(f *traffic, n int, values map[string]float64) {
		f.see(n, 28*time.Minute, 15*time.Minute, web, values)
	}
	for name, tt := range map[string]struct {
		override control.Override
		traffic  func(*traffic)
		verdict  analysis.Verdict
		why      string
	}{
		"cheaper":             {economy, func(f *traffic) { before(f, answered(0.01, 400)); after(f, 100, answered(0.002, 400)) }, analysis.Better, "0.01 before, 0.002 since, over 100 and 100 requests"},
		"a twentieth cheaper": {economy, func(f *traffic) { before(f, answered(0.01, 400)); after(f, 100, answered(0.0095, 400)) }, analysis.Unclear, "0.01 before, 0.0095 since, over 100 and 100 requests"},
		"dearer":              {economy, func(f *traffic) { before(f, answered(0.01, 400)); after(f, 100, answered(0.02, 400)) }, analysis.Worse, "0.01 before, 0.02 since, over 100 and 100 requests"},
		"cheaper, and wrong": {economy, func(f *traffic) {
			before(f, answered(0.01, 400))
			after(f, 100, with(answered(0.002, 400), "ungrounded", 0.2))
		}, analysis.Worse, "ungrounded rate became worse: 0 before, 0.2 since, over 100 and 100 requests"},
		"too few requests": {economy, func(f *traffic) { before(f, answered(0.01, 400)); after(f, 19, answered(0.002, 400)) }, analysis.Unclear, "too little traffic: 100 requests before, 19 since, and 20 are needed of each"},
		"just begun":       {fresh, func(*traffic) {}, analysis.Unclear, "it has only just begun"},
		"traffic of another function": {economy, func(f *traffic) {
			before(f, answered(0.01, 400))
			f.see(100, 28*time.Minute, 15*time.Minute, batch, answered(0.001, 1))
		}, analysis.Unclear, "too little traffic: 100 requests before, 0 since, and 20 are needed of each"},
		"answers supported again": {quality, func(f *traffic) {
			before(f, with(answered(0.01, 400), "ungrounded", 0.5))
			after(f, 100, answered(0.03, 400))
		}, analysis.Better, "0.5 before, 0 since, over 100 and 100 requests"},
		"answers hardly more supported": {quality, func(f *traffic) {
			before(f, with(answered(0.01, 400), "ungrounded", 0.5))
			after(f, 100, with(answered(0.01, 400), "ungrounded", 0.45))
		}, analysis.Unclear, "0.5 before, 0.45 since, over 100 and 100 requests"},
		"faster by the cache": {cached, func(f *traffic) { before(f, answered(0.01, 400)); after(f, 100, answered(0, 50)) }, analysis.Better, "400 before, 50 since, over 100 and 100 requests"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &traffic{}
			tt.traffic(f)
			r, err := analyst(t, analysis.Options{Metrics: f, Overrides: overrides{list: []control.Override{tt.override, freeze}}}).Report(t.Context(), now, time.Hour)
			if err != nil || len(r.Remediations) != 1 {
				t.Fatalf("%v: %+v", err, r.Remediations)
			}
			if v := r.Remediations[0]; v.Verdict != tt.verdict || v.Why != tt.why || v.ID != "o-1" || v.Monitor != "Cost Anomaly Detection" {
				t.Errorf("got %s: %s; want %s: %s", v.Verdict, v.Why, tt.verdict, tt.why)
			}
		})
	}
}

// stories has what Watchdog told.
type stories struct {
	events []metrics.Event
	query  string
	err    error
}

func (s *stories) Events(_ context.Context, query string, _, _ time.Time, _ int) ([]metrics.Event, error) {
	s.query = query
	return s.events, s.err
}

func TestWatchdogsStoriesAreTold(t *testing.T) {
	s := &stories{events: []metrics.Event{{At: now, Title: "Latency is up", Text: "on /qa", Tags: []string{"story_key:abc", "story_category:apm", "env:prod"}}}}
	r, err := analyst(t, analysis.Options{Metrics: &traffic{}, Events: s}).Report(t.Context(), now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := []analysis.Story{{At: now, Title: "Latency is up", Text: "on /qa", Key: "abc", Category: "apm"}}
	if diff := cmp.Diff(want, r.Watchdog); diff != "" || s.query != "source:watchdog service:s" {
		t.Errorf("asked for %q; stories (-want +got):\n%s", s.query, diff)
	}
}

func TestWhatFailsIsNamedAndTheRestIsThere(t *testing.T) {
	broken := errors.New("broken")
	good := day(func(f *traffic) { f.see(50, time.Hour, 0, batch, answered(0.001, 400)) })
	for name, tt := range map[string]struct {
		opts analysis.Options
		want []string
	}{
		"nothing":   {analysis.Options{Metrics: good, Events: &stories{}, Overrides: overrides{}}, []string{}},
		"metrics":   {analysis.Options{Metrics: &traffic{err: broken}, Events: &stories{}, Overrides: overrides{}}, []string{"anomalies", "cost"}},
		"events":    {analysis.Options{Metrics: good, Events: &stories{err: broken}, Overrides: overrides{}}, []string{"watchdog"}},
		"overrides": {analysis.Options{Metrics: good, Events: &stories{}, Overrides: overrides{err: broken}}, []string{"remediations"}},
	} {
		r, err := analyst(t, tt.opts).Report(t.Context(), now, time.Hour)
		if diff := cmp.Diff(tt.want, r.Unavailable); diff != "" || (err != nil) != (len(tt.want) > 0) || err != nil && !errors.Is(err, broken) {
			t.Errorf("%s: error %v; unavailable (-want +got):\n%s", name, err, diff)
		}
		if (r.Cost == nil) != slices.Contains(tt.want, "cost") || r.Watchdog == nil || r.Remediations == nil || r.Anomalies == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestEveryQueryReadsTheCatalogue(t *testing.T) {
	known := map[string]telemetry.Metric{}
	for _, m := range telemetry.Catalogue() {
		known[m.Name] = m
	}
	queries := analysis.Queries("service:s")
	if len(queries) == 0 {
		t.Fatal("no queries")
	}
	for _, q := range queries {
		parts := queryText.FindStringSubmatch(q.Text)
		if parts == nil {
			t.Fatalf("the test does not read %q", q.Text)
		}
		m, ok := known[parts[2]]
		if !ok {
			t.Errorf("%q: there is no metric %s", q.Text, parts[2])
		}
		if parts[4] == "" {
			continue
		}
		for tag := range strings.SplitSeq(parts[4], ",") {
			if !slices.Contains(m.Tags, tag) {
				t.Errorf("%q: %s has no tag %s", q.Text, m.Name, tag)
			}
		}
	}
}

func TestOverridesComeFromTheFunctionRemediation(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		want   []string
		err    string
	}{
		"two of them":   {200, `{"settings":{},"in_force":[{"id":"a","action":"limit"}],"history":[{"id":"b","action":"route"}]}`, []string{"a", "b"}, ""},
		"none":          {200, `{"in_force":[],"history":[]}`, []string{}, ""},
		"wrong secret":  {401, `{"secret":"s3cret"}`, nil, "read overrides: status 401"},
		"no JSON":       {200, `<html>`, nil, "read overrides: invalid character '<' looking for beginning of value"},
		"half a answer": {200, `{"in_force":[`, nil, "read overrides: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/remediation" || r.Header.Get("Authorization") != "Bearer s3cret" {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			defer server.Close()
			got, err := analysis.Remediation{URL: server.URL + "/", Secret: "s3cret", HTTP: server.Client()}.Overrides(t.Context())
			var ids []string
			if err == nil {
				ids = []string{}
			} else if err.Error() != tt.err {
				t.Errorf("error %v, want %s", err, tt.err)
			}
			for _, o := range got {
				ids = append(ids, o.ID)
			}
			if diff := cmp.Diff(tt.want, ids); diff != "" {
				t.Errorf("overrides (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	for _, o := range []analysis.Options{{}, {Metrics: &traffic{}}, {Scope: "*"}, {Metrics: &traffic{}, Scope: "*", Events: &stories{}}} {
		if _, err := analysis.New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
