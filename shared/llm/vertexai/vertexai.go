// Package vertexai calls Gemini on Vertex AI through cloud.google.com/go/vertexai, over gRPC or REST.
//
// It retries nothing, chooses nothing and reads no environment but what Google's libraries read for application default
// credentials and proxies.
//
// The SDK makes the requests and the calls. Its view of responses is not used, for it drops the cached tokens, the version
// of the model, the response's identifier, and all that stands beside a block, billed tokens included; and it panics at
// parts that are newer than itself. What a response says is read below the SDK (grpc.go, rest.go), which gets an empty one.
package vertexai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net"
	"strings"

	sdk "cloud.google.com/go/vertexai/genai"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"cloud.google.com/go/auth"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini"
)

// Threshold says from which probability of harm on Google's filters withhold an answer; see Options.
type Threshold = gemini.Threshold

// The thresholds.
const (
	BlockLowAndAbove    = gemini.BlockLowAndAbove
	BlockMediumAndAbove = gemini.BlockMediumAndAbove
	BlockOnlyHigh       = gemini.BlockOnlyHigh
	BlockNone           = gemini.BlockNone
	Off                 = gemini.Off
	ModelDefault        = gemini.ModelDefault
)

// Options say what to call, and as whom.
type Options struct {
	// Project is the Google Cloud project that is billed.
	Project string
	// Location is a region such as us-central1, a multi-region such as eu, or global. That multi-regions answer over gRPC, at
	// the names that they have for HTTP, is a guess.
	Location string
	// Credentials are the caller's; nil means application default credentials.
	Credentials *auth.Credentials
	// REST is whether to call over REST instead of gRPC.
	REST bool
	// Endpoint is the host:port of a stand-in, which is called without TLS and without credentials. It is empty for Vertex AI.
	Endpoint string
	// Safety is the threshold of all categories of harm; BlockOnlyHigh when empty, whatever the model's own default is.
	Safety Threshold
}

// notice is part of what the SDK says whenever a client is opened: that it is deprecated, in three lines.
const notice = "cloud.google.com/go/vertexai/genai package is deprecated"

// Model implements llm.Model; it is safe for concurrent use.
type Model struct {
	client *sdk.Client
	rest   bool
	safety []*sdk.SafetySetting
	close  func() error
}

var _ llm.Model = (*Model)(nil)

// New checks the options and returns a Model. It gets no token, and waits for no connection: over gRPC one is opened in the
// background, since Google's dialler does so. Without Credentials it looks for application default credentials, which
// takes as long as the place where they are found.
func New(ctx context.Context, o Options) (*Model, error) {
	if err := gemini.CheckPlace(o.Project, o.Location); err != nil {
		return nil, fmt.Errorf("vertexai: %w", err)
	}
	if o.Endpoint != "" {
		if host, port, err := net.SplitHostPort(o.Endpoint); err != nil || host == "" || port == "" {
			return nil, errors.New("vertexai: the Endpoint of a stand-in must be like localhost:8085")
		}
	}
	if o.Safety == "" {
		o.Safety = gemini.DefaultThreshold
	}
	if err := o.Safety.Check(); err != nil {
		return nil, fmt.Errorf("vertexai: %w", err)
	}
	m := &Model{rest: o.REST, safety: safety(o.Safety)}
	var opts []option.ClientOption
	if o.REST {
		client, base, err := httpClient(o)
		if err != nil {
			return nil, fmt.Errorf("vertexai: %w", err)
		}
		address := "https://" + gemini.Host(o.Location)
		if o.Endpoint != "" {
			address = "http://" + o.Endpoint
		}
		opts = append(opts, sdk.WithREST(), option.WithHTTPClient(client), option.WithEndpoint(address))
		m.close = func() error { base.CloseIdleConnections(); return nil }
	} else {
		conn, err := connect(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("vertexai: %w", err)
		}
		// The SDK's two clients share the connection, and one is enough for all requests.
		opts = append(opts, option.WithGRPCConn(conn))
		m.close = conn.Close
	}
	var err error
	gemini.Quietly(func() { m.client, err = sdk.NewClient(ctx, o.Project, o.Location, opts...) }, notice)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("vertexai: %w", err), m.close())
	}
	return m, nil
}

// Close releases the connections. Calls that are under way fail.
func (m *Model) Close() error { return m.close() }

// safety translates a threshold. The SDK's constants are the numbers of the API.
func safety(t Threshold) []*sdk.SafetySetting {
	level, ok := map[Threshold]sdk.HarmBlockThreshold{
		BlockLowAndAbove: sdk.HarmBlockLowAndAbove, BlockMediumAndAbove: sdk.HarmBlockMediumAndAbove, BlockOnlyHigh: sdk.HarmBlockOnlyHigh,
		BlockNone: sdk.HarmBlockNone, Off: sdk.HarmBlockSafetysettingOff,
	}[t]
	if !ok {
		return nil
	}
	var out []*sdk.SafetySetting
	for _, c := range []sdk.HarmCategory{
		sdk.HarmCategoryHateSpeech, sdk.HarmCategoryDangerousContent, sdk.HarmCategoryHarassment, sdk.HarmCategorySexuallyExplicit,
	} {
		out = append(out, &sdk.SafetySetting{Category: c, Threshold: level})
	}
	return out
}

// Generate implements llm.Model.
func (m *Model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	chat, parts, err := m.chat(req)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, gemini.Ended(ctx, req.Model)
	}
	called, call := newCall(ctx)
	defer call.exchange.Close()
	_, err = chat.SendMessage(called, parts...)
	replies := call.take()
	if err != nil || len(replies) == 0 || !replies[0].Says() {
		return nil, m.failure(ctx, req, call, err, false)
	}
	a := gemini.NewAnswer(req)
	return a.Response(a.Add(replies[0]))
}

// Stream implements llm.Model. The finish reason is kept back until the server has ended the stream, because the usage may
// come after it.
func (m *Model) Stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) {
		chat, parts, err := m.chat(req)
		if err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		if ctx.Err() != nil {
			yield(llm.Chunk{}, gemini.Ended(ctx, req.Model))
			return
		}
		parent := ctx
		ctx, cancel := context.WithCancel(parent)
		called, call := newCall(ctx)
		stream := chat.SendMessageStream(called, parts...)
		defer func() {
			cancel()
			for err == nil { // until the SDK has seen that it is over; it has no other way to release a stream
				_, err = stream.Next()
			}
			call.exchange.Close()
		}()
		a := gemini.NewAnswer(req)
		for err == nil && parent.Err() == nil {
			_, err = stream.Next()
			for _, r := range call.take() {
				text := a.Add(r)
				if text != "" && !yield(llm.Chunk{Text: text, Model: a.Model, ID: a.ID}, nil) {
					return
				}
			}
		}
		if err := m.end(parent, req, a, call, err); err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		yield(a.Chunk, nil)
	}
}

// end judges how a stream ended. What breaks after the finish reason costs the usage, and not the answer.
func (m *Model) end(ctx context.Context, req llm.Request, a *gemini.Answer, call *call, err error) error {
	var e *llm.Error
	if ctx.Err() == nil && a.Finish != "" && !late(err) {
		e = a.Judge()
	} else {
		if errors.Is(err, iterator.Done) {
			err = nil
		}
		e = m.failure(ctx, req, call, err, true)
		e.Usage = a.Usage
	}
	if e == nil {
		return nil
	}
	return e
}

// failure gives a call that failed its kind; err is nil for a stream that ended too early, and the response of a whole
// answer that can't be read.
func (m *Model) failure(ctx context.Context, req llm.Request, call *call, err error, stream bool) *llm.Error {
	switch {
	case ctx.Err() != nil:
		return gemini.Ended(ctx, req.Model)
	case err == nil && stream && call.clean():
		return &llm.Error{Kind: llm.BrokenStream, Provider: gemini.Provider, Model: req.Model, Err: io.ErrUnexpectedEOF}
	case m.rest:
		return call.exchange.Failure(ctx, req.Model, err, stream)
	}
	return call.rpcFailure(req.Model, err, stream)
}

// chat translates a request: a conversation, and the parts that are said last in it. What is built belongs to one call.
func (m *Model) chat(req llm.Request) (*sdk.ChatSession, []sdk.Part, error) {
	p, err := gemini.NewPrompt(req)
	if err != nil {
		return nil, nil, err
	}
	model := m.client.GenerativeModel(req.Model)
	model.SafetySettings = m.safety
	if p.System != nil {
		model.SystemInstruction = &sdk.Content{Parts: parts(p.System)}
	}
	if req.Temperature != nil {
		model.SetTemperature(float32(*req.Temperature))
	}
	if req.MaxTokens > 0 {
		model.SetMaxOutputTokens(int32(min(req.MaxTokens, math.MaxInt32)))
	}
	for _, s := range req.Stop {
		model.StopSequences = append(model.StopSequences, strings.ToValidUTF8(s, "\uFFFD"))
	}
	chat := model.StartChat()
	last := len(p.Turns) - 1
	for _, t := range p.Turns[:last] {
		chat.History = append(chat.History, &sdk.Content{Role: t.Role, Parts: parts(t.Texts)})
	}
	return chat, parts(p.Turns[last].Texts), nil
}

func parts(texts []string) []sdk.Part {
	out := make([]sdk.Part, len(texts))
	for i, t := range texts {
		out[i] = sdk.Text(t)
	}
	return out
}
