// Package functiontest sets up a data function for tests: the real gateway and middleware around the embedded model, a
// memory store, and telemetry that is kept for looking at.
package functiontest

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Function is a function under test.
type Function struct {
	URL     string
	Client  *http.Client
	Memory  *telemetry.Memory
	Store   *controltest.Memory
	Handler http.Handler
}

// Setup is what differs from a function without limits and keys.
type Setup struct {
	// Model is the embedded one when nil.
	Model llm.Model
	// Limits admits everybody when nil.
	Limits gateway.Limits
	// Auth lets everybody in when nil.
	Auth serverless.Authenticator
	// Timeout is the deadline of a request; 10 s when 0.
	Timeout time.Duration
}

// Start serves the function that handler makes, on the given model; nil is the embedded one.
func Start(t testing.TB, name string, model llm.Model, handler func(*gateway.Gateway) (http.Handler, error)) *Function {
	t.Helper()
	return StartWith(t, name, Setup{Model: model}, handler)
}

// Limits are limits of callers, in the form of limit.ParseRules, counted in this process.
func Limits(t testing.TB, rules string) *limit.Limiter {
	t.Helper()
	parsed, err := limit.ParseRules(rules)
	check(t, err)
	limits, err := limit.New(limit.Options{Rules: parsed, Counters: &limit.Memory{}})
	check(t, err)
	return limits
}

// StartWith is Start with more.
func StartWith(t testing.TB, name string, setup Setup, handler func(*gateway.Gateway) (http.Handler, error)) *Function {
	t.Helper()
	model := setup.Model
	if model == nil {
		model = embedded.New()
	}
	if setup.Limits == nil {
		setup.Limits = Limits(t, "")
	}
	models, err := catalog.BuiltIn()
	check(t, err)
	store := &controltest.Memory{}
	reader, err := control.NewReader(control.ReaderOptions{Store: store, Base: control.Settings{Model: string(catalog.Standard)}, Interval: time.Nanosecond})
	check(t, err)
	answers, err := cache.New(cache.Options{})
	check(t, err)
	memory := &telemetry.Memory{}
	tel, err := telemetry.New(telemetry.Options{Sink: memory, Logger: slog.New(slog.DiscardHandler), Function: name})
	check(t, err)
	gw, err := gateway.New(gateway.Options{
		Backends: []gateway.Backend{{Provider: embedded.Provider, Model: model, Tiers: models.TierModels(embedded.Provider)}},
		Catalog:  models, Control: reader, Cache: answers, Limits: setup.Limits, Telemetry: tel, Timeout: cmp.Or(setup.Timeout, 10*time.Second),
	})
	check(t, err)
	h, err := handler(gw)
	check(t, err)
	wrapped := serverless.Wrap(serverless.Function{Handler: h, Auth: setup.Auth}, serverless.Options{Name: name, Telemetry: tel})
	server := httptest.NewServer(wrapped)
	t.Cleanup(server.Close)
	return &Function{URL: server.URL, Client: server.Client(), Memory: memory, Store: store, Handler: wrapped}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
