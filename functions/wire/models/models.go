// Package models builds the model providers that the environment names. It chooses between adapters; nothing above it knows
// which ones there are.
//
// The SDKs are most of a binary, of its memory and of its cold start, whether they are called or not. So a build can leave out
// those that a deployment's route does not name, by the build tags without_gemini and without_openai; package buildtags of
// infra says which ones deployments set. A route that names what was left out is refused.
package models

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
)

// The names that LRCP_PROVIDER may list.
const (
	VertexAI = "vertexai"
	GenAI    = "genai"
	OpenAI   = "openai"
	Embedded = embedded.Provider
)

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
	gemini := &gemini{env: e, known: known}
	for _, provider := range e.List("LRCP_PROVIDER", route...) {
		if seen[provider] {
			e.Refuse("LRCP_PROVIDER", "must name a provider once")
			continue
		}
		seen[provider] = true
		switch provider {
		case VertexAI:
			backends = append(backends, gemini.regional(ctx))
		case GenAI:
			backends = append(backends, gemini.global(ctx))
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
