package completion

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/functions/internal/answer"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// The limits of what a request may ask for.
const (
	maxPrompt   = 400_000
	maxMessages = 1_000
	maxOutput   = 65_536
)

// Request is the body of POST /completion. Exactly one of Prompt and Messages is given.
type Request struct {
	Prompt      string        `json:"prompt"`
	Messages    []llm.Message `json:"messages"`
	MaxTokens   int           `json:"max_tokens"`
	Temperature *float64      `json:"temperature"`
	// Model is a tier or a model name; empty leaves the choice to the control plane.
	Model  string `json:"model"`
	Stream bool   `json:"stream"`

	offers func(model string) bool
}

// Validate implements httpjson.Validator.
func (r *Request) Validate() (bad []httpjson.FieldError) {
	add := func(field, detail string) { bad = append(bad, httpjson.FieldError{Field: field, Detail: detail}) }
	switch {
	case r.Prompt != "" && len(r.Messages) > 0:
		add("messages", "can't be given together with prompt")
	case len(r.Messages) == 0 && strings.TrimSpace(r.Prompt) == "":
		add("prompt", "is required, or else messages")
	}
	if utf8.RuneCountInString(r.Prompt) > maxPrompt {
		add("prompt", "is longer than 400000 characters")
	}
	bad = append(bad, checkMessages(r.Messages)...)
	bad = append(bad, checkSampling("max_tokens", r.MaxTokens, r.Temperature)...)
	if r.Model != "" && !r.offers(r.Model) {
		add("model", "is not a tier (economy, standard, quality) or a model on offer")
	}
	return bad
}

func checkMessages(messages []llm.Message) (bad []httpjson.FieldError) {
	if len(messages) == 0 {
		return nil
	}
	add := func(detail string) { bad = append(bad, httpjson.FieldError{Field: "messages", Detail: detail}) }
	if len(messages) > maxMessages {
		add("holds more than 1000 messages")
	}
	chars, fromUser := 0, false
	for _, m := range messages {
		switch m.Role {
		case llm.User:
			fromUser = fromUser || strings.TrimSpace(m.Content) != ""
		case llm.System, llm.Assistant:
		default:
			add("holds a role that is not system, user or assistant")
			return bad
		}
		chars += utf8.RuneCountInString(m.Content)
	}
	if !fromUser {
		add("holds no text of role user")
	}
	if chars > maxPrompt {
		add("holds more than 400000 characters")
	}
	return bad
}

func checkSampling(field string, maxTokens int, temperature *float64) (bad []httpjson.FieldError) {
	if maxTokens < 0 || maxTokens > maxOutput {
		bad = append(bad, httpjson.FieldError{Field: field, Detail: "must be 1 to 65536"})
	}
	if temperature != nil && !(*temperature >= 0 && *temperature <= 2) {
		bad = append(bad, httpjson.FieldError{Field: "temperature", Detail: "must be 0 to 2"})
	}
	return bad
}

func (r *Request) call() llm.Request {
	messages := r.Messages
	if len(messages) == 0 {
		messages = []llm.Message{{Role: llm.User, Content: r.Prompt}}
	}
	return llm.Request{Type: llm.Completion, Messages: messages, MaxTokens: r.MaxTokens, Temperature: r.Temperature}
}

// Response is the answer to POST /completion.
type Response struct {
	Completion   string           `json:"completion"`
	FinishReason llm.FinishReason `json:"finish_reason"`
	Metadata     answer.Metadata  `json:"metadata"`
}

// plainFormat writes the answers of POST /completion. Its stream has events without a name that hold {"text"}, then one
// named "done" that holds {"finish_reason","metadata"}, or one named "error" that holds a problem.
type plainFormat struct{ requestID string }

func (plainFormat) whole(ctx context.Context, w http.ResponseWriter, e *telemetry.Exchange) {
	httpjson.Write(w, http.StatusOK, Response{e.Output, e.Finish, answer.Describe(ctx, e)})
}

func (f plainFormat) failed(w http.ResponseWriter, p *httpjson.Problem) {
	httpjson.WriteProblem(w, p, f.requestID)
}

func (plainFormat) first(gateway.Piece) []byte { return nil }

func (plainFormat) piece(p gateway.Piece) []byte {
	return event("", struct {
		Text string `json:"text"`
	}{p.Text})
}

func (plainFormat) last(ctx context.Context, e *telemetry.Exchange) []byte {
	return event("done", struct {
		FinishReason llm.FinishReason `json:"finish_reason"`
		Metadata     answer.Metadata  `json:"metadata"`
	}{e.Finish, answer.Describe(ctx, e)})
}

func (f plainFormat) broken(p *httpjson.Problem) []byte {
	return event("error", p.Document(f.requestID))
}

// event encodes one server-sent event.
func event(name string, data any) []byte {
	body, err := json.Marshal(data)
	if err != nil {
		// Every event is a struct of plain values, so this is a defect of ours; the stream must still not end cleanly.
		name, body = "error", []byte(`{"status":500,"title":"Internal Server Error"}`)
	}
	var out []byte
	if name != "" {
		out = append(out, "event: "+name+"\n"...)
	}
	out = append(out, "data: "...)
	out = append(out, body...)
	return append(out, "\n\n"...)
}
