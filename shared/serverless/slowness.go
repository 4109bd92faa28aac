package serverless

import (
	"errors"
	"net/http"
	"time"
)

// How slow a client of the HTTP server may be.
const (
	// bodyTimeout is for the whole body of a request. It is reset when the body is there.
	bodyTimeout = 20 * time.Second
	// writeTimeout is for each piece of a response, so that a stream may take as long as it goes on.
	writeTimeout = 20 * time.Second
)

// slowness bounds how long a client may keep a request waiting, for each request, as the framework's server has no
// limits and offers no way to set them. Two limits can't be set from here: on the time that the head of a request takes,
// and on how long a connection may be idle. On Cloud Run its front end guards against both.
type slowness struct {
	next        http.Handler
	body, write time.Duration
}

// ServeHTTP implements http.Handler.
func (s slowness) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &timed{w, http.NewResponseController(w), s.write}
	if r.Body != nil && r.Body != http.NoBody {
		// The server itself takes this deadline away at the end of the body, before it watches for the client to leave. A
		// writer without deadlines, as in tests, has no client to wait for.
		if err := out.control.SetReadDeadline(time.Now().Add(s.body)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return // the connection is gone
		}
	}
	// What the server has kept back is written after the handler.
	defer out.extend()
	s.next.ServeHTTP(out, r)
}

// timed gives each write its own time.
type timed struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// Unwrap is for http.ResponseController.
func (t *timed) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Write fails when the client has not taken what was written before for too long.
func (t *timed) Write(p []byte) (int, error) {
	t.extend()
	return t.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (t *timed) FlushError() error {
	t.extend()
	return t.control.Flush()
}

// extend moves the deadline. On a connection that is gone this fails, and so will the write.
func (t *timed) extend() { _ = t.control.SetWriteDeadline(time.Now().Add(t.timeout)) }
