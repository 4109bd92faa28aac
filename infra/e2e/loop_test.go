// Package e2e holds the acceptance tests of the whole system: the closed loops, in virtual time, and the rules that keep
// its parts apart.
package e2e_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	controlplane "github.com/llm-reliability/control-plane"
	"github.com/llm-reliability/control-plane/infra/local"
	"github.com/llm-reliability/control-plane/infra/local/demo"
)

// TestLoopsCloseAndRevert plays every failure in virtual time: fault, monitor, workflow, override, next answers, recovery,
// revert. The assets are those that are deployed, and the functions those that are served.
func TestLoopsCloseAndRevert(t *testing.T) {
	for _, name := range demo.Names() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				// A bubble begins in the year 2000, before there were prices.
				<-time.After(time.Until(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)))
				stack, err := local.InProcess(t.Context(), local.Options{StateDir: dir})
				if err != nil {
					t.Fatal(err)
				}
				outcomes := demo.Play(t.Context(), demo.Options{
					HTTP: stack.HTTP, URL: stack.URL, APIKey: stack.APIKey, ControlSecret: stack.ControlSecret,
					Datadog: stack.Datadog, Clock: stack.Clock, Faults: stack.Faults, Document: controlplane.License(),
					Emit: func(l demo.Line) { t.Logf("%8s %-18s %s", l.Elapsed.Round(time.Second), l.Kind, l.Text) },
				}, name)
				if err := stack.Close(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
				if len(outcomes) != 1 || !outcomes[0].Closed || !outcomes[0].Reverted {
					t.Errorf("outcomes %+v, want one that closed and reverted", outcomes)
				}
			})
		})
	}
}
