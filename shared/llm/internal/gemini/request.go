package gemini

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// The roles of contents.
const (
	RoleUser  = "user"
	RoleModel = "model"
)

// Turn is one content of a conversation: who speaks, and the texts that one spoke in a row.
type Turn struct {
	Role  string
	Texts []string
}

// Prompt is a request's messages in Gemini's form.
type Prompt struct {
	// System are the texts of the system instruction.
	System []string
	// Turns alternate between the roles, and the last one is the user's.
	Turns []Turn
}

// NewPrompt translates messages. All system messages become the system instruction, wherever they stand; what one role
// says in a row becomes one turn; a message without content is left out, for the API takes no empty part; without any
// other message the system's are the user's, for it takes no empty conversation. A conversation that ends with the model's
// own words is an error: the API answers users. So is what can't be written: a name that is no path, a temperature that is
// no number. Bytes that are no UTF-8 become the replacement character, as JSON has it, for gRPC refuses them.
func NewPrompt(req llm.Request) (Prompt, error) {
	refuse := func(kind llm.Kind, why string) (Prompt, error) {
		return Prompt{}, &llm.Error{Kind: kind, Provider: Provider, Model: req.Model, Err: errors.New(why)}
	}
	if !modelName(req.Model) {
		return refuse(llm.NotFound, "no model can have this name")
	}
	if t := req.Temperature; t != nil && (math.IsNaN(*t) || math.IsInf(*t, 0)) {
		return refuse(llm.InvalidRequest, "the temperature is no number")
	}
	var p Prompt
	for _, m := range req.Messages {
		if m.Content == "" {
			continue
		}
		m.Content = strings.ToValidUTF8(m.Content, "\uFFFD")
		role := RoleUser
		switch m.Role {
		case llm.System:
			p.System = append(p.System, m.Content)
			continue
		case llm.Assistant:
			role = RoleModel
		}
		if n := len(p.Turns); n > 0 && p.Turns[n-1].Role == role {
			p.Turns[n-1].Texts = append(p.Turns[n-1].Texts, m.Content)
		} else {
			p.Turns = append(p.Turns, Turn{role, []string{m.Content}})
		}
	}
	if len(p.Turns) == 0 && len(p.System) > 0 {
		p.Turns, p.System = []Turn{{RoleUser, p.System}}, nil
	}
	switch n := len(p.Turns); {
	case n == 0:
		return refuse(llm.InvalidRequest, "no message has content")
	case p.Turns[n-1].Role != RoleUser:
		return refuse(llm.InvalidRequest, "the last message must be the user's")
	}
	return p, nil
}

// modelName is whether a name has the form of a model's; it becomes an element of a path.
func modelName(name string) bool { return name != "" && len(name) <= 128 && plain(name, "._@-") }

// plain is whether a text consists of letters and digits, and of others behind the first.
func plain(text, others string) bool {
	for i, c := range []byte(text) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || strings.IndexByte(others, c) < 0) {
			return false
		}
	}
	return true
}

// place is whether a text can be a project or a location, which become part of paths, and of a host's name.
func place(text, others string) bool {
	return text != "" && len(text) <= 63 && plain(text, others) && text == strings.ToLower(text)
}

// CheckPlace says whether a project and a location are ones.
func CheckPlace(p, l string) error {
	if !place(p, ".:-") || !place(l, "-") {
		return errors.New("Project and Location must be names such as my-project and us-central1") //nolint:revive,staticcheck // the names of fields
	}
	return nil
}

// Host is where Vertex AI answers for a location.
func Host(location string) string {
	switch location {
	case "global":
		return "aiplatform.googleapis.com"
	case "us", "eu":
		return "aiplatform." + location + ".rep.googleapis.com"
	}
	return location + "-aiplatform.googleapis.com"
}

// Threshold says from which probability of harm on Google's filters withhold an answer.
type Threshold string

// The thresholds, strictest first. ModelDefault sends none, and leaves it to the model's own default, which is another one
// from one generation of models to the next.
const (
	BlockLowAndAbove    Threshold = "BLOCK_LOW_AND_ABOVE"
	BlockMediumAndAbove Threshold = "BLOCK_MEDIUM_AND_ABOVE"
	BlockOnlyHigh       Threshold = "BLOCK_ONLY_HIGH"
	BlockNone           Threshold = "BLOCK_NONE"
	Off                 Threshold = "OFF"
	ModelDefault        Threshold = "MODEL_DEFAULT"
)

// DefaultThreshold is that of an adapter that is given none.
const DefaultThreshold = BlockOnlyHigh

// Check says whether a threshold is one.
func (t Threshold) Check() error {
	all := []Threshold{BlockLowAndAbove, BlockMediumAndAbove, BlockOnlyHigh, BlockNone, Off, ModelDefault}
	if !slices.Contains(all, t) {
		return fmt.Errorf("the safety threshold must be one of %v", all)
	}
	return nil
}

// Categories are the kinds of harm that a threshold is set for.
func Categories() []string {
	return []string{
		"HARM_CATEGORY_HATE_SPEECH", "HARM_CATEGORY_DANGEROUS_CONTENT", "HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_SEXUALLY_EXPLICIT",
	}
}
