package escalation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/functions/escalation"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/outbox"
	"github.com/llm-reliability/control-plane/shared/outbox/outboxtest"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// The secrets of the tests, none of which may come out.
const (
	control = "0123456789-0123456789-0123456789"
	apiKey  = "api-key-that-nobody-sees"
	appKey  = "application-key-that-nobody-sees"
)

// world is Datadog's stand-in, a store, and what instances of the function have left behind.
type world struct {
	t     testing.TB
	api   *api.API
	store outboxtest.Memory
	sink  telemetry.Memory
	mu    sync.Mutex
	lines bytes.Buffer
	// sent counts the requests that reached Datadog's door.
	sent int
	// cut ends an instance at a step; nil lets all pass.
	cut *cut
	// delay is how long Datadog takes.
	delay time.Duration
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	w.api, err = api.New(api.Options{Now: time.Now, APIKey: apiKey, AppKey: appKey})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.api.Seed("team", json.RawMessage(`{"data":{"type":"team","attributes":{"name":"LLM","handle":"llm-platform"}}}`)); err != nil {
		t.Fatal(err)
	}
	return w
}

// Write takes the lines of the log.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines.Write(p)
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines.String()
}

// RoundTrip is the way to Datadog.
func (w *world) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	w.mu.Lock()
	w.sent++
	cut := w.cut
	w.mu.Unlock()
	select {
	case <-time.After(w.delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	serve := func() error {
		defer func() {
			if recover() != nil {
				err = io.ErrUnexpectedEOF // the stand-in hung up
			}
		}()
		in := r.Clone(r.Context())
		if in.Body == nil {
			in.Body = http.NoBody
		}
		out := httptest.NewRecorder()
		w.api.ServeHTTP(out, in)
		resp = out.Result()
		return nil
	}
	if err := cut.step(serve); err != nil {
		return nil, err
	}
	return resp, err
}

// errCut is what an instance sees that is no more.
var errCut = errors.New("the instance ended")

// cut ends an instance at one of its steps: just before it has an effect, or just after, before the instance hears of it. From then on
// nothing that the instance does has any effect.
type cut struct {
	mu    sync.Mutex
	at    int
	after bool
	steps int
}

func (c *cut) step(do func() error) error {
	if c == nil {
		return do()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.steps
	c.steps++
	switch {
	case n > c.at, n == c.at && !c.after:
		return errCut
	case n == c.at:
		return errors.Join(do(), errCut)
	}
	return do()
}

// reached is whether the instance was ended.
func (c *cut) reached() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.steps > c.at
}

// cutStore has its writes cut; a read has no effect to be cut off.
type cutStore struct {
	outbox.Store
	cut *cut
}

func (s cutStore) Put(ctx context.Context, r outbox.Record) (out outbox.Record, err error) {
	err = s.cut.step(func() (err error) {
		out, err = s.Store.Put(ctx, r)
		return err
	})
	if errors.Is(err, errCut) {
		return outbox.Record{}, fmt.Errorf("%w: %w", outbox.ErrUnavailable, errCut)
	}
	return out, err
}

// instance starts the function as it is deployed.
func (w *world) instance(change ...func(*escalation.Options)) http.Handler {
	w.t.Helper()
	client, err := ddapi.New(ddapi.Options{APIKey: apiKey, AppKey: appKey, BaseURL: "http://localhost", HTTP: &http.Client{Transport: w}})
	if err != nil {
		w.t.Fatal(err)
	}
	tel, err := telemetry.New(telemetry.Options{Sink: &w.sink, Logger: slog.New(slog.NewJSONHandler(w, nil)), Function: "escalation"})
	if err != nil {
		w.t.Fatal(err)
	}
	opts := escalation.Options{Datadog: client, Store: &w.store, Service: "llm-reliability-control-plane", Team: "llm-platform", Telemetry: tel}
	if w.cut != nil {
		opts.Store = cutStore{&w.store, w.cut}
	}
	for _, c := range change {
		c(&opts)
	}
	f, err := escalation.New(opts)
	if err != nil {
		w.t.Fatal(err)
	}
	secrets, err := serverless.ParseControlSecrets([]env.Secret{control})
	if err != nil {
		w.t.Fatal(err)
	}
	return serverless.Wrap(serverless.Function{Handler: f.Handler(), Auth: secrets}, serverless.Options{Name: "escalation", Telemetry: tel, Timeout: 20 * time.Second})
}

// call sends a request, and returns the status and the answer.
func call(h http.Handler, path, body string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+control)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// ask is call for an answer that is a Response.
func (w *world) ask(h http.Handler, path, body string, status int) escalation.Response {
	w.t.Helper()
	code, text := call(h, path, body)
	var out escalation.Response
	if err := json.Unmarshal([]byte(text), &out); err != nil || code != status {
		w.t.Fatalf("POST %s: got %d %s, want %d", path, code, text, status)
	}
	return out
}

const (
	incidentPath = "/escalation/incident"
	pagePath     = "/escalation/page"
	queuePath    = "/escalation/queue"
)

// incident is a good request, changed as edit says; nil takes a field away.
func incident(edit map[string]any) string {
	return request(map[string]any{
		"severity": "SEV-2", "title": "Error burst: qa", "summary": "More than 5 % of the requests failed.",
		"impact":   map[string]any{"customers": true, "scope": "answers fail", "since": time.Now().Add(-2 * time.Minute).UnixMilli()},
		"timeline": []any{map[string]any{"at": time.Now().Add(-time.Minute).Format(time.RFC3339), "text": "the provider was asked: down"}},
		"links": []any{
			map[string]any{"kind": "dashboard", "url": "https://app.datadoghq.com/dashboard/lists"},
			map[string]any{"kind": "logs", "url": "https://app.datadoghq.com/logs?query=service%3Ax"},
			map[string]any{"kind": "traces", "url": "https://app.datadoghq.com/apm/traces"},
			map[string]any{"kind": "notebook", "url": "https://app.datadoghq.com/notebook/1"},
			map[string]any{"kind": "playbook", "url": "https://example.com/error-burst.md", "title": "What to [do]"},
		},
	}, edit)
}

// page is a good request, changed as edit says.
func page(edit map[string]any) string {
	return request(map[string]any{
		"policy": "critical-errors", "title": "Error burst: qa", "summary": "More than 5 % failed.",
		"links": []any{map[string]any{"kind": "playbook", "url": "https://example.com/error-burst.md"}},
	}, edit)
}

// after is a request that follows an alert.
func after(transition, summary string, edit map[string]any) string {
	return request(map[string]any{"transition": transition, "summary": summary, "idempotency_key": "key-" + transition}, edit)
}

func request(doc, edit map[string]any) string {
	all := map[string]any{
		"idempotency_key": "key-1", "timestamp": time.Now().Format(time.RFC3339Nano),
		"source": map[string]any{
			"kind": "monitor", "monitor": "Error Burst", "monitor_id": "7", "workflow_run": "run-1", "cycle": "7:qa:1",
			"triggered_at": fmt.Sprint(time.Now().Add(-3 * time.Minute).UnixMilli()), "reason": "errors",
		},
	}
	maps.Copy(all, doc)
	for k, v := range edit {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// cycle is a source of another alert.
func cycle(name string) map[string]any {
	return map[string]any{"source": map[string]any{"kind": "monitor", "monitor": "Error Burst", "cycle": name}, "idempotency_key": "key-" + name}
}

// objects are what is at Datadog of a kind: attributes as they were sent, with what changed them.
func (w *world) objects(kind string) []attributes {
	w.t.Helper()
	var all []attributes
	objects := w.api.Objects(kind)
	for _, id := range slices.Sorted(maps.Keys(objects)) {
		var doc struct {
			Data struct{ Attributes attributes }
		}
		if err := json.Unmarshal(objects[id], &doc); err != nil {
			w.t.Fatal(err)
		}
		doc.Data.Attributes.ID = id
		all = append(all, doc.Data.Attributes)
	}
	return all
}

// attributes are those of incidents, attachments and pages together.
type attributes struct {
	ID, Title, Urgency, Status, Description, Detected string
	Customer                                          bool   `json:"customer_impacted"`
	Scope                                             string `json:"customer_impact_scope"`
	Start                                             string `json:"customer_impact_start"`
	End                                               string `json:"customer_impact_end"`
	Fields                                            map[string]struct {
		Type  string
		Value any
	}
	Cells []struct {
		Content struct{ Content string }
	} `json:"initial_cells"`
	Tags       []string
	Target     struct{ Type, Identifier string }
	Attachment struct{ DocumentURL, Title string }
}

func (a attributes) field(name string) string { return fmt.Sprint(a.Fields[name].Value) }

func (a attributes) cells() string {
	var all []string
	for _, c := range a.Cells {
		all = append(all, c.Content.Content)
	}
	return strings.Join(all, "\n---\n")
}

// count is the sum of a metric, of points with all of the tags.
func (w *world) count(metric string, tags ...string) float64 {
	sum, _ := w.sink.Sum(metric, tags...)
	return sum
}

// quiet fails the test when a secret came out.
func (w *world) quiet(answers ...string) {
	w.t.Helper()
	for _, text := range append(answers, w.log()) {
		for _, secret := range []string{control, apiKey, appKey} {
			if strings.Contains(text, secret) {
				w.t.Errorf("a secret came out: %s", text)
			}
		}
	}
}
