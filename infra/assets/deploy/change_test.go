package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/remote"
	"github.com/llm-reliability/control-plane/infra/assets/schema"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// foreign are objects that others have made, one of each kind; some look like ours.
var foreign = map[assets.Kind]string{
	assets.Team:           `{"data":{"type":"team","attributes":{"name":"LLM Platform Friends","handle":"friends"}}}`,
	assets.Pipeline:       `{"name":"foreign pipeline","is_enabled":true,"filter":{"query":"*"},"processors":[]}`,
	assets.Monitor:        `{"name":"Error Burst of others","type":"query alert","query":"avg(last_5m):avg:system.load.1{*} > 5","message":"x","tags":["service:llm-reliability-control-plane","team:llm-platform"],"options":{"thresholds":{"critical":5}}}`,
	assets.SLO:            `{"type":"metric","name":"foreign SLO","tags":["asset_key:slo-latency"],"query":{"numerator":"sum:a{*}.as_count()","denominator":"sum:b{*}.as_count()"},"thresholds":[{"timeframe":"30d","target":99}]}`,
	assets.Dashboard:      `{"title":"Foreign","description":"see managed-by:llm-reliability-control-plane","layout_type":"ordered","widgets":[]}`,
	assets.Notebook:       `{"data":{"type":"notebooks","attributes":{"name":"Foreign","time":{"live_span":"1h"},"cells":[{"type":"notebook_cells","attributes":{"definition":{"type":"markdown","text":"x"}}}]}}}`,
	assets.Archive:        `{"data":{"type":"archives","attributes":{"name":"foreign","query":"*","destination":{"type":"s3","bucket":"b","integration":{"account_id":"123456789012","role_name":"r"}}}}}`,
	assets.Connection:     `{"data":{"type":"action_connection","attributes":{"name":"LLM remediation function","integration":{"type":"HTTP","base_url":"https://foreign.example.com","credentials":{"type":"HTTPTokenAuth"}}}}}`,
	assets.Webhook:        `{"name":"foreign","url":"https://foreign.example.com"}`,
	assets.RUMApplication: `{"data":{"type":"rum_application_create","attributes":{"name":"foreign","type":"browser"}}}`,
	assets.ScannerGroup:   `{"meta":{},"data":{"type":"sensitive_data_scanner_group","attributes":{"name":"foreign","is_enabled":true,"filter":{"query":"*"},"product_list":["logs"]},"relationships":{"configuration":{"data":{"type":"sensitive_data_scanner_configuration","id":"CONFIGURATION"}}}}}`,
	assets.Entity:         `{"apiVersion":"v3","kind":"service","metadata":{"name":"foreign"}}`,
}

// seed plants the foreign objects.
func (o *org) seed() {
	o.t.Helper()
	for _, kind := range assets.Kinds() {
		if body := foreign[kind]; body != "" {
			var config struct{ Data struct{ ID string } }
			if kind == assets.ScannerGroup {
				if err := json.Unmarshal(o.do("GET", "/api/v2/sensitive-data-scanner/config", ""), &config); err != nil {
					o.t.Fatal(err)
				}
				body = strings.Replace(body, "CONFIGURATION", config.Data.ID, 1)
			}
			if _, err := o.api.Seed(string(kind), json.RawMessage(body)); err != nil {
				o.t.Fatal(err)
			}
		}
	}
}

// do sends a request as somebody else.
func (o *org) do(method, path, body string) json.RawMessage {
	o.t.Helper()
	var in any
	if body != "" {
		in = json.RawMessage(body)
	}
	var out json.RawMessage
	if err := o.client().Do(o.t.Context(), method, path, nil, in, &out); err != nil {
		o.t.Fatal(err)
	}
	return out
}

func TestForeignObjectsAreNeverTouched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), few(t)
		o.seed()
		before := o.everything()
		o.mustApply(o.deployer(state, all))
		changed := slices.Clone(all)
		for i, a := range changed {
			if a.Kind == assets.Monitor {
				changed[i].Body = []byte(strings.Replace(string(a.Body), `"priority": `, `"priority":  `, 1))
			}
		}
		o.mustApply(o.deployer(state, changed))
		if _, err := o.deployer(state, all).Drift(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, body := range before {
			if o.everything()[id] != body {
				t.Errorf("%s was %s and is %s", id, body, o.everything()[id])
			}
		}
		result, err := o.deployer(state, all).Destroy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after := o.everything()
		for id := range after {
			kind, _, _ := strings.Cut(id, " ")
			if before[id] == "" && !remote.TraitsOf(assets.Kind(kind)).Always && remote.TraitsOf(assets.Kind(kind)).Kept == "" {
				t.Errorf("%s is left", id)
			}
		}
		for id, body := range before {
			if after[id] != body {
				t.Errorf("%s was %s and is %s", id, body, after[id])
			}
		}
		for _, want := range []string{"metric-metadata: ", "incident-handle: "} {
			if !strings.Contains(result.Text(), "! left: "+want) {
				t.Errorf("the result does not say that %s is left:\n%s", want, result.Text())
			}
		}
		again, err := o.deployer(state, all).Destroy(t.Context())
		if err != nil || len(again.Done) > 0 {
			t.Errorf("a second destroy did %v, %v", again.Done, err)
		}
		o.mustApply(o.deployer(state, all))
		o.mustBeDone(o.deployer(state, all))
	})
}

// TestEveryLostAnswerIsFoundAgain loses the answer of each request that changes something, while the network goes on.
func TestEveryLostAnswerIsFoundAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), few(t)
		// What has no list is made first, with answers.
		o.mustApply(o.deployer(state, all))
		want := o.objects()
		var blind []assets.Asset
		for _, a := range all {
			if k := a.Kind; k == assets.Connection || k == assets.EscalationPolicy || k == assets.Team || k == assets.Schedule {
				blind = append(blind, a)
			}
		}
		o, state = newOrg(t), stateFile(t)
		o.mustApply(o.deployer(state, blind))
		// What does no harm twice is sent until there is an answer.
		o.after = func(r *http.Request, _ int) error {
			creates := r.Method == http.MethodPost && !strings.HasSuffix(r.URL.Path, "/distribution_points") && !strings.HasSuffix(r.URL.Path, "/catalog/entity")
			if creates {
				return errors.New("connection reset by peer")
			}
			return nil
		}
		o.mustApply(o.deployer(state, all))
		if diff := cmp.Diff(want, o.objects()); diff != "" {
			t.Errorf("objects:\n%s", diff)
		}
		o.after = nil
		o.mustBeDone(o.deployer(state, all))
	})
}

func TestACreateThatWasNotDoneIsDoneAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), few(t)
		o.api.SetFault(api.Fault{Status: http.StatusServiceUnavailable, Times: 2, Match: func(r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path == "/api/v1/slo"
		}})
		o.mustApply(o.deployer(state, all))
		o.mustBeDone(o.deployer(state, all))
		posts := 0
		for _, w := range o.writes {
			if w == "POST /api/v1/slo" {
				posts++
			}
		}
		if want := 2 + o.objects()[string(assets.SLO)]; posts != want {
			t.Errorf("%d creates of SLOs, want %d", posts, want)
		}
	})
}

func TestACreateWithoutAnswerAndWithoutListAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), few(t)
		o.api.SetFault(api.Fault{Status: http.StatusBadGateway, After: true, Times: 1, Match: func(r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path == "/api/v2/actions/connections"
		}})
		_, err := o.apply(o.deployer(state, all))
		if err == nil || !strings.Contains(err.Error(), "import connection/") || !strings.Contains(err.Error(), "=none") {
			t.Fatalf("error = %v", err)
		}
		if _, err := o.deployer(state, all).Plan(t.Context()); err == nil || !strings.Contains(err.Error(), "may have made it") {
			t.Fatalf("error of the next plan = %v", err)
		}
		var conflicts deploy.Conflicts
		if _, err := o.deployer(state, all).Plan(t.Context()); errors.As(err, &conflicts) {
			o.say(state, all, conflicts)
		}
		o.mustApply(o.deployer(state, all))
		o.mustBeDone(o.deployer(state, all))
	})
}

func TestAFailureStopsAndTheSameCommandGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), few(t)
		o.api.SetFault(api.Fault{Status: http.StatusForbidden, Match: func(r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path == "/api/v1/slo"
		}})
		var events []deploy.Event
		_, err := o.apply(o.deployer(state, all, func(opts *deploy.Options) {
			opts.Progress = func(e deploy.Event) { events = append(events, e) }
		}))
		var stopped *deploy.Stopped
		if !errors.As(err, &stopped) || ddapi.Status(err) != http.StatusForbidden {
			t.Fatalf("error = %v", err)
		}
		if stopped.Done == 0 || len(stopped.NotDone) == 0 || !strings.Contains(err.Error(), "create slo/latency: POST /api/v1/slo: 403") {
			t.Errorf("done %d, not done %q: %v", stopped.Done, stopped.NotDone, err)
		}
		last := events[len(events)-1]
		if last.Done != stopped.Done || last.Total <= last.Done || !slices.ContainsFunc(events, func(e deploy.Event) bool { return e.Error != "" }) {
			t.Errorf("the last of %d events is %+v", len(events), last)
		}
		o.api.SetFault(api.Fault{})
		o.mustApply(o.deployer(state, all))
		o.mustBeDone(o.deployer(state, all))

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := o.deployer(stateFile(t), all).Plan(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a plan that was cancelled: %v", err)
		}
	})
}

// TestBodiesAreAsDatadogDescribesThem checks every create and every update by the schema that Datadog has for it.
func TestBodiesAreAsDatadogDescribesThem(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten times as long with the race detector, and TestASecondPlanIsEmpty sends the same; make test runs it without")
	}
	t.Parallel()
	description, err := schema.Load(t.Context(), schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		checked := map[string]bool{}
		a, err := api.New(api.Options{Now: nowInBubble, Users: people, Check: func(version, name string, body []byte) error {
			var problems []error
			for _, p := range description.Check(version, name, body) {
				problems = append(problems, errors.New(p.String()))
			}
			mu.Lock()
			defer mu.Unlock()
			checked[name] = true
			return errors.Join(problems...)
		}})
		if err != nil {
			t.Fatal(err)
		}
		o, state, all := orgOf(t, a), stateFile(t), ours(t)
		o.mustApply(o.deployer(state, all))
		for name := range o.objects() {
			if strings.HasSuffix(name, "-order") {
				continue
			}
			// What somebody changed is set right by an update.
			for i, asset := range all {
				if string(asset.Kind) == name {
					all[i].Body = touched(asset)
				}
			}
		}
		p := o.mustApply(o.deployer(state, all))
		if p.Count(deploy.Update) < 60 {
			t.Errorf("only %d updates:\n%s", p.Count(deploy.Update), p.Text())
		}
		o.mustBeDone(o.deployer(state, all))
		if len(checked) < 40 {
			t.Errorf("%d schemas: %v", len(checked), checked)
		}
		// The description's patterns are matched under a timeout, whose clock runs for some seconds: the bubble ends after it.
		<-time.After(time.Minute)
	})
}

// touched returns the body of an asset with one text changed.
func touched(a assets.Asset) json.RawMessage {
	for _, field := range []string{`"description": "`, `"description":"`, `"message": "`, `"handles": ["`} {
		if body := strings.Replace(string(a.Body), field, field+"Now: ", 1); body != string(a.Body) {
			return json.RawMessage(body)
		}
	}
	replaced := strings.NewReplacer(`"retries": 2`, `"retries": 3`, `"retries": 1`, `"retries": 3`, `"include_percentiles":true`, `"include_percentiles":false`,
		`"delay_minutes": 60`, `"delay_minutes": 55`, `"delay_minutes": 5`, `"delay_minutes": 6`, `"query": "`, `"query": "env:prod `, `"encode_as": "json"`, `"encode_as": "form"`,
		`"days": 7`, `"days": 14`, `"days": 1`, `"days": 2`, `"html"`, `"text"`, `"MAX"`, `"NONE"`, `"name": "LLM `, `"name": "Now LLM `, `"SEV-3"`, `"SEV-4"`)
	return json.RawMessage(replaced.Replace(string(a.Body)))
}

func TestRateLimitsAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, err := api.New(api.Options{Now: nowInBubble, Users: people, RateLimit: true})
		if err != nil {
			t.Fatal(err)
		}
		o, state, all := orgOf(t, a), stateFile(t), few(t)
		refused := 0
		o.api.SetFault(api.Fault{Status: 429, Times: 5, Header: map[string]string{"X-RateLimit-Reset": "10"}, Match: func(r *http.Request) bool {
			if r.URL.Path != "/api/v1/monitor" || r.Method != http.MethodPost {
				return false
			}
			refused++
			return true
		}})
		begin := nowInBubble()
		o.mustApply(o.deployer(state, all))
		if refused == 0 {
			t.Error("nothing was refused")
		}
		logs := 0
		for _, w := range o.writes {
			if strings.Contains(w, "/logs/config/") {
				logs++
			}
		}
		if took := nowInBubble().Sub(begin).Minutes(); took < float64(logs/2-1) || took > float64(logs+2) {
			t.Errorf("%d changes of the log configuration took %.1f minutes", logs, took)
		}
		o.mustBeDone(o.deployer(state, all))
	})
}

func TestDriftIsFoundAndUndone(t *testing.T) {
	t.Parallel()
	one := func(o *org, kind assets.Kind, ours func(body string) bool) string {
		for id, body := range o.api.Objects(string(kind)) {
			if ours(string(body)) {
				return id
			}
		}
		o.t.Fatalf("no %s", kind)
		return ""
	}
	holds := func(part string) func(string) bool {
		return func(body string) bool { return strings.Contains(body, part) }
	}
	tests := map[string]struct {
		change func(o *org)
		want   []string
	}{
		"nothing": {change: func(*org) {}},
		"a field was changed": {
			func(o *org) {
				o.edit("PUT", "/api/v1/monitor/", one(o, assets.Monitor, holds("monitor-error-burst")), "message", "silenced")
			},
			[]string{`~ monitor/error-burst "Error Burst" was changed`, `    message: "silenced" → `},
		},
		"a tag was taken off": {
			func(o *org) {
				o.edit("PUT", "/api/v1/slo/", one(o, assets.SLO, holds("LLM p95 latency")), "tags", []any{"a:b"})
			},
			[]string{`~ slo/latency "LLM p95 latency" was changed`, `    tags: ["a:b"] → ["service:llm-reliability-control-plane"`},
		},
		"an object was deleted": {
			func(o *org) {
				o.do("DELETE", "/api/v1/monitor/"+one(o, assets.Monitor, holds("monitor-error-burst")), "")
			},
			[]string{`- monitor/error-burst "Error Burst" was deleted`},
		},
		"an object without a list was deleted": {
			func(o *org) {
				o.do("DELETE", "/api/v2/actions/connections/"+one(o, assets.Connection, holds("connection-remediation")), "")
			},
			[]string{`- connection/remediation "LLM remediation function" was deleted`},
		},
		"a metric's tags were configured otherwise": {
			func(o *org) {
				name := one(o, assets.MetricTags, holds("percentiles"))
				o.do("PATCH", "/api/v2/metrics/"+name+"/tags", `{"data":{"type":"manage_tags","id":"`+name+`","attributes":{"tags":["env"],"include_percentiles":false}}}`)
			},
			[]string{`~ metric-tags/`, `data.attributes.include_percentiles: false → true`},
		},
		"the pipelines are in another order": {
			func(o *org) {
				var order struct {
					IDs []string `json:"pipeline_ids"`
				}
				if err := json.Unmarshal(o.do("GET", "/api/v1/logs/config/pipeline-order", ""), &order); err != nil {
					o.t.Fatal(err)
				}
				slices.Reverse(order.IDs)
				raw, err := json.Marshal(order)
				if err != nil {
					o.t.Fatal(err)
				}
				o.do("PUT", "/api/v1/logs/config/pipeline-order", string(raw))
			},
			[]string{`~ pipeline-order/order was changed`},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o, state, all := newOrg(t), stateFile(t), few(t)
				o.seed()
				o.mustApply(o.deployer(state, all))
				test.change(o)
				drift, err := o.deployer(state, all).Drift(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				text := drift.Text()
				if drift.Empty() != (test.want == nil) {
					t.Errorf("drift:\n%s", text)
				}
				for _, want := range test.want {
					if !strings.Contains(text, want) {
						t.Errorf("no %q in\n%s", want, text)
					}
				}
				p := o.mustApply(o.deployer(state, all))
				if p.Empty() != (test.want == nil) {
					t.Errorf("plan:\n%s", p.Text())
				}
				o.mustBeDone(o.deployer(state, all))
			})
		})
	}
}

// edit changes one field of an object of version 1 of the API.
func (o *org) edit(method, path, id, field string, value any) {
	o.t.Helper()
	object := decode(o.t, o.do("GET", path+id, ""))
	if data, ok := object["data"].(map[string]any); ok {
		object = data
	}
	object[field] = value
	raw, err := json.Marshal(object)
	if err != nil {
		o.t.Fatal(err)
	}
	o.do(method, path+id, string(raw))
}

func TestOrdersKeepWhatIsForeignInItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), ours(t)
		seed := func() string {
			id, err := o.api.Seed(string(assets.Pipeline), json.RawMessage(foreign[assets.Pipeline]))
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		first := seed()
		o.mustApply(o.deployer(state, all))
		last := seed()
		var order struct {
			IDs []string `json:"pipeline_ids"`
		}
		read := func() []string {
			order.IDs = nil
			if err := json.Unmarshal(o.do("GET", "/api/v1/logs/config/pipeline-order", ""), &order); err != nil {
				t.Fatal(err)
			}
			return slices.Clone(order.IDs)
		}
		in := read()
		if in[0] != first || in[len(in)-1] != last || len(in) < 6 {
			t.Fatalf("order = %q", in)
		}
		mixed := slices.Clone(in)
		mixed[1], mixed[2], mixed[3], mixed[4], mixed[5] = in[4], in[5], in[3], in[1], in[2]
		raw, err := json.Marshal(map[string]any{"pipeline_ids": mixed})
		if err != nil {
			t.Fatal(err)
		}
		o.do("PUT", "/api/v1/logs/config/pipeline-order", string(raw))
		o.mustApply(o.deployer(state, all))
		want := slices.Clone(mixed)
		want[1], want[3], want[4], want[5] = in[1], in[2], in[3], in[4]
		if diff := cmp.Diff(want, read()); diff != "" {
			t.Errorf("order:\n%s", diff)
		}
	})
}

// folder returns the assets of a small folder.
func folder(t *testing.T, files map[string]string) []assets.Asset {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, body := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(body)}
	}
	all, err := assets.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const (
	slo = `{"type":"metric","name":"Availability","tags":["managed_by:llm-reliability-control-plane","asset_key:slo-availability"],
		"query":{"numerator":"sum:a{*}.as_count()","denominator":"sum:b{*}.as_count()"},"thresholds":[{"timeframe":"30d","target":99}]}`
	monitor = `{"name":"Budget","type":"slo alert","query":"error_budget(\"${slo:availability}\").over(\"30d\") > 80","message":"to ${setting:who}",
		"tags":["managed_by:llm-reliability-control-plane","asset_key:monitor-budget"],"priority":2,"options":{"thresholds":{"critical":80},"include_tags":true}}`
	variable = `{"name":"TOKEN","description":"d","tags":["managed_by:llm-reliability-control-plane","asset_key:global-variable-token"],"value":{"secure":true,"value":"${secret:control}"}}`
	span     = `{"data":{"type":"spans_metrics","id":"a.b","attributes":{"compute":{"aggregation_type":"count"},"filter":{"query":"service:x"}}}}`
)

func TestThePlanSaysWhatWillBeDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state := newOrg(t), stateFile(t)
		files := map[string]string{
			"slos/availability.json": slo, "monitors/budget.json": monitor, "synthetics/variables/token.json": variable, "metrics/spans/a.b.json": span,
		}
		secret := "hunter-two"
		values := func(opts *deploy.Options) {
			opts.Values = func(kind, name string) (string, bool) {
				if kind == assets.Secret {
					return secret, true
				}
				return assets.Sample(kind, name)
			}
		}
		expect := func(want string) {
			t.Helper()
			for range 2 {
				p, err := o.deployer(state, folder(t, files), values).Plan(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, p.Text()); diff != "" {
					t.Errorf("plan (-want +got):\n%s", diff)
				}
			}
			o.mustApply(o.deployer(state, folder(t, files), values))
			o.mustBeDone(o.deployer(state, folder(t, files), values))
		}
		expect(`+ create spans-metric/a.b "a.b"
+ create global-variable/token "TOKEN"
+ create slo/availability "Availability"
+ create monitor/budget "Budget"
datadoghq.com: 4 to create, 0 to update, 0 to replace, 0 to delete, 0 unchanged.
`)
		files["monitors/budget.json"] = strings.NewReplacer(`"priority":2`, `"priority":3`, `,"include_tags":true`, "").Replace(monitor)
		expect(`~ update monitor/budget "Budget"
    options.include_tags: true → (removed)
    priority: 2 → 3
datadoghq.com: 0 to create, 1 to update, 0 to replace, 0 to delete, 3 unchanged.
`)
		secret = "hunter-three"
		expect(`~ update global-variable/token "TOKEN"
    ${secret:control}: «secret» → «secret»
datadoghq.com: 0 to create, 1 to update, 0 to replace, 0 to delete, 3 unchanged.
`)
		files["metrics/spans/a.b.json"] = strings.Replace(span, `"count"`, `"distribution","path":"@duration"`, 1)
		expect(`± replace spans-metric/a.b "a.b"
    data.attributes.compute.aggregation_type: "count" → "distribution"
    data.attributes.compute.path: "@duration"
datadoghq.com: 0 to create, 0 to update, 1 to replace, 0 to delete, 3 unchanged.
`)
		files["slos/availability.json"] = strings.NewReplacer(`"metric"`, `"time_slice"`, `"query":{"numerator":"sum:a{*}.as_count()","denominator":"sum:b{*}.as_count()"}`,
			`"sli_specification":{"time_slice":{"comparator":"<","threshold":1,"query":{"formulas":[{"formula":"q"}],"queries":[{"data_source":"metrics","name":"q","query":"avg:a{*}"}]}}}`).Replace(slo)
		p, err := o.deployer(state, folder(t, files), values).Plan(t.Context())
		if err != nil || !strings.Contains(p.Text(), "± replace slo/availability") || !strings.Contains(p.Text(), `→ "error_budget(\"${slo:availability}\")`) {
			t.Errorf("an SLO that is made anew gives its monitor another identifier: %v\n%s", err, p.Text())
		}
		files["slos/availability.json"] = slo
		delete(files, "monitors/budget.json")
		delete(files, "metrics/spans/a.b.json")
		expect(`- delete monitor/budget "Budget"
- delete spans-metric/a.b "a.b"
datadoghq.com: 0 to create, 0 to update, 0 to replace, 2 to delete, 2 unchanged.
`)
		expect("Nothing to do: 2 assets at datadoghq.com are as the files say.\n")
	})
}

func TestImport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state := newOrg(t), stateFile(t)
		all := folder(t, map[string]string{"monitors/load.json": `{"name":"Load","type":"query alert","query":"avg(last_5m):avg:system.load.1{*} > 5","message":"ours",
			"tags":["managed_by:llm-reliability-control-plane","asset_key:monitor-load"],"options":{"thresholds":{"critical":5}}}`})
		body := `{"name":"Load","type":"metric alert","query":"avg(last_5m):avg:system.load.1{*} > 5","message":"theirs","tags":["a:b"],"options":{"thresholds":{"critical":5}}}`
		id, err := o.api.Seed(string(assets.Monitor), json.RawMessage(body))
		if err != nil {
			t.Fatal(err)
		}
		before := o.everything()
		var conflicts deploy.Conflicts
		if _, err := o.apply(o.deployer(state, all)); !errors.As(err, &conflicts) || !strings.Contains(err.Error(), "adopt what is there: import monitor/load") {
			t.Fatalf("error = %v", err)
		}
		if diff := cmp.Diff(before, o.everything()); diff != "" {
			t.Errorf("a conflict changed something:\n%s", diff)
		}
		for target, want := range map[string]string{"monitor/gone": "no such asset", "monitor/load=1": "1 is not at datadoghq.com"} {
			parsed, err := deploy.ParseTarget(target)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.deployer(state, all).Import(t.Context(), []deploy.Target{parsed}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("import %s: %v, want %q", target, err, want)
			}
		}
		if err := o.deployer(state, all).Import(t.Context(), []deploy.Target{{Kind: assets.Monitor, Key: "load"}}); err != nil {
			t.Fatal(err)
		}
		p := o.mustApply(o.deployer(state, all))
		if p.Count(deploy.Update) != 1 || p.Steps[0].ID != id || !strings.Contains(p.Text(), "    tags: ") {
			t.Errorf("plan after an import:\n%s", p.Text())
		}
		o.mustBeDone(o.deployer(state, all))
		// The marks are on: the state may be lost now.
		o.mustBeDone(o.deployer(stateFile(t), all))

		// A second one of the name, and a clone with our mark.
		clone := strings.Replace(string(o.api.Objects(string(assets.Monitor))[id]), `"ours"`, `"a clone"`, 1)
		if _, err := o.api.Seed(string(assets.Monitor), json.RawMessage(clone)); err != nil {
			t.Fatal(err)
		}
		p, err = o.deployer(state, all).Plan(t.Context())
		if err != nil || !p.Empty() || !strings.Contains(p.Text(), "as a clone does, and is left alone") {
			t.Errorf("a clone: %v\n%s", err, p.Text())
		}
		if _, err := o.deployer(stateFile(t), all).Plan(t.Context()); err == nil || !strings.Contains(err.Error(), "says which one it is") {
			t.Errorf("a clone, and no state: %v", err)
		}
	})
}

func TestALostStateIsMadeAgainFromTheMarks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), few(t)
		o.mustApply(o.deployer(state, all))
		want := o.objects()
		var conflicts deploy.Conflicts
		state = stateFile(t)
		if _, err := o.apply(o.deployer(state, all)); !errors.As(err, &conflicts) {
			t.Fatalf("error = %v", err)
		}
		var targets []deploy.Target
		for _, c := range conflicts {
			name, text, _ := strings.Cut(c, ": ")
			target, err := deploy.ParseTarget(name)
			if err != nil {
				t.Fatal(err)
			}
			if target.Kind == assets.Connection {
				if !strings.Contains(text, "the state does not know it") {
					t.Errorf("conflict: %s", c)
				}
				for id, body := range o.api.Objects(string(assets.Connection)) {
					if strings.Contains(string(body), "connection-"+target.Key) {
						target.ID = id
					}
				}
			}
			targets = append(targets, target)
		}
		// What refers to others is imported when they are known.
		for len(targets) > 0 {
			var left []deploy.Target
			for _, target := range targets {
				if err := o.deployer(state, all).Import(t.Context(), []deploy.Target{target}); err != nil {
					left = append(left, target)
				}
			}
			if len(left) == len(targets) {
				t.Fatalf("can't import %v", left)
			}
			targets = left
		}
		o.mustApply(o.deployer(state, all))
		o.mustBeDone(o.deployer(state, all))
		if diff := cmp.Diff(want, o.objects()); diff != "" {
			t.Errorf("objects:\n%s", diff)
		}
	})
}

func TestAllThatIsMissingIsNamedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOrg(t)
		none := func(opts *deploy.Options) {
			opts.Values = func(kind, name string) (string, bool) {
				if name == "cost_primary" {
					return "nobody@example.com", true
				}
				return "", false
			}
		}
		_, err := o.deployer(stateFile(t), ours(t), none).Plan(t.Context())
		var missing *deploy.Missing
		if !errors.As(err, &missing) {
			t.Fatalf("error = %v", err)
		}
		got := map[string]bool{}
		for _, v := range missing.Values {
			got[v.Placeholder] = true
			if len(v.Files) == 0 {
				t.Errorf("%s names no file", v.Placeholder)
			}
		}
		for _, a := range ours(t) {
			for _, ref := range assets.Refs(a) {
				resolves := assets.Kind(ref.Kind).Known() || ref.Kind == assets.IncidentType || ref.Kind == assets.ScannerConfiguration || ref == assets.Ref{Kind: assets.Setting, Name: "cost_primary"}
				if !resolves && !got[ref.String()] {
					t.Errorf("%s is not named", ref)
				}
			}
		}
		if !strings.Contains(err.Error(), "no active Datadog user has the e-mail address of the setting cost_primary") {
			t.Errorf("error = %v", err)
		}
		if len(o.writes) > 0 {
			t.Errorf("it sent %q", o.writes)
		}
	})
}

func TestSettingsMayNameOnePersonTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), ours(t)
		alone := func(opts *deploy.Options) {
			opts.Values = func(kind, name string) (string, bool) {
				if kind == assets.Setting && (strings.HasSuffix(name, "_primary") || strings.HasSuffix(name, "_secondary")) {
					return people[0].Email, true
				}
				return assets.Sample(kind, name)
			}
		}
		p := o.mustApply(o.deployer(state, all, alone))
		o.mustBeDone(o.deployer(state, all, alone))
		if n := o.objects()[string(assets.NotificationChannel)]; n != 1 || !strings.Contains(p.Text(), "the settings name the same person") {
			t.Errorf("%d channels:\n%s", n, p.Text())
		}
		// More people join.
		o.mustApply(o.deployer(state, all))
		o.mustBeDone(o.deployer(state, all))
		if n := o.objects()[string(assets.NotificationChannel)]; n != 4 {
			t.Errorf("%d channels for 4 people", n)
		}
	})
}

func TestSecretsAreNeitherPrintedNorStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state, all := newOrg(t), stateFile(t), ours(t)
		secrets := []string{`s3cr"t-control`, `s3cr"t-other`}
		var said strings.Builder
		values := func(opts *deploy.Options) {
			opts.Values = func(kind, name string) (string, bool) {
				if kind == assets.Secret && name == "control" {
					return secrets[0], true
				}
				if kind == assets.Secret {
					return secrets[1], true
				}
				return assets.Sample(kind, name)
			}
			opts.Progress = func(e deploy.Event) { fmt.Fprintf(&said, "%+v\n", e) }
		}
		say := func(v any, err error) {
			raw, encode := json.Marshal(v)
			if encode != nil {
				t.Error(encode)
			}
			fmt.Fprintf(&said, "%s %v\n", raw, err)
		}
		// A server that repeats what it got.
		o.api.SetFault(api.Fault{Times: 1, Status: 400, Match: func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == "/api/v1/slo" }})
		p, err := o.apply(o.deployer(state, all, values))
		say(p, err)
		o.api.SetFault(api.Fault{})
		p, err = o.apply(o.deployer(state, all, values))
		say(p, err)
		fmt.Fprintln(&said, p.Text())
		for i := range secrets {
			secrets[i] += "-new"
		}
		p, err = o.apply(o.deployer(state, all, values))
		say(p, err)
		fmt.Fprintln(&said, p.Text())
		if p.Count(deploy.Update) == 0 {
			t.Error("the new secrets change nothing")
		}
		drift, err := o.deployer(state, all, values).Drift(t.Context())
		say(drift, err)
		raw, err := os.ReadFile(state)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(raw)
		result, err := o.deployer(state, all, values).Destroy(t.Context())
		say(result, err)
		if !strings.Contains(said.String(), "«secret»") {
			t.Error("nothing was hidden")
		}
		for _, secret := range []string{`s3cr"t`, `s3cr\"t`, `s3cr\\\"t`} {
			if i := strings.Index(said.String(), secret); i >= 0 {
				t.Errorf("a secret was said: …%s…", said.String()[max(0, i-200):i+20])
			}
		}
	})
}

func TestTheStateIsOfOneSite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, state := newOrg(t), stateFile(t)
		o.mustApply(o.deployer(state, folder(t, map[string]string{"slos/availability.json": slo})))
		if _, err := deploy.OpenState(state, "datadoghq.eu"); err == nil || !strings.Contains(err.Error(), "belongs to the site datadoghq.com") {
			t.Errorf("another site: %v", err)
		}
		other, err := deploy.NewState("datadoghq.eu")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := deploy.New(deploy.Options{Client: o.client(), State: other, Values: assets.Sample}); err == nil {
			t.Error("a state of another site was taken")
		}
		for body, want := range map[string]string{
			`{`:                                    "is not a state file",
			`{"version":7,"site":"datadoghq.com"}`: "of version 7",
			`{"version":1,"site":"datadoghq.com"}`: "no salt",
		} {
			if err := os.WriteFile(state, []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := deploy.OpenState(state, site); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", body, err, want)
			}
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	f.Add("monitor/error-burst")
	f.Add("connection/remediation=none")
	f.Add("monitor/=")
	f.Fuzz(func(t *testing.T, s string) {
		target, err := deploy.ParseTarget(s)
		if err == nil && (!target.Kind.Known() || target.Key == "") {
			t.Errorf("%q is %+v", s, target)
		}
	})
}
