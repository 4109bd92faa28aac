//go:build without_gemini

package models

import (
	"context"

	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
)

type gemini struct {
	env   *env.Env
	known *catalog.Catalog
}

func (g *gemini) regional(context.Context) gateway.Backend {
	return leftOut(g.env, VertexAI, "without_gemini")
}

func (g *gemini) global(context.Context) gateway.Backend {
	return leftOut(g.env, GenAI, "without_gemini")
}
