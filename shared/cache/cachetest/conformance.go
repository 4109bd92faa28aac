package cachetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/llm"
)

// entry returns one with every field set.
func entry(text string) cache.Entry {
	return cache.Entry{
		Response: llm.Response{
			Text: text, Model: "gemini-3.8-flash-001", Provider: "google", Finish: llm.FinishStop, ID: "r-1",
			Usage: &llm.Usage{InputTokens: 100, OutputTokens: 20, CachedTokens: 30, ReasoningTokens: 5},
		},
		Stored: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// Conformance checks that a tier keeps the contract of cache.Tier. open returns a tier without entries.
func Conformance(t *testing.T, open func(t *testing.T) cache.Tier) {
	checks := map[string]func(context.Context, cache.Tier) error{
		"an entry comes back whole":                     whole,
		"what was never put is not there":               missing,
		"what has expired is not there":                 expired,
		"a later entry replaces one before":             replaced,
		"what is larger than can be held is refused so": tooLarge,
		"many callers at once do not meet":              concurrent,
		"a canceled context ends both":                  canceled,
	}
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		t.Run(name, func(t *testing.T) {
			if err := checks[name](t.Context(), open(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// holds says how what is stored under key differs from want.
func holds(ctx context.Context, tier cache.Tier, key string, want cache.Entry) error {
	got, ok, err := tier.Get(ctx, key, time.Now())
	if err != nil || !ok {
		return fmt.Errorf("get %s: got %v, %w, want an entry", key, ok, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("get %s (-want +got):\n%s", key, diff)
	}
	return nil
}

func whole(ctx context.Context, tier cache.Tier) error {
	for i, text := range []string{"yes", "„Ünïcode“ – 日本語 \U0001F600\n\ttabs, \"quotes\" and \x00 zero", strings.Repeat("long ", 20_000)} {
		key, want := fmt.Sprint("key", i), entry(text)
		if err := tier.Put(ctx, key, want, time.Now().Add(time.Hour)); err != nil {
			return err
		}
		if err := holds(ctx, tier, key, want); err != nil {
			return err
		}
	}
	return nil
}

func missing(ctx context.Context, tier cache.Tier) error {
	if e, ok, err := tier.Get(ctx, "none", time.Now()); ok || err != nil {
		return fmt.Errorf("got %+v, %v, %w, want nothing", e, ok, err)
	}
	return nil
}

func expired(ctx context.Context, tier cache.Tier) error {
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	if err := tier.Put(ctx, "key", entry("old"), expires); err != nil {
		return err
	}
	for _, at := range []struct {
		now  time.Time
		want bool
	}{{expires.Add(-time.Second), true}, {expires, false}, {expires.Add(time.Hour), false}} {
		if _, ok, err := tier.Get(ctx, "key", at.now); ok != at.want || err != nil {
			return fmt.Errorf("%v after it expired: got %v, %w, want %v", at.now.Sub(expires), ok, err, at.want)
		}
	}
	return nil
}

func replaced(ctx context.Context, tier cache.Tier) error {
	if err := tier.Put(ctx, "key", entry("first"), time.Now().Add(time.Second)); err != nil {
		return err
	}
	want := entry("second")
	if err := tier.Put(ctx, "key", want, time.Now().Add(time.Hour)); err != nil {
		return err
	}
	return holds(ctx, tier, "key", want)
}

func tooLarge(ctx context.Context, tier cache.Tier) error {
	want := entry("small")
	if err := tier.Put(ctx, "key", want, time.Now().Add(time.Hour)); err != nil {
		return err
	}
	// No technology that would be used for this takes 16 MiB in one piece; one that does may.
	err := tier.Put(ctx, "key", entry(strings.Repeat("x", 16<<20)), time.Now().Add(time.Hour))
	if err == nil {
		return nil
	}
	if !errors.Is(err, cache.ErrTooLarge) {
		return fmt.Errorf("put 16 MiB: got %w, want ErrTooLarge", err)
	}
	if _, ok, err := tier.Get(ctx, "key", time.Now()); err != nil || !ok {
		return err // nothing is left, which is allowed
	}
	return holds(ctx, tier, "key", want)
}

func concurrent(ctx context.Context, tier cache.Tier) error {
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			key, want := fmt.Sprint("key", i), entry(fmt.Sprint("text", i))
			errs[i] = tier.Put(ctx, key, want, time.Now().Add(time.Hour))
			if errs[i] == nil {
				errs[i] = holds(ctx, tier, key, want)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func canceled(ctx context.Context, tier cache.Tier) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if err := tier.Put(ctx, "key", entry("x"), time.Now().Add(time.Hour)); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("put: got %w, want canceled", err)
	}
	if _, _, err := tier.Get(ctx, "key", time.Now()); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("get: got %w, want canceled", err)
	}
	return nil
}
