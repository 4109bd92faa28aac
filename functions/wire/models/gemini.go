//go:build !without_gemini

package models

import (
	"context"
	"strings"

	"cloud.google.com/go/auth"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/genai"
	"github.com/llm-reliability/control-plane/shared/llm/googleauth"
	"github.com/llm-reliability/control-plane/shared/llm/vertexai"
)

// google is the provider of vertexai and genai in responses, telemetry and the catalogue.
const google = "google"

// gemini builds the backends of Google: Gemini by either SDK. They share their credentials, so that one token is fetched for both.
type gemini struct {
	env         *env.Env
	known       *catalog.Catalog
	credentials *googleauth.Credentials
}

// regional is the backend in the configured region, by cloud.google.com/go/vertexai.
func (v *gemini) regional(ctx context.Context) gateway.Backend {
	location := v.env.Required("GOOGLE_CLOUD_LOCATION")
	rest := v.env.OneOf("LRCP_VERTEXAI_TRANSPORT", "rest", "rest", "grpc") == "rest"
	return v.backend(location, func(project, emulator string, as *auth.Credentials) (llm.Model, error) {
		return vertexai.New(ctx, vertexai.Options{Project: project, Location: location, Credentials: as, REST: rest, Endpoint: emulator})
	})
}

// global is the backend at all locations of Google, by google.golang.org/genai.
func (v *gemini) global(ctx context.Context) gateway.Backend {
	location := v.env.String("LRCP_GENAI_LOCATION", genai.DefaultLocation)
	return v.backend(location, func(project, emulator string, as *auth.Credentials) (llm.Model, error) {
		o := genai.Options{Project: project, Location: location, Credentials: as}
		if emulator != "" {
			o.BaseURL = "http://" + emulator
		}
		return genai.New(ctx, o)
	})
}

// backend reads what both have in common, and makes the model if all is well so far.
func (v *gemini) backend(location string, model func(project, emulator string, as *auth.Credentials) (llm.Model, error)) gateway.Backend {
	tiers := v.known.TierModels(google)
	for _, tier := range catalog.Tiers() {
		tiers[tier] = v.env.String("LRCP_GEMINI_MODEL_"+strings.ToUpper(string(tier)), tiers[tier])
	}
	b := gateway.Backend{Provider: google, Location: location, Tiers: tiers}
	project, emulator := v.env.Required("GOOGLE_CLOUD_PROJECT"), v.env.String("VERTEX_AI_EMULATOR_HOST", "")
	if emulator == "" && v.credentials == nil {
		v.credentials = googleauth.FromEnv(v.env)
	}
	if v.env.Err() != nil {
		return b
	}
	var as *auth.Credentials
	if emulator == "" {
		as = v.credentials.Google()
	}
	m, err := model(project, emulator, as)
	if err != nil {
		v.env.Refuse("LRCP_PROVIDER", "can't be used: "+err.Error())
	}
	b.Model = m
	return b
}
