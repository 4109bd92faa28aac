package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var start = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// answered is an exchange about which everything is known: a retry, then an answer of another model, under an override.
func answered() *telemetry.Exchange {
	cost, similarity, groundedness := 0.0025, 0.8, 0.6
	return &telemetry.Exchange{
		RequestID: "r1", Function: "qa", Endpoint: "/qa", HTTP: telemetry.HTTP{Method: "POST", URL: "https://qa.example/qa", UserAgent: "shop/1.2"}, Type: "qa", Caller: "shop", Session: "s1", Tier: "standard",
		Start: start, Duration: 1500 * time.Millisecond, FirstToken: 250 * time.Millisecond,
		Messages: []llm.Message{{Role: "user", Content: "SECRET prompt"}}, Question: "SECRET question", Document: "SECRET document",
		Output: "SECRET answer", Finish: "stop", PromptID: "qa", PromptVersion: "1",
		Attempts: []telemetry.Attempt{
			{Model: "a", Provider: "google", ErrorType: "timeout", Err: errors.New("slow")},
			{Model: "a", Provider: "google", ErrorType: "overloaded", Retry: true},
			{Model: "b", Provider: "openai", Fallback: true, Output: "SECRET answer"},
		},
		Model: "b", Provider: "openai", Cache: telemetry.CacheMiss, CostUSD: &cost, Usage: &llm.Usage{InputTokens: 100, OutputTokens: 20},
		Overrides: []telemetry.OverrideRef{{ID: "o1", Action: "switch-model", Reason: "monitor"}, {ID: "o2", Action: "enable-cache", Reason: "operator"}},
		Quality:   &telemetry.Quality{SemanticSimilarity: &similarity, Groundedness: &groundedness, Ungrounded: true},
		Safety:    telemetry.Safety{PromptInjection: 0.9, InjectionSuspected: true, TokenAbuse: true, PII: []string{"email"}},
		Outcome:   telemetry.OutcomeSuccess, Status: 200, Degraded: []string{"cache"},
	}
}

func failed() *telemetry.Exchange {
	return &telemetry.Exchange{
		RequestID: "r2", Function: "completion", Endpoint: "/completion", Type: "completion", Caller: "anonymous",
		Start: start, Duration: 30 * time.Second, Cache: telemetry.CacheOff, Outcome: telemetry.OutcomeError, Status: 504,
		Attempts:  []telemetry.Attempt{{Model: "a", Provider: "google", ErrorType: "timeout", Err: context.DeadlineExceeded}},
		Model:     "a",
		Provider:  "google",
		ErrorType: "timeout", Err: context.DeadlineExceeded,
	}
}

// blocked is an exchange that our own screen refused before any model was called.
func blocked() *telemetry.Exchange {
	return &telemetry.Exchange{
		RequestID: "r3", Function: "completion", Endpoint: "/v1/chat/completions", Type: "chat", Caller: "shop",
		HTTP:  telemetry.HTTP{Method: "POST", URL: "https://completion.example/v1/chat/completions"},
		Start: start, Duration: time.Millisecond, Cache: telemetry.CacheOff, Outcome: telemetry.OutcomeBlocked, Status: 422,
		Messages:  []llm.Message{{Role: "user", Content: "SECRET prompt"}},
		Safety:    telemetry.Safety{PromptInjection: 0.9, InjectionSuspected: true, Blocked: true, PII: []string{"card", "email"}},
		ErrorType: "blocked", Err: errors.New("the prompt looks like an injection"),
	}
}

func TestPoints(t *testing.T) {
	common := "function:qa endpoint:/qa model:b provider:openai request_type:qa outcome:success cache:miss tier:standard caller:shop"
	got := map[string]float64{}
	for _, p := range telemetry.Points(answered()) {
		extra, ok := strings.CutPrefix(strings.Join(p.Tags, " "), common)
		if !ok {
			t.Errorf("tags of %s = %q, want those of the request first", p.Metric, p.Tags)
		}
		got[p.Metric+extra] = p.Value
	}
	want := map[string]float64{
		"llm.request.duration": 1500, "llm.request.time_to_first_token": 250, "llm.request.count": 1, "llm.request.cost": 0.0025,
		"llm.request.tokens.input": 100, "llm.request.tokens.output": 20, "llm.request.tokens.total": 120,
		"llm.request.retry": 1, "llm.request.fallback": 1, "llm.request.timeout": 1, "llm.cache.miss": 1,
		"llm.quality.semantic_similarity": 0.8, "llm.quality.groundedness": 0.6, "llm.quality.ungrounded": 1,
		"llm.safety.prompt_injection": 1, "llm.safety.token_abuse": 1,
		"llm.remediation.active action:switch-model reason:monitor":  1,
		"llm.remediation.active action:enable-cache reason:operator": 1,
		"product_analytics.endpoint_usage":                           1, "product_analytics.endpoint_latency": 1500, "product_analytics.endpoint_cost": 0.0025,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
}

// Absent is absent: what an exchange does not know makes no point, and never a zero that looks measured.
func TestPointsOfWhatIsNotKnown(t *testing.T) {
	always := []string{"llm.request.count", "llm.request.duration", "product_analytics.endpoint_latency", "product_analytics.endpoint_usage"}
	zero := 0.0
	tests := map[string]struct {
		exchange telemetry.Exchange
		more     []string
	}{
		"nothing is known":                  {telemetry.Exchange{}, nil},
		"a hit in the cache costs zero":     {telemetry.Exchange{Cache: telemetry.CacheHit, CostUSD: &zero}, []string{"llm.cache.hit", "llm.request.cost", "product_analytics.endpoint_cost"}},
		"a stale answer is neither":         {telemetry.Exchange{Cache: telemetry.CacheStale}, []string{"llm.cache.stale"}},
		"a model was passed over":           {telemetry.Exchange{Skipped: []string{"google/global/m"}}, []string{"llm.breaker.open"}},
		"a second call was begun":           {telemetry.Exchange{Attempts: []telemetry.Attempt{{Hedge: true}}}, []string{"llm.request.hedge"}},
		"a quality without signals":         {telemetry.Exchange{Quality: &telemetry.Quality{}}, nil},
		"an attempt of no note":             {telemetry.Exchange{Attempts: []telemetry.Attempt{{Model: "a"}}}, nil},
		"a client that left is no error":    {telemetry.Exchange{Outcome: telemetry.OutcomeCanceled, ErrorType: "canceled"}, nil},
		"a refused request is no error":     {telemetry.Exchange{Outcome: telemetry.OutcomeRejected, ErrorType: "invalid_request"}, nil},
		"an error is one":                   {telemetry.Exchange{Outcome: telemetry.OutcomeError, ErrorType: "internal"}, []string{"llm.request.error"}},
		"our filter blocked":                {telemetry.Exchange{Outcome: telemetry.OutcomeBlocked, Safety: telemetry.Safety{Blocked: true}}, []string{"llm.safety.block"}},
		"the provider's filter blocked":     {telemetry.Exchange{Outcome: telemetry.OutcomeBlocked, ErrorType: "blocked"}, []string{"llm.safety.block"}},
		"a usage of no tokens was measured": {telemetry.Exchange{Usage: &llm.Usage{}}, []string{"llm.request.tokens.input", "llm.request.tokens.output", "llm.request.tokens.total"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range telemetry.Points(&test.exchange) {
				got = append(got, p.Metric)
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(append(slices.Clone(always), test.more...)))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTagsOfPoints(t *testing.T) {
	allowed := map[string][]string{}
	for _, m := range telemetry.Catalogue() {
		allowed[m.Name] = m.Tags
	}
	exchanges := map[string]*telemetry.Exchange{
		"answered": answered(), "failed": failed(), "nothing is known": {},
		"an error of no type, under an override of no reason": {Outcome: telemetry.OutcomeError, Overrides: []telemetry.OverrideRef{{ID: "o1", Action: "limit"}}},
	}
	for name, e := range exchanges {
		t.Run(name, func(t *testing.T) {
			for _, p := range telemetry.Points(e) {
				for _, tag := range p.Tags {
					key, value, _ := strings.Cut(tag, ":")
					if value == "" || !slices.Contains(allowed[p.Metric], key) {
						t.Errorf("%s has the tag %q, want a value and one of the keys %v", p.Metric, tag, allowed[p.Metric])
					}
				}
			}
		})
	}
}

func TestCatalogue(t *testing.T) {
	// Those of Datadog's units that the catalogue uses. The whole list is in its integrations' validator,
	// DataDog/integrations-core ddev/src/ddev/cli/validate/metadata_utils.py; the documentation's page lacks "token".
	units := []string{"millisecond", "token", "dollar", "request", "error", "attempt", "hit", "miss", "fraction", "percent", "operation", "item"}
	bounded := []string{"function", "endpoint", "model", "provider", "request_type", "outcome", "error_type", "cache", "tier", "caller", "action", "reason", "limit"}
	var names []string
	for _, m := range telemetry.Catalogue() {
		names = append(names, m.Name)
		if m.Kind != telemetry.Count && m.Kind != telemetry.Distribution {
			t.Errorf("%s is of kind %q", m.Name, m.Kind)
		}
		if m.Percentiles() != (m.Kind == telemetry.Distribution) {
			t.Errorf("%s: percentiles = %v, want them for distributions only", m.Name, m.Percentiles())
		}
		if !strings.HasSuffix(m.Description, ".") {
			t.Errorf("the description of %s is no sentence: %q", m.Name, m.Description)
		}
		if m.Unit == "" && m.Name != "product_analytics.conversion_value" {
			t.Errorf("%s has no unit", m.Name)
		}
		if m.Unit != "" && !slices.Contains(units, m.Unit) {
			t.Errorf("%s has the unit %q, which Datadog does not know", m.Name, m.Unit)
		}
		for _, tag := range m.Tags {
			if !slices.Contains(bounded, tag) {
				t.Errorf("%s has the tag key %q, which is not of a bounded set", m.Name, tag)
			}
		}
		if dup := len(slices.Compact(slices.Sorted(slices.Values(m.Tags)))); dup != len(m.Tags) {
			t.Errorf("%s lists a tag key twice: %v", m.Name, m.Tags)
		}
	}
	// The metrics that dashboards, monitors and documents are written against. Whoever removes one breaks them.
	want := []string{
		"llm.request.duration", "llm.request.tokens.input", "llm.request.tokens.output", "llm.request.tokens.total", "llm.request.cost",
		"llm.request.error", "llm.request.count", "llm.request.retry", "llm.request.fallback", "llm.request.timeout",
		"llm.request.time_to_first_token", "llm.request.hedge", "llm.breaker.open", "llm.cache.hit", "llm.cache.miss", "llm.cache.stale", "llm.limit.exceeded", "llm.safety.document_injection", "llm.quality.answer_relevance", "llm.quality.refusal", "llm.quality.truncated", "llm.quality.semantic_similarity", "llm.quality.groundedness",
		"llm.quality.ungrounded", "llm.safety.block", "llm.safety.prompt_injection", "llm.safety.token_abuse", "llm.health_score",
		"llm.remediation.applied", "llm.remediation.refused", "llm.remediation.reverted", "llm.remediation.active", "llm.telemetry.dropped",
		"llm.escalation.sent", "llm.escalation.queued", "llm.escalation.failed",
		"llm.judge.verdict", "llm.judge.failed", "llm.judge.groundedness", "llm.judge.answer_relevance", "llm.judge.cost",
		"llm.probe.run", "llm.probe.failed", "llm.probe.facts", "llm.probe.groundedness", "llm.probe.duration",
		"product_analytics.endpoint_usage", "product_analytics.endpoint_latency", "product_analytics.endpoint_cost", "product_analytics.conversion_value",
	}
	if diff := cmp.Diff(want, names, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("names, each once (-want +got):\n%s", diff)
	}
}

func TestTheCatalogueCannotBeChangedFromOutside(t *testing.T) {
	before := telemetry.Catalogue()[0].Name
	telemetry.Catalogue()[0].Name = "changed"
	if got := telemetry.Catalogue()[0].Name; got != before {
		t.Errorf("name = %q, want %q", got, before)
	}
}

// recorder is a memory sink that shows its points whole.
type recorder struct {
	telemetry.Memory
	points []telemetry.Point
}

func (r *recorder) Emit(points []telemetry.Point) {
	r.points = append(r.points, points...)
	r.Memory.Emit(points)
}

// newClient returns a client on a memory sink, and what it logs. Times in the log are those of the test's bubble.
func newClient(t *testing.T) (*telemetry.Client, *recorder, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	sink := new(recorder)
	c, err := telemetry.New(telemetry.Options{
		Sink: sink, Function: "qa", Logger: telemetry.NewLogger(&log, slog.LevelInfo, "lrcp", "test", "v1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, sink, &log
}

func TestTheLogLineOfAnExchange(t *testing.T) {
	tests := map[string]*telemetry.Exchange{"answered": answered(), "failed": failed(), "blocked": blocked(), "empty": {}}
	for name, e := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, sink, log := newClient(t)
				ctx, span := c.Begin(t.Context(), "request", http.Header{})
				c.Record(ctx, e)
				span.End(e.Status, e.Err)
				golden(t, name+".json", log.Bytes())
				if strings.Contains(log.String(), "SECRET") {
					t.Errorf("the log holds text of the exchange: %s", log)
				}
				if got := sink.Exchanges(); len(got) != 1 || got[0] != e {
					t.Errorf("exchanges = %v, want the one", got)
				}
				if _, n := sink.Sum("llm.request.count", "function:"+e.Function); e.Function != "" && n != 1 {
					t.Errorf("points of llm.request.count = %d, want 1", n)
				}
				if diff := cmp.Diff([]int{e.Status}, sink.Statuses()); diff != "" {
					t.Errorf("statuses (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// golden compares a log line, indented to be read, with a file of testdata.
func golden(t *testing.T, name string, line []byte) {
	t.Helper()
	var got bytes.Buffer
	if err := json.Indent(&got, bytes.TrimSpace(line), "", "  "); err != nil {
		t.Fatalf("indent %q: %v", line, err)
	}
	got.WriteByte('\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestNewLogger(t *testing.T) {
	tests := map[string]struct {
		log  func(context.Context, *slog.Logger)
		want map[string]any // besides timestamp and the unified tags; nil for no line
	}{
		"a message": {func(ctx context.Context, l *slog.Logger) { l.InfoContext(ctx, "hello", slog.Int("n", 1)) },
			map[string]any{"status": "info", "message": "hello", "n": 1.0}},
		"a warning":                           {func(ctx context.Context, l *slog.Logger) { l.WarnContext(ctx, "m") }, map[string]any{"status": "warn", "message": "m"}},
		"an error":                            {func(ctx context.Context, l *slog.Logger) { l.ErrorContext(ctx, "m") }, map[string]any{"status": "error", "message": "m"}},
		"what is below the level is left out": {func(ctx context.Context, l *slog.Logger) { l.DebugContext(ctx, "m") }, nil},
		"attributes of a group stay in it": {func(ctx context.Context, l *slog.Logger) {
			l.InfoContext(ctx, "m", slog.Group("g", slog.Int("level", 1)))
		},
			map[string]any{"status": "info", "message": "m", "g": map[string]any{"level": 1.0}}},
		"attributes with the names that slog uses are plain attributes": {func(ctx context.Context, l *slog.Logger) {
			l.InfoContext(ctx, "m", slog.String("time", "noon"), slog.String("level", "HIGH"))
		}, map[string]any{"status": "info", "message": "m", "time": "noon", "level": "HIGH"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				l := telemetry.NewLogger(&out, slog.LevelInfo, "lrcp", "test", "v1")
				test.log(t.Context(), l)
				if test.want == nil {
					if out.Len() > 0 {
						t.Errorf("logged %s, want nothing", &out)
					}
					return
				}
				var got map[string]any
				if err := json.Unmarshal(out.Bytes(), &got); err != nil {
					t.Fatalf("read %q: %v", &out, err)
				}
				maps.Copy(test.want, map[string]any{
					"timestamp": time.Now().UTC().Format(time.RFC3339Nano), "service": "lrcp", "dd.service": "lrcp", "dd.env": "test", "dd.version": "v1",
				})
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("line (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTheTraceIsAtTheTopOfEveryLine(t *testing.T) {
	c, _, log := newClient(t)
	ctx, span := c.Begin(t.Context(), "request", http.Header{})
	defer span.End(200, nil)
	if got := telemetry.TraceFrom(ctx); got != span.Trace() || got.TraceID == "" {
		t.Errorf("trace of the context = %+v, want %+v", got, span.Trace())
	}
	header := http.Header{}
	telemetry.Inject(ctx, header)
	if header.Get("x-datadog-trace-id") != span.Trace().TraceID {
		t.Errorf("header = %v, want the trace %s", header, span.Trace().TraceID)
	}
	c.Logger().With(slog.String("a", "b")).InfoContext(ctx, "m", slog.Group("g", slog.Int("n", 1)))
	var got map[string]any
	if err := json.Unmarshal(log.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got["dd.trace_id"] != span.Trace().TraceID || got["dd.span_id"] != span.Trace().SpanID {
		t.Errorf("line = %s, want dd.trace_id and dd.span_id of %+v at its top", log, span.Trace())
	}
	if diff := cmp.Diff(map[string]any{"n": 1.0}, got["g"]); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
}

func TestWithoutARequestThereIsNoTrace(t *testing.T) {
	c, _, log := newClient(t)
	c.Logger().InfoContext(t.Context(), "m")
	header := http.Header{}
	telemetry.Inject(t.Context(), header)
	if got := telemetry.TraceFrom(t.Context()); got != (telemetry.Trace{}) || len(header) > 0 || strings.Contains(log.String(), "trace_id") {
		t.Errorf("trace = %+v, header = %v, log = %s; want none", got, header, log)
	}
}

func TestAdd(t *testing.T) {
	tests := map[string]struct {
		metric  string
		tags    []string
		sent    []string // the tags of the point
		refusal string   // in the log, empty when the point is sent
	}{
		"a metric of the catalogue is sent": {"llm.remediation.applied", []string{"action:limit", "reason:monitor"},
			[]string{"action:limit", "reason:monitor", "function:qa"}, ""},
		"a function of its own stays": {"llm.health_score", []string{"function:all"}, []string{"function:all"}, ""},
		"an unknown metric is refused": {"llm.remediation.aplied", nil, nil,
			`metric \"llm.remediation.aplied\" is unknown`},
		"a tag key of another metric is refused": {"llm.health_score", []string{"model:m"}, nil,
			`metric \"llm.health_score\" has no tag \"model\"`},
		"a request ID is refused": {"llm.remediation.applied", []string{"request_id:r1"}, nil,
			`metric \"llm.remediation.applied\" has no tag \"request_id\"`},
		"a tag without a value is left out": {"llm.remediation.applied", []string{"action:", "reason:monitor"}, []string{"reason:monitor", "function:qa"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, sink, log := newClient(t)
			given := slices.Clone(test.tags)
			c.Add(t.Context(), test.metric, 42, test.tags...)
			if diff := cmp.Diff(given, test.tags); diff != "" {
				t.Errorf("the caller's tags were changed (-want +got):\n%s", diff)
			}
			want := []telemetry.Point{{Metric: test.metric, Value: 42, Tags: test.sent}}
			if test.refusal != "" {
				want = []telemetry.Point{{Metric: "llm.telemetry.dropped", Value: 1, Tags: []string{"function:qa", "reason:not_in_catalogue"}}}
			}
			if diff := cmp.Diff(want, sink.points); diff != "" {
				t.Errorf("points (-want +got):\n%s", diff)
			}
			if test.refusal == "" && log.Len() > 0 {
				t.Errorf("log = %s, want none", log)
			}
			if !strings.Contains(log.String(), test.refusal) {
				t.Errorf("log = %s, want %s", log, test.refusal)
			}
		})
	}
}

func TestAnEvaluationNeedsARequest(t *testing.T) {
	c, sink, _ := newClient(t)
	c.Evaluate(telemetry.Evaluation{Label: "facts", Score: 1})
	c.Evaluate(telemetry.Evaluation{RequestID: "r1", Label: "facts", Score: 0.5})
	var none *telemetry.Client
	none.Evaluate(telemetry.Evaluation{RequestID: "r1", Label: "facts"})
	if diff := cmp.Diff([]telemetry.Evaluation{{RequestID: "r1", Label: "facts", Score: 0.5}}, sink.Evaluations()); diff != "" {
		t.Errorf("evaluations (-want +got):\n%s", diff)
	}
}

// stuck is a sink that never acknowledges.
type stuck struct{ telemetry.Memory }

func (s *stuck) Flush(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("2 payloads not acknowledged")
}

func TestFlushIsBoundedAndSurvivesTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c, err := telemetry.New(telemetry.Options{Sink: new(stuck), Logger: telemetry.NewLogger(&log, slog.LevelInfo, "s", "e", "v")})
		if err != nil {
			t.Fatal(err)
		}
		// The client has hung up: what was recorded is still to be delivered.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		c.Flush(ctx)
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("Flush took %v, want 300ms", took)
		}
		if !strings.Contains(log.String(), "2 payloads not acknowledged") {
			t.Errorf("log = %s, want what was not acknowledged", &log)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for name, opts := range map[string]telemetry.Options{
		"no sink":   {Logger: slog.New(slog.DiscardHandler)},
		"no logger": {Sink: new(telemetry.Memory)},
	} {
		if _, err := telemetry.New(opts); err == nil {
			t.Errorf("%s: New succeeded, want an error", name)
		}
	}
}

func TestANilClientDoesNothing(t *testing.T) {
	var c *telemetry.Client
	ctx, span := c.Begin(t.Context(), "request", http.Header{})
	header := http.Header{}
	span.Inject(header)
	c.Record(ctx, answered())
	c.Add(ctx, "unknown", 1)
	c.Event(ctx, telemetry.Event{Title: "t"})
	c.Logger().InfoContext(ctx, "m")
	c.Flush(ctx)
	span.End(200, nil)
	if ctx != t.Context() || span.Trace() != (telemetry.Trace{}) || len(header) > 0 {
		t.Errorf("trace = %+v, header = %v, want none", span.Trace(), header)
	}
}

func TestMemoryKeepsEverythingInOrder(t *testing.T) {
	m := new(telemetry.Memory)
	m.Emit([]telemetry.Point{{Metric: "a", Value: 1, Tags: []string{"k:v", "l:w"}}, {Metric: "a", Value: 2, Tags: []string{"k:v"}}})
	m.Emit([]telemetry.Point{{Metric: "b", Value: 4}})
	for name, test := range map[string]struct {
		metric string
		tags   []string
		sum    float64
		n      int
	}{
		"all points of a metric":          {"a", nil, 3, 2},
		"those with a tag":                {"a", []string{"k:v"}, 3, 2},
		"those with two tags":             {"a", []string{"k:v", "l:w"}, 1, 1},
		"none has a tag":                  {"a", []string{"k:x"}, 0, 0},
		"a part of a tag is not the tag":  {"a", []string{"k"}, 0, 0},
		"a metric that was never emitted": {"c", nil, 0, 0},
	} {
		if sum, n := m.Sum(test.metric, test.tags...); sum != test.sum || n != test.n {
			t.Errorf("%s: Sum = %v, %d, want %v, %d", name, sum, n, test.sum, test.n)
		}
	}
	for _, title := range []string{"x", "y"} {
		m.Event(t.Context(), telemetry.Event{Title: title})
	}
	if got := m.Events(); len(got) != 2 || got[0].Title != "x" || got[1].Title != "y" {
		t.Errorf("events = %v, want x and y", got)
	}
	_, first := m.Begin(t.Context(), "a", nil)
	_, second := m.Begin(t.Context(), "b", nil)
	if first.Trace() == second.Trace() {
		t.Errorf("both spans have the trace %+v", first.Trace())
	}
	second.End(502, nil)
	first.End(200, nil)
	if diff := cmp.Diff([]int{502, 200}, m.Statuses()); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if err := m.Flush(t.Context()); err != nil || m.Flushes() != 1 {
		t.Errorf("Flush = %v, Flushes = %d, want nil and 1", err, m.Flushes())
	}
}

// What is put off is done in its order when the span ends, with the exchange recorded as what came before left it; outside of a span
// it is done at once.
func TestLater(t *testing.T) {
	m := &telemetry.Memory{}
	var log bytes.Buffer
	c, err := telemetry.New(telemetry.Options{Sink: m, Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	var done []string
	note := func(what string) func() { return func() { done = append(done, what) } }
	telemetry.Later(t.Context(), note("outside"))
	ctx, span := c.Begin(t.Context(), "request", http.Header{})
	e := &telemetry.Exchange{Function: "qa", Outcome: telemetry.OutcomeSuccess}
	telemetry.Later(ctx, func() { note("before")(); e.Safety.InjectionSuspected = true })
	telemetry.Later(ctx, func() { panic("a defect of one is not that of the others") })
	c.Record(ctx, e)
	telemetry.Later(ctx, func() { note("after")(); telemetry.Later(ctx, note("within")) })
	if diff := cmp.Diff([]string{"outside"}, done); diff != "" || len(m.Exchanges()) != 0 {
		t.Errorf("before the end, want - got +:\n%s\nand %d exchanges", diff, len(m.Exchanges()))
	}
	span.End(200, nil)
	telemetry.Later(ctx, note("too late"))
	if diff := cmp.Diff([]string{"outside", "before", "after", "within", "too late"}, done); diff != "" {
		t.Errorf("done, want - got +:\n%s", diff)
	}
	if statuses := m.Statuses(); !slices.Equal(statuses, []int{200}) || !strings.Contains(log.String(), "a defect of one") {
		t.Errorf("the span ended with %v, and the log says %s, want 200 and the panic", statuses, &log)
	}
	if got := m.Exchanges(); len(got) != 1 || !got[0].Safety.InjectionSuspected {
		t.Errorf("recorded %+v, want one that the screen has seen", got)
	}
}

func BenchmarkPoints(b *testing.B) {
	e := answered()
	b.ReportAllocs()
	for b.Loop() {
		telemetry.Points(e)
	}
}
