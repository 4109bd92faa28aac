package serverless

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/httpjson"
)

// What an instance of Cloud Run may use of its ten seconds between SIGTERM and SIGKILL; the rest is closeTimeout's.
const (
	// drainTimeout is how long requests in flight may take to finish.
	drainTimeout = 8 * time.Second
	// cutTimeout is how long a request that was cut may take to say so.
	cutTimeout = 500 * time.Millisecond
	// settle is how long the framework's server gets to write the end of the last response. It does so after the handler
	// has returned, and cannot be asked whether it has.
	settle = 100 * time.Millisecond
)

// drain knows the requests in flight, and refuses new ones once it stops.
type drain struct {
	next http.Handler
	log  *slog.Logger

	mu       sync.Mutex
	inFlight map[*flight]struct{}
	lastEnd  time.Time
	stopping bool
	idle     chan struct{} // closed when stopping and nothing is in flight
}

// flight is one request in flight.
type flight struct {
	method, path string
	begin        time.Time
	ctx          *cuttable
	control      *http.ResponseController
}

func newDrain(next http.Handler, log *slog.Logger) *drain {
	return &drain{next: next, log: log, inFlight: map[*flight]struct{}{}, idle: make(chan struct{})}
}

// ServeHTTP implements http.Handler.
func (d *drain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := &flight{r.Method, r.URL.Path, time.Now(), newCuttable(r.Context()), http.NewResponseController(w)}
	defer f.ctx.over()
	if !d.enter(f) {
		w.Header().Set("Connection", "close")
		WriteError(w, r, &httpjson.Problem{
			Status: http.StatusServiceUnavailable, Detail: "this instance is stopping", RetryAfter: time.Second,
		})
		return
	}
	defer d.leave(f)
	d.next.ServeHTTP(w, r.WithContext(f.ctx))
}

func (d *drain) enter(f *flight) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return false
	}
	d.inFlight[f] = struct{}{}
	return true
}

func (d *drain) leave(f *flight) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.inFlight, f)
	d.lastEnd = time.Now()
	if d.stopping && len(d.inFlight) == 0 {
		close(d.idle)
	}
}

// stop refuses new requests and lets those in flight finish. What takes longer than drainTimeout, or is in flight at a
// second signal, is cut: its deadline is now, so that it ends with an error that its caller gets, and with telemetry. It
// returns an error when a request does not even then end.
func (d *drain) stop(ctx context.Context, again <-chan os.Signal) error {
	d.mu.Lock()
	d.stopping = true
	if len(d.inFlight) == 0 {
		close(d.idle)
	}
	d.mu.Unlock()
	select {
	case <-d.idle:
	case <-again:
		d.cut(ctx, "a second signal came")
	case <-time.After(drainTimeout):
		d.cut(ctx, "it did not finish within "+drainTimeout.String())
	}
	select {
	case <-d.idle:
	case <-time.After(cutTimeout):
	}
	d.mu.Lock()
	left, lastEnd := len(d.inFlight), d.lastEnd
	d.mu.Unlock()
	// Right after the last response; an instance that was idle does not wait.
	<-time.After(settle - time.Since(lastEnd))
	if left > 0 {
		return fmt.Errorf("%d requests did not end when they were cut", left)
	}
	return nil
}

func (d *drain) cut(ctx context.Context, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for f := range d.inFlight {
		d.log.ErrorContext(ctx, "request cut", slog.String("http.method", f.method), slog.String("http.url", f.path),
			slog.Int64("duration", time.Since(f.begin).Nanoseconds()), slog.String("error.kind", "shutdown"),
			slog.String("error.message", "the instance stops, and "+why))
		f.ctx.cut()
		// What waits for the client does not hear of the context. On a connection that is gone nothing waits.
		_ = f.control.SetReadDeadline(time.Now())
		_ = f.control.SetWriteDeadline(time.Now().Add(cutTimeout / 2))
	}
}

// cuttable is a context that can be told that its deadline has come. Canceled, the way to end a context early, says that
// the caller is gone; this one is there, and should hear that there will be no answer.
type cuttable struct {
	context.Context // the values of the parent, without its end: context.Cause would tell of that instead

	deadline func() (time.Time, bool)
	done     chan struct{}
	release  func() bool

	mu    sync.Mutex
	err   error
	after []*func() // one, as a rule
}

func newCuttable(parent context.Context) *cuttable {
	c := &cuttable{Context: context.WithoutCancel(parent), deadline: parent.Deadline, done: make(chan struct{})}
	c.release = context.AfterFunc(parent, func() { c.end(parent.Err()) })
	return c
}

func (c *cuttable) cut() { c.end(context.DeadlineExceeded) }

// over ends the context with its request.
func (c *cuttable) over() {
	c.release()
	c.end(context.Canceled)
}

func (c *cuttable) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	for _, f := range c.after {
		go (*f)()
	}
	c.after = nil
}

// AfterFunc calls f in a goroutine of its own when the context has ended, unless stop was called before. The context package looks
// for it, and otherwise has a goroutine wait for the end of each request.
func (c *cuttable) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	key := &f
	c.after = append(c.after, key)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.after, key)
		if i < 0 {
			return false
		}
		c.after = slices.Delete(c.after, i, i+1)
		return true
	}
}

// Deadline implements context.Context.
func (c *cuttable) Deadline() (time.Time, bool) { return c.deadline() }

// Done implements context.Context.
func (c *cuttable) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c *cuttable) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
