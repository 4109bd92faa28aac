package api

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const monitorKind = "monitor"

// monitorTypes are Datadog's types of monitors.
var monitorTypes = []string{
	"composite", "event alert", "log alert", "metric alert", "process alert", "query alert", "rum alert", "service check",
	"synthetics alert", "trace-analytics alert", "slo alert", "event-v2 alert", "audit alert", "ci-pipelines alert",
	"ci-tests alert", "error-tracking alert", "database-monitoring alert", "network-performance alert", "cost alert",
	"data-quality alert", "network-path alert", "data-jobs alert", "llm-observability alert",
}

func monitors() kind {
	return kind{
		name: monitorKind, path: "/api/v1/monitor", api: "v1", create: "Monitor", update: "MonitorUpdateRequest", method: "PUT",
		codes: [3]int{200, 200, 200},
		id:    func(c *call) string { return strconv.FormatInt(c.a.serial(), 10) },
		check: func(c *call, o, old *object) error {
			if old == nil && text(o.body, "type") == "synthetics alert" {
				return bad("Synthetics monitors are made with their test")
			}
			if err := checkMonitor(c.a, o, old); err != nil || c.seeding {
				return err
			}
			return c.a.checkTwins(o)
		},
		merge:  func(c *call, old *object) (obj, error) { return over(old.body, c.body), nil },
		view:   func(_ *call, o *object) obj { return viewMonitor(o) },
		list:   listMonitors,
		free:   func(c *call, o *object) error { return c.a.freeMonitor(o, c.q.Get("force") == "true") },
		left:   func(o *object) any { return obj{"deleted_monitor_id": json.Number(o.id)} },
		absent: func(string) error { return missing("Monitor not found") },
	}
}

// monitorRoutes adds what is no create, get, list, update or delete.
func (a *API) monitorRoutes() {
	validate := func(c *call) (int, any, error) {
		o := &object{kind: monitorKind, id: c.param("id"), body: clone(c.body)}
		var old *object
		if o.id != "" {
			if old = a.store.get(monitorKind, o.id); old == nil {
				return 0, nil, missing("Monitor not found")
			}
		}
		if err := checkMonitor(a, o, old); err != nil {
			return 0, nil, err
		}
		return http.StatusOK, obj{}, a.checkTwins(o)
	}
	a.route("POST /api/v1/monitor/validate", route{api: "v1", schema: "Monitor", handle: validate})
	a.route("POST /api/v1/monitor/{id}/validate", route{api: "v1", schema: "Monitor", handle: validate})
	a.route("GET /api/v1/monitor/search", route{handle: searchMonitors})
	a.route("GET /api/v1/monitor/can_delete", route{handle: func(c *call) (int, any, error) {
		ok, problems := []any{}, obj{}
		for _, id := range split(c.q.Get("monitor_ids")) {
			o := a.store.get(monitorKind, id)
			if o == nil {
				return 0, nil, missing("Monitor not found")
			}
			if err := a.freeMonitor(o, false); err != nil {
				problems[id] = []string{err.Error()}
				continue
			}
			ok = append(ok, json.Number(id))
		}
		if len(problems) > 0 {
			return http.StatusConflict, obj{"data": obj{"ok": ok}, "errors": problems}, nil
		}
		return http.StatusOK, obj{"data": obj{"ok": ok}, "errors": nil}, nil
	}})
}

var (
	// condition is the end of a query: the comparison with the threshold.
	condition = regexp.MustCompile(`(>=|<=|==|!=|>|<)\s*(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*$`)
	// simple is a metric query without functions, arithmetic or percentiles: its monitor comes back as a "metric alert".
	simple      = regexp.MustCompile(`^(avg|min|max|sum)\(last_\w+\):(avg|min|max|sum):[\w.]+\{[^}]*\}( by \{[^}]*\})?\s*[<>]=?\s*[-0-9.eE]+\s*$`)
	sloQuery    = regexp.MustCompile(`^\s*(burn_rate|error_budget)\("([^"]*)"\)\.over\("([^"]*)"\)(?:\.long_window\("([^"]*)"\))?(?:\.short_window\("([^"]*)"\))?\s*[<>]=?`)
	digits      = regexp.MustCompile(`\d+`)
	isComposite = regexp.MustCompile(`^[\d\s&|!()]+$`)
)

// checkMonitor judges a monitor as POST, PUT and validate do.
func checkMonitor(a *API, o, old *object) error {
	b := o.body
	typ, query := text(b, "type"), text(b, "query")
	switch {
	case !slices.Contains(monitorTypes, typ):
		return bad("The value provided for parameter 'type' is invalid")
	case query == "":
		return bad("The value provided for parameter 'query' is invalid")
	case old != nil && !sameType(typ, text(old.body, "type")):
		return bad("Monitor type can not be changed from %s to %s", text(old.body, "type"), typ)
	case !within(b, 1, 5, "priority"):
		return bad("The value provided for parameter 'priority' is invalid")
	case len(texts(b, "tags")) != len(list(b, "tags")):
		return bad("The value provided for parameter 'tags' is invalid")
	case yes(b, "options", "notify_no_data") && text(b, "options", "on_missing_data") != "":
		return bad("Options on_missing_data and notify_no_data can not be used together")
	}
	if err := checkThresholds(typ, query, sub(b, "options")); err != nil {
		return err
	}
	switch typ {
	case "composite":
		if !isComposite.MatchString(query) {
			return bad("The value provided for parameter 'query' is invalid")
		}
		for _, id := range digits.FindAllString(query, -1) {
			if m := a.store.get(monitorKind, id); m == nil || text(m.body, "type") == "composite" {
				return bad("Some monitor IDs are invalid")
			}
		}
	case "slo alert":
		if err := a.checkSLOQuery(query); err != nil {
			return err
		}
	}
	return nil
}

// checkTwins refuses a second monitor of the same name, query, message and options. Seed plants one all the same.
func (a *API) checkTwins(o *object) error {
	twin := a.store.find(monitorKind, func(p *object) bool {
		return p.id != o.id && !p.derived && slices.Equal(essence(p.body), essence(o.body))
	})
	if twin != nil {
		return bad("Duplicate of an existing monitor_id:%s org_id:%d", twin.id, orgID)
	}
	return nil
}

// orgID is the number of the organisation.
const orgID = 4242

// essence is what makes two monitors duplicates.
func essence(b obj) []string {
	var out []string
	for _, key := range []string{"type", "query", "name", "message", "options"} {
		// Decoded JSON encodes again.
		raw, _ := json.Marshal(b[key])
		out = append(out, string(raw))
	}
	return out
}

// sameType reports whether an update may have a type: metric and query alerts are one.
func sameType(a, b string) bool {
	one := func(s string) string {
		if s == "metric alert" {
			return "query alert"
		}
		return s
	}
	return one(a) == one(b)
}

// checkThresholds judges the thresholds of a monitor by its query.
func checkThresholds(typ, query string, options obj) error {
	if typ == "composite" || typ == "service check" || typ == "event alert" || typ == "synthetics alert" || typ == "process alert" {
		return nil
	}
	m := condition.FindStringSubmatch(query)
	if m == nil {
		return bad("The value provided for parameter 'query' is invalid: it ends with no comparison")
	}
	threshold, err := strconv.ParseFloat(m[2], 64)
	if err != nil {
		return bad("The value provided for parameter 'query' is invalid: %s", m[2])
	}
	limits := sub(options, "thresholds")
	if critical, ok := number(limits, "critical"); ok && critical != threshold {
		return bad("Alert threshold (%s) does not match that used in the query (%s).", decimal(critical), decimal(threshold))
	}
	// Above the threshold is worse with > and below it with <.
	sign := 1.0
	if strings.HasPrefix(m[1], "<") {
		sign = -1
	}
	warning, warns := number(limits, "warning")
	if warns && sign*(threshold-warning) <= 0 {
		return bad("Warning threshold (%s) must be reached before the alert threshold (%s).", decimal(warning), decimal(threshold))
	}
	if recovery, ok := number(limits, "critical_recovery"); ok && sign*(threshold-recovery) <= 0 && !math.IsNaN(recovery) {
		return bad("Alert recovery threshold (%s) must not be beyond the alert threshold (%s).", decimal(recovery), decimal(threshold))
	}
	if recovery, ok := number(limits, "warning_recovery"); ok && (!warns || sign*(warning-recovery) <= 0) {
		return bad("Warning recovery threshold (%s) must not be beyond the warning threshold.", decimal(recovery))
	}
	if strings.Contains(query, "anomalies(") && (text(options, "threshold_windows", "trigger_window") == "" || text(options, "threshold_windows", "recovery_window") == "") {
		return bad("Anomaly monitors need threshold_windows with a trigger_window and a recovery_window")
	}
	return nil
}

// checkSLOQuery judges the query of a burn-rate or error-budget monitor.
func (a *API) checkSLOQuery(query string) error {
	m := sloQuery.FindStringSubmatch(query)
	if m == nil {
		return bad("The value provided for parameter 'query' is invalid: no burn_rate or error_budget")
	}
	o := a.store.get(sloKind, m[2])
	if o == nil {
		return bad("SLO with id %s not found", m[2])
	}
	var target float64
	for _, t := range objs(o.body, "thresholds") {
		if text(t, "timeframe") == m[3] {
			target, _ = number(t, "target")
		}
	}
	if target == 0 {
		return bad("SLO %s has no target for the timeframe %s", m[2], m[3])
	}
	if m[1] == "error_budget" {
		return nil
	}
	if long, err := time.ParseDuration(m[4]); err != nil || long < time.Hour || long > 48*time.Hour {
		return bad("The long window of a burn rate must be from 1h to 48h")
	}
	if _, err := time.ParseDuration(m[5]); err != nil {
		return bad("The short window of a burn rate is invalid")
	}
	threshold, err := strconv.ParseFloat(condition.FindStringSubmatch(query)[2], 64)
	// A little more is allowed, since 1/(1-0.999) is not a thousand in binary.
	if limit := 1 / (1 - target/100); err != nil || threshold > limit*(1+1e-9) {
		return bad("The burn rate threshold must be at most %s for a target of %s", decimal(math.Round(limit*1000)/1000), decimal(target))
	}
	return nil
}

// viewMonitor is how the API shows a monitor: with its options filled in.
func viewMonitor(o *object) obj {
	v := clone(o.body)
	options := sub(v, "options")
	if options == nil {
		options = obj{}
	}
	v["options"] = options
	fill(options, obj{
		"notify_audit": false, "notify_no_data": false, "include_tags": true, "locked": false, "silenced": obj{},
		"renotify_interval": nil, "timeout_h": nil, "escalation_message": "", "no_data_timeframe": nil,
	})
	if _, ok := options["new_group_delay"]; !ok {
		fill(options, obj{"new_host_delay": json.Number("300")})
	}
	typ, query := text(v, "type"), text(v, "query")
	if strings.HasSuffix(typ, " alert") && strings.Contains(query, ".rollup(") {
		fill(options, obj{"groupby_simple_monitor": false, "enable_logs_sample": false})
	}
	if m := condition.FindStringSubmatch(query); m != nil && typ != "composite" {
		if options["thresholds"] == nil {
			options["thresholds"] = obj{}
		}
		if f, err := strconv.ParseFloat(m[2], 64); err == nil {
			fill(sub(options, "thresholds"), obj{"critical": decimal(f)})
		}
		for name := range sub(options, "thresholds") {
			if f, ok := number(options, "thresholds", name); ok {
				sub(options, "thresholds")[name] = decimal(f)
			}
		}
	}
	if typ == "query alert" && simple.MatchString(query) {
		v["type"] = "metric alert"
	}
	fill(v, obj{"message": "", "name": "", "tags": []any{}, "priority": nil, "restricted_roles": nil, "draft_status": "published"})
	maps.Copy(v, (obj{
		"id": json.Number(o.id), "org_id": orgID, "created": stamp(o.created), "created_at": o.created.UnixMilli(), "modified": stamp(o.changed),
		"deleted": nil, "creator": creator(o.author), "multi": strings.Contains(query, " by {") || strings.Contains(query, ".by("),
		"overall_state": "No Data", "overall_state_modified": nil,
	}))
	return v
}

// stamp writes a time as most of version 1 of the API does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000+00:00") }

// listMonitors pages only when it is asked to.
func listMonitors(c *call, all []*object) (any, error) {
	out := []any{}
	tags, scope := split(c.q.Get("monitor_tags")), split(c.q.Get("tags"))
	after, err := whole(c.q, "id_offset", 0, math.MaxInt)
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		id, err := strconv.Atoi(o.id)
		has := func(tag string) bool { return slices.Contains(texts(o.body, "tags"), tag) }
		scoped := func(tag string) bool { return strings.Contains(text(o.body, "query"), tag) }
		if err != nil || id <= after || !every(tags, has) || !every(scope, scoped) || !contains(text(o.body, "name"), c.q.Get("name")) {
			continue
		}
		out = append(out, viewMonitor(o))
	}
	if !c.q.Has("page") && !c.q.Has("page_size") {
		return out, nil
	}
	p, err := numbered(c.q, "page", "page_size", 100, 1000)
	return cut(out, p), err
}

func every[T any](all []T, is func(T) bool) bool {
	return !slices.ContainsFunc(all, func(v T) bool { return !is(v) })
}

// searchMonitors finds by tag:, type:, id: and words of the name.
func searchMonitors(c *call) (int, any, error) {
	p, err := numbered(c.q, "page", "per_page", 30, 1000)
	if err != nil {
		return 0, nil, err
	}
	found := []any{}
	for _, o := range c.a.store.all(monitorKind) {
		if every(words(c.q.Get("query")), func(w string) bool { return matchesMonitor(o, w) }) {
			v := viewMonitor(o)
			found = append(found, obj{
				"id": v["id"], "name": v["name"], "type": v["type"], "status": v["overall_state"], "tags": v["tags"], "query": v["query"],
				"creator": v["creator"], "classification": "metric", "metrics": []any{}, "notifications": []any{}, "scopes": []any{}, "last_triggered_ts": nil,
			})
		}
	}
	pages := (len(found) + max(p.size, 1) - 1) / max(p.size, 1)
	return http.StatusOK, obj{
		"monitors": cut(found, p), "counts": obj{"status": []any{}, "muted": []any{}, "tag": []any{}, "type": []any{}},
		"metadata": obj{"page": p.offset / max(p.size, 1), "page_count": pages, "per_page": p.size, "total_count": len(found)},
	}, nil
}

// words parts a search at spaces; AND and parentheses say nothing that is not said by all words having to match.
func words(query string) []string {
	fields := strings.FieldsFunc(query, func(r rune) bool { return r == ' ' || r == '(' || r == ')' || r == '"' })
	var out []string
	for i := 0; i < len(fields); i++ {
		switch {
		case fields[i] == "AND":
		case strings.HasSuffix(fields[i], ":") && i+1 < len(fields):
			out = append(out, fields[i]+fields[i+1])
			i++
		default:
			out = append(out, fields[i])
		}
	}
	return out
}

func matchesMonitor(o *object, word string) bool {
	key, value, ok := strings.Cut(word, ":")
	switch {
	case !ok:
		return contains(text(o.body, "name"), word)
	case key == "tag":
		return slices.Contains(texts(o.body, "tags"), value)
	case key == "type":
		return contains(text(o.body, "type"), value)
	case key == "id":
		return o.id == value
	}
	return slices.Contains(texts(o.body, "tags"), word)
}

// freeMonitor says what still needs a monitor.
func (a *API) freeMonitor(o *object, force bool) error {
	if o.derived {
		return bad("monitor %s belongs to a synthetics test", o.id)
	}
	if force {
		return nil
	}
	for _, m := range a.store.all(monitorKind) {
		if text(m.body, "type") == "composite" && slices.Contains(digits.FindAllString(text(m.body, "query"), -1), o.id) {
			return bad("monitor [%s] is referenced in composite monitors: [%s]", o.id, m.id)
		}
	}
	for _, s := range a.store.all(sloKind) {
		for _, id := range list(s.body, "monitor_ids") {
			if n, ok := id.(json.Number); ok && n.String() == o.id {
				return bad("monitor [%s] is referenced in slos: [%s]", o.id, s.id)
			}
		}
	}
	return nil
}
