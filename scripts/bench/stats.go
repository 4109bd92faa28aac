package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// resamples is how many times a bootstrap draws. Intervals of 95 % do not get visibly better with more.
const resamples = 400

// Estimate is a value with the 95 % interval that a bootstrap gives it.
type Estimate struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Quantiles are three quantiles of a sample.
type Quantiles struct {
	N   int      `json:"n"`
	P50 Estimate `json:"p50"`
	P90 Estimate `json:"p90"`
	P99 Estimate `json:"p99"`
}

// quantile returns the q-quantile of a sorted sample, interpolated between neighbours; NaN of an empty one.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// summarize returns the quantiles of a sample, each with its interval.
func summarize(sample []float64, random *rand.Rand) Quantiles {
	qs := []float64{0.5, 0.9, 0.99}
	sorted := slices.Sorted(slices.Values(sample))
	drawn := make([][]float64, len(qs))
	again := make([]float64, len(sample))
	for range resamples {
		draw(again, sample, random)
		for i, q := range qs {
			drawn[i] = append(drawn[i], quantile(again, q))
		}
	}
	estimate := func(i int) Estimate { return interval(quantile(sorted, qs[i]), drawn[i]) }
	return Quantiles{len(sample), estimate(0), estimate(1), estimate(2)}
}

// ratio returns how many times the median of a is that of b, with its interval. The samples are drawn independently.
func ratio(a, b []float64, random *rand.Rand) Estimate {
	median := func(sample []float64) float64 { return quantile(slices.Sorted(slices.Values(sample)), 0.5) }
	drawn := make([]float64, resamples)
	as, bs := make([]float64, len(a)), make([]float64, len(b))
	for i := range drawn {
		draw(as, a, random)
		draw(bs, b, random)
		drawn[i] = quantile(as, 0.5) / quantile(bs, 0.5)
	}
	return interval(median(a)/median(b), drawn)
}

// draw fills out with a sorted sample drawn from sample with replacement.
func draw(out, sample []float64, random *rand.Rand) {
	for i := range out {
		out[i] = sample[random.IntN(len(sample))]
	}
	slices.Sort(out)
}

func interval(value float64, drawn []float64) Estimate {
	slices.Sort(drawn)
	return Estimate{value, quantile(drawn, 0.025), quantile(drawn, 0.975)}
}

// median returns the middle of a few values; NaN of none.
func median(values []float64) float64 { return quantile(slices.Sorted(slices.Values(values)), 0.5) }
