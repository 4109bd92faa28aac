// Package faults_test plays what can go wrong around a deployed function, one fault at a time, and says of each what the
// caller got, which calls were made, what was counted, and whether anything leaked. Each of these is an assertion. The same
// tables make a report:
//
//	go test ./infra/e2e/faults -report FILE
package faults_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var reportFile = flag.String("report", "", "the file to write the report to, in Markdown")

// row is what came of a fault, as it is reported.
type row struct{ fault, caller, took, attempts, counted, leaked string }

func TestFaults(t *testing.T) {
	var rows []row
	var notes []string
	t.Run("virtual", func(t *testing.T) {
		for _, f := range faults {
			t.Run(f.name, func(t *testing.T) { f.play(t, &rows) })
		}
	})
	t.Run("agent", func(t *testing.T) {
		for _, f := range agentFaults {
			t.Run(f.name, func(t *testing.T) { f.play(t, &rows) })
		}
	})
	t.Run("memory", func(t *testing.T) {
		notes = append(notes, mixture(t, &rows))
	})
	t.Run("a crowd", func(t *testing.T) {
		slowReaders(crowd(), func(line string) { notes = append(notes, line) }).play(t, &rows)
	})
	if *reportFile != "" {
		check(t, os.WriteFile(*reportFile, []byte(report(rows, notes)), 0o600))
	}
}

func report(rows []row, notes []string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d faults. One function with its HTTP server, gateway and stores; a route of two places that serve one model; a deadline of 30 s. "+
		"Time is virtual unless it is called real, and that of the slowest request. Leaked: calls of providers, connections and goroutines after two quiet minutes, "+
		"or goroutines of Datadog's SDK after the end.\n\n", len(rows))
	out.WriteString("| fault | what the caller got | after | calls of providers | counted | leaked |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s |\n", r.fault, r.caller, r.took, r.attempts, r.counted, r.leaked)
	}
	for _, n := range notes {
		fmt.Fprintf(&out, "\n- %s\n", n)
	}
	return out.String()
}

// fault is one row of the table. What is expected are the words of the report.
type fault struct {
	name   string
	setup  setup
	stream bool
	// requests makes the requests; one when nil.
	requests func(w *world) []reply
	// later is what another instance, whose clock is an hour ahead, did before.
	later func(w *world)

	caller            string
	atLeast, atMost   time.Duration // of the slowest request
	attempts, counted string
}

// play meets the fault in virtual time, and judges.
func (f fault) play(t *testing.T, rows *[]row) {
	f.setup.store = newStores()
	if f.later != nil {
		synctest.Test(t, func(t *testing.T) {
			<-time.After(time.Until(begin.Add(time.Hour)))
			f.later(newWorld(t, f.setup))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(begin))
		w := newWorld(t, f.setup)
		requests := f.requests
		if requests == nil {
			requests = one(f.stream)
		}
		replies := requests(w)
		synctest.Wait() // a whole response leaves before it is recorded
		var slowest time.Duration
		for _, reply := range replies {
			slowest = max(slowest, reply.took)
		}
		r := row{f.name, summary(replies), slowest.Round(time.Millisecond).String(), w.attempts(), w.counted(), w.leaked()}
		*rows = append(*rows, r)
		for what, pair := range map[string][2]string{
			"the caller got": {r.caller, f.caller}, "the calls were": {r.attempts, f.attempts}, "counted was": {r.counted, f.counted}, "leaked:": {r.leaked, "no"},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s\n\t%s\nwant\n\t%s", what, pair[0], pair[1])
			}
		}
		if slowest < f.atLeast || slowest > f.atMost {
			t.Errorf("it took %v, want %v to %v", slowest, f.atLeast, f.atMost)
		}
	})
}

// one makes one request.
func one(stream bool) func(*world) []reply {
	return func(w *world) []reply { return []reply{w.ask(w.t.Context(), stream)} }
}

// leaving makes one request whose caller leaves after a while.
func leaving(after time.Duration, stream bool) func(*world) []reply {
	return func(w *world) []reply {
		ctx, cancel := context.WithCancel(w.t.Context())
		defer time.AfterFunc(after, cancel).Stop()
		return []reply{w.ask(ctx, stream)}
	}
}

// many makes requests one after another, each at its time, which is every so often.
func many(n int, every time.Duration) func(*world) []reply {
	return func(w *world) (replies []reply) {
		for i := range n {
			<-time.After(time.Until(begin.Add(time.Duration(i) * every)))
			replies = append(replies, w.ask(w.t.Context(), false))
		}
		return replies
	}
}

// withStore makes three requests: two at nearly the same time while the store has a fault, and one when it was healed.
func withStore(fault func(context.Context) error) func(*world) []reply {
	return func(w *world) (replies []reply) {
		w.store.set(fault)
		replies = append(replies, w.ask(w.t.Context(), false), w.ask(w.t.Context(), false))
		w.store.set(nil)
		<-time.After(5 * time.Second)
		return append(replies, w.ask(w.t.Context(), false))
	}
}

// faults is the table.
var faults = []fault{
	{
		name: "a provider hangs", setup: setup{near: []step{hangs}},
		caller: "200, the answer", atLeast: 15 * time.Second, atMost: 15 * time.Second,
		attempts: "europe-west1 timeout → global ok", counted: "success; fallbacks 1; timeouts 1; 0.000150 USD",
	},
	{
		name: "a provider hangs, streamed", setup: setup{near: []step{hangs}}, stream: true,
		caller: "200, the whole stream", atLeast: 15 * time.Second, atMost: 15 * time.Second,
		attempts: "europe-west1 timeout → global ok", counted: "success; fallbacks 1; timeouts 1; 0.000150 USD",
	},
	{
		name: "all providers hang", setup: setup{near: []step{hangs}, far: []step{hangs}},
		caller: "504 timeout", atLeast: 30 * time.Second, atMost: 30 * time.Second,
		attempts: "europe-west1 timeout → global timeout", counted: "error timeout; fallbacks 1; timeouts 2",
	},
	{
		name: "a provider hangs, and the caller leaves after 2 s", setup: setup{near: []step{hangs}}, requests: leaving(2*time.Second, false),
		caller: "nothing: it left", atLeast: 2 * time.Second, atMost: 2 * time.Second,
		attempts: "europe-west1 canceled", counted: "canceled canceled",
	},
	{
		name: "a provider sends an answer byte by byte, one a second", setup: setup{near: []step{trickles(time.Second)}},
		caller: "200, the answer", atLeast: 15 * time.Second, atMost: 15 * time.Second,
		attempts: "europe-west1 timeout → global ok", counted: "success; fallbacks 1; timeouts 1; 0.000150 USD",
	},
	{
		name: "a provider streams a token every 8 s", setup: setup{near: []step{trickles(8 * time.Second)}}, stream: true,
		caller: "200, a stream of 3 pieces, then timeout", atLeast: 30 * time.Second, atMost: 30 * time.Second,
		attempts: "europe-west1 timeout", counted: "error timeout; timeouts 1; 0.000019 USD; estimated",
	},
	{
		name: "a stream stalls after two tokens", setup: setup{near: []step{stalls}}, stream: true,
		caller: "200, a stream of 2 pieces, then timeout", atLeast: 15 * time.Second, atMost: 15 * time.Second,
		attempts: "europe-west1 timeout", counted: "error timeout; timeouts 1; 0.000022 USD; estimated",
	},
	{
		name: "a provider resets a connection once", setup: setup{near: []step{resets, answers}},
		caller: "200, the answer", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 ok", counted: "success; retries 1; 0.000150 USD",
	},
	{
		name: "a provider resets every connection", setup: setup{near: []step{resets}},
		caller: "200, the answer", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "a provider resets every connection, streamed", setup: setup{near: []step{resets}}, stream: true,
		caller: "200, the whole stream", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "429 with Retry-After: 2, and another place", setup: setup{near: []step{says(429, "", "Retry-After", "2")}},
		caller:   "200, the answer",
		attempts: "europe-west1 rate_limited → global ok", counted: "success; fallbacks 1; 0.000150 USD",
	},
	{
		name: "429 with Retry-After: 2, once, and no other place", setup: setup{near: []step{says(429, "", "Retry-After", "2"), answers}, alone: true},
		caller: "200, the answer", atLeast: 2 * time.Second, atMost: 2 * time.Second,
		attempts: "europe-west1 rate_limited → europe-west1 ok", counted: "success; retries 1; 0.000150 USD",
	},
	{
		name: "429 with Retry-After: 120 and 60", setup: setup{near: []step{says(429, "", "Retry-After", "120")}, far: []step{says(429, "", "Retry-After", "60")}},
		caller:   "503 rate_limited, Retry-After 60",
		attempts: "europe-west1 rate_limited → global rate_limited", counted: "error rate_limited; fallbacks 1",
	},
	{
		name: "a stream breaks before its first token", setup: setup{near: []step{breaksBeforeText}}, stream: true,
		caller: "200, the whole stream", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 broken_stream → europe-west1 broken_stream → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "a stream breaks after two tokens", setup: setup{near: []step{breaksAfterText}}, stream: true,
		caller:   "200, a stream of 2 pieces, then broken_stream",
		attempts: "europe-west1 broken_stream", counted: "error broken_stream; 0.000022 USD; estimated",
	},
	{
		name: "a stream ends after two tokens as if it were whole", setup: setup{near: []step{endsSilently}}, stream: true,
		caller:   "200, a stream of 2 pieces, then broken_stream",
		attempts: "europe-west1 broken_stream", counted: "error broken_stream; 0.000022 USD; estimated",
	},
	{
		name: "a stream says after a token that its provider is overloaded", setup: setup{near: []step{failsInBand}}, stream: true,
		caller:   "200, a stream of 1 pieces, then overloaded",
		attempts: "europe-west1 overloaded", counted: "error overloaded; 0.000011 USD; estimated",
	},
	{
		name: "a stream breaks after two tokens, and the caller is gone", setup: setup{near: []step{stalls}}, requests: leaving(2*time.Second, true),
		caller: "200, a stream of 2 pieces, then a broken connection", atLeast: 2 * time.Second, atMost: 2 * time.Second,
		attempts: "europe-west1 canceled", counted: "canceled canceled; 0.000022 USD; estimated",
	},
	{
		name: "a page of HTML in place of an answer", setup: setup{near: []step{garbage}},
		caller: "200, the answer", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "a page of HTML in place of a stream", setup: setup{near: []step{garbage}}, stream: true,
		caller: "200, the whole stream", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "an answer that is cut off", setup: setup{near: []step{brokenJSON}},
		caller: "200, the answer", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "a stream of broken JSON", setup: setup{near: []step{brokenEvents}}, stream: true,
		caller: "200, the whole stream", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "an answer without text", setup: setup{near: []step{empty}},
		caller: "200, the answer", atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 empty → europe-west1 empty → global ok", counted: "success; retries 1; fallbacks 1; 0.000300 USD",
	},
	{
		name: "a model is retired", setup: setup{near: []step{says(404, `{"error":{"message":"gone","type":"invalid_request_error","code":"model_not_found"}}`)}},
		caller:   "200, the answer",
		attempts: "europe-west1 not_found → global ok", counted: "success; fallbacks 1; 0.000150 USD",
	},
	{
		name: "a model is retired everywhere", setup: setup{near: []step{says(410, "")}, far: []step{says(404, "")}},
		caller:   "502 not_found",
		attempts: "europe-west1 not_found → global not_found", counted: "error not_found; fallbacks 1",
	},
	{
		name: "our credentials are refused at one place", setup: setup{near: []step{says(401, "")}},
		caller:   "200, the answer",
		attempts: "europe-west1 unauthenticated → global ok", counted: "success; fallbacks 1; 0.000150 USD",
	},
	{
		name: "a provider refuses connections", setup: setup{near: []step{}},
		caller:  "200, the answer",
		atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "an answer that never ends", setup: setup{near: []step{neverEnds}},
		caller:  "200, the answer",
		atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "a line of a stream that never ends", setup: setup{near: []step{neverEnds}}, stream: true,
		caller:  "200, the whole stream",
		atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 provider_fault → europe-west1 provider_fault → global ok", counted: "success; retries 1; fallbacks 1; 0.000150 USD",
	},
	{
		name: "a provider answers 500 for 20 s; a request every 200 ms for a minute", setup: setup{near: []step{failsFor(20 * time.Second)}}, requests: many(300, 200*time.Millisecond),
		caller:  "300 × 200, the answer",
		atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "198 × europe-west1 ok; 102 × global ok; 6 × europe-west1 provider_fault", counted: "300 × success; retries 2; fallbacks 4; left out by a breaker 98; 0.045000 USD",
	},
	{
		name: "all providers answer 500 for 20 s; a request every 200 ms for a minute", setup: setup{near: []step{failsFor(20 * time.Second)}, far: []step{failsFor(20 * time.Second)}}, requests: many(300, 200*time.Millisecond),
		caller:  "200 × 200, the answer; 100 × 502 provider_fault",
		atLeast: 100 * time.Millisecond, atMost: 200 * time.Millisecond,
		attempts: "200 × europe-west1 ok; 102 × europe-west1 provider_fault; 6 × global provider_fault", counted: "200 × success; 100 × error provider_fault; retries 4; fallbacks 4; left out by a breaker 98; 0.030000 USD",
	},
	{
		name: "all providers answer 500 a minute after the answer was cached for 10 s", setup: setup{near: []step{answers, says(500, "")}, far: []step{says(500, "")}, cacheTTL: 10 * time.Second}, requests: many(2, time.Minute),
		caller:  "2 × 200, the answer",
		atLeast: 100 * time.Millisecond, atMost: 200 * time.Millisecond,
		attempts: "2 × europe-west1 provider_fault; 2 × global provider_fault; 1 × europe-west1 ok", counted: "2 × success; retries 2; fallbacks 1; stale answers 1; 0.000150 USD",
	},
	{
		name: "the state store is down for two of three requests", setup: setup{cacheTTL: time.Nanosecond}, requests: withStore(down),
		caller:  "3 × 200, the answer",
		atLeast: 37 * time.Millisecond, atMost: 75 * time.Millisecond,
		attempts: "2 × europe-west1 ok", counted: "3 × success; cache hits 1; 0.000300 USD; without control, limits, cache",
	},
	{
		name: "the state store hangs for two of three requests", setup: setup{cacheTTL: time.Nanosecond}, requests: withStore(slow(time.Hour)),
		caller:  "3 × 200, the answer",
		atLeast: 450 * time.Millisecond, atMost: 450 * time.Millisecond,
		attempts: "2 × europe-west1 ok", counted: "3 × success; cache hits 1; 0.000300 USD; without control, limits, cache",
	},
	{
		name: "the state store takes 80 ms for two of three requests", setup: setup{cacheTTL: time.Nanosecond}, requests: withStore(slow(80 * time.Millisecond)),
		caller:  "3 × 200, the answer",
		atLeast: 320 * time.Millisecond, atMost: 320 * time.Millisecond,
		attempts: "3 × europe-west1 ok", counted: "3 × success; 0.000450 USD",
	},
	{
		name: "the state store is throttled for two of three requests", setup: setup{cacheTTL: time.Nanosecond}, requests: withStore(throttled),
		caller:  "3 × 200, the answer",
		atLeast: 37 * time.Millisecond, atMost: 75 * time.Millisecond,
		attempts: "2 × europe-west1 ok", counted: "3 × success; cache hits 1; 0.000300 USD; without control, limits, cache",
	},
	{
		name: "the state store goes down while an override keeps requests from a place", requests: func(w *world) []reply {
			w.avoidNear()
			first := w.ask(w.t.Context(), false)
			w.store.set(down)
			<-time.After(10 * time.Minute)
			second := w.ask(w.t.Context(), false)
			<-time.After(30 * time.Minute)
			return []reply{first, second, w.ask(w.t.Context(), false)}
		},
		caller:  "3 × 200, the answer",
		atLeast: 37 * time.Millisecond, atMost: 75 * time.Millisecond,
		attempts: "2 × global ok; 1 × europe-west1 ok", counted: "3 × success; 0.000450 USD; without control, limits",
	},
	{
		name: "the clock of a provider is an hour ahead when it says until when to wait", setup: setup{near: []step{saysWhen(time.Hour)}},
		caller:   "200, the answer",
		attempts: "europe-west1 rate_limited → global ok", counted: "success; fallbacks 1; 0.000150 USD",
	},
	{
		name: "the clock of the only provider is an hour ahead when it says until when to wait", setup: setup{near: []step{saysWhen(time.Hour)}, alone: true},
		caller:   "503 rate_limited, Retry-After 3600",
		attempts: "europe-west1 rate_limited", counted: "error rate_limited",
	},
	{
		name: "the clock of the only provider is an hour behind when it says until when to wait", setup: setup{near: []step{saysWhen(-time.Hour), answers}, alone: true},
		caller:  "200, the answer",
		atLeast: 50 * time.Millisecond, atMost: 100 * time.Millisecond,
		attempts: "europe-west1 rate_limited → europe-west1 ok", counted: "success; retries 1; 0.000150 USD",
	},
	{
		name: "the clock is an hour behind that of the instance before, which made an override and cached", setup: setup{cacheTTL: time.Minute}, later: func(w *world) {
			w.avoidNear()
			w.ask(w.t.Context(), false)
		},
		caller:   "200, the answer",
		attempts: "none", counted: "success; cache hits 1; 0.000000 USD",
	},
	{
		name: "the clock jumps an hour ahead between two requests, as when an instance is thawed", requests: many(2, time.Hour),
		caller:   "2 × 200, the answer",
		attempts: "2 × europe-west1 ok", counted: "2 × success; 0.000300 USD",
	},
}

// TestWhatLeaksIsSeen leaves something behind of each kind.
func TestWhatLeaksIsSeen(t *testing.T) {
	for name, tt := range map[string]struct {
		leave func(w *world) (clean func())
		want  string
	}{
		"nothing": {func(*world) func() { return func() {} }, "no"},
		"a goroutine": {func(*world) func() {
			stop := make(chan struct{})
			go func() { <-stop }()
			return func() { close(stop) }
		}, "1 goroutines"},
		"a connection, which the server has a goroutine for": {func(w *world) func() {
			c, err := w.net.DialContext(w.t.Context(), "tcp", "function:80")
			check(w.t, err)
			return func() { _ = c.Close() }
		}, "1 connections to function, 1 goroutines"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, setup{})
				clean := tt.leave(w)
				if got := w.leaked(); got != tt.want {
					t.Errorf("leaked: %s, want %s", got, tt.want)
				}
				clean()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, setup{near: []step{hangs}})
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			w.ask(ctx, false)
		}()
		if got := w.leaked(); !strings.Contains(got, "1 calls of "+near) {
			t.Errorf("leaked: %s, want the call that is under way", got)
		}
		cancel()
		<-gone
	})
}
