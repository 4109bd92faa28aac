package remediation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/remediation"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// fixture is a controller with all that it touches in memory.
type fixture struct {
	*remediation.Controller
	store  *controltest.Memory
	memory *telemetry.Memory
	log    *bytes.Buffer
}

func start(t *testing.T) fixture {
	t.Helper()
	f := fixture{store: new(controltest.Memory), memory: new(telemetry.Memory), log: new(bytes.Buffer)}
	client, err := telemetry.New(telemetry.Options{Sink: f.memory, Logger: telemetry.NewLogger(f.log, nil, "s", "e", "v"), Function: "remediation"})
	if err != nil {
		t.Fatal(err)
	}
	f.Controller = controller(t, f.store, client)
	return f
}

func controller(t *testing.T, store control.Store, client *telemetry.Client) *remediation.Controller {
	t.Helper()
	c, err := remediation.New(remediation.Options{Store: store, Base: control.Settings{Model: "standard"}, Telemetry: client,
		Limits: remediation.Limits{Models: []string{"economy", "quality"}, Functions: []string{"qa"}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// now is call with the times of the moment.
func now(edit func(*remediation.Request)) remediation.Request {
	return call(func(r *remediation.Request) {
		r.Timestamp, r.TriggeredAt = time.Now(), time.Now()
		if edit != nil {
			edit(r)
		}
	})
}

func reason(err error) remediation.Reason {
	if refusal, ok := errors.AsType[*remediation.Refusal](err); ok {
		return refusal.Reason
	}
	return ""
}

func TestApplyTellsMetricsEventsAndLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t)
		apply := func(edit func(*remediation.Request)) error {
			_, err := f.Apply(t.Context(), now(edit))
			return err
		}
		if err := apply(nil); err != nil {
			t.Fatal(err)
		}
		if err := apply(nil); err != nil { // a repeat
			t.Fatal(err)
		}
		if err := apply(func(r *remediation.Request) { r.ID, r.Source.Cycle = "other", "c2" }); reason(err) != remediation.Cooldown {
			t.Fatalf("got %v, want cooldown", err)
		}
		if err := apply(func(r *remediation.Request) { r.Action = "reboot" }); reason(err) != remediation.UnknownAction {
			t.Fatalf("got %v, want unknown_action", err)
		}
		if err := apply(func(r *remediation.Request) {
			*r = remediation.Request{ID: "back", Action: remediation.Revert, Timestamp: time.Now(), Cycle: "cycle-new", Source: control.Source{Kind: control.Monitor}}
		}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct{ metric, action, reason string }{
			{"llm.remediation.applied", "switch-model", "monitor"},
			{"llm.remediation.refused", "switch-model", "cooldown"},
			{"llm.remediation.refused", "unknown", "unknown_action"},
			{"llm.remediation.reverted", "switch-model", "monitor"},
		} {
			if sum, n := f.memory.Sum(want.metric, "function:remediation", "action:"+want.action, "reason:"+want.reason); sum != 1 || n != 1 {
				t.Errorf("%v: got %v in %d points, want 1 in 1", want, sum, n)
			}
		}
		if sum, _ := f.memory.Sum("llm.telemetry.dropped"); sum != 0 {
			t.Errorf("dropped: got %v, want 0", sum)
		}
		events := f.memory.Events()
		var titles []string
		for _, e := range events {
			titles = append(titles, e.Title)
		}
		if got, want := strings.Join(titles, "\n"), "Remediation applied: switch-model on qa\nRemediation refused: switch-model on qa\n"+
			"Remediation refused: unknown on qa\nRemediation reverted: switch-model on qa"; got != want {
			t.Errorf("events: got\n%s\nwant\n%s", got, want)
		}
		if text := events[0].Text; !strings.Contains(text, "Before: model standard") || !strings.Contains(text, "After: model economy") {
			t.Errorf("event: got %q, want before and after", text)
		}
		if got := strings.Count(f.log.String(), "\n"); got != 5 {
			t.Errorf("log lines: got %d, want one for each of 5 calls:\n%s", got, f.log)
		}
	})
}

func TestRepeatAfterTheLookbackIsStillTheFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t)
		first, err := f.Apply(t.Context(), now(nil))
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(48 * time.Hour)
		again, err := f.Apply(t.Context(), now(nil))
		if err != nil || again.Result != remediation.AlreadyApplied || again.After.Model != first.After.Model || again.Before.Model != first.Before.Model {
			t.Errorf("got %+v, %v, want the first answer again", again, err)
		}
		if _, err := f.Apply(t.Context(), now(func(r *remediation.Request) { r.Params.Model = "quality" })); reason(err) != remediation.IDReused {
			t.Errorf("got %v, want id_reused", err)
		}
	})
}

// contended fails the first commits as if another process had been faster.
type contended struct {
	controltest.Memory
	mu   sync.Mutex
	left int
}

func (s *contended) Commit(ctx context.Context, v control.Version, o []control.Override) error {
	s.mu.Lock()
	s.left--
	lost := s.left >= 0
	s.mu.Unlock()
	if lost {
		return fmt.Errorf("write: %w", control.ErrConflict)
	}
	return s.Memory.Commit(ctx, v, o)
}

func TestApplyPlansAnewAfterAConflictButNotForever(t *testing.T) {
	if _, err := controller(t, &contended{left: 9}, nil).Apply(t.Context(), now(nil)); err != nil {
		t.Errorf("after nine conflicts: got %v, want nil", err)
	}
	if _, err := controller(t, &contended{left: 1000}, nil).Apply(t.Context(), now(nil)); reason(err) != remediation.StoreUnavailable || !errors.Is(err, control.ErrConflict) {
		t.Errorf("after conflicts without end: got %v, want store_unavailable with its cause", err)
	}
}

// hanging never answers.
type hanging struct{ controltest.Memory }

func (*hanging) State(ctx context.Context, _ time.Time) (control.State, error) {
	<-ctx.Done()
	return control.State{}, ctx.Err()
}

func TestApplyGivesUpOnAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controller(t, new(hanging), nil)
		begin := time.Now()
		var wg sync.WaitGroup
		for range 3 { // the second and third wait for their turn in vain, no longer than the first
			wg.Go(func() {
				_, err := c.Apply(t.Context(), now(nil))
				var refusal *remediation.Refusal
				if !errors.As(err, &refusal) || refusal.Reason != remediation.StoreUnavailable || refusal.RetryAfter <= 0 {
					t.Errorf("got %v, want store_unavailable with a time to retry", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("took %v, want 5s", took)
		}
	})
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t)
		for _, id := range []string{"a", "b", "c"} {
			if _, err := f.Apply(t.Context(), now(func(r *remediation.Request) { r.ID, r.Source.Cycle = id, id })); err != nil {
				t.Fatal(err)
			}
			<-time.After(6 * time.Minute)
		}
		got, err := f.Report(t.Context(), time.Hour, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.InForce) != 1 || got.InForce[0].ID != "c" || len(got.History) != 1 || got.History[0].ID != "b" {
			t.Errorf("got %+v, want c in force, and b of the history", got)
		}
		if got.Settings["qa"].Model != "economy" || got.Everywhere.Model != "standard" {
			t.Errorf("settings: got %s on qa, %s elsewhere, want economy, standard", got.Settings["qa"].Model, got.Everywhere.Model)
		}
	})
}

func TestNewRefusesBadOptions(t *testing.T) {
	good := remediation.Limits{Models: []string{"economy"}, Functions: []string{"qa"}}
	negative, long := good, good
	negative.Cooldown = -1
	long.DefaultDuration = 5 * time.Hour
	for name, opts := range map[string]remediation.Options{
		"no store":                   {Limits: good},
		"nothing allowed":            {Store: new(controltest.Memory)},
		"a negative limit":           {Store: new(controltest.Memory), Limits: negative},
		"a default over the maximum": {Store: new(controltest.Memory), Limits: long},
	} {
		if _, err := remediation.New(opts); err == nil {
			t.Errorf("%s: got nil, want an error", name)
		}
	}
}
