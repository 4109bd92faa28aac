// Package control is the control state: time-bounded overrides, and the pure function that folds them into the settings
// of one request. Nothing is ever deleted before its retention, so the state is its own audit trail.
//
// It decides nothing: which override may be made, and whether, is the business of package remediation. Stores live in
// subpackages named for their technology.
package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Action is what an override does.
type Action string

// The actions. Revert is not among them: it ends an override and makes none.
const (
	SwitchModel Action = "switch-model"
	EnableCache Action = "enable-cache"
	Route       Action = "route"
	Limit       Action = "limit"
	Failover    Action = "failover"
	Freeze      Action = "freeze"
)

// Scope says which requests an override applies to. An empty field means any; the zero Scope is everything.
type Scope struct {
	Function string `json:"function,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Caller   string `json:"caller,omitempty"`
}

// Target is one request, seen by scopes.
type Target struct{ Function, Endpoint, Caller string }

// Matches says whether the scope covers the target.
func (s Scope) Matches(t Target) bool {
	return (s.Function == "" || s.Function == t.Function) &&
		(s.Endpoint == "" || s.Endpoint == t.Endpoint) &&
		(s.Caller == "" || s.Caller == t.Caller)
}

// Overlaps says whether some target is covered by both scopes.
func (s Scope) Overlaps(o Scope) bool {
	meets := func(a, b string) bool { return a == "" || b == "" || a == b }
	return meets(s.Function, o.Function) && meets(s.Endpoint, o.Endpoint) && meets(s.Caller, o.Caller)
}

// Params are the parameters of an action; which ones count depends on the action.
type Params struct {
	// Model is a tier (economy, standard, quality) or a model name of the catalogue, for switch-model.
	Model string `json:"model,omitempty"`
	// Percent is the share of requests that a switch-model applies to, 1 to 100; 0 means 100.
	Percent int `json:"percent,omitempty"`
	// CacheTTL is how long answers are repeated, for enable-cache.
	CacheTTL Duration `json:"cache_ttl,omitempty"`
	// Strategy is cost, latency or quality, for route; QualityFloor bounds it, 0..1.
	Strategy     string  `json:"strategy,omitempty"`
	QualityFloor float64 `json:"quality_floor,omitempty"`
	// MaxOutputTokens, MaxPromptChars and RequestsPerMinute are caps, for limit; 0 means none.
	MaxOutputTokens   int `json:"max_output_tokens,omitempty"`
	MaxPromptChars    int `json:"max_prompt_chars,omitempty"`
	RequestsPerMinute int `json:"requests_per_minute,omitempty"`
	// Provider is the provider or region to avoid, for failover.
	Provider string `json:"provider,omitempty"`
}

// Duration is a time.Duration that reads and writes JSON as Go writes it: "15m", "1h30m".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q is not like 15m or 1h30m", text)
	}
	*d = Duration(v)
	return nil
}

// The kinds of Source.
const (
	Monitor  = "monitor"
	Operator = "operator"
)

// Source says who asked for an override and why.
type Source struct {
	// Kind is Monitor or Operator.
	Kind string `json:"kind"`
	// Monitor and MonitorID name the monitor, WorkflowRun the run of the workflow that it started.
	Monitor     string `json:"monitor,omitempty"`
	MonitorID   string `json:"monitor_id,omitempty"`
	WorkflowRun string `json:"workflow_run,omitempty"`
	// Cycle identifies the alert: the same from its trigger to its recovery. A revert by cycle ends what it made.
	Cycle string `json:"cycle,omitempty"`
	// Operator is the person or key, for operators.
	Operator string `json:"operator,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Override is one bounded change of how requests are served. Its ID is the idempotency key of the call that made it.
type Override struct {
	ID      string    `json:"id"`
	Action  Action    `json:"action"`
	Scope   Scope     `json:"scope"`
	Params  Params    `json:"params"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Created time.Time `json:"created"`
	Source  Source    `json:"source"`
	// Ended is set when the override was ended before End: when, by whom.
	Ended *Ending `json:"ended,omitempty"`
}

// Ending says how an override came to its early end.
type Ending struct {
	At     time.Time `json:"at"`
	Source Source    `json:"source"`
	// Cause is "reverted", "superseded" or "expired by operator"; a closed set chosen by package remediation.
	Cause string `json:"cause"`
}

// Until is when the override stops or stopped to hold: its End, or its early ending.
func (o Override) Until() time.Time {
	if o.Ended != nil && o.Ended.At.Before(o.End) {
		return o.Ended.At
	}
	return o.End
}

// Active says whether the override is in force at now: Start included, Until excluded.
func (o Override) Active(now time.Time) bool {
	return !now.Before(o.Start) && now.Before(o.Until())
}

// ValidID reports whether s can be an override's ID: 1 to 200 letters, digits and . _ : @ / - that begin with a letter
// or digit.
func ValidID(s string) bool {
	for i, c := range []byte(s) {
		plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || !strings.ContainsRune("._:@/-", rune(c))) {
			return false
		}
	}
	return s != "" && len(s) <= 200
}

// Version identifies a state of the store; only the store that made it knows its form.
type Version string

// State is what a store holds at one moment.
type State struct {
	Version Version
	// Overrides are ordered by Created, then ID.
	Overrides []Override
}

// The errors of a Store that callers branch on.
var (
	// ErrConflict: the state changed since the version was read; read again and decide again.
	ErrConflict = errors.New("control state changed meanwhile")
	// ErrUnavailable: the store cannot be reached or does not answer.
	ErrUnavailable = errors.New("control state unavailable")
)

// Store keeps the overrides. Every implementation passes controltest.Conformance:
//
//   - State returns every override whose Until is after since, with the version to commit against.
//   - Commit writes all of the given overrides, new ones and new versions of old ones, or none. It succeeds only if
//     the store still has the given version, and returns ErrConflict otherwise. When it returns nil, the write is
//     durable and every later State, from any process, sees it.
//   - Get returns one override by ID, whatever its age; ok is false when there is none.
//   - Failures to reach the store, a closed one included, wrap ErrUnavailable.
//   - All methods may be called concurrently. They return soon after ctx ends, with its error; a Commit that returned it
//     was made whole or not at all.
type Store interface {
	State(ctx context.Context, since time.Time) (State, error)
	Commit(ctx context.Context, version Version, overrides []Override) error
	Get(ctx context.Context, id string) (o Override, ok bool, err error)
	// Ping says whether the store can be reached, cheaply.
	Ping(ctx context.Context) error
	Close() error
}

// Settings are how one request is to be served.
type Settings struct {
	// Model is a tier or a model name.
	Model string
	// CacheTTL is how long an answer may be repeated; 0 switches the response cache off.
	CacheTTL     time.Duration
	Strategy     string
	QualityFloor float64
	// The caps; 0 means none.
	MaxOutputTokens   int
	MaxPromptChars    int
	RequestsPerMinute int
	// Avoid lists the providers or regions that get no traffic.
	Avoid []string
	// Frozen is set while a freeze is in force; it changes no request, only what remediation may do.
	Frozen bool
	// InForce are the overrides that shaped these settings, oldest first.
	InForce []Override
}
