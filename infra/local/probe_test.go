package local_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/functions/completion"
	"github.com/llm-reliability/control-plane/functions/probe"
	"github.com/llm-reliability/control-plane/functions/qa"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// TestTheGoldenSetHoldsForTheEmbeddedModel asks the real handlers, since every provider must pass the set that comes with the probe.
func TestTheGoldenSetHoldsForTheEmbeddedModel(t *testing.T) {
	models, err := catalog.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	for _, tier := range []catalog.Tier{catalog.Economy, catalog.Standard, catalog.Quality} {
		t.Run(string(tier), func(t *testing.T) {
			reader, err := control.NewReader(control.ReaderOptions{Store: &controltest.Memory{}, Base: control.Settings{Model: string(tier)}})
			if err != nil {
				t.Fatal(err)
			}
			gw, err := gateway.New(gateway.Options{Catalog: models, Control: reader, Backends: []gateway.Backend{
				{Provider: embedded.Provider, Model: embedded.New(), Tiers: models.TierModels(embedded.Provider)},
			}})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			for route, build := range map[string]func() (http.Handler, error){
				"/qa":         func() (http.Handler, error) { return qa.New(qa.Options{Gateway: gw}) },
				"/completion": func() (http.Handler, error) { return completion.New(completion.Options{Gateway: gw}) },
			} {
				h, err := build()
				if err != nil {
					t.Fatal(err)
				}
				mux.Handle(route, serverless.Wrap(serverless.Function{Handler: h}, serverless.Options{Name: route[1:]}))
			}
			server := httptest.NewServer(mux)
			defer server.Close()
			f, err := probe.New(probe.Options{QAURL: server.URL, CompletionURL: server.URL, APIKey: "k"})
			if err != nil {
				t.Fatal(err)
			}
			report := f.Run(t.Context())
			for _, c := range report.Cases {
				if !c.Passed || c.Model != "embedded-"+string(tier) || c.Provider != embedded.Provider {
					t.Errorf("%+v", c)
				}
			}
			if !report.Passed || report.Totals.Facts == 0 || report.Totals.Facts != report.Totals.FactsFound {
				t.Errorf("passed %v, totals %+v", report.Passed, report.Totals)
			}
		})
	}
}

// TestAProbeOfTheStackIsSeenByTheStandIn sends the real metrics and evaluations over the real wire formats.
func TestAProbeOfTheStackIsSeenByTheStandIn(t *testing.T) {
	s := start(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/probe", bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.ControlSecret)
	resp, err := s.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var report probe.Report
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %v", resp.StatusCode, err)
	}
	if !report.Passed {
		t.Errorf("report %+v", report)
	}
	// Every evaluation is of the workflow span of one request, which it finds by its tag.
	workflows := map[string]bool{}
	for _, span := range s.Datadog.Intake().LLMSpans() {
		for _, tag := range span.Tags {
			if id, ok := strings.CutPrefix(tag, "request_id:"); ok && span.Kind == "workflow" {
				workflows[id] = true
			}
		}
	}
	evaluated := map[string]int{}
	for _, e := range s.Datadog.Intake().Evaluations() {
		if !strings.HasPrefix(e.Label, "probe_") {
			continue
		}
		evaluated[e.Label]++
		if e.JoinOn.Tag == nil || e.JoinOn.Tag.Key != "request_id" || !workflows[e.JoinOn.Tag.Value] || e.ScoreValue == nil || *e.ScoreValue < 0.5 {
			t.Errorf("evaluation %+v of %+v", e, e.JoinOn.Tag)
		}
	}
	n := len(report.Cases)
	withDocument := len(slices.DeleteFunc(report.Cases, func(c probe.Result) bool { return c.Groundedness == nil }))
	if evaluated["probe_passed"] != n || evaluated["probe_facts"] != n || evaluated["probe_groundedness"] != withDocument {
		t.Errorf("evaluations %v of %d cases, %d with a document", evaluated, n, withDocument)
	}
	if counts := s.Datadog.Intake().Counts(); len(counts.Malformed) > 0 {
		t.Errorf("malformed: %v", counts.Malformed)
	}
}
