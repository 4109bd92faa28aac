package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/remote"
)

// Target is an asset that is at Datadog already.
type Target struct {
	Kind assets.Kind
	Key  string
	// ID is Datadog's identifier; when it is empty, the object is found by its name.
	ID string
	// None says instead that there is no such object, where Datadog has no list to find that out.
	None bool
}

// ParseTarget reads a target as people write it: monitor/error-burst, monitor/error-burst=12345, connection/remediation=none.
func ParseTarget(s string) (Target, error) {
	name, id, given := strings.Cut(s, "=")
	kind, key, ok := parseName(name)
	switch {
	case !ok || key == "":
		return Target{}, fmt.Errorf("%q is not <kind>/<key> of an asset, or <kind>/<key>=<identifier>", s)
	case given && id == "":
		return Target{}, fmt.Errorf("%q has no identifier after =", s)
	case id == "none":
		return Target{Kind: kind, Key: key, None: true}, nil
	}
	return Target{Kind: kind, Key: key, ID: id}, nil
}

// Import records objects that are at Datadog as ours. It changes nothing there: the next apply makes them as the files say,
// marks included. An object that can't be told by its name needs an identifier. The error names every target that failed,
// and then none is recorded.
func (d *Deployer) Import(ctx context.Context, targets []Target) error {
	return d.safe(d.adopt(ctx, targets))
}

func (d *Deployer) adopt(ctx context.Context, targets []Target) error {
	var of []assets.Asset
	var problems []error
	for _, t := range targets {
		i := slices.IndexFunc(d.opts.Assets, func(a assets.Asset) bool { return a.Kind == t.Kind && a.Key == t.Key })
		switch {
		case i < 0:
			problems = append(problems, fmt.Errorf("%s: there is no such asset", nameOf(t.Kind, t.Key)))
		case remote.TraitsOf(t.Kind).Always || remote.TraitsOf(t.Kind).Own:
			problems = append(problems, fmt.Errorf("%s: it needs no import, its name tells that it is ours", nameOf(t.Kind, t.Key)))
		default:
			of = append(of, d.opts.Assets[i])
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	// What an asset refers to may be part of its name.
	needed := d.needed(of)
	values, err := d.values(ctx, needed)
	if err != nil {
		return err
	}
	seen, err := d.look(ctx, values)
	if err != nil {
		return err
	}
	matches, err := d.match(ctx, needed, seen, values)
	if err != nil {
		return err
	}
	ids := map[assets.Ref]string{}
	for _, m := range matches {
		if m.object != nil {
			ids[assets.Ref{Kind: string(m.asset.Kind), Name: m.asset.Key}] = m.object.ID
		} else if m.likely != "" {
			ids[assets.Ref{Kind: string(m.asset.Kind), Name: m.asset.Key}] = m.likely
		}
	}
	found := make([]entry, len(targets))
	for i, t := range targets {
		if found[i], err = d.adoptOne(ctx, of[i], t, values, ids); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", nameOf(t.Kind, t.Key), err))
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	return d.opts.State.change(func(in *stored) {
		for i, t := range targets {
			name := nameOf(t.Kind, t.Key)
			in.drop(name, found[i])
			in.Objects[name] = found[i]
			delete(in.Pending, name)
		}
	})
}

// needed returns some assets and all that they refer to, in the order in which they can be made.
func (d *Deployer) needed(of []assets.Asset) []assets.Asset {
	want := map[assets.Ref]bool{}
	for _, a := range of {
		want[assets.Ref{Kind: string(a.Kind), Name: a.Key}] = true
	}
	var out []assets.Asset
	for _, a := range slices.Backward(d.opts.Assets) {
		if want[assets.Ref{Kind: string(a.Kind), Name: a.Key}] {
			out = append(out, a)
			for _, ref := range d.refs(a) {
				want[ref] = true
			}
		}
	}
	slices.Reverse(out)
	return out
}

func (d *Deployer) adoptOne(ctx context.Context, a assets.Asset, t Target, values, ids map[assets.Ref]string) (entry, error) {
	e := entry{}
	if remote.TraitsOf(a.Kind).PerUser {
		e.Scope = values[userOf(a)]
	}
	if t.None {
		return e, nil
	}
	if t.ID != "" {
		o, err := d.remote.Get(ctx, a.Kind, e.Scope, t.ID)
		if err != nil {
			return e, err
		}
		if o == nil {
			return e, fmt.Errorf("%s is not at %s", t.ID, d.opts.Site)
		}
		e.ID = o.ID
		return e, nil
	}
	body, err := view(a, values, ids)
	if err != nil {
		return e, err
	}
	found, err := d.remote.Find(ctx, a.Kind, e.Scope, a.Key, body)
	switch {
	case errors.Is(err, remote.ErrNoList):
		return e, fmt.Errorf("%w: give its identifier, as %s=<identifier>", err, nameOf(a.Kind, a.Key))
	case err != nil:
		return e, err
	case len(found) == 0:
		return e, fmt.Errorf("nothing at %s has its name", d.opts.Site)
	case len(found) > 1:
		return e, fmt.Errorf("%s have its name: give one, as %s=<identifier>", idsOf(found), nameOf(a.Kind, a.Key))
	}
	e.ID = found[0].ID
	return e, nil
}
