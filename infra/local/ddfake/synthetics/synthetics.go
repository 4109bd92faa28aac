// Package synthetics runs Datadog's Synthetics HTTP tests from the very documents that its API takes: the request with its
// variables, the assertions, retries, and when the test's own monitor alerts. It has no clock and no network of its own;
// both come from the caller.
//
//	what                as Datadog                                     differs here
//	tests               type api, subtype http                         others are refused
//	variables           {{ NAME }} of configVariables that are global  text, email and other variables are refused
//	assertions          statusCode, responseTime, header, body with    bodyHash, JSON schema, XPath and JavaScript are
//	                    the operators of the table, validatesJSONPath  refused; a regular expression is RE2
//	retries             count and interval                             the same, without waiting between them
//	locations           each runs the test by itself                   one run stands for all of them, so that
//	                                                                   min_location_failed has no effect
//	schedule            tick_every, within scheduling timeframes       the same
//	alerting            after min_failure_duration of failures         the same; renotification is not followed
//	follow_redirects    up to ten                                      what the given sender does
package synthetics

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

// ErrNotEvaluated marks a test that is valid at Datadog but can't be run here.
var ErrNotEvaluated = errors.New("not evaluated here")

// Test is a parsed test. It does not change after Parse.
type Test struct {
	ID, Name string
	// Message is sent, as written, when the test begins to fail and when it passes again.
	Message string
	Tags    []string
	// Live is false for a test that is paused.
	Live bool
	// Every is the time between two runs.
	Every time.Duration
	// Variables are the identifiers of the global variables that it reads, by the names that it knows them by.
	Variables map[string]string

	request    request
	assertions []assertion
	retries    int
	minFailure time.Duration
	schedule   *schedule
}

type document struct {
	PublicID  string   `json:"public_id"`
	MonitorID int64    `json:"monitor_id"`
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Subtype   string   `json:"subtype"`
	Status    string   `json:"status"`
	Message   string   `json:"message"`
	Tags      []string `json:"tags"`
	Locations []string `json:"locations"`
	Config    struct {
		Variables []struct {
			Type string `json:"type"`
			Name string `json:"name"`
			ID   string `json:"id"`
		} `json:"configVariables"`
		Request    request           `json:"request"`
		Assertions []json.RawMessage `json:"assertions"`
	} `json:"config"`
	Options struct {
		TickEvery          int64  `json:"tick_every"`
		MinFailureDuration int64  `json:"min_failure_duration"`
		MinLocationFailed  int    `json:"min_location_failed"`
		AllowInsecure      bool   `json:"allow_insecure"`
		FollowRedirects    bool   `json:"follow_redirects"`
		HTTPVersion        string `json:"httpVersion"`
		MonitorName        string `json:"monitor_name"`
		MonitorPriority    int    `json:"monitor_priority"`
		MonitorOptions     any    `json:"monitor_options"`
		Retry              *struct {
			Count    int     `json:"count"`
			Interval float64 `json:"interval"` // milliseconds
		} `json:"retry"`
		Scheduling *schedule `json:"scheduling"`
	} `json:"options"`
}

type request struct {
	Method   string            `json:"method"`
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers"`
	Body     string            `json:"body"`
	BodyType string            `json:"bodyType"`
	Timeout  float64           `json:"timeout"` // seconds
}

type schedule struct {
	Timezone   string `json:"timezone"`
	Timeframes []struct {
		Day  int    `json:"day"` // 1 is Monday
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"timeframes"`
	location *time.Location
}

// The bounds of Datadog's API description for tick_every, in seconds.
const minTick, maxTick = 30, 604800

// Parse reads the JSON that Datadog's API takes for an API test, with every placeholder resolved. The error joins every
// problem; it wraps ErrNotEvaluated for what only Datadog runs.
func Parse(id string, raw []byte) (*Test, error) {
	var doc document
	if err := strictjson.Decode(raw, &doc); err != nil {
		return nil, fmt.Errorf("parse synthetics test: %w", err)
	}
	t := &Test{
		ID: id, Name: doc.Name, Message: doc.Message, Tags: doc.Tags, Live: doc.Status != "paused", Variables: map[string]string{},
		Every: time.Duration(doc.Options.TickEvery) * time.Second, minFailure: time.Duration(doc.Options.MinFailureDuration) * time.Second,
		request: doc.Config.Request, schedule: doc.Options.Scheduling,
	}
	p := problems{}
	p.check(doc.Type == "api" && cmp.Or(doc.Subtype, "http") == "http", "type %s %s: %w", doc.Type, doc.Subtype, ErrNotEvaluated)
	p.check(doc.Name != "", "the test has no name")
	p.check(slices.Contains([]string{"", "live", "paused"}, doc.Status), "status %q is not live or paused", doc.Status)
	p.check(len(doc.Locations) > 0, "no locations")
	p.check(doc.Options.TickEvery >= minTick && doc.Options.TickEvery <= maxTick, "options.tick_every %d is not from %d to %d seconds", doc.Options.TickEvery, minTick, maxTick)
	if r := doc.Options.Retry; r != nil {
		t.retries = r.Count
		p.check(r.Count >= 0 && r.Count <= 5, "options.retry.count %d is not from 0 to 5", r.Count)
		p.check(r.Interval >= 0 && r.Interval <= 5000, "options.retry.interval %v is not up to 5000 milliseconds", r.Interval)
	}
	p.check(doc.Options.MinLocationFailed <= len(doc.Locations), "options.min_location_failed %d is more than the %d locations", doc.Options.MinLocationFailed, len(doc.Locations))
	for _, v := range doc.Config.Variables {
		p.check(v.Type == "global", "variable %s of type %q: %w", v.Name, v.Type, ErrNotEvaluated)
		p.check(v.ID != "" && v.Name != "" && t.Variables[v.Name] == "", "variable %q has no id or no name of its own", v.Name)
		t.Variables[v.Name] = v.ID
	}
	p.add(t.checkRequest())
	p.add(t.schedule.parse())
	for i, raw := range doc.Config.Assertions {
		a, err := parseAssertion(raw)
		if err != nil {
			p.add(fmt.Errorf("assertion %d: %w", i, err))
			continue
		}
		t.assertions = append(t.assertions, a)
	}
	p.check(len(doc.Config.Assertions) > 0, "no assertions: the test can't fail but for a broken connection")
	if len(p.list) > 0 {
		return nil, fmt.Errorf("parse synthetics test %q: %w", t.Name, errors.Join(p.list...))
	}
	return t, nil
}

type problems struct{ list []error }

func (p *problems) check(ok bool, format string, args ...any) {
	if !ok {
		p.list = append(p.list, fmt.Errorf(format, args...))
	}
}

func (p *problems) add(err error) {
	if err != nil {
		p.list = append(p.list, err)
	}
}

var variable = regexp.MustCompile(`\{\{\s*([A-Za-z0-9_]+)\s*\}\}`)

// checkRequest checks the form of the request, and that every variable in it is declared and every declared one is used.
func (t *Test) checkRequest() error {
	p := problems{}
	r := t.request
	p.check(slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}, r.Method), "request.method %q is unknown", r.Method)
	target, err := url.Parse(variable.ReplaceAllString(r.URL, "x"))
	p.check(err == nil && target != nil && target.Host != "", "request.url %q is no URL", r.URL)
	p.check(r.Timeout >= 0 && r.Timeout <= 300, "request.timeout %v is not up to 300 seconds", r.Timeout)
	used := map[string]bool{}
	texts := []string{r.URL, r.Body}
	for _, v := range r.Headers {
		texts = append(texts, v)
	}
	for _, text := range texts {
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
			p.check(t.Variables[m[1]] != "", "the variable {{ %s }} is not among configVariables", m[1])
		}
	}
	for name := range t.Variables {
		p.check(used[name], "the variable %s is never used", name)
	}
	return errors.Join(p.list...)
}

func (s *schedule) parse() error {
	if s == nil {
		return nil
	}
	p := problems{}
	var err error
	s.location, err = time.LoadLocation(s.Timezone)
	p.check(err == nil && s.Timezone != "", "scheduling.timezone %q is unknown", s.Timezone)
	p.check(len(s.Timeframes) > 0, "scheduling has no timeframes")
	for i, f := range s.Timeframes {
		from, errFrom := time.Parse("15:04", f.From)
		to, errTo := time.Parse("15:04", f.To)
		p.check(f.Day >= 1 && f.Day <= 7 && errFrom == nil && errTo == nil && from.Before(to), "scheduling.timeframes[%d] is not a day from 1 to 7 with from before to", i)
	}
	return errors.Join(p.list...)
}

// Due reports whether the test runs at now, when it ran at last; zero for never.
func (t *Test) Due(last, now time.Time) bool {
	return t.Live && (last.IsZero() || !now.Before(last.Add(t.Every))) && t.schedule.open(now)
}

func (s *schedule) open(now time.Time) bool {
	if s == nil {
		return true
	}
	local := now.In(s.location)
	day, clock := (int(local.Weekday())+6)%7+1, local.Format("15:04")
	for _, f := range s.Timeframes {
		if f.Day == day && clock >= f.From && clock <= f.To {
			return true
		}
	}
	return false
}

// build makes the request with the values of the variables.
func (t *Test) build(ctx context.Context, values map[string]string) (*http.Request, error) {
	var missing []string
	fill := func(text string) string {
		return variable.ReplaceAllStringFunc(text, func(found string) string {
			name := variable.FindStringSubmatch(found)[1]
			v, ok := values[t.Variables[name]]
			if !ok {
				missing = append(missing, name)
			}
			return v
		})
	}
	req, err := http.NewRequestWithContext(ctx, t.request.Method, fill(t.request.URL), strings.NewReader(fill(t.request.Body)))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if t.request.BodyType != "" {
		req.Header.Set("Content-Type", t.request.BodyType)
	}
	for name, v := range t.request.Headers {
		req.Header.Set(name, fill(v))
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no global variable for %s", strings.Join(missing, ", "))
	}
	return req, nil
}
