package analysis

import (
	"context"
	"time"

	"github.com/llm-reliability/control-plane/functions/insights/metrics"
)

// Totals are what was counted over some time: plain sums, 0 where nothing was counted.
type Totals struct {
	Requests, Errors float64
	// USD is the cost of the Priced requests, those whose price is known.
	USD, Priced float64
	// Milliseconds is the sum of the latencies of all requests.
	Milliseconds float64
	// Judged answers came from a document, Ungrounded ones are not supported by it.
	Judged, Ungrounded float64
	// Tokens are those that were billed; Hits and Misses are looks into the response cache.
	InputTokens, OutputTokens float64
	Hits, Misses              float64
}

// add returns the sum of two.
func (t Totals) add(o Totals) Totals {
	return Totals{
		t.Requests + o.Requests, t.Errors + o.Errors, t.USD + o.USD, t.Priced + o.Priced, t.Milliseconds + o.Milliseconds,
		t.Judged + o.Judged, t.Ungrounded + o.Ungrounded, t.InputTokens + o.InputTokens, t.OutputTokens + o.OutputTokens,
		t.Hits + o.Hits, t.Misses + o.Misses,
	}
}

// queries reads Totals. Every metric stands in the catalogue of shared/telemetry.
func queries(scope string, by ...string) []metrics.Query {
	return []metrics.Query{
		metrics.Sum("requests", "llm.request.count", scope, by...), metrics.Sum("errors", "llm.request.error", scope, by...),
		metrics.Sum("usd", "llm.request.cost", scope, by...), metrics.Points("priced", "llm.request.cost", scope, by...),
		metrics.Sum("ms", "llm.request.duration", scope, by...),
		metrics.Points("judged", "llm.quality.groundedness", scope, by...), metrics.Sum("ungrounded", "llm.quality.ungrounded", scope, by...),
		metrics.Sum("input", "llm.request.tokens.input", scope, by...), metrics.Sum("output", "llm.request.tokens.output", scope, by...),
		metrics.Sum("hits", "llm.cache.hit", scope, by...), metrics.Sum("misses", "llm.cache.miss", scope, by...),
	}
}

// Queries returns every query that is made, for whoever checks that the metrics exist.
func Queries(scope string) []metrics.Query {
	all := queries(scope)
	for _, d := range dimensions() {
		all = append(all, queries(scope, d.tags...)...)
	}
	return all
}

// group is what one value of a dimension did.
type group struct {
	tags []string
	Totals
}

// read reads the totals of each group.
func (a *Analyst) read(ctx context.Context, scope string, by []string, from, to time.Time) ([]group, error) {
	rows, err := a.opts.Metrics.Rows(ctx, queries(scope, by...), from, to)
	if err != nil {
		return nil, err
	}
	groups := make([]group, 0, len(rows))
	for _, r := range rows {
		v := func(name string) float64 {
			if x := r.Values[name]; x > 0 && x < 1e15 { // no sum of ours is negative, and beyond that no arithmetic means anything
				return x
			}
			return 0
		}
		groups = append(groups, group{r.Tags, Totals{
			Requests: v("requests"), Errors: v("errors"), USD: v("usd"), Priced: v("priced"), Milliseconds: v("ms"),
			Judged: v("judged"), Ungrounded: v("ungrounded"), InputTokens: v("input"), OutputTokens: v("output"), Hits: v("hits"), Misses: v("misses"),
		}})
	}
	return groups, nil
}

// whole reads the totals of a scope.
func (a *Analyst) whole(ctx context.Context, scope string, from, to time.Time) (Totals, error) {
	groups, err := a.read(ctx, scope, nil, from, to)
	return sum(groups), err
}

func sum(groups []group) (t Totals) {
	for _, g := range groups {
		t = t.add(g.Totals)
	}
	return t
}
