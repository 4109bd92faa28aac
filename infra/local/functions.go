package local

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/llm-reliability/control-plane/functions/completion"
	"github.com/llm-reliability/control-plane/functions/diagnosis"
	"github.com/llm-reliability/control-plane/functions/insights"
	"github.com/llm-reliability/control-plane/functions/insights/analysis"
	"github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/functions/probe"
	"github.com/llm-reliability/control-plane/functions/qa"
	"github.com/llm-reliability/control-plane/functions/remediation"
	"github.com/llm-reliability/control-plane/functions/wire/models"
	"github.com/llm-reliability/control-plane/infra/local/fault"
	"github.com/llm-reliability/control-plane/shared/analytics"
	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	plan "github.com/llm-reliability/control-plane/shared/remediation"
	"github.com/llm-reliability/control-plane/shared/safety"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// functions are what the handlers of all functions are made of.
type functions struct {
	stack         *Stack
	sink          telemetry.Sink
	store         control.Store
	keys, secrets serverless.Authenticator
	getenv        func(string) string
	speed         float64
	stateDir      string
	traffic       bool
}

// handler returns every function behind one address, each at its own routes. GET /health asks all of them.
func (f functions) handler(ctx context.Context) (http.Handler, error) {
	models, err := catalog.BuiltIn()
	if err != nil {
		return nil, err
	}
	base := control.Settings{Model: string(catalog.Standard)}
	backends, err := f.backends(ctx, models)
	if err != nil {
		return nil, err
	}
	// A wave of injections is one of the failures that are played here.
	e := env.New(f.getenv)
	block, err := safety.ParsePolicy(e.List("LRCP_BLOCK", "injection"))
	if err != nil {
		e.Refuse("LRCP_BLOCK", err.Error())
	}
	if err := e.Err(); err != nil {
		return nil, err
	}
	limits, err := f.limits()
	if err != nil {
		return nil, err
	}
	data := func(name string, build func(*gateway.Gateway) (http.Handler, error)) (http.Handler, error) {
		tel, err := f.telemetry(name)
		if err != nil {
			return nil, err
		}
		reader, err := control.NewReader(control.ReaderOptions{Store: f.store, Base: base, Logger: tel.Logger()})
		if err != nil {
			return nil, err
		}
		answers, err := cache.New(cache.Options{})
		if err != nil {
			return nil, err
		}
		tracked, err := f.analytics(tel)
		if err != nil {
			return nil, err
		}
		gw, err := gateway.New(gateway.Options{
			Backends: backends, Catalog: models, Control: reader, Cache: answers, Limits: limits, Analytics: tracked, Telemetry: tel, Block: block,
		})
		if err != nil {
			return nil, err
		}
		h, err := build(gw)
		return f.wrap(name, flushing(h, tracked), f.keys, backends[0].Provider, tel), err
	}
	qaHandler, err := data("qa", func(gw *gateway.Gateway) (http.Handler, error) { return qa.New(qa.Options{Gateway: gw}) })
	if err != nil {
		return nil, err
	}
	completionHandler, err := data("completion", func(gw *gateway.Gateway) (http.Handler, error) {
		return completion.New(completion.Options{Gateway: gw})
	})
	if err != nil {
		return nil, err
	}
	remediationHandler, err := f.remediation(base)
	if err != nil {
		return nil, err
	}
	diagnosisHandler, err := f.diagnosis(backends)
	if err != nil {
		return nil, err
	}
	escalationHandler, err := f.escalation()
	if err != nil {
		return nil, err
	}
	insightsHandler, err := f.insights()
	if err != nil {
		return nil, err
	}
	probeHandler, err := f.probe()
	if err != nil {
		return nil, err
	}
	theaterHandler, err := f.theater()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/qa", qaHandler)
	mux.Handle("/completion", completionHandler)
	mux.Handle("/v1/", completionHandler)
	mux.Handle("/remediation", remediationHandler)
	mux.Handle("/remediation/", remediationHandler)
	mux.Handle("/diagnosis/", diagnosisHandler)
	mux.Handle("/escalation/", escalationHandler)
	mux.Handle("/insights", insightsHandler)
	mux.Handle("/probe", probeHandler)
	mux.Handle("GET /health", healthOfAll(qaHandler, map[string]http.Handler{
		"completion": completionHandler, "remediation": remediationHandler, "diagnosis": diagnosisHandler, "escalation": escalationHandler, "insights": insightsHandler, "probe": probeHandler,
		"theater": theaterHandler,
	}))
	mux.Handle("/", theaterHandler) // the page, its files, and problems for what has no route
	return mux, nil
}

// backends are those that the environment names, each able to fail on purpose.
func (f functions) backends(ctx context.Context, known *catalog.Catalog) ([]gateway.Backend, error) {
	e := env.New(f.getenv)
	backends := models.Backends(ctx, e, known, models.Embedded)
	if err := e.Err(); err != nil {
		return nil, err
	}
	route := slices.Clone(backends)
	f.stack.onClose("models", func(context.Context) error { return models.Close(route) })
	for i, b := range backends {
		faulty := fault.Wrap(b.Model)
		backends[i].Model = faulty
		f.stack.Faults = append(f.stack.Faults, faulty)
		f.stack.Providers = append(f.stack.Providers, b.Provider)
	}
	return backends, nil
}

func (f functions) telemetry(name string) (*telemetry.Client, error) {
	return telemetry.New(telemetry.Options{Sink: f.sink, Logger: f.stack.logger(), Function: name})
}

func (f functions) wrap(name string, h http.Handler, auth serverless.Authenticator, provider string, tel *telemetry.Client) http.Handler {
	return serverless.Wrap(serverless.Function{
		Handler: h, Auth: auth,
		Health: func(ctx context.Context) serverless.Health {
			return serverless.Health{Provider: provider, ControlReachable: f.store.Ping(ctx) == nil}
		},
	}, serverless.Options{Name: name, Version: version, Telemetry: tel})
}

func (f functions) remediation(base control.Settings) (http.Handler, error) {
	tel, err := f.telemetry("remediation")
	if err != nil {
		return nil, err
	}
	faster := func(d time.Duration) time.Duration { return time.Duration(float64(d) / f.speed) }
	c, err := plan.New(plan.Options{Store: f.store, Base: base, Telemetry: tel, Limits: plan.Limits{
		Models:    []string{string(catalog.Economy), string(catalog.Standard), string(catalog.Quality)},
		Functions: []string{"qa", "completion"},
		Endpoints: []string{"/qa", "/completion", "/v1/chat/completions"},
		Providers: []string{embedded.Provider},
		Cooldown:  faster(5 * time.Minute), FlapWindow: faster(15 * time.Minute), HourlyBudget: int(12 * f.speed),
	}})
	if err != nil {
		return nil, err
	}
	h, err := remediation.New(remediation.Options{Controller: c})
	if err != nil {
		return nil, err
	}
	return f.wrap("remediation", h, f.secrets, "", tel), nil
}

// diagnosis probes the backends with their faults.
func (f functions) diagnosis(backends []gateway.Backend) (http.Handler, error) {
	tel, err := f.telemetry("diagnosis")
	if err != nil {
		return nil, err
	}
	h, err := diagnosis.New(diagnosis.Options{Backends: diagnosis.Route(backends, embedded.Provider), Telemetry: tel})
	if err != nil {
		return nil, err
	}
	return f.wrap("diagnosis", h, f.secrets, "", tel), nil
}

// analytics tells the stand-in how the functions are used.
func (f functions) analytics(tel *telemetry.Client) (*analytics.Client, error) {
	client, err := f.stack.datadogClient()
	if err != nil {
		return nil, err
	}
	return analytics.New(analytics.Options{Telemetry: tel, API: client, Application: rumApplication, Service: service})
}

// flushing sends what h told before its response ends, so that who has the response can see all that it made.
func flushing(h http.Handler, tracked *analytics.Client) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		telemetry.Later(r.Context(), func() { tracked.Flush(r.Context()) })
	})
}

// limits are those of LRCP_LIMITS, as for the deployed functions. The counters are in this process, which has all functions.
func (f functions) limits() (*limit.Limiter, error) {
	rules, err := limit.ParseRules(f.getenv("LRCP_LIMITS"))
	if err != nil {
		return nil, fmt.Errorf("LRCP_LIMITS: %w", err)
	}
	return limit.New(limit.Options{Rules: rules, Counters: &limit.Memory{}})
}

// insights reads the stand-in's metrics, and emits the score once a minute of its clock.
func (f functions) insights() (http.Handler, error) {
	tel, err := f.telemetry("insights")
	if err != nil {
		return nil, err
	}
	client, err := f.stack.datadogClient()
	if err != nil {
		return nil, err
	}
	datadog, scope := metrics.Datadog{API: client.Repeatable()}, "service:"+service+",env:"+environment
	known, err := catalog.BuiltIn()
	if err != nil {
		return nil, err
	}
	analyst, err := analysis.New(analysis.Options{
		Metrics: datadog, Events: datadog, Catalog: known, Scope: scope, Service: service,
		Overrides: analysis.Remediation{URL: f.stack.URL, Secret: f.stack.ControlSecret, HTTP: f.stack.HTTP},
	})
	if err != nil {
		return nil, err
	}
	i, err := insights.New(insights.Options{
		Metrics: datadog, Analysis: analyst, Telemetry: tel, Scope: scope, Window: time.Duration(float64(time.Hour) / f.speed),
	})
	if err != nil {
		return nil, err
	}
	f.stack.insights = i.Handler()
	f.stack.background("health score", func(ctx context.Context) {
		for f.stack.Clock.Wait(ctx, time.Minute) == nil {
			if err := i.Emit(ctx); err != nil && ctx.Err() == nil {
				tel.Logger().WarnContext(ctx, "health score not emitted", slog.String("error.message", err.Error()))
			}
		}
	})
	return f.wrap("insights", i.Handler(), f.secrets, "", tel), nil
}

// probe asks the functions of this stack, over its own address.
func (f functions) probe() (http.Handler, error) {
	tel, err := f.telemetry("probe")
	if err != nil {
		return nil, err
	}
	p, err := probe.New(probe.Options{
		QAURL: f.stack.URL, CompletionURL: f.stack.URL, APIKey: env.Secret(f.stack.APIKey), HTTP: f.stack.HTTP, Telemetry: tel,
	})
	if err != nil {
		return nil, err
	}
	return f.wrap("probe", p.Handler(), f.secrets, "", tel), nil
}

// healthOfAll answers as the first handler does, with the health of the others by name. Deployed functions have an address
// and a health each.
func healthOfAll(first http.Handler, others map[string]http.Handler) http.Handler {
	ask := func(h http.Handler, r *http.Request) (map[string]any, int) {
		out := httptest.NewRecorder()
		h.ServeHTTP(out, r)
		var doc map[string]any
		// Every function's health is an object; one that is not has nothing to say.
		_ = json.Unmarshal(out.Body.Bytes(), &doc)
		return doc, out.Code
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, status := ask(first, r)
		if all == nil {
			all = map[string]any{}
		}
		functions := map[string]any{}
		for name, h := range others {
			functions[name], _ = ask(h, r)
		}
		all["functions"] = functions
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		// A client that is gone needs no health.
		_ = json.NewEncoder(w).Encode(all)
	})
}

// lateHandler serves a handler that is set after its address is known, over a socket or, as a transport, without one.
type lateHandler struct{ handler atomic.Pointer[http.Handler] }

func (l *lateHandler) set(h http.Handler) { l.handler.Store(&h) }

// ServeHTTP implements http.Handler.
func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := l.handler.Load()
	if h == nil {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	(*h).ServeHTTP(w, r)
}

// RoundTrip implements http.RoundTripper: the request goes to the handler in the caller's goroutine, and the answer comes
// back whole.
func (l *lateHandler) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:1"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if !strings.HasPrefix(in.RequestURI, "/") {
		in.RequestURI = "/"
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, in)
	if err := in.Body.Close(); err != nil {
		return nil, fmt.Errorf("close request body: %w", err)
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}
