package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// obj is a JSON object. Numbers in one are json.Number, so that they come back as they were sent.
type obj = map[string]any

// decode reads exactly one JSON object.
func decode(raw []byte) (obj, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var o obj
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("decode JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode JSON object: more follows it")
	}
	if o == nil {
		return nil, errors.New("decode JSON object: it is null")
	}
	return o, nil
}

// clone copies a decoded JSON value in depth. What is no JSON container is kept.
func clone[T any](v T) T {
	out, _ := copied(v).(T)
	return out
}

func copied(v any) any {
	switch v := v.(type) {
	case obj:
		out := make(obj, len(v))
		for k, e := range v {
			out[k] = copied(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = copied(e)
		}
		return out
	}
	return v
}

// at returns what is in o at a path of keys, or nil.
func at(o obj, path ...string) any {
	var v any = o
	for _, key := range path {
		in, ok := v.(obj)
		if !ok {
			return nil
		}
		v = in[key]
	}
	return v
}

// text returns the string at a path, or "".
func text(o obj, path ...string) string {
	s, _ := at(o, path...).(string)
	return s
}

// sub returns the object at a path, or nil.
func sub(o obj, path ...string) obj {
	in, _ := at(o, path...).(obj)
	return in
}

// list returns the array at a path, or nil.
func list(o obj, path ...string) []any {
	l, _ := at(o, path...).([]any)
	return l
}

// objs returns the objects in the array at a path; what is no object is an empty one, so that indexes stay.
func objs(o obj, path ...string) []obj {
	in := list(o, path...)
	out := make([]obj, len(in))
	for i, v := range in {
		out[i], _ = v.(obj)
	}
	return out
}

// texts returns the strings in the array at a path.
func texts(o obj, path ...string) []string {
	var out []string
	for _, v := range list(o, path...) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// yes reports whether the value at a path is true.
func yes(o obj, path ...string) bool {
	b, _ := at(o, path...).(bool)
	return b
}

// number returns the number at a path; ok is false when there is none.
func number(o obj, path ...string) (float64, bool) {
	switch n := at(o, path...).(type) {
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	case float64:
		return n, true
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	}
	return 0, false
}

// within reports whether the value at a path is absent, null, or a whole number in a range.
func within(o obj, least, most float64, path ...string) bool {
	if at(o, path...) == nil {
		return true
	}
	n, ok := number(o, path...)
	return ok && n == math.Trunc(n) && n >= least && n <= most
}

// fill sets keys that o lacks.
func fill(o, defaults obj) {
	for k, v := range defaults {
		if _, ok := o[k]; !ok {
			o[k] = copied(v)
		}
	}
}

// over returns old with the keys of changes on top.
func over(old, changes obj) obj {
	out := clone(old)
	if out == nil {
		out = obj{}
	}
	for k, v := range changes {
		out[k] = copied(v)
	}
	return out
}

// decimal writes a number as Datadog does where it holds a float: 2 is 2.0.
func decimal(f float64) json.Number {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return json.Number(s)
}

// anys makes a JSON array.
func anys[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
