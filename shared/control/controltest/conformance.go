package controltest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/control"
)

// epoch is the time on which the overrides of the tests are built.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

// override returns one with every field set, in force for an hour from epoch plus after.
func override(id string, after time.Duration) control.Override {
	start := epoch.Add(after)
	return control.Override{
		ID: id, Action: control.SwitchModel,
		Scope: control.Scope{Function: "qa", Endpoint: "/qa", Caller: "web"},
		Params: control.Params{Model: "economy", Percent: 50, CacheTTL: control.Duration(10 * time.Minute), Strategy: "cost", QualityFloor: 0.5,
			MaxOutputTokens: 100, MaxPromptChars: 1000, RequestsPerMinute: 10, Provider: "google"},
		Start: start, End: start.Add(time.Hour), Created: start,
		Source: control.Source{Kind: control.Monitor, Monitor: "Cost Anomaly", MonitorID: "12", WorkflowRun: "r-1", Cycle: "c-1", Reason: "cost \"doubled\" – ünïcode"},
	}
}

// Conformance checks that a store keeps the contract of control.Store. open returns a new, empty store, which the test
// closes.
func Conformance(t *testing.T, open func(t *testing.T) control.Store) {
	for name, check := range map[string]func(*testing.T, control.Store){
		"an empty store has a state to commit against":            empty,
		"what was committed is read back whole":                   roundTrip,
		"state is ordered by creation, then ID":                   ordered,
		"state leaves out what ended before":                      since,
		"a commit replaces old versions":                          replaces,
		"a commit against an old version conflicts, whole":        conflicts,
		"of many commits against one version, one wins":           oneWins,
		"many writers that try again lose nothing":                noneLost,
		"a canceled context ends every call":                      canceled,
		"a closed store is unavailable":                           closed,
		"callers cannot change what the store holds":              isolated,
		"readers see whole commits only while others are writing": wholeCommits,
	} {
		t.Run(name, func(t *testing.T) {
			store := open(t)
			defer store.Close() //nolint:errcheck // closing a store a second time may well be an error
			check(t, store)
		})
	}
}

// Durable checks that what was committed outlives the store that it was committed to. Every call of open opens the same
// data.
func Durable(t *testing.T, open func(t *testing.T) control.Store) {
	first := open(t)
	want := override("kept", 0)
	version := commit(t, first, want)
	if err := first.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	second := open(t)
	defer func() {
		if err := second.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	got := state(t, second, time.Time{})
	if got.Version != version {
		t.Errorf("version after reopening: got %q, want %q", got.Version, version)
	}
	if diff := cmp.Diff([]control.Override{want}, got.Overrides); diff != "" {
		t.Errorf("state after reopening (-want +got):\n%s", diff)
	}
	if err := second.Commit(t.Context(), got.Version, []control.Override{override("more", time.Second)}); err != nil {
		t.Errorf("commit after reopening: %v", err)
	}
}

func state(t *testing.T, store control.Store, since time.Time) control.State {
	t.Helper()
	s, err := store.State(t.Context(), since)
	if err != nil {
		t.Fatalf("state: %v", err)
	}
	return s
}

// commit writes against the current version and returns the new one.
func commit(t *testing.T, store control.Store, overrides ...control.Override) control.Version {
	t.Helper()
	if err := store.Commit(t.Context(), state(t, store, time.Time{}).Version, overrides); err != nil {
		t.Fatalf("commit: %v", err)
	}
	return state(t, store, time.Time{}).Version
}

func ids(s control.State) []string {
	var out []string
	for _, o := range s.Overrides {
		out = append(out, o.ID)
	}
	return out
}

func empty(t *testing.T, store control.Store) {
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	if got := state(t, store, time.Time{}); len(got.Overrides) != 0 {
		t.Errorf("state: got %v, want none", ids(got))
	}
	if _, ok, err := store.Get(t.Context(), "nobody"); ok || err != nil {
		t.Errorf("get of an unknown ID: got %v, %v, want false, nil", ok, err)
	}
	commit(t, store, override("first", 0))
}

func roundTrip(t *testing.T, store control.Store) {
	want := override("a", 0)
	want.Ended = &control.Ending{At: epoch.Add(time.Minute), Source: control.Source{Kind: control.Operator, Operator: "ann"}, Cause: "reverted"}
	commit(t, store, want)
	if diff := cmp.Diff([]control.Override{want}, state(t, store, time.Time{}).Overrides); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	got, ok, err := store.Get(t.Context(), "a")
	if !ok || err != nil {
		t.Fatalf("get: %v, %v", ok, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("get (-want +got):\n%s", diff)
	}
}

func ordered(t *testing.T, store control.Store) {
	commit(t, store, override("c", 0), override("z", -time.Minute), override("b", 0))
	commit(t, store, override("a", time.Minute))
	if diff := cmp.Diff([]string{"z", "b", "c", "a"}, ids(state(t, store, time.Time{}))); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func since(t *testing.T, store control.Store) {
	early := override("early", 0)
	early.Ended = &control.Ending{At: epoch.Add(time.Minute), Cause: "reverted"}
	commit(t, store, early, override("ends-at-1h", 0), override("ends-at-2h", time.Hour))
	for name, tt := range map[string]struct {
		since time.Duration
		want  []string
	}{
		"before every end":        {0, []string{"early", "ends-at-1h", "ends-at-2h"}},
		"an end is not after it":  {time.Minute, []string{"ends-at-1h", "ends-at-2h"}},
		"just before an end":      {time.Hour - 1, []string{"ends-at-1h", "ends-at-2h"}},
		"after the first two":     {90 * time.Minute, []string{"ends-at-2h"}},
		"after the last, nothing": {2 * time.Hour, nil},
	} {
		if diff := cmp.Diff(tt.want, ids(state(t, store, epoch.Add(tt.since)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, ok, err := store.Get(t.Context(), "early"); !ok || err != nil {
		t.Errorf("get of one that ended: got %v, %v, want true, nil", ok, err)
	}
}

func replaces(t *testing.T, store control.Store) {
	o := override("a", 0)
	commit(t, store, o, override("b", 0))
	o.Ended = &control.Ending{At: epoch.Add(time.Minute), Cause: "reverted"}
	commit(t, store, o)
	if diff := cmp.Diff([]control.Override{o, override("b", 0)}, state(t, store, time.Time{}).Overrides); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"b"}, ids(state(t, store, epoch.Add(2*time.Minute)))); diff != "" {
		t.Errorf("state since the early end (-want +got):\n%s", diff)
	}
}

func conflicts(t *testing.T, store control.Store) {
	old := state(t, store, time.Time{}).Version
	commit(t, store, override("a", 0))
	err := store.Commit(t.Context(), old, []control.Override{override("b", 0), override("c", 0)})
	if !errors.Is(err, control.ErrConflict) {
		t.Errorf("commit against an old version: got %v, want ErrConflict", err)
	}
	if diff := cmp.Diff([]string{"a"}, ids(state(t, store, time.Time{}))); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func oneWins(t *testing.T, store control.Store) {
	const writers = 32
	version := state(t, store, time.Time{}).Version
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			errs[i] = store.Commit(t.Context(), version, []control.Override{override(fmt.Sprintf("w%d", i), 0)})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, control.ErrConflict):
			t.Errorf("commit: got %v, want nil or ErrConflict", err)
		}
	}
	if won != 1 {
		t.Errorf("winners: got %d, want 1", won)
	}
	if got := ids(state(t, store, time.Time{})); len(got) != 1 {
		t.Errorf("state: got %v, want one", got)
	}
}

func noneLost(t *testing.T, store control.Store) {
	const writers = 8
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for {
				s, err := store.State(t.Context(), time.Time{})
				if err == nil {
					err = store.Commit(t.Context(), s.Version, []control.Override{override(fmt.Sprintf("w%d", i), 0)})
				}
				if err == nil {
					return
				}
				if !errors.Is(err, control.ErrConflict) {
					t.Errorf("writer %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := ids(state(t, store, time.Time{})); len(got) != writers {
		t.Errorf("state: got %v, want %d overrides", got, writers)
	}
}

func canceled(t *testing.T, store control.Store) {
	version := commit(t, store, override("a", 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, stateErr := store.State(ctx, time.Time{})
	_, _, getErr := store.Get(ctx, "a")
	for call, err := range map[string]error{
		"State":  stateErr,
		"Get":    getErr,
		"Commit": store.Commit(ctx, version, []control.Override{override("b", 0)}),
		"Ping":   store.Ping(ctx),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", call, err)
		}
	}
}

func closed(t *testing.T, store control.Store) {
	version := commit(t, store, override("a", 0))
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	_, stateErr := store.State(t.Context(), time.Time{})
	_, _, getErr := store.Get(t.Context(), "a")
	for call, err := range map[string]error{
		"State":  stateErr,
		"Get":    getErr,
		"Commit": store.Commit(t.Context(), version, []control.Override{override("b", 0)}),
		"Ping":   store.Ping(t.Context()),
	} {
		if !errors.Is(err, control.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", call, err)
		}
	}
}

func isolated(t *testing.T, store control.Store) {
	o := override("a", 0)
	o.Ended = &control.Ending{At: epoch.Add(time.Minute), Cause: "reverted"}
	in := []control.Override{o}
	commit(t, store, in...)
	in[0].Ended.Cause = "changed by the writer"
	got := state(t, store, time.Time{})
	if got.Overrides[0].Ended.Cause != "reverted" {
		t.Errorf("cause: got %q, want reverted", got.Overrides[0].Ended.Cause)
	}
	got.Overrides[0].Ended.Cause = "changed by a reader"
	if again := state(t, store, time.Time{}); again.Overrides[0].Ended.Cause != "reverted" {
		t.Errorf("cause: got %q, want reverted", again.Overrides[0].Ended.Cause)
	}
}

func wholeCommits(t *testing.T, store control.Store) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range 20 {
			commit(t, store, override(fmt.Sprintf("a%d", i), 0), override(fmt.Sprintf("b%d", i), 0))
		}
	})
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		if n := len(state(t, store, time.Time{}).Overrides); n%2 != 0 {
			t.Errorf("state: got %d overrides, want an even number", n)
		}
	}
	wg.Wait()
}
