package probe

import (
	"time"

	"github.com/llm-reliability/control-plane/shared/quality"
)

// ErrorType says in one word why a case did not pass; it is a metric tag.
type ErrorType string

// The error types. The first seven mean that there was no answer, the others that the answer was no good.
const (
	// Unreachable: nobody answered at the URL.
	Unreachable ErrorType = "unreachable"
	// Timeout: the answer was not there in time.
	Timeout ErrorType = "timeout"
	// NotAsked: the time for all questions was over before this one's turn came.
	NotAsked ErrorType = "not_asked"
	// Refused: the endpoint does not accept the probe's API key.
	Refused ErrorType = "refused"
	// Rejected: the endpoint does not take the request, or is not there, or wants less of them.
	Rejected ErrorType = "rejected"
	// Failed: the endpoint says that it failed.
	Failed ErrorType = "failed"
	// BadResponse: what was sent is not the answer that the endpoint's documentation promises.
	BadResponse ErrorType = "bad_response"

	// FactsMissing: the answer lacks a fact that it must hold.
	FactsMissing ErrorType = "facts_missing"
	// Forbidden: the answer claims what it must not.
	Forbidden ErrorType = "forbidden"
)

// Report is the answer to POST /probe.
type Report struct {
	// Passed is whether every case passed, and the answers are not ungrounded.
	Passed bool `json:"passed"`
	// Ungrounded is whether the documents do not support the answers, on the whole.
	Ungrounded bool      `json:"ungrounded"`
	Totals     Totals    `json:"totals"`
	Cases      []Result  `json:"cases"`
	At         time.Time `json:"at"`
	RequestID  string    `json:"request_id"`
}

// Totals are what the cases come to.
type Totals struct {
	Cases  int `json:"cases"`
	Passed int `json:"passed"`
	Failed int `json:"failed"`
	// Facts is how many facts were expected in the answers that came, and FactsFound how many of them were there.
	Facts      int `json:"facts"`
	FactsFound int `json:"facts_found"`
	// Groundedness is the mean over the answers from documents; absent when there is none.
	Groundedness *float64 `json:"groundedness,omitempty"`
	// SlowestMS is the longest time for an answer; absent when none came.
	SlowestMS float64 `json:"slowest_ms,omitempty"`
	// CostUSD is the sum of what the answers cost, as far as prices are known; absent when none is.
	CostUSD *float64 `json:"cost_usd,omitempty"`
	// DurationMS is how long it all took.
	DurationMS float64 `json:"duration_ms"`
}

// Result is how one case went. What is not known is absent.
type Result struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	Passed   bool   `json:"passed"`
	// ErrorType and Error say why it did not pass, in our own words: the answer itself, and whatever else an endpoint sends, is not
	// part of a report.
	ErrorType ErrorType `json:"error_type,omitempty"`
	Error     string    `json:"error,omitempty"`
	// Missing names the facts that the answer lacks.
	Missing []string `json:"missing,omitempty"`
	// Groundedness is the share of the answer that its document supports, by our own count; Reported is what the endpoint says.
	Groundedness *float64 `json:"groundedness,omitempty"`
	Reported     *float64 `json:"reported_groundedness,omitempty"`
	LatencyMS    float64  `json:"latency_ms,omitempty"`
	Model        string   `json:"model,omitempty"`
	Provider     string   `json:"provider,omitempty"`
	CostUSD      *float64 `json:"cost_usd,omitempty"`
	// RequestID and TraceID find the request in logs and traces.
	RequestID string `json:"request_id"`
	TraceID   string `json:"trace_id,omitempty"`

	// facts is how many were looked for; 0 when there was no answer to look in.
	facts int
}

// newReport adds up the results.
func newReport(requestID string, start time.Time, took time.Duration, results []Result) Report {
	r := Report{Passed: len(results) > 0, Cases: results, At: start.UTC().Truncate(time.Second), RequestID: requestID}
	r.Totals.Cases, r.Totals.DurationMS = len(results), ms(took)
	grounded, fromDocuments := 0.0, 0
	for _, c := range results {
		if c.Passed {
			r.Totals.Passed++
		} else {
			r.Totals.Failed++
			r.Passed = false
		}
		r.Totals.Facts += c.facts
		if c.facts > 0 {
			r.Totals.FactsFound += c.facts - len(c.Missing)
			r.Totals.SlowestMS = max(r.Totals.SlowestMS, c.LatencyMS)
		}
		if c.Groundedness != nil {
			grounded += *c.Groundedness
			fromDocuments++
		}
		if c.CostUSD != nil {
			sum := *c.CostUSD
			if r.Totals.CostUSD != nil {
				sum += *r.Totals.CostUSD
			}
			r.Totals.CostUSD = &sum
		}
	}
	if fromDocuments > 0 {
		mean := grounded / float64(fromDocuments)
		r.Totals.Groundedness = &mean
		r.Ungrounded = mean < quality.Threshold
		r.Passed = r.Passed && !r.Ungrounded
	}
	return r
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
