package answer_test

import (
	"crypto/tls"
	"encoding/json"
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
			if diff := cmp.Diff(test.want, answer.NewCall(httptest.NewRecorder(), r, "qa", llm.QA).HTTP); diff != "" {
				t.Errorf("HTTP (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewCallReadsCacheControl(t *testing.T) {
	for header, want := range map[string][2]bool{
		"":                                   {false, false},
		"no-cache":                           {true, false},
		"no-store":                           {false, true},
		"max-age=0, No-Cache , no-store":     {true, true},
		"private=\"no-cache-like\", max-age": {false, false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/qa", nil)
		r.Header.Set("Cache-Control", header)
		if c := answer.NewCall(httptest.NewRecorder(), r, "qa", llm.QA); c.NoCache != want[0] || c.NoStore != want[1] {
			t.Errorf("%q: no-cache %v, no-store %v; want %v", header, c.NoCache, c.NoStore, want)
		}
	}
}

func TestMetadataTellsHowAnAnswerCame(t *testing.T) {
	for name, test := range map[string]struct {
		exchange telemetry.Exchange
		want     string
	}{
		"a miss": {telemetry.Exchange{Cache: telemetry.CacheMiss, Attempts: []telemetry.Attempt{{}}}, `"cached":false,"cache":"miss","attempts":1,`},
		"a hit":  {telemetry.Exchange{Cache: telemetry.CacheHit}, `"cached":true,"cache":"hit","attempts":0,`},
		"a stale answer after a failure": {
			telemetry.Exchange{Cache: telemetry.CacheStale, Attempts: []telemetry.Attempt{{}}, Skipped: []string{"google/global/m"}},
			`"cached":true,"cache":"stale","attempts":1,"skipped":["google/global/m"],`,
		},
		"an estimate": {
			telemetry.Exchange{Cache: telemetry.CacheOff, UsageEstimated: true, Usage: &llm.Usage{InputTokens: 1}},
			`"input_tokens":1,"output_tokens":0,"usage_estimated":true,"cached":false,"cache":"off",`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(answer.Describe(t.Context(), &test.exchange))
			if err != nil || !strings.Contains(string(got), test.want) {
				t.Errorf("%s, %v; want in it %s", got, err, test.want)
			}
		})
	}
}
