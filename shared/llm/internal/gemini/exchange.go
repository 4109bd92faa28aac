package gemini

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/bounded"
)

// mostBody is how much of a response that failed is read.
const mostBody = 64 << 10

// Exchange is what is known of one HTTP call beside what an SDK tells of it: SDKs put the provider's messages into their
// errors, log what breaks a stream, and leave bodies open. A Transport fills it in. It belongs to one call, which runs on
// one goroutine.
type Exchange struct {
	// ContentType is the response's, without parameters; empty before there is one.
	ContentType string
	// Broken is the error that ended the reading of a body before its end.
	Broken error
	failed *Said
	body   io.Closer
	lost   error
}

type exchangeKey struct{}

// NewExchange returns a context for one HTTP call, and what a Transport will tell of it.
func NewExchange(ctx context.Context) (context.Context, *Exchange) {
	x := new(Exchange)
	return context.WithValue(ctx, exchangeKey{}, x), x
}

// Close ends the call, whatever the SDK has left open.
func (x *Exchange) Close() {
	if x.body != nil {
		_ = x.body.Close() // it was read to its end or is given up: how closing it ends changes nothing
	}
}

// Failure is why a call failed of which an SDK says err. An ended context wins over everything, then what the server says,
// then what happened to the connection; a response that came whole and is not what was asked for is garbage.
func (x *Exchange) Failure(ctx context.Context, model string, err error, stream bool) *llm.Error {
	e := &llm.Error{Provider: Provider, Model: model}
	cause := x.lost
	if cause == nil {
		cause = x.Broken
	}
	var network net.Error
	switch {
	case ctx.Err() != nil:
		return Ended(ctx, model)
	case x.failed != nil:
		return x.failed.Error(model)
	case cause == nil && x.ContentType == "":
		return unsent(model, err)
	case cause == nil:
		return Garbage(model, x.ContentType)
	case errors.As(cause, &network) && network.Timeout():
		e.Kind = llm.Timeout
	case x.Broken != nil && stream:
		e.Kind = llm.BrokenStream
	default:
		e.Kind = llm.ProviderFault
	}
	e.Err = cause
	return e
}

// unsent is the failure of a call that never was made. That is for want of an access token, for it is all that happens
// between the SDK's client and the Transport; an SDK that can't write the request is not the client, and quotes it.
func unsent(model string, err error) *llm.Error {
	e := &llm.Error{Kind: llm.Internal, Provider: Provider, Model: model, Err: errors.New("the SDK could not make the request")}
	if client, ok := errors.AsType[*url.Error](err); ok {
		e.Kind, e.Err = TokenKind(client.Err), fmt.Errorf("get an access token: %w", client.Err)
	}
	return e
}

// TokenKind is the kind of a failure to get an access token: our credentials are missing or refused, unless the error says
// that it will pass.
func TokenKind(err error) llm.Kind {
	var passing interface{ Temporary() bool }
	if errors.As(err, &passing) && passing.Temporary() {
		return llm.ProviderFault
	}
	return llm.Unauthenticated
}

// Failed is whether anything is known to have gone wrong.
func (x *Exchange) Failed() bool { return x.failed != nil || x.lost != nil || x.Broken != nil }

// Ended is the failure of a call whose context has ended.
func Ended(ctx context.Context, model string) *llm.Error {
	e := llm.AsError(ctx.Err())
	return &llm.Error{Kind: e.Kind, Provider: Provider, Model: model, Err: ctx.Err()}
}

// Fail keeps what a body that is read says of a failure: an error object in the midst of a stream. It tells whether there
// is one.
func (x *Exchange) Fail(element []byte) bool {
	said, ok := parse(element)
	if ok {
		x.failed = &said
	}
	return ok
}

// Transport tells the Exchange of a call's context what happens to it. Bodies that it hands on never fail: a read error
// is kept, and reads as the end.
type Transport struct {
	Base http.RoundTripper
}

// A connection that says nothing for PingAfter is asked whether it lives, and given up after PingTimeout: one that died while
// a function was frozen looks open, and calls on it would hang until their deadline.
const (
	PingAfter   = 30 * time.Second
	PingTimeout = 10 * time.Second
)

// NewBase returns a transport for a model's own connections, which are kept for later calls.
func NewBase() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: PingAfter, PingTimeout: PingTimeout},
	}
}

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	x, ok := r.Context().Value(exchangeKey{}).(*Exchange)
	if !ok {
		return t.Base.RoundTrip(r)
	}
	resp, err := t.Base.RoundTrip(r)
	if err != nil {
		x.lost = err
		return nil, err
	}
	x.ContentType, x.body = contentType(resp.Header), resp.Body
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		// What can't be read is not needed for the kind.
		text, _ := io.ReadAll(io.LimitReader(resp.Body, mostBody))
		x.Close()
		said := FromHTTP(resp.StatusCode, resp.Header, text, time.Now())
		x.failed = &said
		resp.Body = io.NopCloser(bytes.NewReader(text))
		return resp, nil
	}
	resp.Body = &quietBody{bounded.Body(resp.Body), x}
	return resp, nil
}

// quietBody is a body whose read error is kept for the adapter.
type quietBody struct {
	body     io.ReadCloser
	exchange *Exchange
}

func (b *quietBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.exchange.Broken, err = err, io.EOF
	}
	return n, err
}

func (b *quietBody) Close() error {
	b.exchange.Close()
	return nil
}
