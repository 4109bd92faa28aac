package telemetry

import "slices"

// Kind is how a metric is meant to be read. On the wire every metric is a DogStatsD distribution: serverless platforms
// lose counts and gauges (last write wins between concurrent instances), and a count is the sum of a distribution.
type Kind string

// The kinds of metric.
const (
	Count        Kind = "count"
	Distribution Kind = "distribution"
)

// Metric is one row of the catalogue: everything that code, documents, dashboards, monitors and asset validation know
// about a metric.
type Metric struct {
	Name        string
	Kind        Kind
	Unit        string
	Description string
	// Tags are the tag keys that a point of this metric may carry, besides the unified service, env and version.
	Tags []string
	// Value derives the metric from an exchange; ok is false when the exchange has nothing to say about it, and then
	// no point is made: absent is absent. It is nil for metrics that do not come from exchanges.
	Value func(*Exchange) (value float64, ok bool)
	// Each, where it is set, makes one point of that value for every extra tag list it returns, and none for none.
	Each func(*Exchange) [][]string
}

// Percentiles says whether the metric is read by percentile, which Datadog must be told for each metric.
func (m Metric) Percentiles() bool { return m.Kind == Distribution }

// requestTags are the keys that every metric of a request carries. All are bounded sets: never an ID, never text.
var requestTags = []string{"function", "endpoint", "model", "provider", "request_type", "outcome", "cache", "tier", "caller"}

// probeTags are the keys of what the probe measures; function is the probe's own.
var probeTags = []string{"function", "endpoint", "model", "provider"}

// judgeTags are the keys of what the judge of answers says; model and provider are the judge's own.
var judgeTags = []string{"function", "endpoint", "model", "provider"}

func one(b bool) (float64, bool) { return 1, b }

func opt(v *float64) (float64, bool) {
	if v == nil {
		return 0, false
	}
	return *v, true
}

// Catalogue returns every metric that the system can emit, in the order in which documents show them. A metric that is
// not listed here cannot be emitted. The slice is fresh on each call; callers may change it.
func Catalogue() []Metric { return slices.Clone(catalogue) }

// The catalogue is read-only after package initialisation; it is a variable only because Go has no constant slices.
var catalogue = []Metric{
	{Name: "llm.request.duration", Kind: Distribution, Unit: "millisecond", Description: "Time from the arrival of a request to the end of its response.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return ms(e.Duration), true }},
	{Name: "llm.request.tokens.input", Kind: Count, Unit: "token", Description: "Prompt tokens billed, over all attempts of a request.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { u, ok := e.usage(); return float64(u.InputTokens), ok }},
	{Name: "llm.request.tokens.output", Kind: Count, Unit: "token", Description: "Output tokens billed, reasoning included, over all attempts of a request.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { u, ok := e.usage(); return float64(u.OutputTokens), ok }},
	{Name: "llm.request.tokens.total", Kind: Count, Unit: "token", Description: "Input and output tokens billed, over all attempts of a request.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { u, ok := e.usage(); return float64(u.Total()), ok }},
	{Name: "llm.request.cost", Kind: Distribution, Unit: "dollar", Description: "Cost of a request over all its attempts, in USD. Absent when a price is unknown; 0 when the answer came from the cache.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return opt(e.CostUSD) }},
	{Name: "llm.request.count", Kind: Count, Unit: "request", Description: "Requests that reached the gateway.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return 1, true }},
	{Name: "llm.request.error", Kind: Count, Unit: "error", Description: "Requests that failed, by error_type. A client that hangs up is not an error.", Tags: append(slices.Clone(requestTags), "error_type"),
		Value: func(e *Exchange) (float64, bool) { return one(e.Outcome == OutcomeError) },
		Each:  func(e *Exchange) [][]string { return [][]string{{"error_type:" + e.ErrorType}} }},
	{Name: "llm.request.retry", Kind: Count, Unit: "attempt", Description: "Attempts that repeated the model before them.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return e.attempts(func(a Attempt) bool { return a.Retry }) }},
	{Name: "llm.request.fallback", Kind: Count, Unit: "attempt", Description: "Attempts that moved on to another model or provider.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return e.attempts(func(a Attempt) bool { return a.Fallback }) }},
	{Name: "llm.request.hedge", Kind: Count, Unit: "attempt", Description: "Attempts begun beside one that took longer than the model's p95.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return e.attempts(func(a Attempt) bool { return a.Hedge }) }},
	{Name: "llm.breaker.open", Kind: Count, Unit: "attempt", Description: "Attempts not made because the circuit breaker of the model was open.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return float64(len(e.Skipped)), len(e.Skipped) > 0 }},
	{Name: "llm.request.timeout", Kind: Count, Unit: "attempt", Description: "Attempts that ran into a deadline.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) {
			return e.attempts(func(a Attempt) bool { return a.ErrorType == "timeout" })
		}},
	{Name: "llm.request.time_to_first_token", Kind: Distribution, Unit: "millisecond", Description: "Time from the arrival of a streamed request to its first piece of text. Only when it was measured.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return ms(e.FirstToken), e.FirstToken > 0 }},
	{Name: "llm.cache.hit", Kind: Count, Unit: "hit", Description: "Requests answered from the response cache.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Cache == CacheHit) }},
	{Name: "llm.cache.miss", Kind: Count, Unit: "miss", Description: "Requests that looked into the response cache in vain.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Cache == CacheMiss) }},
	{Name: "llm.cache.stale", Kind: Count, Unit: "hit", Description: "Requests answered from the response cache past its time, because no model answered.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Cache == CacheStale) }},
	{Name: "llm.limit.exceeded", Kind: Count, Unit: "request", Description: "Requests refused because their caller was over a limit, by limit: requests, tokens, budget, or an override that caps requests.", Tags: append(slices.Clone(requestTags), "limit"),
		Value: func(e *Exchange) (float64, bool) { return one(e.Limit != "") },
		Each:  func(e *Exchange) [][]string { return [][]string{{"limit:" + e.Limit}} }},
	{Name: "llm.quality.semantic_similarity", Kind: Distribution, Unit: "fraction", Description: "How near the answer is to the question and its document, 0 to 1.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) {
			if e.Quality == nil {
				return 0, false
			}
			return opt(e.Quality.SemanticSimilarity)
		}},
	{Name: "llm.quality.groundedness", Kind: Distribution, Unit: "fraction", Description: "Share of the answer that its document supports, 0 to 1. Only with a document.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) {
			if e.Quality == nil {
				return 0, false
			}
			return opt(e.Quality.Groundedness)
		}},
	{Name: "llm.quality.ungrounded", Kind: Count, Unit: "request", Description: "Answers that their document does not support.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Quality != nil && e.Quality.Ungrounded) }},
	{Name: "llm.quality.answer_relevance", Kind: Distribution, Unit: "fraction", Description: "How far the answer is one to the question, 0 to 1. Only where the question has words that carry meaning.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) {
			if e.Quality == nil {
				return 0, false
			}
			return opt(e.Quality.AnswerRelevance)
		}},
	{Name: "llm.quality.refusal", Kind: Count, Unit: "request", Description: "Answers that only say that there is none.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Quality != nil && e.Quality.Refusal) }},
	{Name: "llm.quality.truncated", Kind: Count, Unit: "request", Description: "Answers that end before they are over.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Quality != nil && e.Quality.Truncated) }},
	{Name: "llm.safety.block", Kind: Count, Unit: "request", Description: "Requests or answers withheld by a safety filter, the provider's or ours.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.blocked()) }},
	{Name: "llm.safety.prompt_injection", Kind: Count, Unit: "request", Description: "Requests whose prompt looks like an injection.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Safety.InjectionSuspected) }},
	{Name: "llm.safety.document_injection", Kind: Count, Unit: "request", Description: "Requests whose document looks as if it held an injection. A document is data, and may quote one.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Safety.DocumentSuspected) }},
	{Name: "llm.safety.token_abuse", Kind: Count, Unit: "request", Description: "Requests that look made to burn tokens.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return one(e.Safety.TokenAbuse) }},
	{Name: "llm.health_score", Kind: Distribution, Unit: "percent", Description: "Health of the system, 0 to 100, computed on a schedule.", Tags: []string{"function"}},
	{Name: "llm.remediation.applied", Kind: Count, Unit: "operation", Description: "Remediation actions that made an override, by action.", Tags: []string{"function", "action", "reason"}},
	{Name: "llm.remediation.refused", Kind: Count, Unit: "operation", Description: "Remediation actions that a guard refused, by action and reason.", Tags: []string{"function", "action", "reason"}},
	{Name: "llm.remediation.reverted", Kind: Count, Unit: "operation", Description: "Overrides ended before their time, by action and reason.", Tags: []string{"function", "action", "reason"}},
	{Name: "llm.remediation.active", Kind: Count, Unit: "request", Description: "Requests served under an override, one point for each override in force, by action.", Tags: append(slices.Clone(requestTags), "action", "reason"),
		Value: func(e *Exchange) (float64, bool) { return 1, len(e.Overrides) > 0 },
		Each: func(e *Exchange) [][]string {
			var tags [][]string
			for _, o := range e.Overrides {
				tags = append(tags, []string{"action:" + o.Action, "reason:" + o.Reason})
			}
			return tags
		}},
	{Name: "llm.probe.run", Kind: Count, Unit: "request", Description: "Golden questions that the probe had to ask.", Tags: probeTags},
	{Name: "llm.probe.failed", Kind: Count, Unit: "request", Description: "Golden questions without a good answer, by error_type.", Tags: append(slices.Clone(probeTags), "error_type")},
	{Name: "llm.probe.facts", Kind: Distribution, Unit: "fraction", Description: "Share of the expected facts that an answer to the probe holds, 0 to 1. Only with an answer.", Tags: probeTags},
	{Name: "llm.probe.groundedness", Kind: Distribution, Unit: "fraction", Description: "Share of an answer to the probe that its document supports, 0 to 1. Only with a document.", Tags: probeTags},
	{Name: "llm.probe.duration", Kind: Distribution, Unit: "millisecond", Description: "Time from a golden question to its whole answer, as seen over the public URL.", Tags: probeTags},
	{Name: "llm.escalation.sent", Kind: Count, Unit: "operation", Description: "Incidents and pages brought to a state at Datadog, by action; reason is the state.", Tags: []string{"function", "action", "reason"}},
	{Name: "llm.escalation.queued", Kind: Count, Unit: "operation", Description: "Attempts at an incident or a page that failed and will be repeated, by action and reason.", Tags: []string{"function", "action", "reason"}},
	{Name: "llm.escalation.failed", Kind: Count, Unit: "operation", Description: "Incidents and pages that were given up, by action and reason.", Tags: []string{"function", "action", "reason"}},
	{Name: "llm.judge.verdict", Kind: Count, Unit: "request", Description: "Sampled answers that a model judged, by the reason that it gave.", Tags: append(slices.Clone(judgeTags), "reason")},
	{Name: "llm.judge.failed", Kind: Count, Unit: "request", Description: "Sampled answers without a verdict, by error_type.", Tags: append(slices.Clone(judgeTags), "error_type")},
	{Name: "llm.judge.groundedness", Kind: Distribution, Unit: "fraction", Description: "Share of a sampled answer that its document supports in the opinion of a model, 0 to 1.", Tags: judgeTags},
	{Name: "llm.judge.answer_relevance", Kind: Distribution, Unit: "fraction", Description: "How far a sampled answer is one to its question in the opinion of a model, 0 to 1.", Tags: judgeTags},
	{Name: "llm.judge.cost", Kind: Distribution, Unit: "dollar", Description: "Cost of a call of the judge, in USD, which is no part of llm.request.cost. Absent when the price is unknown.", Tags: judgeTags},
	{Name: "llm.telemetry.dropped", Kind: Count, Unit: "item", Description: "What our own telemetry lost, by reason.", Tags: []string{"function", "reason"}},
	{Name: "product_analytics.endpoint_usage", Kind: Count, Unit: "request", Description: "Use of an endpoint, by outcome and caller.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return 1, true }},
	{Name: "product_analytics.endpoint_latency", Kind: Distribution, Unit: "millisecond", Description: "Latency of an endpoint as its users saw it.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return ms(e.Duration), true }},
	{Name: "product_analytics.endpoint_cost", Kind: Distribution, Unit: "dollar", Description: "Cost of serving an endpoint, in USD. Absent when a price is unknown.", Tags: requestTags,
		Value: func(e *Exchange) (float64, bool) { return opt(e.CostUSD) }},
	{Name: "product_analytics.conversion_value", Kind: Distribution, Unit: "", Description: "Value of a conversion, in the unit of whoever tracks it.", Tags: []string{"function", "endpoint", "caller"}},
}
