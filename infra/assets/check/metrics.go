package check

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// metricInfo is what queries may ask of a metric.
type metricInfo struct {
	tags        []string
	percentiles bool
	// unit is that of the catalogue, empty where it is not known.
	unit string
	// origin says who makes the metric, for messages.
	origin string
}

var unified = []string{"service", "env", "version"}

// llmTags are the tags of the metrics that Datadog makes of LLM spans, by its page "LLM Observability Metrics".
var llmTags = []string{"env", "error", "ml_app", "model_name", "model_provider", "service", "span_kind", "version"}

// datadogMetrics are the metrics that Datadog makes by itself and assets may read.
var datadogMetrics = []string{
	"ml_obs.span", "ml_obs.span.error", "ml_obs.span.duration", "ml_obs.span.llm.input.tokens", "ml_obs.span.llm.output.tokens",
	"ml_obs.span.llm.total.tokens", "ml_obs.trace", "ml_obs.trace.error", "ml_obs.trace.duration",
}

// traceTags are the tags of trace.*, the metrics that Datadog makes of APM spans.
var traceTags = []string{"env", "service", "version", "resource_name", "resource", "http.status_code", "http.status_class", "span.kind", "peer.service"}

// knownMetrics collects every metric that a query may name.
func (c *checker) knownMetrics() map[string]metricInfo {
	known := map[string]metricInfo{}
	for _, name := range datadogMetrics {
		known[name] = metricInfo{tags: llmTags, percentiles: true, origin: "Datadog"}
	}
	for _, m := range c.o.Catalogue {
		known[m.Name] = metricInfo{tags: slices.Concat(unified, m.Tags), percentiles: m.Percentiles(), unit: m.Unit, origin: "the metric catalogue"}
	}
	for _, kind := range []assets.Kind{assets.SpansMetric, assets.LogsMetric} {
		for _, d := range c.of(kind) {
			attributes := d.body.key("data", "attributes")
			info := metricInfo{percentiles: attributes.key("compute", "include_percentiles").is(), origin: d.File}
			for _, g := range attributes.key("group_by").items() {
				tag := g.key("tag_name").text()
				if tag == "" {
					tag = strings.TrimPrefix(g.key("path").text(), "@")
				}
				info.tags = append(info.tags, tag)
			}
			known[d.body.key("data", "id").text()] = info
		}
	}
	return known
}

// lookUp returns what is known of a metric.
func (c *checker) lookUp(name string) (metricInfo, bool) {
	if strings.HasPrefix(name, "trace.") {
		return metricInfo{tags: traceTags, percentiles: true, origin: "Datadog"}, true
	}
	info, ok := c.metrics[name]
	return info, ok
}

var (
	// leaf is one query in the canonical form that metric.Query.String writes.
	leaf = regexp.MustCompile(`([a-z0-9]+):([A-Za-z][A-Za-z0-9_.]*)\{([^{}]*)\}(?: by \{([^{}]*)\})?`)
	// selector is one tag of a filter in that form.
	selector = regexp.MustCompile(`(?:^|[\s,(!])([a-z][a-z0-9_./-]*)(?::([^\s,()]+)| (?:NOT )?IN \(([^()]*)\))`)
	quantile = regexp.MustCompile(`^p[0-9]+$`)
	// variable is a template variable of a dashboard or notebook: $env stands for env:value, $env.value for the value.
	variable = regexp.MustCompile(`\$([A-Za-z_][A-Za-z0-9_]*)(\.value)?`)
)

// variables are the template variables of a dashboard or notebook, by name, with the tag that each selects.
type variables map[string]string

// fill replaces the template variables of a query by what they might stand for. what is a filter of metrics, or a search.
func (v variables) fill(text string) (filled string, unknown []string) {
	filled = variable.ReplaceAllStringFunc(text, func(found string) string {
		m := variable.FindStringSubmatch(found)
		tag, ok := v[m[1]]
		switch {
		case !ok:
			unknown = append(unknown, m[1])
			return "unknown:x"
		case m[2] != "" || tag == "":
			return "x"
		}
		return tag + ":x"
	})
	return filled, unknown
}

// metricQuery holds that a query is understood, and that its metrics, tags and percentiles exist.
func (c *checker) metricQuery(d *doc, at node, text string, vars variables) (metric.Query, bool) {
	text, unknown := vars.fill(text)
	for _, name := range unknown {
		c.bad(d, at, "the template variable $%s is not defined", name)
	}
	q, err := metric.Parse(text)
	if err != nil {
		c.bad(d, at, "%v", err)
		return q, false
	}
	for _, m := range leaf.FindAllStringSubmatch(q.String(), -1) {
		aggregator, name, filter, by := m[1], m[2], m[3], m[4]
		info, ok := c.lookUp(name)
		if !ok {
			c.bad(d, at, "there is no metric %s: it is not in the metric catalogue, no asset makes it, and it is none of Datadog's", name)
			continue
		}
		if quantile.MatchString(aggregator) && !info.percentiles {
			c.bad(d, at, "%s of %s is always empty: percentiles are not enabled for this metric", aggregator, name)
		}
		var keys []string
		if by != "" {
			keys = strings.Split(by, ",")
		}
		for _, s := range selector.FindAllStringSubmatch(filter, -1) {
			keys = append(keys, s[1])
			for _, value := range append(strings.Split(s[3], ","), s[2]) {
				if reason := wrongValue(s[1], strings.TrimSpace(value)); reason != "" {
					c.bad(d, at, "%s", reason)
				}
			}
		}
		for _, key := range keys {
			if !slices.Contains(info.tags, key) {
				c.bad(d, at, "the metric %s has no tag %s; %s gives it %s", name, key, info.origin, strings.Join(info.tags, ", "))
			}
		}
	}
	return q, true
}

// values are the bounded sets of tag values that the code knows.
func values(key string) []string {
	switch key {
	case "service":
		return []string{service}
	case "function":
		return routes.Functions()
	case "env":
		return []string{"production", "staging", "local"}
	case "outcome":
		return []string{
			string(telemetry.OutcomeSuccess), string(telemetry.OutcomeError), string(telemetry.OutcomeBlocked),
			string(telemetry.OutcomeCanceled), string(telemetry.OutcomeRejected),
		}
	case "cache":
		return []string{string(telemetry.CacheOff), string(telemetry.CacheHit), string(telemetry.CacheMiss), string(telemetry.CacheStale)}
	case "tier":
		return []string{string(catalog.Economy), string(catalog.Standard), string(catalog.Quality), "named"}
	case "request_type":
		return []string{"qa", "completion", "chat"}
	}
	return nil
}

// wrongValue says that a tag never has a value.
func wrongValue(key, value string) string {
	known := values(key)
	if known == nil || value == "" || value == "x" || strings.Contains(value, "*") || slices.Contains(known, value) {
		return ""
	}
	return fmt.Sprintf("the tag %s never has the value %q, only %s", key, value, strings.Join(known, ", "))
}

// units are those of Datadog's list of units that the catalogue may use.
var units = []string{
	"nanosecond", "microsecond", "millisecond", "second", "minute", "hour", "byte", "kibibyte", "mebibyte", "percent", "fraction",
	"dollar", "cent", "token", "request", "error", "attempt", "hit", "miss", "operation", "item", "event", "message", "occurrence", "count",
}

// checkUnit holds that Datadog knows the unit of a metric: it refuses the metadata otherwise.
func checkUnit(c *checker, d *doc) {
	for _, key := range []string{"unit", "per_unit"} {
		if at := d.body.key(key); at.exists() && !slices.Contains(units, at.text()) {
			c.bad(d, at, "%q is not a unit that Datadog knows", at.text())
		}
	}
	if d.body.key("description").text() == "" {
		c.bad(d, d.body.key("description"), "the metric has no description")
	}
}

// inUnit says that a bound is no sensible one for a query's metric: it was most often written in another unit.
func (c *checker) inUnit(d *doc, at node, q metric.Query, bound float64) {
	if q.Arithmetic() {
		return
	}
	for _, name := range q.Metrics() {
		info, ok := c.lookUp(name)
		if !ok {
			continue
		}
		shown := strconv.FormatFloat(bound, 'f', -1, 64)
		switch {
		case info.unit == "millisecond" && bound > 0 && bound < 10:
			c.bad(d, at, "%s is in milliseconds, so the bound of %s is less than any answer takes; seconds were meant?", name, shown)
		case info.unit == "fraction" && (bound < 0 || bound > 1) && !q.AsCount():
			c.bad(d, at, "%s is from 0 to 1, so the bound of %s is never crossed", name, shown)
		case info.unit == "percent" && (bound < 0 || bound > 100):
			c.bad(d, at, "%s is from 0 to 100, so the bound of %s is never crossed", name, shown)
		}
	}
}
