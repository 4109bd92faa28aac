package insights

import "github.com/llm-reliability/control-plane/functions/insights/metrics"

// Queries returns what is read of the window, and what of the time before it. Scope selects the time series, as in a query's
// braces. Every metric stands in the catalogue of shared/telemetry.
func Queries(scope string) (window, before []metrics.Query) {
	count := func(name, metric string) metrics.Query { return metrics.Sum(name, metric, scope) }
	points := func(name, metric string) metrics.Query { return metrics.Points(name, metric, scope) }
	cost, priced := count("cost", "llm.request.cost"), points("priced", "llm.request.cost")
	window = []metrics.Query{
		count("requests", "llm.request.count"), count("errors", "llm.request.error"), count("fallbacks", "llm.request.fallback"),
		{Name: "p95", Text: "p95:llm.request.duration{" + scope + "}", Aggregator: "percentile"},
		cost, priced,
		count("grounded", "llm.quality.groundedness"), points("judged", "llm.quality.groundedness"), count("ungrounded", "llm.quality.ungrounded"),
		count("injections", "llm.safety.prompt_injection"), count("abuse", "llm.safety.token_abuse"), count("blocks", "llm.safety.block"),
	}
	return window, []metrics.Query{cost, priced}
}

// readings makes of the answers what they mean.
func readings(window, before map[string]float64) Readings {
	r := Readings{
		Requests: window["requests"], Errors: window["errors"], Fallbacks: window["fallbacks"],
		Injections: window["injections"], TokenAbuse: window["abuse"], Blocks: window["blocks"],
		Cost: ratio(window, "cost", "priced"), Baseline: ratio(before, "cost", "priced"), Groundedness: ratio(window, "grounded", "judged"),
	}
	if p95, ok := window["p95"]; ok {
		r.P95 = &p95
	}
	if judged := window["judged"]; judged > 0 {
		share := window["ungrounded"] / judged
		r.Ungrounded = &share
	}
	return r
}

// ratio is nil where there is nothing to divide by.
func ratio(values map[string]float64, above, below string) *float64 {
	if values[below] <= 0 {
		return nil
	}
	v := values[above] / values[below]
	return &v
}
