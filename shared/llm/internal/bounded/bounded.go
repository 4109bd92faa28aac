// Package bounded keeps a server that never ends its answer from taking the memory of the process: the SDKs read a body to
// its end, however far that is.
package bounded

import (
	"errors"
	"io"
	"net/http"
)

// Most is how much is read of one response, in bytes: many times the longest answer that any model gives, in the most
// talkative form, which is a stream with an event for each token.
const Most = 32 << 20

// ErrTooLong is the error of a body that goes on after that.
var ErrTooLong = errors.New("the response is longer than any answer")

// Transport hands on responses whose bodies are bounded.
type Transport struct{ Base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Base.RoundTrip(r)
	if err == nil {
		resp.Body = Body(resp.Body)
	}
	return resp, err
}

// Body returns a body that fails with ErrTooLong where the given one goes on after Most bytes.
func Body(b io.ReadCloser) io.ReadCloser { return &body{b, Most} }

type body struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// It may be over just here.
		var one [1]byte
		n, err := b.ReadCloser.Read(one[:])
		if n > 0 {
			err = ErrTooLong
		}
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
