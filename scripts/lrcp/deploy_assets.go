package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	assetdeploy "github.com/llm-reliability/control-plane/infra/assets/deploy"
	"github.com/llm-reliability/control-plane/infra/assets/settings"
	"github.com/llm-reliability/control-plane/infra/deploy"
)

// assetsWork brings the assets to Datadog as a step of a deployment.
type assetsWork struct {
	deployment *deployment
	values     *settings.Values
	target     deploy.Target
	out        io.Writer
	variant    string

	// urls are those that the plan that was shown was made with.
	urls map[string]string
}

// site says where the assets go. Each stage has a state of its own.
func (w *assetsWork) site() *site {
	d := w.deployment
	s := &site{folder: d.folder, Site: d.Site, API: d.API, Variant: w.variant, Parallel: 8}
	s.State = statePath("", s.name()+"-"+d.Stage)
	return s
}

// requirements names the keys and the settings that are missing, as far as Datadog need not be asked.
func (w *assetsWork) requirements(destroy bool) ([]deploy.Problem, error) {
	var problems []deploy.Problem
	for _, name := range missingKeys() {
		problems = append(problems, deploy.Problem{What: name + " is not set", Fix: "Datadog's keys, Organization Settings"})
	}
	if destroy {
		return problems, nil
	}
	loaded, err := w.deployment.load(w.variant)
	if err != nil {
		return nil, err
	}
	missing := map[assets.Ref]bool{}
	for _, a := range loaded {
		for _, ref := range assets.Refs(a) {
			if ref.Kind == assets.User {
				ref.Kind = assets.Setting // which has the address of the user
			}
			if _, ok := w.values.Lookup(ref.Kind, ref.Name); !ok && (ref.Kind == assets.Setting || ref.Kind == assets.Secret) {
				missing[ref] = true
			}
		}
	}
	for ref := range missing {
		variable := "LRCP_" + strings.ToUpper(ref.Kind+"_"+strings.NewReplacer("-", "_", ".", "_").Replace(ref.Name))
		p := deploy.Problem{What: fmt.Sprintf("the assets' %s %s is not set", ref.Kind, ref.Name), Fix: "in the settings file, or as " + variable}
		if ref.Kind == assets.Secret {
			p.Fix = "as " + variable + " in the environment"
		}
		problems = append(problems, p)
	}
	slices.SortFunc(problems, func(a, b deploy.Problem) int { return strings.Compare(a.What, b.What) })
	return problems, nil
}

// plan plans the assets with the URLs that are known. Those that are not stay placeholders when they may.
func (w *assetsWork) plan(ctx context.Context, urls map[string]string, mayLack bool) (*assetdeploy.Deployer, assetdeploy.Plan, error) {
	values := w.values.WithFunctions(urls)
	lookup := func(kind, name string) (string, bool) {
		value, ok := values.Lookup(kind, name)
		if !ok && mayLack && kind == assets.Function {
			return assets.Ref{Kind: kind, Name: name}.String(), true
		}
		return value, ok
	}
	d, err := w.site().connect(lookup, progress(w.out))
	if err != nil {
		return nil, assetdeploy.Plan{}, err
	}
	plan, err := d.Plan(ctx)
	return d, plan, err
}

// lacking returns the functions that the assets name and that have no URL, in order.
func (w *assetsWork) lacking(urls map[string]string) ([]string, error) {
	loaded, err := w.deployment.load(w.variant)
	if err != nil {
		return nil, err
	}
	values := w.values.WithFunctions(urls)
	var names []string
	for _, a := range loaded {
		for _, ref := range assets.Refs(a) {
			if _, ok := values.Lookup(ref.Kind, ref.Name); !ok && ref.Kind == assets.Function {
				names = append(names, strings.TrimSuffix(ref.Name, ".url"))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// step applies the assets with the URLs of the functions that are deployed by then.
func (w *assetsWork) step() deploy.Step {
	return deploy.Step{
		Name: "assets at " + w.site().name(),
		Plan: func(ctx context.Context) (change deploy.Change, err error) {
			if w.urls, err = w.target.URLs(ctx); err != nil {
				return deploy.Change{}, err
			}
			_, plan, err := w.plan(ctx, w.urls, true)
			if err != nil {
				return deploy.Change{}, err
			}
			change = changeOf(plan)
			lacking, err := w.lacking(w.urls)
			if err != nil {
				return deploy.Change{}, err
			}
			if len(lacking) > 0 {
				change.Notes = append(change.Notes, "these have no URL yet, and are placeholders in the assets until they have: "+strings.Join(lacking, ", "))
			}
			return change, nil
		},
		Do: func(ctx context.Context, _ deploy.Change) error {
			urls, err := w.target.URLs(ctx)
			if err != nil {
				return err
			}
			d, plan, err := w.plan(ctx, urls, false)
			if err != nil {
				return err
			}
			if !maps.Equal(urls, w.urls) {
				fmt.Fprint(w.out, plan.Text())
			}
			_, err = d.Apply(ctx, plan)
			return err
		},
	}
}

// destroyStep deletes the assets.
func (w *assetsWork) destroyStep() deploy.Step {
	var d *assetdeploy.Deployer
	var plan assetdeploy.Plan
	return deploy.Step{
		Name: "assets at " + w.site().name(),
		Plan: func(ctx context.Context) (change deploy.Change, err error) {
			if d, err = w.site().connect(w.values.Lookup, progress(w.out)); err != nil {
				return deploy.Change{}, err
			}
			if plan, err = d.PlanDestroy(ctx); err != nil {
				return deploy.Change{}, err
			}
			if plan.Empty() {
				return deploy.Change{Action: deploy.Unchanged}, nil
			}
			change = changeOf(plan)
			change.Action = deploy.Delete
			return change, nil
		},
		Do: func(ctx context.Context, _ deploy.Change) error {
			result, err := d.Apply(ctx, plan)
			for _, left := range slices.Sorted(slices.Values(result.Left)) {
				fmt.Fprintf(w.out, "left: %s\n", left)
			}
			return err
		},
	}
}

// changeOf shows a plan of assets as one change. A plan of nothing is carried out too: that records what was found.
func changeOf(plan assetdeploy.Plan) deploy.Change {
	change := deploy.Change{Action: deploy.Update}
	switch {
	case plan.Empty():
		change.Action = deploy.Check
	case plan.Count(assetdeploy.Create) == len(plan.Steps):
		change.Action = deploy.Create
	}
	for line := range strings.Lines(plan.Text()) {
		change.Details = append(change.Details, strings.TrimSuffix(line, "\n"))
	}
	return change
}
