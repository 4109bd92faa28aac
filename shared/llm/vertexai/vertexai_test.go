package vertexai_test

import (
	"testing"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini/geminitest"
	"github.com/llm-reliability/control-plane/shared/llm/vertexai"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// open returns a model that calls a stand-in.
func open(t testing.TB, s *vertextest.Server, rest bool) llm.Model {
	t.Helper()
	o := vertexai.Options{Project: geminitest.Project, Location: geminitest.Location, REST: rest, Endpoint: s.GRPC}
	if rest {
		o.Endpoint = s.RESTHost()
	}
	m, err := vertexai.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return m
}

func TestGRPC(t *testing.T) {
	geminitest.Run(t, geminitest.Adapter{Transport: "grpc", Open: func(t testing.TB, s *vertextest.Server) llm.Model {
		return open(t, s, false)
	}})
}

func TestREST(t *testing.T) {
	geminitest.Run(t, geminitest.Adapter{Transport: "rest", Open: func(t testing.TB, s *vertextest.Server) llm.Model {
		return open(t, s, true)
	}})
}
