package rum_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/rum"
)

const (
	action   = `{"type":"action","date":1795652796565,"application":{"id":"a"},"session":{"id":"s"},"view":{"url":"http://x/"},"action":{"target":{"name":"play"}}}`
	resource = `{"type":"resource","date":1795652796565,"application":{"id":"a"},"session":{"id":"s"},"resource":{"url":"http://x/qa"},"_dd":{"trace_id":"7"}}`
	own      = `{"type":"telemetry","date":1795652796565,"service":"browser-rum-sdk","_dd":{"format_version":2},"telemetry":{"message":"Customer data measures"}}`
	query    = "?ddsource=browser&dd-api-key=pub"
)

func intake(t *testing.T) *rum.Intake {
	t.Helper()
	in, err := rum.New("pub")
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestIntake(t *testing.T) {
	tests := map[string]struct {
		method, query, body string
		status              int
		names               []string
	}{
		"a batch":                              {"POST", query, action + "\n" + resource + "\n", 202, []string{"action play ", "resource http://x/qa 7"}},
		"another token":                        {"POST", "?ddsource=browser&dd-api-key=x", action, 403, nil},
		"another source":                       {"POST", "?ddsource=ios&dd-api-key=pub", action, 400, nil},
		"a compressed batch":                   {"POST", query + "&dd-evp-encoding=deflate", action, 415, nil},
		"reading":                              {"GET", query, "", 405, nil},
		"nothing":                              {"POST", query, "\n", 400, nil},
		"what is no JSON":                      {"POST", query, action + "\n{", 400, nil},
		"an unknown type":                      {"POST", query, strings.Replace(action, `"action"`, `"dance"`, 1), 400, nil},
		"an event without a session":           {"POST", query, strings.Replace(action, `"session":{"id":"s"},`, "", 1), 400, nil},
		"what the SDK says about itself":       {"POST", query, own, 202, []string{"telemetry Customer data measures "}},
		"an event without a date":              {"POST", query, strings.Replace(action, "1795652796565", "0", 1), 400, nil},
		"a browser that asks whether it may":   {"OPTIONS", "", "", 204, nil},
		"a batch that is larger than it is":    {"POST", query, strings.Repeat(action+"\n", 40_000), 413, nil},
		"one bad event, and none of its batch": {"POST", query, action + "\n" + `{"type":"action"}`, 400, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := intake(t)
			w := httptest.NewRecorder()
			in.ServeHTTP(w, httptest.NewRequest(tt.method, "/api/v2/rum"+tt.query, strings.NewReader(tt.body)))
			var names []string
			for _, e := range in.Events() {
				names = append(names, e.Type+" "+e.Name+" "+e.TraceID)
			}
			if diff := cmp.Diff(tt.names, names); w.Code != tt.status || diff != "" {
				t.Errorf("got %d, want %d; events (-want +got):\n%s", w.Code, tt.status, diff)
			}
			if w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Error("a page of another origin may not read the answer")
			}
			if refused := len(in.Refused()) > 0; refused != (tt.status >= 400) {
				t.Errorf("refused: %v", in.Refused())
			}
		})
	}
	if _, err := rum.New(""); err == nil {
		t.Error("an empty token was taken")
	}
}

func TestShow(t *testing.T) {
	in := intake(t)
	in.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/api/v2/rum"+query, strings.NewReader(action)))
	w := httptest.NewRecorder()
	in.Show(w, httptest.NewRequest(http.MethodGet, "/api/rum", nil))
	if !strings.Contains(w.Body.String(), `"type":"action"`) || !strings.Contains(w.Body.String(), `"refused":{}`) {
		t.Errorf("got %s", w.Body)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(action + "\n" + resource))
	f.Add([]byte(own))
	f.Add([]byte(`{"type":"view","date":1e3}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := rum.Parse(body)
		if err != nil {
			return
		}
		for _, e := range events {
			if e.Type != "telemetry" && (e.Application == "" || e.Session == "") || e.At.IsZero() {
				t.Errorf("an event lacks what it must have: %+v", e)
			}
		}
	})
}
