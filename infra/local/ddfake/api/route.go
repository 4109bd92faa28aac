package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// most is how large the body of a request may be.
const most = 10 << 20

// call is one request, or one Seed.
type call struct {
	a       *API
	r       *http.Request
	q       url.Values
	body    obj
	now     time.Time
	author  User
	seeding bool
	// params stand for those of the path when there is no request.
	params map[string]string
	// id is that of the object that the call has made.
	id string
}

// param returns a parameter of the path.
func (c *call) param(name string) string {
	if c.params != nil {
		return c.params[name]
	}
	return c.r.PathValue(name)
}

// commit stores what the call has made or changed.
func (c *call) commit(o *object) error {
	if err := c.a.commit(o); err != nil {
		return err
	}
	c.id = o.id
	return nil
}

// handler answers a call with a status and what is written as JSON; nil is an empty answer.
type handler func(c *call) (int, any, error)

// route is what is behind a method and a path.
type route struct {
	style style
	// logs is of the log configuration, which has limits of its own.
	logs bool
	// keyOnly needs no application key.
	keyOnly bool
	// api and schema name the schema of the body; empty is unchecked.
	api, schema string
	// bodyless requests may come without a body, though their method has one.
	bodyless bool
	handle   handler
}

// route registers a route under a pattern of net/http.
func (a *API) route(pattern string, rt route) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		limit := general
		if rt.logs {
			limit = logsReads
			if r.Method != http.MethodGet {
				limit = logsWrites
			}
		}
		switch {
		case !accepted(r.Header.Get("DD-API-KEY"), a.opts.APIKey), !rt.keyOnly && !accepted(r.Header.Get("DD-APPLICATION-KEY"), a.opts.AppKey):
			write(w, http.StatusForbidden, plain.of(http.StatusForbidden, "Forbidden"))
			return
		case !a.admit(w.Header(), limit):
			write(w, http.StatusTooManyRequests, plain.of(http.StatusTooManyRequests, "Rate limit of "+strconv.Itoa(limit.limit)+" requests in "+limit.period.String()+" exceeded"))
			return
		}
		status, answer, err := a.handle(w, r, rt)
		if err != nil {
			f := &failure{status: http.StatusInternalServerError, messages: []string{err.Error()}}
			errors.As(err, &f)
			status, answer = f.status, f.answer
			if answer == nil {
				answer = rt.style.of(f.status, f.messages...)
			}
		}
		write(w, status, answer)
	})
}

func (a *API) handle(w http.ResponseWriter, r *http.Request, rt route) (int, any, error) {
	c := &call{a: a, r: r, q: r.URL.Query(), now: a.opts.Now(), author: a.opts.Users[0]}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		return 0, nil, &failure{status: http.StatusRequestEntityTooLarge, messages: []string{"Payload too large"}}
	}
	if r.Method != http.MethodGet {
		if len(raw) > 0 || (r.Method != http.MethodDelete && !rt.bodyless) {
			if c.body, err = decode(raw); err != nil {
				return 0, nil, bad("Invalid JSON structure: %s", err)
			}
		}
		if rt.schema != "" && a.opts.Check != nil {
			if err := a.opts.Check(rt.api, rt.schema, raw); err != nil {
				return 0, nil, bad("%s", err)
			}
		}
		a.writes.Lock()
		defer a.writes.Unlock()
	}
	return rt.handle(c)
}

// accepted reports whether a key is the one that is wanted, or any when none is.
func accepted(key, want string) bool { return key != "" && (want == "" || key == want) }

// failure is an answer that is no success.
type failure struct {
	status   int
	messages []string
	// answer stands for the body that the style of the endpoint makes of the messages, when it is not nil.
	answer any
}

// Error joins the messages.
func (f *failure) Error() string { return fmt.Sprintf("%d: %v", f.status, f.messages) }

func bad(format string, args ...any) error {
	return &failure{status: http.StatusBadRequest, messages: []string{fmt.Sprintf(format, args...)}}
}

func missing(format string, args ...any) error {
	return &failure{status: http.StatusNotFound, messages: []string{fmt.Sprintf(format, args...)}}
}

func conflict(format string, args ...any) error {
	return &failure{status: http.StatusConflict, messages: []string{fmt.Sprintf(format, args...)}}
}

// style is how an endpoint writes its errors.
type style int

// The styles.
const (
	plain   style = iota // {"errors": ["text"]}
	jsonAPI              // {"errors": [{"status", "title", "detail"}]}
	logsAPI              // {"error": {"code", "message"}}
)

// of returns the body of an error.
func (s style) of(status int, messages ...string) any {
	switch s {
	case jsonAPI:
		var errs []obj
		for _, m := range messages {
			errs = append(errs, obj{"status": strconv.Itoa(status), "title": http.StatusText(status), "detail": m})
		}
		return obj{"errors": errs}
	case logsAPI:
		return obj{"error": obj{"code": "InvalidArgument", "message": messages[0], "details": []any{}}}
	}
	return obj{"errors": messages}
}

// write sends an answer as JSON; nil is an empty one.
func write(w http.ResponseWriter, status int, answer any) {
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Answers are made of maps, lists and scalars, which always encode; the client may have gone.
	_ = json.NewEncoder(w).Encode(answer)
}
