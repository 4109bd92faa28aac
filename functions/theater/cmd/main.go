// Command theater is the deployed function: on Lambda, on Cloud Run, or on this machine.
package main

import (
	"context"
	"net/http"

	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/functions/wire/tracking"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

func main() {
	serverless.Main("theater", tracking.Reading(build, "LRCP_CONTROL_SECRETS", "LRCP_PROBE_API_KEY"))
}

// build reads the environment:
//
//	LRCP_CONTROL_SECRETS          one bearer secret, or two during a rotation; required. The page asks for it, and the first one is
//	                              shown to insights and remediation
//	LRCP_THEATER_INSIGHTS_URL     the address of the function insights; required
//	LRCP_THEATER_REMEDIATION_URL  the address of the function remediation; required
//	LRCP_THEATER_QA_URL           the address of the function qa; without it the page asks no questions
//	LRCP_PROBE_API_KEY            the API key that qa lets this function in with, the same as the probe's; required with that address
//	DD_RUM_APPLICATION_ID, DD_RUM_CLIENT_TOKEN   the RUM application that the page reports to; none when not set
//	DD_SITE                       the site of Datadog; datadoghq.com when not set
//	LRCP_ANALYTICS_APPLICATION, DD_API_KEY       the application of Product Analytics that is told what people do; see tracking.FromEnv
//	DD_SERVICE, DD_ENV, DD_VERSION   what the page and RUM call the system; those of the function itself
func build(_ context.Context, d serverless.Deps) (serverless.Function, error) {
	e := env.New(d.Getenv)
	accepted := e.Secrets("LRCP_CONTROL_SECRETS")
	auth := theater.Auth(serverless.ControlSecretsFromEnv(e, "LRCP_CONTROL_SECRETS"))
	site, service := e.String("DD_SITE", "datadoghq.com"), e.String("DD_SERVICE", "llm-reliability-control-plane")
	opts := theater.Options{
		RemediationURL: e.RequiredURL("LRCP_THEATER_REMEDIATION_URL"), QAURL: e.URL("LRCP_THEATER_QA_URL"),
		Links: theater.DatadogLinks(site, service), Service: service, Env: e.String("DD_ENV", ""), Version: e.String("DD_VERSION", ""), Telemetry: d.Telemetry,
	}
	insights := e.RequiredURL("LRCP_THEATER_INSIGHTS_URL")
	if opts.QAURL != "" {
		opts.APIKey = e.RequiredSecret("LRCP_PROBE_API_KEY")
	}
	if id := e.String("DD_RUM_APPLICATION_ID", ""); id != "" {
		opts.RUM = &theater.RUM{ApplicationID: id, ClientToken: e.Required("DD_RUM_CLIENT_TOKEN"), Site: site}
	}
	opts.Analytics = tracking.FromEnv(e, d.Telemetry)
	if err := e.Err(); err != nil {
		return serverless.Function{}, err
	}
	opts.ControlSecret = accepted[0]
	opts.Source = &theater.Deployed{InsightsURL: insights, RemediationURL: opts.RemediationURL, Secret: accepted[0], HTTP: &http.Client{}}
	f, err := theater.New(opts)
	if err != nil {
		return serverless.Function{}, err
	}
	return serverless.Function{Handler: opts.Analytics.Handler(f.Handler()), Auth: auth}, nil
}
