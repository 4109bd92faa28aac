package escalation

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// The states, in the order in which an incident or a page goes through them. What is done is never undone: a late alert does not open
// again what is over.
const (
	active, stable, resolved = "active", "stable", "resolved"
	triggered, acknowledged  = "triggered", "acknowledged"
)

// kind is what is made at Datadog.
type kind string

// The kinds.
const (
	incidentKind kind = "incident"
	pageKind     kind = "page"
)

// states returns those of a kind, in order.
func (k kind) states() []string {
	if k == pageKind {
		return []string{triggered, acknowledged, resolved}
	}
	return []string{active, stable, resolved}
}

// entry is the record of one event: what is wanted of Datadog, and what is there. It is delivered when both are the same.
type entry struct {
	Kind  kind   `json:"kind"`
	Event string `json:"event"`
	// What was asked for first.
	Spec spec `json:"spec"`
	// Want is the state that is wanted. Reached says when each was asked for, and Told with what words.
	Want    string               `json:"want"`
	Reached map[string]time.Time `json:"reached"`
	Told    map[string]string    `json:"told,omitempty"`

	// ID, Number and State are what is at Datadog: State is empty as long as there is nothing.
	ID     string `json:"id,omitempty"`
	Number int64  `json:"number,omitempty"`
	State  string `json:"state,omitempty"`
	// Dressed is set when an incident has its times and links.
	Dressed bool `json:"dressed,omitempty"`
	// Tried is set when something may be there although its ID is not known: look before it is made again.
	Tried bool `json:"tried,omitempty"`

	// First and Last are the times of the first and the latest of Attempts; Failure is the kind of failure that was met last.
	First    time.Time `json:"first,omitzero"`
	Last     time.Time `json:"last,omitzero"`
	Attempts int       `json:"attempts,omitempty"`
	Failure  failure   `json:"failure,omitempty"`
	GivenUp  bool      `json:"given_up,omitempty"`
	// Lease is until when nobody but Holder may do anything at Datadog.
	Lease  time.Time `json:"lease,omitzero"`
	Holder string    `json:"holder,omitempty"`
}

// spec is an alert, as it was asked for.
type spec struct {
	Title     string     `json:"title"`
	Summary   string     `json:"summary,omitempty"`
	Severity  string     `json:"severity,omitempty"`
	RootCause string     `json:"root_cause,omitempty"`
	Detection string     `json:"detection,omitempty"`
	Services  []string   `json:"services,omitempty"`
	Teams     []string   `json:"teams,omitempty"`
	Customers bool       `json:"customers,omitempty"`
	Scope     string     `json:"scope,omitempty"`
	Since     time.Time  `json:"since,omitzero"`
	Monitor   string     `json:"monitor,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Began     time.Time  `json:"began"`
	Timeline  []moment   `json:"timeline,omitempty"`
	Links     []linkSpec `json:"links,omitempty"`
	Policy    Policy     `json:"policy,omitempty"`
	Adopt     bool       `json:"adopt,omitempty"`
	Test      bool       `json:"test,omitempty"`
}

type moment struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

type linkSpec struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// key is that of the entry's record.
func key(k kind, event string) string { return string(k) + ":" + event }

// mark is what tells the incident of an event from all others, in a text that Datadog can search.
func (e *entry) mark() string {
	sum := sha256.Sum256([]byte(key(e.Kind, e.Event)))
	return "Event: " + hex.EncodeToString(sum[:8])
}

// want asks for a state, and reports whether it is news.
func (e *entry) want(state, told string, now time.Time) bool {
	states := e.Kind.states()
	if slices.Index(states, state) <= slices.Index(states, e.Want) {
		return false
	}
	e.Want = state
	e.Reached[state] = now.UTC()
	if told != "" {
		if e.Told == nil {
			e.Told = map[string]string{}
		}
		e.Told[state] = told
	}
	return true
}

// overtaken is whether the event was over before its page was known to be sent.
func (e *entry) overtaken() bool {
	return e.Kind == pageKind && e.Want == resolved && e.ID == "" && !e.Tried
}

// done is whether what is wanted is there.
func (e *entry) done() bool {
	return e.overtaken() || e.ID != "" && e.reached(e.Want) && (e.Dressed || e.Kind == pageKind)
}

// reached is whether what is at Datadog is in a state, or beyond it: what a person has resolved stays so.
func (e *entry) reached(state string) bool {
	states := e.Kind.states()
	return slices.Index(states, e.State) >= slices.Index(states, state)
}

// leased is whether somebody is at it.
func (e *entry) leased(now time.Time) bool { return e.Holder != "" && now.Before(e.Lease) }

// take gives the entry to a holder, for one attempt.
func (e *entry) take(holder string, now, until time.Time) {
	e.Holder, e.Lease = holder, until.UTC()
	if e.Attempts == 0 {
		e.First = now.UTC()
	}
	e.Last = now.UTC()
	e.Attempts++
}

// rearm lets an entry that was given up be tried as if it were new.
func (e *entry) rearm() {
	e.GivenUp, e.Attempts, e.First, e.Failure = false, 0, time.Time{}, ""
}

// after says when an entry is tried again after its latest attempt failed; ok is false when it is given up.
func (e *entry) after(b Bounds, now time.Time) (next time.Time, ok bool) {
	pause := min(b.Base<<min(max(e.Attempts-1, 0), 30), b.Cap)
	next = now.Add(pause)
	return next, e.Attempts < b.Attempts && !next.After(e.First.Add(b.Age))
}
