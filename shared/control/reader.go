package control

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// ReaderOptions are the dependencies of a Reader.
type ReaderOptions struct {
	// Store is required.
	Store Store
	// Base are the settings where no override says otherwise, and those of a process that never reached the store.
	Base Settings
	// Interval is how old the state may be that a request is served by; 1 s when 0.
	Interval time.Duration
	// Timeout bounds how long a request waits for the store; 250 ms when 0.
	Timeout time.Duration
	// Logger hears when the store stops answering, and when it answers again; nil discards.
	Logger *slog.Logger
}

// Reader gives every request its settings. It reads through to the store when what it holds is older than the interval,
// one read at a time, in the request that finds it so: there is no background goroutine, because serverless platforms
// freeze those. It is safe for concurrent use.
type Reader struct {
	opts    ReaderOptions
	reads   singleflight.Group
	current atomic.Pointer[snapshot]
}

// snapshot is the outcome of one read; it is never changed.
type snapshot struct {
	// at is when the read began, as wall time: the monotonic clock may stand still while an instance is frozen.
	at        time.Time
	overrides []Override
	// stale is set when the read failed and the overrides are those of the read before it.
	stale bool
}

// NewReader checks the options and returns a Reader. It does not read yet.
func NewReader(opts ReaderOptions) (*Reader, error) {
	if opts.Store == nil {
		return nil, errors.New("control: Store is required")
	}
	if opts.Interval < 0 || opts.Timeout < 0 {
		return nil, errors.New("control: Interval and Timeout must not be negative")
	}
	if opts.Interval == 0 {
		opts.Interval = time.Second
	}
	if opts.Timeout == 0 {
		opts.Timeout = 250 * time.Millisecond
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reader{opts: opts}, nil
}

// Settings returns how a request is to be served: Effective over a state that was read at most Interval ago. key is as
// for Effective.
//
// When the store cannot be read within Timeout, the overrides of the last good read go on to hold, each until its end,
// and stale is set; a Reader that never had a good read answers with the base settings. After a failed read the next
// Interval is served without trying again, so that a store that hangs costs few requests the Timeout.
//
// The slices in the result are shared and must not be changed.
func (r *Reader) Settings(ctx context.Context, target Target, key string) (settings Settings, stale bool) {
	now := time.Now()
	current := r.current.Load()
	if !r.fresh(current, now) {
		current = r.read(ctx)
	}
	return Effective(r.opts.Base, current.overrides, target, key, now), current.stale
}

func (r *Reader) fresh(s *snapshot, now time.Time) bool {
	if s == nil {
		return false
	}
	// A clock that was set back makes ages negative; reading again is the safe answer.
	age := now.Sub(s.at)
	return age >= 0 && age < r.opts.Interval
}

// read reads the store, or waits for the read that is under way. The first request's context gives the trace but not
// the end of the read, because others wait for it, too.
func (r *Reader) read(ctx context.Context) *snapshot {
	v, _, _ := r.reads.Do("", func() (any, error) { // the error is always nil: a failed read makes a stale snapshot
		last := r.current.Load()
		now := time.Now()
		if r.fresh(last, now) {
			return last, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Timeout)
		defer cancel()
		state, err := r.opts.Store.State(ctx, now)
		next := &snapshot{at: now.Round(0), overrides: state.Overrides, stale: err != nil}
		if err != nil {
			next.overrides = nil
			if last != nil {
				next.overrides = last.overrides
			}
		}
		r.report(ctx, last, next, err)
		r.current.Store(next)
		return next, nil
	})
	next, ok := v.(*snapshot)
	if !ok { // never: the function above returns nothing else
		return r.current.Load()
	}
	return next
}

// report logs the changes between readable and not, not every failed read.
func (r *Reader) report(ctx context.Context, last, next *snapshot, err error) {
	wasStale := last != nil && last.stale
	switch {
	case next.stale && !wasStale:
		r.opts.Logger.WarnContext(ctx, "control state unreadable, last good settings hold", slog.String("error.message", err.Error()))
	case !next.stale && wasStale:
		r.opts.Logger.InfoContext(ctx, "control state readable again")
	}
}
