package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

const site = "datadoghq.com"

// org is an organisation at the stand-in, and the network to it.
type org struct {
	t   *testing.T
	api *api.API

	mu sync.Mutex
	// writes are the requests that change something, in the order in which they came.
	writes []string
	// before is asked for each request; an error is the network's.
	before func(r *http.Request, write int) error
	// after may lose the answer of a request that was served.
	after func(r *http.Request, write int) error
}

// people are the users of the organisation.
var people = []api.User{
	{ID: "a0000000-0000-4000-8000-000000000001", Email: "oncall-primary@example.com", Name: "Ada"},
	{ID: "a0000000-0000-4000-8000-000000000002", Email: "oncall-secondary@example.com", Name: "Bea"},
	{ID: "a0000000-0000-4000-8000-000000000003", Email: "cost-primary@example.com", Name: "Cem"},
	{ID: "a0000000-0000-4000-8000-000000000004", Email: "cost-secondary@example.com", Name: "Dag"},
}

func newOrg(t *testing.T) *org {
	t.Helper()
	a, err := api.New(api.Options{Now: nowInBubble, Users: people})
	if err != nil {
		t.Fatal(err)
	}
	return orgOf(t, a)
}

func orgOf(t *testing.T, a *api.API) *org {
	t.Helper()
	return &org{t: t, api: a}
}

// RoundTrip serves a request in process, so that time is virtual.
func (o *org) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	o.mu.Lock()
	write := -1
	if r.Method != http.MethodGet {
		write = len(o.writes)
		o.writes = append(o.writes, r.Method+" "+r.URL.Path)
	}
	before, after := o.before, o.after
	o.mu.Unlock()
	if before != nil {
		if err := before(r, write); err != nil {
			return nil, err
		}
	}
	w := httptest.NewRecorder()
	defer func() {
		if v := recover(); v != nil {
			if cause, ok := v.(error); !ok || !errors.Is(cause, http.ErrAbortHandler) {
				panic(v)
			}
			resp, err = nil, io.ErrUnexpectedEOF
		}
	}()
	o.api.ServeHTTP(w, r)
	if after != nil {
		if err := after(r, write); err != nil {
			return nil, err
		}
	}
	return w.Result(), nil
}

func (o *org) client() *ddapi.Client {
	o.t.Helper()
	c, err := ddapi.New(ddapi.Options{Site: site, APIKey: "api-key", AppKey: "app-key", HTTP: &http.Client{Transport: o}})
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

// deployer returns a Deployer with the state in a file; edit changes its options.
func (o *org) deployer(state string, all []assets.Asset, edit ...func(*deploy.Options)) *deploy.Deployer {
	o.t.Helper()
	s, err := deploy.OpenState(state, site)
	if err != nil {
		o.t.Fatal(err)
	}
	opts := deploy.Options{Client: o.client(), State: s, Assets: all, Values: assets.Sample}
	for _, f := range edit {
		f(&opts)
	}
	d, err := deploy.New(opts)
	if err != nil {
		o.t.Fatal(err)
	}
	return d
}

// apply plans and applies.
func (o *org) apply(d *deploy.Deployer) (deploy.Plan, error) {
	o.t.Helper()
	p, err := d.Plan(o.t.Context())
	if err != nil {
		return p, err
	}
	_, err = d.Apply(o.t.Context(), p)
	return p, err
}

func (o *org) mustApply(d *deploy.Deployer) deploy.Plan {
	o.t.Helper()
	p, err := o.apply(d)
	if err != nil {
		o.t.Fatal(err)
	}
	return p
}

// mustBeDone fails unless a plan is empty.
func (o *org) mustBeDone(d *deploy.Deployer) {
	o.t.Helper()
	p, err := d.Plan(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	if !p.Empty() {
		o.t.Errorf("something is left to do:\n%s", p.Text())
	}
}

// objects returns how many objects of each kind there are.
func (o *org) objects() map[string]int {
	n := map[string]int{}
	for _, kind := range assets.Kinds() {
		if all := o.api.Objects(string(kind)); len(all) > 0 {
			n[string(kind)] = len(all)
		}
	}
	return n
}

// everything returns every object as text.
func (o *org) everything() map[string]string {
	all := map[string]string{}
	for _, kind := range assets.Kinds() {
		for id, body := range o.api.Objects(string(kind)) {
			all[string(kind)+" "+id] = string(body)
		}
	}
	return all
}

// ours returns the assets of this repository, in the variant for S3.
func ours(t *testing.T) []assets.Asset {
	t.Helper()
	all, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	selected, err := assets.Select(all, "s3")
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(assets.Metrics(telemetry.Catalogue()), selected)
}

func stateFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state", "datadog.json")
}

func TestASecondPlanIsEmpty(t *testing.T) {
	t.Parallel()
	var first map[string]int
	for _, parallel := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			o, state, all := newOrg(t), stateFile(t), ours(t)
			inParallel := func(opts *deploy.Options) { opts.Parallel = parallel }
			p := o.mustApply(o.deployer(state, all, inParallel))
			if got := p.Count(deploy.Create) + p.Count(deploy.Update); got != len(all) {
				t.Errorf("%d steps for %d assets", got, len(all))
			}
			for _, kind := range assets.Kinds() {
				if !slices.ContainsFunc(all, func(a assets.Asset) bool { return a.Kind == kind }) {
					t.Errorf("there is no asset of kind %s", kind)
				}
			}
			o.writes = nil
			d := o.deployer(state, all, inParallel)
			o.mustBeDone(d)
			if _, err := o.apply(d); err != nil {
				t.Error(err)
			}
			if len(o.writes) > 0 {
				t.Errorf("the second apply sent %q", o.writes)
			}
			drift, err := o.deployer(state, all).Drift(t.Context())
			if err != nil || !drift.Empty() {
				t.Errorf("drift = %v\n%s", err, drift.Text())
			}
			if first == nil {
				first = o.objects()
			} else if diff := cmp.Diff(first, o.objects()); diff != "" {
				t.Errorf("objects differ with the number of requests at a time:\n%s", diff)
			}
			info, err := os.Stat(state)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the state file has mode %v, %v", info.Mode(), err)
			}
		})
	}
}

// few returns one asset of each kind, and what those refer to; the dashboard and the notebook are small ones.
func few(t *testing.T) []assets.Asset {
	t.Helper()
	all := ours(t)
	for i, a := range all {
		switch a.Kind {
		case assets.Dashboard:
			all[i].Body = json.RawMessage(`{"title":"Small","description":"managed-by:llm-reliability-control-plane key:dashboard/` + a.Key + `",
				"layout_type":"ordered","widgets":[{"definition":{"type":"note","content":"${slo:latency}"}}]}`)
		case assets.Notebook:
			all[i].Body = json.RawMessage(`{"data":{"type":"notebooks","attributes":{"name":"Small ` + a.Key + `","time":{"live_span":"1h"},"cells":[
				{"type":"notebook_cells","attributes":{"definition":{"type":"markdown","text":"managed-by:llm-reliability-control-plane key:notebook/` + a.Key + `"}}}]}}}`)
		}
	}
	want := map[assets.Ref]bool{}
	kinds := map[assets.Kind]bool{}
	for _, a := range slices.Backward(all) {
		ref := assets.Ref{Kind: string(a.Kind), Name: a.Key}
		switch {
		case a.Kind == assets.PipelineOrder || a.Kind == assets.Monitor && a.Key == "error-burst":
		case want[ref] || !kinds[a.Kind]:
		default:
			continue
		}
		kinds[a.Kind] = true
		want[ref] = true
		for _, r := range assets.Refs(a) {
			want[r] = true
		}
	}
	return slices.DeleteFunc(all, func(a assets.Asset) bool { return !want[assets.Ref{Kind: string(a.Kind), Name: a.Key}] })
}

// TestACrashAnywhereIsGoneOnWith ends an apply at each request that changes something, before it or after it was served.
func TestACrashAnywhereIsGoneOnWith(t *testing.T) {
	t.Parallel()
	all := few(t)
	var want map[string]int
	var writes int
	synctest.Test(t, func(t *testing.T) {
		o := newOrg(t)
		o.mustApply(o.deployer(stateFile(t), all))
		want, writes = o.objects(), len(o.writes)
	})
	for _, served := range []bool{false, true} {
		t.Run(fmt.Sprintf("served %t", served), func(t *testing.T) {
			t.Parallel()
			asked, step := 0, 1
			if testing.Short() {
				step = 7
			}
			for at := 0; at < writes; at += step {
				synctest.Test(t, func(t *testing.T) {
					if crashAt(t, all, want, at, served) {
						asked++
					}
				})
			}
			// What else is in flight at a crash, and lost with it, differs from run to run: 15 to 25 of 43 were seen.
			if asked == 0 || asked > writes*3/4 {
				t.Errorf("a person was asked after %d of %d crashes", asked, writes)
			}
		})
	}
}

// crashAt lets the program end at one request, and applies again. It reports whether a person had to say what is there.
func crashAt(t *testing.T, all []assets.Asset, want map[string]int, at int, served bool) (asked bool) {
	o, state := newOrg(t), stateFile(t)
	crash := errors.New("the program ended")
	var mu sync.Mutex
	dead := false
	o.before = func(_ *http.Request, write int) error {
		mu.Lock()
		defer mu.Unlock()
		if dead = dead || write == at && !served; dead {
			return crash
		}
		return nil
	}
	o.after = func(_ *http.Request, write int) error {
		mu.Lock()
		defer mu.Unlock()
		if dead = dead || write == at; dead {
			return crash
		}
		return nil
	}
	_, err := o.apply(o.deployer(state, all))
	var stopped *deploy.Stopped
	if !errors.As(err, &stopped) || !strings.Contains(err.Error(), "The same command goes on from here") {
		t.Fatalf("at %s: error = %v", o.writes[at], err)
	}
	o.before, o.after = nil, nil
	_, err = o.apply(o.deployer(state, all))
	if conflicts, ok := errors.AsType[deploy.Conflicts](err); ok {
		asked = true
		o.say(state, all, conflicts)
		_, err = o.apply(o.deployer(state, all))
	}
	if err != nil {
		t.Fatalf("after a crash at %s, served %t: %v", o.writes[at], served, err)
	}
	if diff := cmp.Diff(want, o.objects()); diff != "" {
		t.Errorf("after a crash at %s, served %t:\n%s", o.writes[at], served, diff)
	}
	o.mustBeDone(o.deployer(state, all))
	return asked
}

// say answers conflicts about what has no list, as a person does who has looked.
func (o *org) say(state string, all []assets.Asset, conflicts deploy.Conflicts) {
	o.t.Helper()
	for _, c := range conflicts {
		name, text, _ := strings.Cut(c, ": ")
		if !strings.Contains(text, "import "+name+"=none") {
			o.t.Fatalf("a conflict that can't be answered: %s", c)
		}
		target, err := deploy.ParseTarget(name + "=none")
		if err != nil {
			o.t.Fatal(err)
		}
		for _, a := range all {
			if a.Kind != target.Kind || a.Key != target.Key {
				continue
			}
			for id, body := range o.api.Objects(string(a.Kind)) {
				if attribute(o.t, body, "name") == attribute(o.t, a.Body, "name") {
					target = deploy.Target{Kind: a.Kind, Key: a.Key, ID: id}
				}
			}
		}
		if err := o.deployer(state, all).Import(o.t.Context(), []deploy.Target{target}); err != nil {
			o.t.Fatal(err)
		}
	}
}

func attribute(t *testing.T, body json.RawMessage, name string) any {
	t.Helper()
	data, _ := decode(t, body)["data"].(map[string]any)
	attributes, _ := data["attributes"].(map[string]any)
	return attributes[name]
}

func decode(t *testing.T, raw json.RawMessage) map[string]any {
	t.Helper()
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// nowInBubble is the virtual time of a test.
func nowInBubble() time.Time { return time.Now() }
