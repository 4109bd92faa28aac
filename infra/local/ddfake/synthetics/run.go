package synthetics

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Send sends a request and says how long the answer took, until its body was read.
type Send func(*http.Request) (resp *http.Response, took time.Duration, err error)

// Result is one run of a test, its retries included.
type Result struct {
	Passed bool `json:"passed"`
	// Status is that of the last answer, 0 without one; Took is its time.
	Status int           `json:"status"`
	Took   time.Duration `json:"took"`
	// Failures say what did not hold in the last attempt.
	Failures []string `json:"failures,omitempty"`
	Attempts int      `json:"attempts"`
}

// maxBody is how much of an answer is read, as at Datadog.
const maxBody = 50 << 10

// Run runs the test. Values are those of global variables, by their identifiers.
func (t *Test) Run(ctx context.Context, send Send, values map[string]string) Result {
	var r Result
	for attempt := range t.retries + 1 {
		r = t.attempt(ctx, send, values)
		r.Attempts = attempt + 1
		if r.Passed || ctx.Err() != nil {
			break
		}
	}
	return r
}

func (t *Test) attempt(ctx context.Context, send Send, values map[string]string) Result {
	const defaultTimeout = 60 * time.Second
	timeout := time.Duration(t.request.Timeout * float64(time.Second))
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := t.build(ctx, values)
	if err != nil {
		return Result{Failures: []string{err.Error()}}
	}
	got, err := exchange(send, req)
	if err != nil {
		return Result{Failures: []string{"no answer: " + err.Error()}}
	}
	r := Result{Passed: true, Status: got.status, Took: got.took}
	if got.took > timeout {
		return Result{Failures: []string{fmt.Sprintf("no answer within %v", timeout)}}
	}
	for _, a := range t.assertions {
		if why := a.judge(got); why != "" {
			r.Passed = false
			r.Failures = append(r.Failures, why)
		}
	}
	return r
}

func exchange(send Send, req *http.Request) (got response, err error) {
	resp, took, err := send(req)
	if err != nil {
		return got, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	// Nothing more is wanted of the answer, so an error of closing it says nothing.
	_ = resp.Body.Close()
	if err != nil {
		return got, fmt.Errorf("read answer: %w", err)
	}
	return response{resp.StatusCode, took, resp.Header, body}, nil
}

// State is what a test remembers between runs. The zero State is that of a test that never ran.
type State struct {
	// Last is when it ran last, FailingSince when its failures began; zero while it passes.
	Last, FailingSince time.Time
	Alerting           bool
	Result             Result
}

// Transition is what a run changed, if anything.
type Transition string

// The transitions.
const (
	None      Transition = ""
	Triggered Transition = "Triggered"
	Recovered Transition = "Recovered"
)

// Next returns the state after a run at now. A test alerts when it has failed for its min_failure_duration.
func (t *Test) Next(s State, r Result, now time.Time) (State, Transition) {
	s.Last, s.Result = now, r
	if r.Passed {
		s.FailingSince = time.Time{}
		if s.Alerting {
			s.Alerting = false
			return s, Recovered
		}
		return s, None
	}
	if s.FailingSince.IsZero() {
		s.FailingSince = now
	}
	if !s.Alerting && now.Sub(s.FailingSince) >= t.minFailure {
		s.Alerting = true
		return s, Triggered
	}
	return s, None
}
