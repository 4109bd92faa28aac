//go:build without_openai

package models

import (
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
)

func openAI(e *env.Env) gateway.Backend { return leftOut(e, OpenAI, "without_openai") }
