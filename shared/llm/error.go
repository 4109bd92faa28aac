package llm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Kind classifies a failure by what the caller can do about it. It is the error_type tag, so the set is closed.
type Kind string

// The kinds of failure.
const (
	// InvalidRequest: the provider refused the request as malformed; another attempt would fail the same way.
	InvalidRequest Kind = "invalid_request"
	// TooLarge: the prompt exceeds the model's context window.
	TooLarge Kind = "too_large"
	// Unauthenticated: our credentials were refused or are missing.
	Unauthenticated Kind = "unauthenticated"
	// Forbidden: our credentials may not use this model.
	Forbidden Kind = "forbidden"
	// NotFound: the model does not exist or was retired.
	NotFound Kind = "not_found"
	// RateLimited: quota or shared capacity is exhausted; RetryAfter may say for how long.
	RateLimited Kind = "rate_limited"
	// Overloaded: the provider says that it is overloaded or unavailable.
	Overloaded Kind = "overloaded"
	// ProviderFault: the provider failed, answered garbage, or could not be reached.
	ProviderFault Kind = "provider_fault"
	// Timeout: a deadline passed.
	Timeout Kind = "timeout"
	// Canceled: the caller went away.
	Canceled Kind = "canceled"
	// Blocked: a safety filter, theirs or ours, withheld the answer.
	Blocked Kind = "blocked"
	// Empty: the model answered with no text.
	Empty Kind = "empty"
	// BrokenStream: the stream ended before it was complete.
	BrokenStream Kind = "broken_stream"
	// LimitExceeded: the caller is over a budget or a rate of ours.
	LimitExceeded Kind = "limit_exceeded"
	// Internal: a defect of ours.
	Internal Kind = "internal"
)

// Error is the failure of one model call, or of a whole request after its last attempt.
type Error struct {
	Kind     Kind
	Provider string
	Model    string
	// RetryAfter is what the provider asked for; 0 when it did not say.
	RetryAfter time.Duration
	// Usage is what was billed before the failure, nil when unknown.
	Usage *Usage
	// Public is what callers are told, where there is more to tell than the kind; empty as a rule.
	Public string
	// Err is the cause. It is for logs and never shown to callers.
	Err error
}

// Error says what failed where; it may hold provider text, so it is not for callers of our endpoints.
func (e *Error) Error() string {
	s := string(e.Kind)
	if e.Model != "" {
		s = fmt.Sprintf("%s: %s/%s", s, e.Provider, e.Model)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// StatusKind is the kind of a failure of which only the HTTP status says something. 402, 499 and 529 are no standard use, but
// common: a balance that is used up, a proxy that thinks the client has gone, and an overload. A redirect, or a number that
// is no status, is the provider's fault.
func StatusKind(status int) Kind {
	switch status {
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return Forbidden
	case http.StatusNotFound, http.StatusGone:
		return NotFound
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusTooManyRequests, http.StatusPaymentRequired:
		return RateLimited
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return Timeout
	case http.StatusServiceUnavailable, 529:
		return Overloaded
	case 499:
		return ProviderFault
	}
	if status >= http.StatusBadRequest && status < http.StatusInternalServerError {
		return InvalidRequest
	}
	return ProviderFault
}

// Retryable says whether the same call may succeed if it is made again.
func (e *Error) Retryable() bool {
	switch e.Kind {
	case RateLimited, Overloaded, ProviderFault, Timeout, BrokenStream, Empty:
		return true
	}
	return false
}

// Fallback says whether another model or provider may succeed where this one failed.
func (e *Error) Fallback() bool {
	switch e.Kind {
	case NotFound, Unauthenticated, Forbidden:
		return true
	}
	return e.Retryable()
}

// AsError returns err as an *Error: itself when it is one, a Timeout or Canceled for context errors, and Internal for
// the rest. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Kind: Timeout, Err: err}
	case errors.Is(err, context.Canceled):
		return &Error{Kind: Canceled, Err: err}
	}
	return &Error{Kind: Internal, Err: err}
}
