// Package openai calls any server that speaks OpenAI's chat completions over HTTP: OpenAI itself, and most servers for
// open models. It translates between llm and that wire format and gives every failure its kind.
//
// It retries nothing, chooses nothing and reads no environment: the gateway and the mains do.
//
// The wire format is that of https://platform.openai.com/docs/api-reference/chat.
package openai

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/bounded"
)

// Provider is the provider's name in responses, telemetry and the catalogue, unless the options give another.
const Provider = "openai"

// DefaultBaseURL is that of OpenAI.
const DefaultBaseURL = "https://api.openai.com/v1"

// Options say which server to call.
type Options struct {
	// BaseURL is the address up to and without /chat/completions; DefaultBaseURL when empty.
	BaseURL string
	// APIKey is sent as bearer token; empty for a server that wants none.
	APIKey env.Secret
	// Transport makes the calls; nil is one of the model's own, whose connections are kept for later calls.
	Transport http.RoundTripper
	// Provider is the provider's name; Provider when empty.
	Provider string
}

// Model implements llm.Model; it is safe for concurrent use.
type Model struct {
	// opts are the SDK's for every call. A client of the SDK in a field would link all of its services.
	opts     []option.RequestOption
	provider string
	// completionTokens is set for OpenAI itself, whose reasoning models refuse max_tokens. Most other servers know nothing
	// else.
	completionTokens bool
}

var _ llm.Model = (*Model)(nil)

// New checks the options and returns a Model. It does not call the server.
func New(o Options) (*Model, error) {
	base := cmp.Or(o.BaseURL, DefaultBaseURL)
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("openai: the base URL must be like " + DefaultBaseURL)
	}
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64,
			TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		}
	}
	// A client with these options only; the SDK's constructor would add what it finds in the environment.
	opts := []option.RequestOption{option.WithBaseURL(base), option.WithHTTPClient(caller{bounded.Transport{Base: transport}}), option.WithMaxRetries(0)}
	if o.APIKey != "" {
		opts = append(opts, option.WithAPIKey(o.APIKey.Reveal()))
	}
	return &Model{
		opts:             opts,
		provider:         cmp.Or(o.Provider, Provider),
		completionTokens: u.Hostname() == "api.openai.com",
	}, nil
}

// Generate implements llm.Model.
func (m *Model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	var raw *http.Response
	var body []byte
	if err := m.execute(ctx, m.wire(req), &body, option.WithResponseInto(&raw)); err != nil {
		return nil, m.failure(ctx, req, raw, err, llm.ProviderFault)
	}
	var c completion
	if err := read(body, &c); err != nil {
		return nil, m.failure(ctx, req, raw, err, llm.ProviderFault)
	}
	if len(c.Choices) == 0 {
		if c.Error.Kind() != jsontext.KindInvalid && c.Error.Kind() != jsontext.KindNull {
			return nil, m.inBand(req, body, llm.ProviderFault)
		}
		return nil, &llm.Error{Kind: llm.ProviderFault, Provider: m.provider, Model: req.Model, Err: errors.New("the response holds no choice")}
	}
	a := answer{Chunk: llm.Chunk{Model: cmp.Or(c.Model, req.Model), ID: c.ID}}
	if c.Usage != nil {
		a.Usage = c.Usage.usage()
	}
	choice := c.Choices[0]
	a.add(choice.Message.Content, choice.Message.Refusal, cmp.Or(choice.FinishReason, "stop"))
	if err := m.judge(req, a); err != nil {
		return nil, err
	}
	return &llm.Response{Text: choice.Message.Content, Model: a.Model, Provider: m.provider, Finish: a.Finish, Usage: a.Usage, ID: a.ID}, nil
}

// execute has the SDK's client send a request and judge the response. Its types for bodies would cost more than all the rest of it.
func (m *Model) execute(ctx context.Context, body marshaled, into any, opts ...option.RequestOption) error {
	client := sdk.Client{Options: m.opts}
	return client.Execute(ctx, http.MethodPost, "chat/completions", body, into, opts...)
}

// Stream implements llm.Model. The finish reason is kept back until the server has ended the stream, because the usage
// comes after it.
func (m *Model) Stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) {
		parent := ctx
		ctx, cancel := context.WithCancel(parent)
		defer cancel()
		asked := m.wire(req)
		asked.Stream, asked.StreamOptions = true, &streamOptions{IncludeUsage: true}
		var raw *http.Response
		err := m.execute(ctx, asked, &raw, option.WithHeader("Accept", "text/event-stream"))
		stream := ssestream.NewStream[chunk](ssestream.NewDecoder(raw), err)
		// The body was read to its end or is given up: how closing it ends changes nothing.
		defer func() { _ = stream.Close() }()

		var a answer
		for parent.Err() == nil && stream.Next() {
			c := stream.Current()
			a.take(c)
			if len(c.Choices) == 0 {
				continue
			}
			choice := c.Choices[0]
			a.add(choice.Delta.Content, choice.Delta.Refusal, choice.FinishReason)
			if choice.Delta.Content == "" {
				continue
			}
			if !yield(llm.Chunk{Text: choice.Delta.Content, Model: a.Model, ID: a.ID}, nil) {
				return
			}
		}
		if err := m.end(parent, req, a, raw, stream); err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		yield(a.Chunk, nil)
	}
}

// end judges how a stream ended. What breaks after the finish reason costs the usage, and not the answer.
func (m *Model) end(ctx context.Context, req llm.Request, a answer, raw *http.Response, stream *ssestream.Stream[chunk]) error {
	var inBand *ssestream.StreamError
	switch err := stream.Err(); {
	case ctx.Err() != nil:
		return m.failure(ctx, req, raw, ctx.Err(), llm.Canceled)
	case a.Finish != "":
		return m.judge(req, a)
	case errors.As(err, &inBand):
		e := m.inBand(req, inBand.Event.Data, llm.BrokenStream)
		e.Usage = a.Usage
		return e
	case err != nil:
		e := m.failure(ctx, req, raw, err, brokenKind(raw, err))
		e.Usage = a.Usage
		return e
	case !a.begun && !eventStream(raw):
		err := fmt.Errorf("the response of type %q is no event stream", raw.Header.Get("Content-Type"))
		return &llm.Error{Kind: llm.ProviderFault, Provider: m.provider, Model: req.Model, Err: err}
	}
	return &llm.Error{Kind: llm.BrokenStream, Provider: m.provider, Model: req.Model, Usage: a.Usage, Err: io.ErrUnexpectedEOF}
}

// answer is what is known of an answer so far; its Chunk becomes the last one of a stream.
type answer struct {
	llm.Chunk
	// begun is set by the first event, spoken by the first text that is more than white space.
	begun, spoken, refused bool
	reason                 string
}

// take keeps what an event says of the whole answer.
func (a *answer) take(c chunk) {
	a.begun = true
	a.Model, a.ID = cmp.Or(c.Model, a.Model), cmp.Or(c.ID, a.ID)
	if c.Usage != nil {
		a.Usage = c.Usage.usage()
	}
}

// add keeps what a piece says. Of the reasons that are not llm's, a server that says it failed is judged later, and the
// rest, such as a tool call that nobody offered, count as an ordinary end.
func (a *answer) add(text, refusal, reason string) {
	a.spoken = a.spoken || strings.TrimSpace(text) != ""
	a.refused = a.refused || refusal != ""
	switch reason {
	case "":
		return
	case "length", "max_tokens":
		a.Finish = llm.FinishLength
	case "content_filter":
		a.Finish, a.refused = llm.FinishBlocked, true
	default:
		a.Finish = llm.FinishStop
	}
	a.reason = reason
}

// judge returns why an answer that came whole is none after all.
func (m *Model) judge(req llm.Request, a answer) error {
	e := &llm.Error{Provider: m.provider, Model: req.Model, Usage: a.Usage}
	switch {
	case a.reason == "error" || a.reason == "abort":
		e.Kind, e.Err = llm.ProviderFault, fmt.Errorf("the server gave up: finish reason %q", a.reason)
	case a.spoken:
		return nil
	case a.refused:
		e.Kind, e.Err = llm.Blocked, errors.New("the provider withheld the answer")
	default:
		e.Kind, e.Err = llm.Empty, fmt.Errorf("no text, finish reason %q", a.reason)
	}
	return e
}
