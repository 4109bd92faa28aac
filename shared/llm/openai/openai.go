// Package openai calls any server that speaks OpenAI's chat completions over HTTP: OpenAI itself, and most servers for
// open models. It translates between llm and that wire format and gives every failure its kind.
//
// It retries nothing, chooses nothing and reads no environment: the gateway and the mains do.
//
// The wire format is that of https://platform.openai.com/docs/api-reference/chat.
package openai

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

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
	transport http.RoundTripper
	// url and authorization are those of every call; authorization is empty for a server that wants none.
	url, authorization string
	provider           string
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
	m := &Model{
		transport:        bounded.Transport{Base: transport},
		url:              u.JoinPath("chat/completions").String(),
		provider:         cmp.Or(o.Provider, Provider),
		completionTokens: u.Hostname() == "api.openai.com",
	}
	if o.APIKey != "" {
		m.authorization = "Bearer " + o.APIKey.Reveal()
	}
	return m, nil
}

// Generate implements llm.Model.
func (m *Model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	resp, err := m.post(ctx, req, m.wire(req))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, m.failure(ctx, req, fmt.Errorf("read response: %w", err), llm.ProviderFault)
	}
	var c completion
	if err := read(body, &c); err != nil {
		return nil, m.failure(ctx, req, fmt.Errorf("read response: %w", err), llm.ProviderFault)
	}
	if len(c.Choices) == 0 {
		if given(c.Error) {
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

// post sends a call and returns the response of a server that took it, whose body the caller closes. It follows nowhere: a server that
// points elsewhere is not sent what callers wrote, nor the key.
//
// The SDK's client is not used: with types of ours for the bodies it only set headers, for a fifth of what a call costs.
func (m *Model) post(ctx context.Context, req llm.Request, asked wireRequest) (*http.Response, error) {
	body, err := json.Marshal(asked)
	if err != nil {
		return nil, m.failure(ctx, req, fmt.Errorf("write request: %w", err), llm.InvalidRequest)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(body))
	if err != nil {
		return nil, m.failure(ctx, req, err, llm.InvalidRequest)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if asked.Stream {
		r.Header.Set("Accept", "text/event-stream")
	}
	if m.authorization != "" {
		r.Header.Set("Authorization", m.authorization)
	}
	resp, err := m.transport.RoundTrip(r)
	switch {
	case err != nil:
		return nil, m.failure(ctx, req, err, llm.ProviderFault)
	case resp.StatusCode >= http.StatusBadRequest:
		defer resp.Body.Close()
		return nil, m.refusal(ctx, req, resp)
	case resp.StatusCode >= http.StatusMultipleChoices:
		err := fmt.Errorf("status %d: the server sends its callers elsewhere", resp.StatusCode)
		return nil, m.failure(ctx, req, errors.Join(err, resp.Body.Close()), llm.ProviderFault)
	}
	return resp, nil
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
		resp, err := m.post(ctx, req, asked)
		if err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		defer resp.Body.Close()

		var a answer
		events := ssestream.NewDecoder(resp)
		for parent.Err() == nil && events.Next() {
			data := events.Event().Data
			if bytes.HasPrefix(data, []byte("[DONE]")) {
				finish(resp.Body, cancel)
				break
			}
			var c chunk
			if err = read(data, &c); err != nil {
				err = fmt.Errorf("read event: %w", err)
				break
			}
			if given(c.Error) {
				err = m.inBand(req, data, llm.BrokenStream)
				break
			}
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
		if err := m.end(parent, req, a, resp, cmp.Or(err, events.Err())); err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		yield(a.Chunk, nil)
	}
}

// finish reads what comes after the last event, which is nothing but the end: without it, net/http does not keep the connection. A server
// that does not end its response soon loses it.
func finish(body io.Reader, cancel context.CancelFunc) {
	const soon = 50 * time.Millisecond
	defer time.AfterFunc(soon, cancel).Stop()
	// The answer is there; how this ends changes nothing.
	_, _ = io.Copy(io.Discard, body)
}

// end judges how a stream ended, with which error if any. What breaks after the finish reason costs the usage, and not the answer.
func (m *Model) end(ctx context.Context, req llm.Request, a answer, resp *http.Response, err error) error {
	var e *llm.Error
	switch {
	case ctx.Err() != nil:
		return m.failure(ctx, req, ctx.Err(), llm.Canceled)
	case a.Finish != "":
		return m.judge(req, a)
	case errors.As(err, &e):
	case err != nil:
		e = m.failure(ctx, req, err, brokenKind(err))
	case !a.begun && !eventStream(resp):
		e = m.failure(ctx, req, fmt.Errorf("the response of type %q is no event stream", resp.Header.Get("Content-Type")), llm.ProviderFault)
	default:
		e = m.failure(ctx, req, io.ErrUnexpectedEOF, llm.BrokenStream)
	}
	e.Usage = a.Usage
	return e
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
