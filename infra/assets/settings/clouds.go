package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The clouds that have a section.
const (
	Lambda   = "lambda"
	CloudRun = "cloudrun"
)

// Key is one setting of a section.
type Key struct{ Name, Help string }

// Keys returns the settings that a cloud's section may have, the most important first.
func Keys(cloud string) []Key {
	switch cloud {
	case Lambda:
		return slices.Concat([]Key{
			{"region", "AWS region"},
			{"dd_api_key_arn", "ARN of the secret with a Datadog API key"},
			{"dd_app_key_arn", "ARN of the secret with a Datadog application key"},
			{"escalation_app_key_arn", "ARN of the secret with the application key that opens incidents and pages"},
			{"api_keys_arn", "ARN of the secret with the callers of qa and completion, name:sha256,…"},
			{"control_secrets_arn", "ARN of the secret with the bearer secret of the control functions"},
			{"probe_key_arn", "ARN of the secret with the API key that the probe calls with"},
			{"google_project", "Google Cloud project of Vertex AI"},
			{"google_location", "region of Vertex AI"},
			{"google_credentials", "workload identity federation config: a file, or the JSON itself"},
		}, functionKeys(), []Key{
			{"openai_api_key_arn", "ARN of the secret with its key"},
			{"secrets_kms_key_arn", "ARN of the customer managed key of the secrets"},
			{"control_concurrency", "executions reserved for each control function"},
			{"data_deadline", "longest time of a request to a data function"},
			{"data_timeout", "seconds after which Lambda ends a data function"},
			{"data_memory", "MB of a data function"},
			{"control_deadline", "longest time of a request to a control function"},
			{"control_timeout", "seconds after which Lambda ends a control function"},
			{"control_memory", "MB of a control function"},
			{"probe_deadline", "longest time of a probe"},
			{"probe_timeout", "seconds after which Lambda ends the probe"},
			{"probe_schedule", "how often it is called"},
			{"escalation_schedule", "how often what could not be sent is tried again"},
			{"probe_qa_url", "what the probe calls instead of qa"},
			{"probe_completion_url", "what the probe calls instead of completion"},
			{"insights_schedule", "how often it is called"},
			{"log_retention_days", "how long CloudWatch keeps logs"},
			{"url_authorizer", "none or aws_iam"},
			{"table_deletion_policy", "what becomes of the table when the stack goes"},
			{"table_deletion_protection", "true or false"},
		})
	case CloudRun:
		return slices.Concat([]Key{
			{"project", "Google Cloud project"},
			{"region", "region of Cloud Run, and of all else"},
			{"google_location", "region of Vertex AI; that of Cloud Run when not given"},
			{"database", "Firestore database; one for the stage when not given"},
			{"database_location", "location of the database, where Firestore has another name for the region"},
			{"cpu", "always, or request: cheaper, and telemetry may come late"},
			{"insights_schedule", "how often it is called, as a cron expression"},
			{"probe_schedule", "how often it is called, as a cron expression"},
			{"escalation_schedule", "how often what could not be sent is tried again, as a cron expression"},
		}, functionKeys())
	}
	return nil
}

// functionKeys returns what both clouds tell the functions.
func functionKeys() []Key {
	return []Key{
		{"env", "environment, as telemetry names it; the stage when not given"},
		{"provider", "route of model providers"},
		{"default_tier", "model tier when nothing else is said"},
		{"shared_cache", "on or off"},
		{"capture_content", "none, truncated or full"},
		{"log_level", "level of log lines"},
		{"rum_application_id", "RUM application that the theater's page reports to"},
		{"rum_client_token", "its client token, which every visitor's browser sees"},
		{"genai_location", "location that genai calls"},
		{"gemini_model_economy", "model of a tier"},
		{"gemini_model_standard", "model of a tier"},
		{"gemini_model_quality", "model of a tier"},
		{"vertexai_transport", "grpc or rest"},
		{"openai_base_url", "server of the provider openai"},
		{"model_economy", "model of a tier at that server"},
		{"model_standard", "model of a tier at that server"},
		{"model_quality", "model of a tier at that server"},
		{"block", "what is not answered: injection, document_injection, token_abuse, pii or pii:kind, with commas"},
		{"limits", "what each caller may use, such as *:rpm=600;web:rpm=60,tpm=100000,usd_day=5"},
		{"cache_scope", "caller, or shared: callers have each other's cached answers"},
		{"cache_stale", "how long after its time a cached answer is served when all models fail"},
		{"fallback_on_block", "true: another model is asked when a provider's filter withheld the answer"},
		{"hedge", "off, or p95: a second call begins when the first is slower than that"},
		{"judge_sample", "share of the answers of qa that a model judges, 0 to 1"},
		{"judge_tier", "tier of the model that judges"},
		{"analytics_application", "ID of an application of Product Analytics, which is sent an event for each request"},
		{"allow_models", "tiers and models that remediation may switch to"},
		{"allow_functions", "functions that remediation may change"},
		{"allow_endpoints", "endpoints that remediation may change"},
		{"allow_providers", "providers that a failover may avoid"},
		{"max_duration", "longest time of an override"},
		{"cooldown", "time between two changes of the same thing"},
		{"hourly_budget", "changes an hour at most"},
		{"flap_window", "time in which a change back is refused"},
		{"status_feed", "the provider's status feed, or none"},
		{"escalation_team", "handle of the team that is paged"},
		{"insights_window", "how far back the health score looks"},
	}
}

// Cloud returns the settings of a cloud that have a value.
func (v *Values) Cloud(cloud string) map[string]string {
	out := map[string]string{}
	for _, k := range Keys(cloud) {
		if value := v.first("LRCP_"+strings.ToUpper(cloud)+"_", k.Name, v.clouds[cloud]); value != "" {
			out[k.Name] = value
		}
	}
	return out
}

// checkCloud names the settings of a section that no cloud knows.
func checkCloud(cloud string, section map[string]string) (problems []error) {
	for _, name := range slices.Sorted(maps.Keys(section)) {
		if !slices.ContainsFunc(Keys(cloud), func(k Key) bool { return k.Name == name }) {
			problems = append(problems, fmt.Errorf("%s.%s: there is no such setting", cloud, name))
		}
	}
	return problems
}

// WithFunctions returns the values with the URLs of functions that are deployed, by name. They win over the file's, and the
// environment wins over them.
func (v *Values) WithFunctions(urls map[string]string) *Values {
	with := *v
	with.functions = maps.Clone(v.functions)
	if with.functions == nil {
		with.functions = map[string]string{}
	}
	maps.Copy(with.functions, urls)
	return &with
}
