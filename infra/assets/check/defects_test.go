package check_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/check"
	"github.com/llm-reliability/control-plane/infra/assets/schema"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// defect is one change of one real asset, and what must be said about it.
type defect struct {
	file string
	edit edit
	// at is the path of the problem; the changed path when empty, and the whole file when "-".
	at string
	// reason is a part of the problem's reason.
	reason string
	// in is the file of the problem; the changed file when empty.
	in string
}

const (
	steps      = "data.attributes.spec.steps"
	attributes = "data.attributes"
)

// defects are seeded one at a time. The keys say what is wrong.
var defects = map[string]defect{
	// Form.
	"an unknown key in the options of a monitor":        {file: "monitors/error-burst.json", edit: rename("options.thresholds", "tresholds"), reason: `unknown key; is "thresholds" meant?`},
	"an unknown key at the top of a monitor":            {file: "monitors/error-burst.json", edit: set("notify", true), reason: "unknown key"},
	"an unknown key deep in a dashboard":                {file: "dashboards/overview.json", edit: rename("widgets[0].definition.widgets[0].definition.precision", "precison"), reason: `unknown key; is "precision" meant?`},
	"an unknown key in a step":                          {file: "workflows/cost-spike.json", edit: set(steps+"[name=Revert].onFailure", "Page"), reason: "unknown key"},
	"an unknown key in a closed object":                 {file: "workflows/cost-spike.json", edit: set(steps+"[name=Revert].errorHandlers[0].retryStrategy.backoff", 2), reason: "unknown key"},
	"a key in the wrong case":                           {file: "synthetics/tests/qa-answer.json", edit: rename("config.configVariables", "config_variables"), reason: `unknown key; is "configVariables" meant?`},
	"a trigger with a monitor's id":                     {file: "workflows/cost-spike.json", edit: set("data.attributes.spec.triggers[0].monitorTrigger.monitorId", 1), reason: "unknown key"},
	"a widget of an unknown type":                       {file: "dashboards/overview.json", edit: set("widgets[0].definition.widgets[0].definition.type", "query_values"), reason: `is "query_value" meant?`},
	"a processor of an unknown type":                    {file: "logs/pipelines/error.json", edit: set("processors[type=grok-parser].type", "redact"), reason: `"redact" is not one of`},
	"a monitor of an unknown type":                      {file: "monitors/error-burst.json", edit: set("type", "metric"), reason: `"metric" is not one of`},
	"a comparator that does not exist":                  {file: "slos/latency.json", edit: set("sli_specification.time_slice.comparator", "=<"), reason: `"=<" is not one of`},
	"a text in place of a number":                       {file: "monitors/error-burst.json", edit: set("options.renotify_interval", "15"), reason: `"15" is not of type integer`},
	"a required key that is missing":                    {file: "slos/latency.json", edit: remove("sli_specification.time_slice.threshold"), reason: "required, but missing"},
	"null where Datadog takes none":                     {file: "workflows/cost-spike.json", edit: set("data.attributes.spec", nil), reason: "null is not allowed"},
	"a service map without filters":                     {file: "dashboards/overview.json", edit: set("widgets[0].definition.widgets[0].definition", map[string]any{"type": "servicemap", "service": "llm-reliability-control-plane", "filters": []string{}}), at: "widgets[0].definition.widgets[0].definition.filters", reason: "at least 1 are needed"},
	"a slice of two minutes":                            {file: "slos/latency.json", edit: set("sli_specification.time_slice.query_interval_seconds", 120), reason: `"120" is not one of "60", "300"`},
	"a header with a name that HTTP refuses":            {file: "connections/remediation.json", edit: set("data.attributes.integration.credentials.headers[0].name", "X Key"), reason: "does not match"},
	"a key of a catalogue entity that would be dropped": {file: "catalog/llm-reliability-control-plane.json", edit: set("spec.tiers", "1"), reason: `unknown key; is "tier" meant?`},

	// Placeholders.
	"a reference to an asset that does not exist": {file: "dashboards/overview.json", edit: sub("widgets[1].definition.widgets[0].definition.slo_id", "latency", "latencies"), reason: "${slo:latencies} names no asset file"},
	"a reference of an unknown kind":              {file: "logs/pipeline-order/order.json", edit: sub("pipeline_ids[0]", "pipeline", "pipelines"), reason: "is of no known kind"},
	"a setting that does not exist":               {file: "workflows/cost-spike.json", edit: sub(steps+"[name=Notify_recovery].parameters[name=channel].value", "slack_channel", "slack_chanel"), reason: `there is no setting "slack_chanel"`},
	"a secret that does not exist":                {file: "connections/remediation.json", edit: sub("data.attributes.integration.credentials.tokens[0].value", "control", "controll"), reason: `there is no secret "controll"`},
	"a person who is no setting":                  {file: "oncall/schedules/primary.json", edit: sub("data.attributes.layers[0].members[0].user.id", "oncall_primary", "ada"), reason: `the setting "ada" holds no address of a Datadog user`},

	// Names and marks.
	"two monitors of one name":             {file: "monitors/error-burst.json", edit: set("name", "Cost Anomaly Detection"), reason: `the name "Cost Anomaly Detection" is also that of monitors/cost-anomaly-detection.json`},
	"two workflows of one handle":          {file: "workflows/latency-spike.json", edit: set("data.attributes.spec.handle", "auto-remediate-cost-spike"), reason: `the handle "auto-remediate-cost-spike" is also that of workflows/cost-spike.json`},
	"a monitor without its key":            {file: "monitors/error-burst.json", edit: sub("tags[3]", "error-burst", "errors"), at: "tags", reason: "the tag asset_key:monitor-error-burst is missing"},
	"an SLO without the mark of ownership": {file: "slos/latency.json", edit: sub("tags[2]", "managed_by", "managed-by"), at: "tags", reason: "the tag managed_by:llm-reliability-control-plane is missing"},
	"a dashboard without its mark":         {file: "dashboards/overview.json", edit: sub("description", "key:dashboard/overview", "key:dashboard"), reason: "key:dashboard/overview\" is missing"},
	"a notebook without its mark":          {file: "notebooks/cost-optimisation.json", edit: sub("data.attributes.cells[-1].attributes.definition.text", "key:notebook/", "key:notebooks/"), reason: "key:notebook/cost-optimisation\" is missing"},
	"a team without its mark":              {file: "teams/llm-platform.json", edit: set("data.attributes.description", "Us"), reason: "the mark \"managed-by:llm-reliability-control-plane key:team/llm-platform\" is missing"},
	"a connection that nothing uses":       {file: "workflows/error-burst.json", edit: sub("data.attributes.spec.connectionEnvs[0].connections[0].connectionId", "diagnosis", "remediation"), in: "connections/diagnosis.json", at: "-", reason: "nothing refers to it"},

	// Metric queries.
	"an unknown metric":                   {file: "monitors/error-burst.json", edit: sub("query", "llm.request.count", "llm.requests.count"), reason: "there is no metric llm.requests.count"},
	"an unknown tag in a filter":          {file: "monitors/quality-degradation.json", edit: sub("query", "service:", "svc:"), reason: "the metric llm.quality.groundedness has no tag svc"},
	"an unknown tag in groups":            {file: "monitors/quality-degradation.json", edit: sub("query", "by {function}", "by {user}"), at: "query", reason: "the metric llm.quality.groundedness has no tag user"},
	"a tag that only another metric has":  {file: "monitors/health-score-degradation.json", edit: sub("query", "{service:llm-reliability-control-plane}", "{service:llm-reliability-control-plane,model:x}"), reason: "the metric llm.health_score has no tag model"},
	"the name of another service":         {file: "monitors/quality-degradation.json", edit: sub("query", "llm-reliability-control-plane", "llm-control-plane"), reason: `the tag service never has the value "llm-control-plane"`},
	"a value that a tag never has":        {file: "slos/availability.json", edit: sub("sli_specification.count.queries[0].query", "success", "ok"), reason: `the tag outcome never has the value "ok"`},
	"a percentile of a count":             {file: "slos/latency.json", edit: sub("sli_specification.time_slice.query.queries[0].query", "llm.request.duration", "llm.request.count"), reason: "percentiles are not enabled for this metric"},
	"a metric query that is cut":          {file: "slos/latency.json", edit: sub("sli_specification.time_slice.query.queries[0].query", "}", ""), reason: "metric query, offset"},
	"seconds in place of milliseconds":    {file: "slos/latency.json", edit: set("sli_specification.time_slice.threshold", 2), reason: "llm.request.duration is in milliseconds"},
	"a fraction above 1":                  {file: "monitors/quality-degradation.json", edit: sub("query", "< 0.7", "< 70"), reason: "llm.quality.groundedness is from 0 to 1"},
	"a tag that a generated metric lacks": {file: "metrics/spans/llm.span.duration.json", edit: remove("data.attributes.group_by[tag_name=model]"), in: "dashboards/overview.json", at: "*", reason: "the metric llm.span.duration has no tag model"},

	// Monitors.
	"a threshold that is not that of the query":     {file: "monitors/error-burst.json", edit: set("options.thresholds.critical", 6), reason: "critical must be the threshold of the query, 5"},
	"a recovery on the wrong side":                  {file: "monitors/error-burst.json", edit: set("options.thresholds.critical_recovery", 7), reason: "the recovery at 7 is on the wrong side of critical at 5"},
	"a recovery on the wrong side, from below":      {file: "monitors/quality-degradation.json", edit: set("options.thresholds.critical_recovery", 0.6), reason: "the recovery at 0.6 is on the wrong side of critical at 0.7"},
	"a warning beyond critical":                     {file: "monitors/daily-cost-budget.json", edit: set("options.thresholds.warning", 60), reason: "the warning at 60 does not come before critical at 50"},
	"a recovery of no warning":                      {file: "monitors/daily-cost-budget.json", edit: remove("options.thresholds.warning"), at: "options.thresholds.warning_recovery", reason: "has no warning beyond it"},
	"a window that Datadog does not have":           {file: "monitors/error-burst.json", edit: sub("query", "last_5m", "last_5s"), reason: "the window last_5s is not between last_1m and last_1w"},
	"an interval that is too coarse":                {file: "monitors/cost-anomaly-detection.json", edit: sub("query", "interval=60", "interval=120"), reason: "the interval of 120 s is more than a fifth of the alert_window last_5m, which is 60 s"},
	"a trigger window that is not the alert window": {file: "monitors/cost-anomaly-detection.json", edit: set("options.threshold_windows.trigger_window", "last_15m"), reason: `the trigger_window "last_15m" is not the alert_window "last_5m" of the query`},
	"an anomaly without recovery window":            {file: "monitors/cost-anomaly-detection.json", edit: remove("options.threshold_windows.recovery_window"), reason: "an anomaly monitor needs a recovery_window too"},
	"an alert window longer than the query's":       {file: "monitors/cost-anomaly-detection.json", edit: sub("query", "last_30m", "last_1m"), reason: "the window last_1m of the query is shorter than the alert_window last_5m"},
	"an algorithm that does not exist":              {file: "monitors/cost-anomaly-detection.json", edit: sub("query", "'basic'", "'fast'"), reason: `the algorithm of the anomaly is "fast"`},
	"a season that basic does not know":             {file: "monitors/cost-anomaly-detection.json", edit: sub("query", "interval=60", "seasonality='hourly', interval=60"), reason: "the algorithm basic knows no seasonality"},
	"a share of anomalies above 1":                  {file: "monitors/cost-anomaly-detection.json", edit: sub("query", ">= 0.8", ">= 80"), reason: "the threshold of an anomaly is the share of points"},
	"threshold windows without an anomaly":          {file: "monitors/error-burst.json", edit: set("options.threshold_windows", map[string]any{"trigger_window": "last_5m", "recovery_window": "last_5m"}), reason: "threshold_windows are for anomaly monitors only"},
	"a burn rate that can't occur":                  {file: "slos/latency.json", edit: set("thresholds[0].target", 90), in: "monitors/latency-slo-burn.json", at: "query", reason: "a burn rate of 14.4 can't occur: at the target of slos/latency.json it is at most 10"},
	"a timeframe that the SLO does not have":        {file: "monitors/latency-slo-burn.json", edit: sub("query", `over("30d")`, `over("7d")`), reason: `over("7d") is no timeframe of slos/latency.json`},
	"a long window of three days":                   {file: "monitors/latency-slo-burn.json", edit: sub("query", `long_window("1h")`, `long_window("3d")`), reason: "the long window 3d is not between 1h and 48h"},
	"the id of an SLO in place of a reference":      {file: "monitors/latency-slo-burn.json", edit: sub("query", "${slo:latency}", "00000000000000000000000000000000"), reason: "not a reference such as ${slo:latency}"},
	"reminders without end":                         {file: "monitors/error-burst.json", edit: remove("options.renotify_occurrences"), reason: "the monitor reminds for ever"},
	"a reminder that is never shown":                {file: "monitors/error-burst.json", edit: set("options.renotify_interval", 0), at: "message", reason: "the block {{#is_renotify}} is never shown"},
	"missing data of logs on a metric monitor":      {file: "monitors/error-burst.json", edit: set("options.on_missing_data", "show_no_data"), reason: "metric monitors have notify_no_data"},
	"missing data of metrics on an event monitor":   {file: "monitors/watchdog-stories.json", edit: set("options.notify_no_data", true), reason: "this type has on_missing_data"},
	"missing data sooner than twice the window":     {file: "monitors/health-score-degradation.json", edit: set("options.no_data_timeframe", 5), reason: "at least twice the window"},
	"a priority that does not exist":                {file: "monitors/error-burst.json", edit: set("priority", 7), reason: "no priority from 1 (highest) to 5"},
	"a search that can't be read":                   {file: "monitors/watchdog-stories.json", edit: sub("query", "story_category:logs)", "story_category:logs"), reason: "search query"},
	"a facet that nothing writes":                   {file: "monitors/llm-span-errors.json", edit: sub("query", "@status:error", "@state:error"), reason: "no telemetry of ours writes @state to LLM spans"},
	"a search without its time":                     {file: "monitors/watchdog-stories.json", edit: sub("query", `.last("30m")`, ""), reason: "the query has no last()"},
	"a type that does not fit the query":            {file: "monitors/watchdog-stories.json", edit: set("type", "log alert"), at: "query", reason: `the query of this type is logs("search")`},
	"a variable that the message does not have":     {file: "monitors/error-burst.json", edit: sub("message", "{{function.name}}", "{{model.name}}"), reason: "model.name"},
	"a block that is not closed":                    {file: "monitors/error-burst.json", edit: sub("message", "{{/is_recovery}}", ""), reason: "{{#is_recovery}} is not closed"},

	// Mentions.
	"a workflow that does not exist":         {file: "monitors/cost-anomaly-detection.json", edit: sub("message", "@workflow-auto-remediate-cost-spike", "@workflow-auto-remediate-cost-spikes"), reason: "@workflow-auto-remediate-cost-spikes: there is no workflow with this handle"},
	"a workflow that is not published":       {file: "workflows/cost-spike.json", edit: set("data.attributes.published", false), in: "monitors/cost-anomaly-detection.json", at: "message", reason: "workflows/cost-spike.json is not published"},
	"a workflow without a monitor trigger":   {file: "workflows/cost-spike.json", edit: remove("data.attributes.spec.triggers[0]"), in: "monitors/cost-anomaly-detection.json", at: "message", reason: "workflows/cost-spike.json has no monitorTrigger"},
	"a parameter that is no input":           {file: "monitors/cost-anomaly-detection.json", edit: sub("message", "function=", "fn="), reason: "there is no input fn, only transition, function, triggered_at"},
	"an input without a value":               {file: "workflows/cost-spike.json", edit: add("data.attributes.spec.inputSchema.parameters", map[string]any{"name": "model", "type": "STRING"}), in: "monitors/cost-anomaly-detection.json", at: "message", reason: "the input model has no default value and is not given"},
	"a team that is not on call":             {file: "monitors/daily-cost-budget.json", edit: sub("message", "@oncall-llm-platform", "@oncall-llm-plattform"), reason: "@oncall-llm-plattform: there is no team with this handle"},
	"a mention that runs into the next word": {file: "monitors/cost-anomaly-detection.json", edit: sub("message", "@oncall-llm-platform {{/is_renotify}}", "@oncall-llm-platform. {{/is_renotify}}"), reason: "@oncall-llm-platform.: there is no team with this handle"},
	"a page that is never resolved":          {file: "monitors/cost-anomaly-detection.json", edit: sub("message", "@oncall-llm-platform {{/is_recovery}}", "{{/is_recovery}}"), reason: "is mentioned on reminder but not on recovery"},
	"a webhook that does not exist":          {file: "monitors/llm-span-errors.json", edit: sub("message", "@webhook-llm-rcp-diagnosis", "@webhook-llm-rcp"), reason: "@webhook-llm-rcp: there is no webhook of this name"},
	"an incident handle that does not exist": {file: "monitors/safety-block-surge.json", edit: sub("message", "@incident-llm-safety", "@incident-safety"), reason: "@incident-safety: there is no incident handle of this name"},
	"a PagerDuty service in the file":        {file: "monitors/error-burst.json", edit: sub("message", "@pagerduty-${setting:pagerduty_service}", "@pagerduty-llm"), reason: "the service is the organisation's choice"},
	"an address in the file":                 {file: "monitors/daily-cost-budget.json", edit: sub("message", "@oncall-llm-platform", "@oncall-llm-platform @ada@example.com"), reason: "addresses are the organisation's choice"},
	"a misspelt kind of mention":             {file: "monitors/daily-cost-budget.json", edit: sub("message", "@oncall-llm-platform", "@on-call-llm-platform"), reason: "@on-call-llm-platform reaches nobody"},
	"a monitor that tells nobody":            {file: "monitors/daily-cost-budget.json", edit: sub("message", "@oncall-llm-platform", ""), reason: "an alert of this monitor reaches nobody"},
	"a message without its playbook":         {file: "monitors/error-burst.json", edit: sub("message", "playbooks/error-burst.md", "playbooks/errors.md"), reason: "the message does not name its playbook, datadog/playbooks/error-burst.md"},
	"a recipient with an @":                  {file: "monitors/rules/cost-alerts.json", edit: set("data.attributes.conditional_recipients.conditions[0].recipients[0]", "@oncall-llm-platform"), reason: "recipients are written without @"},
	"a notification rule for every service":  {file: "monitors/rules/cost-alerts.json", edit: set("data.attributes.filter.tags", []string{"route:cost-alerts"}), at: "data.attributes.filter", reason: "the rule would take the monitors of other services"},

	// Workflows.
	"an unknown action":                       {file: "workflows/cost-spike.json", edit: set(steps+"[name=Notify_recovery].actionId", "com.datadoghq.slack.sendMessage"), reason: `unknown action "com.datadoghq.slack.sendMessage"`},
	"an edge to no step":                      {file: "workflows/cost-spike.json", edit: set(steps+"[name=Prepare].outboundEdges[0].nextStepName", "Is_recovered"), at: steps + "[name=Prepare].outboundEdges", reason: `an edge leads to "Is_recovered", which does not exist`},
	"a branch that the action does not have":  {file: "workflows/cost-spike.json", edit: set(steps+"[name=Is_recovery].outboundEdges[0].branchName", "yes"), at: steps + "[name=Is_recovery].outboundEdges", reason: `has no branch "yes"`},
	"a fallback to no step":                   {file: "workflows/cost-spike.json", edit: set(steps+"[name=Revert].errorHandlers[0].fallbackStepName", "Explain"), at: steps + "[name=Revert].errorHandlers", reason: `the fallback step "Explain" does not exist`},
	"a start at no step":                      {file: "workflows/cost-spike.json", edit: set("data.attributes.spec.triggers[0].startStepNames[0]", "Begin"), at: "data.attributes.spec.triggers[0]", reason: "are not one step that exists"},
	"a step that is never reached":            {file: "workflows/cost-spike.json", edit: remove(steps + "[name=Is_recovery].outboundEdges[0]"), at: steps + "[name=Revert]", reason: "step Revert is never reached"},
	"two steps of one name":                   {file: "workflows/cost-spike.json", edit: set(steps+"[name=Notify_recovery].name", "Revert"), at: "*", reason: `"Revert" is no name of its own`},
	"an input that the action does not have":  {file: "workflows/cost-spike.json", edit: set(steps+"[name=Revert].parameters[name=verb].name", "method"), at: "*", reason: `the action com.datadoghq.http.request has no input "method"`},
	"an input that is missing":                {file: "workflows/cost-spike.json", edit: remove(steps + "[name=Notify_recovery].parameters[name=text]"), at: steps + "[name=Notify_recovery].parameters", reason: "input text is missing"},
	"a connection that is not defined":        {file: "workflows/cost-spike.json", edit: set(steps+"[name=Revert].connectionLabel", "Remediation"), reason: `there is no connection labelled "Remediation"`},
	"an expression of a step that is missing": {file: "workflows/cost-spike.json", edit: sub(steps+"[name=Notify_recovery].parameters[name=text].value", "Steps.Prepare.data.monitor", "Steps.Prepar.data.monitor"), at: steps + "[name=Notify_recovery].parameters[2]", reason: "there is no such step"},
	"an expression of a later step":           {file: "workflows/cost-spike.json", edit: sub(steps+"[name=Revert].parameters[name=body].value.cycle", "Steps.Prepare.data.cycle", "Steps.Notify_recovery.data"), at: "*", reason: "that step never runs before this one"},
	"an output that the action does not have": {file: "workflows/cost-spike.json", edit: sub(steps+"[name=Notify_recovery].parameters[name=text].value", "Steps.Prepare.data", "Steps.Prepare.output"), at: "*", reason: "has no such output"},
	"an input that the workflow lacks":        {file: "workflows/cost-spike.json", edit: sub(steps+"[name=Is_recovery].parameters[name=conditions].value[0].leftValue", "transition", "state"), at: "*", reason: "there is no such input"},
	"a script that does not compile":          {file: "workflows/cost-spike.json", edit: sub(steps+"[name=Prepare].parameters[name=script].value", "return {", "return {{"), at: "*", reason: "step Prepare"},
	"a call that nothing handles":             {file: "workflows/cost-spike.json", edit: remove(steps + "[name=Revert].errorHandlers"), at: steps + "[name=Revert].errorHandlers", reason: "a refusal would end the workflow and page nobody"},
	"a call without an idempotency key":       {file: "workflows/cost-spike.json", edit: remove(steps + "[name=Revert].parameters[name=body].value.idempotency_key"), reason: "the call has no idempotency_key"},
	"one idempotency key for every alert":     {file: "workflows/cost-spike.json", edit: set(steps+"[name=Revert].parameters[name=body].value.idempotency_key", "revert"), reason: "the key is the same for every alert"},
	"a call without its content type":         {file: "workflows/cost-spike.json", edit: set(steps+"[name=Revert].parameters[name=requestHeaders].value", []any{}), reason: "the function answers 415"},
	"a page for a team that does not exist":   {file: "workflows/error-burst.json", edit: set(steps+"[name=Page_on_call].parameters[name=target].value.identifier", "llm"), reason: `there is no team with the handle "llm"`},
	"a channel in the file":                   {file: "workflows/cost-spike.json", edit: set(steps+"[name=Notify_recovery].parameters[name=channel].value", "#llm"), reason: "channel is the organisation's choice"},
	"a severity that does not exist":          {file: "workflows/error-burst.json", edit: set(steps+"[name=Create_incident].parameters[name=fields].value.severity.value", "HIGH"), reason: `the severity is "HIGH"`},
	"a field of an incident without its type": {file: "workflows/error-burst.json", edit: set(steps+"[name=Create_incident].parameters[name=fields].value.severity", "SEV-2"), reason: "a field is an object with a type such as dropdown"},
	"a connection that is no reference":       {file: "workflows/cost-spike.json", edit: set("data.attributes.spec.connectionEnvs[0].connections[0].connectionId", "e1e64943-c7c5-4487-aece-25aaec7d3aad"), reason: "is no reference to a connection"},

	// URLs.
	"a path that the function does not serve":  {file: "workflows/cost-spike.json", edit: sub(steps+"[name=Revert].parameters[name=url].value", "/remediation/revert", "/remediation/reverse"), reason: "the function remediation has no route /remediation/reverse"},
	"a function that does not exist":           {file: "synthetics/tests/health.json", edit: sub("config.request.url", "${function:qa.url}", "${function:chat.url}"), reason: `there is no function "chat"`},
	"a method that the route does not serve":   {file: "synthetics/tests/qa-answer.json", edit: set("config.request.method", "GET"), at: "config.request.url", reason: "the function qa serves /qa by POST, not by GET"},
	"a verb that the route does not serve":     {file: "workflows/cost-spike.json", edit: set(steps+"[name=Revert].parameters[name=verb].value", "GET"), at: steps + "[name=Revert].parameters[name=url].value", reason: "by POST, not by GET"},
	"a host in the file":                       {file: "synthetics/tests/health.json", edit: set("config.request.url", "https://llm.example.com/health"), reason: "is no URL of a function"},
	"a URL of another connection":              {file: "workflows/error-burst.json", edit: set(steps+"[name=Check_provider].parameters[name=url].value", "${function:qa.url}/health"), reason: "the URL is not at the base URL of the connection DIAGNOSIS, that of diagnosis"},
	"a base URL with a path":                   {file: "connections/remediation.json", edit: sub("data.attributes.integration.base_url", ".url}", ".url}/remediation"), reason: "the base URL has a path"},
	"a secret in the file":                     {file: "connections/remediation.json", edit: set("data.attributes.integration.credentials.tokens[0].value", "s3cret"), reason: "a secret must not be in the file"},
	"a token that does not exist":              {file: "connections/remediation.json", edit: set("data.attributes.integration.credentials.headers[0].value", "Bearer {{ token }}"), reason: `there is no token "token"`},
	"a webhook to a route that does not exist": {file: "webhooks/llm-rcp-diagnosis.json", edit: sub("url", "/diagnosis/provider", "/diagnosis"), reason: "the function diagnosis has no route /diagnosis"},
	"a webhook with headers that are no JSON":  {file: "webhooks/llm-rcp-diagnosis.json", edit: sub("custom_headers", "}", ""), reason: "it is JSON in a text"},
	"a webhook's variable that does not exist": {file: "webhooks/llm-rcp-diagnosis.json", edit: sub("custom_headers", "$LLM_RCP_CONTROL", "$LLM_RCP_TOKEN"), reason: "there is no variable $LLM_RCP_TOKEN"},

	"a webhook's secret in the file":         {file: "webhooks/variables/control.json", edit: set("value", "s3cret"), reason: "a secret must not be in the file"},
	"a webhook's secret that everybody sees": {file: "webhooks/variables/control.json", edit: set("is_secret", false), reason: "set is_secret"},

	// SLOs.
	"a warning below the target":           {file: "slos/latency.json", edit: set("thresholds[0].warning", 98), reason: "the warning at 98 is not above the target of 99"},
	"a target of 100":                      {file: "slos/latency.json", edit: set("thresholds[0].target", 100), reason: "above 0 and below 100"},
	"a main timeframe without threshold":   {file: "slos/latency.json", edit: set("timeframe", "7d"), reason: `the main timeframe "7d" has no threshold`},
	"two targets that differ":              {file: "slos/latency.json", edit: set("target_threshold", 98), reason: "but the threshold for 30d has the target 99"},
	"a formula of a query that is missing": {file: "slos/latency.json", edit: set("sli_specification.time_slice.query.formulas[0].formula", "query2"), reason: "the formula names query2, but the queries are query1"},
	"events that are not counted":          {file: "slos/availability.json", edit: sub("sli_specification.count.queries[0].query", ".as_count()", ""), reason: "events are counted with .as_count()"},

	// Synthetics.
	"a test that runs too often":            {file: "synthetics/tests/health.json", edit: set("options.tick_every", 10), reason: "10 is less than the minimum 30"},
	"a wait before a retry in seconds":      {file: "synthetics/tests/qa-answer.json", edit: set("options.retry.interval", 1), reason: "1 is in milliseconds"},
	"a location that does not exist":        {file: "synthetics/tests/health.json", edit: set("locations[0]", "aws:eu-central-9"), reason: `"aws:eu-central-9" is no managed location`},
	"more failing locations than there are": {file: "synthetics/tests/health.json", edit: set("options.min_location_failed", 9), reason: "so 9 can't fail"},
	"a variable that is not declared":       {file: "synthetics/tests/qa-answer.json", edit: sub("config.request.headers.Authorization", "LLM_RCP_API_KEY", "LLM_RCP_KEY"), reason: "the variable LLM_RCP_KEY is not in configVariables"},
	"a variable under another name":         {file: "synthetics/variables/api-key.json", edit: set("name", "LLM_RCP_KEY"), in: "synthetics/tests/qa-answer.json", at: "config.configVariables[0].name", reason: `the variable is called "LLM_RCP_KEY"`},
	"a variable that everybody sees":        {file: "synthetics/variables/api-key.json", edit: set("value.secure", false), reason: "set secure"},
	"a test without its key":                {file: "synthetics/tests/qa-answer.json", edit: remove("config.request.headers.Authorization"), at: "config.request.headers", reason: "the route asks for a bearer key"},
	"a JSON path that can't be read":        {file: "synthetics/tests/qa-answer.json", edit: set("config.assertions[operator=validatesJSONPath].target.jsonPath", "$.answer["), reason: "unexpected eof"},
	"an assertion of an unknown type":       {file: "synthetics/tests/qa-answer.json", edit: set("config.assertions[0].type", "status"), reason: `"status" is not one of`},
	"a test that is paused":                 {file: "synthetics/tests/health.json", edit: set("status", "paused"), reason: "so it never runs"},
	"a test that tells nobody":              {file: "synthetics/tests/health.json", edit: set("message", "It fails."), reason: "a failure of this test reaches nobody"},
	"a body that is no JSON":                {file: "synthetics/tests/qa-answer.json", edit: set("config.request.body", "{question}"), reason: "the body is JSON in a text"},

	// On-Call and incidents.
	"a last rule with a condition":            {file: "oncall/routing/llm-platform.json", edit: set("data.attributes.rules[4].query", "priority:1"), at: "data.attributes.rules[4]", reason: "the last rule must take every page"},
	"a last rule without a policy":            {file: "oncall/routing/llm-platform.json", edit: remove("data.attributes.rules[4].policy_id"), at: "data.attributes.rules[4]", reason: "the last rule must take every page"},
	"a rule that hides those after it":        {file: "oncall/routing/llm-platform.json", edit: remove("data.attributes.rules[1].query"), at: "data.attributes.rules[1]", reason: "the rules after it are never tried"},
	"a routing query of what no page has":     {file: "oncall/routing/llm-platform.json", edit: set("data.attributes.rules[0].query", "route:critical-errors"), reason: "a page has no route"},
	"a step that waits too short":             {file: "oncall/policies/critical-errors.json", edit: set("data.attributes.steps[0].escalate_after_seconds", 30), reason: "a step waits 60 to 36000 seconds"},
	"a step that reaches Slack":               {file: "oncall/policies/critical-errors.json", edit: set("data.attributes.steps[0].targets[0].type", "slack"), reason: "a step reaches users, schedules and teams only"},
	"a policy without steps":                  {file: "oncall/policies/critical-errors.json", edit: set("data.attributes.steps", []any{}), reason: "a policy has 1 to 10 steps"},
	"a schedule with nobody":                  {file: "oncall/schedules/primary.json", edit: set("data.attributes.layers[0].members", []any{}), reason: "nobody is on call"},
	"a shift of a minute":                     {file: "oncall/schedules/primary.json", edit: set("data.attributes.layers[0].interval", map[string]any{"seconds": 60}), reason: "a shift is at least an hour"},
	"a time zone that does not exist":         {file: "oncall/schedules/primary.json", edit: set("data.attributes.time_zone", "Europe/Atlantis"), reason: `there is no time zone "Europe/Atlantis"`},
	"a channel's address in the file":         {file: "oncall/channels/oncall_primary.email.json", edit: set("data.attributes.config.address", "ada@example.com"), reason: "is the organisation's choice"},
	"an incident rule that is off":            {file: "incidents/rules/severe.json", edit: remove("data.attributes.enabled"), reason: "the rule is off; that is also what leaving it out means"},
	"an incident rule for every service":      {file: "incidents/rules/severe.json", edit: remove("data.attributes.conditions[field=services]"), at: "data.attributes.conditions", reason: "the rule would take the incidents of other services"},
	"an incident trigger that does not exist": {file: "incidents/rules/severe.json", edit: set("data.attributes.trigger", "incident_created"), reason: "is neither incident_created_trigger nor incident_saved_trigger"},
	"a handle that no monitor can mention":    {file: "incidents/handles/safety.json", edit: set("data.attributes.name", "LLM Safety"), reason: "no monitor can mention it"},
	"a team of another handle":                {file: "teams/llm-platform.json", edit: set("data.attributes.handle", "llm-team"), in: "monitors/daily-cost-budget.json", at: "message", reason: "@oncall-llm-platform: there is no team with this handle"},

	"a route that nobody asks for":             {file: "monitors/error-burst.json", edit: sub("tags[4]", "route:critical-errors", "route:critical"), reason: "no routing rule asks for the tag route:critical"},
	"a routing rule for a tag that is missing": {file: "oncall/routing/llm-platform.json", edit: sub("data.attributes.rules[0].query", "critical-errors", "critical"), reason: "nothing carries the tag route:critical"},

	"a notification rule without its channel": {file: "oncall/rules/oncall_primary.high-email.json", edit: set("data.relationships.channel.data.id", "1562fab3-a8c2-49e2-8f3a-28dcda2405e2"), reason: "is no reference to a notification-channel"},
	"a notification rule before the page":     {file: "oncall/rules/oncall_primary.high-email.json", edit: set("data.attributes.delay_minutes", -5), reason: "the delay is negative"},
	"an urgency that does not exist":          {file: "oncall/rules/oncall_primary.high-email.json", edit: set("data.attributes.category", "medium_urgency"), reason: `"medium_urgency" is not one of`},

	// Logs.
	"a processor that is off":                     {file: "logs/pipelines/request.json", edit: set("processors[0].is_enabled", false), reason: "the processor is off"},
	"a processor that is off by default":          {file: "logs/pipelines/request.json", edit: remove("processors[0].is_enabled"), reason: "that is also what leaving it out means"},
	"a pipeline that is off":                      {file: "logs/pipelines/request.json", edit: set("is_enabled", false), reason: "the pipeline is off"},
	"a processor without a name":                  {file: "logs/pipelines/request.json", edit: remove("processors[0].name"), reason: "the processor has no name of its own"},
	"an attribute that nothing writes":            {file: "logs/pipelines/error.json", edit: set("processors[type=grok-parser].source", "err.message"), reason: "nothing writes the attribute err.message"},
	"a template of what nothing writes":           {file: "logs/pipelines/error.json", edit: sub("processors[type=string-builder-processor].template", "error.severity", "error.level"), reason: "nothing writes the attribute error.level"},
	"a category of what nothing writes":           {file: "logs/pipelines/security.json", edit: sub("processors[name=event type].categories[0].filter.query", "injection_suspected", "injection"), reason: "no telemetry of ours writes @llm.safety.injection to logs"},
	"a category with a search that can't be read": {file: "logs/pipelines/security.json", edit: set("processors[name=event type].categories[0].filter.query", "@a:(b"), reason: "search query"},
	"a filter over all attributes":                {file: "logs/pipelines/cost.json", edit: set("filter.query", "*:timeout"), reason: "Datadog takes no search of all attributes"},
	"a grok rule that can't be read":              {file: "logs/pipelines/error.json", edit: sub("processors[type=grok-parser].grok.match_rules", "%{data:error.cause}", "%{dta:error.cause}"), reason: "dta"},
	"a sample that no rule matches":               {file: "logs/pipelines/error.json", edit: set("processors[type=grok-parser].samples[0]", "no colon"), reason: "no rule of the parser matches this sample"},
	"an expression that can't be read":            {file: "logs/pipelines/cost.json", edit: set("processors[type=arithmetic-processor].expression", "llm.request.cost /"), at: "processors[type=arithmetic-processor]", reason: "read the expression"},
	"an order that leaves a pipeline out":         {file: "logs/pipeline-order/order.json", edit: remove("pipeline_ids[0]"), at: "pipeline_ids", reason: "the order leaves out ${pipeline:security}"},
	"an order that lists a pipeline twice":        {file: "logs/pipeline-order/order.json", edit: set("pipeline_ids[1]", "${pipeline:security}"), reason: "is listed twice"},
	"an archive that takes another's logs":        {file: "logs/archive-order/order.json", edit: set("data.attributes.archive_ids", []string{"${archive:all-logs}", "${archive:error-logs}"}), at: "data.attributes.archive_ids[1]", reason: "${archive:all-logs} comes first and takes all of its logs"},
	"an archive without tags":                     {file: "logs/archives/all-logs@s3.json", edit: remove("data.attributes.include_tags"), reason: "the tags of logs are not kept"},
	"an archive that promises more":               {file: "logs/archives/error-logs@s3.json", edit: sub("data.attributes.name", "90 days", "180 days"), in: "logs/lifecycle/s3.json", at: "-", reason: "no enabled rule deletes lrcp/error-logs/ after the 180 days"},
	"an archive at a path of its own":             {file: "logs/archives/error-logs@gcs.json", edit: sub("data.attributes.destination.path", "error-logs", "errors"), in: "logs/lifecycle/gcs.json", at: "-", reason: "no enabled rule deletes lrcp/errors/ after the 90 days"},
	"two forms of an archive that differ":         {file: "logs/archives/error-logs@s3.json", edit: sub("data.attributes.query", " OR emergency", ""), reason: "it differs from that of logs/archives/error-logs@gcs.json"},
	"a scanner that is off":                       {file: "logs/scanner-groups/llm.json", edit: set("data.attributes.is_enabled", false), reason: "nothing is redacted"},
	"a scanner that skips half":                   {file: "logs/scanner-groups/llm.json", edit: set("data.attributes.samplings[0].rate", 50), reason: "what is not scanned is not redacted"},
	"a pattern that can't be read":                {file: "logs/scanner-rules/email.json", edit: set("data.attributes.pattern", "(a@b"), reason: "the pattern can't be read"},
	"a pattern that matches nothing at all":       {file: "logs/scanner-rules/email.json", edit: set("data.attributes.pattern", "(a@b)?"), reason: "the pattern matches the empty text"},
	"a rule that only tags":                       {file: "logs/scanner-rules/email.json", edit: set("data.attributes.text_replacement", map[string]any{"type": "none"}), at: "data.attributes.text_replacement.type", reason: "the rule only tags what it finds"},
	"a rule that keeps what it redacts":           {file: "logs/scanner-rules/email.json", edit: set("data.attributes.text_replacement.should_save_match", true), reason: "the match would be kept"},

	// Dashboards and notebooks.
	"a dashboard's tag that is not of a team": {file: "dashboards/overview.json", edit: add("tags", "service:llm-reliability-control-plane"), reason: "Datadog takes only team: tags on dashboards"},
	"a widget outside of the grid":            {file: "dashboards/overview.json", edit: set("widgets[0].definition.widgets[0].layout.x", 10), at: "widgets[0].definition.widgets[0].layout", reason: "not inside of the 12 columns"},
	"a widget on another":                     {file: "dashboards/overview.json", edit: set("widgets[0].definition.widgets[1].layout.x", 2), at: "widgets[0].definition.widgets[1].layout", reason: "the widget lies on widget 0"},
	"a widget without a place":                {file: "dashboards/overview.json", edit: remove("widgets[0].definition.widgets[0].layout"), reason: "the widget has no place"},
	"a template variable that does not exist": {file: "dashboards/overview.json", edit: sub("widgets[0].definition.widgets[0].definition.requests[0].queries[0].query", "$env", "$environment"), reason: "the template variable $environment is not defined"},
	"a template variable that nothing uses":   {file: "dashboards/overview.json", edit: add("template_variables", map[string]any{"name": "tier", "prefix": "tier"}), reason: "no widget uses the template variable $tier"},
	"a preset of no variable":                 {file: "dashboards/overview.json", edit: set("template_variable_presets[0].template_variables[0].name", "stage"), reason: "the preset sets $stage, which is not defined"},
	"an SLO widget of a monitor":              {file: "dashboards/overview.json", edit: set("widgets[1].definition.widgets[0].definition.slo_id", "x"), reason: "is no reference to a slo"},
	"a graph of a number":                     {file: "dashboards/overview.json", edit: set("widgets[1].definition.widgets[3].definition.alert_id", "123456"), reason: "is no reference to a monitor"},
	"an unknown metric on the dashboard":      {file: "dashboards/overview.json", edit: sub("widgets[0].definition.widgets[0].definition.requests[0].queries[0].query", "llm.health_score", "llm.health"), reason: "there is no metric llm.health:"},
	"a formula of a missing query":            {file: "dashboards/overview.json", edit: set("widgets[0].definition.widgets[0].definition.requests[0].formulas[0].formula", "q2"), reason: "the formula names q2"},
	"a formula with an unknown function":      {file: "dashboards/overview.json", edit: set("widgets[0].definition.widgets[0].definition.requests[0].formulas[0].formula", "smooth(q)"), reason: "the formula calls smooth()"},
	"a notebook with a long name":             {file: "notebooks/cost-optimisation.json", edit: set("data.attributes.name", strings.Repeat("cost ", 20)), reason: "at most 80 are allowed"},
	"an unknown metric in a notebook":         {file: "notebooks/root-cause-analysis.json", edit: sub("data.attributes.cells[2].attributes.definition.requests[0].q", "llm.telemetry.dropped", "llm.telemetry.lost"), reason: "there is no metric llm.telemetry.lost"},
	"a cell of an unknown type":               {file: "notebooks/root-cause-analysis.json", edit: set("data.attributes.cells[2].attributes.definition.type", "query_value"), at: "*", reason: `"query_value" is not one of`},
	"a log cell with a facet that is missing": {file: "notebooks/cost-optimisation.json", edit: sub("data.attributes.cells[1].attributes.definition.query", "@llm.cost.pricing", "@llm.cost.price"), reason: "writes @llm.cost.price to logs"},

	"a metric in a note that is missing": {file: "notebooks/root-cause-analysis.json", edit: sub("data.attributes.cells[3].attributes.definition.text", "`version`", "`llm.request.versions`"), reason: "there is no metric or attribute llm.request.versions"},
	"a choice that a tag never has":      {file: "dashboards/overview.json", edit: set("template_variables[name=env].available_values[0]", "prod"), reason: `the tag env never has the value "prod"`},

	// Others.
	"a unit that Datadog does not know":     {file: "metric catalogue: metric-metadata of llm.request.duration", edit: set("unit", "milliseconds"), reason: `"milliseconds" is not a unit that Datadog knows`},
	"a metric without description":          {file: "metric catalogue: metric-metadata of llm.request.duration", edit: set("description", ""), reason: "the metric has no description"},
	"a tag configuration of another kind":   {file: "metric catalogue: metric-tags of llm.request.duration", edit: set("data.attributes.metric_type", "histogram"), reason: `"histogram" is not one of`},
	"a metric of a path that spans lack":    {file: "metrics/spans/llm.span.cost.json", edit: set("data.attributes.compute.path", "@llm.cost"), reason: "no telemetry of ours writes @llm.cost to spans"},
	"a group that logs lack":                {file: "metrics/logs/llm.log.errors.json", edit: set("data.attributes.group_by[0].path", "@llm.func"), reason: "writes @llm.func to logs"},
	"percentiles of a count":                {file: "metrics/spans/llm.span.hits.json", edit: set("data.attributes.compute.include_percentiles", true), reason: "percentiles are for distributions only"},
	"a distribution without a path":         {file: "metrics/spans/llm.span.cost.json", edit: remove("data.attributes.compute.path"), reason: "a distribution has a path"},
	"a metric under another name":           {file: "metrics/spans/llm.span.hits.json", edit: set("data.id", "llm.span.count"), reason: `the metric is called "llm.span.count", but the file llm.span.hits`},
	"a retention filter that is off":        {file: "apm/retention-filters/errors.json", edit: set("data.attributes.enabled", false), reason: "the filter is off"},
	"a retention filter that keeps nothing": {file: "apm/retention-filters/errors.json", edit: set("data.attributes.rate", 0), reason: "a rate is above 0 and up to 1"},
	"a retention filter of every service":   {file: "apm/retention-filters/errors.json", edit: set("data.attributes.filter.query", "status:error"), reason: "the filter takes what other services send"},
	"an entity of another name":             {file: "catalog/llm-reliability-control-plane.json", edit: set("metadata.name", "llm-rcp"), reason: `the service "llm-rcp" is not ours`},
	"an entity without an owner":            {file: "catalog/llm-reliability-control-plane.json", edit: set("metadata.owner", "platform"), reason: `there is no team with the handle "platform"`},
	"an application that is no web page":    {file: "rum/theater.json", edit: set("data.attributes.type", "ios"), reason: `the type is browser, not "ios"`},
}

// fixture is what the tests of this package share: the assets as they are, and Datadog's description.
func fixture(t testing.TB) ([]assets.Asset, *schema.Description) {
	t.Helper()
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	d, err := schema.Load(t.Context(), schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return append(loaded, assets.Metrics(telemetry.Catalogue())...), d
}

func TestTheAssetsOfThisRepositoryHaveNoProblem(t *testing.T) {
	r, err := check.Run(t.Context(), check.Options{FS: datadog.FS})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Error(p)
	}
	for _, kind := range assets.Kinds() {
		if r.Assets[kind] == 0 {
			t.Errorf("there is no asset of kind %s", kind)
		}
	}
}

func TestEverySeededDefectIsFound(t *testing.T) {
	all, d := fixture(t)
	before := check.All(check.Options{FS: datadog.FS, Assets: all, Description: d})
	if len(defects) < 60 {
		t.Errorf("only %d defects are seeded", len(defects))
	}
	seededIn := map[assets.Kind]bool{}
	for _, a := range all {
		for _, seeded := range defects {
			seededIn[a.Kind] = seededIn[a.Kind] || seeded.file == a.File
		}
	}
	for _, kind := range assets.Kinds() {
		if !seededIn[kind] {
			t.Errorf("no defect is seeded in any asset of kind %s", kind)
		}
	}
	for n, name := range slices.Sorted(maps.Keys(defects)) {
		seeded := defects[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && n%8 != 0 {
				t.Skip("every eighth in short mode")
			}
			i := slices.IndexFunc(all, func(a assets.Asset) bool { return a.File == seeded.file })
			if i < 0 {
				t.Fatalf("there is no asset %s", seeded.file)
			}
			var body any
			if err := json.Unmarshal(all[i].Body, &body); err != nil {
				t.Fatal(err)
			}
			changed := seeded.edit(t, body)
			mutated := slices.Clone(all)
			mutated[i].Body = encoded(t, body)
			want := check.Problem{File: seeded.file, Path: changed, Reason: seeded.reason}
			if seeded.in != "" {
				want.File = seeded.in
			}
			switch seeded.at {
			case "":
			case "-":
				want.Path = ""
			case "*":
				want.Path = "*"
			default:
				want.Path = seeded.at
				if strings.Contains(seeded.at, "=") {
					var original any
					if err := json.Unmarshal(all[i].Body, &original); err != nil {
						t.Fatal(err)
					}
					_, _, want.Path = walk(t, original, seeded.at)
				}
			}
			found(t, before, check.All(check.Options{FS: datadog.FS, Assets: mutated, Description: d}), want)
		})
	}
}

// found fails unless one of the problems that were not there before is the one that is wanted.
func found(t *testing.T, before, after []check.Problem, want check.Problem) {
	t.Helper()
	var fresh []string
	for _, p := range after {
		if slices.Contains(before, p) {
			continue
		}
		if p.File == want.File && (p.Path == want.Path || want.Path == "*") && strings.Contains(p.Reason, want.Reason) {
			return
		}
		fresh = append(fresh, p.String())
	}
	t.Errorf("not found:\n%s\nfound:\n%s", want, strings.Join(fresh, "\n"))
}

func encoded(t *testing.T, body any) []byte {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestEverySeededDefectOfOtherFilesIsFound changes what is no asset: playbooks, tests, lifecycles, the catalogue.
func TestEverySeededDefectOfOtherFilesIsFound(t *testing.T) {
	all, d := fixture(t)
	before := check.All(check.Options{FS: datadog.FS, Assets: all, Description: d})
	tests := map[string]struct {
		file, old, new string
		want           check.Problem
	}{
		"a playbook that is gone":                {"playbooks/error-burst.md", "*", "", check.Problem{File: "monitors/error-burst.json", Reason: "there is no playbook playbooks/error-burst.md"}},
		"a playbook without what to do":          {"playbooks/error-burst.md", "## What to do next", "## Now", check.Problem{File: "playbooks/error-burst.md", Reason: "the page does not say: What to do next"}},
		"a command that leads nowhere":           {"playbooks/error-burst.md", "$LRCP_URL/remediation/revert", "$LRCP_URL/remediation/undo", check.Problem{File: "playbooks/error-burst.md", Path: "*", Reason: "no function serves POST /remediation/undo"}},
		"a metric in a playbook that is missing": {"playbooks/error-burst.md", "`llm.request.error`", "`llm.request.errors`", check.Problem{File: "playbooks/error-burst.md", Path: "*", Reason: "there is no metric or attribute llm.request.errors"}},
		"a lifecycle that deletes too early":     {"logs/lifecycle/s3.json", `"Days": 90`, `"Days": 9`, check.Problem{File: "logs/lifecycle/s3.json", Path: "Rules[0].Expiration.Days", Reason: "promises 90 days for lrcp/error-logs/, and this deletes after 9"}},
		"a lifecycle that is off":                {"logs/lifecycle/s3.json", `"Enabled"`, `"Disabled"`, check.Problem{File: "logs/lifecycle/s3.json", Reason: "no enabled rule deletes lrcp/error-logs/"}},
		"a lifecycle that is no JSON":            {"logs/lifecycle/gcs.json", "{", "", check.Problem{File: "logs/lifecycle/gcs.json", Reason: "not valid JSON"}},
		"a file that covers what is not there":   {"tests/seeded.yaml", "+", "covers: [monitor/nothing]\n", check.Problem{File: "tests/seeded.yaml", Path: "covers[0]", Reason: "there is no asset monitor/nothing"}},
		"a file that covers nothing":             {"tests/seeded.yaml", "+", "cases: []\n", check.Problem{File: "tests/seeded.yaml", Path: "covers", Reason: "does not say which assets it covers"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			folder := overlay(t, test.file, test.old, test.new)
			found(t, before, check.All(check.Options{FS: folder, Assets: all, Description: d}), test.want)
		})
	}
}

// overlay is the folder with one file changed: a part of it, "*" for the whole file gone, "+" for a new one.
func overlay(t *testing.T, file, old, replacement string) fs.FS {
	t.Helper()
	out := fstest.MapFS{}
	err := fs.WalkDir(datadog.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(datadog.FS, name)
		out[name] = &fstest.MapFile{Data: raw}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	switch old {
	case "*":
		delete(out, file)
	case "+":
		out[file] = &fstest.MapFile{Data: []byte(replacement)}
	default:
		text := string(out[file].Data)
		if !strings.Contains(text, old) {
			t.Fatalf("%s holds no %q", file, old)
		}
		out[file] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(text, old, replacement))}
	}
	return out
}
