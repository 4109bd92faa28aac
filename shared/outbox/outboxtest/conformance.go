package outboxtest

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

	"github.com/llm-reliability/control-plane/shared/outbox"
)

// record returns one that is due in a while from now; zero is never.
func record(key string, in time.Duration) outbox.Record {
	now := time.Now().UTC().Truncate(time.Millisecond)
	r := outbox.Record{Key: key, Expires: now.Add(24 * time.Hour), Data: []byte(`{"of":"` + key + `"}`)}
	if in != 0 {
		r.Due = now.Add(in)
	}
	return r
}

// The checks that a backend may be unable to pass, for Conformance.
const (
	StaleLoses = "a writer that read an older version loses"
	OneWins    = "of many writers of one version one wins"
)

// Conformance checks that a store keeps the contract of outbox.Store, but for the checks that are named: an emulator may know less than
// what it stands for. open returns an empty store.
func Conformance(t *testing.T, open func(t *testing.T) outbox.Store, except ...string) {
	checks := map[string]func(context.Context, outbox.Store) error{
		"a record comes back whole":             whole,
		"what was never put is not there":       missing,
		"a second writer of a new record loses": firstWins,
		StaleLoses:                              staleLoses,
		OneWins:                                 oneWins,
		"what is due is found, oldest first, and no other": due,
		"what was written again is due only as it is now":  moved,
		"at most as many are listed as were asked for":     limited,
		"a writer that lost leaves nothing that is due":    loserLeavesNothing,
		"what is wrong with a record is said":              refused,
		"a canceled context ends every call":               canceled,
		"a closed store is unavailable":                    closed,
	}
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		if slices.Contains(except, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			store := open(t)
			if err := checks[name](t.Context(), store); err != nil {
				t.Error(err)
			}
		})
	}
}

// holds says how what is stored differs from want.
func holds(ctx context.Context, s outbox.Store, want outbox.Record) error {
	got, ok, err := s.Get(ctx, want.Key)
	if err != nil || !ok {
		return fmt.Errorf("get %q: got %v, %w, want a record", want.Key, ok, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("get %q (-want +got):\n%s", want.Key, diff)
	}
	return nil
}

// lists says how the keys of what is due differ from want.
func lists(ctx context.Context, s outbox.Store, at time.Time, limit int, want ...string) error {
	found, err := s.Due(ctx, at, limit)
	if err != nil {
		return err
	}
	keys := []string{}
	for _, r := range found {
		keys = append(keys, r.Key)
		if err := holds(ctx, s, r); err != nil {
			return fmt.Errorf("what is due: %w", err)
		}
	}
	if diff := cmp.Diff(append([]string{}, want...), keys); diff != "" {
		return fmt.Errorf("due (-want +got):\n%s", diff)
	}
	return nil
}

func whole(ctx context.Context, s outbox.Store) error {
	for _, r := range []outbox.Record{record("a", time.Minute), record("incident:7/ä #%2F.", 0), record(strings.Repeat("k", outbox.MaxKey), -time.Minute)} {
		r.Data = append(r.Data, strings.Repeat("\x00x", 10_000)...)
		got, err := s.Put(ctx, r)
		if err != nil {
			return err
		}
		if r.Version = got.Version; got.Version == "" {
			return errors.New("a record that was put has no version")
		}
		if diff := cmp.Diff(r, got); diff != "" {
			return fmt.Errorf("put (-want +got):\n%s", diff)
		}
		if err := holds(ctx, s, got); err != nil {
			return err
		}
	}
	return s.Ping(ctx)
}

func missing(ctx context.Context, s outbox.Store) error {
	if r, ok, err := s.Get(ctx, "none"); ok || err != nil {
		return fmt.Errorf("got %+v, %v, %w, want nothing", r, ok, err)
	}
	return lists(ctx, s, time.Now().Add(time.Hour), 10)
}

func firstWins(ctx context.Context, s outbox.Store) error {
	first, err := s.Put(ctx, record("a", time.Minute))
	if err != nil {
		return err
	}
	second := record("a", 0)
	second.Data = []byte("second")
	if _, err := s.Put(ctx, second); !errors.Is(err, outbox.ErrConflict) {
		return fmt.Errorf("second put: got %w, want a conflict", err)
	}
	return holds(ctx, s, first)
}

func staleLoses(ctx context.Context, s outbox.Store) error {
	first, err := s.Put(ctx, record("a", time.Minute))
	if err != nil {
		return err
	}
	next := first
	next.Data = []byte("next")
	if next, err = s.Put(ctx, next); err != nil {
		return err
	}
	if next.Version == first.Version {
		return fmt.Errorf("both have version %q", first.Version)
	}
	if _, err := s.Put(ctx, first); !errors.Is(err, outbox.ErrConflict) {
		return fmt.Errorf("put of the version before: got %w, want a conflict", err)
	}
	unknown := record("nobody", 0)
	unknown.Version = first.Version
	if _, err := s.Put(ctx, unknown); !errors.Is(err, outbox.ErrConflict) {
		return fmt.Errorf("put of a version of a record that is not there: got %w, want a conflict", err)
	}
	return holds(ctx, s, next)
}

func oneWins(ctx context.Context, s outbox.Store) error {
	first, err := s.Put(ctx, record("a", time.Minute))
	if err != nil {
		return err
	}
	errs := make([]error, 12)
	won := make([]outbox.Record, len(errs))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			r := first
			r.Data = fmt.Append(nil, "writer ", i)
			won[i], errs[i] = s.Put(ctx, r)
		})
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			return fmt.Errorf("writers %d and %d both won", winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, outbox.ErrConflict):
			return err
		}
	}
	if winner < 0 {
		return errors.New("nobody won")
	}
	return holds(ctx, s, won[winner])
}

func due(ctx context.Context, s outbox.Store) error {
	for key, in := range map[string]time.Duration{"later": time.Hour, "now": -time.Second, "long ago": -2 * time.Hour, "never": 0, "ago": -time.Minute} {
		if _, err := s.Put(ctx, record(key, in)); err != nil {
			return err
		}
	}
	if err := lists(ctx, s, time.Now(), 10, "long ago", "ago", "now"); err != nil {
		return err
	}
	return lists(ctx, s, time.Now().Add(2*time.Hour), 10, "long ago", "ago", "now", "later")
}

func moved(ctx context.Context, s outbox.Store) error {
	r, err := s.Put(ctx, record("a", -time.Minute))
	if err != nil {
		return err
	}
	for _, in := range []time.Duration{time.Hour, -time.Hour, 0, -time.Second} {
		r.Due = record("a", in).Due
		if r, err = s.Put(ctx, r); err != nil {
			return err
		}
		var want []string
		if in < 0 {
			want = []string{"a"}
		}
		if err := lists(ctx, s, time.Now(), 10, want...); err != nil {
			return fmt.Errorf("due in %v: %w", in, err)
		}
	}
	return nil
}

func limited(ctx context.Context, s outbox.Store) error {
	for i := range 7 {
		if _, err := s.Put(ctx, record(fmt.Sprint(i), time.Duration(i-60)*time.Second)); err != nil {
			return err
		}
	}
	return lists(ctx, s, time.Now(), 3, "0", "1", "2")
}

func loserLeavesNothing(ctx context.Context, s outbox.Store) error {
	if _, err := s.Put(ctx, record("a", 0)); err != nil {
		return err
	}
	if _, err := s.Put(ctx, record("a", -time.Minute)); !errors.Is(err, outbox.ErrConflict) {
		return fmt.Errorf("got %w, want a conflict", err)
	}
	return lists(ctx, s, time.Now().Add(3*time.Hour), 10)
}

func refused(ctx context.Context, s outbox.Store) error {
	for want, change := range map[string]func(*outbox.Record){
		"key":    func(r *outbox.Record) { r.Key = "" },
		"400":    func(r *outbox.Record) { r.Key = strings.Repeat("k", outbox.MaxKey+1) },
		"256":    func(r *outbox.Record) { r.Data = make([]byte, outbox.MaxData+1) },
		"expire": func(r *outbox.Record) { r.Expires = time.Time{} },
	} {
		r := record("a", time.Minute)
		change(&r)
		if _, err := s.Put(ctx, r); err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("got %w, want an error about %s", err, want)
		}
	}
	return nil
}

func canceled(ctx context.Context, s outbox.Store) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	_, put := s.Put(ctx, record("a", 0))
	_, _, get := s.Get(ctx, "a")
	_, list := s.Due(ctx, time.Now(), 1)
	for name, err := range map[string]error{"put": put, "get": get, "due": list, "ping": s.Ping(ctx)} {
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s: got %w, want canceled", name, err)
		}
	}
	return nil
}

func closed(ctx context.Context, s outbox.Store) error {
	if err := s.Close(); err != nil {
		return err
	}
	_, put := s.Put(ctx, record("a", 0))
	_, _, get := s.Get(ctx, "a")
	_, list := s.Due(ctx, time.Now(), 1)
	for name, err := range map[string]error{"put": put, "get": get, "due": list, "ping": s.Ping(ctx)} {
		if !errors.Is(err, outbox.ErrUnavailable) {
			return fmt.Errorf("%s: got %w, want unavailable", name, err)
		}
	}
	return nil
}
