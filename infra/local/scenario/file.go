// Package scenario runs the tests of the assets, the files of datadog/tests: telemetry in over virtual time, and what
// monitors, workflows, pipelines, SLOs and Synthetics tests made of it out. It is to the assets what `promtool test rules` is
// to Prometheus. Everything is executed by the stand-in for Datadog, on a clock that the runner moves; nothing leaves the
// process. Every asset is in force in every case, so that what fires without being expected is a failure too; Synthetics tests
// are only where a file covers one.
//
// A file says which assets it covers, and its cases:
//
//	covers: [monitor/error-burst, workflow/error-burst]
//	cases:
//	  - name: one in ten requests fails
//	    lasts: 30m
//	    telemetry:
//	      - {metric: llm.request.count, tags: {function: qa}, value: 1, times: 9, every: 10s}
//	      - {metric: llm.request.error, tags: {function: qa}, value: 1, every: 10s, from: 10m}
//	    answers:
//	      - {to: POST /diagnosis/auth, status: 503, times: 1}
//	    expect:
//	      - {monitor: error-burst, group: "function:qa", turns: Alert, between: [10m, 16m]}
//	      - {page: "Error Burst", times: 1}
//
// The fields are those of the types below.
package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// File is one file of tests.
type File struct {
	// Name is that of the file, in the folder of tests.
	Name string `yaml:"-"`
	// Covers are the assets that the cases test, each <kind>/<key>. Expectations must name each.
	Covers []string `yaml:"covers"`
	Cases  []Case   `yaml:"cases"`
}

// Case is one run of the stand-in.
type Case struct {
	Name string `yaml:"name"`
	// Start is the time at which the case begins; 2026-11-24T00:00:00Z when not given.
	Start time.Time `yaml:"start"`
	// Lasts is how long it goes on.
	Lasts Duration `yaml:"lasts"`
	// History is for how long telemetry comes in, before the case begins, without anything being evaluated; times before the
	// begin are negative.
	History Duration `yaml:"history"`
	// Step is the time between two evaluations; a minute when not given.
	Step      Duration    `yaml:"step"`
	Telemetry []Telemetry `yaml:"telemetry"`
	Answers   []Answer    `yaml:"answers"`
	Expect    []Expect    `yaml:"expect"`
}

// Telemetry is one source of telemetry: exactly one of Metric, Log, Event and Span is set.
type Telemetry struct {
	Metric string         `yaml:"metric"`
	Log    map[string]any `yaml:"log"`  // a line of JSON
	Line   string         `yaml:"line"` // a line as it is written
	Event  *Event         `yaml:"event"`
	Span   *Span          `yaml:"span"` // an LLM Observability span
	// Tags are added to service and env, which every point has; one that is given as empty is left out.
	Tags map[string]string `yaml:"tags"`
	// Value is what every point has. Values are taken in turn instead; Wave goes up and down around Value instead.
	Value  float64   `yaml:"value"`
	Values []float64 `yaml:"values"`
	Wave   *Wave     `yaml:"wave"`
	// Times is how many there are at a time; 1 when not given.
	Times int `yaml:"times"`
	// Every is the time between two, at least a second. Without it there is one, at From.
	Every Duration `yaml:"every"`
	// From is when they begin, and To when they have ended: at the end of the case when not given.
	From Duration  `yaml:"from"`
	To   *Duration `yaml:"to"`
}

// Wave is a sine: Value + Amplitude × sin(2π × (t - Shift) / Period).
type Wave struct {
	Amplitude float64  `yaml:"amplitude"`
	Period    Duration `yaml:"period"`
	Shift     Duration `yaml:"shift"`
}

// Event is an event of Datadog's event stream.
type Event struct {
	Title  string `yaml:"title"`
	Text   string `yaml:"text"`
	Source string `yaml:"source"`
}

// Span is an LLM Observability span.
type Span struct {
	Name   string `yaml:"name"`
	Kind   string `yaml:"kind"`
	Status string `yaml:"status"`
	Model  string `yaml:"model"`
	Error  string `yaml:"error"`
}

// Answer is how a function answers a call of a workflow or of a Synthetics test. Answers are used in their order, each as often
// as Times says, without end when it says nothing. Without one the remediation function is the real one, on a control state
// that begins empty, and any other call is answered by 404.
type Answer struct {
	To     string            `yaml:"to"` // method and path
	Status int               `yaml:"status"`
	Body   any               `yaml:"body"`
	Header map[string]string `yaml:"header"`
	// Takes is how long the answer takes, as a Synthetics test sees it.
	Takes Duration `yaml:"takes"`
	// Fails is the error of a call that gets no answer.
	Fails string `yaml:"fails"`
	Times int    `yaml:"times"`
	// From and Until are when it is used, in the time of the case.
	From  Duration  `yaml:"from"`
	Until *Duration `yaml:"until"`
}

// Expect is one expectation. Exactly one of the fields of the first part is set; it says what the expectation is about.
type Expect struct {
	// Monitor, Workflow, SLO and Synthetics are keys of assets, as is the second part of a Log: a pipeline's.
	Monitor    string `yaml:"monitor"`
	Workflow   string `yaml:"workflow"`
	SLO        string `yaml:"slo"`
	Synthetics string `yaml:"synthetics"`
	// Log is a search that finds processed logs, and Pipeline the key of the pipeline that it tests.
	Log string `yaml:"log"`
	// Metric is a query over Over until At.
	Metric string `yaml:"metric"`
	// Call is a call of a function: method and path.
	Call string `yaml:"call"`
	// Page, Incident and Notification are texts that the page, the incident or the message holds.
	Page         string `yaml:"page"`
	Incident     string `yaml:"incident"`
	Notification string `yaml:"notification"`

	// Group is a monitor's group; the worst of all when not given.
	Group string `yaml:"group"`
	// Is is the status of a monitor at At; Turns is one that it changes to within Between; Never is one that it never changes to
	// (within Between, or at all).
	Is    string `yaml:"is"`
	Turns string `yaml:"turns"`
	Never string `yaml:"never"`
	// At is a time of the case; its end when not given.
	At      *Duration  `yaml:"at"`
	Between []Duration `yaml:"between"`

	// Status is how a workflow ended, or the status of a processed log. Steps are the steps that it ran, in their order.
	Status string   `yaml:"status"`
	Steps  []string `yaml:"steps"`
	// Times is how often: a change of a monitor, a run of a workflow, a call, a page, an incident, a message, a log. It is
	// at least once when not given; 0 is never.
	Times *int `yaml:"times"`
	// Has is part of the body of a call, of the details of a page or an incident, or the attributes of a log. Lacks are
	// attributes that a log must not have.
	Has   map[string]any `yaml:"has"`
	Lacks []string       `yaml:"lacks"`
	// Message and Tags are those of a processed log; TraceID the trace that it belongs to.
	Message *string  `yaml:"message"`
	Tags    []string `yaml:"tags"`
	TraceID string   `yaml:"trace_id"`
	// Pipeline and Scanner say which pipeline, or which group of the scanner, a log expectation is about.
	Pipeline string `yaml:"pipeline"`
	Scanner  string `yaml:"scanner"`

	// SLI and Budget are percentages of an SLO, over Over until At, and Value is that of a metric; Within is by how much each
	// may differ.
	SLI    *float64 `yaml:"sli"`
	Budget *float64 `yaml:"budget"`
	Value  *float64 `yaml:"value"`
	Within float64  `yaml:"within"`
	Over   Duration `yaml:"over"`

	// Passed is how a Synthetics test went at At; Failures are texts that its failures hold. Alerting is whether its monitor
	// alerts.
	Passed   *bool    `yaml:"passed"`
	Failures []string `yaml:"failures"`
	Alerting *bool    `yaml:"alerting"`
}

// Duration is a duration as time.ParseDuration reads it, or in days: 30d.
type Duration time.Duration

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	text, days := strings.CutSuffix(n.Value, "d")
	const hoursOfDay = 24
	if days {
		text += "h"
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("line %d: %q is no duration such as 90s, 15m or 30d", n.Line, n.Value)
	}
	if days {
		v *= hoursOfDay
	}
	*d = Duration(v)
	return nil
}

// Load reads every file of the folder tests in fsys, in the order of their names. The error joins every problem.
func Load(fsys fs.FS) ([]File, error) {
	names, err := fs.Glob(fsys, "tests/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list tests: %w", err)
	}
	var files []File
	var problems []error
	for _, name := range names {
		raw, err := fs.ReadFile(fsys, name)
		if err != nil {
			problems = append(problems, fmt.Errorf("read %s: %w", name, err))
			continue
		}
		f, err := Parse(raw)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
			continue
		}
		f.Name = path.Base(name)
		files = append(files, f)
	}
	return files, errors.Join(problems...)
}

// Parse reads one file, and refuses keys that it does not know and cases that can't be run.
func Parse(raw []byte) (File, error) {
	var f File
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return f, err
	}
	var problems []error
	if len(f.Cases) == 0 {
		problems = append(problems, errors.New("no cases"))
	}
	for i, c := range f.Cases {
		if err := c.check(); err != nil {
			problems = append(problems, fmt.Errorf("case %d %q: %w", i+1, c.Name, err))
		}
		if slices.ContainsFunc(f.Cases[:i], func(o Case) bool { return o.Name == c.Name }) {
			problems = append(problems, fmt.Errorf("case %d: there is another %q", i+1, c.Name))
		}
	}
	for _, e := range f.Covers {
		if strings.Count(e, "/") != 1 {
			problems = append(problems, fmt.Errorf("covers %q, which is no <kind>/<key>", e))
		}
	}
	return f, errors.Join(problems...)
}

func (c Case) check() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	const most = 100 * 24 * time.Hour
	if c.Name == "" {
		bad("no name")
	}
	if c.Lasts < 0 || c.History < 0 || time.Duration(c.Lasts)+time.Duration(c.History) > most {
		bad("lasts and history are not durations up to %v", most)
	}
	if len(c.Expect) == 0 {
		bad("nothing is expected")
	}
	for i, t := range c.Telemetry {
		if n := set(t.Metric != "", t.Log != nil, t.Line != "", t.Event != nil, t.Span != nil); n != 1 {
			bad("telemetry %d is not one of metric, log, line, event and span", i+1)
		}
		if t.Every != 0 && time.Duration(t.Every) < time.Second {
			bad("telemetry %d: every is less than a second", i+1)
		}
	}
	for i, a := range c.Answers {
		if method, _, ok := strings.Cut(a.To, " /"); !ok || method == "" || (a.Status == 0) == (a.Fails == "") {
			bad("answer %d has not a method and a path, and one of status and fails", i+1)
		}
	}
	for i, e := range c.Expect {
		if err := e.check(); err != nil {
			bad("expectation %d: %w", i+1, err)
		}
	}
	return errors.Join(problems...)
}

func (e Expect) check() error {
	n := set(e.Monitor != "", e.Workflow != "", e.SLO != "", e.Synthetics != "", e.Log != "", e.Metric != "", e.Call != "", e.Page != "", e.Incident != "", e.Notification != "")
	switch {
	case n != 1:
		return errors.New("not about one of monitor, workflow, slo, synthetics, log, metric, call, page, incident and notification")
	case e.Monitor != "" && set(e.Is != "", e.Turns != "", e.Never != "") != 1:
		return errors.New("of a monitor one of is, turns and never is expected")
	case len(e.Between) != 0 && (len(e.Between) != 2 || e.Between[0] > e.Between[1]):
		return errors.New("between is not two times in order")
	case e.SLO != "" && e.SLI == nil && e.Budget == nil:
		return errors.New("of an SLO sli or budget is expected")
	case e.Synthetics != "" && e.Passed == nil && e.Alerting == nil:
		return errors.New("of a Synthetics test passed or alerting is expected")
	case e.Metric != "" && e.Value == nil:
		return errors.New("of a metric a value is expected")
	}
	for _, s := range []string{e.Is, e.Turns, e.Never} {
		if s != "" && !slices.Contains([]string{"OK", "Warn", "Alert", "No Data"}, s) {
			return fmt.Errorf("%q is not OK, Warn, Alert or No Data", s)
		}
	}
	return nil
}

func set(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}
