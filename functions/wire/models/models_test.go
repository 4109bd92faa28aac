package models_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/wire/models"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
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
			known, err := catalog.BuiltIn()
			if err != nil {
				t.Fatal(err)
			}
			e := env.New(tt.vars.get)
			backends := models.Backends(e, known, "embedded")
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
