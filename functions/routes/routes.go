// Package routes is the table of the functions that exist and of what each serves: data, for whoever checks that a URL in an
// asset, a document or a test leads somewhere. It is no router; each function registers its own routes, and a test holds
// the two against each other.
package routes

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/shared/remediation"
)

// Auth says what a caller must show.
type Auth string

// The kinds of authentication.
const (
	// Open asks for nothing.
	Open Auth = "open"
	// APIKey asks for the bearer key of a caller of the data functions.
	APIKey Auth = "api_key"
	// Control asks for the bearer secret of the control functions.
	Control Auth = "control"
)

// Route is one method and path of one function.
type Route struct {
	// Function is the deployed function's name, that of its folder.
	Function string
	Method   string
	// Path is complete: a route with a parameter has one row for each of its values.
	Path string
	Auth Auth
}

// All returns every route, in the order of functions, paths and methods. The slice is fresh on each call.
func All() []Route {
	all := []Route{
		{"completion", http.MethodPost, "/completion", APIKey},
		{"completion", http.MethodGet, "/v1/models", APIKey},
		{"completion", http.MethodPost, "/v1/chat/completions", APIKey},
		{"diagnosis", http.MethodPost, "/diagnosis/auth", Control},
		{"diagnosis", http.MethodPost, "/diagnosis/provider", Control},
		{"escalation", http.MethodPost, "/escalation/incident", Control},
		{"escalation", http.MethodPost, "/escalation/page", Control},
		{"escalation", http.MethodPost, "/escalation/queue", Control},
		{"insights", http.MethodGet, "/insights", Control},
		{"probe", http.MethodPost, "/probe", Control},
		{"qa", http.MethodPost, "/qa", APIKey},
		{"remediation", http.MethodGet, "/remediation", Control},
		{"theater", http.MethodGet, "/", Open},
		{"theater", http.MethodGet, "/theater/config", Open},
		{"theater", http.MethodGet, "/theater/events", Control},
		{"theater", http.MethodGet, "/theater/state", Control},
		{"theater", http.MethodPost, "/theater/ask", Control},
		{"theater", http.MethodPost, "/theater/revert", Control},
	}
	// They are those of infra/local, the only stage that there is.
	for _, scenario := range []string{"cost", "latency", "quality", "errors", "injection"} {
		all = append(all, Route{"theater", http.MethodPost, "/theater/scenarios/" + scenario, Control})
	}
	for _, action := range remediation.Actions() {
		all = append(all, Route{"remediation", http.MethodPost, "/remediation/" + string(action), Control})
	}
	for _, function := range functionsOf(all) {
		all = append(all, Route{function, http.MethodGet, "/health", Open})
	}
	slices.SortFunc(all, func(a, b Route) int {
		return cmp.Or(strings.Compare(a.Function, b.Function), strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
	})
	return all
}

// Functions returns the names of the functions, each once, in order.
func Functions() []string { return functionsOf(All()) }

func functionsOf(all []Route) []string {
	var names []string
	for _, r := range all {
		if !slices.Contains(names, r.Function) {
			names = append(names, r.Function)
		}
	}
	slices.Sort(names)
	return names
}

// Find returns the route that a function serves at a method and path; ok is false when there is none.
func Find(function, method, path string) (r Route, ok bool) {
	for _, r := range All() {
		if r.Function == function && r.Method == method && r.Path == path {
			return r, true
		}
	}
	return Route{}, false
}
