package genai_test

import (
	"testing"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/genai"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini/geminitest"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// open returns a model that calls a stand-in.
func open(t testing.TB, s *vertextest.Server) llm.Model {
	t.Helper()
	m, err := genai.New(t.Context(), genai.Options{Project: geminitest.Project, Location: geminitest.Location, BaseURL: s.REST})
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

func TestAgainstTheStandIn(t *testing.T) {
	geminitest.Run(t, geminitest.Adapter{Transport: "rest", Open: open})
}
