package gateway

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/llm"
)

// candidate is one model of one backend, on the route of a request.
type candidate struct {
	backend Backend
	model   string
	health  *health
}

// name is how skipped candidates are told of: provider/location/model.
func (c candidate) name() string {
	if c.backend.Location == "" {
		return c.backend.Provider + "/" + c.model
	}
	return c.backend.Provider + "/" + c.backend.Location + "/" + c.model
}

// candidates returns the models that can serve a tier or a name, in route order, without retired ones. Backends to avoid
// are left out, unless that would leave none: a worse provider is better than no answer.
func (g *Gateway) candidates(model string, avoid []string, now time.Time) []candidate {
	route := make([]candidate, 0, len(g.opts.Backends))
	var avoided []candidate
	for _, b := range g.opts.Backends {
		var name string
		tier, ok := g.opts.Catalog.Tier(model)
		if ok {
			name, ok = b.Tiers[tier]
		} else {
			if m, found := g.opts.Catalog.Find(b.Provider, model); found {
				name, ok = m.Name, true
			} else if ok = slices.Contains(tierNames(b), model); ok {
				name = model
			}
		}
		if m, found := g.opts.Catalog.Find(b.Provider, name); !ok || (found && m.Retired(now)) {
			continue
		}
		c := candidate{b, name, g.health.of(b.Provider, b.Location, name)}
		if b.avoided(avoid) {
			avoided = append(avoided, c)
		} else {
			route = append(route, c)
		}
	}
	if len(route) == 0 {
		return avoided
	}
	return route
}

// avoided is whether a list names the backend: by its provider, its location, or both as google/europe-west1.
func (b Backend) avoided(list []string) bool {
	return slices.ContainsFunc(list, func(name string) bool {
		return name == b.Provider || b.Location != "" && (name == b.Location || name == b.Provider+"/"+b.Location)
	})
}

func tierNames(b Backend) []string {
	names := make([]string, 0, len(b.Tiers))
	for _, name := range b.Tiers {
		names = append(names, name)
	}
	return names
}

// tier names the tier of a request for metrics: the one that was asked for, that of the named model, or "named".
func (g *Gateway) tier(model string) string {
	if tier, ok := g.opts.Catalog.Tier(model); ok {
		return string(tier)
	}
	for _, b := range g.opts.Backends {
		if m, ok := g.opts.Catalog.Find(b.Provider, model); ok && m.Tier != "" {
			return string(m.Tier)
		}
	}
	return "named"
}

// The strategies of control.Settings.
const (
	byCost    = "cost"
	byLatency = "latency"
	byQuality = "quality"
)

// tierQuality is what a QualityFloor is compared with.
func tierQuality(t catalog.Tier) float64 {
	switch t {
	case catalog.Economy:
		return 0.5
	case catalog.Standard:
		return 0.75
	}
	return 1
}

// route returns the candidates of a request in the order in which they are tried. Without a strategy that is the order of
// the backends. A strategy chooses among more and orders them:
//
//   - A caller who names a model gets that model: only the backends that serve it are ordered.
//   - With a quality floor, the models of all tiers whose quality reaches it are eligible: economy is 0.5, standard 0.75,
//     quality 1. Without one, those of the tier that was asked for; with the strategy quality, those of better tiers, too.
//   - cost: the lowest price for three input tokens and one output token first; an unknown price last.
//   - latency: the lowest median of recent answers first (for streams: to the first token). A model that was not measured
//     lately comes first, so that it is.
//   - quality: the best tier first.
//
// What is equal keeps the order of the backends, the tier that was asked for first.
func (g *Gateway) route(model string, settings control.Settings, streamed bool, now time.Time) []candidate {
	route := g.candidates(model, settings.Avoid, now)
	asked, isTier := g.opts.Catalog.Tier(model)
	if settings.Strategy == "" {
		return route
	}
	if isTier {
		route = g.eligible(route, asked, settings, now)
	}
	var value func(c candidate) float64
	switch settings.Strategy {
	case byCost:
		value = func(c candidate) float64 {
			cost, ok := g.opts.Catalog.Cost(c.backend.Provider, c.model, llm.Usage{InputTokens: 3, OutputTokens: 1}, now)
			if !ok {
				return math.Inf(1)
			}
			return cost.Total()
		}
	case byLatency:
		value = func(c candidate) float64 {
			const enough = 5
			median, _ := c.health.window(streamed).quantile(0.5, enough, now) // 0, and so the first, when there are too few.
			return float64(median)
		}
	case byQuality:
		value = func(c candidate) float64 { return -tierQuality(g.tierOf(c)) }
	default:
		return route
	}
	values := make(map[*health]float64, len(route))
	for _, c := range route {
		values[c.health] = value(c)
	}
	slices.SortStableFunc(route, func(a, b candidate) int { return cmp.Compare(values[a.health], values[b.health]) })
	return route
}

// eligible adds the models of further tiers to a route, and drops those below the floor. A floor that nothing reaches is no
// floor.
func (g *Gateway) eligible(route []candidate, asked catalog.Tier, settings control.Settings, now time.Time) []candidate {
	floor := settings.QualityFloor
	if floor <= 0 && settings.Strategy == byQuality {
		floor = tierQuality(asked)
	}
	if floor <= 0 {
		return route
	}
	var wider []candidate
	if tierQuality(asked) >= floor {
		wider = append(wider, route...)
	}
	for _, tier := range catalog.Tiers() {
		if tier != asked && tierQuality(tier) >= floor {
			wider = append(wider, g.candidates(string(tier), settings.Avoid, now)...)
		}
	}
	if len(wider) == 0 {
		return route
	}
	return wider
}

// tierOf is the tier for which a backend offers a model.
func (g *Gateway) tierOf(c candidate) catalog.Tier {
	for _, tier := range catalog.Tiers() {
		if c.backend.Tiers[tier] == c.model {
			return tier
		}
	}
	m, _ := g.opts.Catalog.Find(c.backend.Provider, c.model)
	return m.Tier
}
