package ddfake

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Clock is the stand-in's time, which may run faster than the process's, or only when it is told to. It is safe for
// concurrent use.
type Clock struct {
	start, began time.Time
	speed        float64
	manual       *manual
}

// NewClock returns a clock that shows start now and then runs speed times as fast as the process's.
func NewClock(start time.Time, speed float64) (*Clock, error) {
	if !(speed > 0 && speed <= 1e6) {
		return nil, errors.New("ddfake: the speed of a clock is above 0 and at most a million")
	}
	return &Clock{start: start, began: time.Now(), speed: speed}, nil
}

// NewManualClock returns a clock that shows start and stands still but for Advance.
func NewManualClock(start time.Time) *Clock {
	m := &manual{now: start}
	m.idle.L = &m.mu
	return &Clock{manual: m}
}

// manual is the state of a clock that is moved by hand.
type manual struct {
	mu   sync.Mutex
	idle sync.Cond
	now  time.Time
	// busy counts the workflows and tests that run and do not wait for the clock.
	busy    int
	waiters []*waiter
}

type waiter struct {
	at   time.Time
	wake chan struct{}
}

// Now returns the stand-in's time.
func (c *Clock) Now() time.Time {
	if m := c.manual; m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.now
	}
	return c.start.Add(time.Duration(float64(time.Since(c.began)) * c.speed))
}

// Wall returns the time of the rest of the process at a time of the stand-in. Everything that leaves the stand-in is in wall
// time. Where the clock is moved by hand, the rest has its time from it too.
func (c *Clock) Wall(t time.Time) time.Time {
	if c.manual != nil {
		return t
	}
	return c.began.Add(time.Duration(float64(t.Sub(c.start)) / c.speed))
}

// Standing returns the stand-in's time at a time of the rest of the process: the reverse of Wall.
func (c *Clock) Standing(t time.Time) time.Time {
	if c.manual != nil {
		return t
	}
	return c.start.Add(time.Duration(float64(t.Sub(c.began)) * c.speed))
}

// Wait waits for d of the stand-in's time. It returns ctx's error when ctx ends before.
func (c *Clock) Wait(ctx context.Context, d time.Duration) error {
	if c.manual != nil {
		return c.manual.wait(ctx, d)
	}
	timer := time.NewTimer(time.Duration(float64(d) / c.speed))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Advance moves a manual clock to a time, by way of the times at which something that waits goes on. It returns when all
// that runs waits for a later time or is done. It does nothing to a clock that runs by itself.
func (c *Clock) Advance(to time.Time) {
	m := c.manual
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		for m.busy > 0 {
			m.idle.Wait()
		}
		if len(m.waiters) == 0 || m.waiters[0].at.After(to) {
			break
		}
		next := m.waiters[0]
		m.waiters = m.waiters[1:]
		m.now = next.at
		m.busy++
		close(next.wake)
	}
	if to.After(m.now) {
		m.now = to
	}
}

func (m *manual) wait(ctx context.Context, d time.Duration) error {
	m.mu.Lock()
	w := &waiter{at: m.now.Add(max(d, 0)), wake: make(chan struct{})}
	m.waiters = append(m.waiters, w)
	slices.SortStableFunc(m.waiters, func(a, b *waiter) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	m.busy--
	m.idle.Broadcast()
	m.mu.Unlock()
	select {
	case <-w.wake:
		return ctx.Err()
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.waiters, w); i >= 0 {
		// Nobody has woken it, so nobody has counted it.
		m.waiters = slices.Delete(m.waiters, i, i+1)
		m.busy++
	}
	return ctx.Err()
}

// enter counts one more goroutine for which Advance waits, and leave one less.
func (c *Clock) enter() { c.count(1) }
func (c *Clock) leave() { c.count(-1) }

func (c *Clock) count(n int) {
	if m := c.manual; m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.busy += n
		m.idle.Broadcast()
	}
}
