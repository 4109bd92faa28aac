package datadog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
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

// maxTries is how often the SDK sends a batch of LLM Observability before it gives up.
const maxTries = 3

// transport is the HTTP transport of the tracer. It does two things that the SDK does not.
//
// It repairs the agent's /info: the Lambda extension lists only its concrete routes, while the SDK looks for the prefix
// of the proxy and, without it, would send LLM Observability data to the internet, or not at all. And it counts what the
// agent has acknowledged, since the SDK's flush only starts to send.
type transport struct {
	base *http.Transport
	// startTimeout bounds how long /info is asked while the agent refuses connections.
	startTimeout time.Duration

	mu      sync.Mutex
	changed chan struct{}
	// reached is set once the agent has answered /info, failure says why it did not.
	reached bool
	failure error
	// inFlight counts requests under way.
	inFlight int
	tracks   [tracks]progress
	// tries counts how often each body of LLM Observability was refused so far.
	tries map[uint64]int
	seed  maphash.Seed
}

// track is one of the kinds of items that the SDK posts, each to a route of its own.
type track int

const (
	traces track = iota
	spans
	evaluations
	tracks
)

// progress counts the items of a track whose request has begun, and of these the ones that the agent acknowledged, and
// the ones that the SDK has given up.
type progress struct{ begun, acked, lost int }

// settled counts the items that are over, in one way or the other.
func (p progress) settled() int { return p.acked + p.lost }

func newTransport(base *http.Transport, startTimeout time.Duration) *transport {
	return &transport{base: base, startTimeout: startTimeout, changed: make(chan struct{}), tries: map[uint64]int{}, seed: maphash.MakeSeed()}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.update(func() { t.inFlight++ })
	defer t.update(func() { t.inFlight-- })
	switch {
	case strings.HasSuffix(req.URL.Path, "/info"):
		return t.info(req)
	case strings.HasSuffix(req.URL.Path, "/api/v2/llmobs"):
		return t.batch(req, spans, `"_dd":{"span_id":`)
	case strings.HasSuffix(req.URL.Path, "/eval-metric"):
		return t.batch(req, evaluations, `{"join_on":`)
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

// wait blocks until done, which is called with the lock held, or ctx ends; it returns whether done. Meanwhile it calls
// again, at growing intervals.
func (t *transport) wait(ctx context.Context, done func() bool, again func()) bool {
	interval := time.Millisecond
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		t.mu.Lock()
		ok, changed := done(), t.changed
		t.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			again()
			interval *= 2
			timer.Reset(interval)
		case <-ctx.Done():
			return false
		}
	}
}

// progress returns what has become of each track so far.
func (t *transport) progress() [tracks]progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tracks
}

// info asks the agent what it can do, again while it is still starting, and repairs the answer. The SDK asks once, at
// start, and what it hears then holds for the life of the process. So an agent that does not answer in time is supposed
// to take LLM Observability: it may come later, and what does not arrive is counted.
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
			reached := false
			t.update(func() { t.failure, reached = err, t.reached })
			if reached {
				return nil, err
			}
			return withBody(&http.Response{
				Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
				Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
			}, []byte(`{"endpoints":["`+evpPrefix+`"]}`)), nil
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

// batch passes items of LLM Observability on and counts each once, whatever the number of tries: as acknowledged on a
// 2xx, as lost when the SDK tries no more. An item is told by a piece of its JSON that occurs once in each: a text can't hold it, since
// its quotation marks have backslashes there. A form that we do not know counts as nothing, so that it is never taken for acknowledged.
func (t *transport) batch(req *http.Request, kind track, item string) (*http.Response, error) {
	n, key, err := t.count(req, item)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read batch of LLM Observability: %w", err), req.Body.Close())
	}
	t.update(func() {
		if t.tries[key]++; t.tries[key] == 1 {
			t.tracks[kind].begun += n
		}
	})
	resp, err := t.base.RoundTrip(req)
	t.update(func() {
		switch {
		case err == nil && resp.StatusCode/100 == 2:
			t.tracks[kind].acked += n
			delete(t.tries, key)
		case (err == nil && final(resp.StatusCode)) || t.tries[key] >= maxTries:
			t.tracks[kind].lost += n
			delete(t.tries, key)
		}
	})
	return resp, err
}

// count returns how often the body of a request holds item, and a hash that tells the body from others. It reads a body of its own, so
// that the request stays as it is.
func (t *transport) count(req *http.Request, item string) (n int, key uint64, err error) {
	if req.GetBody == nil {
		return 0, 0, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return 0, 0, err
	}
	var hash maphash.Hash
	hash.SetSeed(t.seed)
	n, err = occurrences(io.TeeReader(body, &hash), item)
	return n, hash.Sum64(), errors.Join(err, body.Close())
}

// occurrences reads r to its end and returns how often it holds item. It reads in pieces: a batch is as large as all that was recorded,
// and to decode or to copy it would cost a tenth of what recording costs.
func occurrences(r io.Reader, item string) (n int, err error) {
	piece, kept := make([]byte, 32<<10), 0
	for {
		read, err := r.Read(piece[kept:])
		known := piece[:kept+read]
		n += bytes.Count(known, []byte(item))
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		// What may be the beginning of an item comes again with the next piece.
		kept = copy(piece, known[max(0, len(known)-len(item)+1):])
	}
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
	t.update(func() { t.tracks[traces].begun += n })
	resp, err := t.base.RoundTrip(req)
	t.update(func() {
		if err == nil && resp.StatusCode/100 == 2 {
			t.tracks[traces].acked += n
		} else {
			t.tracks[traces].lost += n
		}
	})
	return resp, err
}
