package ddapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Error is a request that failed. It holds neither keys nor what was sent.
type Error struct {
	Method, Path string
	// Status is the HTTP status of the answer, 0 when none came.
	Status int
	// Errors are the reasons that Datadog gave.
	Errors []string
	// Unknown is set when the request may have been carried out although no answer says so: look before it is repeated.
	Unknown bool

	cause error
}

// Error says what was tried and why it failed.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Method, e.Path)
	switch {
	case e.Status == 0 && e.cause != nil:
		fmt.Fprintf(&b, "%v", e.cause)
	case e.Status == 0:
		b.WriteString("no answer")
	case len(e.Errors) == 0:
		fmt.Fprintf(&b, "%d %s", e.Status, http.StatusText(e.Status))
	default:
		fmt.Fprintf(&b, "%d: %s", e.Status, strings.Join(e.Errors, "; "))
	}
	if e.Status != 0 && e.cause != nil {
		fmt.Fprintf(&b, " (%v)", e.cause)
	}
	if e.Unknown {
		b.WriteString(" (it is not known whether it was done)")
	}
	return b.String()
}

// Unwrap returns what kept an answer from coming, such as the end of the context.
func (e *Error) Unwrap() error { return e.cause }

// Status returns the HTTP status of err when it is an *Error, or else 0.
func Status(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

// Unknown reports whether the request behind err may have been carried out.
func Unknown(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unknown
}

// Bounds of what an error repeats from an answer.
const (
	maxReasons = 20
	maxReason  = 500
)

// reasons reads the forms of error bodies that Datadog's APIs have: a list of texts, a list of JSON:API objects, texts by
// id, and the log configuration's single object. Anything else gives none, since it may be a page of a proxy.
func reasons(body []byte) []string {
	var envelope struct {
		Errors json.RawMessage `json:"errors"`
		Error  json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &envelope) != nil {
		return nil
	}
	var out []string
	add := func(parts ...string) {
		text := strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
		if len(text) > maxReason {
			text = strings.ToValidUTF8(text[:maxReason], "") + "…"
		}
		if text != "" && len(out) < maxReasons {
			out = append(out, text)
		}
	}
	var list []json.RawMessage
	var byID map[string]string
	if json.Unmarshal(envelope.Errors, &list) == nil {
		for _, item := range list {
			var text string
			var object struct {
				Title, Detail string
				Source        struct{ Pointer, Parameter string }
			}
			switch {
			case json.Unmarshal(item, &text) == nil:
				add(text)
			case json.Unmarshal(item, &object) == nil:
				add(object.Source.Pointer+object.Source.Parameter, object.Title, object.Detail)
			}
		}
	} else if json.Unmarshal(envelope.Errors, &byID) == nil {
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			add(id, byID[id])
		}
	}
	var text string
	var single struct {
		Message string
		Details []struct{ Message string }
	}
	switch raw := bytes.TrimSpace(envelope.Error); {
	case len(raw) == 0:
	case json.Unmarshal(raw, &text) == nil:
		add(text)
	case json.Unmarshal(raw, &single) == nil:
		add(single.Message)
		for _, d := range single.Details {
			add(d.Message)
		}
	}
	return out
}
