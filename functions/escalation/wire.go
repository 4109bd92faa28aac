package escalation

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/functions/internal/instant"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/httpjson"
)

// Transition is what has become of the event that a request is about.
type Transition string

// The transitions. Alert is the one when a request names none.
const (
	Alert Transition = "alert"
	// Stable is for incidents: it is contained, and not over.
	Stable Transition = "stable"
	// Acknowledge is for pages: somebody has taken over.
	Acknowledge Transition = "acknowledge"
	Recovery    Transition = "recovery"
)

// Source is control.Source with the time of the trigger.
type Source struct {
	control.Source
	TriggeredAt instant.Instant `json:"triggered_at"`
}

// call is what every request has.
type call struct {
	IdempotencyKey string          `json:"idempotency_key"`
	Timestamp      instant.Instant `json:"timestamp"`
	Transition     Transition      `json:"transition"`
	Source         Source          `json:"source"`
	Title          string          `json:"title"`
	// Summary is what happened, or, when it is over, how it ended.
	Summary string `json:"summary"`
	Links   []Link `json:"links"`
}

// IncidentRequest is the body of POST /escalation/incident. Title and Severity are required when it is an alert; what follows an alert
// changes the state only, and tells Summary.
type IncidentRequest struct {
	call
	Severity  string   `json:"severity"`
	RootCause string   `json:"root_cause"`
	Services  []string `json:"services"`
	Teams     []string `json:"teams"`
	Impact    *Impact  `json:"impact"`
	Timeline  []Moment `json:"timeline"`
	// Adopt takes an incident that is open under exactly the same title as the one of this event. It is for those whose own attempt to
	// open it failed in a way that leaves open whether it did; titles should say when the event began.
	Adopt bool `json:"adopt"`
	// Test marks an incident that is none, for trying out the way.
	Test bool `json:"test"`
}

// PageRequest is the body of POST /escalation/page. Title and Policy are required when it is an alert.
type PageRequest struct {
	call
	Policy Policy `json:"policy"`
}

// Impact is what an incident means for customers.
type Impact struct {
	Customers bool            `json:"customers"`
	Scope     string          `json:"scope"`
	Since     instant.Instant `json:"since"`
}

// Moment is one line of a timeline.
type Moment struct {
	At   instant.Instant `json:"at"`
	Text string          `json:"text"`
}

// Link leads from an incident or a page to where one looks next.
type Link struct {
	// Kind is one of linkKinds.
	Kind  string `json:"kind"`
	URL   string `json:"url"`
	Title string `json:"title"`
}

// linkKinds are the kinds of links, with the titles of those that have none of their own.
func linkKinds() map[string]string {
	return map[string]string{
		"dashboard": "Dashboard", "logs": "Logs", "traces": "Traces", "spans": "LLM spans", "notebook": "Notebook", "playbook": "Playbook", "monitor": "Monitor",
	}
}

// severities are those that Datadog has unless an organisation says otherwise, the worst first.
func severities() []string { return []string{"SEV-1", "SEV-2", "SEV-3", "SEV-4", "SEV-5"} }

// Policy is one of the escalation policies in datadog/oncall, by what the routing rules there call it.
type Policy string

// The policies.
const (
	CriticalErrors     Policy = "critical-errors"
	CostAlerts         Policy = "cost-alerts"
	QualityDegradation Policy = "quality-degradation"
)

// urgency is what a page under the policy is sent with. Datadog knows high and low: what the policies call medium is low, and tells
// itself apart from other pages of low urgency by how fast its policy escalates.
func (p Policy) urgency() string {
	if p == CriticalErrors {
		return "high"
	}
	return "low"
}

// The bounds of what a caller may send.
const (
	maxTitle, maxText, maxLine = 200, 4000, 500
	maxLinks, maxMoments       = 20, 50
	maxNames, maxName          = 10, 100
	maxURL                     = 2000
)

// checker gathers what is wrong with a request.
type checker []httpjson.FieldError

func (c *checker) say(ok bool, field, detail string) {
	if !ok {
		*c = append(*c, httpjson.FieldError{Field: field, Detail: detail})
	}
}

func (c *checker) text(field, s string, most int) {
	c.say(utf8.RuneCountInString(s) <= most, field, fmt.Sprintf("must not be longer than %d characters", most))
}

func (c *checker) names(field string, names []string) {
	ok := len(names) <= maxNames && !slices.ContainsFunc(names, func(n string) bool { return n == "" || len(n) > maxName })
	c.say(ok, field, fmt.Sprintf("must be at most %d names of 1 to %d bytes", maxNames, maxName))
}

// check judges what every request has, and reports whether it is an alert.
func (r *call) check(c *checker, others ...Transition) (alert bool) {
	if r.Transition == "" {
		r.Transition = Alert
	}
	allowed := append([]Transition{Alert}, others...)
	c.say(slices.Contains(allowed, r.Transition), "transition", fmt.Sprintf("must be one of %v", allowed))
	c.say(control.ValidID(r.IdempotencyKey), "idempotency_key", "is required: 1 to 200 letters, digits and . _ : @ / - that begin with a letter or digit")
	c.say(!time.Time(r.Timestamp).IsZero(), "timestamp", "is required")
	c.say(r.Source.Kind == control.Monitor || r.Source.Kind == control.Operator, "source", "kind must be monitor or operator")
	c.say(r.Source.Cycle == "" || control.ValidID(r.Source.Cycle), "source.cycle", "must be formed like an idempotency key")
	for field, text := range map[string]string{
		"source.monitor": r.Source.Monitor, "source.monitor_id": r.Source.MonitorID, "source.workflow_run": r.Source.WorkflowRun,
		"source.operator": r.Source.Operator, "source.reason": r.Source.Reason,
	} {
		c.text(field, text, maxLine)
	}
	c.text("title", r.Title, maxTitle)
	c.text("summary", r.Summary, maxText)
	alert = r.Transition == Alert
	c.say(!alert || strings.TrimSpace(r.Title) != "", "title", "is required")
	c.say(alert || len(r.Links) == 0, "links", "are for an alert")
	c.links(r.Links)
	return alert
}

func (c *checker) links(links []Link) {
	c.say(len(links) <= maxLinks, "links", fmt.Sprintf("must be at most %d", maxLinks))
	for i, l := range links[:min(len(links), maxLinks)] {
		field := fmt.Sprintf("links[%d]", i)
		_, known := linkKinds()[l.Kind]
		c.say(known, field+".kind", "must be one of dashboard, logs, traces, spans, notebook, playbook, monitor")
		u, err := url.Parse(l.URL)
		ok := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && len(l.URL) <= maxURL && !strings.ContainsAny(l.URL, " ()<>\\\"")
		c.say(ok, field+".url", "must be a URL of http or https without user, blanks, brackets or quotes")
		c.text(field+".title", l.Title, maxName)
	}
}

// Validate implements httpjson.Validator.
func (r *IncidentRequest) Validate() []httpjson.FieldError {
	var c checker
	alert := r.check(&c, Stable, Recovery)
	c.say(!alert || slices.Contains(severities(), r.Severity), "severity", "must be one of SEV-1 to SEV-5")
	c.text("root_cause", r.RootCause, maxText)
	c.names("services", r.Services)
	c.names("teams", r.Teams)
	if r.Impact != nil {
		c.say(alert, "impact", "is for an alert")
		c.say(!r.Impact.Customers || strings.TrimSpace(r.Impact.Scope) != "", "impact.scope", "is required when customers are impacted")
		c.text("impact.scope", r.Impact.Scope, maxText)
	}
	c.say(alert || len(r.Timeline) == 0, "timeline", "is for an alert: Datadog writes later changes of an incident into its timeline")
	c.say(len(r.Timeline) <= maxMoments, "timeline", fmt.Sprintf("must be at most %d", maxMoments))
	for i, m := range r.Timeline[:min(len(r.Timeline), maxMoments)] {
		field := fmt.Sprintf("timeline[%d]", i)
		c.say(!time.Time(m.At).IsZero(), field+".at", "is required")
		c.say(m.Text != "", field+".text", "is required")
		c.text(field+".text", m.Text, maxLine)
	}
	return c
}

// Validate implements httpjson.Validator.
func (r *PageRequest) Validate() []httpjson.FieldError {
	var c checker
	alert := r.check(&c, Acknowledge, Recovery)
	known := slices.Contains([]Policy{CriticalErrors, CostAlerts, QualityDegradation}, r.Policy)
	c.say(!alert || known, "policy", "must be one of critical-errors, cost-alerts, quality-degradation")
	return c
}

// event is what the request is about: an alert from its trigger to its recovery, or, where there is none, the request itself.
func (r *call) event() string {
	if r.Source.Cycle != "" {
		return r.Source.Cycle
	}
	return r.IdempotencyKey
}

// Result is what came of a request.
type Result string

// The results.
const (
	// Created: the incident or page did not exist before.
	Created Result = "created"
	// Known: everything that was asked for was done before, and nothing was changed.
	Known Result = "known"
	// Updated: its state was changed.
	Updated Result = "updated"
	// Queued: Datadog could not be reached. What was asked for is durable, and will be done.
	Queued Result = "queued"
	// Underway: another instance is at it. What was asked for is durable, and will be done.
	Underway Result = "underway"
	// NothingOpen: there is nothing that could be stable, acknowledged or over.
	NothingOpen Result = "nothing_open"
	// Overtaken: the event was over before its page could be sent, so that nobody is woken for it any more.
	Overtaken Result = "overtaken"
)

// Response is the answer to both requests: with 200 when all is done, and with 202 when it will be.
type Response struct {
	Result Result `json:"result"`
	// Event is what a later request about the same thing names as its cycle, or has as its idempotency key.
	Event    string    `json:"event"`
	Incident *Incident `json:"incident,omitempty"`
	Page     *Page     `json:"page,omitempty"`
	Queue    *Waiting  `json:"queue,omitempty"`
}

// Incident is one that exists at Datadog.
type Incident struct {
	ID string `json:"id"`
	// Number is what people call it by.
	Number   int64  `json:"number"`
	URL      string `json:"url"`
	State    string `json:"state"`
	Severity string `json:"severity"`
}

// Page is one that exists at Datadog.
type Page struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Urgency string `json:"urgency"`
	Policy  Policy `json:"policy"`
}

// Waiting says how long something waits.
type Waiting struct {
	// Reason is the kind of failure that was met last; empty when there was none yet.
	Reason      string    `json:"reason,omitempty"`
	Attempts    int       `json:"attempts"`
	NextAttempt time.Time `json:"next_attempt_at"`
	GivesUp     time.Time `json:"gives_up_at"`
}

// Report is the answer to POST /escalation/queue.
type Report struct {
	// Done are those that are done now, Waiting those that were tried in vain, and GivenUp those that will not be tried again.
	Done    int `json:"done"`
	Waiting int `json:"waiting"`
	GivenUp int `json:"given_up"`
}
