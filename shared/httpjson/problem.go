package httpjson

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Problem is an RFC 9457 problem document, and an error. Everything in it but Err may be shown to callers.
type Problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitempty"`
	RequestID string       `json:"request_id,omitempty"`
	Errors    []FieldError `json:"errors,omitempty"`
	// Code is a machine-readable reason, where the status alone does not tell.
	Code string `json:"code,omitempty"`
	// RetryAfter is sent as the Retry-After header, in whole seconds rounded up; 0 sends none.
	RetryAfter time.Duration `json:"-"`
	// Err is the internal cause; it is never sent.
	Err error `json:"-"`
}

// Error says what is wrong, with the cause.
func (p *Problem) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d %s", p.Status, p.Detail)
	for _, e := range p.Errors {
		fmt.Fprintf(&s, "; %s: %s", e.Field, e.Detail)
	}
	if p.Err != nil {
		fmt.Fprintf(&s, ": %v", p.Err)
	}
	return s.String()
}

// Unwrap returns the internal cause.
func (p *Problem) Unwrap() error { return p.Err }

// kinds is the one table from kinds of failure to HTTP status and public text.
var kinds = map[llm.Kind]struct {
	status int
	detail string
}{
	llm.InvalidRequest:  {http.StatusBadRequest, "the model does not accept this request"},
	llm.TooLarge:        {http.StatusRequestEntityTooLarge, "the prompt is larger than the model accepts"},
	llm.Unauthenticated: {http.StatusBadGateway, "the model provider could not be used"},
	llm.Forbidden:       {http.StatusBadGateway, "the model provider could not be used"},
	llm.NotFound:        {http.StatusBadGateway, "the model is not available"},
	llm.RateLimited:     {http.StatusServiceUnavailable, "the model provider is over its capacity"},
	llm.Overloaded:      {http.StatusServiceUnavailable, "the model provider is over its capacity"},
	llm.ProviderFault:   {http.StatusBadGateway, "the model provider failed"},
	llm.Timeout:         {http.StatusGatewayTimeout, "the answer was not ready in time"},
	llm.Canceled:        {499, "the client closed the request"},
	llm.Blocked:         {http.StatusUnprocessableEntity, "a safety filter withheld the answer"},
	llm.Empty:           {http.StatusBadGateway, "the model gave no answer"},
	llm.BrokenStream:    {http.StatusBadGateway, "the answer ended before it was complete"},
	llm.LimitExceeded:   {http.StatusTooManyRequests, "the caller is over its limit"},
	llm.Internal:        {http.StatusInternalServerError, "an internal error occurred"},
}

// FromError returns the problem that callers see for err: err itself when it is a *Problem, or what the table says of
// its llm.Kind. Overload carries a Retry-After, of one second when the provider did not say.
func FromError(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	e := llm.AsError(err)
	row, ok := kinds[e.Kind]
	if !ok {
		row = kinds[llm.Internal]
	}
	out := &Problem{Status: row.status, Detail: cmp.Or(e.Public, row.detail), Code: string(e.Kind), RetryAfter: e.RetryAfter, Err: err}
	if out.RetryAfter == 0 && (row.status == http.StatusServiceUnavailable || row.status == http.StatusTooManyRequests) {
		out.RetryAfter = time.Second
	}
	return out
}

// Document returns p as it is sent: with the request ID, and with Type and Title filled in from the status.
func (p *Problem) Document(requestID string) Problem {
	doc := *p
	doc.RequestID = requestID
	if doc.Type == "" {
		doc.Type = "about:blank"
	}
	if doc.Title == "" {
		doc.Title = Title(doc.Status)
	}
	return doc
}

// WriteProblem sends p as application/problem+json.
func WriteProblem(w http.ResponseWriter, p *Problem, requestID string) {
	SetRetryAfter(w.Header(), p.RetryAfter)
	write(w, p.Status, "application/problem+json", p.Document(requestID))
}

// SetRetryAfter sets the Retry-After header in whole seconds, rounded up; it does nothing for 0.
func SetRetryAfter(h http.Header, d time.Duration) {
	if d > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
}

// Title is the short text of a status, the non-standard 499 included.
func Title(status int) string {
	if status == 499 {
		return "Client Closed Request"
	}
	return http.StatusText(status)
}

// Write sends v as JSON.
func Write(w http.ResponseWriter, status int, v any) { write(w, status, "application/json", v) }

func write(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		// Only a defect of ours gets here: every type that is written is a struct of plain values.
		status, body = http.StatusInternalServerError, []byte(`{"type":"about:blank","title":"Internal Server Error","status":500}`)
		contentType = "application/problem+json"
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", contentType)
	// With the length, the response can be pushed out before its handler is done.
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A failed write means that the client is gone; there is nobody left to tell.
	_, _ = w.Write(body)
}
