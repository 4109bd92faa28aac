// Package judge has a language model score an answer: how far its document supports it, and how far it is one to the question.
// It gives the same signals as package quality, at the price of a model call, and so is for samples off the request path.
//
// It does not decide what is judged or when, and counts nothing: who asks does. A model's opinion is no truth; the figures are
// for comparison with the signals that need no model.
package judge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/quality"
)

// Options are the dependencies of a Judge.
type Options struct {
	// Model is asked, by the name ModelName, which is the provider's own. All three are required.
	Model     llm.Model
	ModelName string
	Provider  string
	// Catalog knows the prices; nil leaves the cost unknown.
	Catalog *catalog.Catalog
}

// Judge asks a model. It is safe for concurrent use.
type Judge struct{ opts Options }

// New checks the options and returns a Judge.
func New(opts Options) (*Judge, error) {
	if opts.Model == nil || opts.ModelName == "" || opts.Provider == "" {
		return nil, errors.New("judge: Model, ModelName and Provider are required")
	}
	return &Judge{opts}, nil
}

// Verdict is what a model says of an answer, and what asking took. The latter is known even where the former is not.
type Verdict struct {
	Signals quality.Signals
	Reason  Reason
	// Model and Provider were asked.
	Model, Provider string
	// Usage and CostUSD are nil when they are unknown.
	Usage   *llm.Usage
	CostUSD *float64
}

// UnreadableError is a reply that is no verdict. It holds nothing of the reply, which may quote the document.
type UnreadableError struct{ Err error }

// Error implements error.
func (e *UnreadableError) Error() string { return "read verdict: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// Judge asks once, within the deadline of ctx. Its error is an *llm.Error where the model failed, and an *UnreadableError where
// its reply is no verdict; the verdict then holds what was spent all the same.
func (j *Judge) Judge(ctx context.Context, a quality.Answer) (Verdict, error) {
	v := Verdict{Model: j.opts.ModelName, Provider: j.opts.Provider}
	resp, err := j.opts.Model.Generate(ctx, request(j.opts.ModelName, a))
	if err != nil {
		e := llm.AsError(err)
		j.bill(&v, e.Usage)
		return v, fmt.Errorf("ask judge: %w", e)
	}
	v.Model = cmp.Or(resp.Model, v.Model)
	j.bill(&v, resp.Usage)
	reply, err := parse(resp.Text)
	if err != nil {
		return v, &UnreadableError{err}
	}
	v.Reason, v.Signals = reply.reason, signals(a, reply)
	return v, nil
}

// bill notes what the call took.
func (j *Judge) bill(v *Verdict, usage *llm.Usage) {
	v.Usage = usage
	if usage == nil || j.opts.Catalog == nil {
		return
	}
	if cost, ok := j.opts.Catalog.Cost(v.Provider, v.Model, *usage, time.Now()); ok {
		usd := cost.Total()
		v.CostUSD = &usd
	}
}

// signals brings a reply into the form of the signals that need no model. There is no groundedness without a document.
func signals(a quality.Answer, r reply) quality.Signals {
	s := quality.Signals{AnswerRelevance: &r.relevance, Refusal: r.reason == Refusal, Truncated: a.Cut || r.reason == Incomplete}
	if blank(a.Document) {
		return s
	}
	g := r.groundedness
	if s.Refusal {
		g = 1 // as in package quality: who says that there is no answer claims nothing
	}
	s.Groundedness, s.Ungrounded = &g, g < quality.Threshold
	return s
}
