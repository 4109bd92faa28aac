package api

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	scheduleKind = "schedule"
	policyKind   = "escalation-policy"
	routingKind  = "routing-rules"
)

// asks reports whether a request asks for a kind of resource to be included.
func (c *call) asks(what string) bool { return slices.Contains(split(c.q.Get("include")), what) }

// withIncluded wraps a view together with what the request asks to include.
func withIncluded(of func(c *call, o *object) []any) func(c *call, o *object, view obj) any {
	return func(c *call, o *object, view obj) any {
		answer := obj{"data": view}
		if in := of(c, o); len(in) > 0 {
			answer["included"] = in
		}
		return answer
	}
}

// schedules show their layers only where they are asked for with include.
func schedules() kind {
	return kind{
		name: scheduleKind, path: "/api/v2/on-call/schedules", api: "v2", create: "ScheduleCreateRequest", update: "ScheduleUpdateRequest",
		method: "PUT", codes: [3]int{201, 200, 204}, id: uuidOf, check: checkSchedule,
		view: func(_ *call, o *object) obj {
			v := viewSchedule(o)
			sub(v, "relationships")["layers"] = obj{"data": links("layers", texts(o.made, "layers"))}
			return v
		},
		wrap: withIncluded(includedSchedule),
		list: func(c *call, all []*object) (any, error) {
			p, err := numbered(c.q, "page[number]", "page[size]", 10, 100)
			if err != nil {
				return nil, err
			}
			var found []*object
			for _, o := range all {
				if matchesSchedule(o, c.q.Get("filter[query]")) {
					found = append(found, o)
				}
			}
			return obj{"data": views(cut(found, p), viewSchedule), "meta": obj{"page": obj{
				"type": "number_size", "number": p.offset / max(p.size, 1), "size": p.size, "total": len(found), "first_number": 0,
			}}}, nil
		},
		absent: func(string) error { return missing("schedule not found") },
	}
}

// matchesSchedule finds by a name, with * at its end for a prefix, or by team.id:.
func matchesSchedule(o *object, query string) bool {
	if team, ok := strings.CutPrefix(query, "team.id:"); ok {
		return slices.Contains(refs(o.body, "data", "relationships", "teams", "data"), team)
	}
	name := text(o.body, "data", "attributes", "name")
	if prefix, ok := strings.CutSuffix(query, "*"); ok {
		return strings.HasPrefix(strings.ToLower(name), strings.ToLower(prefix))
	}
	return contains(name, query)
}

// checkSchedule judges a schedule. A layer keeps its identifier when the update names it.
func checkSchedule(c *call, o, old *object) error {
	attrs, err := attributes(o.body, "schedules")
	if err != nil {
		return err
	}
	if old != nil && text(o.body, "data", "id") != o.id {
		return bad("data.id must be %s", o.id)
	}
	delete(sub(o.body, "data"), "id")
	if text(attrs, "name") == "" || len(list(attrs, "layers")) == 0 {
		return bad("name and layers are required")
	}
	if _, err := time.LoadLocation(text(attrs, "time_zone")); err != nil || text(attrs, "time_zone") == "" {
		return bad("time_zone is invalid: %q", text(attrs, "time_zone"))
	}
	before := texts(o.made, "layers")
	ids := make([]any, len(list(attrs, "layers")))
	for i, l := range objs(attrs, "layers") {
		if err := c.a.checkLayer(l); err != nil {
			return err
		}
		ids[i] = l["id"]
		if id, ok := l["id"].(string); !ok || !slices.Contains(before, id) {
			if l["id"] != nil {
				return bad("layer %v not found", l["id"])
			}
			ids[i] = c.a.uuid()
		}
		delete(l, "id")
	}
	o.made["layers"] = ids
	return c.a.checkTeams(o.body)
}

func (a *API) checkLayer(l obj) error {
	name := text(l, "name")
	for _, key := range []string{"effective_date", "rotation_start"} {
		if _, err := time.Parse(time.RFC3339, text(l, key)); err != nil {
			return bad("layer %s: %s is no time", name, key)
		}
	}
	days, _ := number(l, "interval", "days")
	seconds, _ := number(l, "interval", "seconds")
	if name == "" || days < 0 || days > 400 || seconds < 0 || seconds > 2592000 || days*86400+seconds < 3600 {
		return bad("layer %s: it has no name, or its interval is not from 1 hour to 400 days", name)
	}
	if len(list(l, "members")) == 0 {
		return bad("layer %s: members are required", name)
	}
	for _, m := range objs(l, "members") {
		if id := text(m, "user", "id"); m["user"] != nil {
			if _, ok := a.known(id); !ok {
				return bad("layer %s: user %q not found", name, id)
			}
		}
	}
	return nil
}

// checkTeams judges the relationship to teams.
func (a *API) checkTeams(b obj) error {
	for _, id := range refs(b, "data", "relationships", "teams", "data") {
		if a.store.get(teamKind, id) == nil {
			return bad("relationships.teams: team %q not found", id)
		}
	}
	return nil
}

func viewSchedule(o *object) obj {
	attrs := sub(o.body, "data", "attributes")
	v := resource(o, "schedules", obj{"name": attrs["name"], "time_zone": attrs["time_zone"], "tags": []any{}})
	if tags := list(attrs, "tags"); tags != nil {
		sub(v, "attributes")["tags"] = copied(tags)
	}
	v["relationships"] = obj{"teams": obj{"data": links("teams", refs(o.body, "data", "relationships", "teams", "data"))}}
	return v
}

func includedSchedule(c *call, o *object) []any {
	var in []any
	ids := texts(o.made, "layers")
	for i, l := range objs(o.body, "data", "attributes", "layers") {
		if !c.asks("layers") || i >= len(ids) {
			continue
		}
		attrs := clone(l)
		delete(attrs, "members")
		fill(attrs, obj{"restrictions": []any{}, "time_zone": text(o.body, "data", "attributes", "time_zone")})
		var members []string
		for j, m := range objs(l, "members") {
			// A member is of a layer and a place in it.
			id := ids[i] + "-" + string(rune('a'+j%26))
			members = append(members, id)
			if c.asks("layers.members") {
				rel := obj{"user": obj{"data": nil}}
				if user := text(m, "user", "id"); user != "" {
					rel["user"] = obj{"data": obj{"id": user, "type": "users"}}
				}
				in = append(in, obj{"id": id, "type": "members", "relationships": rel})
			}
			if u, ok := c.a.known(text(m, "user", "id")); ok && c.asks("layers.members.user") {
				in = append(in, obj{"id": u.ID, "type": "users", "attributes": obj{"email": u.Email, "name": u.Name, "status": "active"}})
			}
		}
		in = append(in, obj{"id": ids[i], "type": "layers", "attributes": attrs, "relationships": obj{"members": obj{"data": links("members", members)}}})
	}
	return append(in, c.includedTeams(o)...)
}

// includedTeams are the teams that an object is related to.
func (c *call) includedTeams(o *object) []any {
	var in []any
	for _, id := range refs(o.body, "data", "relationships", "teams", "data") {
		if t := c.a.store.get(teamKind, id); t != nil && c.asks("teams") {
			attrs := sub(t.body, "data", "attributes")
			in = append(in, obj{"id": id, "type": "teams", "attributes": obj{"name": attrs["name"], "handle": attrs["handle"], "description": text(attrs, "description"), "avatar": ""}})
		}
	}
	return in
}

// policies have no list: they are found by the routing rules of a team.
func policies() kind {
	return kind{
		name: policyKind, path: "/api/v2/on-call/escalation-policies", api: "v2", create: "EscalationPolicyCreateRequest",
		update: "EscalationPolicyUpdateRequest", method: "PUT", codes: [3]int{201, 200, 204}, id: uuidOf, check: checkPolicy,
		view: func(_ *call, o *object) obj { return viewPolicy(o) },
		wrap: withIncluded(func(c *call, o *object) []any {
			var in []any
			if c.asks("steps") {
				in = includedSteps(c, o)
			}
			return append(in, c.includedTeams(o)...)
		}),
		absent: func(string) error { return missing("escalation policy not found") },
	}
}

// checkPolicy judges an escalation policy. A step keeps its identifier when the update names it.
func checkPolicy(c *call, o, old *object) error {
	attrs, err := attributes(o.body, "policies")
	if err != nil {
		return err
	}
	if old != nil && text(o.body, "data", "id") != o.id {
		return bad("data.id must be %s", o.id)
	}
	delete(sub(o.body, "data"), "id")
	steps := objs(attrs, "steps")
	switch {
	case text(attrs, "name") == "":
		return bad("name is required")
	case len(steps) < 1 || len(steps) > 10:
		return bad("a policy has 1 to 10 steps")
	case !within(attrs, 0, 10, "retries"):
		return bad("retries must be from 0 to 10")
	}
	before := texts(o.made, "steps")
	ids := make([]any, len(steps))
	for i, s := range steps {
		if err := c.a.checkPolicyStep(i, s); err != nil {
			return err
		}
		ids[i] = s["id"]
		if id, ok := s["id"].(string); !ok || !slices.Contains(before, id) {
			if s["id"] != nil {
				return bad("step %v not found", s["id"])
			}
			ids[i] = c.a.uuid()
		}
		delete(s, "id")
	}
	o.made["steps"] = ids
	return c.a.checkTeams(o.body)
}

func (a *API) checkPolicyStep(i int, s obj) error {
	assignment := text(s, "assignment")
	switch {
	case assignment != "" && assignment != "default" && assignment != "round-robin":
		return bad("steps[%d]: assignment must be default or round-robin", i)
	case !within(s, 60, 36000, "escalate_after_seconds"):
		return bad("steps[%d]: escalate_after_seconds must be from 60 to 36000", i)
	case len(list(s, "targets")) < 1 || len(list(s, "targets")) > 10:
		return bad("steps[%d]: a step has 1 to 10 targets", i)
	}
	for _, t := range objs(s, "targets") {
		id, position := text(t, "id"), text(t, "config", "schedule", "position")
		_, user := a.known(id)
		found := map[string]bool{"users": user, "schedules": a.store.get(scheduleKind, id) != nil, "teams": a.store.get(teamKind, id) != nil}
		exists, known := found[text(t, "type")]
		switch {
		case !known:
			return bad("steps[%d]: a target must be of type users, schedules or teams", i)
		case !exists:
			return bad("steps[%d]: target %s %q not found", i, text(t, "type"), id)
		case position != "" && (text(t, "type") != "schedules" || !slices.Contains([]string{"previous", "current", "next"}, position)):
			return bad("steps[%d]: the position of a schedule must be previous, current or next", i)
		}
	}
	return nil
}

func viewPolicy(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	delete(attrs, "steps")
	fill(attrs, obj{"retries": 0, "resolve_page_on_policy_end": false})
	v := resource(o, "policies", attrs)
	v["relationships"] = obj{
		"steps": obj{"data": links("steps", texts(o.made, "steps"))},
		"teams": obj{"data": links("teams", refs(o.body, "data", "relationships", "teams", "data"))},
	}
	return v
}

// includedSteps are the steps of a policy. A schedule with a position is a resource of its own.
func includedSteps(c *call, o *object) []any {
	var in []any
	ids := texts(o.made, "steps")
	for i, s := range objs(o.body, "data", "attributes", "steps") {
		targets := []any{}
		for _, t := range objs(s, "targets") {
			id, typ, position := text(t, "id"), text(t, "type"), text(t, "config", "schedule", "position")
			if position != "" {
				configured := id + "_" + position
				targets = append(targets, obj{"id": configured, "type": "schedule_target"})
				if c.asks("steps.targets") {
					in = append(in, obj{
						"id": configured, "type": "schedule_target", "attributes": obj{"position": position},
						"relationships": obj{"schedule": obj{"data": obj{"id": id, "type": "schedules"}}},
					})
				}
				continue
			}
			targets = append(targets, obj{"id": id, "type": typ})
		}
		attrs := clone(s)
		delete(attrs, "targets")
		fill(attrs, obj{"assignment": "default"})
		in = append(in, obj{"id": ids[i], "type": "steps", "attributes": attrs, "relationships": obj{"targets": obj{"data": targets}}})
	}
	return in
}

// routingRoutes adds the routing rules of a team: one list, which a PUT replaces. An empty one takes the rules away.
func (a *API) routingRoutes() {
	const path = "/api/v2/on-call/teams/{id}/routing-rules"
	a.kinds[routingKind] = maker{create: putRouting, params: func(b obj) map[string]string {
		return map[string]string{"id": text(b, "data", "id")}
	}}
	a.route("PUT "+path, route{api: "v2", schema: "TeamRoutingRulesRequest", handle: putRouting})
	a.route("GET "+path, route{handle: func(c *call) (int, any, error) {
		if a.store.get(teamKind, c.param("id")) == nil {
			return 0, nil, missing("team not found")
		}
		o := a.store.get(routingKind, c.param("id"))
		if o == nil {
			o = &object{kind: routingKind, id: c.param("id")}
		}
		return http.StatusOK, viewRouting(c, o), nil
	}})
}

func putRouting(c *call) (int, any, error) {
	team := c.param("id")
	if c.a.store.get(teamKind, team) == nil {
		return 0, nil, missing("team not found")
	}
	attrs, err := attributes(c.body, "team_routing_rules")
	if err != nil {
		return 0, nil, err
	}
	if id := text(c.body, "data", "id"); id != "" && id != team {
		return 0, nil, bad("data.id must be %s", team)
	}
	rules := objs(attrs, "rules")
	old := c.a.store.get(routingKind, team)
	o := &object{kind: routingKind, id: team, body: clone(c.body), made: obj{}, created: c.now, changed: c.now, author: c.author}
	if len(rules) == 0 {
		if old != nil {
			if err := c.a.drop(old); err != nil {
				return 0, nil, err
			}
		}
		return http.StatusOK, viewRouting(c, o), nil
	}
	var ids []any
	for i, r := range rules {
		if err := c.a.checkRouting(i, r, i == len(rules)-1); err != nil {
			return 0, nil, err
		}
		id := text(r, "id")
		if old == nil || !slices.Contains(texts(old.made, "rules"), id) {
			id = c.a.uuid()
		}
		ids = append(ids, id)
	}
	o.made["rules"] = ids
	for _, r := range objs(o.body, "data", "attributes", "rules") {
		delete(r, "id")
	}
	sub(o.body, "data")["id"] = team
	if err := c.commit(o); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, viewRouting(c, o), nil
}

// checkRouting judges one rule; the last one must catch everything.
func (a *API) checkRouting(i int, r obj, last bool) error {
	policy, urgency := text(r, "policy_id"), text(r, "urgency")
	pages := policy != ""
	for j, action := range objs(r, "actions") {
		required := map[string][]string{
			"send_slack_message": {"workspace", "channel"}, "send_teams_message": {"tenant", "team", "channel"}, "workflow": {"handle"},
			"escalation_policy": {"policy_id"}, "reroute_to_team": {"destination_team_id"},
		}
		typ := text(action, "type")
		keys, ok := required[typ]
		if !ok {
			return bad("rules[%d].actions[%d]: unknown type %q", i, j, typ)
		}
		for _, key := range keys {
			if text(action, key) == "" {
				return bad("rules[%d].actions[%d]: %s is required", i, j, key)
			}
		}
		switch {
		case typ == "escalation_policy" && policy != "":
			return bad("rules[%d]: policy_id and an escalation_policy action exclude each other", i)
		case typ == "escalation_policy" && a.store.get(policyKind, text(action, "policy_id")) == nil:
			return bad("rules[%d]: policy %q not found", i, text(action, "policy_id"))
		case typ == "escalation_policy" && !within(action, 30, 4320, "ack_timeout_minutes"):
			return bad("rules[%d]: ack_timeout_minutes must be from 30 to 4320", i)
		case typ == "reroute_to_team" && (policy != "" || a.store.get(teamKind, text(action, "destination_team_id")) == nil):
			return bad("rules[%d]: the team to reroute to is not found, or there is a policy too", i)
		}
		pages = pages || typ == "escalation_policy"
	}
	switch {
	case policy != "" && a.store.get(policyKind, policy) == nil:
		return bad("rules[%d]: policy %q not found", i, policy)
	case urgency != "" && (policy == "" || !slices.Contains([]string{"low", "high", "dynamic"}, urgency)):
		return bad("rules[%d]: urgency must be low, high or dynamic, and needs a policy", i)
	case last && (text(r, "query") != "" || r["time_restriction"] != nil || !pages):
		return bad("the last rule must have no query, no time restriction, and an escalation policy")
	case !last && !pages && len(list(r, "actions")) == 0:
		return bad("rules[%d] has neither a policy nor actions", i)
	}
	return nil
}

func viewRouting(c *call, o *object) obj {
	ids := texts(o.made, "rules")
	answer := obj{"data": obj{"id": o.id, "type": "team_routing_rules", "relationships": obj{"rules": obj{"data": links("team_routing_rules", ids)}}}}
	var in []any
	for i, r := range objs(o.body, "data", "attributes", "rules") {
		if !c.asks("rules") || i >= len(ids) {
			continue
		}
		attrs := clone(r)
		delete(attrs, "policy_id")
		fill(attrs, obj{"query": "", "actions": []any{}})
		rel := obj{}
		if id := text(r, "policy_id"); id != "" {
			rel["policy"] = obj{"data": obj{"id": id, "type": "policies"}}
			if p := c.a.store.get(policyKind, id); p != nil && c.asks("rules.policy") {
				in = append(in, viewPolicy(p))
			}
		}
		in = append(in, obj{"id": ids[i], "type": "team_routing_rules", "attributes": attrs, "relationships": rel})
	}
	if len(in) > 0 {
		answer["included"] = in
	}
	return answer
}
