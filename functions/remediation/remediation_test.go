package remediation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	function "github.com/llm-reliability/control-plane/functions/remediation"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/bolt"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/remediation"
)

func serve(t *testing.T, store control.Store) *httptest.Server {
	t.Helper()
	c, err := remediation.New(remediation.Options{
		Store: store, Base: control.Settings{Model: "standard"},
		Limits: remediation.Limits{Models: []string{"economy", "standard", "quality"}, Functions: []string{"qa", "completion"}, Endpoints: []string{"/qa"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := function.New(function.Options{Controller: c})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// body is a good call of a monitor, changed as edit says.
func body(edit map[string]any) string {
	now := time.Now()
	doc := map[string]any{
		"idempotency_key": "key-1", "timestamp": now.Format(time.RFC3339),
		"scope": map[string]any{"function": "qa"}, "params": map[string]any{"model": "economy"}, "duration": "30m",
		"source": source("cycle-1", nil),
	}
	for k, v := range edit {
		if v == nil {
			delete(doc, k)
		} else {
			doc[k] = v
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func source(cycle string, triggered any) map[string]any {
	if triggered == nil {
		triggered = fmt.Sprint(time.Now().UnixMilli())
	}
	return map[string]any{"kind": "monitor", "monitor": "Cost Anomaly Detection", "monitor_id": "7", "workflow_run": "run-1",
		"cycle": cycle, "triggered_at": triggered, "reason": "cost doubled"}
}

func revert(key, cycle string) string {
	return body(map[string]any{"idempotency_key": key, "scope": nil, "params": nil, "duration": nil, "cycle": cycle,
		"source": map[string]any{"kind": "monitor", "monitor_id": "7"}})
}

func post(t *testing.T, server *httptest.Server, action, body string) (int, http.Header, []byte) {
	t.Helper()
	resp, err := server.Client().Post(server.URL+"/remediation/"+action, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, data
}

func report(t *testing.T, server *httptest.Server, query string) function.Document {
	t.Helper()
	resp, err := server.Client().Get(server.URL + "/remediation" + query)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc function.Document
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("report: status %d, %v", resp.StatusCode, err)
	}
	return doc
}

func TestTwoHundredConcurrentIdenticalCallsMakeOneOverride(t *testing.T) {
	store, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // the test is over
	// Two controllers on one store, as two instances of the function have.
	servers := []*httptest.Server{serve(t, store), serve(t, store)}
	call := body(nil)
	const calls = 200
	statuses, bodies := make([]int, calls), make([][]byte, calls)
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() { statuses[i], _, bodies[i] = post(t, servers[i%2], "switch-model", call) })
	}
	wg.Wait()

	applied, distinct := 0, map[string]int{}
	for i := range calls {
		if statuses[i] != http.StatusOK {
			t.Fatalf("status %d: %s", statuses[i], bodies[i])
		}
		if bytes.Contains(bodies[i], []byte(`"result":"applied"`)) {
			applied++
		}
		distinct[strings.Replace(string(bodies[i]), `"result":"applied"`, `"result":"already_applied"`, 1)]++
	}
	if applied != 1 {
		t.Errorf("answers with applied: got %d, want 1", applied)
	}
	if len(distinct) != 1 {
		t.Errorf("distinct bodies but for the result: got %v, want 1", distinct)
	}
	state, err := store.State(t.Context(), time.Time{})
	if err != nil || len(state.Overrides) != 1 || state.Version != "1" {
		t.Errorf("state: got %d overrides at version %s, %v, want 1 at 1", len(state.Overrides), state.Version, err)
	}
}

func TestSwitchAndRecovery(t *testing.T) {
	server := serve(t, new(controltest.Memory))
	status, _, data := post(t, server, "switch-model", body(nil))
	var got function.Response
	if err := json.Unmarshal(data, &got); err != nil || status != http.StatusOK {
		t.Fatalf("status %d: %s", status, data)
	}
	if got.Result != remediation.Applied || got.Before.Model != "standard" || got.After.Model != "economy" || !slices.Equal(got.After.Overrides, []string{"key-1"}) {
		t.Errorf("switch: got %s", data)
	}
	doc := report(t, server, "")
	if len(doc.InForce) != 1 || doc.InForce[0].Source.Reason != "cost doubled" || doc.Settings["qa"].Model != "economy" || doc.Settings["completion"].Model != "standard" {
		t.Errorf("report under the override: got %+v", doc)
	}

	for _, want := range []string{`"result":"reverted"`, `"result":"nothing_to_revert","overrides":[]`} {
		if status, _, data := post(t, server, "revert", revert("key-2", "cycle-1")); status != http.StatusOK || !strings.Contains(string(data), want) {
			t.Errorf("revert: got %d %s, want 200 %s", status, data, want)
		}
	}
	doc = report(t, server, "?limit=1")
	if len(doc.InForce) != 0 || len(doc.History) != 1 || doc.History[0].Ended == nil || doc.History[0].Ended.Cause != "reverted" || doc.Settings["qa"].Model != "standard" {
		t.Errorf("report after the recovery: got %+v", doc)
	}
	if doc := report(t, server, "?limit=0"); len(doc.History) != 0 {
		t.Errorf("history with limit 0: got %d overrides, want none", len(doc.History))
	}
}

func TestRefusalsAreProblems(t *testing.T) {
	operator := map[string]any{"kind": "operator", "operator": "ann"}
	for name, tt := range map[string]struct {
		action, body string
		status       int
		code         string
		fields       []string
	}{
		"an unknown action":                {"reboot", body(nil), 404, "unknown_action", nil},
		"a model that is not allowed":      {"switch-model", body(map[string]any{"params": map[string]any{"model": "gpt-9"}}), 400, "unknown_model", nil},
		"a function that is not allowed":   {"switch-model", body(map[string]any{"scope": map[string]any{"function": "theater"}}), 400, "unknown_scope", nil},
		"a monitor on everything":          {"switch-model", body(map[string]any{"scope": map[string]any{}}), 400, "unknown_scope", nil},
		"an old alert":                     {"switch-model", body(map[string]any{"source": source("c", time.Now().Add(-time.Hour).UnixMilli())}), 409, "stale", nil},
		"an old call":                      {"switch-model", body(map[string]any{"timestamp": time.Now().Add(-6 * time.Minute).Format(time.RFC3339)}), 400, "bad_timestamp", nil},
		"a day":                            {"switch-model", body(map[string]any{"duration": "24h"}), 400, "too_long", nil},
		"an unknown override":              {"revert", body(map[string]any{"scope": nil, "params": nil, "duration": nil, "override_id": "nobody", "source": operator}), 404, "not_found", nil},
		"a revert of nothing in the world": {"revert", body(map[string]any{"scope": nil, "params": nil, "duration": nil, "source": operator}), 400, "bad_params", []string{"override_id"}},
		"several bad parameters": {"switch-model", body(map[string]any{"params": map[string]any{"percent": 101, "provider": "x"}}), 400, "bad_params",
			[]string{"params.model", "params.percent", "params"}},
		"missing fields":       {"freeze", `{}`, 400, "", []string{"idempotency_key", "scope", "source", "timestamp"}},
		"unknown fields":       {"switch-model", body(map[string]any{"modle": "economy"}), 400, "", []string{"modle"}},
		"a bad time":           {"switch-model", body(map[string]any{"timestamp": "yesterday"}), 400, "", []string{"timestamp"}},
		"a duration of 0":      {"switch-model", body(map[string]any{"duration": "0s"}), 400, "", []string{"duration"}},
		"a body over the size": {"switch-model", body(map[string]any{"idempotency_key": strings.Repeat("k", 65<<10)}), 413, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, new(controltest.Memory))
			status, header, data := post(t, server, tt.action, tt.body)
			var p httpjson.Problem
			if err := json.Unmarshal(data, &p); err != nil || header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("not a problem: %d %s", status, data)
			}
			var fields []string
			for _, e := range p.Errors {
				fields = append(fields, e.Field)
			}
			if status != tt.status || p.Code != tt.code {
				t.Errorf("got %d %q, want %d %q: %s", status, p.Code, tt.status, tt.code, data)
			}
			if diff := cmp.Diff(tt.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if doc := report(t, server, ""); len(doc.InForce)+len(doc.History) != 0 {
				t.Errorf("a refused call changed the state: %+v", doc)
			}
		})
	}
}

func TestCooldownSaysWhenToComeBack(t *testing.T) {
	server := serve(t, new(controltest.Memory))
	post(t, server, "switch-model", body(nil))
	status, header, data := post(t, server, "switch-model", body(map[string]any{"idempotency_key": "key-2", "source": source("cycle-2", nil)}))
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || !strings.Contains(string(data), `"code":"cooldown"`) {
		t.Errorf("got %d, Retry-After %q, %s", status, header.Get("Retry-After"), data)
	}
}

func TestUnreachableStoreIs503AndTellsNothingInternal(t *testing.T) {
	var store controltest.Memory
	server := serve(t, &store)
	store.Fail(errors.New("dial 10.1.2.3: refused"))
	status, header, data := post(t, server, "switch-model", body(nil))
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !strings.Contains(string(data), `"code":"store_unavailable"`) || strings.Contains(string(data), "10.1.2.3") {
		t.Errorf("action: got %d, Retry-After %q, %s", status, header.Get("Retry-After"), data)
	}
	resp, err := server.Client().Get(server.URL + "/remediation")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("report: got %d, want 503", resp.StatusCode)
	}
}

func TestReportRefusesABadLimit(t *testing.T) {
	server := serve(t, new(controltest.Memory))
	for _, limit := range []string{"-1", "many", "1001"} {
		resp, err := server.Client().Get(server.URL + "/remediation?limit=" + limit)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("limit %s: got %d, want 400", limit, resp.StatusCode)
		}
	}
}

func TestInstantForms(t *testing.T) {
	want := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	for name, tt := range map[string]struct {
		text string
		want time.Time
		bad  bool
	}{
		"RFC 3339":               {`"2026-11-24T01:02:03Z"`, want, false},
		"RFC 3339 with a zone":   {`"2026-11-24T02:02:03+01:00"`, want, false},
		"milliseconds":           {`1795482123000`, want, false},
		"milliseconds as string": {`"1795482123000"`, want, false},
		"an empty string":        {`""`, time.Time{}, false},
		"null":                   {`null`, time.Time{}, false},
		"a word":                 {`"now"`, time.Time{}, true},
		"a negative number":      {`-1`, time.Time{}, true},
		"a year without end":     {`9223372036854775807`, time.Time{}, true},
		"a fraction":             {`1.5`, time.Time{}, true},
	} {
		var got function.Instant
		err := json.Unmarshal([]byte(tt.text), &got)
		if (err != nil) != tt.bad || !time.Time(got).Equal(tt.want) {
			t.Errorf("%s: got %v, %v, want %v, error %v", name, time.Time(got), err, tt.want, tt.bad)
		}
	}
}

func FuzzBody(f *testing.F) {
	f.Add("switch-model", body(nil))
	f.Add("revert", revert("k", "c"))
	f.Add("freeze", `{"source":{"triggered_at":1e3}}`)
	c, err := remediation.New(remediation.Options{Store: new(controltest.Memory),
		Limits: remediation.Limits{Models: []string{"economy"}, Functions: []string{"qa"}}})
	if err != nil {
		f.Fatal(err)
	}
	h, err := function.New(function.Options{Controller: c})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, action, body string) {
		r := httptest.NewRequest(http.MethodPost, "/remediation/x", strings.NewReader(body))
		r.URL.Path = "/remediation/" + strings.NewReplacer("/", "", ".", "").Replace(action) + "x"
		if i := slices.Index(remediation.Actions(), control.Action(action)); i >= 0 {
			r.URL.Path = "/remediation/" + action
		}
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q: got %d %s", action, body, w.Code, w.Body)
		}
	})
}
