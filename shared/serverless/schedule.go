package serverless

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Job is the request that a schedule of the platform stands for.
//
// On Lambda the event of an EventBridge rule or of the EventBridge Scheduler becomes this request. It passes everything
// around the handler but authentication: only who may invoke the function by IAM can send such an event, a request to the
// function's URL always arrives as another kind of event. The caller is "schedule". On Cloud Run a schedule is an HTTP
// request like any other, and has to authenticate.
type Job struct {
	Method, Path string
	Header       http.Header
}

// scheduled serves the job with a chain of its own: nothing in a request leads from the other chain to this one.
type scheduled struct {
	job   Job
	chain http.Handler
}

// newScheduled returns nil for a function without a schedule, and refuses a job that makes no request.
func newScheduled(f Function, o Options) (*scheduled, error) {
	if f.Schedule == nil {
		return nil, nil //nolint:nilnil // no schedule is no error
	}
	s := &scheduled{*f.Schedule, wrap(f, o, as("schedule"))}
	if s.job.Method == "" || !strings.HasPrefix(s.job.Path, "/") {
		return nil, errors.New(`schedule: the job needs a method and a path that begins with "/"`)
	}
	if _, err := s.request(context.Background(), ""); err != nil {
		return nil, err
	}
	return s, nil
}

// as lets every request pass as one of the named caller.
func as(caller string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
		})
	}
}

// scheduleEvent is what tells the event of a schedule: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
// for a rule; the EventBridge Scheduler sends the same with a source of its own where its target has no input.
type scheduleEvent struct {
	ID         string `json:"id"`
	Source     string `json:"source"`
	DetailType string `json:"detail-type"`
}

func (e scheduleEvent) scheduled() bool {
	return e.DetailType == "Scheduled Event" && (e.Source == "aws.events" || e.Source == "aws.scheduler")
}

func (s *scheduled) request(ctx context.Context, id string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, s.job.Method, "https://lambda.invalid"+s.job.Path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("schedule: make the job's request: %w", err)
	}
	// The ID of the event finds all attempts of it.
	r.Header.Set("X-Request-Id", id)
	for name, values := range s.job.Header {
		r.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	return r, nil
}

// serve runs the job. A server error of it fails the invocation: so Lambda counts it, and tries again if it is told to. What
// the job does not accept it would refuse again; that is only in the response and in the span.
func (s *scheduled) serve(ctx context.Context, e scheduleEvent) (*directResponse, error) {
	if s == nil {
		return nil, errors.New("event is that of a schedule, and this function has no job for one")
	}
	r, err := s.request(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	out, err := answer(s.chain, r)
	if err == nil && out.Status >= http.StatusInternalServerError {
		return nil, fmt.Errorf("scheduled %s %s: status %d for request %s", s.job.Method, s.job.Path, out.Status, out.Headers["X-Request-Id"])
	}
	return out, err
}

// answer serves one request whose response is a JSON document as a whole.
func answer(h http.Handler, r *http.Request) (*directResponse, error) {
	w := &buffer{header: http.Header{}}
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK) // the default, when nothing was written
	out := &directResponse{Status: w.status, Headers: map[string]string{}, Body: bytes.TrimSpace(w.body.Bytes())}
	for name := range w.header {
		out.Headers[name] = w.header.Get(name)
	}
	if len(out.Body) > 0 && !json.Valid(out.Body) {
		var err error
		if out.Body, err = json.Marshal(w.body.String()); err != nil {
			return nil, fmt.Errorf("encode response: %w", err)
		}
	}
	return out, nil
}
