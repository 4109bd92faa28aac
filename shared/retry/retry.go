// Package retry says how long to wait before the next attempt, whether waiting is worth it, and whether the service as a
// whole has made too many extra calls already. It neither sleeps nor calls anything, and what may be retried is said by
// the error, not here.
package retry

import (
	"math/rand/v2"
	"time"
)

// Policy bounds the attempts at one model.
type Policy struct {
	// Attempts is how many calls one model gets, the first included.
	Attempts int
	// Base is the wait before the second attempt; it doubles with each further one, up to Cap.
	Base, Cap time.Duration
}

// Default is two attempts at each model, 100 ms apart.
var Default = Policy{Attempts: 2, Base: 100 * time.Millisecond, Cap: 2 * time.Second}

// Delay returns the wait before attempt n (1 is the first repetition). after is what the provider asked for, 0 when it
// did not; left is the time until the request's one deadline. ok is false when no attempt should be made, because the
// policy is exhausted or the wait would not leave time for one: then the next model is the better bet.
//
//	backoff = min(Cap, Base × 2^(n−1)) × a random factor in [0.5, 1)
//	wait    = max(backoff, after)
func (p Policy) Delay(n int, after, left time.Duration) (wait time.Duration, ok bool) {
	if n >= p.Attempts {
		return 0, false
	}
	backoff := min(p.Cap, p.Base<<min(n-1, 30))
	if backoff <= 0 {
		backoff = p.Cap
	}
	backoff = backoff/2 + time.Duration(rand.Int64N(int64(backoff/2)+1))
	wait = max(backoff, after)
	return wait, wait < left
}
