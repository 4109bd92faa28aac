// Package theater is the function behind the Failure Theater: the web page on which a person sees the loop work, and the routes
// that the page needs. A person opens it in a browser; the control secret is asked for once and stays in that tab.
//
//	GET /                           the page and its files, open: they hold nothing that is secret
//	GET /theater/config             open: what can be done here, Datadog RUM, links
//	GET /theater/state              how everything stands now
//	GET /theater/events             the same and what happens, as server-sent events
//	POST /theater/scenarios/{name}  begins a scenario, where there is a stage
//	POST /theater/revert            ends an override, by way of the function remediation
//	POST /theater/ask               a question, by way of the function qa
//
// The last two are relayed: in production the functions have an address each, and this way the page talks to its own origin only,
// so that no function needs CORS, the content security policy stays closed, and the browser holds one secret.
//
// It measures nothing and decides nothing. What it shows comes from a Source, which is the other functions in production and the
// stand-in for Datadog on one machine; what it plays is a Stage, which exists on one machine only.
package theater

import (
	"cmp"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/llm-reliability/control-plane/functions/internal/instant"
	"github.com/llm-reliability/control-plane/shared/analytics"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

const (
	// maxBody bounds what is played or reverted, maxQuestion a question with its document of 100000 characters.
	maxBody     = 16 << 10
	maxQuestion = 512 << 10
	// skew is how far the timestamp of a call may be from now, as in the other control functions.
	skew = 5 * time.Minute
)

// Options are the dependencies of the function.
type Options struct {
	// Source is required.
	Source Source
	// Stage plays scenarios; nil where there is none.
	Stage Stage
	// RemediationURL and QAURL are the addresses of those functions; what has none is not offered. See env.URL.
	RemediationURL, QAURL string
	// ControlSecret lets the relay in at remediation, APIKey at qa.
	ControlSecret, APIKey env.Secret
	// HTTP makes the relay's calls; a client of its own when nil.
	HTTP *http.Client
	// RUM is the application that the page reports to; nil for none.
	RUM *RUM
	// Links are where the page sends people for more.
	Links []Link
	// Service, Env and Version name what is shown.
	Service, Env, Version string
	// Web holds the built page; what was built into the binary when nil.
	Web fs.FS
	// Interval is the time between two looks at the source while somebody watches; 5 s when 0.
	Interval time.Duration
	// Watch bounds how long one stream of events lasts; the deadline of the request when 0.
	Watch time.Duration
	// Done ends every stream when it is closed; nil for never.
	Done <-chan struct{}
	// Telemetry takes log lines; nil takes nothing.
	Telemetry *telemetry.Client
	// Analytics is told what people do here; nil is told nothing.
	Analytics *analytics.Client
}

// RUM is a browser application at Datadog. None of it is a secret: every visitor's browser holds it.
type RUM struct {
	ApplicationID string `json:"application_id"`
	ClientToken   string `json:"client_token"`
	Site          string `json:"site"`
	// Intake is the address that takes the events instead of the site's, such as that of a stand-in; the site's when empty.
	Intake string `json:"intake,omitempty"`
}

// Link is a place to go for more.
type Link struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// Function serves the page. It is safe for concurrent use.
type Function struct {
	opts   Options
	policy string
	mux    *http.ServeMux
}

// New checks the options and returns a Function.
func New(opts Options) (*Function, error) {
	if opts.Source == nil {
		return nil, errors.New("theater: Source is required")
	}
	if opts.RemediationURL != "" && opts.ControlSecret == "" || opts.QAURL != "" && opts.APIKey == "" {
		return nil, errors.New("theater: a function to relay to needs its secret")
	}
	intake, err := opts.RUM.origin()
	if err != nil {
		return nil, err
	}
	client := http.Client{}
	if opts.HTTP != nil {
		client = *opts.HTTP
	}
	// The secrets are for one address.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	opts.HTTP = &client
	if opts.Web == nil {
		if opts.Web, err = fs.Sub(built, "web/dist"); err != nil {
			return nil, err
		}
	}
	opts.Interval = cmp.Or(opts.Interval, 5*time.Second)
	f := &Function{opts, policy(intake), http.NewServeMux()}
	f.mux.HandleFunc("GET /", f.page)
	f.mux.HandleFunc("GET /theater/config", f.config)
	f.mux.HandleFunc("GET /theater/state", f.state)
	f.mux.HandleFunc("GET /theater/events", f.events)
	f.mux.HandleFunc("POST /theater/scenarios/{name}", f.play)
	f.mux.HandleFunc("POST /theater/revert", f.revert)
	f.mux.HandleFunc("POST /theater/ask", f.ask)
	return f, nil
}

// Handler serves the routes. It does not authenticate; see Auth.
func (f *Function) Handler() http.Handler { return f.mux }

// Auth lets everybody read the page and its configuration, and asks control about all the rest.
func Auth(control serverless.Authenticator) serverless.Authenticator { return auth{control} }

type auth struct{ control serverless.Authenticator }

// Authenticate implements serverless.Authenticator.
func (a auth) Authenticate(r *http.Request) (string, bool) {
	if caller, ok := a.control.Authenticate(r); ok {
		return caller, true
	}
	return "anonymous", isOpen(r)
}

// Config is the answer to GET /theater/config.
type Config struct {
	Service string `json:"service"`
	Env     string `json:"env"`
	Version string `json:"version"`
	// Scenarios are what can be played; none where there is no stage.
	Scenarios []Scenario `json:"scenarios"`
	// Ask and Revert are whether that is offered.
	Ask    bool   `json:"ask"`
	Revert bool   `json:"revert"`
	Links  []Link `json:"links"`
	RUM    *RUM   `json:"rum,omitempty"`
}

func (f *Function) config(w http.ResponseWriter, _ *http.Request) {
	c := Config{
		Service: f.opts.Service, Env: f.opts.Env, Version: f.opts.Version, Scenarios: []Scenario{},
		Ask: f.opts.QAURL != "", Revert: f.opts.RemediationURL != "", Links: append([]Link{}, f.opts.Links...), RUM: f.opts.RUM,
	}
	if f.opts.Stage != nil {
		c.Scenarios = f.opts.Stage.Scenarios()
	}
	w.Header().Set("Cache-Control", "no-store")
	httpjson.Write(w, http.StatusOK, c)
}

// call is what every call that changes something says of itself.
type call struct {
	IdempotencyKey string          `json:"idempotency_key"`
	Timestamp      instant.Instant `json:"timestamp"`
}

// check says what is wrong with the call at a time.
func (c call) check(now time.Time) []httpjson.FieldError {
	var bad []httpjson.FieldError
	if c.IdempotencyKey == "" || len(c.IdempotencyKey) > 200 {
		bad = append(bad, httpjson.FieldError{Field: "idempotency_key", Detail: "must be 1 to 200 characters"})
	}
	if age := now.Sub(time.Time(c.Timestamp)); age > skew || -age > skew {
		bad = append(bad, httpjson.FieldError{Field: "timestamp", Detail: "must be within " + skew.String() + " of now"})
	}
	return bad
}

// playRequest is the body of POST /theater/scenarios/{name}.
type playRequest struct{ call }

// Validate implements httpjson.Validator.
func (r *playRequest) Validate() []httpjson.FieldError { return r.check(time.Now()) }

func (f *Function) play(w http.ResponseWriter, r *http.Request) {
	if f.opts.Stage == nil {
		fail(w, r, &httpjson.Problem{Status: http.StatusNotFound, Code: "no_stage",
			Detail: "this deployment plays no scenarios: failures are played on one machine, by make run"})
		return
	}
	var req playRequest
	if err := httpjson.Decode(w, r, maxBody, &req); err != nil {
		fail(w, r, err)
		return
	}
	p, err := f.opts.Stage.Play(r.PathValue("name"), req.IdempotencyKey)
	switch {
	case errors.Is(err, ErrUnknownScenario):
		err = &httpjson.Problem{Status: http.StatusNotFound, Code: "unknown_scenario", Detail: "there is no such scenario", Err: err}
	case errors.Is(err, ErrKeyReused):
		err = &httpjson.Problem{Status: http.StatusConflict, Code: "id_reused", Detail: "the idempotency key was used for another scenario", Err: err}
	case errors.Is(err, ErrFull):
		err = &httpjson.Problem{Status: http.StatusTooManyRequests, Code: "queue_full", Detail: "enough scenarios are waiting already", RetryAfter: 10 * time.Second, Err: err}
	}
	if err != nil {
		fail(w, r, err)
		return
	}
	f.clicked(r, "play_scenario", p.Scenario)
	w.Header().Set("Cache-Control", "no-store")
	httpjson.Write(w, http.StatusAccepted, p)
}

// clicked tells analytics of a click, whose names are few. Who clicks has one name: the page knows no people.
func (f *Function) clicked(r *http.Request, action, target string) {
	const most = 128
	session := r.Header.Get("X-Session-Id")
	f.opts.Analytics.TrackUserAction(r.Context(), analytics.User{ID: "theater", Session: session[:min(len(session), most)]}, action, target)
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	httpjson.WriteProblem(w, httpjson.FromError(err), serverless.RequestID(r.Context()))
}
