package escalation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/escalation"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/outbox/outboxtest"
)

// datadog takes everything that is sent to it, and keeps it.
type datadog struct{ sent []string }

func (d *datadog) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	d.sent = append(d.sent, r.Method+" "+r.URL.Host+r.URL.Path+" "+string(body))
	out := httptest.NewRecorder()
	_, err = out.WriteString(`{"data":{"id":"id-1","attributes":{"public_id":7,"fields":{"state":{"value":"active"}}}}}`)
	return out.Result(), err
}

func client(t testing.TB, site string, d *datadog) *ddapi.Client {
	t.Helper()
	c, err := ddapi.New(ddapi.Options{Site: site, APIKey: "api", AppKey: "app", HTTP: &http.Client{Transport: d}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t testing.TB, site string, d *datadog) http.Handler {
	t.Helper()
	f, err := escalation.New(escalation.Options{Datadog: client(t, site, d), Store: new(outboxtest.Memory), Service: "s", Team: "t"})
	if err != nil {
		t.Fatal(err)
	}
	return f.Handler()
}

func post(h http.Handler, path, body string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// request is a good one for both routes, changed as edit says; nil takes a field away.
func request(path string, edit map[string]any) string {
	doc := map[string]any{
		"idempotency_key": "key-1", "timestamp": fmt.Sprint(time.Now().UnixMilli()), "title": "Error burst",
		"source": map[string]any{"kind": "monitor", "cycle": "7:1"},
	}
	if path == "/escalation/page" {
		doc["policy"] = "critical-errors"
	} else {
		doc["severity"] = "SEV-3"
	}
	maps.Copy(doc, edit)
	for k, v := range doc {
		if v == nil {
			delete(doc, k)
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return string(out)
}

const (
	incidents = "/escalation/incident"
	pages     = "/escalation/page"
)

func TestNewRefuses(t *testing.T) {
	dd, store := client(t, "datadoghq.com", new(datadog)), new(outboxtest.Memory)
	for want, opts := range map[string]escalation.Options{
		"Datadog is required":           {Store: store, Service: "s", Team: "t"},
		"Store is required":             {Datadog: dd, Service: "s", Team: "t"},
		"Service and Team are":          {Datadog: dd, Store: store, Team: "t"},
		"no blanks":                     {Datadog: dd, Store: store, Service: "a OR b", Team: "t"},
		"Timeout must be between 0 and": {Datadog: dd, Store: store, Service: "s", Team: "t", Timeout: time.Minute},
	} {
		if _, err := escalation.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestPagesGoToTheHostThatTakesThem(t *testing.T) {
	for site, tt := range map[string]struct {
		status     int
		host, page string
	}{
		"datadoghq.com":     {200, "navy.oncall.datadoghq.com", "https://app.datadoghq.com/incidents/7"},
		"datadoghq.eu":      {200, "beige.oncall.datadoghq.eu", "https://app.datadoghq.eu/incidents/7"},
		"us5.datadoghq.com": {200, "coral.oncall.datadoghq.com", "https://us5.datadoghq.com/incidents/7"},
		"ddog-gov.com":      {501, "", "https://app.ddog-gov.com/incidents/7"},
	} {
		t.Run(site, func(t *testing.T) {
			d := new(datadog)
			h := start(t, site, d)
			status, body := post(h, pages, request(pages, nil))
			if status != tt.status || (tt.host == "") != (len(d.sent) == 0) {
				t.Fatalf("got %d %s, sent %q", status, body, d.sent)
			}
			if tt.host != "" && !strings.HasPrefix(d.sent[0], "POST "+tt.host+"/api/v2/on-call/pages ") {
				t.Errorf("sent %q, want it at %s", d.sent[0], tt.host)
			}
			if _, body := post(h, incidents, request(incidents, nil)); !strings.Contains(body, `"url":"`+tt.page+`"`) {
				t.Errorf("got %s, want %s", body, tt.page)
			}
		})
	}
}

func TestEveryBadFieldIsNamed(t *testing.T) {
	long := strings.Repeat("x", 5000)
	link := func(kind, url string) []any { return []any{map[string]any{"kind": kind, "url": url}} }
	for name, tt := range map[string]struct {
		path   string
		edit   map[string]any
		fields []string
	}{
		"nothing at all, for an incident": {incidents, map[string]any{"idempotency_key": nil, "timestamp": nil, "title": nil, "source": nil, "severity": nil},
			[]string{"idempotency_key", "severity", "source", "timestamp", "title"}},
		"nothing at all, for a page": {pages, map[string]any{"idempotency_key": nil, "timestamp": nil, "title": nil, "source": nil, "policy": nil},
			[]string{"idempotency_key", "policy", "source", "timestamp", "title"}},
		"unknown fields":                 {incidents, map[string]any{"sev": 1, "policy": "x"}, []string{"policy", "sev"}},
		"wrong types":                    {incidents, map[string]any{"title": 1, "links": "x", "timestamp": "soon"}, []string{"links", "timestamp", "title"}},
		"an unknown nested field":        {incidents, map[string]any{"impact": map[string]any{"costumers": true}}, []string{"impact.costumers"}},
		"a transition of the other":      {incidents, map[string]any{"transition": "acknowledge"}, []string{"transition"}},
		"a page can't be stable":         {pages, map[string]any{"transition": "stable"}, []string{"transition"}},
		"a severity that does not exist": {incidents, map[string]any{"severity": "high"}, []string{"severity"}},
		"a policy that does not exist":   {pages, map[string]any{"policy": "everybody"}, []string{"policy"}},
		"too long":                       {incidents, map[string]any{"title": long[:201], "summary": long, "root_cause": long}, []string{"root_cause", "summary", "title"}},
		"a key that is none":             {incidents, map[string]any{"idempotency_key": "a b", "source": map[string]any{"kind": "monitor", "cycle": "#"}}, []string{"idempotency_key", "source.cycle"}},
		"a kind that does not exist":     {incidents, map[string]any{"source": map[string]any{"kind": "robot", "reason": long}}, []string{"source", "source.reason"}},
		"an impact without a scope":      {incidents, map[string]any{"impact": map[string]any{"customers": true}}, []string{"impact.scope"}},
		"names that are none":            {incidents, map[string]any{"services": []string{""}, "teams": strings.Split(strings.Repeat("x ", 10)+"x", " ")}, []string{"services", "teams"}},
		"a moment without its time":      {incidents, map[string]any{"timeline": []any{map[string]any{"text": "x"}, map[string]any{"at": 1}}}, []string{"timeline[0].at", "timeline[1].text"}},
		"a link of no kind":              {incidents, map[string]any{"links": link("picture", "https://a.example")}, []string{"links[0].kind"}},
		"a link that runs":               {pages, map[string]any{"links": link("logs", "javascript:alert(1)")}, []string{"links[0].url"}},
		"a link that ends its Markdown":  {incidents, map[string]any{"links": link("logs", "https://a.example/)[x](https://b.example")}, []string{"links[0].url"}},
		"a link with a password":         {incidents, map[string]any{"links": link("logs", "https://a:b@c.example/")}, []string{"links[0].url"}},
		"a recovery with links":          {pages, map[string]any{"transition": "recovery", "links": link("logs", "https://a.example")}, []string{"links"}},
		"a recovery with an alert's": {incidents, map[string]any{"transition": "recovery", "impact": map[string]any{}, "timeline": []any{map[string]any{"at": 1, "text": "x"}}},
			[]string{"impact", "timeline"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := new(datadog)
			status, body := post(start(t, "datadoghq.com", d), tt.path, request(tt.path, tt.edit))
			var p httpjson.Problem
			if err := json.Unmarshal([]byte(body), &p); err != nil || status != http.StatusBadRequest || len(d.sent) != 0 {
				t.Fatalf("got %d %s, sent %q", status, body, d.sent)
			}
			var fields []string
			for _, e := range p.Errors {
				fields = append(fields, e.Field)
			}
			if diff := cmp.Diff(tt.fields, slices.Compact(fields)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNoJSON(t *testing.T) {
	h := start(t, "datadoghq.com", new(datadog))
	for body, want := range map[string]int{"": 400, "{": 400, "[]": 400, `{"title":"` + strings.Repeat("x", 65<<10) + `"}`: 413} {
		if status, _ := post(h, incidents, body); status != want {
			t.Errorf("%.20q: got %d, want %d", body, status, want)
		}
	}
}

// FuzzRequests looks for a body that breaks a handler, and for one that is accepted although its parts could not be kept.
func FuzzRequests(f *testing.F) {
	for _, path := range []string{incidents, pages} {
		f.Add(path == pages, request(path, nil))
		f.Add(path == pages, request(path, map[string]any{
			"transition": "recovery", "summary": "ä\u0000", "links": []any{map[string]any{"kind": "logs", "url": "https://a.example", "title": "]("}},
		}))
	}
	f.Add(false, request(incidents, map[string]any{"impact": map[string]any{"customers": true, "scope": "all", "since": 1}, "timeline": []any{map[string]any{"at": 253402300799999, "text": "x"}}}))
	f.Fuzz(func(t *testing.T, page bool, body string) {
		d, path := new(datadog), incidents
		if page {
			path = pages
		}
		status, answer := post(start(t, "datadoghq.com", d), path, body)
		if !json.Valid([]byte(answer)) || !slices.Contains([]int{200, 202, 400, 413, 415}, status) {
			t.Errorf("got %d %s", status, answer)
		}
		if status >= 400 && len(d.sent) > 0 {
			t.Errorf("refused with %d, and sent %q", status, d.sent)
		}
		for _, sent := range d.sent {
			if _, document, ok := strings.Cut(sent, "{"); ok && !json.Valid([]byte("{"+document)) {
				t.Errorf("sent what is no JSON: %s", sent)
			}
		}
	})
}

func TestAStoreThatFailsIsTold(t *testing.T) {
	d, store := new(datadog), new(outboxtest.Memory)
	store.Fail(errors.New("dial 10.1.2.3: refused"))
	f, err := escalation.New(escalation.Options{Datadog: client(t, "datadoghq.com", d), Store: store, Service: "s", Team: "t"})
	if err != nil {
		t.Fatal(err)
	}
	status, body := post(f.Handler(), incidents, request(incidents, nil))
	if status != http.StatusServiceUnavailable || strings.Contains(body, "10.1.2.3") || len(d.sent) != 0 {
		t.Errorf("got %d %s, sent %q", status, body, d.sent)
	}
}
