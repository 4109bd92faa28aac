package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"
)

const (
	minute = time.Minute
	day    = 24 * time.Hour
)

// account is what an instance knows about one caller.
type account struct {
	caller string

	mu          sync.Mutex
	minute, day window
	// asked is when the store was asked last, whatever came of it; failed is whether it did not answer.
	asked  time.Time
	failed bool
	// left is what each limit had left then.
	left Amounts
}

// window is a counter that starts anew.
type window struct {
	// id counts windows of this length since 1970.
	id int64
	// known is the sum of all instances, as the store told it last. unsent is what this one has counted since.
	known, unsent Amounts
	// before is the window before, and late what belongs to it and was not sent when it ended.
	before, late Amounts
	// stale is whether before is still to be read.
	stale bool
}

func (w *window) now() Amounts { return w.known.add(w.unsent) }

// roll moves the window on. A clock that jumps back by less than a window stays in it; one that jumps further begins anew, with
// what is counted now as the window before, so that a jump neither frees anything nor locks for longer than a window.
func (w *window) roll(id int64) {
	switch {
	case w.id == 0:
		*w = window{id: id, stale: true}
	case id == w.id+1:
		*w = window{id: id, before: w.now(), late: w.unsent, stale: true}
	case id > w.id:
		*w = window{id: id, stale: true}
	case id < w.id-1:
		*w = window{id: id, before: w.now()}
	}
}

// admit decides and counts; admitted is the minute that it counts in.
func (a *account) admit(ctx context.Context, opts Options, limits Limits, tokens int64) (admitted int64, refused *Exceeded, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.roll(now)
	need := Amounts{Requests: 1, Tokens: tokens}
	// What is over already is so for certain: sums only grow. What others don't know yet is sent all the same.
	if refused := a.over(limits, need, now); refused != nil {
		if (a.minute.unsent != Amounts{} || a.day.unsent != Amounts{}) && a.old(opts, now) {
			return 0, refused, a.ask(ctx, opts, limits, now)
		}
		return 0, refused, nil
	}
	if a.old(opts, now) {
		err = a.ask(ctx, opts, limits, now)
		if refused := a.over(limits, need, now); refused != nil {
			return 0, refused, err
		}
	}
	a.count(need, 1)
	if a.near(limits) && !a.failed {
		// The request is added up first, so that of two instances with room for one request only one admits it.
		err = a.ask(ctx, opts, limits, now)
		a.count(need, -1)
		if refused := a.over(limits, need, now); refused != nil {
			// It is taken out of the sums at once: what is refused costs nothing.
			return 0, refused, errors.Join(err, a.ask(ctx, opts, limits, now))
		}
		a.count(need, 1)
	}
	return a.minute.id, nil, err
}

func (a *account) count(need Amounts, times int64) {
	a.minute.unsent = a.minute.unsent.add(Amounts{Requests: need.Requests * times, Tokens: need.Tokens * times})
}

// settle counts what a request took besides its estimate. What it gives back goes to the minute that the estimate was counted in, as
// long as that one matters: in another it would make room that was never taken.
func (a *account) settle(ctx context.Context, opts Options, limits Limits, admitted, tokens, nano int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.roll(now)
	m := &a.minute
	switch back := (Amounts{Tokens: tokens}); {
	case tokens > 0 || m.id == admitted:
		m.unsent = m.unsent.add(back)
	case m.id == admitted+1:
		m.before, m.late, m.stale = m.before.add(back), m.late.add(back), true
	}
	a.day.unsent.NanoUSD += nano
	// An instance may have no further request: what this one took is told to the others now, at most once an interval.
	if (limits.TokensPerMinute > 0 || limits.USDPerDay > 0) && a.old(opts, now) {
		return a.ask(ctx, opts, limits, now)
	}
	return nil
}

func (a *account) roll(now time.Time) {
	a.minute.roll(now.Unix() / int64(minute/time.Second))
	a.day.roll(now.Unix() / int64(day/time.Second))
}

// elapsed is the part of the minute that has passed.
func (a *account) elapsed(now time.Time) time.Duration {
	return min(max(now.Sub(time.Unix(a.minute.id*60, 0)), 0), minute)
}

// used is the sliding sum of the minute.
func (a *account) used(now time.Time) Amounts {
	weight := 1 - float64(a.elapsed(now))/float64(minute)
	const exact = 1e-6 // what floating point leaves of a whole number is none
	part := func(v int64) int64 { return int64(math.Ceil(float64(max(v, 0))*weight - exact)) }
	return a.minute.now().add(Amounts{Requests: part(a.minute.before.Requests), Tokens: part(a.minute.before.Tokens)})
}

// over says which limit is exceeded with what is needed, the one that holds longest.
func (a *account) over(limits Limits, need Amounts, now time.Time) (longest *Exceeded) {
	refuse := func(limit, allowed string, after time.Duration) {
		if longest == nil || after > longest.RetryAfter {
			longest = &Exceeded{Limit: limit, Allowed: allowed, RetryAfter: after}
		}
	}
	used := a.used(now).add(need)
	if most := int64(limits.RequestsPerMinute); most > 0 && used.Requests > most {
		refuse(Requests, fmt.Sprintf("%d requests a minute", most), a.until(a.minute.before.Requests, a.minute.now().Requests, most, need.Requests, now))
	}
	if most := int64(limits.TokensPerMinute); most > 0 && used.Tokens > most {
		refuse(Tokens, fmt.Sprintf("%d tokens a minute", most), a.until(a.minute.before.Tokens, a.minute.now().Tokens, most, need.Tokens, now))
	}
	if most := limits.nanoUSD(); most > 0 && a.day.now().NanoUSD >= most {
		midnight := time.Unix((a.day.id+1)*int64(day/time.Second), 0)
		refuse(Budget, strconv.FormatFloat(limits.USDPerDay, 'f', -1, 64)+" USD a day", max(midnight.Sub(now), time.Second))
	}
	return longest
}

// standing says of each limit a minute what is left of it.
func (a *account) standing(limits Limits) (all []Standing) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.roll(now)
	used, before, current := a.used(now), a.minute.before, a.minute.now()
	add := func(limit string, allowed int, used, before, current int64) {
		if allowed == 0 {
			return
		}
		reset := time.Duration(0)
		switch {
		case current > 0:
			reset = 2*minute - a.elapsed(now)
		case before > 0:
			reset = minute - a.elapsed(now)
		}
		all = append(all, Standing{Limit: limit, Allowed: int64(allowed), Left: max(int64(allowed)-used, 0), Reset: reset})
	}
	add(Requests, limits.RequestsPerMinute, used.Requests, before.Requests, current.Requests)
	add(Tokens, limits.TokensPerMinute, used.Tokens, before.Tokens, current.Tokens)
	return all
}

// until is when the sliding sum has room for what is needed: in this window, as the one before fades, or in the next one.
func (a *account) until(before, now, most, need int64, at time.Time) time.Duration {
	fade := func(sum, room int64) time.Duration { // when sum × (1 − t) is down to room
		if sum <= room {
			return 0
		}
		return time.Duration(math.Ceil(float64(minute)*(1-float64(max(room, 0))/float64(sum)) - 0.01))
	}
	elapsed := a.elapsed(at)
	if now+need <= most {
		return max(fade(before, most-need-now)-elapsed, time.Second)
	}
	return max(minute-elapsed+fade(now, most-need), time.Second)
}

// near is whether this instance has admitted so much since the store was asked that the next request must be added up before it is
// admitted.
func (a *account) near(limits Limits) bool {
	const quarter = 4
	unsent := a.minute.unsent
	return limits.RequestsPerMinute > 0 && unsent.Requests*quarter > a.left.Requests ||
		limits.TokensPerMinute > 0 && unsent.Tokens*quarter > a.left.Tokens ||
		limits.USDPerDay > 0 && a.day.unsent.NanoUSD*quarter > a.left.NanoUSD
}

// old is whether the sums that the store told may have changed.
func (a *account) old(opts Options, now time.Time) bool {
	age := now.Sub(a.asked)
	return a.asked.IsZero() || age >= opts.Interval || age < 0
}

// ask sends what is not sent, and learns the sums. What may not have arrived is sent again: a caller is rather counted twice than
// not at all.
func (a *account) ask(ctx context.Context, opts Options, limits Limits, now time.Time) error {
	a.asked, a.failed = now, true
	var deltas []Delta
	var learn []func(Amounts)
	send := func(length time.Duration, letter string, id int64, add Amounts, then func(Amounts)) {
		deltas = append(deltas, Delta{
			Key: Key{a.caller, letter + strconv.FormatInt(id, 10)}, Add: add,
			// Long enough for a clock that is behind, and for who wants to look.
			Expires: time.Unix(0, 0).Add(time.Duration(id+3) * length).Add(time.Hour),
		})
		learn = append(learn, then)
	}
	if limits.RequestsPerMinute > 0 || limits.TokensPerMinute > 0 {
		m := &a.minute
		send(minute, "m", m.id, m.unsent, func(sum Amounts) { m.known, m.unsent = sum, Amounts{} })
		if m.stale {
			send(minute, "m", m.id-1, m.late, func(sum Amounts) { m.before, m.late, m.stale = sum, Amounts{}, false })
		}
	}
	if limits.USDPerDay > 0 {
		d := &a.day
		d.before, d.stale = Amounts{}, false
		if d.late != (Amounts{}) {
			send(day, "d", d.id-1, d.late, func(Amounts) { d.late = Amounts{} })
		}
		send(day, "d", d.id, d.unsent, func(sum Amounts) { d.known, d.unsent = sum, Amounts{} })
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	sums, err := opts.Counters.Add(ctx, deltas)
	if err != nil {
		return fmt.Errorf("count for caller %s: %w", a.caller, err)
	}
	for i, sum := range sums {
		learn[i](sum)
	}
	a.failed = false
	used := a.used(now)
	a.left = Amounts{
		Requests: int64(limits.RequestsPerMinute) - used.Requests, Tokens: int64(limits.TokensPerMinute) - used.Tokens,
		NanoUSD: limits.nanoUSD() - a.day.now().NanoUSD,
	}
	return nil
}
