package datadog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The routes by which the transport knows what passes; see the Lambda extension's list of routes, and the SDK's agent
// transports.
const (
	evpPrefix   = "/evp_proxy/v2/"
	llmobsRoute = "/evp_proxy/v2/api/v2/llmobs"
)

// maxTries is how often the SDK sends a batch of LLM Observability spans before it gives up.
const maxTries = 3

// transport is the HTTP transport of the tracer. It does two things that the SDK does not.
//
// It repairs the agent's /info: the Lambda extension lists only its concrete routes, while the SDK looks for the prefix
// of the proxy and, without it, would send LLM Observability data to the internet, or not at all. And it counts what the
// agent has acknowledged, since the SDK's flush only starts to send.
type transport struct {
	base http.RoundTripper
	// startTimeout bounds how long /info is asked while the agent refuses connections.
	startTimeout time.Duration

	mu      sync.Mutex
	changed chan struct{}
	// reached is set once the agent has answered /info, failure says why it did not.
	reached bool
	failure error
	// inFlight counts requests under way, posts the trace payloads that were begun.
	inFlight, posts int
	spans, traces   settled
	// tries counts how often each body of LLM Observability spans was refused so far.
	tries map[[sha256.Size]byte]int
}

// settled counts what is over: acknowledged by the agent, or given up by the SDK.
type settled struct{ acked, lost int }

func (s settled) total() int { return s.acked + s.lost }

func newTransport(base http.RoundTripper, startTimeout time.Duration) *transport {
	return &transport{base: base, startTimeout: startTimeout, changed: make(chan struct{}), tries: map[[sha256.Size]byte]int{}}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.update(func() { t.inFlight++ })
	defer t.update(func() { t.inFlight-- })
	switch {
	case strings.HasSuffix(req.URL.Path, "/info"):
		return t.info(req)
	case strings.HasSuffix(req.URL.Path, "/api/v2/llmobs"):
		return t.llmobs(req)
	case strings.HasSuffix(req.URL.Path, "/traces"):
		return t.trace(req)
	}
	return t.base.RoundTrip(req)
}

// update changes the counters and wakes all waiters.
func (t *transport) update(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
	close(t.changed)
	t.changed = make(chan struct{})
}

// wait blocks until done, which is called with the lock held, or ctx ends; it returns whether done.
func (t *transport) wait(ctx context.Context, done func() bool) bool {
	for {
		t.mu.Lock()
		ok, changed := done(), t.changed
		t.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// info asks the agent what it can do, once more while it is still starting, and repairs the answer. The SDK asks once, at
// start, and what it hears then holds for the life of the process.
func (t *transport) info(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.startTimeout)
	defer cancel()
	const pause = 10 * time.Millisecond
	for {
		resp, err := t.base.RoundTrip(req.Clone(ctx))
		if err == nil {
			body, readErr := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			if err = errors.Join(readErr, resp.Body.Close()); err == nil {
				t.update(func() { t.reached = true })
				return withBody(resp, repair(resp.StatusCode, body)), nil
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			err = fmt.Errorf("ask agent %s: %w", req.URL.Host, err)
			t.update(func() { t.failure = err })
			return nil, err
		}
	}
}

// repair adds the prefix that the SDK looks for to an /info that has the concrete route. Any other answer stays as it is,
// to the byte.
func repair(status int, body []byte) []byte {
	var doc map[string]json.RawMessage
	var endpoints []string
	if status != http.StatusOK || json.Unmarshal(body, &doc) != nil || json.Unmarshal(doc["endpoints"], &endpoints) != nil ||
		!slices.Contains(endpoints, llmobsRoute) || slices.Contains(endpoints, evpPrefix) {
		return body
	}
	list, err := json.Marshal(append(endpoints, evpPrefix))
	if err != nil {
		return body
	}
	doc["endpoints"] = list
	repaired, err := json.Marshal(doc)
	if err != nil {
		return body
	}
	return repaired
}

func withBody(resp *http.Response, body []byte) *http.Response {
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.Header.Del("Content-Length")
	return resp
}

// llmobs passes a batch of spans on and counts each of its events once, whatever the number of tries: as acknowledged on a
// 2xx, as lost when the SDK tries no more.
func (t *transport) llmobs(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return nil, fmt.Errorf("read batch of spans: %w", err)
	}
	var events []json.RawMessage
	if err := json.Unmarshal(body, &events); err != nil {
		// Not the form that we know: it is passed on, and what it holds is never counted as acknowledged.
		events = nil
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	key := sha256.Sum256(body)
	resp, err := t.base.RoundTrip(req)
	t.update(func() {
		switch {
		case err == nil && resp.StatusCode/100 == 2:
			t.spans.acked += len(events)
			delete(t.tries, key)
		case (err == nil && final(resp.StatusCode)) || t.tries[key]+1 >= maxTries:
			t.spans.lost += len(events)
			delete(t.tries, key)
		default:
			t.tries[key]++
		}
	})
	return resp, err
}

// final says whether the SDK takes a refusal for final.
func final(status int) bool {
	return status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooEarly && status != http.StatusTooManyRequests
}

// trace passes a payload of traces on. The SDK does not send it again.
func (t *transport) trace(req *http.Request) (*http.Response, error) {
	n, err := strconv.Atoi(req.Header.Get("X-Datadog-Trace-Count"))
	if err != nil {
		n = 0
	}
	t.update(func() { t.posts++ })
	resp, err := t.base.RoundTrip(req)
	t.update(func() {
		if err == nil && resp.StatusCode/100 == 2 {
			t.traces.acked += n
		} else {
			t.traces.lost += n
		}
	})
	return resp, err
}
