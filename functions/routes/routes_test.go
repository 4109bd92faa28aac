package routes_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/routes"
)

func ExampleFind() {
	r, ok := routes.Find("remediation", "POST", "/remediation/switch-model")
	fmt.Println(r.Auth, ok)
	_, ok = routes.Find("remediation", "POST", "/api/configure/model")
	fmt.Println(ok)
	// Output:
	// control true
	// false
}

func TestEveryFunctionHasItsHealthAndNoRouteStandsTwice(t *testing.T) {
	all := routes.All()
	want := []string{"completion", "diagnosis", "escalation", "insights", "probe", "qa", "remediation", "theater"}
	if diff := cmp.Diff(want, routes.Functions()); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
	for _, name := range want {
		if r, ok := routes.Find(name, "GET", "/health"); !ok || r.Auth != routes.Open {
			t.Errorf("GET /health of %s: got %+v, %v, want it open", name, r, ok)
		}
	}
	for i, r := range all {
		if slices.Contains(all[i+1:], r) {
			t.Errorf("%+v stands twice", r)
		}
	}
	all[0].Path = "/changed"
	if routes.All()[0].Path == "/changed" {
		t.Error("a caller changed the table")
	}
}
