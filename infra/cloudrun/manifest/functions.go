// Package manifest says what runs on Cloud Run: one table of functions, and the Knative service that each of them becomes
// together with Datadog's sidecar. It is pure: it asks no cloud, and who deploys its services is infra/cloudrun.
//
// Decisions that hold for every function:
//
//   - Two containers. The sidecar, serverless-init, takes traces and metrics on the loopback interface and log lines from a
//     file in a volume in memory. The function depends on it, because the tracer asks once, at start, what the agent can
//     do, and because the container that starts last is stopped first, so that what it says at its end is still passed on.
//   - The CPU is always allocated while an instance lives. So the answers of qa and completion do not wait until the sidecar
//     has their telemetry: it is sent in the background, and flushed when the instance stops. The others hand everything
//     over before a response ends, but the sidecar sends it to Datadog some seconds later, too. With a CPU for requests
//     only, the telemetry of the last request before a pause would wait for the next one, and an alert with it. Datadog says
//     that its sidecar is not throttled; Google says that all of an instance is. Instances still go when idle, but for those
//     that a schedule calls often enough: Settings.RequestCPU is for who will not pay for that.
//   - The first generation of the execution environment: it starts faster, and nothing here needs the second.
//   - Cloud Run's own check of callers is off, and the functions check: API keys, control secrets, or the token of the
//     schedule. Datadog's HTTP action can't send a Google ID token. And where Cloud Run checks a token itself, it passes
//     it on without its signature, so that the function could not check that of the schedule.
//   - The version of every secret is a number: a new one is a new revision, and never two secrets under one revision.
//
// What could not be tried without a project: whether Cloud Run mounts the volume in memory so that a user who is not root
// can write to it. Its documentation says that root owns it. If it can't be written, log lines reach Cloud Logging only.
package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/buildtags"
)

// Secret is a variable whose value is in Secret Manager.
type Secret struct {
	// Variable is what a function reads, and what lrcp reads when it makes the secret.
	Variable string
	// name is the end of the name in Secret Manager.
	name string
}

// The secrets of a deployment.
var (
	apiKeys        = Secret{"LRCP_API_KEYS", "api-keys"}
	controlSecrets = Secret{"LRCP_CONTROL_SECRETS", "control-secrets"}
	probeAPIKey    = Secret{"LRCP_PROBE_API_KEY", "probe-api-key"}
	datadogAPIKey  = Secret{"DD_API_KEY", "dd-api-key"}
	datadogAppKey  = Secret{"DD_APP_KEY", "dd-app-key"}
	escalationKey  = Secret{"LRCP_ESCALATION_APP_KEY", "escalation-app-key"}
	openAIKey      = Secret{"OPENAI_API_KEY", "openai-api-key"}
)

// Job is a schedule of Cloud Scheduler that calls a function.
type Job struct {
	// Cron is when, in UTC. An attempt that fails is not repeated: the next run is the retry.
	Cron         string
	Method, Path string
	Header       map[string]string
}

// Function is one row of the table.
type Function struct {
	Name string
	// State is whether it reads and writes Firestore, Models whether it calls models of Vertex AI.
	State, Models bool
	// Job is nil for a function that no schedule calls.
	Job *Job
	// Timeout is the longest time for a request.
	Timeout time.Duration
	// Concurrency is how many requests an instance takes at a time, and MaxInstances how many instances there are at most.
	// For control functions it is what a leaked secret could cost.
	Concurrency, MaxInstances int
	// secrets are those that the function itself reads whatever the settings say.
	secrets []Secret
}

// Functions returns the table.
func Functions() []Function {
	return []Function{
		{
			Name: "qa", State: true, Models: true, secrets: []Secret{apiKeys},
			Timeout: 30 * time.Second, Concurrency: 40, MaxInstances: 20,
		},
		{
			Name: "completion", State: true, Models: true, secrets: []Secret{apiKeys},
			Timeout: 30 * time.Second, Concurrency: 40, MaxInstances: 20,
		},
		{
			Name: "remediation", State: true, secrets: []Secret{controlSecrets},
			Timeout: 20 * time.Second, Concurrency: 20, MaxInstances: 2,
		},
		{
			Name: "diagnosis", Models: true, secrets: []Secret{controlSecrets},
			Timeout: 20 * time.Second, Concurrency: 20, MaxInstances: 2,
		},
		{
			Name: "escalation", State: true, secrets: []Secret{controlSecrets, datadogAPIKey, escalationKey},
			Job:     &Job{Cron: "* * * * *", Method: "POST", Path: "/escalation/queue"},
			Timeout: 20 * time.Second, Concurrency: 20, MaxInstances: 2,
		},
		{
			Name: "insights", secrets: []Secret{controlSecrets, datadogAPIKey, datadogAppKey},
			Job: &Job{
				Cron: "* * * * *", Method: "GET", Path: "/insights",
				Header: map[string]string{"X-Lrcp-Emit": "health_score"},
			},
			Timeout: 20 * time.Second, Concurrency: 20, MaxInstances: 2,
		},
		{
			Name: "probe", secrets: []Secret{controlSecrets, probeAPIKey},
			Job: &Job{Cron: "*/10 * * * *", Method: "POST", Path: "/probe"},
			// It waits for several answers of the data functions.
			Timeout: 110 * time.Second, Concurrency: 5, MaxInstances: 2,
		},
		{
			Name: "theater", secrets: []Secret{controlSecrets, probeAPIKey},
			// Who watches holds a request open.
			Timeout: 60 * time.Second, Concurrency: 40, MaxInstances: 2,
		},
	}
}

// The project-wide constants of a service.
const (
	// DatadogService is the service that all telemetry belongs to; functions are told apart by a tag of their own.
	DatadogService = "llm-reliability-control-plane"
	// Sidecar is Datadog's agent for Cloud Run, at the newest version that was known when this was written.
	Sidecar = "gcr.io/datadoghq/serverless-init:1.10.4"
	// answerTime is what a request may take beyond the function's own time limit before Cloud Run cuts it off: the flush
	// is inside the limit, so this is only for the way.
	answerTime = 5 * time.Second
)

// Settings are what differs between deployments.
type Settings struct {
	// Project is the ID of the project, and ProjectNumber its number, which is a part of every address.
	Project, ProjectNumber string
	// Region is where everything is, Cloud Run's name for it.
	Region string
	// Stage tells the deployments in one project apart. Environment is what telemetry calls it.
	Stage, Environment string
	// Database is the Firestore database.
	Database string
	// ModelLocation is the location of Vertex AI that models are called in.
	ModelLocation string
	// Site is Datadog's, and Version the tag of all telemetry.
	Site, Version string
	// RequestCPU gives instances a CPU for requests only: cheaper, above all for functions that a schedule calls, and
	// telemetry that may come late. See the package comment.
	RequestCPU bool
	// Env are further variables of every function: another model, another route. No secrets.
	Env map[string]string
}

// routes is whether the route of models goes through one of the providers.
func (s Settings) routes(through ...string) bool {
	route, ok := s.Env["LRCP_PROVIDER"]
	if !ok {
		route = buildtags.DefaultRoute
	}
	return slices.ContainsFunc(strings.Split(route, ","), func(p string) bool {
		return slices.Contains(through, strings.TrimSpace(p))
	})
}

// BuildTags are the build tags of a function.
func (s Settings) BuildTags(function string) []string {
	return buildtags.CloudRun(function, s.Env["LRCP_PROVIDER"])
}

// CallsVertex is whether a function calls models of Vertex AI.
func (s Settings) CallsVertex(f Function) bool { return f.Models && s.routes("vertexai", "genai") }

// Secrets returns the secrets of a deployment.
func (s Settings) Secrets() []Secret {
	var all []Secret
	for _, f := range Functions() {
		for _, secret := range s.SecretsOf(f) {
			if !slices.Contains(all, secret) {
				all = append(all, secret)
			}
		}
	}
	return all
}

// SecretsOf returns the secrets of both containers of a function.
func (s Settings) SecretsOf(f Function) []Secret {
	secrets := s.own(f)
	if !slices.Contains(secrets, datadogAPIKey) {
		secrets = append(secrets, datadogAPIKey)
	}
	return secrets
}

// own returns the secrets that a function itself reads.
func (s Settings) own(f Function) []Secret {
	secrets := slices.Clone(f.secrets)
	if f.Models && s.routes("openai") {
		secrets = append(secrets, openAIKey)
	}
	// Events of Product Analytics are sent with it.
	if f.State && f.Models && s.Env["LRCP_ANALYTICS_APPLICATION"] != "" {
		secrets = append(secrets, datadogAPIKey)
	}
	return secrets
}

// Name returns the name of something of this deployment: a function, or one of "scheduler" and "build". It is the name of
// the service, of the job, and of the service account alike.
func (s Settings) Name(of string) string { return "lrcp-" + s.Stage + "-" + of }

// Account returns the e-mail address of a service account of this deployment.
func (s Settings) Account(of string) string {
	return s.Name(of) + "@" + s.Project + ".iam.gserviceaccount.com"
}

// SecretName returns the name of a secret in Secret Manager.
func (s Settings) SecretName(secret Secret) string { return s.Name(secret.name) }

// URL returns the address that Cloud Run gives the service of a function. It is known before the service is made, so that
// functions can be told their own address and those of others. It has no slash at its end.
func (s Settings) URL(function string) string {
	return fmt.Sprintf("https://%s-%s.%s.run.app", s.Name(function), s.ProjectNumber, s.Region)
}

// Repository returns the name of the repository of Artifact Registry.
func (s Settings) Repository() string { return "lrcp-" + s.Stage }

// Image returns the image of a function with a tag, which the repository never gives to another image.
func (s Settings) Image(function, tag string) string {
	return fmt.Sprintf("%s-docker.pkg.dev/%s/%s/%s:%s", s.Region, s.Project, s.Repository(), function, tag)
}

// env returns the plain variables of a function, in the order of their names, and those of the settings behind. Check
// refuses what is there twice: the deployment's own can't be changed.
func (s Settings) env(f Function) []EnvVar {
	v := map[string]string{
		"FUNCTION_TARGET":  f.Name,
		"LRCP_LOG_FILE":    logFolder + "/app.log",
		"LRCP_TIMEOUT":     f.Timeout.String(),
		"DD_SERVICE":       DatadogService,
		"DD_ENV":           s.Environment,
		"DD_VERSION":       s.Version,
		"DD_SITE":          s.Site,
		"DD_TRACE_ENABLED": "true",
		// These cost time at a start, and give nothing to a function.
		"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
		"DD_TRACE_STARTUP_LOGS":                "false",
		"DD_LOGS_INJECTION":                    "true",
		"DD_LLMOBS_ENABLED":                    "true",
		"DD_LLMOBS_ML_APP":                     DatadogService,
		"DD_AGENT_HOST":                        "127.0.0.1",
		"DD_DOGSTATSD_PORT":                    "8125",
		"DD_TRACE_AGENT_PORT":                  "8126",
	}
	if f.State {
		v["LRCP_STATE"] = "firestore:" + s.Project + "/" + s.Database
	}
	if f.State || s.CallsVertex(f) {
		v["GOOGLE_CLOUD_PROJECT"] = s.Project
	}
	if s.CallsVertex(f) {
		v["GOOGLE_CLOUD_LOCATION"] = s.ModelLocation
	}
	if f.Job != nil {
		v["LRCP_SCHEDULE_AUDIENCE"] = s.URL(f.Name)
		v["LRCP_SCHEDULE_IDENTITY"] = s.Account("scheduler")
	}
	switch f.Name {
	case "qa", "completion":
		if !s.RequestCPU {
			v["LRCP_FLUSH"] = "background"
		}
	case "probe":
		v["LRCP_PROBE_QA_URL"], v["LRCP_PROBE_COMPLETION_URL"] = s.URL("qa"), s.URL("completion")
	case "theater":
		v["LRCP_THEATER_INSIGHTS_URL"], v["LRCP_THEATER_REMEDIATION_URL"] = s.URL("insights"), s.URL("remediation")
		v["LRCP_THEATER_QA_URL"] = s.URL("qa")
	case "insights":
		v["LRCP_REMEDIATION_URL"] = s.URL("remediation")
	}
	vars := variables(v)
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		vars = append(vars, EnvVar{Name: name, Value: s.Env[name]})
	}
	return vars
}

// variables returns a map as a list, in the order of the names.
func variables(v map[string]string) []EnvVar {
	var list []EnvVar
	for _, name := range slices.Sorted(maps.Keys(v)) {
		list = append(list, EnvVar{Name: name, Value: v[name]})
	}
	return list
}

// holdsSecret is whether a variable of this name should come from Secret Manager.
func holdsSecret(name string) bool {
	if name == "DD_RUM_CLIENT_TOKEN" {
		// Every visitor's browser gets it.
		return false
	}
	return slices.ContainsFunc([]string{"_KEY", "_KEYS", "_SECRET", "_SECRETS", "_TOKEN", "_PASSWORD"}, func(end string) bool {
		return strings.HasSuffix(name, end)
	})
}
