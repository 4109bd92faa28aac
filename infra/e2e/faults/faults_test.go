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
	t.Run("virtual", func(t *testing.T) {
		for _, f := range faults {
			t.Run(f.name, func(t *testing.T) { f.play(t, &rows) })
		}
	})
	if *reportFile != "" {
		check(t, os.WriteFile(*reportFile, []byte(report(rows)), 0o600))
	}
}

func report(rows []row) string {
	var out strings.Builder
	out.WriteString("| fault | what the caller got | after | calls of providers | counted | leaked |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s |\n", r.fault, r.caller, r.took, r.attempts, r.counted, r.leaked)
	}
	return out.String()
}

// fault is one row of the table. What is expected are the words of the report.
type fault struct {
	name   string
	setup  setup
	stream bool
	// play makes the requests; one when nil.
	requests func(w *world) []reply

	caller            string
	atLeast, atMost   time.Duration // of the slowest request
	attempts, counted string
}

// play meets the fault in virtual time, and judges.
func (f fault) play(t *testing.T, rows *[]row) {
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
}
