package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/probe"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// transport answers requests within the process.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// says answers every request with a status and a body.
func says(status int, body string) transport {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

const (
	key    = "the-key-of-the-probe"
	aboutQ = `{"name":"mill-year","endpoint":"/qa","document":"mill","question":"When was the mill built?","facts":[{"name":"the year","number":1732},{"name":"the abbey","words":["abbey"]}],"forbid":["barley"]}`
	aboutC = `{"name":"mill-corn","endpoint":"/completion","document":"mill","question":"What does it grind?","facts":[{"name":"rye","words":["rye"]}]}`
)

func start(t testing.TB, golden probe.Golden, do transport) (*probe.Function, http.Handler, *telemetry.Memory) {
	t.Helper()
	memory := &telemetry.Memory{}
	tel, err := telemetry.New(telemetry.Options{Sink: memory, Logger: slog.New(slog.DiscardHandler), Function: "probe"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := probe.New(probe.Options{
		QAURL: "https://qa.example/", CompletionURL: "https://completion.example", APIKey: key, Golden: golden,
		HTTP: &http.Client{Transport: do}, Telemetry: tel, Timeout: 20 * time.Second, Total: 50 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, serverless.Wrap(serverless.Function{Handler: f.Handler()}, serverless.Options{Name: "probe", Telemetry: tel, Timeout: 5 * time.Minute}), memory
}

func post(h http.Handler, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/probe", strings.NewReader(body))
	r.Header.Set("X-Request-Id", "r-1")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// run probes and returns the report.
func run(t testing.TB, h http.Handler) probe.Report {
	t.Helper()
	w := post(h, "", "")
	var report probe.Report
	if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	if strings.Contains(w.Body.String(), key) {
		t.Error("the report shows the API key")
	}
	return report
}

// asked is what a request of the probe looks like from the other side.
type asked struct {
	URL, Authorization, CacheControl, RequestID, ContentType string
	Traced                                                   bool
	Body                                                     map[string]any
}

func TestAProbeAsksAsAUserDoesAndReportsWhatItSaw(t *testing.T) {
	golden := one(t, aboutQ+","+aboutC)
	var mu sync.Mutex
	got := map[string]asked{}
	_, h, memory := start(t, golden, func(r *http.Request) (*http.Response, error) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		mu.Lock()
		got[r.URL.Path] = asked{
			r.URL.String(), r.Header.Get("Authorization"), r.Header.Get("Cache-Control"), r.Header.Get("X-Request-Id"), r.Header.Get("Content-Type"),
			r.Header.Get("X-Datadog-Trace-Id") != "", body,
		}
		mu.Unlock()
		if r.URL.Path == "/completion" {
			return says(200, `{"completion":"Rye.","finish_reason":"stop","metadata":{"request_id":"r-1.mill-corn","model":"m","provider":"p","cost_usd":0.002}}`)(r)
		}
		return says(200, `{"answer":"It was built in 1732.","metadata":{"request_id":"q-7","trace_id":"abc","model":"m","provider":"p","cost_usd":0.001,"quality":{"groundedness":0.8,"ungrounded":false}}}`)(r)
	})
	report := run(t, h)
	document := "The mill was built in 1732 by the abbey of St. Aurel. It grinds rye."
	wantAsked := map[string]asked{
		"/qa": {"https://qa.example/qa", "Bearer " + key, "no-cache", "r-1.mill-year", "application/json", true,
			map[string]any{"question": "When was the mill built?", "document": document}},
		"/completion": {"https://completion.example/completion", "Bearer " + key, "no-cache", "r-1.mill-corn", "application/json", true,
			map[string]any{"prompt": "Answer from this text alone, in one sentence.\n\n" + document + "\n\nWhat does it grind?", "max_tokens": 2048.0}},
	}
	if diff := cmp.Diff(wantAsked, got); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	ptr := func(f float64) *float64 { return &f }
	want := []probe.Result{
		{Name: "mill-year", Endpoint: "/qa", ErrorType: probe.FactsMissing, Error: "the answer lacks facts that it must hold", Missing: []string{"the abbey"},
			Groundedness: ptr(1), Reported: ptr(0.8), Model: "m", Provider: "p", CostUSD: ptr(0.001), RequestID: "q-7", TraceID: "abc"},
		{Name: "mill-corn", Endpoint: "/completion", Passed: true, Groundedness: ptr(1), Model: "m", Provider: "p", CostUSD: ptr(0.002), RequestID: "r-1.mill-corn"},
	}
	for i := range report.Cases {
		if report.Cases[i].LatencyMS < 0 {
			t.Errorf("latency %v", report.Cases[i].LatencyMS)
		}
		report.Cases[i].LatencyMS = 0
	}
	if diff := cmp.Diff(want, report.Cases, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".facts" }, cmp.Ignore())); diff != "" {
		t.Errorf("cases (-want +got):\n%s", diff)
	}
	totals := report.Totals
	totals.DurationMS, totals.SlowestMS = 0, 0
	if diff := cmp.Diff(probe.Totals{Cases: 2, Passed: 1, Failed: 1, Facts: 3, FactsFound: 2, Groundedness: ptr(1), CostUSD: ptr(0.003)}, totals); diff != "" || report.Passed || report.RequestID != "r-1" {
		t.Errorf("passed %v, totals (-want +got):\n%s", report.Passed, diff)
	}
	for metric, want := range map[string][2]float64{
		"llm.probe.run": {2, 2}, "llm.probe.failed": {1, 1}, "llm.probe.facts": {1.5, 2}, "llm.probe.groundedness": {2, 2},
	} {
		if sum, n := memory.Sum(metric, "function:probe", "model:m", "provider:p"); sum != want[0] || float64(n) != want[1] {
			t.Errorf("%s: %v in %d points, want %v in %v", metric, sum, n, want[0], want[1])
		}
	}
	if _, n := memory.Sum("llm.probe.failed", "endpoint:/qa", "error_type:facts_missing"); n != 1 {
		t.Errorf("llm.probe.failed of /qa for facts_missing: %d points, want 1", n)
	}
	if _, n := memory.Sum("llm.telemetry.dropped"); n != 0 {
		t.Errorf("%d points were refused", n)
	}
	wantEvaluations := []telemetry.Evaluation{
		{RequestID: "q-7", Label: "probe_passed", Score: 0}, {RequestID: "q-7", Label: "probe_facts", Score: 0.5}, {RequestID: "q-7", Label: "probe_groundedness", Score: 1},
		{RequestID: "r-1.mill-corn", Label: "probe_passed", Score: 1}, {RequestID: "r-1.mill-corn", Label: "probe_facts", Score: 1}, {RequestID: "r-1.mill-corn", Label: "probe_groundedness", Score: 1},
	}
	if diff := cmp.Diff(wantEvaluations, memory.Evaluations()); diff != "" {
		t.Errorf("evaluations (-want +got):\n%s", diff)
	}
}

// answering is a good response but for the answer.
func answering(answer string) transport {
	text, _ := json.Marshal(answer)
	return says(200, `{"answer":`+string(text)+`,"metadata":{"model":"m","provider":"p"}}`)
}

// brokenBody ends before it is complete.
type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
func (brokenBody) Close() error             { return nil }

func TestWhatGoesWrongIsAReport(t *testing.T) {
	const good = "It was built in 1732 by the abbey."
	for name, tt := range map[string]struct {
		do   transport
		want probe.ErrorType // empty where the case passes
		// evaluated is whether there is a span to evaluate.
		evaluated bool
	}{
		"a good answer": {answering(good), "", true},
		"nobody is there": {func(*http.Request) (*http.Response, error) {
			return nil, errors.New("dial 10.1.2.3 with " + key + ": refused")
		}, probe.Unreachable, false},
		"the key is refused":     {says(401, `{"detail":"`+key+`"}`), probe.Refused, true},
		"the key may not":        {says(403, ""), probe.Refused, true},
		"no such route":          {says(404, "s3cret"), probe.Rejected, true},
		"too many requests":      {says(429, ""), probe.Rejected, true},
		"a redirect":             {says(302, ""), probe.Rejected, true},
		"a failure":              {says(502, "s3cret"), probe.Failed, true},
		"a page instead of JSON": {says(200, "<html>s3cret"), probe.BadResponse, true},
		"JSON of another kind":   {says(200, `["s3cret"]`), probe.BadResponse, true},
		"no answer":              {answering(""), probe.BadResponse, true},
		"no model":               {says(200, `{"answer":"`+good+`","metadata":{"provider":"p"}}`), probe.BadResponse, true},
		"a model that is a text": {says(200, `{"answer":"`+good+`","metadata":{"model":"my s3cret model","provider":"p"}}`), probe.BadResponse, true},
		"a response without end": {says(200, strings.Repeat(" ", 2<<20)), probe.BadResponse, true},
		"a response that breaks": {func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: brokenBody{}}, nil
		}, probe.BadResponse, true},
		"facts are missing":          {answering("It was built by the abbey."), probe.FactsMissing, true},
		"a claim too many":           {answering(good + " It grinds barley."), probe.Forbidden, true},
		"right, in words of its own": {answering("The abbey raised that structure during 1732, giraffes notwithstanding."), "", true},
		"an identifier that lies":    {says(200, `{"answer":"`+good+`","metadata":{"model":"m","provider":"p","request_id":"s3cret text"}}`), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			_, h, memory := start(t, one(t, aboutQ), tt.do)
			report := run(t, h)
			c := report.Cases[0]
			if c.ErrorType != tt.want || c.Passed != (tt.want == "") || report.Passed != (c.Passed && !report.Ungrounded) || (c.Error == "") != c.Passed {
				t.Errorf("got %+v, want %q", c, tt.want)
			}
			if c.RequestID != "r-1.mill-year" {
				t.Errorf("request ID %q", c.RequestID)
			}
			whole, _ := json.Marshal(report)
			if strings.Contains(string(whole), "s3cret") || strings.Contains(string(whole), "10.1.2.3") {
				t.Errorf("the report shows what was sent: %s", whole)
			}
			if _, n := memory.Sum("llm.probe.run"); n != 1 {
				t.Errorf("llm.probe.run: %d points, want 1", n)
			}
			if _, n := memory.Sum("llm.probe.failed", "error_type:"+string(tt.want)); (n == 1) != (tt.want != "") {
				t.Errorf("llm.probe.failed: %d points", n)
			}
			if evaluated := len(memory.Evaluations()) > 0; evaluated != tt.evaluated {
				t.Errorf("evaluated: %v, want %v", evaluated, tt.evaluated)
			}
		})
	}
}

func TestAnswersThatIgnoreTheirDocumentsFailTogether(t *testing.T) {
	golden := one(t, aboutQ+","+strings.ReplaceAll(aboutQ, "mill-year", "mill-again"))
	const own, from = "Giraffes roam Madagascar near every abbey under Neptune since 1732.", "It was built in 1732 by the abbey."
	for name, tt := range map[string]struct {
		answers    [2]string
		ungrounded bool
	}{
		"one in words of its own": {[2]string{from, own}, false},
		"all":                     {[2]string{own, own}, true},
	} {
		_, h, _ := start(t, golden, func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.Header.Get("X-Request-Id"), "mill-again") {
				return answering(tt.answers[1])(r)
			}
			return answering(tt.answers[0])(r)
		})
		if report := run(t, h); report.Ungrounded != tt.ungrounded || report.Passed == tt.ungrounded || report.Totals.Passed != 2 {
			t.Errorf("%s: ungrounded %v, passed %v, totals %+v", name, report.Ungrounded, report.Passed, report.Totals)
		}
	}
}

func TestEveryQuestionAndAllOfThemHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }
		f, h, memory := start(t, probe.Golden{}, hangs)
		begun := time.Now()
		report := run(t, h)
		if took := time.Since(begun); took != 50*time.Second {
			t.Errorf("took %s, want the 50s of all", took)
		}
		got := map[probe.ErrorType]int{}
		for _, c := range report.Cases {
			got[c.ErrorType]++
		}
		// Four at a time for 20 s, four more, and four that run out of the rest.
		if got[probe.Timeout] != 12 || got[probe.NotAsked] != len(report.Cases)-12 || report.Passed {
			t.Errorf("got %v of %d", got, len(report.Cases))
		}
		if sum, _ := memory.Sum("llm.probe.failed"); sum != float64(len(report.Cases)) {
			t.Errorf("%v failures in the metrics, want %d", sum, len(report.Cases))
		}

		// The platform's deadline is kept, too, and a caller who hangs up makes no alarm.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if begun = time.Now(); f.Run(ctx).Passed || time.Since(begun) != time.Second {
			t.Errorf("took %s, want 1s", time.Since(begun))
		}
		before, _ := memory.Sum("llm.probe.failed")
		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, hangUp)
		f.Run(ctx)
		if after, _ := memory.Sum("llm.probe.failed"); after != before {
			t.Errorf("%v failures more after the caller hung up", after-before)
		}
	})
}

func TestQuestionsAreAskedAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		_, h, _ := start(t, probe.Golden{}, func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-time.After(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return says(500, "")(r)
		})
		if run(t, h); most != 4 {
			t.Errorf("%d at a time, want 4", most)
		}
	})
}

func TestCasesCanBeNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		contentType, body string
		status            int
		want              string // in the body
	}{
		"nothing is all":            {"", "", 200, `"cases":2`},
		"white space is nothing":    {"", " \n", 200, `"cases":2`},
		"an empty object is all":    {"application/json", "{}", 200, `"cases":2`},
		"one":                       {"application/json", `{"cases":["mill-corn"]}`, 200, `"cases":1`},
		"one that is not there":     {"application/json", `{"cases":["mill-corn","weather"]}`, 400, `"field":"cases","detail":"names what the golden set does not have: weather"`},
		"another field":             {"application/json", `{"case":"mill-corn"}`, 400, `"field":"case"`},
		"not JSON":                  {"application/json", `{`, 400, "not valid JSON"},
		"another content type":      {"text/plain", `{}`, 415, "application/json"},
		"a body that is too large":  {"application/json", `{"cases":["` + strings.Repeat("x", 17<<10) + `"]}`, 413, "larger"},
		"a name that would be long": {"application/json", `{"cases":["` + strings.Repeat("é", 1<<10) + `"]}`, 400, "does not have"},
	} {
		t.Run(name, func(t *testing.T) {
			_, h, _ := start(t, one(t, aboutQ+","+aboutC), says(503, ""))
			if w := post(h, tt.contentType, tt.body); w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || w.Body.Len() > 2000 {
				t.Errorf("got %d %s, want %d with %q", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	good := probe.Options{QAURL: "https://qa.example", CompletionURL: "http://127.0.0.1:1", APIKey: key}
	if _, err := probe.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*probe.Options){
		"no URL":                func(o *probe.Options) { o.QAURL = "" },
		"no address":            func(o *probe.Options) { o.QAURL = "qa.example" },
		"another scheme":        func(o *probe.Options) { o.CompletionURL = "ftp://qa.example" },
		"a password in it":      func(o *probe.Options) { o.CompletionURL = "https://a:s3cret@qa.example" },
		"a query":               func(o *probe.Options) { o.QAURL = "https://qa.example?x=s3cret" },
		"no key":                func(o *probe.Options) { o.APIKey = "" },
		"no host":               func(o *probe.Options) { o.QAURL = "https:///x" },
		"a text that is no URL": func(o *probe.Options) { o.QAURL = "https://s3cret\x7f" },
	} {
		opts := good
		change(&opts)
		if _, err := probe.New(opts); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, want an error that quotes nothing", name, err)
		}
	}
}

// FuzzResponse checks that whatever an endpoint sends becomes a result in our words.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{``, `{}`, `null`, `[]`, `{"answer":"It was built in 1732 by the abbey.","metadata":{"model":"m","provider":"p","cost_usd":1e308,"quality":{"groundedness":-1}}}`, `{"answer":7}`} {
		f.Add(200, []byte(seed))
	}
	f.Add(503, []byte("no"))
	golden := one(f, aboutQ)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		fn, _, _ := start(t, golden, says(status, string(body)))
		report := fn.Run(t.Context())
		c := report.Cases[0]
		if c.Passed != (c.ErrorType == "") || (c.Passed && !report.Ungrounded) != report.Passed {
			t.Errorf("result %+v of %d %q", c, status, body)
		}
		if _, err := json.Marshal(report); err != nil {
			t.Errorf("the report is not JSON: %v", err)
		}
	})
}
