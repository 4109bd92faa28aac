package check

import (
	"net/url"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
)

// checkSpansMetric and checkLogsMetric hold that a metric that Datadog makes of spans or logs is made of what they have.
func checkSpansMetric(c *checker, d *doc) { c.generated(d, spans) }
func checkLogsMetric(c *checker, d *doc)  { c.generated(d, logs) }

func (c *checker) generated(d *doc, of source) {
	id := d.body.key("data", "id")
	if id.text() != d.Key {
		c.bad(d, id, "the metric is called %q, but the file %s", id.text(), d.Key)
	}
	for _, m := range c.o.Catalogue {
		if m.Name == id.text() {
			c.bad(d, id, "the functions send a metric of this name")
		}
	}
	attributes := d.body.key("data", "attributes")
	compute := attributes.key("compute")
	distribution := compute.key("aggregation_type").text() == "distribution"
	if distribution != compute.key("path").exists() {
		c.bad(d, compute.key("path"), "a distribution has a path, and a count has none")
	}
	if at := compute.key("path"); at.exists() {
		c.facet(d, at, at.text(), of)
	}
	if at := compute.key("include_percentiles"); at.exists() && !distribution {
		c.bad(d, at, "percentiles are for distributions only")
	}
	filter := attributes.key("filter", "query")
	c.search(d, filter, filter.text(), of, nil)
	c.selects(d, filter)
	seen := map[string]bool{}
	for _, g := range attributes.key("group_by").items() {
		c.facet(d, g.key("path"), g.key("path").text(), of)
		tag := g.key("tag_name")
		if seen[tag.text()] {
			c.bad(d, tag, "the tag %s is made twice", tag.text())
		}
		seen[tag.text()] = true
	}
}

// checkRetentionFilter holds that a filter is on and keeps something.
func checkRetentionFilter(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	if at := attributes.key("enabled"); !at.is() {
		c.bad(d, at, "the filter is off")
	}
	for _, key := range []string{"rate", "trace_rate"} {
		at := attributes.key(key)
		if rate, ok := at.number(); at.exists() && (!ok || rate <= 0 || rate > 1) {
			c.bad(d, at, "a rate is above 0 and up to 1")
		}
	}
	query := attributes.key("filter", "query")
	c.search(d, query, query.text(), spans, nil)
	c.selects(d, query)
}

// checkEntity holds that the catalogue's entry is of our service and team.
func checkEntity(c *checker, d *doc) {
	metadata := d.body.key("metadata")
	c.serviceIs(d, metadata.key("name"))
	if at := metadata.key("owner"); c.with(assets.Team, at.text(), "data", "attributes", "handle") == nil {
		c.bad(d, at, "there is no team with the handle %q", at.text())
	}
	for _, l := range metadata.key("links").items() {
		at := l.key("url")
		if functionURL.MatchString(at.text()) {
			continue // checkURLs sees to it.
		}
		if u, err := url.Parse(at.text()); err != nil || u.Scheme != "https" || u.Host == "" {
			c.bad(d, at, "%q is no https URL", at.text())
		}
	}
	for _, l := range d.body.key("datadog", "logs").items() {
		c.search(d, l.key("query"), l.key("query").text(), logs, nil)
	}
	for _, e := range d.body.key("datadog", "events").items() {
		c.search(d, e.key("query"), e.key("query").text(), events, nil)
	}
	for _, contact := range metadata.key("contacts").items() {
		if at := contact.key("contact"); strings.Contains(at.text(), "@") {
			c.bad(d, at, "addresses are the organisation's choice: write ${setting:oncall_email}")
		}
	}
}

// checkRUM holds that the application is a web page.
func checkRUM(c *checker, d *doc) {
	if at := d.body.key("data", "attributes", "type"); at.text() != "browser" {
		c.bad(d, at, "the theater is a web page: the type is browser, not %q", at.text())
	}
}
