package intake_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"
	"github.com/DataDog/dd-trace-go/v2/llmobs"
	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// points remembers what was added, as text.
type points struct {
	mu    sync.Mutex
	lines []string
	added chan struct{}
}

func (p *points) Add(name string, tags []string, value float64, _ time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, fmt.Sprintf("%s%v%g", name, tags, value))
	if p.added != nil {
		p.added <- struct{}{}
	}
}

func newIntake(t *testing.T, profile intake.Profile) (*intake.Intake, *points) {
	t.Helper()
	p := &points{}
	in, err := intake.New(intake.Options{Metrics: p, Now: func() time.Time { return start }, Profile: profile, Keep: 3})
	if err != nil {
		t.Fatal(err)
	}
	return in, p
}

func TestParseLine(t *testing.T) {
	metric := func(m intake.Metric) intake.Message { return intake.Message{Metric: &m} }
	tests := map[string]struct {
		line string
		want intake.Message
		err  error
	}{
		"a distribution with tags":                {line: "a.b:1.5|d|#x:1,y", want: metric(intake.Metric{Name: "a.b", Type: "d", Values: []float64{1.5}, Rate: 1, Tags: []string{"x:1", "y"}})},
		"packed values keep their order":          {line: "a:1:2:-3e2|d", want: metric(intake.Metric{Name: "a", Type: "d", Values: []float64{1, 2, -300}, Rate: 1})},
		"a rate, a container, a cardinality":      {line: "a:1|c|@0.5|c:ci-1|e:it-x|card:low", want: metric(intake.Metric{Name: "a", Type: "c", Values: []float64{1}, Rate: 0.5})},
		"a gauge with a timestamp":                {line: "a:1|g|T1700000000", want: metric(intake.Metric{Name: "a", Type: "g", Values: []float64{1}, Rate: 1, At: time.Unix(1700000000, 0)})},
		"an event counts bytes, not characters":   {line: `_e{3,4}:aé|b\nc|t:error|k:g|#x:1`, want: intake.Message{Event: &intake.Event{Title: "aé", Text: "b\nc", Alert: "error", Priority: "normal", AggregationKey: "g", Tags: []string{"x:1"}}}},
		"an event may have an empty text":         {line: "_e{1,0}:a|", want: intake.Message{Event: &intake.Event{Title: "a", Alert: "info", Priority: "normal"}}},
		"a distribution may not have a timestamp": {line: "a:1|d|T1700000000", err: intake.ErrTimestamp},
		"a set is refused":                        {line: "a:x|s", err: intake.ErrRefused},
		"a service check is refused":              {line: "_sc|a|0", err: intake.ErrRefused},
		"a name begins with a letter":             {line: "1a:1|d", err: intake.ErrName},
		"no value":                                {line: "a:|d", err: intake.ErrValue},
		"a value that is no number":               {line: "a:NaN|d", err: intake.ErrValue},
		"no type":                                 {line: "a:1", err: intake.ErrType},
		"a rate of zero":                          {line: "a:1|c|@0", err: intake.ErrRate},
		"an empty tag":                            {line: "a:1|d|#x,,y", err: intake.ErrTags},
		"an unknown section":                      {line: "a:1|d|zzz", err: intake.ErrSection},
		"an event that is too short":              {line: "_e{5,5}:a|b", err: intake.ErrEvent},
		"an event whose length cuts a character":  {line: "_e{1,1}:é|b", err: intake.ErrEvent},
		"bytes that are no UTF-8":                 {line: "a:1|d|#\xff", err: intake.ErrEncoding},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := intake.ParseLine(tt.line)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(got, tt.want); err == nil && diff != "" {
				t.Errorf("got - want +\n%s", diff)
			}
		})
	}
}

func TestProfiles(t *testing.T) {
	const datagram = "a:1:2|d|@0.5\nb:3|c|@0.5\nc:4|h\nbroken\n"
	tests := map[intake.Profile]struct{ want []string }{
		intake.Extension: {want: []string{"a[]1", "b[]3"}},
		intake.Agent:     {want: []string{"a[]1", "a[]1", "a[]2", "a[]2", "b[]6", "c[]4"}},
	}
	for profile, tt := range tests {
		t.Run(string(profile), func(t *testing.T) {
			in, p := newIntake(t, profile)
			in.Datagram([]byte(datagram))
			if diff := cmp.Diff(p.lines, tt.want); diff != "" {
				t.Errorf("points: got - want +\n%s", diff)
			}
			if diff := cmp.Diff(in.Counts().Malformed, map[string]int{"name": 1}); diff != "" {
				t.Errorf("malformed: got - want +\n%s", diff)
			}
		})
	}
}

func TestServeUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &points{added: make(chan struct{}, 1)}
	in, err := intake.New(intake.Options{Metrics: p, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.ServeUDP(ctx, conn) }()
	client, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("a:1|d")); err != nil {
		t.Fatal(err)
	}
	<-p.added
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got %v after the end of the context, want nil", err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// TestSDK runs the real SDK against the intake, as its own tracer speaks.
func TestSDK(t *testing.T) {
	tests := map[intake.Profile]struct{ llmobs bool }{
		// The SDK looks for a prefix that the extension does not list, finds no API key either, and gives up.
		intake.Extension: {llmobs: false},
		intake.Agent:     {llmobs: true},
	}
	for profile, tt := range tests {
		t.Run(string(profile), func(t *testing.T) {
			t.Setenv("DD_API_KEY", "")
			in, _ := newIntake(t, profile)
			server := httptest.NewServer(in.Agent())
			defer server.Close()
			err := tracer.Start(tracer.WithAgentURL(server.URL), tracer.WithService("svc"), tracer.WithLLMObsEnabled(true), tracer.WithLLMObsMLApp("app"), tracer.WithLogStartup(false))
			if got := err == nil; got != tt.llmobs {
				t.Fatalf("start: got error %v, want LLM Obs %v", err, tt.llmobs)
			}
			root := tracer.StartSpan("request")
			if tt.llmobs {
				span, _ := llmobs.StartLLMSpan(tracer.ContextWithSpan(t.Context(), root), "generate", llmobs.WithModelName("m"), llmobs.WithModelProvider("p"))
				span.AnnotateLLMIO([]llmobs.LLMMessage{{Role: "user", Content: "2+2"}}, []llmobs.LLMMessage{{Role: "assistant", Content: "4"}},
					llmobs.WithAnnotatedMetrics(map[string]float64{"input_tokens": 3}))
				span.Finish(llmobs.WithError(errors.New("late")))
			}
			root.Finish()
			tracer.Stop()
			if got := in.Counts(); got.Traces != 1 || got.LLMSpans["llm"] != map[bool]int{true: 1}[tt.llmobs] || len(got.Malformed) != 0 {
				t.Fatalf("got counts %+v", got)
			}
			if !tt.llmobs {
				return
			}
			got := in.LLMSpans()[0]
			want := intake.LLMSpan{Name: "generate", Kind: "llm", Status: "error", Model: "m", Provider: "p", Error: "late", ErrorType: "*errors.errorString", ParentID: "undefined",
				Input:   intake.IO{Messages: []intake.ChatMessage{{Role: "user", Content: "2+2"}}},
				Output:  intake.IO{Messages: []intake.ChatMessage{{Role: "assistant", Content: "4"}}},
				Metrics: map[string]float64{"input_tokens": 3}}
			volatile := cmp.FilterPath(func(p cmp.Path) bool {
				switch p.Last().String() {
				case ".SpanID", ".TraceID", ".APMTraceID", ".Start", ".At", ".Duration", ".Tags", ".Metadata":
					return true
				}
				return false
			}, cmp.Ignore())
			if diff := cmp.Diff(got, want, volatile); diff != "" {
				t.Errorf("LLM Obs span: got - want +\n%s", diff)
			}
			if trace := in.Traces()[0][0]; got.APMTraceID != trace.TraceID {
				t.Errorf("got APM trace %s, want %s", got.APMTraceID, trace.TraceID)
			}
		})
	}
}

func post(h http.Handler, path, body string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return w.Code
}

func TestAgentRefuses(t *testing.T) {
	const spans, evals = "/evp_proxy/v2/api/v2/llmobs", "/evp_proxy/v2/api/intake/llm-obs/v2/eval-metric"
	tests := map[string]struct {
		path, body string
		want       int
	}{
		"traces that are no msgpack":         {"/v0.4/traces", "garbage", 400},
		"a trace version that is not served": {"/v0.5/traces", "\x90", 404},
		"spans as an object":                 {spans, `{}`, 400},
		"a span without a kind":              {spans, `[{"event_type":"span","spans":[{"span_id":"1","trace_id":"1","parent_id":"undefined","name":"a","start_ns":1}]}]`, 400},
		"a body over the extension's limit":  {spans, `["` + strings.Repeat("x", 2<<20) + `"]`, 413},
		"an evaluation that joins nothing":   {evals, `{"data":{"type":"evaluation_metric","attributes":{"metrics":[{"label":"a","metric_type":"score"}]}}}`, 400},
		"an empty batch is fine":             {spans, `[]`, 202},
		"an evaluation of a span": {evals,
			`{"data":{"type":"evaluation_metric","attributes":{"metrics":[{"join_on":{"span":{"span_id":"1","trace_id":"1"}},"label":"a","metric_type":"score","score_value":0.5}]}}}`, 202},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in, _ := newIntake(t, intake.Extension)
			if got := post(in.Agent(), tt.path, tt.body); got != tt.want {
				t.Errorf("got status %d, want %d", got, tt.want)
			}
			counts := in.Counts()
			if got := len(counts.Malformed) > 0 || counts.Unserved > 0; got != (tt.want >= 400) {
				t.Errorf("got counts %+v, want a refusal in them: %v", counts, tt.want >= 400)
			}
		})
	}
}

func TestFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, _ := newIntake(t, intake.Extension)
		in.SetFault(intake.Fault{Delay: time.Second, Status: 503, Times: 2})
		began := time.Now()
		got := []int{post(in.Agent(), "/v0.4/traces", "\x90"), post(in.Agent(), "/v0.4/traces", "\x90"), post(in.Agent(), "/v0.4/traces", "\x90")}
		if diff := cmp.Diff(got, []int{503, 503, 200}); diff != "" {
			t.Errorf("statuses: got - want +\n%s", diff)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v, want 2s", took)
		}
	})
}

// pipes is a listener whose connections are pipes, so that deadlines follow the bubble's clock.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func TestSlowClientIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, _ := newIntake(t, intake.Extension)
		server := &http.Server{Handler: in.Agent(), ReadHeaderTimeout: time.Second}
		listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- server.Serve(listener) }()
		client, other := net.Pipe()
		listener.conns <- other
		began := time.Now()
		if _, err := io.WriteString(client, "POST /v0.4/traces HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(client); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("cut off after %v, want 5s", took)
		}
		if got := in.Counts().Malformed["traces"]; got != 1 {
			t.Errorf("got %d malformed, want 1", got)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func TestLogsAreKeptBounded(t *testing.T) {
	in, _ := newIntake(t, intake.Extension)
	logger := slog.New(slog.NewJSONHandler(in.LogWriter(), nil)).With(slog.String("service", "svc"), slog.String("status", "info"))
	for i := range 5 {
		logger.InfoContext(t.Context(), "request", slog.Int("i", i))
	}
	in.Log([]byte("plain text"))
	var kept []int
	for _, l := range in.Logs() {
		var line struct{ I int }
		if err := json.Unmarshal(l.Line, &line); err != nil {
			t.Fatal(err)
		}
		if l.Service != "svc" || l.Status != "info" {
			t.Errorf("got service %q and status %q", l.Service, l.Status)
		}
		kept = append(kept, line.I)
	}
	if diff := cmp.Diff(kept, []int{2, 3, 4}); diff != "" {
		t.Errorf("kept: got - want +\n%s", diff)
	}
	if got := in.Counts(); got.Logs != 5 || got.Malformed["log"] != 1 {
		t.Errorf("got %d logs and %v malformed", got.Logs, got.Malformed)
	}
}

func FuzzParseLine(f *testing.F) {
	for _, seed := range []string{"a:1|d|@0.5|#x:1,y|c:1|T1", "a:1:2|ms", "_e{1,1}:a|b|t:error|#x", "_sc|a|0", "a:1|g|T1700000000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, err := intake.ParseLine(line)
		if err == nil && (m.Metric == nil) == (m.Event == nil) {
			t.Errorf("got %+v, want a metric or an event", m)
		}
		if m.Metric != nil && (len(m.Metric.Values) == 0 || m.Metric.Rate <= 0) {
			t.Errorf("got %+v without a value or a rate", m.Metric)
		}
	})
}

func FuzzAgent(f *testing.F) {
	f.Add("/v0.4/traces", []byte("\x91\x91\x81\xa4name\xa1a"))
	f.Add("/evp_proxy/v2/api/v2/llmobs", []byte(`[{"event_type":"span","spans":[{"span_id":"1","meta":{"span.kind":"llm"}}]}]`))
	f.Add("/evp_proxy/v2/api/intake/llm-obs/v2/eval-metric", []byte(`{"data":{"type":"evaluation_metric"}}`))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if !strings.HasPrefix(path, "/v0.4/") && !strings.HasPrefix(path, "/evp_proxy/") || strings.ContainsAny(path, " \r\n\x00%?#") || strings.ContainsFunc(path, func(r rune) bool { return r < '!' || r > '~' }) {
			return
		}
		in, err := intake.New(intake.Options{Metrics: &points{}, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if got := post(in.Agent(), path, string(body)); got >= 500 {
			t.Errorf("got status %d", got)
		}
	})
}
