package workflow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/functions/escalation"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
	"github.com/llm-reliability/control-plane/shared/httpjson"
)

const (
	functionURL   = "https://remediation.example"
	diagnosisURL  = "https://diagnosis.example"
	controlSecret = "s3cret-of-the-control-plane"
	connectionID  = "connection-of-remediation"
	diagnosisID   = "connection-of-diagnosis"
	escalationID  = "connection-of-escalation"
)

// resolved returns the body of an asset of this repository with its placeholders filled in.
func resolved(t testing.TB, kind assets.Kind, key string) []byte {
	t.Helper()
	all, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(a assets.Asset) bool { return a.Kind == kind && a.Key == key })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, key)
	}
	body, err := assets.Resolve(all[i], func(kind, name string) (string, bool) {
		switch kind + ":" + name {
		case "function:remediation.url":
			return functionURL, true
		case "secret:control":
			return controlSecret, true
		case "function:diagnosis.url":
			return diagnosisURL, true
		case "connection:remediation":
			return connectionID, true
		case "connection:diagnosis":
			return diagnosisID, true
		case "function:escalation.url":
			return "https://escalation.example", true
		case "connection:escalation":
			return escalationID, true
		case "setting:datadog_app":
			return "https://app.dd.example", true
		}
		return kind + "-" + name, true
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// fakeFunction stands for a control function: it answers as told, from paths where the path is there, and keeps what it was
// asked.
type fakeFunction struct {
	answers []answer
	paths   map[string]answer
	calls   []call
}

type answer struct {
	status int
	body   string
	down   bool
}

type call struct {
	Path string
	Body map[string]any
}

func (r *fakeFunction) RoundTrip(req *http.Request) (*http.Response, error) {
	var body map[string]any
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		return nil, err
	}
	if got, want := req.Header.Get("Authorization"), "Bearer "+controlSecret; got != want {
		return nil, fmt.Errorf("authorization is %q", got)
	}
	if got, want := req.Header.Get("Content-Type"), "application/json"; got != want {
		return nil, fmt.Errorf("content type is %q", got)
	}
	a, ok := r.paths[req.URL.Path]
	if !ok {
		a = r.answers[min(len(r.calls), len(r.answers)-1)]
	}
	r.calls = append(r.calls, call{req.URL.Path, body})
	if a.down {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Type", "application/json")
	rec.WriteHeader(a.status)
	_, _ = io.WriteString(rec, a.body) // A recorder takes everything.
	return rec.Result(), nil
}

// sinks keeps what runs asked for. What is in broken fails.
type sinks struct {
	mu        sync.Mutex
	incidents []workflow.Opened
	kept      map[string]any
	pages     []workflow.Page
	resolved  []string
	messages  []workflow.Message
	broken    []string
}

// try locks and says whether the method works.
func (s *sinks) try(method string) (unlock func(), err error) {
	s.mu.Lock()
	if slices.Contains(s.broken, method) {
		err = errors.New(method + " is out of order")
	}
	return s.mu.Unlock, err
}

func (s *sinks) CreateIncident(_ context.Context, i workflow.Incident) (number int, url string, err error) {
	unlock, err := s.try("CreateIncident")
	defer unlock()
	if err != nil {
		return 0, "", err
	}
	number = len(s.incidents) + 1
	url = fmt.Sprintf("https://dd.example/incidents/%d", number)
	s.incidents = append(s.incidents, workflow.Opened{Incident: i, ID: fmt.Sprintf("incident-%d", number), Number: number, URL: url, Created: time.Now()})
	return number, url, nil
}

func (s *sinks) Incidents(context.Context) ([]workflow.Opened, error) {
	unlock, err := s.try("Incidents")
	defer unlock()
	return slices.Clone(s.incidents), err
}

func (s *sinks) AddToTimeline(_ context.Context, number int, text string) error {
	unlock, err := s.try("AddToTimeline")
	defer unlock()
	if err == nil {
		s.incidents[number-1].Cells = append(s.incidents[number-1].Cells, text)
	}
	return err
}

func (s *sinks) Keep(_ context.Context, number int, key string, value any) error {
	unlock, err := s.try("Keep")
	defer unlock()
	if s.kept == nil {
		s.kept = map[string]any{}
	}
	s.kept[fmt.Sprint(number, key)] = value
	return err
}

func (s *sinks) Kept(_ context.Context, number int, key string) (any, error) {
	unlock, err := s.try("Kept")
	defer unlock()
	value, ok := s.kept[fmt.Sprint(number, key)]
	if err == nil && !ok {
		err = errors.New("not found")
	}
	return value, err
}

func (s *sinks) Page(_ context.Context, p workflow.Page) (string, error) {
	unlock, err := s.try("Page")
	defer unlock()
	if err != nil {
		return "", err
	}
	s.pages = append(s.pages, p)
	return fmt.Sprintf("page-%d", len(s.pages)), nil
}

func (s *sinks) ResolvePage(_ context.Context, id string) error {
	unlock, err := s.try("ResolvePage")
	defer unlock()
	s.resolved = append(s.resolved, id)
	return err
}

func (s *sinks) Send(_ context.Context, m workflow.Message) error {
	unlock, err := s.try("Send")
	defer unlock()
	s.messages = append(s.messages, m)
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// environment reaches the given transport and sinks, and the connection of this repository.
func environment(t testing.TB, transport http.RoundTripper, actions workflow.Actions) workflow.Environment {
	t.Helper()
	connections := map[string]*workflow.Connection{}
	for id, key := range map[string]string{connectionID: "remediation", diagnosisID: "diagnosis", escalationID: "escalation"} {
		c, err := workflow.ParseConnection(id, resolved(t, assets.Connection, key))
		if err != nil {
			t.Fatal(err)
		}
		connections[id] = c
	}
	return workflow.Environment{
		Now: time.Now, Wait: wait, HTTP: &http.Client{Transport: transport}, Actions: actions,
		Connection: func(id string) (*workflow.Connection, bool) { c, ok := connections[id]; return c, ok },
	}
}

// checkEscalation has the function escalation judge what a workflow sends to it.
func checkEscalation(t *testing.T, body map[string]any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var req escalation.IncidentRequest
	err = httpjson.Unmarshal(raw, &req)
	recovers := req.Transition == escalation.Recovery
	complete := recovers || req.Adopt && len(req.Links) == 5 && strings.Contains(req.Title, "2000-01-01 00:00:00 UTC")
	if err != nil || !complete || !strings.HasSuffix(req.Source.Cycle, ":qa:946684800000") {
		t.Errorf("%v: %s", err, raw)
	}
}

// names lists the steps of a run: name, number of attempts when it is not 1, and ! when it failed.
func names(run *workflow.Run) []string {
	var out []string
	for _, s := range run.Steps {
		name := s.Name
		if s.Attempts != 1 {
			name += fmt.Sprintf(" ×%d", s.Attempts)
		}
		if s.Status != workflow.Success {
			name += " !"
		}
		out = append(out, name)
	}
	return out
}

// The three remedies: the key of the workflow, its step, and what that step asks for.
var remedies = []struct {
	key, step, path string
	params          map[string]any
}{
	{"cost-spike", "Switch_model", "/remediation/switch-model", map[string]any{"model": "economy"}},
	{"latency-spike", "Enable_cache", "/remediation/enable-cache", map[string]any{"cache_ttl": "5m"}},
	{"quality-degradation", "Switch_model", "/remediation/switch-model", map[string]any{"model": "quality"}},
}

const (
	applied  = `{"result":"applied","overrides":[{"id":"o-1","start":"2030-01-01T00:00:05Z","end":"2030-01-01T00:30:00Z","source":{"workflow_run":"run-1"}}]}`
	byOther  = `{"result":"already_applied","overrides":[{"id":"o-1","start":"2030-01-01T00:00:05Z","end":"2030-01-01T00:30:00Z","source":{"workflow_run":"run-0"}}]}`
	reverted = `{"result":"reverted","overrides":[{"id":"o-1"}]}`
	flap     = `{"title":"Conflict","status":409,"detail":"the opposite switch is in force","code":"flap"}`
	busy     = `{"title":"Service Unavailable","status":503,"detail":"the store does not answer"}`
)

func TestRemedies(t *testing.T) {
	tests := map[string]struct {
		transition string
		answers    []answer
		// steps has STEP for the step that applies the remedy.
		steps                      []string
		waited                     time.Duration
		incidents, messages, calls int
		urgency, description       string
		broken                     []string
	}{
		"an alert applies the remedy, opens an incident and tells the team": {
			transition: "alert", answers: []answer{{status: 200, body: applied}}, calls: 1, incidents: 1, messages: 1,
			steps: []string{"Prepare", "Is_recovery", "STEP", "Is_ours", "Create_incident", "Notify_team"},
		},
		"a second run for the same alert opens no second incident": {
			transition: "alert", answers: []answer{{status: 200, body: byOther}}, calls: 1,
			steps: []string{"Prepare", "Is_recovery", "STEP", "Is_ours"},
		},
		"a recovery reverts": {
			transition: "recovery", answers: []answer{{status: 200, body: reverted}, {status: 200, body: `{"result":"nothing_open"}`}}, calls: 2, messages: 1,
			steps: []string{"Prepare", "Is_recovery", "Revert", "Find_incident", "Match_incident", "Has_incident", "Recover_escalated", "Notify_recovery"},
		},
		"a recovery reverts and tells also when incidents can't be searched": {
			transition: "recovery", answers: []answer{{status: 200, body: reverted}, {status: 503, body: busy}}, calls: 3, messages: 1, waited: 30 * time.Second, broken: []string{"Incidents"},
			steps: []string{"Prepare", "Is_recovery", "Revert", "Find_incident ×3 !", "Recover_escalated ×2 !", "Notify_recovery"},
		},
		"an incident that can't be opened is told": {
			transition: "alert", answers: []answer{{status: 200, body: applied}, {status: 202, body: `{"result":"queued"}`}}, calls: 2, messages: 1, broken: []string{"CreateIncident"},
			steps: []string{"Prepare", "Is_recovery", "STEP", "Is_ours", "Create_incident !", "Notify_without_incident", "Escalate_incident"},
		},
		"that nobody took the incident is told": {
			transition: "alert", answers: []answer{{status: 200, body: applied}, {status: 503, body: busy}}, calls: 4, messages: 2, waited: 20 * time.Second, broken: []string{"CreateIncident"},
			steps: []string{"Prepare", "Is_recovery", "STEP", "Is_ours", "Create_incident !", "Notify_without_incident", "Escalate_incident ×3 !", "Notify_unescalated"},
		},
		"a refusal that On-Call can't be paged for is told": {
			transition: "alert", answers: []answer{{status: 409, body: flap}}, calls: 4, waited: 50 * time.Second, messages: 1, broken: []string{"Page"},
			steps: []string{"Prepare", "Is_recovery", "STEP ×4 !", "Explain_refusal", "Page_on_call ×3 !", "Notify_unpaged"},
		},
		"a refusal pages with its reason": {
			transition: "alert", answers: []answer{{status: 409, body: flap}}, calls: 4, waited: 30 * time.Second,
			urgency: "high", description: "answered 409 flap: the opposite switch is in force",
			steps: []string{"Prepare", "Is_recovery", "STEP ×4 !", "Explain_refusal", "Page_on_call"},
		},
		"an overload is retried": {
			transition: "alert", answers: []answer{{status: 503, body: busy}, {status: 200, body: applied}}, calls: 2, waited: 10 * time.Second, incidents: 1, messages: 1,
			steps: []string{"Prepare", "Is_recovery", "STEP ×2", "Is_ours", "Create_incident", "Notify_team"},
		},
		"a function that is down is paged for": {
			transition: "alert", answers: []answer{{down: true}}, calls: 4, waited: 30 * time.Second,
			urgency: "high", description: "connection refused",
			steps: []string{"Prepare", "Is_recovery", "STEP ×4 !", "Explain_refusal", "Page_on_call"},
		},
		"a failed revert is told and paged with low urgency": {
			transition: "recovery", answers: []answer{{status: 503, body: busy}}, calls: 4, waited: 30 * time.Second, messages: 1,
			urgency: "low", description: "answered 503: the store does not answer",
			steps: []string{"Prepare", "Is_recovery", "Revert ×4 !", "Explain_failed_revert", "Notify_failed_revert", "Page_low_urgency"},
		},
	}
	for _, remedy := range remedies {
		for name, test := range tests {
			t.Run(remedy.key+": "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, err := workflow.Parse("w-1", resolved(t, assets.Workflow, remedy.key))
					if err != nil {
						t.Fatal(err)
					}
					function, actions := &fakeFunction{answers: test.answers}, &sinks{broken: test.broken}
					env := environment(t, function, actions)
					var told []string
					env.OnStep = func(s workflow.Step) { told = append(told, s.Name) }
					begin := time.Now()
					run := w.Run(t.Context(), workflow.Trigger{
						Kind: workflow.MonitorTrigger, RunID: "run-1", MonitorID: 4711, MonitorName: "A Monitor", URL: "https://dd.example/monitors/4711",
						Inputs: map[string]any{"transition": test.transition, "function": "qa", "triggered_at": "946684800000"},
					}, env)

					if run.Status != workflow.Success {
						t.Fatalf("status = %s (%s), want success", run.Status, run.Error)
					}
					var want []string
					for _, s := range test.steps {
						want = append(want, strings.Replace(s, "STEP", remedy.step, 1))
					}
					if diff := cmp.Diff(want, names(run)); diff != "" {
						t.Errorf("steps (-want +got):\n%s", diff)
					}
					if got, want := len(told), len(run.Steps); got != want {
						t.Errorf("OnStep was told of %d steps, want %d", got, want)
					}
					if got := time.Since(begin); got != test.waited {
						t.Errorf("the run took %v, want %v", got, test.waited)
					}
					got := []int{len(function.calls), len(actions.incidents), len(actions.messages)}
					if diff := cmp.Diff([]int{test.calls, test.incidents, test.messages}, got); diff != "" {
						t.Errorf("calls, incidents, messages (-want +got):\n%s", diff)
					}
					for _, c := range function.calls {
						if c.Path == "/escalation/incident" {
							checkEscalation(t, c.Body)
							continue
						}
						path, body := remedy.path, requestBody(begin, remedy.params)
						if test.transition == "recovery" {
							path, body = "/remediation/revert", revertBody(begin)
						}
						// The reason is prose.
						if source, ok := c.Body["source"].(map[string]any); ok {
							delete(source, "reason")
						}
						if diff := cmp.Diff(call{path, body}, c); diff != "" {
							t.Errorf("call (-want +got):\n%s", diff)
						}
					}
					checkPage(t, actions.pages, test.urgency, test.description)
					for _, i := range actions.incidents {
						for _, part := range []string{"A Monitor", "o-1", "datadog/playbooks/", "https://dd.example/monitors/4711", "2000-01-01 00:00:00 UTC: the monitor triggered",
							"[Dashboard](https://app.dd.example/dashboard/lists?q=", "[Logs](https://app.dd.example/logs?query=service%3Allm-reliability-control-plane%20%40llm.function%3Aqa&from_ts=946683000000&",
							"[Traces](https://app.dd.example/apm/traces?", "[LLM spans](https://app.dd.example/llm/traces?"} {
							if !strings.Contains(strings.Join(i.Cells, "\n"), part) {
								t.Errorf("the incident does not say %q: %q", part, i.Cells)
							}
						}
					}
					if record, err := json.Marshal(run); err != nil || bytes.Contains(record, []byte(controlSecret)) {
						t.Errorf("the record of the run has the secret (%v): %s", err, record)
					}
				})
			})
		}
	}
}

func source() map[string]any {
	return map[string]any{
		"kind": "monitor", "monitor": "A Monitor", "monitor_id": "4711", "workflow_run": "run-1",
		"cycle": "4711:qa:946684800000", "triggered_at": "946684800000",
	}
}

func requestBody(now time.Time, params map[string]any) map[string]any {
	return map[string]any{
		"idempotency_key": "4711:qa:946684800000:alert", "timestamp": now.UTC().Format("2006-01-02T15:04:05.000Z"),
		"scope": map[string]any{"function": "qa"}, "params": params, "duration": "30m", "source": source(),
	}
}

func revertBody(now time.Time) map[string]any {
	return map[string]any{
		"idempotency_key": "4711:qa:946684800000:revert", "timestamp": now.UTC().Format("2006-01-02T15:04:05.000Z"),
		"cycle": "4711:qa:946684800000", "source": source(),
	}
}

func checkPage(t *testing.T, pages []workflow.Page, urgency, description string) {
	t.Helper()
	if urgency == "" {
		if len(pages) > 0 {
			t.Errorf("paged: %+v", pages)
		}
		return
	}
	if len(pages) != 1 || pages[0].Urgency != urgency || pages[0].Target != "llm-platform" || !strings.Contains(pages[0].Description, description) {
		t.Errorf("pages = %+v, want one of %s urgency to llm-platform that says %q", pages, urgency, description)
	}
}

func TestARunByHandNeedsNoInputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := workflow.Parse("w-1", resolved(t, assets.Workflow, "latency-spike"))
		if err != nil {
			t.Fatal(err)
		}
		function := &fakeFunction{answers: []answer{{status: 200, body: applied}}}
		run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.APITrigger, RunID: "run-1"}, environment(t, function, &sinks{}))
		if run.Status != workflow.Success {
			t.Fatalf("status = %s (%s)", run.Status, run.Error)
		}
		body := function.calls[0].Body
		if diff := cmp.Diff(map[string]any{}, body["scope"]); diff != "" {
			t.Errorf("scope (-want +got):\n%s", diff)
		}
		now := fmt.Sprint(time.Now().UnixMilli())
		if got, want := body["idempotency_key"], "manual:all:"+now+":alert"; got != want {
			t.Errorf("idempotency_key = %v, want %s", got, want)
		}
	})
}

// The document of a workflow of one trigger and the given steps.
func document(steps string) []byte {
	return []byte(`{"data":{"type":"workflows","attributes":{"name":"W","published":true,"spec":{"handle":"w",
		"inputSchema":{"parameters":[{"name":"n","type":"NUMBER","defaultValue":3},{"name":"o","type":"OBJECT","defaultValue":{"a":[1,{"b":null}]}}]},
		"triggers":[{"monitorTrigger":{},"startStepNames":["A"]}],
		"connectionEnvs":[{"env":"default","connections":[{"connectionId":"` + connectionID + `","label":"C"}]}],
		"steps":[` + steps + `]}}}}`)
}

func echo(value string) []byte {
	return document(`{"name":"A","actionId":"com.datadoghq.core.echo","parameters":[{"name":"value","value":` + value + `}]}`)
}

func TestExpressions(t *testing.T) {
	tests := map[string]struct {
		value, want, fails string
	}{
		"a whole expression keeps its type":    {value: `["{{ Trigger.n }}","{{Trigger.o}}"]`, want: `[3,{"a":[1,{"b":null}]}]`},
		"amid text everything becomes text":    {value: `"n={{ Trigger.n }} o={{ Trigger.o }} ({{ Trigger.o.a[1].b }})"`, want: `"n=3 o={\"a\":[1,{\"b\":null}]} ()"`},
		"an index may be in brackets or dots":  {value: `["{{ Trigger.o.a[0] }}","{{ Trigger.o.a.0 }}"]`, want: `[1,1]`},
		"the run, the workflow and the source": {value: `"{{ InstanceId }} {{ WorkflowId }} {{ WorkflowName }} {{ Source.monitor.id }} {{ Source.monitor.name }} {{ Source.url }}"`, want: `"run-1 w-1 W 7 M https://dd.example/7"`},
		"values are not expanded again":        {value: `"{{ Source.monitor.name }}}}"`, want: `"M}}"`},
		"an index that is too high":            {value: `"{{ Trigger.o.a[2] }}"`, fails: "there is no Trigger.o.a.2"},
		"a name that is not there":             {value: `"{{ Trigger.o.b.c }}"`, fails: "there is no Trigger.o.b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, err := workflow.Parse("w-1", echo(test.value))
			if err != nil {
				t.Fatal(err)
			}
			run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger, RunID: "run-1", MonitorID: 7, MonitorName: "M", URL: "https://dd.example/7"}, environment(t, nil, &sinks{}))
			if test.fails != "" {
				if run.Status != workflow.Failure || !strings.Contains(run.Error, test.fails) {
					t.Errorf("run = %s %q, want failure with %q", run.Status, run.Error, test.fails)
				}
				return
			}
			got, err := json.Marshal(run.Steps[0].Output["value"])
			if err != nil || string(got) != test.want {
				t.Errorf("value = %s (%v; %s), want %s", got, err, run.Error, test.want)
			}
		})
	}
}

func TestScripts(t *testing.T) {
	tests := map[string]struct {
		script, want, fails string
	}{
		"it sees inputs and earlier steps": {script: `return {n: $.Trigger.n + 1, id: $.Source.monitor.id, steps: Object.keys($.Steps)}`, want: `{"n":4,"id":7,"steps":[]}`},
		"nothing is null":                  {script: `const a = 1;`, want: `null`},
		"the time is the environment's":    {script: `return new Date().toISOString()`, want: `"2031-02-03T04:05:06.000Z"`},
		"the network is not there":         {script: `return [typeof fetch, typeof require, typeof XMLHttpRequest, typeof process]`, want: `["undefined","undefined","undefined","undefined"]`},
		"it may throw":                     {script: `throw new Error("no luck")`, fails: "no luck"},
		"it may not recurse for ever":      {script: `const f = () => f() + 1; return f()`, fails: "run script"},
		"it may not run for ever":          {script: `for (;;) {}`, fails: "took too long"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script, err := json.Marshal(test.script)
			if err != nil {
				t.Fatal(err)
			}
			w, err := workflow.Parse("w-1", document(`{"name":"A","actionId":"com.datadoghq.datatransformation.func","parameters":[{"name":"script","value":`+string(script)+`}]}`))
			if err != nil {
				t.Fatal(err)
			}
			env := environment(t, nil, &sinks{})
			env.Now = func() time.Time { return time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC) }
			run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger, RunID: "run-1", MonitorID: 7}, env)
			if test.fails != "" {
				if run.Status != workflow.Failure || !strings.Contains(run.Error, test.fails) {
					t.Errorf("run = %s %q, want failure with %q", run.Status, run.Error, test.fails)
				}
				return
			}
			var got, want any
			raw, err := json.Marshal(run.Steps[0].Output["data"])
			if err = errors.Join(err, json.Unmarshal(raw, &got), json.Unmarshal([]byte(test.want), &want)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("data (-want +got):\n%s\n%s", diff, run.Error)
			}
		})
	}
}

func TestBranches(t *testing.T) {
	const (
		end  = `,{"name":"Yes","actionId":"com.datadoghq.core.noop"},{"name":"No","actionId":"com.datadoghq.core.noop"}`
		cond = `{"name":"A","actionId":"com.datadoghq.core.if","parameters":[{"name":"joinOperator","value":"%s"},{"name":"conditions","value":[
			{"comparisonOperator":"eq","leftValue":"{{ Trigger.n }}","rightValue":%s},{"comparisonOperator":"eq","leftValue":1,"rightValue":1}]}],
			"outboundEdges":[{"branchName":"true","nextStepName":"Yes"},{"branchName":"false","nextStepName":"No"}]}` + end
		choice = `{"name":"A","actionId":"com.datadoghq.core.switch","parameters":[{"name":"switchExpression","value":"{{ Trigger.n }}"},{"name":"cases","value":[%s]}],
			"outboundEdges":[{"branchName":"%s","nextStepName":"Yes"},{"branchName":"default","nextStepName":"No"}]}` + end
	)
	tests := map[string]struct{ steps, want string }{
		"and: all conditions hold":            {fmt.Sprintf(cond, "and", "3"), "Yes"},
		"and: one does not":                   {fmt.Sprintf(cond, "and", "4"), "No"},
		"or: one holds":                       {fmt.Sprintf(cond, "or", "4"), "Yes"},
		"a number is not its text":            {fmt.Sprintf(cond, "and", `"3"`), "No"},
		"switch: a case":                      {fmt.Sprintf(choice, `"2","3"`, "3"), "Yes"},
		"switch: no case takes the default":   {fmt.Sprintf(choice, `"2","4"`, "2"), "No"},
		"switch: a case without edge is last": {fmt.Sprintf(choice, `"2","3"`, "2"), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, err := workflow.Parse("w-1", document(test.steps))
			if err != nil {
				t.Fatal(err)
			}
			run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger}, environment(t, nil, &sinks{}))
			var got string
			if len(run.Steps) > 1 {
				got = run.Steps[1].Name
			}
			if run.Status != workflow.Success || got != test.want {
				t.Errorf("%s %q went to %q, want %q", run.Status, run.Error, got, test.want)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestHTTPStep(t *testing.T) {
	respond := func(status int, contentType, body string) roundTrip {
		return func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r,
				Header: http.Header{"Content-Type": {contentType}, "Location": {"https://elsewhere.example/"}},
			}, nil
		}
	}
	tests := map[string]struct {
		url     string
		respond roundTrip
		body    any
		fails   string
	}{
		"JSON is decoded":                           {url: functionURL + "/x", respond: respond(200, "application/json", `{"a":1}`), body: map[string]any{"a": 1.0}},
		"text is text":                              {url: functionURL + "/x", respond: respond(200, "text/plain", `{"a":1}`), body: `{"a":1}`},
		"a redirect is an answer like any other":    {url: functionURL + "/x", respond: respond(302, "text/plain", "moved"), body: "moved"},
		"a status of 400 is an error":               {url: functionURL + "/x", respond: respond(400, "text/plain", "no"), body: "no", fails: "POST /x answered 400: no"},
		"broken JSON is an error":                   {url: functionURL + "/x", respond: respond(200, "application/json", `{`), fails: "not the JSON that it claims to be"},
		"a response that echoes the secret":         {url: functionURL + "/x", respond: respond(200, "text/plain", "I know "+controlSecret), body: "I know ***"},
		"a response without end":                    {url: functionURL + "/x", respond: respond(200, "text/plain", strings.Repeat("x", 15_000_001)), fails: "more than 15000000 bytes"},
		"another host gets no credentials":          {url: "https://remediation.example.evil/x", fails: "is not at the base URL"},
		"nor does another scheme":                   {url: "http://remediation.example/x", fails: "is not at the base URL"},
		"nor a host behind what looks like a login": {url: "https://remediation.example@evil.example/x", fails: "is not at the base URL"},
		"a relative URL":                            {url: "/x", fails: "is not absolute"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, err := workflow.Parse("w-1", document(`{"name":"A","actionId":"com.datadoghq.http.request","connectionLabel":"C","parameters":[
				{"name":"verb","value":"POST"},{"name":"url","value":"`+test.url+`"},{"name":"urlParams","value":[{"key":"k","value":"{{ Trigger.n }}"}]},{"name":"body","value":{}}]}`))
			if err != nil {
				t.Fatal(err)
			}
			transport := roundTrip(func(r *http.Request) (*http.Response, error) {
				if test.respond == nil {
					t.Errorf("a request was made to %s", r.URL)
					return nil, errors.New("unexpected")
				}
				if got, want := r.URL.RawQuery, "k=3"; got != want {
					t.Errorf("query = %q, want %q", got, want)
				}
				return test.respond(r)
			})
			run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger}, environment(t, transport, &sinks{}))
			if (run.Status == workflow.Failure) != (test.fails != "") || !strings.Contains(run.Error, test.fails) {
				t.Errorf("run = %s %q, want error %q", run.Status, run.Error, test.fails)
			}
			if diff := cmp.Diff(test.body, run.Steps[0].Output["body"]); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAHangingFunctionEndsTheStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := workflow.Parse("w-1", document(`{"name":"A","actionId":"com.datadoghq.http.request","parameters":[{"name":"verb","value":"GET"},{"name":"url","value":"https://a.example"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		hang := roundTrip(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		begin := time.Now()
		run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger}, environment(t, hang, &sinks{}))
		if run.Status != workflow.Failure || time.Since(begin) != 30*time.Second {
			t.Errorf("%s after %v, want failure after 30 s", run.Status, time.Since(begin))
		}
	})
}

func TestARunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := workflow.Parse("w-1", resolved(t, assets.Workflow, "cost-spike"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		begin, actions := time.Now(), &sinks{}
		run := w.Run(ctx, workflow.Trigger{Kind: workflow.APITrigger, RunID: "run-1"}, environment(t, &fakeFunction{answers: []answer{{down: true}}}, actions))
		if run.Status != workflow.Failure || time.Since(begin) != 15*time.Second || len(actions.pages) > 0 {
			t.Errorf("%s after %v with %d pages, want failure after 15 s without", run.Status, time.Since(begin), len(actions.pages))
		}
	})
}

func TestInputsOfARun(t *testing.T) {
	w, err := workflow.Parse("w-1", echo(`"{{ Trigger.n }}"`))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		inputs map[string]any
		want   any
		fails  string
	}{
		"a default":                     {want: 3.0},
		"a text from a mention":         {inputs: map[string]any{"n": "12.5"}, want: 12.5},
		"a text that is no number":      {inputs: map[string]any{"n": "many"}, fails: `input n: "many" is not a NUMBER`},
		"a value of another type":       {inputs: map[string]any{"n": true}, fails: "input n: the value is not a NUMBER"},
		"an input that is not declared": {inputs: map[string]any{"m": "1"}, fails: "no input m"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger, Inputs: test.inputs}, environment(t, nil, &sinks{}))
			if test.fails != "" {
				if run.Status != workflow.Failure || !strings.Contains(run.Error, test.fails) {
					t.Errorf("run = %s %q, want failure with %q", run.Status, run.Error, test.fails)
				}
			} else if got := run.Steps[0].Output["value"]; got != test.want {
				t.Errorf("value = %v, want %v", got, test.want)
			}
		})
	}
	if run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.APITrigger}, environment(t, nil, &sinks{})); run.Status != workflow.Failure {
		t.Error("a trigger that the workflow does not have started it")
	}
	if run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger}, workflow.Environment{}); run.Status != workflow.Failure {
		t.Error("a run without environment is not a failure")
	}
}

// TestParseRefuses changes one thing of a real workflow at a time.
func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ old, new, want string }{
		"an unknown key":                      {`"published":true`, `"published":true,"owner":1`, `unknown field "owner"`},
		"an unknown key deep inside":          {`"maxRetries":3`, `"maxRetries":3,"backoff":2`, `unknown field "backoff"`},
		"another type of document":            {`"type":"workflows"`, `"type":"workflow"`, "not workflows"},
		"a workflow that is not published":    {`"published":true`, `"published":false`, "is not published"},
		"a workflow without handle":           {`"handle":"auto-remediate-cost-spike"`, `"handle":""`, "has no handle"},
		"a workflow without name":             {`"name":"Auto-Remediate Cost Spike"`, `"name":""`, "has no name"},
		"an unknown trigger":                  {`"monitorTrigger":{}`, `"cronTrigger":{}`, `unknown field "cronTrigger"`},
		"a trigger twice":                     {`{"apiTrigger":{}`, `{"monitorTrigger":{}`, "more than one monitorTrigger"},
		"a rate limit that is none":           {`"monitorTrigger":{}`, `"monitorTrigger":{"rateLimit":{"count":1,"interval":"15m"}}`, "the rate limit is not"},
		"a start step that does not exist":    {`"startStepNames":["Prepare"]`, `"startStepNames":["Prepared"]`, "are not one step that exists"},
		"an unknown action":                   {"com.datadoghq.slack.send_simple_message", "com.datadoghq.slack.sendMessage", `unknown action "com.datadoghq.slack.sendMessage"`},
		"an unknown input":                    {`"name":"urgency"`, `"name":"severity"`, `has no input "severity"`},
		"a missing input":                     {`{"name":"urgency","value":"high"},`, ``, "input urgency is missing"},
		"an input of another form":            {`"name":"customer_impacted","value":false`, `"name":"customer_impacted","value":"false"`, "customer_impacted is not true or false"},
		"an unknown verb":                     {`"value":"POST"`, `"value":"SEND"`, `verb is "SEND"`},
		"a header that is not a list":         {`"value":["application/json"]`, `"value":"application/json"`, "the value of a header is a list"},
		"an unknown comparison":               {`"comparisonOperator":"eq"`, `"comparisonOperator":"equals"`, "unknown comparisonOperator equals"},
		"a customer impact without scope":     {`"name":"customer_impacted","value":false`, `"name":"customer_impacted","value":true`, "customer_impacted needs a scope"},
		"a search that is none":               {`state:(active OR stable) AND`, `state=active AND`, `"state=active" is not like state:active`},
		"a search with unknown order":         {`"value":"-created"`, `"value":"severity"`, "only -created is followed"},
		"a search for too many":               {`"name":"page_size","value":100`, `"name":"page_size","value":101`, "page_size 101 is not 1 to 100"},
		"a script that is none":               {`return {`, `return [`, "the script is not valid"},
		"an edge to nowhere":                  {`"nextStepName":"Is_recovery"`, `"nextStepName":"Nowhere"`, `leads to "Nowhere"`},
		"an unknown branch":                   {`"branchName":"false"`, `"branchName":"no"`, `has no branch "no"`},
		"two edges of one branch":             {`"branchName":"false"`, `"branchName":"true"`, "more than one edge"},
		"a fallback to nowhere":               {`"fallbackStepName":"Explain_refusal"`, `"fallbackStepName":"Nowhere"`, `fallback step "Nowhere"`},
		"an unknown retry strategy":           {"RETRY_STRATEGY_LINEAR", "RETRY_STRATEGY_EXPONENTIAL", "the retry strategy is not"},
		"an interval that is none":            {`"interval":"10s"`, `"interval":"10"`, "the retry strategy is not"},
		"a step that is never reached":        {`"nextStepName":"Notify_team"`, `"nextStepName":"Explain_refusal"`, "step Notify_team is never reached"},
		"a loop":                              {`"nextStepName":"Notify_team"`, `"nextStepName":"Prepare"`, "step Prepare comes before itself"},
		"a name used twice":                   {`"name":"Notify_team"`, `"name":"Notify_recovery"`, `"Notify_recovery" is no name of its own`},
		"a connection that does not exist":    {`"connectionLabel":"REMEDIATION"`, `"connectionLabel":"remediation"`, `no connection labelled "remediation"`},
		"a connection for the wrong action":   {`"name":"Notify_team"`, `"connectionLabel":"REMEDIATION","name":"Notify_team"`, "takes no connection"},
		"an expression about no step":         {"Steps.Create_incident.url", "Steps.Create.url", "there is no such step"},
		"an expression about a later step":    {"Steps.Revert.body.result", "Steps.Page_on_call.data.id", "never runs before this one"},
		"an expression about no output":       {"Steps.Create_incident.url", "Steps.Create_incident.link", "has no such output"},
		"an expression about no input":        {"{{ Trigger.transition }}", "{{ Trigger.state }}", "there is no such input"},
		"an expression about no variable":     {"{{ Trigger.transition }}", "{{ Current.Value }}", "there is no such variable"},
		"an unconfirmed field of the monitor": {"{{ Trigger.transition }}", "{{ Source.monitor.tags }}", "there is no such variable"},
		"an expression without end":           {"{{ Trigger.transition }}", "{{ Trigger.transition }", "has no end"},
		"an inline expression":                {"{{ Trigger.transition }}", "${ $.Trigger.transition }", "inline expressions are not followed"},
		"an input of unknown type":            {`"type":"STRING"`, `"type":"TEXT"`, `unknown type "TEXT"`},
		"a default of another type":           {`"defaultValue":"alert"`, `"defaultValue":1`, "the default value is not a STRING"},
		"two documents":                       {"", "{}", "text after the document"},
	}
	original := string(resolved(t, assets.Workflow, "cost-spike"))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changed := original + test.new
			if test.old != "" {
				changed = strings.Replace(original, test.old, test.new, 1)
			}
			if changed == original {
				t.Fatalf("the workflow does not contain %s", test.old)
			}
			if _, err := workflow.Parse("w-1", []byte(changed)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
}

func TestParseKeepsTheRateLimit(t *testing.T) {
	raw := bytes.Replace(echo(`1`), []byte(`"monitorTrigger":{}`), []byte(`"monitorTrigger":{"rateLimit":{"count":2,"interval":"900s"}}`), 1)
	w, err := workflow.Parse("w-1", raw)
	if err != nil {
		t.Fatal(err)
	}
	if w.LimitCount != 2 || w.LimitInterval != 15*time.Minute {
		t.Errorf("limit = %d in %v, want 2 in 15 min", w.LimitCount, w.LimitInterval)
	}
}

func TestParseConnectionRefuses(t *testing.T) {
	tests := map[string]struct{ old, new, want string }{
		"an unknown key":             {`"type":"HTTP"`, `"type":"HTTP","x":1`, `unknown field "x"`},
		"another integration":        {`"type":"HTTP"`, `"type":"AWS"`, "not a named action_connection"},
		"a base URL that is none":    {functionURL, "remediation", "base URL"},
		"a token name with a hyphen": {`"name":"controltoken"`, `"name":"control-token"`, "letters and digits"},
		"a token without value":      {controlSecret, "", "and a value"},
		"a header with no token":     {"{{ controltoken }}", "{{ othertoken }}", "there is no othertoken"},
	}
	original := string(resolved(t, assets.Connection, "remediation"))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(original, test.old, test.new, 1)
			if changed == original {
				t.Fatalf("the connection does not contain %s", test.old)
			}
			_, err := workflow.ParseConnection("c-1", []byte(changed))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
			if strings.Contains(fmt.Sprint(err), controlSecret) {
				t.Errorf("the error has the secret: %v", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(resolved(f, assets.Workflow, "cost-spike"))
	f.Add(echo(`"{{ Trigger.o.a[1].b }}"`))
	f.Add(document(`{"name":"A","actionId":"com.datadoghq.core.switch","parameters":[{"name":"switchExpression","value":1},{"name":"cases","value":[1,null]}]}`))
	env := environment(f, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }), &sinks{})
	env.Wait = func(context.Context, time.Duration) error { return nil }
	f.Fuzz(func(t *testing.T, raw []byte) {
		w, err := workflow.Parse("w-1", raw)
		if err != nil || bytes.Contains(raw, []byte("com.datadoghq.datatransformation.func")) {
			return // Scripts may take their two seconds.
		}
		if run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger}, env); run.Status == workflow.Failure && run.Error == "" {
			t.Error("a failure without a reason")
		}
	})
}

func FuzzExpression(f *testing.F) {
	for _, seed := range []string{"{{ Trigger.n }}", "a{{Trigger.o.a[0]}}b{{ InstanceId }}", "{{", "}}{{ Steps.A.value }}", "${ $.x }"} {
		f.Add(seed)
	}
	env := environment(f, nil, &sinks{})
	f.Fuzz(func(t *testing.T, expression string) {
		value, err := json.Marshal(expression)
		if err != nil {
			t.Fatal(err)
		}
		// Encoding replaces what is not valid UTF-8.
		var sent string
		if err := json.Unmarshal(value, &sent); err != nil {
			t.Fatal(err)
		}
		w, err := workflow.Parse("w-1", echo(string(value)))
		if err != nil {
			return
		}
		run := w.Run(t.Context(), workflow.Trigger{Kind: workflow.MonitorTrigger, RunID: "run-1"}, env)
		if run.Status == workflow.Failure && run.Error == "" {
			t.Error("a failure without a reason")
		}
		if got := run.Steps[0].Output["value"]; !strings.Contains(sent, "{{") && got != sent && run.Status == workflow.Success {
			t.Errorf("a text without expressions became %q", got)
		}
	})
}
