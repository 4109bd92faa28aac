package pipeline

import (
	"strings"
	"unicode"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// read returns the value of a source: of an attribute, nested or with dots in its name, or of a field of the log.
func (r *run) read(path string) (any, bool) {
	if v, ok := get(r.log.Attributes, path); ok && v != nil {
		return v, true
	}
	field := ""
	switch path {
	case "service":
		field = r.log.Service
	case "status":
		field = r.log.Status
	case "source", "ddsource":
		field = r.log.Source
	case "host":
		field = r.log.Host
	case "message":
		field = r.log.Message
	case "trace_id":
		field = r.log.TraceID
	case "span_id":
		field = r.log.SpanID
	}
	return field, field != ""
}

// text returns the first source that has a scalar, as text.
func (r *run) text(sources []string) (string, bool) {
	for _, source := range sources {
		if v, ok := r.read(source); ok && isScalar(v) {
			return search.Text(v), true
		}
	}
	return "", false
}

func isScalar(v any) bool {
	switch v.(type) {
	case nil, map[string]any, []any:
		return false
	}
	return true
}

func get(object map[string]any, path string) (any, bool) {
	if v, ok := object[path]; ok {
		return v, true
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := object[path[:i]].(map[string]any); ok {
			if v, found := get(inner, path[i+1:]); found {
				return v, true
			}
		}
	}
	return nil, false
}

// set sets an attribute where it is, else nested; where something that is no object is in the way, its name keeps the dot.
func set(object map[string]any, path string, value any) {
	if replace(object, path, value) {
		return
	}
	// Go into what exists as far as possible, and make the rest.
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		switch inner := object[path[:i]].(type) {
		case map[string]any:
			set(inner, path[i+1:], value)
			return
		case nil:
			made := map[string]any{}
			object[path[:i]] = made
			set(made, path[i+1:], value)
			return
		}
	}
	object[path] = value
}

// replace sets an attribute that exists.
func replace(object map[string]any, path string, value any) bool {
	if _, ok := object[path]; ok {
		object[path] = value
		return true
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := object[path[:i]].(map[string]any); ok && replace(inner, path[i+1:], value) {
			return true
		}
	}
	return false
}

// remove removes an attribute, and objects that are empty then.
func remove(object map[string]any, path string) bool {
	_, removed := object[path]
	delete(object, path)
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := object[path[:i]].(map[string]any); ok && remove(inner, path[i+1:]) {
			removed = true
			if len(inner) == 0 {
				delete(object, path[:i])
			}
		}
	}
	return removed
}

// merge sets what is in an object, below a path.
func (r *run) merge(path string, values map[string]any) {
	for key, v := range values {
		at := key
		if path != "" {
			at = path + "." + key
		}
		if inner, ok := v.(map[string]any); ok && len(inner) > 0 {
			r.merge(at, inner)
			continue
		}
		set(r.log.Attributes, at, v)
	}
}

// tag makes a tag of a key and a value, by the rules for tags.
func tag(key, value string) string { return normal(key) + ":" + normal(value) }

func normal(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-:./", r) {
			return unicode.ToLower(r)
		}
		return '_'
	}, text)
}

// tagged returns the values of tags with a key.
func (r *run) tagged(key string) []string {
	var values []string
	for _, t := range r.log.Tags {
		if k, v, ok := strings.Cut(t, ":"); ok && strings.EqualFold(k, key) {
			values = append(values, v)
		}
	}
	return values
}
