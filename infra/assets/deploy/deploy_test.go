package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
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
	a, err := api.New(api.Options{Now: time.Now, Users: people})
	if err != nil {
		t.Fatal(err)
	}
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

var _ = []any{maps.Keys[map[string]int], strings.Contains, decode}
