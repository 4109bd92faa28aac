// Command remediation is the deployed function: on Lambda, on Cloud Run, or on this machine.
package main

import (
	"context"
	"errors"
	"time"

	"github.com/llm-reliability/control-plane/functions/remediation"
	"github.com/llm-reliability/control-plane/functions/wire/secrets"
	"github.com/llm-reliability/control-plane/functions/wire/state"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/env"
	plan "github.com/llm-reliability/control-plane/shared/remediation"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

func main() { serverless.Main("remediation", secrets.Reading(build, "LRCP_CONTROL_SECRETS")) }

// build reads the environment, besides that of state.FromEnv:
//
//	LRCP_CONTROL_SECRETS   one bearer secret, or two during a rotation; required
//	LRCP_DEFAULT_TIER      the tier where no override says otherwise; standard when not set, the same as the data functions'
//	LRCP_ALLOW_MODELS      tiers and model names that a switch may go to; the three tiers when not set
//	LRCP_ALLOW_FUNCTIONS   functions that may be changed; qa and completion when not set
//	LRCP_ALLOW_ENDPOINTS   endpoints that may be changed; those of qa and completion when not set
//	LRCP_ALLOW_PROVIDERS   providers that a failover may avoid; none when not set
//	LRCP_MAX_DURATION, LRCP_COOLDOWN, LRCP_HOURLY_BUDGET, LRCP_FLAP_WINDOW   the guards; 4h, 5m, 12 and 15m when not set
func build(ctx context.Context, d serverless.Deps) (serverless.Function, error) {
	e := env.New(d.Getenv)
	where := state.FromEnv(e)
	secrets := serverless.ControlSecretsFromEnv(e, "LRCP_CONTROL_SECRETS")
	economy, standard, quality := string(catalog.Economy), string(catalog.Standard), string(catalog.Quality)
	base := control.Settings{Model: e.OneOf("LRCP_DEFAULT_TIER", standard, economy, standard, quality)}
	limits := plan.Limits{
		Models:       e.List("LRCP_ALLOW_MODELS", economy, standard, quality),
		Functions:    e.List("LRCP_ALLOW_FUNCTIONS", "qa", "completion"),
		Endpoints:    e.List("LRCP_ALLOW_ENDPOINTS", "/qa", "/completion", "/v1/chat/completions"),
		Providers:    e.List("LRCP_ALLOW_PROVIDERS"),
		MaxDuration:  e.Duration("LRCP_MAX_DURATION", 4*time.Hour),
		Cooldown:     e.Duration("LRCP_COOLDOWN", 5*time.Minute),
		HourlyBudget: e.Int("LRCP_HOURLY_BUDGET", 12, 1, 1000),
		FlapWindow:   e.Duration("LRCP_FLAP_WINDOW", 15*time.Minute),
	}
	if err := e.Err(); err != nil {
		return serverless.Function{}, err
	}
	opened, err := where.Open(ctx)
	if err != nil {
		return serverless.Function{}, err
	}
	controller, err := plan.New(plan.Options{Store: opened.Control, Base: base, Limits: limits, Telemetry: d.Telemetry})
	if err != nil {
		return serverless.Function{}, errors.Join(err, opened.Close())
	}
	handler, err := remediation.New(remediation.Options{Controller: controller})
	if err != nil {
		return serverless.Function{}, errors.Join(err, opened.Close())
	}
	return serverless.Function{
		Handler: handler,
		Auth:    secrets,
		Health: func(ctx context.Context) serverless.Health {
			return serverless.Health{ControlReachable: opened.Control.Ping(ctx) == nil}
		},
		Close: func(context.Context) error { return opened.Close() },
	}, nil
}
