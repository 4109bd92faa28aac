package monitor

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// Status is the state of one group, in Datadog's words.
type Status string

// The statuses of a group.
const (
	OK     Status = "OK"
	Warn   Status = "Warn"
	Alert  Status = "Alert"
	NoData Status = "No Data"
)

// Kind says what a transition means to those who are notified.
type Kind string

// The kinds of transitions.
const (
	KindAlert    Kind = "alert"
	KindWarn     Kind = "warn"
	KindNoData   Kind = "no_data"
	KindRecovery Kind = "recovery"
	KindRenotify Kind = "renotify"
)

// State is what a monitor remembers between evaluations. The zero State is that of a new monitor.
type State struct {
	// Groups is by the name of the group, such as "function:qa", or "*".
	Groups map[string]Group
}

// Group is the state of one group.
type Group struct {
	Status Status
	Tags   []string
	// Value is the last one evaluated.
	Value float64
	// FirstSeen and LastSeen bound the data of the group.
	FirstSeen, LastSeen time.Time
	// FirstTriggered is when the group left OK in this or the last alert cycle, LastTriggered when it last changed to a
	// status that is not OK.
	FirstTriggered, LastTriggered time.Time
	// LastNotified and Renotified steer renotification.
	LastNotified time.Time
	Renotified   int
	// Notified is the status that was last told, which differs from Status where No Data is shown only.
	Notified Status
}

// Transition is one event of a group that would notify.
type Transition struct {
	Group string
	Tags  []string
	// From and To are the statuses; equal for a renotification.
	From, To Status
	Kind     Kind
	// Value is what was compared with Threshold; NaN for no data.
	Value, Threshold float64
	At               time.Time
	// TriggeredAt is the start of this alert cycle: on recovery it is still the time of the trigger.
	TriggeredAt time.Time
	// LastTriggeredAt is the last change to a status that is not OK. It differs from TriggeredAt after Warn to Alert.
	LastTriggeredAt time.Time
	// Values are what the message can name besides the value: the windows of a burn rate, the parts of a composite.
	Values map[string]float64
	// Event is the latest one that matched, of a monitor on logs, events or spans; nil without any.
	Event *search.Event
}

// Overall returns the worst status of all groups: Alert, Warn, No Data, OK. A monitor without groups has No Data.
func (s State) Overall() Status {
	order := []Status{Alert, Warn, NoData, OK}
	worst := len(order)
	for _, g := range s.Groups {
		worst = min(worst, slices.Index(order, g.Status))
	}
	if worst == len(order) {
		return NoData
	}
	return order[worst]
}

// Evaluate judges every group at a time and returns the next state with the transitions, in the order of the groups' names. It
// changes nothing that it is given.
func (m *Monitor) Evaluate(data Data, state State, now time.Time) (State, []Transition) {
	groups := maps.Clone(state.Groups)
	if groups == nil {
		groups = map[string]Group{}
	}
	readings := map[string]reading{}
	c := m.condition
	at := now.Add(-time.Duration(m.Options.EvaluationDelay) * time.Second)
	for _, r := range c.read(data, at) {
		readings[r.group] = r
		// A search without groups is judged even before anything matched.
		if _, known := groups[r.group]; !known && (!r.last.IsZero() || c.events != nil && r.group == "*") {
			groups[r.group] = Group{Status: OK, Notified: OK, Tags: r.tags, FirstSeen: r.first}
		}
	}
	var out []Transition
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		r, ok := readings[name]
		switch {
		case ok:
		case c.events != nil:
			r = c.events.absent(name, len(readings) > 0)
		default:
			r = reading{group: name, value: math.NaN(), recovery: math.NaN()}
		}
		if !ok && m.forgets(groups[name], at) {
			delete(groups, name)
			continue
		}
		g, t := m.step(name, groups[name], r, now, at)
		groups[name] = g
		if t != nil {
			out = append(out, *t)
		}
	}
	return State{Groups: groups}, out
}

// forgets reports whether a group of events has been silent for so long that it is dropped.
func (m *Monitor) forgets(g Group, at time.Time) bool {
	return len(m.condition.by()) > 0 && m.condition.events != nil && !g.LastSeen.IsZero() && at.Sub(g.LastSeen) > max(m.retention, m.condition.window)
}

// step moves one group.
func (m *Monitor) step(name string, g Group, r reading, now, at time.Time) (Group, *Transition) {
	if r.last.After(g.LastSeen) {
		g.LastSeen = r.last
	}
	if m.waiting(g, now, at) {
		return g, nil
	}
	from := g.Status
	to, threshold := m.judge(g, r, at)
	if !math.IsNaN(r.value) {
		g.Value = r.value
	}
	g.Status = to
	t := &Transition{
		Group: name, Tags: g.Tags, From: from, To: to, Value: r.value, Threshold: threshold, At: now, Values: r.values, Event: r.sample,
	}
	switch {
	case to == from && !m.renotifies(g, now):
		return g, nil
	case to != from && (m.silent(to) || m.silent(from) && to == g.Notified):
		// What is only shown is not told, and neither is its end, unless something that was told has ended meanwhile.
		return g, nil
	case to == from:
		t.Kind = KindRenotify
		g.Renotified++
	default:
		g.Renotified = 0
		switch to {
		case OK:
			t.Kind = KindRecovery
		case Warn:
			t.Kind = KindWarn
		case Alert:
			t.Kind = KindAlert
		case NoData:
			t.Kind = KindNoData
		}
		if to != OK {
			g.LastTriggered = now
			if from == OK {
				g.FirstTriggered = now
			}
		}
	}
	g.LastNotified, g.Notified = now, to
	t.TriggeredAt, t.LastTriggeredAt = g.FirstTriggered, g.LastTriggered
	return g, t
}

// silent reports whether a status is shown but not told.
func (m *Monitor) silent(s Status) bool {
	return s == NoData && m.Options.OnMissingData == "show_no_data"
}

// waiting reports whether a group is too young to be judged.
func (m *Monitor) waiting(g Group, now, at time.Time) bool {
	delay := time.Minute
	if m.Options.NewGroupDelay != nil {
		delay = time.Duration(*m.Options.NewGroupDelay) * time.Second
	}
	if len(m.condition.by()) > 0 && now.Before(g.FirstSeen.Add(delay)) {
		return true
	}
	// The first point of a window may lie anywhere in its first minute.
	return m.Options.RequireFullWindow && m.condition.events == nil && at.Add(-m.condition.window).Add(time.Minute).Before(g.FirstSeen)
}

// judge returns the status that follows from a reading, and the threshold that decided.
func (m *Monitor) judge(g Group, r reading, at time.Time) (Status, float64) {
	c, th := m.condition, m.Options.Thresholds
	switch {
	case r.status == NoData && !m.Options.NotifyNoData:
		return g.Status, c.threshold
	case r.status != "":
		return r.status, c.threshold
	}
	critical := *th.Critical
	if math.IsNaN(r.value) {
		return m.judgeSilence(g, at), critical
	}
	if c.crossed(r.value, critical) {
		return Alert, critical
	}
	if g.Status == Alert {
		if th.CriticalRecovery != nil && !c.recovered(r.recovery, *th.CriticalRecovery) || c.crossed(r.recovery, critical) {
			return Alert, critical
		}
	}
	if th.Warning != nil {
		if c.crossed(r.value, *th.Warning) {
			return Warn, *th.Warning
		}
		if g.Status == Warn && th.WarningRecovery != nil && !c.recovered(r.value, *th.WarningRecovery) {
			return Warn, *th.Warning
		}
		if g.Status == Warn {
			return OK, *th.Warning
		}
	}
	return OK, critical
}

// judgeSilence returns the status of a group without a value.
func (m *Monitor) judgeSilence(g Group, at time.Time) Status {
	silent := at.Sub(g.LastSeen)
	timeframe := time.Duration(m.Options.NoDataTimeframe) * time.Minute
	if timeframe == 0 {
		timeframe = 2 * m.condition.window
	}
	switch {
	case m.Options.TimeoutH > 0 && silent >= time.Duration(m.Options.TimeoutH)*time.Hour:
		return OK
	case m.condition.events != nil && m.Options.OnMissingData == "resolve":
		return OK
	case m.condition.events != nil && m.Options.OnMissingData != "" && m.Options.OnMissingData != "default":
		return NoData
	case m.Options.NotifyNoData && m.condition.objective == nil && silent >= timeframe:
		return NoData
	}
	return g.Status
}

// renotifies reports whether a group that did not change is due for a reminder.
func (m *Monitor) renotifies(g Group, now time.Time) bool {
	o := m.Options
	name, ok := map[Status]string{Alert: "alert", Warn: "warn", NoData: "no data"}[g.Status]
	if !ok || o.RenotifyInterval == 0 || o.RenotifyOccurrences > 0 && g.Renotified >= o.RenotifyOccurrences {
		return false
	}
	statuses := o.RenotifyStatuses
	if len(statuses) == 0 {
		statuses = []string{"alert", "no data"}
	}
	return slices.Contains(statuses, name) && !now.Before(g.LastNotified.Add(time.Duration(o.RenotifyInterval)*time.Minute))
}
