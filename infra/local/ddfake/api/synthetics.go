package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

const testPath = "/api/v1/synthetics/tests"

// plainAssertions are the types of assertions that need a target.
var plainAssertions = []string{"statusCode", "responseTime", "header", "body"}

// tests are API tests. Each makes a monitor of its own, with the tags of the test.
func tests() kind {
	return kind{
		name: testKind, path: testPath + "/api", api: "v1", create: "SyntheticsAPITest", method: "PUT", codes: [3]int{200, 200, 0},
		id:     func(c *call) string { return c.a.triple() },
		check:  checkTest,
		view:   func(_ *call, o *object) obj { return viewTest(o) },
		after:  func(c *call, o *object) error { return c.a.commit(monitorOf(o)) },
		absent: func(string) error { return missing("Synthetics test not found") },
	}
}

// checkTest judges an API test.
func checkTest(c *call, o, old *object) error {
	b := o.body
	for _, key := range []string{"public_id", "monitor_id", "created_at", "modified_at", "creator"} {
		delete(b, key)
	}
	if old == nil {
		o.made["monitor"] = json.Number(monitorIDs(c.a))
	}
	_, hasMessage := b["message"].(string)
	status, subtype := text(b, "status"), text(b, "subtype")
	tick, ticks := number(b, "options", "tick_every")
	switch {
	case text(b, "type") != "api":
		return bad("type must be api")
	case subtype != "" && !slices.Contains(strings.Fields("http ssl tcp dns multi icmp udp websocket grpc"), subtype):
		return bad("subtype is invalid: %q", subtype)
	case text(b, "name") == "" || !hasMessage:
		return bad("name and message are required")
	case len(list(b, "locations")) == 0:
		return bad("locations must not be empty")
	case sub(b, "options") == nil || sub(b, "config") == nil:
		return bad("options and config are required")
	case ticks && (tick < 30 || tick > 604800):
		return bad("options.tick_every must be from 30 to 604800")
	case status != "" && status != "live" && status != "paused":
		return bad("status must be live or paused")
	case (subtype == "" || subtype == "http") && text(b, "config", "request", "url") == "":
		return bad("config.request.url is required")
	}
	for _, l := range list(b, "locations") {
		s, ok := l.(string)
		if provider, _, found := strings.Cut(s, ":"); !ok || !found || !slices.Contains([]string{"aws", "azure", "gcp", "pl"}, provider) {
			return bad("locations: unknown location %v", l)
		}
	}
	for i, assertion := range objs(b, "config", "assertions") {
		typ := text(assertion, "type")
		if typ == "" || typ != "javascript" && text(assertion, "operator") == "" {
			return bad("config.assertions[%d] needs a type and an operator", i)
		}
		if slices.Contains(plainAssertions, typ) && assertion["target"] == nil && !slices.Contains([]string{"doesNotExist", "isUndefined"}, text(assertion, "operator")) {
			return bad("config.assertions[%d] needs a target", i)
		}
	}
	for i, v := range objs(b, "config", "configVariables") {
		if text(v, "name") == "" || text(v, "type") == "" {
			return bad("config.configVariables[%d] needs a name and a type", i)
		}
		if text(v, "type") == "global" && c.a.store.get(globalVariableKind, text(v, "id")) == nil {
			return bad("config.configVariables[%d]: global variable %q not found", i, text(v, "id"))
		}
	}
	return nil
}

// monitorIDs makes the identifier of a monitor.
func monitorIDs(a *API) string { return monitors().id(&call{a: a}) }

// monitorOf is the monitor that comes with a test.
func monitorOf(o *object) *object {
	name := text(o.body, "options", "monitor_name")
	if name == "" {
		name = "[Synthetics] " + text(o.body, "name")
	}
	id, _ := o.made["monitor"].(json.Number)
	return &object{
		kind: monitorKind, id: id.String(), derived: true, author: o.author, created: o.created, changed: o.changed,
		body: obj{
			"name": name, "type": "synthetics alert", "query": "no_query", "message": text(o.body, "message"), "tags": copied(anys(texts(o.body, "tags"))),
			"options": obj{"synthetics_check_id": o.id},
		},
	}
}

// viewTest is how the API shows a test.
func viewTest(o *object) obj {
	v := clone(o.body)
	fill(v, obj{"status": "live", "subtype": "http", "tags": []any{}})
	fill(sub(v, "config"), obj{"assertions": []any{}, "configVariables": []any{}})
	options := sub(v, "options")
	fill(options, obj{"min_failure_duration": 0, "min_location_failed": 1, "monitor_options": obj{}})
	if m := sub(options, "monitor_options"); m != nil {
		fill(m, obj{
			"notify_audit": false, "locked": false, "include_tags": true, "new_host_delay": 300, "notify_no_data": false, "renotify_interval": 0,
			"on_missing_data": "show_no_data", "notification_preset_name": "show_all", "escalation_message": "",
		})
	}
	for _, c := range objs(v, "config", "configVariables") {
		if yes(c, "secure") {
			delete(c, "pattern")
		}
	}
	v["public_id"], v["monitor_id"], v["creator"] = o.id, o.made["monitor"], creator(o.author)
	v["created_at"], v["modified_at"] = stamp(o.created), stamp(o.changed)
	return v
}

// testRoutes adds the lists of tests of all types, and their deletion, which is a POST.
func (a *API) testRoutes() {
	a.route("GET "+testPath+"/{id}", route{handle: tests().doGet})
	a.route("GET "+testPath, route{handle: func(c *call) (int, any, error) {
		p, err := numbered(c.q, "page_number", "page_size", 100, 1000)
		return http.StatusOK, obj{"tests": views(cut(a.store.all(testKind), p), viewTest)}, err
	}})
	a.route("GET "+testPath+"/search", route{handle: func(c *call) (int, any, error) {
		p, err := ranged(c.q, "start", "count", 50, 1000)
		if err != nil {
			return 0, nil, err
		}
		var found []*object
		for _, o := range a.store.all(testKind) {
			if every(words(c.q.Get("text")), func(w string) bool {
				return contains(text(o.body, "name"), w) || slices.Contains(texts(o.body, "tags"), strings.TrimPrefix(w, "tag:"))
			}) {
				found = append(found, o)
			}
		}
		return http.StatusOK, obj{"tests": views(cut(found, p), viewTest), "total": len(found)}, nil
	}})
	a.route("POST "+testPath+"/delete", route{api: "v1", schema: "SyntheticsDeleteTestsPayload", handle: deleteTests})
}

func deleteTests(c *call) (int, any, error) {
	ids := texts(c.body, "public_ids")
	if len(ids) == 0 {
		return 0, nil, bad("public_ids is required")
	}
	var all []*object
	for _, id := range ids {
		o := c.a.store.get(testKind, id)
		if o == nil {
			return 0, nil, missing("Synthetics test %s not found", id)
		}
		all = append(all, o)
	}
	deleted := []any{}
	for _, o := range all {
		if err := c.a.drop(o); err != nil {
			return 0, nil, err
		}
		if err := c.a.drop(monitorOf(o)); err != nil {
			return 0, nil, err
		}
		deleted = append(deleted, obj{"public_id": o.id, "deleted_at": stamp(c.now)})
	}
	return http.StatusOK, obj{"deleted_tests": deleted}, nil
}
