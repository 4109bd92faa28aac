package limit

import (
	"context"
	"sync"
	"time"
)

// Memory keeps counters in this process: for one instance, or for a test of several.
type Memory struct {
	mu       sync.Mutex
	counters map[Key]Delta
	tidied   time.Time
}

var _ Counters = (*Memory)(nil)

// Add implements Counters.
func (m *Memory) Add(ctx context.Context, deltas []Delta) ([]Amounts, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counters == nil {
		m.counters = map[Key]Delta{}
	}
	// What has expired is forgotten once a minute.
	if now := time.Now(); now.Sub(m.tidied) >= minute {
		m.tidied = now
		for key, d := range m.counters {
			if !now.Before(d.Expires) {
				delete(m.counters, key)
			}
		}
	}
	sums := make([]Amounts, len(deltas))
	for i, d := range deltas {
		sums[i] = m.counters[d.Key].Add.add(d.Add)
		if d.Add != (Amounts{}) {
			m.counters[d.Key] = Delta{d.Key, sums[i], d.Expires}
		}
	}
	return sums, nil
}
