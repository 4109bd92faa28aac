package genai_test

import (
	"context"
	"io"
	"testing"

	"cloud.google.com/go/auth"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/genai"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini/geminitest"
)

func TestMain(m *testing.M) {
	geminitest.Main(m, func(ctx context.Context, p geminitest.Process, credentials *auth.Credentials) (interface {
		llm.Model
		io.Closer
	}, error) {
		return genai.New(ctx, genai.Options{Project: geminitest.Project, Location: p.Location, Credentials: credentials})
	})
}

func TestProductionCallsVertexAI(t *testing.T) {
	const region, europe, global = geminitest.Location, geminitest.Location + "-aiplatform.googleapis.com", "aiplatform.googleapis.com"
	geminitest.Production(t, map[string]geminitest.Process{
		"a region":                        {Transport: "rest", Location: region, Credentials: "given", Host: europe},
		"global":                          {Transport: "rest", Location: "global", Credentials: "given", Host: global},
		"a multi-region":                  {Transport: "rest", Location: "eu", Credentials: "given", Host: "aiplatform.eu.rep.googleapis.com"},
		"application default credentials": {Transport: "rest", Location: "global", Credentials: "default", Host: global},
		"a token that is refused":         {Transport: "rest", Location: region, Credentials: "refused", Want: "unauthenticated"},
		"no token for now":                {Transport: "rest", Location: region, Credentials: "down", Want: "provider_fault"},
	})
}
