package assets

import "slices"

// Kind is the kind of an asset, and the kind of the placeholders that refer to one.
type Kind string

// The kinds. What one is at Datadog, and the schema of its body, is in the table below.
const (
	MetricMetadata      Kind = "metric-metadata"
	MetricTags          Kind = "metric-tags"
	SpansMetric         Kind = "spans-metric"
	LogsMetric          Kind = "logs-metric"
	RetentionFilter     Kind = "retention-filter"
	Team                Kind = "team"
	Entity              Kind = "entity"
	ScannerGroup        Kind = "scanner-group"
	ScannerRule         Kind = "scanner-rule"
	Pipeline            Kind = "pipeline"
	PipelineOrder       Kind = "pipeline-order"
	Archive             Kind = "archive"
	ArchiveOrder        Kind = "archive-order"
	Connection          Kind = "connection"
	WebhookVariable     Kind = "webhook-variable"
	Webhook             Kind = "webhook"
	GlobalVariable      Kind = "global-variable"
	Workflow            Kind = "workflow"
	SLO                 Kind = "slo"
	IncidentHandle      Kind = "incident-handle"
	IncidentRule        Kind = "incident-rule"
	Schedule            Kind = "schedule"
	EscalationPolicy    Kind = "escalation-policy"
	RoutingRules        Kind = "routing-rules"
	NotificationChannel Kind = "notification-channel"
	NotificationRule    Kind = "notification-rule"
	Monitor             Kind = "monitor"
	MonitorRule         Kind = "monitor-rule"
	SyntheticsTest      Kind = "synthetics-test"
	Dashboard           Kind = "dashboard"
	Notebook            Kind = "notebook"
	RUMApplication      Kind = "rum-application"
)

// kindInfo is what the files and the schema of a kind are.
type kindInfo struct {
	kind Kind
	// folder is where the files are, empty for a kind that is generated from the metric catalogue.
	folder string
	// api and schema name the request body in Datadog's OpenAPI description: "v1" or "v2", and the schema.
	api, schema string
}

// kinds are in the order in which they are made: each refers only to kinds before it, or to its own.
var kinds = []kindInfo{
	{MetricMetadata, "", "v1", "MetricMetadata"},
	{MetricTags, "", "v2", "MetricTagConfigurationCreateRequest"},
	{SpansMetric, "metrics/spans", "v2", "SpansMetricCreateRequest"},
	{LogsMetric, "metrics/logs", "v2", "LogsMetricCreateRequest"},
	{RetentionFilter, "apm/retention-filters", "v2", "RetentionFilterCreateRequest"},
	{Team, "teams", "v2", "TeamCreateRequest"},
	{Entity, "catalog", "v2", "UpsertCatalogEntityRequest"},
	{ScannerGroup, "logs/scanner-groups", "v2", "SensitiveDataScannerGroupCreateRequest"},
	{ScannerRule, "logs/scanner-rules", "v2", "SensitiveDataScannerRuleCreateRequest"},
	{Pipeline, "logs/pipelines", "v1", "LogsPipeline"},
	{PipelineOrder, "logs/pipeline-order", "v1", "LogsPipelinesOrder"},
	{Archive, "logs/archives", "v2", "LogsArchiveCreateRequest"},
	{ArchiveOrder, "logs/archive-order", "v2", "LogsArchiveOrder"},
	{Connection, "connections", "v2", "CreateActionConnectionRequest"},
	{WebhookVariable, "webhooks/variables", "v1", "WebhooksIntegrationCustomVariable"},
	{Webhook, "webhooks", "v1", "WebhooksIntegration"},
	{GlobalVariable, "synthetics/variables", "v1", "SyntheticsGlobalVariableRequest"},
	{Workflow, "workflows", "v2", "CreateWorkflowRequest"},
	{SLO, "slos", "v1", "ServiceLevelObjectiveRequest"},
	{IncidentHandle, "incidents/handles", "v2", "IncidentHandleRequest"},
	{IncidentRule, "incidents/rules", "v2", "CreateIncidentNotificationRuleRequest"},
	{Schedule, "oncall/schedules", "v2", "ScheduleCreateRequest"},
	{EscalationPolicy, "oncall/policies", "v2", "EscalationPolicyCreateRequest"},
	{RoutingRules, "oncall/routing", "v2", "TeamRoutingRulesRequest"},
	{NotificationChannel, "oncall/channels", "v2", "CreateUserNotificationChannelRequest"},
	{NotificationRule, "oncall/rules", "v2", "CreateOnCallNotificationRuleRequest"},
	{Monitor, "monitors", "v1", "Monitor"},
	{MonitorRule, "monitors/rules", "v2", "MonitorNotificationRuleCreateRequest"},
	{SyntheticsTest, "synthetics/tests", "v1", "SyntheticsAPITest"},
	{Dashboard, "dashboards", "v1", "Dashboard"},
	{Notebook, "notebooks", "v1", "NotebookCreateRequest"},
	{RUMApplication, "rum", "v2", "RUMApplicationCreateRequest"},
}

// position is the place of a kind in the order in which kinds are made, or -1.
func position(k Kind) int {
	return slices.IndexFunc(kinds, func(i kindInfo) bool { return i.kind == k })
}

// Kinds returns every kind in the order in which they are made.
func Kinds() []Kind {
	out := make([]Kind, len(kinds))
	for i, k := range kinds {
		out[i] = k.kind
	}
	return out
}

// Known reports whether k is one of the kinds.
func (k Kind) Known() bool { return position(k) >= 0 }

// Folder returns where the files of a kind are, or "" for a kind that is generated.
func (k Kind) Folder() string { return kinds[position(k)].folder }

// Schema returns which of Datadog's OpenAPI descriptions, "v1" or "v2", and which schema in it the body of a kind follows.
func (k Kind) Schema() (api, name string) {
	info := kinds[position(k)]
	return info.api, info.schema
}
