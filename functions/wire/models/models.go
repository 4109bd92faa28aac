// Package models builds the model providers that the environment names. It chooses between adapters; nothing above it knows
// which ones there are.
package models

import (
	"context"
	"errors"
	"io"
	"strings"

	"cloud.google.com/go/auth"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	"github.com/llm-reliability/control-plane/shared/llm/genai"
	"github.com/llm-reliability/control-plane/shared/llm/googleauth"
	"github.com/llm-reliability/control-plane/shared/llm/openai"
	"github.com/llm-reliability/control-plane/shared/llm/vertexai"
)

// The names that LRCP_PROVIDER may list.
const (
	VertexAI = "vertexai"
	GenAI    = "genai"
	OpenAI   = openai.Provider
	Embedded = embedded.Provider
)

// google is the provider of vertexai and genai in responses, telemetry and the catalogue.
const google = "google"

// Deployed is the route of a deployed function whose environment names none: Gemini in the configured region, then Gemini
// wherever Google has room for it, by the other SDK.
func Deployed() []string { return []string{VertexAI, GenAI} }

// Backends returns the model providers that the environment names, in the order in which they are tried: LRCP_PROVIDER, or
// route where that is not set. What is wrong is recorded in e; then the result is of no use. Nothing is called yet.
//
// For vertexai and genai:
//
//	GOOGLE_CLOUD_PROJECT      required
//	GOOGLE_CLOUD_LOCATION     the region of vertexai; required for it
//	LRCP_GENAI_LOCATION       the location of genai; global when not set
//	LRCP_VERTEXAI_TRANSPORT   rest or grpc; rest when not set: a connection of gRPC lives in the background, where functions are frozen
//	LRCP_GOOGLE_CREDENTIALS   the JSON of a workload identity federation; application default credentials when not set
//	LRCP_GEMINI_MODEL_ECONOMY, …_STANDARD, …_QUALITY   the models; those of the catalogue when not set
//	VERTEX_AI_EMULATOR_HOST   the host:port of a stand-in, which is called without TLS and without credentials
//
// For openai:
//
//	OPENAI_BASE_URL, OPENAI_API_KEY   the key is required where the base URL is OpenAI's, which is the default
//	LRCP_MODEL_STANDARD               required
//	LRCP_MODEL_ECONOMY, …_QUALITY     the standard model when not set, so that a switch never leaves requests without one
func Backends(ctx context.Context, e *env.Env, known *catalog.Catalog, route ...string) []gateway.Backend {
	var backends []gateway.Backend
	seen := map[string]bool{}
	vertex := &vertexAI{env: e, known: known}
	for _, provider := range e.List("LRCP_PROVIDER", route...) {
		if seen[provider] {
			e.Refuse("LRCP_PROVIDER", "must name a provider once")
			continue
		}
		seen[provider] = true
		switch provider {
		case VertexAI:
			backends = append(backends, vertex.regional(ctx))
		case GenAI:
			backends = append(backends, vertex.global(ctx))
		case OpenAI:
			backends = append(backends, openAI(e))
		case Embedded:
			backends = append(backends, gateway.Backend{Provider: provider, Model: embedded.New(), Tiers: known.TierModels(provider)})
		default:
			e.Refuse("LRCP_PROVIDER", "must be a list of "+strings.Join([]string{VertexAI, GenAI, OpenAI, Embedded}, ", "))
		}
	}
	return backends
}

// Close releases the connections of backends. Calls that are under way fail.
func Close(backends []gateway.Backend) error {
	var errs []error
	for _, b := range backends {
		if c, ok := b.Model.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// openAI builds the backend for the server at OPENAI_BASE_URL.
func openAI(e *env.Env) gateway.Backend {
	base, key := e.String("OPENAI_BASE_URL", openai.DefaultBaseURL), e.Secret("OPENAI_API_KEY")
	if key == "" && strings.TrimSuffix(base, "/") == openai.DefaultBaseURL {
		e.Refuse("OPENAI_API_KEY", "is required")
	}
	standard := e.Required("LRCP_MODEL_STANDARD")
	tiers := map[catalog.Tier]string{
		catalog.Economy:  e.String("LRCP_MODEL_ECONOMY", standard),
		catalog.Standard: standard,
		catalog.Quality:  e.String("LRCP_MODEL_QUALITY", standard),
	}
	model, err := openai.New(openai.Options{BaseURL: base, APIKey: key})
	if err != nil {
		e.Refuse("OPENAI_BASE_URL", "must be a URL like "+openai.DefaultBaseURL)
	}
	return gateway.Backend{Provider: OpenAI, Model: model, Tiers: tiers}
}

// vertexAI builds the backends of Google. They share their credentials, so that one token is fetched for both.
type vertexAI struct {
	env         *env.Env
	known       *catalog.Catalog
	credentials *googleauth.Credentials
}

// regional is the backend in the configured region, by cloud.google.com/go/vertexai.
func (v *vertexAI) regional(ctx context.Context) gateway.Backend {
	location := v.env.Required("GOOGLE_CLOUD_LOCATION")
	rest := v.env.OneOf("LRCP_VERTEXAI_TRANSPORT", "rest", "rest", "grpc") == "rest"
	return v.backend(location, func(project, emulator string, as *auth.Credentials) (llm.Model, error) {
		return vertexai.New(ctx, vertexai.Options{Project: project, Location: location, Credentials: as, REST: rest, Endpoint: emulator})
	})
}

// global is the backend at all locations of Google, by google.golang.org/genai.
func (v *vertexAI) global(ctx context.Context) gateway.Backend {
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
func (v *vertexAI) backend(location string, model func(project, emulator string, as *auth.Credentials) (llm.Model, error)) gateway.Backend {
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
