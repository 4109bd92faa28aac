package check

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// checkTeam holds that the team is the one that everything else names.
func checkTeam(c *checker, d *doc) {
	if at := d.body.key("data", "attributes", "handle"); !handle.MatchString(at.text()) {
		c.bad(d, at, "%q is no handle of lower-case letters, digits and hyphens", at.text())
	}
}

// owned holds that something of On-Call belongs to a team of ours.
func (c *checker) owned(d *doc) {
	at := d.body.key("data", "relationships", "teams", "data")
	if len(at.items()) == 0 {
		c.bad(d, at, "it belongs to no team")
	}
	for _, item := range at.items() {
		c.refer(d, item.key("id"), assets.Team)
	}
}

// refer holds that a value is a reference to an asset of a kind.
func (c *checker) refer(d *doc, at node, kind assets.Kind) {
	if _, ok := at.refers(kind); !ok {
		c.bad(d, at, "%q is no reference to a %s such as ${%s:name}", at.text(), kind, kind)
	}
}

// person holds that a value is a person that the organisation names in a setting.
func (c *checker) person(d *doc, at node) {
	if r, ok := at.ref(); !ok || r.Kind != assets.User {
		c.bad(d, at, "%q is no person of the organisation: refer to one, as in ${user:oncall_primary}", at.text())
	}
}

// checkSchedule holds that shifts are long enough and that there is somebody in each layer.
func checkSchedule(c *checker, d *doc) {
	c.owned(d)
	attributes := d.body.key("data", "attributes")
	if at := attributes.key("time_zone"); at.isText() {
		if _, err := time.LoadLocation(at.text()); err != nil {
			c.bad(d, at, "there is no time zone %q", at.text())
		}
	}
	if len(attributes.key("layers").items()) == 0 {
		c.bad(d, attributes.key("layers"), "the schedule has no layer, so nobody is on call")
	}
	for _, layer := range attributes.key("layers").items() {
		days, _ := layer.key("interval", "days").number()
		seconds, _ := layer.key("interval", "seconds").number()
		if whole := days*86400 + seconds; whole < 3600 || days > 400 || seconds > 2592000 {
			c.bad(d, layer.key("interval"), "a shift is at least an hour, and at most 400 days and 2592000 seconds")
		}
		members := layer.key("members").items()
		if len(members) == 0 {
			c.bad(d, layer.key("members"), "the layer has no members, so nobody is on call")
		}
		for _, m := range members {
			if m.key("user", "id").exists() { // A member without is a gap on purpose.
				c.person(d, m.key("user", "id"))
			}
		}
		start, errStart := time.Parse(time.RFC3339, layer.key("rotation_start").text())
		from, errFrom := time.Parse(time.RFC3339, layer.key("effective_date").text())
		if errStart == nil && errFrom == nil && from.Before(start) {
			c.bad(d, layer.key("effective_date"), "the layer is in effect before its rotation begins")
		}
	}
}

// checkPolicy holds the documented bounds of an escalation policy.
func checkPolicy(c *checker, d *doc) {
	c.owned(d)
	attributes := d.body.key("data", "attributes")
	steps := attributes.key("steps").items()
	if len(steps) < 1 || len(steps) > 10 {
		c.bad(d, attributes.key("steps"), "a policy has 1 to 10 steps, not %d", len(steps))
	}
	if n, ok := attributes.key("retries").number(); ok && (n < 0 || n > 10) {
		c.bad(d, attributes.key("retries"), "a policy is repeated 0 to 10 times, not %v", n)
	}
	kinds := map[string]assets.Kind{"schedules": assets.Schedule, "teams": assets.Team}
	for _, step := range steps {
		if n, ok := step.key("escalate_after_seconds").number(); !ok || n < 60 || n > 36000 {
			c.bad(d, step.key("escalate_after_seconds"), "a step waits 60 to 36000 seconds")
		}
		targets := step.key("targets").items()
		if len(targets) < 1 || len(targets) > 10 {
			c.bad(d, step.key("targets"), "a step has 1 to 10 targets, not %d", len(targets))
		}
		for _, target := range targets {
			kind, ok := kinds[target.key("type").text()]
			switch {
			case target.key("type").text() == "users":
				c.person(d, target.key("id"))
			case ok:
				c.refer(d, target.key("id"), kind)
			default:
				c.bad(d, target.key("type"), "a step reaches users, schedules and teams only, not %q", target.key("type").text())
			}
			if at := target.key("config", "schedule"); at.exists() && kind != assets.Schedule {
				c.bad(d, at, "a position is for schedules only")
			}
		}
	}
}

// checkRouting holds that every page reaches a policy: rules are tried from above, and the last one takes the rest.
func checkRouting(c *checker, d *doc) {
	c.refer(d, d.body.key("data", "id"), assets.Team)
	at := d.body.key("data", "attributes", "rules")
	rules := at.items()
	if len(rules) == 0 {
		c.bad(d, at, "there is no rule, so no page reaches anybody")
		return
	}
	for i, rule := range rules {
		policy := rule.key("policy_id")
		if policy.exists() {
			c.refer(d, policy, assets.EscalationPolicy)
		}
		escalates := policy.exists()
		for _, action := range rule.key("actions").items() {
			switch action.key("type").text() {
			case "escalation_policy":
				escalates = true
				c.refer(d, action.key("policy_id"), assets.EscalationPolicy)
				if policy.exists() {
					c.bad(d, action, "the rule has a policy_id too; Datadog takes one of the two")
				}
			case "workflow":
				handle := action.key("handle")
				if w := c.with(assets.Workflow, handle.text(), "data", "attributes", "spec", "handle"); w == nil {
					c.bad(d, handle, "there is no workflow with the handle %q", handle.text())
				} else if !w.body.key("data", "attributes", "published").is() {
					c.bad(d, handle, "%s is not published, so it never starts", w.File)
				}
			case "send_slack_message":
				c.setting(d, action.key("workspace"), "slack_team")
				c.setting(d, action.key("channel"), "slack_channel")
			}
		}
		if rule.key("urgency").exists() && !policy.exists() {
			c.bad(d, rule.key("urgency"), "an urgency goes with a policy_id only")
		}
		conditional := rule.key("query").text() != "" || rule.key("time_restriction").exists()
		switch last := i == len(rules)-1; {
		case last && (conditional || !escalates):
			c.bad(d, rule, "the last rule must take every page: no query, no time restriction, and an escalation policy")
		case !last && !conditional:
			c.bad(d, rule, "the rule takes every page, so the rules after it are never tried")
		}
		c.routingQuery(d, rule.key("query"))
	}
}

// routingQuery holds that a routing rule asks for what a page has.
func (c *checker) routingQuery(d *doc, at node) {
	if !at.exists() {
		return
	}
	q, err := search.Parse(at.text())
	if err != nil {
		c.bad(d, at, "%v", err)
		return
	}
	for _, facet := range q.Facets() {
		if facet != "priority" && facet != "alert_status" && !strings.HasPrefix(facet, "tags.") && !strings.HasPrefix(facet, "groups.") {
			c.bad(d, at, "a page has no %s, only tags.<key>, groups.<key>, priority and alert_status", facet)
		}
	}
}

// routed is a tag by which a routing rule knows where a page goes.
var routed = regexp.MustCompile(`(tags\.)?\b(route:[a-z0-9-]+)`)

func routesIn(text string) [][]string {
	if !strings.Contains(text, "route:") {
		return nil
	}
	return routed.FindAllStringSubmatch(text, -1)
}

// checkRoutes holds that the tags that routing rules ask for are those that something carries, and the other way round: a tag
// that is misspelt would send its pages to the last rule.
func checkRoutes(c *checker) {
	asked, carried := map[string]bool{}, map[string]bool{}
	for _, d := range c.docs {
		for _, at := range d.texts {
			for _, m := range routesIn(at.text()) {
				if m[1] != "" {
					asked[m[2]] = true
				} else if d.Kind != assets.MonitorRule {
					carried[m[2]] = true
				}
			}
		}
	}
	for _, d := range c.docs {
		for _, at := range d.texts {
			for _, m := range routesIn(at.text()) {
				switch asks := m[1] != "" || d.Kind == assets.MonitorRule; {
				case asks && !carried[m[2]]:
					c.bad(d, at, "nothing carries the tag %s", m[2])
				case !asks && !asked[m[2]]:
					c.bad(d, at, "no routing rule asks for the tag %s", m[2])
				}
			}
		}
	}
}

// setting holds that a value is the organisation's choice.
func (c *checker) setting(d *doc, at node, name string) {
	if r, ok := at.ref(); !ok || r.Kind != assets.Setting {
		c.bad(d, at, "%q is the organisation's choice: write ${setting:%s}", at.text(), name)
	}
}

// checkChannel holds that an address is the organisation's choice.
func checkChannel(c *checker, d *doc) {
	config := d.body.key("data", "attributes", "config")
	for _, key := range []string{"address", "number"} {
		if at := config.key(key); at.exists() {
			c.setting(d, at, "oncall_email")
		}
	}
}

// checkNotificationRule holds that a rule is for a channel.
func checkNotificationRule(c *checker, d *doc) {
	if at := d.body.key("data", "relationships", "channel", "data", "id"); at.exists() {
		c.refer(d, at, assets.NotificationChannel)
	}
	if n, ok := d.body.key("data", "attributes", "delay_minutes").number(); ok && n < 0 {
		c.bad(d, d.body.key("data", "attributes", "delay_minutes"), "the delay is negative")
	}
}

// checkIncidentHandle holds that a handle can be mentioned and sets severities that exist.
func checkIncidentHandle(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	if at := attributes.key("name"); !handle.MatchString(strings.TrimPrefix(at.text(), "@incident-")) {
		c.bad(d, at, "%q is no name of lower-case letters, digits and hyphens, so no monitor can mention it", at.text())
	}
	for _, s := range attributes.key("fields", "severity").items() {
		if !severity.MatchString(s.text()) {
			c.bad(d, s, "the severity is %q, not SEV-1 to SEV-5", s.text())
		}
	}
	c.incidentType(d)
}

// incidentType holds that the incident type is looked up.
func (c *checker) incidentType(d *doc) {
	at := d.body.key("data", "relationships", "incident_type", "data", "id")
	if r, ok := at.ref(); !ok || r.Kind != assets.IncidentType {
		c.bad(d, at, "the incident type is the organisation's: write ${incident-type:default}")
	}
}

// checkIncidentRule holds that a rule is on, fires, and reaches those it names.
func checkIncidentRule(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	if !attributes.key("enabled").is() {
		c.bad(d, attributes.key("enabled"), "the rule is off; that is also what leaving it out means")
	}
	if at := attributes.key("trigger"); !slices.Contains([]string{"incident_created_trigger", "incident_saved_trigger"}, at.text()) {
		c.bad(d, at, "%q is neither incident_created_trigger nor incident_saved_trigger", at.text())
	}
	ours := false
	for _, condition := range attributes.key("conditions").items() {
		field := condition.key("field")
		if !c.facets[incidents][field.text()] {
			c.bad(d, field, "an incident has no field %q", field.text())
		}
		for _, value := range condition.key("values").items() {
			if field.text() == "severity" && !severity.MatchString(value.text()) {
				c.bad(d, value, "the severity is %q, not SEV-1 to SEV-5", value.text())
			}
			ours = ours || field.text() == "services" && value.text() == service || field.text() == "teams" && value.text() == team
		}
	}
	if !ours {
		c.bad(d, attributes.key("conditions"), "the rule would take the incidents of other services: ask for services %s", service)
	}
	if len(attributes.key("handles").items()) == 0 {
		c.bad(d, attributes.key("handles"), "the rule reaches nobody")
	}
	for _, h := range attributes.key("handles").items() {
		if !strings.HasPrefix(h.text(), "@") {
			c.bad(d, h, "a handle is written with @")
			continue
		}
		c.mention(d, h, h.text())
	}
	c.incidentType(d)
}
