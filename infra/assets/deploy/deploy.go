// Package deploy brings the assets of a folder to a Datadog site: it plans, applies, destroys, imports, and finds drift.
// Only what is ours is touched. An object is ours when the state file has its identifier, or when it carries our mark, a tag or
// a line in a description, with the kind and key of an asset. Another one of the same name is a conflict, for import to solve.
//
// A plan is pure: what should be, from the files, is compared with what is, from Datadog, and with what was applied last,
// from the state. What a server adds is no difference. An apply follows the references between assets; it records every
// object before it goes on, so that one that ended half-way is gone on with by the same command. A create whose answer was
// lost is looked for, by its mark or its name, before it is repeated.
//
// Where Datadog's API leaves no way, this is what happens instead:
//
//	connections and escalation policies have no list   one whose create has no answer stops the apply, and import says its
//	                                                   identifier, or that there is none
//	notebooks are listed without their cells           one whose file is gone, and whose identifier the state has lost, is not
//	                                                   found any more
//	kinds without tags or description                  the state file alone says that an object is ours
//	metadata of a metric, incident handles             destroy leaves them, and says so
//	orders of pipelines and archives                   ours are put in our order, in the places that they have; destroy leaves it
//
// Secrets are sent, and neither printed nor stored: the state has digests, which tell that a secret changed.
package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/remote"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// Options are the dependencies of a Deployer.
type Options struct {
	// Client and State are required, and the State must be that of Site.
	Client *ddapi.Client
	State  *State
	// Site names where it goes, in plans and in the state; the site of the Client when empty.
	Site string
	// Assets are what should be there, in the order of assets.Load.
	Assets []assets.Asset
	// Values returns functions, settings and secrets by kind and name.
	Values func(kind, name string) (value string, ok bool)
	// Parallel is how many objects are read or made at a time; 8 when zero.
	Parallel int
	// Progress, when it is set, is told what happens, by one call at a time.
	Progress func(Event)
}

// Event is a step that began, or that ended with or without an error.
type Event struct {
	Step  Step
	Ended bool
	// Error is empty for a success.
	Error string
	// Done of Total steps have ended.
	Done, Total int
}

// Deployer deploys one set of assets to one site. One method runs at a time.
type Deployer struct {
	opts    Options
	remote  *remote.Client
	secrets []string
	// placeholders are those of each body; to find them takes time.
	placeholders sync.Map
}

// New checks the options and returns a Deployer.
func New(opts Options) (*Deployer, error) {
	if opts.Client == nil || opts.State == nil || opts.Values == nil {
		return nil, errors.New("deploy: Client, State and Values are required")
	}
	if opts.Site == "" {
		opts.Site = opts.Client.Site()
	}
	if opts.State.in.Site != opts.Site {
		return nil, fmt.Errorf("deploy: the state belongs to the site %s, not to %s", opts.State.in.Site, opts.Site)
	}
	if opts.Parallel <= 0 {
		opts.Parallel = 8
	}
	if opts.Progress == nil {
		opts.Progress = func(Event) {}
	}
	d := &Deployer{opts: opts}
	seen := map[string]bool{}
	for _, a := range opts.Assets {
		name := nameOf(a.Kind, a.Key)
		if seen[name] {
			return nil, fmt.Errorf("deploy: there are two assets %s; choose one variant", name)
		}
		seen[name] = true
		for _, ref := range d.refs(a) {
			if ref.Kind != assets.Secret {
				continue
			}
			if v, ok := opts.Values(ref.Kind, ref.Name); ok && v != "" {
				d.secrets = append(d.secrets, v)
				if escaped, err := json.Marshal(v); err == nil {
					d.secrets = append(d.secrets, strings.Trim(string(escaped), `"`))
				}
			}
		}
	}
	// One secret may hold another.
	slices.SortFunc(d.secrets, func(a, b string) int { return len(b) - len(a) })
	d.remote = remote.New(opts.Client, d.hide)
	return d, nil
}

// refs returns the placeholders of an asset.
func (d *Deployer) refs(a assets.Asset) []assets.Ref {
	if found, ok := d.placeholders.Load(string(a.Body)); ok {
		refs, _ := found.([]assets.Ref)
		return refs
	}
	refs := assets.Refs(a)
	d.placeholders.Store(string(a.Body), refs)
	return refs
}

// hide takes the secrets out of a text.
func (d *Deployer) hide(s string) string {
	for _, secret := range d.secrets {
		s = strings.ReplaceAll(s, secret, diff.Hidden)
	}
	return s
}

// safe takes the secrets out of an error.
func (d *Deployer) safe(err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); d.hide(text) != text {
		return errors.New(d.hide(text))
	}
	return err
}

// hideAll takes the secrets out of a JSON value: an old value at Datadog may be one.
func (d *Deployer) hideAll(v any) any {
	switch v := v.(type) {
	case string:
		return d.hide(v)
	case []any:
		out := slices.Clone(v)
		for i := range out {
			out[i] = d.hideAll(out[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for key := range v {
			out[key] = d.hideAll(v[key])
		}
		return out
	}
	return v
}

func (d *Deployer) hideChanges(changes []diff.Change) {
	for i := range changes {
		changes[i].Old, changes[i].New = d.hideAll(changes[i].Old), d.hideAll(changes[i].New)
	}
}

// each calls f for 0 to n-1, some at a time, and returns the first error.
func (d *Deployer) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(d.opts.Parallel)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// Plan compares the assets with the site. It changes nothing.
func (d *Deployer) Plan(ctx context.Context) (Plan, error) {
	p, err := d.plan(ctx)
	return p, d.safe(err)
}

func (d *Deployer) plan(ctx context.Context) (Plan, error) {
	values, err := d.values(ctx, d.opts.Assets)
	if err != nil {
		return Plan{}, err
	}
	all, notes, err := persons(d.opts.Assets, values)
	if err != nil {
		return Plan{}, err
	}
	seen, err := d.look(ctx, values)
	if err != nil {
		return Plan{}, err
	}
	matches, err := d.match(ctx, all, seen, values)
	if err != nil {
		return Plan{}, err
	}
	orphans, more, err := d.orphans(ctx, matches, seen)
	if err != nil {
		return Plan{}, err
	}
	digests, err := d.digests(values)
	if err != nil {
		return Plan{}, err
	}
	p, err := plan(d.opts.Site, matches, orphans, values, digests, d.opts.State.entry)
	if err != nil {
		return Plan{}, err
	}
	p.Notes = slices.Concat(p.Notes, notes, more)
	for i := range p.Steps {
		p.Steps[i].Title = d.hide(p.Steps[i].Title)
		d.hideChanges(p.Steps[i].Changes)
	}
	return p, nil
}

// digests returns the digest of every secret, by name.
func (d *Deployer) digests(values map[assets.Ref]string) (map[string]string, error) {
	out := map[string]string{}
	for ref, value := range values {
		if ref.Kind == assets.Secret {
			sum, err := d.opts.State.digest(value)
			if err != nil {
				return nil, err
			}
			out[ref.Name] = sum
		}
	}
	return out, nil
}

// pause is how long an object may take to show after it was made.
const pause = 2 * time.Second

// wait waits for d.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
