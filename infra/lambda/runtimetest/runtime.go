// Package runtimetest runs the binary of a function as Lambda runs it: as a process of its own, behind the Runtime API
// and next to Datadog's extension. Both are stand-ins that record what arrives and when. It is for tests and
// benchmarks only. It does not limit memory or CPU. A freeze stops the process, but not the clock that it sees afterwards,
// and leaves its connections as they are: what minutes of it do to leases, tokens and sockets is not seen here.
//
// The Runtime API is documented at https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
package runtimetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// invocationTimeout is how long the function may take for one event, by the deadline that it is told.
const invocationTimeout = 10 * time.Second

// Runtime is a stand-in of Lambda's Runtime API and of the part of its Extensions API that the runtime client uses.
type Runtime struct {
	server *httptest.Server
	queue  chan *Invocation

	mu        sync.Mutex
	open      map[string]*Invocation
	count     int
	ready     chan struct{} // closed at the first call of next
	readyAt   time.Time
	initError string
	frozen    *Process
}

// StartRuntime starts a Runtime that stops when the test ends. Processes that use it must be stopped before.
func StartRuntime(t testing.TB) *Runtime {
	t.Helper()
	r := &Runtime{queue: make(chan *Invocation, 64), open: map[string]*Invocation{}, ready: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", r.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{kind}", r.finish)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", r.failedInit)
	mux.HandleFunc("POST /2020-01-01/extension/register", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Lambda-Extension-Identifier", "runtimetest")
	})
	mux.HandleFunc("GET /2020-01-01/extension/event/next", func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	r.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		r.server.CloseClientConnections()
		r.server.Close()
	})
	return r
}

// Env returns the variables that Lambda sets for a function.
func (r *Runtime) Env() []string {
	return []string{
		"AWS_LAMBDA_RUNTIME_API=" + r.server.Listener.Addr().String(),
		"AWS_LAMBDA_FUNCTION_NAME=runtimetest",
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"AWS_REGION=eu-west-1",
	}
}

// Ready waits for the function's first call of next, which ends its init phase, and returns when that call arrived.
func (r *Runtime) Ready(ctx context.Context) (time.Time, error) {
	select {
	case <-r.ready:
		return r.readyAt, nil
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		return time.Time{}, fmt.Errorf("wait for the first call of next: %w; init error %q", ctx.Err(), r.initError)
	}
}

// Freeze makes the freeze a part of every invocation from now on: the process is stopped as soon as its response has
// ended, and goes on with the next event. It is for one event after the other.
func (r *Runtime) Freeze(p *Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = p
}

func (r *Runtime) freeze() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen == nil {
		return nil
	}
	return r.frozen.Stop()
}

// Invoke hands an event to the function, which takes it when it has answered those before.
func (r *Runtime) Invoke(event []byte) *Invocation {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen != nil {
		// One that is gone takes no event, and who waits for the invocation says so.
		_ = r.frozen.Continue()
	}
	r.count++
	inv := &Invocation{id: "invocation-" + strconv.Itoa(r.count), event: event, changed: make(chan struct{})}
	r.open[inv.id] = inv
	r.queue <- inv
	return inv
}

func (r *Runtime) next(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	r.mu.Lock()
	if r.readyAt.IsZero() {
		r.readyAt = now
		close(r.ready)
	}
	r.mu.Unlock()
	select {
	case inv := <-r.queue:
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(invocationTimeout).UnixMilli(), 10))
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
		h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:123456789012:function:runtimetest")
		// The process is gone when this fails, and the invocation never ends; who waits for it says so.
		_, _ = w.Write(inv.event)
	case <-req.Context().Done():
	}
}

// finish reads a response or an error piece by piece.
func (r *Runtime) finish(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	inv := r.open[req.PathValue("id")]
	delete(r.open, req.PathValue("id"))
	r.mu.Unlock()
	if inv == nil {
		http.Error(w, "no such invocation", http.StatusForbidden)
		return
	}
	inv.update(func(o *Outcome) {
		o.ContentType = req.Header.Get("Content-Type")
		o.Failed = req.PathValue("kind") == "error"
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := req.Body.Read(buf)
		now := time.Now()
		if n > 0 {
			data := bytes.Clone(buf[:n])
			inv.update(func(o *Outcome) { o.Chunks = append(o.Chunks, Chunk{Data: data, At: now}) })
		}
		if err != nil {
			frozen := r.freeze()
			inv.update(func(o *Outcome) {
				o.Ended = now
				o.ErrorType = req.Trailer.Get("Lambda-Runtime-Function-Error-Type")
				if !errors.Is(err, io.EOF) {
					o.ErrorType = "broken off: " + err.Error()
				}
				if frozen != nil {
					o.ErrorType = "not frozen: " + frozen.Error()
				}
			})
			break
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

func (r *Runtime) failedInit(w http.ResponseWriter, req *http.Request) {
	// Half an error is better than none.
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.initError = string(body)
	r.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

// Invocation is an event on its way through the function.
type Invocation struct {
	id    string
	event []byte

	mu      sync.Mutex
	outcome Outcome
	changed chan struct{} // closed and replaced at every change
}

// Outcome is what a function has sent back for one event.
type Outcome struct {
	// Failed is whether the invocation ended with an error instead of a response.
	Failed bool
	// ErrorType is the error that ended a response that had begun; empty when none did.
	ErrorType   string
	ContentType string
	Chunks      []Chunk
	// Ended is when the last byte of the response was read; zero while it is not complete.
	Ended time.Time
}

// Chunk is a part of a response as it came off the connection.
type Chunk struct {
	Data []byte
	At   time.Time
}

func (inv *Invocation) update(f func(*Outcome)) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	f(&inv.outcome)
	close(inv.changed)
	inv.changed = make(chan struct{})
}

// Until waits until ok accepts what the function has sent so far, and returns it.
func (inv *Invocation) Until(ctx context.Context, ok func(Outcome) bool) (Outcome, error) {
	for {
		inv.mu.Lock()
		now, changed := inv.outcome, inv.changed
		now.Chunks = slices.Clone(now.Chunks)
		inv.mu.Unlock()
		if ok(now) {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, fmt.Errorf("wait for %s: %w; so far %q", inv.id, ctx.Err(), now.Body())
		}
	}
}

// Wait waits until the response is complete.
func (inv *Invocation) Wait(ctx context.Context) (Outcome, error) {
	return inv.Until(ctx, func(o Outcome) bool { return !o.Ended.IsZero() })
}

// Body returns everything that was sent.
func (o Outcome) Body() []byte {
	var all []byte
	for _, c := range o.Chunks {
		all = append(all, c.Data...)
	}
	return all
}

// Response is the HTTP response that the caller of a function URL gets.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Response decodes a streamed response: a JSON document with status and headers, eight zero bytes, and the body.
func (o Outcome) Response() (Response, error) {
	head, body, found := bytes.Cut(o.Body(), make([]byte, 8))
	var doc struct {
		StatusCode int               `json:"statusCode"`
		Headers    map[string]string `json:"headers"`
	}
	if err := json.Unmarshal(head, &doc); err != nil || !found {
		return Response{}, fmt.Errorf("read response: no HTTP response in %q", o.Body())
	}
	r := Response{Status: doc.StatusCode, Header: http.Header{}, Body: string(body)}
	for name, value := range doc.Headers {
		r.Header.Set(name, value)
	}
	return r, nil
}

// URLEvent returns the event of a request to the function's URL, in the payload format 2.0 of
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html.
func URLEvent(t testing.TB, method, path string, header map[string]string, body string) []byte {
	t.Helper()
	headers := maps.Clone(header)
	if headers == nil {
		headers = map[string]string{}
	}
	headers["host"] = "runtimetest.lambda-url.eu-west-1.on.aws"
	path, query, _ := strings.Cut(path, "?")
	event, err := json.Marshal(map[string]any{
		"version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
		"requestContext": map[string]any{
			"requestId": "url-request", "domainName": headers["host"], "stage": "$default",
			"http": map[string]any{"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
		},
		"body": body, "isBase64Encoded": false,
	})
	if err != nil {
		t.Fatal(err)
	}
	return event
}
