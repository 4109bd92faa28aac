// Package gemini is what the adapters for Gemini on Vertex AI share: how a request becomes contents and a system
// instruction, what finish reasons and token counts mean, which kind a failure has, and what is kept of an HTTP call
// beside what an SDK tells of it.
//
// It is no client and imports no SDK: shared/llm/vertexai and shared/llm/genai call one each, and give their replies to
// an Answer here.
package gemini

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// Provider is the provider's name in responses, telemetry and the catalogue.
const Provider = "google"

// Reply is a whole answer, or one piece of a stream: the part of GenerateContentResponse that is used, in its JSON.
type Reply struct {
	Candidates     []Candidate     `json:"candidates"`
	PromptFeedback *PromptFeedback `json:"promptFeedback"`
	Usage          *Usage          `json:"usageMetadata"`
	ModelVersion   string          `json:"modelVersion"`
	ResponseID     string          `json:"responseId"`
}

// Says is whether there is anything in a reply that an answer could have: what is no answer at all reads as an empty one.
func (r Reply) Says() bool {
	return len(r.Candidates) > 0 || r.PromptFeedback != nil || r.Usage != nil
}

// Candidate is one of the answers; one is asked for.
type Candidate struct {
	Content struct {
		Parts []Part `json:"parts"`
	} `json:"content"`
	FinishReason Reason `json:"finishReason"`
}

// Part is a piece of an answer's content. A thought is no part of the text, and what is neither is nothing that was asked
// for.
type Part struct {
	Text    string `json:"text"`
	Thought bool   `json:"thought"`
}

// PromptFeedback says why a prompt was refused.
type PromptFeedback struct {
	BlockReason Reason `json:"blockReason"`
}

// Usage is what a call consumed, in tokens. Candidates leave thoughts out.
type Usage struct {
	Prompt        int `json:"promptTokenCount"`
	Cached        int `json:"cachedContentTokenCount"`
	ToolUsePrompt int `json:"toolUsePromptTokenCount"`
	Candidates    int `json:"candidatesTokenCount"`
	Thoughts      int `json:"thoughtsTokenCount"`
}

// Reason is a finish reason or a block reason: a name, or its number where a client asks for those.
type Reason string

// UnmarshalJSON implements json.Unmarshaler.
func (r *Reason) UnmarshalJSON(data []byte) error {
	if n, err := strconv.Atoi(string(data)); err == nil {
		*r = Reason(strconv.Itoa(n))
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("a reason is a name or a number: %w", err)
	}
	*r = Reason(s)
	return nil
}

// finishReasons are the names behind the numbers of google.cloud.aiplatform.v1beta1.Candidate.FinishReason.
var finishReasons = [...]Reason{
	"", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL",
	"MODEL_ARMOR",
}

// blockReasons are those of GenerateContentResponse.PromptFeedback.BlockedReason.
var blockReasons = [...]Reason{"", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "MODEL_ARMOR"}

// named returns the name of a reason; empty for one that says nothing.
func (r Reason) named(names []Reason) Reason {
	if n, err := strconv.Atoi(string(r)); err == nil && n >= 0 && n < len(names) {
		return names[n]
	}
	if strings.HasSuffix(string(r), "_UNSPECIFIED") {
		return ""
	}
	return r
}

// finish is what a finish reason means to callers. Of the reasons that are not llm's, those of filters are one, and the
// rest, such as a malformed call of a tool that nobody offered, count as an ordinary end: whether there is text decides.
func (r Reason) finish() llm.FinishReason {
	switch r {
	case "":
		return ""
	case "MAX_TOKENS", "CONTINUATION":
		return llm.FinishLength
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return llm.FinishBlocked
	}
	return llm.FinishStop
}

// Answer is what is known of an answer so far; its Chunk becomes the last one of a stream.
type Answer struct {
	llm.Chunk
	// spoken is set by the first text that is more than white space.
	spoken bool
	reason Reason
	model  string
}

// NewAnswer begins the answer to a request.
func NewAnswer(req llm.Request) *Answer {
	return &Answer{Chunk: llm.Chunk{Model: req.Model}, model: req.Model}
}

// Add keeps what a reply says and returns its text.
func (a *Answer) Add(r Reply) string {
	a.Model, a.ID = cmp.Or(r.ModelVersion, a.Model), cmp.Or(r.ResponseID, a.ID)
	// Pieces before the last may hold a usage that counts nothing.
	if r.Usage != nil && *r.Usage != (Usage{}) {
		a.Usage = r.Usage.tokens()
	}
	if r.PromptFeedback != nil {
		if why := r.PromptFeedback.BlockReason.named(blockReasons[:]); why != "" {
			a.Finish, a.reason = llm.FinishBlocked, why
		}
	}
	if len(r.Candidates) == 0 {
		return ""
	}
	c := r.Candidates[0]
	var text strings.Builder
	for _, p := range c.Content.Parts {
		if !p.Thought {
			text.WriteString(p.Text)
		}
	}
	a.spoken = a.spoken || strings.TrimSpace(text.String()) != ""
	if why := c.FinishReason.named(finishReasons[:]); why != "" {
		a.Finish, a.reason = why.finish(), why
	}
	return text.String()
}

// Judge returns why an answer that came whole is none after all, or nil.
func (a *Answer) Judge() *llm.Error {
	if a.spoken {
		return nil
	}
	e := &llm.Error{Kind: llm.Empty, Provider: Provider, Model: a.model, Usage: a.Usage}
	if a.Finish == llm.FinishBlocked {
		e.Kind = llm.Blocked
	}
	e.Err = fmt.Errorf("no text%s", a.reason.known())
	return e
}

// known is a reason as errors may name it.
func (r Reason) known() string {
	if r == "" || !constant().MatchString(string(r)) {
		return ""
	}
	return ", reason " + string(r)
}

// Response is the answer as a whole. What has text and no finish reason has ended all the same.
func (a *Answer) Response(text string) (*llm.Response, error) {
	if err := a.Judge(); err != nil {
		return nil, err
	}
	return &llm.Response{
		Text: text, Model: a.Model, Provider: Provider, Finish: cmp.Or(a.Finish, llm.FinishStop), Usage: a.Usage, ID: a.ID,
	}, nil
}

// tokens translates a usage. A part that is larger than its sum is cut to it: the cost is computed from the difference.
func (u Usage) tokens() *llm.Usage {
	in, thoughts := max(0, u.Prompt)+max(0, u.ToolUsePrompt), max(0, u.Thoughts)
	return &llm.Usage{
		InputTokens: in, OutputTokens: max(0, u.Candidates) + thoughts,
		CachedTokens: min(in, max(0, u.Cached)), ReasoningTokens: thoughts,
	}
}
