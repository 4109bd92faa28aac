// Package slo reads Datadog's service level objectives and evaluates them over metric series. It is part of the local
// stand-in for Datadog. It stores nothing and has no clock: data and time come from the caller.
//
// It follows Datadog's documentation: a time slice is good when the comparison holds, missing data counts as uptime, and the
// burn rate is the part of bad events or slices divided by 1 - target. The differences:
//
//	here                                                   at Datadog
//	--------------------------------------------------     --------------------------------------------
//	one group; "groups" and "by" are refused               groups, and all of them up for overall uptime
//	monitor SLOs are refused                               evaluated
//	status corrections do not exist                        excluded from the status
//	windows end at the last whole slice                    the same, with the delay of the intake
package slo

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

// Data answers metric queries; *metric.Store does.
type Data interface {
	// Series returns one series per group, with NaN where there is no data.
	Series(q metric.Query, from, to time.Time, interval time.Duration) []metric.Series
}

// Threshold is the target of one timeframe, in percent.
type Threshold struct {
	Timeframe string  `json:"timeframe"` // 7d, 30d or 90d
	Target    float64 `json:"target"`
	Warning   float64 `json:"warning,omitempty"`
	// The display fields are made by Datadog and ignored when written.
	TargetDisplay  string `json:"target_display,omitempty"`
	WarningDisplay string `json:"warning_display,omitempty"`
}

// SLO is a parsed objective.
type SLO struct {
	ID, Name   string
	Type       string // time_slice or metric
	Tags       []string
	Thresholds []Threshold

	slice *slice
	count *count
}

// slice is the specification of a time-slice SLO.
type slice struct {
	query      metric.Query
	comparator string
	threshold  float64
	interval   time.Duration
}

// count is the specification of a metric SLO. Of bad and total one is set.
type count struct {
	good, second metric.Query
	bad          bool // second counts bad events, not all of them
}

// Status is how an objective did in a window. Good and Total are slices or events.
type Status struct {
	Good, Total float64
	// SLI is the percentage of good ones, 100 without data.
	SLI float64
	// BudgetRemaining is the percentage of the error budget that is left; below 0 it is overspent.
	BudgetRemaining float64
}

type document struct {
	ID               string      `json:"id"`
	Name             string      `json:"name"`
	Type             string      `json:"type"`
	Description      *string     `json:"description"`
	Tags             []string    `json:"tags"`
	Thresholds       []Threshold `json:"thresholds"`
	Timeframe        string      `json:"timeframe"`
	TargetThreshold  float64     `json:"target_threshold"`
	WarningThreshold float64     `json:"warning_threshold"`
	Query            *struct {
		Numerator   string `json:"numerator"`
		Denominator string `json:"denominator"`
	} `json:"query"`
	Specification *struct {
		TimeSlice *struct {
			Comparator string  `json:"comparator"`
			Threshold  float64 `json:"threshold"`
			Seconds    int64   `json:"query_interval_seconds"`
			Query      struct {
				Formulas []formula     `json:"formulas"`
				Queries  []sourceQuery `json:"queries"`
			} `json:"query"`
		} `json:"time_slice"`
		Count *struct {
			Good    *formula      `json:"good_events_formula"`
			Bad     *formula      `json:"bad_events_formula"`
			Total   *formula      `json:"total_events_formula"`
			Queries []sourceQuery `json:"queries"`
		} `json:"count"`
	} `json:"sli_specification"`
}

type formula struct {
	Formula string `json:"formula"`
}

type sourceQuery struct {
	DataSource string `json:"data_source"`
	Name       string `json:"name"`
	Query      string `json:"query"`
}

// Parse reads the JSON that Datadog's API takes for an SLO. Keys that it does not know are refused, as are the parts
// that the package comment excludes. The id given wins over one in the document.
func Parse(id string, raw []byte) (*SLO, error) {
	s, err := parse(id, raw)
	if err != nil {
		return nil, fmt.Errorf("parse slo %s: %w", id, err)
	}
	return s, nil
}

func parse(id string, raw []byte) (*SLO, error) {
	var doc document
	if err := strictjson.Decode(raw, &doc); err != nil {
		return nil, err
	}
	s := &SLO{ID: id, Name: doc.Name, Type: doc.Type, Tags: doc.Tags, Thresholds: doc.Thresholds}
	if doc.Name == "" {
		return nil, errors.New("no name")
	}
	if err := s.checkThresholds(doc); err != nil {
		return nil, err
	}
	var err error
	switch {
	case doc.Type == "time_slice" && doc.Specification != nil && doc.Specification.TimeSlice != nil:
		s.slice, err = doc.timeSlice()
	case doc.Type == "metric" && doc.Specification != nil && doc.Specification.Count != nil:
		s.count, err = doc.countSpec()
	case doc.Type == "metric" && doc.Query != nil:
		s.count, err = newCount(doc.Query.Numerator, doc.Query.Denominator, false)
	default:
		err = fmt.Errorf("type %q with this specification is not evaluated here", doc.Type)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *SLO) checkThresholds(doc document) error {
	if len(s.Thresholds) == 0 {
		return errors.New("no thresholds")
	}
	for i, t := range s.Thresholds {
		if window(t.Timeframe) == 0 {
			return fmt.Errorf("timeframe %q is not 7d, 30d or 90d", t.Timeframe)
		}
		if slices.ContainsFunc(s.Thresholds[:i], func(o Threshold) bool { return o.Timeframe == t.Timeframe }) {
			return fmt.Errorf("timeframe %s twice", t.Timeframe)
		}
		if t.Target <= 0 || t.Target >= 100 {
			return fmt.Errorf("target %v is not between 0 and 100", t.Target)
		}
		if t.Warning != 0 && (t.Warning <= t.Target || t.Warning > 100) {
			return fmt.Errorf("warning %v is not between the target %v and 100", t.Warning, t.Target)
		}
	}
	if doc.Timeframe == "" {
		return nil
	}
	i := slices.IndexFunc(s.Thresholds, func(t Threshold) bool { return t.Timeframe == doc.Timeframe })
	if i < 0 || doc.TargetThreshold != 0 && doc.TargetThreshold != s.Thresholds[i].Target {
		return fmt.Errorf("primary timeframe %s with target %v is not among the thresholds", doc.Timeframe, doc.TargetThreshold)
	}
	if doc.WarningThreshold != 0 && doc.WarningThreshold != s.Thresholds[i].Warning {
		return fmt.Errorf("primary timeframe %s with warning %v is not among the thresholds", doc.Timeframe, doc.WarningThreshold)
	}
	return nil
}

// window is the length of a timeframe.
func window(timeframe string) time.Duration {
	const day = 24 * time.Hour
	return map[string]time.Duration{"7d": 7 * day, "30d": 30 * day, "90d": 90 * day}[timeframe]
}

func (d document) timeSlice() (*slice, error) {
	ts := d.Specification.TimeSlice
	if ts.Seconds == 0 {
		ts.Seconds = 300
	}
	if ts.Seconds != 60 && ts.Seconds != 300 {
		return nil, fmt.Errorf("query_interval_seconds %d is not 60 or 300", ts.Seconds)
	}
	if _, ok := compare(ts.Comparator, 0, 0); !ok {
		return nil, fmt.Errorf("comparator %q is not one of < <= > >=", ts.Comparator)
	}
	if len(ts.Query.Formulas) != 1 {
		return nil, fmt.Errorf("%d formulas, want 1", len(ts.Query.Formulas))
	}
	q, err := expand(ts.Query.Formulas[0].Formula, ts.Query.Queries)
	if err != nil {
		return nil, err
	}
	return &slice{
		query: q, comparator: ts.Comparator, threshold: ts.Threshold,
		interval: time.Duration(ts.Seconds) * time.Second,
	}, nil
}

func (d document) countSpec() (*count, error) {
	c := d.Specification.Count
	second := c.Total
	if c.Bad != nil {
		second = c.Bad
	}
	if c.Good == nil || (c.Bad == nil) == (c.Total == nil) {
		return nil, errors.New("want good_events_formula and one of bad_events_formula and total_events_formula")
	}
	good, err := expand(c.Good.Formula, c.Queries)
	if err != nil {
		return nil, err
	}
	other, err := expand(second.Formula, c.Queries)
	if err != nil {
		return nil, err
	}
	return newCount(good.String(), other.String(), c.Bad != nil)
}

func newCount(good, second string, bad bool) (*count, error) {
	g, err := oneGroup(good)
	if err != nil {
		return nil, fmt.Errorf("good events: %w", err)
	}
	o, err := oneGroup(second)
	if err != nil {
		return nil, fmt.Errorf("bad or total events: %w", err)
	}
	return &count{good: g, second: o, bad: bad}, nil
}

func oneGroup(text string) (metric.Query, error) {
	q, err := metric.Parse(text)
	if err != nil {
		return q, err
	}
	if len(q.By()) > 0 {
		return q, fmt.Errorf("groups {%s} of an SLO are not evaluated here", strings.Join(q.By(), ","))
	}
	return q, nil
}

var identifier = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*\(?`)

// expand puts the queries into the formula, in place of their names.
func expand(text string, queries []sourceQuery) (metric.Query, error) {
	byName := map[string]string{}
	for _, q := range queries {
		if q.DataSource != "metrics" {
			return metric.Query{}, fmt.Errorf("data source %q of %s is not evaluated here", q.DataSource, q.Name)
		}
		if _, err := metric.Parse(q.Query); err != nil {
			return metric.Query{}, fmt.Errorf("query %s: %w", q.Name, err)
		}
		if _, ok := byName[q.Name]; ok {
			return metric.Query{}, fmt.Errorf("query %s twice", q.Name)
		}
		byName[q.Name] = q.Query
	}
	var unknown error
	full := identifier.ReplaceAllStringFunc(text, func(name string) string {
		if strings.HasSuffix(name, "(") {
			return name
		}
		q, ok := byName[name]
		if !ok {
			unknown = fmt.Errorf("formula %q names no query %s", text, name)
		}
		return "(" + q + ")"
	})
	if unknown != nil {
		return metric.Query{}, unknown
	}
	q, err := oneGroup(full)
	if err != nil {
		return q, fmt.Errorf("formula %q: %w", text, err)
	}
	return q, nil
}

// Target returns the target in percent for a timeframe such as "30d"; ok is false when the SLO has none.
func (s *SLO) Target(timeframe string) (target float64, ok bool) {
	for _, t := range s.Thresholds {
		if t.Timeframe == timeframe {
			return t.Target, true
		}
	}
	return 0, false
}

// MaxBurnRate is the highest burn rate that can occur for a timeframe: all bad, 1/(1-target). Datadog refuses alerts above it.
func (s *SLO) MaxBurnRate(timeframe string) float64 {
	target, ok := s.Target(timeframe)
	if !ok {
		return 0
	}
	return 1 / budget(target)
}

// budget is the part that may be bad. It is rounded because 1 - 0.99 is not 0.01 in binary.
func budget(target float64) float64 { return math.Round((100-target)*1e9) / 1e11 }

// Status evaluates the window from..to against the target of the first threshold.
func (s *SLO) Status(data Data, from, to time.Time) Status {
	good, total := s.tally(data, from, to)
	st := Status{Good: good, Total: total, SLI: 100, BudgetRemaining: 100}
	if total > 0 {
		bad := (total - good) / total
		st.SLI = 100 * good / total
		st.BudgetRemaining = 100 * (1 - bad/budget(s.Thresholds[0].Target))
	}
	return st
}

// BudgetSpent returns how much of the error budget of a timeframe is spent at now, in percent; above 100 it is overspent. What
// the data no longer hold counts as good. It is 0 for a timeframe without a target.
func (s *SLO) BudgetSpent(data Data, timeframe string, now time.Time) float64 {
	target, ok := s.Target(timeframe)
	if !ok {
		return 0
	}
	good, total := s.tally(data, now.Add(-window(timeframe)), now)
	if total <= 0 {
		return 0
	}
	return 100 * (total - good) / total / budget(target)
}

// BurnRate returns the burn rates of the long and the short window that end at now, for the target of a timeframe. 1 spends
// the budget exactly within the timeframe. Without data both are 0.
func (s *SLO) BurnRate(data Data, timeframe string, long, short time.Duration, now time.Time) (longRate, shortRate float64) {
	target, ok := s.Target(timeframe)
	if !ok {
		return 0, 0
	}
	rate := func(window time.Duration) float64 {
		good, total := s.tally(data, now.Add(-window), now)
		if total <= 0 {
			return 0
		}
		return (total - good) / total / budget(target)
	}
	return rate(long), rate(short)
}

// tally counts good and all slices, or events, of a window.
func (s *SLO) tally(data Data, from, to time.Time) (good, total float64) {
	if s.count != nil {
		return s.count.tally(data, from, to)
	}
	from, to = from.Truncate(s.slice.interval), to.Truncate(s.slice.interval)
	total = float64(to.Sub(from) / s.slice.interval)
	good = total
	for _, sr := range data.Series(s.slice.query, from, to, s.slice.interval) {
		for _, v := range sr.Values {
			if holds, _ := compare(s.slice.comparator, v, s.slice.threshold); !holds && !math.IsNaN(v) {
				good--
			}
		}
	}
	return good, total
}

func (c *count) tally(data Data, from, to time.Time) (good, total float64) {
	const flush = 10 * time.Second
	from, to = from.Truncate(flush), to.Truncate(flush)
	sum := func(q metric.Query) float64 {
		total := 0.0
		for _, sr := range data.Series(q, from, to, to.Sub(from)) {
			for _, v := range sr.Values {
				if !math.IsNaN(v) {
					total += v
				}
			}
		}
		return total
	}
	good, total = sum(c.good), sum(c.second)
	if c.bad {
		total += good
	}
	return min(good, total), total
}

func compare(op string, a, b float64) (holds, known bool) {
	switch op {
	case "<":
		return a < b, true
	case "<=":
		return a <= b, true
	case ">":
		return a > b, true
	case ">=":
		return a >= b, true
	}
	return false, false
}
