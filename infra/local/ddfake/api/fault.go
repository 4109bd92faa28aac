package api

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Fault is a failure for tests. The zero Fault is none.
type Fault struct {
	// Match says which requests fail; nil means all.
	Match func(*http.Request) bool
	// Status is the answer; zero hangs up without one, by a panic with http.ErrAbortHandler, as net/http's server does it.
	Status int
	// Times is how many requests fail; zero means all that match, until the next SetFault.
	Times int
	// After does the work before the answer is lost: an object is created though the client sees a failure.
	After bool
	// Header is added to the answer, such as X-RateLimit-Reset to a 429.
	Header map[string]string
}

// SetFault replaces the fault in force.
func (a *API) SetFault(f Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault, a.failed = f, 0
}

// fails reports whether the fault in force hits a request, and counts it.
func (a *API) fails(r *http.Request) (Fault, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.fault
	switch {
	case f.Match == nil && f.Status == 0 && !f.After:
		return f, false
	case f.Times > 0 && a.failed >= f.Times:
		return f, false
	case f.Match != nil && !f.Match(r):
		return f, false
	}
	a.failed++
	return f, true
}

// Request is how often a method and path was called, whatever the answer.
type Request struct {
	Method, Path string
	Count        int
}

// Requests returns the calls since New, by path and method.
func (a *API) Requests() []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Request
	for _, key := range slices.SortedFunc(maps.Keys(a.calls), func(x, y [2]string) int { return slices.Compare(x[:], y[:]) }) {
		out = append(out, Request{Method: key[1], Path: key[0], Count: a.calls[key]})
	}
	return out
}

// rate is a limit of requests in a period.
type rate struct {
	name   string
	limit  int
	period time.Duration
}

// The limits. Only those of the log configuration are documented; the other is what the headers say.
var (
	general    = rate{"api_requests", 1000, time.Minute}
	logsReads  = rate{"logs_public_config_read_api", 84, time.Minute}
	logsWrites = rate{"logs_public_config_write_api", 2, time.Minute}
)

// window counts the requests in a period that began at a time.
type window struct {
	began time.Time
	used  int
}

// admit counts a request, sets the headers that tell of its limit, and reports whether it may go on.
func (a *API) admit(h http.Header, r rate) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.opts.Now()
	w := a.windows[r.name]
	if w == nil || now.Sub(w.began) >= r.period {
		w = &window{began: now.Truncate(r.period)}
		a.windows[r.name] = w
	}
	w.used++
	// The time until the window ends, in whole seconds, rounded up: a client that waits so long is never early.
	reset := (w.began.Add(r.period).Sub(now) + time.Second - 1) / time.Second
	left := max(r.limit-w.used, 0)
	if !a.opts.RateLimit {
		left = max(left, 1) // A client that keeps to what it is told must not wait for a limit that is none.
	}
	h.Set("X-RateLimit-Limit", strconv.Itoa(r.limit))
	h.Set("X-RateLimit-Period", strconv.Itoa(int(r.period/time.Second)))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(left))
	h.Set("X-RateLimit-Reset", strconv.Itoa(int(reset)))
	h.Set("X-RateLimit-Name", r.name)
	return !a.opts.RateLimit || w.used <= r.limit
}
