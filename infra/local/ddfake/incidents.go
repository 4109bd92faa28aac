package ddfake

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
)

// incident is one that a workflow opened, with what was added to it since.
type incident struct {
	workflow.Opened
	kept map[string]any
}

// deliveries are the effects of one run, recorded on the timeline. Nothing leaves the process.
type deliveries struct {
	datadog *Datadog
	record  func(Entry)
}

var _ workflow.Actions = deliveries{}

// CreateIncident implements workflow.Actions.
func (a deliveries) CreateIncident(_ context.Context, i workflow.Incident) (number int, url string, err error) {
	d := a.datadog
	d.mu.Lock()
	number = len(d.incidents) + 1
	opened := workflow.Opened{
		Incident: i, Number: number, ID: uuid("incident", fmt.Sprint(number)), Created: d.opts.Clock.Wall(d.opts.Clock.Now()),
		URL: fmt.Sprintf("https://app.datadoghq.com/incidents/%d", number),
	}
	d.incidents = append(d.incidents, &incident{opened, map[string]any{}})
	d.mu.Unlock()
	a.record(Entry{Kind: KindIncident, Text: fmt.Sprintf("#%d %s (%s)", number, i.Title, i.Severity), Detail: map[string]any{
		"id": opened.ID, "title": i.Title, "severity": i.Severity, "customer_impacted": i.CustomerImpacted, "state": i.State, "fields": i.Fields, "cells": i.Cells,
	}})
	return number, opened.URL, nil
}

// Incidents implements workflow.Actions.
func (a deliveries) Incidents(context.Context) ([]workflow.Opened, error) {
	a.datadog.mu.Lock()
	defer a.datadog.mu.Unlock()
	all := make([]workflow.Opened, len(a.datadog.incidents))
	for n, i := range a.datadog.incidents {
		all[n] = i.Opened
	}
	return all, nil
}

// change runs f on an incident, under the lock.
func (a deliveries) change(number int, f func(*incident)) error {
	a.datadog.mu.Lock()
	defer a.datadog.mu.Unlock()
	if number < 1 || number > len(a.datadog.incidents) {
		return fmt.Errorf("there is no incident %d", number)
	}
	f(a.datadog.incidents[number-1])
	return nil
}

// AddToTimeline implements workflow.Actions.
func (a deliveries) AddToTimeline(_ context.Context, number int, text string) error {
	if err := a.change(number, func(i *incident) { i.Cells = append(i.Cells, text) }); err != nil {
		return err
	}
	line, _, _ := strings.Cut(text, "\n")
	a.record(Entry{Kind: KindIncidentUpdate, Text: fmt.Sprintf("#%d %s", number, line), Detail: map[string]any{"cell": text}})
	return nil
}

// Keep implements workflow.Actions.
func (a deliveries) Keep(_ context.Context, number int, key string, value any) error {
	return a.change(number, func(i *incident) { i.kept[key] = value })
}

// Kept implements workflow.Actions.
func (a deliveries) Kept(_ context.Context, number int, key string) (value any, err error) {
	var ok bool
	if err := a.change(number, func(i *incident) { value, ok = i.kept[key] }); err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("nothing is kept under %s", key)
	}
	return value, nil
}

// Page implements workflow.Actions.
func (a deliveries) Page(_ context.Context, p workflow.Page) (id string, err error) {
	a.datadog.mu.Lock()
	id = uuid("page", fmt.Sprint(len(a.datadog.pages)+1))
	a.datadog.pages[id] = p.Title
	a.datadog.mu.Unlock()
	a.record(Entry{Kind: KindPage, Text: fmt.Sprintf("%s, urgency %s, for %s", p.Title, p.Urgency, p.Target), Detail: map[string]any{
		"id": id, "title": p.Title, "urgency": p.Urgency, "target": p.Target, "description": p.Description, "tags": p.Tags,
	}})
	return id, nil
}

// ResolvePage implements workflow.Actions.
func (a deliveries) ResolvePage(_ context.Context, id string) error {
	a.datadog.mu.Lock()
	title, ok := a.datadog.pages[id]
	a.datadog.mu.Unlock()
	if !ok {
		return fmt.Errorf("there is no page %s", id)
	}
	a.record(Entry{Kind: KindPageResolved, Text: title, Detail: map[string]any{"id": id, "title": title}})
	return nil
}

// Send implements workflow.Actions.
func (a deliveries) Send(_ context.Context, m workflow.Message) error {
	a.record(Entry{Kind: KindNotification, Text: fmt.Sprintf("%s %s: %s", m.Channel, m.To, m.Text), Detail: map[string]any{"subject": m.Subject}})
	return nil
}

// putIncident records an incident that was opened or changed over the API. It is not among those that workflows find: their numbers are
// their own.
func (d *Datadog) putIncident(id string, raw []byte) error {
	var doc struct {
		Data struct {
			Attributes struct {
				Title  string
				Fields struct{ Severity, State, Summary struct{ Value string } }
				Cells  []struct {
					Content struct{ Content string }
				} `json:"initial_cells"`
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	a := doc.Data.Attributes
	d.mu.Lock()
	before, known := d.answered[id]
	d.answered[id] = a.Fields.State.Value
	d.mu.Unlock()
	e := Entry{Kind: KindIncident, Text: fmt.Sprintf("%s (%s)", a.Title, a.Fields.Severity.Value), Detail: map[string]any{
		"id": id, "title": a.Title, "severity": a.Fields.Severity.Value, "state": a.Fields.State.Value, "summary": a.Fields.Summary.Value,
	}}
	switch {
	case known && before == a.Fields.State.Value:
		return nil // nothing that a timeline would tell
	case known:
		e.Kind, e.Text = KindIncidentUpdate, fmt.Sprintf("%s: %s", a.Title, a.Fields.State.Value)
	default:
		var cells []string
		for _, c := range a.Cells {
			cells = append(cells, c.Content.Content)
		}
		e.Detail["cells"] = cells
	}
	d.record(e)
	return nil
}

// putPage records a page that was sent or resolved over the API.
func (d *Datadog) putPage(id string, raw []byte) error {
	var doc struct {
		Data struct {
			Attributes struct {
				Title, Description, Urgency, Status string
				Tags                                []string
				Target                              struct{ Identifier string }
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return err
	}
	a := doc.Data.Attributes
	d.mu.Lock()
	before, known := d.answered[id]
	d.answered[id] = a.Status
	d.mu.Unlock()
	switch {
	case !known:
		d.record(Entry{Kind: KindPage, Text: fmt.Sprintf("%s, urgency %s, for %s", a.Title, a.Urgency, a.Target.Identifier), Detail: map[string]any{
			"id": id, "title": a.Title, "urgency": a.Urgency, "target": a.Target.Identifier, "description": a.Description, "tags": a.Tags,
		}})
	case a.Status == "resolved" && before != a.Status:
		d.record(Entry{Kind: KindPageResolved, Text: a.Title, Detail: map[string]any{"id": id, "title": a.Title}})
	}
	return nil
}
