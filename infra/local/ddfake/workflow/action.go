package workflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/dop251/goja"
)

// action is one entry of Datadog's action catalogue: what it takes, what it gives, and how it is done here.
type action struct {
	inputs     map[string]input
	outputs    []string
	connection bool
	// branches returns the names that its edges may have; run says which one is taken.
	branches func(inputs map[string]any) []string
	// check finds what is wrong with the inputs beyond their form; may be nil.
	check func(inputs map[string]any) error
	run   func(ctx context.Context, x *execution, s *step, inputs map[string]any) (output map[string]any, branch string, err error)
}

// form is what a value looks like.
type form string

const (
	text   form = "a text"
	number form = "a number"
	flag   form = "true or false"
	list   form = "a list"
	object form = "an object"
	value  form = "a value"
)

type input struct {
	form     form
	required bool
	// verbatim inputs have no expressions.
	verbatim bool
}

// fits says whether a value, which may hold expressions, can be of the form.
func (in input) fits(v any) bool {
	var ok bool
	switch in.form {
	case text:
		_, ok = v.(string)
	case number:
		_, ok = v.(float64)
	case flag:
		_, ok = v.(bool)
	case list:
		_, ok = v.([]any)
	case object:
		_, ok = v.(map[string]any)
	case value:
		ok = true
	}
	if t, is := v.(template); is && !in.verbatim {
		// An expression alone may have any value; amid text it makes a text.
		ok = ok || in.form == text || len(t) == 1
	}
	return ok
}

const mainBranch = "main"

func onlyMain(map[string]any) []string { return []string{mainBranch} }

// known returns the action of that ID, with the inputs of Datadog's Action Catalog that are followed.
func known(id string) (a action, ok bool) {
	if a, ok = actions[id]; !ok {
		a, ok = incidentActions[id]
	}
	return a, ok
}

// actions are those that have nothing to do with incidents and pages.
var actions = map[string]action{
	"com.datadoghq.http.request": {
		inputs: map[string]input{
			"verb": {form: text, required: true, verbatim: true}, "url": {form: text, required: true}, "body": {form: value},
			"requestHeaders": {form: list}, "urlParams": {form: list},
		},
		outputs: []string{"status", "body", "headers"}, connection: true, branches: onlyMain, check: checkHTTP, run: runHTTP,
	},
	"com.datadoghq.datatransformation.func": {
		inputs:  map[string]input{"script": {form: text, required: true, verbatim: true}, "description": {form: text}},
		outputs: []string{"data"}, branches: onlyMain, check: checkScript, run: runScript,
	},
	"com.datadoghq.core.if": {
		inputs: map[string]input{"joinOperator": {form: text, required: true, verbatim: true}, "conditions": {form: list, required: true}},
		branches: func(map[string]any) []string {
			return []string{"true", "false"}
		},
		check: checkIf, run: runIf,
	},
	"com.datadoghq.core.switch": {
		inputs: map[string]input{"switchExpression": {form: value, required: true}, "cases": {form: list, required: true, verbatim: true}},
		branches: func(inputs map[string]any) []string {
			return append(texts(inputs["cases"]), "default")
		},
		run: func(_ context.Context, _ *execution, _ *step, in map[string]any) (map[string]any, string, error) {
			if got := inText(in["switchExpression"]); slices.Contains(texts(in["cases"]), got) {
				return nil, got, nil
			}
			return nil, "default", nil
		},
	},
	"com.datadoghq.core.noop": {
		branches: onlyMain,
		run: func(context.Context, *execution, *step, map[string]any) (map[string]any, string, error) {
			return nil, mainBranch, nil
		},
	},
	"com.datadoghq.core.echo": {
		inputs: map[string]input{"value": {form: value, required: true}}, outputs: []string{"value"}, branches: onlyMain,
		run: func(_ context.Context, _ *execution, _ *step, in map[string]any) (map[string]any, string, error) {
			return map[string]any{"value": in["value"]}, mainBranch, nil
		},
	},
	"com.datadoghq.core.error": {
		inputs: map[string]input{"message": {form: text, required: true}}, branches: onlyMain,
		run: func(_ context.Context, _ *execution, _ *step, in map[string]any) (map[string]any, string, error) {
			return nil, "", errors.New(inText(in["message"]))
		},
	},
	"com.datadoghq.core.sleep": {
		inputs: map[string]input{"durationSeconds": {form: number, required: true}}, branches: onlyMain,
		run: func(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
			seconds, ok := in["durationSeconds"].(float64)
			if most := (7 * 24 * time.Hour).Seconds(); !ok || seconds < 0 || seconds > most {
				return nil, "", fmt.Errorf("durationSeconds is not from 0 to %.0f", most)
			}
			return nil, mainBranch, x.env.Wait(ctx, time.Duration(seconds*float64(time.Second)))
		},
	},
	"com.datadoghq.slack.send_simple_message": {
		inputs: map[string]input{
			"teamId": {form: text, required: true}, "channel": {form: text, required: true}, "text": {form: text, required: true},
			"mentionTargets": {form: list}, "header": {form: text},
		},
		branches: onlyMain,
		run: func(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
			return nil, mainBranch, x.env.Actions.Send(ctx, Message{
				RunID: x.run.ID, Workflow: x.run.Workflow, Channel: "slack", To: inText(in["channel"]), Subject: inText(in["header"]), Text: inText(in["text"]),
			})
		},
	},
	"com.datadoghq.email.send": {
		inputs: map[string]input{
			"to": {form: text, required: true}, "subject": {form: text, required: true}, "message": {form: text, required: true},
		},
		branches: onlyMain,
		run: func(ctx context.Context, x *execution, _ *step, in map[string]any) (map[string]any, string, error) {
			return nil, mainBranch, x.env.Actions.Send(ctx, Message{
				RunID: x.run.ID, Workflow: x.run.Workflow, Channel: "email", To: inText(in["to"]), Subject: inText(in["subject"]), Text: inText(in["message"]),
			})
		},
	},
}

// texts returns a list's items as text.
func texts(v any) []string {
	items, ok := v.([]any)
	if !ok {
		return nil
	}
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = inText(item)
	}
	return out
}

var conditionKeys = []string{"comparisonOperator", "leftValue", "rightValue"}

func checkIf(inputs map[string]any) error {
	if join := inputs["joinOperator"]; join != "and" && join != "or" {
		return fmt.Errorf("joinOperator is %v, not and or or", join)
	}
	conditions, ok := inputs["conditions"].([]any)
	if !ok || len(conditions) == 0 {
		return errors.New("conditions is not a list of conditions")
	}
	for i, c := range conditions {
		condition, ok := c.(map[string]any)
		if !ok || !slices.Equal(slices.Sorted(maps.Keys(condition)), conditionKeys) {
			return fmt.Errorf("condition %d has not just the keys %v", i, conditionKeys)
		}
		if op := condition["comparisonOperator"]; op != "eq" {
			return fmt.Errorf("condition %d: unknown comparisonOperator %v", i, op)
		}
	}
	return nil
}

func runIf(_ context.Context, _ *execution, _ *step, in map[string]any) (map[string]any, string, error) {
	one, all := false, true
	conditions, _ := in["conditions"].([]any) // checkIf saw to both forms.
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		equal := reflect.DeepEqual(condition["leftValue"], condition["rightValue"])
		one, all = one || equal, all && equal
	}
	if all || one && in["joinOperator"] == "or" {
		return nil, "true", nil
	}
	return nil, "false", nil
}

const (
	maxScript  = 10_000
	scriptTime = 2 * time.Second
)

// program makes a script, which is the body of a function of $, into a program that takes and gives JSON.
func program(script string) (*goja.Program, error) {
	return goja.Compile("script", "(function (context) { return JSON.stringify((function ($) {\n"+script+"\n})(JSON.parse(context))) })", true)
}

func checkScript(inputs map[string]any) error {
	script, ok := inputs["script"].(string)
	if !ok {
		return nil // Its form is reported already.
	}
	if len(script) > maxScript {
		return fmt.Errorf("the script has more than %d bytes", maxScript)
	}
	if _, err := program(script); err != nil {
		return fmt.Errorf("the script is not valid: %w", err)
	}
	return nil
}
