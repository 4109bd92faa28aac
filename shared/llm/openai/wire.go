package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// The bodies of a call, as far as they are used. The SDK's own types for them keep every field twice, as a
// value and as it came, which takes longer than all the rest of a call.

// completion is what is read of a whole answer.
type completion struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Choices []struct {
		Message struct {
			Content string `json:"content"`
			Refusal string `json:"refusal"`
		} `json:"message"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *wireUsage     `json:"usage"`
	Error jsontext.Value `json:"error"`
}

type wireUsage struct {
	Prompt        int64 `json:"prompt_tokens"`
	Completion    int64 `json:"completion_tokens"`
	PromptDetails struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		Reasoning int64 `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

// usage translates a usage. A part that is larger than its sum is cut to it: the cost is computed from the difference.
func (w wireUsage) usage() *llm.Usage {
	in, out := max(0, w.Prompt), max(0, w.Completion)
	return &llm.Usage{
		InputTokens: int(in), OutputTokens: int(out),
		CachedTokens:    int(min(in, max(0, w.PromptDetails.Cached))),
		ReasoningTokens: int(min(out, max(0, w.CompletionDetails.Reasoning))),
	}
}

// chunk is what is read of an event of a stream.
type chunk struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
			Refusal string `json:"refusal"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *wireUsage `json:"usage"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *chunk) UnmarshalJSON(data []byte) error {
	type plain chunk
	return read(data, (*plain)(c))
}

// read takes what servers send: they are many, and some are careless.
func read(data []byte, into any) error {
	return jsonv2.Unmarshal(data, into, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// wireRequest is the body of a request. It marshals itself only once, so that the SDK does not check the JSON anew.
type wireRequest struct {
	Model               string        `json:"model"`
	Messages            []wireMessage `json:"messages"`
	MaxTokens           int           `json:"max_tokens,omitempty"`
	MaxCompletionTokens int           `json:"max_completion_tokens,omitempty"`
	Temperature         *float64      `json:"temperature,omitempty"`
	Stop                []string      `json:"stop,omitempty"`
	// Those of a call that is streamed.
	Stream        bool           `json:"stream,omitempty"`
	StreamOptions *streamOptions `json:"stream_options,omitempty"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type wireMessage struct {
	Role    llm.Role `json:"role"`
	Content string   `json:"content"`
}

// marshaled is what the SDK sends as it is.
type marshaled struct{ wireRequest }

// MarshalJSON implements json.Marshaler.
func (m marshaled) MarshalJSON() ([]byte, error) { return json.Marshal(m.wireRequest) }

func (m *Model) wire(req llm.Request) marshaled {
	w := wireRequest{Model: req.Model, Messages: make([]wireMessage, len(req.Messages)), Temperature: req.Temperature, Stop: req.Stop}
	for i, msg := range req.Messages {
		role := msg.Role
		if role != llm.System && role != llm.Assistant {
			role = llm.User
		}
		w.Messages[i] = wireMessage{role, msg.Content}
	}
	if m.completionTokens {
		w.MaxCompletionTokens = req.MaxTokens
	} else {
		w.MaxTokens = req.MaxTokens
	}
	return marshaled{w}
}

// caller makes one call, and follows nowhere: a server that points elsewhere is not sent what callers wrote, nor the key. It sends a
// request's head and body together, which saves a server a second read: the SDK hides from net/http that the body is in memory,
// and of what could be slow to come the head is sent first.
type caller struct{ transport http.RoundTripper }

// Do implements the SDK's HTTPClient.
func (c caller) Do(r *http.Request) (*http.Response, error) {
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		_ = r.Body.Close() // nothing was read of it, and it is memory
		r.Body = body
	}
	resp, err := c.transport.RoundTrip(r)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		// The SDK takes anything below 400 for an answer.
		return nil, errors.Join(fmt.Errorf("status %d: the server sends its callers elsewhere", resp.StatusCode), resp.Body.Close())
	}
	return resp, err
}
