package openai

import (
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// The bodies of a call, as far as they are used. The official SDK's types for them keep every field twice, as a
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
	Usage *wireUsage     `json:"usage"`
	Error jsontext.Value `json:"error"`
}

// given is whether a value is there, and not null.
func given(v jsontext.Value) bool {
	return v.Kind() != jsontext.KindInvalid && v.Kind() != jsontext.KindNull
}

// read takes what servers send: they are many, and some are careless.
func read(data []byte, into any) error {
	return jsonv2.Unmarshal(data, into, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// wireRequest is the body of a request.
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

func (m *Model) wire(req llm.Request) wireRequest {
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
	return w
}
