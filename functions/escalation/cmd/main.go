// Command escalation is the deployed function: on Lambda, on Cloud Run, or on this machine.
package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/llm-reliability/control-plane/functions/escalation"
	"github.com/llm-reliability/control-plane/functions/wire/secrets"
	"github.com/llm-reliability/control-plane/functions/wire/state"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/serverless/googleid"
)

func main() {
	serverless.Main("escalation", secrets.Reading(build, "LRCP_CONTROL_SECRETS", "DD_API_KEY", "LRCP_ESCALATION_APP_KEY"))
}

// build reads the environment, besides LRCP_STATE and the rest of state.FromEnv:
//
//	LRCP_CONTROL_SECRETS      one bearer secret, or two during a rotation; required
//	LRCP_SCHEDULE_AUDIENCE, LRCP_SCHEDULE_IDENTITY   the schedule of Google Cloud that is let in, too; see googleid
//	DD_API_KEY                a key of Datadog; required
//	LRCP_ESCALATION_APP_KEY   an application key of Datadog with the permissions incident_read, incident_write and on_call_page, which
//	                          no other function has; required
//	DD_SITE                   the site of Datadog; datadoghq.com when not set
//	LRCP_DATADOG_URL          the address of a stand-in for Datadog's API; the site's when not set
//	DD_SERVICE                the service that incidents and pages are about; llm-reliability-control-plane when not set
//	LRCP_ESCALATION_TEAM      the handle of the team that is paged; llm-platform when not set
func build(ctx context.Context, d serverless.Deps) (serverless.Function, error) {
	e := env.New(d.Getenv)
	where := state.FromEnv(e)
	auth := serverless.AnyOf(serverless.ControlSecretsFromEnv(e, "LRCP_CONTROL_SECRETS"), googleid.FromEnv(e))
	apiKey, appKey := e.RequiredSecret("DD_API_KEY"), e.RequiredSecret("LRCP_ESCALATION_APP_KEY")
	site, base := e.String("DD_SITE", "datadoghq.com"), e.String("LRCP_DATADOG_URL", "")
	opts := escalation.Options{
		Service: e.String("DD_SERVICE", "llm-reliability-control-plane"), Team: e.String("LRCP_ESCALATION_TEAM", "llm-platform"), Telemetry: d.Telemetry,
	}
	if err := e.Err(); err != nil {
		return serverless.Function{}, err
	}
	var err error
	if opts.Datadog, err = ddapi.New(ddapi.Options{Site: site, APIKey: apiKey.Reveal(), AppKey: appKey.Reveal(), BaseURL: base}); err != nil {
		return serverless.Function{}, err
	}
	if opts.Store, err = where.OpenOutbox(ctx, "escalation"); err != nil {
		return serverless.Function{}, err
	}
	f, err := escalation.New(opts)
	if err != nil {
		return serverless.Function{}, errors.Join(err, opts.Store.Close())
	}
	return serverless.Function{
		Handler: f.Handler(), Auth: auth, Schedule: &serverless.Job{Method: http.MethodPost, Path: "/escalation/queue"},
		Health: func(ctx context.Context) serverless.Health {
			return serverless.Health{ControlReachable: opts.Store.Ping(ctx) == nil}
		},
		Close: func(context.Context) error { return opts.Store.Close() },
	}, nil
}
