// Package limit decides whether a caller may make another request: by requests and tokens a minute, and by a budget of USD a
// day. What all instances have admitted is added up in Counters, which a store keeps; adapters live in subpackages named for
// their technology.
//
// A minute is a sliding one, approximated over two fixed windows, and a day is that of UTC:
//
//	used(t)   = before × (1 − elapsed(t) / 1 min) + now
//	admitted when used(t), this request included, is within the limit, and less than the budget was spent today
//
// The tokens of a request are estimated when it is admitted, and what it really took is settled after it. Its cost is counted
// after it only, so that requests under way can overrun a budget by their cost.
//
// The store is not asked for every request. An instance decides by the sums that it was told last, and by what it has admitted
// since, and asks again when an interval has passed or when it has admitted a quarter of what was left then; at the end of a
// request it tells what that took, if an interval has passed. A limit of requests is therefore overrun by at most
//
//	(instances − 1) × min(a quarter of what was left at their last calls, what one of them admits in an interval)
//
// which shrinks to nothing near the edge: there every request is added up before it is admitted, and what is refused is taken
// out again. A budget can be overrun by what is under way, and by what instances spend in an interval, too. While the store can't be
// reached, each instance goes on with the last sums and its own, so that the limit is overrun at most once by each instance.
// What was admitted meanwhile is added later.
//
// It knows neither HTTP nor models, and starts no goroutine.
package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// Amounts are what is counted.
type Amounts struct {
	Requests, Tokens int64
	// NanoUSD are billionths of a USD: sums must be exact.
	NanoUSD int64
}

func (a Amounts) add(b Amounts) Amounts {
	return Amounts{a.Requests + b.Requests, a.Tokens + b.Tokens, a.NanoUSD + b.NanoUSD}
}

// Key names a counter: a caller and a window of time. Neither is empty.
type Key struct{ Caller, Window string }

// Delta is what to add to a counter.
type Delta struct {
	Key Key
	Add Amounts
	// Expires is when the counter may be forgotten.
	Expires time.Time
}

// Counters add up what all instances count. Every implementation passes limittest.Conformance:
//
//   - Add adds each delta to the counter of its key, and returns what each counter is then, in the order of the deltas. It has
//     everything that was added by an Add which returned before this one began, from any process. Deltas may be negative.
//   - A counter that was never added to is zero. A delta of zero only reads.
//   - When it fails, each of the deltas may have been added or not.
//   - It may be called concurrently, and returns soon after ctx ends, with its error.
type Counters interface {
	Add(ctx context.Context, deltas []Delta) ([]Amounts, error)
}

// The limits that can be exceeded.
const (
	Requests = "requests"
	Tokens   = "tokens"
	Budget   = "budget"
	// Override is a limit of requests that the control state set for a while.
	Override = "override"
)

// Exceeded says which limit refuses a request, and until when.
type Exceeded struct {
	// Limit is Requests, Tokens, Budget or Override.
	Limit  string
	Caller string
	// Allowed is what the limit allows, in words: "60 requests a minute".
	Allowed string
	// RetryAfter is when the request would be admitted if nothing else came.
	RetryAfter time.Duration
}

// Error is for the caller: it has nothing internal.
func (e *Exceeded) Error() string {
	return fmt.Sprintf("the limit of %s for the caller %q is used up", e.Allowed, e.Caller)
}

// Options configure a Limiter.
type Options struct {
	Rules Rules
	// Counters is required.
	Counters Counters
	// Interval is how old the sums that are decided by may be; 1 s when 0.
	Interval time.Duration
	// Timeout bounds each call of Counters: a request waits for it. 100 ms when 0.
	Timeout time.Duration
}

// Limiter admits requests; it is safe for concurrent use.
type Limiter struct {
	opts     Options
	mu       sync.Mutex
	accounts map[string]*account
}

// New checks the options and returns a Limiter.
func New(opts Options) (*Limiter, error) {
	if opts.Counters == nil {
		return nil, errors.New("limit: Counters is required")
	}
	if opts.Interval == 0 {
		opts.Interval = time.Second
	}
	if opts.Timeout == 0 {
		opts.Timeout = 100 * time.Millisecond
	}
	return &Limiter{opts: opts, accounts: map[string]*account{}}, nil
}

// Request is what wants to be admitted.
type Request struct {
	// Caller is the name of an API key: a bounded set, since each has an account.
	Caller string
	// Tokens is the estimate of what the request takes, of input and output.
	Tokens int
	// Cap is a limit of requests a minute that is in force besides those of the rules; 0 for none.
	Cap int
}

// Ticket is an admitted request. A nil Ticket is one of a caller without limits.
type Ticket struct {
	account *account
	opts    Options
	limits  Limits
	tokens  int64
	// minute is the window that they were counted in.
	minute int64
}

// Admit decides on a request. Without an Exceeded it is admitted, and its Ticket must be settled. err says that the store could
// not be asked; the decision holds all the same.
func (l *Limiter) Admit(ctx context.Context, r Request) (t *Ticket, refused *Exceeded, err error) {
	limits, capped := l.limits(r)
	if limits == (Limits{}) {
		return nil, nil, nil
	}
	t = &Ticket{account: l.account(r.Caller), opts: l.opts, limits: limits, tokens: int64(max(r.Tokens, 0))}
	if limits.TokensPerMinute > 0 {
		// A request that is larger than the limit is admitted when nothing else was.
		t.tokens = min(t.tokens, int64(limits.TokensPerMinute))
	}
	if t.minute, refused, err = t.account.admit(ctx, l.opts, limits, t.tokens); refused == nil {
		return t, nil, err
	}
	if refused.Caller = r.Caller; capped && refused.Limit == Requests {
		refused.Limit = Override
	}
	return nil, refused, err
}

// Settle counts what the request really took. A request that took nothing, such as one that the cache answered, gives its
// estimate back. The error says that the store could not be told; it is told later.
func (t *Ticket) Settle(ctx context.Context, tokens int, usd float64) error {
	if t == nil {
		return nil
	}
	nano := int64(0)
	if usd > 0 && usd < 1e6 { // more is no price of one request
		nano = int64(math.Round(usd * 1e9))
	}
	return t.account.settle(ctx, t.opts, t.limits, t.minute, int64(max(tokens, 0))-t.tokens, nano)
}

// Standing is where a caller stands with one of its limits a minute, as far as this instance knows.
type Standing struct {
	// Limit is Requests or Tokens.
	Limit string
	// Allowed is what the limit allows a minute, and Left what of it is left: 0 at least.
	Allowed, Left int64
	// Reset is when all of it will be left, if nothing else comes.
	Reset time.Duration
}

// Standing returns where the caller of a request stands, what was admitted of it included. It asks nobody; a caller who has no limit a
// minute stands nowhere.
func (l *Limiter) Standing(r Request) []Standing {
	limits, _ := l.limits(r)
	if limits.RequestsPerMinute == 0 && limits.TokensPerMinute == 0 {
		return nil
	}
	return l.account(r.Caller).standing(limits)
}

// limits are those that hold for a request, and whether that of requests is the request's cap.
func (l *Limiter) limits(r Request) (limits Limits, capped bool) {
	limits = l.opts.Rules.For(r.Caller)
	if capped = r.Cap > 0 && (limits.RequestsPerMinute == 0 || r.Cap < limits.RequestsPerMinute); capped {
		limits.RequestsPerMinute = r.Cap
	}
	return limits, capped
}

func (l *Limiter) account(caller string) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.accounts[caller]
	if !ok {
		a = &account{caller: caller}
		l.accounts[caller] = a
	}
	return a
}
