// Package monitor reads Datadog monitors and evaluates them: from data, a state and a time to the next state and the
// transitions on the way. It is the heart of the local stand-in for Datadog. It is pure: it stores nothing, has no clock,
// and notifies nobody; whoever calls it renders the message and follows its mentions.
//
// Where it approximates or differs:
//
//	here                                                   at Datadog
//	--------------------------------------------------     --------------------------------------------------------
//	avg, min, max over points of 60 s, of 10 s below       points of an interval that depends on the window
//	a window of 5 minutes; windows end at a flush (10 s)
//	anomalies 'basic' is median and deviation (anomaly.go) a lagging rolling quantile; agile and robust are refused
//	a group without data keeps its status, unless          the same for "do not notify"; a group may be dropped
//	notify_no_data or timeout_h says otherwise             after 24 h
//	burn rate: the value is the smaller window's rate      both are shown
//	log, event, composite and other monitor types are      evaluated
//	refused with ErrNotEvaluated
//	include_tags, notify_audit, locked and                 change how a notification looks
//	notification_preset_name have no effect
package monitor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
)

// ErrNotEvaluated marks a monitor that is valid at Datadog but has no evaluator here.
var ErrNotEvaluated = errors.New("not evaluated here")

// Data is what a monitor looks at.
type Data interface {
	// Series returns one series per group, with NaN where there is no data.
	Series(q metric.Query, from, to time.Time, interval time.Duration) []metric.Series
	// SLO returns the objective with an id, or false.
	SLO(id string) (*slo.SLO, bool)
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
	message, name template
}

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

	IncludeTags   *bool  `json:"include_tags"`
	NotifyAudit   *bool  `json:"notify_audit"`
	Locked        *bool  `json:"locked"`
	NotifyPreset  string `json:"notification_preset_name"`
	OnMissingData string `json:"on_missing_data"`
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
	if !slices.Contains([]string{"query alert", "metric alert", "slo alert"}, head.Type) {
		return nil, fmt.Errorf("type %q: %w", head.Type, ErrNotEvaluated)
	}
	var doc document
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the document")
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
	if m.condition, err = parseCondition(doc.Query); err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	if (m.condition.burn != nil) != (doc.Type == "slo alert") {
		return nil, fmt.Errorf("type %q does not fit the query", doc.Type)
	}
	if err := m.checkOptions(); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if m.message, err = parseTemplate(doc.Message, m.condition.by()); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if m.name, err = parseTemplate(doc.Name, m.condition.by()); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	return m, nil
}

func (m *Monitor) checkOptions() error {
	o, c := &m.Options, m.condition
	th := &o.Thresholds
	if th.Critical == nil {
		th.Critical = &c.threshold
	}
	if *th.Critical != c.threshold {
		return fmt.Errorf("thresholds.critical %v is not the threshold %v of the query", *th.Critical, c.threshold)
	}
	for name, v := range map[string]*float64{
		"warning": th.Warning, "critical_recovery": th.CriticalRecovery, "warning_recovery": th.WarningRecovery,
	} {
		if v != nil && (*v == c.threshold || c.above() != (*v < c.threshold)) {
			return fmt.Errorf("thresholds.%s %v is on the wrong side of critical %v", name, *v, c.threshold)
		}
	}
	if th.WarningRecovery != nil && (th.Warning == nil || c.above() != (*th.WarningRecovery < *th.Warning)) {
		return fmt.Errorf("thresholds.warning_recovery %v has no warning beyond it", *th.WarningRecovery)
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
	if o.OnMissingData != "" {
		return fmt.Errorf("on_missing_data is for other monitor types: %w", ErrNotEvaluated)
	}
	return m.checkWindows()
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
	if recovery < a.interval || recovery > m.condition.window {
		return fmt.Errorf("recovery_window %v is outside %v..%v", recovery, a.interval, m.condition.window)
	}
	a.recoveryWindow = recovery
	return nil
}

// Check holds what only the other assets can tell: the SLO of a burn-rate monitor exists, has the timeframe, and can
// burn as fast as the threshold (Datadog: at most 1/(1-target)).
func (m *Monitor) Check(data Data) error {
	b := m.condition.burn
	if b == nil {
		return nil
	}
	objective, ok := data.SLO(b.id)
	if !ok {
		return fmt.Errorf("monitor %d: no slo %q", m.ID, b.id)
	}
	if _, ok := objective.Target(b.over); !ok {
		return fmt.Errorf("monitor %d: slo %q has no timeframe %s", m.ID, b.id, b.over)
	}
	if highest := objective.MaxBurnRate(b.over); m.condition.threshold > highest {
		return fmt.Errorf("monitor %d: burn rate %v is above the highest possible, %v", m.ID, m.condition.threshold, highest)
	}
	return nil
}
