package datadog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"
	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/datadog"
)

// agent is a fake that behaves like the Lambda extension: it lists concrete routes only, and takes what is posted after a
// delay.
type agent struct {
	mu sync.Mutex
	// delay is waited before each answer, evaluationDelay besides for evaluations; refuse answers 500 to so many posts of
	// spans.
	delay, evaluationDelay time.Duration

	refuse int
	// forgets is for benchmarks: what an agent takes and keeps is not what a function spends.
	forgets atomic.Bool

	bodies map[string][][]byte
	lines  []string
	url    string
	statsd string
}

func startAgent(t testing.TB) *agent {
	t.Helper()
	a := &agent{bodies: map[string][][]byte{}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if a.forgets.Load() {
				continue
			}
			a.mu.Lock()
			a.lines = append(a.lines, strings.Split(string(buf[:n]), "\n")...)
			a.mu.Unlock()
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	a.url, a.statsd = server.URL, conn.LocalAddr().String()
	return a
}

// set changes how the agent behaves from now on.
func (a *agent) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if a.forgets.Load() {
		_, _ = io.Copy(io.Discard, r.Body)
	} else {
		body, _ = io.ReadAll(r.Body)
	}
	a.mu.Lock()
	delay := a.delay
	if strings.HasSuffix(r.URL.Path, "/eval-metric") {
		delay += a.evaluationDelay
	}
	refused := strings.HasSuffix(r.URL.Path, "/llmobs") && a.refuse > 0
	if refused {
		a.refuse--
	}
	a.mu.Unlock()
	if r.URL.Path == "/info" {
		// The SDK sends its own metrics to the port that the agent names.
		_, port, _ := net.SplitHostPort(a.statsd)
		_, _ = fmt.Fprintf(w, `{"endpoints":["/v0.4/traces","/v0.5/traces","/info","/evp_proxy/v2/api/v2/llmobs"],"client_drop_p0s":false,"config":{"statsd_port":%s}}`, port)
		return
	}
	<-time.After(delay)
	if refused {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if !a.forgets.Load() {
		a.mu.Lock()
		a.bodies[r.URL.Path] = append(a.bodies[r.URL.Path], body)
		a.mu.Unlock()
	}
	if strings.HasSuffix(r.URL.Path, "/traces") {
		_, _ = io.WriteString(w, `{"rate_by_service":{}}`) // a client that has gone is not the subject
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// llmSpan is what the tests look at in an LLM Observability span.
type llmSpan struct {
	Name string `json:"name"`
	Meta struct {
		Kind     string         `json:"span.kind"`
		Metadata map[string]any `json:"metadata"`
	} `json:"meta"`
	Metrics map[string]float64 `json:"metrics"`
	Status  string             `json:"status"`
}

func (a *agent) llmSpans(t testing.TB) (spans []llmSpan) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, body := range a.bodies["/evp_proxy/v2/api/v2/llmobs"] {
		var envelopes []struct {
			Spans []llmSpan `json:"spans"`
		}
		if err := json.Unmarshal(body, &envelopes); err != nil {
			t.Fatalf("spans %s: %v", body, err)
		}
		for _, e := range envelopes {
			spans = append(spans, e.Spans...)
		}
	}
	return spans
}

func (a *agent) apmSpans(t testing.TB) (spans []*pb.Span) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, body := range a.bodies["/v0.4/traces"] {
		var traces pb.Traces
		if _, err := traces.UnmarshalMsg(body); err != nil {
			t.Fatal(err)
		}
		for _, trace := range traces {
			spans = append(spans, trace...)
		}
	}
	return spans
}

// statsdLines waits for the lines that hold want, which come over UDP.
func (a *agent) statsdLines(t testing.TB, want string) (lines []string) {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); <-time.After(5 * time.Millisecond) {
		a.mu.Lock()
		lines = slices.Clone(a.lines)
		a.mu.Unlock()
		if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
			return lines
		}
	}
	t.Fatalf("no line with %q in %q", want, lines)
	return nil
}

func start(t testing.TB, a *agent, log io.Writer, change func(*datadog.Config)) *datadog.Sink {
	t.Helper()
	e := env.New(func(name string) string { return map[string]string{"DD_TRACE_AGENT_URL": a.url}[name] })
	c := datadog.ConfigFromEnv(e)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	c.StatsdAddr, c.Function, c.Logger = a.statsd, "qa", slog.New(slog.NewJSONHandler(log, nil))
	if change != nil {
		change(&c)
	}
	s := datadog.Start(t.Context(), c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = s.Close(ctx) // what an agent that does not answer has not taken is the subject of the tests
		a.set(func() { a.delay, a.evaluationDelay = 0, 0 })
		s.AwaitStop()
	})
	return s
}

const secret = "the-prompt-nobody-may-see"

func exchange() *telemetry.Exchange {
	now := time.Now()
	cost, similarity, groundedness := 0.0012, 0.7, 0.9
	usage := llm.Usage{InputTokens: 100, OutputTokens: 20}
	return &telemetry.Exchange{
		RequestID: "r1", Function: "qa", Endpoint: "/qa", Type: llm.QA, Caller: "tests", Tier: "standard", Start: now, Duration: 20 * time.Millisecond,
		Messages: []llm.Message{{Role: llm.User, Content: secret}}, Question: secret, Document: secret, Output: secret,
		PromptID: "qa", PromptVersion: "1",
		Attempts: []telemetry.Attempt{
			{Model: "m1", Provider: "google", Start: now, Duration: 5 * time.Millisecond, ErrorType: "overloaded", Err: errors.New("overloaded")},
			{Requested: "m2-latest", Model: "m2", Provider: "google", Location: "global", Start: now, Duration: 15 * time.Millisecond, FirstToken: time.Millisecond, Usage: &usage, CostUSD: &cost, Output: secret, Fallback: true},
		},
		Model: "m2", Provider: "google", Usage: &usage, CostUSD: &cost, Cache: telemetry.CacheOff, Outcome: telemetry.OutcomeSuccess, Status: 200,
		Quality: &telemetry.Quality{SemanticSimilarity: &similarity, Groundedness: &groundedness, Start: now, Duration: time.Microsecond},
	}
}

// request records one exchange as a function would, and returns how its flush went.
func request(t testing.TB, s *datadog.Sink, flush time.Duration) error {
	t.Helper()
	ctx, span := s.Begin(t.Context(), "qa", http.Header{})
	e := exchange()
	s.Record(ctx, e)
	s.Emit(telemetry.Points(e))
	span.End(200, nil)
	ctx, cancel := context.WithTimeout(t.Context(), flush)
	defer cancel()
	return s.Flush(ctx)
}

func TestEverythingIsAcknowledgedBeforeFlushReturns(t *testing.T) {
	a := startAgent(t)
	var log bytes.Buffer
	s := start(t, a, &log, nil)
	a.set(func() { a.delay = 40 * time.Millisecond })
	for i := 1; i <= 3; i++ {
		if err := request(t, s, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		// workflow, retrieval, two llm and one task span, each with an APM span, and the request's own.
		if got := len(a.llmSpans(t)); got != 5*i {
			t.Fatalf("after request %d the agent has %d LLM Observability spans, want %d", i, got, 5*i)
		}
		if got := len(a.apmSpans(t)); got != 6*i {
			t.Fatalf("after request %d the agent has %d APM spans, want %d", i, got, 6*i)
		}
	}
	kinds := map[string]int{}
	for _, span := range a.llmSpans(t) {
		kinds[span.Meta.Kind+" "+span.Status]++
		if span.Meta.Kind == "llm" && span.Status == "ok" && (span.Metrics["input_tokens"] != 100 || span.Metrics["total_cost"] != 0.0012 || span.Metrics["time_to_first_token"] != 0.001) {
			t.Errorf("metrics %v", span.Metrics)
		}
	}
	for kind, want := range map[string]int{"workflow ok": 3, "retrieval ok": 3, "task ok": 3, "llm ok": 3, "llm error": 3} {
		if kinds[kind] != want {
			t.Errorf("%d spans %q, want %d; all: %v", kinds[kind], kind, want, kinds)
		}
	}
	if log.Len() > 0 {
		t.Errorf("log: %s", &log)
	}
}

func TestModelCallsCarryTheTagsOfTheContract(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	if err := request(t, s, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	var found bool
	for _, span := range a.apmSpans(t) {
		if span.Meta["llm.response.model"] != "m2" {
			continue
		}
		found = true
		for key, want := range map[string]string{"llm.provider": "google", "llm.request.model": "m2-latest", "llm.location": "global", "llm.request.type": "qa", "span.kind": "client", "peer.service": "google"} {
			if span.Meta[key] != want {
				t.Errorf("%s = %q, want %q", key, span.Meta[key], want)
			}
		}
		for key, want := range map[string]float64{"llm.request.input_tokens": 100, "llm.response.output_tokens": 20, "llm.request.cost": 0.0012, "llm.request.latency": 15} {
			if span.Metrics[key] != want {
				t.Errorf("%s = %v, want %v", key, span.Metrics[key], want)
			}
		}
	}
	if !found {
		t.Error("no span of the second attempt")
	}
}

func TestPromptsLeaveOnlyWhenCaptured(t *testing.T) {
	for capture, want := range map[datadog.Capture]bool{datadog.CaptureNone: false, datadog.CaptureTruncated: true, datadog.CaptureFull: true} {
		t.Run(string(capture), func(t *testing.T) {
			a := startAgent(t)
			s := start(t, a, io.Discard, func(c *datadog.Config) { c.Capture = capture })
			if err := request(t, s, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			got := strings.Contains(strings.Join(a.lines, "\n"), secret)
			for _, bodies := range a.bodies {
				for _, body := range bodies {
					got = got || bytes.Contains(body, []byte(secret))
				}
			}
			if got != want {
				t.Errorf("prompt text on the wire: %v, want %v", got, want)
			}
		})
	}
}

// Spans are counted by the brackets of what the SDK sends. One too many, and a flush returns before the next request's have arrived;
// one too few, and it never does.
func TestWhatIsCapturedDoesNotDisturbTheCount(t *testing.T) {
	for name, text := range map[string]string{
		"brackets": `}]}, [{"[`, "quotation marks": `" "" {"a": "[`, "backslashes": `\" \\" \\\" {\`, "a backslash at the end": `[[\`, "control characters": "\x00\x1f\n{\u2028[\"",
	} {
		t.Run(name, func(t *testing.T) {
			a := startAgent(t)
			s := start(t, a, io.Discard, func(c *datadog.Config) { c.Capture = datadog.CaptureFull })
			a.set(func() { a.delay = 20 * time.Millisecond })
			for i := 1; i <= 2; i++ {
				ctx, span := s.Begin(t.Context(), "qa", http.Header{})
				e := exchange()
				e.Question, e.Document, e.Output, e.Messages[0].Content = text, text, text, text
				s.Record(ctx, e)
				span.End(200, nil)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				err := s.Flush(ctx)
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				if got := len(a.llmSpans(t)); got != 5*i {
					t.Fatalf("after request %d the agent has %d spans, want %d", i, got, 5*i)
				}
			}
		})
	}
}

func TestRetriedSpansAreCountedOnce(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	a.set(func() { a.refuse = 2 })
	if err := request(t, s, 10*time.Second); err != nil {
		t.Fatalf("flush: %v; the third try succeeds", err)
	}
	if got := len(a.llmSpans(t)); got != 5 {
		t.Errorf("%d spans, want 5", got)
	}
	if err := request(t, s, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := len(a.llmSpans(t)); got != 10 {
		t.Errorf("%d spans after the next request, want 10: earlier tries must not count for it", got)
	}
}

func TestLostSpansAreCountedAsDropped(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	a.set(func() { a.refuse = 1000 })
	if err := request(t, s, 20*time.Second); err != nil {
		t.Fatalf("flush: %v; what the SDK gave up is settled", err)
	}
	lines := a.statsdLines(t, "agent_refused")
	if !slices.ContainsFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "llm.telemetry.dropped:5|d|#") && strings.Contains(l, "reason:agent_refused")
	}) {
		t.Errorf("lines %q, want 5 dropped by reason agent_refused", lines)
	}
}

func TestSlowAgentBoundsTheFlushAndIsCountedOnce(t *testing.T) {
	a := startAgent(t)
	var log bytes.Buffer
	s := start(t, a, &log, nil)
	a.set(func() { a.delay = 2 * time.Second })
	for range 6 {
		begin := time.Now()
		if err := request(t, s, 50*time.Millisecond); err == nil {
			t.Fatal("a flush that nobody acknowledged succeeded")
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("a request took %v", took)
		}
	}
	total := 0
	for _, l := range a.statsdLines(t, "flush_timeout") {
		var n int
		if rest, ok := strings.CutPrefix(l, "llm.telemetry.dropped:"); ok && strings.Contains(l, "flush_timeout") {
			for _, c := range rest {
				if c < '0' || c > '9' {
					break
				}
				n = n*10 + int(c-'0')
			}
			total += n
		}
	}
	if total > 36 || total < 6 {
		t.Errorf("%d items dropped, want at most the 36 that there were", total)
	}
}

func TestAbsentAgentCostsOneLineAndNoRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	_ = l.Close() // only its address is wanted
	var log bytes.Buffer
	begin := time.Now()
	s := start(t, &agent{url: url, statsd: "127.0.0.1:9"}, &log, nil)
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("start took %v", took)
	}
	begin = time.Now()
	for range 5 {
		// Refused traces are settled, as lost; whether that is known in time does not matter to the request.
		_ = request(t, s, 20*time.Millisecond)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("five requests took %v", took)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "agent does not answer") {
		t.Errorf("log of %d lines, want 1:\n%s", n, &log)
	}
}

func TestAgentThatStartsLateIsWaitedFor(t *testing.T) {
	a := startAgent(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // only its address is wanted
	server := &http.Server{Handler: a}
	started := make(chan error, 1)
	time.AfterFunc(100*time.Millisecond, func() {
		late, err := net.Listen("tcp", addr)
		if err == nil {
			started <- nil
			err = server.Serve(late)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			started <- err
		}
	})
	t.Cleanup(func() { _ = server.Close() })
	var log bytes.Buffer
	s := start(t, &agent{url: "http://" + addr, statsd: a.statsd}, &log, func(c *datadog.Config) { c.StartTimeout = 5 * time.Second })
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if err := request(t, s, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := len(a.llmSpans(t)); got != 5 || log.Len() > 0 {
		t.Errorf("%d spans, log %s; want LLM Observability to run", got, &log)
	}
}

func TestTelemetryOffIsSilentButForOneLine(t *testing.T) {
	a := startAgent(t)
	var log bytes.Buffer
	s := start(t, a, &log, func(c *datadog.Config) { c.Enabled = false })
	if err := request(t, s, time.Second); err != nil {
		t.Fatal(err)
	}
	if strings.Count(log.String(), "\n") != 1 || len(a.bodies) > 0 || len(a.lines) > 0 {
		t.Errorf("log %s, bodies %v", &log, a.bodies)
	}
}

func TestWithoutLLMObservabilityThereArePlainSpans(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, func(c *datadog.Config) { c.LLMObs = false })
	if err := request(t, s, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := len(a.apmSpans(t)); got != 3 || len(a.llmSpans(t)) != 0 {
		t.Errorf("%d APM spans and %d of LLM Observability, want 3 and none", got, len(a.llmSpans(t)))
	}
}

func TestSpansSayWhatAnAttemptIs(t *testing.T) {
	for name, tt := range map[string]struct {
		attempt telemetry.Attempt
		want    map[string]any
	}{
		"the first, which failed": {telemetry.Attempt{Err: errors.New("overloaded")}, nil},
		"the first, which ended":  {telemetry.Attempt{Finish: llm.FinishStop}, map[string]any{"finish_reason": "stop"}},
		"a retry":                 {telemetry.Attempt{Finish: llm.FinishStop, Retry: true}, map[string]any{"finish_reason": "stop", "retry": true}},
		"a fallback":              {telemetry.Attempt{Finish: llm.FinishLength, Fallback: true}, map[string]any{"finish_reason": "length", "fallback": true}},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAgent(t)
			s := start(t, a, io.Discard, nil)
			tt.attempt.Model, tt.attempt.Provider, tt.attempt.Start = "m1", "google", time.Now()
			ctx, span := s.Begin(t.Context(), "qa", http.Header{})
			s.Record(ctx, &telemetry.Exchange{RequestID: "r1", Function: "qa", Type: llm.QA, Start: tt.attempt.Start, Attempts: []telemetry.Attempt{tt.attempt}})
			span.End(200, nil)
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []map[string]any
			for _, span := range a.llmSpans(t) {
				if span.Meta.Kind == "llm" {
					got = append(got, span.Meta.Metadata)
				}
			}
			if diff := cmp.Diff([]map[string]any{tt.want}, got); diff != "" {
				t.Errorf("metadata (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMetricsAreDistributionsOnly(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	if err := request(t, s, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, l := range a.statsdLines(t, "llm.request.count") {
		if !strings.Contains(l, "|d|#") || !strings.Contains(l, "service:llm-reliability-control-plane") {
			t.Errorf("line %q", l)
		}
	}
}

func TestTraceContextOfTheCallerIsContinued(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	header := http.Header{}
	header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	_, span := s.Begin(t.Context(), "qa", header)
	if got := span.Trace().TraceID; got != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("trace %s", got)
	}
	out := http.Header{}
	span.Inject(out)
	if !strings.Contains(out.Get("traceparent"), "0af7651916cd43dd8448eb211c80319c") {
		t.Errorf("headers %v", out)
	}
	span.End(200, nil)
}
