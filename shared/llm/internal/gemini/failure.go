package gemini

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// mostWait is the longest wait that a provider is believed to ask for.
const mostWait = 24 * time.Hour

// Said is what Vertex AI says of a failure, but for the message: providers quote in it what they were asked, and errors go
// to logs and spans, where prompts may not go.
type Said struct {
	// HTTP is the status of an HTTP response, 0 over gRPC.
	HTTP int
	// Code is the name of a google.rpc.Code, and Reason that of a google.rpc.ErrorInfo; empty when it was not told.
	Code, Reason string
	// RetryAfter is how long the caller should wait.
	RetryAfter time.Duration
	// tooLong is set by a message that says that the prompt is too long. There is no code for it.
	tooLong bool
}

// pattern compiles an expression when it is first needed, which is after a failure: a cold start needs none.
func pattern(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// constant is the form of the names that Google gives codes and reasons. What has another form is left out of errors.
var constant = pattern(`^[A-Z]{2,20}(_[A-Z]{1,20}){0,5}$`)

// tooLong is how Vertex AI words that a prompt exceeds the model's window, or that a request is larger than any may be.
var tooLong = pattern(`(?i)input token count\b.*\b(exceeds|only supports)\b|request payload size exceeds|exceeds the maximum number of tokens`)

// codeNames are the names of google.rpc.Code, by number.
var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
	"UNAUTHENTICATED",
}

// FromStatus reads the status of a gRPC call.
func FromStatus(s *status.Status) Said {
	said := Said{tooLong: tooLong().MatchString(s.Message())}
	if c := s.Code(); c <= codes.Unauthenticated {
		said.Code = codeNames[c]
	}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.RetryInfo:
			said.RetryAfter = wait(d.GetRetryDelay().AsDuration())
		case *errdetails.ErrorInfo:
			said.Reason = d.GetReason()
		}
	}
	return said
}

// FromHTTP reads an HTTP response that failed: its body in Google's JSON form, or in an array as the streams have that are
// no event streams. Of a body in any other form, as proxies send them, the status is all that is known.
func FromHTTP(code int, h http.Header, body []byte, now time.Time) Said {
	said := Said{HTTP: code}
	if s, ok := parse(body); ok {
		said = s
		said.HTTP = code
	}
	if said.RetryAfter == 0 {
		said.RetryAfter = retryAfter(h, now)
	}
	return said
}

// parse reads {"error": {...}}, alone or as the only element of an array.
func parse(body []byte) (Said, bool) {
	type envelope struct {
		Error *struct {
			Code    int               `json:"code"`
			Status  string            `json:"status"`
			Message string            `json:"message"`
			Details []json.RawMessage `json:"details"`
		} `json:"error"`
	}
	var e envelope
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		var list []envelope
		if json.Unmarshal(body, &list) != nil || len(list) == 0 {
			return Said{}, false
		}
		e = list[0]
	} else if json.Unmarshal(body, &e) != nil {
		return Said{}, false
	}
	if e.Error == nil {
		return Said{}, false
	}
	said := Said{HTTP: e.Error.Code, Code: e.Error.Status, tooLong: tooLong().MatchString(e.Error.Message)}
	for _, raw := range e.Error.Details {
		var d map[string]any
		if json.Unmarshal(raw, &d) == nil { // else a detail in a form of its own
			said.detail(d)
		}
	}
	return said, true
}

// FromError reads an error object that an SDK has parsed.
func FromError(code int, status, message string, details []map[string]any) Said {
	said := Said{HTTP: code, Code: status, tooLong: tooLong().MatchString(message)}
	for _, d := range details {
		said.detail(d)
	}
	return said
}

// detail keeps what a detail of an error says; what has another form than its type says nothing.
func (s *Said) detail(d map[string]any) {
	text := func(key string) string {
		v, _ := d[key].(string) //nolint:errcheck // what is no text is none
		return v
	}
	switch kind := text("@type"); {
	case strings.HasSuffix(kind, "google.rpc.RetryInfo"):
		s.RetryAfter = protoWait(text("retryDelay"))
	case strings.HasSuffix(kind, "google.rpc.ErrorInfo"):
		s.Reason = text("reason")
	}
}

// protoWait reads a duration in the JSON form of protobuf, such as "3.5s".
func protoWait(s string) time.Duration {
	var info errdetails.RetryInfo
	if err := protojson.Unmarshal([]byte(`{"retryDelay":`+strconv.Quote(s)+`}`), &info); err != nil {
		return 0
	}
	return wait(info.GetRetryDelay().AsDuration())
}

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.Atoi(value); err == nil {
		return wait(time.Duration(min(max(n, 0), int(mostWait/time.Second))) * time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return wait(at.Sub(now))
	}
	return 0
}

func wait(d time.Duration) time.Duration { return min(max(d, 0), mostWait) }

// Kind is what the caller can do about it. A code wins over a status, as the more precise.
func (s Said) Kind() llm.Kind {
	kind, ok := codeKind(s.Code)
	if !ok {
		kind = llm.StatusKind(s.HTTP)
	}
	if kind == llm.InvalidRequest && s.tooLong {
		return llm.TooLarge
	}
	return kind
}

// codeKind maps a google.rpc.Code as Vertex AI uses it; ok is false for none and for one that says nothing.
func codeKind(code string) (kind llm.Kind, ok bool) {
	switch code {
	case "INVALID_ARGUMENT", "OUT_OF_RANGE", "ALREADY_EXISTS":
		return llm.InvalidRequest, true
	case "FAILED_PRECONDITION":
		// The request is well-formed and the project may not make it: a model that the organization's policy forbids or that
		// needs an allow-list, billing that is off. Another model may do.
		return llm.Forbidden, true
	case "UNAUTHENTICATED":
		return llm.Unauthenticated, true
	case "PERMISSION_DENIED":
		return llm.Forbidden, true
	case "NOT_FOUND", "UNIMPLEMENTED":
		// Vertex AI has no model of this name, or none that can generate content.
		return llm.NotFound, true
	case "RESOURCE_EXHAUSTED":
		return llm.RateLimited, true
	case "UNAVAILABLE":
		return llm.Overloaded, true
	case "DEADLINE_EXCEEDED":
		return llm.Timeout, true
	case "INTERNAL", "DATA_LOSS", "ABORTED", "CANCELLED", "UNKNOWN":
		// Our own cancellation is seen before what the server says of it.
		return llm.ProviderFault, true
	}
	return "", false
}

// Error is the failure of a call of a model.
func (s Said) Error(model string) *llm.Error {
	return &llm.Error{Kind: s.Kind(), Provider: Provider, Model: model, RetryAfter: s.RetryAfter, Err: errors.New(s.String())}
}

// String is what was said, as far as it can't be a quotation.
func (s Said) String() string {
	words := []string{"status"}
	if s.HTTP != 0 {
		words = append(words, strconv.Itoa(s.HTTP))
	}
	for _, name := range []string{s.Code, s.Reason} {
		if constant().MatchString(name) {
			words = append(words, name)
		}
	}
	if len(words) == 1 {
		words = append(words, "unknown")
	}
	return strings.Join(words, " ")
}

// Garbage is the failure of a call whose response is not what was asked for.
func Garbage(model, contentType string) *llm.Error {
	kind := "of no known type"
	if mediaType().MatchString(contentType) {
		kind = "of type " + contentType
	}
	return &llm.Error{Kind: llm.ProviderFault, Provider: Provider, Model: model, Err: fmt.Errorf("a response %s can't be read", kind)}
}

// mediaType is the form of a content type, without what may follow it.
var mediaType = pattern(`^[a-z]{1,20}/[a-z0-9.+-]{1,40}$`)

// contentType is a response's, without its parameters.
func contentType(h http.Header) string {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return cmp.Or(strings.ToLower(strings.TrimSpace(kind)), "none")
}
