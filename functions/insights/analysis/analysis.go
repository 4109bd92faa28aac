// Package analysis says why the health of the system is as it is, from Datadog's metrics and events and from the control state:
// what drives the cost and what could have been saved, which caller, endpoint or model explains what became worse, what
// Watchdog has noticed, and whether remediations helped. The score itself is package insights'.
//
// The window is compared with the 24 windows before it. A measure is an anomaly when it is worse by a factor and by a step, over
// at least 20 requests on both sides:
//
//	measure           is                                                    factor   step
//	cost_per_request  cost over requests whose price is known               1.3
//	mean_latency      sum of latencies over requests                        1.3      20 ms
//	error_rate        failed requests over requests                         1.5      0.02
//	ungrounded_rate   answers that their document does not support over     1.5      0.05
//	                  answers from a document
//
// Each part of the report may fail by itself; then it is absent, and named.
package analysis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
)

// Metrics reads metrics by groups; metrics.Datadog is one. It fails as a whole or not at all.
type Metrics interface {
	Rows(ctx context.Context, queries []metrics.Query, from, to time.Time) ([]metrics.Row, error)
}

// Events searches Datadog's events, newest first; metrics.Datadog is one.
type Events interface {
	Events(ctx context.Context, query string, from, to time.Time, limit int) ([]metrics.Event, error)
}

// Overrides lists the overrides that are in force or ended lately.
type Overrides interface {
	Overrides(ctx context.Context) ([]control.Override, error)
}

// Options are the dependencies of an Analyst.
type Options struct {
	// Metrics is required.
	Metrics Metrics
	// Events and Overrides may be nil: then nothing is said of Watchdog, or of remediations.
	Events    Events
	Overrides Overrides
	// Catalog has the prices; without it nothing is said of savings by tier and prompt.
	Catalog *catalog.Catalog
	// Scope selects the time series, as in a query's braces; required. Service is the name in Watchdog's stories; required with Events.
	Scope, Service string
}

// Analyst analyses. It is safe for concurrent use.
type Analyst struct{ opts Options }

// New checks the options and returns an Analyst.
func New(opts Options) (*Analyst, error) {
	if opts.Metrics == nil || opts.Scope == "" || (opts.Events != nil && opts.Service == "") {
		return nil, errors.New("analysis: Metrics and Scope are required, and Service with Events")
	}
	return &Analyst{opts}, nil
}

// Report is what was found.
type Report struct {
	Cost         *Cost          `json:"cost,omitempty"`
	Anomalies    []Anomaly      `json:"anomalies"`
	Watchdog     []Story        `json:"watchdog"`
	Remediations []Verification `json:"remediations"`
	// Unavailable names the parts that could not be made: cost, anomalies, watchdog, remediations.
	Unavailable []string `json:"unavailable"`
}

// Story is one of Watchdog's.
type Story struct {
	At    time.Time `json:"at"`
	Title string    `json:"title"`
	Text  string    `json:"text,omitempty"`
	// Key identifies the story, Category is apm, logs or infrastructure.
	Key      string `json:"story_key,omitempty"`
	Category string `json:"category,omitempty"`
}

// Bounds of what is read: windows to compare with, calls at the same time, stories and remediations.
const (
	windows          = 24
	atOnce           = 4
	mostStories      = 10
	mostRemediations = 5
)

// Report analyses the window that ends at now. It never fails as a whole: err joins why parts are unavailable.
func (a *Analyst) Report(ctx context.Context, now time.Time, window time.Duration) (r Report, err error) {
	r = Report{Anomalies: []Anomaly{}, Watchdog: []Story{}, Remediations: []Verification{}, Unavailable: []string{}}
	var mu sync.Mutex
	part := func(find func() error, names ...string) func() {
		return func() {
			if e := find(); e != nil {
				mu.Lock()
				defer mu.Unlock()
				r.Unavailable = append(r.Unavailable, names...)
				err = errors.Join(err, e)
			}
		}
	}
	var parts sync.WaitGroup
	parts.Go(part(func() error {
		cuttings, err := a.cut(ctx, now, window)
		if err != nil {
			return err
		}
		r.Cost, r.Anomalies = cost(cuttings, a.opts.Catalog, now), anomalies(cuttings)
		return nil
	}, "cost", "anomalies"))
	if a.opts.Events != nil {
		parts.Go(part(func() (err error) { r.Watchdog, err = a.stories(ctx, now, window); return err }, "watchdog"))
	}
	if a.opts.Overrides != nil {
		parts.Go(part(func() (err error) { r.Remediations, err = a.verifications(ctx, now); return err }, "remediations"))
	}
	parts.Wait()
	slices.Sort(r.Unavailable)
	return r, err
}

// cut reads the window, and the windows before it, by every dimension.
func (a *Analyst) cut(ctx context.Context, now time.Time, window time.Duration) ([]cutting, error) {
	begin := now.Add(-window)
	cuttings := make([]cutting, len(dimensions()))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, d := range dimensions() {
		c := &cuttings[i]
		c.dimension = d
		g.Go(func() (err error) { c.now, err = a.read(ctx, a.opts.Scope, d.tags, begin, now); return err })
		g.Go(func() (err error) {
			c.before, err = a.read(ctx, a.opts.Scope, d.tags, begin.Add(-windows*window), begin)
			return err
		})
	}
	return cuttings, g.Wait()
}

// stories are Watchdog's about the service, over the window and the windows before it: a story is told for hours.
func (a *Analyst) stories(ctx context.Context, now time.Time, window time.Duration) ([]Story, error) {
	events, err := a.opts.Events.Events(ctx, "source:watchdog service:"+a.opts.Service, now.Add(-windows*window), now, mostStories)
	if err != nil {
		return []Story{}, err
	}
	out := make([]Story, 0, len(events))
	for _, e := range events {
		out = append(out, Story{e.At, e.Title, e.Text, e.Tag("story_key"), e.Tag("story_category")})
	}
	return out, nil
}

// verifications are those of the newest remediations that aim at a measure.
func (a *Analyst) verifications(ctx context.Context, now time.Time) ([]Verification, error) {
	overrides, err := a.opts.Overrides.Overrides(ctx)
	if err != nil {
		return []Verification{}, err
	}
	overrides = slices.DeleteFunc(slices.Clone(overrides), func(o control.Override) bool { _, ok := aim(o); return !ok })
	slices.SortStableFunc(overrides, func(x, y control.Override) int { return cmp.Or(y.Start.Compare(x.Start), cmp.Compare(x.ID, y.ID)) })
	overrides = overrides[:min(len(overrides), mostRemediations)]
	out := make([]Verification, len(overrides))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, o := range overrides {
		g.Go(func() (err error) { out[i], err = a.verify(ctx, o, now); return err })
	}
	if err := g.Wait(); err != nil {
		return []Verification{}, err
	}
	return out, nil
}
