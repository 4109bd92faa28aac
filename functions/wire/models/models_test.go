package models_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/wire/models"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

type vars map[string]string

func (v vars) get(name string) string { return v[name] }

// credentials are a workload identity federation as Lambda has one. Nobody is asked before a token is needed.
const credentials = `{"type":"external_account","audience":"//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/aws",
	"subject_token_type":"urn:ietf:params:aws:token-type:aws4_request","token_url":"https://sts.googleapis.com/v1/token",
	"service_account_impersonation_url":"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/lrcp@p.iam.gserviceaccount.com:generateAccessToken",
	"credential_source":{"environment_id":"aws1","regional_cred_verification_url":"https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"}}`

// google returns variables for Gemini in a region, and more.
func google(more ...string) vars {
	v := vars{"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "europe-west1", "LRCP_GOOGLE_CREDENTIALS": credentials}
	for i := 0; i < len(more); i += 2 {
		v[more[i]] = more[i+1]
	}
	return v
}

// backend is what a table can say of a gateway.Backend.
type backend struct {
	Provider, Location string
	Tiers              map[catalog.Tier]string
}

func TestEnvironmentChoosesTheRoute(t *testing.T) {
	tiers := func(economy, standard, quality string) map[catalog.Tier]string {
		return map[catalog.Tier]string{catalog.Economy: economy, catalog.Standard: standard, catalog.Quality: quality}
	}
	embedded := backend{"embedded", "", tiers("embedded-economy", "embedded-standard", "embedded-quality")}
	gemini := func(location string) backend {
		return backend{"google", location, tiers("gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-3.1-pro-preview")}
	}
	const local = "http://localhost:8000/v1"
	for name, tt := range map[string]struct {
		vars vars
		want []backend
		// bad is the whole error, where one is wanted.
		bad string
	}{
		"nothing set is the embedded model":            {vars{}, []backend{embedded}, ""},
		"the embedded model by its name":               {vars{"LRCP_PROVIDER": "embedded"}, []backend{embedded}, ""},
		"a local server without a key, with one model": {vars{"LRCP_PROVIDER": "openai", "OPENAI_BASE_URL": local, "LRCP_MODEL_STANDARD": "m"}, []backend{{"openai", "", tiers("m", "m", "m")}}, ""},
		"OpenAI with a model for each tier": {
			vars{"LRCP_PROVIDER": "openai", "OPENAI_API_KEY": "sk-1", "LRCP_MODEL_ECONOMY": "e", "LRCP_MODEL_STANDARD": "s", "LRCP_MODEL_QUALITY": "q"},
			[]backend{{"openai", "", tiers("e", "s", "q")}}, "",
		},
		"a route of two, in its order":      {vars{"LRCP_PROVIDER": "openai, embedded", "OPENAI_BASE_URL": local, "LRCP_MODEL_STANDARD": "m"}, []backend{{"openai", "", tiers("m", "m", "m")}, embedded}, ""},
		"the same the other way round":      {vars{"LRCP_PROVIDER": "embedded,openai", "OPENAI_BASE_URL": local, "LRCP_MODEL_STANDARD": "m"}, []backend{embedded, {"openai", "", tiers("m", "m", "m")}}, ""},
		"Gemini in a region, then anywhere": {google("LRCP_PROVIDER", "vertexai,genai"), []backend{gemini("europe-west1"), gemini("global")}, ""},
		"Gemini anywhere needs no region":   {vars{"LRCP_PROVIDER": "genai", "GOOGLE_CLOUD_PROJECT": "p", "LRCP_GOOGLE_CREDENTIALS": credentials}, []backend{gemini("global")}, ""},
		"Gemini in two regions":             {google("LRCP_PROVIDER", "vertexai,genai", "LRCP_GENAI_LOCATION", "us-east5", "LRCP_VERTEXAI_TRANSPORT", "grpc"), []backend{gemini("europe-west1"), gemini("us-east5")}, ""},
		"Gemini, with another model for a tier": {
			google("LRCP_PROVIDER", "vertexai", "LRCP_GEMINI_MODEL_QUALITY", "gemini-3.5-flash"),
			[]backend{{"google", "europe-west1", tiers("gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-3.5-flash")}}, "",
		},
		"Gemini at a stand-in needs no credentials":    {vars{"LRCP_PROVIDER": "genai", "GOOGLE_CLOUD_PROJECT": "p", "VERTEX_AI_EMULATOR_HOST": "127.0.0.1:1"}, []backend{gemini("global")}, ""},
		"Gemini without project and region":            {vars{"LRCP_PROVIDER": "vertexai,genai", "LRCP_GOOGLE_CREDENTIALS": credentials}, nil, "configuration: GOOGLE_CLOUD_LOCATION is required; GOOGLE_CLOUD_PROJECT is required"},
		"Gemini over something else":                   {google("LRCP_PROVIDER", "vertexai", "LRCP_VERTEXAI_TRANSPORT", "smtp"), nil, "configuration: LRCP_VERTEXAI_TRANSPORT must be one of rest, grpc"},
		"a provider that does not exist":               {vars{"LRCP_PROVIDER": "oracle"}, nil, "configuration: LRCP_PROVIDER must be a list of vertexai, genai, openai, embedded"},
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
			backends := models.Backends(t.Context(), e, known, "embedded")
			t.Cleanup(func() {
				if err := models.Close(backends); err != nil {
					t.Errorf("close: %v", err)
				}
			})
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
				got = append(got, backend{b.Provider, b.Location, b.Tiers})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("route (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRouteOfADeployment asks a model that the region does not have: the answer comes from everywhere.
func TestRouteOfADeployment(t *testing.T) {
	server := vertextest.Start(t, vertextest.Options{Reply: func(r *vertextest.Request) vertextest.Reply {
		if r.Location == "europe-west1" {
			return vertextest.Reply{Error: vertextest.NoSuchModel(r)}
		}
		return vertextest.Answer(r)
	}})
	known, err := catalog.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	e := env.New(vars{
		"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "europe-west1",
		"VERTEX_AI_EMULATOR_HOST": server.Host,
	}.get)
	backends := models.Backends(t.Context(), e, known, models.Deployed()...)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := models.Close(backends); err != nil {
			t.Error(err)
		}
	}()
	gw, err := gateway.New(gateway.Options{Backends: backends, Catalog: known, Control: fixed{Model: "standard"}})
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := gw.Do(t.Context(), gateway.Call{Start: time.Now(), Model: "gemini-1.5-pro", Request: llm.Request{
		Type: llm.Completion, Messages: []llm.Message{{Role: llm.User, Content: "Who?"}},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, r := range server.Requests() {
		asked = append(asked, r.Location+" "+r.Model)
	}
	if diff := cmp.Diff([]string{"europe-west1 gemini-3.1-pro-preview", "global gemini-3.1-pro-preview"}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if exchange.Output == "" || !strings.HasPrefix(exchange.Model, "gemini-3.1-pro-preview") || exchange.Tier != "quality" || exchange.CostUSD == nil {
		t.Errorf("got %q of %s, tier %s, cost %v; want an answer of gemini-3.1-pro-preview, quality, and its cost", exchange.Output, exchange.Model, exchange.Tier, exchange.CostUSD)
	}
}

// fixed are settings that nothing changes.
type fixed control.Settings

func (f fixed) Settings(context.Context, control.Target, string) (control.Settings, bool) {
	return control.Settings(f), false
}
