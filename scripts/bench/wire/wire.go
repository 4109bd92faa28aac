// Package wire is what the mock says and the load generator expects: one text, in OpenAI's form. Both import it, so that
// an answer can be checked to the byte.
package wire

import (
	"encoding/json"
	"strings"
	"time"
)

// Mode is how the mock answers.
type Mode struct {
	// Delay is the time before the answer, or its first frame.
	Delay time.Duration `json:"delay"`
	// Between is the time between the frames of a stream.
	Between time.Duration `json:"between"`
	// Large makes whole answers 10 KB, instead of 200 bytes, of text.
	Large bool `json:"large"`
}

// The sizes of the texts in bytes. A stream's text is Frames times word.
const (
	Small  = 200
	Large  = 10_000
	Frames = 64
)

// The usage that every answer reports.
const (
	PromptTokens     = 27
	CompletionTokens = 64
	TotalTokens      = PromptTokens + CompletionTokens
)

const (
	model    = "bench"
	sentence = "The review of the contract ended on a calm day and both sides agreed that the notice period is thirty days. "
	word     = "thirty days "
)

// Text returns n bytes of prose without a character that JSON escapes.
func Text(n int) string {
	return strings.Repeat(sentence, n/len(sentence)+1)[:n-1] + "."
}

// StreamText is the text of all frames of a stream.
func StreamText() string { return strings.Repeat(word, Frames) }

// Request returns the body of a request.
func Request(stream bool) []byte {
	body := map[string]any{
		"model": model, "max_tokens": 4096,
		"messages": []map[string]string{
			{"role": "system", "content": "You answer questions about contracts in plain words."},
			{"role": "user", "content": "When did the review of the contract end, and how long is the notice period?"},
		},
	}
	if stream {
		body["stream"], body["stream_options"] = true, map[string]bool{"include_usage": true}
	}
	return marshal(body)
}

type object = map[string]any

func usage() object {
	return object{"prompt_tokens": PromptTokens, "completion_tokens": CompletionTokens, "total_tokens": TotalTokens}
}

// Completion returns a whole answer with a text of n bytes.
func Completion(n int) []byte {
	return marshal(object{
		"id": "chatcmpl-bench", "object": "chat.completion", "created": 1764000000, "model": model,
		"choices": []object{{"index": 0, "message": object{"role": "assistant", "content": Text(n)}, "finish_reason": "stop"}},
		"usage":   usage(),
	})
}

// Stream returns the frames of a stream: those with text, then the finish reason, the usage, and the end.
func Stream() [][]byte {
	chunk := func(choices []object, extra object) []byte {
		doc := object{"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1764000000, "model": model, "choices": choices}
		for key, value := range extra {
			doc[key] = value
		}
		return append(append([]byte("data: "), marshal(doc)...), "\n\n"...)
	}
	var frames [][]byte
	for i := range Frames {
		delta := object{"content": word}
		if i == 0 {
			delta["role"] = "assistant"
		}
		frames = append(frames, chunk([]object{{"index": 0, "delta": delta, "finish_reason": nil}}, nil))
	}
	return append(frames,
		chunk([]object{{"index": 0, "delta": object{}, "finish_reason": "stop"}}, nil),
		chunk([]object{}, object{"usage": usage()}),
		[]byte("data: [DONE]\n\n"))
}

// marshal is for maps of plain values, which marshal.
func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
