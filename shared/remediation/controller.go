package remediation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Options are the dependencies of a Controller.
type Options struct {
	// Store is required.
	Store control.Store
	// Base are the settings without any override, the same as those of the functions.
	Base control.Settings
	// Limits bound the actions; Models and Functions are required.
	Limits Limits
	// Telemetry may be nil.
	Telemetry *telemetry.Client
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// StoreTimeout bounds the reading and writing of the state in one call; 5 s when 0.
	StoreTimeout time.Duration
}

// Controller applies actions to the control state; it is safe for concurrent use, also by several processes on one
// store.
type Controller struct {
	opts Options
	// turn is held while a call reads, plans and commits: calls of one process take turns instead of conflicting. It is
	// a channel because waiting must end with the context.
	turn chan struct{}
}

// conflicts is how often a call plans anew because another process wrote first.
const conflicts = 10

// retryStore is when a call that found the store unavailable is worth repeating.
const retryStore = 2 * time.Second

// New checks the options and returns a Controller.
func New(opts Options) (*Controller, error) {
	if opts.Store == nil {
		return nil, errors.New("remediation: Store is required")
	}
	if len(opts.Limits.Models) == 0 || len(opts.Limits.Functions) == 0 {
		return nil, errors.New("remediation: Limits.Models and Limits.Functions are required: what is not on a list is refused")
	}
	l := opts.Limits.withDefaults()
	if min(l.MaxDuration, l.DefaultDuration, l.DefaultCacheTTL, l.Cooldown, l.FlapWindow, l.MaxAge, l.Skew) < 0 || l.HourlyBudget < 0 {
		return nil, errors.New("remediation: Limits must not be negative")
	}
	if l.DefaultDuration > l.MaxDuration {
		return nil, fmt.Errorf("remediation: DefaultDuration %v is over MaxDuration %v", l.DefaultDuration, l.MaxDuration)
	}
	opts.Limits = l
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.StoreTimeout = cmp.Or(opts.StoreTimeout, 5*time.Second)
	return &Controller{opts: opts, turn: make(chan struct{}, 1)}, nil
}

// Apply decides on a request and makes the decision durable before it returns. The error is always a *Refusal; then
// nothing was changed, except that after StoreUnavailable the change may have been made: the same call again tells.
func (c *Controller) Apply(ctx context.Context, req Request) (Decision, error) {
	d, refusal := c.apply(ctx, req)
	if refusal != nil {
		c.refused(ctx, req, refusal)
		return Decision{}, refusal
	}
	c.done(ctx, req, d)
	return d, nil
}

func (c *Controller) apply(ctx context.Context, req Request) (Decision, *Refusal) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.StoreTimeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return Decision{}, unavailable(ctx.Err())
	}
	var err error
	for range conflicts {
		var d Decision
		var refusal *Refusal
		d, refusal, err = c.attempt(ctx, req)
		switch {
		case refusal != nil:
			return Decision{}, refusal
		case err == nil:
			return d, nil
		case !errors.Is(err, control.ErrConflict):
			return Decision{}, unavailable(err)
		}
	}
	return Decision{}, unavailable(err)
}

// attempt reads, plans and commits once.
func (c *Controller) attempt(ctx context.Context, req Request) (Decision, *Refusal, error) {
	now := c.opts.Now().UTC().Round(0)
	since := now.Add(-c.opts.Limits.lookback())
	// A repeat is answered from the state of its first time, and a revert by ID may name any override.
	id := req.ID
	if req.Action == Revert {
		id = req.OverrideID
	}
	if control.ValidID(id) {
		old, ok, err := c.opts.Store.Get(ctx, id)
		if err != nil {
			return Decision{}, nil, err
		}
		if before := old.Created.Add(-1); ok && before.Before(since) {
			since = before
		}
	}
	state, err := c.opts.Store.State(ctx, since)
	if err != nil {
		return Decision{}, nil, err
	}
	d, refusal := Plan(req, state, c.opts.Base, c.opts.Limits, now)
	if refusal != nil || len(d.Write) == 0 {
		return d, refusal, nil
	}
	return d, nil, c.opts.Store.Commit(ctx, state.Version, d.Write)
}

func unavailable(err error) *Refusal {
	return &Refusal{Reason: StoreUnavailable, Detail: "the control state cannot be reached", RetryAfter: retryStore, Err: err}
}

// Report is what is in force and what was.
type Report struct {
	// Settings are those of a request to each function, by its name, and Everywhere those where no scope narrows it.
	Settings   map[string]control.Settings
	Everywhere control.Settings
	// InForce are the active overrides, History the others; both newest first.
	InForce, History []control.Override
}

// Report returns what is in force now, and at most limit overrides that ended within the window before.
func (c *Controller) Report(ctx context.Context, window time.Duration, limit int) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.StoreTimeout)
	defer cancel()
	now := c.opts.Now()
	state, err := c.opts.Store.State(ctx, now.Add(-window))
	if err != nil {
		return Report{}, unavailable(err)
	}
	r := Report{
		Settings:   map[string]control.Settings{},
		Everywhere: control.Effective(c.opts.Base, state.Overrides, control.Target{}, "", now),
	}
	for _, name := range c.opts.Limits.Functions {
		r.Settings[name] = control.Effective(c.opts.Base, state.Overrides, control.Target{Function: name}, "", now)
	}
	for _, o := range slices.Backward(state.Overrides) {
		if o.Active(now) {
			r.InForce = append(r.InForce, o)
		} else if len(r.History) < limit {
			r.History = append(r.History, o)
		}
	}
	return r, nil
}

// done tells of a call that was not refused. Repeats and dry runs changed nothing, and are only logged.
func (c *Controller) done(ctx context.Context, req Request, d Decision) {
	c.opts.Telemetry.Logger().InfoContext(ctx, "remediation", slog.String("llm.remediation.result", string(d.Result)),
		slog.String("llm.remediation.action", string(req.Action)), slog.String("llm.remediation.id", req.ID),
		slog.String("llm.remediation.target", target(req.Scope)), slog.String("llm.remediation.source", req.Source.Kind),
		slog.String("llm.remediation.cycle", req.Source.Cycle), slog.Int("llm.remediation.overrides", len(d.Overrides)))
	switch d.Result {
	case Applied:
		o := d.Overrides[0]
		c.opts.Telemetry.Add(ctx, "llm.remediation.applied", 1, "action:"+string(o.Action), "reason:"+o.Source.Kind)
		c.opts.Telemetry.Event(ctx, telemetry.Event{
			Title: fmt.Sprintf("Remediation applied: %s on %s", o.Action, target(o.Scope)),
			Text:  fmt.Sprintf("Until %s, for %s.\n%s", o.End.Format(time.RFC3339), why(req.Source), change(d)),
			Type:  "warning", Tags: []string{"action:" + string(o.Action), "reason:" + o.Source.Kind}, AggregationKey: aggregationKey(o.ID),
		})
	case Reverted:
		for _, o := range d.Overrides {
			c.opts.Telemetry.Add(ctx, "llm.remediation.reverted", 1, "action:"+string(o.Action), "reason:"+req.Source.Kind)
			c.opts.Telemetry.Event(ctx, telemetry.Event{
				Title: fmt.Sprintf("Remediation reverted: %s on %s", o.Action, target(o.Scope)),
				Text:  fmt.Sprintf("Ended for %s.\n%s", why(req.Source), change(d)),
				Type:  "success", Tags: []string{"action:" + string(o.Action), "reason:" + req.Source.Kind}, AggregationKey: aggregationKey(o.ID),
			})
		}
	}
}

func (c *Controller) refused(ctx context.Context, req Request, r *Refusal) {
	action := string(req.Action)
	if r.Reason == UnknownAction {
		action = "unknown" // a tag is never what a caller sent
	}
	level := slog.LevelWarn
	if r.Reason == StoreUnavailable {
		level = slog.LevelError
	}
	c.opts.Telemetry.Logger().Log(ctx, level, "remediation refused", slog.String("llm.remediation.action", action),
		slog.String("llm.remediation.reason", string(r.Reason)), slog.String("llm.remediation.source", req.Source.Kind),
		slog.String("llm.remediation.cycle", req.Source.Cycle), slog.String("error.message", r.Error()))
	tags := []string{"action:" + action, "reason:" + string(r.Reason)}
	c.opts.Telemetry.Add(ctx, "llm.remediation.refused", 1, tags...)
	c.opts.Telemetry.Event(ctx, telemetry.Event{
		Title: fmt.Sprintf("Remediation refused: %s on %s", action, target(req.Scope)),
		Text:  fmt.Sprintf("%s, asked for %s.", r.Detail, why(req.Source)), Type: "error", Tags: tags,
	})
}

func why(s control.Source) string {
	who := cmp.Or(s.Monitor, s.MonitorID, s.Operator, "an unnamed caller")
	if s.Reason == "" {
		return who
	}
	return who + ": " + s.Reason
}

func change(d Decision) string {
	return fmt.Sprintf("Before: %s\nAfter: %s", describe(d.Before), describe(d.After))
}

func describe(s control.Settings) string {
	return fmt.Sprintf("model %s, cache %v, strategy %q, quality floor %v, caps %d output tokens, %d prompt characters, %d requests a minute, avoid %v, frozen %v",
		s.Model, s.CacheTTL, s.Strategy, s.QualityFloor, s.MaxOutputTokens, s.MaxPromptChars, s.RequestsPerMinute, s.Avoid, s.Frozen)
}

// aggregationKey shortens an ID to what Datadog's events API accepts, 100 characters.
func aggregationKey(id string) string { return id[:min(len(id), 100)] }
