package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/llm"
)

// Cost is what the window cost, what drove it, and what could have been saved.
type Cost struct {
	USD float64 `json:"usd"`
	// Unpriced is how many requests have no known price, and are in no sum.
	Unpriced float64  `json:"unpriced_requests"`
	Drivers  []Driver `json:"drivers"`
	Savings  []Saving `json:"savings"`
}

// Driver is a value of a dimension with its part of the cost. The drivers of each dimension add up to the whole, but for those
// beyond the first five.
type Driver struct {
	Dimension string  `json:"dimension"`
	Value     string  `json:"value"`
	USD       float64 `json:"usd"`
	Share     float64 `json:"share"`
	Requests  float64 `json:"requests"`
}

// Saving is what one change would have saved on the traffic of the window.
type Saving struct {
	// Kind is cheaper_tier, cache or shorter_prompt.
	Kind string  `json:"kind"`
	USD  float64 `json:"usd"`
	// Assumption says what must hold for that.
	Assumption string `json:"assumption"`
}

// mostDrivers is how many drivers of a dimension are named.
const mostDrivers = 5

func cost(cuttings []cutting, known *catalog.Catalog, now time.Time) *Cost {
	if len(cuttings) == 0 {
		return nil
	}
	all, before := sum(cuttings[0].now), sum(cuttings[0].before)
	c := &Cost{USD: digits(all.USD), Unpriced: max(0, all.Requests-all.Priced), Drivers: []Driver{}, Savings: []Saving{}}
	for _, cut := range cuttings {
		c.Drivers = append(c.Drivers, drivers(cut, all.USD)...)
		if cut.name == "model" {
			c.Savings = append(c.Savings, savings(cut.now, all, before, known, now)...)
		}
	}
	slices.SortStableFunc(c.Savings, func(a, b Saving) int { return cmp.Compare(b.USD, a.USD) })
	return c
}

func drivers(cut cutting, whole float64) (out []Driver) {
	by := map[string]Totals{}
	for _, g := range cut.now {
		if len(g.tags) > 0 && g.USD > 0 {
			by[g.tags[0]] = by[g.tags[0]].add(g.Totals)
		}
	}
	for value, t := range by {
		out = append(out, Driver{cut.name, value, digits(t.USD), digits(t.USD / whole), t.Requests})
	}
	slices.SortFunc(out, func(a, b Driver) int { return cmp.Or(cmp.Compare(b.USD, a.USD), cmp.Compare(a.Value, b.Value)) })
	return out[:min(len(out), mostDrivers)]
}

// savings are three changes, each by itself: they can't be added up. What would save nothing, or can't be told, is left out.
func savings(models []group, all, before Totals, known *catalog.Catalog, now time.Time) (out []Saving) {
	if usd, share := cheaperTier(models, known, now); usd > 0 {
		out = append(out, Saving{"cheaper_tier", digits(usd), fmt.Sprintf(
			"all requests at the price of the economy tier of the same provider, with the same tokens; %.0f %% of the cost is not of that tier now. Whether its answers are good enough, the quality signals must say.", 100*share)})
	}
	if usd, rate, when := repeats(all, before); usd > 0 {
		out = append(out, Saving{"cache", digits(usd), fmt.Sprintf(
			"requests repeat as they did while the response cache was last in use, %s: %.1f %% of its looks were hits; each saves the mean cost of a request.", when, 100*rate)})
	}
	if usd, assumption := shorterPrompt(models, all, before, known, now); usd > 0 {
		out = append(out, Saving{"shorter_prompt", digits(usd), assumption})
	}
	return out
}

// price is what the tokens of a group cost on a model, request by request of mean size: the price may depend on it.
func price(known *catalog.Catalog, g group, model string, now time.Time) (catalog.Cost, bool) {
	if g.Requests <= 0 || len(g.tags) < 2 || known == nil {
		return catalog.Cost{}, false
	}
	mean := llm.Usage{InputTokens: int(g.InputTokens/g.Requests + 0.5), OutputTokens: int(g.OutputTokens/g.Requests + 0.5)}
	c, ok := known.Cost(g.tags[1], model, mean, now)
	return catalog.Cost{Input: c.Input * g.Requests, Output: c.Output * g.Requests}, ok
}

func cheaperTier(models []group, known *catalog.Catalog, now time.Time) (usd, share float64) {
	var dear, whole float64
	for _, g := range models {
		whole += g.USD
		if len(g.tags) < 2 || known == nil {
			continue
		}
		cheap := known.TierModels(g.tags[1])[catalog.Economy]
		if c, ok := price(known, g, cheap, now); cheap != "" && ok && c.Total() < g.USD*0.99 {
			usd += g.USD - c.Total()
			dear += g.USD
		}
	}
	if whole <= 0 {
		return 0, 0
	}
	return usd, dear / whole
}

// repeats looks at the hits in the window, or else before it. Hits of the window are saved already.
func repeats(all, before Totals) (usd, rate float64, when string) {
	if all.Priced <= 0 {
		return 0, 0, ""
	}
	when = "in this window"
	hits, looks := all.Hits, all.Hits+all.Misses
	if looks < fewest {
		hits, looks, when = before.Hits, before.Hits+before.Misses, "in the time before"
	}
	if looks < fewest {
		return 0, 0, ""
	}
	uncached := max(0, all.Requests-all.Hits-all.Misses) // those that did not look
	rate = hits / looks
	return uncached * rate * all.USD / all.Priced, rate, when
}

// shorterPrompt takes prompts back to the size that they had, or a tenth off.
func shorterPrompt(models []group, all, before Totals, known *catalog.Catalog, now time.Time) (usd float64, assumption string) {
	var input float64
	for _, g := range models {
		if c, ok := price(known, g, firstTag(g), now); ok {
			input += c.Input
		}
	}
	if input <= 0 || all.Requests <= 0 {
		return 0, ""
	}
	mean := all.InputTokens / all.Requests
	if was := before.InputTokens / max(before.Requests, 1); before.Requests >= fewest && was > 0 && mean > 1.1*was {
		return input * (1 - was/mean), fmt.Sprintf("prompts of %.0f tokens, as in the time before, and not of %.0f; answers stay as they are.", was, mean)
	}
	return input / 10, fmt.Sprintf("prompts shorter by a tenth, which have %.0f tokens in the mean; answers stay as they are.", mean)
}

func firstTag(g group) string {
	if len(g.tags) == 0 {
		return ""
	}
	return g.tags[0]
}
