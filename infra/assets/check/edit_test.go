package check_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// edit is one change of a decoded body. It returns the path that it changed, with indexes in place of selectors.
type edit func(t *testing.T, body any) (changed string)

// set puts a value at a path; the last key need not exist.
func set(path string, value any) edit {
	return func(t *testing.T, body any) string {
		t.Helper()
		parent, key, at := walk(t, body, path)
		put(t, parent, key, decoded(t, value))
		return at
	}
}

// remove deletes a key or an item of a list.
func remove(path string) edit {
	return func(t *testing.T, body any) string {
		t.Helper()
		parent, key, at := walk(t, body, path)
		if object, ok := parent.(map[string]any); ok {
			if _, there := object[key]; !there {
				t.Fatalf("%s does not exist", at)
			}
			delete(object, key)
			return at
		}
		items, ok := parent.([]any)
		if !ok {
			t.Fatalf("%s is in no list", at)
		}
		i := position(t, items, key)
		grand, name, _ := walk(t, body, path[:strings.LastIndex(path, "[")])
		put(t, grand, name, append(items[:i:i], items[i+1:]...))
		return at
	}
}

// rename gives a key another name.
func rename(path, name string) edit {
	return func(t *testing.T, body any) string {
		t.Helper()
		parent, key, at := walk(t, body, path)
		object, ok := parent.(map[string]any)
		if !ok || object[key] == nil {
			t.Fatalf("%s does not exist", at)
		}
		object[name] = object[key]
		delete(object, key)
		return strings.TrimSuffix(at, key) + name
	}
}

// sub replaces a part of a text.
func sub(path, old, other string) edit {
	return func(t *testing.T, body any) string {
		t.Helper()
		parent, key, at := walk(t, body, path)
		text, ok := value(t, parent, key).(string)
		if !ok || !strings.Contains(text, old) {
			t.Fatalf("%s holds no %q: %q", at, old, text)
		}
		put(t, parent, key, strings.Replace(text, old, other, 1))
		return at
	}
}

// add appends an item to a list.
func add(path string, item any) edit {
	return func(t *testing.T, body any) string {
		t.Helper()
		parent, key, at := walk(t, body, path)
		list, ok := value(t, parent, key).([]any)
		if !ok {
			t.Fatalf("%s is no list", at)
		}
		put(t, parent, key, append(list, decoded(t, item)))
		return fmt.Sprintf("%s[%d]", at, len(list))
	}
}

// part is a key, or an item: [2], or [name=Revert], the item whose key has this value.
var part = regexp.MustCompile(`([^.\[\]]+)|\[([^\]]*)\]`)

// walk goes down a path. It returns what holds the last part, that part, and the path with indexes only.
func walk(t *testing.T, body any, path string) (parent any, key, at string) {
	t.Helper()
	parts := part.FindAllStringSubmatch(path, -1)
	parent = body
	for i, p := range parts {
		if key = p[1]; key != "" {
			at = strings.TrimPrefix(at+"."+key, ".")
		} else {
			items, ok := parent.([]any)
			if !ok {
				t.Fatalf("%s is no list in %s", at, path)
			}
			key = strconv.Itoa(position(t, items, p[2]))
			at += "[" + key + "]"
		}
		if i < len(parts)-1 {
			parent = value(t, parent, key)
		}
	}
	return parent, key, at
}

// position finds an item by its index, -1 for the last, or by the value that one of its keys has.
func position(t *testing.T, items []any, selector string) int {
	t.Helper()
	name, want, byKey := strings.Cut(selector, "=")
	if !byKey {
		i, err := strconv.Atoi(selector)
		if i < 0 {
			i += len(items)
		}
		if err != nil || i < 0 || i >= len(items) {
			t.Fatalf("no item %q of %d", selector, len(items))
		}
		return i
	}
	for i, item := range items {
		if object, ok := item.(map[string]any); ok && fmt.Sprint(object[name]) == want {
			return i
		}
	}
	t.Fatalf("no item with %s", selector)
	return 0
}

func value(t *testing.T, v any, key string) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		return v[key]
	case []any:
		return v[position(t, v, key)]
	}
	t.Fatalf("no %q in %v", key, v)
	return nil
}

func put(t *testing.T, parent any, key string, v any) {
	t.Helper()
	switch parent := parent.(type) {
	case map[string]any:
		parent[key] = v
	case []any:
		parent[position(t, parent, key)] = v
	default:
		t.Fatalf("nothing to put %q into", key)
	}
}

// decoded returns a value as it comes from JSON.
func decoded(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
