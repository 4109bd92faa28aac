package escalation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// failure is a kind of failure of Datadog's: a closed set, for metrics and callers.
type failure string

// The failures. Refused is final; the others may pass, a key without rights among them: somebody can grant them.
const (
	unavailable failure = "unavailable"
	rateLimited failure = "rate_limited"
	timedOut    failure = "timeout"
	forbidden   failure = "forbidden"
	refused     failure = "refused"
	expired     failure = "expired"
)

// failureOf says what kind of failure an error is.
func failureOf(err error) failure {
	switch status := ddapi.Status(err); {
	case status == http.StatusTooManyRequests:
		return rateLimited
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return forbidden
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), status == http.StatusRequestTimeout:
		return timedOut
	case status >= 400 && status < 500:
		return refused
	}
	return unavailable
}

const (
	incidentsPath = "/api/v2/incidents"
	pagesPath     = "/api/v2/on-call/pages"
	// searchSize and searchPages bound how many incidents are looked through for ours: those that were opened last.
	searchSize, searchPages = 100, 5
)

type object = map[string]any

func single(typ, value string) object { return object{"type": typ, "value": value} }
func several(values []string) object  { return object{"type": "autocomplete", "value": values} }
func data(typ string, attributes object) object {
	return object{"data": object{"type": typ, "attributes": attributes}}
}

// incidentAnswer is how Datadog shows an incident, as far as it is looked at.
type incidentAnswer struct {
	ID         string `json:"id"`
	Attributes struct {
		Number  int64     `json:"public_id"`
		Title   string    `json:"title"`
		Created time.Time `json:"created"`
		State   string    `json:"state"`
		Fields  struct {
			State   struct{ Value string } `json:"state"`
			Summary struct{ Value string } `json:"summary"`
		} `json:"fields"`
	} `json:"attributes"`
}

func (a incidentAnswer) state() string {
	return cmp.Or(a.Attributes.Fields.State.Value, a.Attributes.State, active)
}

// createIncident opens an incident, active whatever is wanted of it by now, so that its timeline tells what happened.
func (f *Function) createIncident(ctx context.Context, e *entry) (incidentAnswer, error) {
	s := e.Spec
	attributes := object{
		"title": s.Title, "customer_impacted": s.Customers, "is_test": s.Test, "initial_cells": cells(s),
		"fields": object{
			"severity": single("dropdown", s.Severity), "state": single("dropdown", active), "detection_method": single("dropdown", s.Detection),
			"services": several(s.Services), "teams": several(s.Teams), "summary": single("textbox", e.summary()),
		},
	}
	if s.Customers {
		attributes["customer_impact_scope"] = s.Scope
	}
	var out struct{ Data incidentAnswer }
	err := f.opts.Datadog.Do(ctx, http.MethodPost, incidentsPath, nil, data("incidents", attributes), &out)
	if err == nil && out.Data.ID == "" {
		err = errors.New("create incident: the answer has no ID")
	}
	return out.Data, err
}

// findIncident looks for the incident of an event among those that were opened since it was first asked for: by its mark, or by its
// title where it may be of another's making.
func (f *Function) findIncident(ctx context.Context, e *entry) (found incidentAnswer, ok bool, err error) {
	since := e.First.Add(-time.Hour) // clocks differ
	for page := range searchPages {
		var out struct {
			Data struct {
				Attributes struct {
					Incidents []struct{ Data incidentAnswer }
				}
			}
		}
		query := url.Values{
			"query": {"state:(active OR stable OR resolved) AND services:" + f.opts.Service}, "sort": {"-created"},
			"page[size]": {fmt.Sprint(searchSize)}, "page[offset]": {fmt.Sprint(page * searchSize)},
		}
		if err := f.opts.Datadog.Do(ctx, http.MethodGet, incidentsPath+"/search", query, nil, &out); err != nil {
			return incidentAnswer{}, false, err
		}
		for _, i := range out.Data.Attributes.Incidents {
			a, state := i.Data.Attributes, i.Data.state()
			if strings.Contains(a.Fields.Summary.Value, e.mark()) || e.Spec.Adopt && a.Title == e.Spec.Title && (state == active || state == stable) {
				return i.Data, true, nil
			}
		}
		last := len(out.Data.Attributes.Incidents) - 1
		if last < searchSize-1 || out.Data.Attributes.Incidents[last].Data.Attributes.Created.Before(since) {
			break
		}
	}
	return incidentAnswer{}, false, nil
}

// readIncident returns how an incident stands: people change them, too.
func (f *Function) readIncident(ctx context.Context, id string) (incidentAnswer, error) {
	var out struct{ Data incidentAnswer }
	err := f.opts.Datadog.Do(ctx, http.MethodGet, incidentsPath+"/"+url.PathEscape(id), nil, nil, &out)
	return out.Data, err
}

// updateIncident sets what is known and wanted of an incident: the times of its impact, its state, and the summary. It sets values,
// and so may be repeated.
func (f *Function) updateIncident(ctx context.Context, e *entry) error {
	s := e.Spec
	fields := object{"summary": single("textbox", e.summary())}
	if !e.reached(e.Want) {
		fields["state"] = single("dropdown", e.Want)
	}
	if s.RootCause != "" {
		fields["root_cause"] = single("textbox", s.RootCause)
	}
	attributes := object{"fields": fields, "detected": s.Began.Format(time.RFC3339)}
	if s.Customers {
		attributes["customer_impact_start"] = s.Since.Format(time.RFC3339)
		if e.Want == resolved {
			attributes["customer_impact_end"] = e.Reached[resolved].Format(time.RFC3339)
		}
	}
	body := object{"data": object{"type": "incidents", "id": e.ID, "attributes": attributes}}
	return f.opts.Datadog.Do(ctx, http.MethodPatch, incidentsPath+"/"+url.PathEscape(e.ID), nil, body, nil)
}

// attachLinks attaches the links that are not attached yet.
func (f *Function) attachLinks(ctx context.Context, e *entry) error {
	if len(e.Spec.Links) == 0 {
		return nil
	}
	path := incidentsPath + "/" + url.PathEscape(e.ID) + "/attachments"
	var there struct {
		Data []struct {
			Attributes struct {
				Attachment struct {
					URL string `json:"documentUrl"`
				}
			}
		}
	}
	if err := f.opts.Datadog.Do(ctx, http.MethodGet, path, nil, nil, &there); err != nil {
		return err
	}
	var have []string
	for _, a := range there.Data {
		have = append(have, a.Attributes.Attachment.URL)
	}
	for _, l := range e.Spec.Links {
		if slices.Contains(have, l.URL) {
			continue
		}
		have = append(have, l.URL)
		link := data("incident_attachments", object{"attachment_type": "link", "attachment": object{"documentUrl": l.URL, "title": l.Title}})
		if err := f.opts.Datadog.Do(ctx, http.MethodPost, path, nil, link, nil); err != nil {
			return err
		}
	}
	return nil
}

// createPage pages the team; its routing rules choose the escalation policy by the tag.
func (f *Function) createPage(ctx context.Context, e *entry, again bool) (id string, err error) {
	s := e.Spec
	lines := []string{s.Summary}
	if again {
		lines = append([]string{"Sent again: it is not known whether the first page for this event arrived."}, lines...)
	}
	if s.Monitor != "" {
		lines = append(lines, "Monitor: "+s.Monitor)
	}
	for _, l := range s.Links {
		lines = append(lines, l.Title+": "+l.URL)
	}
	lines = append(lines, e.mark())
	body := data("pages", object{
		"title": s.Title, "description": strings.Join(slices.DeleteFunc(lines, func(l string) bool { return l == "" }), "\n"),
		"urgency": s.Policy.urgency(), "tags": []string{"service:" + f.opts.Service, "team:" + f.opts.Team, "route:" + string(s.Policy)},
		"target": object{"type": "team_handle", "identifier": f.opts.Team},
	})
	var out struct{ Data struct{ ID string } }
	if err := f.paging.Do(ctx, http.MethodPost, pagesPath, nil, body, &out); err != nil {
		return "", err
	}
	if out.Data.ID == "" {
		return "", errors.New("create page: the answer has no ID")
	}
	return out.Data.ID, nil
}

// updatePage acknowledges or resolves a page. Doing it twice changes nothing.
func (f *Function) updatePage(ctx context.Context, e *entry) error {
	action := "acknowledge"
	if e.Want == resolved {
		action = "resolve"
	}
	return f.paging.Repeatable().Do(ctx, http.MethodPost, pagesPath+"/"+url.PathEscape(e.ID)+"/"+action, nil, nil, nil)
}

// summary is the incident's field of that name: what happened, how it went on, and the mark.
func (e *entry) summary() string {
	var parts []string
	if e.Spec.Summary != "" {
		parts = append(parts, e.Spec.Summary)
	}
	for _, state := range e.Kind.states() {
		if at, ok := e.Reached[state]; ok && state != active {
			parts = append(parts, strings.TrimSuffix(moment{at, strings.ToUpper(state[:1]) + state[1:] + ". " + e.Told[state]}.String(), " "))
		}
	}
	return strings.Join(append(parts, e.mark()), "\n\n")
}

// String is the line of a timeline.
func (m moment) String() string { return m.At.UTC().Format("2006-01-02 15:04:05 UTC") + ": " + m.Text }

// cells are the first cells of an incident's timeline, in Markdown.
func cells(s spec) []object {
	var about []string
	for _, line := range [][2]string{{"", s.Summary}, {"Monitor: ", s.Monitor}, {"Reason: ", s.Reason}, {"Impact: ", s.Scope}} {
		if line[1] != "" {
			about = append(about, line[0]+line[1])
		}
	}
	if len(about) == 0 {
		about = []string{s.Title}
	}
	lines := []string{"Timeline", "", "* " + moment{s.Began, "it began."}.String()}
	for _, m := range s.Timeline {
		lines = append(lines, "* "+m.String())
	}
	out := []object{cell(strings.Join(about, "\n\n"), true)}
	if len(s.Links) > 0 {
		var links []string
		for _, l := range s.Links {
			links = append(links, "["+strings.NewReplacer("[", "(", "]", ")", "\n", " ").Replace(l.Title)+"]("+l.URL+")")
		}
		out = append(out, cell(strings.Join(links, " · "), false))
	}
	return append(out, cell(strings.Join(lines, "\n"), false))
}

func cell(markdown string, important bool) object {
	return object{"cell_type": "markdown", "content": object{"content": markdown}, "important": important}
}
