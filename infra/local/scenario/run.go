package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
)

// Options are what the cases run on.
type Options struct {
	// Assets are those in force, of one variant each; required. Placeholders get sample values.
	Assets []assets.Asset
	// Files are the tests; Select keeps a case when it is nil or returns true.
	Files  []File
	Select func(file, name string) bool
}

// Result is how one case went.
type Result struct {
	File string `json:"file"`
	Name string `json:"name"`
	// Failures say what was not as expected; none is a success.
	Failures []string      `json:"failures,omitempty"`
	Took     time.Duration `json:"took_ns"`
	// Timeline is what happened, for a case that failed.
	Timeline []string `json:"timeline,omitempty"`
}

// Run runs every case and returns how each went, in their order. The error is one of the assets or of ctx, not of a case.
func Run(ctx context.Context, opts Options) ([]Result, error) {
	resolved, err := resolve(opts.Assets)
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, f := range opts.Files {
		// Synthetics tests would call functions that the other files do not answer for.
		checks := slices.ContainsFunc(f.Covers, func(name string) bool { return strings.HasPrefix(name, string(assets.SyntheticsTest)+"/") })
		for _, c := range f.Cases {
			if opts.Select != nil && !opts.Select(f.Name, c.Name) {
				continue
			}
			begin := time.Now()
			r, err := run(ctx, resolved, c, checks)
			if err != nil {
				return results, fmt.Errorf("%s: %s: %w", f.Name, c.Name, err)
			}
			r.File, r.Took = f.Name, time.Since(begin)
			results = append(results, r)
		}
	}
	return results, nil
}

// object is an asset as the API takes it.
type object struct {
	kind assets.Kind
	key  string
	id   string
	body []byte
	// name is that by which the timeline calls it.
	name string
}

func resolve(all []assets.Asset) ([]object, error) {
	var out []object
	var problems []error
	for _, a := range all {
		body, err := assets.Resolve(a, assets.Sample)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		id, _ := assets.Sample(string(a.Kind), a.Key)
		out = append(out, object{a.Kind, a.Key, id, body, nameOf(body)})
	}
	return out, errors.Join(problems...)
}

// nameOf returns the name in a body, wherever its API has it.
func nameOf(body []byte) string {
	var doc struct {
		Name string `json:"name"`
		Data struct {
			Attributes struct {
				Name string `json:"name"`
			} `json:"attributes"`
		} `json:"data"`
	}
	// What Resolve returns is an object, and one without a name has none.
	_ = json.Unmarshal(body, &doc)
	if doc.Name == "" {
		return doc.Data.Attributes.Name
	}
	return doc.Name
}

// stage is a case under way.
type stage struct {
	Case
	objects []object
	start   time.Time
	clock   *ddfake.Clock
	datadog *ddfake.Datadog
	calls   *transport
	sources []*source
	spans   int
	failed  []string
}

func run(ctx context.Context, objects []object, c Case, checks bool) (Result, error) {
	s := &stage{Case: c, objects: objects, start: c.Start}
	if s.start.IsZero() {
		s.start = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	}
	if s.Step == 0 {
		s.Step = Duration(time.Minute)
	}
	s.clock = ddfake.NewManualClock(s.start.Add(-time.Duration(c.History)))
	function, err := newRemediation(s.clock.Now)
	if err != nil {
		return Result{}, err
	}
	s.calls = &transport{answers: slices.Clone(c.Answers), now: s.elapsed, remediation: function}
	s.datadog, err = ddfake.New(ddfake.Options{Clock: s.clock, HTTP: &http.Client{Transport: s.calls}, Send: s.calls.send})
	if err != nil {
		return Result{}, err
	}
	for _, o := range objects {
		if o.kind == assets.SyntheticsTest && !checks {
			continue
		}
		if err := s.datadog.Put(string(o.kind), o.id, o.body); err != nil {
			return Result{}, err
		}
	}
	for _, t := range c.Telemetry {
		s.sources = append(s.sources, newSource(t, time.Duration(c.Lasts)))
	}
	s.play(ctx)
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	s.judge()
	r := Result{Name: c.Name, Failures: s.failed}
	if len(s.failed) > 0 {
		for _, e := range s.datadog.Timeline() {
			r.Timeline = append(r.Timeline, fmt.Sprintf("%8s %-18s %s", e.At.Sub(s.start), e.Kind, e.Text))
		}
	}
	return r, nil
}

func (s *stage) elapsed() time.Duration { return s.clock.Now().Sub(s.start) }

func (s *stage) fail(format string, args ...any) {
	s.failed = append(s.failed, fmt.Sprintf(format, args...))
}

// play moves the clock through the case: telemetry as it is due, and an evaluation after each step.
func (s *stage) play(ctx context.Context) {
	end, next := time.Duration(s.Lasts), time.Duration(0)
	for ctx.Err() == nil {
		due := s.due()
		switch {
		case due <= next && due <= end:
			s.clock.Advance(s.start.Add(due))
			s.emit(due)
		case next <= end:
			s.clock.Advance(s.start.Add(next))
			s.datadog.Evaluate(ctx)
			// What the evaluation started runs until it waits.
			s.clock.Advance(s.start.Add(next))
			s.judgeAt(next)
			next += time.Duration(s.Step)
		default:
			// Nothing new comes, so that what still waits, such as the retry of a workflow, may end.
			const patience = 30 * time.Minute
			s.clock.Advance(s.start.Add(end + patience))
			return
		}
	}
}

// source is a source of telemetry with when it is due next.
type source struct {
	Telemetry
	next, end time.Duration
	count     int
}

func newSource(t Telemetry, lasts time.Duration) *source {
	s := &source{Telemetry: t, next: time.Duration(t.From), end: lasts}
	if t.To != nil {
		s.end = time.Duration(*t.To)
	}
	return s
}

const never = math.MaxInt64

func (s *stage) due() time.Duration {
	due := time.Duration(never)
	for _, src := range s.sources {
		due = min(due, src.next)
	}
	return due
}

func (s *stage) emit(now time.Duration) {
	for _, src := range s.sources {
		if src.next != now {
			continue
		}
		for range max(src.Times, 1) {
			s.send(src, now)
		}
		src.count++
		src.next += time.Duration(src.Every)
		if src.Every == 0 || src.next >= src.end {
			src.next = never
		}
	}
}

func (s *stage) send(src *source, now time.Duration) {
	in := s.datadog.Intake()
	switch {
	case src.Metric != "":
		in.Datagram(fmt.Appendf(nil, "%s:%g|d|#%s", src.Metric, src.value(now), strings.Join(src.tags(), ",")))
	case src.Line != "":
		in.Log([]byte(src.Line))
	case src.Log != nil:
		line := map[string]any{"timestamp": s.clock.Now().Format(time.RFC3339Nano), "service": service}
		maps.Copy(line, src.Log)
		// YAML has keys that are no text and numbers that are none; JSON has not.
		raw, err := json.Marshal(line)
		if err != nil {
			s.fail("telemetry: the log is no JSON: %v", err)
			return
		}
		in.Log(raw)
	case src.Event != nil:
		in.AddEvent(intake.Event{Title: src.Event.Title, Text: src.Event.Text, Source: src.Event.Source, Tags: src.tags()})
	case src.Span != nil:
		s.spans++
		id := fmt.Sprint(s.spans)
		in.AddLLMSpans(intake.LLMSpan{
			SpanID: id, TraceID: id, ParentID: "undefined", Name: src.Span.Name, Kind: src.Span.Kind, Status: src.Span.Status, Model: src.Span.Model,
			ErrorType: src.Span.Error, Start: s.clock.Now(), Duration: time.Second, Tags: append(src.tags(), "ml_app:"+service),
		})
	}
}

func (s *source) value(now time.Duration) float64 {
	v := s.Value
	if len(s.Values) > 0 {
		v = s.Values[s.count%len(s.Values)]
	}
	if w := s.Wave; w != nil && w.Period > 0 {
		v += w.Amplitude * math.Sin(2*math.Pi*float64(now-time.Duration(w.Shift))/float64(w.Period))
	}
	return v
}

const service = "llm-reliability-control-plane"

func (s *source) tags() []string {
	tags := map[string]string{"service": service, "env": "production"}
	maps.Copy(tags, s.Tags)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if tags[k] != "" {
			out = append(out, k+":"+tags[k])
		}
	}
	return out
}

// call is a request that reached a function.
type call struct {
	to   string // method and path
	body map[string]any
}

// transport answers the calls of workflows and Synthetics tests as the case says. It is used by one goroutine at a time
// for each run, and its lists are read when all have ended.
type transport struct {
	answers []Answer
	now     func() time.Duration
	// remediation is the real function.
	remediation http.Handler
	record      recorder
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, _, err := t.send(r)
	return resp, err
}

// send implements synthetics.Send: the answer comes at once, and takes as long as the case says.
func (t *transport) send(r *http.Request) (resp *http.Response, took time.Duration, err error) {
	var raw []byte
	if r.Body != nil {
		if raw, err = io.ReadAll(r.Body); err != nil {
			return nil, 0, fmt.Errorf("read request: %w", err)
		}
		if err := r.Body.Close(); err != nil {
			return nil, 0, fmt.Errorf("close request: %w", err)
		}
	}
	c := call{to: r.Method + " " + r.URL.Path}
	// A body that is no object has no parts to be expected.
	_ = json.Unmarshal(raw, &c.body)
	t.record.add(c)
	if a, ok := t.record.next(t.answers, c.to, t.now()); ok {
		resp, err = a.response(r)
		return resp, time.Duration(a.Takes), err
	}
	if strings.HasPrefix(r.URL.Path, "/remediation") {
		return serve(t.remediation, r, raw), 0, nil
	}
	unscripted := Answer{Status: http.StatusNotFound, Body: map[string]any{"detail": "the case does not say how " + c.to + " answers"}}
	resp, err = unscripted.response(r)
	return resp, 0, err
}

func (a *Answer) response(r *http.Request) (*http.Response, error) {
	if a.Fails != "" {
		return nil, errors.New(a.Fails)
	}
	body, ok := a.Body.(string)
	if !ok {
		raw, err := json.Marshal(a.Body)
		if err != nil {
			return nil, fmt.Errorf("encode answer: %w", err)
		}
		body = string(raw)
	}
	resp := &http.Response{
		StatusCode: a.Status, Status: fmt.Sprint(a.Status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)),
	}
	for name, v := range a.Header {
		resp.Header.Set(name, v)
	}
	return resp, nil
}
