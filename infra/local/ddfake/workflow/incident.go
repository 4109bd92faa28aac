package workflow

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Incident is what a run asks for with createIncident.
type Incident struct {
	RunID, Workflow  string
	Title            string
	Severity, State  string
	CustomerImpacted bool
	// Fields are the values by name, severity and state included; Cells is the timeline, in Markdown.
	Fields map[string]any
	Cells  []string
}

// Opened is an incident that exists. Number is what people call it by; actions take it as they take the ID.
type Opened struct {
	Incident
	ID      string
	Number  int
	URL     string
	Created time.Time
}

// Page is what a run asks for with createOnCallPage.
type Page struct {
	RunID, Workflow    string
	Title, Description string
	// Urgency is low or high; TargetType is team_handle, team_id or user_id.
	Urgency, TargetType, Target string
	Tags                        []string
}

// The actions on incidents and pages.
var incidentActions = map[string]action{
	"com.datadoghq.dd.incidents.createIncident": {
		inputs: map[string]input{
			"title": {form: text, required: true}, "customer_impacted": {form: flag, required: true}, "fields": {form: object},
			"initial_cells": {form: list}, "notification_handles": {form: list},
		},
		outputs: []string{"incident_id", "url", "title", "state", "severity"}, branches: onlyMain, check: checkIncident, run: runIncident,
	},
	"com.datadoghq.dd.incidents.searchIncidents": {
		inputs: map[string]input{
			"query": {form: text, required: true, verbatim: true}, "sort": {form: text, verbatim: true}, "page_size": {form: number, verbatim: true},
		},
		outputs: []string{"data"}, branches: onlyMain, check: checkSearch, run: runSearch,
	},
	"com.datadoghq.dd.incidents.updateTimeline": {
		inputs:   map[string]input{"incidentId": {form: value, required: true}, "content": {form: text, required: true}},
		branches: onlyMain,
		run: onIncident("incidentId", func(ctx context.Context, x *execution, number int, in map[string]any) (any, error) {
			return nil, x.env.Actions.AddToTimeline(ctx, number, inText(in["content"]))
		}),
	},
	"com.datadoghq.dd.incidents.setIncidentAutomationData": {
		inputs: map[string]input{
			"incidentId": {form: value, required: true}, "key": {form: text, required: true}, "value": {form: value, required: true},
		},
		outputs: []string{"data"}, branches: onlyMain,
		run: onIncident("incidentId", func(ctx context.Context, x *execution, number int, in map[string]any) (any, error) {
			return in["value"], x.env.Actions.Keep(ctx, number, inText(in["key"]), in["value"])
		}),
	},
	"com.datadoghq.dd.incidents.getIncidentAutomationData": {
		inputs:  map[string]input{"incidentId": {form: value, required: true}, "key": {form: text, required: true}},
		outputs: []string{"data"}, branches: onlyMain,
		run: onIncident("incidentId", func(ctx context.Context, x *execution, number int, in map[string]any) (any, error) {
			return x.env.Actions.Kept(ctx, number, inText(in["key"]))
		}),
	},
	"com.datadoghq.dd.oncall.createOnCallPage": {
		inputs: map[string]input{
			"title": {form: text, required: true}, "urgency": {form: text, required: true}, "target": {form: object, required: true},
			"description": {form: text}, "tags": {form: list},
		},
		outputs: []string{"data"}, branches: onlyMain, run: runPage,
	},
	"com.datadoghq.dd.oncall.resolveOnCallPage": {
		inputs: map[string]input{"page_id": {form: text, required: true}}, branches: onlyMain,
		run: func(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
			id := inText(in["page_id"])
			if err := x.env.Actions.ResolvePage(ctx, id); err != nil {
				return nil, "", fmt.Errorf("resolve page %s: %w", id, err)
			}
			return nil, mainBranch, nil
		},
	},
}

// checkIncident refuses what the API behind the action does: customer impact without its scope, which the action cannot take.
func checkIncident(inputs map[string]any) error {
	if inputs["customer_impacted"] == true {
		return errors.New("customer_impacted needs a scope, and the action has no input for it: tell the impact in a cell")
	}
	return nil
}

func runIncident(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
	incident := Incident{RunID: x.run.ID, Workflow: x.run.Workflow, Title: inText(in["title"]), State: "active", Severity: "UNKNOWN", Fields: map[string]any{}}
	incident.CustomerImpacted, _ = in["customer_impacted"].(bool)
	fields, _ := in["fields"].(map[string]any)
	for name, f := range fields {
		field, ok := f.(map[string]any)
		if !ok || field["type"] == nil {
			return nil, "", fmt.Errorf("the field %s is not an object with type and value", name)
		}
		incident.Fields[name] = field["value"]
		switch name {
		case "severity":
			incident.Severity = inText(field["value"])
		case "state":
			incident.State = inText(field["value"])
		}
	}
	cells, _ := in["initial_cells"].([]any)
	for i, c := range cells {
		cell, _ := c.(map[string]any)
		content, ok := cell["content"].(map[string]any)
		if !ok || cell["cell_type"] != "markdown" {
			return nil, "", fmt.Errorf("the initial cell %d is not of type markdown with content", i)
		}
		incident.Cells = append(incident.Cells, inText(content["content"]))
	}
	number, url, err := x.env.Actions.CreateIncident(ctx, incident)
	if err != nil {
		return nil, "", fmt.Errorf("create incident: %w", err)
	}
	return map[string]any{"incident_id": float64(number), "url": url, "title": incident.Title, "state": incident.State, "severity": incident.Severity}, mainBranch, nil
}

// onIncident runs what is done to the incident that an input names.
func onIncident(input string, do func(context.Context, *execution, int, map[string]any) (any, error)) func(context.Context, *execution, *step, map[string]any) (map[string]any, string, error) {
	return func(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
		number, err := strconv.Atoi(inText(in[input]))
		if err != nil {
			return nil, "", fmt.Errorf("%s %q is not the number of an incident", input, clip(inText(in[input])))
		}
		data, err := do(ctx, x, number, in)
		if err != nil {
			return nil, "", fmt.Errorf("incident %d: %w", number, err)
		}
		return map[string]any{"data": data}, mainBranch, nil
	}
}

// facet is one condition of a search: the field has one of the values.
type facet struct {
	field  string
	values []string
}

var (
	facetForm = regexp.MustCompile(`^([a-z_]+):(?:([A-Za-z0-9_.-]+)|\(([^()]+)\))$`)
	conjunct  = regexp.MustCompile(`\s+AND\s+`)
	disjunct  = regexp.MustCompile(`\s+OR\s+`)
)

// parseSearch reads what is documented of the query: facets joined by AND, values of one joined by OR.
func parseSearch(query string) ([]facet, error) {
	var facets []facet
	for _, term := range conjunct.Split(strings.TrimSpace(query), -1) {
		m := facetForm.FindStringSubmatch(term)
		if m == nil {
			return nil, fmt.Errorf("query: %q is not like state:active or state:(active OR stable)", clip(term))
		}
		facets = append(facets, facet{m[1], disjunct.Split(strings.TrimSpace(m[2]+m[3]), -1)})
	}
	return facets, nil
}

// holds says whether an incident has one of the values in the field.
func (f facet) holds(i Incident) bool {
	have := texts(i.Fields[f.field])
	if have == nil {
		have = []string{inText(i.Fields[f.field])}
	}
	switch f.field {
	case "state":
		have = []string{i.State}
	case "severity":
		have = []string{i.Severity}
	}
	return slices.ContainsFunc(have, func(v string) bool { return slices.Contains(f.values, v) })
}

const maxFound = 100

func checkSearch(inputs map[string]any) error {
	if sort, given := inputs["sort"]; given && sort != "-created" {
		return fmt.Errorf("sort is %v; only -created is followed", sort)
	}
	if size, given := inputs["page_size"].(float64); given && (size < 1 || size > maxFound) {
		return fmt.Errorf("page_size %v is not 1 to %d", size, maxFound)
	}
	_, err := parseSearch(inText(inputs["query"]))
	return err
}

// runSearch gives the form of GET /api/v2/incidents/search.
func runSearch(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
	facets, err := parseSearch(inText(in["query"]))
	if err != nil {
		return nil, "", err
	}
	all, err := x.env.Actions.Incidents(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("search incidents: %w", err)
	}
	slices.SortStableFunc(all, func(a, b Opened) int { return b.Created.Compare(a.Created) })
	size := 10
	if n, given := in["page_size"].(float64); given {
		size = int(n)
	}
	total, found := 0, []any{}
	for _, i := range all {
		if slices.ContainsFunc(facets, func(f facet) bool { return !f.holds(i.Incident) }) {
			continue
		}
		if total++; total <= size {
			found = append(found, map[string]any{"data": map[string]any{"id": i.ID, "type": "incidents", "attributes": map[string]any{
				"public_id": float64(i.Number), "title": i.Title, "state": i.State, "severity": i.Severity, "created": i.Created.UTC().Format(time.RFC3339),
			}}})
		}
	}
	return map[string]any{"data": map[string]any{
		"type": "incidents_search_results", "attributes": map[string]any{"total": float64(total), "facets": map[string]any{}, "incidents": found},
	}}, mainBranch, nil
}

func runPage(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
	page := Page{RunID: x.run.ID, Workflow: x.run.Workflow, Title: inText(in["title"]), Description: inText(in["description"]), Urgency: inText(in["urgency"]), Tags: texts(in["tags"])}
	target, _ := in["target"].(map[string]any)
	page.TargetType, page.Target = inText(target["type"]), inText(target["identifier"])
	if !slices.Contains([]string{"team_handle", "team_id", "user_id"}, page.TargetType) || page.Target == "" {
		return nil, "", errors.New("the target is not a team_handle, team_id or user_id with an identifier")
	}
	if page.Urgency != "low" && page.Urgency != "high" {
		return nil, "", fmt.Errorf("urgency is %q, not low or high", page.Urgency)
	}
	id, err := x.env.Actions.Page(ctx, page)
	if err != nil {
		return nil, "", fmt.Errorf("page %s: %w", page.Target, err)
	}
	return map[string]any{"data": map[string]any{"id": id, "type": "pages"}}, mainBranch, nil
}
