package diagnosis_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/functions/diagnosis"
)

func TestWhichIncidentsConcernUs(t *testing.T) {
	place := func(id string) []any { return []any{map[string]any{"id": id}} }
	product := func(titles ...string) []any {
		var out []any
		for _, title := range titles {
			out = append(out, map[string]any{"title": title})
		}
		return out
	}
	for name, tt := range map[string]struct {
		edit map[string]any
		want string
	}{
		"ours":                                  {nil, "service_disruption"},
		"without an end":                        {map[string]any{"end": nil}, "service_disruption"},
		"with an end to come":                   {map[string]any{"end": "2999-01-01T00:00:00Z"}, "service_disruption"},
		"that is over":                          {map[string]any{"end": "2020-01-02T00:00:00Z"}, "available"},
		"with an end that is no time":           {map[string]any{"end": "yesterday"}, "available"},
		"that is planned":                       {map[string]any{"begin": "2999-01-01T00:00:00Z"}, "available"},
		"of another region":                     {map[string]any{"currently_affected_locations": place("europe-west4")}, "available"},
		"of a region with a longer name":        {map[string]any{"currently_affected_locations": place("us-central10")}, "available"},
		"of the whole world":                    {map[string]any{"currently_affected_locations": place("global")}, "service_disruption"},
		"of no region that is named":            {map[string]any{"currently_affected_locations": []any{}}, "service_disruption"},
		"whose regions are all well again":      {map[string]any{"currently_affected_locations": []any{}, "previously_affected_locations": place("us-central1")}, "available"},
		"whose last update says that all is ok": {map[string]any{"most_recent_update": map[string]any{"status": "AVAILABLE"}}, "available"},
		"of a product that calls no model":      {map[string]any{"affected_products": product("Vertex AI Workbench Instances", "Cloud Run")}, "available"},
		"of ours among others":                  {map[string]any{"affected_products": product("Cloud Run", "VERTEX GEMINI API")}, "service_disruption"},
		"of ours under a new name":              {map[string]any{"affected_products": []any{map[string]any{"title": "Agent Platform", "current_title": "Vertex AI Online Prediction"}}}, "service_disruption"},
		"of ours by the old field":              {map[string]any{"affected_products": nil, "service_name": "Vertex Gemini API"}, "service_disruption"},
		"of unknown weight":                     {map[string]any{"status_impact": "SERVICE_HICCUP"}, "service_disruption"},
		"with fields of other types":            {map[string]any{"id": 7, "external_desc": []any{1}, "severity": nil, "most_recent_update": "none", "begin": true}, "service_disruption"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := diagnosis.Options{Backends: backends(model{}), Feed: feed(t, listing("no object", incident(tt.edit), nil))}
			got := report(t, ask(start(t, opts, &bytes.Buffer{}), "/diagnosis/provider", "", ""))
			if e := got.Evidence[1]; e.Source != "status feed" || e.Observed != tt.want {
				t.Errorf("got %+v, want %s", e, tt.want)
			}
		})
	}
}

func TestWorstIncidentIsTold(t *testing.T) {
	minor := incident(map[string]any{"id": "minor", "status_impact": "SERVICE_INFORMATION"})
	outage := incident(map[string]any{"id": "outage", "status_impact": "SERVICE_OUTAGE", "external_desc": "All calls\n@fail \x00" + strings.Repeat("x", 300)})
	opts := diagnosis.Options{Backends: backends(model{}), Feed: feed(t, listing(minor, outage, minor))}
	got := report(t, ask(start(t, opts, &bytes.Buffer{}), "/diagnosis/provider", "", ""))
	detail := got.Evidence[1].Detail
	if !strings.HasPrefix(detail, "3 open incidents, the worst: outage since 2020-01-01T00:00:00Z: All calls fail xxx") || len(detail) > 300 || !strings.Contains(got.NextAction, "outage") {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseFeed(f *testing.F) {
	doc, err := json.Marshal([]any{incident(nil), incident(map[string]any{"end": "2020-01-02T00:00:00Z"})})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(doc), `[]`, `[null]`, `[{}]`, `{}`, `[{"currently_affected_locations":[{"id":1},2]}]`, `[{"affected_products":{"title":"Vertex"}}]`, ``} {
		f.Add([]byte(seed))
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	known := []diagnosis.Impact{diagnosis.NoImpact, diagnosis.Information, diagnosis.Disruption, diagnosis.Outage}
	f.Fuzz(func(t *testing.T, data []byte) {
		incidents, err := diagnosis.ParseFeed(data, now)
		if err != nil && len(incidents) > 0 {
			t.Errorf("%d incidents and %v", len(incidents), err)
		}
		for _, i := range incidents {
			if i.Begin.After(now) || !slices.Contains(known, i.Impact) || len([]rune(i.Description)) > 201 || strings.ContainsAny(i.Description+i.ID, "\n\r\x00@") {
				t.Errorf("%q: got %+v", data, i)
			}
		}
	})
}
