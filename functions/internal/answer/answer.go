// Package answer is what the data functions have in common at their edge: how an HTTP request becomes a gateway call, and
// how an exchange is described to the caller. It is no function and holds no route.
package answer

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Metadata describes how a request was served. Fields that are not known are absent, never 0.
type Metadata struct {
	RequestID string `json:"request_id"`
	TraceID   string `json:"trace_id,omitempty"`
	Model     string `json:"model"`
	Provider  string `json:"provider"`
	// Route is the tier by which the model was chosen: economy, standard, quality, or named.
	Route        string   `json:"route"`
	LatencyMS    float64  `json:"latency_ms"`
	InputTokens  *int     `json:"input_tokens,omitempty"`
	OutputTokens *int     `json:"output_tokens,omitempty"`
	CostUSD      *float64 `json:"cost_usd,omitempty"`
	// UsageEstimated is set when a provider did not tell its usage: then tokens and cost are estimates.
	UsageEstimated bool `json:"usage_estimated,omitempty"`
	Cached         bool `json:"cached"`
	// Cache is hit, miss, stale (an answer past its time, as no model gave a new one) or off.
	Cache    string `json:"cache"`
	Attempts int    `json:"attempts"`
	// Skipped are models that were not asked, because they failed too often of late.
	Skipped []string `json:"skipped,omitempty"`
	// Overrides are the IDs of the overrides in force.
	Overrides []string `json:"overrides"`
	Quality   *Quality `json:"quality,omitempty"`
	Safety    Safety   `json:"safety"`
}

// Quality are the signals of the answer, 0..1; absent where they do not apply.
type Quality struct {
	SemanticSimilarity *float64 `json:"semantic_similarity,omitempty"`
	Groundedness       *float64 `json:"groundedness,omitempty"`
	Ungrounded         bool     `json:"ungrounded"`
	AnswerRelevance    *float64 `json:"answer_relevance,omitempty"`
	Refusal            bool     `json:"refusal"`
	Truncated          bool     `json:"truncated"`
}

// Safety are the signals of the request.
type Safety struct {
	PromptInjection float64 `json:"prompt_injection"`
	Blocked         bool    `json:"blocked"`
	// PII lists the kinds of personal data that were seen.
	PII []string `json:"pii"`
}

// NewCall starts the gateway call of a request: who asks, for what route, since when. Where the caller has limits, the headers of w will
// tell where it stands.
func NewCall(w http.ResponseWriter, r *http.Request, function string, kind llm.RequestType) gateway.Call {
	_, endpoint, _ := strings.Cut(r.Pattern, " ")
	return gateway.Call{
		RequestID: serverless.RequestID(r.Context()),
		Function:  function,
		Endpoint:  endpoint,
		HTTP:      telemetry.HTTP{Method: r.Method, URL: address(r), UserAgent: userAgent(r.UserAgent())},
		Caller:    cmp.Or(serverless.Caller(r.Context()), "anonymous"),
		Session:   session(r.Header.Get("X-Session-Id")),
		NoCache:   directive(r, "no-cache"),
		NoStore:   directive(r, "no-store"),
		Start:     time.Now(),
		Standing:  func(all []limit.Standing) { tell(w.Header(), all) },
		Request:   llm.Request{Type: kind},
	}
}

// tell writes where a caller stands with its limits a minute, under the names of OpenAI's by which clients pace themselves; see
// https://platform.openai.com/docs/guides/rate-limits. A reset is a duration such as 1m5s.
func tell(h http.Header, all []limit.Standing) {
	for _, s := range all {
		of := "Tokens"
		if s.Limit == limit.Requests {
			of = "Requests"
		}
		h.Set("X-Ratelimit-Limit-"+of, strconv.FormatInt(s.Allowed, 10))
		h.Set("X-Ratelimit-Remaining-"+of, strconv.FormatInt(s.Left, 10))
		h.Set("X-Ratelimit-Reset-"+of, s.Reset.Round(time.Millisecond).String())
	}
}

// directive is whether the Cache-Control of a request holds a directive.
func directive(r *http.Request, name string) bool {
	for _, line := range r.Header.Values("Cache-Control") {
		for d := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(d), name) {
				return true
			}
		}
	}
	return false
}

// address is the URL that the caller used, without its query. Functions run behind a front end that ends TLS and says so.
func address(r *http.Request) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path}
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		u.Scheme = "https"
	}
	return u.String()
}

// userAgent is a caller's name for itself as logs may hold it: short, and nothing that could be taken for another line.
func userAgent(name string) string {
	const most = 256
	name = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, name)
	return name[:min(len(name), most)]
}

// session keeps a caller's session ID if it is short and plain, since it goes into spans.
func session(id string) string {
	const most = 128
	if len(id) > most || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return id
}

// Describe returns the metadata of an exchange.
func Describe(ctx context.Context, e *telemetry.Exchange) Metadata {
	m := Metadata{
		RequestID: e.RequestID, TraceID: telemetry.TraceFrom(ctx).TraceID,
		Model: e.Model, Provider: e.Provider, Route: e.Tier,
		LatencyMS: float64(e.Duration.Microseconds()) / 1000,
		CostUSD:   e.CostUSD, UsageEstimated: e.UsageEstimated, Cached: e.Cached(), Cache: string(e.Cache),
		Attempts: len(e.Attempts), Skipped: e.Skipped,
		Overrides: []string{},
		Safety:    Safety{PromptInjection: e.Safety.PromptInjection, Blocked: e.Safety.Blocked, PII: append([]string{}, e.Safety.PII...)},
	}
	if e.Usage != nil {
		m.InputTokens, m.OutputTokens = &e.Usage.InputTokens, &e.Usage.OutputTokens
	}
	for _, o := range e.Overrides {
		m.Overrides = append(m.Overrides, o.ID)
	}
	if q := e.Quality; q != nil {
		m.Quality = &Quality{q.SemanticSimilarity, q.Groundedness, q.Ungrounded, q.AnswerRelevance, q.Refusal, q.Truncated}
	}
	return m
}
