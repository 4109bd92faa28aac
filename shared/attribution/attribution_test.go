package attribution_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/attribution"
)

// request is one of made-up traffic.
type request struct {
	model, endpoint, caller string
	cost                    float64
}

// traffic makes n requests of two models, three endpoints and four callers, whose costs vary by a tenth.
func traffic(random *rand.Rand, n int) []request {
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	out := make([]request, n)
	for i := range out {
		r := request{pick("flash", "flash", "flash", "pro"), pick("/qa", "/qa", "/completion", "/chat"), pick("web", "app", "batch", "probe"), 0.001}
		if r.model == "pro" {
			r.cost = 0.003
		}
		r.cost *= 0.9 + 0.2*random.Float64()
		out[i] = r
	}
	return out
}

func cut(requests []request, by func(request) string) map[string]attribution.Reading {
	out := map[string]attribution.Reading{}
	for _, r := range requests {
		sum := out[by(r)]
		out[by(r)] = attribution.Reading{Sum: sum.Sum + r.cost, Count: sum.Count + 1}
	}
	return out
}

func dimensions(before, now []request) []attribution.Dimension {
	var out []attribution.Dimension
	for _, d := range []struct {
		name string
		by   func(request) string
	}{
		{"model", func(r request) string { return r.model }},
		{"endpoint", func(r request) string { return r.endpoint }},
		{"caller", func(r request) string { return r.caller }},
	} {
		out = append(out, attribution.Dimension{Name: d.name, Before: cut(before, d.by), Now: cut(now, d.by)})
	}
	return out
}

// TestPlantedCauses makes a cause and looks for it, each with many seeds.
func TestPlantedCauses(t *testing.T) {
	tests := map[string]struct {
		plant             func(r *request, random *rand.Rand)
		dimension, values string
	}{
		"one caller sends prompts that cost five times as much": {
			func(r *request, _ *rand.Rand) {
				if r.caller == "batch" {
					r.cost *= 5
				}
			}, "caller", "batch",
		},
		"one endpoint costs three times as much": {
			func(r *request, _ *rand.Rand) {
				if r.endpoint == "/completion" {
					r.cost *= 3
				}
			}, "endpoint", "/completion",
		},
		"a model became dearer": {
			func(r *request, _ *rand.Rand) {
				if r.model == "pro" {
					r.cost *= 2
				}
			}, "model", "pro",
		},
		"traffic moves to a model that is new and dear": {
			func(r *request, random *rand.Rand) {
				if r.model == "flash" && random.IntN(2) == 0 {
					r.model, r.cost = "ultra", 0.01
				}
			}, "model", "ultra",
		},
		"two callers of four cost four times as much": {
			func(r *request, _ *rand.Rand) {
				if r.caller == "web" || r.caller == "app" {
					r.cost *= 4
				}
			}, "caller", "app web",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				random := rand.New(rand.NewPCG(seed, 1))
				before, now := traffic(random, 24000), traffic(random, 1000)
				for i := range now {
					tc.plant(&now[i], random)
				}
				got := attribution.Explain(dimensions(before, now))
				if len(got) == 0 {
					t.Fatalf("seed %d: nothing was found", seed)
				}
				values := map[string]bool{}
				for _, e := range got[0].Elements {
					values[e.Value] = true
				}
				found := fmt.Sprint(got[0].Dimension, values)
				want := map[string]bool{}
				for _, v := range splitWords(tc.values) {
					want[v] = true
				}
				if diff := cmp.Diff(fmt.Sprint(tc.dimension, want), found); diff != "" {
					t.Errorf("seed %d (-want +got):\n%s%+v", seed, diff, got)
				}
			}
		})
	}
}

func splitWords(s string) (words []string) {
	for start, i := 0, 0; i <= len(s); i++ {
		if i == len(s) || s[i] == ' ' {
			words = append(words, s[start:i])
			start = i + 1
		}
	}
	return words
}

func TestWhatHasNoCauseIsNotExplained(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	before := traffic(random, 24000)
	for name, plant := range map[string]func(*request){
		"everything costs three times as much": func(r *request) { r.cost *= 3 },
		"nothing changed but the size":         func(*request) {},
	} {
		t.Run(name, func(t *testing.T) {
			now := traffic(random, 3000)
			for i := range now {
				plant(&now[i])
			}
			if got := attribution.Explain(dimensions(before, now)); len(got) > 0 && name[0] == 'e' {
				t.Errorf("explained: %+v", got)
			}
		})
	}
	for name, d := range map[string]attribution.Dimension{
		"no traffic at all":        {Name: "model"},
		"no traffic before":        {Name: "model", Now: map[string]attribution.Reading{"a": {Sum: 1, Count: 1}}},
		"no traffic now":           {Name: "model", Before: map[string]attribution.Reading{"a": {Sum: 1, Count: 1}}},
		"the very same":            {Name: "model", Before: map[string]attribution.Reading{"a": {Sum: 1, Count: 1}}, Now: map[string]attribution.Reading{"a": {Sum: 1, Count: 1}}},
		"nothing was ever counted": {Name: "model", Before: map[string]attribution.Reading{"a": {}}, Now: map[string]attribution.Reading{"a": {}}},
	} {
		if got := attribution.Explain([]attribution.Dimension{d}); len(got) > 0 {
			t.Errorf("%s: explained: %+v", name, got)
		}
	}
}

func TestSharesAndRatiosAreThoseOfTheParts(t *testing.T) {
	d := attribution.Dimension{
		Name:   "caller",
		Before: map[string]attribution.Reading{"web": {Sum: 100, Count: 100}, "batch": {Sum: 100, Count: 100}},
		Now:    map[string]attribution.Reading{"web": {Sum: 10, Count: 10}, "batch": {Sum: 40, Count: 10}},
	}
	one, four := 1.0, 4.0
	got := attribution.Explain([]attribution.Dimension{d})
	if len(got) != 1 {
		t.Fatalf("explanations: %+v", got)
	}
	if diff := cmp.Diff([]attribution.Element{{Value: "batch", Before: &one, Now: &four, Share: 1}}, got[0].Elements); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
	if got[0].Share != 1 || got[0].Surprise <= 0 {
		t.Errorf("share %v, surprise %v", got[0].Share, got[0].Surprise)
	}
}

func FuzzExplain(f *testing.F) {
	f.Add(1.0, 1.0, 2.0, 1.0, 3.0, 0.0)
	f.Add(math.MaxFloat64, 1.0, -2.0, 1.0, math.Inf(1), math.NaN())
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g float64) {
		got := attribution.Explain([]attribution.Dimension{{
			Name:   "x",
			Before: map[string]attribution.Reading{"one": {a, b}, "two": {c, d}},
			Now:    map[string]attribution.Reading{"one": {c, b}, "two": {e, g}},
		}})
		for _, x := range got {
			if len(x.Elements) == 0 || !(x.Share >= 0.67) || !(x.Surprise > 0) {
				t.Errorf("%+v", x)
			}
		}
	})
}
