// Package gateway is the request path: settings, safety screen, cache, attempts along the route, quality signals,
// telemetry, in this order, in one straight line. Every data function goes through Do, streaming or not.
//
// It knows no HTTP, no provider and no vendor of telemetry: those are handed in.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/retry"
	"github.com/llm-reliability/control-plane/shared/safety"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Settings reads how a request is to be served. It always answers, at once or nearly so: stale is set when the state
// could not be read and the answer is the last good one, or the defaults. key is stable for one request and chooses its
// side of a percentage.
type Settings interface {
	Settings(ctx context.Context, target control.Target, key string) (settings control.Settings, stale bool)
}

// Analytics tells of requests as uses of the product; it returns at once.
type Analytics interface {
	TrackRequest(ctx context.Context, e *telemetry.Exchange)
}

// Backend is one provider on the route.
type Backend struct {
	Provider string
	// Location is where the provider serves the model, such as a region; empty for a provider with one address.
	Location string
	Model    llm.Model
	// Tiers names the provider's model for each tier that it serves.
	Tiers map[catalog.Tier]string
}

// Options are the dependencies of a Gateway.
type Options struct {
	// Backends are tried in this order; at least one is required.
	Backends []Backend
	// Catalog and Control are required.
	Catalog *catalog.Catalog
	Control Settings
	// Cache may be nil: then nothing is cached, whatever the settings say.
	Cache *cache.Cache
	// Limits may be nil: then every caller may ask for as much as it likes.
	Limits Limits
	// Telemetry may be nil.
	Telemetry *telemetry.Client
	// Analytics may be nil.
	Analytics Analytics
	// Retry is retry.Default when zero.
	Retry retry.Policy
	// Timeout is the one total deadline of a request, over all its attempts; 30 s when 0. A deadline in the context
	// that is nearer holds instead.
	Timeout time.Duration
	// StreamIdle is the longest pause within a stream after its first token; 15 s when 0.
	StreamIdle time.Duration
	// FallbackOnBlock asks the next model when a safety filter of the provider's withheld the answer. Otherwise that is the
	// answer: another provider's filter may be weaker, and who blocks on purpose does not want it asked.
	FallbackOnBlock bool
	// Hedge begins a second call when a first one, that is not streamed, takes longer than the model's recent p95.
	Hedge bool
	// Stale is for how long after its time a cached answer may be served when every model fails; 0 is never.
	Stale time.Duration
	// ShareCache lets callers have each other's cached answers. Otherwise each has its own.
	ShareCache bool
	// Block says which requests are refused for what the safety screen saw; otherwise it is only counted.
	Block safety.Policy
}

// Gateway serves requests; it is safe for concurrent use.
type Gateway struct {
	opts    Options
	budget  *retry.Budget
	health  healths
	flights flights
}

// New checks the options and returns a Gateway.
func New(opts Options) (*Gateway, error) {
	if len(opts.Backends) == 0 || opts.Catalog == nil || opts.Control == nil {
		return nil, errors.New("gateway: Backends, Catalog and Control are required")
	}
	for i, b := range opts.Backends {
		if b.Provider == "" || b.Model == nil || len(b.Tiers) == 0 {
			return nil, fmt.Errorf("gateway: backend %d needs a Provider, a Model and Tiers", i)
		}
	}
	if opts.Retry == (retry.Policy{}) {
		opts.Retry = retry.Default
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.StreamIdle == 0 {
		opts.StreamIdle = 15 * time.Second
	}
	return &Gateway{opts: opts, budget: retry.NewBudget()}, nil
}

// Call is one request as a function received it.
type Call struct {
	RequestID string
	Function  string
	Endpoint  string
	HTTP      telemetry.HTTP
	Caller    string
	Session   string
	// Model is the tier or the name that the caller asked for; empty leaves the choice to the settings.
	Model string
	// NoCache asks for a fresh answer, which then replaces the one in the cache. NoStore asks for one that leaves no trace
	// in the cache.
	NoCache, NoStore bool
	// Start is when the request arrived.
	Start time.Time
	// Standing, where it is set, hears where the caller stands with its limits, before there is anything of the answer.
	Standing func([]limit.Standing)
	// Request is what the model is asked; the gateway sets its Model, and its MaxTokens where a cap is in force.
	Request llm.Request
	// PromptID and PromptVersion name the prompt template, where one was used.
	PromptID, PromptVersion string
}

// Piece is a part of a streamed answer, with the model that serves it.
type Piece struct{ Text, Model string }

// Do answers one call and records it. The exchange is never nil; its Output is the answer when err is nil. With a nil
// yield the answer is returned whole. Otherwise every piece is yielded as it comes; an error from yield means
// that the client is gone, and ends the upstream call. After a piece was yielded nothing is tried again: the caller must
// tell its client that the stream broke.
//
// Every error is an *llm.Error. Do returns at the latest when the deadline passes.
func (g *Gateway) Do(ctx context.Context, call Call, yield func(Piece) error) (*telemetry.Exchange, error) {
	ctx, cancel := context.WithTimeout(ctx, g.opts.Timeout)
	defer cancel()
	e := newExchange(call)
	if yield != nil {
		e.Features = append(e.Features, "stream")
	}
	err := g.serve(ctx, call, e, yield)
	g.record(ctx, e, err)
	if err != nil {
		return e, err
	}
	return e, nil
}

// Reject records a call that its function refused before it came to the gateway: bad input, too large, not allowed.
func (g *Gateway) Reject(ctx context.Context, call Call, problem *httpjson.Problem) {
	e := newExchange(call)
	e.Outcome, e.ErrorType, e.Err, e.Status = telemetry.OutcomeRejected, string(llm.InvalidRequest), problem, problem.Status
	e.Duration = time.Since(call.Start)
	g.opts.Telemetry.Record(ctx, e)
}

// Models returns what a caller may ask for by name: the tiers that a backend serves, and their models, in route order.
func (g *Gateway) Models() []string {
	var names []string
	for _, tier := range catalog.Tiers() {
		for _, b := range g.opts.Backends {
			if b.Tiers[tier] != "" {
				names = append(names, string(tier))
				break
			}
		}
	}
	for _, b := range g.opts.Backends {
		for _, tier := range catalog.Tiers() {
			if name := b.Tiers[tier]; name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// Offers says whether a caller may ask for this tier or model.
func (g *Gateway) Offers(model string) bool { return len(g.candidates(model, nil, time.Now())) > 0 }

func (g *Gateway) serve(ctx context.Context, call Call, e *telemetry.Exchange, yield func(Piece) error) *llm.Error {
	req := call.Request

	// Settings: one reading, which holds for the whole request.
	settings, stale := g.opts.Control.Settings(ctx, control.Target{Function: call.Function, Endpoint: call.Endpoint, Caller: call.Caller}, call.RequestID)
	if stale {
		e.Degraded = append(e.Degraded, "control")
	}
	for _, o := range settings.InForce {
		e.Overrides = append(e.Overrides, telemetry.OverrideRef{ID: o.ID, Action: string(o.Action), Reason: o.Source.Kind})
	}

	// Admission: whether the caller may have more. What the request took is settled however it ends.
	settle, refused := g.admit(ctx, call, settings, e)
	if refused != nil {
		return refused
	}
	defer settle()

	if refused := g.screened(ctx, req, e); refused != nil {
		return refused
	}
	if err := capped(&req, settings); err != nil {
		return err
	}

	// The route. An override of the model holds for callers who named one, too: it is there to protect the service.
	model := call.Model
	if model == "" || switched(settings) {
		model = settings.Model
	}
	route := g.route(model, settings, yield != nil, time.Now())
	if len(route) == 0 {
		return &llm.Error{Kind: llm.InvalidRequest, Err: fmt.Errorf("no backend offers the model %q", model)}
	}
	e.Tier = g.tier(model)

	// The answer: from the cache, where it is in force, or from a model.
	if g.opts.Cache == nil || settings.CacheTTL <= 0 || call.NoStore {
		_, err := g.ask(ctx, e, route, req, yield)
		return err
	}
	return g.cached(ctx, e, question{key: g.key(call, model, req), ttl: settings.CacheTTL, fresh: call.NoCache, route: route, req: req}, yield)
}

// ask has a model answer, and scores the answer.
func (g *Gateway) ask(ctx context.Context, e *telemetry.Exchange, route []candidate, req llm.Request, yield func(Piece) error) (*llm.Response, *llm.Error) {
	response, err := g.attempts(ctx, e, route, req, yield)
	if err != nil {
		return nil, err
	}
	e.Output, e.Model, e.Provider, e.Finish = response.Text, cmp.Or(response.Model, e.Model), cmp.Or(response.Provider, e.Provider), response.Finish
	e.Quality = score(req, response.Text, response.Finish)
	return response, nil
}

// degraded notes that a part which a request can do without has failed.
func degraded(e *telemetry.Exchange, part string, err error) {
	if err != nil && !slices.Contains(e.Degraded, part) {
		e.Degraded = append(e.Degraded, part)
	}
}

// record completes the exchange and hands it to telemetry: the one place from which a request is measured.
func (g *Gateway) record(ctx context.Context, e *telemetry.Exchange, err *llm.Error) {
	e.Outcome, e.Status = telemetry.OutcomeSuccess, 200
	if err != nil {
		e.Outcome, e.ErrorType, e.Err = outcome(err.Kind), string(err.Kind), err
		e.Status = httpjson.FromError(err).Status
	}
	e.Duration = time.Since(e.Start)
	g.opts.Telemetry.Record(ctx, e)
	if g.opts.Analytics != nil {
		telemetry.Later(ctx, func() { g.opts.Analytics.TrackRequest(ctx, e) })
	}
}

func outcome(kind llm.Kind) telemetry.Outcome {
	switch kind {
	case llm.Canceled:
		return telemetry.OutcomeCanceled
	case llm.Blocked:
		return telemetry.OutcomeBlocked
	case llm.InvalidRequest, llm.TooLarge, llm.LimitExceeded:
		return telemetry.OutcomeRejected
	}
	return telemetry.OutcomeError
}

func newExchange(call Call) *telemetry.Exchange {
	return &telemetry.Exchange{
		RequestID: call.RequestID, Function: call.Function, Endpoint: call.Endpoint, HTTP: call.HTTP, Type: call.Request.Type,
		Caller: call.Caller, Session: call.Session, Start: call.Start, Cache: telemetry.CacheOff,
		Messages: call.Request.Messages, Question: call.Request.Question, Document: call.Request.Document,
		PromptID: call.PromptID, PromptVersion: call.PromptVersion, Features: features(call),
	}
}

// features are those that show in a call.
func features(call Call) (used []string) {
	for _, f := range []struct {
		name string
		used bool
	}{
		{"document", call.Request.Document != ""}, {"named_model", call.Model != ""}, {"session", call.Session != ""}, {"no_cache", call.NoCache || call.NoStore},
	} {
		if f.used {
			used = append(used, f.name)
		}
	}
	return used
}

// capped applies the caps of the settings.
func capped(req *llm.Request, settings control.Settings) *llm.Error {
	if most := settings.MaxOutputTokens; most > 0 && (req.MaxTokens == 0 || req.MaxTokens > most) {
		req.MaxTokens = most
	}
	if most := settings.MaxPromptChars; most > 0 {
		chars := 0
		for _, m := range req.Messages {
			chars += len(m.Content)
		}
		if chars > most {
			return &llm.Error{Kind: llm.TooLarge, Err: fmt.Errorf("prompt of %d bytes is over the cap of %d in force", chars, most)}
		}
	}
	return nil
}

func switched(settings control.Settings) bool {
	return slices.ContainsFunc(settings.InForce, func(o control.Override) bool { return o.Action == control.SwitchModel })
}
