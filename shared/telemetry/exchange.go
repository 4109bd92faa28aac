// Package telemetry is the instrumentation of the whole system. One Exchange per request is recorded at its end, and the
// LLM Observability spans, the metrics and the log line are all derived from it, so that they cannot disagree. Which
// metrics exist is data: the Catalogue.
//
// The package knows no vendor: what leaves the process goes through a Sink. The one for Datadog is in the subpackage
// datadog; Memory, here, is for tests.
package telemetry

import (
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// Outcome says how a request ended; it is a metric tag.
type Outcome string

// The outcomes.
const (
	OutcomeSuccess Outcome = "success"
	OutcomeError   Outcome = "error"
	// OutcomeBlocked is a request or an answer withheld by a safety filter.
	OutcomeBlocked Outcome = "blocked"
	// OutcomeCanceled is a client that hung up.
	OutcomeCanceled Outcome = "canceled"
	// OutcomeRejected is a request that was refused as bad before any model was called.
	OutcomeRejected Outcome = "rejected"
)

// CacheOutcome says what the response cache did; it is a metric tag.
type CacheOutcome string

// The cache outcomes.
const (
	CacheOff  CacheOutcome = "off"
	CacheHit  CacheOutcome = "hit"
	CacheMiss CacheOutcome = "miss"
	// CacheStale is an answer past its time, served because no model could give a new one.
	CacheStale CacheOutcome = "stale"
)

// Exchange is the record of one request, from its arrival to the end of its response. Fields that are not known stay
// zero or nil; nothing in it is guessed, but for usage that is marked as an estimate.
type Exchange struct {
	RequestID string
	// Function is the deployed function, Endpoint the route pattern's path, such as "/qa".
	Function string
	Endpoint string
	HTTP     HTTP
	Type     llm.RequestType
	// Caller is the name of the API key that was used; "anonymous" where none is required.
	Caller string
	// Session groups the requests of one conversation, empty when the caller did not say.
	Session string
	// Tier is the tier that the settings chose: economy, standard or quality; "named" when a model was named.
	Tier string

	Start    time.Time
	Duration time.Duration
	// FirstToken is the time from Start to the first piece of text; 0 when it was not measured.
	FirstToken time.Duration

	// Features are the parts of the product that the request used: "document", "stream", "named_model", "session"; a bounded set.
	Features []string

	Messages []llm.Message
	Question string
	Document string
	Output   string
	// Finish says why the answer ended; empty when there is none.
	Finish llm.FinishReason
	// PromptID and PromptVersion name the prompt template, where one was used.
	PromptID      string
	PromptVersion string

	// Attempts are the model calls in the order in which they were made; none on a cache hit.
	Attempts []Attempt
	// Skipped names the models that were passed over because their circuit breaker was open, as provider/location/model.
	Skipped []string
	// Model and Provider served the answer, or were tried last.
	Model    string
	Provider string
	Cache    CacheOutcome
	// CostUSD is the sum over all attempts; nil when the price of any billed attempt is unknown.
	CostUSD *float64
	// Usage is the sum over all attempts whose usage is known; nil when none is.
	Usage *llm.Usage
	// UsageEstimated is set when the usage of some attempt, and so the cost, is an estimate.
	UsageEstimated bool

	// Overrides are the control-state overrides that were in force for this request.
	Overrides []OverrideRef
	Quality   *Quality
	Safety    Safety

	// Limit is the limit of the caller that refused the request: "requests", "tokens", "budget" or "override"; empty for none.
	Limit   string
	Outcome Outcome
	// ErrorType is the llm.Kind of the failure, or another word of a closed set; empty on success.
	ErrorType string
	// Err is the failure with its causes. It goes to logs and spans, never to callers.
	Err error
	// Status is the HTTP status that was sent.
	Status int
	// Degraded names the optional parts that did not work: "control", "limits", "cache", "quality", "catalog".
	Degraded []string
}

// HTTP is what a log line tells of the request as it came in. It is the caller's text: it never becomes a tag.
type HTTP struct {
	Method string
	// URL is without its query, which is no part of any endpoint and may hold anything.
	URL       string
	UserAgent string
}

// OverrideRef names an override in force.
type OverrideRef struct {
	ID     string
	Action string
	// Reason is who made it: "monitor" or "operator".
	Reason string
}

// Attempt is one model call.
type Attempt struct {
	// Requested is the name that was asked for, Model the one that the provider says it served, with its version.
	Requested string
	Model     string
	Provider  string
	// Location is where the provider served the model; empty where it has one address.
	Location string
	Start    time.Time
	Duration time.Duration
	// FirstToken is the time from Start to the first piece of text; 0 when it was not measured.
	FirstToken time.Duration
	Usage      *llm.Usage
	// UsageEstimated is set when the provider did not tell the usage of an answer, and it was estimated from the texts.
	UsageEstimated bool
	CostUSD        *float64
	Output         string
	Finish         llm.FinishReason
	// ErrorType is the llm.Kind of the failure, empty on success.
	ErrorType string
	Err       error
	// Retry is set when the attempt repeated the model before it, Fallback when it moved on to another, and Hedge when it
	// was begun beside one that took long.
	Retry    bool
	Fallback bool
	Hedge    bool
}

// Quality are the signals that score an answer, each 0..1, nil where a signal does not apply.
type Quality struct {
	SemanticSimilarity *float64
	Groundedness       *float64
	Ungrounded         bool
	AnswerRelevance    *float64
	// Refusal is an answer that says that there is none, Truncated one that ends before it is over.
	Refusal   bool
	Truncated bool
	// Start and Duration are those of the scoring itself, for its span.
	Start    time.Time
	Duration time.Duration
}

// Safety are the signals of the safety screen.
type Safety struct {
	// PromptInjection is a score 0..1.
	PromptInjection    float64
	InjectionSuspected bool
	// DocumentInjection is the score of the document; one that is suspected is observed, and blocks only where the policy says so.
	DocumentInjection float64
	DocumentSuspected bool
	TokenAbuse        bool
	Blocked           bool
	// PII lists the kinds of personal data that were seen, never the data.
	PII []string
}

// Cached says whether the answer came from the response cache.
func (e *Exchange) Cached() bool { return e.Cache == CacheHit || e.Cache == CacheStale }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (e *Exchange) usage() (llm.Usage, bool) {
	if e.Usage == nil {
		return llm.Usage{}, false
	}
	return *e.Usage, true
}

// blocked is whether a safety filter, ours or the provider's, withheld the request or its answer.
func (e *Exchange) blocked() bool { return e.Safety.Blocked || e.ErrorType == "blocked" }

// attempts counts the attempts that keep accepts; ok is false when there are none.
func (e *Exchange) attempts(keep func(Attempt) bool) (float64, bool) {
	n := 0
	for _, a := range e.Attempts {
		if keep(a) {
			n++
		}
	}
	return float64(n), n > 0
}

// Tags returns the bounded tags that every metric of the exchange carries, in the catalogue's order. Empty values are
// left out.
func (e *Exchange) Tags() []string {
	tags := make([]string, 0, len(requestTags))
	// All tags are parts of one string, so that a request makes one and not nine.
	var all strings.Builder
	all.Grow(256)
	add := func(key, value string) {
		if value != "" {
			from := all.Len()
			all.WriteString(key)
			all.WriteByte(':')
			all.WriteString(value)
			tags = append(tags, all.String()[from:])
		}
	}
	add("function", e.Function)
	add("endpoint", e.Endpoint)
	add("model", e.Model)
	add("provider", e.Provider)
	add("request_type", string(e.Type))
	add("outcome", string(e.Outcome))
	add("cache", string(e.Cache))
	add("tier", e.Tier)
	add("caller", e.Caller)
	return tags
}

// Point is one value of one metric. Tags are "key:value"; the slice may be shared between points and must not be
// changed.
type Point struct {
	Metric string
	Value  float64
	Tags   []string
}

// Points derives every metric of the catalogue that the exchange has something to say about. A tag whose value the exchange
// does not know is left out.
func Points(e *Exchange) []Point {
	tags := e.Tags()
	points := make([]Point, 0, 16)
	for i := range catalogue {
		m := &catalogue[i]
		if m.Value == nil {
			continue
		}
		value, ok := m.Value(e)
		if !ok {
			continue
		}
		if m.Each == nil {
			points = append(points, Point{m.Name, value, tags})
			continue
		}
		for _, extra := range m.Each(e) {
			points = append(points, Point{m.Name, value, appendKnown(slices.Clip(tags), extra)})
		}
	}
	return points
}

// appendKnown appends those of the tags that have a value.
func appendKnown(to, tags []string) []string {
	for _, tag := range tags {
		if _, value, _ := strings.Cut(tag, ":"); value != "" {
			to = append(to, tag)
		}
	}
	return to
}
