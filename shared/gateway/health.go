package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// health is what a gateway learned of one model at one place from its own calls.
type health struct {
	breaker
	// whole are recent times to a whole answer, first to the first token of a stream.
	whole, first latencies
}

// window is the one of the two that is about streams, or about whole answers.
func (h *health) window(streamed bool) *latencies {
	if streamed {
		return &h.first
	}
	return &h.whole
}

// place is where a model is served.
type place struct{ provider, location, model string }

// healths is bounded: a place is a model that a backend or the catalogue names, never a caller's word.
type healths struct {
	mu     sync.Mutex
	places map[place]*health
}

func (s *healths) of(provider, location, model string) *health {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{provider, location, model}
	h := s.places[at]
	if h == nil {
		if s.places == nil {
			s.places = map[place]*health{}
		}
		h = &health{}
		s.places[at] = h
	}
	return h
}

// The rules of a breaker. It opens when, of the last 20 calls and within a minute, at least 5 were made and half of those
// failed; it stays open for 10 s, or for as long as the provider asked, up to a minute. Then one call is let through as a
// probe: if that is answered the breaker closes, if it fails it opens again.
const (
	breakerCalls  = 20
	breakerLeast  = 5
	breakerRatio  = 0.5
	breakerWindow = time.Minute
	breakerOpen   = 10 * time.Second
	breakerMost   = time.Minute
)

// breaker is a circuit breaker: it keeps calls from a model that fails anyway. The zero value is closed.
//
// It is not failsafe-go's, whose permit can only be given back as a success or a failure. Here many a call is neither: its
// client hung up, its prompt was refused, its deadline was near from the start. Counted as a success it would close a
// breaker, as a failure open one, and not given back it would leave it half-open for ever.
type breaker struct {
	mu    sync.Mutex
	calls [breakerCalls]struct {
		at     time.Time
		failed bool
	}
	next int
	// until is when an open breaker lets a probe through; zero when closed.
	until   time.Time
	probing bool
	// epoch counts openings and closings, so that a call which began before one says nothing about what came after.
	epoch int
}

// verdict is what a call says about the model.
type verdict int

const (
	// neutral says nothing: the failure has to do with the request, its client, or us.
	neutral verdict = iota
	good
	bad
)

// permit is the right to make one call. It must be settled.
type permit struct {
	b     *breaker
	epoch int
	probe bool
}

// allows says whether acquire would give a permit, and if not, when the next probe is due.
func (b *breaker) allows(now time.Time) (ok bool, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.passes(now), b.until
}

func (b *breaker) passes(now time.Time) bool {
	return b.until.IsZero() || !b.probing && !now.Before(b.until)
}

// acquire asks for a call. force gets one though the breaker is open: then the call counts only if it is answered.
func (b *breaker) acquire(now time.Time, force bool) (p permit, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.passes(now):
		probe := !b.until.IsZero()
		b.probing = b.probing || probe
		return permit{b, b.epoch, probe}, true
	case force:
		return permit{b, b.epoch, false}, true
	}
	return permit{}, false
}

// settle tells how the call went. wait is how long the provider asked to be left alone.
func (p permit) settle(v verdict, wait time.Duration, now time.Time) {
	b := p.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.epoch != b.epoch {
		return
	}
	if p.probe {
		b.probing = false
	}
	switch open := !b.until.IsZero(); {
	case v == neutral:
	case open && v == good:
		b.until = time.Time{}
		b.turn()
	case open && p.probe:
		b.open(wait, now)
	case !open:
		b.calls[b.next].at, b.calls[b.next].failed = now, v == bad
		b.next = (b.next + 1) % breakerCalls
		if v == bad && b.failing(now) {
			b.open(wait, now)
		}
	}
}

func (b *breaker) open(wait time.Duration, now time.Time) {
	b.until = now.Add(min(max(breakerOpen, wait), breakerMost))
	b.turn()
}

func (b *breaker) turn() {
	b.epoch++
	b.probing = false
	clear(b.calls[:])
}

func (b *breaker) failing(now time.Time) bool {
	calls, failed := 0, 0
	for i := range b.calls {
		if c := &b.calls[i]; !c.at.IsZero() && now.Sub(c.at) <= breakerWindow {
			calls++
			if c.failed {
				failed++
			}
		}
	}
	return calls >= breakerLeast && float64(failed) >= breakerRatio*float64(calls)
}

// judge says what the end of a call tells about its model. A timeout tells something only if the call had a fair time.
func judge(err *llm.Error, fair func() bool) verdict {
	if err == nil {
		return good
	}
	switch err.Kind {
	case llm.RateLimited, llm.Overloaded, llm.ProviderFault, llm.BrokenStream, llm.Unauthenticated, llm.Forbidden, llm.NotFound:
		return bad
	case llm.Timeout:
		if fair() {
			return bad
		}
	}
	return neutral
}

// latencies is a window of the last 64 durations, none older than five minutes. The zero value is empty.
type latencies struct {
	mu   sync.Mutex
	last [64]struct {
		at   time.Time
		took time.Duration
	}
	next int
}

func (l *latencies) add(took time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[l.next].at, l.last[l.next].took = now, took
	l.next = (l.next + 1) % len(l.last)
}

// quantile returns the q-quantile by nearest rank; ok is false with fewer than least durations.
func (l *latencies) quantile(q float64, least int, now time.Time) (d time.Duration, ok bool) {
	var all [64]time.Duration
	n := 0
	l.mu.Lock()
	for i := range l.last {
		if s := &l.last[i]; !s.at.IsZero() && now.Sub(s.at) <= 5*time.Minute {
			all[n] = s.took
			n++
		}
	}
	l.mu.Unlock()
	if n < least {
		return 0, false
	}
	slices.Sort(all[:n])
	return all[min(int(q*float64(n)), n-1)], true
}
