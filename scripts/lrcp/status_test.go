package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/infra/local"
	"github.com/llm-reliability/control-plane/shared/control"
)

func TestStatusText(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.Local)
	number := func(v float64) *float64 { return &v }
	source := control.Source{Kind: control.Monitor, Monitor: "Cost Anomaly Detection", Reason: "cost doubled"}
	tests := map[string]struct {
		state theater.State
		want  string
	}{
		"nothing is known": {theater.State{Unavailable: []string{"the overrides"}}, `health    not known
cost      not known

in force
  nothing

fired
  nothing

not readable now: the overrides
`},
		"something is in force": {
			theater.State{
				Health:   &theater.Health{Score: number(74.4), Parts: map[string]theater.Part{"cost": {Score: 12}, "quality": {Score: 100}}},
				Cost:     &theater.Cost{USD: 1.5, Window: "1h"},
				Monitors: []theater.Monitor{{Name: "Error Burst", Status: "OK"}, {Name: "Cost Anomaly Detection", Status: "Alert", Value: number(1), Critical: number(0.8)}},
				InForce:  []control.Override{{Action: control.SwitchModel, Params: control.Params{Model: "economy"}, Start: now, End: now.Add(30 * time.Minute), Source: source}},
				History: []control.Override{{Action: control.EnableCache, Scope: control.Scope{Function: "qa"}, Start: now.Add(-time.Hour), End: now, Source: source,
					Ended: &control.Ending{At: now.Add(-50 * time.Minute), Cause: "reverted"}}},
			},
			`health    74 of 100: cost 12
cost      1.500000 USD in 1h

in force
  Model economy, everywhere, 30m0s left: Cost Anomaly Detection: cost doubled

fired
  Cost Anomaly Detection: Alert, 1 where 0.8 is critical
  11:00:00  Answer repeats from the cache, for qa, held 10m0s, reverted: Cost Anomaly Detection: cost doubled
`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, statusText(tt.state, now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusOfAStack(t *testing.T) {
	t.Setenv("LRCP_CONTROL_SECRET", "")
	stack, err := local.Start(t.Context(), local.Options{Listen: "127.0.0.1:0", DatadogListen: "127.0.0.1:0", StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stack.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"status", "--url", stack.URL, "--secret", stack.ControlSecret}, &out, &out); err != nil || !strings.Contains(out.String(), "in force\n  nothing\n") {
		t.Errorf("status: %v\n%s", err, &out)
	}
	out.Reset()
	var state theater.State
	if err := run(t.Context(), []string{"status", "--json", "--url", stack.URL, "--secret", stack.ControlSecret}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &state); err != nil || len(state.Monitors) < 7 {
		t.Errorf("status --json: %v\n%s", err, &out)
	}
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	defer elsewhere.Close()
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"a wrong secret":    {[]string{"--url", stack.URL, "--secret", "wrong-wrong-wrong"}, "401"},
		"no secret":         {[]string{"--url", stack.URL}, "LRCP_CONTROL_SECRET"},
		"another server":    {[]string{"--url", elsewhere.URL, "--secret", "x"}, "is no theater"},
		"nobody is there":   {[]string{"--url", "http://127.0.0.1:1", "--secret", "x"}, "ask for the state"},
		"no address at all": {[]string{"--url", ":", "--secret", "x"}, "ask for the state"},
	} {
		err := run(t.Context(), append([]string{"status"}, tt.args...), &out, &out)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "wrong-wrong") {
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
}
