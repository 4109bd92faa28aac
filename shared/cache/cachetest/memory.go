// Package cachetest tests implementations of cache.Tier, and has one in memory for the tests of others.
package cachetest

import (
	"context"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/cache"
)

// Memory is a cache.Tier that lives and dies with the process. The zero value is ready.
type Memory struct {
	mu      sync.Mutex
	entries map[string]kept
	failure error
	hanging bool
}

type kept struct {
	entry   cache.Entry
	expires time.Time
}

var _ cache.Tier = (*Memory)(nil)

// Fail makes every later call fail with err; nil heals the tier.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
}

// Hang makes every later call wait until its context ends.
func (m *Memory) Hang() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hanging = true
}

// enter says why a call can't be served.
func (m *Memory) enter(ctx context.Context) error {
	m.mu.Lock()
	hanging, failure := m.hanging, m.failure
	m.mu.Unlock()
	if hanging {
		<-ctx.Done()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return failure
}

// Get implements cache.Tier.
func (m *Memory) Get(ctx context.Context, key string, now time.Time) (cache.Entry, bool, error) {
	if err := m.enter(ctx); err != nil {
		return cache.Entry{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.entries[key]
	if !ok || !now.Before(k.expires) {
		return cache.Entry{}, false, nil
	}
	return k.entry, true, nil
}

// Put implements cache.Tier.
func (m *Memory) Put(ctx context.Context, key string, e cache.Entry, expires time.Time) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries == nil {
		m.entries = map[string]kept{}
	}
	m.entries[key] = kept{e, expires}
	return nil
}
