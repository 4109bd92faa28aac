package check

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/schema"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
)

// checkWorkflow holds what the stand-in's parser does not know: where calls go, who is paged and told, and what this project
// promises of its calls. Graph, actions, inputs and expressions are the parser's, see parseWorkflow.
func checkWorkflow(c *checker, d *doc) {
	attributes := d.body.key("data", "attributes")
	spec := attributes.key("spec")
	if !attributes.key("published").is() {
		c.bad(d, attributes.key("published"), "the workflow is not published, so nothing but a person can start it")
	}
	if at := spec.key("handle"); !handle.MatchString(at.text()) {
		c.bad(d, at, "%q is no handle of lower-case letters, digits and hyphens, so no monitor can mention it", at.text())
	}
	labels := map[string]*doc{}
	for _, env := range spec.key("connectionEnvs").items() {
		for _, connection := range env.key("connections").items() {
			id := connection.key("connectionId")
			key, ok := id.refers(assets.Connection)
			if !ok {
				c.bad(d, id, "%q is no reference to a connection such as ${connection:remediation}", id.text())
				continue
			}
			labels[connection.key("label").text()] = c.find(assets.Connection, key)
		}
	}
	used := map[string]bool{}
	for _, step := range spec.key("steps").items() {
		used[step.key("connectionLabel").text()] = true
		switch step.key("actionId").text() {
		case "com.datadoghq.http.request":
			c.httpStep(d, step, labels)
		case "com.datadoghq.dd.oncall.createOnCallPage":
			c.pageStep(d, step)
		case "com.datadoghq.slack.send_simple_message":
			c.settings(d, step, "teamId", "channel")
		case "com.datadoghq.email.send":
			c.settings(d, step, "to")
		case "com.datadoghq.pagerduty.trigger_incident":
			c.settings(d, step, "serviceName")
		case "com.datadoghq.dd.incidents.createIncident":
			c.incidentStep(d, step)
		}
	}
	for label := range labels {
		if !used[label] {
			c.bad(d, spec.key("connectionEnvs"), "no step uses the connection %s", label)
		}
	}
}

var handle = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// parameter returns the value of a step's parameter.
func parameter(step node, name string) node {
	for _, p := range step.key("parameters").items() {
		if p.key("name").text() == name {
			return p.key("value")
		}
	}
	return node{path: step.key("parameters").path}
}

// httpStep holds that a call goes to a route of the function whose connection it uses, can be repeated safely, and that its
// failure leads somewhere.
func (c *checker) httpStep(d *doc, step node, labels map[string]*doc) {
	url, verb := parameter(step, "url"), parameter(step, "verb").text()
	function, ok := c.called(d, url, verb)
	label := step.key("connectionLabel")
	connection, labelled := labels[label.text()]
	switch {
	case label.text() == "":
		c.bad(d, label, "the call shows no secret: every function of a workflow needs one")
	case ok && labelled && connection != nil:
		base := functionURL.FindStringSubmatch(connection.body.key("data", "attributes", "integration", "base_url").text())
		if base != nil && base[1] != function+".url" {
			c.bad(d, url, "the URL is not at the base URL of the connection %s, that of %s", label.text(), strings.TrimSuffix(base[1], ".url"))
		}
	}
	if len(step.key("errorHandlers").items()) == 0 {
		c.bad(d, step.key("errorHandlers"), "the call has no error handler, so that a refusal would end the workflow and page nobody")
	}
	if verb != "POST" {
		return
	}
	json := slices.ContainsFunc(parameter(step, "requestHeaders").items(), func(h node) bool {
		return strings.EqualFold(h.key("key").text(), "Content-Type") && slices.Contains(h.key("value").texts(), "application/json")
	})
	if !json {
		c.bad(d, parameter(step, "requestHeaders"), "without the header Content-Type: application/json the function answers 415")
	}
	body := parameter(step, "body")
	for _, key := range []string{"idempotency_key", "timestamp", "source"} {
		if !body.key(key).exists() {
			c.bad(d, body.key(key), "the call has no %s, so the function refuses it", key)
		}
	}
	if at := body.key("idempotency_key"); at.isText() && !strings.Contains(at.text(), "{{") {
		c.bad(d, at, "the key is the same for every alert, so only the first call of all would do anything")
	}
}

// pageStep holds that a page goes to a team that exists.
func (c *checker) pageStep(d *doc, step node) {
	target := parameter(step, "target")
	if at := parameter(step, "urgency"); at.isText() && at.text() != "high" && at.text() != "low" {
		c.bad(d, at, "the urgency is %q, not low or high", at.text())
	}
	if target.key("type").text() == "team_handle" && c.with(assets.Team, target.key("identifier").text(), "data", "attributes", "handle") == nil {
		c.bad(d, target.key("identifier"), "there is no team with the handle %q", target.key("identifier").text())
	}
}

// settings holds that addresses come from the organisation's settings.
func (c *checker) settings(d *doc, step node, names ...string) {
	for _, name := range names {
		at := parameter(step, name)
		if r, ok := at.ref(); at.isText() && (!ok || r.Kind != assets.Setting) && !strings.Contains(at.text(), "{{") {
			c.bad(d, at, "%s is the organisation's choice: refer to a setting, as in ${setting:slack_channel}", name)
		}
	}
}

var severity = regexp.MustCompile(`^(SEV-[0-5]|UNKNOWN)$`)

// incidentStep holds that the fields of an incident have the form of Datadog's API, an object with type and value each.
func (c *checker) incidentStep(d *doc, step node) {
	fields := parameter(step, "fields")
	for _, name := range fields.keys() {
		field := fields.key(name)
		if !slices.Contains([]string{"dropdown", "multiselect", "textbox", "textarray", "metrictag", "autocomplete"}, field.key("type").text()) {
			c.bad(d, field, "a field is an object with a type such as dropdown, and a value")
		}
	}
	if at := fields.key("severity", "value"); at.isText() && !severity.MatchString(at.text()) && !strings.Contains(at.text(), "{{") {
		c.bad(d, at, "the severity is %q, not SEV-1 to SEV-5", at.text())
	}
	if at := fields.key("state", "value"); at.isText() && !slices.Contains([]string{"active", "stable", "resolved"}, at.text()) {
		c.bad(d, at, "the state is %q, not active, stable or resolved", at.text())
	}
}

var (
	inStep    = regexp.MustCompile(`^(?s:step ([^\s:]+):? (?:(?:input ([^\s:]+)(?: is|:| appears))?.*))$`)
	inTrigger = regexp.MustCompile(`^(?s:trigger ([0-9]+)[: ].*)$`)
	inInput   = regexp.MustCompile(`^(?s:input "?([^\s:"]+)"?[: ].*)$`)
)

// parseWorkflow lets the stand-in's evaluator read the workflow, and gives each of its problems the path in the file.
func parseWorkflow(c *checker, d *doc) {
	_, err := workflow.Parse("id", d.full)
	if err == nil {
		return
	}
	spec := d.body.key("data", "attributes", "spec")
	for _, reason := range reasons(err) {
		at := spec
		switch {
		case inTrigger.MatchString(reason):
			i, _ := strconv.Atoi(inTrigger.FindStringSubmatch(reason)[1]) // The form lets only digits pass.
			at = spec.key("triggers").index(i)
		case inStep.MatchString(reason):
			m := inStep.FindStringSubmatch(reason)
			at = named(spec.key("steps"), m[1])
			if m[2] != "" {
				at = named(at.key("parameters"), m[2])
			}
			switch {
			case strings.Contains(reason, "an edge leads") || strings.Contains(reason, "branch"):
				at = at.key("outboundEdges")
			case strings.Contains(reason, "fallback") || strings.Contains(reason, "retry strategy"):
				at = at.key("errorHandlers")
			case strings.Contains(reason, "connection labelled"):
				at = at.key("connectionLabel")
			case strings.Contains(reason, "unknown action"):
				at = at.key("actionId")
			}
		case inInput.MatchString(reason):
			at = named(spec.key("inputSchema", "parameters"), inInput.FindStringSubmatch(reason)[1])
		case strings.HasPrefix(reason, "connection "):
			at = spec.key("connectionEnvs")
		case strings.Contains(reason, "published"):
			at = d.body.key("data", "attributes", "published")
		case strings.Contains(reason, "no handle"):
			at = spec.key("handle")
		}
		c.problems = append(c.problems, Problem{File: d.File, Path: at.path, Reason: reason})
	}
}

// reasons takes a joined error apart.
func reasons(err error) []string {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []string{strings.TrimPrefix(err.Error(), "parse workflow: ")}
	}
	var out []string
	for _, e := range joined.Unwrap() {
		out = append(out, e.Error())
	}
	return out
}

// named returns the item of a list that has a name.
func named(list node, name string) node {
	for i, item := range list.items() {
		if item.key("name").text() == name {
			return node{item.v, schema.Index(list.path, i)}
		}
	}
	return list
}
