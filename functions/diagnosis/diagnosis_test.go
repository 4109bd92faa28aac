package diagnosis_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/diagnosis"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	"github.com/llm-reliability/control-plane/shared/llm/openai"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// secret stands in every cause and body of a failure; it must never come out.
const secret = "sk-internal-9876"

// model answers as err says, and waits before it for as long as delay.
type model struct {
	err   error
	delay time.Duration
}

func (m model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	select {
	case <-time.After(m.delay):
	case <-ctx.Done():
		return nil, llm.AsError(ctx.Err())
	}
	if m.err != nil {
		return nil, m.err
	}
	return &llm.Response{Text: "ready", Model: req.Model, Finish: llm.FinishStop}, nil
}

func (model) Stream(context.Context, llm.Request) iter.Seq2[llm.Chunk, error] {
	panic("a diagnosis streams nothing")
}

func failing(kind llm.Kind) model {
	return model{err: &llm.Error{Kind: kind, Err: errors.New("upstream said " + secret)}}
}

// credentials answer with what they hold.
type credentials struct {
	got diagnosis.Credential
	err error
}

func (c credentials) Check(context.Context) (diagnosis.Credential, error) { return c.got, c.err }

func backends(models ...model) []diagnosis.Backend {
	var out []diagnosis.Backend
	for i, m := range models {
		name := fmt.Sprint("m", i+1)
		out = append(out, diagnosis.Backend{Provider: "p", Model: name, Client: m, Credentials: diagnosis.Key{Client: m, Model: name}})
	}
	return out
}

// start wraps the function as it is deployed; lines gets its log.
func start(t testing.TB, opts diagnosis.Options, lines *bytes.Buffer) http.Handler {
	t.Helper()
	logger := slog.New(slog.NewJSONHandler(lines, nil))
	tel, err := telemetry.New(telemetry.Options{Sink: &telemetry.Memory{}, Logger: logger, Function: "diagnosis"})
	if err != nil {
		t.Fatal(err)
	}
	opts.Telemetry = tel
	h, err := diagnosis.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := serverless.ParseControlSecrets([]env.Secret{"0123456789-0123456789-0123456789"})
	if err != nil {
		t.Fatal(err)
	}
	return serverless.Wrap(serverless.Function{Handler: h, Auth: secrets}, serverless.Options{Name: "diagnosis", Telemetry: tel})
}

func ask(h http.Handler, path, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer 0123456789-0123456789-0123456789")
	r.Header.Set("X-Request-Id", "r-1")
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func report(t *testing.T, w *httptest.ResponseRecorder) diagnosis.Report {
	t.Helper()
	var got diagnosis.Report
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("got %d %s, want a report", w.Code, w.Body)
	}
	if strings.Contains(w.Body.String(), secret) {
		t.Errorf("the answer shows a cause: %s", w.Body)
	}
	if got.Summary == "" || got.NextAction == "" || got.RequestID != "r-1" || len(got.Evidence) == 0 {
		t.Errorf("got %s, want a summary, a next action, evidence and the request's ID", w.Body)
	}
	return got
}

// incident is one of Google Cloud's list, open, of a product that serves models in our region, changed as edit says.
func incident(edit map[string]any) map[string]any {
	doc := map[string]any{
		"id": "inc-1", "number": "1", "begin": "2020-01-01T00:00:00+00:00", "external_desc": "Elevated errors", "status_impact": "SERVICE_DISRUPTION",
		"severity": "medium", "affected_products": []any{map[string]any{"title": "Vertex Gemini API", "id": "x"}},
		"currently_affected_locations": []any{map[string]any{"title": "Iowa (us-central1)", "id": "us-central1"}},
		"most_recent_update":           map[string]any{"status": "SERVICE_DISRUPTION", "text": "We look into it."},
	}
	maps.Copy(doc, edit)
	return doc
}

func feed(t testing.TB, answer http.HandlerFunc) *diagnosis.Feed {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	f, err := diagnosis.NewFeed(diagnosis.FeedOptions{URL: server.URL, Region: "us-central1", HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func listing(incidents ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(append([]any{}, incidents...)); err != nil {
			panic(err)
		}
	}
}

func TestProviderVerdicts(t *testing.T) {
	ok, down := model{}, failing(llm.Overloaded)
	open := listing(incident(nil))
	for name, tt := range map[string]struct {
		route    []model
		feed     http.HandlerFunc
		want     diagnosis.Verdict
		observed []string
	}{
		"a model that answers":                         {[]model{ok}, nil, diagnosis.OK, []string{"answered"}},
		"all models of the route answer":               {[]model{ok, ok}, listing(), diagnosis.OK, []string{"answered", "answered", "available"}},
		"an answer without text is an answer":          {[]model{failing(llm.Empty)}, nil, diagnosis.OK, []string{"empty"}},
		"an overload":                                  {[]model{down}, nil, diagnosis.Down, []string{"overloaded"}},
		"a connection that fails":                      {[]model{failing(llm.ProviderFault)}, nil, diagnosis.Down, []string{"provider_fault"}},
		"one of two is down":                           {[]model{down, ok}, nil, diagnosis.Degraded, []string{"overloaded", "answered"}},
		"no capacity":                                  {[]model{failing(llm.RateLimited)}, nil, diagnosis.Degraded, []string{"rate_limited"}},
		"one is down, one has no capacity":             {[]model{down, failing(llm.RateLimited)}, nil, diagnosis.Degraded, []string{"overloaded", "rate_limited"}},
		"a refused key says nothing of the model":      {[]model{failing(llm.Unauthenticated)}, nil, diagnosis.Unknown, []string{"unauthenticated"}},
		"a refused key beside one that is down":        {[]model{failing(llm.Unauthenticated), down}, nil, diagnosis.Down, []string{"unauthenticated", "overloaded"}},
		"an error that nobody gave a kind":             {[]model{{err: errors.New(secret)}}, nil, diagnosis.Unknown, []string{"internal"}},
		"an incident that our calls do not feel":       {[]model{ok}, open, diagnosis.Degraded, []string{"answered", "service_disruption"}},
		"an outage that our calls do not feel":         {[]model{ok}, listing(incident(map[string]any{"status_impact": "SERVICE_OUTAGE"})), diagnosis.Degraded, []string{"answered", "service_outage"}},
		"an incident and calls that fail":              {[]model{down}, open, diagnosis.Down, []string{"overloaded", "service_disruption"}},
		"an outage decides where our calls can't tell": {[]model{failing(llm.NotFound)}, listing(incident(map[string]any{"status_impact": "SERVICE_OUTAGE"})), diagnosis.Down, []string{"not_found", "service_outage"}},
		"a notice":                          {[]model{ok}, listing(incident(map[string]any{"status_impact": "SERVICE_INFORMATION"})), diagnosis.OK, []string{"answered", "service_information"}},
		"a feed that fails changes nothing": {[]model{ok}, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secret, 500) }, diagnosis.OK, []string{"answered", "unreadable"}},
		"a feed that is no JSON":            {[]model{down}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, secret) }, diagnosis.Down, []string{"overloaded", "unreadable"}},
		"a feed without end": {[]model{ok}, func(w http.ResponseWriter, _ *http.Request) {
			for range 9 << 10 {
				fmt.Fprint(w, strings.Repeat(" ", 1<<10))
			}
		}, diagnosis.OK, []string{"answered", "unreadable"}},
	} {
		t.Run(name, func(t *testing.T) {
			opts := diagnosis.Options{Backends: backends(tt.route...)}
			if tt.feed != nil {
				opts.Feed = feed(t, tt.feed)
			}
			var lines bytes.Buffer
			got := report(t, ask(start(t, opts, &lines), "/diagnosis/provider", "application/json", `{"any":"thing"}`))
			var observed []string
			for _, e := range got.Evidence {
				observed = append(observed, e.Observed)
			}
			if diff := cmp.Diff(tt.observed, observed); diff != "" || got.Verdict != tt.want {
				t.Errorf("verdict %s, want %s; observed (-want +got):\n%s%+v", got.Verdict, tt.want, diff, got)
			}
			if healthy := got.Verdict == diagnosis.OK; healthy != (got.NextAction == "Nothing to do.") {
				t.Errorf("verdict %s, next action %q", got.Verdict, got.NextAction)
			}
			if !strings.Contains(lines.String(), `"llm.diagnosis.verdict":"`+string(tt.want)+`"`) {
				t.Errorf("log %s does not tell the verdict", &lines)
			}
		})
	}
}

func TestAuthVerdicts(t *testing.T) {
	past, tomorrow, nextYear := time.Now().Add(-time.Hour), time.Now().Add(10*time.Hour), time.Now().Add(9000*time.Hour)
	with := func(got diagnosis.Credential, err error) []diagnosis.Backend {
		b := backends(model{})
		b[0].Credentials = credentials{got, err}
		return b
	}
	open := backends(model{})
	open[0].Credentials = diagnosis.None{}
	account := diagnosis.Credential{Kind: "service_account", Identity: "lrcp@example", Scopes: []string{"cloud-platform"}}
	until := func(end time.Time) diagnosis.Credential { c := account; c.ExpiresAt = &end; return c }
	for name, tt := range map[string]struct {
		route    []diagnosis.Backend
		want     diagnosis.Verdict
		observed string
		next     string
	}{
		"a key that works":                     {backends(model{}), diagnosis.OK, "answered", "Nothing to do."},
		"a model that needs none":              {open, diagnosis.OK, "not_needed", "Nothing to do."},
		"a refused key":                        {backends(failing(llm.Unauthenticated)), diagnosis.Invalid, "unauthenticated", "Replace the credentials"},
		"a key without the right":              {backends(failing(llm.Forbidden)), diagnosis.Invalid, "forbidden", "Grant our identity"},
		"a provider that is down can't tell":   {backends(failing(llm.Overloaded)), diagnosis.Unknown, "overloaded", "POST /diagnosis/provider"},
		"a quota that is used up can't tell":   {backends(failing(llm.RateLimited)), diagnosis.Unknown, "rate_limited", "POST /diagnosis/provider"},
		"an answer that is withheld":           {backends(failing(llm.Blocked)), diagnosis.OK, "blocked", "Nothing to do."},
		"one of two is refused":                {backends(model{}, failing(llm.Unauthenticated)), diagnosis.Invalid, "answered", "Replace the credentials"},
		"credentials that end next year":       {with(until(nextYear), nil), diagnosis.OK, "answered", "Nothing to do."},
		"credentials that end within the day":  {with(until(tomorrow), nil), diagnosis.OK, "answered", "Nothing to do."},
		"credentials that ended":               {with(until(past), nil), diagnosis.Expired, "expired", "Renew"},
		"credentials that say that they ended": {with(account, fmt.Errorf("token of %s: %w", secret, diagnosis.ErrExpired)), diagnosis.Expired, "expired", "Renew"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(start(t, diagnosis.Options{Backends: tt.route}, &bytes.Buffer{}), "/diagnosis/auth", "", "")
			got := report(t, w)
			if got.Verdict != tt.want || got.Evidence[0].Observed != tt.observed || !strings.Contains(got.NextAction, tt.next) {
				t.Errorf("got %s, want %s, %s, next %q", w.Body, tt.want, tt.observed, tt.next)
			}
			if got.Evidence[0].Credential == nil || got.Evidence[0].Credential.Kind == "" {
				t.Errorf("got %s, want the kind of the credentials", w.Body)
			}
		})
	}
}

// TestPermissionToCallIsTold has every way in which a check can tell whether we may call the model, or not tell it.
func TestPermissionToCallIsTold(t *testing.T) {
	with := func(c diagnosis.Credentials) []diagnosis.Backend {
		b := backends(model{})
		b[0].Credentials = c
		return b
	}
	scope := &llm.Error{Kind: llm.Forbidden, Err: diagnosis.ErrScope}
	for name, tt := range map[string]struct {
		route      []diagnosis.Backend
		want, next string
	}{
		"it answers":                {backends(model{}), `"may_call_model":true`, "Nothing to do."},
		"it is forbidden":           {backends(failing(llm.Forbidden)), `"may_call_model":false`, "Grant our identity"},
		"the token lacks the scope": {with(credentials{diagnosis.Credential{Kind: "service_account"}, scope}), `"may_call_model":false`, "with the scope"},
		"it is busy":                {backends(failing(llm.RateLimited)), "", "POST /diagnosis/provider"},
		"the key is refused":        {backends(failing(llm.Unauthenticated)), "", "Replace"},
		"nothing is asked for":      {with(diagnosis.None{}), "", "Nothing to do."},
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(start(t, diagnosis.Options{Backends: tt.route}, &bytes.Buffer{}), "/diagnosis/auth", "", "")
			body := w.Body.String()
			if strings.Contains(body, "may_call_model") != (tt.want != "") || !strings.Contains(body, tt.want) || !strings.Contains(report(t, w).NextAction, tt.next) {
				t.Errorf("got %s, want %q, next %q", body, tt.want, tt.next)
			}
		})
	}
}

// TestSlowProbesEndAtTheirOwnDeadline has a model and a feed that never answer.
func TestSlowProbesEndAtTheirOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := roundTripper(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		f, err := diagnosis.NewFeed(diagnosis.FeedOptions{Region: "us-central1", HTTP: &http.Client{Transport: slow}})
		if err != nil {
			t.Fatal(err)
		}
		h := start(t, diagnosis.Options{Backends: backends(model{delay: time.Hour}), Feed: f, LiveTimeout: 3 * time.Second, FeedTimeout: 2 * time.Second}, &bytes.Buffer{})
		begun := time.Now()
		got := report(t, ask(h, "/diagnosis/provider", "", ""))
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("took %s, want the longer of the two deadlines, 3s", took)
		}
		if got.Verdict != diagnosis.Down || got.Evidence[0].Observed != "timeout" || got.Evidence[0].LatencyMS != 3000 ||
			got.Evidence[1].Observed != "unreadable" || got.Evidence[1].LatencyMS != 2000 {
			t.Errorf("got %+v, want a model and a feed that timed out", got)
		}
		if got := report(t, ask(h, "/diagnosis/auth", "", "")); got.Verdict != diagnosis.Unknown {
			t.Errorf("auth: got %s, want unknown", got.Verdict)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestTheRealAdapter has a server that refuses the key, quoting it.
func TestTheRealAdapter(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") == "Bearer good" {
			fmt.Fprint(w, `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"ready"}}]}`)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":{"message":"wrong key %s","code":"invalid_api_key"}}`, secret)
	}))
	defer server.Close()
	for key, want := range map[env.Secret]diagnosis.Verdict{"good": diagnosis.OK, secret: diagnosis.Invalid} {
		m, err := openai.New(openai.Options{BaseURL: server.URL, APIKey: key, Transport: server.Client().Transport})
		if err != nil {
			t.Fatal(err)
		}
		route := diagnosis.Route([]gateway.Backend{{Provider: "openai", Model: m, Tiers: map[catalog.Tier]string{catalog.Economy: "m"}}}, embedded.Provider)
		var lines bytes.Buffer
		if got := report(t, ask(start(t, diagnosis.Options{Backends: route}, &lines), "/diagnosis/auth", "", "")); got.Verdict != want || got.Evidence[0].Source != "openai/m" {
			t.Errorf("got %+v, want %s of openai/m", got, want)
		}
		if strings.Contains(lines.String(), secret) {
			t.Errorf("the log shows the key: %s", &lines)
		}
	}
}

func TestEmbeddedModelIsUpAndNeedsNoCredentials(t *testing.T) {
	models, err := catalog.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	route := diagnosis.Route([]gateway.Backend{{Provider: embedded.Provider, Model: embedded.New(), Tiers: models.TierModels(embedded.Provider)}}, embedded.Provider)
	h := start(t, diagnosis.Options{Backends: route}, &bytes.Buffer{})
	for path, observed := range map[string]string{"/diagnosis/provider": "answered", "/diagnosis/auth": "not_needed"} {
		got := report(t, ask(h, path, "application/json", `{}`))
		if got.Verdict != diagnosis.OK || got.Evidence[0].Source != "embedded/embedded-standard" || got.Evidence[0].Observed != observed {
			t.Errorf("%s: got %+v, want ok and %s", path, got, observed)
		}
	}
}

func TestBadRequestsAreProblems(t *testing.T) {
	h := start(t, diagnosis.Options{Backends: backends(model{})}, &bytes.Buffer{})
	for name, tt := range map[string]struct {
		path, contentType, body string
		status                  int
	}{
		"an array":              {"/diagnosis/auth", "application/json", "[]", 400},
		"half an object":        {"/diagnosis/auth", "application/json", "{", 400},
		"another content type":  {"/diagnosis/provider", "text/plain", "{}", 415},
		"a body over the size":  {"/diagnosis/provider", "application/json", `{"a":"` + strings.Repeat("a", 65<<10) + `"}`, 413},
		"an unknown diagnosis":  {"/diagnosis/weather", "application/json", "{}", 404},
		"an object with spaces": {"/diagnosis/auth", "application/json; charset=utf-8", " {\n} ", 200},
	} {
		w := ask(h, tt.path, tt.contentType, tt.body)
		var p httpjson.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != tt.status || tt.status >= 400 && p.Status != tt.status {
			t.Errorf("%s: got %d %s, want %d", name, w.Code, w.Body, tt.status)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/diagnosis/auth", nil)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
		t.Errorf("without a secret: got %d, want 401", w.Code)
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	for name, b := range map[string][]diagnosis.Backend{
		"no backend": nil, "no client": {{Provider: "p", Model: "m", Credentials: diagnosis.None{}}},
		"no credentials": {{Provider: "p", Model: "m", Client: model{}}}, "no model": {{Provider: "p", Client: model{}, Credentials: diagnosis.None{}}},
	} {
		if _, err := diagnosis.New(diagnosis.Options{Backends: b}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, o := range []diagnosis.FeedOptions{{}, {URL: "status.example", Region: "r"}, {URL: "ftp://x/y", Region: "r"}} {
		if _, err := diagnosis.NewFeed(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func FuzzBody(f *testing.F) {
	h := start(f, diagnosis.Options{Backends: backends(model{})}, &bytes.Buffer{})
	for _, seed := range []string{"", "{}", "[]", `{"alert":{"id":1}}`, "{]", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := ask(h, "/diagnosis/auth", "application/json", body)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q: got %d %s", body, w.Code, w.Body)
		}
	})
}
