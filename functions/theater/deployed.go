package theater

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/env"
)

// Deployed is the Source of a deployment: the health from the function insights, the overrides from the function remediation, both
// over HTTPS. What it reads it keeps for a while, for all who watch this instance: each look costs queries at Datadog. Monitors,
// charts and workflows are at Datadog, where the page links to; what happened is what the overrides tell.
type Deployed struct {
	// InsightsURL and RemediationURL are the addresses of those functions, and Secret lets in at both; required.
	InsightsURL, RemediationURL string
	Secret                      env.Secret
	// HTTP makes the calls; http.DefaultClient when nil.
	HTTP *http.Client
	// Fresh is how long overrides are kept; 5 s when 0. The health is kept three times as long, the cost twelve times.
	Fresh time.Duration

	health kept[Health]
	cost   kept[*Cost]
	state  kept[overrides]
}

var _ Source = (*Deployed)(nil)

// overrides is the answer to GET /remediation, as far as it is shown.
type overrides struct {
	InForce []control.Override `json:"in_force"`
	History []control.Override `json:"history"`
}

// State implements Source.
func (d *Deployed) State(ctx context.Context) (State, error) {
	now, fresh := time.Now().UTC(), cmp.Or(d.Fresh, 5*time.Second)
	s := State{At: now, Speed: 1}
	var state overrides
	var health Health
	var failed [3]error
	var reading sync.WaitGroup
	reading.Go(func() { state, failed[0] = d.state.get(ctx, fresh, d.readOverrides) })
	reading.Go(func() {
		health, failed[1] = d.health.get(ctx, 3*fresh, func(ctx context.Context) (h Health, err error) {
			return h, d.read(ctx, d.InsightsURL, "/insights?only=health", &h)
		})
	})
	reading.Go(func() {
		s.Cost, failed[2] = d.cost.get(ctx, 12*fresh, func(ctx context.Context) (*Cost, error) {
			var report struct {
				Window string `json:"window"`
				Cost   *Cost  `json:"cost"`
			}
			err := d.read(ctx, d.InsightsURL, "/insights", &report)
			if report.Cost != nil {
				report.Cost.Window = report.Window
			}
			return report.Cost, err
		})
	})
	reading.Wait()
	for i, what := range []string{"the overrides", "the health score", "the cost"} {
		if failed[i] != nil {
			s.Unavailable = append(s.Unavailable, what)
		}
	}
	if failed[1] == nil {
		s.Health = &health
	}
	s.InForce, s.History = state.InForce, state.History
	if failed[0] != nil && failed[1] != nil {
		return State{}, errors.Join(failed[:]...)
	}
	return s, nil
}

// Entries implements Source.
func (d *Deployed) Entries(ctx context.Context, after string) ([]Entry, error) {
	state, err := d.state.get(ctx, cmp.Or(d.Fresh, 5*time.Second), d.readOverrides)
	if err != nil {
		return nil, err
	}
	entries := OverrideEntries(slices.Concat(state.InForce, state.History), time.Now())
	if i := slices.IndexFunc(entries, func(e Entry) bool { return e.ID == after }); i >= 0 {
		entries = entries[i+1:]
	}
	return entries, nil
}

func (d *Deployed) readOverrides(ctx context.Context) (o overrides, err error) {
	return o, d.read(ctx, d.RemediationURL, "/remediation", &o)
}

func (d *Deployed) read(ctx context.Context, base, path string, out any) error {
	client := cmp.Or(d.HTTP, http.DefaultClient)
	status, _, data, err := exchange(ctx, client, http.MethodGet, strings.TrimSuffix(base, "/")+path, d.Secret, nil, nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: status %d", path, status)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("GET %s: decode answer: %w", path, err)
	}
	return nil
}

// kept is a value that was read, with when. One caller reads at a time; the others wait for what it gets.
type kept[T any] struct {
	once  sync.Once
	busy  chan struct{}
	value T
	at    time.Time
}

func (k *kept[T]) get(ctx context.Context, fresh time.Duration, read func(context.Context) (T, error)) (T, error) {
	k.once.Do(func() { k.busy = make(chan struct{}, 1) })
	select {
	case k.busy <- struct{}{}:
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	defer func() { <-k.busy }()
	if !k.at.IsZero() && time.Since(k.at) < fresh {
		return k.value, nil
	}
	v, err := read(ctx)
	if err == nil {
		k.value, k.at = v, time.Now()
	}
	return v, err
}
