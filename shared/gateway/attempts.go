package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// result is what came of one attempt.
type result struct {
	attempt  telemetry.Attempt
	response *llm.Response
	err      *llm.Error
}

// attempts calls the models along the route until one answers. The typed error decides what comes next: the same model
// again after a wait, the next model, or the end. Every attempt is kept in the exchange with its usage and cost.
//
// Repetitions and hedges are extra calls, and come out of the budget. A fallback does not: it is the first call of this
// request to that backend. So whatever fails, a backend gets at most one call for each request, and its part of the
// budget; and the one that failed is soon kept from calls by its breaker.
//
// When nothing answers, the caller is told what helps most: how long to wait, if some provider said so.
func (g *Gateway) attempts(ctx context.Context, e *telemetry.Exchange, route []candidate, req llm.Request, yield func(Piece) error) (*llm.Response, *llm.Error) {
	g.budget.Deposit()
	route = passable(e, route, time.Now())
	var told *llm.Error
	for i := 0; i < len(route); i++ {
		c := route[i]
		for n := 1; ; n++ {
			// The breaker may have opened since, by another request.
			p, ok := c.health.acquire(time.Now(), i == len(route)-1 && len(e.Attempts) == 0)
			if !ok {
				e.Skipped = append(e.Skipped, c.name())
				break
			}
			rest := route[i+1:]
			var r result
			if hedge, after := g.hedge(c, i == 0 && n == 1 && yield == nil); hedge {
				var used int
				r, used = g.hedged(ctx, e, c, p, rest, req, after)
				i += used
			} else {
				r = g.attempt(ctx, c, p, req, len(rest), yield)
				r.attempt.Retry, r.attempt.Fallback = n > 1, n == 1 && len(e.Attempts) > 0
				g.bill(e, r.attempt)
			}
			if r.err == nil {
				return r.response, nil
			}
			if yield != nil && begun(e) || r.err.Kind == llm.Canceled || !g.fallsOver(r.err) {
				return nil, r.err
			}
			told = worthTelling(told, r.err)
			if !g.again(ctx, c, n, r.err, i < len(route)-1) {
				break
			}
		}
		switch err := ctx.Err(); {
		case errors.Is(err, context.Canceled), err != nil && told == nil:
			return nil, llm.AsError(err)
		case err != nil:
			return nil, told
		}
	}
	return nil, told
}

// passable leaves out the candidates whose breaker is open. If all are, the one that is due for a probe soonest is tried
// all the same, once: a small hope of an answer is better than none, and one call for each request is no storm.
func passable(e *telemetry.Exchange, route []candidate, now time.Time) []candidate {
	var open []candidate
	soonest, due := 0, time.Time{}
	for i, c := range route {
		if ok, until := c.health.allows(now); !ok {
			if len(open) == 0 || until.Before(due) {
				soonest, due = i, until
			}
			open = append(open, c)
		}
	}
	switch len(open) {
	case 0:
		return route
	case len(route):
		open = append(open[:soonest:soonest], open[soonest+1:]...)
		route = route[soonest : soonest+1]
	default:
		passing := make([]candidate, 0, len(route))
		for _, c := range route {
			if !contains(open, c) {
				passing = append(passing, c)
			}
		}
		route = passing
	}
	for _, c := range open {
		e.Skipped = append(e.Skipped, c.name())
	}
	return route
}

func contains(list []candidate, c candidate) bool {
	for i := range list {
		if list[i].health == c.health {
			return true
		}
	}
	return false
}

// begun says whether a part of the answer was yielded: after that nothing can be tried again.
func begun(e *telemetry.Exchange) bool {
	n := len(e.Attempts)
	return n > 0 && e.Attempts[n-1].Output != ""
}

// fallsOver says whether another model may answer what this one failed at.
func (g *Gateway) fallsOver(err *llm.Error) bool {
	return err.Fallback() || err.Kind == llm.Blocked && g.opts.FallbackOnBlock
}

// again says whether to repeat a call that failed as attempt n, and waits until it is time. A model that timed out is not
// asked again, nor one whose breaker opened. While others remain, nobody waits because a provider asks for it.
func (g *Gateway) again(ctx context.Context, c candidate, n int, err *llm.Error, others bool) bool {
	if !err.Retryable() || err.Kind == llm.Timeout || others && err.RetryAfter > 0 {
		return false
	}
	if ok, _ := c.health.allows(time.Now()); !ok {
		return false
	}
	wait, ok := g.opts.Retry.Delay(n, err.RetryAfter, time.Until(deadline(ctx)))
	return ok && g.budget.Withdraw() && sleep(ctx, wait)
}

// worthTelling chooses between two failures of one request: a lack of capacity before the rest, since to wait helps; the
// shorter wait; else the later one.
func worthTelling(a, b *llm.Error) *llm.Error {
	scarce := func(e *llm.Error) bool { return e.Kind == llm.RateLimited || e.Kind == llm.Overloaded }
	switch {
	case a == nil || !scarce(a):
		return b
	case !scarce(b), a.RetryAfter > 0 && (b.RetryAfter == 0 || a.RetryAfter < b.RetryAfter):
		return a
	}
	return b
}

// attempt makes one model call. While other models remain, it gets at most half of the time that is left, so that a
// provider that hangs does not take the whole deadline; a stream gets that for its first token.
func (g *Gateway) attempt(ctx context.Context, c candidate, p permit, req llm.Request, others int, yield func(Piece) error) (r result) {
	req.Model = c.model
	a := &r.attempt
	*a = telemetry.Attempt{Requested: c.model, Model: c.model, Provider: c.backend.Provider, Location: c.backend.Location, Start: time.Now()}
	share := deadline(ctx).Sub(a.Start)
	if others > 0 {
		share /= 2
	}
	// Settled whatever happens: a probe that is never settled would keep the model out for ever.
	v, wait := neutral, time.Duration(0)
	defer func() { p.settle(v, wait, time.Now()) }()

	var response *llm.Response
	var err error
	if yield != nil {
		response, err = g.stream(ctx, c, req, a, share, yield)
	} else {
		call, cancel := ctx, context.CancelFunc(func() {})
		if others > 0 {
			call, cancel = context.WithTimeout(ctx, share)
		}
		response, err = generate(call, c, req)
		cancel()
	}
	a.Duration = time.Since(a.Start)
	if response != nil {
		a.Output, a.Finish, a.Usage = response.Text, response.Finish, response.Usage
		if response.Model != "" {
			a.Model = response.Model
		}
	}
	if err != nil {
		failure := llm.AsError(err)
		if errors.Is(ctx.Err(), context.Canceled) && failure.Kind != llm.Canceled {
			// However the adapter saw it: the client left.
			failure = &llm.Error{Kind: llm.Canceled, Provider: a.Provider, Model: a.Model, Usage: failure.Usage, Err: failure}
		}
		if failure.Usage != nil {
			a.Usage = failure.Usage
		}
		a.ErrorType, a.Err = string(failure.Kind), failure
		r.err, wait = failure, failure.RetryAfter
	} else {
		r.response = response
	}
	if a.Usage == nil && a.Output != "" {
		a.Usage, a.UsageEstimated = estimate(req, a.Output), true
	}
	v = judge(r.err, func() bool { return a.Duration >= g.fair(c, yield != nil) })
	if v == good {
		took := a.Duration
		if yield != nil {
			took = a.FirstToken
		}
		c.health.window(yield != nil).add(took, time.Now())
	}
	return r
}

// fair is how long a call must have had for its timeout to say something about the model: as long as nearly all of its recent
// answers took, and a second at least; where those are not known, a quarter of the total deadline, and no more than 4 s.
func (g *Gateway) fair(c candidate, streamed bool) time.Duration {
	const enough = 5
	if p95, ok := c.health.window(streamed).quantile(0.95, enough, time.Now()); ok {
		return max(p95, time.Second)
	}
	return min(g.opts.Timeout/4, 4*time.Second)
}

func generate(ctx context.Context, c candidate, req llm.Request) (*llm.Response, error) {
	r, err := c.backend.Model.Generate(ctx, req)
	if err == nil && r.Text == "" && r.Finish == llm.FinishStop {
		// The contract of llm.Model makes this an error of the adapter's; an empty answer must not pass all the same.
		return r, &llm.Error{Kind: llm.Empty, Provider: c.backend.Provider, Model: c.model, Usage: r.Usage}
	}
	return r, err
}

// errStalled ends a stream that gives nothing for too long.
var errStalled = errors.New("the stream stalled")

// stream passes a streamed answer on as it comes and returns it whole, too. When the stream breaks, the response holds
// what arrived, so that its usage is counted. The first token must come within its share of the time, and after it no
// pause may be longer than StreamIdle; while the client is reading, nobody counts.
func (g *Gateway) stream(parent context.Context, c candidate, req llm.Request, a *telemetry.Attempt, share time.Duration, yield func(Piece) error) (*llm.Response, error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	watch := time.AfterFunc(share, func() { cancel(errStalled) })
	defer watch.Stop()

	r := &llm.Response{Model: c.model, Provider: c.backend.Provider}
	fail := func(kind llm.Kind, cause error) error {
		return &llm.Error{Kind: kind, Provider: r.Provider, Model: r.Model, Err: cause}
	}
	var text strings.Builder
	for chunk, err := range c.backend.Model.Stream(ctx, req) {
		r.Text = text.String()
		if err != nil {
			if errors.Is(context.Cause(ctx), errStalled) {
				err = fail(llm.Timeout, errStalled)
			}
			return r, err
		}
		if chunk.Usage != nil {
			r.Usage = chunk.Usage
		}
		if chunk.Model != "" {
			r.Model = chunk.Model
		}
		if chunk.ID != "" {
			r.ID = chunk.ID
		}
		r.Finish = chunk.Finish
		if chunk.Text != "" {
			watch.Stop()
			text.WriteString(chunk.Text)
			r.Text = text.String()
			if a.FirstToken == 0 {
				a.FirstToken = time.Since(a.Start)
			}
			if err := yield(Piece{chunk.Text, r.Model}); err != nil {
				return r, fail(llm.Canceled, fmt.Errorf("write to client: %w", err))
			}
		}
		if r.Text != "" {
			watch.Reset(g.opts.StreamIdle)
		}
	}
	switch {
	case r.Finish == "":
		// The contract of llm.Model makes this an error of the adapter's; a silent truncation must not pass all the same.
		return r, fail(llm.BrokenStream, errors.New("stream ended without a finish reason"))
	case r.Text == "" && r.Finish == llm.FinishStop:
		return r, fail(llm.Empty, errors.New("stream ended without text"))
	}
	return r, nil
}

// estimate guesses the usage of an answer from the length of the texts, at four bytes for a token, for providers that do
// not tell it and streams that broke before they did. It is marked as an estimate wherever it goes.
func estimate(req llm.Request, output string) *llm.Usage {
	tokens := func(n int) int { return (n + 3) / 4 }
	in := 0
	for _, m := range req.Messages {
		in += tokens(len(m.Content))
	}
	return &llm.Usage{InputTokens: in, OutputTokens: tokens(len(output))}
}

// bill adds an attempt to the exchange. The sum of the cost is known only if that of every billed attempt is.
func (g *Gateway) bill(e *telemetry.Exchange, a telemetry.Attempt) {
	e.Model, e.Provider, e.Finish = a.Model, a.Provider, a.Finish
	e.UsageEstimated = e.UsageEstimated || a.UsageEstimated
	if a.FirstToken > 0 {
		e.FirstToken = a.Start.Sub(e.Start) + a.FirstToken
	}
	first := e.Usage == nil
	if a.Usage != nil {
		if cost, ok := g.opts.Catalog.Cost(a.Provider, a.Model, *a.Usage, a.Start); ok {
			total := cost.Total()
			a.CostUSD = &total
		}
		sum := *a.Usage
		if !first {
			sum = sum.Add(*e.Usage)
		}
		e.Usage = &sum
		switch {
		case a.CostUSD == nil:
			e.CostUSD = nil
		case first:
			total := *a.CostUSD
			e.CostUSD = &total
		case e.CostUSD != nil:
			total := *e.CostUSD + *a.CostUSD
			e.CostUSD = &total
		}
	}
	e.Attempts = append(e.Attempts, a)
}

func deadline(ctx context.Context) time.Time {
	t, _ := ctx.Deadline() // Do sets one, always.
	return t
}

// sleep waits for d and says whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
