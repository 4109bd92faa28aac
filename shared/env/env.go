// Package env reads configuration from environment variables. It goes on after a bad variable, so that one error names
// all of them, and it keeps the values of secrets out of errors and logs. It does not know what any variable is for.
package env

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Env reads variables and collects what is wrong with them. It is for one goroutine, at start.
type Env struct {
	getenv func(string) string
	bad    []Problem
}

// New returns an Env that looks variables up with getenv, os.Getenv in a main function. A variable that is empty counts
// as not set, and white space around a value is ignored.
func New(getenv func(string) string) *Env {
	return &Env{getenv: getenv}
}

// Problem says what is wrong with one variable.
type Problem struct {
	Name   string
	Detail string
}

// Error names every variable that could not be used. It never holds the value of one.
type Error struct {
	Problems []Problem
}

// Error lists the problems in the order of their names.
func (e *Error) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Name + " " + p.Detail
	}
	return "configuration: " + strings.Join(parts, "; ")
}

// Err returns an *Error that names every bad variable read so far, or nil when all were good.
func (e *Env) Err() error {
	if len(e.bad) == 0 {
		return nil
	}
	problems := slices.Clone(e.bad)
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Name, b.Name) })
	return &Error{Problems: slices.Compact(problems)}
}

// Refuse records that the variable name cannot be used, for a rule that the caller checks. The detail completes a
// sentence that begins with the name, such as "must be a URL", and must not quote a secret.
func (e *Env) Refuse(name, detail string) {
	e.bad = append(e.bad, Problem{Name: name, Detail: detail})
}

// String returns the variable name, or fallback when it is not set.
func (e *Env) String(name, fallback string) string {
	if v := e.lookup(name); v != "" {
		return v
	}
	return fallback
}

// Required returns the variable name, and records a problem when it is not set.
func (e *Env) Required(name string) string {
	v := e.lookup(name)
	if v == "" {
		e.Refuse(name, "is required")
	}
	return v
}

// URL returns the variable name as the address of a server that secrets may be sent to: an HTTPS URL, or an HTTP URL of this
// machine, without a slash at its end. It is empty when it is not set. A problem quotes nothing: a URL may hold a password.
func (e *Env) URL(name string) string {
	v := e.lookup(name)
	if v == "" {
		return ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		e.Refuse(name, "must be a URL like https://qa.example.com, or an http URL of this machine")
		return ""
	}
	return strings.TrimSuffix(v, "/")
}

// RequiredURL is URL for a variable that must be set.
func (e *Env) RequiredURL(name string) string {
	e.Required(name)
	return e.URL(name)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// OneOf returns the variable name, which must be one of allowed, or fallback when it is not set.
func (e *Env) OneOf(name, fallback string, allowed ...string) string {
	v := e.String(name, fallback)
	if !slices.Contains(allowed, v) {
		e.Refuse(name, "must be one of "+strings.Join(allowed, ", "))
		return fallback
	}
	return v
}

// Duration returns the variable name as Go writes durations, such as "1m30s"; it must not be negative.
func (e *Env) Duration(name string, fallback time.Duration) time.Duration {
	v := e.lookup(name)
	if v == "" {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		e.Refuse(name, `must be a duration of zero or more, such as "30s"`)
		return fallback
	}
	return d
}

// Int returns the variable name as a whole number from least to most.
func (e *Env) Int(name string, fallback, least, most int) int {
	v := e.lookup(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		e.Refuse(name, fmt.Sprintf("must be a whole number from %d to %d", least, most))
		return fallback
	}
	return n
}

// Bool returns the variable name, which must be true, false, 1 or 0.
func (e *Env) Bool(name string, fallback bool) bool {
	switch e.lookup(name) {
	case "":
		return fallback
	case "true", "1":
		return true
	case "false", "0":
		return false
	}
	e.Refuse(name, "must be true or false")
	return fallback
}

// List returns the comma-separated parts of the variable name without empty ones, or fallback when it is not set.
func (e *Env) List(name string, fallback ...string) []string {
	if parts := split(e.lookup(name)); len(parts) > 0 {
		return parts
	}
	return fallback
}

// Secret returns the variable name, empty when it is not set.
func (e *Env) Secret(name string) Secret { return Secret(e.lookup(name)) }

// RequiredSecret is Secret for one that must be set.
func (e *Env) RequiredSecret(name string) Secret { return Secret(e.Required(name)) }

// Secrets returns the comma-separated parts of the variable name as secrets; none when it is not set.
func (e *Env) Secrets(name string) []Secret {
	var out []Secret
	for _, part := range split(e.lookup(name)) {
		out = append(out, Secret(part))
	}
	return out
}

func (e *Env) lookup(name string) string { return strings.TrimSpace(e.getenv(name)) }

func split(list string) []string {
	var parts []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// redacted is what is seen of a secret; that it is set or not is not secret.
const redacted = "[redacted]"

// Secret is a string that shows itself to Reveal only: formatted, logged or marshalled it is "[redacted]", and empty
// when it is empty. It must not be the key of a map: encoding/json writes keys of string kinds as they are.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns what may be shown.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format writes what may be shown whatever the verb, %x, %q and %#v too.
func (s Secret) Format(f fmt.State, _ rune) {
	// The only error is that of the writer being formatted to, which reports it itself.
	_, _ = f.Write([]byte(s.String()))
}

// LogValue returns what may be shown.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns what may be shown.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
