package openai

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// failure gives an error its kind. An ended context wins over everything, then what happened to the connection; otherwise is the kind of
// the rest.
func (m *Model) failure(ctx context.Context, req llm.Request, err error, otherwise llm.Kind) *llm.Error {
	e := &llm.Error{Kind: otherwise, Provider: m.provider, Model: req.Model, Err: err}
	var network net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Kind = llm.Canceled
	case ctx.Err() != nil:
		e.Kind = llm.Timeout
	case errors.As(err, &network) && network.Timeout():
		e.Kind = llm.Timeout
	}
	return e
}

// refusal is the error of a response whose status says that there is no answer.
func (m *Model) refusal(ctx context.Context, req llm.Request, resp *http.Response) *llm.Error {
	// What could not be read of the body is not needed for the kind.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	said := parse(body)
	e := m.failure(ctx, req, fmt.Errorf("status %d%s", resp.StatusCode, said), said.kind(llm.StatusKind(resp.StatusCode)))
	e.RetryAfter = retryAfter(resp.Header, time.Now())
	return e
}

// inBand gives an error in the body of a successful response its kind.
func (m *Model) inBand(req llm.Request, body []byte, otherwise llm.Kind) *llm.Error {
	said := parse(body)
	return &llm.Error{Kind: said.kind(otherwise), Provider: m.provider, Model: req.Model, Err: fmt.Errorf("error in the response%s", said)}
}

// said is what an error object says, as far as servers agree on it.
type said struct {
	code, kindName, message string
}

// parse reads an error in the forms that servers use: {"error": {"message", "type", "code"}}, {"error": "message"}, and
// the same fields without an envelope. A code may be a number. A body that is none of these says nothing.
func parse(body []byte) said {
	type fields struct {
		Message string          `json:"message"`
		Type    string          `json:"type"`
		Code    json.RawMessage `json:"code"`
	}
	var envelope struct {
		Error json.RawMessage `json:"error"`
	}
	inner := body
	if json.Unmarshal(body, &envelope) == nil && len(envelope.Error) > 0 {
		inner = envelope.Error
	}
	var f fields
	if json.Unmarshal(inner, &f) != nil && json.Unmarshal(inner, &f.Message) != nil {
		return said{}
	}
	return said{strings.Trim(string(bytes.TrimSpace(f.Code)), `"`), f.Type, f.Message}
}

// kind is what the codes say more precisely than the status, which is otherwise.
func (s said) kind(otherwise llm.Kind) llm.Kind {
	for _, name := range []string{s.code, s.kindName} {
		switch name {
		case "context_length_exceeded", "exceed_context_size_error":
			return llm.TooLarge
		case "content_filter", "content_policy_violation":
			return llm.Blocked
		case "model_not_found":
			return llm.NotFound
		case "invalid_api_key":
			return llm.Unauthenticated
		case "rate_limit_exceeded", "rate_limit_error", "insufficient_quota":
			return llm.RateLimited
		case "overloaded_error", "engine_overloaded":
			return llm.Overloaded
		case "server_error", "internal_server_error":
			if otherwise == llm.BrokenStream {
				return llm.ProviderFault
			}
		}
	}
	// Servers that give no code for it all use OpenAI's words.
	if otherwise == llm.InvalidRequest && strings.Contains(s.message, "maximum context length") {
		return llm.TooLarge
	}
	if code, err := strconv.Atoi(s.code); err == nil && code >= 400 && code < 600 && (otherwise == llm.ProviderFault || otherwise == llm.BrokenStream) {
		return llm.StatusKind(code)
	}
	return otherwise
}

// known is the form of the words that servers use for what went wrong. Others are left out, and so is the message: servers quote in them
// what they were asked, and errors go to logs and spans, where prompts may not go.
var known = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z]{2,20}(_[a-z]{2,20}){0,4}$|^[0-9]{3}$`) })

// String is what was said, as far as it can't be a quotation, with a colon before it; empty when nothing is left.
func (s said) String() string {
	var words []string
	for _, word := range []string{s.kindName, s.code} {
		if known().MatchString(word) {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return ""
	}
	return ": " + strings.Join(words, " ")
}

// brokenKind is the kind of an error while a stream was read: what is not JSON is garbage, and so is a line without end;
// the rest is a connection that broke.
func brokenKind(err error) llm.Kind {
	var syntax *jsontext.SyntacticError
	var shape *jsonv2.SemanticError
	if errors.As(err, &syntax) || errors.As(err, &shape) || errors.Is(err, bufio.ErrTooLong) {
		return llm.ProviderFault
	}
	return llm.BrokenStream
}

// eventStream is whether a response says that it is one.
func eventStream(raw *http.Response) bool {
	kind, _, err := mime.ParseMediaType(raw.Header.Get("Content-Type"))
	return err == nil && kind == "text/event-stream"
}

// retryAfter reads how long the server asks to wait: milliseconds in OpenAI's own header, else seconds or a date as in
// RFC 9110, section 10.2.3. It is at most a day, and 0 where the server does not say.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const most = 24 * time.Hour
	for _, form := range []struct {
		name string
		unit time.Duration
	}{{"Retry-After-Ms", time.Millisecond}, {"Retry-After", time.Second}} {
		value := strings.TrimSpace(h.Get(form.name))
		if n, err := strconv.ParseFloat(value, 64); err == nil && !math.IsNaN(n) {
			return time.Duration(min(max(n, 0)*float64(form.unit), float64(most)))
		}
		if at, err := http.ParseTime(value); err == nil {
			return min(max(at.Sub(now), 0), most)
		}
	}
	return 0
}
