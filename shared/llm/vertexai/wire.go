package vertexai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/grpctransport"
	"cloud.google.com/go/auth/httptransport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini"
)

// scope is what a token must be good for.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// mostMessage is the largest response that is taken over gRPC, in bytes.
const mostMessage = 64 << 20

// call is what is seen of one call below the SDK. It belongs to one goroutine but for what is atomic.
type call struct {
	replies  []gemini.Reply
	exchange *gemini.Exchange
	// garbage is set when a response was read that is none.
	garbage bool
	// headers and trailers are set when the server sent them over gRPC: without trailers, a status is not the server's.
	headers, trailers atomic.Bool
	// untokened is why there was no access token.
	untokened atomic.Pointer[error]
}

type callKey struct{}

func newCall(ctx context.Context) (context.Context, *call) {
	ctx, x := gemini.NewExchange(ctx)
	c := &call{exchange: x}
	return context.WithValue(ctx, callKey{}, c), c
}

func callOf(ctx context.Context) *call {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return &call{exchange: new(gemini.Exchange)} // a call that is not a Model's; there are none
	}
	return c
}

// take returns the replies that were read since the last time.
func (c *call) take() []gemini.Reply {
	r := c.replies
	c.replies = nil
	return r
}

// clean is whether nothing is known to have gone wrong.
func (c *call) clean() bool {
	return !c.garbage && !c.exchange.Failed()
}

// add reads a reply.
func (c *call) add(text []byte) bool {
	var r gemini.Reply
	if err := json.Unmarshal(text, &r); err != nil {
		c.garbage = true
		return false
	}
	c.replies = append(c.replies, r)
	return true
}

// connect opens a gRPC connection for the SDK, with neither retries nor telemetry.
func connect(ctx context.Context, o Options) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostMessage)),
		grpc.WithUnaryInterceptor(unary), grpc.WithStreamInterceptor(streaming), grpc.WithStatsHandler(frames{}),
	}
	if o.Endpoint != "" {
		conn, err := grpc.NewClient(o.Endpoint, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", o.Endpoint, err)
		}
		return conn, nil
	}
	host := gemini.Host(o.Location)
	creds, err := tokens(o)
	if err != nil {
		return nil, err
	}
	pool, err := grpctransport.Dial(ctx, true, &grpctransport.Options{
		Endpoint: host + ":443", Credentials: creds, GRPCDialOpts: opts, PoolSize: 1, DisableTelemetry: true,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", host, err)
	}
	return pool.Connection(), nil
}

// tokens returns the credentials, so that a call knows why it has no token: gRPC leaves only a text of that. A token is
// renewed by the call that needs it, and not in the background: functions freeze between calls.
func tokens(o Options) (*auth.Credentials, error) {
	c := o.Credentials
	if c == nil {
		var err error
		c, err = credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{scope}, UseSelfSignedJWT: true, DisableAsyncRefresh: true})
		if err != nil {
			return nil, err
		}
	}
	return auth.NewCredentials(&auth.CredentialsOptions{
		TokenProvider: seenTokens{c}, JSON: c.JSON(), ProjectIDProvider: auth.CredentialsPropertyFunc(c.ProjectID),
		QuotaProjectIDProvider: auth.CredentialsPropertyFunc(c.QuotaProjectID), UniverseDomainProvider: auth.CredentialsPropertyFunc(c.UniverseDomain),
	}), nil
}

type seenTokens struct{ auth.TokenProvider }

// Token implements auth.TokenProvider.
func (s seenTokens) Token(ctx context.Context) (*auth.Token, error) {
	t, err := s.TokenProvider.Token(ctx)
	if err != nil {
		callOf(ctx).untokened.Store(&err)
	}
	return t, err
}

// unary reads the response of a call and empties it.
func unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if err := invoker(ctx, method, req, reply, cc, opts...); err != nil {
		return err
	}
	callOf(ctx).message(reply)
	return nil
}

// streaming does the same with the responses of a stream.
func streaming(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return messages{s, callOf(ctx)}, nil
}

type messages struct {
	grpc.ClientStream
	call *call
}

// RecvMsg implements grpc.ClientStream.
func (s messages) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	s.call.message(m)
	return nil
}

// message reads a response in its JSON form, which is that of REST, and leaves nothing in it for the SDK.
func (c *call) message(response any) {
	m, ok := response.(proto.Message)
	if !ok {
		c.garbage = true
		return
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		c.garbage = true
	} else {
		c.add(text)
	}
	proto.Reset(m)
}

// frames sees which frames a server sends.
type frames struct{}

// TagRPC implements stats.Handler.
func (frames) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (frames) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.InHeader:
		callOf(ctx).headers.Store(true)
	case *stats.InTrailer:
		callOf(ctx).trailers.Store(true)
	}
}

// TagConn implements stats.Handler.
func (frames) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (frames) HandleConn(context.Context, stats.ConnStats) {}

// ofTransport is how gRPC's own messages begin that tell of the connection or the credentials. Others may quote the server.
var ofTransport = regexp.MustCompile(`^(connection error: |error reading from server: |transport: |name resolver error: |the connection is draining|stream terminated by RST_STREAM)`)

// rpcFailure gives a failed gRPC call its kind: by what the server says, or by what happened to the connection.
func (c *call) rpcFailure(model string, err error, stream bool) *llm.Error {
	if err == nil || c.garbage {
		return gemini.Garbage(model, "application/grpc")
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.New(codes.Unknown, "")
	}
	if c.trailers.Load() {
		return gemini.FromStatus(s).Error(model)
	}
	e := &llm.Error{Kind: llm.ProviderFault, Provider: gemini.Provider, Model: model}
	if cause := c.untokened.Load(); cause != nil {
		e.Kind, e.Err = gemini.TokenKind(*cause), fmt.Errorf("get an access token: %w", *cause)
		return e
	}
	switch {
	case s.Code() == codes.DeadlineExceeded:
		e.Kind = llm.Timeout
	case stream && c.headers.Load():
		e.Kind = llm.BrokenStream
	}
	e.Err = fmt.Errorf("no status from the server: %s", s.Code())
	if ofTransport.MatchString(s.Message()) {
		e.Err = fmt.Errorf("%w: %s", e.Err, s.Message())
	}
	return e
}

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
