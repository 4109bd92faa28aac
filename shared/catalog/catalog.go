// Package catalog knows the models: which provider serves them, which tier they stand for, until when they live, and
// what they cost at a given time. It is data, in models.json, with the date on which each price was read.
//
// It calls nobody, and it does not choose: routes are the gateway's business.
package catalog

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
)

//go:embed models.json
var builtIn []byte

// Tier is a class of models that a caller, or an override, can ask for without naming one.
type Tier string

// The tiers, cheapest first.
const (
	Economy  Tier = "economy"
	Standard Tier = "standard"
	Quality  Tier = "quality"
)

// Tiers lists the tiers, cheapest first.
func Tiers() []Tier { return []Tier{Economy, Standard, Quality} }

// Model is one model of one provider.
type Model struct {
	Name     string `json:"name"`
	Provider string `json:"provider"`
	// Tier is empty for a model that stands for none.
	Tier Tier `json:"tier"`
	// Released and Retires bound the life of the model; a zero Date is unknown.
	Released Date    `json:"released"`
	Retires  Date    `json:"retires"`
	Prices   []Price `json:"prices"`
}

// Price is what a model costs in a period, in USD per million tokens.
type Price struct {
	// From is the first day of the period, To the first day after it; a zero To is open.
	From   Date    `json:"from"`
	To     Date    `json:"to"`
	Input  float64 `json:"input"`
	Output float64 `json:"output"`
	// Cached is the price of input tokens that the provider read from its prompt cache; nil means the Input price.
	Cached *float64 `json:"cached"`
	// OverInputTokens, where it is not 0, is the prompt size above which InputOver and OutputOver hold for the call.
	OverInputTokens int     `json:"over_input_tokens"`
	InputOver       float64 `json:"input_over"`
	OutputOver      float64 `json:"output_over"`
	// Read is the day on which the price was read from Source.
	Read   Date   `json:"read"`
	Source string `json:"source"`
}

// Date is a day in UTC, written as 2026-11-24.
type Date struct{ time.Time }

// UnmarshalJSON reads a day; it replaces the method of time.Time, which wants a full timestamp.
func (d *Date) UnmarshalJSON(data []byte) error {
	t, err := time.Parse(`"`+time.DateOnly+`"`, string(data))
	if err != nil {
		return fmt.Errorf("date %s is not like \"2026-11-24\"", data)
	}
	d.Time = t
	return nil
}

// Catalog is an immutable set of models.
type Catalog struct {
	models []Model
	// byName holds every name, per provider.
	byName map[[2]string]int
	// aliases are names that callers may go on to use for a tier: those of models that are gone and stood for it.
	aliases map[string]Tier
}

// BuiltIn returns the catalogue that ships with the code.
func BuiltIn() (*Catalog, error) { return Parse(builtIn) }

// Parse reads a catalogue in the form of models.json and reports everything that is wrong with it.
func Parse(data []byte) (*Catalog, error) {
	var file struct {
		Aliases map[string]Tier `json:"aliases"`
		Models  []Model         `json:"models"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("read model catalogue: %w", err)
	}
	c := &Catalog{models: file.Models, byName: map[[2]string]int{}, aliases: file.Aliases}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(file.Aliases)) {
		if !slices.Contains(Tiers(), file.Aliases[name]) {
			errs = append(errs, fmt.Errorf("alias %s: unknown tier %q", name, file.Aliases[name]))
		}
	}
	tiers := map[[2]string]string{}
	for i, m := range c.models {
		if m.Name == "" || m.Provider == "" {
			errs = append(errs, fmt.Errorf("model %d: name and provider are required", i))
		}
		if _, ok := c.byName[[2]string{m.Provider, m.Name}]; ok {
			errs = append(errs, fmt.Errorf("model %s/%s: stands here twice", m.Provider, m.Name))
		}
		c.byName[[2]string{m.Provider, m.Name}] = i
		if _, ok := c.aliases[m.Name]; ok {
			errs = append(errs, fmt.Errorf("model %s/%s: its name is an alias, too", m.Provider, m.Name))
		}
		if m.Tier != "" {
			if !slices.Contains(Tiers(), m.Tier) {
				errs = append(errs, fmt.Errorf("model %s/%s: unknown tier %q", m.Provider, m.Name, m.Tier))
			}
			key := [2]string{m.Provider, string(m.Tier)}
			if other, ok := tiers[key]; ok {
				errs = append(errs, fmt.Errorf("model %s/%s: %s is the %s tier already", m.Provider, m.Name, other, m.Tier))
			}
			tiers[key] = m.Name
		}
		errs = append(errs, checkPrices(m)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("model catalogue: %w", err)
	}
	return c, nil
}

func checkPrices(m Model) (errs []error) {
	for i, p := range m.Prices {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("model %s/%s, price %d: %s", m.Provider, m.Name, i, fmt.Sprintf(format, args...)))
		}
		if p.Input <= 0 || p.Output <= 0 || p.From.IsZero() || p.Read.IsZero() || p.Source == "" {
			bad("input, output, from, read and source are required")
		}
		if !p.To.IsZero() && !p.To.After(p.From.Time) {
			bad("ends before it begins")
		}
		if p.OverInputTokens > 0 && (p.InputOver < p.Input || p.OutputOver < p.Output) {
			bad("large prompts are cheaper than small ones")
		}
		if i > 0 && (m.Prices[i-1].To.IsZero() || p.From.Before(m.Prices[i-1].To.Time)) {
			bad("overlaps the price before it")
		}
	}
	return errs
}

// Tier returns the tier that a name stands for: that of its own name, or of an alias. ok is false for the names of models.
func (c *Catalog) Tier(name string) (t Tier, ok bool) {
	if slices.Contains(Tiers(), Tier(name)) {
		return Tier(name), true
	}
	t, ok = c.aliases[name]
	return t, ok
}

// Find returns the model of a provider by its name.
func (c *Catalog) Find(provider, name string) (Model, bool) {
	i, ok := c.byName[[2]string{provider, name}]
	if !ok {
		return Model{}, false
	}
	return c.models[i], true
}

// TierModels returns the names of a provider's models by tier. Tiers that the provider has no model for are absent.
func (c *Catalog) TierModels(provider string) map[Tier]string {
	names := map[Tier]string{}
	for _, m := range c.models {
		if m.Provider == provider && m.Tier != "" {
			names[m.Tier] = m.Name
		}
	}
	return names
}

// Retired says whether the model was taken out of service at or before now.
func (m Model) Retired(now time.Time) bool { return !m.Retires.IsZero() && !now.Before(m.Retires.Time) }

// Cost is the price of one call in USD.
type Cost struct{ Input, Output float64 }

// Total is the sum of its parts.
func (c Cost) Total() float64 { return c.Input + c.Output }

// Cost returns what usage costs at now on a provider's model. The served name may carry a version suffix, as in
// gemini-3.8-flash-001. ok is false when the model or its price at that time is not known: unknown is never 0.
//
//	input  = (InputTokens − CachedTokens) × Input + CachedTokens × Cached, per million
//	output = OutputTokens × Output, per million; reasoning is billed as output
func (c *Catalog) Cost(provider, model string, usage llm.Usage, now time.Time) (cost Cost, ok bool) {
	m, ok := c.served(provider, model)
	if !ok {
		return Cost{}, false
	}
	for _, p := range m.Prices {
		if now.Before(p.From.Time) || (!p.To.IsZero() && !now.Before(p.To.Time)) {
			continue
		}
		in, out := p.Input, p.Output
		if p.OverInputTokens > 0 && usage.InputTokens > p.OverInputTokens {
			in, out = p.InputOver, p.OutputOver
		}
		cached := in
		if p.Cached != nil {
			cached = *p.Cached
		}
		const million = 1e6
		return Cost{
			Input:  (float64(usage.InputTokens-usage.CachedTokens)*in + float64(usage.CachedTokens)*cached) / million,
			Output: float64(usage.OutputTokens) * out / million,
		}, true
	}
	return Cost{}, false
}

// served finds a model by the name that a provider says it served: exact, or with a numeric version after a dash.
func (c *Catalog) served(provider, name string) (Model, bool) {
	if m, ok := c.Find(provider, name); ok {
		return m, true
	}
	base, version, ok := cutLast(name, "-")
	if !ok || version == "" || strings.Trim(version, "0123456789") != "" {
		return Model{}, false
	}
	return c.Find(provider, base)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
