package api_test

import "strings"

// A body of each other kind.
const (
	tagConfig    = `{"data":{"type":"manage_tags","id":"llm.request.cost","attributes":{"metric_type":"distribution","include_percentiles":true,"tags":["service","env"]}}}`
	points       = `{"series":[{"metric":"llm.request.cost","type":"distribution","points":[[1795608000,[0.5]]]}]}`
	spansMetric  = `{"data":{"type":"spans_metrics","id":"llm.span.duration","attributes":{"compute":{"aggregation_type":"distribution","path":"@duration"},"filter":{"query":"service:x"},"group_by":[{"path":"@model"}]}}}`
	filter       = `{"data":{"type":"apm_retention_filter","attributes":{"name":"errors","enabled":true,"filter_type":"spans-sampling-processor","filter":{"query":"service:x status:error"},"rate":1}}}`
	team         = `{"data":{"type":"team","attributes":{"name":"LLM Platform","handle":"llm-platform"}}}`
	pipeline     = `{"name":"request logs","is_enabled":true,"filter":{"query":"service:x"},"processors":[{"type":"grok-parser","source":"message","grok":{"match_rules":"r %{data}"}},{"type":"pipeline","processors":[{"type":"attribute-remapper","sources":["a"],"target":"b"}]}]}`
	archive      = `{"data":{"type":"archives","attributes":{"name":"all","query":"service:x","destination":{"type":"s3","bucket":"b","integration":{"account_id":"1","role_name":"r"}}}}}`
	webhookVar   = `{"name":"LRCP_TOKEN","value":"s3cret","is_secret":true}`
	webhook      = `{"name":"lrcp","url":"https://fn.example.com/hook"}`
	global       = `{"name":"LRCP_KEY","description":"","tags":["service:x"],"value":{"secure":true,"value":"s3cret"}}`
	incidentRule = `{"data":{"type":"incident_notification_rules","attributes":{"trigger":"incident_created_trigger","conditions":[{"field":"severity","values":["SEV-1"]}],"handles":["@slack-x"]},"relationships":{"incident_type":{"data":{"id":"{a}","type":"incident_types"}}}}}`
	schedule     = `{"data":{"type":"schedules","attributes":{"name":"Primary","time_zone":"Europe/Berlin","layers":[{"name":"week","effective_date":"2026-01-05T00:00:00Z","rotation_start":"2026-01-05T00:00:00Z","interval":{"days":7},"members":[{"user":{"id":"11111111-0000-4000-8000-000000000001"}}]}]},"relationships":{"teams":{"data":[{"id":"{a}","type":"teams"}]}}}}`
	policy       = `{"data":{"type":"policies","attributes":{"name":"LLM Critical Errors","steps":[{"escalate_after_seconds":300,"targets":[{"type":"schedules","id":"{b}","config":{"schedule":{"position":"current"}}}]},{"targets":[{"type":"teams","id":"{a}"}]}]},"relationships":{"teams":{"data":[{"id":"{a}","type":"teams"}]}}}}`
	channel      = `{"data":{"type":"notification_channels","attributes":{"config":{"type":"email","address":"a@example.com","formats":["html"]}}}}`
	notifyRule   = `{"data":{"type":"notification_rules","attributes":{"category":"high_urgency","delay_minutes":5},"relationships":{"channel":{"data":{"id":"{a}","type":"notification_channels"}}}}}`
	monitorRule  = `{"data":{"type":"monitor-notification-rule","attributes":{"name":"to the team","filter":{"tags":["service:x"]},"recipients":["slack-x"]}}}`
	notebook     = `{"data":{"type":"notebooks","attributes":{"name":"Root cause","time":{"live_span":"4h"},"cells":[{"type":"notebook_cells","attributes":{"definition":{"type":"markdown","text":"x"}}},{"type":"notebook_cells","attributes":{"definition":{"type":"log_stream","query":"service:x"}}}]}}}`
	rum          = `{"data":{"type":"rum_application_create","attributes":{"name":"theater","type":"browser","product_analytics_retention_state":"MAX"}}}`
)

// made creates an object and returns its id.
func (o *org) made(status int, path, id, body string) string {
	o.t.Helper()
	return o.do(status, "POST", path, body).at(id)
}

func withTeam(o *org) []string { return []string{o.made(201, "/api/v2/team", "data.id", team)} }

func withSchedule(o *org) []string {
	id := withTeam(o)[0]
	return []string{id, o.made(201, "/api/v2/on-call/schedules", "data.id", strings.ReplaceAll(schedule, "{a}", id))}
}

func withPolicy(o *org) []string {
	ids := withSchedule(o)
	return []string{ids[0], o.made(201, "/api/v2/on-call/escalation-policies", "data.id", strings.NewReplacer("{a}", ids[0], "{b}", ids[1]).Replace(policy))}
}

const bobs = "/api/v2/on-call/users/22222222-0000-4000-8000-000000000002"

var otherLives = []life{
	{
		kind: "metric-tags", path: "/api/v2/metrics/llm.request.cost/tags", item: "/api/v2/metrics/llm.request.cost/tags", body: tagConfig,
		before: func(o *org) []string { o.do(202, "POST", "/api/v1/distribution_points", points); return nil },
		id:     "data.id", codes: [3]int{201, 200, 204}, shown: []string{"data.attributes.exclude_tags_mode", "false", "data.attributes.created_at", "2026-11-25T12:00:00.000Z"},
		listed: "data.id", // the path of the collection is that of the one object
		method: "PATCH", change: `{"data":{"type":"manage_tags","id":"llm.request.cost","attributes":{"tags":["service"]}}}`,
		changed: []string{"data.attributes.tags", `["service"]`, "data.attributes.include_percentiles", "true"},
		bad: map[string]refusal{
			"another metric in the body": {`"llm.request.cost"`, `"other"`, "data.id"},
		},
	},
	{
		kind: "spans-metric", path: "/api/v2/apm/config/metrics", body: spansMetric, id: "data.id", codes: [3]int{200, 200, 204},
		shown: []string{"data.attributes.compute.include_percentiles", "false", "data.attributes.group_by.0.tag_name", "model"}, lists: "?x=y", listed: "data.0.id",
		method: "PATCH", change: `{"data":{"type":"spans_metrics","attributes":{"compute":{"include_percentiles":true}}}}`,
		changed: []string{"data.attributes.compute.include_percentiles", "true", "data.attributes.compute.path", "@duration"},
		bad: map[string]refusal{
			"a name that is none":         {"llm.span.duration", "9 lives", "name"},
			"another type":                {"spans_metrics", "logs_metrics", "type"},
			"an unknown aggregation":      {`"distribution"`, `"sum"`, "aggregation_type"},
			"a distribution of nothing":   {`"path":"@duration"`, `"path":""`, "path"},
			"a count of something":        {`"distribution"`, `"count"`, "distribution"},
			"a group without a path":      {`"path":"@model"`, `"tag_name":"m"`, "group_by"},
			"a count with a path and all": {`"aggregation_type":"distribution","path":"@duration"`, `"aggregation_type":"count","include_percentiles":false`, "distribution"},
		},
	},
	{
		kind: "logs-metric", path: "/api/v2/logs/config/metrics", body: strings.ReplaceAll(spansMetric, "spans", "logs"), id: "data.id", codes: [3]int{200, 200, 204},
		shown: []string{"data.type", "logs_metrics"}, lists: "?x=y", listed: "data.0.id",
		method: "PATCH", change: `{"data":{"type":"logs_metrics","attributes":{"filter":{"query":"*"}}}}`, changed: []string{"data.attributes.filter.query", "*"},
	},
	{
		kind: "retention-filter", path: "/api/v2/apm/config/retention-filters", body: filter, id: "data.id", codes: [3]int{200, 200, 200},
		shown: []string{"data.attributes.execution_order", "3", "data.attributes.editable", "true", "data.attributes.trace_rate", "0"}, lists: "?x=y", listed: "data.2.id",
		method: "PUT", change: strings.Replace(strings.Replace(filter, `"rate":1`, `"rate":0.5`, 1), `"data":{`, `"data":{"id":"{id}",`, 1), changed: []string{"data.attributes.rate", "0.5"},
		bad: map[string]refusal{
			"no name":            {`"errors"`, `""`, "name"},
			"neither on nor off": {`"enabled":true`, `"disabled":true`, "enabled"},
			"a rate of 2":        {`"rate":1`, `"rate":2`, "rate"},
			"another type":       {"spans-sampling-processor", "spans-errors-sampling-processor", "filter_type"},
		},
	},
	{
		kind: "team", path: "/api/v2/team", body: team, id: "data.id", codes: [3]int{201, 200, 204},
		shown: []string{"data.attributes.description", "", "data.attributes.user_count", "0", "data.attributes.summary", "null"}, lists: "?filter[keyword]=llm-plat", listed: "data.0.id",
		method: "PATCH", change: strings.Replace(team, `"name":"LLM Platform"`, `"name":"LLM","description":"d"`, 1), changed: []string{"data.attributes.name", "LLM", "data.attributes.description", "d"},
		bad: map[string]refusal{
			"no name":               {"LLM Platform", "", "name"},
			"no handle":             {`"handle":"llm-platform"`, `"handle":""`, "handle"},
			"a handle with a space": {`"handle":"llm-platform"`, `"handle":"llm platform"`, "handle"},
			"a handle of capitals":  {`"handle":"llm-platform"`, `"handle":"LLM"`, "handle"},
			"type of a reference":   {`"type":"team"`, `"type":"teams"`, "type"},
		},
	},
	{
		kind: "pipeline", path: "/api/v1/logs/config/pipelines", body: pipeline, id: "id", codes: [3]int{200, 200, 200}, gone: 400,
		shown: []string{
			"type", "pipeline", "is_read_only", "false", "processors.0.is_enabled", "false", "processors.0.samples", "[]",
			"processors.1.processors.0.target_type", "attribute", "tags", "[]",
		},
		lists: "?x=y", listed: "0.id",
		method: "PUT", change: strings.Replace(pipeline, "request logs", "all logs", 1), changed: []string{"name", "all logs"},
		bad: map[string]refusal{
			"no name":                     {"request logs", "", "name"},
			"an unknown processor":        {"grok-parser", "redact", "redact"},
			"an unknown nested processor": {"attribute-remapper", "redact", "redact"},
			"a pipeline nested twice":     {`"type":"attribute-remapper"`, `"type":"pipeline"`, "nested"},
			"grok of nothing":             {`"source":"message"`, `"source":""`, "grok"},
			"six samples":                 {`"source":"message"`, `"samples":["1","2","3","4","5","6"],"source":"message"`, "samples"},
			"a remapper of nothing":       {`"sources":["a"]`, `"sources":[]`, "sources"},
			"a remapper to nothing":       {`"target":"b"`, `"target":""`, "target"},
		},
	},
	{
		kind: "archive", path: "/api/v2/logs/config/archives", body: archive, id: "data.id", codes: [3]int{200, 200, 204},
		shown: []string{"data.attributes.state", "UNKNOWN", "data.attributes.include_tags", "false", "data.attributes.destination.path", ""}, lists: "?x=y", listed: "data.0.id",
		method: "PUT", change: strings.Replace(archive, `"all"`, `"everything"`, 1), changed: []string{"data.attributes.name", "everything"},
		bad: map[string]refusal{
			"no name":                  {`"all"`, `""`, "name"},
			"no bucket":                {`"bucket":"b"`, `"bucket":""`, "bucket"},
			"no role":                  {`"role_name":"r"`, `"role":"r"`, "role_name"},
			"a destination of no kind": {`"s3"`, `"ftp"`, "destination"},
			"gcs without its client":   {`"s3"`, `"gcs"`, "client_email"},
		},
	},
	{
		kind: "webhook-variable", path: "/api/v1/integration/webhooks/configuration/custom-variables", body: webhookVar, id: "name", codes: [3]int{201, 200, 200},
		shown: []string{"name", "LRCP_TOKEN", "value", "null"}, method: "PUT", change: `{"value":"other"}`, changed: []string{"is_secret", "true"},
		bad: map[string]refusal{
			"a name of small letters": {"LRCP_TOKEN", "token", "name"},
			"a name that is taken":    {"{", "{ ", "exists"},
			"a value that is missing": {`"LRCP_TOKEN","value"`, `"OTHER","worth"`, "value"},
		},
	},
	{
		kind: "webhook", path: "/api/v1/integration/webhooks/configuration/webhooks", body: webhook, id: "name", codes: [3]int{201, 200, 200},
		shown: []string{"encode_as", "json", "payload", "null", "custom_headers", "null"}, method: "PUT", change: `{"encode_as":"form"}`, changed: []string{"encode_as", "form", "url", "https://fn.example.com/hook"},
		bad: map[string]refusal{
			"a name with a space":       {`"lrcp"`, `"l r"`, "name"},
			"a name that is taken":      {"{", "{ ", "exists"},
			"no URL":                    {"https://fn", "fn", "url"},
			"headers that are no JSON":  {`"url"`, `"custom_headers":"X: y","url"`, "custom_headers"},
			"a payload that is no JSON": {`"url"`, `"payload":"{","url"`, "payload"},
			"an encoding of no kind":    {`"url"`, `"encode_as":"xml","url"`, "encode_as"},
		},
	},
	{
		kind: "global-variable", path: "/api/v1/synthetics/variables", body: global, id: "id", codes: [3]int{200, 200, 200},
		shown: []string{"value", `{"secure":true}`, "name", "LRCP_KEY"}, lists: "?x=y", listed: "variables.0.id",
		method: "PUT", change: strings.Replace(global, `"description":""`, `"description":"d"`, 1), changed: []string{"description", "d", "value", `{"secure":true}`},
		bad: map[string]refusal{
			"a name of small letters": {"LRCP_KEY", "key", "name"},
			"no tags":                 {`"tags"`, `"tag"`, "tags"},
			"no value":                {`"value":"s3cret"`, `"value":""`, "value"},
		},
	},
	{
		kind: "incident-rule", path: "/api/v2/incidents/config/notification-rules", body: incidentRule, id: "data.id", codes: [3]int{201, 200, 204},
		before: func(o *org) []string {
			return []string{o.do(200, "GET", "/api/v2/incidents/config/types", "").at("data.0.id")}
		},
		shown: []string{"data.attributes.enabled", "false", "data.attributes.visibility", "organization"}, lists: "?x=y", listed: "data.0.id",
		bad: map[string]refusal{
			"an unknown trigger":          {"incident_created_trigger", "created", "trigger"},
			"no conditions":               {`{"field":"severity","values":["SEV-1"]}`, "", "conditions"},
			"a condition without values":  {`["SEV-1"]`, "[]", "condition"},
			"a handle that has no @":      {"@slack", "slack", "@"},
			"an incident type of no kind": {`"id":"`, `"id":"x`, "incident type"},
			"an unknown visibility":       {`"trigger"`, `"visibility":"some","trigger"`, "visibility"},
		},
		method: "PUT", change: "",
	},
	{
		kind: "schedule", path: "/api/v2/on-call/schedules", body: schedule, before: withTeam, id: "data.id", codes: [3]int{201, 200, 204},
		shown: []string{"data.attributes.time_zone", "Europe/Berlin", "data.attributes.layers", "null", "included", "null", "data.attributes.tags", "[]"},
		lists: "?filter[query]=prim*", listed: "data.0.id",
		bad: map[string]refusal{
			"no name":                {`"Primary"`, `""`, "name"},
			"a zone that is none":    {"Europe/Berlin", "Mars/North", "time_zone"},
			"no layers":              {`"layers"`, `"layer"`, "layers"},
			"a date that is none":    {"2026-01-05T00:00:00Z", "Monday", "effective_date"},
			"turns of half an hour":  {`"days":7`, `"seconds":1800`, "interval"},
			"turns of two years":     {`"days":7`, `"days":730`, "interval"},
			"nobody":                 {`{"user":{"id":"11111111-0000-4000-8000-000000000001"}}`, "", "members"},
			"a user who is not here": {"11111111", "99999999", "user"},
			"a team that is not":     {`"teams":{"data":[{"id":"`, `"teams":{"data":[{"id":"x`, "team"},
			"a layer of another one": {`"name":"week"`, `"id":"x","name":"week"`, "layer x not found"},
		},
		method: "PUT", change: "",
	},
	{
		kind: "escalation-policy", path: "/api/v2/on-call/escalation-policies", body: policy, before: withSchedule, id: "data.id", codes: [3]int{201, 200, 204},
		shown: []string{"data.attributes.retries", "0", "data.attributes.steps", "null", "included", "null"},
		bad: map[string]refusal{
			"no name":                   {"LLM Critical Errors", "", "name"},
			"eleven retries":            {`"steps"`, `"retries":11,"steps"`, "retries"},
			"no steps":                  {`"steps"`, `"step"`, "steps"},
			"half a minute":             {`300`, `30`, "escalate_after_seconds"},
			"eleven hours":              {`300`, `39600`, "escalate_after_seconds"},
			"no targets":                {`{"targets":[{"type":"teams"`, `{"targets":[],"x":[{"type":"teams"`, "targets"},
			"a target of slack":         {`"type":"schedules"`, `"type":"slack"`, "users, schedules or teams"},
			"a target that is not here": {`"type":"schedules","id":"`, `"type":"schedules","id":"x`, "not found"},
			"a position of no kind":     {"current", "last", "position"},
			"an assignment of no kind":  {`"escalate_after_seconds"`, `"assignment":"random","escalate_after_seconds"`, "assignment"},
			"a team that is not here":   {`"relationships":{"teams":{"data":[{"id":"`, `"relationships":{"teams":{"data":[{"id":"x`, "team"},
		},
		method: "PUT", change: "",
	},
	{
		kind: "notification-channel", path: bobs + "/notification-channels", body: channel, id: "data.id", codes: [3]int{201, 0, 204},
		shown: []string{"data.attributes.active", "true", "data.attributes.config.address", "a@example.com"}, lists: "?x=y", listed: "data.0.id",
		bad: map[string]refusal{
			"an address that is none":     {"a@example.com", "a", "address"},
			"no formats":                  {`["html"]`, "[]", "formats"},
			"a format of no kind":         {"html", "pdf", "formats"},
			"a push device":               {`"email"`, `"push"`, "email or phone"},
			"a telephone without country": {`"type":"email"`, `"type":"phone","number":"0301234567"`, "E.164"},
		},
	},
	{
		kind: "notification-rule", path: bobs + "/notification-rules", body: notifyRule, id: "data.id", codes: [3]int{201, 200, 204},
		before: func(o *org) []string {
			return []string{o.made(201, bobs+"/notification-channels", "data.id", channel)}
		},
		shown: []string{"data.attributes.delay_minutes", "5", "data.attributes.channel_settings", "null"}, lists: "?x=y", listed: "data.0.id",
		bad: map[string]refusal{
			"a channel that is not here": {`"channel":{"data":{"id":"`, `"channel":{"data":{"id":"x`, "channel"},
			"a category of no kind":      {"high_urgency", "medium", "category"},
			"a delay in seconds":         {`:5`, ":36000", "delay_minutes"},
			"settings of a telephone":    {`"category"`, `"channel_settings":{"type":"phone","method":"sms"},"category"`, "phone"},
		},
		method: "PUT", change: "",
	},
	{
		kind: "monitor-rule", path: "/api/v2/monitor/notification_rule", body: monitorRule, id: "data.id", codes: [3]int{200, 200, 204},
		shown: []string{"data.attributes.created", "2026-11-25T12:00:00.000Z", "data.attributes.recipients", `["slack-x"]`}, lists: "?page=0", listed: "data.0.id",
		method: "PATCH", change: strings.Replace(strings.Replace(monitorRule, "to the team", "to all", 1), `"data":{`, `"data":{"id":"{id}",`, 1), changed: []string{"data.attributes.name", "to all"},
		bad: map[string]refusal{
			"no name":             {"to the team", "", "name"},
			"no filter":           {`"tags"`, `"tag"`, "filter"},
			"two filters":         {`"tags"`, `"scope":"service:x","tags"`, "filter"},
			"a recipient with @":  {"slack-x", "@slack-x", "@"},
			"nobody":              {`["slack-x"]`, "[]", "recipients"},
			"a condition of none": {`"recipients":["slack-x"]`, `"conditional_recipients":{"conditions":[{"scope":"a:b"}]}`, "condition"},
		},
	},
	{
		kind: "notebook", path: "/api/v1/notebooks", body: notebook, id: "data.id", codes: [3]int{200, 200, 204},
		shown: []string{"data.attributes.status", "published", "data.attributes.metadata.is_template", "false", "data.attributes.cells.1.attributes.graph_size", "m", "data.attributes.author.email", ann.Email},
		lists: "?query=root", listed: "data.0.id",
		method: "PUT", change: strings.Replace(notebook, "Root cause", "Cause", 1), changed: []string{"data.attributes.name", "Cause"},
		bad: map[string]refusal{
			"a long name":            {"Root cause", strings.Repeat("x", 81), "80"},
			"no time":                {`"live_span"`, `"span"`, "time"},
			"no cells":               {`"cells"`, `"cell"`, "cells"},
			"a cell of no kind":      {`"markdown"`, `"slo"`, "slo"},
			"a markdown of nothing":  {`"text"`, `"texts"`, "text"},
			"metadata of no kind":    {`"name"`, `"metadata":{"type":"novel"},"name"`, "metadata"},
			"a cell of another one":  {`{"type":"notebook_cells"`, `{"id":"x","type":"notebook_cells"`, "cell x not found"},
			"a cell of another type": {`"notebook_cells"`, `"cells"`, "notebook_cells"},
		},
	},
	{
		kind: "rum-application", path: "/api/v2/rum/applications", body: rum, id: "data.id", codes: [3]int{200, 200, 204},
		shown: []string{
			"data.attributes.type", "browser", "data.attributes.product_scales.product_analytics_retention_scale.state", "MAX",
			"data.attributes.product_scales.rum_event_processing_scale.state", "ALL", "data.attributes.product_analytics_retention_state", "null", "data.attributes.is_active", "false",
		},
		lists: "?x=y", listed: "data.0.id",
		method: "PATCH", change: `{"data":{"type":"rum_application_update","id":"{id}","attributes":{"name":"stage"}}}`, changed: []string{"data.attributes.name", "stage"},
		bad: map[string]refusal{
			"no name":          {"theater", "", "name"},
			"a type of no app": {`"browser"`, `"fridge"`, "type"},
			"another type":     {"rum_application_create", "rum_application", "type"},
		},
	},
}
