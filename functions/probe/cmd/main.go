// Command probe is the deployed function: on Lambda, on Cloud Run, or on this machine.
package main

import (
	"context"
	"net/http"
	"time"

	"github.com/llm-reliability/control-plane/functions/probe"
	"github.com/llm-reliability/control-plane/functions/wire/secrets"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/serverless/googleid"
)

func main() {
	serverless.Main("probe", secrets.Reading(build, "LRCP_CONTROL_SECRETS", "LRCP_PROBE_API_KEY"))
}

// build reads the environment:
//
//	LRCP_CONTROL_SECRETS        one bearer secret, or two during a rotation; required
//	LRCP_SCHEDULE_AUDIENCE, LRCP_SCHEDULE_IDENTITY   the schedule of Google Cloud that is let in, too; see googleid
//	LRCP_PROBE_QA_URL           the address of the function qa; required
//	LRCP_PROBE_COMPLETION_URL   the address of the function completion; required
//	LRCP_PROBE_API_KEY          the API key that both let the probe in with; required
//	LRCP_PROBE_TIMEOUT          the longest time for one question; 20s when not set
func build(_ context.Context, d serverless.Deps) (serverless.Function, error) {
	e := env.New(d.Getenv)
	auth := serverless.AnyOf(serverless.ControlSecretsFromEnv(e, "LRCP_CONTROL_SECRETS"), googleid.FromEnv(e))
	opts := probe.Options{
		QAURL:         e.RequiredURL("LRCP_PROBE_QA_URL"),
		CompletionURL: e.RequiredURL("LRCP_PROBE_COMPLETION_URL"),
		APIKey:        e.RequiredSecret("LRCP_PROBE_API_KEY"),
		Timeout:       e.Duration("LRCP_PROBE_TIMEOUT", 20*time.Second),
		Telemetry:     d.Telemetry,
	}
	if err := e.Err(); err != nil {
		return serverless.Function{}, err
	}
	f, err := probe.New(opts)
	if err != nil {
		return serverless.Function{}, err
	}
	job := &serverless.Job{Method: http.MethodPost, Path: "/probe"}
	return serverless.Function{Handler: f.Handler(), Auth: auth, Schedule: job}, nil
}
