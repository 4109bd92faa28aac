// Package diff compares JSON documents: one that says how an object should be with one that a server gives for it. The
// server adds fields and fills in defaults, so the first must be contained in the second, not be equal to it.
//
// What counts as the same, beside what is:
//
//	null, "", false, 0, [] and {}   a field that the server does not show
//	numbers                         by value: 1 and 1.0
//	times                           by instant: 2026-01-05T00:00:00Z and 2026-01-05T01:00:00+01:00
//	lists that have no order        such as tags and locations: by their members
//	Hidden                          whatever is there: a secret can't be compared
package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hidden stands for a secret, or for a text that holds one.
const Hidden = "«secret»"

// Change is one difference: Old is there and New should be. One that is nil is absent.
type Change struct {
	// Path names the place: options.thresholds.critical, widgets[3].definition.
	Path string `json:"path"`
	Old  any    `json:"old,omitempty"`
	New  any    `json:"new,omitempty"`
}

// unordered are the fields whose list of texts is a set.
var unordered = []string{
	"tags", "rehydration_tags", "available_values", "locations", "renotify_statuses", "product_list", "handles", "notify_list",
	"restricted_roles", "formats", "languages", "renotify_on",
}

// Decode reads a JSON value; numbers keep their digits.
func Decode(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	return v, nil
}

// Compare returns where have is not as want says, sorted by path.
func Compare(want, have any) []Change {
	var changes []Change
	compare("", want, have, func(c Change) { changes = append(changes, c) })
	return changes
}

func compare(path string, want, have any, differ func(Change)) {
	report := func() {
		c := Change{path, have, want}
		if holdsHidden(want) && have != nil {
			c.Old = Hidden
		}
		differ(c)
	}
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok && have != nil {
			report()
			return
		}
		for _, key := range slices.Sorted(maps.Keys(w)) {
			compare(join(path, key), w[key], h[key], differ)
		}
	case []any:
		h, ok := have.([]any)
		switch {
		case !ok && have == nil && len(w) == 0:
		case !ok:
			report()
		case isSet(path, w):
			if !slices.Equal(sorted(w), sorted(h)) {
				report()
			}
		case len(w) != len(h) && (scalars(w) || scalars(h)):
			report()
		default:
			for i := range max(len(w), len(h)) {
				at := fmt.Sprintf("%s[%d]", path, i)
				switch {
				case i >= len(w):
					c := Change{Path: at, Old: h[i]}
					if holdsHidden(w) {
						c.Old = Hidden
					}
					differ(c)
				case i >= len(h):
					differ(Change{Path: at, New: w[i]})
				default:
					compare(at, w[i], h[i], differ)
				}
			}
		}
	default:
		if !same(want, have) {
			report()
		}
	}
}

// same compares what is neither an object nor a list.
func same(want, have any) bool {
	if have == nil && zero(want) {
		return true
	}
	switch w := want.(type) {
	case nil:
		return zero(have)
	case string:
		h, ok := have.(string)
		if strings.Contains(w, Hidden) {
			return have == nil || ok && (h == "" || matches(w, h))
		}
		return ok && (w == h || sameTime(w, h))
	case json.Number:
		h, ok := have.(json.Number)
		return ok && sameNumber(w, h)
	}
	return want == have
}

// zero reports whether v is what a server may leave out.
func zero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	if _, err := strconv.ParseInt(a.String(), 10, 64); err == nil {
		if _, err := strconv.ParseInt(b.String(), 10, 64); err == nil {
			return false // Two identifiers may be one floating-point number.
		}
	}
	x, errX := a.Float64()
	y, errY := b.Float64()
	return errX == nil && errY == nil && x == y
}

func sameTime(a, b string) bool {
	x, errX := time.Parse(time.RFC3339, a)
	y, errY := time.Parse(time.RFC3339, b)
	return errX == nil && errY == nil && x.Equal(y)
}

// matches reports whether s can be what masked is with its secrets.
func matches(masked, s string) bool {
	parts := strings.Split(masked, Hidden)
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(s, first) || !strings.HasSuffix(s[len(first):], last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

func isSet(path string, list []any) bool {
	name := path[strings.LastIndexByte(path, '.')+1:]
	return slices.Contains(unordered, name) && scalars(list)
}

func scalars(list []any) bool {
	for _, v := range list {
		switch v.(type) {
		case map[string]any, []any:
			return false
		}
	}
	return true
}

func sorted(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = fmt.Sprint(v)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// holdsHidden reports whether there is a secret somewhere in v.
func holdsHidden(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, Hidden)
	case []any:
		return slices.ContainsFunc(v, holdsHidden)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), holdsHidden)
	}
	return false
}

// Removed returns what before had and want has no longer, where have still shows it.
func Removed(before, want, have any) []Change {
	var changes []Change
	removed("", before, want, have, func(c Change) { changes = append(changes, c) })
	return changes
}

func removed(path string, before, want, have any, differ func(Change)) {
	switch b := before.(type) {
	case map[string]any:
		w, okW := want.(map[string]any)
		h, okH := have.(map[string]any)
		if !okW || !okH {
			return
		}
		for _, key := range slices.Sorted(maps.Keys(b)) {
			at := join(path, key)
			if _, still := w[key]; still {
				removed(at, b[key], w[key], h[key], differ)
			} else if !zero(h[key]) && !zero(b[key]) {
				c := Change{Path: at, Old: h[key]}
				if holdsHidden(b[key]) {
					c.Old = Hidden
				}
				differ(c)
			}
		}
	case []any:
		w, okW := want.([]any)
		h, okH := have.([]any)
		if !okW || !okH {
			return
		}
		for i := range min(len(b), len(w), len(h)) {
			removed(fmt.Sprintf("%s[%d]", path, i), b[i], w[i], h[i], differ)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// At returns the value at a path of object keys, or nil.
func At(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[key]
	}
	return v
}

// Text returns the text or the number at a path, or "".
func Text(v any, path string) string {
	switch s := At(v, path).(type) {
	case string:
		return s
	case json.Number:
		return s.String()
	}
	return ""
}

// With returns a copy of v in which the value at a path is x; objects on the way are made. A nil x takes the field out.
func With(v any, path string, x any) any {
	object, _ := v.(map[string]any)
	key, rest, deeper := strings.Cut(path, ".")
	if _, is := object[key]; !is && x == nil {
		return v
	}
	object = maps.Clone(object)
	if object == nil {
		object = map[string]any{}
	}
	switch {
	case deeper:
		object[key] = With(object[key], rest, x)
	case x == nil:
		delete(object, key)
	default:
		object[key] = x
	}
	return object
}
