package ddfake

import (
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// Events answers searches of monitors with what the intake has kept, logs as the pipelines made them. The time of all is that of arrival: spans begin in the
// sender's time, and the stand-in's clock may run faster.
func (d data) Events(source string, from, to time.Time) []search.Event {
	within := func(at time.Time) bool { return !at.Before(from) && at.Before(to) }
	var out []search.Event
	switch in := d.of.intake; source {
	case monitor.SourceLogs:
		for _, l := range d.of.Logs() {
			if within(l.Timestamp) {
				out = append(out, l)
			}
		}
	case monitor.SourceEvents:
		for _, e := range in.Events() {
			if within(e.At) {
				out = append(out, event(e))
			}
		}
	case monitor.SourceLLM:
		for _, s := range in.LLMSpans() {
			if within(s.At) {
				out = append(out, llmEvent(s))
			}
		}
	case monitor.SourceSpans:
		for _, trace := range in.Traces() {
			for _, s := range trace {
				if within(s.At) {
					out = append(out, spanEvent(s))
				}
			}
		}
	}
	return out
}

// Events returns what the event stream has from one time until before another, as it is searched.
func (d *Datadog) Events(from, to time.Time) []search.Event {
	return data{of: d}.Events(monitor.SourceEvents, from, to)
}

// Monitor returns a monitor as it stands.
func (d data) Monitor(id int64) (*monitor.Monitor, monitor.State, bool) {
	d.of.mu.Lock()
	defer d.of.mu.Unlock()
	w, ok := d.of.monitors[id]
	if !ok {
		return nil, monitor.State{}, false
	}
	return w.Monitor, w.state, true
}

// compositesLast puts the monitors that combine others behind those.
func compositesLast(monitors []*watched) []*watched {
	slices.SortStableFunc(monitors, func(a, b *watched) int {
		switch {
		case a.Composite() == b.Composite():
			return 0
		case a.Composite():
			return 1
		}
		return -1
	})
	return monitors
}

// event is an event of the event stream. The facets of Watchdog's stories, such as story_key, are tags.
func event(e intake.Event) search.Event {
	return search.Event{
		Timestamp: e.At, Service: tagOf(e.Tags, "service"), Status: e.Alert, Source: e.Source, Host: e.Host, Message: e.Text, Tags: e.Tags,
		Attributes: compact(map[string]any{"title": e.Title, "aggregation_key": e.AggregationKey, "priority": e.Priority}),
	}
}

// llmEvent is a span as LLM Observability searches it.
func llmEvent(s intake.LLMSpan) search.Event {
	metrics := map[string]any{}
	for name, v := range s.Metrics {
		metrics[name] = v
	}
	return search.Event{
		Timestamp: s.At, Service: tagOf(s.Tags, "service"), Status: s.Status, TraceID: s.TraceID, SpanID: s.SpanID, Tags: s.Tags,
		Attributes: compact(map[string]any{
			"event_type": "span", "ml_app": tagOf(s.Tags, "ml_app"), "status": s.Status, "name": s.Name, "kind": s.Kind,
			"parent_id": s.ParentID, "trace_id": s.TraceID, "span_id": s.SpanID, "session_id": s.SessionID,
			"model_name": s.Model, "model_provider": s.Provider, "duration": float64(s.Duration), "metrics": metrics,
			"error": map[string]any{"type": s.ErrorType, "message": s.Error},
			"meta": map[string]any{
				"span.kind": s.Kind, "model_name": s.Model, "model_provider": s.Provider, "metadata": s.Metadata,
				"error": map[string]any{"type": s.ErrorType, "message": s.Error},
			},
		}),
	}
}

// compact drops empty texts: what a span does not say has no facet.
func compact(attributes map[string]any) map[string]any {
	for key, v := range attributes {
		switch v := v.(type) {
		case string:
			if v == "" {
				delete(attributes, key)
			}
		case map[string]any:
			if key != "metadata" { // it is the sender's
				compact(v)
			}
		}
	}
	return attributes
}

// spanEvent is a span as Trace Analytics searches it.
func spanEvent(s intake.APMSpan) search.Event {
	e := search.Event{
		Timestamp: s.At, Service: s.Service, Status: "ok", TraceID: s.TraceID, SpanID: search.Text(s.SpanID), Message: s.Resource,
		Attributes: compact(map[string]any{"operation_name": s.Name, "resource_name": s.Resource, "type": s.Type, "duration": float64(s.Duration)}),
	}
	if s.Error {
		e.Status = "error"
	}
	for key, v := range s.Meta {
		e.Attributes[key] = v
	}
	for key, v := range s.Metrics {
		e.Attributes[key] = v
	}
	for key, v := range map[string]string{"operation_name": s.Name, "resource_name": s.Resource, "type": s.Type, "env": s.Meta["env"], "version": s.Meta["version"]} {
		if v != "" {
			e.Tags = append(e.Tags, key+":"+v)
		}
	}
	slices.Sort(e.Tags)
	return e
}

// tagOf returns the value of the first tag with a key.
func tagOf(tags []string, key string) string {
	for _, t := range tags {
		if v, ok := strings.CutPrefix(t, key+":"); ok {
			return v
		}
	}
	return ""
}
