package ddfake

import (
	"context"
	"fmt"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
)

// trigger is what starts a workflow: the transition of a monitor, and the parameters of its mention.
type trigger struct {
	source
	params map[string]string
}

// ready returns what runs a workflow in a goroutine of its own. When it does not exist or its rate limit is used up, that is recorded
// here, and what is returned does nothing.
func (d *Datadog) ready(ctx context.Context, handle string, t trigger) (start func()) {
	failed := func(text string) {
		d.record(Entry{Kind: KindDeliveryFailure, Monitor: t.name, Text: text})
	}
	d.mu.Lock()
	w := d.published(handle)
	limited := w != nil && d.limited(w)
	d.started++
	run := uuid("run", fmt.Sprint(d.started))
	d.mu.Unlock()
	switch {
	case w == nil:
		failed("there is no workflow @workflow-" + handle)
		return func() {}
	case limited:
		failed("the rate limit of the workflow " + w.Name + " is used up")
		return func() {}
	}
	return func() {
		d.background(ctx, func() { d.run(ctx, w, run, t) }, func(err error) {
			failed("the workflow " + w.Name + " was not started: " + err.Error())
		})
	}
}

// background runs f in a goroutine of its own when there is a free slot, or tells late why not.
func (d *Datadog) background(ctx context.Context, f func(), late func(error)) {
	d.opts.Clock.enter()
	d.runs.Go(func() {
		defer d.opts.Clock.leave()
		select {
		case d.slots <- struct{}{}:
		default:
			d.opts.Clock.leave()
			select {
			case d.slots <- struct{}{}:
				d.opts.Clock.enter()
			case <-ctx.Done():
				d.opts.Clock.enter()
				late(ctx.Err())
				return
			}
		}
		defer func() { <-d.slots }()
		f()
	})
}

// published returns the workflow that a mention of the handle starts. The caller holds the lock.
func (d *Datadog) published(handle string) *workflow.Workflow {
	for _, w := range d.workflows {
		if w.Handle == handle {
			return w
		}
	}
	return nil
}

// run executes a workflow and records what it does. What it sees of time is the process's: its timestamps leave the
// stand-in. Its waits are the stand-in's.
func (d *Datadog) run(ctx context.Context, w *workflow.Workflow, id string, t trigger) {
	record := func(e Entry) {
		e.Monitor, e.Workflow, e.Run = t.name, w.Name, id
		d.record(e)
	}
	record(Entry{Kind: KindWorkflowStarted, Text: w.Name})
	inputs := map[string]any{}
	for name, value := range t.params {
		inputs[name] = value
	}
	r := w.Run(ctx, workflow.Trigger{
		Kind: workflow.MonitorTrigger, RunID: id, Inputs: inputs,
		MonitorID: t.id, MonitorName: t.name, URL: fmt.Sprintf("https://app.datadoghq.com/monitors/%d", t.id),
	}, workflow.Environment{
		Now: func() time.Time { return d.opts.Clock.Wall(d.opts.Clock.Now()) }, Wait: d.opts.Clock.Wait, HTTP: d.opts.HTTP, Connection: d.connection, Actions: deliveries{d, record},
		OnStep: func(s workflow.Step) {
			text := s.Name
			switch {
			case s.Error != "":
				text += fmt.Sprintf(" failed after %d attempts: %s", s.Attempts, s.Error)
			case s.Branch != "":
				text += " → " + s.Branch
			}
			record(Entry{Kind: KindWorkflowStep, Step: s.Name, Status: string(s.Status), Text: text, Detail: map[string]any{
				"action": s.ActionID, "attempts": s.Attempts, "inputs": s.Inputs, "output": s.Output,
			}})
		},
	})
	text := w.Name + ": " + string(r.Status)
	if r.Error != "" {
		text += ": " + r.Error
	}
	record(Entry{Kind: KindWorkflowFinished, Status: string(r.Status), Text: text})
}

func (d *Datadog) connection(id string) (*workflow.Connection, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.connections[id]
	return c, ok
}

// limited counts a start against the workflow's rate limit; d.mu is held.
func (d *Datadog) limited(w *workflow.Workflow) bool {
	if w.LimitCount == 0 {
		return false
	}
	now := d.opts.Clock.Now()
	recent := d.recent[w.Handle]
	for len(recent) > 0 && now.Sub(recent[0]) >= w.LimitInterval {
		recent = recent[1:]
	}
	full := len(recent) >= w.LimitCount
	if !full {
		recent = append(recent, now)
	}
	d.recent[w.Handle] = recent
	return full
}
