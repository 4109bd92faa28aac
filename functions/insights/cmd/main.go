// Command insights is the deployed function: on Lambda, on Cloud Run, or on this machine.
package main

import (
	"context"
	"net/http"
	"time"

	"github.com/llm-reliability/control-plane/functions/insights"
	"github.com/llm-reliability/control-plane/functions/insights/analysis"
	"github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/functions/wire/secrets"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/serverless/googleid"
)

func main() {
	serverless.Main("insights", secrets.Reading(build, "LRCP_CONTROL_SECRETS", "DD_API_KEY", "DD_APP_KEY"))
}

// build reads the environment:
//
//	LRCP_CONTROL_SECRETS     one bearer secret, or two during a rotation; required
//	LRCP_SCHEDULE_AUDIENCE, LRCP_SCHEDULE_IDENTITY   the schedule of Google Cloud that is let in, too; see googleid
//	DD_API_KEY, DD_APP_KEY   keys of Datadog; the application key needs the permissions timeseries_query and events_read; required
//	DD_SITE                  the site of Datadog; datadoghq.com when not set
//	LRCP_DATADOG_URL         the address of a stand-in for Datadog's API; the site's when not set
//	DD_SERVICE, DD_ENV       the tags of the metrics that are judged; those of the function itself
//	LRCP_INSIGHTS_WINDOW     how far back the score looks; 1h when not set
//	LRCP_REMEDIATION_URL     the address of the function remediation, whose overrides are verified; none when not set
func build(_ context.Context, d serverless.Deps) (serverless.Function, error) {
	e := env.New(d.Getenv)
	accepted := e.Secrets("LRCP_CONTROL_SECRETS")
	auth := serverless.AnyOf(serverless.ControlSecretsFromEnv(e, "LRCP_CONTROL_SECRETS"), googleid.FromEnv(e))
	apiKey, appKey := e.RequiredSecret("DD_API_KEY"), e.RequiredSecret("DD_APP_KEY")
	service := e.String("DD_SERVICE", "llm-reliability-control-plane")
	scope := "service:" + service + ",env:" + e.String("DD_ENV", "local")
	window := e.Duration("LRCP_INSIGHTS_WINDOW", time.Hour)
	site, base := e.String("DD_SITE", "datadoghq.com"), e.String("LRCP_DATADOG_URL", "")
	remediation := e.URL("LRCP_REMEDIATION_URL")
	if err := e.Err(); err != nil {
		return serverless.Function{}, err
	}
	client, err := ddapi.New(ddapi.Options{Site: site, APIKey: apiKey.Reveal(), AppKey: appKey.Reveal(), BaseURL: base})
	if err != nil {
		return serverless.Function{}, err
	}
	// A query is a POST without effect, which may be repeated.
	datadog := metrics.Datadog{API: client.Repeatable()}
	known, err := catalog.BuiltIn()
	if err != nil {
		return serverless.Function{}, err
	}
	why := analysis.Options{Metrics: datadog, Events: datadog, Catalog: known, Scope: scope, Service: service}
	if remediation != "" {
		why.Overrides = analysis.Remediation{URL: remediation, Secret: accepted[0].Reveal(), HTTP: &http.Client{}}
	}
	analyst, err := analysis.New(why)
	if err != nil {
		return serverless.Function{}, err
	}
	f, err := insights.New(insights.Options{Metrics: datadog, Analysis: analyst, Telemetry: d.Telemetry, Scope: scope, Window: window})
	if err != nil {
		return serverless.Function{}, err
	}
	job := &serverless.Job{Method: http.MethodGet, Path: "/insights", Header: http.Header{insights.EmitHeader: {insights.EmitScore}}}
	return serverless.Function{Handler: f.Handler(), Auth: auth, Schedule: job}, nil
}
