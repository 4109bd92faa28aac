package cloudrun

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
	"github.com/llm-reliability/control-plane/infra/deploy"
)

// cloud reads Google Cloud. What was read once is not read again, so one cloud is for one plan.
type cloud struct {
	*Target
	read map[string][]byte
}

func newCloud(t *Target) *cloud { return &cloud{Target: t, read: map[string][]byte{}} }

// gcloud returns a call of gcloud that asks nobody anything.
func (t *Target) gcloud(args ...string) deploy.Command {
	if t.settings.Project != "" {
		args = append(args, "--project="+t.settings.Project)
	}
	return deploy.Command{Name: "gcloud", Args: append(args, "--quiet")}
}

// quietly returns a call that prints nothing: commands about policies would print all of it.
func (t *Target) quietly(args ...string) deploy.Command {
	return t.gcloud(append(args, "--format=none")...)
}

// here returns a call in the root of the repository, for what names files.
func (t *Target) here(args ...string) deploy.Command {
	command := t.quietly(args...)
	command.Dir = t.opts.Root
	return command
}

// The APIs of Google Cloud that are used.
const (
	apiRun       = "run.googleapis.com"
	apiRegistry  = "artifactregistry.googleapis.com"
	apiSecrets   = "secretmanager.googleapis.com"
	apiFirestore = "firestore.googleapis.com"
	apiScheduler = "cloudscheduler.googleapis.com"
	apiIAM       = "iam.googleapis.com"
	apiProjects  = "cloudresourcemanager.googleapis.com"
)

// apis returns the APIs that a deployment needs.
func (t *Target) apis() []string {
	apis := []string{
		apiRegistry, "cloudbuild.googleapis.com", apiProjects, apiScheduler, apiFirestore, apiIAM, "logging.googleapis.com",
		apiRun, apiSecrets, "storage.googleapis.com",
	}
	if slices.ContainsFunc(manifest.Functions(), t.settings.CallsVertex) {
		apis = append(apis, "aiplatform.googleapis.com")
	}
	return apis
}

// enabled returns the APIs that are enabled.
func (c *cloud) enabled(ctx context.Context) ([]string, error) {
	return c.lines(ctx, "", "services", "list", "--enabled", "--format=value(config.name)")
}

// output returns what gcloud says, and nothing where the API is not enabled yet: nothing can be there then.
func (c *cloud) output(ctx context.Context, api string, args ...string) ([]byte, error) {
	if api != "" {
		enabled, err := c.enabled(ctx)
		if err != nil || !slices.Contains(enabled, api) {
			return nil, err
		}
	}
	command := c.gcloud(args...)
	if out, ok := c.read[command.String()]; ok {
		return out, nil
	}
	out, err := c.opts.Runner.Run(ctx, command)
	if err != nil {
		return nil, err
	}
	c.read[command.String()] = out
	return out, nil
}

// lines returns the lines of what gcloud says that are not empty.
func (c *cloud) lines(ctx context.Context, api string, args ...string) ([]string, error) {
	out, err := c.output(ctx, api, args...)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(out), "\n")
	return slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" }), nil
}

// decode reads what gcloud says as JSON into to, which stays as it is where the API is not enabled yet.
func (c *cloud) decode(ctx context.Context, to any, api string, args ...string) error {
	out, err := c.output(ctx, api, append(args, "--format=json")...)
	if err != nil || len(strings.TrimSpace(string(out))) == 0 {
		return err
	}
	if err := json.Unmarshal(out, to); err != nil {
		return fmt.Errorf("read what gcloud %s says: %w", strings.Join(args, " "), err)
	}
	return nil
}

// named is any resource of which only the name counts.
type named struct {
	Name string `json:"name"`
}

// names returns the last parts of the names of resources.
func (c *cloud) names(ctx context.Context, api string, args ...string) ([]string, error) {
	var list []named
	err := c.decode(ctx, &list, api, args...)
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = path.Base(r.Name)
	}
	return names, err
}

func (c *cloud) accounts(ctx context.Context) ([]string, error) {
	return c.lines(ctx, apiIAM, "iam", "service-accounts", "list", "--format=value(email)")
}

func (c *cloud) repositories(ctx context.Context) ([]string, error) {
	return c.names(ctx, apiRegistry, "artifacts", "repositories", "list", "--location="+c.settings.Region)
}

// versions are those of a secret.
type versions struct {
	// exists is whether there is a secret, newest its newest version, and enabled the newest that is enabled; 0 is none.
	exists          bool
	newest, enabled int
}

// next is the version that a deployment uses: the newest that is enabled, or the one that will be made.
func (v versions) next() int {
	if v.enabled > 0 {
		return v.enabled
	}
	return v.newest + 1
}

// secretVersions returns the versions of the secrets of this deployment that exist, by their names.
func (c *cloud) secretVersions(ctx context.Context) (map[string]versions, error) {
	names, err := c.names(ctx, apiSecrets, "secrets", "list")
	if err != nil {
		return nil, err
	}
	known := map[string]versions{}
	for _, secret := range c.settings.Secrets() {
		name := c.settings.SecretName(secret)
		if !slices.Contains(names, name) {
			continue
		}
		var list []struct{ Name, State string }
		if err := c.decode(ctx, &list, apiSecrets, "secrets", "versions", "list", name); err != nil {
			return nil, err
		}
		v := versions{exists: true}
		for _, version := range list {
			n, err := strconv.Atoi(path.Base(version.Name))
			if err != nil {
				return nil, fmt.Errorf("secret %s has a version %q", name, version.Name)
			}
			v.newest = max(v.newest, n)
			if strings.EqualFold(version.State, "enabled") {
				v.enabled = max(v.enabled, n)
			}
		}
		known[name] = v
	}
	return known, nil
}

// databaseType is what a Firestore database is made as. The other type can't be used by Firestore's own clients.
const databaseType = "FIRESTORE_NATIVE"

// database returns whether there is the database.
func (c *cloud) database(ctx context.Context) (bool, error) {
	var list []struct{ Name, Type string }
	if err := c.decode(ctx, &list, apiFirestore, "firestore", "databases", "list"); err != nil {
		return false, err
	}
	for _, d := range list {
		if path.Base(d.Name) != c.settings.Database {
			continue
		}
		if d.Type != databaseType {
			return true, fmt.Errorf("the Firestore database %s is of type %s, not %s: choose another with the setting database", c.settings.Database, d.Type, databaseType)
		}
		return true, nil
	}
	return false, nil
}

func (c *cloud) checkDatabase(ctx context.Context) error {
	_, err := c.database(ctx)
	return err
}

// service is what Cloud Run says of one.
type service struct {
	Metadata struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Status struct {
		URL        string `json:"url"`
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

// urls returns all addresses of a service.
func (s service) urls() []string {
	var urls []string
	// The annotation is Cloud Run's own. Where it is missing, there is one address, that of the status.
	if err := json.Unmarshal([]byte(s.Metadata.Annotations["run.googleapis.com/urls"]), &urls); err != nil {
		return []string{s.Status.URL}
	}
	return urls
}

// notReady returns why the service does not run as it was last deployed, or "".
func (s service) notReady() string {
	for _, c := range s.Status.Conditions {
		if c.Type == "Ready" && c.Status != "True" {
			return "the last deployment is not ready: " + c.Message
		}
	}
	return ""
}

func (c *cloud) services(ctx context.Context) (map[string]service, error) {
	var list []service
	if err := c.decode(ctx, &list, apiRun, "run", "services", "list", "--region="+c.settings.Region); err != nil {
		return nil, err
	}
	byName := map[string]service{}
	for _, s := range list {
		byName[s.Metadata.Name] = s
	}
	return byName, nil
}

// job is what Cloud Scheduler says of one.
type job struct {
	Name            string `json:"name"`
	Schedule        string `json:"schedule"`
	TimeZone        string `json:"timeZone"`
	State           string `json:"state"`
	AttemptDeadline string `json:"attemptDeadline"`
	RetryConfig     struct {
		RetryCount int `json:"retryCount"`
	} `json:"retryConfig"`
	HTTPTarget struct {
		URI        string            `json:"uri"`
		HTTPMethod string            `json:"httpMethod"`
		Headers    map[string]string `json:"headers"`
		OIDCToken  struct {
			ServiceAccountEmail string `json:"serviceAccountEmail"`
			Audience            string `json:"audience"`
		} `json:"oidcToken"`
	} `json:"httpTarget"`
}

func (c *cloud) jobs(ctx context.Context) (map[string]job, error) {
	var list []job
	if err := c.decode(ctx, &list, apiScheduler, "scheduler", "jobs", "list", "--location="+c.settings.Region); err != nil {
		return nil, err
	}
	byName := map[string]job{}
	for _, j := range list {
		byName[path.Base(j.Name)] = j
	}
	return byName, nil
}
