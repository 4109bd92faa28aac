// Package vertextest is a stand-in for Gemini on Vertex AI, for tests: it speaks the real gRPC PredictionService and the
// real REST paths, on loopback, from one script of replies, and records what it was asked and whether clients went away.
//
// It differs from Vertex AI. It has no TLS but in a Tunnel, and REST speaks HTTP/1.1. It takes every credential and records it. Only
// GenerateContent and StreamGenerateContent exist. Tokens are counted as characters divided by four. Unless a test scripts
// them there are no quotas and no filters. The texts of its errors are made up in the manner of Vertex AI. Where a stream
// that is no event stream fails half-way, the error is one more element of the array; of Vertex AI that is a guess.
package vertextest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/aiplatform/apiv1beta1/aiplatformpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// Options say how the server replies.
type Options struct {
	// Reply decides on the reply to a request; Answer when nil. It is called on one goroutine per request, and may wait.
	Reply func(*Request) Reply
}

// Server is a running stand-in.
type Server struct {
	// Host is the host:port at which both gRPC and REST are spoken, without TLS.
	Host string

	reply    func(*Request) Reply
	close    func()
	mu       sync.Mutex
	requests []*Request
	conns    map[string]*conn // of gRPC, by the client's address
}

// Start runs a server until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{reply: o.Reply, conns: map[string]*conn{}}
	if s.reply == nil {
		s.reply = Answer
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a listener on loopback opens at once or not at all
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	p := newPort(l)
	s.Host = l.Addr().String()
	rest := httptest.NewUnstartedServer(s)
	_ = rest.Listener.Close() // it is not used
	rest.Listener = p.rest
	rest.Start()
	rpc := grpc.NewServer()
	aiplatformpb.RegisterPredictionServiceServer(rpc, service{server: s})
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(listener{p.grpc, s}) }()
	s.close = sync.OnceFunc(func() {
		rest.CloseClientConnections()
		rest.Close()
		rpc.Stop()
		p.stop()
		// It may be stopped before it began.
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve gRPC: %v", err)
		}
	})
	t.Cleanup(s.close)
	return s
}

// Close stops the server before the test ends: nobody answers at its addresses any more.
func (s *Server) Close() { s.close() }

// Requests returns what was asked so far, in the order of arrival.
func (s *Server) Requests() []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Request is one call as the server read it.
type Request struct {
	// Transport is "grpc" or "rest".
	Transport string
	// Stream is whether a stream was asked for.
	Stream                   bool
	Project, Location, Model string
	// System are the texts of the system instruction.
	System []string
	Turns  []Turn
	// Temperature and MaxTokens are nil when they were not sent.
	Temperature *float32
	MaxTokens   *int32
	Stop        []string
	// Safety are the thresholds by category.
	Safety map[string]string
	// Authorization is the header of this name; empty when there was none.
	Authorization string
	// Canceled is closed when the client went away, or ended the call, before the server did.
	Canceled <-chan struct{}
}

// Turn is one content of a request.
type Turn struct {
	Role  string
	Texts []string
}

// Reply is what the server does with one request, in the order of the fields: it waits for Delay; it sends Raw, or the
// pieces; then it ends in one of the ways that are left, or well.
type Reply struct {
	// Delay is how long the server keeps its headers back.
	Delay time.Duration
	// Raw is sent as it is, over REST; over gRPC it is an error of code UNKNOWN, for there is no such thing as garbage.
	Raw *Raw
	// Pieces of a stream are sent one by one, with Gap between them; a whole answer is joined of them.
	Pieces []Piece
	Gap    time.Duration
	// Error ends the reply. Without pieces, or if no stream was asked for, it is all there is.
	Error *Error
	// Hang waits until the client has gone away: before the headers, unless there are pieces of a stream or Headers is set.
	Hang, Headers bool
	// Cut breaks the connection.
	Cut bool
}

// Raw is an HTTP response.
type Raw struct {
	// Status is 200 when it is 0.
	Status            int
	ContentType, Body string
	// Location is the header of a redirect.
	Location string
}

// Piece is one GenerateContentResponse.
type Piece struct {
	// Text and Thought become a part each; a Piece with neither has no content.
	Text, Thought string
	// Signature adds a part that holds a thought's signature and nothing else.
	Signature bool
	// Finish is the name of a finish reason, and Block that of a block reason; a Piece with Block has no candidate.
	Finish, Block string
	Usage         *Usage
}

// Usage is a usageMetadata.
type Usage struct{ Prompt, Cached, Candidates, Thoughts int32 }

// Error is a google.rpc.Status.
type Error struct {
	Code    codes.Code
	Message string
	// RetryAfter is sent as google.rpc.RetryInfo, Reason as google.rpc.ErrorInfo.
	RetryAfter time.Duration
	Reason     string
}

// Answer is the reply of a Vertex AI that is well: a few words, in pieces, with usage; of a model that it does not have, or
// no longer, it says so.
func Answer(r *Request) Reply {
	if !strings.HasPrefix(r.Model, "gemini-") || retired.MatchString(r.Model) {
		return Reply{Error: NoSuchModel(r)}
	}
	words := []string{"The stand-in ", "for Gemini ", "has read ", "your question."}
	var prompt int
	for _, text := range r.System {
		prompt += len(text)
	}
	for _, turn := range r.Turns {
		prompt += len(strings.Join(turn.Texts, ""))
	}
	var pieces []Piece
	for _, w := range words {
		pieces = append(pieces, Piece{Text: w})
	}
	last := &pieces[len(pieces)-1]
	last.Finish = "STOP"
	last.Usage = &Usage{Prompt: int32(1 + prompt/4), Candidates: int32(1 + len(strings.Join(words, ""))/4)}
	return Reply{Pieces: pieces}
}

// retired are the generations that were shut down on Vertex AI by the end of 2026.
var retired = regexp.MustCompile(`^gemini-(1\.|2\.)`)

// NoSuchModel is what Vertex AI says of a model that it does not have, or no longer.
func NoSuchModel(r *Request) *Error {
	return &Error{Code: codes.NotFound, Message: fmt.Sprintf(
		"Publisher Model `projects/%s/locations/%s/publishers/google/models/%s` was not found or your project does not have access to it.",
		r.Project, r.Location, r.Model)}
}

// resource is the name of a model as requests have it.
var resource = regexp.MustCompile(`^projects/([^/]+)/locations/([^/]+)/publishers/google/models/([^/:]+)$`)

// begin records a request. The second result ends it: it says whether the client went away.
func (s *Server) begin(ctx context.Context, r *Request, m *aiplatformpb.GenerateContentRequest) (end func(), err error) {
	name := resource.FindStringSubmatch(m.GetModel())
	if name == nil {
		return nil, fmt.Errorf("no model is named %q", m.GetModel())
	}
	r.Project, r.Location, r.Model = name[1], name[2], name[3]
	r.System = texts(m.GetSystemInstruction())
	for _, c := range m.GetContents() {
		r.Turns = append(r.Turns, Turn{c.GetRole(), texts(c)})
	}
	if g := m.GetGenerationConfig(); g != nil {
		r.Temperature, r.MaxTokens, r.Stop = g.Temperature, g.MaxOutputTokens, g.GetStopSequences()
	}
	for _, safety := range m.GetSafetySettings() {
		if r.Safety == nil {
			r.Safety = map[string]string{}
		}
		r.Safety[safety.GetCategory().String()] = safety.GetThreshold().String()
	}
	canceled := make(chan struct{})
	r.Canceled = canceled
	s.mu.Lock()
	s.requests = append(s.requests, r)
	s.mu.Unlock()
	return func() {
		if ctx.Err() != nil {
			close(canceled)
		}
	}, nil
}

// refuse says what the API itself would not take.
func refuse(r *Request) *Error {
	invalid := func(message string) *Error { return &Error{Code: codes.InvalidArgument, Message: message} }
	if len(r.Turns) == 0 {
		return invalid("Unable to submit request because at least one contents field is required.")
	}
	for i, turn := range r.Turns {
		switch {
		case turn.Role != "user" && turn.Role != "model":
			return invalid("Please use a valid role: user, model.")
		case len(turn.Texts) == 0 || slices.Contains(turn.Texts, ""):
			return invalid("Unable to submit request because it must have a text parameter.")
		case i > 0 && r.Turns[i-1].Role == turn.Role, i == len(r.Turns)-1 && turn.Role != "user":
			return invalid("Please ensure that multiturn requests alternate between user and model, and end with a user role.")
		}
	}
	return nil
}

func texts(c *aiplatformpb.Content) []string {
	var out []string
	for _, p := range c.GetParts() {
		out = append(out, p.GetText())
	}
	return out
}

// pause waits; it returns false when the client has gone away.
func pause(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// message is a piece on the wire.
func (p Piece) message(r *Request) *aiplatformpb.GenerateContentResponse {
	m := &aiplatformpb.GenerateContentResponse{ModelVersion: r.Model + "-001", ResponseId: "response-1"}
	if p.Usage != nil {
		m.UsageMetadata = &aiplatformpb.GenerateContentResponse_UsageMetadata{
			PromptTokenCount: p.Usage.Prompt, CachedContentTokenCount: p.Usage.Cached,
			CandidatesTokenCount: p.Usage.Candidates, ThoughtsTokenCount: p.Usage.Thoughts,
			TotalTokenCount: p.Usage.Prompt + p.Usage.Candidates + p.Usage.Thoughts,
		}
	}
	if p.Block != "" {
		m.PromptFeedback = &aiplatformpb.GenerateContentResponse_PromptFeedback{
			BlockReason:        aiplatformpb.GenerateContentResponse_PromptFeedback_BlockedReason(number(aiplatformpb.GenerateContentResponse_PromptFeedback_BlockedReason_value, p.Block)),
			BlockReasonMessage: "The prompt was blocked.",
		}
		return m
	}
	c := &aiplatformpb.Candidate{FinishReason: aiplatformpb.Candidate_FinishReason(number(aiplatformpb.Candidate_FinishReason_value, p.Finish))}
	part := func(text string, thought bool) *aiplatformpb.Part {
		return &aiplatformpb.Part{Data: &aiplatformpb.Part_Text{Text: text}, Thought: thought}
	}
	var parts []*aiplatformpb.Part
	if p.Thought != "" {
		parts = append(parts, part(p.Thought, true))
	}
	if p.Text != "" {
		parts = append(parts, part(p.Text, false))
	}
	if p.Signature {
		parts = append(parts, &aiplatformpb.Part{ThoughtSignature: []byte("signature")})
	}
	if len(parts) > 0 {
		c.Content = &aiplatformpb.Content{Role: "model", Parts: parts}
	}
	m.Candidates = []*aiplatformpb.Candidate{c}
	return m
}

// number is an enum's number by its name: 0 for none, and one that the messages do not know for a name that is newer than
// they are.
func number(values map[string]int32, name string) int32 {
	if name == "" {
		return 0
	}
	if n, ok := values[name]; ok {
		return n
	}
	return 99
}

// whole joins pieces into one.
func whole(pieces []Piece) Piece {
	var all Piece
	for _, p := range pieces {
		all.Text += p.Text
		all.Thought += p.Thought
		all.Signature = all.Signature || p.Signature
		all.Finish, all.Block = cmp.Or(p.Finish, all.Finish), cmp.Or(p.Block, all.Block)
		if p.Usage != nil {
			all.Usage = p.Usage
		}
	}
	return all
}
