//go:build !without_openai

package models

import (
	"strings"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm/openai"
)

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
