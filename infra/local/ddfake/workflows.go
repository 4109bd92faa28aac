package ddfake

import (
	"context"
	"fmt"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
)

// AddConnection takes an action connection with its secrets resolved and returns its ID.
func (d *Datadog) AddConnection(key string, raw []byte) (id string, err error) {
	id = uuid("connection", key)
	c, err := workflow.ParseConnection(id, raw)
	if err != nil {
		return "", fmt.Errorf("add connection %s: %w", key, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connections[id] = c
	return id, nil
}

// AddWorkflow takes a workflow with all its references resolved and returns its ID.
func (d *Datadog) AddWorkflow(key string, raw []byte) (id string, err error) {
	id = uuid("workflow", key)
	w, err := workflow.Parse(id, raw)
	if err != nil {
		return "", fmt.Errorf("add workflow %s: %w", key, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workflows[w.Handle] = w
	return id, nil
}

// trigger is what starts a workflow: the transition of a monitor, and the parameters of its mention.
type trigger struct {
	monitor *monitor.Monitor
	params  map[string]string
}

// start runs a workflow in a goroutine of its own, unless it does not exist or its rate limit is used up.
func (d *Datadog) start(ctx context.Context, handle string, t trigger) {
	failed := func(text string) {
		d.record(Entry{Kind: KindDeliveryFailure, Monitor: t.monitor.Name, Text: text})
	}
	d.mu.Lock()
	w := d.workflows[handle]
	limited := w != nil && d.limited(w)
	d.started++
	run := uuid("run", fmt.Sprint(d.started))
	d.mu.Unlock()
	switch {
	case w == nil:
		failed("there is no workflow @workflow-" + handle)
		return
	case limited:
		failed("the rate limit of the workflow " + w.Name + " is used up")
		return
	}
	d.runs.Go(func() {
		select {
		case d.slots <- struct{}{}:
			defer func() { <-d.slots }()
		case <-ctx.Done():
			failed("the workflow " + w.Name + " was not started: " + ctx.Err().Error())
			return
		}
		d.run(ctx, w, run, t)
	})
}

// run executes a workflow and records what it does. What it sees of time is the process's: its timestamps leave the
// stand-in. Its waits are the stand-in's.
func (d *Datadog) run(ctx context.Context, w *workflow.Workflow, id string, t trigger) {
	record := func(e Entry) {
		e.Monitor, e.Workflow, e.Run = t.monitor.Name, w.Name, id
		d.record(e)
	}
	record(Entry{Kind: KindWorkflowStarted, Text: w.Name})
	inputs := map[string]any{}
	for name, value := range t.params {
		inputs[name] = value
	}
	r := w.Run(ctx, workflow.Trigger{
		Kind: workflow.MonitorTrigger, RunID: id, Inputs: inputs,
		MonitorID: t.monitor.ID, MonitorName: t.monitor.Name, URL: fmt.Sprintf("https://app.datadoghq.com/monitors/%d", t.monitor.ID),
	}, workflow.Environment{
		Now: time.Now, Wait: d.opts.Clock.Wait, HTTP: d.opts.HTTP, Connection: d.connection, Actions: deliveries{d, record},
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

// deliveries are the effects of one run, recorded on the timeline. Nothing leaves the process.
type deliveries struct {
	datadog *Datadog
	record  func(Entry)
}

var _ workflow.Actions = deliveries{}

// CreateIncident implements workflow.Actions.
func (a deliveries) CreateIncident(_ context.Context, i workflow.Incident) (id, url string, err error) {
	a.datadog.mu.Lock()
	a.datadog.incidents++
	number := a.datadog.incidents
	a.datadog.mu.Unlock()
	id = uuid("incident", fmt.Sprint(number))
	a.record(Entry{Kind: KindIncident, Text: fmt.Sprintf("#%d %s (%s)", number, i.Title, i.Severity), Detail: map[string]any{
		"id": id, "customer_impacted": i.CustomerImpacted, "state": i.State, "fields": i.Fields, "cells": i.Cells,
	}})
	return id, fmt.Sprintf("https://app.datadoghq.com/incidents/%d", number), nil
}

// Page implements workflow.Actions.
func (a deliveries) Page(_ context.Context, p workflow.Page) (id string, err error) {
	a.datadog.mu.Lock()
	a.datadog.pages++
	id = uuid("page", fmt.Sprint(a.datadog.pages))
	a.datadog.mu.Unlock()
	a.record(Entry{Kind: KindPage, Text: fmt.Sprintf("%s, urgency %s, for %s", p.Title, p.Urgency, p.Target), Detail: map[string]any{
		"id": id, "description": p.Description, "tags": p.Tags,
	}})
	return id, nil
}

// Send implements workflow.Actions.
func (a deliveries) Send(_ context.Context, m workflow.Message) error {
	a.record(Entry{Kind: KindNotification, Text: fmt.Sprintf("%s %s: %s", m.Channel, m.To, m.Text), Detail: map[string]any{"subject": m.Subject}})
	return nil
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
