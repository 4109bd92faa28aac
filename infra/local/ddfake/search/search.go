// Package search reads Datadog's search syntax for logs and events, and says which events match. Filters of pipelines,
// archives and scanner groups, queries of log and event monitors, and lists of LLM spans are written in it. It is pure: it
// stores nothing and has no clock, so the time range of a search is its caller's part.
//
// It follows Datadog's page "Log Search Syntax". Where it differs, or where that page is silent:
//
//	what                   here                                          at Datadog
//	-------------------    ------------------------------------------    -----------------------------------------
//	words of a message     runs of letters, digits and underscores;      an analyzer that is not documented
//	                       a wildcard stays within one word
//	free text              message, @title, @error.message,              the same
//	                       @error.stack; upper and lower case are equal
//	*:text                 all attributes as well; FullText tells, for   refused in filters of indexes, archives
//	                       most filters may not use it                   and pipelines
//	@attr:value            whole value, with its case                    the same
//	service:, env:         without regard to case                        tags are stored in lower case
//	service:, status: …    the field of the event, or a tag of the name  a guess: fields become tags of the same name
//	numbers                also strings that read as numbers; 2s, 10ms   facets of type measure, durations in the
//	                       are nanoseconds                               unit of the facet
//	@a.b                   a nested attribute or a key with a dot in     a guess: dots in keys are taken as nesting
//	                       it; elements of arrays one by one
//	@a:*                   a has a value that is not null, an empty      a guess where a is an object
//	                       object or an object
//	AND, OR                AND binds stronger                            not documented
//	&&, ||, !, NOT         as AND, OR, -                                 not documented, but reserved
//	: = < > ! # inside     refused, unless escaped or quoted             must be escaped; what else happens is open
//	a word
//	#calculated fields     refused                                       evaluated
package search

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Event is what is searched: a log, or an event of another product in the same form.
type Event struct {
	Timestamp                              time.Time
	Service, Status, Source, Host, Message string
	TraceID, SpanID                        string
	// Tags are "key:value", or a text without a colon.
	Tags []string
	// Attributes are JSON: nil, bool, string, a number, []any, map[string]any.
	Attributes map[string]any
}

// Query is a search that was understood. The zero Query matches every event. It is immutable.
type Query struct{ root node }

// Match reports whether an event is found by the query.
func (q Query) Match(e Event) bool { return q.root == nil || q.root.match(&e) }

// String returns the query in canonical form, which Parse reads as an equal query.
func (q Query) String() string {
	if q.root == nil {
		return "*"
	}
	var b strings.Builder
	q.root.write(&b, precedenceOr)
	return b.String()
}

// Facets returns the names of what the query looks at, sorted: "@llm.provider" for an attribute, "service" or "status" for a
// reserved one, else the key of a tag. Free text has no name.
func (q Query) Facets() []string {
	names := map[string]bool{}
	if q.root != nil {
		q.root.visit(func(key string) { names[key] = true })
	}
	delete(names, "")
	delete(names, anyKey)
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return sorted
}

// FullText reports whether the query uses "*:text", which Datadog refuses in filters of indexes, archives and pipelines.
func (q Query) FullText() bool {
	found := false
	if q.root != nil {
		q.root.visit(func(key string) { found = found || key == anyKey })
	}
	return found
}

// Facet returns the values of an event for a facet, by which results are grouped: "@a.b" is an attribute, "service" and its
// like are fields, everything else is the key of a tag. It is false where the event has none.
func (e Event) Facet(name string) (values []string, ok bool) {
	for _, v := range e.values(name) {
		if text := Text(v); !slices.Contains(values, text) {
			values = append(values, text)
		}
	}
	return values, len(values) > 0
}

// values returns the scalar values of a facet.
func (e *Event) values(key string) []any {
	if path, ok := strings.CutPrefix(key, "@"); ok {
		return Values(e.Attributes, path)
	}
	var values []any
	add := func(field string) {
		if field != "" {
			values = append(values, field)
		}
	}
	switch strings.ToLower(key) {
	case "service":
		add(e.Service)
	case "status":
		add(e.Status)
	case "source":
		add(e.Source)
	case "host":
		add(e.Host)
	case "message":
		add(e.Message)
	case "trace_id":
		add(e.TraceID)
	case "span_id":
		add(e.SpanID)
	case "tags":
		for _, tag := range e.Tags {
			add(tag)
		}
	}
	for _, tag := range e.Tags {
		if k, v, ok := strings.Cut(tag, ":"); ok && strings.EqualFold(k, key) {
			values = append(values, v)
		}
	}
	return values
}

// Values returns the scalars that a path such as "http.status_code" names in a JSON object. A key may hold dots itself, and
// the elements of arrays count one by one.
func Values(attributes map[string]any, path string) []any {
	var found []any
	at(attributes, path, func(v any) {
		switch v.(type) {
		case nil, map[string]any:
		default:
			found = append(found, v)
		}
	})
	return found
}

func at(v any, path string, found func(any)) {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			at(element, path, found)
		}
		return
	case []string:
		if path == "" {
			for _, element := range v {
				found(element)
			}
		}
		return
	case map[string]any:
		if path == "" {
			break
		}
		if inner, ok := v[path]; ok {
			at(inner, "", found)
		}
		for i := range len(path) {
			if path[i] != '.' {
				continue
			}
			if inner, ok := v[path[:i]]; ok {
				at(inner, path[i+1:], found)
			}
		}
		return
	}
	if path == "" {
		found(v)
	}
}

// Text returns a scalar as it is searched and shown: a number without exponent.
func Text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}

// Number returns a scalar as a number, if it reads as one.
func Number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case json.Number:
		return number(v.String())
	case string:
		return number(v)
	default:
		return 0, false
	}
}
