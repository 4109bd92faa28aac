package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

const sloKind = "slo"

func slos() kind {
	return kind{
		name: sloKind, path: "/api/v1/slo", api: "v1", create: "ServiceLevelObjectiveRequest", update: "ServiceLevelObjective", method: "PUT",
		codes: [3]int{200, 200, 200},
		id:    func(c *call) string { return c.a.hex32() },
		check: checkSLO,
		view: func(c *call, o *object) obj {
			v := viewSLO(o)
			if c.q.Get("with_configured_alert_ids") == "true" {
				v["configured_alert_ids"] = c.a.alertsOn(o.id)
			}
			return v
		},
		wrap: func(c *call, _ *object, view obj) any {
			// One SLO is a list when it was just written.
			if c.r != nil && c.r.Method == http.MethodGet {
				return obj{"data": view, "errors": []any{}}
			}
			return obj{"data": []any{view}, "error": nil, "errors": []any{}}
		},
		list: listSLOs,
		free: func(c *call, o *object) error {
			if alerts := c.a.alertsOn(o.id); len(alerts) > 0 && c.q.Get("force") != "true" {
				return &failure{status: http.StatusConflict, messages: []string{"SLO is used in a monitor"}, answer: obj{
					"data": []any{}, "errors": obj{o.id: "This SLO is used in a monitor"},
				}}
			}
			return nil
		},
		left:   func(o *object) any { return obj{"data": []any{o.id}} },
		absent: func(string) error { return missing("SLO not found") },
	}
}

// sloRoutes adds what is no create, get, list, update or delete.
func (a *API) sloRoutes() {
	a.route("GET /api/v1/slo/can_delete", route{handle: func(c *call) (int, any, error) {
		ok, problems := []any{}, obj{}
		for _, id := range split(c.q.Get("ids")) {
			if alerts := a.alertsOn(id); len(alerts) > 0 {
				problems[id] = "This SLO is used in a monitor"
				continue
			}
			ok = append(ok, id)
		}
		status := http.StatusOK
		if len(problems) > 0 {
			status = http.StatusConflict
		}
		return status, obj{"data": obj{"ok": ok}, "errors": problems}, nil
	}})
	a.route("GET /api/v1/slo/search", route{handle: func(c *call) (int, any, error) {
		p, err := numbered(c.q, "page[number]", "page[size]", 10, 1000)
		if err != nil {
			return 0, nil, err
		}
		found := []any{}
		for _, o := range a.store.all(sloKind) {
			if every(words(c.q.Get("query")), func(w string) bool {
				return slices.Contains(texts(o.body, "tags"), w) || contains(text(o.body, "name"), w)
			}) {
				v := viewSLO(o)
				found = append(found, obj{"data": obj{"id": o.id, "type": "slo", "attributes": obj{
					"name": v["name"], "description": v["description"], "all_tags": v["tags"], "thresholds": v["thresholds"], "slo_type": v["type"],
					"query": v["query"], "creator": v["creator"], "created_at": v["created_at"], "modified_at": v["modified_at"],
					"overall_status": []any{}, "status": obj{"state": "no_data"}, "service_tags": []any{}, "team_tags": []any{}, "env_tags": []any{}, "groups": nil,
				}}})
			}
		}
		return http.StatusOK, obj{
			"data": obj{"type": "", "attributes": obj{"facets": obj{}, "slos": cut(found, p)}},
			"meta": obj{"pagination": obj{"number": p.offset / max(p.size, 1), "size": p.size, "total": len(found), "type": "number_size"}},
		}, nil
	}})
}

// timeframes are those that a target can have.
var timeframes = []string{"7d", "30d", "90d"}

// checkSLO judges an SLO, and fills in what is derived from its thresholds.
func checkSLO(c *call, o, old *object) error {
	b := o.body
	for _, key := range []string{"id", "created_at", "modified_at", "creator", "type_id"} {
		delete(b, key)
	}
	typ := text(b, "type")
	switch {
	case text(b, "name") == "":
		return bad("Invalid SLO: name is required")
	case !slices.Contains([]string{"metric", "monitor", "time_slice"}, typ):
		return bad("Invalid SLO: type is invalid")
	case old != nil && typ != text(old.body, "type"):
		return bad("Invalid SLO: type can not be changed")
	case len(list(b, "thresholds")) == 0:
		return bad("Invalid SLO: at least one threshold is required")
	}
	seen := map[string]bool{}
	for _, t := range objs(b, "thresholds") {
		frame := text(t, "timeframe")
		target, ok := number(t, "target")
		warning, warns := number(t, "warning")
		switch {
		case !slices.Contains(timeframes, frame):
			return bad("Invalid SLO: timeframe %q is invalid", frame)
		case seen[frame]:
			return bad("Invalid SLO: timeframe %q is given twice", frame)
		case !ok || target <= 0 || target >= 100:
			return bad("Invalid SLO: target must be above 0 and below 100")
		case warns && (warning <= target || warning > 100):
			return bad("Invalid SLO: warning must be above target")
		}
		seen[frame] = true
	}
	count, slice := sub(b, "sli_specification", "count"), sub(b, "sli_specification", "time_slice")
	switch typ {
	case "metric":
		if count == nil && (text(b, "query", "numerator") == "" || text(b, "query", "denominator") == "") {
			return bad("Invalid SLO: query needs a numerator and a denominator")
		}
		if count != nil && (count["total_events_formula"] != nil) == (count["bad_events_formula"] != nil) {
			return bad("Invalid SLO: either total_events_formula or bad_events_formula is required")
		}
	case "time_slice":
		if slice == nil {
			return bad("Invalid SLO: sli_specification.time_slice is required")
		}
		fill(slice, obj{"query_interval_seconds": json.Number("300")})
		if n, _ := number(slice, "query_interval_seconds"); n != 60 && n != 300 {
			return bad("Invalid SLO: query_interval_seconds must be 60 or 300")
		}
		if !slices.Contains([]string{">", ">=", "<", "<="}, text(slice, "comparator")) {
			return bad("Invalid SLO: comparator is invalid")
		}
	case "monitor":
		if len(list(b, "monitor_ids")) == 0 {
			return bad("Invalid SLO: monitor_ids are required")
		}
		for _, id := range list(b, "monitor_ids") {
			if n, ok := id.(json.Number); !ok || c.a.store.get(monitorKind, n.String()) == nil {
				return bad("Invalid SLO: monitor %v not found", id)
			}
		}
	}
	return nil
}

// viewSLO is how the API shows an SLO.
func viewSLO(o *object) obj {
	v := clone(o.body)
	fill(v, obj{"description": "", "tags": []any{}, "monitor_tags": []any{}})
	for i, t := range objs(v, "thresholds") {
		for _, key := range []string{"target", "warning"} {
			if f, ok := number(t, key); ok {
				t[key] = decimal(f)
				t[key+"_display"] = strings.TrimSuffix(decimal(f).String(), "0")
			}
		}
		// The first threshold is the primary one when none is named.
		if i == 0 {
			fill(v, obj{"timeframe": t["timeframe"], "target_threshold": t["target"]})
			if t["warning"] != nil {
				fill(v, obj{"warning_threshold": t["warning"]})
			}
		}
	}
	maps.Copy(v, obj{
		"id": o.id, "creator": creator(o.author), "created_at": o.created.Unix(), "modified_at": o.changed.Unix(),
		"type_id": slices.Index([]string{"monitor", "metric", "time_slice"}, text(v, "type")),
	})
	return v
}

// listSLOs finds by ids, name and one tag.
func listSLOs(c *call, all []*object) (any, error) {
	p, err := ranged(c.q, "offset", "limit", 1000, 1000)
	if err != nil {
		return nil, err
	}
	if c.q.Get("is_deleted") == "true" {
		all = c.a.store.gone(sloKind)
	}
	ids, tags := split(c.q.Get("ids")), words(c.q.Get("tags_query"))
	found := []any{}
	for _, o := range all {
		has := func(tag string) bool { return slices.Contains(texts(o.body, "tags"), tag) }
		if (len(ids) == 0 || slices.Contains(ids, o.id)) && every(tags, has) && contains(text(o.body, "name"), c.q.Get("query")) {
			found = append(found, viewSLO(o))
		}
	}
	if len(ids) > 0 && len(found) == 0 {
		return nil, missing("SLO not found")
	}
	return obj{"data": cut(found, p), "errors": []any{}, "metadata": obj{"page": obj{
		"total_count": len(all), "total_filtered_count": len(found),
	}}}, nil
}

// alertsOn returns the monitors on an SLO.
func (a *API) alertsOn(slo string) []any {
	ids := []any{}
	for _, m := range a.store.all(monitorKind) {
		if q := sloQuery.FindStringSubmatch(text(m.body, "query")); text(m.body, "type") == "slo alert" && q != nil && q[2] == slo {
			ids = append(ids, json.Number(m.id))
		}
	}
	return ids
}
