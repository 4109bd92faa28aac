// Package cloudrun deploys the functions to Google Cloud Run: it is the deploy.Target of that cloud. What runs there is said by
// infra/cloudrun/manifest, how an image is made by the Dockerfile here. Everything is done with gcloud, as people would do it,
// so that it can be read in a dry run, and done by hand.
//
// There is no state file: names follow from the stage, and each step reads what is and changes what differs. An image is
// named by a digest of what it is made from, and built once. A service carries the digest of its manifest. Secrets are made
// once, from the environment, and never changed: a new version of a secret is made by people, and a deployment takes it up.
//
// Roles are given for one thing only where Google Cloud can do that: a secret, the repository, one Firestore database. It can
// not tell collections apart, so that a data function, which reads control state, could write it too.
//
// It makes no project, no link to a billing account, and no network. It was never run against a real project, and no image was
// ever built: what gcloud reads and prints was looked at with gcloud itself, against a stand-in for the APIs.
package cloudrun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
	"github.com/llm-reliability/control-plane/infra/deploy"
)

// Options say what is deployed, and where to.
type Options struct {
	// Root is the folder with go.mod; required.
	Root string
	// Stage tells the deployments in one project apart; required. Region is a requirement that is told of with the others.
	Stage, Region string
	// Params are the settings, under the names that they have for Lambda too, without what is empty. Required are "project", "site"
	// and "version". Params lists the others.
	Params map[string]string
	// Getenv has the values of secrets that are not in Secret Manager yet; required.
	Getenv func(string) string
	// Destroy says that the deployment is to be undone, for which neither sources nor secrets need be there.
	Destroy bool
	// Purge makes the steps that undo a deployment delete data too: secrets, images, and a database of our own.
	Purge bool
	// Runner is required.
	Runner deploy.Runner
	// Tell hears what is being done on this machine; nil hears nothing.
	Tell func(string)
}

// variables are the parameters that become variables of the functions.
var variables = map[string]string{
	"provider":              "LRCP_PROVIDER",
	"genai_location":        "LRCP_GENAI_LOCATION",
	"vertexai_transport":    "LRCP_VERTEXAI_TRANSPORT",
	"gemini_model_economy":  "LRCP_GEMINI_MODEL_ECONOMY",
	"gemini_model_standard": "LRCP_GEMINI_MODEL_STANDARD",
	"gemini_model_quality":  "LRCP_GEMINI_MODEL_QUALITY",
	"openai_base_url":       "OPENAI_BASE_URL",
	"model_economy":         "LRCP_MODEL_ECONOMY",
	"model_standard":        "LRCP_MODEL_STANDARD",
	"model_quality":         "LRCP_MODEL_QUALITY",
	"default_tier":          "LRCP_DEFAULT_TIER",
	"shared_cache":          "LRCP_SHARED_CACHE",
	"block":                 "LRCP_BLOCK",
	"limits":                "LRCP_LIMITS",
	"cache_scope":           "LRCP_CACHE_SCOPE",
	"cache_stale":           "LRCP_CACHE_STALE",
	"fallback_on_block":     "LRCP_FALLBACK_ON_BLOCK",
	"hedge":                 "LRCP_HEDGE",
	"judge_sample":          "LRCP_JUDGE_SAMPLE",
	"judge_tier":            "LRCP_JUDGE_TIER",
	"analytics_application": "LRCP_ANALYTICS_APPLICATION",
	"allow_models":          "LRCP_ALLOW_MODELS",
	"allow_functions":       "LRCP_ALLOW_FUNCTIONS",
	"allow_endpoints":       "LRCP_ALLOW_ENDPOINTS",
	"allow_providers":       "LRCP_ALLOW_PROVIDERS",
	"max_duration":          "LRCP_MAX_DURATION",
	"cooldown":              "LRCP_COOLDOWN",
	"hourly_budget":         "LRCP_HOURLY_BUDGET",
	"flap_window":           "LRCP_FLAP_WINDOW",
	"escalation_team":       "LRCP_ESCALATION_TEAM",
	"insights_window":       "LRCP_INSIGHTS_WINDOW",
	"status_feed":           "LRCP_STATUS_FEED",
	"rum_application_id":    "DD_RUM_APPLICATION_ID",
	"rum_client_token":      "DD_RUM_CLIENT_TOKEN",
	"capture_content":       "LLM_CAPTURE_CONTENT",
	"log_level":             "LRCP_LOG_LEVEL",
}

// The parameters that are not variables.
const (
	paramProject  = "project"
	paramSite     = "site"
	paramVersion  = "version"
	paramLocation = "google_location"
	paramDatabase = "database"
	// paramDatabaseLocation is for a region that Firestore has under another name.
	paramDatabaseLocation = "database_location"
	// paramCPU is always, or request; see manifest.Settings.
	paramCPU = "cpu"
	// paramEnv is the environment as telemetry names it; the stage when not given.
	paramEnv = "env"
	// paramSchedule ends the names of the settings that say when a function is called, as five fields of cron in UTC.
	paramSchedule = "_schedule"
)

// Params returns the names of all parameters.
func Params() []string {
	names := append(slices.Sorted(maps.Keys(variables)),
		paramProject, paramSite, paramVersion, paramLocation, paramDatabase, paramDatabaseLocation, paramCPU, paramEnv)
	for _, f := range manifest.Functions() {
		if f.Job != nil {
			names = append(names, f.Name+paramSchedule)
		}
	}
	return names
}

// Target deploys one stage.
type Target struct {
	opts     Options
	settings manifest.Settings
	// prepared is what Prepare found out.
	prepared struct {
		tags map[string]string
		// digests of the rendered services, by function.
		digests map[string]string
	}
}

var _ deploy.Target = (*Target)(nil)

// New checks the options and returns a Target.
func New(opts Options) (*Target, error) {
	if opts.Root == "" || opts.Stage == "" || opts.Runner == nil || opts.Getenv == nil {
		return nil, errors.New("cloudrun: Root, Stage, Getenv and Runner are required")
	}
	if opts.Tell == nil {
		opts.Tell = func(string) {}
	}
	root, err := filepath.Abs(opts.Root)
	if err != nil {
		return nil, fmt.Errorf("cloudrun: %w", err)
	}
	opts.Root = root
	opts.Params = maps.Clone(opts.Params)
	maps.DeleteFunc(opts.Params, func(_, value string) bool { return value == "" })
	p := func(name, fallback string) string {
		if value, ok := opts.Params[name]; ok {
			return value
		}
		return fallback
	}
	s := manifest.Settings{
		Project: p(paramProject, ""), Region: opts.Region, Stage: opts.Stage, Database: p(paramDatabase, "lrcp-"+opts.Stage),
		ModelLocation: p(paramLocation, opts.Region), Site: p(paramSite, ""), Version: p(paramVersion, ""),
		Environment: p(paramEnv, opts.Stage), RequestCPU: p(paramCPU, "always") == "request", Env: map[string]string{},
	}
	for name, variable := range variables {
		if value, ok := opts.Params[name]; ok {
			s.Env[variable] = value
		}
	}
	return &Target{opts: opts, settings: s}, nil
}

// The forms of what the names of a deployment are made of. A service account's name has 30 characters at most, and
// "lrcp-<stage>-remediation" must fit.
var (
	projectForm  = regexp.MustCompile(`^[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	regionForm   = regexp.MustCompile(`^[a-z]+-[a-z]+[0-9]+$`)
	stageForm    = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$`)
	databaseForm = regexp.MustCompile(`^(\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9])$`)
	cronForm     = regexp.MustCompile(`^[0-9*/,-]+( [0-9A-Za-z*/,-]+){4}$`)
	siteForm     = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

// Requirements implements deploy.Target.
func (t *Target) Requirements(ctx context.Context) []deploy.Problem {
	problems := t.settingsProblems()
	gcloud := t.opts.Runner.Look("gcloud")
	if gcloud != nil {
		problems = append(problems, deploy.Problem{What: "gcloud is not installed", Fix: "https://cloud.google.com/sdk/docs/install"})
	}
	if !t.opts.Destroy {
		problems = append(problems, t.sourceProblems()...)
	}
	if gcloud != nil {
		return append(problems, t.secretProblems(nil)...)
	}
	return append(problems, t.cloudProblems(ctx)...)
}

// sourceProblems looks for what images are made from and by.
func (t *Target) sourceProblems() (problems []deploy.Problem) {
	if err := t.opts.Runner.Look("go"); err != nil {
		problems = append(problems, deploy.Problem{What: "go is not installed", Fix: "https://go.dev/dl"})
	}
	for _, file := range []string{"go.mod", dockerfile, buildConfig} {
		if _, err := os.Stat(filepath.Join(t.opts.Root, file)); err != nil {
			problems = append(problems, deploy.Problem{What: "there is no " + file + " here", Fix: "run this in the root of the repository"})
		}
	}
	return problems
}

// settingsProblems looks at the settings alone.
func (t *Target) settingsProblems() (problems []deploy.Problem) {
	s := t.settings
	for _, c := range []struct {
		what, value string
		form        *regexp.Regexp
		fix         string
	}{
		{"a project", s.Project, projectForm, "cloudrun.project in the settings file, or LRCP_CLOUDRUN_PROJECT"},
		{"a region", s.Region, regionForm, "--region, such as europe-west1"},
		{"a stage", s.Stage, stageForm, "--stage: 12 small letters, digits and hyphens at most"},
		{"a Firestore database", s.Database, databaseForm, "cloudrun.database in the settings file"},
		{"a Datadog site", s.Site, siteForm, "--site, such as datadoghq.eu"},
	} {
		switch {
		case c.value == "":
			problems = append(problems, deploy.Problem{What: "there is no " + strings.TrimPrefix(c.what, "a "), Fix: c.fix})
		case !c.form.MatchString(c.value):
			problems = append(problems, deploy.Problem{What: fmt.Sprintf("%q can't be %s", c.value, c.what), Fix: c.fix})
		}
	}
	if s.Version == "" {
		problems = append(problems, deploy.Problem{What: "there is no version", Fix: "--version"})
	}
	for _, name := range slices.Sorted(maps.Keys(t.opts.Params)) {
		if !slices.Contains(Params(), name) {
			problems = append(problems, deploy.Problem{What: "there is no setting cloudrun." + name})
		}
	}
	for _, f := range manifest.Functions() {
		if cron, ok := t.opts.Params[f.Name+paramSchedule]; ok && !cronForm.MatchString(cron) {
			problems = append(problems, deploy.Problem{What: fmt.Sprintf("cloudrun.%s%s is five fields of cron, not %q", f.Name, paramSchedule, cron)})
		}
	}
	if cpu, ok := t.opts.Params[paramCPU]; ok && cpu != "always" && cpu != "request" {
		problems = append(problems, deploy.Problem{What: fmt.Sprintf("cloudrun.cpu is always or request, not %q", cpu)})
	}
	return problems
}

// cloudProblems asks Google Cloud.
func (t *Target) cloudProblems(ctx context.Context) []deploy.Problem {
	c := newCloud(t)
	accounts, err := c.lines(ctx, "", "auth", "list", "--filter=status:ACTIVE", "--format=value(account)")
	if err != nil || len(accounts) == 0 {
		return append(t.secretProblems(nil), deploy.Problem{What: "nobody is logged in with gcloud", Fix: "gcloud auth login"})
	}
	if !projectForm.MatchString(t.settings.Project) {
		return t.secretProblems(nil)
	}
	if err := t.readProject(ctx, c); err != nil {
		return append(t.secretProblems(nil), deploy.Problem{
			What: fmt.Sprintf("%s can't see the project %s: %s", accounts[0], t.settings.Project, reason(err)),
			Fix:  "gcloud projects create " + t.settings.Project + ", or another project",
		})
	}
	if t.opts.Destroy {
		return nil
	}
	var problems []deploy.Problem
	// Who may not ask is told later, by the first command that needs it.
	billed, err := c.lines(ctx, "", "billing", "projects", "describe", t.settings.Project, "--format=value(billingEnabled)")
	if err == nil && slices.Equal(billed, []string{"False"}) {
		problems = append(problems, deploy.Problem{
			What: "the project " + t.settings.Project + " has no billing account",
			Fix:  "gcloud billing projects link " + t.settings.Project + " --billing-account=ID",
		})
	}
	if err := t.renders(nil); err != nil {
		problems = append(problems, deploy.Problem{What: err.Error(), Fix: "another setting"})
	}
	known, err := c.secretVersions(ctx)
	if err != nil {
		return append(problems, deploy.Problem{What: "the secrets can't be listed: " + reason(err)})
	}
	problems = append(problems, t.secretProblems(known)...)
	if err := c.checkDatabase(ctx); err != nil {
		problems = append(problems, deploy.Problem{What: reason(err)})
	}
	return problems
}

// secretProblems lists the secrets that are neither in Secret Manager nor in the environment. No value is told.
func (t *Target) secretProblems(known map[string]versions) (problems []deploy.Problem) {
	if t.opts.Destroy {
		return nil
	}
	for _, secret := range t.settings.Secrets() {
		name, value := t.settings.SecretName(secret), t.opts.Getenv(secret.Variable)
		switch {
		case known[name].enabled > 0:
		case value == "":
			problems = append(problems, deploy.Problem{
				What: "the secret " + name + " does not exist, and the variable " + secret.Variable + " is not set",
				Fix:  "export " + secret.Variable + "=…, or gcloud secrets create " + name + " --data-file=-",
			})
		case strings.TrimSpace(value) != value:
			problems = append(problems, deploy.Problem{What: "the variable " + secret.Variable + " begins or ends with a space or a new line"})
		}
	}
	return problems
}

// readProject finds out the number of the project.
func (t *Target) readProject(ctx context.Context, c *cloud) error {
	if t.settings.ProjectNumber != "" {
		return nil
	}
	number, err := c.lines(ctx, "", "projects", "describe", t.settings.Project, "--format=value(projectNumber)")
	if err != nil {
		return err
	}
	if len(number) != 1 {
		return fmt.Errorf("gcloud told no number of the project %s", t.settings.Project)
	}
	t.settings.ProjectNumber = number[0]
	return nil
}

// Prepare implements deploy.Target: it names the images by what they are made from, and writes the manifests of the services
// into build/cloudrun/<stage>, where they can be read before they are deployed.
func (t *Target) Prepare(ctx context.Context) error {
	c := newCloud(t)
	if err := t.readProject(ctx, c); err != nil {
		return err
	}
	t.opts.Tell("looking at the sources")
	var err error
	if t.prepared.tags, err = t.tags(ctx); err != nil {
		return err
	}
	known, err := c.secretVersions(ctx)
	if err != nil {
		return err
	}
	return t.renders(known)
}

// renders renders all services, and writes them where the tags of their images are known.
func (t *Target) renders(known map[string]versions) error {
	dir := filepath.Join(t.opts.Root, manifestDir(t.opts.Stage))
	write := t.prepared.tags != nil
	if write {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("write manifests: %w", err)
		}
		t.prepared.digests = map[string]string{}
	}
	use := map[string]int{}
	for _, secret := range t.settings.Secrets() {
		use[t.settings.SecretName(secret)] = known[t.settings.SecretName(secret)].next()
	}
	var problems []error
	for _, f := range manifest.Functions() {
		tag := t.prepared.tags[f.Name]
		if !write {
			tag = "unknown"
		}
		svc, err := manifest.Render(t.settings, f, t.settings.Image(f.Name, tag), use)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if !write {
			continue
		}
		text, err := svc.YAML()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name+".yaml"), text, 0o600); err != nil {
			return fmt.Errorf("write manifests: %w", err)
		}
		t.prepared.digests[f.Name] = svc.Metadata.Annotations[manifest.Digest]
	}
	return errors.Join(problems...)
}

// manifestDir is where the manifests are written, from the root of the repository.
func manifestDir(stage string) string { return filepath.Join("build", "cloudrun", stage) }

// URLs implements deploy.Target.
func (t *Target) URLs(ctx context.Context) (map[string]string, error) {
	c := newCloud(t)
	if err := t.readProject(ctx, c); err != nil {
		return nil, err
	}
	services, err := c.services(ctx)
	if err != nil {
		return nil, err
	}
	urls := map[string]string{}
	for _, f := range manifest.Functions() {
		svc, ok := services[t.settings.Name(f.Name)]
		if !ok {
			continue
		}
		want := t.settings.URL(f.Name)
		if svc.Status.URL != want && !slices.Contains(svc.urls(), want) {
			return nil, fmt.Errorf("service %s is at %s, and functions were told %s", svc.Metadata.Name, svc.Status.URL, want)
		}
		urls[f.Name] = want
	}
	return urls, nil
}

// reason is what a command said, or how it ended.
func reason(err error) string {
	if failed, ok := errors.AsType[*deploy.CommandError](err); ok && failed.Stderr != "" {
		return failed.Stderr
	}
	return err.Error()
}
