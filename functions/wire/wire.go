// Package wire builds from the environment what the mains of several functions have in common: the control state, the
// model backends and the gateway. It is where adapters are chosen; nothing above it knows which ones there are.
package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/bolt"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// OpenStore opens the control state that LRCP_STATE names: bolt:<path>.
func OpenStore(state string) (control.Store, error) {
	kind, rest, _ := strings.Cut(state, ":")
	if kind != "bolt" || rest == "" {
		return nil, fmt.Errorf("LRCP_STATE %q is not bolt:<path>", state)
	}
	return bolt.Open(bolt.Options{Path: rest})
}

// DataFunction builds a function that answers through the gateway: handler makes its handler from one.
//
// The environment: LRCP_STATE, LRCP_API_KEYS (name:sha256 pairs), LRCP_TIMEOUT, LRCP_CONTROL_INTERVAL, LRCP_CACHE_BYTES,
// LRCP_DEFAULT_TIER, LRCP_BLOCK_INJECTION, and those of Backends.
func DataFunction(d serverless.Deps, handler func(*gateway.Gateway) (http.Handler, error)) (f serverless.Function, err error) {
	e := env.New(d.Getenv)
	state := e.Required("LRCP_STATE")
	keys := serverless.APIKeysFromEnv(e, "LRCP_API_KEYS")
	timeout := e.Duration("LRCP_TIMEOUT", 30*time.Second)
	interval := e.Duration("LRCP_CONTROL_INTERVAL", time.Second)
	cacheBytes := e.Int("LRCP_CACHE_BYTES", 16<<20, 1<<16, 1<<30)
	tier := e.OneOf("LRCP_DEFAULT_TIER", string(catalog.Standard), string(catalog.Economy), string(catalog.Standard), string(catalog.Quality))
	block := e.Bool("LRCP_BLOCK_INJECTION", false)
	models, err := catalog.BuiltIn()
	if err != nil {
		return serverless.Function{}, err
	}
	backends := Backends(e, models)
	if err := e.Err(); err != nil {
		return serverless.Function{}, err
	}
	store, err := OpenStore(state)
	if err != nil {
		return serverless.Function{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	reader, err := control.NewReader(control.ReaderOptions{Store: store, Base: control.Settings{Model: tier}, Interval: interval, Logger: d.Logger})
	if err != nil {
		return serverless.Function{}, err
	}
	answers, err := cache.New(cache.Options{MaxBytes: uint64(cacheBytes)})
	if err != nil {
		return serverless.Function{}, err
	}
	gw, err := gateway.New(gateway.Options{
		Backends: backends, Catalog: models, Control: reader, Cache: answers, Telemetry: d.Telemetry,
		Timeout: timeout, BlockInjection: block,
	})
	if err != nil {
		return serverless.Function{}, err
	}
	h, err := handler(gw)
	if err != nil {
		return serverless.Function{}, err
	}
	return serverless.Function{
		Handler: h,
		Auth:    keys,
		Health: func(ctx context.Context) serverless.Health {
			return serverless.Health{Provider: backends[0].Provider, ControlReachable: store.Ping(ctx) == nil}
		},
		Close: func(context.Context) error { return store.Close() },
	}, nil
}
