package vertexai

import (
	"context"
	"fmt"
	"regexp"

	"cloud.google.com/go/auth/grpctransport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini"
)

// mostMessage is the largest response that is taken over gRPC, in bytes.
const mostMessage = 64 << 20

// connect opens a gRPC connection for the SDK, with neither retries nor telemetry.
func connect(ctx context.Context, o Options) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostMessage)),
		// Pings are sent only while a call waits.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: gemini.PingAfter, Timeout: gemini.PingTimeout}),
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

// late is whether a call ended because its deadline had passed. gRPC tells servers of it, and one may see it first.
func late(err error) bool { return status.Code(err) == codes.DeadlineExceeded }

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
