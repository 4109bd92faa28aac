package theater_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/shared/analytics"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

const secret = "0123456789-0123456789-0123456789"

// source is a Source of functions.
type source struct {
	state   func() (theater.State, error)
	entries func(after string) ([]theater.Entry, error)
}

func (s source) State(context.Context) (theater.State, error) {
	if s.state == nil {
		return theater.State{}, nil
	}
	return s.state()
}

func (s source) Entries(_ context.Context, after string) ([]theater.Entry, error) {
	if s.entries == nil {
		return nil, nil
	}
	return s.entries(after)
}

// stage is a Stage that plays one scenario.
type stage struct{ err error }

func (stage) Scenarios() []theater.Scenario {
	return []theater.Scenario{{Name: "cost", Title: "Cost explosion", Monitor: "Cost Anomaly Detection"}}
}

func (s stage) Play(name, key string) (theater.Performance, error) {
	return theater.Performance{ID: key, Scenario: name, State: theater.Playing}, s.err
}

func (stage) Performances() []theater.Performance {
	return []theater.Performance{{ID: "1", Scenario: "cost", State: theater.Done}}
}

func handler(t *testing.T, opts theater.Options) http.Handler {
	t.Helper()
	if opts.Source == nil {
		opts.Source = source{}
	}
	f, err := theater.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	control, err := serverless.ParseControlSecrets([]env.Secret{secret})
	if err != nil {
		t.Fatal(err)
	}
	return serverless.Wrap(serverless.Function{Handler: f.Handler(), Auth: theater.Auth(control)}, serverless.Options{Name: "theater"})
}

func ask(h http.Handler, method, path, body string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+secret)
	r.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func call(edit map[string]any) string {
	doc := map[string]any{"idempotency_key": "k1", "timestamp": time.Now().Format(time.RFC3339Nano)}
	maps.Copy(doc, edit)
	out, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func TestWithoutABuildThePageSaysWhatIsMissing(t *testing.T) {
	h := handler(t, theater.Options{Web: fstest.MapFS{".keep": {}}})
	w := ask(h, http.MethodGet, "/", "", nil)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "npm run build") || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := ask(h, http.MethodGet, "/theater/config", "", nil); w.Code != http.StatusOK {
		t.Errorf("config: got %d, want it to work all the same", w.Code)
	}
}

func TestFilesOfTheBuild(t *testing.T) {
	h := handler(t, theater.Options{Web: fstest.MapFS{
		"index.html": {Data: []byte("<!doctype html>")}, "assets/a-1.js": {Data: []byte("plain")}, "assets/a-1.js.br": {Data: []byte("brotli")},
		"assets/a-1.js.gz": {Data: []byte("gzip")}, ".keep": {Data: []byte("x")},
	}})
	tests := map[string]struct {
		path, accept string
		status       int
		body, cache  string
		encoding     string
	}{
		"the page is asked for each time":   {path: "/", status: 200, body: "<!doctype html>", cache: "no-cache"},
		"what is named by content is kept":  {path: "/assets/a-1.js", status: 200, body: "plain", cache: "public, max-age=31536000, immutable"},
		"brotli where it is taken":          {path: "/assets/a-1.js", accept: "gzip, br", status: 200, body: "brotli", cache: "public, max-age=31536000, immutable", encoding: "br"},
		"gzip where only that is taken":     {path: "/assets/a-1.js", accept: "gzip", status: 200, body: "gzip", cache: "public, max-age=31536000, immutable", encoding: "gzip"},
		"a file that is not there":          {path: "/assets/b.js", status: 404},
		"a file that only keeps the folder": {path: "/.keep", status: 404},
		"a way out of the folder":           {path: "/assets/../../theater.go", status: 404},
		"a folder":                          {path: "/assets", status: 404},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.URL.Path = tt.path
			r.Header.Set("Accept-Encoding", tt.accept)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code == http.StatusMovedPermanently || w.Code == http.StatusTemporaryRedirect {
				// The mux cleans a path by a redirect, and what is asked for then is inside.
				r.URL.Path = w.Header().Get("Location")
				w = httptest.NewRecorder()
				h.ServeHTTP(w, r)
			}
			if w.Code != tt.status {
				t.Fatalf("status: got %d, want %d", w.Code, tt.status)
			}
			if tt.status != http.StatusOK {
				return
			}
			got := []string{w.Body.String(), w.Header().Get("Cache-Control"), w.Header().Get("Content-Encoding"), w.Header().Get("X-Content-Type-Options")}
			if diff := cmp.Diff([]string{tt.body, tt.cache, tt.encoding, "nosniff"}, got); diff != "" {
				t.Errorf("body, cache, encoding (-want +got):\n%s", diff)
			}
		})
	}
}

func TestThePolicyNamesOnlyTheIntakeOfRUM(t *testing.T) {
	rum := func(site, intake string) *theater.RUM {
		return &theater.RUM{ApplicationID: "a", ClientToken: "c", Site: site, Intake: intake}
	}
	tests := map[string]struct {
		rum  *theater.RUM
		want string
		bad  bool
	}{
		"no RUM":                        {want: "connect-src 'self'"},
		"the first site":                {rum: rum("datadoghq.com", ""), want: "connect-src 'self' https://browser-intake-datadoghq.com"},
		"the site in Europe":            {rum: rum("datadoghq.eu", ""), want: "connect-src 'self' https://browser-intake-datadoghq.eu"},
		"a site of three parts":         {rum: rum("us5.datadoghq.com", ""), want: "connect-src 'self' https://browser-intake-us5-datadoghq.com"},
		"a stand-in":                    {rum: rum("datadoghq.com", "http://127.0.0.1:8081/x"), want: "connect-src 'self' http://127.0.0.1:8081"},
		"a site that is a policy":       {rum: rum("x.com; script-src *", ""), bad: true},
		"an intake that is no address":  {rum: rum("datadoghq.com", "nowhere"), bad: true},
		"an application without a name": {rum: &theater.RUM{ClientToken: "c", Site: "datadoghq.com"}, bad: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := theater.New(theater.Options{Source: source{}, RUM: tt.rum})
			if tt.bad {
				if err == nil {
					t.Error("it was taken")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			f.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			policy := w.Header().Get("Content-Security-Policy")
			if _, got, _ := strings.Cut(policy, "connect-src"); "connect-src"+got != tt.want || strings.Contains(policy, "unsafe") {
				t.Errorf("got %q, want %q at its end", policy, tt.want)
			}
		})
	}
}

func TestWhatIsOpenAndWhatIsNot(t *testing.T) {
	h := handler(t, theater.Options{Stage: stage{}, Watch: time.Millisecond})
	for path, open := range map[string]bool{
		"GET /": true, "HEAD /": true, "GET /theater/config": true, "GET /theater/state": false, "GET /theater/events": false, "GET /theater/": false,
		"POST /theater/scenarios/cost": false, "POST /theater/revert": false, "POST /theater/ask": false, "POST /theater/config": false, "POST /": false,
	} {
		method, target, _ := strings.Cut(path, " ")
		w := ask(h, method, target, "{}", map[string]string{"Authorization": "Bearer wrong"})
		if got := w.Code != http.StatusUnauthorized; got != open {
			t.Errorf("%s with a wrong secret: got %d, want it open: %v", path, w.Code, open)
		}
	}
}

func TestPlay(t *testing.T) {
	tests := map[string]struct {
		stage  theater.Stage
		body   string
		status int
		want   string
	}{
		"a scenario":                    {stage{}, call(nil), 202, `"state":"playing"`},
		"no stage":                      {nil, call(nil), 404, `"code":"no_stage"`},
		"an unknown scenario":           {stage{theater.ErrUnknownScenario}, call(nil), 404, `"code":"unknown_scenario"`},
		"the key of another":            {stage{theater.ErrKeyReused}, call(nil), 409, `"code":"id_reused"`},
		"too many wait":                 {stage{theater.ErrFull}, call(nil), 429, `"code":"queue_full"`},
		"a stage that fails":            {stage{errors.New("dial 10.0.0.1")}, call(nil), 500, "internal"},
		"an old call":                   {stage{}, call(map[string]any{"timestamp": time.Now().Add(-6 * time.Minute).Format(time.RFC3339)}), 400, `"field":"timestamp"`},
		"a call of tomorrow":            {stage{}, call(map[string]any{"timestamp": time.Now().Add(24 * time.Hour).Format(time.RFC3339)}), 400, `"field":"timestamp"`},
		"every bad field at once":       {stage{}, `{}`, 400, `"field":"idempotency_key"`},
		"a field that there is not":     {stage{}, call(map[string]any{"speed": 2}), 400, `"field":"speed"`},
		"a key that is much too long":   {stage{}, call(map[string]any{"idempotency_key": strings.Repeat("k", 201)}), 400, `"field":"idempotency_key"`},
		"a body that is much too large": {stage{}, call(map[string]any{"idempotency_key": strings.Repeat("k", 17<<10)}), 413, "larger"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := ask(handler(t, theater.Options{Stage: tt.stage}), http.MethodPost, "/theater/scenarios/cost", tt.body, nil)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || strings.Contains(w.Body.String(), "10.0.0.1") {
				t.Errorf("got %d %s, want %d with %s", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

func TestConfigAndState(t *testing.T) {
	h := handler(t, theater.Options{
		Stage: stage{}, QAURL: "https://qa.example", APIKey: "k-secret", Links: []theater.Link{{Title: "Dashboard", URL: "https://x.example"}}, Service: "s",
		Source: source{state: func() (theater.State, error) { return theater.State{Speed: 60}, nil }},
	})
	var c theater.Config
	w := ask(h, http.MethodGet, "/theater/config", "", nil)
	if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil {
		t.Fatal(err)
	}
	want := theater.Config{Service: "s", Scenarios: stage{}.Scenarios(), Ask: true, Links: []theater.Link{{Title: "Dashboard", URL: "https://x.example"}}}
	if diff := cmp.Diff(want, c); diff != "" || strings.Contains(w.Body.String(), "k-secret") {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	var s theater.State
	if err := json.Unmarshal(ask(h, http.MethodGet, "/theater/state", "", nil).Body.Bytes(), &s); err != nil || s.Speed != 60 || len(s.Performances) != 1 {
		t.Errorf("state: got %+v, %v", s, err)
	}
	broken := handler(t, theater.Options{Source: source{state: func() (theater.State, error) { return theater.State{}, errors.New("dial 10.0.0.1") }}})
	if w := ask(broken, http.MethodGet, "/theater/state", "", nil); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "10.0.0.1") {
		t.Errorf("a source that is down: got %d %s", w.Code, w.Body)
	}
}

func TestRelay(t *testing.T) {
	var got *http.Request
	var body string
	answer := func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got, body = r, string(data)
		switch r.Header.Get("X-Session-Id") {
		case "refused":
			w.WriteHeader(http.StatusUnauthorized)
		case "moved":
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
		case "busy":
			w.Header().Set("Retry-After", "7")
			httpjson.WriteProblem(w, &httpjson.Problem{Status: http.StatusServiceUnavailable, Detail: "later"}, "")
		default:
			httpjson.Write(w, http.StatusOK, map[string]string{"answer": "1732"})
		}
	}
	backend := httptest.NewServer(http.HandlerFunc(answer))
	t.Cleanup(backend.Close)
	h := handler(t, theater.Options{QAURL: backend.URL, RemediationURL: backend.URL, APIKey: "the-api-key", ControlSecret: "the-control-secret"})

	w := ask(h, http.MethodPost, "/theater/ask", `{"question":"When?"}`, map[string]string{"X-Request-Id": "r1"})
	if w.Code != http.StatusOK || w.Body.String() != "{\"answer\":\"1732\"}\n" {
		t.Errorf("ask: got %d %s", w.Code, w.Body)
	}
	if want := "/qa Bearer the-api-key r1"; fmt.Sprint(got.URL.Path, " ", got.Header.Get("Authorization"), " ", got.Header.Get("X-Request-Id")) != want || body != `{"question":"When?"}` {
		t.Errorf("ask: asked %s %v %s, want %s", got.URL, got.Header, body, want)
	}

	w = ask(h, http.MethodPost, "/theater/revert", call(map[string]any{"override_id": "100:qa:1:alert"}), nil)
	var sent struct {
		Key    string            `json:"idempotency_key"`
		ID     string            `json:"override_id"`
		Source map[string]string `json:"source"`
	}
	if err := json.Unmarshal([]byte(body), &sent); err != nil || w.Code != http.StatusOK {
		t.Fatalf("revert: got %d, %v", w.Code, err)
	}
	if got.URL.Path != "/remediation/revert" || got.Header.Get("Authorization") != "Bearer the-control-secret" || sent.Key != "k1" || sent.ID != "100:qa:1:alert" || sent.Source["operator"] != "theater" {
		t.Errorf("revert: asked %s %s", got.URL, body)
	}

	for session, want := range map[string]int{"refused": http.StatusBadGateway, "moved": http.StatusTemporaryRedirect, "busy": http.StatusServiceUnavailable} {
		w := ask(h, http.MethodPost, "/theater/ask", `{}`, map[string]string{"X-Session-Id": session})
		if w.Code != want || session == "busy" && w.Header().Get("Retry-After") != "7" || strings.Contains(w.Body.String(), "api-key") {
			t.Errorf("%s: got %d %v %s, want %d", session, w.Code, w.Header(), w.Body, want)
		}
	}
	if w := ask(h, http.MethodPost, "/theater/revert", call(map[string]any{"override_id": "a b"}), nil); w.Code != http.StatusBadRequest {
		t.Errorf("a bad ID: got %d, want 400", w.Code)
	}
	if w := ask(h, http.MethodPost, "/theater/ask", strings.Repeat("x", 600<<10), nil); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large question: got %d, want 413", w.Code)
	}
	backend.Close()
	if w := ask(h, http.MethodPost, "/theater/ask", `{}`, nil); w.Code != http.StatusBadGateway || strings.Contains(w.Body.String(), "127.0.0.1") {
		t.Errorf("nobody there: got %d %s, want 502 without an address", w.Code, w.Body)
	}
	bare := handler(t, theater.Options{})
	if w := ask(bare, http.MethodPost, "/theater/ask", `{}`, nil); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "not_configured") {
		t.Errorf("without qa: got %d %s, want 404", w.Code, w.Body)
	}
	if _, err := theater.New(theater.Options{Source: source{}, QAURL: "https://qa.example"}); err == nil {
		t.Error("an address without its key was taken")
	}
	if _, err := theater.New(theater.Options{}); err == nil {
		t.Error("no source was taken")
	}
}

// TestClicksAreToldOf looks for the events that analytics makes of clicks.
func TestClicksAreToldOf(t *testing.T) {
	memory := &telemetry.Memory{}
	tel, err := telemetry.New(telemetry.Options{Sink: memory, Logger: slog.New(slog.DiscardHandler), Function: "theater"})
	if err != nil {
		t.Fatal(err)
	}
	clicks, err := analytics.New(analytics.Options{Telemetry: tel})
	if err != nil {
		t.Fatal(err)
	}
	h := handler(t, theater.Options{Stage: stage{}, Analytics: clicks})
	ask(h, http.MethodPost, "/theater/scenarios/cost", call(nil), nil)
	ask(h, http.MethodPost, "/theater/scenarios/cost", `{}`, nil)
	ask(h, http.MethodPost, "/theater/ask", `{}`, nil)
	var got []string
	for _, e := range memory.Events() {
		got = append(got, e.Title+" | "+e.Text)
	}
	want := []string{
		"Product Analytics: user_action | play_scenario cost, by theater, 1 times since the last of this instance",
		"Product Analytics: user_action | ask_question, by theater, 1 times since the last of this instance",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
