// Package httpjson reads JSON requests strictly and writes JSON responses and RFC 9457 problems. It holds the one table
// from kinds of failure to HTTP status. It is not a router and knows nothing of any endpoint.
package httpjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
)

// Validator is implemented by request bodies that check themselves. Validate returns one FieldError for every field
// whose value is not acceptable, and nil when all are.
type Validator interface {
	Validate() []FieldError
}

// Decode reads the body of r, which must be one JSON object of at most limit bytes, into v, a pointer to a struct. It
// returns a *Problem: 415 for another content type, 413 for a body over limit, 408 for one that comes too slowly, 400
// for anything that is not one JSON object in UTF-8, and 400 that names every field that is unknown, duplicate, of a
// wrong type, or refused by v's Validate.
func Decode(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return &Problem{Status: http.StatusUnsupportedMediaType, Detail: "the content type must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is larger than %d bytes", limit)}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return &Problem{Status: http.StatusRequestTimeout, Detail: "the body did not arrive in time", Err: err}
		}
		return &Problem{Status: http.StatusBadRequest, Detail: "the body could not be read", Err: err}
	}
	return Unmarshal(body, v)
}

// Unmarshal is Decode for a body that was read already; it checks neither content type nor size.
func Unmarshal(body []byte, v any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return &Problem{Status: http.StatusBadRequest, Detail: "the body is empty"}
	}
	if !utf8.Valid(body) {
		return &Problem{Status: http.StatusBadRequest, Detail: "the body is not valid UTF-8"}
	}
	if plainly(body, v) {
		return validate(v, nil)
	}
	members, bad, err := object(body)
	if err != nil {
		return &Problem{Status: http.StatusBadRequest, Detail: err.Error()}
	}
	return validate(v, append(bad, assign(members, reflect.ValueOf(v).Elem())...))
}

// validate asks v what it thinks of itself, unless there is something wrong already, and reports what is wrong.
func validate(v any, bad []FieldError) error {
	if val, ok := v.(Validator); ok && len(bad) == 0 {
		bad = append(bad, val.Validate()...)
	}
	if len(bad) > 0 {
		slices.SortStableFunc(bad, func(a, b FieldError) int { return strings.Compare(a.Field, b.Field) })
		return &Problem{Status: http.StatusBadRequest, Detail: "the request has fields that are not acceptable", Errors: bad}
	}
	return nil
}

// plainly decodes a body that nothing is wrong with, as most are, in one go. It returns false for any other, and leaves v as it
// is; then its members are decoded one by one, so that all that is wrong is found.
func plainly(body []byte, v any) bool {
	target := reflect.ValueOf(v).Elem()
	into := reflect.New(target.Type())
	into.Elem().Set(target)
	// A member that is there twice, or in other capitals, would be taken by encoding/json, and is not by this one.
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) || jsonv2.Unmarshal(body, into.Interface(), jsonv2.RejectUnknownMembers(true)) != nil {
		return false
	}
	target.Set(into.Elem())
	return true
}

// object splits one JSON object into its members and reports duplicate names.
func object(body []byte) (map[string]json.RawMessage, []FieldError, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if tok, err := dec.Token(); err != nil {
		return nil, nil, syntaxError(body)
	} else if tok != json.Delim('{') {
		return nil, nil, errors.New("the body must be a JSON object")
	}
	members := map[string]json.RawMessage{}
	var bad []FieldError
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, nil, syntaxError(body)
		}
		name, ok := tok.(string)
		if !ok {
			return nil, nil, errors.New("the body is not valid JSON")
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, nil, syntaxError(body)
		}
		if _, seen := members[name]; seen {
			bad = append(bad, FieldError{clip(name), "appears more than once"})
		}
		members[name] = raw
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, syntaxError(body)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("the body must be one JSON object and nothing after it")
	}
	return members, bad, nil
}

// syntaxError says where body stops being JSON. It reads body anew as one value, because a decoder that was asked for
// tokens before does not count all bytes in the offsets of its errors.
func syntaxError(body []byte) error {
	var raw json.RawMessage
	err := json.NewDecoder(bytes.NewReader(body)).Decode(&raw)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("the body is not valid JSON at byte %d", syntax.Offset)
	}
	return errors.New("the body is not valid JSON: it ends too early")
}

// assign decodes each member into the field of the same JSON name, and goes on after errors so that all are found.
func assign(members map[string]json.RawMessage, target reflect.Value) []FieldError {
	fields := map[string]reflect.Value{}
	named(target, fields)
	var bad []FieldError
	for name, raw := range members {
		field, ok := fields[name]
		if !ok {
			bad = append(bad, FieldError{clip(name), "unknown field"})
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(field.Addr().Interface()); err != nil {
			bad = append(bad, fieldError(name, err))
		}
	}
	return bad
}

// named gathers the fields of a struct by their JSON names, those of embedded structs among them.
func named(target reflect.Value, fields map[string]reflect.Value) {
	for i := range target.NumField() {
		f := target.Type().Field(i)
		switch name, _, _ := strings.Cut(f.Tag.Get("json"), ","); {
		case name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct:
			named(target.Field(i), fields)
		case name != "" && name != "-":
			fields[name] = target.Field(i)
		}
	}
}

func fieldError(name string, err error) FieldError {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field != "" {
			name += "." + wrong.Field
		}
		return FieldError{clip(name), clip(fmt.Sprintf("must be %s, not %s", jsonType(wrong.Type), wrong.Value))}
	}
	if text, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return FieldError{name + "." + clip(strings.Trim(text, `"`)), "unknown field"}
	}
	// What remains comes from UnmarshalText and UnmarshalJSON methods of ours, whose texts are made for callers.
	return FieldError{name, clip(err.Error())}
}

func jsonType(t reflect.Type) string {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "a string"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Int32:
		return "a whole number"
	case reflect.Float64, reflect.Float32:
		return "a number"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}

// clip keeps what a caller sent from filling a response.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
