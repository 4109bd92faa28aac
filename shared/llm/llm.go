// Package llm holds the words that the whole system speaks: a request to a language model, its response or stream,
// the usage that is billed, the typed error, and the Model interface that every provider adapter implements.
//
// It is not a client: adapters live in subpackages named for their provider, and retries, fallback, caching and
// telemetry belong to the gateway.
package llm

import (
	"context"
	"iter"
)

// Role says who wrote a message.
type Role string

// The roles that a Message can have.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is one turn of the conversation that is sent to a model.
type Message struct {
	Role    Role   `json:"role"`
	Content string `json:"content"`
}

// RequestType says which kind of work a request is; it is a metric tag, so the set is closed.
type RequestType string

// The request types.
const (
	QA         RequestType = "qa"
	Completion RequestType = "completion"
	Chat       RequestType = "chat"
)

// Request is one call of a model. It is a value: adapters must not change what its slices hold.
type Request struct {
	Type RequestType
	// Model is the provider's own name of the model to call, already resolved from a tier or an alias.
	Model    string
	Messages []Message
	// Question and Document are set for question answering. Messages carry them too, as a prompt; they stand here
	// by themselves for retrieval spans, quality signals and models that rank sentences instead of reading prompts.
	Question string
	Document string
	// MaxTokens caps the output; 0 leaves the provider's default.
	MaxTokens int
	// Temperature is nil when the caller did not say.
	Temperature *float64
	// Stop lists the strings that end the output.
	Stop []string
}

// Usage is what a provider billed for one call, in tokens. A nil *Usage means that the provider did not say;
// a zero field means none.
type Usage struct {
	// InputTokens counts the whole prompt, cached part included.
	InputTokens int `json:"input_tokens"`
	// OutputTokens counts everything billed as output, reasoning included.
	OutputTokens int `json:"output_tokens"`
	// CachedTokens is the part of InputTokens that the provider read from its own prompt cache.
	CachedTokens int `json:"cached_tokens,omitempty"`
	// ReasoningTokens is the part of OutputTokens that the caller never sees.
	ReasoningTokens int `json:"reasoning_tokens,omitempty"`
}

// Total is the sum of input and output tokens.
func (u Usage) Total() int { return u.InputTokens + u.OutputTokens }

// Add returns the sum of two usages, field by field.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		InputTokens:     u.InputTokens + v.InputTokens,
		OutputTokens:    u.OutputTokens + v.OutputTokens,
		CachedTokens:    u.CachedTokens + v.CachedTokens,
		ReasoningTokens: u.ReasoningTokens + v.ReasoningTokens,
	}
}

// FinishReason says why a model stopped.
type FinishReason string

// The finish reasons, named as in the OpenAI wire format.
const (
	FinishStop    FinishReason = "stop"
	FinishLength  FinishReason = "length"
	FinishBlocked FinishReason = "content_filter"
)

// Response is a complete answer.
type Response struct {
	Text string
	// Model is the name that the provider says it served, with its version where it tells one.
	Model    string
	Provider string
	Finish   FinishReason
	// Usage is nil when the provider did not report it.
	Usage *Usage
	// ID is the provider's own identifier of the response, empty when it gave none.
	ID string
}

// Chunk is one piece of a streamed answer. Text may be empty. The last chunk of a complete stream has a Finish
// reason; Usage stands in the last chunk, where the provider reports it.
type Chunk struct {
	Text   string
	Finish FinishReason
	Usage  *Usage
	Model  string
	ID     string
}

// Model calls one provider.
//
// The contract, enforced for every implementation by llmtest.Conformance:
//
//   - Both methods honour ctx: they return soon after it ends, with an *Error of kind Canceled or Timeout.
//   - Every error is an *Error, whose Kind tells the caller what to do next.
//   - Generate never returns a nil Response with a nil error, and never an empty Text with Finish "stop":
//     an answer without text is an *Error of kind Empty.
//   - Stream yields chunks until one carries a Finish reason, and then stops. A stream that ends before that yields
//     an *Error of kind BrokenStream as its last pair. After an error nothing more is yielded.
//   - When the consumer breaks out of the loop, the upstream call is cancelled and everything is released before the
//     range statement ends.
//   - Implementations are safe for concurrent use, do no retries of their own, and keep no goroutine after a call.
type Model interface {
	Generate(ctx context.Context, req Request) (*Response, error)
	Stream(ctx context.Context, req Request) iter.Seq2[Chunk, error]
}
