package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/remote"
)

// Missing is the error of a plan for which settings, secrets, functions or people are missing: all of them at once.
type Missing struct{ Values []MissingValue }

// MissingValue is one placeholder without a value.
type MissingValue struct {
	// Placeholder is as it is written: ${setting:slack_channel}.
	Placeholder string
	// Reason says what to do, where the placeholder does not.
	Reason string
	// Files are those that need it.
	Files []string
}

// Error names every placeholder, with the files that need it.
func (m *Missing) Error() string {
	var b strings.Builder
	b.WriteString("no value for:")
	for _, v := range m.Values {
		fmt.Fprintf(&b, "\n  %s", v.Placeholder)
		if v.Reason != "" {
			fmt.Fprintf(&b, ": %s", v.Reason)
		}
		files := v.Files
		more := ""
		if len(files) > 3 {
			more = fmt.Sprintf(" and %d more", len(files)-3)
			files = files[:3]
		}
		fmt.Fprintf(&b, " (%s%s)", strings.Join(files, ", "), more)
	}
	return b.String()
}

// userOf returns the placeholder of the user whose object an asset is, for the kinds that are per user: the key begins with
// the user, as in oncall_primary.email.
func userOf(a assets.Asset) assets.Ref {
	user, _, _ := strings.Cut(a.Key, ".")
	return assets.Ref{Kind: assets.User, Name: user}
}

// values returns what all placeholders of some assets stand for that name no asset.
func (d *Deployer) values(ctx context.Context, of []assets.Asset) (map[assets.Ref]string, error) {
	files := map[assets.Ref][]string{}
	var refs []assets.Ref
	need := func(ref assets.Ref, file string) {
		if assets.Kind(ref.Kind).Known() {
			return
		}
		if files[ref] == nil {
			refs = append(refs, ref)
		}
		if !slices.Contains(files[ref], file) {
			files[ref] = append(files[ref], file)
		}
	}
	for _, a := range of {
		for _, ref := range d.refs(a) {
			need(ref, a.File)
		}
		if remote.TraitsOf(a.Kind).PerUser {
			need(userOf(a), a.File)
		}
	}
	slices.SortFunc(refs, func(a, b assets.Ref) int { return strings.Compare(a.String(), b.String()) })
	found, reasons := make([]string, len(refs)), make([]string, len(refs))
	err := d.each(ctx, len(refs), func(ctx context.Context, i int) (err error) {
		found[i], reasons[i], err = d.value(ctx, refs[i])
		return err
	})
	values := map[assets.Ref]string{}
	var missing Missing
	for i, ref := range refs {
		if found[i] != "" {
			values[ref] = found[i]
		} else if err == nil || reasons[i] != "" {
			missing.Values = append(missing.Values, MissingValue{ref.String(), reasons[i], files[ref]})
		}
	}
	if len(missing.Values) > 0 {
		return nil, errors.Join(&missing, err)
	}
	return values, err
}

// value returns what one placeholder stands for; reason says why there is nothing.
func (d *Deployer) value(ctx context.Context, ref assets.Ref) (value, reason string, err error) {
	switch ref.Kind {
	case assets.User:
		address, ok := d.opts.Values(assets.Setting, ref.Name)
		if !ok || address == "" {
			return "", "the setting " + ref.Name + " holds the e-mail address of a Datadog user", nil
		}
		if value, err = d.remote.User(ctx, address); err != nil {
			return "", "", fmt.Errorf("look up the user of the setting %s: %w", ref.Name, err)
		}
		return value, "no active Datadog user has the e-mail address of the setting " + ref.Name, nil
	case assets.IncidentType:
		if value, err = d.remote.IncidentType(ctx, ref.Name); err != nil {
			return "", "", fmt.Errorf("look up the incident type %s: %w", ref.Name, err)
		}
		return value, "the organisation has no such incident type", nil
	case assets.ScannerConfiguration:
		if value, err = d.remote.ScannerConfiguration(ctx); err != nil {
			return "", "", fmt.Errorf("look up the Sensitive Data Scanner: %w", err)
		}
		return value, "the organisation has no Sensitive Data Scanner", nil
	}
	value, _ = d.opts.Values(ref.Kind, ref.Name)
	return value, "it is not given", nil
}

// persons drops assets of people that stand for one object, since settings may name one person twice: the first of them
// is the object, and what refers to another refers to it.
func persons(all []assets.Asset, values map[assets.Ref]string) (out []assets.Asset, notes []string, err error) {
	first, same := map[string]assets.Asset{}, map[assets.Ref]assets.Ref{}
	for _, a := range all {
		for from, to := range same {
			a.Body = bytes.ReplaceAll(a.Body, []byte(from.String()), []byte(to.String()))
		}
		if remote.TraitsOf(a.Kind).PerUser {
			body, err := view(a, values, nil)
			if err != nil {
				return nil, nil, err
			}
			at := strings.Join([]string{string(a.Kind), values[userOf(a)], remote.Name(a.Kind, a.Key, body)}, " ")
			if b, ok := first[at]; ok {
				same[assets.Ref{Kind: string(a.Kind), Name: a.Key}] = assets.Ref{Kind: string(b.Kind), Name: b.Key}
				notes = append(notes, fmt.Sprintf("%s is %s: the settings name the same person", nameOf(a.Kind, a.Key), nameOf(b.Kind, b.Key)))
				continue
			}
			first[at] = a
		}
		out = append(out, a)
	}
	return out, notes, nil
}

// place is where a list is: a kind, and a user where the kind is per user.
type place struct {
	kind  assets.Kind
	scope string
}

// look lists everything that Datadog lists of our kinds.
func (d *Deployer) look(ctx context.Context, values map[assets.Ref]string) (map[place][]remote.Object, error) {
	var places []place
	add := func(p place) {
		if !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	for _, kind := range assets.Kinds() {
		if traits := remote.TraitsOf(kind); traits.Listed && !traits.PerUser {
			add(place{kind, ""})
		}
	}
	for _, a := range d.opts.Assets {
		if remote.TraitsOf(a.Kind).PerUser && values[userOf(a)] != "" {
			add(place{a.Kind, values[userOf(a)]})
		}
	}
	for _, name := range d.opts.State.names() {
		kind, _, ok := parseName(name)
		if e, _ := d.opts.State.entry(name); ok && remote.TraitsOf(kind).PerUser {
			add(place{kind, e.Scope})
		}
	}
	seen := map[place][]remote.Object{}
	var mu sync.Mutex
	err := d.each(ctx, len(places), func(ctx context.Context, i int) error {
		objects, err := d.remote.List(ctx, places[i].kind, places[i].scope)
		if err != nil {
			return fmt.Errorf("list %s: %w", places[i].kind, err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[places[i]] = objects
		return nil
	})
	return seen, err
}

// match finds the object of each asset. Assets come in the order in which they can be made, so that those that an asset
// refers to are matched before it.
func (d *Deployer) match(ctx context.Context, all []assets.Asset, seen map[place][]remote.Object, values map[assets.Ref]string) ([]match, error) {
	matches := make([]match, len(all))
	ids := map[assets.Ref]string{}
	for from := 0; from < len(all); {
		to := from + 1
		for to < len(all) && all[to].Kind == all[from].Kind && !d.refersTo(all[to], all[from].Kind) {
			to++
		}
		err := d.each(ctx, to-from, func(ctx context.Context, i int) (err error) {
			matches[from+i], err = d.matchOne(ctx, all[from+i], seen, values, ids)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, m := range matches[from:to] {
			if m.object != nil {
				ids[assets.Ref{Kind: string(m.asset.Kind), Name: m.asset.Key}] = m.object.ID
			} else if m.likely != "" {
				ids[assets.Ref{Kind: string(m.asset.Kind), Name: m.asset.Key}] = m.likely
			}
		}
		from = to
	}
	for i, m := range matches {
		if m.object == nil && m.conflict == "" && remote.TraitsOf(m.asset.Kind).Blind {
			matches[i].conflict = d.lost(m, matches)
		}
	}
	return matches, nil
}

func (d *Deployer) refersTo(a assets.Asset, kind assets.Kind) bool {
	return slices.ContainsFunc(d.refs(a), func(r assets.Ref) bool { return r.Kind == string(kind) })
}

// lost says why an object of a kind without list can't be made: the state does not know it, and what needs it is there.
func (d *Deployer) lost(m match, all []match) string {
	name := nameOf(m.asset.Kind, m.asset.Key)
	if _, known := d.opts.State.entry(name); known {
		return ""
	}
	for _, other := range all {
		refers := slices.Contains(d.refs(other.asset), assets.Ref{Kind: string(m.asset.Kind), Name: m.asset.Key})
		if other.object != nil && refers && !remote.TraitsOf(other.asset.Kind).Own {
			return fmt.Sprintf("the state does not know it, though %s, which needs it, is there, and %v. %s",
				nameOf(other.asset.Kind, other.asset.Key), remote.ErrNoList, whichOne(name))
		}
	}
	return ""
}

func whichOne(name string) string {
	return fmt.Sprintf("If it is at Datadog, import %s=<its identifier>; if it is not, import %s=none. Then apply again", name, name)
}

// matchOne finds the object of one asset.
func (d *Deployer) matchOne(ctx context.Context, a assets.Asset, seen map[place][]remote.Object, values, ids map[assets.Ref]string) (match, error) {
	m := match{asset: a}
	traits, name := remote.TraitsOf(a.Kind), nameOf(a.Kind, a.Key)
	body, err := view(a, values, ids)
	if err != nil {
		return m, err
	}
	if traits.PerUser {
		m.scope = values[userOf(a)]
	}
	known, ok := d.opts.State.entry(name)
	if ok && known.Scope != m.scope {
		known.ID = "" // The setting names another person now; what the first one has is an orphan.
	}
	identity := remote.Name(a.Kind, a.Key, body)
	candidates := slices.Clone(seen[place{a.Kind, m.scope}])
	if !traits.Listed {
		if candidates, err = d.candidates(ctx, a, m.scope, known.ID, body); err != nil {
			return m, fmt.Errorf("look up %s: %w", name, err)
		}
	}
	for i, c := range candidates {
		// A list may leave out what holds the mark.
		if traits.Marked && c.Body == nil && c.Mark == "" && c.Name == identity {
			whole, err := d.remote.Get(ctx, a.Kind, m.scope, c.ID)
			if err != nil {
				return m, fmt.Errorf("read %s: %w", name, err)
			}
			if whole != nil {
				candidates[i] = *whole
			}
		}
	}
	p, begun := d.opts.State.pending(name)
	begun = begun && p.Name == identity && p.Scope == m.scope
	moved := func(o remote.Object) bool {
		before := d.opts.State.nameFor(a.Kind, o.ID, o.Scope)
		if before == "" && o.Mark != "" {
			before = nameOf(a.Kind, o.Mark)
		}
		i := slices.IndexFunc(d.opts.Assets, func(b assets.Asset) bool { return nameOf(b.Kind, b.Key) == before })
		return before != "" && (i < 0 || traits.PerUser && values[userOf(d.opts.Assets[i])] != o.Scope)
	}
	choose(&m, identity, candidates, known.ID, begun, moved)
	if m.object != nil && m.object.Body == nil {
		if m.object, err = d.remote.Get(ctx, a.Kind, m.scope, m.object.ID); err != nil {
			return m, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return m, nil
}

// candidates returns what can be found of a kind that is not listed: by its identifier, and by its name.
func (d *Deployer) candidates(ctx context.Context, a assets.Asset, scope, id string, body any) ([]remote.Object, error) {
	var out []remote.Object
	if id != "" || remote.TraitsOf(a.Kind).Always {
		o, err := d.remote.Get(ctx, a.Kind, scope, id)
		if err != nil {
			return nil, err
		}
		if o != nil {
			return []remote.Object{*o}, nil
		}
	}
	found, err := d.remote.Find(ctx, a.Kind, scope, a.Key, body)
	if err != nil && !errors.Is(err, remote.ErrNoList) {
		return nil, err
	}
	return append(out, found...), nil
}

// choose says which candidate an asset is: the one that the state knows, or that carries its mark, or that has its name,
// where names are of our making, or a create was begun, or the object was that of an asset that is no more.
func choose(m *match, identity string, candidates []remote.Object, knownID string, begun bool, moved func(remote.Object) bool) {
	kind, key := m.asset.Kind, m.asset.Key
	name, traits := nameOf(kind, key), remote.TraitsOf(kind)
	one := func(is func(remote.Object) bool) []remote.Object {
		var out []remote.Object
		for _, c := range candidates {
			if is(c) {
				out = append(out, c)
			}
		}
		return out
	}
	known := one(func(o remote.Object) bool { return knownID != "" && o.ID == knownID })
	marked := one(func(o remote.Object) bool { return o.Mark == key })
	named := one(func(o remote.Object) bool { return identity != "" && o.Name == identity })
	switch {
	case traits.Always && len(candidates) > 0:
		m.object = &candidates[0]
	case len(known) > 0:
		m.object = &known[0]
	case len(marked) == 1:
		m.object = &marked[0]
	case len(marked) > 1:
		m.conflict = fmt.Sprintf("%s carry its mark. Import %s=<identifier> says which one it is", idsOf(marked), name)
	case len(named) == 1 && (traits.Own || begun || moved(named[0])):
		m.object = &named[0]
	case len(named) > 0:
		m.likely = named[0].ID
		m.conflict = fmt.Sprintf("%s has its name and is not ours. Rename one of them, or adopt what is there: import %s", idsOf(named), name)
	case begun && traits.Blind:
		m.conflict = fmt.Sprintf("an apply that ended early may have made it, and %v. %s", remote.ErrNoList, whichOne(name))
	}
	for _, twin := range marked {
		if m.object != nil && twin.ID != m.object.ID {
			m.notes = append(m.notes, fmt.Sprintf("%s: %s carries its mark too, as a clone does, and is left alone", name, twin.ID))
		}
	}
}

func idsOf(objects []remote.Object) string {
	ids := make([]string, len(objects))
	for i, o := range objects {
		ids[i] = o.ID
	}
	slices.Sort(ids)
	return strings.Join(ids, " and ")
}

// orphans returns what is ours and has no asset, in the order in which it was made.
func (d *Deployer) orphans(ctx context.Context, matches []match, seen map[place][]remote.Object) (out []orphan, notes []string, err error) {
	wanted, taken := map[string]bool{}, map[string]bool{}
	for _, m := range matches {
		wanted[nameOf(m.asset.Kind, m.asset.Key)] = true
		if m.object != nil {
			taken[string(m.asset.Kind)+" "+m.object.Scope+" "+m.object.ID] = true
		}
	}
	add := func(kind assets.Kind, key string, o remote.Object) {
		at := string(kind) + " " + o.Scope + " " + o.ID
		if !taken[at] {
			taken[at] = true
			out = append(out, orphan{kind, key, o})
		}
	}
	for _, name := range d.opts.State.names() {
		kind, key, ok := parseName(name)
		e, _ := d.opts.State.entry(name)
		traits := remote.TraitsOf
		switch {
		case !ok:
			notes = append(notes, name+" is in the state, and this program does not know the kind")
			continue
		case e.ID == "" || traits(kind).Always || wanted[name] && !(traits(kind).PerUser && !taken[string(kind)+" "+e.Scope+" "+e.ID]):
			continue
		case traits(kind).Kept != "":
			notes = append(notes, fmt.Sprintf("%s has no file any more and is left: %s", name, traits(kind).Kept))
			continue
		}
		o, err := d.find(ctx, kind, e, seen)
		if err != nil {
			return nil, nil, fmt.Errorf("look up %s: %w", name, err)
		}
		if o != nil {
			add(kind, key, *o)
		}
	}
	for _, kind := range assets.Kinds() {
		for _, o := range seen[place{kind, ""}] {
			if o.Mark != "" && !wanted[nameOf(kind, o.Mark)] {
				add(kind, o.Mark, o)
			}
		}
	}
	order := assets.Kinds()
	slices.SortStableFunc(out, func(a, b orphan) int {
		if a.kind != b.kind {
			return slices.Index(order, a.kind) - slices.Index(order, b.kind)
		}
		return strings.Compare(a.key+" "+a.object.ID, b.key+" "+b.object.ID)
	})
	return out, notes, nil
}

// find returns the object that the state knows, or nil when it is gone.
func (d *Deployer) find(ctx context.Context, kind assets.Kind, e entry, seen map[place][]remote.Object) (*remote.Object, error) {
	if remote.TraitsOf(kind).Listed {
		objects := seen[place{kind, e.Scope}]
		if i := slices.IndexFunc(objects, func(o remote.Object) bool { return o.ID == e.ID }); i >= 0 {
			return &objects[i], nil
		}
		return nil, nil
	}
	return d.remote.Get(ctx, kind, e.Scope, e.ID)
}
