// Package geminitest holds what every adapter for Gemini on Vertex AI must do, beyond the contract of llm.Model, against
// the stand-in. It is for tests only.
package geminitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/llmtest"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// The project and the location that an adapter under test is opened for.
const (
	Project  = "test-project"
	Location = "europe-west4"
)

// model is the name of the model that is called.
const model = "gemini-3.5-flash-lite"

// patience bounds what must happen soon.
const patience = 10 * time.Second

// Adapter is what is tested.
type Adapter struct {
	// Transport is the one it uses, as the stand-in names it.
	Transport string
	// Open returns a model that calls the stand-in, and closes it when the test ends. It is called for Project and Location.
	Open func(t testing.TB, s *vertextest.Server) llm.Model
}

// Run tests an adapter.
func Run(t *testing.T, a Adapter) {
	var noise noise
	before := log.Writer()
	log.SetOutput(&noise)
	t.Cleanup(func() { log.SetOutput(before) })

	t.Run("conformance", func(t *testing.T) {
		llmtest.Conformance(t, func(t *testing.T) (llm.Model, llm.Request) {
			return a.Open(t, vertextest.Start(t, vertextest.Options{})), llm.Request{
				Model: model, Stop: []string{"spring"}, Messages: []llm.Message{
					{Role: llm.System, Content: "Answer briefly."}, {Role: llm.User, Content: "When was the mill built?"},
				},
			}
		})
	})
	for _, part := range []struct {
		name string
		run  func(*testing.T, Adapter)
	}{
		{"requests", requests},
		{"requests that are not sent", unsent},
		{"answers", answers},
		{"errors", failures},
		{"endings of a stream", endings},
		{"a server that hangs", hangs},
		{"a deadline", deadlines},
		{"a consumer who leaves", leaves},
		{"errors do not quote the prompt", discreet},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, a) })
	}
	if text := noise.String(); text != "" {
		t.Errorf("package log got lines:\n%s", text)
	}
}

// noise is what libraries write with package log.
type noise struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (n *noise) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(p)
}

func (n *noise) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}

// request is one that is well-formed.
func request() llm.Request {
	return llm.Request{Model: model, Messages: []llm.Message{{Role: llm.User, Content: "When was the mill built?"}}}
}

// scripted opens a model whose server replies to everything in the same way.
func scripted(t *testing.T, a Adapter, r vertextest.Reply) (llm.Model, *vertextest.Server) {
	t.Helper()
	s := vertextest.Start(t, vertextest.Options{Reply: func(*vertextest.Request) vertextest.Reply { return r }})
	return a.Open(t, s), s
}

// collect reads a stream to its end.
func collect(ctx context.Context, m llm.Model, req llm.Request) (text string, last llm.Chunk, err error) {
	for chunk, err := range m.Stream(ctx, req) {
		if err != nil {
			return text, last, err
		}
		text, last = text+chunk.Text, chunk
	}
	return text, last, nil
}

// both calls both methods.
func both(ctx context.Context, m llm.Model, req llm.Request) map[string]error {
	_, err := m.Generate(ctx, req)
	_, _, streamErr := collect(ctx, m, req)
	return map[string]error{"generate": err, "stream": streamErr}
}

// wantError compares an error with what it must be; its usage only when one is wanted.
func wantError(t *testing.T, method string, err error, want llm.Error) {
	t.Helper()
	var e *llm.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: got %v, want an error of kind %s", method, err, want.Kind)
		return
	}
	if e.Kind != want.Kind || e.Provider != "google" || e.Model != model {
		t.Errorf("%s: got %v of %s/%s, want %s of google/%s", method, e, e.Provider, e.Model, want.Kind, model)
	}
	if e.RetryAfter != want.RetryAfter {
		t.Errorf("%s: retry after %v, want %v", method, e.RetryAfter, want.RetryAfter)
	}
	if diff := cmp.Diff(want.Usage, e.Usage); diff != "" {
		t.Errorf("%s: usage (-want +got):\n%s", method, diff)
	}
	if want.Err != nil && !strings.Contains(e.Error(), want.Err.Error()) {
		t.Errorf("%s: error %q does not say %q", method, e, want.Err)
	}
}

func requests(t *testing.T, a Adapter) {
	half, zero := 0.5, 0.0
	f32 := func(f float32) *float32 { return &f }
	i32 := func(n int32) *int32 { return &n }
	user := func(texts ...string) vertextest.Turn { return vertextest.Turn{Role: "user", Texts: texts} }
	ai := func(texts ...string) vertextest.Turn { return vertextest.Turn{Role: "model", Texts: texts} }
	for name, tt := range map[string]struct {
		req  llm.Request
		want vertextest.Request
	}{
		"the least": {
			llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "u"}}},
			vertextest.Request{Turns: []vertextest.Turn{user("u")}},
		},
		"everything": {
			llm.Request{MaxTokens: 50, Temperature: &half, Stop: []string{"END", "."}, Messages: []llm.Message{
				{Role: llm.System, Content: "s"}, {Role: llm.User, Content: "u"}, {Role: llm.Assistant, Content: "a"}, {Role: llm.User, Content: "v"},
			}},
			vertextest.Request{
				System: []string{"s"}, Turns: []vertextest.Turn{user("u"), ai("a"), user("v")},
				Temperature: f32(0.5), MaxTokens: i32(50), Stop: []string{"END", "."},
			},
		},
		"a temperature of zero is one": {
			llm.Request{Temperature: &zero, Messages: []llm.Message{{Role: llm.User, Content: "u"}}},
			vertextest.Request{Turns: []vertextest.Turn{user("u")}, Temperature: f32(0)},
		},
		"more tokens than there can be": {
			llm.Request{MaxTokens: math.MaxInt, Messages: []llm.Message{{Role: llm.User, Content: "u"}}},
			vertextest.Request{Turns: []vertextest.Turn{user("u")}, MaxTokens: i32(math.MaxInt32)},
		},
		"one role in a row, and system messages anywhere": {
			llm.Request{Messages: []llm.Message{
				{Role: llm.User, Content: "u"}, {Role: llm.System, Content: "s"}, {Role: llm.User, Content: "v"},
				{Role: llm.Assistant, Content: "a"}, {Role: llm.Assistant, Content: "b"}, {Role: "critic", Content: "w"}, {Role: llm.System, Content: "t"},
			}},
			vertextest.Request{System: []string{"s", "t"}, Turns: []vertextest.Turn{user("u", "v"), ai("a", "b"), user("w")}},
		},
		"empty messages are left out": {
			llm.Request{Messages: []llm.Message{{Role: llm.System}, {Role: llm.User, Content: "u"}, {Role: llm.Assistant}}},
			vertextest.Request{Turns: []vertextest.Turn{user("u")}},
		},
		"only a system message": {
			llm.Request{Messages: []llm.Message{{Role: llm.System, Content: "s"}}},
			vertextest.Request{Turns: []vertextest.Turn{user("s")}},
		},
		"bytes that are no UTF-8": {
			llm.Request{Stop: []string{"\xfe"}, Messages: []llm.Message{{Role: llm.User, Content: "u\xff"}}},
			vertextest.Request{Turns: []vertextest.Turn{user("u\uFFFD")}, Stop: []string{"\uFFFD"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := vertextest.Start(t, vertextest.Options{})
			tt.req.Model = model
			for method, err := range both(t.Context(), a.Open(t, s), tt.req) {
				if err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
			got := s.Requests()
			if len(got) != 2 {
				t.Fatalf("%d requests, want 2", len(got))
			}
			tt.want.Transport, tt.want.Project, tt.want.Location, tt.want.Model = a.Transport, Project, Location, model
			tt.want.Safety = map[string]string{}
			for _, c := range []string{"HATE_SPEECH", "DANGEROUS_CONTENT", "HARASSMENT", "SEXUALLY_EXPLICIT"} {
				tt.want.Safety["HARM_CATEGORY_"+c] = "BLOCK_ONLY_HIGH"
			}
			for i, r := range got {
				tt.want.Stream, tt.want.Canceled = i == 1, r.Canceled
				if diff := cmp.Diff(tt.want, *r); diff != "" {
					t.Errorf("request %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func unsent(t *testing.T, a Adapter) {
	nan := math.NaN()
	for name, tt := range map[string]struct {
		change func(*llm.Request)
		want   llm.Kind
	}{
		"no message":                        {func(r *llm.Request) { r.Messages = nil }, llm.InvalidRequest},
		"only empty messages":               {func(r *llm.Request) { r.Messages = []llm.Message{{Role: llm.User}} }, llm.InvalidRequest},
		"the model has the last word":       {func(r *llm.Request) { r.Messages[0].Role = llm.Assistant }, llm.InvalidRequest},
		"a temperature that is no number":   {func(r *llm.Request) { r.Temperature = &nan }, llm.InvalidRequest},
		"a model's name that is a path":     {func(r *llm.Request) { r.Model = "../../endpoints/1" }, llm.NotFound},
		"a model's name that ends the path": {func(r *llm.Request) { r.Model = "m:generateContent?x=" }, llm.NotFound},
		"no model":                          {func(r *llm.Request) { r.Model = "" }, llm.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s := vertextest.Start(t, vertextest.Options{})
			req := request()
			tt.change(&req)
			for method, err := range both(t.Context(), a.Open(t, s), req) {
				if e := llm.AsError(err); e == nil || e.Kind != tt.want || e.Provider != "google" {
					t.Errorf("%s: got %v, want %s", method, err, tt.want)
				}
			}
			if n := len(s.Requests()); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
}

// usage is what the scripts below report, and wantUsage what it comes to.
func usage() *vertextest.Usage {
	return &vertextest.Usage{Prompt: 20, Cached: 16, Candidates: 4, Thoughts: 5}
}

func wantUsage() *llm.Usage {
	return &llm.Usage{InputTokens: 20, OutputTokens: 9, CachedTokens: 16, ReasoningTokens: 5}
}

func answers(t *testing.T, a Adapter) {
	type piece = vertextest.Piece
	ok := func(text string, finish llm.FinishReason, u *llm.Usage) llm.Response {
		return llm.Response{Text: text, Model: model + "-001", Provider: "google", Finish: finish, Usage: u, ID: "response-1"}
	}
	said := func(finish string) []piece {
		return []piece{{Text: "The"}, {Text: " mill"}, {Finish: finish, Usage: usage()}}
	}
	silent := func(finish string) []piece { return []piece{{Finish: finish, Usage: usage()}} }
	cases := map[string]struct {
		pieces []piece
		want   llm.Response
		fails  llm.Kind
		usage  *llm.Usage // of a failure
	}{
		"in pieces":                          {pieces: said("STOP"), want: ok("The mill", llm.FinishStop, wantUsage())},
		"in one piece":                       {pieces: []piece{{Text: "The mill", Finish: "STOP", Usage: usage()}}, want: ok("The mill", llm.FinishStop, wantUsage())},
		"no usage":                           {pieces: []piece{{Text: "The", Finish: "STOP"}}, want: ok("The", llm.FinishStop, nil)},
		"a usage that counts nothing":        {pieces: []piece{{Text: "The", Usage: &vertextest.Usage{}}, {Finish: "STOP"}}, want: ok("The", llm.FinishStop, nil)},
		"a usage in every piece":             {pieces: []piece{{Text: "The", Usage: &vertextest.Usage{Prompt: 1}}, {Finish: "STOP", Usage: usage()}}, want: ok("The", llm.FinishStop, wantUsage())},
		"a usage behind the reason":          {pieces: []piece{{Text: "The", Finish: "STOP"}, {Usage: usage()}}, want: ok("The", llm.FinishStop, wantUsage())},
		"more cached than sent":              {pieces: []piece{{Text: "The", Finish: "STOP", Usage: &vertextest.Usage{Prompt: 2, Cached: 3, Candidates: -1}}}, want: ok("The", llm.FinishStop, &llm.Usage{InputTokens: 2, CachedTokens: 2})},
		"thoughts are no text":               {pieces: []piece{{Thought: "Hm."}, {Thought: "Aha.", Text: "The", Finish: "STOP", Usage: usage()}}, want: ok("The", llm.FinishStop, wantUsage())},
		"a part that is only a signature":    {pieces: []piece{{Text: "The", Signature: true, Finish: "STOP", Usage: usage()}}, want: ok("The", llm.FinishStop, wantUsage())},
		"cut at the limit":                   {pieces: said("MAX_TOKENS"), want: ok("The mill", llm.FinishLength, wantUsage())},
		"all of the limit went into thought": {pieces: silent("MAX_TOKENS"), fails: llm.Empty, usage: wantUsage()},
		"no text":                            {pieces: silent("STOP"), fails: llm.Empty, usage: wantUsage()},
		"white space":                        {pieces: []piece{{Text: " \n", Finish: "STOP", Usage: usage()}}, fails: llm.Empty, usage: wantUsage()},
		"only thoughts":                      {pieces: []piece{{Thought: "Hm.", Finish: "STOP", Usage: usage()}}, fails: llm.Empty, usage: wantUsage()},
		"a prompt that is blocked, billed":   {pieces: []piece{{Block: "SAFETY", Usage: usage()}}, fails: llm.Blocked, usage: wantUsage()},
		"a prompt that is blocked":           {pieces: []piece{{Block: "PROHIBITED_CONTENT"}}, fails: llm.Blocked},
		"a prompt that is blocked otherwise": {pieces: []piece{{Block: "OTHER"}}, fails: llm.Blocked},
	}
	for _, reason := range []string{"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"} {
		c := cases["no text"]
		c.pieces, c.fails = silent(reason), llm.Blocked
		cases["blocked before any text: "+reason] = c
		c.pieces, c.fails, c.want = said(reason), "", ok("The mill", llm.FinishBlocked, wantUsage())
		cases["blocked after a part: "+reason] = c
	}
	for _, reason := range []string{"OTHER", "MALFORMED_FUNCTION_CALL"} {
		c := cases["no text"]
		c.pieces = silent(reason)
		cases["no text: "+reason] = c
		c.pieces, c.fails, c.want = said(reason), "", ok("The mill", llm.FinishStop, wantUsage())
		cases["with text: "+reason] = c
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			m, s := scripted(t, a, vertextest.Reply{Pieces: tt.pieces})
			got, err := m.Generate(t.Context(), request())
			text, last, streamErr := collect(t.Context(), m, request())
			if tt.fails != "" {
				want := llm.Error{Kind: tt.fails, Usage: tt.usage}
				wantError(t, "generate", err, want)
				wantError(t, "stream", streamErr, want)
			} else {
				if err != nil || streamErr != nil {
					t.Fatalf("generate: %v; stream: %v", err, streamErr)
				}
				if diff := cmp.Diff(tt.want, *got); diff != "" {
					t.Errorf("response (-want +got):\n%s", diff)
				}
				wantLast := llm.Chunk{Finish: tt.want.Finish, Usage: tt.want.Usage, Model: tt.want.Model, ID: tt.want.ID}
				if diff := cmp.Diff(wantLast, last); diff != "" || text != tt.want.Text {
					t.Errorf("stream said %q; last chunk (-want +got):\n%s", text, diff)
				}
			}
			if n := len(s.Requests()); n != 2 {
				t.Errorf("%d requests for two calls", n)
			}
		})
	}
}

func failures(t *testing.T, a Adapter) {
	for name, tt := range map[string]struct {
		error vertextest.Error
		want  llm.Error
	}{
		"a quota that is used up": {
			vertextest.Error{Code: codes.ResourceExhausted, Message: "Quota exceeded.", RetryAfter: 1500 * time.Millisecond, Reason: "RATE_LIMIT_EXCEEDED"},
			llm.Error{Kind: llm.RateLimited, RetryAfter: 1500 * time.Millisecond, Err: errors.New("RATE_LIMIT_EXCEEDED")},
		},
		"capacity that is used up":        {vertextest.Error{Code: codes.ResourceExhausted, Message: "Resource exhausted. Please try again later."}, llm.Error{Kind: llm.RateLimited, Err: errors.New("RESOURCE_EXHAUSTED")}},
		"a wait of years is cut":          {vertextest.Error{Code: codes.ResourceExhausted, RetryAfter: 50_000 * time.Hour}, llm.Error{Kind: llm.RateLimited, RetryAfter: 24 * time.Hour}},
		"an overload":                     {vertextest.Error{Code: codes.Unavailable, Message: "The model is overloaded.", RetryAfter: 2 * time.Second}, llm.Error{Kind: llm.Overloaded, RetryAfter: 2 * time.Second}},
		"a malformed request":             {vertextest.Error{Code: codes.InvalidArgument, Message: "Bad."}, llm.Error{Kind: llm.InvalidRequest, Err: errors.New("INVALID_ARGUMENT")}},
		"a prompt over the window":        {vertextest.Error{Code: codes.InvalidArgument, Message: "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."}, llm.Error{Kind: llm.TooLarge}},
		"a prompt over the window, again": {vertextest.Error{Code: codes.InvalidArgument, Message: "Unable to submit request because the input token count is 1200293 but model only supports up to 1048576."}, llm.Error{Kind: llm.TooLarge}},
		"a request over any size":         {vertextest.Error{Code: codes.InvalidArgument, Message: "Request payload size exceeds the limit: 524288000 bytes."}, llm.Error{Kind: llm.TooLarge}},
		"a forbidden model":               {vertextest.Error{Code: codes.PermissionDenied, Reason: "IAM_PERMISSION_DENIED"}, llm.Error{Kind: llm.Forbidden, Err: errors.New("IAM_PERMISSION_DENIED")}},
		"a policy against the model":      {vertextest.Error{Code: codes.FailedPrecondition}, llm.Error{Kind: llm.Forbidden}},
		"a refused token":                 {vertextest.Error{Code: codes.Unauthenticated, Reason: "ACCESS_TOKEN_EXPIRED"}, llm.Error{Kind: llm.Unauthenticated}},
		"a retired model":                 {*vertextest.NoSuchModel(&vertextest.Request{Model: model}), llm.Error{Kind: llm.NotFound}},
		"a model that can't generate":     {vertextest.Error{Code: codes.Unimplemented}, llm.Error{Kind: llm.NotFound}},
		"a deadline of the server":        {vertextest.Error{Code: codes.DeadlineExceeded}, llm.Error{Kind: llm.Timeout}},
		"a cancel of the server":          {vertextest.Error{Code: codes.Canceled}, llm.Error{Kind: llm.ProviderFault}},
		"a fault":                         {vertextest.Error{Code: codes.Internal}, llm.Error{Kind: llm.ProviderFault}},
		"an unknown fault":                {vertextest.Error{Code: codes.Unknown}, llm.Error{Kind: llm.ProviderFault}},
		"an aborted call":                 {vertextest.Error{Code: codes.Aborted}, llm.Error{Kind: llm.ProviderFault}},
		"lost data":                       {vertextest.Error{Code: codes.DataLoss}, llm.Error{Kind: llm.ProviderFault}},
		"a number out of range":           {vertextest.Error{Code: codes.OutOfRange}, llm.Error{Kind: llm.InvalidRequest}},
	} {
		t.Run(name, func(t *testing.T) {
			m, s := scripted(t, a, vertextest.Reply{Error: &tt.error})
			for method, err := range both(t.Context(), m, request()) {
				wantError(t, method, err, tt.want)
			}
			if n := len(s.Requests()); n != 2 {
				t.Errorf("%d requests for two calls: something retries", n)
			}
		})
	}
	t.Run("a server that is not there", func(t *testing.T) {
		m, s := scripted(t, a, vertextest.Reply{})
		s.Close()
		for method, err := range both(t.Context(), m, request()) {
			wantError(t, method, err, llm.Error{Kind: llm.ProviderFault})
		}
	})
}

func endings(t *testing.T, a Adapter) {
	begun := []vertextest.Piece{{Text: "The"}, {Text: " mill", Usage: usage()}}
	finished := []vertextest.Piece{{Text: "The"}, {Text: " mill", Finish: "STOP", Usage: usage()}}
	for name, tt := range map[string]struct {
		reply vertextest.Reply
		fails llm.Kind // "" when the answer is whole
		after time.Duration
		text  string
	}{
		"cut in mid-stream":         {reply: vertextest.Reply{Pieces: begun, Cut: true}, fails: llm.BrokenStream, text: "The mill"},
		"cut after the headers":     {reply: vertextest.Reply{Headers: true, Cut: true}, fails: llm.BrokenStream},
		"cut after the reason":      {reply: vertextest.Reply{Pieces: finished, Cut: true}, text: "The mill"},
		"no reason":                 {reply: vertextest.Reply{Pieces: begun}, fails: llm.BrokenStream, text: "The mill"},
		"nothing at all":            {reply: vertextest.Reply{Headers: true}, fails: llm.BrokenStream},
		"an overload in mid-stream": {reply: vertextest.Reply{Pieces: begun, Error: &vertextest.Error{Code: codes.Unavailable, RetryAfter: time.Second}}, fails: llm.Overloaded, after: time.Second, text: "The mill"},
		"a fault in mid-stream":     {reply: vertextest.Reply{Pieces: begun, Error: &vertextest.Error{Code: codes.Internal}}, fails: llm.ProviderFault, text: "The mill"},
		"a fault after the reason":  {reply: vertextest.Reply{Pieces: finished, Error: &vertextest.Error{Code: codes.Internal}}, text: "The mill"},
		"pieces that trickle":       {reply: vertextest.Reply{Pieces: finished, Gap: 5 * time.Millisecond, Delay: 5 * time.Millisecond}, text: "The mill"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.reply.Headers && !tt.reply.Cut {
				tt.reply.Pieces = []vertextest.Piece{{}} // a piece that says nothing
			}
			m, s := scripted(t, a, tt.reply)
			text, last, err := collect(t.Context(), m, request())
			if text != tt.text {
				t.Errorf("text: got %q, want %q", text, tt.text)
			}
			switch {
			case tt.fails == "" && (err != nil || last.Finish != llm.FinishStop || cmp.Diff(wantUsage(), last.Usage) != ""):
				t.Errorf("got %+v, %v, want the end of an answer, with usage", last, err)
			case tt.fails != "":
				want := llm.Error{Kind: tt.fails, RetryAfter: tt.after}
				if tt.text != "" {
					want.Usage = wantUsage()
				}
				wantError(t, "stream", err, want)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d requests for one call: something retries", n)
			}
		})
	}
	t.Run("a connection that was used breaks before the headers", func(t *testing.T) {
		var used atomic.Bool
		s := vertextest.Start(t, vertextest.Options{Reply: func(r *vertextest.Request) vertextest.Reply {
			if !used.Swap(true) {
				return vertextest.Answer(r)
			}
			return vertextest.Reply{Cut: true}
		}})
		m := a.Open(t, s)
		if _, err := m.Generate(t.Context(), request()); err != nil {
			t.Fatal(err)
		}
		for method, err := range both(t.Context(), m, request()) {
			wantError(t, method, err, llm.Error{Kind: llm.ProviderFault})
		}
		if n := len(s.Requests()); n != 3 {
			t.Errorf("%d requests for three calls: something retries", n)
		}
	})
	t.Run("a whole answer that breaks off", func(t *testing.T) {
		m, s := scripted(t, a, vertextest.Reply{Headers: true, Cut: true})
		_, err := m.Generate(t.Context(), request())
		wantError(t, "generate", err, llm.Error{Kind: llm.ProviderFault})
		if n := len(s.Requests()); n != 1 {
			t.Errorf("%d requests for one call: something retries", n)
		}
	})
}

func hangs(t *testing.T, a Adapter) {
	for name, reply := range map[string]vertextest.Reply{
		"before its headers": {Hang: true},
		"after its headers":  {Hang: true, Headers: true},
		"in mid-stream":      {Hang: true, Pieces: []vertextest.Piece{{Text: "The"}}},
		"after the reason":   {Hang: true, Pieces: []vertextest.Piece{{Text: "The", Finish: "STOP"}}},
	} {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan *vertextest.Request, 1)
			s := vertextest.Start(t, vertextest.Options{Reply: func(r *vertextest.Request) vertextest.Reply {
				arrived <- r
				return reply
			}})
			m := a.Open(t, s)
			for method, do := range map[string]func(context.Context) error{
				"generate": func(ctx context.Context) error { _, err := m.Generate(ctx, request()); return err },
				"stream":   func(ctx context.Context) error { _, _, err := collect(ctx, m, request()); return err },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				wantError(t, method+" with a deadline", do(ctx), llm.Error{Kind: llm.Timeout})
				cancel()
				released(t, <-arrived)

				ctx, cancel = context.WithCancel(t.Context())
				seen := make(chan *vertextest.Request, 1)
				go func() {
					r := <-arrived
					cancel()
					seen <- r
				}()
				wantError(t, method+" with a caller who leaves", do(ctx), llm.Error{Kind: llm.Canceled})
				released(t, <-seen)
			}
		})
	}
}

// released checks that the server learns that a call has ended.
func released(t *testing.T, r *vertextest.Request) {
	t.Helper()
	select {
	case <-r.Canceled:
	case <-time.After(patience):
		t.Error("the server still waits for the client")
	}
}

func deadlines(t *testing.T, a Adapter) {
	many := make([]vertextest.Piece, 1000)
	for i := range many {
		many[i].Text = "on and "
	}
	for name, reply := range map[string]vertextest.Reply{
		"headers that come too late": {Delay: time.Hour},
		"a stream that trickles on":  {Pieces: many, Gap: 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := scripted(t, a, reply)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, _, err := collect(ctx, m, request())
			wantError(t, "stream", err, llm.Error{Kind: llm.Timeout})
			if reply.Delay > 0 {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				_, err := m.Generate(ctx, request())
				wantError(t, "generate", err, llm.Error{Kind: llm.Timeout})
			}
		})
	}
}

func leaves(t *testing.T, a Adapter) {
	m, s := scripted(t, a, vertextest.Reply{Pieces: []vertextest.Piece{{Text: "The"}}, Hang: true})
	for chunk, err := range m.Stream(t.Context(), request()) {
		if err != nil || chunk.Text != "The" {
			t.Fatalf("got %+v, %v, want The", chunk, err)
		}
		break
	}
	released(t, s.Requests()[0])
}

func discreet(t *testing.T, a Adapter) {
	const secret = "the-prompt-nobody-may-see"
	quote := func(c codes.Code, reason string) *vertextest.Error {
		return &vertextest.Error{Code: c, Message: fmt.Sprintf("What is %q?", secret), Reason: reason}
	}
	failing := map[string]vertextest.Reply{
		"a message":               {Error: quote(codes.InvalidArgument, "BAD_VALUE")},
		"a message of a fault":    {Error: quote(codes.Internal, "")},
		"a reason":                {Error: quote(codes.Unavailable, secret)},
		"a message in mid-stream": {Pieces: []vertextest.Piece{{Text: "The"}}, Error: quote(codes.Unavailable, "")},
		"text":                    {Raw: &vertextest.Raw{Status: 500, ContentType: "text/plain", Body: secret}},
		"text in a good response": {Raw: &vertextest.Raw{ContentType: secret, Body: secret}},
		"an event of text":        {Raw: &vertextest.Raw{ContentType: "text/event-stream", Body: "data: " + secret + "\n\n"}},
		"JSON of another shape":   {Raw: &vertextest.Raw{ContentType: "application/json", Body: `{"candidates":"` + secret + `"}`}},
		"an array of that":        {Raw: &vertextest.Raw{ContentType: "application/json", Body: `[{"candidates":"` + secret + `"}]`}},
	}
	open := map[string]func(*testing.T) (llm.Model, llm.Request){}
	for name, reply := range failing {
		open[name] = func(t *testing.T) (llm.Model, llm.Request) {
			m, _ := scripted(t, a, reply)
			req := request()
			req.Messages[0].Content = secret
			return m, req
		}
	}
	llmtest.Discreet(t, open)
}
