// Package firestoretest has an in-memory stand-in for the gRPC API of Firestore, for tests of what the emulator does not
// do: preconditions, faults at the level of the protocol, limits, and the count of what would be billed.
//
// It answers the three methods by which the stores of this module work, with the semantics that they rest on: commits of
// all writes or none, preconditions, update times that only grow and only when something changed, timestamps of
// microseconds, queries that see only documents with the field, and the limits on document IDs and sizes. It has no
// transactions, transforms, nested field masks, composite filters or orders, and says so to whoever asks for one.
package firestoretest

import (
	"context"
	"net"
	"path"
	"sync"
	"testing"

	"cloud.google.com/go/firestore"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// Project and Database are where the documents of every test are.
const (
	Project  = "test-project"
	Database = "projects/" + Project + "/databases/(default)"
)

// The methods that the server answers.
const (
	BatchGet = "BatchGetDocuments"
	RunQuery = "RunQuery"
	Commit   = "Commit"
)

// Fault is what happens to a call. serve answers it as if nothing did.
type Fault func(ctx context.Context, serve func() error) error

// Answer is a Fault: the call fails with this code, and has no effect.
func Answer(code codes.Code) Fault {
	return func(context.Context, func() error) error { return status.Error(code, "injected by the test") }
}

// Lose is a Fault: the call takes effect, but fails with UNAVAILABLE, as when the connection breaks before the answer is
// through. The answer of a stream has been sent by then.
func Lose(_ context.Context, serve func() error) error {
	_ = serve() // its error is lost, too
	return status.Error(codes.Unavailable, "the answer was lost by the test")
}

// Hang is a Fault: the call is never answered.
func Hang(ctx context.Context, _ func() error) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

// Server is the stand-in. It is safe for concurrent use.
type Server struct {
	pb.UnimplementedFirestoreServer

	addr string
	data documents

	mu     sync.Mutex
	once   map[string][]Fault
	always map[string]Fault
	calls  map[string]int
	reads  int
}

// New starts a server without documents on the loopback interface. It stops when the test ends.
func New(t testing.TB) *Server {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{addr: listener.Addr().String(), once: map[string][]Fault{}, always: map[string]Fault{}, calls: map[string]int{}}
	server := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
			err = s.fault(info.FullMethod)(ctx, func() (err error) {
				answer, err = handle(ctx, req)
				return err
			})
			return answer, err
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			return s.fault(info.FullMethod)(stream.Context(), func() error { return handle(srv, stream) })
		}),
		grpc.MaxRecvMsgSize(64<<20),
	)
	pb.RegisterFirestoreServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// Addr is the address that the server listens on.
func (s *Server) Addr() string { return s.addr }

// Client returns a client of the server.
func (s *Server) Client(t testing.TB) *firestore.Client { return Client(t, s.addr) }

// Client returns a client of the server or emulator at addr. It is closed when the test
// ends, if not before.
func Client(t testing.TB, addr string) *firestore.Client {
	t.Helper()
	client, err := firestore.NewClient(t.Context(), Project, Options(addr)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Options are those of a client of the server or emulator at addr, without credentials and TLS.
func Options(addr string) []option.ClientOption {
	return []option.ClientOption{option.WithEndpoint(addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials()))}
}

// Fail gives the next calls of the method one fault each.
func (s *Server) Fail(method string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.once[method] = append(s.once[method], faults...)
}

// FailAlways gives every call of the method a fault, after those of Fail; nil heals it.
func (s *Server) FailAlways(method string, fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.always[method] = fault
}

// fault counts a call and returns what is to happen to it.
func (s *Server) fault(fullMethod string) Fault {
	method := path.Base(fullMethod)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
	if faults := s.once[method]; len(faults) > 0 {
		s.once[method] = faults[1:]
		return faults[0]
	}
	if fault := s.always[method]; fault != nil {
		return fault
	}
	return func(_ context.Context, serve func() error) error { return serve() }
}

// Calls is how often the method was called so far.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Reads is how many document reads would have been billed so far: those that were returned, those that were asked for and
// are missing, and one for a query without result.
func (s *Server) Reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

func (s *Server) bill(reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads += reads
}

// Documents returns all documents by their path within the database, such as "collection/document".
func (s *Server) Documents() map[string]*pb.Document { return s.data.all() }

// BatchGetDocuments answers with one moment's documents, in the order in which they were asked for.
func (s *Server) BatchGetDocuments(req *pb.BatchGetDocumentsRequest, stream pb.Firestore_BatchGetDocumentsServer) error {
	if req.ConsistencySelector != nil || req.Mask != nil {
		return status.Error(codes.Unimplemented, "transactions, read times and masks are not implemented")
	}
	if err := known(req.Database); err != nil {
		return err
	}
	found, at := s.data.get(req.Documents)
	s.bill(len(found))
	for i, doc := range found {
		answer := &pb.BatchGetDocumentsResponse{ReadTime: at, Result: &pb.BatchGetDocumentsResponse_Missing{Missing: req.Documents[i]}}
		if doc != nil {
			answer.Result = &pb.BatchGetDocumentsResponse_Found{Found: doc}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

// RunQuery answers a query with one comparison of one field, or none, over one collection.
func (s *Server) RunQuery(req *pb.RunQueryRequest, stream pb.Firestore_RunQueryServer) error {
	if req.ConsistencySelector != nil {
		return status.Error(codes.Unimplemented, "transactions and read times are not implemented")
	}
	if err := known(path.Dir(req.Parent)); err != nil {
		return err
	}
	q := req.GetStructuredQuery()
	if len(q.GetFrom()) != 1 || q.From[0].AllDescendants || q.Select != nil || len(q.OrderBy) > 0 || q.StartAt != nil || q.EndAt != nil || q.Offset != 0 {
		return status.Error(codes.Unimplemented, "only a filter over one collection is implemented")
	}
	found, at, err := s.data.query(req.Parent+"/"+q.From[0].CollectionId, q.Where)
	if err != nil {
		return err
	}
	if q.Limit != nil {
		found = found[:min(int(q.Limit.Value), len(found))]
	}
	s.bill(max(len(found), 1))
	if len(found) == 0 {
		return stream.Send(&pb.RunQueryResponse{ReadTime: at})
	}
	for _, doc := range found {
		if err := stream.Send(&pb.RunQueryResponse{Document: doc, ReadTime: at}); err != nil {
			return err
		}
	}
	return nil
}

// Commit makes all of the writes or none.
func (s *Server) Commit(_ context.Context, req *pb.CommitRequest) (*pb.CommitResponse, error) {
	if len(req.Transaction) > 0 {
		return nil, status.Error(codes.Unimplemented, "transactions are not implemented")
	}
	if err := known(req.Database); err != nil {
		return nil, err
	}
	return s.data.commit(req)
}

// known refuses what is sent to another database, as Firestore does where there is none.
func known(database string) error {
	if database == Database {
		return nil
	}
	return status.Errorf(codes.NotFound, "The database %s does not exist for project %s", path.Base(database), path.Base(path.Dir(path.Dir(database))))
}
