// Command diagnosis is the deployed function: on Lambda, on Cloud Run, or on this machine.
package main

import (
	"context"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/functions/diagnosis"
	"github.com/llm-reliability/control-plane/functions/wire/models"
	"github.com/llm-reliability/control-plane/functions/wire/secrets"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

func main() {
	serverless.Main("diagnosis", secrets.Reading(build, "LRCP_CONTROL_SECRETS", "OPENAI_API_KEY"))
}

// build reads the environment, besides that of models.Backends and withGoogle:
//
//	LRCP_CONTROL_SECRETS     one bearer secret, or two during a rotation; required
//	LRCP_STATUS_FEED         the address of a status feed in Google Cloud's form, or none; Google Cloud's for a route to Google, and
//	                         none for others when not set. Set it for a route that reaches Vertex AI by another name
//	GOOGLE_CLOUD_LOCATION    the location that models are called in; global when not set
//	LRCP_DIAGNOSIS_TIMEOUT   the longest time for a call of a model; 10s when not set
func build(ctx context.Context, d serverless.Deps) (serverless.Function, error) {
	e := env.New(d.Getenv)
	auth := serverless.ControlSecretsFromEnv(e, "LRCP_CONTROL_SECRETS")
	known, err := catalog.BuiltIn()
	if err != nil {
		return serverless.Function{}, err
	}
	route := models.Backends(ctx, e, known, models.Deployed()...)
	opts := diagnosis.Options{
		Backends: diagnosis.Route(route, models.Embedded), Telemetry: d.Telemetry,
		LiveTimeout: e.Duration("LRCP_DIAGNOSIS_TIMEOUT", 10*time.Second),
	}
	opts.Backends = withGoogle(e, opts.Backends)
	feed := "none"
	if slices.ContainsFunc(opts.Backends, ofGoogle) {
		feed = diagnosis.GoogleFeed
	}
	if feed = e.String("LRCP_STATUS_FEED", feed); feed != "none" {
		opts.Feed, err = diagnosis.NewFeed(diagnosis.FeedOptions{URL: feed, Region: e.String("GOOGLE_CLOUD_LOCATION", "global")})
		if err != nil {
			e.Refuse("LRCP_STATUS_FEED", "must be none, or a URL like "+diagnosis.GoogleFeed)
		}
	}
	if err := e.Err(); err != nil {
		return serverless.Function{}, err
	}
	handler, err := diagnosis.New(opts)
	return serverless.Function{Handler: handler, Auth: auth, Close: func(context.Context) error { return models.Close(route) }}, err
}
