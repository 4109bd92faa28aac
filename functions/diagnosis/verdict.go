package diagnosis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// Verdict is the answer in one word.
type Verdict string

// The verdicts on a provider are OK, Degraded, Down and Unknown; those on credentials OK, Invalid, Expired and Unknown.
const (
	OK       Verdict = "ok"
	Degraded Verdict = "degraded"
	Down     Verdict = "down"
	Invalid  Verdict = "invalid"
	Expired  Verdict = "expired"
	Unknown  Verdict = "unknown"
)

// probeTokens caps the answer of a live call. Reasoning models may need more before the first word; that they had no word
// left is an answer, too.
const probeTokens = 16

// ask calls a model with as little as makes it answer.
func ask(ctx context.Context, client llm.Model, model string) error {
	_, err := client.Generate(ctx, llm.Request{
		Type: llm.Completion, Model: model, MaxTokens: probeTokens,
		Messages: []llm.Message{{Role: llm.User, Content: "Reply with one word: ready."}},
	})
	return err
}

// reading is what a kind of failure means for the two questions, and the sentence that callers may see of it.
type reading struct {
	provider, auth Verdict
	detail         string
}

// readings is the one table from kinds of failure to verdicts. A kind that is not in it says nothing about either.
var readings = map[llm.Kind]reading{
	// A model without a word, or a filter, answered: the call went all the way.
	llm.Empty:   {OK, OK, "the model answered without text"},
	llm.Blocked: {OK, OK, "a safety filter withheld the answer, so the model is reached"},

	llm.RateLimited:   {Degraded, Unknown, "the provider refuses calls for quota or capacity"},
	llm.Overloaded:    {Down, Unknown, "the provider says that it is overloaded or unavailable"},
	llm.ProviderFault: {Down, Unknown, "the provider failed or could not be reached"},
	llm.BrokenStream:  {Down, Unknown, "the provider's answer ended before it was complete"},
	llm.Timeout:       {Down, Unknown, "no answer came before the deadline"},

	// These say that the provider is there, but not whether it serves the model.
	llm.Unauthenticated: {Unknown, Invalid, "the provider refuses our credentials"},
	llm.Forbidden:       {Unknown, Invalid, "our credentials may not use the model"},
	llm.NotFound:        {Unknown, Unknown, "the provider does not know the model, or does not show it to us"},
	llm.InvalidRequest:  {Unknown, Unknown, "the provider does not accept the call"},
	llm.TooLarge:        {Unknown, Unknown, "the provider does not accept the call"},
}

func read(err error) (observed string, r reading) {
	if err == nil {
		return "answered", reading{OK, OK, "the model answered"}
	}
	kind := llm.AsError(err).Kind
	if r, ok := readings[kind]; ok {
		return string(kind), r
	}
	return string(kind), reading{Unknown, Unknown, "the call could not be made"}
}

// live calls the model of one backend.
func live(ctx context.Context, b Backend, timeout time.Duration) finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	err := ask(ctx, b.Client, b.Model)
	observed, r := read(err)
	f := finding{verdict: r.provider, err: err, Evidence: Evidence{
		Source: b.name(), Observed: observed, Detail: r.detail, LatencyMS: ms(time.Since(start)),
	}}
	switch {
	case r.provider == OK:
	case r.auth == Invalid:
		f.next = "Ask POST /diagnosis/auth, and replace or unlock the credentials of " + b.Provider + "."
	case observed == string(llm.RateLimited):
		f.next = "Check the quota of " + b.Provider + ", and send less: POST /remediation/limit, or enable-cache."
	case r.provider == Down:
		f.next = "Send traffic elsewhere with POST /remediation/failover where the route has another provider, and page on-call if it has none."
	default:
		f.next = "Check the model's name and availability at " + b.Provider + "."
	}
	return f
}

// judgeProvider weighs the live calls of the route and what the feed says. The live calls decide: a feed is often late, and
// speaks of everybody's traffic, not of ours. It makes a good verdict degraded, and an open one certain.
func judgeProvider(calls []finding, asked bool, feed finding) Report {
	ok := count(calls, OK)
	r := Report{NextAction: "Nothing to do."}
	switch {
	case ok == len(calls):
		r.Verdict, r.Summary = OK, "Every model of the route answers."
	case ok > 0:
		r.Verdict, r.Summary = Degraded, fmt.Sprintf("%d of %d models of the route answer.", ok, len(calls))
	case count(calls, Degraded) > 0:
		r.Verdict, r.Summary = Degraded, "No model of the route answers, and at least one only for want of quota or capacity."
	case count(calls, Down) > 0:
		r.Verdict, r.Summary = Down, "No model of the route answers."
	default:
		r.Verdict, r.Summary = Unknown, "The live calls do not tell whether the provider is up."
	}
	r.NextAction = next(r.NextAction, calls)
	if !asked {
		return r
	}
	switch {
	case feed.verdict == Unknown:
		r.Summary += " The status feed could not be read."
	case feed.verdict == OK:
		r.Summary += " The status feed reports no disruption."
	case r.Verdict == OK:
		r.Verdict, r.NextAction = Degraded, feed.next
		r.Summary += " The status feed reports a disruption, which our calls do not feel."
	case r.Verdict == Unknown:
		r.Verdict, r.NextAction = feed.verdict, feed.next
		r.Summary += " The status feed reports a disruption."
	default:
		r.Summary += " The status feed reports a disruption."
		r.NextAction += " " + feed.next
	}
	return r
}

// judgeAuth takes the worst of the verdicts: one provider's refused key is a gap in the route even when others work.
func judgeAuth(checks []finding) Report {
	worst := slices.MaxFunc(checks, func(a, b finding) int { return badness(a.verdict) - badness(b.verdict) })
	r := Report{Verdict: worst.verdict, NextAction: next("Nothing to do.", checks)}
	switch worst.verdict {
	case OK:
		r.Summary = "The credentials of every provider work."
	case Invalid:
		r.Summary = "Credentials are refused: " + worst.Source + "."
	case Expired:
		r.Summary = "Credentials have expired: " + worst.Source + "."
	default:
		r.Summary = "Whether the credentials work could not be told: " + worst.Source + "."
	}
	return r
}

func badness(v Verdict) int { return slices.Index([]Verdict{OK, Unknown, Expired, Invalid}, v) }

// next is what the first finding that needs something needs.
func next(otherwise string, findings []finding) string {
	for _, f := range findings {
		if f.verdict != OK && f.next != "" {
			return f.next
		}
	}
	return otherwise
}

func count(findings []finding, v Verdict) int {
	n := 0
	for _, f := range findings {
		if f.verdict == v {
			n++
		}
	}
	return n
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
