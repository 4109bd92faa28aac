package remediation

import (
	"fmt"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/httpjson"
)

// Bounds of what a request may hold.
const (
	maxCacheTTL = control.Duration(24 * time.Hour)
	maxText     = 500 // bytes in each text of a Source, and in the caller of a scope
)

// check judges a request by itself, and fills in its defaults.
func check(req *Request, limits Limits, now time.Time) *Refusal {
	if !slices.Contains(Actions(), req.Action) {
		return &Refusal{Reason: UnknownAction, Detail: "there is no such action"}
	}
	if age := now.Sub(req.Timestamp); req.Timestamp.IsZero() || age > limits.Skew || -age > limits.Skew {
		return &Refusal{Reason: BadTimestamp, Detail: fmt.Sprintf("the timestamp must be within %v of now", limits.Skew)}
	}
	var bad []httpjson.FieldError
	say := func(ok bool, field, detail string) {
		if !ok {
			bad = append(bad, httpjson.FieldError{Field: field, Detail: detail})
		}
	}
	say(control.ValidID(req.ID), "idempotency_key", "must be 1 to 200 letters, digits and . _ : @ / -, and begin with a letter or digit")
	checkSource(req, say)
	if req.Action == Revert {
		say((req.OverrideID == "") != (req.Cycle == ""), "override_id", "a revert needs either override_id or cycle")
	} else {
		say(req.OverrideID == "", "override_id", "is for reverts only")
		say(req.Cycle == "", "cycle", "is for reverts only")
		say(req.Duration >= 0, "duration", "must not be negative")
		say(len(req.Scope.Caller) <= maxText, "scope", "the caller is too long")
		checkParams(req, limits, say)
		if req.Duration == 0 {
			req.Duration = limits.DefaultDuration
		}
	}
	if len(bad) > 0 {
		return &Refusal{Reason: BadParams, Detail: "the request has fields that are not acceptable", Fields: bad}
	}
	return nil
}

func checkSource(req *Request, say func(ok bool, field, detail string)) {
	s := req.Source
	switch s.Kind {
	case control.Monitor:
		if req.Action != Revert {
			say(s.MonitorID != "", "source.monitor_id", "is required of a monitor")
			say(s.Cycle != "", "source.cycle", "is required of a monitor")
			say(!req.TriggeredAt.IsZero(), "source.triggered_at", "is required of a monitor")
		}
	case control.Operator:
		say(s.Operator != "", "source.operator", "is required of an operator")
	default:
		say(false, "source.kind", "must be monitor or operator")
	}
	for _, text := range []struct{ field, value string }{
		{"source.monitor", s.Monitor}, {"source.monitor_id", s.MonitorID}, {"source.workflow_run", s.WorkflowRun},
		{"source.cycle", s.Cycle}, {"source.operator", s.Operator}, {"source.reason", s.Reason}, {"cycle", req.Cycle},
	} {
		say(len(text.value) <= maxText, text.field, fmt.Sprintf("must be at most %d bytes", maxText))
	}
}

// checkParams judges the parameters of the action, and refuses those of other actions: what has no effect must not look
// as if it had.
func checkParams(req *Request, limits Limits, say func(ok bool, field, detail string)) {
	p := &req.Params
	rest := *p
	switch req.Action {
	case control.SwitchModel:
		say(p.Model != "", "params.model", "is required")
		say(p.Percent >= 0 && p.Percent <= 100, "params.percent", "must be 1 to 100")
		if p.Percent == 100 {
			p.Percent = 0 // one way to say it, so that repeats compare equal
		}
		rest.Model, rest.Percent = "", 0
	case control.EnableCache:
		if p.CacheTTL == 0 {
			p.CacheTTL = control.Duration(limits.DefaultCacheTTL)
		}
		say(p.CacheTTL > 0 && p.CacheTTL <= maxCacheTTL, "params.cache_ttl", "must be more than 0s and at most 24h")
		rest.CacheTTL = 0
	case control.Limit:
		say(min(p.MaxOutputTokens, p.MaxPromptChars, p.RequestsPerMinute) >= 0 && max(p.MaxOutputTokens, p.MaxPromptChars, p.RequestsPerMinute) > 0,
			"params", "at least one cap is required, and none may be negative")
		rest.MaxOutputTokens, rest.MaxPromptChars, rest.RequestsPerMinute = 0, 0, 0
	case control.Route:
		say(slices.Contains([]string{"cost", "latency", "quality"}, p.Strategy), "params.strategy", "must be cost, latency or quality")
		say(p.QualityFloor >= 0 && p.QualityFloor <= 1, "params.quality_floor", "must be 0 to 1")
		rest.Strategy, rest.QualityFloor = "", 0
	case control.Failover:
		say(p.Provider != "", "params.provider", "is required")
		rest.Provider = ""
	}
	say(rest == control.Params{}, "params", fmt.Sprintf("has parameters that %s does not take", req.Action))
}

// admit judges a new request by the clock and by the allow-lists.
func admit(req Request, limits Limits, now time.Time) *Refusal {
	if req.Source.Kind == control.Monitor {
		if now.Sub(req.TriggeredAt) > limits.MaxAge {
			return &Refusal{Reason: Stale, Detail: fmt.Sprintf("the alert was triggered more than %v ago", limits.MaxAge)}
		}
		if req.TriggeredAt.Sub(now) > limits.Skew {
			return &Refusal{Reason: BadTimestamp, Detail: "the alert was triggered in the future"}
		}
	}
	s := req.Scope
	switch {
	// The cache changes how fast an answer comes, not which one: an alert about the whole service may switch it on for all.
	case s == control.Scope{} && req.Source.Kind != control.Operator && req.Action != control.EnableCache:
		return &Refusal{Reason: UnknownScope, Detail: "an automatic action must name its function or endpoint"}
	case s.Function != "" && !slices.Contains(limits.Functions, s.Function):
		return &Refusal{Reason: UnknownScope, Detail: "the function is not on the allow-list"}
	case s.Endpoint != "" && !slices.Contains(limits.Endpoints, s.Endpoint):
		return &Refusal{Reason: UnknownScope, Detail: "the endpoint is not on the allow-list"}
	case req.Action == control.SwitchModel && !slices.Contains(limits.Models, req.Params.Model):
		return &Refusal{Reason: UnknownModel, Detail: "the model is not on the allow-list"}
	case req.Action == control.Failover && !slices.Contains(limits.Providers, req.Params.Provider):
		return &Refusal{Reason: BadParams, Detail: "the provider is not on the allow-list", Fields: []httpjson.FieldError{{Field: "params.provider", Detail: "is not on the allow-list"}}}
	case req.Duration > limits.MaxDuration:
		return &Refusal{Reason: TooLong, Detail: fmt.Sprintf("an override may hold for at most %v", limits.MaxDuration)}
	}
	return nil
}
