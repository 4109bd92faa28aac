package gateway

import (
	"context"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// hedge says whether a first attempt is to be hedged, and after which time: the p95 of the model's recent answers. With
// too few of them there is no p95, and no hedge.
func (g *Gateway) hedge(c candidate, first bool) (ok bool, after time.Duration) {
	const enough = 20
	if !g.opts.Hedge || !first {
		return false, 0
	}
	after, ok = c.health.whole.quantile(0.95, enough, time.Now())
	return ok, after
}

// hedged makes an attempt, and a second one beside it when the first takes longer than after: of the next model on the
// route, or of the same where there is none. The first good answer wins, and the other call is cancelled. It returns the
// winner, or the first attempt when both failed, and how many of rest were used. Both calls are billed, in their order.
// Both are over when it returns.
func (g *Gateway) hedged(ctx context.Context, e *telemetry.Exchange, c candidate, p permit, rest []candidate, req llm.Request, after time.Duration) (winner result, used int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// ended is one of the two calls; a panic of an adapter is passed on to where it is recovered.
	type ended struct {
		result
		second   bool
		panicked any
	}
	over := make(chan ended, 2)
	begin := func(c candidate, p permit, others int, second bool) {
		go func() {
			out := ended{second: second}
			defer func() {
				out.panicked = recover()
				over <- out
			}()
			out.result = g.attempt(ctx, c, p, req, others, nil)
			out.attempt.Hedge = second
		}()
	}
	wait := func() ended {
		out := <-over
		if out.panicked != nil {
			panic(out.panicked)
		}
		return out
	}

	begin(c, p, len(rest), false)
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case one := <-over:
		if one.panicked != nil {
			panic(one.panicked)
		}
		g.bill(e, one.attempt)
		return one.result, 0
	case <-timer.C:
	}
	other := c
	if len(rest) > 0 {
		other, used = rest[0], 1
	}
	op, ok := other.health.acquire(time.Now(), false)
	if ok && !g.budget.Withdraw() {
		op.settle(neutral, 0, time.Now())
		ok = false
	}
	if !ok {
		one := wait()
		g.bill(e, one.attempt)
		return one.result, 0
	}
	begin(other, op, max(len(rest)-used, 0), true)
	one := wait()
	if one.err == nil {
		cancel()
	}
	two := wait()
	won := one
	if one.err != nil && (two.err == nil || one.second) {
		won = two
	}
	if one.second {
		one, two = two, one
	}
	if won.second && one.err != nil && one.err.Kind == llm.Canceled {
		// The first would have taken at least this long: without it the p95 would drift down with every hedge that wins.
		c.health.whole.add(one.attempt.Duration, time.Now())
	}
	g.bill(e, one.attempt)
	g.bill(e, two.attempt)
	return won.result, used
}
