package serverless_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/llm-reliability/control-plane/shared/serverless"
)

// knows accepts one bearer token, under a name.
type knows struct{ token, name string }

func (k knows) Authenticate(r *http.Request) (string, bool) {
	if r.Header.Get("Authorization") != "Bearer "+k.token {
		return "", false
	}
	return k.name, true
}

func TestAnyOf(t *testing.T) {
	a, b := knows{"a", "first"}, knows{"b", "second"}
	for name, tt := range map[string]struct {
		auth   serverless.Authenticator
		token  string
		caller string
		ok     bool
	}{
		"the first knows it":           {serverless.AnyOf(a, b), "a", "first", true},
		"the second knows it":          {serverless.AnyOf(a, b), "b", "second", true},
		"both know it":                 {serverless.AnyOf(a, knows{"a", "second"}), "a", "first", true},
		"nobody knows it":              {serverless.AnyOf(a, b), "c", "", false},
		"one of them is not there":     {serverless.AnyOf(nil, b), "b", "second", true},
		"nobody is there to accept it": {serverless.AnyOf(nil), "a", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("Authorization", "Bearer "+tt.token)
			if caller, ok := tt.auth.Authenticate(r); caller != tt.caller || ok != tt.ok {
				t.Errorf("got %q, %v, want %q, %v", caller, ok, tt.caller, tt.ok)
			}
		})
	}
}
