package vertexai

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"cloud.google.com/go/auth/httptransport"

	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini"
)

// httpClient returns the client for REST, and the transport that keeps its connections. It follows no redirect: one call is
// one request.
func httpClient(o Options) (*http.Client, *http.Transport, error) {
	base := gemini.NewBase()
	seen := restTransport{gemini.Transport{Base: base}}
	client := &http.Client{Transport: seen}
	if o.Endpoint == "" {
		creds, err := tokens(o)
		if err != nil {
			return nil, nil, err
		}
		client, err = httptransport.NewClient(&httptransport.Options{Credentials: creds, BaseRoundTripper: seen, DisableTelemetry: true})
		if err != nil {
			return nil, nil, err
		}
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, base, nil
}

// restTransport reads responses below the SDK.
type restTransport struct{ gemini.Transport }

// RoundTrip implements http.RoundTripper. The SDK gets an empty object for each reply, and nothing for what is none.
func (t restTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err != nil || resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp, err
	}
	body, c := resp.Body, callOf(r.Context())
	resp.ContentLength = -1
	resp.Header.Del("Content-Length")
	if strings.HasSuffix(r.URL.Path, ":streamGenerateContent") {
		resp.Body = &elements{ReadCloser: body, dec: json.NewDecoder(body), call: c}
		return resp, nil
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err // a body of a Transport has no errors
	}
	rest := ""
	if !c.exchange.Fail(text) && c.add(text) {
		rest = "{}"
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{strings.NewReader(rest), body}
	return resp, nil
}

// elements is the body of a stream: an array with one element per reply.
type elements struct {
	io.ReadCloser // for Close
	dec           *json.Decoder
	call          *call
	pending       string
	begun, any    bool
	ended         bool
}

// Read implements io.Reader. It returns what stands for one reply at a time.
func (b *elements) Read(p []byte) (int, error) {
	if b.pending == "" {
		if b.ended {
			return 0, io.EOF
		}
		b.pending = b.next()
	}
	n := copy(p, b.pending)
	b.pending = b.pending[n:]
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// next reads on in the array and returns what the SDK is to read of it; nothing at a bad end.
func (b *elements) next() string {
	if !b.begun {
		b.begun = true
		if t, err := b.dec.Token(); err != nil || t != json.Delim('[') {
			// Nothing, and that whole, is no stream that broke off.
			b.call.garbage = b.call.exchange.Broken == nil
			return b.end(err)
		}
		return "["
	}
	if !b.dec.More() {
		if _, err := b.dec.Token(); err != nil {
			return b.end(err)
		}
		b.ended = true
		return "]"
	}
	var raw json.RawMessage
	if err := b.dec.Decode(&raw); err != nil {
		return b.end(err)
	}
	if b.call.exchange.Fail(raw) || !b.call.add(raw) {
		b.ended = true
		return ""
	}
	if !b.any {
		b.any = true
		return "{}"
	}
	return ",{}"
}

// end keeps why the array ended badly: it broke off, or it is none.
func (b *elements) end(err error) string {
	b.ended = true
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		b.call.garbage = true
	case b.call.exchange.Broken == nil && !b.call.garbage:
		b.call.exchange.Broken = io.ErrUnexpectedEOF
	}
	return ""
}
