// Package models builds the model providers that the environment names. It chooses between adapters; nothing above it knows
// which ones there are.
package models

import (
	"strings"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	"github.com/llm-reliability/control-plane/shared/llm/openai"
)

// Backends returns the model providers that the environment names, in the order in which they are tried. What is wrong is
// recorded in e; then the result is of no use.
//
// The environment: LRCP_PROVIDER is a list of embedded (the default) and openai. For openai there are OPENAI_BASE_URL and
// OPENAI_API_KEY, which is required where the base URL is OpenAI's, and the models LRCP_MODEL_STANDARD (required),
// LRCP_MODEL_ECONOMY and LRCP_MODEL_QUALITY. A tier without a model of its own is served by the standard one, so that a
// switch to the tier never leaves requests without a model.
func Backends(e *env.Env, known *catalog.Catalog, fallback ...string) []gateway.Backend {
	var backends []gateway.Backend
	seen := map[string]bool{}
	for _, provider := range e.List("LRCP_PROVIDER", fallback...) {
		if seen[provider] {
			e.Refuse("LRCP_PROVIDER", "must name a provider once")
			continue
		}
		seen[provider] = true
		switch provider {
		case embedded.Provider:
			backends = append(backends, gateway.Backend{Provider: provider, Model: embedded.New(), Tiers: known.TierModels(provider)})
		case openai.Provider:
			backends = append(backends, openAI(e))
		default:
			e.Refuse("LRCP_PROVIDER", "must be a list of "+strings.Join([]string{embedded.Provider, openai.Provider}, ", "))
		}
	}
	return backends
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
	return gateway.Backend{Provider: openai.Provider, Model: model, Tiers: tiers}
}
