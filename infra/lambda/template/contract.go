package template

import (
	"slices"
	"strings"
)

// contract is what one function must be.
type contract struct {
	name string
	// control functions may have executions reserved; data functions share the rest.
	control bool
	// url is whether the function is reached over HTTPS, schedule whether EventBridge calls it.
	url, schedule bool
	// required and optional are the variables of its environment, besides those of every function. A variable that ends in
	// secretSuffix gives it the right to read that secret.
	required, optional []string
	// table is what it may do with the items of the state table.
	table []grant
}

// grant is a permission for one action.
type grant struct {
	action, resource string
	// condition is the JSON of the condition that it holds under; empty for none.
	condition string
}

const secretSuffix = "_SECRET_ARN"

// The values that IAM compares the partition key of each item with. A request without any key must not slip through.
const (
	controlItems = `{"ForAllValues:StringEquals":{"dynamodb:LeadingKeys":["control"]},"Null":{"dynamodb:LeadingKeys":"false"}}`
	outboxItems  = `{"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["escalation#*"]},"Null":{"dynamodb:LeadingKeys":"false"}}`
	limitItems   = `{"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["limit#*"]},"Null":{"dynamodb:LeadingKeys":"false"}}`
	cacheItems   = `{"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["cache#*"]},"Null":{"dynamodb:LeadingKeys":"false"}}`
)

// stateTable is the logical ID of the table.
const stateTable = "StateTable"

// contracts returns what holds of each function, in the order of their names.
func contracts() []contract {
	table := func(condition string, actions ...string) (grants []grant) {
		for _, action := range actions {
			grants = append(grants, grant{"dynamodb:" + action, "${" + stateTable + ".Arn}", condition})
		}
		return grants
	}
	readControl := table(controlItems, "GetItem", "Query")
	writeControl := table(controlItems, "PutItem", "DeleteItem", "ConditionCheckItem")
	cache := table(cacheItems, "GetItem", "PutItem")
	limits := table(limitItems, "GetItem", "UpdateItem")
	outbox := table(outboxItems, "GetItem", "Query", "PutItem", "DeleteItem")

	model := []string{
		"GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "LRCP_GOOGLE_CREDENTIALS", "LRCP_GENAI_LOCATION", "LRCP_VERTEXAI_TRANSPORT",
		"LRCP_GEMINI_MODEL_ECONOMY", "LRCP_GEMINI_MODEL_STANDARD", "LRCP_GEMINI_MODEL_QUALITY",
		"OPENAI_BASE_URL", "OPENAI_API_KEY_SECRET_ARN", "LRCP_MODEL_ECONOMY", "LRCP_MODEL_STANDARD", "LRCP_MODEL_QUALITY",
	}
	control := []string{"LRCP_CONTROL_SECRETS_SECRET_ARN"}
	data := func(name string) contract {
		return contract{
			name: name, url: true, table: slices.Concat(readControl, cache, limits),
			optional: with(model, "LRCP_BLOCK", "LRCP_CONTROL_INTERVAL", "LRCP_CACHE_BYTES", "LRCP_LIMITS", "LRCP_CACHE_SCOPE", "LRCP_CACHE_STALE", "LRCP_FALLBACK_ON_BLOCK", "LRCP_HEDGE", "LRCP_ANALYTICS_APPLICATION"),
			required: []string{"LRCP_PROVIDER", "LRCP_STATE", "LRCP_SHARED_CACHE", "LRCP_DEFAULT_TIER", "LRCP_API_KEYS_SECRET_ARN"},
		}
	}
	qa := data("qa")
	qa.optional = with(qa.optional, "LRCP_JUDGE_SAMPLE", "LRCP_JUDGE_TIER")
	return []contract{
		data("completion"),
		{
			name: "diagnosis", control: true, url: true, required: with(control, "LRCP_PROVIDER"),
			optional: with(model, "LRCP_STATUS_FEED", "LRCP_DIAGNOSIS_TIMEOUT"),
		},
		{
			name: "escalation", control: true, url: true, schedule: true,
			required: with(control, "LRCP_STATE", "LRCP_ESCALATION_APP_KEY_SECRET_ARN", "LRCP_ESCALATION_TEAM"), table: outbox,
		},
		{
			name: "insights", control: true, url: true, schedule: true, required: with(control, "DD_APP_KEY_SECRET_ARN", "LRCP_REMEDIATION_URL"),
			optional: []string{"LRCP_INSIGHTS_WINDOW"},
		},
		{
			name: "probe", control: true, schedule: true,
			required: with(control, "LRCP_PROBE_QA_URL", "LRCP_PROBE_COMPLETION_URL", "LRCP_PROBE_API_KEY_SECRET_ARN"),
			optional: []string{"LRCP_PROBE_TIMEOUT"},
		},
		qa,
		{
			name: "remediation", control: true, url: true, required: with(control, "LRCP_STATE", "LRCP_DEFAULT_TIER"),
			optional: []string{
				"LRCP_ALLOW_MODELS", "LRCP_ALLOW_FUNCTIONS", "LRCP_ALLOW_ENDPOINTS", "LRCP_ALLOW_PROVIDERS",
				"LRCP_MAX_DURATION", "LRCP_COOLDOWN", "LRCP_HOURLY_BUDGET", "LRCP_FLAP_WINDOW",
			},
			table: slices.Concat(readControl, writeControl),
		},
		{
			name: "theater", control: true, url: true,
			required: with(control, "LRCP_THEATER_INSIGHTS_URL", "LRCP_THEATER_REMEDIATION_URL", "LRCP_THEATER_QA_URL", "LRCP_PROBE_API_KEY_SECRET_ARN"),
			optional: []string{"DD_RUM_APPLICATION_ID", "DD_RUM_CLIENT_TOKEN"},
		},
	}
}

// with returns a new list.
func with(list []string, more ...string) []string { return slices.Concat(list, more) }

// common are the variables of every function, with the value that each must have; empty for any.
func common() map[string]string {
	return map[string]string{
		"LRCP_TIMEOUT": "", "LRCP_LOG_LEVEL": "", "LLM_CAPTURE_CONTENT": "",
		"DD_SITE": "", "DD_SERVICE": "", "DD_ENV": "", "DD_VERSION": "", "DD_API_KEY_SECRET_ARN": "", "DD_LLMOBS_ML_APP": "",
		"DD_TRACE_ENABLED": "true", "DD_LLMOBS_ENABLED": "true", "DD_SERVERLESS_LOGS_ENABLED": "true",
		// Each of these would cost time at a cold start, or copy what callers send.
		"DD_APPSEC_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
		"DD_TRACE_STARTUP_LOGS": "false", "DD_CAPTURE_LAMBDA_PAYLOAD": "false", "DD_MERGE_XRAY_TRACES": "false",
		"DD_LOGS_INJECTION": "false", "DD_LOGS_CONFIG_PROCESSING_RULES": "",
		"GOGC": "400",
	}
}

// secrets are the variables that hold a secret where there is no secret store.
func secrets() []string {
	return []string{"DD_API_KEY", "DD_APP_KEY", "OPENAI_API_KEY", "LRCP_API_KEYS", "LRCP_CONTROL_SECRETS", "LRCP_PROBE_API_KEY", "LRCP_ESCALATION_APP_KEY"}
}

// Functions returns the names of the functions that are deployed to Lambda, in order.
func Functions() []string {
	var names []string
	for _, c := range contracts() {
		names = append(names, c.name)
	}
	return names
}

// id is the logical ID that osls gives to a resource of the function.
func (c contract) id(suffix string) string {
	return strings.ToUpper(c.name[:1]) + c.name[1:] + suffix
}
