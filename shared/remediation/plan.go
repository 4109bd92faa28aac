// Package remediation turns a call for help into a bounded override of the control state, or refuses it and says why.
// Plan decides and is pure; Controller reads the state, asks Plan, and commits.
//
// It never talks to a model provider or to Datadog, and it does not authenticate: who may call is the business of
// package serverless.
//
// The guards, in the order in which they are applied:
//
//   - A call needs a timestamp near now, a known action, and parameters that fit it.
//   - The same ID again repeats the first answer; with another content it is refused.
//   - A trigger that is too old is refused: workflows are queued and replayed.
//   - Models, functions, endpoints and providers must be on the allow-list. Only an operator may leave the scope open.
//   - Every override ends, at the latest after the maximum duration.
//   - Freeze, flap guard, cooldown and hourly budget bind automatic actions only: a person must be able to act when
//     automation may not.
//
// Reverts pass all guards but the first.
package remediation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/httpjson"
)

// Revert is the action that ends overrides and makes none.
const Revert control.Action = "revert"

// Actions lists every action that can be called.
func Actions() []control.Action {
	return []control.Action{control.SwitchModel, control.EnableCache, control.Route, control.Limit, control.Failover, control.Freeze, Revert}
}

// Request is one call for an action.
type Request struct {
	// ID is the caller's idempotency key; it becomes the ID of the override.
	ID     string
	Action control.Action
	// Timestamp is when the call was made.
	Timestamp time.Time
	Scope     control.Scope
	Params    control.Params
	// Duration is how long the override is to hold; 0 means Limits.DefaultDuration.
	Duration time.Duration
	// DryRun asks what would change, and changes nothing.
	DryRun bool
	Source control.Source
	// TriggeredAt is when the alert was triggered; required of monitors, except for a revert.
	TriggeredAt time.Time
	// OverrideID or Cycle, exactly one, says what a revert ends; other actions have neither.
	OverrideID, Cycle string
}

// Limits bound what an action may do. New fills in the durations and the budget.
type Limits struct {
	// Models (tiers and names), Functions, Endpoints and Providers are the allow-lists. An empty list allows nothing.
	Models, Functions, Endpoints, Providers []string
	// MaxDuration is the longest an override may hold, 4 h when 0; DefaultDuration is for requests without one, 30 min
	// when 0, or MaxDuration if that is less.
	MaxDuration, DefaultDuration time.Duration
	// DefaultCacheTTL is for an enable-cache without one, 10 min when 0.
	DefaultCacheTTL time.Duration
	// Cooldown is how soon automation may do the same again to the same scope, counted from the start; 5 min when 0.
	Cooldown time.Duration
	// HourlyBudget is how many automatic overrides are made within any hour; 12 when 0.
	HourlyBudget int
	// FlapWindow is how far back the flap guard looks; 15 min when 0.
	FlapWindow time.Duration
	// MaxAge is how old a trigger may be, 15 min when 0; Skew how far a clock may be off, 5 min.
	MaxAge, Skew time.Duration
}

func (l Limits) withDefaults() Limits {
	l.MaxDuration = cmp.Or(l.MaxDuration, 4*time.Hour)
	l.DefaultDuration = cmp.Or(l.DefaultDuration, min(30*time.Minute, l.MaxDuration))
	l.DefaultCacheTTL = cmp.Or(l.DefaultCacheTTL, 10*time.Minute)
	l.Cooldown = cmp.Or(l.Cooldown, 5*time.Minute)
	l.HourlyBudget = cmp.Or(l.HourlyBudget, 12)
	l.FlapWindow = cmp.Or(l.FlapWindow, 15*time.Minute)
	l.MaxAge = cmp.Or(l.MaxAge, 15*time.Minute)
	l.Skew = cmp.Or(l.Skew, 5*time.Minute)
	return l
}

// lookback is how far back a state must reach for Plan to judge by it.
func (l Limits) lookback() time.Duration { return max(time.Hour, l.Cooldown, l.FlapWindow) }

// Result says what came of a call that was not refused.
type Result string

// The results.
const (
	Applied         Result = "applied"
	AlreadyApplied  Result = "already_applied"
	Reverted        Result = "reverted"
	NothingToRevert Result = "nothing_to_revert"
	DryRun          Result = "dry_run"
)

// The causes of an early end.
const (
	CauseReverted   = "reverted"
	CauseSuperseded = "superseded"
)

// Reason is why a call was refused.
type Reason string

// The reasons. They are a closed set: metrics and callers rely on the words.
const (
	BadTimestamp     Reason = "bad_timestamp"
	UnknownAction    Reason = "unknown_action"
	BadParams        Reason = "bad_params"
	IDReused         Reason = "id_reused"
	Stale            Reason = "stale"
	UnknownScope     Reason = "unknown_scope"
	UnknownModel     Reason = "unknown_model"
	TooLong          Reason = "too_long"
	Frozen           Reason = "frozen"
	Flap             Reason = "flap"
	Cooldown         Reason = "cooldown"
	Budget           Reason = "budget"
	NotFound         Reason = "not_found"
	StoreUnavailable Reason = "store_unavailable"
)

// Refusal is the error of a call that changed nothing. Everything in it but Err may be shown to callers.
type Refusal struct {
	Reason Reason
	Detail string
	// Fields names every bad parameter, for BadParams.
	Fields []httpjson.FieldError
	// RetryAfter is when the same call may succeed; 0 when that is not known.
	RetryAfter time.Duration
	// Err is the internal cause.
	Err error
}

// Error says why the call was refused.
func (r *Refusal) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "remediation refused (%s): %s", r.Reason, r.Detail)
	for _, f := range r.Fields {
		fmt.Fprintf(&s, "; %s %s", f.Field, f.Detail)
	}
	if r.Err != nil {
		fmt.Fprintf(&s, ": %v", r.Err)
	}
	return s.String()
}

// Unwrap returns the internal cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Decision is what a call that is not refused comes to.
type Decision struct {
	Result Result
	// Write are the overrides to commit; none for a repeat, a dry run, or a revert that has nothing to end.
	Write []control.Override
	// Overrides are the one that the call made (or would make), or those that it ended.
	Overrides []control.Override
	// Before and After are the settings of a request in the scope, without and with the change.
	Before, After control.Settings
}

// Plan decides on a request. The state must hold every override whose Until is later than now less Limits.lookback and,
// when the request repeats an ID, everything that was in force when that was made. base are the settings without any
// override. Zero limits must have been replaced by their defaults.
func Plan(req Request, state control.State, base control.Settings, limits Limits, now time.Time) (Decision, *Refusal) {
	if refusal := check(&req, limits, now); refusal != nil {
		return Decision{}, refusal
	}
	if req.Action == Revert {
		return planRevert(req, state, base, now)
	}
	for _, o := range state.Overrides {
		if o.ID == req.ID {
			return repeat(req, o, state, base)
		}
	}
	if refusal := admit(req, limits, now); refusal != nil {
		return Decision{}, refusal
	}
	if req.Source.Kind == control.Monitor {
		if refusal := guard(req, state.Overrides, limits, now); refusal != nil {
			return Decision{}, refusal
		}
	}

	made := control.Override{
		ID: req.ID, Action: req.Action, Scope: req.Scope, Params: req.Params,
		Start: now, End: now.Add(req.Duration), Created: now, Source: req.Source,
	}
	write := []control.Override{made}
	for _, o := range state.Overrides {
		if supersedes(made, o, now) {
			o.Ended = &control.Ending{At: now, Source: req.Source, Cause: CauseSuperseded}
			write = append(write, o)
		}
	}
	return decide(Applied, req, state, base, write, write[:1], req.Scope, now), nil
}

// decide completes a decision with the settings before and after, and takes the writes out of a dry run.
func decide(result Result, req Request, state control.State, base control.Settings, write, answer []control.Override, scope control.Scope, now time.Time) Decision {
	target := control.Target(scope)
	d := Decision{
		Result: result, Write: write, Overrides: answer,
		Before: control.Effective(base, state.Overrides, target, "", now),
		After:  control.Effective(base, merge(state.Overrides, write), target, "", now),
	}
	if req.DryRun {
		d.Result, d.Write = DryRun, nil
	}
	return d
}

// merge returns the overrides as they are after write.
func merge(overrides, write []control.Override) []control.Override {
	out := slices.Clone(overrides)
	for _, w := range write {
		if i := slices.IndexFunc(out, func(o control.Override) bool { return o.ID == w.ID }); i >= 0 {
			out[i] = w
		} else {
			out = append(out, w)
		}
	}
	return out
}

// repeat answers a call whose ID is known, as it was answered the first time.
func repeat(req Request, o control.Override, state control.State, base control.Settings) (Decision, *Refusal) {
	same := o.Action == req.Action && o.Scope == req.Scope && o.Params == req.Params && o.End.Sub(o.Start) == req.Duration &&
		o.Source.Kind == req.Source.Kind && o.Source.MonitorID == req.Source.MonitorID && o.Source.Cycle == req.Source.Cycle
	if !same {
		return Decision{}, &Refusal{Reason: IDReused, Detail: "the idempotency key was used for another action already"}
	}
	// The state as it was at the moment before: without this override, and with those that it ended. A state holds
	// nothing created later that would be active then.
	var before []control.Override
	for _, old := range state.Overrides {
		if old.ID == o.ID {
			continue
		}
		if old.Ended != nil && old.Ended.Cause == CauseSuperseded && old.Ended.At.Equal(o.Created) {
			old.Ended = nil
		}
		before = append(before, old)
	}
	target := control.Target(o.Scope)
	original := o
	original.Ended = nil
	return Decision{
		Result: AlreadyApplied, Overrides: []control.Override{o},
		Before: control.Effective(base, before, target, "", o.Created),
		After:  control.Effective(base, merge(state.Overrides, []control.Override{original}), target, "", o.Created),
	}, nil
}

func planRevert(req Request, state control.State, base control.Settings, now time.Time) (Decision, *Refusal) {
	var write []control.Override
	var scope control.Scope
	found := false
	for _, o := range state.Overrides {
		if req.OverrideID != o.ID && (req.Cycle == "" || req.Cycle != o.Source.Cycle) {
			continue
		}
		found = true
		if !o.Active(now) {
			continue
		}
		if len(write) == 0 {
			scope = o.Scope
		}
		o.Ended = &control.Ending{At: now, Source: req.Source, Cause: CauseReverted}
		write = append(write, o)
	}
	if !found && req.OverrideID != "" {
		return Decision{}, &Refusal{Reason: NotFound, Detail: "no override has this ID"}
	}
	if len(write) == 0 {
		// A recovery of which the alert never arrived, or a repeated one, must not fail its workflow.
		return decide(NothingToRevert, req, state, base, nil, nil, scope, now), nil
	}
	return decide(Reverted, req, state, base, write, write, scope, now), nil
}

// supersedes says whether made replaces o: the same action on the same scope by the same kind of source. Freezes and
// failovers add up instead.
func supersedes(made, o control.Override, now time.Time) bool {
	return made.Action != control.Freeze && made.Action != control.Failover &&
		made.Action == o.Action && made.Scope == o.Scope && made.Source.Kind == o.Source.Kind && o.Active(now)
}

// guard applies what binds automation only.
func guard(req Request, overrides []control.Override, limits Limits, now time.Time) *Refusal {
	for _, o := range overrides {
		if o.Action == control.Freeze && o.Active(now) && o.Scope.Overlaps(req.Scope) {
			return &Refusal{Reason: Frozen, Detail: "automatic actions are frozen until " + o.Until().UTC().Format(time.RFC3339)}
		}
	}
	if detail := flaps(req, overrides, limits.FlapWindow, now); detail != "" {
		return &Refusal{Reason: Flap, Detail: detail}
	}
	var made []time.Time // automatic overrides of the last hour, oldest first
	for _, o := range overrides {
		if o.Source.Kind != control.Monitor {
			continue
		}
		if o.Created.After(now.Add(-time.Hour)) {
			made = append(made, o.Created)
		}
		ready := o.Start.Add(limits.Cooldown)
		if o.Action == req.Action && o.Scope == req.Scope && o.Params.Model == req.Params.Model && now.Before(ready) {
			return &Refusal{Reason: Cooldown, Detail: "the same action was applied to this scope a short time ago", RetryAfter: ready.Sub(now)}
		}
	}
	if n := len(made); n >= limits.HourlyBudget {
		free := made[n-limits.HourlyBudget].Add(time.Hour)
		return &Refusal{Reason: Budget, Detail: fmt.Sprintf("%d automatic actions within an hour are the limit", limits.HourlyBudget), RetryAfter: free.Sub(now)}
	}
	return nil
}

// The ways in which an action moves the models that are asked.
const (
	cheaper = "economy"
	better  = "quality"
)

// direction is the way of an action; empty for one that has none.
func direction(action control.Action, p control.Params) string {
	switch {
	case action == control.SwitchModel && (p.Model == cheaper || p.Model == better):
		return p.Model
	case action == control.Route && p.Strategy == "cost":
		return cheaper
	case action == control.Route && p.Strategy == "quality":
		return better
	}
	return ""
}

// flaps says, when it is not empty, why an automatic move to cheaper or better models, by a switch or a route, is two monitors
// fighting. The opposite move on an overlapping scope forbids it
//
//   - while it is in force, if it is to quality: saving cost never undoes a quality alert;
//   - within the window after its start, or after its end if another switch superseded it.
//
// A switch that was reverted is different: its alert recovered, so the other direction is no contradiction. But going
// back and forth is: two or more reversals within the window, the requested one included, are refused.
func flaps(req Request, overrides []control.Override, window time.Duration, now time.Time) string {
	wanted := direction(req.Action, req.Params)
	opposite := map[string]string{cheaper: better, better: cheaper}[wanted]
	if opposite == "" {
		return ""
	}
	reversals, last := 0, ""
	for _, o := range overrides {
		way := direction(o.Action, o.Params)
		if way == "" || o.Source.Kind != control.Monitor || !o.Scope.Overlaps(req.Scope) {
			continue
		}
		if way == opposite {
			since, reverted := o.Start, false
			if o.Ended != nil {
				reverted = o.Ended.Cause == CauseReverted
				if o.Ended.Cause == CauseSuperseded {
					since = o.Ended.At
				}
			}
			switch {
			case way == better && o.Active(now):
				return "a switch to the quality tier is in force, and saving cost does not undo it"
			case !reverted && now.Sub(since) < window:
				return "the opposite switch was applied to this scope a short time ago"
			}
		}
		if now.Sub(o.Until()) < window {
			if last != "" && last != way {
				reversals++
			}
			last = way
		}
	}
	if last == opposite {
		reversals++
	}
	if reversals >= 2 {
		return "the model was switched back and forth on this scope"
	}
	return ""
}

// target is a scope in words, for people.
func target(s control.Scope) string {
	var parts []string
	for _, part := range []string{s.Function, s.Endpoint, s.Caller} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, " ")
}
