package remote

import (
	"net/http"
	"slices"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// row is what one kind is at Datadog. The zero value of a field is what most kinds have.
type row struct {
	kind assets.Kind
	// path is the collection: POST makes an object. {scope} is the user whose object it is, {id} the object where a
	// collection has only one.
	path string
	// item is one object; path/{id} when empty.
	item string
	// listed kinds have a list: at list, or path when that is empty, cut into pages, and asked with query.
	listed bool
	list   string
	pages  ddapi.Pages
	query  string
	// partial lists leave out what GET shows, asked with detail.
	partial bool
	detail  string
	// id and name are where a body has its identifier and its identity. Objects of a kind have one identity each, as
	// files have one key; name is more than one field where only those together tell objects apart.
	id   string
	name []string
	// tags, or text, is where an object can say whose it is. A kind without either knows its own by the state file.
	tags, text string
	// update is the method that changes an object; "" when nothing does, so that it is made anew.
	update string
	// withID puts the identifier into the body of an update.
	withID bool
	// fixed are the fields that no update changes: an object with another value is made anew.
	fixed []string
	// unlike are the fields that only a request has, or that an answer has differently: they are not compared.
	unlike []string
	// aliases are values that a server may give for others.
	aliases map[string]map[string]string
	// own is set where the name alone says that an object is ours, because the name is of our making.
	own bool
	// kept is why a destroy leaves an object.
	kept string
	// always is set where the object is there without being made, and is never deleted: an order.
	always bool

	// open turns what GET answers into the body that would make the object; nil where they are the same.
	open func(answer any) any
	// edit turns the body of create into that of update; nil where they are the same.
	edit func(live Object, body any) any
}

var (
	byNumber = ddapi.Pages{Items: "data", Size: "page[size]", Limit: 100, Number: "page[number]"}
	inData   = ddapi.Pages{Items: "data"}
)

// The types of a JSON:API resource say nothing that the kind does not, and some differ between request and answer.
var noType = []string{"data.type"}

const handlesAPI = "Datadog's API describes no way to delete one incident handle: delete it in the incident settings"

// rows are the kinds, in the order in which they are made.
var rows = []row{
	{
		kind: assets.MetricMetadata, path: "/api/v1/metrics/{id}", item: "/api/v1/metrics/{id}", own: true, update: http.MethodPut,
		kept: "Datadog keeps the metadata of a metric as long as the metric",
	}, {
		kind: assets.MetricTags, path: "/api/v2/metrics/{id}/tags", item: "/api/v2/metrics/{id}/tags", id: "data.id", name: []string{"data.id"},
		own: true, update: http.MethodPatch, fixed: []string{"data.attributes.metric_type"}, unlike: noType,
		edit: func(_ Object, body any) any { return diff.With(body, "data.attributes.metric_type", nil) },
	}, {
		kind: assets.SpansMetric, path: "/api/v2/apm/config/metrics", listed: true, pages: inData, id: "data.id", name: []string{"data.id"},
		update: http.MethodPatch, fixed: computed, unlike: noType, edit: editMetric,
	}, {
		kind: assets.LogsMetric, path: "/api/v2/logs/config/metrics", listed: true, pages: inData, id: "data.id", name: []string{"data.id"},
		update: http.MethodPatch, fixed: computed, unlike: noType, edit: editMetric,
	}, {
		kind: assets.RetentionFilter, path: "/api/v2/apm/config/retention-filters", listed: true, pages: inData, id: "data.id",
		name: []string{"data.attributes.name"}, update: http.MethodPut, withID: true, unlike: noType,
	}, {
		kind: assets.Team, path: "/api/v2/team", listed: true, pages: byNumber, id: "data.id", name: []string{"data.attributes.handle"},
		text: "data.attributes.description", update: http.MethodPatch, unlike: []string{"data.type", "data.relationships"},
		edit: func(_ Object, body any) any { return diff.With(body, "data.relationships", nil) },
	}, {
		kind: assets.Entity, path: "/api/v2/catalog/entity", item: "/api/v2/catalog/entity/{id}", name: []string{"kind", "metadata.namespace", "metadata.name"},
		tags: "metadata.tags", update: http.MethodPost,
	}, {
		kind: assets.ScannerGroup, path: "/api/v2/sensitive-data-scanner/config/groups", listed: true, id: "data.id",
		name: []string{"data.attributes.name"}, text: "data.attributes.description", update: http.MethodPatch, withID: true,
		unlike: []string{"meta", "data.type", "data.relationships.rules", "data.relationships.configuration"},
		// The list of rules must be whole or absent.
		edit: func(_ Object, body any) any { return diff.With(body, "data.relationships.rules", nil) },
	}, {
		kind: assets.ScannerRule, path: "/api/v2/sensitive-data-scanner/config/rules", listed: true, id: "data.id",
		name: []string{"data.attributes.name"}, text: "data.attributes.description", update: http.MethodPatch, withID: true,
		unlike: []string{"meta", "data.type"},
	}, {
		kind: assets.Pipeline, path: "/api/v1/logs/config/pipelines", listed: true, id: "id", name: []string{"name"}, tags: "tags",
		update: http.MethodPut,
	}, {
		kind: assets.PipelineOrder, path: "/api/v1/logs/config/pipeline-order", item: "/api/v1/logs/config/pipeline-order", always: true,
		own: true, update: http.MethodPut,
	}, {
		kind: assets.Archive, path: "/api/v2/logs/config/archives", listed: true, pages: inData, id: "data.id",
		name: []string{"data.attributes.name"}, update: http.MethodPut, unlike: noType,
	}, {
		kind: assets.ArchiveOrder, path: "/api/v2/logs/config/archive-order", item: "/api/v2/logs/config/archive-order", always: true,
		own: true, update: http.MethodPut, unlike: noType,
	}, {
		kind: assets.Connection, path: "/api/v2/actions/connections", id: "data.id", name: []string{"data.attributes.name"},
		tags: "data.attributes.tags", update: http.MethodPatch, fixed: []string{"data.attributes.integration.type"}, unlike: noType,
		edit: editConnection,
	}, {
		kind: assets.WebhookVariable, path: "/api/v1/integration/webhooks/configuration/custom-variables", id: "name", name: []string{"name"},
		update: http.MethodPut,
	}, {
		kind: assets.Webhook, path: "/api/v1/integration/webhooks/configuration/webhooks", id: "name", name: []string{"name"},
		update: http.MethodPut,
	}, {
		kind: assets.GlobalVariable, path: "/api/v1/synthetics/variables", listed: true, pages: ddapi.Pages{Items: "variables"}, id: "id",
		name: []string{"name"}, tags: "tags", update: http.MethodPut,
	}, {
		kind: assets.Workflow, path: "/api/v2/workflows", listed: true, pages: ddapi.Pages{Items: "data", Size: "limit", Limit: 50, Number: "page"},
		query: "filter[includeUnpublished]=true&filter[includeSpecs]=true", id: "data.id", name: []string{"data.attributes.spec.handle"},
		tags: "data.attributes.tags", update: http.MethodPatch, withID: true, unlike: noType,
	}, {
		kind: assets.SLO, path: "/api/v1/slo", listed: true, pages: ddapi.Pages{Items: "data", Size: "limit", Limit: 1000, Offset: "offset"},
		id: "id", name: []string{"name"}, tags: "tags", update: http.MethodPut, fixed: []string{"type"}, open: openSLO,
	}, {
		// The item has no GET of its own, and PUT names the handle in its body.
		kind: assets.IncidentHandle, path: "/api/v2/incidents/config/global/incident-handles", item: "/api/v2/incidents/config/global/incident-handles",
		listed: true, pages: inData, id: "data.id", name: []string{"data.attributes.name"}, update: http.MethodPut, withID: true, unlike: noType,
		kept: handlesAPI,
	}, {
		kind: assets.IncidentRule, path: "/api/v2/incidents/config/notification-rules", listed: true, pages: inData, id: "data.id",
		name: []string{"data.attributes.trigger", "data.attributes.conditions"}, update: http.MethodPut, withID: true, unlike: noType,
	}, {
		kind: assets.Schedule, path: "/api/v2/on-call/schedules", listed: true, partial: true, pages: byNumber,
		detail: "include=teams,layers,layers.members,layers.members.user", id: "data.id", name: []string{"data.attributes.name"},
		update: http.MethodPut, withID: true, unlike: noType, open: openSchedule, edit: editSchedule,
	}, {
		kind: assets.EscalationPolicy, path: "/api/v2/on-call/escalation-policies", detail: "include=teams,steps,steps.targets", id: "data.id",
		name: []string{"data.attributes.name"}, update: http.MethodPut, withID: true, unlike: noType, open: openPolicy, edit: editPolicy,
	}, {
		// The rules belong to the team that the body names: they come and go with it.
		kind: assets.RoutingRules, path: "/api/v2/on-call/teams/{id}/routing-rules", item: "/api/v2/on-call/teams/{id}/routing-rules",
		detail: "include=rules,rules.policy", id: "data.id", name: []string{"data.id"}, own: true, update: http.MethodPut,
		unlike: []string{"data.type", "data.id"}, open: openRouting,
	}, {
		kind: assets.NotificationChannel, path: "/api/v2/on-call/users/{scope}/notification-channels", listed: true, pages: inData, id: "data.id",
		name: []string{"data.attributes.config.type", "data.attributes.config.address", "data.attributes.config.number"}, unlike: noType,
	}, {
		kind: assets.NotificationRule, path: "/api/v2/on-call/users/{scope}/notification-rules", listed: true, pages: inData, query: "include=channel",
		id:     "data.id",
		name:   []string{"data.attributes.category", "data.attributes.delay_minutes", "data.relationships.channel.data.id"},
		update: http.MethodPut, withID: true, unlike: noType,
	}, {
		kind: assets.Monitor, path: "/api/v1/monitor", listed: true, pages: ddapi.Pages{Size: "page_size", Limit: 1000, Number: "page"}, id: "id",
		name: []string{"name"}, tags: "tags", update: http.MethodPut, fixed: []string{"type"},
		aliases: map[string]map[string]string{"type": {"metric alert": "query alert"}},
	}, {
		kind: assets.MonitorRule, path: "/api/v2/monitor/notification_rule", listed: true,
		pages: ddapi.Pages{Items: "data", Size: "per_page", Limit: 1000, Number: "page"}, id: "data.id", name: []string{"data.attributes.name"},
		update: http.MethodPatch, withID: true, unlike: noType,
	}, {
		kind: assets.SyntheticsTest, path: "/api/v1/synthetics/tests/api", list: "/api/v1/synthetics/tests", listed: true, partial: true,
		pages: ddapi.Pages{Items: "tests", Size: "page_size", Limit: 100, Number: "page_number"}, id: "public_id", name: []string{"name"}, tags: "tags",
		update: http.MethodPut, fixed: []string{"type", "subtype"},
	}, {
		kind: assets.Dashboard, path: "/api/v1/dashboard", listed: true, partial: true,
		pages: ddapi.Pages{Items: "dashboards", Size: "count", Limit: 100, Offset: "start"}, id: "id", name: []string{"title"}, text: "description",
		update: http.MethodPut, fixed: []string{"layout_type", "reflow_type"},
	}, {
		// The list leaves out the cells, among them the one with the mark: it tells names only.
		kind: assets.Notebook, path: "/api/v1/notebooks", listed: true, partial: true, query: "include_cells=false",
		pages: ddapi.Pages{Items: "data", Size: "count", Limit: 100, Offset: "start"}, id: "data.id", name: []string{"data.attributes.name"},
		text: "data.attributes.cells", update: http.MethodPut, unlike: noType, edit: editNotebook,
	}, {
		kind: assets.RUMApplication, path: "/api/v2/rum/applications", listed: true, pages: inData, id: "data.id",
		name: []string{"data.attributes.name", "data.attributes.type"}, update: http.MethodPatch, withID: true, unlike: noType, open: openRUM,
		edit: func(_ Object, body any) any { return diff.With(body, "data.type", "rum_application_update") },
	},
}

// Traits are what a deployment must know of a kind.
type Traits struct {
	// Listed kinds have a list of all objects, of all of one user where PerUser is set.
	Listed, PerUser bool
	// Blind is set where an object that is not found may be there all the same, since Datadog has no list: its identifier in
	// the state file is the only sure way to it.
	Blind bool
	// Marked kinds can say whose an object is.
	Marked bool
	// Own is set where the name alone says that an object is ours.
	Own bool
	// Always is set where an object is there without being made, and is never deleted.
	Always bool
	// Kept is why a destroy leaves an object, or "".
	Kept string
	// Serial is set where requests go one after the other, in the order of the plan.
	Serial bool
}

// TraitsOf returns what a deployment must know of a kind.
func TraitsOf(kind assets.Kind) Traits {
	r := rowOf(kind)
	return Traits{
		Listed: r.listed, PerUser: kind == assets.NotificationChannel || kind == assets.NotificationRule,
		Blind: kind == assets.Connection || kind == assets.EscalationPolicy, Marked: r.tags != "" || r.text != "", Own: r.own, Always: r.always, Kept: r.kept,
		Serial: slices.Contains([]assets.Kind{assets.LogsMetric, assets.Pipeline, assets.PipelineOrder, assets.Archive, assets.ArchiveOrder}, kind),
	}
}

// rowOf returns the row of a kind, which must be one of assets.Kinds.
func rowOf(kind assets.Kind) row {
	return rows[slices.IndexFunc(rows, func(r row) bool { return r.kind == kind })]
}
