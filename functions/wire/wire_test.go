package wire_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/wire"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

type vars map[string]string

func (v vars) get(name string) string { return v[name] }

// backend is what a table can say of a gateway.Backend.
type backend struct {
	Provider string
	Tiers    map[catalog.Tier]string
}

func TestEnvironmentChoosesTheRoute(t *testing.T) {
	tiers := func(economy, standard, quality string) map[catalog.Tier]string {
		return map[catalog.Tier]string{catalog.Economy: economy, catalog.Standard: standard, catalog.Quality: quality}
	}
	embedded := backend{"embedded", tiers("embedded-economy", "embedded-standard", "embedded-quality")}
	const local = "http://localhost:8000/v1"
	for name, tt := range map[string]struct {
		vars vars
		want []backend
		// bad is the whole error, where one is wanted.
		bad string
	}{
		"nothing set is the embedded model":            {vars{}, []backend{embedded}, ""},
		"the embedded model by its name":               {vars{"LRCP_PROVIDER": "embedded"}, []backend{embedded}, ""},
		"a local server without a key, with one model": {vars{"LRCP_PROVIDER": "openai", "OPENAI_BASE_URL": local, "LRCP_MODEL_STANDARD": "m"}, []backend{{"openai", tiers("m", "m", "m")}}, ""},
		"OpenAI with a model for each tier": {
			vars{"LRCP_PROVIDER": "openai", "OPENAI_API_KEY": "sk-1", "LRCP_MODEL_ECONOMY": "e", "LRCP_MODEL_STANDARD": "s", "LRCP_MODEL_QUALITY": "q"},
			[]backend{{"openai", tiers("e", "s", "q")}}, "",
		},
		"a route of two, in its order":                 {vars{"LRCP_PROVIDER": "openai, embedded", "OPENAI_BASE_URL": local, "LRCP_MODEL_STANDARD": "m"}, []backend{{"openai", tiers("m", "m", "m")}, embedded}, ""},
		"the same the other way round":                 {vars{"LRCP_PROVIDER": "embedded,openai", "OPENAI_BASE_URL": local, "LRCP_MODEL_STANDARD": "m"}, []backend{embedded, {"openai", tiers("m", "m", "m")}}, ""},
		"a provider that does not exist":               {vars{"LRCP_PROVIDER": "oracle"}, nil, "configuration: LRCP_PROVIDER must be a list of embedded, openai"},
		"a provider named twice":                       {vars{"LRCP_PROVIDER": "embedded,embedded"}, nil, "configuration: LRCP_PROVIDER must name a provider once"},
		"OpenAI without key and model, both are named": {vars{"LRCP_PROVIDER": "openai"}, nil, "configuration: LRCP_MODEL_STANDARD is required; OPENAI_API_KEY is required"},
		"an address that is none":                      {vars{"LRCP_PROVIDER": "openai", "OPENAI_BASE_URL": "localhost:8000", "LRCP_MODEL_STANDARD": "m"}, nil, "configuration: OPENAI_BASE_URL must be a URL like https://api.openai.com/v1"},
	} {
		t.Run(name, func(t *testing.T) {
			models, err := catalog.BuiltIn()
			if err != nil {
				t.Fatal(err)
			}
			e := env.New(tt.vars.get)
			backends := wire.Backends(e, models)
			if err := e.Err(); err != nil || tt.bad != "" {
				if err == nil || err.Error() != tt.bad {
					t.Errorf("error: got %v, want %q", err, tt.bad)
				}
				return
			}
			var got []backend
			for _, b := range backends {
				if b.Model == nil {
					t.Errorf("%s has no model", b.Provider)
				}
				got = append(got, backend{b.Provider, b.Tiers})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("route (-want +got):\n%s", diff)
			}
		})
	}
}

// start builds a data function from variables, and hands out its gateway.
func start(t *testing.T, v vars) (serverless.Function, *gateway.Gateway, error) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	client, err := telemetry.New(telemetry.Options{Sink: &telemetry.Memory{}, Logger: logger, Function: "qa"})
	if err != nil {
		t.Fatal(err)
	}
	var gw *gateway.Gateway
	f, err := wire.DataFunction(serverless.Deps{Getenv: v.get, Logger: logger, Telemetry: client}, func(g *gateway.Gateway) (http.Handler, error) {
		gw = g
		return http.NotFoundHandler(), nil
	})
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
