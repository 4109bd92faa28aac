package lambda

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// template is a CloudFormation template, as far as a comparison must know it.
type template struct {
	resources map[string]resource
	// rest is everything but the resources.
	rest map[string]any
}

// resource is one of a template: its type, and the whole of it.
type resource struct {
	kind string
	body map[string]any
}

// read decodes a template in JSON.
func read(raw []byte) (template, error) {
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return template{}, fmt.Errorf("template: %w", err)
	}
	t := template{resources: map[string]resource{}, rest: doc}
	resources, ok := doc["Resources"].(map[string]any)
	if !ok && doc["Resources"] != nil {
		return template{}, fmt.Errorf("template: Resources are a %T", doc["Resources"])
	}
	delete(doc, "Resources")
	for name, value := range resources {
		body, ok := value.(map[string]any)
		if !ok {
			return template{}, fmt.Errorf("template: resource %s is a %T", name, value)
		}
		kind, ok := body["Type"].(string)
		if !ok {
			return template{}, fmt.Errorf("template: resource %s has no type", name)
		}
		t.resources[name] = resource{kind, body}
	}
	return t, nil
}

// properties returns those of a resource; a nil map when it has none.
func (r resource) properties() map[string]any {
	properties, ok := r.body["Properties"].(map[string]any)
	if !ok {
		return nil
	}
	return properties
}

// Compare says in a line for each resource what a deployment of a template over another would change. Where the code of a
// function lies does not count: osls names that anew each time. What the code is, a template doesn't say.
func Compare(deployed, generated []byte) ([]string, error) {
	before, err := read(deployed)
	if err != nil {
		return nil, fmt.Errorf("deployed %w", err)
	}
	after, err := read(generated)
	if err != nil {
		return nil, fmt.Errorf("generated %w", err)
	}
	var lines []string
	for _, name := range keys(before.resources, after.resources) {
		old, had := before.resources[name]
		next, has := after.resources[name]
		switch {
		case !had:
			lines = append(lines, fmt.Sprintf("+ %s (%s)", name, next.kind))
		case !has:
			lines = append(lines, fmt.Sprintf("- %s (%s)", name, old.kind))
		default:
			withoutPlace(old)
			withoutPlace(next)
			if changes := differ("", old.body, next.body); len(changes) > 0 {
				lines = append(lines, fmt.Sprintf("~ %s (%s): %s", name, next.kind, strings.Join(changes, "; ")))
			}
		}
	}
	if len(before.resources) == 0 {
		return lines, nil // A new stack: what stands beside the resources goes without saying.
	}
	for _, change := range differ("", before.rest, after.rest) {
		lines = append(lines, "~ "+change)
	}
	return lines, nil
}

// withoutPlace takes out where the code of a function lies.
func withoutPlace(r resource) {
	if code, ok := r.properties()["Code"].(map[string]any); ok && r.kind == "AWS::Lambda::Function" {
		delete(code, "S3Key")
	}
}

// differ returns what differs between two values, by path. Objects are looked into, lists are not.
func differ(path string, old, next any) (changes []string) {
	before, ok := old.(map[string]any)
	after, both := next.(map[string]any)
	if ok && both {
		for _, name := range keys(before, after) {
			deeper := strings.TrimPrefix(path+"."+name, ".")
			changes = append(changes, differ(strings.TrimPrefix(deeper, "Properties."), before[name], after[name])...)
		}
		return changes
	}
	if reflect.DeepEqual(old, next) {
		return nil
	}
	switch {
	case old == nil:
		return []string{fmt.Sprintf("%s: %s", path, shown(next))}
	case next == nil:
		return []string{fmt.Sprintf("%s: %s → (removed)", path, shown(old))}
	}
	return []string{fmt.Sprintf("%s: %s → %s", path, shown(old), shown(next))}
}

// maxShown is how many characters of a value are shown.
const maxShown = 100

// shown returns a value as short JSON.
func shown(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	if s := string(raw); utf8.RuneCountInString(s) > maxShown {
		return string([]rune(s)[:maxShown]) + "…"
	}
	return string(raw)
}

// keys returns the keys of two maps, each once, in order.
func keys[V any](a, b map[string]V) []string {
	return slices.Compact(slices.Sorted(func(yield func(string) bool) {
		for _, m := range []map[string]V{a, b} {
			for name := range maps.Keys(m) {
				if !yield(name) {
					return
				}
			}
		}
	}))
}

// functionsOf returns the names of the functions of a template, by their logical names.
func functionsOf(raw []byte) (map[string]string, error) {
	t, err := read(raw)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for logical, r := range t.resources {
		if name, ok := r.properties()["FunctionName"].(string); ok && r.kind == "AWS::Lambda::Function" {
			names[logical] = name
		}
	}
	return names, nil
}

// retained returns the resources of a template that stay when the stack is deleted, by their logical names.
func retained(raw []byte) (map[string]bool, error) {
	t, err := read(raw)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for logical, r := range t.resources {
		if policy, ok := r.body["DeletionPolicy"].(string); ok && strings.HasPrefix(policy, "Retain") {
			names[logical] = true
		}
	}
	return names, nil
}
