// Package serverless runs one http.Handler as a deployed function: on Lambda, on Cloud Run, or on this machine. It
// holds what every function needs around its handler: telemetry, recovery, deadline, health, authentication, schedules,
// limits for slow clients, shutdown. It is no router and knows no endpoint but /health.
package serverless

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Function is what a deployed function consists of.
type Function struct {
	// Handler serves everything but /health. An *http.ServeMux is best: what it has no route for is then answered as a
	// problem, not as plain text.
	Handler http.Handler
	// Auth decides who may call Handler; nil lets everybody.
	Auth Authenticator
	// Health reports on what the function depends on, within the deadline of ctx; nil reports nothing.
	Health func(ctx context.Context) Health
	// Schedule is what the platform's schedule asks for; nil refuses such an event.
	Schedule *Job
	// Close releases what the function opened; nil when there is nothing.
	Close func(ctx context.Context) error
}

// Health is what a function knows of its dependencies.
type Health struct {
	// Provider names the default model provider; empty for a function that asks no model.
	Provider string
	// ControlReachable is whether the control state could be read. A function goes on without it.
	ControlReachable bool
}

// Options are what Wrap needs to know of the deployment.
type Options struct {
	// Name is the function's name, and that of its request spans; required.
	Name string
	// Version is shown by /health.
	Version string
	// Telemetry records the requests; nil records nothing.
	Telemetry *telemetry.Client
	// Timeout bounds a request where the platform sets no earlier deadline; 60 s when zero.
	Timeout time.Duration
	// Early sends a whole response before its telemetry is recorded and flushed. It is for a process that runs on when the
	// last response has left; another one may be frozen then, with what it had still to do.
	Early bool
	// Reserve is kept back from the deadline for the error response and the flush; 500 ms when zero.
	Reserve time.Duration
}

// Wrap returns f's handler with everything around it. The list is the order in which a request passes, outermost
// first.
//
// The flush is outermost: it must see the ended span, and on Lambda the process may be frozen as soon as ServeHTTP has
// returned. What a request records is recorded when its span ends, which is after a whole response has left if o says so. Recovery is inside the request ID, so that a panic can be found by the ID that its caller saw.
func Wrap(f Function, o Options) http.Handler { return wrap(f, o, authenticate(f.Auth)) }

// wrap is Wrap with what decides about a request in place of f's authentication.
func wrap(f Function, o Options, admit func(http.Handler) http.Handler) http.Handler {
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Reserve == 0 {
		o.Reserve = 500 * time.Millisecond
	}
	chain := []func(http.Handler) http.Handler{
		flush(o.Telemetry),
		span(o.Telemetry, o.Name, o.Early),
		requestID,
		recovery(o.Telemetry.Logger()),
		deadline(o.Timeout, o.Reserve),
		health(f.Health, o.Name, o.Version),
		admit,
	}
	h := routed(f.Handler)
	for _, around := range slices.Backward(chain) {
		h = around(h)
	}
	return h
}

// Deps are what a function is built from.
type Deps struct {
	// Getenv reads the configuration; see package env.
	Getenv    func(string) string
	Telemetry *telemetry.Client
	Logger    *slog.Logger
}

type (
	requestIDKey struct{}
	callerKey    struct{}
)

// RequestID returns the ID of the request that ctx belongs to; empty outside of one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// Caller returns the name of the authenticated caller; empty when the function is open to all.
func Caller(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}
