package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dop251/goja"
)

// Trigger is what starts a run.
type Trigger struct {
	Kind Kind
	// RunID becomes the run's ID, and {{ InstanceId }}.
	RunID string
	// Inputs are given by name; a monitor's mention gives texts.
	Inputs map[string]any
	// MonitorID, MonitorName and URL are {{ Source }}; it is empty unless a monitor is the trigger.
	MonitorID   int64
	MonitorName string
	URL         string
}

// Actions is where the effects of a run go that are not HTTP requests. It may be called by several runs at a time. An
// error fails the step.
type Actions interface {
	// CreateIncident returns the number of the new incident and the URL of its page.
	CreateIncident(ctx context.Context, incident Incident) (number int, url string, err error)
	// Incidents returns every incident that exists.
	Incidents(ctx context.Context) ([]Opened, error)
	// AddToTimeline adds a cell in Markdown to an incident.
	AddToTimeline(ctx context.Context, number int, text string) error
	// Keep stores a value with an incident, and Kept returns it, or an error when there is none.
	Keep(ctx context.Context, number int, key string, value any) error
	Kept(ctx context.Context, number int, key string) (value any, err error)
	// Page returns the ID of the new page.
	Page(ctx context.Context, page Page) (id string, err error)
	// ResolvePage ends a page.
	ResolvePage(ctx context.Context, id string) error
	// Send delivers a message.
	Send(ctx context.Context, message Message) error
}

// Message is a text to a Slack channel or an e-mail address.
type Message struct {
	RunID, Workflow string
	// Channel is slack or email.
	Channel           string
	To, Subject, Text string
}

// Environment is what a run has to do with. All fields but OnStep are required.
type Environment struct {
	// Now is what scripts take for the time; it is the time of the steps in the record too.
	Now func() time.Time
	// Wait returns after d, or with an error when ctx ends before.
	Wait func(ctx context.Context, d time.Duration) error
	// HTTP makes the requests.
	HTTP *http.Client
	// Connection returns the connection of that ID.
	Connection func(id string) (c *Connection, ok bool)
	Actions    Actions
	// OnStep is told of each step when it has ended, from the goroutine that called Run.
	OnStep func(Step)
}

func (e Environment) check() error {
	if e.Now == nil || e.Wait == nil || e.HTTP == nil || e.Connection == nil || e.Actions == nil {
		return errors.New("the environment of the run is not complete")
	}
	return nil
}

// Status is how a run or a step ended.
type Status string

// A run is a success when its last step is: an error that a fallback took care of is not the run's.
const (
	Success Status = "success"
	Failure Status = "failure"
)

// Run is the record of one run. The secrets of connections are not in it.
type Run struct {
	ID       string    `json:"id"`
	Workflow string    `json:"workflow"`
	Status   Status    `json:"status"`
	Error    string    `json:"error,omitempty"`
	Steps    []Step    `json:"steps"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
}

// Step is the record of one step; Output is that of the last attempt.
type Step struct {
	Name     string         `json:"name"`
	ActionID string         `json:"action_id"`
	Attempts int            `json:"attempts"`
	Status   Status         `json:"status"`
	Branch   string         `json:"branch,omitempty"`
	Inputs   map[string]any `json:"inputs,omitempty"`
	Output   map[string]any `json:"output,omitempty"`
	Error    string         `json:"error,omitempty"`
	Start    time.Time      `json:"start"`
	End      time.Time      `json:"end"`
}

// execution is a run under way.
type execution struct {
	w   *Workflow
	env Environment
	run *Run
	// values is what expressions and scripts see; outputs is its part Steps.
	values, outputs map[string]any
	secrets         []string
}

// Run executes the workflow step by step, and returns when the last has ended, a step has failed that has no fallback, or
// ctx has ended. It never returns nil.
func (w *Workflow) Run(ctx context.Context, t Trigger, env Environment) *Run {
	x := &execution{w: w, env: env, run: &Run{ID: t.RunID, Workflow: w.Name, Status: Success}, outputs: map[string]any{}}
	if err := env.check(); err != nil {
		x.run.Status, x.run.Error = Failure, err.Error()
		return x.run
	}
	x.run.Start = env.Now()
	err := x.begin(t)
	for name := w.start[t.Kind]; name != "" && err == nil; {
		name, err = x.step(ctx, w.steps[name])
	}
	if err != nil {
		x.run.Status, x.run.Error = Failure, x.redactText(err.Error())
	}
	x.run.End = env.Now()
	return x.run
}

// begin sets up what expressions see.
func (x *execution) begin(t Trigger) error {
	if x.w.start[t.Kind] == "" {
		return fmt.Errorf("the workflow has no %s", t.Kind)
	}
	inputs := map[string]any{}
	for _, in := range x.w.inputs {
		v, err := in.value(t.Inputs[in.Name])
		if err != nil {
			return err
		}
		inputs[in.Name] = v
	}
	for name := range t.Inputs {
		if _, ok := inputs[name]; !ok {
			return fmt.Errorf("the workflow has no input %s", name)
		}
	}
	source := map[string]any{}
	if t.Kind == MonitorTrigger {
		source = map[string]any{"monitor": map[string]any{"id": float64(t.MonitorID), "name": t.MonitorName}, "url": t.URL}
	}
	x.values = map[string]any{
		"Steps": x.outputs, "Trigger": inputs, "Source": source,
		"InstanceId": t.RunID, "WorkflowId": x.w.ID, "WorkflowName": x.w.Name,
	}
	return nil
}

// step executes one step with its retries and returns the name of the next, empty when there is none. An error means that
// the run has failed.
func (x *execution) step(ctx context.Context, s *step) (next string, err error) {
	record := Step{Name: s.Name, ActionID: s.ActionID, Status: Success, Start: x.env.Now()}
	var output map[string]any
	for {
		record.Attempts++
		var inputs map[string]any
		inputs, output, record.Branch, err = x.attempt(ctx, s)
		record.Inputs = x.redactMap(inputs)
		if err == nil || record.Attempts > s.retries || ctx.Err() != nil {
			break
		}
		if x.env.Wait(ctx, s.interval) != nil {
			break // The error of the attempt says more than that of the wait.
		}
	}
	seen := map[string]any{}
	maps.Copy(seen, output)
	record.Output = x.redactMap(output)
	if err != nil {
		record.Status, record.Error = Failure, x.redactText(err.Error())
		seen["error"] = record.Error
	}
	x.outputs[s.Name] = seen
	record.End = x.env.Now()
	x.run.Steps = append(x.run.Steps, record)
	if x.env.OnStep != nil {
		x.env.OnStep(record)
	}
	switch {
	case err == nil:
		return s.next[record.Branch], nil
	case s.fallback != "" && ctx.Err() == nil:
		return s.fallback, nil
	}
	return "", fmt.Errorf("step %s: %w", s.Name, err)
}

func (x *execution) attempt(ctx context.Context, s *step) (inputs, output map[string]any, branch string, err error) {
	inputs = map[string]any{}
	for name, compiled := range s.inputs {
		v, err := render(compiled, x.values)
		if err != nil {
			return inputs, nil, "", fmt.Errorf("input %s: %w", name, err)
		}
		if in := s.action.inputs[name]; in.form != text && !in.fits(v) {
			return inputs, nil, "", fmt.Errorf("input %s is not %s", name, in.form)
		}
		inputs[name] = v
	}
	output, branch, err = s.action.run(ctx, x, s, inputs)
	return inputs, output, branch, err
}

// runScript runs JavaScript with the context of the run as $, in a machine of its own that reaches nothing else.
func runScript(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
	compiled, err := program(inText(in["script"]))
	if err != nil {
		return nil, "", fmt.Errorf("compile script: %w", err)
	}
	values, err := json.Marshal(x.values)
	if err != nil {
		return nil, "", fmt.Errorf("encode context: %w", err)
	}
	vm := goja.New()
	vm.SetTimeSource(x.env.Now)
	vm.SetMaxCallStackSize(500)
	limit := time.AfterFunc(scriptTime, func() { vm.Interrupt("the script took too long") })
	defer limit.Stop()
	defer context.AfterFunc(ctx, func() { vm.Interrupt(ctx.Err()) })()
	loaded, err := vm.RunProgram(compiled)
	if err != nil {
		return nil, "", fmt.Errorf("run script: %w", err)
	}
	call, ok := goja.AssertFunction(loaded)
	if !ok {
		return nil, "", errors.New("run script: it is not the body of a function")
	}
	result, err := call(goja.Undefined(), vm.ToValue(string(values)))
	if err != nil {
		return nil, "", fmt.Errorf("run script: %w", err)
	}
	var data any
	if !goja.IsUndefined(result) {
		if err := json.Unmarshal([]byte(result.String()), &data); err != nil {
			return nil, "", fmt.Errorf("decode the script's result: %w", err)
		}
	}
	return map[string]any{"data": data}, mainBranch, nil
}

func (x *execution) redactText(s string) string {
	for _, secret := range x.secrets {
		s = strings.ReplaceAll(s, secret, "***")
	}
	return s
}

func (x *execution) redactMap(m map[string]any) map[string]any {
	out, _ := x.redact(m).(map[string]any)
	return out
}

// redact returns a copy of v without secrets.
func (x *execution) redact(v any) any {
	switch v := v.(type) {
	case string:
		return x.redactText(v)
	case []any:
		out := slices.Clone(v)
		for i := range out {
			out[i] = x.redact(out[i])
		}
		return out
	case map[string]any:
		if v == nil {
			return v
		}
		out := make(map[string]any, len(v))
		for k := range v {
			out[x.redactText(k)] = x.redact(v[k])
		}
		return out
	}
	return v
}
