package datadog_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/datadog"
)

const evaluationsPath = "/evp_proxy/v2/api/intake/llm-obs/v2/eval-metric"

// evaluations counts the evaluations that the agent has taken.
func (a *agent) evaluations(t testing.TB) (n int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, body := range a.bodies[evaluationsPath] {
		var request struct {
			Data struct {
				Attributes struct{ Metrics []json.RawMessage }
			}
		}
		if err := json.Unmarshal(body, &request); err != nil {
			t.Fatalf("evaluations %s: %v", body, err)
		}
		n += len(request.Data.Attributes.Metrics)
	}
	return n
}

// dropped adds up what the sink has reported as lost for a reason, as far as it has arrived.
func (a *agent) dropped(t testing.TB, reason string) (n int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.lines {
		rest, ok := strings.CutPrefix(l, "llm.telemetry.dropped:")
		if !ok || !strings.HasSuffix(l, "reason:"+reason) {
			continue
		}
		value, _, _ := strings.Cut(rest, "|")
		one, err := strconv.Atoi(value)
		if err != nil {
			t.Fatalf("line %q: %v", l, err)
		}
		n += one
	}
	return n
}

// eventually waits until a condition holds that the other end of a socket brings about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}

func TestFlushWaitsForEvaluations(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	a.set(func() { a.evaluationDelay = 100 * time.Millisecond })
	if err := request(t, s, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := a.evaluations(t); got != 2 {
		t.Errorf("the agent has %d evaluations when the flush returns, want 2", got)
	}
}

// The SDK sends what is left every two seconds: flushes that take less have not waited for that.
func TestConcurrentFlushesSendEverythingAtOnce(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := request(t, s, 1500*time.Millisecond); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if spans, evaluations := len(a.llmSpans(t)), a.evaluations(t); spans != 2000 || evaluations != 800 {
		t.Errorf("%d spans and %d evaluations, want 2000 and 800", spans, evaluations)
	}
}

func TestEachSlowFlushIsCounted(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	a.set(func() { a.delay = 200 * time.Millisecond })
	for i := 1; i <= 2; i++ {
		if err := request(t, s, 20*time.Millisecond); err == nil {
			t.Fatal("a flush that nobody acknowledged succeeded")
		}
		// One trace, five LLM Observability spans, two evaluations.
		eventually(t, "every item reported", func() bool { return a.dropped(t, "flush_timeout") == 8*i })
		eventually(t, "the late answer", func() bool { return len(a.llmSpans(t)) == 5*i && a.evaluations(t) == 2*i })
		eventually(t, "the late trace", func() bool { return len(a.apmSpans(t)) == 6*i })
	}
}

func TestWhatTimedOutIsNotCountedAgainWhenItIsLost(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	a.set(func() { a.refuse = 3 })
	if err := request(t, s, 20*time.Millisecond); err == nil {
		t.Fatal("a flush that nobody acknowledged succeeded")
	}
	eventually(t, "the SDK has given up", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.refuse == 0 })
	eventually(t, "a flush with nothing left", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return s.Flush(ctx) == nil
	})
	// Datagrams between two sockets of one host keep their order: after this one, all reports are there.
	s.Emit([]telemetry.Point{{Metric: "llm.marker", Value: 1}})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.statsdLines(t, "llm.marker")
	if refused, late := a.dropped(t, "agent_refused"), a.dropped(t, "flush_timeout"); refused != 0 || late < 5 {
		t.Errorf("%d spans dropped as refused, %d items as late; want none and the five spans", refused, late)
	}
}

func TestAgentThatStartsAfterTheFunctionGetsItsSpans(t *testing.T) {
	a := startAgent(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // only its address is wanted
	s := start(t, &agent{url: "http://" + addr, statsd: a.statsd}, io.Discard, func(c *datadog.Config) { c.StartTimeout = time.Millisecond })
	late, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a}
	done := make(chan error, 1)
	go func() { done <- server.Serve(late) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	if err := request(t, s, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := len(a.llmSpans(t)); got != 5 {
		t.Errorf("%d LLM Observability spans, want 5", got)
	}
}

func TestCloseIsBounded(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	a.set(func() { a.delay = 2 * time.Second })
	_ = request(t, s, time.Millisecond) // it times out, which is not the subject
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := s.Close(ctx); err == nil {
		t.Error("Close with unacknowledged spans succeeded")
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Close took %v with 50 ms to do it in", took)
	}
}

// While flushes are put off, nothing is accounted for; Close is the last that can.
func TestCloseCountsWhatWasPutOff(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, nil)
	a.set(func() { a.delay = 2 * time.Second })
	for range 5 { // three of them expire, and two are put off
		if err := request(t, s, 20*time.Millisecond); err == nil {
			t.Fatal("a flush that nobody acknowledged succeeded")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_ = s.Close(ctx) // it can't deliver in time either
	eventually(t, "all items counted", func() bool { return a.dropped(t, "flush_timeout") == 40 })
}

func TestInTheBackgroundNoFlushWaitsAndNothingIsLost(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, func(c *datadog.Config) { c.Background = true })
	a.set(func() { a.delay = 300 * time.Millisecond })
	// A request makes eight items: more than half of the batches are sent because of their size.
	const requests = 100
	begin := time.Now()
	for range requests {
		if err := request(t, s, 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("%d requests took %v, as if they waited", requests, took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if spans, evaluations := len(a.llmSpans(t)), a.evaluations(t); spans != 5*requests || evaluations != 2*requests {
		t.Errorf("%d spans and %d evaluations arrived, want %d and %d", spans, evaluations, 5*requests, 2*requests)
	}
	for _, reason := range []string{"flush_timeout", "agent_refused"} {
		if n := a.dropped(t, reason); n != 0 {
			t.Errorf("%d items counted as dropped by reason %s, want none", n, reason)
		}
	}
}

func TestInTheBackgroundWhatIsRefusedIsCounted(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, func(c *datadog.Config) { c.Background = true })
	a.set(func() { a.refuse = 1000 })
	if err := request(t, s, time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the spans counted", func() bool {
		_ = s.Flush(t.Context()) // it waits for nothing, and can't fail
		return a.dropped(t, "agent_refused") == 5
	})
}

// What a caller wrote can't be taken for an item, and each is counted once.
func TestBatchesAreCountedToTheItem(t *testing.T) {
	a := startAgent(t)
	s := start(t, a, io.Discard, func(c *datadog.Config) { c.Capture = datadog.CaptureFull })
	a.set(func() { a.refuse = 1 << 20 })
	const exchanges = 200
	for i := range exchanges {
		ctx, span := s.Begin(t.Context(), "qa", http.Header{})
		e := exchange()
		e.Question = strings.Repeat(`{"_dd":{"span_id":"1"}} \"_dd\":{"span_id":`, i)
		s.Record(ctx, e)
		span.End(200, nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatalf("flush: %v; what the SDK gave up is settled", err)
	}
	eventually(t, "all spans counted as refused, and no more", func() bool { return a.dropped(t, "agent_refused") == 5*exchanges })
}

func TestOccurrences(t *testing.T) {
	const item = `"_dd":{"span_id":`
	tests := map[string]struct {
		text string
		want int
	}{
		"nothing":                              {"", 0},
		"no item":                              {"xyz", 0},
		"only a beginning":                     {item[:len(item)-1], 0},
		"one":                                  {item, 1},
		"one behind another":                   {item + item, 2},
		"a beginning and then a whole":         {item[:5] + item, 1},
		"many, at every place of a large text": {strings.Repeat(item+strings.Repeat("x", 1010), 300), 300},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"as it is": strings.NewReader(tt.text), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.text)),
				"in halves": iotest.HalfReader(strings.NewReader(tt.text)), "with the end at once": iotest.DataErrReader(strings.NewReader(tt.text)),
			} {
				if got, err := datadog.Occurrences(r, item); err != nil || got != tt.want {
					t.Errorf("%s: %d, %v; want %d", how, got, err, tt.want)
				}
			}
		})
	}
	if _, err := datadog.Occurrences(iotest.ErrReader(io.ErrUnexpectedEOF), item); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader that breaks: %v", err)
	}
}
