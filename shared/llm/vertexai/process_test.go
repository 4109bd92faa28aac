package vertexai_test

import (
	"context"
	"io"
	"testing"

	"cloud.google.com/go/auth"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini/geminitest"
	"github.com/llm-reliability/control-plane/shared/llm/vertexai"
)

func TestMain(m *testing.M) {
	geminitest.Main(m, func(ctx context.Context, p geminitest.Process, credentials *auth.Credentials) (interface {
		llm.Model
		io.Closer
	}, error) {
		return vertexai.New(ctx, vertexai.Options{
			Project: geminitest.Project, Location: p.Location, REST: p.Transport == "rest", Credentials: credentials,
		})
	})
}

func TestProductionCallsVertexAI(t *testing.T) {
	const region, europe, global = geminitest.Location, geminitest.Location + "-aiplatform.googleapis.com", "aiplatform.googleapis.com"
	geminitest.Production(t, map[string]geminitest.Process{
		"gRPC":                                  {Transport: "grpc", Location: region, Credentials: "given", Host: europe},
		"gRPC, global":                          {Transport: "grpc", Location: "global", Credentials: "given", Host: global},
		"gRPC, application default credentials": {Transport: "grpc", Location: region, Credentials: "default", Host: europe},
		"gRPC, a token that is refused":         {Transport: "grpc", Location: region, Credentials: "refused", Host: europe, Want: "unauthenticated"},
		"gRPC, no token for now":                {Transport: "grpc", Location: region, Credentials: "down", Host: europe, Want: "provider_fault"},
		"REST":                                  {Transport: "rest", Location: region, Credentials: "given", Host: europe},
		"gRPC, a multi-region":                  {Transport: "grpc", Location: "eu", Credentials: "given", Host: "aiplatform.eu.rep.googleapis.com"},
		"REST, a multi-region":                  {Transport: "rest", Location: "us", Credentials: "given", Host: "aiplatform.us.rep.googleapis.com"},
		"REST, global":                          {Transport: "rest", Location: "global", Credentials: "given", Host: global},
		"REST with application default credentials": {Transport: "rest", Location: "global", Credentials: "default", Host: global},
		"REST, a token that is refused":             {Transport: "rest", Location: region, Credentials: "refused", Want: "unauthenticated"},
		"REST, no token for now":                    {Transport: "rest", Location: region, Credentials: "down", Want: "provider_fault"},
	})
}
