package wire_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/functions/wire"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

type vars map[string]string

func (v vars) get(name string) string { return v[name] }

// start builds a data function from variables, and hands out its gateway.
func start(t *testing.T, v vars) (serverless.Function, *gateway.Gateway, error) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	client, err := telemetry.New(telemetry.Options{Sink: &telemetry.Memory{}, Logger: logger, Function: "qa"})
	if err != nil {
		t.Fatal(err)
	}
	var gw *gateway.Gateway
	f, err := wire.DataFunction(func(g *gateway.Gateway) (http.Handler, error) {
		gw = g
		return http.NotFoundHandler(), nil
	})(t.Context(), serverless.Deps{Getenv: v.get, Logger: logger, Telemetry: client})
	return f, gw, err
}

// TestFailoverToTheNextOfTheRoute has an OpenAI-compatible server that knows no model, with the embedded model behind it.
func TestFailoverToTheNextOfTheRoute(t *testing.T) {
	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Model string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("request: %v", err)
		}
		asked = body.Model
		http.Error(w, "no such model", http.StatusNotFound)
	}))
	defer server.Close()
	f, gw, err := start(t, vars{
		"LRCP_STATE": "bolt:" + filepath.Join(t.TempDir(), "state"), "LRCP_API_KEYS": "web:" + strings.Repeat("0", 64),
		"LRCP_PROVIDER": "openai,embedded", "OPENAI_BASE_URL": server.URL, "LRCP_MODEL_STANDARD": "big",
	})
	if err != nil {
		t.Fatal(err)
	}
	if h := f.Health(t.Context()); h.Provider != "openai" || !h.ControlReachable {
		t.Errorf("health: got %+v, want openai and a control state", h)
	}
	e, err := gw.Do(t.Context(), gateway.Call{Function: "qa", Request: llm.Request{
		Type: llm.QA, Question: "When was the mill built?", Document: "The mill was built in 1732.",
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if asked != "big" || e.Provider != "embedded" || len(e.Attempts) != 2 || !strings.Contains(e.Output, "1732") {
		t.Errorf("asked for %q, then %s in %d attempts: %q; want big, then embedded in 2 with the year", asked, e.Provider, len(e.Attempts), e.Output)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestBadConfigurationIsReportedWhole(t *testing.T) {
	_, _, err := start(t, vars{"LRCP_PROVIDER": "oracle", "LRCP_TIMEOUT": "soon"})
	for _, name := range []string{"LRCP_STATE", "LRCP_API_KEYS", "LRCP_PROVIDER", "LRCP_TIMEOUT"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %s", err, name)
		}
	}
}
