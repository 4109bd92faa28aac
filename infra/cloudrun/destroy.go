package cloudrun

import (
	"context"

	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
	"github.com/llm-reliability/control-plane/infra/deploy"
)

// DestroySteps implements deploy.Target. Whatever calls goes first, then what is called, then who may; data only on request.
func (t *Target) DestroySteps() []deploy.Step {
	c := newCloud(t)
	s := t.settings
	var steps []deploy.Step
	for _, f := range manifest.Functions() {
		if f.Job != nil {
			steps = append(steps, gone("schedule "+s.Name(f.Name), func(ctx context.Context) (bool, error) {
				jobs, err := c.jobs(ctx)
				_, ok := jobs[s.Name(f.Name)]
				return ok, err
			}, t.quietly("scheduler", "jobs", "delete", s.Name(f.Name), "--location="+s.Region)))
		}
	}
	for _, f := range manifest.Functions() {
		steps = append(steps, gone("service "+s.Name(f.Name), func(ctx context.Context) (bool, error) {
			services, err := c.services(ctx)
			_, ok := services[s.Name(f.Name)]
			return ok, err
		}, t.quietly("run", "services", "delete", s.Name(f.Name), "--region="+s.Region)))
	}
	steps = append(steps, c.revoke("roles of the service accounts", nil))
	for _, name := range accountNames() {
		steps = append(steps, gone("service account "+s.Name(name), listed(c.accounts, s.Account(name)),
			t.quietly("iam", "service-accounts", "delete", s.Account(name))))
	}
	return append(steps, c.data()...)
}

// gone is the step that deletes what is there.
func gone(name string, exists func(context.Context) (bool, error), command deploy.Command) deploy.Step {
	return deploy.Step{Name: name, Plan: func(ctx context.Context) (deploy.Change, error) {
		there, err := exists(ctx)
		if err != nil || !there {
			return deploy.Change{Action: deploy.Unchanged}, err
		}
		return deploy.Change{Action: deploy.Delete, Commands: []deploy.Command{command}}, nil
	}}
}

// data are the steps about what can't be made again from the repository. Without a wish to delete it, they say what is left.
func (c *cloud) data() []deploy.Step {
	s := c.settings
	own := s.Database == "lrcp-"+s.Stage
	if !c.opts.Purge {
		return []deploy.Step{{Name: "data", Plan: func(context.Context) (deploy.Change, error) {
			return deploy.Change{Action: deploy.Unchanged, Notes: []string{
				"kept: the secrets, the images in repository " + s.Repository() + ", and the Firestore database " + s.Database + " with the control state and its audit trail",
				"kept: the APIs that were enabled, and the sources that Cloud Build keeps in gs://" + s.Project + "_cloudbuild",
			}}, nil
		}}}
	}
	steps := []deploy.Step{gone("repository "+s.Repository(), listed(c.repositories, s.Repository()),
		c.quietly("artifacts", "repositories", "delete", s.Repository(), "--location="+s.Region))}
	for _, secret := range s.Secrets() {
		name := s.SecretName(secret)
		steps = append(steps, gone("secret "+name, listed(func(ctx context.Context) ([]string, error) {
			return c.names(ctx, apiSecrets, "secrets", "list")
		}, name), c.quietly("secrets", "delete", name)))
	}
	if !own {
		return append(steps, deploy.Step{Name: "Firestore database " + s.Database, Plan: func(context.Context) (deploy.Change, error) {
			return deploy.Change{Action: deploy.Unchanged, Notes: []string{
				"kept: the Firestore database " + s.Database + ", which may hold more than ours; ours are the collections lrcp-control, lrcp-cache and lrcp-escalation",
			}}, nil
		}})
	}
	return append(steps,
		gone("protection of Firestore database "+s.Database, c.database,
			c.quietly("firestore", "databases", "update", "--database="+s.Database, "--no-delete-protection")),
		gone("Firestore database "+s.Database, c.database,
			c.quietly("firestore", "databases", "delete", "--database="+s.Database)))
}
