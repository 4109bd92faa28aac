package insights

import "math"

// Readings are what the metrics say about a window. A nil field is a measurement that nobody made. Counts are plain numbers: where
// there were requests, no error is none.
type Readings struct {
	// Requests is how many reached the gateway; with 0 nothing else is looked at.
	Requests float64
	// Errors, Injections, TokenAbuse and Blocks count requests, Fallbacks counts attempts on another model or provider.
	Errors, Fallbacks, Injections, TokenAbuse, Blocks float64
	// P95 is the 95th percentile of the latency, in milliseconds.
	P95 *float64
	// Cost is the mean cost of a request whose price is known, in USD; Baseline is the same of the time before the window.
	Cost, Baseline *float64
	// Groundedness is the mean over the answers from a document, Ungrounded the share of those that it does not support.
	Groundedness, Ungrounded *float64
}

// Health is the score with its parts.
type Health struct {
	// Score is the mean of the parts by weight, 0 to 100; absent when no part has data.
	Score *float64 `json:"health_score,omitempty"`
	// Parts are those with data. Their weights add up to 1.
	Parts map[string]Part `json:"parts"`
	// LeftOut are the parts without data, whose weights went to the others in proportion.
	LeftOut []LeftOut `json:"left_out"`
}

// Part is one part of the score.
type Part struct {
	Score  float64            `json:"score"`
	Weight float64            `json:"weight"`
	Inputs map[string]float64 `json:"inputs"`
}

// LeftOut is a part without data. Weight is what it has when all parts have data.
type LeftOut struct {
	Part   string  `json:"part"`
	Weight float64 `json:"weight"`
	Reason string  `json:"reason"`
}

// part is a row of the table of parts. score returns the inputs that it looked at, and a reason instead where they are missing.
type part struct {
	name   string
	weight float64
	score  func(Readings) (score float64, inputs map[string]float64, missing string)
}

const noRequests = "there were no requests"

// parts is the table of the package comment. It is read-only.
var parts = []part{
	{"performance", 0.25, func(r Readings) (float64, map[string]float64, string) {
		if r.P95 == nil {
			return 0, nil, noRequests
		}
		return falling(*r.P95, 2000, 8000), map[string]float64{"p95_ms": *r.P95}, ""
	}},
	{"reliability", 0.30, func(r Readings) (float64, map[string]float64, string) {
		if r.Requests <= 0 {
			return 0, nil, noRequests
		}
		errors, fallbacks := r.Errors/r.Requests, r.Fallbacks/r.Requests
		return falling(errors, 0, 0.10) * (1 - 0.5*clamp(fallbacks)), map[string]float64{"error_rate": errors, "fallback_rate": fallbacks}, ""
	}},
	{"cost", 0.15, func(r Readings) (float64, map[string]float64, string) {
		switch {
		case r.Cost == nil:
			return 0, nil, "no request has a known cost"
		case r.Baseline == nil || *r.Baseline <= 0:
			return 0, nil, "there is no earlier cost to compare with"
		}
		ratio := *r.Cost / *r.Baseline
		return falling(ratio, 1, 3), map[string]float64{"usd_per_request": *r.Cost, "usd_per_request_before": *r.Baseline, "ratio": ratio}, ""
	}},
	{"quality", 0.20, func(r Readings) (float64, map[string]float64, string) {
		if r.Groundedness == nil || r.Ungrounded == nil {
			return 0, nil, "no answer came from a document"
		}
		score := (falling(1-*r.Groundedness, 0.1, 0.5) + falling(*r.Ungrounded, 0, 0.30)) / 2
		return score, map[string]float64{"groundedness": *r.Groundedness, "ungrounded_rate": *r.Ungrounded}, ""
	}},
	{"security", 0.10, func(r Readings) (float64, map[string]float64, string) {
		if r.Requests <= 0 {
			return 0, nil, noRequests
		}
		injections, abuse, blocks := r.Injections/r.Requests, r.TokenAbuse/r.Requests, r.Blocks/r.Requests
		score := falling(injections, 0, 0.20) * falling(abuse, 0, 0.20) * falling(blocks, 0, 0.20) / (100 * 100)
		return score, map[string]float64{"injection_rate": injections, "token_abuse_rate": abuse, "block_rate": blocks}, ""
	}},
}

// Score judges a window. It is pure, and monotone: no reading that gets worse raises the score.
func Score(r Readings) Health {
	h := Health{Parts: map[string]Part{}, LeftOut: []LeftOut{}}
	if r.Requests <= 0 {
		r = Readings{}
	}
	total, sum := 0.0, 0.0
	for _, p := range parts {
		score, inputs, missing := p.score(r)
		if missing == "" && !finite(score, inputs) {
			missing = "its readings make no sense"
		}
		if missing != "" {
			h.LeftOut = append(h.LeftOut, LeftOut{p.name, p.weight, missing})
			continue
		}
		for name, v := range inputs {
			inputs[name] = round(v, 6)
		}
		h.Parts[p.name] = Part{round(score, 1), p.weight, inputs}
		total += p.weight
		sum += p.weight * score
	}
	if total == 0 {
		return h
	}
	for name, p := range h.Parts {
		p.Weight = round(p.Weight/total, 4)
		h.Parts[name] = p
	}
	score := round(sum/total, 1)
	h.Score = &score
	return h
}

// finite is whether a part can be told in numbers.
func finite(score float64, inputs map[string]float64) bool {
	const most = 1e15 // beyond it the rounding has no meaning
	for _, v := range inputs {
		if !(math.Abs(v) < most) {
			return false
		}
	}
	return !math.IsNaN(score)
}

// falling is 100 up to good, 0 from bad on, and a straight line between.
func falling(v, good, bad float64) float64 { return 100 * (1 - clamp((v-good)/(bad-good))) }

func clamp(v float64) float64 { return min(max(v, 0), 1) }

func round(v float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(v*p) / p
}
