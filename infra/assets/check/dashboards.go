package check

import (
	"regexp"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
)

var word = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_]*)(\(?)`)

func parseMetric(text string) (metric.Query, error) { return metric.Parse(text) }

// templateVariables reads the template variables of a dashboard or notebook.
func (c *checker) templateVariables(d *doc, list node) variables {
	vars := variables{}
	for _, v := range list.items() {
		name := v.key("name")
		if _, twice := vars[name.text()]; twice || name.text() == "" {
			c.bad(d, name, "the template variable has no name of its own")
		}
		vars[name.text()] = v.key("prefix").text()
		if v.key("default").exists() && v.key("defaults").exists() {
			c.bad(d, v.key("default"), "default is the old form of defaults; Datadog takes one of the two")
		}
		for _, value := range append(v.key("available_values").items(), v.key("defaults").items()...) {
			if reason := wrongValue(v.key("prefix").text(), value.text()); reason != "" {
				c.bad(d, value, "%s", reason)
			}
		}
	}
	return vars
}

// unused holds that every template variable changes something.
func (c *checker) unused(d *doc, list, widgets node) {
	used := map[string]bool{}
	widgets.each(func(at node) {
		for _, m := range variable.FindAllStringSubmatch(at.text(), -1) {
			used[m[1]] = true
		}
	})
	for _, v := range list.items() {
		if name := v.key("name").text(); !used[name] {
			c.bad(d, v, "no widget uses the template variable $%s", name)
		}
	}
}

// checkDashboard holds the documented rules of a dashboard, and that its widgets show what exists.
func checkDashboard(c *checker, d *doc) {
	tags := d.body.key("tags")
	if n := len(tags.items()); n > 5 {
		c.bad(d, tags, "a dashboard has at most 5 tags, not %d", n)
	}
	for _, t := range tags.items() {
		if name, ok := strings.CutPrefix(t.text(), "team:"); !ok {
			c.bad(d, t, "Datadog takes only team: tags on dashboards, not %q", t.text())
		} else if c.with(assets.Team, name, "data", "attributes", "handle") == nil {
			c.bad(d, t, "there is no team with the handle %q", name)
		}
	}
	list := d.body.key("template_variables")
	vars := c.templateVariables(d, list)
	for _, preset := range d.body.key("template_variable_presets").items() {
		for _, v := range preset.key("template_variables").items() {
			if _, ok := vars[v.key("name").text()]; !ok {
				c.bad(d, v.key("name"), "the preset sets $%s, which is not defined", v.key("name").text())
			}
			for _, value := range v.key("values").items() {
				if reason := wrongValue(vars[v.key("name").text()], value.text()); reason != "" {
					c.bad(d, value, "%s", reason)
				}
			}
		}
	}
	c.unused(d, list, d.body.key("widgets"))
	c.layout(d, d.body.key("widgets"), d.body.key("layout_type").text(), d.body.key("reflow_type").text())
	c.widgets(d, d.body.key("widgets"), vars)
}

// columns is the width of a dashboard's grid.
const columns = 12

// layout holds that widgets lie inside of the grid and not on each other, and have a place just where Datadog wants one.
func (c *checker) layout(d *doc, widgets node, kind, reflow string) {
	type box struct{ x, y, w, h float64 }
	var placed []box
	for _, w := range widgets.items() {
		at := w.key("layout")
		if kind == "ordered" && reflow == "auto" {
			if at.exists() {
				c.bad(d, at, "reflow_type auto places widgets by itself, and takes no layout")
			}
			continue
		}
		if !at.exists() {
			c.bad(d, at, "the widget has no place: with reflow_type fixed each needs a layout")
			continue
		}
		var b box
		b.x, _ = at.key("x").number()
		b.y, _ = at.key("y").number()
		b.w, _ = at.key("width").number()
		b.h, _ = at.key("height").number()
		if b.x < 0 || b.y < 0 || b.w < 1 || b.h < 1 || kind == "ordered" && b.x+b.w > columns {
			c.bad(d, at, "the widget is not inside of the %d columns", columns)
		}
		for i, other := range placed {
			if b.x < other.x+other.w && other.x < b.x+b.w && b.y < other.y+other.h && other.y < b.y+b.h {
				c.bad(d, at, "the widget lies on widget %d", i)
				break
			}
		}
		placed = append(placed, b)
		if group := w.key("definition", "widgets"); group.exists() {
			c.layout(d, group, "ordered", "fixed")
		}
	}
}

// widgets checks what each widget shows.
func (c *checker) widgets(d *doc, list node, vars variables) {
	for _, w := range list.items() {
		definition := w.key("definition")
		c.widgets(d, definition.key("widgets"), vars)
		switch definition.key("type").text() {
		case "slo":
			c.refer(d, definition.key("slo_id"), assets.SLO)
		case "alert_graph", "alert_value":
			c.refer(d, definition.key("alert_id"), assets.Monitor)
		case "run_workflow":
			c.runWorkflow(d, definition)
		case "servicemap":
			c.serviceIs(d, definition.key("service"))
			c.mapFilters(d, definition.key("filters"), vars)
		case "manage_status":
			c.monitorSearch(d, definition.key("query"))
		case "note", "free_text", "image", "iframe", "group":
		default:
			if len(definition.key("requests").items()) == 0 && len(definition.key("requests").keys()) == 0 {
				c.bad(d, definition.key("requests"), "the widget asks for nothing")
			}
		}
		for _, request := range requests(definition.key("requests")) {
			c.request(d, request, vars)
		}
	}
}

// requests returns the requests of a widget: a list, or an object of a few, such as x and y of a scatter plot.
func requests(at node) []node {
	out := at.items()
	for _, k := range at.keys() {
		out = append(out, at.key(k))
	}
	return out
}

// mapFilters checks the filters of a service map. Datadog wants at least one, and a * stands for all.
func (c *checker) mapFilters(d *doc, at node, vars variables) {
	for _, f := range at.items() {
		filled, unknown := vars.fill(f.text())
		for _, name := range unknown {
			c.bad(d, f, "the template variable $%s is not defined", name)
		}
		key, value, ok := strings.Cut(filled, ":")
		switch {
		case filled == "*":
		case !ok:
			c.bad(d, f, "a filter of the service map is like env:production")
		case wrongValue(key, value) != "":
			c.bad(d, f, "%s", wrongValue(key, value))
		}
	}
}

func (c *checker) serviceIs(d *doc, at node) {
	if at.text() != service {
		c.bad(d, at, "the service %q is not ours, %s", at.text(), service)
	}
}

var (
	// monitorKey is a key of a search of monitors, which has a syntax of its own: tag:(service:x) and the like.
	monitorKey  = regexp.MustCompile(`(?:^|[\s(-])([a-z_]+):`)
	monitorKeys = []string{"tag", "status", "type", "title", "notification", "muted", "priority", "group", "scope", "metric", "id", "creator", "team", "service", "env", "managed_by", "asset_key", "route"}
)

// monitorSearch checks a search of monitors.
func (c *checker) monitorSearch(d *doc, at node) {
	if strings.Count(at.text(), "(") != strings.Count(at.text(), ")") {
		c.bad(d, at, "the parentheses do not match")
	}
	for _, m := range monitorKey.FindAllStringSubmatch(at.text(), -1) {
		if !slices.Contains(monitorKeys, m[1]) {
			c.bad(d, at, "monitors can't be searched by %s", m[1])
		}
	}
	if m := serviceIs.FindStringSubmatch(at.text()); m != nil && m[1] != service {
		c.bad(d, at, "the service %q is not ours, %s", m[1], service)
	}
}

// runWorkflow holds that a button starts a workflow of ours with inputs that it has.
func (c *checker) runWorkflow(d *doc, definition node) {
	at := definition.key("workflow_id")
	c.refer(d, at, assets.Workflow)
	w := c.referred(at, assets.Workflow)
	if w == nil {
		return
	}
	var declared []string
	for _, p := range w.body.key("data", "attributes", "spec", "inputSchema", "parameters").items() {
		declared = append(declared, p.key("name").text())
	}
	for _, in := range definition.key("inputs").items() {
		if !slices.Contains(declared, in.key("name").text()) {
			c.bad(d, in.key("name"), "%s has no input %q, only %s", w.File, in.key("name").text(), strings.Join(declared, ", "))
		}
	}
}

// streams are the data sources of list_stream, and of event queries, with what they look at.
var streams = map[string]source{
	"logs_stream": logs, "logs": logs, "logs_pattern_stream": logs, "logs_transaction_stream": logs,
	"trace_stream": spans, "spans": spans,
	"llm_observability_stream": llmSpans, "llm_observability": llmSpans,
	"event_stream": events, "events": events,
}

// request checks the queries and formulas of one request, in the new form or in the old.
func (c *checker) request(d *doc, request node, vars variables) {
	if at := request.key("q"); at.exists() {
		c.metricQuery(d, at, at.text(), vars)
	}
	queries := request.key("queries").items()
	if one := request.key("query"); one.exists() {
		queries = append(queries, one)
	}
	var names []string
	for _, q := range queries {
		if name := q.key("name"); name.exists() {
			if slices.Contains(names, name.text()) {
				c.bad(d, name, "there are two queries %q", name.text())
			}
			names = append(names, name.text())
		}
		c.dataQuery(d, q, vars)
	}
	for _, f := range request.key("formulas").items() {
		c.formula(d, f.key("formula"), names)
	}
}

// dataQuery checks one query by its data source.
func (c *checker) dataQuery(d *doc, q node, vars variables) {
	from := q.key("data_source").text()
	of, known := streams[from]
	switch {
	case from == "metrics":
		c.metricQuery(d, q.key("query"), q.key("query").text(), vars)
	case from == "slo":
		c.refer(d, q.key("slo_id"), assets.SLO)
	case from == "service_map":
		c.serviceIs(d, q.key("service"))
		c.mapFilters(d, q.key("filters"), vars)
	case known:
		at := q.key("search", "query")
		if !at.exists() {
			at = q.key("query_string")
		}
		c.search(d, at, at.text(), of, vars)
		for _, g := range q.key("group_by").items() {
			c.facet(d, g.key("facet"), g.key("facet").text(), of)
		}
		if m := q.key("compute", "metric"); m.exists() {
			c.facet(d, m, m.text(), of)
		}
	case q.key("query_string").exists():
		c.parses(d, q.key("query_string"), q.key("query_string").text(), vars)
	}
}

// checkNotebook holds the documented rules of a notebook, and that its cells show what exists.
func checkNotebook(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	if at := attributes.key("name"); len([]rune(at.text())) > 80 {
		c.bad(d, at, "the name has %d characters; at most 80 are allowed", len([]rune(at.text())))
	}
	if at := attributes.key("status"); at.exists() && at.text() != "published" {
		c.bad(d, at, "the notebook is %q, not published", at.text())
	}
	list := attributes.key("template_variables")
	vars := c.templateVariables(d, list)
	c.unused(d, list, attributes.key("cells"))
	for _, cell := range attributes.key("cells").items() {
		definition := cell.key("attributes", "definition")
		if definition.key("type").text() == "log_stream" {
			c.search(d, definition.key("query"), definition.key("query").text(), logs, vars)
		}
		for _, request := range definition.key("requests").items() {
			c.request(d, request, vars)
		}
	}
}
