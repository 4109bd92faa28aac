// Package diagnosis is the function that workflows and operators ask before they wake somebody: POST /diagnosis/provider says
// whether the model provider is up, POST /diagnosis/auth whether our credentials work and how long they will.
//
// It only looks: it calls each model of the route once, with a few tokens, reads the provider's public status feed, and gives
// a verdict with the evidence for it and what to do next. A probe that fails is a verdict, never an error of this function. The
// calls are its own and no request of a user, so that they count in no metric of requests.
package diagnosis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// maxBody bounds the body, which is checked to be a JSON object and not looked at further.
const maxBody = 64 << 10

// Backend is one provider of the route, as it is probed.
type Backend struct {
	// Provider and Model name the provider and the model that is called there; both are required.
	Provider string
	Model    string
	// Location is where the provider serves the model; empty where it has one address.
	Location string
	// Client calls it; required.
	Client llm.Model
	// Credentials are those that Client uses; required. See None and Key.
	Credentials Credentials
}

// name names a backend in evidence: google/europe-west1/gemini-3.8-flash.
func (b Backend) name() string { return path.Join(b.Provider, b.Location, b.Model) }

// Options are the dependencies of the function.
type Options struct {
	// Backends are the route, in its order; at least one is required.
	Backends []Backend
	// Feed is the status feed of the provider of the route; nil when it has none that we can read.
	Feed *Feed
	// Telemetry may be nil.
	Telemetry *telemetry.Client
	// LiveTimeout bounds each call of a model, FeedTimeout the reading of the feed; 10 s and 5 s when 0.
	LiveTimeout, FeedTimeout time.Duration
}

// Report is the answer to both questions.
type Report struct {
	Verdict Verdict `json:"verdict"`
	// Summary is the verdict as a sentence for people.
	Summary  string     `json:"summary"`
	Evidence []Evidence `json:"evidence"`
	// NextAction says what a person or a workflow is best to do now.
	NextAction string `json:"next_action"`
	RequestID  string `json:"request_id"`
}

// Evidence is what one probe saw.
type Evidence struct {
	// Source names the probe: "status feed", or the provider and model that were called.
	Source string `json:"source"`
	// Observed is one word from a closed set: "answered", a kind of failure, an impact of the feed, or "unreadable".
	Observed  string  `json:"observed"`
	Detail    string  `json:"detail"`
	LatencyMS float64 `json:"latency_ms"`
	// Credential is what the provider tells of our credentials; absent where they were not the question.
	Credential *Credential `json:"credential,omitempty"`
}

// finding is evidence with what it means.
type finding struct {
	Evidence
	verdict Verdict
	// next is what to do about it; empty when there is nothing to do.
	next string
	// err is for the log.
	err error
}

// New returns the handler.
func New(opts Options) (http.Handler, error) {
	if len(opts.Backends) == 0 {
		return nil, errors.New("diagnosis: Backends are required")
	}
	for _, b := range opts.Backends {
		if b.Provider == "" || b.Model == "" || b.Client == nil || b.Credentials == nil {
			return nil, errors.New("diagnosis: Provider, Model, Client and Credentials of each backend are required")
		}
	}
	opts.LiveTimeout = cmp.Or(opts.LiveTimeout, 10*time.Second)
	opts.FeedTimeout = cmp.Or(opts.FeedTimeout, 5*time.Second)
	mux := http.NewServeMux()
	mux.Handle("POST /diagnosis/provider", handle(opts, "provider", provider))
	mux.Handle("POST /diagnosis/auth", handle(opts, "auth", auth))
	return mux, nil
}

// handle answers one question: it refuses a body that is no JSON object, and logs what was found.
func handle(opts Options, question string, ask func(context.Context, Options) (Report, []finding)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if err := checkBody(w, r); err != nil {
			httpjson.WriteProblem(w, httpjson.FromError(err), serverless.RequestID(ctx))
			return
		}
		start := time.Now()
		report, findings := ask(ctx, opts)
		report.RequestID = serverless.RequestID(ctx)
		record(ctx, opts.Telemetry.Logger(), question, report, findings, time.Since(start))
		w.Header().Set("Cache-Control", "no-store")
		httpjson.Write(w, http.StatusOK, report)
	})
}

// checkBody reads the body. Workflows and webhooks send what they like, and some send nothing.
func checkBody(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &httpjson.Problem{Status: http.StatusRequestEntityTooLarge, Detail: "the body is larger than 65536 bytes"}
	}
	if err != nil {
		return &httpjson.Problem{Status: http.StatusBadRequest, Detail: "the body could not be read", Err: err}
	}
	text := strings.TrimSpace(string(body))
	if text == "" {
		return nil
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return &httpjson.Problem{Status: http.StatusUnsupportedMediaType, Detail: "the content type of a body must be application/json"}
	}
	if text[0] != '{' || !json.Valid(body) {
		return &httpjson.Problem{Status: http.StatusBadRequest, Detail: "the body must be a JSON object, or empty"}
	}
	return nil
}

// provider asks whether the provider is up: the feed and every model at the same time.
func provider(ctx context.Context, opts Options) (Report, []finding) {
	findings := make([]finding, len(opts.Backends), len(opts.Backends)+1)
	var feed finding
	var probes sync.WaitGroup
	for i, b := range opts.Backends {
		probes.Go(func() { findings[i] = live(ctx, b, opts.LiveTimeout) })
	}
	if opts.Feed != nil {
		probes.Go(func() { feed = opts.Feed.probe(ctx, opts.FeedTimeout) })
	}
	probes.Wait()
	report := judgeProvider(findings, opts.Feed != nil, feed)
	if opts.Feed != nil {
		findings = append(findings, feed)
	}
	return withEvidence(report, findings), findings
}

// auth asks whether the credentials of every provider work, at the same time.
func auth(ctx context.Context, opts Options) (Report, []finding) {
	findings := make([]finding, len(opts.Backends))
	var probes sync.WaitGroup
	for i, b := range opts.Backends {
		probes.Go(func() { findings[i] = check(ctx, b, opts.LiveTimeout) })
	}
	probes.Wait()
	return withEvidence(judgeAuth(findings), findings), findings
}

func withEvidence(r Report, findings []finding) Report {
	r.Evidence = make([]Evidence, len(findings))
	for i, f := range findings {
		r.Evidence[i] = f.Evidence
	}
	return r
}

// record logs one line for the diagnosis, with what the answer does not show.
func record(ctx context.Context, log *slog.Logger, question string, r Report, findings []finding, took time.Duration) {
	level := slog.LevelInfo
	if r.Verdict != OK {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("http.request_id", r.RequestID), slog.String("llm.function", "diagnosis"), slog.String("llm.diagnosis.question", question),
		slog.String("llm.diagnosis.verdict", string(r.Verdict)), slog.Int64("duration", took.Nanoseconds()),
	}
	var observed, causes []string
	for _, f := range findings {
		observed = append(observed, f.Source+": "+f.Observed)
		if f.err != nil {
			causes = append(causes, f.Source+": "+f.err.Error())
		}
	}
	attrs = append(attrs, slog.Any("llm.diagnosis.observed", observed))
	if len(causes) > 0 {
		attrs = append(attrs, slog.String("error.message", strings.Join(causes, "; ")))
	}
	log.LogAttrs(ctx, level, "diagnosis", attrs...)
}
