package insights_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llm-reliability/control-plane/functions/insights"
)

// good are readings of which none costs a point.
func good() insights.Readings {
	return insights.Readings{Requests: 1000, P95: new(float64(900)), Cost: new(0.001), Baseline: new(0.001), Groundedness: new(0.95), Ungrounded: new(float64(0))}
}

func TestScore(t *testing.T) {
	for name, tt := range map[string]struct {
		edit  func(*insights.Readings)
		score *float64
		parts map[string]float64
		left  []string
	}{
		"all is well":          {func(*insights.Readings) {}, new(float64(100)), map[string]float64{"performance": 100, "reliability": 100, "cost": 100, "quality": 100, "security": 100}, nil},
		"slow":                 {func(r *insights.Readings) { r.P95 = new(float64(5000)) }, new(87.5), map[string]float64{"performance": 50, "reliability": 100, "cost": 100, "quality": 100, "security": 100}, nil},
		"errors":               {func(r *insights.Readings) { r.Errors = 50 }, new(float64(85)), map[string]float64{"performance": 100, "reliability": 50, "cost": 100, "quality": 100, "security": 100}, nil},
		"fallbacks":            {func(r *insights.Readings) { r.Fallbacks = 500 }, new(92.5), map[string]float64{"performance": 100, "reliability": 75, "cost": 100, "quality": 100, "security": 100}, nil},
		"twice the cost":       {func(r *insights.Readings) { r.Cost = new(0.002) }, new(92.5), map[string]float64{"performance": 100, "reliability": 100, "cost": 50, "quality": 100, "security": 100}, nil},
		"half the cost":        {func(r *insights.Readings) { r.Cost = new(0.0005) }, new(float64(100)), map[string]float64{"performance": 100, "reliability": 100, "cost": 100, "quality": 100, "security": 100}, nil},
		"answers made up":      {func(r *insights.Readings) { r.Groundedness, r.Ungrounded = new(0.5), new(float64(1)) }, new(float64(80)), map[string]float64{"performance": 100, "reliability": 100, "cost": 100, "quality": 0, "security": 100}, nil},
		"a wave of injections": {func(r *insights.Readings) { r.Injections, r.Blocks = 100, 100 }, new(92.5), map[string]float64{"performance": 100, "reliability": 100, "cost": 100, "quality": 100, "security": 25}, nil},
		"all is bad": {func(r *insights.Readings) {
			*r = insights.Readings{Requests: 10, Errors: 10, Injections: 10, P95: new(float64(60000)), Cost: new(float64(1)), Baseline: new(0.1), Groundedness: new(float64(0)), Ungrounded: new(float64(1))}
		}, new(float64(0)), map[string]float64{"performance": 0, "reliability": 0, "cost": 0, "quality": 0, "security": 0}, nil},
		"no earlier cost": {func(r *insights.Readings) { r.Baseline, r.Errors = nil, 50 }, new(82.4), map[string]float64{"performance": 100, "reliability": 50, "quality": 100, "security": 100}, []string{"cost"}},
		"no documents and no prices": {func(r *insights.Readings) {
			r.Cost, r.Groundedness, r.Ungrounded, r.P95 = nil, nil, nil, new(float64(5000))
		}, new(80.8),
			map[string]float64{"performance": 50, "reliability": 100, "security": 100}, []string{"cost", "quality"}},
		"no requests": {func(r *insights.Readings) { r.Requests = 0 }, nil, map[string]float64{}, []string{"performance", "reliability", "cost", "quality", "security"}},
		"a reading that is no number": {func(r *insights.Readings) { r.P95 = new(math.NaN()) }, new(float64(100)),
			map[string]float64{"reliability": 100, "cost": 100, "quality": 100, "security": 100}, []string{"performance"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			tt.edit(&r)
			h := insights.Score(r)
			got, weights := map[string]float64{}, 0.0
			for name, part := range h.Parts {
				got[name] = part.Score
				weights += part.Weight
			}
			var left []string
			for _, l := range h.LeftOut {
				left = append(left, l.Part)
				if l.Reason == "" || l.Weight <= 0 {
					t.Errorf("left out: %+v, want a reason and a weight", l)
				}
			}
			if diff := cmp.Diff(tt.parts, got); diff != "" {
				t.Errorf("parts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.left, left); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.score, h.Score, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Errorf("score (-want +got):\n%s", diff)
			}
			if len(got) > 0 && math.Abs(weights-1) > 0.001 {
				t.Errorf("weights add up to %v, want 1", weights)
			}
		})
	}
}

// TestNoWorseReadingRaisesTheScore makes one reading worse at a time, from many random beginnings, some with gaps.
func TestNoWorseReadingRaisesTheScore(t *testing.T) {
	worse := map[string]func(*insights.Readings, float64){
		"latency":      func(r *insights.Readings, by float64) { add(r.P95, by*3000) },
		"errors":       func(r *insights.Readings, by float64) { r.Errors += by * 100 },
		"fallbacks":    func(r *insights.Readings, by float64) { r.Fallbacks += by * 500 },
		"cost":         func(r *insights.Readings, by float64) { add(r.Cost, by*0.002) },
		"groundedness": func(r *insights.Readings, by float64) { add(r.Groundedness, -by*0.3) },
		"ungrounded":   func(r *insights.Readings, by float64) { add(r.Ungrounded, by*0.2) },
		"injections":   func(r *insights.Readings, by float64) { r.Injections += by * 100 },
		"abuse":        func(r *insights.Readings, by float64) { r.TokenAbuse += by * 100 },
		"blocks":       func(r *insights.Readings, by float64) { r.Blocks += by * 100 },
	}
	random := rand.New(rand.NewPCG(1, 2))
	maybe := func(v float64) *float64 {
		if random.IntN(5) == 0 {
			return nil
		}
		return &v
	}
	fell := map[string]bool{}
	for range 2000 {
		seed := [...]float64{random.Float64(), random.Float64(), random.Float64(), random.Float64(), random.Float64()}
		r := insights.Readings{
			Requests: 1000, Errors: seed[0] * 120, Fallbacks: seed[1] * 1000, Injections: seed[2] * 200, TokenAbuse: seed[3] * 200, Blocks: seed[4] * 200,
			P95: maybe(seed[0] * 9000), Cost: maybe(seed[1] * 0.004), Baseline: maybe(0.001), Groundedness: maybe(seed[2]), Ungrounded: maybe(seed[3] * 0.4),
		}
		before := insights.Score(r)
		if before.Score == nil || *before.Score < 0 || *before.Score > 100 {
			t.Fatalf("%+v: score %v", r, before.Score)
		}
		for name, spoil := range worse {
			bad := r
			bad.P95, bad.Cost, bad.Groundedness, bad.Ungrounded = same(r.P95), same(r.Cost), same(r.Groundedness), same(r.Ungrounded)
			spoil(&bad, random.Float64())
			after := insights.Score(bad)
			if *after.Score > *before.Score {
				t.Errorf("worse %s raised the score from %v to %v: %+v", name, *before.Score, *after.Score, r)
			}
			fell[name] = fell[name] || *after.Score < *before.Score
		}
	}
	for name := range worse {
		if !fell[name] {
			t.Errorf("worse %s never lowered the score", name)
		}
	}
}

func add(v *float64, by float64) {
	if v != nil {
		*v += by
	}
}

func same(v *float64) *float64 {
	if v == nil {
		return nil
	}
	return new(*v)
}
