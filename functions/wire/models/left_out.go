//go:build without_gemini || without_openai

package models

import (
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
)

// leftOut refuses a provider whose SDK this binary was built without.
func leftOut(e *env.Env, provider, tag string) gateway.Backend {
	e.Refuse("LRCP_PROVIDER", "names "+provider+", which this binary was built without (build tag "+tag+")")
	return gateway.Backend{Provider: provider}
}
