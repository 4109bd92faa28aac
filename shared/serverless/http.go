package serverless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"github.com/llm-reliability/control-plane/shared/httpjson"
)

// drainTimeout is how long requests in flight may take after SIGTERM. Cloud Run allows ten seconds in all.
const drainTimeout = 8 * time.Second

// settle is how long the framework's server gets to write the end of the last responses. It does so after the handlers
// have returned, and cannot be asked whether it has.
const settle = 100 * time.Millisecond

// serveHTTP serves h with the functions framework until SIGTERM or SIGINT, lets what is in flight finish, and closes.
//
// The framework offers neither its handler nor a way to stop its server, so requests are drained in front of h: after
// the signal new ones are refused, and the listener ends with the process. Its server has no time limits either; Cloud
// Run's own front end sends a request only when it is complete.
func serveHTTP(ctx context.Context, h http.Handler, cfg config, log *slog.Logger, closeAll func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	// With K_SERVICE the framework prints an empty line after each request, without FUNCTION_TARGET a line of plain text
	// at start. The only function is served whatever the target's name is.
	if err := errors.Join(os.Unsetenv("K_SERVICE"), os.Setenv("FUNCTION_TARGET", "function")); err != nil {
		return fmt.Errorf("set up the functions framework: %w", err)
	}
	d := &drain{next: h, idle: make(chan struct{})}
	if err := funcframework.RegisterHTTPFunctionContext(ctx, "/", d.ServeHTTP); err != nil {
		return fmt.Errorf("register function: %w", err)
	}
	failed := make(chan error, 1)
	// The framework's server cannot be stopped: this goroutine ends with the process.
	go func() { failed <- funcframework.StartHostPort(cfg.host, cfg.port) }()
	log.InfoContext(ctx, "serving", slog.String("host", cfg.host), slog.String("port", cfg.port))

	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("serve on port %s: %w", cfg.port, err)
	case <-ctx.Done():
		err = d.wait(drainTimeout)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(err, closeAll(closing))
}

// drain counts the requests in flight, and refuses new ones once it waits for them.
type drain struct {
	next http.Handler

	mu       sync.Mutex
	inFlight int
	stopping bool
	idle     chan struct{} // closed when stopping and nothing is in flight
}

// ServeHTTP implements http.Handler.
func (d *drain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.enter() {
		w.Header().Set("Connection", "close")
		WriteError(w, r, &httpjson.Problem{
			Status: http.StatusServiceUnavailable, Detail: "this instance is stopping", RetryAfter: time.Second,
		})
		return
	}
	defer d.leave()
	d.next.ServeHTTP(w, r)
}

func (d *drain) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return false
	}
	d.inFlight++
	return true
}

func (d *drain) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inFlight--
	if d.stopping && d.inFlight == 0 {
		close(d.idle)
	}
}

// wait refuses new requests and waits for those in flight.
func (d *drain) wait(timeout time.Duration) error {
	d.mu.Lock()
	d.stopping = true
	if d.inFlight == 0 {
		close(d.idle)
	}
	d.mu.Unlock()
	select {
	case <-d.idle:
		<-time.After(settle)
		return nil
	case <-time.After(timeout):
		return fmt.Errorf("requests still in flight after %s", timeout)
	}
}
