// Package probe is the function that asks what the system's users would ask, and knows the answers: POST /probe puts a golden set of
// questions to the public endpoints, with an API key of its own, and scores what comes back by the facts that are expected, by what
// the document supports, and by the time that it took. A schedule calls it, and people do.
//
// It sees what users see, and no more: it knows the functions by their URLs only. What it finds is a report, metrics, and evaluations
// on the LLM Observability spans of the requests that it made. A system that fails the probe is a report that says so, and never an
// error of this function, so that no schedule tries again: the next run is the retry. It heals nothing; monitors and workflows do.
//
// An answer passes when it holds every expected fact and nothing forbidden. Whether its document supports it is judged over all
// answers: the quality signal looks at words, and a single right answer in words of its own scores low. The requests go past the
// response cache, because an answer from there says nothing about the models of today.
package probe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

const (
	// maxBody bounds the body of a request, in bytes.
	maxBody = 16 << 10
	// atOnce is how many questions are under way at a time: enough to end soon, too few to be load.
	atOnce = 4
)

// Options are the dependencies of the function.
type Options struct {
	// QAURL and CompletionURL are the addresses of the functions qa and completion, without a path of theirs; required. See
	// env.URL.
	QAURL, CompletionURL string
	// APIKey lets the probe in at both; required.
	APIKey env.Secret
	// Golden is what is asked; the set that comes with the function when it is the zero value.
	Golden Golden
	// HTTP makes the requests; a client of its own when nil. Redirects are not followed: the key is for one address.
	HTTP *http.Client
	// Telemetry takes metrics and evaluations; nil takes nothing.
	Telemetry *telemetry.Client
	// Timeout bounds each question, and Total all of them; 20 s and 100 s when 0. The deadline of the request bounds both.
	Timeout, Total time.Duration
}

// Function asks and judges. It is safe for concurrent use.
type Function struct {
	opts Options
	mux  *http.ServeMux
}

// New checks the options and returns a Function.
func New(opts Options) (*Function, error) {
	for _, address := range []string{opts.QAURL, opts.CompletionURL} {
		if err := checkURL(address); err != nil {
			return nil, err
		}
	}
	if opts.APIKey == "" {
		return nil, errors.New("probe: APIKey is required")
	}
	if len(opts.Golden.cases) == 0 {
		var err error
		if opts.Golden, err = BuiltIn(); err != nil {
			return nil, err
		}
	}
	client := http.Client{}
	if opts.HTTP != nil {
		client = *opts.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	opts.HTTP = &client
	opts.QAURL, opts.CompletionURL = strings.TrimSuffix(opts.QAURL, "/"), strings.TrimSuffix(opts.CompletionURL, "/")
	opts.Timeout, opts.Total = cmp.Or(opts.Timeout, 20*time.Second), cmp.Or(opts.Total, 100*time.Second)
	f := &Function{opts, http.NewServeMux()}
	f.mux.HandleFunc("POST /probe", f.serve)
	return f, nil
}

// Handler serves POST /probe.
func (f *Function) Handler() http.Handler { return f.mux }

// Request is the body of POST /probe, which may also be empty.
type Request struct {
	// Cases names those to ask; all when empty.
	Cases []string `json:"cases"`

	golden Golden
}

// Validate implements httpjson.Validator.
func (r *Request) Validate() []httpjson.FieldError {
	var unknown []string
	for _, name := range r.Cases {
		if !slices.ContainsFunc(r.golden.cases, func(c Case) bool { return c.Name == name }) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return []httpjson.FieldError{{Field: "cases", Detail: "names what the golden set does not have: " + listed(unknown)}}
}

// listed quotes names that a caller sent, as far as they are short.
func listed(names []string) string {
	const most, longest = 5, 48
	for i, name := range names {
		names[i] = name[:min(len(name), longest)]
	}
	return strings.ToValidUTF8(strings.Join(names[:min(len(names), most)], ", "), "")
}

func (f *Function) serve(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	cases, err := f.asked(w, r)
	if err != nil {
		httpjson.WriteProblem(w, httpjson.FromError(err), serverless.RequestID(ctx))
		return
	}
	report := f.Run(ctx, cases...)
	w.Header().Set("Cache-Control", "no-store")
	httpjson.Write(w, http.StatusOK, report)
}

// asked reads which cases to ask. A schedule sends no body.
func (f *Function) asked(w http.ResponseWriter, r *http.Request) ([]string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil && len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	// What was read is read again, so that one place says what is wrong with a body.
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
	req := Request{golden: f.opts.Golden}
	if err := httpjson.Decode(w, r, maxBody, &req); err != nil {
		return nil, err
	}
	return req.Cases, nil
}

// failing is a reader that ends with an error, or just ends.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// Run asks the named cases, or all when none is named, and emits what it finds.
func (f *Function) Run(ctx context.Context, names ...string) Report {
	cases := slices.DeleteFunc(f.opts.Golden.Cases(), func(c Case) bool { return len(names) > 0 && !slices.Contains(names, c.Name) })
	start := time.Now()
	results := f.askAll(ctx, cases)
	report := newReport(serverless.RequestID(ctx), start, time.Since(start), results)
	if errors.Is(ctx.Err(), context.Canceled) {
		// Whoever asked is gone, and the questions were broken off: that they failed says nothing about the system.
		f.opts.Telemetry.Logger().InfoContext(ctx, "probe given up", slog.String("http.request_id", report.RequestID))
		return report
	}
	f.emit(ctx, report)
	return report
}

// askAll asks the cases, a few at a time, and returns the results in their order.
func (f *Function) askAll(ctx context.Context, cases []Case) []Result {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Total)
	defer cancel()
	next := make(chan int, len(cases))
	for i := range cases {
		next <- i
	}
	close(next)
	results := make([]Result, len(cases))
	var workers sync.WaitGroup
	for range min(atOnce, len(cases)) {
		workers.Go(func() {
			for i := range next {
				results[i] = f.ask(ctx, cases[i])
			}
		})
	}
	workers.Wait()
	return results
}

// emit sends the metrics and evaluations of a report, and logs one line.
func (f *Function) emit(ctx context.Context, r Report) {
	t := f.opts.Telemetry
	for _, c := range r.Cases {
		tags := []string{"endpoint:" + c.Endpoint, "model:" + c.Model, "provider:" + c.Provider}
		t.Add(ctx, "llm.probe.run", 1, tags...)
		if !c.Passed {
			t.Add(ctx, "llm.probe.failed", 1, append(slices.Clip(tags), "error_type:"+string(c.ErrorType))...)
		}
		evaluate := func(label string, score float64) {
			t.Evaluate(telemetry.Evaluation{RequestID: c.RequestID, Label: label, Score: score})
		}
		switch {
		case c.Passed:
			evaluate("probe_passed", 1)
		case c.ErrorType != NotAsked && c.ErrorType != Unreachable: // where there was no request, there is no span
			evaluate("probe_passed", 0)
		}
		if c.facts == 0 {
			continue // there is no answer to be measured
		}
		found := float64(c.facts-len(c.Missing)) / float64(c.facts)
		t.Add(ctx, "llm.probe.facts", found, tags...)
		t.Add(ctx, "llm.probe.duration", c.LatencyMS, tags...)
		evaluate("probe_facts", found)
		if c.Groundedness != nil {
			t.Add(ctx, "llm.probe.groundedness", *c.Groundedness, tags...)
			evaluate("probe_groundedness", *c.Groundedness)
		}
	}
	level := slog.LevelInfo
	if !r.Passed {
		level = slog.LevelWarn
	}
	failed := []string{}
	for _, c := range r.Cases {
		if !c.Passed {
			failed = append(failed, c.Name+": "+string(c.ErrorType))
		}
	}
	t.Logger().LogAttrs(ctx, level, "probe", slog.String("http.request_id", r.RequestID), slog.String("llm.function", "probe"),
		slog.Int("llm.probe.cases", r.Totals.Cases), slog.Int("llm.probe.passed", r.Totals.Passed), slog.Any("llm.probe.failed", failed),
		slog.Bool("llm.probe.ungrounded", r.Ungrounded),
		slog.Int64("duration", int64(r.Totals.DurationMS*float64(time.Millisecond))))
}
