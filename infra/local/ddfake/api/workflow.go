package api

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

const workflowKind = "workflow"

// triggers are the types of workflow triggers.
var triggers = strings.Fields(`agentTrigger apiTrigger appTrigger caseTrigger changeEventTrigger databaseMonitoringTrigger datastoreTrigger
	dashboardTrigger formTrigger githubWebhookTrigger incidentCreatedTrigger incidentImpactCreatedTrigger incidentImpactUpdatedTrigger
	incidentPostmortemUpdatedTrigger incidentResponderCreatedTrigger incidentSavedTrigger incidentScheduleTrigger incidentTrigger
	monitorTrigger notebookTrigger onCallTrigger scheduleTrigger securityTrigger selfServiceTrigger slackTrigger softwareCatalogTrigger
	workflowTrigger`)

// seconds is how intervals in a workflow are written.
var seconds = regexp.MustCompile(`^[1-9][0-9]*s$`)

func workflows() kind {
	return kind{
		name: workflowKind, path: "/api/v2/workflows", style: jsonAPI, api: "v2", create: "CreateWorkflowRequest", update: "UpdateWorkflowRequest",
		method: "PATCH", codes: [3]int{201, 200, 204}, id: uuidOf, check: checkWorkflow, merge: merged,
		view:   func(_ *call, o *object) obj { return viewWorkflow(o) },
		wrap:   inData,
		list:   listWorkflows,
		absent: func(id string) error { return missing("workflow %s not found", id) },
	}
}

// checkWorkflow judges a workflow: that its triggers and steps form a graph. A handle that another workflow has is not
// refused, as at Datadog.
func checkWorkflow(c *call, o, _ *object) error {
	attrs, err := attributes(o.body, "workflows")
	if err != nil {
		return err
	}
	delete(sub(o.body, "data"), "id")
	spec := sub(attrs, "spec")
	switch {
	case text(attrs, "name") == "":
		return bad("name is required")
	case spec == nil:
		return bad("spec is required")
	case len(list(spec, "triggers")) == 0:
		return bad("spec.triggers: at least one trigger is required")
	}
	steps := map[string]bool{}
	for i, s := range objs(spec, "steps") {
		name := text(s, "name")
		if name == "" || text(s, "actionId") == "" || steps[name] {
			return bad("spec.steps[%d]: the name %q is empty or taken, or there is no actionId", i, name)
		}
		steps[name] = true
	}
	labels, err := checkConnections(c, spec)
	if err != nil {
		return err
	}
	if err := checkTriggers(attrs, steps); err != nil {
		return err
	}
	for _, s := range objs(spec, "steps") {
		if err := checkStep(s, steps, labels); err != nil {
			return err
		}
	}
	return nil
}

// checkConnections returns the labels of the connections of a workflow.
func checkConnections(c *call, spec obj) ([]string, error) {
	var labels []string
	for _, env := range objs(spec, "connectionEnvs") {
		if text(env, "env") != "default" {
			return nil, bad("spec.connectionEnvs: env must be default")
		}
		for _, conn := range objs(env, "connections") {
			label, id := text(conn, "label"), text(conn, "connectionId")
			if label == "" || slices.Contains(labels, label) {
				return nil, bad("spec.connectionEnvs: the label %q is empty or taken", label)
			}
			if c.a.store.get(connectionKind, id) == nil {
				return nil, bad("spec.connectionEnvs: connection %s not found", id)
			}
			labels = append(labels, label)
		}
	}
	return labels, nil
}

func checkTriggers(attrs obj, steps map[string]bool) error {
	seen := map[string]bool{}
	all := objs(attrs, "spec", "triggers")
	for i, t := range all {
		var typ strings.Builder
		for key := range t {
			if key != "startStepNames" {
				typ.WriteString(key)
			}
		}
		switch {
		case !slices.Contains(triggers, typ.String()):
			return bad("spec.triggers[%d]: unknown trigger %q", i, typ.String())
		case seen[typ.String()]:
			return bad("spec.triggers[%d]: there is another %s", i, typ.String())
		case typ.String() == "workflowTrigger" && len(all) > 1:
			return bad("spec.triggers[%d]: workflowTrigger must be the only trigger", i)
		}
		seen[typ.String()] = true
		if limit := text(t, typ.String(), "rateLimit", "interval"); limit != "" && !seconds.MatchString(limit) {
			return bad("spec.triggers[%d]: the interval %q is not of the form 30s", i, limit)
		}
		for _, start := range texts(t, "startStepNames") {
			if !steps[start] {
				return bad("spec.triggers[%d]: step %q not found", i, start)
			}
		}
	}
	if secret := text(attrs, "webhookSecret"); secret != "" && (!seen["githubWebhookTrigger"] || len(secret) < 16) {
		return bad("webhookSecret is only for a githubWebhookTrigger, and has at least 16 characters")
	}
	return nil
}

func checkStep(s obj, steps map[string]bool, labels []string) error {
	name := text(s, "name")
	if label := text(s, "connectionLabel"); label != "" && !slices.Contains(labels, label) {
		return bad("step %s: connection label %q not found", name, label)
	}
	for _, e := range objs(s, "outboundEdges") {
		if text(e, "branchName") == "" || !steps[text(e, "nextStepName")] {
			return bad("step %s: an outbound edge has no branchName, or leads to no step: %q", name, text(e, "nextStepName"))
		}
	}
	for _, h := range objs(s, "errorHandlers") {
		interval := text(h, "retryStrategy", "linear", "interval")
		if !steps[text(h, "fallbackStepName")] {
			return bad("step %s: an error handler leads to no step: %q", name, text(h, "fallbackStepName"))
		}
		if text(h, "retryStrategy", "kind") != "RETRY_STRATEGY_LINEAR" || !seconds.MatchString(interval) {
			return bad("step %s: an error handler has no linear retry strategy with an interval such as 30s", name)
		}
	}
	return nil
}

// viewWorkflow is how the API shows a workflow. A webhook secret is never shown.
func viewWorkflow(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	delete(attrs, "webhookSecret")
	fill(attrs, obj{"description": "", "published": false, "tags": []any{}, "sensitivePrivileges": false, "runAsUserMode": "owner"})
	fill(sub(attrs, "spec"), obj{"steps": []any{}})
	attrs["createdAt"], attrs["updatedAt"] = moment(o.created), moment(o.changed)
	v := resource(o, "workflows", attrs)
	v["relationships"] = obj{"creator": person(o.author), "owner": person(o.author)}
	return v
}

// moment writes a time as version 2 of the API does.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// listWorkflows hides workflows that are not published, and specs, unless it is asked for them.
func listWorkflows(c *call, all []*object) (any, error) {
	limit, err := whole(c.q, "limit", 50, 1000)
	if err != nil {
		return nil, err
	}
	n, err := whole(c.q, "page", 0, 1<<20)
	if err != nil {
		return nil, err
	}
	query := c.q.Get("filter[query]")
	var found []*object
	for _, o := range all {
		attrs := sub(o.body, "data", "attributes")
		match := contains(text(attrs, "name"), query) || contains(text(attrs, "spec", "handle"), query)
		if strings.Contains(query, ":") {
			match = every(words(query), func(tag string) bool { return slices.Contains(texts(attrs, "tags"), tag) })
		}
		if match && (yes(attrs, "published") || c.q.Get("filter[includeUnpublished]") == "true") {
			found = append(found, o)
		}
	}
	return obj{
		"data": views(cut(found, page{n * limit, limit}), func(o *object) obj {
			v := viewWorkflow(o)
			if c.q.Get("filter[includeSpecs]") != "true" {
				sub(v, "attributes")["spec"] = nil
			}
			return v
		}),
		"meta": obj{"page": obj{"totalCount": len(all), "totalFilteredCount": len(found)}},
	}, nil
}
