package api

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const dashboardKind = "dashboard"

// widgets are the types of widgets.
var widgets = strings.Fields(`alert_graph alert_value bar_chart change check_status cohort distribution embedded_app event_stream
	event_timeline free_text funnel geomap group heatgrid heatmap hostmap iframe image list_stream log_stream manage_status note
	point_plot powerpack query_table query_value retention_curve run_workflow sankey scatterplot servicemap slo slo_list
	split_group sunburst timeseries toplist topology_map trace_service treemap wildcard`)

func dashboards() kind {
	return kind{
		name: dashboardKind, path: "/api/v1/dashboard", api: "v1", create: "Dashboard", method: "PUT", codes: [3]int{200, 200, 200},
		id:     func(c *call) string { return c.a.triple() },
		check:  checkDashboard,
		view:   func(_ *call, o *object) obj { return viewDashboard(o) },
		list:   listDashboards,
		left:   func(o *object) any { return obj{"deleted_dashboard_id": o.id} },
		absent: func(id string) error { return missing("Dashboard with ID %s not found", id) },
	}
}

// checkDashboard judges a dashboard, and gives its widgets identifiers.
func checkDashboard(c *call, o, _ *object) error {
	b := o.body
	for _, key := range []string{"id", "author_handle", "author_name", "created_at", "modified_at", "url"} {
		delete(b, key)
	}
	_, isList := b["widgets"].([]any)
	layout, reflow := text(b, "layout_type"), text(b, "reflow_type")
	switch {
	case text(b, "title") == "":
		return bad("The parameter 'title' is required")
	case layout != "ordered" && layout != "free":
		return bad("The parameter 'layout_type' must be one of ordered, free")
	case !isList:
		return bad("The parameter 'widgets' is required")
	case reflow != "" && reflow != "auto" && reflow != "fixed":
		return bad("The parameter 'reflow_type' must be one of auto, fixed")
	case reflow != "" && layout == "free":
		return bad("The parameter 'reflow_type' is only for dashboards of layout_type ordered")
	case len(list(b, "tags")) > 5:
		return bad("A dashboard has at most 5 tags")
	}
	for _, tag := range list(b, "tags") {
		if s, ok := tag.(string); !ok || !strings.HasPrefix(s, "team:") || s == "team:" {
			return bad("Invalid tag %v: only tags of the form team:<name> are supported", tag)
		}
	}
	names := map[string]bool{}
	for _, v := range objs(b, "template_variables") {
		if name := text(v, "name"); name == "" || names[name] {
			return bad("Invalid template variable: its name %q is empty or taken", name)
		}
		names[text(v, "name")] = true
	}
	return checkWidgets(c, b, o.made, layout == "free" || reflow == "fixed", reflow == "auto")
}

// checkWidgets judges the widgets of a dashboard or of a group in one.
func checkWidgets(c *call, in, made obj, placed, flowing bool) error {
	ids := make([]any, len(list(in, "widgets")))
	groups := obj{}
	for i, w := range objs(in, "widgets") {
		typ := text(w, "definition", "type")
		layout := sub(w, "layout")
		switch {
		case !slices.Contains(widgets, typ):
			return bad("Invalid widget definition at position %d of type %s. Error: unknown type", i, typ)
		case placed && layout == nil:
			return bad("Invalid widget definition at position %d of type %s. Error: 'layout' is a required property", i, typ)
		case flowing && layout != nil:
			return bad("Invalid widget definition at position %d of type %s. Error: 'layout' is not allowed with reflow_type auto", i, typ)
		}
		if layout != nil {
			for _, side := range []string{"x", "y", "width", "height"} {
				if n, ok := number(layout, side); !ok || n < 0 {
					return bad("Invalid widget definition at position %d of type %s. Error: 'layout.%s' is invalid", i, typ, side)
				}
			}
		}
		ids[i] = w["id"]
		if ids[i] == nil {
			ids[i] = c.a.widgetID()
		}
		if typ == "group" {
			inner := obj{}
			if err := checkWidgets(c, sub(w, "definition"), inner, false, false); err != nil {
				return err
			}
			groups[strconv.Itoa(i)] = inner
		}
	}
	made["widgets"], made["groups"] = ids, groups
	return nil
}

// identify puts the identifiers that checkWidgets made into a copy of a dashboard.
func identify(in, made obj) {
	for i, w := range objs(in, "widgets") {
		if ids := list(made, "widgets"); i < len(ids) {
			w["id"] = ids[i]
		}
		if text(w, "definition", "type") == "group" {
			identify(sub(w, "definition"), sub(made, "groups", strconv.Itoa(i)))
		}
	}
}

// viewDashboard is how the API shows a dashboard.
func viewDashboard(o *object) obj {
	v := clone(o.body)
	identify(v, o.made)
	for key, empty := range map[string]any{
		"notify_list": []any{}, "template_variables": []any{}, "template_variable_presets": []any{}, "tags": []any{}, "restricted_roles": []any{}, "description": nil,
	} {
		if v[key] == nil {
			v[key] = empty
		}
	}
	fill(v, obj{"is_read_only": false})
	if text(v, "layout_type") == "ordered" {
		reflow := "auto"
		if slices.ContainsFunc(objs(v, "widgets"), func(w obj) bool { return w["layout"] != nil }) {
			reflow = "fixed"
		}
		fill(v, obj{"reflow_type": reflow})
	}
	for _, t := range objs(v, "template_variables") {
		fill(t, obj{"prefix": nil, "available_values": []any{}})
		if d := list(t, "defaults"); len(d) > 0 {
			t["default"] = d[0]
		}
	}
	maps.Copy(v, obj{
		"id": o.id, "author_handle": o.author.Email, "author_name": o.author.Name, "created_at": stamp(o.created),
		"modified_at": stamp(o.changed), "url": "/dashboard/" + o.id + "/" + slug(text(v, "title")),
	})
	return v
}

// slug is a title as it stands in a URL.
func slug(title string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), "-")
}

// listDashboards shows summaries: there are neither widgets nor tags in them.
func listDashboards(c *call, all []*object) (any, error) {
	p, err := ranged(c.q, "start", "count", 100, 1000)
	if err != nil {
		return nil, err
	}
	if c.q.Get("filter[deleted]") == "true" {
		all = c.a.store.gone(dashboardKind)
	}
	if c.q.Get("filter[shared]") == "true" {
		all = nil
	}
	return obj{"dashboards": views(cut(all, p), func(o *object) obj {
		v := viewDashboard(o)
		out := obj{}
		for _, key := range []string{"id", "title", "description", "author_handle", "created_at", "modified_at", "url", "is_read_only", "layout_type"} {
			out[key] = v[key]
		}
		if !o.deleted.IsZero() {
			out["deleted_at"] = stamp(o.deleted)
		}
		return out
	})}, nil
}
