// Package cache keeps complete answers for a while, so that a repeated request need not call a model. It is keyed by
// everything that shapes an answer, the caller included, and bounded by weight. A second tier, which all instances share,
// may stand behind it; adapters for that live in subpackages named for their technology.
//
// It does not decide whether to cache: control settings say so, request by request, with the age that they allow.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// Entry is one answer and what is needed to serve it again. Its JSON is the form in which tiers keep it.
type Entry struct {
	Response llm.Response `json:"response"`
	// Stored is when the answer was put into the cache.
	Stored time.Time `json:"stored"`
	// Beside is what was derived from the answer, to spare the work with every hit. Only this process has it; it is nil in
	// what comes from a shared tier, and small.
	Beside any `json:"-"`
}

// weight is the memory that an entry takes, in bytes, roughly: its text and the bookkeeping around it.
func (e Entry) weight() uint32 {
	const bookkeeping = 256
	return uint32(min(len(e.Response.Text)+bookkeeping, math.MaxUint32))
}

// ErrTooLarge is wrapped by the error of a Tier that cannot hold an entry of this size.
var ErrTooLarge = errors.New("too large for the shared cache")

// Tier is a cache that all instances share. Every implementation passes cachetest.Conformance:
//
//   - Get returns the entry that was put last under key, whole; ok is false when there is none, or when it has expired at
//     now, whether the technology behind it has deleted it by then or not.
//   - Put returns nil when every later Get, from any process, may find the entry. It replaces what was there.
//   - A Put of more than the technology can hold returns an error that wraps ErrTooLarge, and leaves what was there or nothing.
//   - All methods may be called concurrently, and return soon after ctx ends, with its error.
type Tier interface {
	Get(ctx context.Context, key string, now time.Time) (e Entry, ok bool, err error)
	Put(ctx context.Context, key string, e Entry, expires time.Time) error
}

// Options configure a Cache.
type Options struct {
	// MaxBytes bounds the weight of all entries of this process; 16 MiB when 0.
	MaxBytes uint64
	// Shared is asked for what this process does not have, and is given what it stores; nil for none.
	Shared Tier
	// SharedTimeout bounds each call of Shared: the request waits for it. 100 ms when 0.
	SharedTimeout time.Duration
}

// Cache is safe for concurrent use and starts no goroutine: a function may be frozen at any time.
type Cache struct {
	entries *otter.Cache[string, Entry]
	shared  Tier
	timeout time.Duration
	failed  atomic.Pointer[failure]
}

// failure is the last one of the shared tier, which is left alone for a second after it: one that hangs must not cost each
// request its timeout.
type failure struct {
	at  time.Time // wall time: the monotonic clock may stand still while an instance is frozen
	err error
}

const leftAlone = time.Second

// New returns an empty cache.
func New(opts Options) (*Cache, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 16 << 20
	}
	if opts.SharedTimeout == 0 {
		opts.SharedTimeout = 100 * time.Millisecond
	}
	entries, err := otter.New(&otter.Options[string, Entry]{
		MaximumWeight: opts.MaxBytes,
		Weigher:       func(_ string, e Entry) uint32 { return e.weight() },
		Executor:      func(task func()) { task() },
	})
	if err != nil {
		return nil, errors.Join(errors.New("make response cache"), err)
	}
	return &Cache{entries: entries, shared: opts.Shared, timeout: opts.SharedTimeout}, nil
}

// Get returns the answer stored under key, if it is at most maxAge old at now: that of this process, else that of the
// shared tier. An entry that is older stays, since a later request may allow more; the weight bound evicts it. An error is
// one of the shared tier, and means a miss.
func (c *Cache) Get(ctx context.Context, key string, maxAge time.Duration, now time.Time) (e Entry, ok bool, err error) {
	if e, ok := c.Local(key, maxAge, now); ok {
		return e, true, nil
	}
	if c.shared == nil {
		return Entry{}, false, nil
	}
	err = c.ask(ctx, func(ctx context.Context) (err error) {
		e, ok, err = c.shared.Get(ctx, key, now)
		return err
	})
	switch {
	case err != nil:
		return Entry{}, false, fmt.Errorf("read shared cache: %w", err)
	case !ok || now.Sub(e.Stored) > maxAge:
		return Entry{}, false, nil
	}
	c.entries.Set(key, e)
	return e, true, nil
}

// Local is Get without the shared tier: it never waits.
func (c *Cache) Local(key string, maxAge time.Duration, now time.Time) (e Entry, ok bool) {
	e, ok = c.entries.GetIfPresent(key)
	if !ok || now.Sub(e.Stored) > maxAge {
		return Entry{}, false
	}
	return e, true
}

// Put stores a complete answer, which came at e.Stored, for ttl in the shared tier. Answers that are not complete, or that a filter touched, are
// not kept. An error is one of the shared tier; this process has the answer all the same. What is too large for the shared
// tier is none.
func (c *Cache) Put(ctx context.Context, key string, e Entry, ttl time.Duration) error {
	if e.Response.Finish != llm.FinishStop || e.Response.Text == "" {
		return nil
	}
	c.entries.Set(key, e)
	if c.shared == nil {
		return nil
	}
	err := c.ask(ctx, func(ctx context.Context) error { return c.shared.Put(ctx, key, e, e.Stored.Add(ttl)) })
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("write shared cache: %w", err)
	}
	return nil
}

// ask makes a call of the shared tier, unless it is left alone.
func (c *Cache) ask(ctx context.Context, call func(context.Context) error) error {
	now := time.Now()
	if last := c.failed.Load(); last != nil {
		// A clock that was set back makes ages negative; asking is the safe answer.
		if age := now.Sub(last.at); age >= 0 && age < leftAlone {
			return fmt.Errorf("left alone after %w", last.err)
		}
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := call(bounded)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrTooLarge) {
		c.failed.Store(&failure{time.Now().Round(0), err})
	}
	return err
}

// Key is the canonical key of a request: a SHA-256 over the caller, the tier or model that was asked for, and every
// field of the request that shapes the answer, each with its length, so that no two different requests share a key.
func Key(caller, model string, req llm.Request) string {
	size := 256 + len(caller) + len(model) + len(req.Question) + len(req.Document)
	for _, m := range req.Messages {
		size += 32 + len(m.Content)
	}
	// One buffer, hashed at once: a hash that is written to makes a copy of every string.
	b := make([]byte, 0, size)
	num := func(v uint64) { b = binary.BigEndian.AppendUint64(b, v) }
	str := func(s string) {
		num(uint64(len(s)))
		b = append(b, s...)
	}
	str(caller)
	str(model)
	str(string(req.Type))
	num(uint64(len(req.Messages)))
	for _, m := range req.Messages {
		str(string(m.Role))
		str(m.Content)
	}
	str(req.Question)
	str(req.Document)
	num(uint64(req.MaxTokens))
	if req.Temperature != nil {
		num(1)
		num(math.Float64bits(*req.Temperature))
	} else {
		num(0)
	}
	num(uint64(len(req.Stop)))
	for _, s := range req.Stop {
		str(s)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
