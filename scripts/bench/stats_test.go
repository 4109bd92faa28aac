package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestQuantile(t *testing.T) {
	for name, tt := range map[string]struct {
		sorted []float64
		q      float64
		want   float64
	}{
		"the middle of an odd number":     {[]float64{1, 2, 9}, 0.5, 2},
		"between the two in the middle":   {[]float64{1, 2, 4, 9}, 0.5, 3},
		"the least":                       {[]float64{1, 2, 9}, 0, 1},
		"the most":                        {[]float64{1, 2, 9}, 1, 9},
		"a part of the way to the next":   {[]float64{0, 10}, 0.99, 9.9},
		"one value is all quantiles":      {[]float64{7}, 0.9, 7},
		"negative values, as differences": {[]float64{-4, -2, 0}, 0.5, -2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quantile(tt.sorted, tt.q); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("of nothing: got %v, want NaN", got)
	}
}

func sample(random *rand.Rand, n int, center float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = center + 10*random.NormFloat64()
	}
	return out
}

// An interval of 95 % that is worth its name holds the true median in most of many samples, and gets narrower with more.
func TestIntervalsHoldTheTruth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	inside := 0
	for range 60 {
		q := summarize(sample(random, 60, 100), random)
		if q.P50.Low <= 100 && 100 <= q.P50.High {
			inside++
		}
		if q.P50.Low > q.P50.Value || q.P50.Value > q.P50.High || q.N != 60 {
			t.Fatalf("the interval %+v of %d values does not hold its value", q.P50, q.N)
		}
	}
	if inside < 52 {
		t.Errorf("the truth is in %d of 60 intervals, want 52 at least", inside)
	}
	few, many := summarize(sample(random, 30, 100), random), summarize(sample(random, 1000, 100), random)
	if few.P50.High-few.P50.Low <= many.P50.High-many.P50.Low {
		t.Errorf("30 values give %+v, 1,000 give %+v: want the second to be narrower", few.P50, many.P50)
	}
}

func TestRatio(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	got := ratio(sample(random, 400, 300), sample(random, 400, 200), random)
	if got.Value < 1.45 || got.Value > 1.55 || got.Low > 1.5 || got.High < 1.5 {
		t.Errorf("got %+v, want 1.5 and an interval around it", got)
	}
}

func TestSummarizeLeavesTheSampleAsItIs(t *testing.T) {
	values := []float64{3, 1, 2}
	summarize(values, rand.New(rand.NewPCG(5, 6)))
	if values[0] != 3 || values[1] != 1 || values[2] != 2 {
		t.Errorf("the sample is now %v", values)
	}
}
