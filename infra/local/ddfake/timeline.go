package ddfake

import (
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
)

// The kinds of timeline entries.
const (
	KindTransition       = "transition"
	KindWorkflowStarted  = "workflow_started"
	KindWorkflowStep     = "workflow_step"
	KindWorkflowFinished = "workflow_finished"
	KindIncident         = "incident"
	KindIncidentUpdate   = "incident_update"
	KindPage             = "page"
	KindPageResolved     = "page_resolved"
	KindNotification     = "notification"
	KindEvent            = "event"
	KindDeliveryFailure  = "delivery_failure"
)

// Entry is one thing that happened.
type Entry struct {
	// At is the stand-in's time, Wall the process's.
	At   time.Time `json:"at"`
	Wall time.Time `json:"wall"`
	Kind string    `json:"kind"`
	// Monitor and Workflow are names, Run identifies one run of the workflow, Step names its step.
	Monitor  string `json:"monitor,omitempty"`
	Workflow string `json:"workflow,omitempty"`
	Run      string `json:"run,omitempty"`
	Step     string `json:"step,omitempty"`
	// From and To are the statuses of a transition.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Status is how a workflow or a step ended: "success" or "failure".
	Status string         `json:"status,omitempty"`
	Text   string         `json:"text"`
	Detail map[string]any `json:"detail,omitempty"`
}

// Timeline returns everything that happened, oldest first. It only ever grows at its end.
func (d *Datadog) Timeline() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.timeline)
}

// TimelineFrom returns what happened after the first n entries.
func (d *Datadog) TimelineFrom(n int) []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.timeline[min(n, len(d.timeline)):])
}

func (d *Datadog) record(e Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// The clock is read under the lock, so that the timeline is in order.
	e.At, e.Wall = d.opts.Clock.Now(), time.Now()
	d.timeline = append(d.timeline, e)
}

// SLOStatus returns how an objective did in a window that ends now, and whether there is such an objective.
func (d *Datadog) SLOStatus(id string, window time.Duration) (slo.Status, bool) {
	now := d.opts.Clock.Now()
	s, ok := d.data().SLO(id)
	if !ok {
		return slo.Status{}, false
	}
	return s.Status(d.metrics, now.Add(-window), now), true
}

// Series answers a metric query over a window that ends now, with one value for each group.
func (d *Datadog) Series(query string, window time.Duration) ([]metric.Series, error) {
	q, err := metric.Parse(query)
	if err != nil {
		return nil, err
	}
	now := d.opts.Clock.Now()
	return d.metrics.Series(q, now.Add(-window), now, window), nil
}

// SeriesAt answers a metric query over one window, with one value for each group.
func (d *Datadog) SeriesAt(query string, from, to time.Time) ([]metric.Series, error) {
	q, err := metric.Parse(query)
	if err != nil {
		return nil, err
	}
	return d.metrics.Series(q, from, to, to.Sub(from)), nil
}

// Seen returns what a monitor compares with its threshold at a time, for each group; see monitor.Monitor. An unknown monitor sees
// nothing.
func (d *Datadog) Seen(name string, at time.Time) []monitor.Sight {
	for _, w := range d.watched() {
		if w.Name == name {
			return w.Look(d.data(), at)
		}
	}
	return nil
}

// MonitorState is how a monitor stands.
type MonitorState struct {
	ID     int64              `json:"id"`
	Name   string             `json:"name"`
	Query  string             `json:"query"`
	Status string             `json:"status"`
	Groups map[string]float64 `json:"groups"`
	// Statuses are those of the groups.
	Statuses   map[string]string  `json:"statuses"`
	Thresholds monitor.Thresholds `json:"thresholds"`
}

// Monitors returns how every monitor stands, in the order of their names. A group without data has no value.
func (d *Datadog) Monitors() []MonitorState {
	watched := d.watched()
	d.mu.Lock()
	defer d.mu.Unlock()
	states := make([]MonitorState, 0, len(watched))
	for _, w := range watched {
		s := MonitorState{ID: w.ID, Name: w.Name, Query: w.Query, Status: string(w.state.Overall()), Groups: map[string]float64{}, Statuses: map[string]string{}, Thresholds: w.Options.Thresholds}
		for name, g := range w.state.Groups {
			s.Statuses[name] = string(g.Status)
			if g.Value-g.Value == 0 { // finite: JSON knows no others
				s.Groups[name] = g.Value
			}
		}
		states = append(states, s)
	}
	return states
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>Stand-in for Datadog</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}code{font-size:.85em}</style>
<h1>Stand-in for Datadog</h1>
<h2>Monitors</h2><table><tr><th>Status<th>Name<th>Values
{{range .Monitors}}<tr><td>{{.Status}}<td>{{.Name}}<br><code>{{.Query}}</code><td>{{range $g, $v := .Groups}}{{$g}} {{printf "%.4g" $v}}<br>{{end}}{{end}}</table>
<h2>Synthetics tests</h2><table><tr><th>Status<th>Name<th>Last run
{{range .Checks}}<tr><td>{{if .Alerting}}Alert{{else}}OK{{end}}<td>{{.Name}}<td>{{if .Last.IsZero}}not yet{{else}}{{.Last.Format "15:04:05"}} {{if .Result.Passed}}passed, {{.Result.Status}} in {{.Result.Took}}{{else}}failed: {{range .Result.Failures}}{{.}} {{end}}{{end}}{{end}}{{end}}</table>
<h2>Timeline</h2><table><tr><th>Time<th>Kind<th>Monitor<th>Workflow<th>What
{{range .Timeline}}<tr><td>{{.At.Format "15:04:05"}}<td>{{.Kind}}<td>{{.Monitor}}<td>{{.Workflow}}<td>{{.Step}} {{.Status}} {{.Text}}{{end}}</table>
<h2>LLM spans</h2><table><tr><th>Kind<th>Name<th>Model<th>Duration<th>Status
{{range .Spans}}<tr><td>{{.Kind}}<td>{{.Name}}<td>{{.Model}}<td>{{.Duration}}<td>{{.Status}} {{.ErrorType}}{{end}}</table></html>
`))

// shown is how many entries and spans the page shows.
const shown = 100

// latest returns the last of items, newest first.
func latest[T any](items []T) []T {
	items = slices.Clone(items[max(0, len(items)-shown):])
	slices.Reverse(items)
	return items
}

// API returns the stand-in's own pages, which only read: / for people, and JSON below /api/.
func (d *Datadog) API() http.Handler {
	mux := http.NewServeMux()
	show := func(path string, read func() any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			// The client is gone when this fails; there is no one left to tell.
			_ = json.NewEncoder(w).Encode(read())
		})
	}
	show("/api/state", func() any {
		return map[string]any{"at": d.opts.Clock.Now(), "monitors": d.Monitors(), "synthetics": d.Checks(), "intake": d.intake.Counts(), "metrics": d.metrics.Stats()}
	})
	show("/api/timeline", func() any { return d.Timeline() })
	show("/api/llmobs", func() any {
		return map[string]any{"spans": d.intake.LLMSpans(), "evaluations": d.intake.Evaluations()}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		// As above.
		_ = page.Execute(w, map[string]any{"Monitors": d.Monitors(), "Checks": d.Checks(), "Timeline": latest(d.Timeline()), "Spans": latest(d.intake.LLMSpans())})
	})
	return mux
}
