package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/safety"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// question is a request for which the cache is in force.
type question struct {
	key string
	ttl time.Duration
	// fresh asks for an answer that is not from the cache.
	fresh bool
	route []candidate
	req   llm.Request
}

func (g *Gateway) key(call Call, model string, req llm.Request) string {
	caller := call.Caller
	if g.opts.ShareCache {
		caller = ""
	}
	return cache.Key(caller, model, req)
}

// cached answers from the cache, or has a model answer. Of equal requests at the same time one asks, and the others wait for
// its answer. When every model fails, an answer whose time is over is better than none.
func (g *Gateway) cached(ctx context.Context, e *telemetry.Exchange, q question, yield func(Piece) error) *llm.Error {
	e.Cache = telemetry.CacheMiss
	if q.fresh {
		response, err := g.ask(ctx, e, q.route, q.req, yield)
		g.store(ctx, e, q, response)
		return err
	}
	for {
		if entry, ok := g.opts.Cache.Local(q.key, q.ttl, time.Now()); ok {
			return replay(e, telemetry.CacheHit, entry, q.req, yield)
		}
		f, leads := g.flights.join(q.key)
		if leads {
			return g.lead(ctx, e, q, f, yield)
		}
		select {
		case <-ctx.Done():
			return llm.AsError(ctx.Err())
		case <-f.landed:
		}
		switch {
		case f.answered:
			return replay(e, telemetry.CacheHit, f.entry, q.req, yield)
		case f.err != nil:
			e.Model, e.Provider = f.err.Model, f.err.Provider
			return g.stale(ctx, e, q, f.err, yield)
		}
		// It ended for a reason of its own, such as a client that left: the next one asks.
	}
}

// lead answers for a flight, which lands with the answer, with an error that all of its requests would meet, or empty.
func (g *Gateway) lead(ctx context.Context, e *telemetry.Exchange, q question, f *flight, yield func(Piece) error) *llm.Error {
	defer g.flights.land(f, flight{})
	entry, ok, err := g.opts.Cache.Get(ctx, q.key, q.ttl, time.Now())
	degraded(e, "cache", err)
	if ok {
		g.flights.land(f, flight{entry: entry, answered: true})
		return replay(e, telemetry.CacheHit, entry, q.req, yield)
	}
	pieces := yield
	if yield != nil {
		pieces = func(p Piece) error {
			// A client that reads slowly must not keep the others waiting.
			const patience = time.Second
			slow := time.AfterFunc(patience, func() { g.flights.land(f, flight{}) })
			defer slow.Stop()
			return yield(p)
		}
	}
	response, failure := g.ask(ctx, e, q.route, q.req, pieces)
	g.store(ctx, e, q, response)
	if response != nil {
		g.flights.land(f, flight{entry: cache.Entry{Response: *response, Beside: e.Quality}, answered: true})
		return nil
	}
	if ctx.Err() == nil && failure.Kind != llm.Canceled && (yield == nil || !begun(e)) {
		g.flights.land(f, flight{err: failure})
	}
	return g.stale(ctx, e, q, failure, yield)
}

// stale serves an answer whose time is over instead of a failure of the providers, if there is one and nothing was yielded.
func (g *Gateway) stale(ctx context.Context, e *telemetry.Exchange, q question, failure *llm.Error, yield func(Piece) error) *llm.Error {
	if g.opts.Stale <= 0 || yield != nil && begun(e) || !failure.Fallback() {
		return failure
	}
	entry, ok, _ := g.opts.Cache.Get(ctx, q.key, q.ttl+g.opts.Stale, time.Now()) // An error is no answer, and was noted before.
	if !ok {
		return failure
	}
	return replay(e, telemetry.CacheStale, entry, q.req, yield)
}

// store keeps an answer, unless it holds personal data or secrets: those must not rest in a cache.
func (g *Gateway) store(ctx context.Context, e *telemetry.Exchange, q question, response *llm.Response) {
	if response == nil || safety.HoldsPersonal(response.Text) {
		return
	}
	entry := cache.Entry{Response: *response, Stored: time.Now(), Beside: e.Quality}
	degraded(e, "cache", g.opts.Cache.Put(ctx, q.key, entry, q.ttl+g.opts.Stale))
}

// replay serves an answer that is there. It costs nothing by itself, and says so; what failed before a stale one is billed.
func replay(e *telemetry.Exchange, outcome telemetry.CacheOutcome, entry cache.Entry, req llm.Request, yield func(Piece) error) *llm.Error {
	r := &entry.Response
	e.Cache = outcome
	if len(e.Attempts) == 0 {
		var nothing float64
		e.CostUSD = &nothing
	}
	e.Output, e.Model, e.Provider, e.Finish = r.Text, r.Model, r.Provider, r.Finish
	if scored, ok := entry.Beside.(*telemetry.Quality); ok {
		e.Quality = scoredBefore(scored)
	} else {
		e.Quality = score(req, e.Output, e.Finish)
	}
	if yield == nil {
		return nil
	}
	e.FirstToken = time.Since(e.Start)
	for text := range words(r.Text) {
		if err := yield(Piece{text, r.Model}); err != nil {
			return &llm.Error{Kind: llm.Canceled, Err: fmt.Errorf("write to client: %w", err)}
		}
	}
	return nil
}

// scoredBefore is the scoring of an answer that was scored before: its signals depend on nothing but the question, the document
// and the answer, which are the same. It took no time.
func scoredBefore(scored *telemetry.Quality) *telemetry.Quality {
	if scored == nil {
		return nil
	}
	q := *scored
	q.Start, q.Duration = time.Now(), 0
	return &q
}

// words cuts a text before words into pieces, as a stream would come, but in no more than about 32.
func words(text string) func(yield func(string) bool) {
	size := max(16, len(text)/32)
	return func(yield func(string) bool) {
		for rest := text; rest != ""; {
			end := len(rest)
			if end > size {
				if i := strings.IndexByte(rest[size:], ' '); i >= 0 {
					end = size + i
				}
			}
			if !yield(rest[:end]) {
				return
			}
			rest = rest[end:]
		}
	}
}

// flight is one question on its way, for which any number of requests wait.
type flight struct {
	key    string
	landed chan struct{}
	// The entry, if it was answered, or the error. They are set before landed is closed; with neither, the next request must
	// ask by itself.
	entry    cache.Entry
	answered bool
	err      *llm.Error
}

// flights are those in the air: no more than there are requests.
type flights struct {
	mu    sync.Mutex
	byKey map[string]*flight
}

// join returns the flight of a key, and whether it is a new one, which the caller leads and must land.
func (s *flights) join(key string) (f *flight, leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.byKey[key]; ok {
		return f, false
	}
	if s.byKey == nil {
		s.byKey = map[string]*flight{}
	}
	f = &flight{key: key, landed: make(chan struct{})}
	s.byKey[key] = f
	return f, true
}

// land ends a flight with what end says; only the first landing counts.
func (s *flights) land(f *flight, end flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[f.key] != f {
		return
	}
	delete(s.byKey, f.key)
	f.entry, f.answered, f.err = end.entry, end.answered, end.err
	close(f.landed)
}
