package remediation

import (
	"time"

	"github.com/llm-reliability/control-plane/functions/internal/instant"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/remediation"
)

// Request is the body of POST /remediation/{action}. A revert takes OverrideID or Cycle; the other actions take Scope,
// Params and Duration.
type Request struct {
	IdempotencyKey string            `json:"idempotency_key"`
	Timestamp      Instant           `json:"timestamp"`
	Scope          *control.Scope    `json:"scope"`
	Params         control.Params    `json:"params"`
	Duration       *control.Duration `json:"duration"`
	DryRun         bool              `json:"dry_run"`
	Source         Source            `json:"source"`
	OverrideID     string            `json:"override_id"`
	Cycle          string            `json:"cycle"`

	action control.Action
}

// Source is control.Source with the time of the trigger.
type Source struct {
	control.Source
	TriggeredAt Instant `json:"triggered_at"`
}

// Validate implements httpjson.Validator. It checks what shared/remediation cannot see: whether a field was there.
func (r *Request) Validate() []httpjson.FieldError {
	var bad []httpjson.FieldError
	say := func(field, detail string) { bad = append(bad, httpjson.FieldError{Field: field, Detail: detail}) }
	if r.IdempotencyKey == "" {
		say("idempotency_key", "is required")
	}
	if time.Time(r.Timestamp).IsZero() {
		say("timestamp", "is required")
	}
	if r.Source.Kind == "" {
		say("source", "kind is required")
	}
	if r.action == remediation.Revert {
		if r.Scope != nil {
			say("scope", "a revert takes no scope")
		}
		if r.Params != (control.Params{}) {
			say("params", "a revert takes no parameters")
		}
		if r.Duration != nil {
			say("duration", "a revert takes no duration")
		}
		return bad
	}
	if r.Scope == nil {
		// An absent scope must not come to mean everything; an operator who means that writes {}.
		say("scope", "is required")
	}
	if r.Duration != nil && *r.Duration <= 0 {
		say("duration", "must be more than 0s")
	}
	return bad
}

func (r *Request) request() remediation.Request {
	out := remediation.Request{
		ID: r.IdempotencyKey, Action: r.action, Timestamp: time.Time(r.Timestamp), Params: r.Params, DryRun: r.DryRun,
		Source: r.Source.Source, TriggeredAt: time.Time(r.Source.TriggeredAt), OverrideID: r.OverrideID, Cycle: r.Cycle,
	}
	if r.Scope != nil {
		out.Scope = *r.Scope
	}
	if r.Duration != nil {
		out.Duration = time.Duration(*r.Duration)
	}
	return out
}

// Instant is a time as workflows and people write it.
type Instant = instant.Instant

// Response is the answer to POST /remediation/{action}.
type Response struct {
	Result    remediation.Result `json:"result"`
	Overrides []control.Override `json:"overrides"`
	Before    Settings           `json:"before"`
	After     Settings           `json:"after"`
}

// Settings are control.Settings as they are shown; caps that are not set are absent.
type Settings struct {
	Model             string           `json:"model"`
	CacheTTL          control.Duration `json:"cache_ttl"`
	Strategy          string           `json:"strategy,omitempty"`
	QualityFloor      float64          `json:"quality_floor,omitempty"`
	MaxOutputTokens   int              `json:"max_output_tokens,omitempty"`
	MaxPromptChars    int              `json:"max_prompt_chars,omitempty"`
	RequestsPerMinute int              `json:"requests_per_minute,omitempty"`
	Avoid             []string         `json:"avoid,omitempty"`
	Frozen            bool             `json:"frozen"`
	// Overrides are the IDs of those that shaped the settings, oldest first.
	Overrides []string `json:"overrides"`
}

// Document is the answer to GET /remediation. Its lists are newest first.
type Document struct {
	Settings  map[string]Settings `json:"settings"`
	Otherwise Settings            `json:"otherwise"`
	InForce   []control.Override  `json:"in_force"`
	History   []control.Override  `json:"history"`
}

func response(d remediation.Decision) Response {
	return Response{d.Result, list(d.Overrides), settings(d.Before), settings(d.After)}
}

func document(r remediation.Report) Document {
	out := Document{Settings: map[string]Settings{}, Otherwise: settings(r.Everywhere), InForce: list(r.InForce), History: list(r.History)}
	for name, s := range r.Settings {
		out.Settings[name] = settings(s)
	}
	return out
}

// list makes sure that an empty list is shown as one, not as null.
func list(overrides []control.Override) []control.Override {
	return append([]control.Override{}, overrides...)
}

func settings(s control.Settings) Settings {
	ids := make([]string, len(s.InForce))
	for i, o := range s.InForce {
		ids[i] = o.ID
	}
	return Settings{
		Model: s.Model, CacheTTL: control.Duration(s.CacheTTL), Strategy: s.Strategy, QualityFloor: s.QualityFloor,
		MaxOutputTokens: s.MaxOutputTokens, MaxPromptChars: s.MaxPromptChars, RequestsPerMinute: s.RequestsPerMinute,
		Avoid: s.Avoid, Frozen: s.Frozen, Overrides: ids,
	}
}
