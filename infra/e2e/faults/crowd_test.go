package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-reliability/control-plane/shared/retry"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// crowd is how many callers there are at once. The race detector knows no more than 8128 goroutines, and a caller takes
// seven.
func crowd() int {
	if raceDetector || testing.Short() {
		return 500
	}
	return 10_000
}

// The bounds of the memory of one caller, in bytes, when it is served and when it has left: its own, the function's and the
// provider's, which are all in this process. What stays is what the test itself keeps of it.
const (
	perCaller = 256 << 10
	perRecord = 16 << 10
)

// slowReaders is a crowd that asks at the same moment, and then takes 64 bytes every half second. Connections have no buffer,
// so that whoever writes waits for them.
func slowReaders(n int, measured func(row string)) fault {
	return fault{
		name:   fmt.Sprintf("%d concurrent callers of streams, who read 64 bytes every half second", n),
		caller: fmt.Sprintf("%d × 200, the whole stream", n), atLeast: 10 * time.Second, atMost: 20 * time.Second,
		attempts: fmt.Sprintf("%d × europe-west1 ok", n), counted: fmt.Sprintf("%d × success; %.6f USD", n, 0.00015*float64(n)),
		requests: func(w *world) []reply {
			before := memory()
			replies := make([]reply, n)
			var group sync.WaitGroup
			for i := range replies {
				group.Go(func() { replies[i] = w.askSlowly(64, 500*time.Millisecond) })
			}
			<-time.After(5 * time.Second)
			if open := w.net["function"].open.Load(); open != int64(n) {
				w.t.Errorf("%d callers are being served at the same time, want %d", open, n)
			}
			each := (memory() - before) / int64(n)
			if each > perCaller {
				w.t.Errorf("a caller takes %d bytes, want at most %d", each, perCaller)
			}
			group.Wait()
			// What is kept for later calls is bounded, however many callers there were: 64 connections.
			w.upstream.CloseIdleConnections()
			synctest.Wait()
			left := (memory() - before) / int64(n)
			if left > perRecord {
				w.t.Errorf("%d bytes are left of each caller, want at most %d, which the test keeps", left, perRecord)
			}
			measured(fmt.Sprintf("A caller takes %d KiB of memory while all %d are served, both ends of both connections and what the test records included, and %d KiB when all have left.", each>>10, n, left>>10))
			return replies
		},
	}
}

// What requests may leave behind, in bytes: each of them, and all together. The second is for what comes and goes however many
// there were: pools, stacks, what a test before left to be freed. A map that grows, or a goroutine that stays, takes more.
const (
	perRequest = 64
	inAll      = 384 << 10
)

// mixture is thousands of requests, of which a quarter of a provider's answers are faults, and nothing may stay. It returns what
// was measured.
func mixture(t *testing.T, rows *[]row) (measured string) {
	n := 4000
	if testing.Short() {
		n = 1000
	}
	faults := []step{says(500, ""), resets, garbage, breaksBeforeText, says(429, "", "Retry-After", "1"), empty}
	var script []step
	for i := range n {
		script = append(script, answers, answers, answers, faults[i%len(faults)])
	}
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(begin))
		total := &tallied{}
		w := newWorld(t, setup{near: script, sink: total})
		served, slowest, before := 0, time.Duration(0), int64(0)
		for i := range n {
			if i == n/5 {
				before = memory()
			}
			<-time.After(100 * time.Millisecond)
			r := w.ask(t.Context(), i%2 == 0)
			slowest = max(slowest, r.took)
			if said := r.String(); said == "200, the answer" || said == "200, the whole stream" {
				served++
			}
		}
		synctest.Wait()
		total.mu.Lock()
		defer total.mu.Unlock()
		observed := int64(n - n/5)
		left := memory() - before
		r := row{
			fmt.Sprintf("%d requests, half of them streams, when a quarter of a provider's answers are 500s, 429s, resets, HTML, empty, or streams that break", n),
			fmt.Sprintf("%d × 200, the answer or the whole stream", served), slowest.Round(time.Millisecond).String(),
			fmt.Sprintf("%d, of which %d repeated a call, and %d went to the other place", total.attempts, total.retries, total.fallbacks),
			fmt.Sprintf("%d requests, of which %d left a place out by its breaker", total.requests, total.skipped), w.leaked(),
		}
		*rows = append(*rows, r)
		if served != n || total.requests != n || r.leaked != "no" {
			t.Errorf("%d requests were served and %d counted, want %d; leaked: %s", served, total.requests, n, r.leaked)
		}
		if most := retry.Reserve + int(retry.Share*float64(n)); total.retries > most || total.retries == 0 || total.fallbacks == 0 {
			t.Errorf("%d calls were repeated and %d went elsewhere, want some, and at most %d repeated", total.retries, total.fallbacks, most)
		}
		if most := inAll + perRequest*observed; left > most {
			t.Errorf("%d requests leave %d bytes behind, want at most %d", observed, left, most)
		}
		measured = fmt.Sprintf("Over the last %d of these %d requests, memory changed by %d bytes a request.", observed, n, left/observed)
	})
	return measured
}

// tallied is a sink that keeps sums, and no request.
type tallied struct {
	telemetry.Memory

	mu                                              sync.Mutex
	requests, attempts, retries, fallbacks, skipped int
}

// Record implements telemetry.Sink.
func (s *tallied) Record(_ context.Context, e *telemetry.Exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.skipped += min(1, len(e.Skipped))
	for _, a := range e.Attempts {
		s.attempts++
		if a.Retry {
			s.retries++
		}
		if a.Fallback {
			s.fallbacks++
		}
	}
}

// Emit implements telemetry.Sink.
func (s *tallied) Emit([]telemetry.Point) {}

// memory is what the process uses, garbage not included: what is in a pool is garbage at the third collection.
func memory() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// askSlowly asks for a stream over a connection of its own, and takes so many bytes every so often.
func (w *world) askSlowly(size int, pause time.Duration) (got reply) {
	began := time.Now()
	defer func() { got.took = time.Since(began) }()
	c, err := w.net.DialContext(w.t.Context(), "tcp", "function:80")
	if err != nil {
		return reply{failed: err}
	}
	defer c.Close()
	body := `{"stream":true,"messages":[{"role":"user","content":"Who built the mill?"}]}`
	if _, err := fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: function\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body); err != nil {
		return reply{failed: err}
	}
	slowly := &slowReader{c, make([]byte, size), pause}
	var all strings.Builder
	if _, err := io.Copy(&all, slowly); err != nil {
		return reply{failed: err}
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(all.String())), nil)
	if err != nil {
		return reply{failed: err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	got = reply{status: resp.StatusCode, failed: err}
	got.events(data)
	return got
}

// slowReader reads little, and seldom.
type slowReader struct {
	from  io.Reader
	piece []byte
	pause time.Duration
}

func (s *slowReader) Read(p []byte) (int, error) {
	<-time.After(s.pause)
	n, err := io.ReadFull(s.from, s.piece[:min(len(p), len(s.piece))])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return copy(p, s.piece[:n]), err
}
