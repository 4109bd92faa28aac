package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/remote"
)

// PlanDestroy returns the plan that deletes all that is ours, what refers to others first. It needs no settings and no
// secrets. Its notes say what is left.
func (d *Deployer) PlanDestroy(ctx context.Context) (Plan, error) {
	p, err := d.planDestroy(ctx)
	return p, d.safe(err)
}

func (d *Deployer) planDestroy(ctx context.Context) (Plan, error) {
	seen, err := d.look(ctx, nil)
	if err != nil {
		return Plan{}, err
	}
	all, _, err := d.orphans(ctx, nil, seen)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Site: d.opts.Site, Steps: []Step{}}
	names := d.opts.State.names()
	for _, a := range d.opts.Assets {
		// The names of our own making are ours even if the state is lost.
		traits, name := remote.TraitsOf(a.Kind), nameOf(a.Kind, a.Key)
		if !traits.Own || traits.Kept != "" || traits.Always || slices.Contains(names, name) || len(d.refs(a)) > 0 {
			continue
		}
		o, err := d.remote.Get(ctx, a.Kind, "", a.Key)
		if err != nil {
			return Plan{}, fmt.Errorf("look up %s: %w", name, err)
		}
		if o != nil {
			all = append(all, orphan{a.Kind, a.Key, *o})
		}
	}
	order := assets.Kinds()
	slices.SortStableFunc(all, func(a, b orphan) int { return slices.Index(order, a.kind) - slices.Index(order, b.kind) })
	kept := map[assets.Kind][]string{}
	for _, name := range names {
		kind, key, ok := parseName(name)
		switch {
		case !ok:
			p.Notes = append(p.Notes, name+": this program does not know the kind")
		case remote.TraitsOf(kind).Kept != "":
			kept[kind] = append(kept[kind], key)
		case remote.TraitsOf(kind).Always:
			p.Notes = append(p.Notes, name+": an order stays as it is")
		}
	}
	for _, kind := range order {
		if keys := kept[kind]; len(keys) > 0 {
			p.Notes = append(p.Notes, fmt.Sprintf("%s: %s (%s)", kind, remote.TraitsOf(kind).Kept, strings.Join(keys, ", ")))
		}
	}
	for _, o := range slices.Backward(all) {
		p.Steps = append(p.Steps, Step{
			Action: Delete, Kind: o.kind, Key: o.key, Title: d.hide(remote.Title(o.kind, o.object.Body)), ID: o.object.ID, scope: o.object.Scope,
		})
	}
	return p, nil
}

// Destroy deletes all that is ours. What is gone already is no error.
func (d *Deployer) Destroy(ctx context.Context) (Result, error) {
	r, err := d.destroy(ctx)
	return r, d.safe(err)
}

func (d *Deployer) destroy(ctx context.Context) (Result, error) {
	p, err := d.planDestroy(ctx)
	if err != nil {
		return Result{}, err
	}
	r := &run{d: d, total: len(p.Steps)}
	stopped := r.delete(ctx, p.Steps)
	result := r.result()
	result.Left = p.Notes
	if stopped != nil {
		return result, stopped
	}
	// What is left in the state is gone, or stays at Datadog with nothing to be told by: handles only can't be told again.
	return result, d.opts.State.change(func(in *stored) {
		for name := range in.Objects {
			if kind, _, ok := parseName(name); ok && kind != assets.IncidentHandle {
				delete(in.Objects, name)
			}
		}
	})
}

// Drift is what differs at Datadog from what was applied.
type Drift struct {
	Site string `json:"site"`
	// Objects is how many were compared.
	Objects int         `json:"objects"`
	Items   []DriftItem `json:"items"`
}

// DriftItem is one object that is not as it was applied: deleted, or changed. In Changes, Old is what is there and New what
// was applied.
type DriftItem struct {
	Kind    assets.Kind   `json:"kind"`
	Key     string        `json:"key"`
	Title   string        `json:"title,omitempty"`
	ID      string        `json:"id"`
	Deleted bool          `json:"deleted,omitempty"`
	Changes []diff.Change `json:"changes,omitempty"`
}

// Name returns the kind and the key.
func (i DriftItem) Name() string { return nameOf(i.Kind, i.Key) }

// Empty reports whether there is none.
func (d Drift) Empty() bool { return len(d.Items) == 0 }

// Drift compares what is at Datadog with what was applied. It needs no settings and no secrets, and changes nothing. What a
// secret is now can't be read, so a secret has no drift.
func (d *Deployer) Drift(ctx context.Context) (Drift, error) {
	r, err := d.drift(ctx)
	return r, d.safe(err)
}

func (d *Deployer) drift(ctx context.Context) (Drift, error) {
	seen, err := d.look(ctx, nil)
	if err != nil {
		return Drift{}, err
	}
	names := slices.DeleteFunc(d.opts.State.names(), func(name string) bool {
		e, _ := d.opts.State.entry(name)
		_, _, ok := parseName(name)
		return !ok || len(e.Applied) == 0
	})
	items := make([]DriftItem, len(names))
	err = d.each(ctx, len(names), func(ctx context.Context, i int) error {
		e, _ := d.opts.State.entry(names[i])
		kind, key, _ := parseName(names[i])
		applied, err := diff.Decode(e.Applied)
		if err != nil {
			return fmt.Errorf("the state of %s: %w", names[i], err)
		}
		items[i] = DriftItem{Kind: kind, Key: key, Title: d.hide(remote.Title(kind, applied)), ID: e.ID}
		o, err := d.find(ctx, kind, e, seen)
		if err == nil && o != nil && o.Body == nil {
			o, err = d.remote.Get(ctx, kind, e.Scope, e.ID)
		}
		switch {
		case err != nil:
			return fmt.Errorf("read %s: %w", names[i], err)
		case o == nil:
			items[i].Deleted = true
		default:
			items[i].Changes = remote.Compare(kind, applied, o.Body)
			d.hideChanges(items[i].Changes)
		}
		return nil
	})
	if err != nil {
		return Drift{}, err
	}
	order := assets.Kinds()
	slices.SortStableFunc(items, func(a, b DriftItem) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	r := Drift{Site: d.opts.Site, Objects: len(items), Items: []DriftItem{}}
	for _, item := range items {
		if item.Deleted || len(item.Changes) > 0 {
			r.Items = append(r.Items, item)
		}
	}
	return r, nil
}
