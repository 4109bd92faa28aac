// Package workflow runs workflows of Datadog's Workflow Automation from the very documents that its API takes. It is an
// evaluator, not a service: what starts a run, and what becomes of incidents, pages and messages, is its caller's part.
//
//	what               as Datadog                                       differs here
//	document           the request body of POST /api/v2/workflows       unknown keys are refused, where Datadog keeps some
//	triggers           monitorTrigger, apiTrigger, dashboardTrigger     others are refused; one start step for each
//	rate limit         of the monitor trigger                           is the caller's part
//	inputs             converted to their type, defaults filled in      an input that is not declared fails the run
//	expressions        {{ Steps.A.body.x }}, a whole one keeps its      only paths; unknown ones fail the step; ${ … },
//	                   type                                             Variables and Current are refused
//	Source             monitor.name, monitor.id, url                    nothing else of it is confirmed, so it is refused
//	edges              main, true and false, cases and default          one for each branch; no loops, no parallel branches
//	error handlers     linear retries of every error, then a fallback   Steps.A.error, a string, is our guess at its name;
//	                                                                    a run whose errors were handled is a success
//	gates              completion and readiness gates                   refused
//	HTTP               status 400 and above is an error, bodies up      redirects are not followed; a request ends after
//	                   to 15 MB, JSON is decoded                        30 s; the other inputs of the action are refused
//	connection         HTTPTokenAuth; the URL must be at its base URL   only secrets in headers
//	JavaScript         a function body, $ is the context, 10 KB         by goja: no lodash, ends after 2 s
//	if                 conditions joined by and, or                     only the comparison eq is known
//	switch             case or default                                  the form of cases, a list of texts, is our guess
//	incidents          search by facets, newest first                   AND of facets, OR of values; automation data comes back as
//	                                                                    it was kept, which is our guess at its form
//	other actions      some hundred                                     those of the tables in action.go and incident.go; others are
//	                                                                    refused
package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

// Workflow is a published workflow that was checked and can run. It is immutable and safe for concurrent use.
type Workflow struct {
	ID, Name, Handle string
	// LimitCount and LimitInterval are the rate limit of the monitor trigger; a LimitCount of 0 is none.
	LimitCount    int
	LimitInterval time.Duration

	inputs      []parameter
	start       map[Kind]string
	connections map[string]string
	steps       map[string]*step
}

// Kind is the kind of a trigger.
type Kind string

// The triggers that are followed.
const (
	MonitorTrigger Kind = "monitorTrigger"
	APITrigger     Kind = "apiTrigger"
	// DashboardTrigger is a button of a dashboard.
	DashboardTrigger Kind = "dashboardTrigger"
)

// The document, as far as it is followed. Keys that are not here are refused.
type document struct {
	Data struct {
		Type       string `json:"type"`
		Attributes struct {
			Name        string   `json:"name"`
			Description string   `json:"description"`
			Published   bool     `json:"published"`
			Tags        []string `json:"tags"`
			Spec        spec     `json:"spec"`
		} `json:"attributes"`
	} `json:"data"`
}

type spec struct {
	Handle      string `json:"handle"`
	InputSchema struct {
		Parameters []parameter `json:"parameters"`
	} `json:"inputSchema"`
	Triggers       []trigger `json:"triggers"`
	ConnectionEnvs []struct {
		Env         string `json:"env"`
		Connections []struct {
			ConnectionID string `json:"connectionId"`
			Label        string `json:"label"`
		} `json:"connections"`
	} `json:"connectionEnvs"`
	Steps []*step `json:"steps"`
}

type parameter struct {
	Name         string          `json:"name"`
	Label        string          `json:"label"`
	Description  string          `json:"description"`
	Type         string          `json:"type"`
	DefaultValue json.RawMessage `json:"defaultValue"`
}

type trigger struct {
	MonitorTrigger *struct {
		RateLimit *struct {
			Count    int    `json:"count"`
			Interval string `json:"interval"`
		} `json:"rateLimit"`
	} `json:"monitorTrigger"`
	APITrigger       *struct{} `json:"apiTrigger"`
	DashboardTrigger *struct{} `json:"dashboardTrigger"`
	StartStepNames   []string  `json:"startStepNames"`
}

type step struct {
	Name            string `json:"name"`
	ActionID        string `json:"actionId"`
	ConnectionLabel string `json:"connectionLabel"`
	Parameters      []struct {
		Name  string `json:"name"`
		Value any    `json:"value"`
	} `json:"parameters"`
	OutboundEdges []struct {
		BranchName   string `json:"branchName"`
		NextStepName string `json:"nextStepName"`
	} `json:"outboundEdges"`
	ErrorHandlers []struct {
		FallbackStepName string `json:"fallbackStepName"`
		RetryStrategy    struct {
			Kind   string `json:"kind"`
			Linear struct {
				Interval   string `json:"interval"`
				MaxRetries int    `json:"maxRetries"`
			} `json:"linear"`
		} `json:"retryStrategy"`
	} `json:"errorHandlers"`

	// What Parse makes of the above.
	action   action
	inputs   map[string]any
	next     map[string]string
	fallback string
	retries  int
	interval time.Duration
}

// follows returns the steps that can come right after s.
func (s *step) follows() []string {
	out := slices.Collect(maps.Values(s.next))
	if s.fallback != "" {
		out = append(out, s.fallback)
	}
	return out
}

const (
	maxSteps   = 100
	maxRetries = 100
)

// Parse reads the body of a request that creates a workflow, with every placeholder resolved. The error joins every
// problem: unknown keys, actions and inputs, missing ones, expressions that can't have a value, connections, edges,
// fallbacks and start steps that do not exist, steps that are never reached, loops, and a workflow that is not published.
func Parse(id string, raw []byte) (*Workflow, error) {
	var doc document
	if err := strictjson.Decode(raw, &doc); err != nil {
		return nil, fmt.Errorf("parse workflow: %w", err)
	}
	p := &parser{spec: doc.Data.Attributes.Spec, w: &Workflow{
		ID: id, Name: doc.Data.Attributes.Name, Handle: doc.Data.Attributes.Spec.Handle,
		inputs: doc.Data.Attributes.Spec.InputSchema.Parameters,
		start:  map[Kind]string{}, connections: map[string]string{}, steps: map[string]*step{},
	}}
	p.check(doc.Data.Type == "workflows", "data.type is %q, not workflows", doc.Data.Type)
	p.check(p.w.Name != "", "the workflow has no name")
	p.check(p.w.Handle != "", "the workflow has no handle, so no monitor can mention it")
	p.check(doc.Data.Attributes.Published, "the workflow is not published, so nothing but a person can start it")
	p.parameters()
	p.envs()
	p.names()
	p.triggers()
	for _, s := range p.spec.Steps {
		if s != nil {
			p.step(s)
		}
	}
	if len(p.problems) == 0 {
		// Paths between steps mean something only once all names do.
		p.graph()
	}
	if len(p.problems) > 0 {
		return nil, fmt.Errorf("parse workflow %q: %w", p.w.Name, errors.Join(p.problems...))
	}
	return p.w, nil
}

type parser struct {
	spec     spec
	w        *Workflow
	problems []error
}

func (p *parser) check(ok bool, format string, args ...any) {
	if !ok {
		p.problems = append(p.problems, fmt.Errorf(format, args...))
	}
}

func (p *parser) parameters() {
	seen := map[string]bool{}
	for _, in := range p.spec.InputSchema.Parameters {
		p.check(identifier.MatchString(in.Name) && !seen[in.Name], "input %q has no name of its own", in.Name)
		seen[in.Name] = true
		p.check(slices.Contains(inputTypes, in.Type), "input %s: unknown type %q", in.Name, in.Type)
		if in.DefaultValue != nil {
			_, err := in.value(nil)
			p.check(err == nil, "input %s: the default value is not a %s", in.Name, in.Type)
		}
	}
}

func (p *parser) envs() {
	for _, env := range p.spec.ConnectionEnvs {
		p.check(env.Env == "default", "connection environment %q is not default", env.Env)
		for _, c := range env.Connections {
			p.check(c.Label != "" && c.ConnectionID != "" && p.w.connections[c.Label] == "", "connection label %q: no ID, or used twice", c.Label)
			p.w.connections[c.Label] = c.ConnectionID
		}
	}
}

func (p *parser) names() {
	p.check(len(p.spec.Steps) <= maxSteps, "%d steps are more than %d", len(p.spec.Steps), maxSteps)
	for i, s := range p.spec.Steps {
		if s == nil {
			p.check(false, "step %d is null", i)
			continue
		}
		p.check(identifier.MatchString(s.Name) && p.w.steps[s.Name] == nil, "step %d: %q is no name of its own", i, s.Name)
		p.w.steps[s.Name] = s
	}
}

func (p *parser) triggers() {
	p.check(len(p.spec.Triggers) > 0, "the workflow has no trigger")
	for i, t := range p.spec.Triggers {
		kind := APITrigger
		if t.DashboardTrigger != nil {
			kind = DashboardTrigger
		}
		if t.MonitorTrigger != nil {
			kind = MonitorTrigger
			if limit := t.MonitorTrigger.RateLimit; limit != nil {
				var err error
				p.w.LimitCount = limit.Count
				p.w.LimitInterval, err = seconds(limit.Interval)
				p.check(err == nil && limit.Count > 0, "trigger %d: the rate limit is not a count and an interval like 900s", i)
			}
		}
		given := 0
		for _, is := range []bool{t.MonitorTrigger != nil, t.APITrigger != nil, t.DashboardTrigger != nil} {
			if is {
				given++
			}
		}
		p.check(given == 1, "trigger %d is not one of %s, %s and %s", i, MonitorTrigger, APITrigger, DashboardTrigger)
		p.check(p.w.start[kind] == "", "trigger %d: there is more than one %s", i, kind)
		if len(t.StartStepNames) != 1 || p.w.steps[t.StartStepNames[0]] == nil {
			p.check(false, "trigger %d: the start steps %q are not one step that exists", i, t.StartStepNames)
			continue
		}
		p.w.start[kind] = t.StartStepNames[0]
	}
}

func (p *parser) step(s *step) {
	bad := func(format string, args ...any) {
		p.check(false, "step %s: "+format, append([]any{s.Name}, args...)...)
	}
	var ok bool
	if s.action, ok = known(s.ActionID); !ok {
		bad("unknown action %q", s.ActionID)
		return
	}
	s.inputs = map[string]any{}
	for _, param := range s.Parameters {
		in, ok := s.action.inputs[param.Name]
		if !ok {
			bad("the action %s has no input %q", s.ActionID, param.Name)
			continue
		}
		if _, twice := s.inputs[param.Name]; twice {
			bad("input %s appears more than once", param.Name)
		}
		value := param.Value
		if !in.verbatim {
			var err error
			if value, err = compile(value); err != nil {
				bad("input %s: %w", param.Name, err)
			}
		}
		if !in.fits(value) {
			bad("input %s is not %s", param.Name, in.form)
		}
		s.inputs[param.Name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(s.action.inputs)) {
		if _, ok := s.inputs[name]; !ok && s.action.inputs[name].required {
			bad("input %s is missing", name)
		}
	}
	if s.action.check != nil {
		if err := s.action.check(s.inputs); err != nil {
			bad("%w", err)
		}
	}
	if s.ConnectionLabel != "" {
		if !s.action.connection {
			bad("the action %s takes no connection", s.ActionID)
		} else if p.w.connections[s.ConnectionLabel] == "" {
			bad("there is no connection labelled %q", s.ConnectionLabel)
		}
	}
	p.edges(s, bad)
}

func (p *parser) edges(s *step, bad func(string, ...any)) {
	s.next = map[string]string{}
	for _, e := range s.OutboundEdges {
		if p.w.steps[e.NextStepName] == nil {
			bad("an edge leads to %q, which does not exist", e.NextStepName)
		}
		if !slices.Contains(s.action.branches(s.inputs), e.BranchName) {
			bad("the action %s has no branch %q", s.ActionID, e.BranchName)
		}
		if s.next[e.BranchName] != "" {
			bad("more than one edge has the branch %q", e.BranchName)
		}
		s.next[e.BranchName] = e.NextStepName
	}
	if len(s.ErrorHandlers) > 1 {
		bad("there is more than one error handler")
	}
	for _, h := range s.ErrorHandlers {
		if p.w.steps[h.FallbackStepName] == nil {
			bad("the fallback step %q does not exist", h.FallbackStepName)
		}
		var err error
		s.fallback, s.retries = h.FallbackStepName, h.RetryStrategy.Linear.MaxRetries
		s.interval, err = seconds(h.RetryStrategy.Linear.Interval)
		if h.RetryStrategy.Kind != "RETRY_STRATEGY_LINEAR" || err != nil || s.retries < 0 || s.retries > maxRetries {
			bad("the retry strategy is not RETRY_STRATEGY_LINEAR with an interval like 10s and at most %d retries", maxRetries)
		}
	}
}

// graph checks what depends on the order of steps: all are reached, none comes before itself, and expressions look at
// steps that may have run.
func (p *parser) graph() {
	after := map[string]map[string]bool{}
	for name := range p.w.steps {
		after[name] = map[string]bool{}
		p.reach(name, after[name])
	}
	reached := map[string]bool{}
	for _, start := range p.w.start {
		reached[start] = true
		maps.Copy(reached, after[start])
	}
	for _, s := range p.spec.Steps {
		p.check(reached[s.Name], "step %s is never reached", s.Name)
		p.check(!after[s.Name][s.Name], "step %s comes before itself", s.Name)
		for _, input := range slices.Sorted(maps.Keys(s.inputs)) {
			for _, path := range paths(s.inputs[input]) {
				reason := p.reference(path, func(earlier string) bool { return after[earlier][s.Name] })
				p.check(reason == "", "step %s: input %s: {{ %s }}: %s", s.Name, input, path, reason)
			}
		}
	}
}

func (p *parser) reach(from string, seen map[string]bool) {
	for _, name := range p.w.steps[from].follows() {
		if !seen[name] {
			seen[name] = true
			p.reach(name, seen)
		}
	}
}

// reference says why an expression can't have a value, and nothing when it can.
func (p *parser) reference(path path, before func(step string) bool) string {
	switch root := path[0]; {
	case root == "Steps" && len(path) >= 3:
		s := p.w.steps[path[1]]
		switch {
		case s == nil:
			return "there is no such step"
		case !before(path[1]):
			return "that step never runs before this one"
		case path[2] != "error" && !slices.Contains(s.action.outputs, path[2]):
			return "the action " + s.ActionID + " has no such output"
		}
		return ""
	case root == "Trigger" && len(path) >= 2:
		if !slices.ContainsFunc(p.w.inputs, func(in parameter) bool { return in.Name == path[1] }) {
			return "there is no such input"
		}
		return ""
	case root == "Source":
		if slices.Contains([]string{"Source.monitor.id", "Source.monitor.name", "Source.url"}, path.String()) {
			return ""
		}
	case slices.Contains([]string{"InstanceId", "WorkflowId", "WorkflowName"}, root) && len(path) == 1:
		return ""
	}
	return "there is no such variable"
}

// seconds reads an interval in the form of the API: "900s".
func seconds(text string) (time.Duration, error) {
	digits, ok := strings.CutSuffix(text, "s")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil {
		return 0, fmt.Errorf("interval %q is not like 900s", text)
	}
	return time.Duration(n) * time.Second, nil
}

var inputTypes = []string{"STRING", "NUMBER", "BOOLEAN", "OBJECT", "ARRAY_STRING", "ARRAY_NUMBER", "ARRAY_BOOLEAN", "ARRAY_OBJECT"}

// value converts what a trigger gave, or the default when it gave nothing. A monitor's mention gives only texts.
func (p parameter) value(given any) (any, error) {
	if given == nil {
		if p.DefaultValue == nil {
			return nil, fmt.Errorf("input %s is required", p.Name)
		}
		if err := json.Unmarshal(p.DefaultValue, &given); err != nil {
			return nil, fmt.Errorf("input %s: %w", p.Name, err)
		}
	} else if text, ok := given.(string); ok && p.Type != "STRING" {
		if err := json.Unmarshal([]byte(text), &given); err != nil {
			return nil, fmt.Errorf("input %s: %q is not a %s", p.Name, text, p.Type)
		}
	}
	var ok bool
	switch element, list := strings.CutPrefix(p.Type, "ARRAY_"); {
	case list:
		var items []any
		items, ok = given.([]any)
		for _, item := range items {
			ok = ok && hasType(item, element)
		}
	default:
		ok = hasType(given, p.Type)
	}
	if !ok {
		return nil, fmt.Errorf("input %s: the value is not a %s", p.Name, p.Type)
	}
	return given, nil
}

func hasType(v any, name string) bool {
	var ok bool
	switch name {
	case "STRING":
		_, ok = v.(string)
	case "NUMBER":
		_, ok = v.(float64)
	case "BOOLEAN":
		_, ok = v.(bool)
	case "OBJECT":
		_, ok = v.(map[string]any)
	}
	return ok
}
