package control

import (
	"cmp"
	"slices"
	"time"
)

// qualityTier is the one model word that has a meaning here, because cost-saving must not undo a quality alert.
const qualityTier = "quality"

// Effective folds the overrides that are active at now and match the target into base. The order of overrides does not
// matter; their IDs must be unique. Neither base nor overrides are changed, and the result may share their memory.
//
// key is stable for one request, such as its ID: it decides whether the request belongs to the share of a switch-model
// that applies to a percentage. A request in a share of 10 % is in every larger share, too. The empty key stands for a
// request that is in every share.
//
// Where overrides contradict each other:
//
//   - An operator's beats an automatic one.
//   - Of automatic switch-models, one to the quality tier beats any other: saving cost never undoes a quality alert.
//   - Otherwise the one created last wins; the larger ID, if they were created at the same time.
//   - Caps of limit fold to the strictest, that of base included. Providers of failover add up.
//
// InForce of the result holds the overrides that decided some setting, and no others.
func Effective(base Settings, overrides []Override, target Target, key string, now time.Time) Settings {
	s := base
	s.InForce = nil
	var model, ttl, route, freeze, outputTokens, promptChars, requests *Override
	var failovers []*Override
	for i := range overrides {
		o := &overrides[i]
		if !o.Active(now) || !o.Scope.Matches(target) {
			continue
		}
		switch p := &o.Params; o.Action {
		case SwitchModel:
			if p.Model != "" && inShare(p.Percent, key) {
				model = stronger(model, o)
			}
		case EnableCache:
			if p.CacheTTL > 0 {
				ttl = stronger(ttl, o)
			}
		case Route:
			if p.Strategy != "" {
				route = stronger(route, o)
			}
		case Limit:
			outputTokens = tighten(&s.MaxOutputTokens, p.MaxOutputTokens, outputTokens, o)
			promptChars = tighten(&s.MaxPromptChars, p.MaxPromptChars, promptChars, o)
			requests = tighten(&s.RequestsPerMinute, p.RequestsPerMinute, requests, o)
		case Failover:
			if p.Provider != "" && !slices.Contains(base.Avoid, p.Provider) {
				failovers = append(failovers, o)
			}
		case Freeze:
			freeze = stronger(freeze, o)
		}
	}
	if model != nil {
		s.Model = model.Params.Model
	}
	if ttl != nil {
		s.CacheTTL = time.Duration(ttl.Params.CacheTTL)
	}
	if route != nil {
		s.Strategy, s.QualityFloor = route.Params.Strategy, route.Params.QualityFloor
	}
	s.Frozen = base.Frozen || freeze != nil

	// In order of age, so that the oldest of several that avoid the same provider is the one that counts.
	slices.SortFunc(failovers, older)
	var added []*Override
	for _, o := range failovers {
		if !slices.Contains(s.Avoid, o.Params.Provider) {
			s.Avoid = append(slices.Clip(s.Avoid), o.Params.Provider)
			added = append(added, o)
		}
	}
	s.InForce = inForce([]*Override{model, ttl, route, freeze, outputTokens, promptChars, requests}, added)
	return s
}

// inForce lists the overrides that are not nil, each once, oldest first.
func inForce(deciding, added []*Override) []Override {
	n := len(added)
	for _, o := range deciding {
		if o != nil {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	all := make([]*Override, 0, n)
	for _, o := range deciding {
		if o != nil && !slices.Contains(all, o) {
			all = append(all, o)
		}
	}
	all = append(all, added...)
	slices.SortFunc(all, older)
	out := make([]Override, len(all))
	for i, o := range all {
		out[i] = *o
	}
	return out
}

// older orders overrides by creation, then ID.
func older(a, b *Override) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

// rank is the precedence of an override among others of its action.
func rank(o *Override) int {
	switch {
	case o.Source.Kind == Operator:
		return 2
	case o.Action == SwitchModel && o.Params.Model == qualityTier:
		return 1
	}
	return 0
}

// stronger returns the one of two overrides of one action that wins; a may be nil.
func stronger(a, b *Override) *Override {
	if a == nil || cmp.Or(cmp.Compare(rank(b), rank(a)), older(b, a)) > 0 {
		return b
	}
	return a
}

// tighten lowers *current to limit if that is stricter, and returns the override that decides it: of several with the
// same cap, the oldest. 0 is no cap.
func tighten(current *int, limit int, decides, o *Override) *Override {
	switch {
	case limit <= 0:
		return decides
	case *current <= 0 || limit < *current:
		*current = limit
		return o
	case limit == *current && decides != nil && older(o, decides) < 0:
		return o
	}
	return decides
}

// inShare says whether the request with this key belongs to the first percent of 100 buckets of equal size.
func inShare(percent int, key string) bool {
	if percent <= 0 || percent >= 100 || key == "" {
		return true
	}
	return bucket(key) < uint64(percent)
}

// bucket spreads keys evenly over 0..99, the same on every instance: 64-bit FNV-1a, written out to spare an allocation,
// with the finalizer of MurmurHash3, since keys often differ only in their last characters.
func bucket(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h ^= uint64(key[i])
		h *= 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h % 100
}
