package local_test

import (
	"bytes"
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/completion"
	"github.com/llm-reliability/control-plane/functions/diagnosis"
	"github.com/llm-reliability/control-plane/functions/escalation"
	"github.com/llm-reliability/control-plane/functions/insights"
	"github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/functions/probe"
	"github.com/llm-reliability/control-plane/functions/qa"
	"github.com/llm-reliability/control-plane/functions/remediation"
	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	"github.com/llm-reliability/control-plane/shared/outbox/outboxtest"
	plan "github.com/llm-reliability/control-plane/shared/remediation"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// noMetrics has no data.
type noMetrics struct{}

func (noMetrics) Scalar(context.Context, []metrics.Query, time.Time, time.Time) (map[string]float64, error) {
	return map[string]float64{}, nil
}

// nothing is a theater in which nothing happens.
type nothing struct{}

func (nothing) State(context.Context) (theater.State, error)             { return theater.State{}, nil }
func (nothing) Entries(context.Context, string) ([]theater.Entry, error) { return nil, nil }
func (nothing) Scenarios() []theater.Scenario                            { return nil }
func (nothing) Play(string, string) (theater.Performance, error)         { return theater.Performance{}, nil }
func (nothing) Performances() []theater.Performance                      { return nil }

// nobody is where no request gets an answer.
type nobody struct{}

func (nobody) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody is here")
}

const routesSecret = "0123456789-0123456789-0123456789"

// handlers are the real ones of all functions, by name.
func handlers(t *testing.T) map[string]http.Handler {
	t.Helper()
	models, err := catalog.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	store := &controltest.Memory{}
	base := control.Settings{Model: string(catalog.Standard)}
	reader, err := control.NewReader(control.ReaderOptions{Store: store, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	backends := []gateway.Backend{{Provider: embedded.Provider, Model: embedded.New(), Tiers: models.TierModels(embedded.Provider)}}
	gw, err := gateway.New(gateway.Options{Backends: backends, Catalog: models, Control: reader})
	if err != nil {
		t.Fatal(err)
	}
	controller, err := plan.New(plan.Options{Store: store, Base: base, Limits: plan.Limits{Models: []string{"economy"}, Functions: []string{"qa"}}})
	if err != nil {
		t.Fatal(err)
	}
	health, err := insights.New(insights.Options{Metrics: noMetrics{}, Scope: "*"})
	if err != nil {
		t.Fatal(err)
	}
	golden, err := probe.New(probe.Options{
		QAURL: "https://qa.example", CompletionURL: "https://completion.example", APIKey: "k", HTTP: &http.Client{Transport: nobody{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := serverless.ParseControlSecrets([]env.Secret{routesSecret})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]http.Handler{}
	add := func(name string) func(http.Handler, error) {
		return func(h http.Handler, err error) {
			if err != nil {
				t.Fatal(err)
			}
			out[name] = serverless.Wrap(serverless.Function{Handler: h, Auth: secrets}, serverless.Options{Name: name})
		}
	}
	add("qa")(qa.New(qa.Options{Gateway: gw}))
	add("completion")(completion.New(completion.Options{Gateway: gw}))
	add("remediation")(remediation.New(remediation.Options{Controller: controller}))
	add("diagnosis")(diagnosis.New(diagnosis.Options{Backends: diagnosis.Route(backends, embedded.Provider)}))
	datadog, err := ddapi.New(ddapi.Options{APIKey: "k", AppKey: "k", HTTP: &http.Client{Transport: nobody{}}})
	if err != nil {
		t.Fatal(err)
	}
	escalations, err := escalation.New(escalation.Options{Datadog: datadog, Store: &outboxtest.Memory{}, Service: "s", Team: "t"})
	if err != nil {
		t.Fatal(err)
	}
	add("escalation")(escalations.Handler(), nil)
	add("insights")(health.Handler(), nil)
	add("probe")(golden.Handler(), nil)
	page, err := theater.New(theater.Options{
		Source: nothing{}, Stage: nothing{}, QAURL: "https://qa.example", RemediationURL: "https://remediation.example", APIKey: "k", ControlSecret: "k",
		HTTP: &http.Client{Transport: nobody{}}, Watch: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	out["theater"] = serverless.Wrap(serverless.Function{Handler: page.Handler(), Auth: theater.Auth(secrets)}, serverless.Options{Name: "theater"})
	return out
}

func status(h http.Handler, method, path, token string) int {
	r := httptest.NewRequest(method, path, strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// TestTableOfRoutesIsWhatTheHandlersServe asks every function for every path of the table, by every method.
func TestTableOfRoutesIsWhatTheHandlersServe(t *testing.T) {
	served := handlers(t)
	paths := map[string]bool{"/": true, "/none": true, "/diagnosis": true, "/diagnosis/weather": true}
	for _, r := range routes.All() {
		paths[r.Path] = true
		want := http.StatusUnauthorized
		if r.Auth == routes.Open {
			want = http.StatusOK
		}
		if got := status(served[r.Function], r.Method, r.Path, "wrong"); got != want {
			t.Errorf("%s %s of %s without a secret: got %d, want %d, since it is %s", r.Method, r.Path, r.Function, got, want, r.Auth)
		}
	}
	for function, h := range served {
		for path := range paths {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				_, listed := routes.Find(function, method, path)
				got := status(h, method, path, routesSecret)
				if found := got != http.StatusNotFound && got != http.StatusMethodNotAllowed; found != listed {
					t.Errorf("%s %s of %s: got %d, listed is %v", method, path, function, got, listed)
				}
			}
		}
	}
}

// TestTableOfRoutesIsWhatTheSourceRegisters reads the patterns in the functions' code: a route that nobody listed shows there, and
// so does a function.
func TestTableOfRoutesIsWhatTheSourceRegisters(t *testing.T) {
	mains, err := filepath.Glob("../../functions/*/cmd/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, main := range mains {
		name := filepath.Base(filepath.Dir(filepath.Dir(main)))
		names = append(names, name)
		source, err := os.ReadFile(main)
		if err != nil {
			t.Fatal(err)
		}
		auth, call := routes.Control, "serverless.ControlSecretsFromEnv("
		for _, data := range []string{"wire.DataFunction(", "wire.JudgedFunction("} {
			if bytes.Contains(source, []byte(data)) {
				auth, call = routes.APIKey, data
			}
		}
		patterns := registered(t, filepath.Dir(filepath.Dir(main)))
		for _, r := range routes.All() {
			if r.Function != name || r.Path == "/health" {
				continue
			}
			open := name == "theater" && r.Auth == routes.Open
			if !open && r.Auth != auth || !bytes.Contains(source, []byte(call)) {
				t.Errorf("%s %s is listed as %s, and the main of %s is %s", r.Method, r.Path, r.Auth, name, auth)
			}
			pattern := matching(patterns, r)
			if pattern == "" {
				t.Errorf("%s registers nothing for %s %s", name, r.Method, r.Path)
			}
			patterns[pattern] = true
		}
		for pattern, listed := range patterns {
			if !listed {
				t.Errorf("%s registers %q, and no route of the table is served by it", name, pattern)
			}
		}
	}
	if diff := cmp.Diff(names, routes.Functions()); diff != "" {
		t.Errorf("functions with a main, and in the table (-main +table):\n%s", diff)
	}
}

// registered are the patterns that the files of a folder hand to a ServeMux.
func registered(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	patterns := map[string]bool{}
	for _, file := range slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") }) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Handle" && f.Sel.Name != "HandleFunc" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a pattern is no literal, so that nobody can list it", file)
				return true
			}
			pattern, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			patterns[pattern] = false
			return true
		})
	}
	return patterns
}

// matching is the pattern that serves a route, as http.ServeMux decides.
func matching(patterns map[string]bool, r routes.Route) string {
	mux := http.NewServeMux()
	for pattern := range patterns {
		mux.Handle(pattern, http.NotFoundHandler())
	}
	_, pattern := mux.Handler(httptest.NewRequest(r.Method, r.Path, nil))
	return pattern
}
