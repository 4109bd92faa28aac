// Package tracking builds the client of product analytics that the environment asks for.
package tracking

import (
	"context"
	"slices"

	"github.com/llm-reliability/control-plane/functions/wire/secrets"
	"github.com/llm-reliability/control-plane/shared/analytics"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Application is the variable that asks for server-side events. Where it is set, DD_API_KEY is needed, too.
const Application = "LRCP_ANALYTICS_APPLICATION"

// FromEnv returns the client of product analytics, and records in e what is wrong with its variables:
//
//	LRCP_ANALYTICS_APPLICATION   the ID of an application of Product Analytics; no server-side events are sent when not set
//	DD_API_KEY, DD_SITE          whose it is; required with it
//	LRCP_DATADOG_URL             the address of a stand-in for Datadog
//	DD_SERVICE                   the name of the product
func FromEnv(e *env.Env, tel *telemetry.Client) *analytics.Client {
	opts := analytics.Options{Telemetry: tel, Application: e.String(Application, ""), Service: e.String("DD_SERVICE", "llm-reliability-control-plane")}
	if opts.Application != "" {
		key := e.RequiredSecret("DD_API_KEY")
		client, err := ddapi.New(ddapi.Options{Site: e.String("DD_SITE", "datadoghq.com"), APIKey: key.Reveal(), BaseURL: e.String("LRCP_DATADOG_URL", "")})
		if err == nil {
			client, err = client.At(ddapi.AnalyticsIntake)
		}
		if err != nil {
			e.Refuse(Application, "needs Datadog's intake: "+err.Error())
			return nil
		}
		opts.API = client
	}
	c, err := analytics.New(opts)
	if err != nil {
		e.Refuse(Application, err.Error())
	}
	return c
}

// Reading is secrets.Reading, and reads the key of Datadog's, too, where events are sent with it: a cold start waits for each secret.
func Reading(build func(context.Context, serverless.Deps) (serverless.Function, error), names ...string) func(context.Context, serverless.Deps) (serverless.Function, error) {
	return func(ctx context.Context, d serverless.Deps) (serverless.Function, error) {
		if d.Getenv(Application) != "" {
			names = append(slices.Clone(names), "DD_API_KEY")
		}
		return secrets.Reading(build, names...)(ctx, d)
	}
}
