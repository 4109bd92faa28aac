// Package cache keeps complete answers for a while, so that a repeated request need not call a model. It is keyed by
// everything that shapes an answer, the caller included, and bounded by weight.
//
// It does not decide whether to cache: control settings say so, request by request, with the age that they allow.
package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// Entry is one answer and what is needed to serve it again.
type Entry struct {
	Response llm.Response
	// Stored is when the answer was put into the cache.
	Stored time.Time
}

// weight is the memory that an entry takes, in bytes, roughly: its text and the bookkeeping around it.
func (e Entry) weight() uint32 {
	const bookkeeping = 256
	return uint32(min(len(e.Response.Text)+bookkeeping, math.MaxUint32))
}

// Options configure a Cache.
type Options struct {
	// MaxBytes bounds the weight of all entries; 16 MiB when 0.
	MaxBytes uint64
}

// Cache is safe for concurrent use and starts no goroutine: a function may be frozen at any time.
type Cache struct {
	entries *otter.Cache[string, Entry]
}

// New returns an empty cache.
func New(opts Options) (*Cache, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 16 << 20
	}
	entries, err := otter.New(&otter.Options[string, Entry]{
		MaximumWeight: opts.MaxBytes,
		Weigher:       func(_ string, e Entry) uint32 { return e.weight() },
		Executor:      func(task func()) { task() },
	})
	if err != nil {
		return nil, errors.Join(errors.New("make response cache"), err)
	}
	return &Cache{entries}, nil
}

// Get returns the answer stored under key, if it is at most maxAge old at now. An entry that is older stays, since a
// later request may allow more; the weight bound evicts it.
func (c *Cache) Get(key string, maxAge time.Duration, now time.Time) (Entry, bool) {
	e, ok := c.entries.GetIfPresent(key)
	if !ok || now.Sub(e.Stored) > maxAge {
		return Entry{}, false
	}
	return e, true
}

// Put stores a complete answer. Answers that are not complete, or that a filter touched, are not kept.
func (c *Cache) Put(key string, r llm.Response, now time.Time) {
	if r.Finish == llm.FinishStop && r.Text != "" {
		c.entries.Set(key, Entry{Response: r, Stored: now})
	}
}

// Key is the canonical key of a request: a SHA-256 over the caller, the tier or model that was asked for, and every
// field of the request that shapes the answer, each with its length, so that no two different requests share a key.
func Key(caller, model string, req llm.Request) string {
	h := sha256.New()
	var n [8]byte
	str := func(s string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	num := func(v uint64) {
		binary.BigEndian.PutUint64(n[:], v)
		h.Write(n[:])
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
	return hex.EncodeToString(h.Sum(nil))
}
