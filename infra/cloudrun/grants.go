package cloudrun

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
	"github.com/llm-reliability/control-plane/infra/deploy"
)

// The service accounts besides those of the functions. The scheduler's has no role at all: it is a name to send with the
// token of the schedule, which the functions know.
const (
	schedulerAccount = "scheduler"
	buildAccount     = "build"
)

// accountNames returns the service accounts of a deployment: one for each function, because each may do something else.
func accountNames() []string {
	names := []string{schedulerAccount, buildAccount}
	for _, f := range manifest.Functions() {
		names = append(names, f.Name)
	}
	return names
}

// grant is a role for one account on one thing.
type grant struct {
	// secret is the name of a secret. Without one the thing is the repository, or else the whole project.
	secret     string
	repository bool
	account    string
	role       string
	condition  condition
}

// condition limits a role.
type condition struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Expression  string `json:"expression"`
}

// flag returns the condition as gcloud reads it. A policy that has conditions wants to be told where there is none.
func (c condition) flag() string {
	if c.Expression == "" {
		return "--condition=None"
	}
	parts := []string{"expression=" + c.Expression, "title=" + c.Title}
	if c.Description != "" {
		parts = append(parts, "description="+c.Description)
	}
	if strings.Contains(strings.Join(parts, ""), ",") {
		return "--condition=^;^" + strings.Join(parts, ";")
	}
	return "--condition=" + strings.Join(parts, ",")
}

// grants returns all that the accounts of a deployment may do. What functions write to standard output is taken by Cloud Run,
// and images are pulled by Cloud Run: neither needs a role.
func (t *Target) grants() []grant {
	s := t.settings
	bucket := "projects/_/buckets/" + s.Project + "_cloudbuild"
	grants := []grant{
		{account: buildAccount, role: "roles/logging.logWriter"},
		{account: buildAccount, role: "roles/storage.objectViewer", condition: condition{
			Title:      "lrcp-build-source",
			Expression: fmt.Sprintf(`resource.name == %q || resource.name.startsWith(%q)`, bucket, bucket+"/objects/"),
		}},
		{account: buildAccount, role: "roles/artifactregistry.writer", repository: true},
	}
	for _, f := range manifest.Functions() {
		if f.State {
			grants = append(grants, grant{account: f.Name, role: "roles/datastore.user", condition: condition{
				Title:      "lrcp-database",
				Expression: fmt.Sprintf(`resource.name == "projects/%s/databases/%s"`, s.Project, s.Database),
			}})
		}
		if s.CallsVertex(f) {
			grants = append(grants, grant{account: f.Name, role: "roles/aiplatform.user"})
		}
		for _, secret := range s.SecretsOf(f) {
			grants = append(grants, grant{account: f.Name, role: "roles/secretmanager.secretAccessor", secret: s.SecretName(secret)})
		}
	}
	return grants
}

// member returns an account as policies name it.
func (t *Target) member(account string) string {
	return "serviceAccount:" + t.settings.Account(account)
}

// on says what the role is for.
func (t *Target) on(g grant) string {
	switch {
	case g.secret != "":
		return "secret " + g.secret
	case g.repository:
		return "repository " + t.settings.Repository()
	}
	return "project"
}

// policy returns the command that does something with the policy of the thing: get, add, or remove.
func (t *Target) policy(g grant, verb string) []string {
	verbs := map[string]string{"get": "get-iam-policy", "add": "add-iam-policy-binding", "remove": "remove-iam-policy-binding"}
	switch {
	case g.secret != "":
		return []string{"secrets", verbs[verb], g.secret}
	case g.repository:
		return []string{"artifacts", "repositories", verbs[verb], t.settings.Repository(), "--location=" + t.settings.Region}
	}
	return []string{"projects", verbs[verb], t.settings.Project}
}

// change returns the command that adds or removes the grant.
func (t *Target) change(g grant, verb string) deploy.Command {
	return t.quietly(append(t.policy(g, verb), "--member="+t.member(g.account), "--role="+g.role, g.condition.flag())...)
}

// given returns the grants that the accounts of this deployment have on the thing of g.
func (c *cloud) given(ctx context.Context, g grant) ([]grant, error) {
	api := apiProjects
	switch {
	case g.secret != "":
		names, err := c.names(ctx, apiSecrets, "secrets", "list")
		if err != nil || !slices.Contains(names, g.secret) {
			return nil, err
		}
		api = apiSecrets
	case g.repository:
		names, err := c.repositories(ctx)
		if err != nil || !slices.Contains(names, c.settings.Repository()) {
			return nil, err
		}
		api = apiRegistry
	}
	var policy struct {
		Bindings []struct {
			Role      string
			Members   []string
			Condition condition
		}
	}
	if err := c.decode(ctx, &policy, api, c.policy(g, "get")...); err != nil {
		return nil, err
	}
	var given []grant
	for _, b := range policy.Bindings {
		for _, account := range accountNames() {
			if slices.Contains(b.Members, c.member(account)) {
				given = append(given, grant{g.secret, g.repository, account, b.Role, b.Condition})
			}
		}
	}
	return given, nil
}

// same is whether two grants allow the same. The title of a condition allows nothing.
func same(a, b grant) bool {
	a.condition, b.condition = condition{Expression: a.condition.Expression}, condition{Expression: b.condition.Expression}
	return a == b
}

// grant is the step that gives one role.
func (c *cloud) grant(g grant) deploy.Step {
	name := fmt.Sprintf("role %s for %s on %s", strings.TrimPrefix(g.role, "roles/"), g.account, c.on(g))
	return deploy.Step{Name: name, Plan: func(ctx context.Context) (deploy.Change, error) {
		given, err := c.given(ctx, g)
		if err != nil || slices.ContainsFunc(given, func(other grant) bool { return same(g, other) }) {
			return deploy.Change{Action: deploy.Unchanged}, err
		}
		var details []string
		if g.condition.Expression != "" {
			details = []string{"where " + g.condition.Expression}
		}
		return deploy.Change{Action: deploy.Create, Details: details, Commands: []deploy.Command{c.change(g, "add")}}, nil
	}}
}

// revoke is the step that takes all roles away that the accounts of this deployment have and that keep does not name: those of
// a route or a database that is no longer used, those that somebody gave by hand, or all of them.
func (c *cloud) revoke(name string, keep []grant) deploy.Step {
	return deploy.Step{Name: name, Plan: func(ctx context.Context) (deploy.Change, error) {
		things := []grant{{}, {repository: true}}
		for _, secret := range c.settings.Secrets() {
			things = append(things, grant{secret: c.settings.SecretName(secret)})
		}
		change := deploy.Change{Action: deploy.Unchanged}
		for _, thing := range things {
			given, err := c.given(ctx, thing)
			if err != nil {
				return change, err
			}
			for _, g := range given {
				if slices.ContainsFunc(keep, func(k grant) bool { return same(k, g) }) {
					continue
				}
				change.Action = deploy.Delete
				change.Details = append(change.Details, fmt.Sprintf("%s for %s on %s", strings.TrimPrefix(g.role, "roles/"), g.account, c.on(g)))
				change.Commands = append(change.Commands, c.change(g, "remove"))
			}
		}
		return change, nil
	}}
}
