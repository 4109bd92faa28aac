// Package wire builds from the environment what the mains of the data functions have in common: the control state, the model
// providers, the response cache and the gateway. What the mains of other functions need, too, is in its subpackages.
package wire

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/llm-reliability/control-plane/functions/wire/models"
	"github.com/llm-reliability/control-plane/functions/wire/state"
	"github.com/llm-reliability/control-plane/functions/wire/tracking"
	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/safety"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Build makes a function from what it is given.
type Build = func(context.Context, serverless.Deps) (serverless.Function, error)

// DataFunction builds a function that answers through the gateway: handler makes its handler from one.
//
// The environment: LRCP_API_KEYS (name:sha256 pairs), LRCP_TIMEOUT, LRCP_CONTROL_INTERVAL, LRCP_CACHE_BYTES, LRCP_LIMITS (see limit.ParseRules),
// LRCP_CACHE_SCOPE (caller or shared), LRCP_CACHE_STALE (how long after its time an answer is served when all models fail; 0
// is never), LRCP_FALLBACK_ON_BLOCK, LRCP_HEDGE (off or p95), LRCP_DEFAULT_TIER, LRCP_BLOCK (what safety.ParsePolicy reads), those of state.FromEnv and those of models.Backends.
func DataFunction(handler func(*gateway.Gateway) (http.Handler, error)) Build {
	return tracking.Reading(func(ctx context.Context, d serverless.Deps) (serverless.Function, error) {
		return dataFunction(ctx, d, func(gw *gateway.Gateway, _ Judging) (http.Handler, error) { return handler(gw) }, unjudged)
	}, dataSecrets()...)
}

func dataFunction(
	ctx context.Context, d serverless.Deps, handler func(*gateway.Gateway, Judging) (http.Handler, error),
	judged func(*env.Env, []gateway.Backend, *catalog.Catalog, *telemetry.Client) Judging,
) (f serverless.Function, err error) {
	e := env.New(d.Getenv)
	where := state.FromEnv(e)
	keys := serverless.APIKeysFromEnv(e, "LRCP_API_KEYS")
	timeout := e.Duration("LRCP_TIMEOUT", 30*time.Second)
	interval := e.Duration("LRCP_CONTROL_INTERVAL", time.Second)
	cacheBytes := e.Int("LRCP_CACHE_BYTES", 16<<20, 1<<16, 1<<30)
	scope := e.OneOf("LRCP_CACHE_SCOPE", "caller", "caller", "shared")
	stale := e.Duration("LRCP_CACHE_STALE", time.Hour)
	onBlock := e.Bool("LRCP_FALLBACK_ON_BLOCK", false)
	hedge := e.OneOf("LRCP_HEDGE", "off", "off", "p95")
	tier := e.OneOf("LRCP_DEFAULT_TIER", string(catalog.Standard), string(catalog.Economy), string(catalog.Standard), string(catalog.Quality))
	block, err := safety.ParsePolicy(e.List("LRCP_BLOCK"))
	if err != nil {
		e.Refuse("LRCP_BLOCK", err.Error())
	}
	known, err := catalog.BuiltIn()
	if err != nil {
		return serverless.Function{}, err
	}
	rules := rulesFromEnv(e)
	tracked := tracking.FromEnv(e, d.Telemetry)
	backends := models.Backends(ctx, e, known, models.Deployed()...)
	judging := judged(e, backends, known, d.Telemetry)
	if err := e.Err(); err != nil {
		return serverless.Function{}, err
	}
	opened, err := where.Open(ctx)
	if err != nil {
		return serverless.Function{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close(), models.Close(backends))
		}
	}()
	reader, err := control.NewReader(control.ReaderOptions{Store: opened.Control, Base: control.Settings{Model: tier}, Interval: interval, Logger: d.Logger})
	if err != nil {
		return serverless.Function{}, err
	}
	answers, err := cache.New(cache.Options{MaxBytes: uint64(cacheBytes), Shared: opened.Shared})
	if err != nil {
		return serverless.Function{}, err
	}
	limits, err := limit.New(limit.Options{Rules: rules, Counters: opened.Counters})
	if err != nil {
		return serverless.Function{}, err
	}
	gw, err := gateway.New(gateway.Options{
		Backends: backends, Catalog: known, Control: reader, Cache: answers, Limits: limits, Telemetry: d.Telemetry, Analytics: tracked,
		Timeout: timeout, Block: block,
		FallbackOnBlock: onBlock, Hedge: hedge == "p95", Stale: stale, ShareCache: scope == "shared",
	})
	if err != nil {
		return serverless.Function{}, err
	}
	h, err := handler(gw, judging)
	if err != nil {
		return serverless.Function{}, err
	}
	return serverless.Function{
		Handler: tracked.Handler(h),
		Auth:    keys,
		Health: func(ctx context.Context) serverless.Health {
			return serverless.Health{Provider: backends[0].Provider, ControlReachable: opened.Control.Ping(ctx) == nil}
		},
		Close: func(context.Context) error { return errors.Join(opened.Close(), models.Close(backends)) },
	}, nil
}

// rulesFromEnv reads the limits of callers.
func rulesFromEnv(e *env.Env) limit.Rules {
	rules, err := limit.ParseRules(e.String("LRCP_LIMITS", ""))
	if err != nil {
		e.Refuse("LRCP_LIMITS", err.Error())
	}
	return rules
}

// dataSecrets are what data functions may read from the cloud's secret store.
func dataSecrets() []string { return []string{"LRCP_API_KEYS", "OPENAI_API_KEY"} }
