package control_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
)

// slow delays the reads of a store, and counts them.
type slow struct {
	controltest.Memory
	delay time.Duration
	reads atomic.Int32
}

func (s *slow) State(ctx context.Context, since time.Time) (control.State, error) {
	s.reads.Add(1)
	select {
	case <-time.After(s.delay):
		return s.Memory.State(ctx, since)
	case <-ctx.Done():
		return control.State{}, ctx.Err()
	}
}

func reader(t testing.TB, store control.Store) *control.Reader {
	t.Helper()
	r, err := control.NewReader(control.ReaderOptions{Store: store, Base: control.Settings{Model: "standard"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// economy commits a switch to the economy tier for an hour.
func economy(t testing.TB, store control.Store) {
	t.Helper()
	state, err := store.State(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	o := control.Override{ID: "a", Action: control.SwitchModel, Params: control.Params{Model: "economy"}, Start: now, End: now.Add(time.Hour), Created: now}
	if err := store.Commit(t.Context(), state.Version, []control.Override{o}); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, r *control.Reader, model string, stale bool) {
	t.Helper()
	got, gotStale := r.Settings(t.Context(), control.Target{Function: "qa"}, "request")
	if got.Model != model || gotStale != stale {
		t.Errorf("got %s, stale %v, want %s, stale %v", got.Model, gotStale, model, stale)
	}
}

func TestReaderSeesAChangeWithinTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{}
		r := reader(t, store)
		expect(t, r, "standard", false)
		economy(t, store)
		before := store.reads.Load()
		for range 100 {
			expect(t, r, "standard", false)
		}
		if got := store.reads.Load() - before; got != 0 {
			t.Errorf("reads while fresh: got %d, want 0", got)
		}
		<-time.After(time.Second)
		expect(t, r, "economy", false)
		<-time.After(time.Hour)
		expect(t, r, "standard", false)
	})
}

func TestReaderKeepsTheLastGoodSettingsThroughAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{}
		r := reader(t, store)
		economy(t, store)
		expect(t, r, "economy", false)
		store.Fail(errors.New("down"))
		<-time.After(time.Second)
		expect(t, r, "economy", true)
		<-time.After(30 * time.Minute)
		expect(t, r, "economy", true)
		<-time.After(30 * time.Minute) // overrides end even when the store cannot say so
		expect(t, r, "standard", true)
		store.Fail(nil)
		<-time.After(time.Second)
		expect(t, r, "standard", false)
	})
}

func TestReaderThatNeverReadAnswersWithTheBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{}
		store.Fail(errors.New("down"))
		expect(t, reader(t, store), "standard", true)
	})
}

func TestReaderWaitsForAHangingStoreOnlyShortlyAndNotEveryTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{delay: time.Hour}
		r := reader(t, store)
		start := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { expect(t, r, "standard", true) })
		}
		wg.Wait()
		if took := time.Since(start); took != 250*time.Millisecond {
			t.Errorf("50 requests took %v, want 250ms", took)
		}
		expect(t, r, "standard", true)
		if took := time.Since(start); took != 250*time.Millisecond {
			t.Errorf("the next request waited until %v, want no wait", took)
		}
		if got := store.reads.Load(); got != 1 {
			t.Errorf("reads: got %d, want 1", got)
		}
	})
}

func TestReaderOutlivesTheRequestThatBeganARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{delay: 10 * time.Millisecond}
		r := reader(t, store)
		economy(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got, stale := r.Settings(ctx, control.Target{}, ""); got.Model != "economy" || stale {
			t.Errorf("got %s, stale %v, want economy, fresh", got.Model, stale)
		}
	})
}

func TestNewReaderRefusesBadOptions(t *testing.T) {
	for name, opts := range map[string]control.ReaderOptions{
		"no store":            {},
		"a negative interval": {Store: new(controltest.Memory), Interval: -1},
		"a negative timeout":  {Store: new(controltest.Memory), Timeout: -1},
	} {
		if _, err := control.NewReader(opts); err == nil {
			t.Errorf("%s: got nil, want an error", name)
		}
	}
}

func BenchmarkReaderFresh(b *testing.B) {
	for name, overrides := range map[string]bool{"no override": false, "one override": true} {
		b.Run(name, func(b *testing.B) {
			store := new(controltest.Memory)
			if overrides {
				economy(b, store)
			}
			r, err := control.NewReader(control.ReaderOptions{Store: store, Interval: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Settings(b.Context(), control.Target{Function: "qa", Endpoint: "/qa", Caller: "web"}, "request-1")
			}
		})
	}
}
