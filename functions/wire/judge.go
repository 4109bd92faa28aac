package wire

import (
	"context"
	"net/http"
	"strconv"

	"github.com/llm-reliability/control-plane/functions/wire/tracking"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/quality/judge"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Judging is what a function needs to have a sample of its answers judged. A Sample of 0 has no Judge.
type Judging struct {
	Judge     *judge.Judge
	Sample    float64
	Telemetry *telemetry.Client
}

// JudgedFunction is a DataFunction some of whose answers are judged by a model.
//
// The environment is that of DataFunction, with LRCP_JUDGE_SAMPLE (the share of answers that are judged, 0 to 1; 0 when not set) and
// LRCP_JUDGE_TIER (economy, standard or quality; economy when not set): the first provider of the route that serves that tier judges.
func JudgedFunction(handler func(*gateway.Gateway, Judging) (http.Handler, error)) Build {
	return tracking.Reading(func(ctx context.Context, d serverless.Deps) (serverless.Function, error) {
		return dataFunction(ctx, d, handler, judgingFromEnv)
	}, dataSecrets()...)
}

// judgingFromEnv reads how answers are judged, by a model of the backends.
func judgingFromEnv(e *env.Env, backends []gateway.Backend, known *catalog.Catalog, t *telemetry.Client) Judging {
	const sample, tierName = "LRCP_JUDGE_SAMPLE", "LRCP_JUDGE_TIER"
	share, err := strconv.ParseFloat(e.String(sample, "0"), 64)
	if err != nil || !(share >= 0 && share <= 1) {
		e.Refuse(sample, "must be a number from 0 to 1")
		return Judging{}
	}
	tier := catalog.Tier(e.OneOf(tierName, string(catalog.Economy), string(catalog.Economy), string(catalog.Standard), string(catalog.Quality)))
	if share == 0 || len(backends) == 0 {
		return Judging{}
	}
	for _, b := range backends {
		if name := b.Tiers[tier]; name != "" {
			j, err := judge.New(judge.Options{Model: b.Model, ModelName: name, Provider: b.Provider, Catalog: known})
			if err != nil {
				e.Refuse(tierName, err.Error())
				return Judging{}
			}
			return Judging{Judge: j, Sample: share, Telemetry: t}
		}
	}
	e.Refuse(tierName, "is served by no provider of the route")
	return Judging{}
}

// unjudged is the judging of a function that has none.
func unjudged(*env.Env, []gateway.Backend, *catalog.Catalog, *telemetry.Client) Judging {
	return Judging{}
}
