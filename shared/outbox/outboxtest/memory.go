// Package outboxtest holds what every outbox.Store has to pass, and a store in memory for tests.
package outboxtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/outbox"
)

// Memory is an outbox.Store in memory. The zero Memory is empty.
type Memory struct {
	mu      sync.Mutex
	records map[string]outbox.Record
	writes  int
	fail    error
}

var _ outbox.Store = (*Memory)(nil)

// Fail makes every call fail with an error that wraps outbox.ErrUnavailable and err; nil ends that.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Records returns the number of records.
func (m *Memory) Records() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.records)
}

func (m *Memory) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.fail != nil {
		return fmt.Errorf("%w: %w", outbox.ErrUnavailable, m.fail)
	}
	return nil
}

// Get implements outbox.Store.
func (m *Memory) Get(ctx context.Context, key string) (outbox.Record, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return outbox.Record{}, false, err
	}
	r, ok := m.records[key]
	return r, ok, nil
}

// Put implements outbox.Store.
func (m *Memory) Put(ctx context.Context, r outbox.Record) (outbox.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return outbox.Record{}, err
	}
	if err := outbox.Check(r); err != nil {
		return outbox.Record{}, err
	}
	if m.records[r.Key].Version != r.Version {
		return outbox.Record{}, outbox.ErrConflict
	}
	if m.records == nil {
		m.records = map[string]outbox.Record{}
	}
	m.writes++
	r.Version, r.Due, r.Data = strconv.Itoa(m.writes), r.Due.UTC().Truncate(time.Millisecond), slices.Clone(r.Data)
	m.records[r.Key] = r
	return r, nil
}

// Due implements outbox.Store.
func (m *Memory) Due(ctx context.Context, now time.Time, limit int) ([]outbox.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	var found []outbox.Record
	for _, r := range m.records {
		if !r.Due.IsZero() && !r.Due.After(now) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b outbox.Record) int { return a.Due.Compare(b.Due) })
	return found[:min(limit, len(found))], nil
}

// Ping implements outbox.Store.
func (m *Memory) Ping(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usable(ctx)
}

// Close implements outbox.Store.
func (m *Memory) Close() error {
	m.Fail(fmt.Errorf("the store is closed"))
	return nil
}
