// Package controltest tests implementations of control.Store, and has one in memory for the tests of others.
package controltest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
)

// Memory is a control.Store that lives and dies with the process. The zero value is ready.
type Memory struct {
	mu        sync.Mutex
	version   int
	overrides map[string]control.Override
	closed    bool
	failure   error
}

var _ control.Store = (*Memory)(nil)

// Fail makes every later call fail with err, wrapped as control.ErrUnavailable; nil heals the store.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
}

// enter locks the store if it can be used; then the caller unlocks it.
func (m *Memory) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	var err error
	switch {
	case m.closed:
		err = fmt.Errorf("%w: the store is closed", control.ErrUnavailable)
	case m.failure != nil:
		err = fmt.Errorf("%w: %w", control.ErrUnavailable, m.failure)
	default:
		return nil
	}
	m.mu.Unlock()
	return err
}

// State implements control.Store.
func (m *Memory) State(ctx context.Context, since time.Time) (control.State, error) {
	if err := m.enter(ctx); err != nil {
		return control.State{}, err
	}
	defer m.mu.Unlock()
	state := control.State{Version: control.Version(strconv.Itoa(m.version))}
	for o := range maps.Values(m.overrides) {
		if o.Until().After(since) {
			state.Overrides = append(state.Overrides, copied(o))
		}
	}
	slices.SortFunc(state.Overrides, func(a, b control.Override) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return state, nil
}

// Commit implements control.Store.
func (m *Memory) Commit(ctx context.Context, version control.Version, overrides []control.Override) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if version != control.Version(strconv.Itoa(m.version)) {
		return control.ErrConflict
	}
	if m.overrides == nil {
		m.overrides = map[string]control.Override{}
	}
	for _, o := range overrides {
		m.overrides[o.ID] = copied(o)
	}
	m.version++
	return nil
}

// Get implements control.Store.
func (m *Memory) Get(ctx context.Context, id string) (control.Override, bool, error) {
	if err := m.enter(ctx); err != nil {
		return control.Override{}, false, err
	}
	defer m.mu.Unlock()
	o, ok := m.overrides[id]
	return copied(o), ok, nil
}

// Ping implements control.Store.
func (m *Memory) Ping(ctx context.Context) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Unlock()
	return nil
}

// Close implements control.Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// copied keeps callers from changing what the store holds.
func copied(o control.Override) control.Override {
	if o.Ended != nil {
		ended := *o.Ended
		o.Ended = &ended
	}
	return o
}
