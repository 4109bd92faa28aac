// Package insights is the function that says how well the system does: GET /insights gives a health score from 0 to 100 with its
// parts, read from Datadog's metrics, and why (package analysis), unless only=health is asked for. A schedule calls it with a header, and then the score is emitted as llm.health_score, on
// which a monitor stands.
//
// Each part falls in a straight line from 100 at "good" to 0 at "bad". The score is the mean of the parts by weight; parts without
// data are left out, their weight goes to the others, and the answer says so.
//
//	part         weight  input                                                             good    bad
//	performance  0.25    95th percentile of the latency                                    2 s     8 s
//	reliability  0.30    requests that failed, of all; times 1 - half the share of         0 %     10 %
//	                     attempts that fell back
//	cost         0.15    mean cost of a request over that of 24 windows before             1       3
//	quality      0.20    mean of two: 1 - groundedness of answers from documents,          0.1     0.5
//	                     and the share of them that their document does not support        0 %     30 %
//	security     0.10    product of three shares of requests: suspected injections,        0 %     20 %
//	                     suspected token abuse, and what a safety filter withheld
//
// The level of llm.quality.semantic_similarity depends on the model and the questions, so it has no good and bad, and no part.
package insights

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/functions/insights/analysis"
	"github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// EmitHeader is the header, and EmitScore its value, by which a schedule asks that the score be emitted.
const (
	EmitHeader = "X-Lrcp-Emit"
	EmitScore  = "health_score"
)

// Metrics reads metrics. metrics.Datadog is one.
type Metrics interface {
	// Scalar answers each query with one value over the time from from until before to, by the query's name. A query without
	// data has no entry. It fails as a whole or not at all.
	Scalar(ctx context.Context, queries []metrics.Query, from, to time.Time) (map[string]float64, error)
}

// Options are the dependencies of the function.
type Options struct {
	// Metrics is required.
	Metrics Metrics
	// Analysis says why; nil says nothing.
	Analysis *analysis.Analyst
	// Telemetry takes the score; nil takes nothing.
	Telemetry *telemetry.Client
	// Scope selects the time series that are judged, as in a query's braces, such as "service:x,env:y"; required.
	Scope string
	// Window is how far back the score looks where the request does not say; an hour when 0.
	Window time.Duration
	// Timeout bounds the reading of the metrics; 10 s when 0.
	Timeout time.Duration
}

// windows is how many windows before the judged one the cost is compared with.
const windows = 24

// Function judges. It is safe for concurrent use.
type Function struct {
	opts Options
	mux  *http.ServeMux
}

// New checks the options and returns a Function.
func New(opts Options) (*Function, error) {
	if opts.Metrics == nil || opts.Scope == "" {
		return nil, errors.New("insights: Metrics and Scope are required")
	}
	opts.Window = cmp.Or(opts.Window, time.Hour)
	opts.Timeout = cmp.Or(opts.Timeout, 10*time.Second)
	f := &Function{opts, http.NewServeMux()}
	f.mux.HandleFunc("GET /insights", f.serve)
	return f, nil
}

// Handler serves GET /insights.
func (f *Function) Handler() http.Handler { return f.mux }

// Document is the answer to GET /insights.
type Document struct {
	Health
	// Window is how much time the score looks at, and At is its end.
	Window string    `json:"window"`
	At     time.Time `json:"at"`
	// Report is why the health is as it is; absent where it was not asked for.
	*analysis.Report
	// Emitted is whether the score was emitted as a metric.
	Emitted   bool   `json:"emitted"`
	RequestID string `json:"request_id"`
}

func (f *Function) serve(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	window, why, emit, err := f.asked(r)
	if err != nil {
		fail(w, r, err)
		return
	}
	now := time.Now().UTC()
	ctx, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	doc := Document{Window: text(window), At: now.Truncate(time.Second), RequestID: serverless.RequestID(ctx)}
	// Why is found out at the same time, and is no reason to fail.
	var analysing sync.WaitGroup
	if why && f.opts.Analysis != nil {
		analysing.Go(func() {
			report, err := f.opts.Analysis.Report(ctx, now, window)
			if doc.Report = &report; err != nil {
				f.warn(ctx, fmt.Errorf("analysis: %w", err))
			}
		})
	}
	doc.Health, err = f.judge(ctx, now, window)
	analysing.Wait()
	if err != nil {
		f.warn(ctx, err)
		fail(w, r, err)
		return
	}
	if emit {
		doc.Emitted = f.emit(ctx, doc.Health)
	}
	w.Header().Set("Cache-Control", "no-store")
	httpjson.Write(w, http.StatusOK, doc)
}

// warn logs what could not be read; which part of the answer that is, the error says.
func (f *Function) warn(ctx context.Context, err error) {
	f.opts.Telemetry.Logger().WarnContext(ctx, "metrics not read", slog.String("http.request_id", serverless.RequestID(ctx)),
		slog.String("llm.function", "insights"), slog.String("error.message", err.Error()))
}

// asked reads the window, whether to say why, and whether to emit. What is emitted is always of the configured window, because a monitor compares it
// with what was emitted before.
func (f *Function) asked(r *http.Request) (window time.Duration, why, emit bool, err error) {
	var bad []httpjson.FieldError
	window = f.opts.Window
	if asked := r.URL.Query().Get("window"); asked != "" {
		window, err = time.ParseDuration(asked)
		if least, most := f.opts.Window/12, f.opts.Window*windows; err != nil || window < least || window > most {
			bad = append(bad, httpjson.FieldError{Field: "window", Detail: "must be a duration from " + text(least) + " to " + text(most)})
		}
	}
	switch only := r.URL.Query().Get("only"); only {
	case "":
		why = true
	case "health":
	default:
		bad = append(bad, httpjson.FieldError{Field: "only", Detail: "must be health or absent"})
	}
	switch value := r.Header.Get(EmitHeader); {
	case value == "":
	case value != EmitScore:
		bad = append(bad, httpjson.FieldError{Field: EmitHeader, Detail: "must be " + EmitScore})
	case window != f.opts.Window:
		bad = append(bad, httpjson.FieldError{Field: "window", Detail: "must be " + text(f.opts.Window) + " or absent where the score is emitted"})
	default:
		// Nobody reads the answer to a schedule.
		emit, why = true, false
	}
	if len(bad) > 0 {
		return 0, false, false, &httpjson.Problem{Status: http.StatusBadRequest, Detail: "the request is not acceptable", Errors: bad}
	}
	return window, why, emit, nil
}

// Emit judges the configured window and emits the score, for a schedule in the same process. A window without data emits nothing: no
// score is not a score of 0.
func (f *Function) Emit(ctx context.Context) error {
	health, err := f.judge(ctx, time.Now().UTC(), f.opts.Window)
	if err != nil {
		return err
	}
	f.emit(ctx, health)
	f.opts.Telemetry.Flush(ctx)
	return nil
}

func (f *Function) emit(ctx context.Context, h Health) bool {
	if h.Score == nil {
		return false
	}
	f.opts.Telemetry.Add(ctx, "llm.health_score", *h.Score)
	attrs := []slog.Attr{
		slog.String("http.request_id", serverless.RequestID(ctx)), slog.String("llm.function", "insights"), slog.Float64("llm.health_score", *h.Score),
	}
	for _, p := range parts {
		if got, ok := h.Parts[p.name]; ok {
			attrs = append(attrs, slog.Float64("llm.health."+p.name, got.Score))
		}
	}
	f.opts.Telemetry.Logger().LogAttrs(ctx, slog.LevelInfo, "health score", attrs...)
	return true
}

// judge reads the metrics of the window and of the time before it.
func (f *Function) judge(ctx context.Context, now time.Time, window time.Duration) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	inWindow, before := Queries(f.opts.Scope)
	begin := now.Add(-window)
	got, err := f.opts.Metrics.Scalar(ctx, inWindow, begin, now)
	if err != nil {
		return Health{}, err
	}
	earlier, err := f.opts.Metrics.Scalar(ctx, before, begin.Add(-windows*window), begin)
	if err != nil {
		return Health{}, err
	}
	return Score(readings(got, earlier)), nil
}

// fail answers with a problem: what is wrong with the request, or that the metrics can't be read, which says nothing about health.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	if _, ok := errors.AsType[*httpjson.Problem](err); !ok {
		const again = 10 * time.Second
		err = &httpjson.Problem{Status: http.StatusServiceUnavailable, Code: "metrics_unavailable", RetryAfter: again, Err: err,
			Detail: "the metrics could not be read from Datadog, so the health is not known"}
	}
	httpjson.WriteProblem(w, httpjson.FromError(err), serverless.RequestID(r.Context()))
}

// text writes a duration without parts that are 0, such as 1h.
func text(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
