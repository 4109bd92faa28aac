// Package monitor reads Datadog monitors and evaluates them: from data, a state and a time to the next state and the
// transitions on the way. It is the heart of the local stand-in for Datadog. It is pure: it stores nothing, has no clock,
// and notifies nobody; whoever calls it renders the message and follows its mentions.
//
// Monitors are evaluated on metrics (thresholds, percentiles, changes, anomalies), on SLOs (burn rate, error budget), on
// logs, events, spans and LLM spans, and on each other (composites). Where it approximates or differs:
//
//	here                                                   at Datadog
//	--------------------------------------------------     --------------------------------------------------------
//	avg, min, max over points of 60 s, of 10 s below       points of an interval that depends on the window
//	a window of 5 minutes; windows end at a flush (10 s)
//	the bands of anomalies are our own formulas            a lagging rolling quantile, a robust SARIMA and a seasonal
//	(anomaly.go, seasonal.go), over at most a day, two     decomposition that are not published, over up to six weeks
//	weeks or six weeks
//	anomalies of a timezone, or on forecasts, outliers,    evaluated
//	are refused with ErrNotEvaluated
//	a group without data keeps its status, unless          the same for "do not notify"; a group may be dropped
//	notify_no_data or timeout_h says otherwise             after 24 h
//	burn rate: the value is the smaller window's rate      both are shown
//	an error budget spans what the metric store keeps;     the whole timeframe
//	what is missing counts as good
//	an event without a facet of "by" is in no group, and   it forms a group N/A; at most 30, 10 or 5 values of each
//	at most 1000 groups count                              of two, three or four facets
//	a count below a bound by groups tells when all groups  it tells also when no group was ever seen
//	that were seen are silent
//	logs are searched in one index, whatever its name      in the index that is named
//	{{log.link}} and {{span.link}} are paths               URLs of the explorers
//	notify_by with other than all groups or "*", and       evaluated
//	monitor types not listed above, are refused with
//	ErrNotEvaluated
//	include_tags, notify_audit, locked,                    change how a notification looks, who may edit, or what
//	enable_logs_sample and notification_preset_name        is attached
//	have no effect
package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

// ErrNotEvaluated marks a monitor that is valid at Datadog but has no evaluator here.
var ErrNotEvaluated = errors.New("not evaluated here")

// Data is what a monitor looks at.
type Data interface {
	// Series returns one series per group, with NaN where there is no data.
	Series(q metric.Query, from, to time.Time, interval time.Duration) []metric.Series
	// SLO returns the objective with an id, or false.
	SLO(id string) (*slo.SLO, bool)
	// Events returns what came from a source, one of the Source constants, from a time inclusive to a time exclusive, in any
	// order. It may return more than that.
	Events(source string, from, to time.Time) []search.Event
	// Monitor returns another monitor as it stands, for composites, or false.
	Monitor(id int64) (*Monitor, State, bool)
}

// Monitor is a parsed monitor. It does not change after Parse.
type Monitor struct {
	ID       int64
	Name     string
	Type     string
	Query    string // as written
	Template string // the message, as written
	Tags     []string
	Priority int // 1 (highest) to 5, 0 for none
	Options  Options

	condition     condition
	retention     time.Duration // of groups of events without data
	message, name template
}

// Composite reports whether the monitor combines others, which must be evaluated before it.
func (m *Monitor) Composite() bool { return m.condition.composite != nil }

// By are the keys of the groups that alert on their own; none for a monitor of one group, nor for a composite.
func (m *Monitor) By() []string { return slices.Clone(m.condition.by()) }

// Options are the options that have an effect here. Durations are in the units of Datadog's API.
type Options struct {
	Thresholds       Thresholds        `json:"thresholds"`
	ThresholdWindows *ThresholdWindows `json:"threshold_windows"`
	NotifyNoData     bool              `json:"notify_no_data"`
	// NoDataTimeframe is in minutes; 0 means twice the window.
	NoDataTimeframe   int  `json:"no_data_timeframe"`
	RequireFullWindow bool `json:"require_full_window"`
	// EvaluationDelay and NewGroupDelay are in seconds. A NewGroupDelay that is not given is 60.
	EvaluationDelay int  `json:"evaluation_delay"`
	NewGroupDelay   *int `json:"new_group_delay"`
	// RenotifyInterval is in minutes; 0 means never. RenotifyOccurrences 0 means without end.
	RenotifyInterval    int      `json:"renotify_interval"`
	RenotifyOccurrences int      `json:"renotify_occurrences"`
	RenotifyStatuses    []string `json:"renotify_statuses"` // alert, warn, no data; none means alert and no data
	// TimeoutH is in hours without data until a triggered group resolves; 0 means never.
	TimeoutH int `json:"timeout_h"`

	// OnMissingData is for monitors on logs, events and spans, which have no NotifyNoData: default, show_no_data,
	// show_and_notify_no_data or resolve.
	OnMissingData string `json:"on_missing_data"`
	// GroupRetention is such as "2h", for the same monitors; none means a day.
	GroupRetention string `json:"group_retention_duration"`
	// GroupbySimple makes one alert of all groups of a log monitor; NotifyBy of "*" is its successor.
	GroupbySimple bool     `json:"groupby_simple_monitor"`
	NotifyBy      []string `json:"notify_by"`

	IncludeTags      *bool  `json:"include_tags"`
	NotifyAudit      *bool  `json:"notify_audit"`
	Locked           *bool  `json:"locked"`
	EnableLogsSample *bool  `json:"enable_logs_sample"`
	NotifyPreset     string `json:"notification_preset_name"`
}

// Thresholds are the bounds of the statuses. Only Critical is required.
type Thresholds struct {
	Critical         *float64 `json:"critical"`
	Warning          *float64 `json:"warning"`
	CriticalRecovery *float64 `json:"critical_recovery"`
	WarningRecovery  *float64 `json:"warning_recovery"`
}

// ThresholdWindows are how long an anomaly must last and be over, such as "last_5m".
type ThresholdWindows struct {
	Trigger  string `json:"trigger_window"`
	Recovery string `json:"recovery_window"`
}

type document struct {
	ID       int64    `json:"id"`
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Query    string   `json:"query"`
	Message  string   `json:"message"`
	Tags     []string `json:"tags"`
	Priority *int     `json:"priority"`
	Options  Options  `json:"options"`
}

// Parse reads the JSON that Datadog's API takes for a monitor, with all its references resolved. It refuses keys, queries
// and template variables that it does not know, and what Datadog documents as invalid. The error wraps ErrNotEvaluated for
// what only Datadog evaluates. The id given wins over one in the document.
func Parse(id int64, raw []byte) (*Monitor, error) {
	m, err := parse(id, raw)
	if err != nil {
		return nil, fmt.Errorf("parse monitor %d: %w", id, err)
	}
	return m, nil
}

func parse(id int64, raw []byte) (*Monitor, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{
		"query alert", "metric alert", "slo alert", "log alert", "event-v2 alert", "trace-analytics alert", "llm-observability alert", "composite",
	}, head.Type) {
		return nil, fmt.Errorf("type %q: %w", head.Type, ErrNotEvaluated)
	}
	var doc document
	if err := strictjson.Decode(raw, &doc); err != nil {
		return nil, err
	}
	m := &Monitor{
		ID: id, Name: doc.Name, Type: doc.Type, Query: doc.Query, Template: doc.Message, Tags: doc.Tags, Options: doc.Options,
	}
	if doc.Priority != nil {
		if m.Priority = *doc.Priority; m.Priority < 1 || m.Priority > 5 {
			return nil, fmt.Errorf("priority %d is not between 1 and 5", m.Priority)
		}
	}
	var err error
	if m.condition, err = parseCondition(doc.Type, doc.Query); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	if err := m.checkOptions(); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if m.message, err = parseTemplate(doc.Message, m.condition); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if m.name, err = parseTemplate(doc.Name, m.condition); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	return m, nil
}

func (m *Monitor) checkOptions() error {
	o := &m.Options
	if err := m.checkGrouping(); err != nil {
		return err
	}
	if err := m.checkMissing(); err != nil {
		return err
	}
	if err := m.checkThresholds(); err != nil {
		return err
	}
	for name, n := range map[string]int{
		"no_data_timeframe": o.NoDataTimeframe, "evaluation_delay": o.EvaluationDelay,
		"renotify_interval": o.RenotifyInterval, "renotify_occurrences": o.RenotifyOccurrences, "timeout_h": o.TimeoutH,
	} {
		if n < 0 {
			return fmt.Errorf("%s %d is negative", name, n)
		}
	}
	if o.NewGroupDelay != nil && *o.NewGroupDelay < 0 {
		return fmt.Errorf("new_group_delay %d is negative", *o.NewGroupDelay)
	}
	if o.TimeoutH > 24 {
		return fmt.Errorf("timeout_h %d is above 24", o.TimeoutH)
	}
	for _, s := range o.RenotifyStatuses {
		if s != "alert" && s != "warn" && s != "no data" {
			return fmt.Errorf("renotify_statuses: %q is not alert, warn or no data", s)
		}
	}
	if o.NotifyPreset != "" && !slices.Contains([]string{
		"show_all", "hide_query", "hide_handles", "hide_all", "hide_query_and_handles", "show_only_snapshot", "hide_handles_and_footer",
	}, o.NotifyPreset) {
		return fmt.Errorf("notification_preset_name %q is unknown", o.NotifyPreset)
	}
	if o.EnableLogsSample != nil && m.Type != "log alert" {
		return errors.New("enable_logs_sample is for log monitors")
	}
	return m.checkWindows()
}

func (m *Monitor) checkThresholds() error {
	c, th := m.condition, &m.Options.Thresholds
	others := map[string]*float64{
		"warning": th.Warning, "critical_recovery": th.CriticalRecovery, "warning_recovery": th.WarningRecovery,
	}
	if c.composite != nil || !c.sided() {
		for name, v := range others {
			if v != nil {
				return fmt.Errorf("thresholds.%s has no meaning for this query", name)
			}
		}
	}
	if c.composite != nil {
		if th.Critical != nil {
			return errors.New("a composite has no thresholds")
		}
		return nil
	}
	if th.Critical == nil {
		th.Critical = &c.threshold
	}
	if *th.Critical != c.threshold {
		return fmt.Errorf("thresholds.critical %v is not the threshold %v of the query", *th.Critical, c.threshold)
	}
	for name, v := range others {
		if v != nil && (*v == c.threshold || c.above() != (*v < c.threshold)) {
			return fmt.Errorf("thresholds.%s %v is on the wrong side of critical %v", name, *v, c.threshold)
		}
	}
	if th.WarningRecovery != nil && (th.Warning == nil || c.above() != (*th.WarningRecovery < *th.Warning)) {
		return fmt.Errorf("thresholds.warning_recovery %v has no warning beyond it", *th.WarningRecovery)
	}
	return nil
}

// checkMissing holds that each type says in its own way what silence means.
func (m *Monitor) checkMissing() error {
	o, e := &m.Options, m.condition.events
	if e == nil {
		switch {
		case o.OnMissingData != "":
			return fmt.Errorf("on_missing_data is for monitors on logs, events and spans, not for a %s", m.Type)
		case o.GroupRetention != "":
			return fmt.Errorf("group_retention_duration is for monitors on logs, events and spans, not for a %s", m.Type)
		}
		return nil
	}
	if o.NotifyNoData || o.NoDataTimeframe != 0 {
		return fmt.Errorf("a %s has on_missing_data, not notify_no_data and no_data_timeframe", m.Type)
	}
	if !slices.Contains([]string{"", "default", "show_no_data", "show_and_notify_no_data", "resolve"}, o.OnMissingData) {
		return fmt.Errorf("on_missing_data %q is not default, show_no_data, show_and_notify_no_data or resolve", o.OnMissingData)
	}
	if o.OnMissingData != "default" {
		e.missing = o.OnMissingData
	}
	m.retention = retention
	if o.GroupRetention != "" {
		var err error
		if m.retention, err = parseWindow("last_" + o.GroupRetention); err != nil || m.retention < time.Hour || m.retention > 72*time.Hour {
			return fmt.Errorf("group_retention_duration %q is not between 1h and 72h", o.GroupRetention)
		}
	}
	return nil
}

// checkGrouping reads which groups alert on their own.
func (m *Monitor) checkGrouping() error {
	o, by := &m.Options, m.condition.by()
	if o.GroupbySimple {
		if m.Type != "log alert" {
			return errors.New("groupby_simple_monitor is for log monitors")
		}
		m.condition.simple = true
	}
	if len(o.NotifyBy) == 0 {
		return nil
	}
	if slices.Equal(o.NotifyBy, []string{"*"}) {
		m.condition.simple = true
		return nil
	}
	for _, key := range o.NotifyBy {
		if !slices.Contains(by, key) {
			return fmt.Errorf("notify_by: %q is not among the groups {%s} of the query", key, strings.Join(by, ","))
		}
	}
	if len(o.NotifyBy) != len(by) {
		return fmt.Errorf("notify_by of some groups: %w", ErrNotEvaluated)
	}
	return nil
}

// checkWindows holds the documented rules of anomaly monitors.
func (m *Monitor) checkWindows() error {
	w, a := m.Options.ThresholdWindows, m.condition.anomaly
	if a == nil {
		if w != nil {
			return errors.New("threshold_windows are for anomaly monitors")
		}
		return nil
	}
	if w == nil || w.Trigger == "" || w.Recovery == "" {
		return errors.New("an anomaly monitor needs threshold_windows with trigger_window and recovery_window")
	}
	trigger, err := parseWindow(w.Trigger)
	if err != nil {
		return err
	}
	recovery, err := parseWindow(w.Recovery)
	if err != nil {
		return err
	}
	if trigger != a.alertWindow {
		return fmt.Errorf("trigger_window %v is not the alert_window %v of the query", trigger, a.alertWindow)
	}
	// A shorter one could hold no anomaly while the alert window still holds enough of them.
	least := time.Duration(float64(trigger)*(1-m.condition.threshold)).Round(time.Second) + time.Minute
	if recovery < max(least, a.interval) || recovery > trigger {
		return fmt.Errorf("recovery_window %v is outside %v..%v", recovery, max(least, a.interval), trigger)
	}
	a.recoveryWindow = recovery
	return nil
}

// Check holds what only the other assets can tell. The SLO of an SLO alert exists, has the timeframe, and can burn as fast as
// the threshold (Datadog: at most 1/(1-target)). The monitors of a composite exist and are no composites.
func (m *Monitor) Check(data Data) error {
	var err error
	switch c := m.condition; {
	case c.objective != nil:
		err = c.objective.check(data, c.threshold)
	case c.composite != nil:
		err = c.composite.check(data, append(m.message.keys(), m.name.keys()...))
	}
	if err != nil {
		return fmt.Errorf("monitor %d: %w", m.ID, err)
	}
	return nil
}
