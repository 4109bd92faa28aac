package check

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// source is what a search looks at.
type source string

const (
	logs      source = "logs"
	spans     source = "spans"
	llmSpans  source = "LLM spans"
	events    source = "events"
	incidents source = "incidents"
)

// logAttributes are those of the log lines that are not derived from an exchange. A test holds them against the code.
var logAttributes = []string{
	"llm.remediation.result", "llm.remediation.action", "llm.remediation.id", "llm.remediation.target", "llm.remediation.source",
	"llm.remediation.cycle", "llm.remediation.overrides", "llm.remediation.reason", "llm.diagnosis.question", "llm.diagnosis.verdict",
	"llm.diagnosis.observed", "error.message", "error.stack", "dd.service", "dd.env", "dd.version", "dd.trace_id", "dd.span_id",
}

// spanTags are those that the functions set on APM spans. A test holds them against the code.
var spanTags = []string{
	"llm.provider", "llm.request.model", "llm.response.model", "llm.request.type", "llm.request.latency", "llm.request.input_tokens",
	"llm.response.output_tokens", "llm.request.cost",
}

// reserved are the facets that every item of a source has, by Datadog's documentation.
var reserved = map[source][]string{
	logs:      {"service", "env", "version", "status", "host", "source", "message", "trace_id", "span_id", "team", "managed_by"},
	spans:     {"service", "env", "version", "status", "host", "resource_name", "operation_name", "type", "trace_id", "span_id", "parent_id", "@duration", "@span.kind", "@peer.service", "@http.status_code", "@http.method", "@http.url", "@http.route", "@error.type", "@error.message", "@_top_level", "@_trace_root"},
	llmSpans:  {"service", "env", "version", "ml_app", "@ml_app", "@event_type", "@status", "@parent_id", "@span_id", "@trace_id", "@session_id", "@name", "@duration", "@span.kind", "@error.type", "@error.message", "function", "endpoint", "request_type", "outcome", "cache", "tier", "caller", "override_action", "request_id"},
	events:    {"service", "env", "version", "source", "status", "host", "priority", "tags", "team", "title", "message", "monitor_id", "story_category", "story_key", "story_type", "action", "reason", "aggregation_key", "function"},
	incidents: {"state", "severity", "services", "teams", "customer_impacted", "title", "public_id", "created", "detection_method"},
}

// open are the beginnings of facets whose rest is free.
var open = map[source][]string{
	llmSpans: {"@meta.", "@content.", "@metrics.", "@evaluations.", "@evaluation.", "@tags."},
	events:   {"@evt.", "@monitor."},
}

// knownFacets collects what the telemetry writes and what the pipelines make of it.
func (c *checker) knownFacets() map[source]map[string]bool {
	known := map[source]map[string]bool{}
	for of, names := range reserved {
		known[of] = map[string]bool{}
		for _, name := range names {
			known[of][name] = true
		}
	}
	for _, attr := range telemetry.LogAttrs(fullExchange()) {
		known[logs]["@"+attr.Key] = true
	}
	for _, name := range logAttributes {
		known[logs]["@"+name] = true
	}
	for _, name := range spanTags {
		known[spans]["@"+name] = true
	}
	for _, d := range c.of(assets.Pipeline) {
		eachProcessor(d.body.key("processors"), func(p node) {
			for _, made := range makes(p) {
				known[logs][made] = true
			}
		})
	}
	return known
}

// fullExchange is an exchange that has something to say about everything, so that its log line has every attribute.
func fullExchange() *telemetry.Exchange {
	x := 1.0
	return &telemetry.Exchange{
		RequestID: "x", Function: "x", Endpoint: "x", Type: llm.RequestType("x"), Caller: "x", Session: "x", Tier: "x",
		HTTP: telemetry.HTTP{Method: "x", URL: "x", UserAgent: "x"}, Start: time.Unix(1, 0), Duration: 1, FirstToken: 1, Model: "x", Provider: "x",
		Attempts: []telemetry.Attempt{{Usage: &llm.Usage{InputTokens: 1}}}, Usage: &llm.Usage{InputTokens: 1}, Cache: telemetry.CacheHit, CostUSD: &x,
		Overrides: []telemetry.OverrideRef{{ID: "x", Action: "x", Reason: "x"}},
		Quality:   &telemetry.Quality{SemanticSimilarity: &x, Groundedness: &x, Ungrounded: true},
		Safety:    telemetry.Safety{PromptInjection: 1, InjectionSuspected: true, TokenAbuse: true, Blocked: true, PII: []string{"x"}},
		Outcome:   telemetry.OutcomeError, ErrorType: "x", Err: errors.New("x"), Status: 1, Degraded: []string{"x"},
	}
}

// search holds that a search is understood, and that it looks at what exists.
func (c *checker) search(d *doc, at node, text string, of source, vars variables) {
	text, unknown := vars.fill(text)
	for _, name := range unknown {
		c.bad(d, at, "the template variable $%s is not defined", name)
	}
	q, err := search.Parse(text)
	if err != nil {
		c.bad(d, at, "%v", err)
		return
	}
	for _, facet := range q.Facets() {
		c.facet(d, at, facet, of)
	}
	for _, m := range serviceIs.FindAllStringSubmatch(q.String(), -1) {
		if m[1] != service && m[1] != "x" {
			c.bad(d, at, "the service %q is not ours, %s", m[1], service)
		}
	}
}

var serviceIs = regexp.MustCompile(`(?:^|[\s(])(?:service|@ml_app|ml_app):([A-Za-z][A-Za-z0-9_-]*)`)

// facet holds that a facet of a source exists.
func (c *checker) facet(d *doc, at node, facet string, of source) {
	switch {
	case c.facets[of][facet], facet == "unknown":
		return
	case slices.ContainsFunc(open[of], func(prefix string) bool { return strings.HasPrefix(facet, prefix) }):
		return
	case of == logs && under(c.facets[logs], facet):
		return
	}
	c.bad(d, at, "no telemetry of ours writes %s to %s, and no pipeline makes it", facet, of)
}

// under reports whether a facet is below one that a parser fills with more, such as @http.url_details.path.
func under(known map[string]bool, facet string) bool {
	for name := range known {
		if filled, ok := strings.CutSuffix(name, ".*"); ok && strings.HasPrefix(facet, filled+".") {
			return true
		}
	}
	return false
}

// parses holds that a search is understood; its facets are Datadog's own.
func (c *checker) parses(d *doc, at node, text string, vars variables) {
	filled, unknown := vars.fill(text)
	for _, name := range unknown {
		c.bad(d, at, "the template variable $%s is not defined", name)
	}
	if _, err := search.Parse(filled); err != nil {
		c.bad(d, at, "%v", err)
	}
}
