// Package template packages serverless.yml without credentials, and says of the CloudFormation template that comes out what is wrong
// with it by our rules: what each function must be, be told and be allowed, and nothing beyond. The rules are written down a second
// time here, apart from serverless.yml, because a permission too many deploys without any error.
//
// It is no general linter: a kind of resource that no rule knows is a problem. It does not know what CloudFormation itself refuses.
package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Problem is one thing that is wrong.
type Problem struct {
	// Where is the logical ID of the resource or the name of the output; empty for the template as a whole.
	Where  string
	Detail string
}

// String is the problem in one line.
func (p Problem) String() string {
	if p.Where == "" {
		return p.Detail
	}
	return p.Where + ": " + p.Detail
}

// resource is a resource whose conditions are resolved.
type resource struct {
	Type                string         `json:"Type"`
	Condition           string         `json:"Condition"`
	DeletionPolicy      string         `json:"DeletionPolicy"`
	UpdateReplacePolicy string         `json:"UpdateReplacePolicy"`
	Properties          map[string]any `json:"Properties"`
}

// document is what a template says.
type document struct {
	Conditions map[string]any `json:"Conditions"`
	Resources  map[string]*resource
	Outputs    map[string]struct {
		Value any `json:"Value"`
	} `json:"Outputs"`
}

// parse reads a template and resolves its conditions. They hang on nothing but parameters of osls, which are in it already.
func parse(data []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("this is no template in JSON: %w", err)
	}
	if len(d.Resources) == 0 {
		return nil, fmt.Errorf("the template has no resources")
	}
	holds := map[string]bool{}
	for name, condition := range d.Conditions {
		value, ok := evaluate(condition)
		if !ok {
			return nil, fmt.Errorf("condition %s can't be told before the deployment", name)
		}
		holds[name] = value
	}
	for name, r := range d.Resources {
		if r == nil || r.Condition != "" && !holds[r.Condition] {
			delete(d.Resources, name)
			continue
		}
		properties, _ := resolve(r.Properties, holds).(map[string]any)
		r.Properties = properties
	}
	return &d, nil
}

// evaluate tells a condition of Fn::Equals and Fn::Not over text.
func evaluate(condition any) (holds, ok bool) {
	name, argument := function(condition)
	args, _ := argument.([]any)
	switch {
	case name == "Fn::Not" && len(args) == 1:
		holds, ok = evaluate(args[0])
		return !holds, ok
	case name == "Fn::Equals" && len(args) == 2:
		a, okA := args[0].(string)
		b, okB := args[1].(string)
		return a == b, okA && okB
	}
	return false, false
}

// function returns the name and the argument of an intrinsic function; an empty name for another value.
func function(v any) (string, any) {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		return "", nil
	}
	for name, argument := range m {
		if name == "Ref" || strings.HasPrefix(name, "Fn::") {
			return name, argument
		}
	}
	return "", nil
}

// absent takes the place of a value that a condition leaves out.
type absent struct{}

// resolve returns the value with each Fn::If replaced by the branch that holds.
func resolve(v any, holds map[string]bool) any {
	name, argument := function(v)
	if args, ok := argument.([]any); ok && name == "Fn::If" && len(args) == 3 {
		condition, _ := args[0].(string)
		if holds[condition] {
			return resolve(args[1], holds)
		}
		return resolve(args[2], holds)
	}
	if name == "Ref" && argument == "AWS::NoValue" {
		return absent{}
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, inner := range v {
			if got := resolve(inner, holds); got != (absent{}) {
				out[key] = got
			}
		}
		return out
	case []any:
		out := []any{}
		for _, inner := range v {
			if got := resolve(inner, holds); got != (absent{}) {
				out = append(out, got)
			}
		}
		return out
	}
	return v
}

// text writes a value the way Fn::Sub would have it, so that values can be compared whichever function made them: ${Table} for a Ref,
// ${Role.Arn} for an attribute. What has no such form comes as JSON.
func text(v any) string {
	name, argument := function(v)
	args, _ := argument.([]any)
	switch {
	case name == "Ref":
		return fmt.Sprintf("${%v}", argument)
	case name == "Fn::GetAtt" && len(args) == 2:
		return fmt.Sprintf("${%v.%v}", args[0], args[1])
	case name == "Fn::Sub":
		if s, ok := argument.(string); ok {
			return s
		}
	case name == "Fn::Join" && len(args) == 2:
		separator, _ := args[0].(string)
		parts, ok := args[1].([]any)
		if ok {
			return strings.Join(texts(parts), separator)
		}
	}
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v) // what came from JSON goes back to it
	}
	return string(out)
}

// texts returns the elements of a list, or the one value that stands for a list.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		if v == nil {
			return nil
		}
		list = []any{v}
	}
	var out []string
	for _, element := range list {
		out = append(out, text(element))
	}
	return out
}

// get follows names into nested maps.
func get(v any, names ...string) any {
	for _, name := range names {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// of returns the logical IDs of the resources of a type, in order.
func (d *document) of(kind string) []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(d.Resources)) {
		if d.Resources[id].Type == kind {
			ids = append(ids, id)
		}
	}
	return ids
}

// strings calls f with every text of the template and with where it stands.
func (d *document) strings(f func(where, s string)) {
	for _, id := range slices.Sorted(maps.Keys(d.Resources)) {
		each(d.Resources[id].Properties, func(s string) { f(id, s) })
	}
	for _, name := range slices.Sorted(maps.Keys(d.Outputs)) {
		each(d.Outputs[name].Value, func(s string) { f(name, s) })
	}
}

func each(v any, f func(string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case []any:
		for _, inner := range v {
			each(inner, f)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			each(v[key], f)
		}
	}
}
