package monitor

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// word is what variables of the latest event begin with: {{log.message}}. LLM spans have none that are documented.
func (e *events) word() string {
	return map[string]string{SourceLogs: "log", SourceSpans: "span", SourceEvents: "event"}[e.source]
}

// isVariable reports whether a message may name a part of the latest event.
func (e *events) isVariable(name string) bool {
	word, rest, ok := strings.Cut(name, ".")
	if !ok || word == "" || word != e.word() {
		return false
	}
	head, key, nested := strings.Cut(rest, ".")
	switch {
	case word == "event":
		return slices.Contains([]string{"id", "title", "text", "tags", "host.name"}, rest) || head == "tags" && nested && unbracket(key) != ""
	case nested:
		return (head == "attributes" || head == "tags") && unbracket(key) != ""
	case word == "span":
		return slices.Contains([]string{"env", "operation_name", "resource_name", "service", "status", "span_id", "timestamp", "trace_id", "type", "link"}, rest)
	}
	return slices.Contains([]string{"message", "service", "status", "source", "span_id", "timestamp", "trace_id", "link"}, rest)
}

// variable returns the value of a part of an event, or nothing when there is none.
func (e *events) variable(name string, ev *search.Event) string {
	_, rest, _ := strings.Cut(name, ".")
	if rest == "link" {
		path := map[string]string{SourceLogs: "/logs", SourceSpans: "/apm/traces"}[e.source]
		return path + "?query=" + url.QueryEscape(e.search.String())
	}
	if ev == nil {
		return ""
	}
	switch head, key, nested := strings.Cut(rest, "."); {
	case rest == "host.name":
		return ev.Host
	case nested && head == "attributes":
		return joined(ev, "@"+unbracket(key))
	case nested:
		return joined(ev, unbracket(key))
	case rest == "timestamp":
		return ev.Timestamp.UTC().Format(time.RFC3339)
	case rest == "tags":
		return strings.Join(ev.Tags, ",")
	case rest == "text":
		return ev.Message
	case slices.Contains([]string{"id", "title", "operation_name", "resource_name", "type"}, rest):
		return joined(ev, "@"+rest)
	}
	return joined(ev, rest)
}

// joined returns the values of a facet, separated by commas, as Datadog does for tags.
func joined(ev *search.Event, facet string) string {
	values, _ := ev.Facet(facet)
	slices.Sort(values)
	return strings.Join(values, ",")
}
