// Package escalation is the function that opens incidents and pages people at Datadog: POST /escalation/incident and POST
// /escalation/page. It is the only one that holds an application key of Datadog's with the right to write.
//
// One event has one incident and one page, however often, and by however many callers at once, they are asked for: an event is an alert
// from its trigger to its recovery (source.cycle), or, where there is none, the request by its idempotency key. A repeated call is
// answered with what is there, and changes nothing. What follows an alert names the same event with another transition: an incident
// becomes stable or, at the recovery, resolved; a page is acknowledged or resolved. Nothing goes back: what a person has resolved at
// Datadog stays so.
//
// What was asked for is durable before anything is sent: an entry in an outbox says what is wanted and what is there, and work is done
// until both are the same. While Datadog is down the caller is told so, with 202; the entry is tried again, with growing pauses, by
// whatever call comes next and by a schedule (POST /escalation/queue), and given up and counted when Datadog refuses it or its attempts
// or its time are over.
//
//	what is cut off, at                 what is found again, and how
//	before the entry is written         nothing was sent; the caller gets no answer, and asks again
//	between the entry and the answer    the entry is due when its lease has run out. An incident is searched for first, by a mark in its
//	of Datadog                          summary that is made of the event. Datadog's search may be behind; a lease is longer than that is known
//	                                    to be. Pages can't be searched for, and the API takes no key that would tell one from another: a page
//	                                    whose answer was lost is sent again, and says so: twice is better than never. It is not
//	                                    sent again when its event is over
//	after the answer                    as above, and the incident is found; links are compared with those that are attached
//
// The timeline of an incident begins with what the alert says. Datadog's API has no way to add to it later: changes of state are written
// there by Datadog itself, and what was said with them is in the summary.
//
// Slack, e-mail and PagerDuty ride on Datadog's own routes, so that people set them where they look for them: an incident goes to those
// that the notification rules in datadog/incidents name for its severity (Slack; from SEV-2 also e-mail, and PagerDuty if its handle
// is added there), and a page to the escalation policy that datadog/oncall/routing chooses by the tag route, with its message to Slack
// and the notification rules of the people on call. The policy decides the urgency: high for critical errors, low for cost and quality,
// since Datadog's API knows no medium.
package escalation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/outbox"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

const (
	maxBody = 64 << 10
	// window is how far a request's timestamp may be from now: a request that was recorded can't be sent again later.
	window = 5 * time.Minute
	// byTheWay is how many entries that are due a request takes along after its own, and perRun how many the schedule.
	byTheWay, perRun = 3, 50
	// byTheWayTime bounds how long the caller waits for that.
	byTheWayTime = 8 * time.Second
)

// Bounds say how often and for how long an entry is tried: with pauses from Base that double up to Cap.
type Bounds struct {
	Attempts  int
	Age       time.Duration
	Base, Cap time.Duration
}

// Options are the dependencies of the function.
type Options struct {
	// Datadog is required; its key needs incident_read and incident_write, and may page.
	Datadog *ddapi.Client
	// Store keeps the entries; required.
	Store outbox.Store
	// Service is the service that incidents and pages are about, and Team the handle of the team that is paged; both are required.
	Service, Team string
	// App is the address of Datadog's pages, which links to an incident begin with; that of the client's site when empty.
	App string
	// Timeout bounds one attempt at Datadog; 10 s when 0. The deadline of the request bounds it, too.
	Timeout time.Duration
	// Bounds are 24 attempts within a day, with pauses from half a minute to an hour, when zero.
	Bounds Bounds
	// Telemetry may be nil.
	Telemetry *telemetry.Client
}

// Function escalates. It is safe for concurrent use.
type Function struct {
	opts Options
	// paging is the client for pages; nil at a site without On-Call.
	paging *ddapi.Client
	mux    *http.ServeMux
}

// New checks the options and returns a Function.
func New(opts Options) (*Function, error) {
	switch {
	case opts.Datadog == nil:
		return nil, errors.New("escalation: Datadog is required")
	case opts.Store == nil:
		return nil, errors.New("escalation: Store is required")
	case opts.Service == "" || opts.Team == "" || strings.ContainsAny(opts.Service, " ()"):
		return nil, errors.New("escalation: Service and Team are required, and a service has no blanks or brackets")
	case opts.Timeout < 0 || opts.Timeout > leaseTime/2:
		return nil, fmt.Errorf("escalation: Timeout must be between 0 and %s", leaseTime/2)
	}
	opts.App = cmp.Or(strings.TrimSuffix(opts.App, "/"), app(opts.Datadog.Site()))
	opts.Timeout = cmp.Or(opts.Timeout, 10*time.Second)
	if opts.Bounds == (Bounds{}) {
		opts.Bounds = Bounds{Attempts: 24, Age: 24 * time.Hour, Base: 30 * time.Second, Cap: time.Hour}
	}
	f := &Function{opts: opts, mux: http.NewServeMux()}
	if paging, err := opts.Datadog.At(ddapi.OnCallPaging); err == nil {
		f.paging = paging
	}
	f.mux.HandleFunc("POST /escalation/incident", f.serveIncident)
	f.mux.HandleFunc("POST /escalation/page", f.servePage)
	f.mux.HandleFunc("POST /escalation/queue", f.serveQueue)
	return f, nil
}

// app is the address of a site's pages: sites with a name of one word have one of their own for them.
func app(site string) string {
	if strings.Count(site, ".") == 1 {
		site = "app." + site
	}
	return "https://" + site
}

// Handler serves the three routes.
func (f *Function) Handler() http.Handler { return f.mux }

func (f *Function) serveIncident(w http.ResponseWriter, r *http.Request) {
	var req IncidentRequest
	if err := f.decode(w, r, &req, &req.call); err != nil {
		fail(w, r, err)
		return
	}
	state := map[Transition]string{Alert: active, Stable: stable, Recovery: resolved}[req.Transition]
	var s *spec
	if req.Transition == Alert {
		s = f.incident(&req)
	}
	f.answer(w, r, incidentKind, &req.call, state, s)
}

func (f *Function) servePage(w http.ResponseWriter, r *http.Request) {
	var req PageRequest
	if err := f.decode(w, r, &req, &req.call); err != nil {
		fail(w, r, err)
		return
	}
	if f.paging == nil {
		fail(w, r, &httpjson.Problem{Status: http.StatusNotImplemented, Code: "no_paging", Detail: "the Datadog site has no On-Call paging"})
		return
	}
	state := map[Transition]string{Alert: triggered, Acknowledge: acknowledged, Recovery: resolved}[req.Transition]
	var s *spec
	if req.Transition == Alert {
		s = f.alert(&req.call)
		s.Policy = req.Policy
	}
	f.answer(w, r, pageKind, &req.call, state, s)
}

// decode reads a request, and refuses one that is too old or too new.
func (f *Function) decode(w http.ResponseWriter, r *http.Request, into httpjson.Validator, c *call) error {
	if err := httpjson.Decode(w, r, maxBody, into); err != nil {
		return err
	}
	if off := time.Since(time.Time(c.Timestamp)).Abs(); off > window {
		return &httpjson.Problem{Status: http.StatusBadRequest, Code: "bad_timestamp", Detail: "the request is too old, or from the future", Errors: []httpjson.FieldError{
			{Field: "timestamp", Detail: fmt.Sprintf("must be within %s of now", window)},
		}}
	}
	return nil
}

// alert is what every alert says.
func (f *Function) alert(c *call) *spec {
	s := &spec{
		Title: strings.TrimSpace(c.Title), Summary: c.Summary, Monitor: c.Source.Monitor, Reason: c.Source.Reason, Began: time.Time(c.Source.TriggeredAt),
	}
	if s.Began.IsZero() || s.Began.After(time.Now()) {
		s.Began = time.Now().UTC().Truncate(time.Second)
	}
	for _, l := range c.Links {
		s.Links = append(s.Links, linkSpec{cmp.Or(l.Title, linkKinds()[l.Kind]), l.URL})
	}
	return s
}

func (f *Function) incident(req *IncidentRequest) *spec {
	s := f.alert(&req.call)
	s.Severity, s.RootCause, s.Adopt, s.Test = req.Severity, req.RootCause, req.Adopt, req.Test
	s.Services, s.Teams = unique(f.opts.Service, req.Services), unique(f.opts.Team, req.Teams)
	s.Detection = "monitor"
	if req.Source.Kind == control.Operator {
		s.Detection = "employee"
	}
	if req.Impact != nil {
		s.Customers, s.Scope, s.Since = req.Impact.Customers, req.Impact.Scope, time.Time(req.Impact.Since)
	}
	if s.Since.IsZero() {
		s.Since = s.Began
	}
	for _, m := range req.Timeline {
		s.Timeline = append(s.Timeline, moment{time.Time(m.At), m.Text})
	}
	return s
}

// unique returns first and the others, each once.
func unique(first string, others []string) []string {
	all := []string{first}
	for _, name := range others {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// answer does what a request asks for, and takes along what waits.
func (f *Function) answer(w http.ResponseWriter, r *http.Request, k kind, c *call, state string, s *spec) {
	ctx := r.Context()
	h, result, err := f.ask(ctx, k, c.event(), state, c.Summary, s)
	if err != nil {
		fail(w, r, err)
		return
	}
	// Only a call that shows that Datadog answers, or asks nothing of it, takes others along.
	if result != Queued && result != Underway && result != "" {
		along, cancel := context.WithTimeout(ctx, byTheWayTime)
		defer cancel()
		if _, err := f.Drain(along, byTheWay); err != nil {
			f.opts.Telemetry.Logger().WarnContext(ctx, "escalations that wait were not tried", slog.String("error.message", err.Error()))
		}
	}
	if result == "" {
		fail(w, r, &httpjson.Problem{
			Status: http.StatusBadGateway, Code: string(h.Failure),
			Detail: fmt.Sprintf("Datadog did not take the %s, and it will not be tried again unless it is asked for again", k),
		})
		return
	}
	status := http.StatusOK
	if result == Queued || result == Underway {
		status = http.StatusAccepted
	}
	w.Header().Set("Cache-Control", "no-store")
	httpjson.Write(w, status, f.response(&h, result))
}

// response shows an entry.
func (f *Function) response(h *held, result Result) Response {
	out := Response{Result: result, Event: h.Event}
	switch {
	case h.ID == "":
	case h.Kind == incidentKind:
		out.Incident = &Incident{ID: h.ID, Number: h.Number, URL: fmt.Sprintf("%s/incidents/%d", f.opts.App, h.Number), State: h.State, Severity: h.Spec.Severity}
	default:
		out.Page = &Page{ID: h.ID, State: h.State, Urgency: h.Spec.Policy.urgency(), Policy: h.Spec.Policy}
	}
	if result == Queued || result == Underway {
		out.Queue = &Waiting{Reason: string(h.Failure), Attempts: h.Attempts, NextAttempt: h.record.Due.UTC(), GivesUp: h.First.Add(f.opts.Bounds.Age)}
	}
	return out
}

// serveQueue tries what waits. A schedule calls it, without a body.
func (f *Function) serveQueue(w http.ResponseWriter, r *http.Request) {
	report, err := f.Drain(r.Context(), perRun)
	if err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	httpjson.Write(w, http.StatusOK, report)
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, outbox.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		err = &httpjson.Problem{
			Status: http.StatusServiceUnavailable, Code: "store_unavailable", Detail: "the request could not be made durable, and nothing was sent",
			RetryAfter: 5 * time.Second, Err: err,
		}
	}
	httpjson.WriteProblem(w, httpjson.FromError(err), serverless.RequestID(r.Context()))
}
