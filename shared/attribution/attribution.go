// Package attribution says which value of which dimension explains why a ratio has changed: the mean cost of a request, say, by
// model, endpoint or caller. It is Adtributor (Bhagwan et al., "Adtributor: Revenue Debugging in Advertising Systems", NSDI
// 2014) for derived measures, with two differences that its comments name. It is pure.
//
// It says where a change is, not why it came about; and it looks at one dimension at a time, so that a cause in one combination
// of two is told as the two.
package attribution

import (
	"cmp"
	"math"
	"slices"
)

// Reading is the numerator and the denominator of a ratio, such as USD and requests.
type Reading struct{ Sum, Count float64 }

// Ratio is the value of the measure; ok is false where nothing was counted.
func (r Reading) Ratio() (v float64, ok bool) { return r.Sum / r.Count, r.Count > 0 }

func (r Reading) add(o Reading) Reading { return Reading{r.Sum + o.Sum, r.Count + o.Count} }

// Dimension is one way to cut the same traffic: a reading for each value, before and now.
type Dimension struct {
	Name        string
	Before, Now map[string]Reading
}

// Element is a value of a dimension that is part of an explanation.
type Element struct {
	Value string `json:"value"`
	// Before and Now are the ratio of this value alone; absent where it had no traffic.
	Before *float64 `json:"before,omitempty"`
	Now    *float64 `json:"now,omitempty"`
	// Share is how much of the whole change is this value's: its explanatory power. Shares of all values of a dimension add up
	// to 1; one may be negative, where a value pulled the other way.
	Share float64 `json:"share"`
}

// Explanation names the values of one dimension that explain a change.
type Explanation struct {
	Dimension string    `json:"dimension"`
	Elements  []Element `json:"elements"`
	// Share is the part of the change that the elements explain together.
	Share float64 `json:"share"`
	// Surprise is how unlike the distribution before the elements' part of the traffic is, 0 and up: the sum over elements, numerator and
	// denominator of the terms of the Jensen-Shannon divergence, in nats.
	Surprise float64 `json:"surprise"`
}

// The paper's thresholds: a value must explain each of the change at least, and all values of an explanation together whole.
const (
	each  = 0.10
	whole = 0.67
)

// least is the surprise below which a dimension explains nothing: all of its values changed alike. The paper has no such bound,
// and names the largest values then, which is no explanation.
const least = 0.003

// Explain returns the dimensions that explain why the ratio changed between before and now, the best first; none when nothing
// was counted, when nothing changed, or when everything changed alike.
//
// The traffic before is scaled to the size of the traffic now, so that the two may be windows of different length: the paper
// compares a forecast for the same window. With F the sums before, A those now, and i one value:
//
//	power(i)    = effect(i) / Σ effect,  effect(i) = (Fs + Ai.s − Fi.s) / (Fc + Ai.c − Fi.c) − Fs / Fc
//	surprise(i) = js(Fi.s/Fs, Ai.s/As) + js(Fi.c/Fc, Ai.c/Ac); where Fs is 0, as of errors, Fi.c/Fc stands for Fi.s/Fs
//	js(p, q)    = ½ (p ln 2p/(p+q) + q ln 2q/(p+q))
//
// Values are taken by falling surprise, if their power is at least 0.1, until the sum of powers is at least 0.67. Dimensions are
// ordered by the surprise of what was taken, times the part of the change that it explains, per value taken: one cause wins over
// the many values of another dimension that it is spread over. Equal ones are in the order in which they were given.
func Explain(dimensions []Dimension) []Explanation {
	var out []Explanation
	for _, d := range dimensions {
		if e, ok := explain(d); ok {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b Explanation) int {
		return cmp.Compare(b.rank(), a.rank())
	})
	return out
}

// candidate is a value with what decides on it.
type candidate struct {
	Element
	surprise float64
}

func explain(d Dimension) (e Explanation, ok bool) {
	before, now := total(d.Before), total(d.Now)
	if before.Count <= 0 || now.Count <= 0 {
		return e, false
	}
	scale := now.Count / before.Count
	before = Reading{before.Sum * scale, now.Count}
	base := before.Sum / before.Count
	candidates, effects := []candidate{}, 0.0
	for _, value := range values(d) {
		f, a := d.Before[value], d.Now[value]
		c := candidate{Element: Element{Value: value, Before: ratio(f), Now: ratio(a)}}
		f = Reading{f.Sum * scale, f.Count * scale}
		if left := before.Count + a.Count - f.Count; left > 0 {
			c.Share = (before.Sum+a.Sum-f.Sum)/left - base
		}
		effects += c.Share
		expected := f.Sum / before.Sum
		if before.Sum <= 0 {
			expected = f.Count / before.Count
		}
		c.surprise = divergence(expected, a.Sum/now.Sum) + divergence(f.Count/before.Count, a.Count/now.Count)
		candidates = append(candidates, c)
	}
	if effects == 0 || math.IsNaN(effects) || math.IsInf(effects, 0) {
		return e, false
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(b.surprise, a.surprise) })
	e.Dimension = d.Name
	for _, c := range candidates {
		if c.Share /= effects; c.Share < each {
			continue
		}
		e.Elements = append(e.Elements, c.Element)
		e.Share += c.Share
		e.Surprise += c.surprise
		if e.Share >= whole {
			break
		}
	}
	return e, e.Share >= whole && e.Surprise >= least
}

// values are those of both sides, in order.
func values(d Dimension) []string {
	var out []string
	for v := range d.Before {
		out = append(out, v)
	}
	for v := range d.Now {
		if _, ok := d.Before[v]; !ok {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

func total(readings map[string]Reading) (sum Reading) {
	for _, r := range readings {
		sum = sum.add(r)
	}
	return sum
}

func ratio(r Reading) *float64 {
	v, ok := r.Ratio()
	if !ok {
		return nil
	}
	return &v
}

// divergence is a value's term of the Jensen-Shannon divergence between two distributions, of which it has the parts p and q; 0
// where one of them is of nothing.
func divergence(p, q float64) float64 {
	if !(p >= 0) || !(q >= 0) || math.IsInf(p+q, 0) {
		return 0
	}
	term := func(x float64) float64 {
		if x == 0 {
			return 0
		}
		return x * math.Log(2*x/(p+q))
	}
	return max(0, (term(p)+term(q))/2)
}

// rank orders dimensions. Values that differ only in their last bits are equal, so that the order in which dimensions were given
// decides.
func (e Explanation) rank() float64 {
	return math.Round(e.Surprise*min(e.Share, 1)/float64(len(e.Elements))*1e9) / 1e9
}
