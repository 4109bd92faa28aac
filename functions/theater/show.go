package theater

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
)

// Source is what the page shows. Implementations are safe for concurrent use, and keep nothing running between calls.
type Source interface {
	// State is how everything stands. What can't be known is absent and named in Unavailable; an error says that nothing is known.
	State(ctx context.Context) (State, error)
	// Entries are what happened after the entry with an ID, oldest first. Where that is empty or unknown, they are the latest.
	Entries(ctx context.Context, after string) ([]Entry, error)
}

// State is how everything stands at a moment. What is not known is absent.
type State struct {
	// At is the time of the clock that monitors are evaluated by; it runs Speed times as fast as the wall's.
	At    time.Time `json:"at"`
	Speed float64   `json:"speed"`

	Health   *Health   `json:"health,omitempty"`
	Cost     *Cost     `json:"cost,omitempty"`
	Monitors []Monitor `json:"monitors,omitempty"`
	Charts   []Chart   `json:"charts,omitempty"`
	// InForce are the overrides that hold, History those that are over, newest first.
	InForce []control.Override `json:"in_force"`
	History []control.Override `json:"history"`
	// Performances are the scenarios that play, wait or are over, newest first; filled in by the function.
	Performances []Performance `json:"performances,omitempty"`
	// Unavailable says what could not be read.
	Unavailable []string `json:"unavailable,omitempty"`
}

// Health is the health score with its parts, as the function insights judges it.
type Health struct {
	Score *float64        `json:"health_score,omitempty"`
	Parts map[string]Part `json:"parts"`
	// LeftOut are the parts without data.
	LeftOut []LeftOut `json:"left_out"`
	// Window is how far back the score looks.
	Window string `json:"window,omitempty"`
}

// Part is one part of the score.
type Part struct {
	Score  float64            `json:"score"`
	Weight float64            `json:"weight"`
	Inputs map[string]float64 `json:"inputs"`
}

// LeftOut is a part without data.
type LeftOut struct {
	Part   string  `json:"part"`
	Weight float64 `json:"weight"`
	Reason string  `json:"reason"`
}

// Cost is what requests cost in a window.
type Cost struct {
	USD    float64 `json:"usd"`
	Window string  `json:"window"`
}

// Monitor is a monitor as it stands.
type Monitor struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	// Value is that of the worst group.
	Value    *float64 `json:"value,omitempty"`
	Critical *float64 `json:"critical,omitempty"`
}

// Chart is some series over the same times.
type Chart struct {
	// Key is one of latency, cost, quality, errors, safety, health.
	Key   string `json:"key"`
	Title string `json:"title"`
	// Unit is ms, usd, share, percent or score.
	Unit string `json:"unit"`
	// Monitor is the one that watches this.
	Monitor string `json:"monitor,omitempty"`
	// At are times in Unix seconds of the clock of State.At, the same for all series. Null is no data.
	At         []int64     `json:"at"`
	Series     []Series    `json:"series"`
	Thresholds []Threshold `json:"thresholds"`
}

// Series is one line of a chart. Bound marks a line that is no measurement, such as the upper edge of what is expected.
type Series struct {
	Name   string     `json:"name"`
	Values []*float64 `json:"values"`
	Bound  bool       `json:"bound,omitempty"`
}

// Threshold is a value at which a monitor changes its state. Kind is critical, warning, recovery or target.
type Threshold struct {
	Kind  string  `json:"kind"`
	Value float64 `json:"value"`
	Label string  `json:"label"`
}

// Entry is one thing that happened.
type Entry struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Kind is one of the Kind constants.
	Kind  string `json:"kind"`
	Title string `json:"title"`
	Why   string `json:"why,omitempty"`
	// Monitor and Workflow are names; Status is how a step or a workflow ended.
	Monitor  string `json:"monitor,omitempty"`
	Workflow string `json:"workflow,omitempty"`
	Status   string `json:"status,omitempty"`
}

// The kinds of entries.
const (
	KindScenario     = "scenario"
	KindFault        = "fault"
	KindCleared      = "cleared"
	KindAlert        = "alert"
	KindWarn         = "warn"
	KindRecovery     = "recovery"
	KindWorkflow     = "workflow"
	KindStep         = "step"
	KindOverride     = "override"
	KindRevert       = "revert"
	KindExpired      = "expired"
	KindIncident     = "incident"
	KindPage         = "page"
	KindResolved     = "resolved"
	KindNotification = "notification"
	KindFailure      = "failure"
)

// Stage plays scenarios: failures on purpose, with all that follows.
type Stage interface {
	// Scenarios are what can be played, in the order in which they are shown.
	Scenarios() []Scenario
	// Play begins a scenario, or puts it behind those that wait; one plays at a time. The same key is the same performance, so
	// that a repeated call begins nothing. The errors are ErrUnknownScenario, ErrKeyReused and ErrFull.
	Play(name, key string) (Performance, error)
	// Performances are those that play, wait or are over, newest first.
	Performances() []Performance
}

// The errors of a Stage.
var (
	ErrUnknownScenario = errors.New("unknown scenario")
	ErrKeyReused       = errors.New("key of another scenario")
	ErrFull            = errors.New("too many scenarios wait")
)

// Scenario is a failure that can be played.
type Scenario struct {
	// Name is that of the route.
	Name  string `json:"name"`
	Title string `json:"title"`
	// Fault says what goes wrong, Remedy what is done about it.
	Fault   string `json:"fault"`
	Remedy  string `json:"remedy"`
	Monitor string `json:"monitor"`
}

// Performance is one scenario that was asked for.
type Performance struct {
	ID       string `json:"id"`
	Scenario string `json:"scenario"`
	// State is Queued, Playing, Done or Failed.
	State string `json:"state"`
	// Asked is when it was asked for, in wall time.
	Asked time.Time `json:"asked"`
	// Phases are those that were reached, in order.
	Phases []Phase `json:"phases"`
	// Failure says why it failed.
	Failure string `json:"failure,omitempty"`
}

// The states of a performance.
const (
	Queued  = "queued"
	Playing = "playing"
	Done    = "done"
	Failed  = "failed"
)

// Phase is a point that a performance reached. Names are, in order: clicked, traffic, fault, alert, workflow, override, cleared,
// recovered, reverted. Where no override is the remedy, override is the incident, and reverted its end.
type Phase struct {
	Name string `json:"name"`
	// At is the time of the clock of State.At, Wall that of the wall.
	At   time.Time `json:"at"`
	Wall time.Time `json:"wall"`
	Text string    `json:"text,omitempty"`
}

// OverrideEntries are what overrides have done by a time, oldest first: that they began and that they ended, with who and why.
func OverrideEntries(overrides []control.Override, now time.Time) []Entry {
	var out []Entry
	for _, o := range overrides {
		if o.Start.After(now) {
			continue
		}
		out = append(out, Entry{
			ID: o.ID + "#start", At: o.Start, Kind: KindOverride, Title: Effect(o), Why: Reason(o.Source), Monitor: o.Source.Monitor,
		})
		switch {
		case o.Ended != nil && !o.Ended.At.After(now):
			out = append(out, Entry{
				ID: o.ID + "#end", At: o.Ended.At, Kind: KindRevert, Title: "Ended: " + Effect(o),
				Why: strings.TrimSuffix(o.Ended.Cause+": "+Reason(o.Ended.Source), ": "), Monitor: o.Ended.Source.Monitor,
			})
		case o.Ended == nil && !o.End.After(now):
			out = append(out, Entry{ID: o.ID + "#end", At: o.End, Kind: KindExpired, Title: "Ran out: " + Effect(o), Why: "its time was over", Monitor: o.Source.Monitor})
		}
	}
	slices.SortStableFunc(out, func(a, b Entry) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Effect says in a line what an override does, and to whom.
func Effect(o control.Override) string {
	p := o.Params
	var what string
	switch o.Action {
	case control.SwitchModel:
		what = "Model " + p.Model
		if p.Percent != 0 && p.Percent != 100 {
			what += fmt.Sprintf(" for %d %%", p.Percent)
		}
	case control.EnableCache:
		what = "Answer repeats from the cache"
	case control.Route:
		what = "Route by " + p.Strategy
	case control.Limit:
		what = "Limits"
	case control.Failover:
		what = "Avoid provider " + p.Provider
	case control.Freeze:
		what = "Refuse automatic actions"
	default:
		what = string(o.Action)
	}
	var scope []string
	for _, part := range []string{o.Scope.Function, o.Scope.Endpoint, o.Scope.Caller} {
		if part != "" {
			scope = append(scope, part)
		}
	}
	if len(scope) == 0 {
		return what + ", everywhere"
	}
	return what + ", for " + strings.Join(scope, " ")
}

// Reason says in a line who asked for an override, and why.
func Reason(s control.Source) string {
	who := cmp.Or(s.Operator, s.Monitor)
	switch {
	case who == "":
		return s.Reason
	case s.Reason == "":
		return who
	}
	return who + ": " + s.Reason
}

// DatadogLinks are where Datadog shows what the page can't.
func DatadogLinks(site, service string) []Link {
	app := "https://app." + site
	if strings.Count(site, ".") > 1 { // such as us5.datadoghq.com, which is its own host
		app = "https://" + site
	}
	return []Link{
		{"Dashboard", app + "/dashboard/lists?q=LLM%20Reliability%20Control%20Plane"},
		{"Monitors", app + "/monitors/manage?q=service%3A" + service},
		{"Workflow runs", app + "/workflow"},
		{"LLM traces", app + "/llm/traces?query=%40ml_app%3A" + service},
		{"Incidents", app + "/incidents"},
	}
}
