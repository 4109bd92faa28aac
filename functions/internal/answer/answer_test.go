package answer_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/internal/answer"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

func TestNewCallTellsLogsOfTheRequest(t *testing.T) {
	tests := map[string]struct {
		change func(*http.Request)
		want   telemetry.HTTP
	}{
		"plain HTTP": {func(r *http.Request) {}, telemetry.HTTP{Method: "POST", URL: "http://qa.example/qa"}},
		"behind a front end that ends TLS": {
			func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") },
			telemetry.HTTP{Method: "POST", URL: "https://qa.example/qa"},
		},
		"TLS to the function": {func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, telemetry.HTTP{Method: "POST", URL: "https://qa.example/qa"}},
		"a query is left out": {func(r *http.Request) { r.URL.RawQuery = "key=secret" }, telemetry.HTTP{Method: "POST", URL: "http://qa.example/qa"}},
		"the caller's user agent": {
			func(r *http.Request) { r.Header.Set("User-Agent", "shop/1.2 (linux)") },
			telemetry.HTTP{Method: "POST", URL: "http://qa.example/qa", UserAgent: "shop/1.2 (linux)"},
		},
		"a user agent of several lines is one": {
			func(r *http.Request) { r.Header.Set("User-Agent", "a\nb\x1b[31m\u00e9c") },
			telemetry.HTTP{Method: "POST", URL: "http://qa.example/qa", UserAgent: "ab[31mc"},
		},
		"a long user agent is cut": {
			func(r *http.Request) { r.Header.Set("User-Agent", strings.Repeat("x", 1000)) },
			telemetry.HTTP{Method: "POST", URL: "http://qa.example/qa", UserAgent: strings.Repeat("x", 256)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/qa", nil)
			r.Host = "qa.example"
			test.change(r)
			if diff := cmp.Diff(test.want, answer.NewCall(r, "qa", llm.QA).HTTP); diff != "" {
				t.Errorf("HTTP (-want +got):\n%s", diff)
			}
		})
	}
}
