package catalog_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/llm"
)

func builtIn(t *testing.T) *catalog.Catalog {
	t.Helper()
	c, err := catalog.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func day(t *testing.T, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCost(t *testing.T) {
	c := builtIn(t)
	mega := llm.Usage{InputTokens: 100_000, OutputTokens: 10_000}
	for name, tt := range map[string]struct {
		provider, model, at string
		usage               llm.Usage
		want                float64
		ok                  bool
	}{
		"the promotional price holds to its last day":       {"google", "gemini-3.8-flash", "2026-12-31", mega, 0.075 + 0.0375, true},
		"the list price holds from the day after":           {"google", "gemini-3.8-flash", "2027-01-01", mega, 0.15 + 0.075, true},
		"cached tokens have their own price":                {"google", "gemini-3.8-flash", "2026-11-24", llm.Usage{InputTokens: 100_000, CachedTokens: 100_000}, 0.0075, true},
		"cached tokens cost full price where none is known": {"google", "gemini-3.5-flash", "2026-11-24", llm.Usage{InputTokens: 100_000, CachedTokens: 100_000}, 0.15, true},
		"a large prompt has the large price":                {"google", "gemini-3.1-pro-preview", "2026-11-24", llm.Usage{InputTokens: 300_000, OutputTokens: 1000}, 1.2 + 0.018, true},
		"a version suffix is the same model":                {"google", "gemini-3.8-flash-001", "2026-11-24", mega, 0.1125, true},
		"no usage costs nothing":                            {"embedded", "embedded-economy", "2026-11-24", llm.Usage{}, 0, true},
		"before the first price the cost is unknown":        {"google", "gemini-3.8-flash", "2026-09-01", mega, 0, false},
		"an unknown model has no cost":                      {"google", "gemini-9", "2026-11-24", mega, 0, false},
		"the same name at another provider has no cost":     {"openai", "gemini-3.8-flash", "2026-11-24", mega, 0, false},
		"a longer name is another model":                    {"google", "gemini-3.8-flash-ultra", "2026-11-24", mega, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := c.Cost(tt.provider, tt.model, tt.usage, day(t, tt.at))
			if ok != tt.ok || math.Abs(got.Total()-tt.want) > 1e-12 {
				t.Errorf("Cost = %v, %v; want %v, %v", got.Total(), ok, tt.want, tt.ok)
			}
		})
	}
}

func TestEveryTierHasALivingModel(t *testing.T) {
	c := builtIn(t)
	for _, provider := range []string{"google", "embedded"} {
		names := c.TierModels(provider)
		for _, tier := range catalog.Tiers() {
			m, ok := c.Find(provider, names[tier])
			if !ok {
				t.Errorf("%s has no model for tier %s", provider, tier)
				continue
			}
			if m.Retired(time.Now()) {
				t.Errorf("%s's %s model %s retired on %s: choose another default", provider, tier, m.Name, m.Retires.Format(time.DateOnly))
			}
			if _, ok := c.Cost(provider, m.Name, llm.Usage{InputTokens: 1}, time.Now()); !ok {
				t.Errorf("%s/%s has no price today", provider, m.Name)
			}
		}
	}
}

func TestTiersHaveTheNamesOfModelsThatAreGone(t *testing.T) {
	c := builtIn(t)
	for name, want := range map[string]catalog.Tier{
		"economy": catalog.Economy, "standard": catalog.Standard, "quality": catalog.Quality,
		"gemini-1.5-flash": catalog.Economy, "gemini-1.5-pro": catalog.Quality,
		"gemini-3.8-flash": "", "": "",
	} {
		if got, ok := c.Tier(name); got != want || ok != (want != "") {
			t.Errorf("Tier(%q) = %q, %v; want %q", name, got, ok, want)
		}
	}
}

func TestParseNamesEveryMistake(t *testing.T) {
	_, err := catalog.Parse([]byte(`{"aliases":{"old":"free","b":"economy"},"models":[
		{"name":"a","provider":"p","tier":"cheap","prices":[{"from":"2026-01-01","input":0,"output":1,"read":"2026-01-01","source":"s"}]},
		{"name":"a","provider":"p"},
		{"name":"b","provider":"p","prices":[
			{"from":"2026-01-01","input":1,"output":1,"read":"2026-01-01","source":"s"},
			{"from":"2026-02-01","to":"2026-01-01","input":1,"output":1,"read":"2026-01-01","source":"s"}]}]}`))
	if err == nil {
		t.Fatal("Parse accepted a bad catalogue")
	}
	var missing []string
	for _, want := range []string{`unknown tier "cheap"`, "p/a, price 0", `alias old: unknown tier "free"`, "p/a: stands here twice", "p/b: its name is an alias, too", "price 1: ends before", "price 1: overlaps"} {
		if !strings.Contains(err.Error(), want) {
			missing = append(missing, want)
		}
	}
	if diff := cmp.Diff([]string(nil), missing); diff != "" {
		t.Errorf("not reported:\n%s\nin: %v", diff, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"models":[{"name":"a","provider":"p"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := catalog.Parse(data)
		if err == nil {
			c.Cost("p", "a", llm.Usage{InputTokens: 1}, time.Unix(0, 0))
		}
	})
}
