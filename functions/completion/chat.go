package completion

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// ChatRequest is the body of POST /v1/chat/completions, as documented at
// https://platform.openai.com/docs/api-reference/chat/create. Fields that only hint at sampling or bookkeeping are taken
// and have no effect. Fields that would change the form of the answer, or what it is made of, are refused unless they ask for
// the plain one. Every field that the official client can send is one or the other; null is as good as absent. A field that
// OpenAI does not know is refused, since it is a mistake of the caller's as a rule.
type ChatRequest struct {
	Model               string        `json:"model"`
	Messages            []chatMessage `json:"messages"`
	MaxTokens           int           `json:"max_tokens"`
	MaxCompletionTokens int           `json:"max_completion_tokens"`
	Temperature         *float64      `json:"temperature"`
	Stop                stopStrings   `json:"stop"`
	Stream              bool          `json:"stream"`
	StreamOptions       struct {
		IncludeUsage       bool `json:"include_usage"`
		IncludeObfuscation bool `json:"include_obfuscation"`
	} `json:"stream_options"`

	// Refused unless they ask for what we do anyway.
	N              *int `json:"n"`
	Logprobs       bool `json:"logprobs"`
	ResponseFormat struct {
		Type   string          `json:"type"`
		Schema json.RawMessage `json:"json_schema"`
	} `json:"response_format"`
	Tools        []json.RawMessage  `json:"tools"`
	ToolChoice   optional           `json:"tool_choice"`
	Functions    []json.RawMessage  `json:"functions"`
	FunctionCall optional           `json:"function_call"`
	Modalities   []string           `json:"modalities"`
	Audio        optional           `json:"audio"`
	TopLogprobs  int                `json:"top_logprobs"`
	LogitBias    map[string]float64 `json:"logit_bias"`
	WebSearch    optional           `json:"web_search_options"`
	Moderation   optional           `json:"moderation"`

	// Taken without effect.
	TopP              *float64          `json:"top_p"`
	PresencePenalty   *float64          `json:"presence_penalty"`
	FrequencyPenalty  *float64          `json:"frequency_penalty"`
	Seed              *int64            `json:"seed"`
	User              string            `json:"user"`
	SafetyIdentifier  string            `json:"safety_identifier"`
	PromptCacheKey    string            `json:"prompt_cache_key"`
	CacheRetention    string            `json:"prompt_cache_retention"`
	CacheOptions      optional          `json:"prompt_cache_options"`
	Prediction        optional          `json:"prediction"`
	Metadata          map[string]string `json:"metadata"`
	Store             bool              `json:"store"`
	ServiceTier       string            `json:"service_tier"`
	ReasoningEffort   string            `json:"reasoning_effort"`
	Verbosity         string            `json:"verbosity"`
	ParallelToolCalls bool              `json:"parallel_tool_calls"`

	offers func(model string) bool
}

// chatMessage is a message whose content is a string, or an array of text parts.
type chatMessage struct {
	Role    string
	Content string
}

// UnmarshalJSON accepts both forms of content, and null.
func (m *chatMessage) UnmarshalJSON(data []byte) error {
	var wire struct {
		Role    string         `json:"role"`
		Content jsontext.Value `json:"content"`
		Name    string         `json:"name"`
	}
	if err := jsonv2.Unmarshal(data, &wire); err != nil {
		return errors.New("holds something that is not a message with a role and a content")
	}
	m.Role = wire.Role
	switch wire.Content.Kind() {
	case jsontext.KindInvalid, jsontext.KindNull:
		return nil
	case jsontext.KindString:
		return jsonv2.Unmarshal(wire.Content, &m.Content)
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := jsonv2.Unmarshal(wire.Content, &parts); err != nil {
		return errors.New("holds a content that is neither a string nor an array of parts")
	}
	var text []string
	for _, p := range parts {
		if p.Type != "text" {
			return errors.New("holds a part that is not text; only text is supported")
		}
		text = append(text, p.Text)
	}
	m.Content = strings.Join(text, "\n")
	return nil
}

// optional is a value of which it only matters whether it is there; null is not.
type optional json.RawMessage

// UnmarshalJSON takes anything.
func (o *optional) UnmarshalJSON(data []byte) error {
	*o = append((*o)[:0], data...)
	return nil
}

func (o optional) given() bool { return len(o) > 0 && string(o) != "null" }

// oneOf is whether the value is one of the given words.
func (o optional) oneOf(words ...string) bool {
	var word string
	return json.Unmarshal(o, &word) == nil && slices.Contains(words, word)
}

// stopStrings is one string, or an array of them.
type stopStrings []string

// UnmarshalJSON accepts both forms, and null.
func (s *stopStrings) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		if one != "" {
			*s = stopStrings{one}
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return errors.New("must be a string or an array of strings")
	}
	*s = many
	return nil
}

// Validate implements httpjson.Validator.
func (r *ChatRequest) Validate() (bad []httpjson.FieldError) {
	add := func(field, detail string) { bad = append(bad, httpjson.FieldError{Field: field, Detail: detail}) }
	if len(r.Messages) == 0 {
		add("messages", "is required")
	}
	bad = append(bad, checkMessages(r.messages())...)
	bad = append(bad, checkSampling("max_tokens", r.MaxTokens, r.Temperature)...)
	bad = append(bad, checkSampling("max_completion_tokens", r.MaxCompletionTokens, nil)...)
	if r.Model != "" && !r.offers(r.Model) {
		add("model", "is not a tier (economy, standard, quality) or a model on offer")
	}
	if len(r.Stop) > 4 {
		add("stop", "holds more than 4 strings")
	}
	if r.N != nil && *r.N != 1 {
		add("n", "only 1 is supported")
	}
	if r.Logprobs {
		add("logprobs", "is not supported")
	}
	if t := r.ResponseFormat.Type; t != "" && t != "text" {
		add("response_format", "only text is supported")
	}
	if len(r.Tools) > 0 {
		add("tools", "is not supported")
	}
	if len(r.Functions) > 0 {
		add("functions", "is not supported")
	}
	for _, f := range []struct {
		name  string
		asked bool
	}{
		{"audio", r.Audio.given()}, {"logit_bias", len(r.LogitBias) > 0}, {"moderation", r.Moderation.given()},
		{"top_logprobs", r.TopLogprobs != 0}, {"web_search_options", r.WebSearch.given()},
		// Without tools there is nothing to choose from, and so nothing to refuse, unless one must be called.
		{"function_call", r.FunctionCall.given() && !r.FunctionCall.oneOf("none", "auto")},
		{"tool_choice", r.ToolChoice.given() && !r.ToolChoice.oneOf("none", "auto")},
	} {
		if f.asked {
			add(f.name, "is not supported")
		}
	}
	for _, m := range r.Modalities {
		if m != "text" {
			add("modalities", "only text is supported")
			break
		}
	}
	return bad
}

// messages translates the roles: developer is OpenAI's newer word for system.
func (r *ChatRequest) messages() []llm.Message {
	messages := make([]llm.Message, len(r.Messages))
	for i, m := range r.Messages {
		role := llm.Role(m.Role)
		if m.Role == "developer" {
			role = llm.System
		}
		messages[i] = llm.Message{Role: role, Content: m.Content}
	}
	return messages
}

func (r *ChatRequest) call() llm.Request {
	return llm.Request{
		Type: llm.Chat, Messages: r.messages(), MaxTokens: max(r.MaxTokens, r.MaxCompletionTokens),
		Temperature: r.Temperature, Stop: r.Stop,
	}
}

// The wire forms of an answer; see https://platform.openai.com/docs/api-reference/chat/object and …/chat/streaming.
type (
	chatCompletion struct {
		ID      string       `json:"id"`
		Object  string       `json:"object"`
		Created int64        `json:"created"`
		Model   string       `json:"model"`
		Choices []chatChoice `json:"choices"`
		Usage   *chatUsage   `json:"usage,omitempty"`
	}
	chatChoice struct {
		Index   int           `json:"index"`
		Message *chatContent  `json:"message,omitempty"`
		Delta   *chatContent  `json:"delta,omitempty"`
		Logs    *struct{}     `json:"logprobs"`
		Finish  *finishReason `json:"finish_reason"`
	}
	chatContent struct {
		Role    string  `json:"role,omitempty"`
		Content *string `json:"content,omitempty"`
		// Refusal is present, as null, in whole messages only.
		Refusal json.RawMessage `json:"refusal,omitempty"`
	}
	finishReason = llm.FinishReason
	chatUsage    struct {
		Prompt        int `json:"prompt_tokens"`
		Completion    int `json:"completion_tokens"`
		Total         int `json:"total_tokens"`
		PromptDetails struct {
			Cached int `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
		CompletionDetails struct {
			Reasoning int `json:"reasoning_tokens"`
		} `json:"completion_tokens_details"`
	}
)

func usageOf(u *llm.Usage) *chatUsage {
	if u == nil {
		return nil
	}
	out := &chatUsage{Prompt: u.InputTokens, Completion: u.OutputTokens, Total: u.Total()}
	out.PromptDetails.Cached = u.CachedTokens
	out.CompletionDetails.Reasoning = u.ReasoningTokens
	return out
}

// chatFormat writes the answers of POST /v1/chat/completions. What OpenAI's form has no place for goes into headers that
// begin with Lrcp-, on whole answers.
type chatFormat struct {
	requestID    string
	created      int64
	includeUsage bool
}

func newChatFormat(call gateway.Call, req ChatRequest) chatFormat {
	return chatFormat{requestID: call.RequestID, created: call.Start.Unix(), includeUsage: req.StreamOptions.IncludeUsage}
}

func (f chatFormat) whole(_ context.Context, w http.ResponseWriter, e *telemetry.Exchange) {
	h := w.Header()
	h.Set("Lrcp-Provider", e.Provider)
	h.Set("Lrcp-Cached", strconv.FormatBool(e.Cached()))
	for _, o := range e.Overrides {
		h.Add("Lrcp-Override", o.ID)
	}
	doc := f.document("chat.completion", e.Model, chatChoice{
		Message: &chatContent{Role: string(llm.Assistant), Content: &e.Output, Refusal: json.RawMessage("null")}, Finish: &e.Finish,
	})
	doc.Usage = usageOf(e.Usage)
	httpjson.Write(w, http.StatusOK, doc)
}

func (f chatFormat) failed(w http.ResponseWriter, p *httpjson.Problem) {
	httpjson.WriteOpenAIError(w, p, f.requestID)
}

func (f chatFormat) first(p gateway.Piece) []byte {
	empty := ""
	return event("", f.chunk(p.Model, chatChoice{Delta: &chatContent{Role: string(llm.Assistant), Content: &empty}}))
}

func (f chatFormat) piece(p gateway.Piece) []byte {
	return event("", f.chunk(p.Model, chatChoice{Delta: &chatContent{Content: &p.Text}}))
}

func (f chatFormat) last(_ context.Context, e *telemetry.Exchange) []byte {
	out := event("", f.chunk(e.Model, chatChoice{Delta: &chatContent{}, Finish: &e.Finish}))
	if usage := usageOf(e.Usage); f.includeUsage && usage != nil {
		doc := f.chunk(e.Model)
		doc.Usage = usage
		out = append(out, event("", doc)...)
	}
	return append(out, "data: [DONE]\n\n"...)
}

func (f chatFormat) broken(p *httpjson.Problem) []byte {
	return event("", httpjson.OpenAIError(p))
}

func (f chatFormat) chunk(model string, choices ...chatChoice) chatCompletion {
	return f.document("chat.completion.chunk", model, choices...)
}

func (f chatFormat) document(object, model string, choices ...chatChoice) chatCompletion {
	if choices == nil {
		choices = []chatChoice{}
	}
	return chatCompletion{ID: "chatcmpl-" + f.requestID, Object: object, Created: f.created, Model: model, Choices: choices}
}
