package vertextest

import (
	"bytes"
	"context"
	"net"
	"sync"

	"cloud.google.com/go/aiplatform/apiv1beta1/aiplatformpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// service is the gRPC face of a server.
type service struct {
	aiplatformpb.UnimplementedPredictionServiceServer
	server *Server
}

// GenerateContent implements the service.
func (s service) GenerateContent(ctx context.Context, m *aiplatformpb.GenerateContentRequest) (*aiplatformpb.GenerateContentResponse, error) {
	var out *aiplatformpb.GenerateContentResponse
	err := s.serve(ctx, m, false, func(p *aiplatformpb.GenerateContentResponse) error {
		out = p
		return nil
	}, func() error { return nil })
	return out, err
}

// StreamGenerateContent implements the service.
func (s service) StreamGenerateContent(m *aiplatformpb.GenerateContentRequest, stream aiplatformpb.PredictionService_StreamGenerateContentServer) error {
	return s.serve(stream.Context(), m, true, stream.Send, func() error { return stream.SendHeader(metadata.Pairs("x-mark", headerMark)) })
}

// headerMark is a header's value that is sent as it stands, for its characters are longer in the code of HPACK.
const headerMark = "||||||||"

// serve replies to one call.
func (s service) serve(ctx context.Context, m *aiplatformpb.GenerateContentRequest, stream bool,
	send func(*aiplatformpb.GenerateContentResponse) error, headers func() error,
) error {
	r := &Request{Transport: "grpc", Stream: stream}
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md.Get("authorization")) > 0 {
		r.Authorization = md.Get("authorization")[0]
	}
	end, err := s.server.begin(ctx, r, m)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	defer end()
	if e := refuse(r); e != nil {
		return e.status().Err()
	}
	reply := s.server.reply(r)
	if !pause(ctx, reply.Delay) {
		return status.FromContextError(ctx.Err()).Err()
	}
	if reply.Raw != nil {
		return status.Error(codes.Unknown, reply.Raw.Body)
	}
	pieces := reply.Pieces
	if !stream {
		pieces = nil
	}
	cutting := false // as soon as what was handed over is sent
	if reply.Headers && stream {
		if reply.Cut && len(pieces) == 0 {
			cutting = true
			s.server.conn(ctx).cutAfter([]byte(headerMark))
		}
		if err := headers(); err != nil {
			return err
		}
	}
	for i, p := range pieces {
		if i > 0 && !pause(ctx, reply.Gap) {
			return status.FromContextError(ctx.Err()).Err()
		}
		message := p.message(r)
		if reply.Cut && i == len(pieces)-1 {
			last, err := proto.Marshal(message)
			if err != nil {
				return err
			}
			cutting = true
			s.server.conn(ctx).cutAfter(last)
		}
		if err := send(message); err != nil {
			return err
		}
	}
	switch {
	case reply.Cut:
		if !cutting {
			s.server.conn(ctx).cut()
		}
		<-ctx.Done()
	case reply.Hang:
		<-ctx.Done()
	case reply.Error != nil:
		return reply.Error.status().Err()
	case !stream:
		return send(whole(reply.Pieces).message(r))
	}
	return ctx.Err()
}

// status is an error on the wire.
func (e *Error) status() *status.Status {
	s := status.New(e.Code, e.Message)
	var details []protoadapt.MessageV1
	if e.Reason != "" {
		details = append(details, &errdetails.ErrorInfo{Reason: e.Reason, Domain: "aiplatform.googleapis.com"})
	}
	if e.RetryAfter != 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	if len(details) == 0 {
		return s
	}
	full, err := s.WithDetails(details...)
	if err != nil {
		return s // an OK, which has no details
	}
	return full
}

// conn returns the connection of a call.
func (s *Server) conn(ctx context.Context) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	return s.conns[p.Addr.String()]
}

// listener keeps the connections that are open, so that a reply can cut its own.
type listener struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	kept := &conn{Conn: c}
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	l.server.conns[c.RemoteAddr().String()] = kept
	return kept, nil
}

// conn is a connection that can be cut behind a message, which gRPC sends some time after it was handed over.
type conn struct {
	net.Conn
	mu   sync.Mutex
	mark []byte // nil when nothing is awaited
	seen []byte
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mark != nil {
		c.seen = append(c.seen, p[:n]...)
		if bytes.Contains(c.seen, c.mark) {
			c.mark = nil
			c.half()
		}
	}
	return n, err
}

// cutAfter cuts the connection as soon as it has sent a message.
func (c *conn) cutAfter(message []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark, c.seen = message, nil
}

// cut cuts the connection at once.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.half()
}

// half ends what the server sends. The client sees the end, and closes the rest; to close it here could overtake what was
// sent before.
func (c *conn) half() {
	if p, ok := c.Conn.(peeked); ok {
		if tcp, ok := p.Conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite() // a connection that is gone is cut as well
		}
	}
}
