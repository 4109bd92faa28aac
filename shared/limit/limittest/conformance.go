// Package limittest holds every implementation of limit.Counters to its contract.
package limittest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/limit"
)

// Conformance checks that counters keep the contract. open returns some without any counter.
func Conformance(t *testing.T, open func(t *testing.T) limit.Counters) {
	checks := map[string]func(context.Context, limit.Counters) error{
		"what was added is added up":           sums,
		"a counter that nobody added to is 0":  zero,
		"keys do not meet":                     apart,
		"what is taken away is taken away":     negative,
		"nothing is lost between many callers": concurrent,
		"a canceled context ends it":           canceled,
	}
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		t.Run(name, func(t *testing.T) {
			if err := checks[name](t.Context(), open(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func delta(caller, window string, requests, tokens, nano int64) limit.Delta {
	return limit.Delta{
		Key: limit.Key{Caller: caller, Window: window}, Add: limit.Amounts{Requests: requests, Tokens: tokens, NanoUSD: nano}, Expires: time.Now().Add(time.Hour),
	}
}

// adds checks what an Add returns.
func adds(ctx context.Context, c limit.Counters, deltas []limit.Delta, want ...limit.Amounts) error {
	got, err := c.Add(ctx, deltas)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("add %v: sums (-want +got):\n%s", deltas, diff)
	}
	return nil
}

func sums(ctx context.Context, c limit.Counters) error {
	return errors.Join(
		adds(ctx, c, []limit.Delta{delta("web", "m1", 1, 100, 2_000_000_000_000)}, limit.Amounts{Requests: 1, Tokens: 100, NanoUSD: 2_000_000_000_000}),
		adds(ctx, c, []limit.Delta{delta("web", "m1", 2, 50, 1), delta("web", "d1", 1, 0, 7)},
			limit.Amounts{Requests: 3, Tokens: 150, NanoUSD: 2_000_000_000_001}, limit.Amounts{Requests: 1, NanoUSD: 7}),
		adds(ctx, c, []limit.Delta{delta("web", "m1", 0, 0, 0)}, limit.Amounts{Requests: 3, Tokens: 150, NanoUSD: 2_000_000_000_001}),
	)
}

func zero(ctx context.Context, c limit.Counters) error {
	return errors.Join(
		adds(ctx, c, []limit.Delta{delta("web", "m1", 0, 0, 0), delta("web", "m2", 0, 0, 0)}, limit.Amounts{}, limit.Amounts{}),
		adds(ctx, c, []limit.Delta{delta("web", "m1", 1, 0, 0)}, limit.Amounts{Requests: 1}),
	)
}

func apart(ctx context.Context, c limit.Counters) error {
	keys := []limit.Delta{delta("a", "m1", 1, 0, 0), delta("a/b", "m1", 2, 0, 0), delta("a#m1", "m1", 3, 0, 0), delta("ä b", "m1", 4, 0, 0), delta("a", "m11", 5, 0, 0)}
	want := []limit.Amounts{{Requests: 1}, {Requests: 2}, {Requests: 3}, {Requests: 4}, {Requests: 5}}
	return adds(ctx, c, keys, want...)
}

func negative(ctx context.Context, c limit.Counters) error {
	return errors.Join(
		adds(ctx, c, []limit.Delta{delta("web", "m1", 5, 10, 0)}, limit.Amounts{Requests: 5, Tokens: 10}),
		adds(ctx, c, []limit.Delta{delta("web", "m1", -1, -30, 0)}, limit.Amounts{Requests: 4, Tokens: -20}),
	)
}

func concurrent(ctx context.Context, c limit.Counters) error {
	const callers, each = 8, 5
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for i := range callers {
		wg.Go(func() {
			for range each {
				if _, err := c.Add(ctx, []limit.Delta{delta("web", "m1", 1, 10, 100), delta("web", "d1", 0, 0, 1)}); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	const n = callers * each
	return errors.Join(errors.Join(errs...), adds(ctx, c, []limit.Delta{delta("web", "m1", 0, 0, 0), delta("web", "d1", 0, 0, 0)},
		limit.Amounts{Requests: n, Tokens: n * 10, NanoUSD: n * 100}, limit.Amounts{NanoUSD: n}))
}

func canceled(ctx context.Context, c limit.Counters) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Add(ctx, []limit.Delta{delta("web", "m1", 1, 0, 0)}); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("got %w, want that of the context", err)
	}
	return nil
}
