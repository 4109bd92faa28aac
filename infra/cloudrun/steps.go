package cloudrun

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
	"github.com/llm-reliability/control-plane/infra/deploy"
)

// Steps implements deploy.Target. Accounts are made well before they are given roles, because Google Cloud needs a moment to
// know them everywhere.
func (t *Target) Steps() []deploy.Step {
	c := newCloud(t)
	steps := []deploy.Step{c.enableAPIs()}
	for _, name := range accountNames() {
		steps = append(steps, c.account(name))
	}
	steps = append(steps, c.repository(), c.makeDatabase(), c.expiry("lrcp-control"), c.expiry("lrcp-cache"), c.expiry("lrcp-escalation"))
	for _, secret := range t.settings.Secrets() {
		steps = append(steps, c.secret(secret))
	}
	for _, g := range t.grants() {
		steps = append(steps, c.grant(g))
	}
	steps = append(steps, c.revoke("roles that are not needed", t.grants()))
	for _, f := range manifest.Functions() {
		steps = append(steps, c.image(f))
	}
	for _, f := range manifest.Functions() {
		steps = append(steps, c.service(f))
	}
	for _, f := range manifest.Functions() {
		if f.Job != nil {
			steps = append(steps, c.schedule(f))
		}
	}
	return steps
}

// made is the step that makes what exists has not found.
func made(name string, exists func(context.Context) (bool, error), details []string, command deploy.Command) deploy.Step {
	return deploy.Step{Name: name, Plan: func(ctx context.Context) (deploy.Change, error) {
		there, err := exists(ctx)
		if err != nil || there {
			return deploy.Change{Action: deploy.Unchanged}, err
		}
		return deploy.Change{Action: deploy.Create, Details: details, Commands: []deploy.Command{command}}, nil
	}}
}

// listed is whether a list has a name.
func listed(list func(context.Context) ([]string, error), name string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		names, err := list(ctx)
		return slices.Contains(names, name), err
	}
}

func (c *cloud) enableAPIs() deploy.Step {
	return deploy.Step{Name: "APIs", Plan: func(ctx context.Context) (deploy.Change, error) {
		enabled, err := c.enabled(ctx)
		if err != nil {
			return deploy.Change{}, err
		}
		missing := slices.DeleteFunc(c.apis(), func(api string) bool { return slices.Contains(enabled, api) })
		if len(missing) == 0 {
			return deploy.Change{Action: deploy.Unchanged}, nil
		}
		return deploy.Change{
			Action: deploy.Create, Details: missing,
			Commands: []deploy.Command{c.quietly(append([]string{"services", "enable"}, missing...)...)},
		}, nil
	}}
}

func (c *cloud) account(name string) deploy.Step {
	return made("service account "+c.settings.Name(name), listed(c.accounts, c.settings.Account(name)), nil,
		c.quietly("iam", "service-accounts", "create", c.settings.Name(name), "--display-name=LLM reliability, "+c.opts.Stage+": "+name))
}

// repository is the step for the repository of images, which never gives a tag to a second image.
func (c *cloud) repository() deploy.Step {
	name := c.settings.Repository()
	return made("repository "+name, listed(c.repositories, name), nil,
		c.quietly("artifacts", "repositories", "create", name, "--location="+c.settings.Region,
			"--repository-format=docker", "--immutable-tags", "--description=Images of the LLM reliability control plane"))
}

// makeDatabase is the step for the Firestore database. What deletes it must first take its protection away.
func (c *cloud) makeDatabase() deploy.Step {
	location := c.settings.Region
	if l, ok := c.opts.Params[paramDatabaseLocation]; ok {
		location = l
	}
	return made("Firestore database "+c.settings.Database, c.database, []string{"in " + location + ", protected from deletion"},
		c.quietly("firestore", "databases", "create", "--database="+c.settings.Database, "--location="+location,
			"--type="+strings.ToLower(strings.ReplaceAll(databaseType, "_", "-")), "--delete-protection"))
}

// expiryField is the field that tells when a document may go.
const expiryField = "expires"

// expiry is the step for the TTL policy of a collection. Making it takes Firestore minutes, for which nobody waits: nothing is
// wrong until then, there are only more documents.
func (c *cloud) expiry(collection string) deploy.Step {
	return made("TTL of "+collection, func(ctx context.Context) (bool, error) {
		if there, err := c.database(ctx); err != nil || !there {
			return false, err
		}
		var fields []struct {
			Name      string `json:"name"`
			TTLConfig struct {
				State string `json:"state"`
			} `json:"ttlConfig"`
		}
		err := c.decode(ctx, &fields, apiFirestore, "firestore", "fields", "ttls", "list", "--database="+c.settings.Database)
		for _, f := range fields {
			if strings.HasSuffix(f.Name, "/collectionGroups/"+collection+"/fields/"+expiryField) {
				return f.TTLConfig.State == "ACTIVE" || f.TTLConfig.State == "CREATING", err
			}
		}
		return false, err
	}, []string{"field " + expiryField}, c.quietly("firestore", "fields", "ttls", "update", expiryField,
		"--collection-group="+collection, "--database="+c.settings.Database, "--enable-ttl", "--async"))
}

// secret is the step that makes a secret that is not there, or has no version, with the value in the environment. It goes in
// through standard input, and is neither shown nor written to a file.
func (c *cloud) secret(secret manifest.Secret) deploy.Step {
	name := c.settings.SecretName(secret)
	return deploy.Step{Name: "secret " + name, Plan: func(ctx context.Context) (deploy.Change, error) {
		known, err := c.secretVersions(ctx)
		if err != nil || known[name].enabled > 0 {
			return deploy.Change{Action: deploy.Unchanged}, err
		}
		value := c.opts.Getenv(secret.Variable)
		if value == "" {
			return deploy.Change{}, fmt.Errorf("the variable %s is not set", secret.Variable)
		}
		change := deploy.Change{Action: deploy.Create, Details: []string{"with the value of " + secret.Variable}}
		command := c.quietly("secrets", "create", name, "--replication-policy=automatic", "--data-file=-")
		if known[name].exists {
			change.Action = deploy.Update
			command = c.quietly("secrets", "versions", "add", name, "--data-file=-")
		}
		command.Stdin = []byte(value)
		change.Commands = []deploy.Command{command}
		return change, nil
	}}
}

// service is the step for one service. It replaces what was deployed with another manifest, or in vain. What people changed by
// hand, under our manifest's digest, it does not see.
func (c *cloud) service(f manifest.Function) deploy.Step {
	name := c.settings.Name(f.Name)
	return deploy.Step{Name: "service " + name, Plan: func(ctx context.Context) (deploy.Change, error) {
		services, err := c.services(ctx)
		if err != nil {
			return deploy.Change{}, err
		}
		file := filepath.Join(manifestDir(c.opts.Stage), f.Name+".yaml")
		change := deploy.Change{
			Action:   deploy.Create,
			Details:  []string{"manifest " + file, "image " + c.settings.Image(f.Name, c.prepared.tags[f.Name])},
			Commands: []deploy.Command{c.here("run", "services", "replace", file, "--region="+c.settings.Region)},
		}
		if deployed, ok := services[name]; ok {
			why := deployed.notReady()
			if why == "" && deployed.Metadata.Annotations[manifest.Digest] == c.prepared.digests[f.Name] {
				return deploy.Change{Action: deploy.Unchanged}, nil
			}
			change.Action = deploy.Update
			if why != "" {
				change.Details = append(change.Details, why)
			}
		}
		return change, nil
	}}
}

// timeZone is that of the schedules.
const timeZone = "Etc/UTC"

// schedule is the step for the job that calls a function. It sends a token of the scheduler's account, for this function only.
func (c *cloud) schedule(f manifest.Function) deploy.Step {
	name := c.settings.Name(f.Name)
	var want job
	want.Schedule, want.TimeZone = f.Job.Cron, timeZone
	if cron, ok := c.opts.Params[f.Name+paramSchedule]; ok {
		want.Schedule = cron
	}
	want.AttemptDeadline = strconv.Itoa(max(15, int(f.Timeout.Seconds())+10)) + "s"
	return deploy.Step{Name: "schedule " + name, Plan: func(ctx context.Context) (deploy.Change, error) {
		// The project's number, and with it the address, is known by now.
		want.HTTPTarget.URI, want.HTTPTarget.HTTPMethod = c.settings.URL(f.Name)+f.Job.Path, f.Job.Method
		want.HTTPTarget.OIDCToken.ServiceAccountEmail = c.settings.Account(schedulerAccount)
		want.HTTPTarget.OIDCToken.Audience = c.settings.URL(f.Name)
		jobs, err := c.jobs(ctx)
		if err != nil {
			return deploy.Change{}, err
		}
		have, ok := jobs[name]
		verb, headers := "create", "--headers="
		change := deploy.Change{Action: deploy.Create, Details: []string{want.Schedule + " " + timeZone + ": " + f.Job.Method + " " + want.HTTPTarget.URI}}
		if ok {
			if have.State == "PAUSED" {
				change.Notes = []string{"the schedule " + name + " is paused, and stays so: gcloud scheduler jobs resume " + name + " --location=" + c.settings.Region}
			}
			if agrees(have, want, f.Job.Header) {
				change.Action, change.Details = deploy.Unchanged, nil
				return change, nil
			}
			change.Action = deploy.Update
			verb, headers = "update", "--update-headers="
		}
		args := []string{
			"scheduler", "jobs", verb, "http", name, "--location=" + c.settings.Region,
			"--schedule=" + want.Schedule, "--time-zone=" + want.TimeZone, "--uri=" + want.HTTPTarget.URI,
			"--http-method=" + strings.ToLower(want.HTTPTarget.HTTPMethod),
			"--oidc-service-account-email=" + want.HTTPTarget.OIDCToken.ServiceAccountEmail,
			"--oidc-token-audience=" + want.HTTPTarget.OIDCToken.Audience,
			"--attempt-deadline=" + want.AttemptDeadline, "--max-retry-attempts=0",
		}
		var pairs []string
		for _, header := range slices.Sorted(maps.Keys(f.Job.Header)) {
			pairs = append(pairs, header+"="+f.Job.Header[header])
		}
		if len(pairs) > 0 {
			args = append(args, headers+strings.Join(pairs, ","))
		}
		change.Commands = []deploy.Command{c.quietly(args...)}
		return change, nil
	}}
}

// agrees is whether a job does what is wanted. Cloud Scheduler adds headers of its own.
func agrees(have, want job, headers map[string]string) bool {
	for name, value := range headers {
		if have.HTTPTarget.Headers[name] != value {
			return false
		}
	}
	have.HTTPTarget.Headers, have.Name, have.State = nil, want.Name, want.State
	return fmt.Sprint(have) == fmt.Sprint(want)
}
