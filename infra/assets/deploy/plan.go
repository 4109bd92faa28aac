package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/remote"
)

// Action is what a plan does with an object.
type Action string

// The actions. Replace deletes and makes anew what Datadog can't change.
const (
	Create    Action = "create"
	Update    Action = "update"
	Replace   Action = "replace"
	Delete    Action = "delete"
	Unchanged Action = "unchanged"
)

// Step is what a plan does with one object.
type Step struct {
	Action Action      `json:"action"`
	Kind   assets.Kind `json:"kind"`
	Key    string      `json:"key"`
	// Title is what people call it; it may be empty.
	Title string `json:"title,omitempty"`
	// ID is Datadog's identifier, empty for what is yet to be made.
	ID string `json:"id,omitempty"`
	// Changes are what an update or a replacement changes. Secrets are hidden, and what is known only when something else
	// was made stays a placeholder.
	Changes []diff.Change `json:"changes,omitempty"`

	asset assets.Asset
	scope string
	live  *remote.Object
}

// Name returns the kind and the key: monitor/error-burst.
func (s Step) Name() string { return nameOf(s.Kind, s.Key) }

// Plan is what an apply will do: first what is made and changed, in that order, then what is deleted.
type Plan struct {
	Site  string `json:"site"`
	Steps []Step `json:"steps"`
	// Notes are what people should know and no step shows.
	Notes []string `json:"notes,omitempty"`

	values map[assets.Ref]string
}

// Empty reports whether nothing at Datadog differs from the files.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Action != Unchanged })
}

// Count returns how many steps have an action.
func (p Plan) Count(a Action) int {
	n := 0
	for _, s := range p.Steps {
		if s.Action == a {
			n++
		}
	}
	return n
}

// match is an asset and the object that is it.
type match struct {
	asset assets.Asset
	scope string
	// object is nil when there is none.
	object *remote.Object
	// conflict says why it can't be told whether there is one.
	conflict string
	// likely is the identifier of what would be the object after an import, by which more conflicts are found at once.
	likely string
	notes  []string
}

// orphan is an object of ours without a file.
type orphan struct {
	kind   assets.Kind
	key    string
	object remote.Object
}

// Conflicts is the error of a plan that would touch what is not ours, or make what may be there already.
type Conflicts []string

// Error names every conflict.
func (c Conflicts) Error() string { return "nothing was changed:\n  " + strings.Join(c, "\n  ") }

// plan compares what should be with what is. It is pure, and its result depends on nothing but its arguments.
// The digests are those of the secrets that the assets name.
func plan(site string, matches []match, orphans []orphan, values map[assets.Ref]string, digests map[string]string, state func(name string) (entry, bool)) (Plan, error) {
	p := Plan{Site: site, Steps: []Step{}, values: values}
	var conflicts Conflicts
	ids := map[assets.Ref]string{}
	for _, m := range matches {
		name := nameOf(m.asset.Kind, m.asset.Key)
		p.Notes = append(p.Notes, m.notes...)
		if m.conflict != "" {
			conflicts = append(conflicts, name+": "+m.conflict)
			continue
		}
		want, err := view(m.asset, values, ids)
		if err != nil {
			return Plan{}, err
		}
		before, known := state(name)
		step := Step{
			Action: Create, Kind: m.asset.Kind, Key: m.asset.Key, Title: remote.Title(m.asset.Kind, want),
			asset: m.asset, scope: m.scope, live: m.object,
		}
		if m.object != nil {
			step.ID = m.object.ID
			if step.Changes, err = changes(m, want, before, known, digests); err != nil {
				return Plan{}, err
			}
			step.Action = action(m.asset.Kind, step.Changes)
		}
		if step.Action == Unchanged || step.Action == Update {
			ids[assets.Ref{Kind: string(step.Kind), Name: step.Key}] = step.ID
		}
		p.Steps = append(p.Steps, step)
	}
	if len(conflicts) > 0 {
		return Plan{}, conflicts
	}
	slices.Sort(p.Notes)
	for _, o := range slices.Backward(orphans) {
		p.Steps = append(p.Steps, Step{
			Action: Delete, Kind: o.kind, Key: o.key, Title: remote.Title(o.kind, o.object.Body), ID: o.object.ID,
			scope: o.object.Scope, live: &o.object,
		})
	}
	return p, nil
}

// changes returns what differs between an asset and its object, secrets included.
func changes(m match, want any, before entry, known bool, digests map[string]string) ([]diff.Change, error) {
	kind := m.asset.Kind
	out := remote.Compare(kind, want, m.object.Body)
	if known && len(before.Applied) > 0 {
		applied, err := diff.Decode(before.Applied)
		if err != nil {
			return nil, fmt.Errorf("the state of %s: %w", nameOf(kind, m.asset.Key), err)
		}
		out = append(out, remote.Removed(kind, applied, want, m.object.Body)...)
	}
	for _, ref := range assets.Refs(m.asset) {
		if ref.Kind == assets.Secret && before.Secrets[ref.Name] != digests[ref.Name] {
			out = append(out, diff.Change{Path: ref.String(), Old: diff.Hidden, New: diff.Hidden})
		}
	}
	slices.SortStableFunc(out, func(a, b diff.Change) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func action(kind assets.Kind, changes []diff.Change) Action {
	switch {
	case len(changes) == 0:
		return Unchanged
	case slices.ContainsFunc(changes, func(c diff.Change) bool { return remote.Fixed(kind, c) }):
		return Replace
	}
	return Update
}

// view returns the body of an asset as people may see it: secrets are hidden, and a reference to what has no identifier yet
// stays as it is.
func view(a assets.Asset, values map[assets.Ref]string, ids map[assets.Ref]string) (any, error) {
	raw, err := assets.Resolve(a, func(kind, name string) (string, bool) {
		ref := assets.Ref{Kind: kind, Name: name}
		if kind == assets.Secret {
			return diff.Hidden, true
		}
		if v, ok := values[ref]; ok {
			return v, true
		}
		if id, ok := ids[ref]; ok {
			return id, true
		}
		return ref.String(), true
	})
	if err != nil {
		return nil, err
	}
	return diff.Decode(raw)
}
