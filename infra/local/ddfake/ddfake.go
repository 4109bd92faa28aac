// Package ddfake is the local stand-in for Datadog: telemetry comes in over the real wire formats, the real monitors are
// evaluated on it, and their messages reach workflows and people. This package is the glue between its parts: the clock,
// the round of evaluation, the timeline of what happened, and pages to look at it.
//
//	what              as Datadog                                    differs here
//	evaluation        every 60 s                                    of the stand-in's time, all monitors at once
//	messages          rendered once per group and transition        no aggregation of groups into one notification
//	mentions          workflow, on-call, incident, Slack, …         nothing leaves the process: deliveries are recorded;
//	                                                                a workflow that does not exist is a delivery failure
//	workflows         published, with a monitor trigger             at most 16 at a time
//	run IDs           UUIDs                                         the same on every run
//	logs              pipelines, then the scanner                   the pipelines in the order in which they came, unless an
//	                                                                order was given; metrics are made of processed logs
//	Synthetics        from each location                            one run stands for all
//	retention         months                                        bounded memory; the timeline is kept whole
//
// Telemetry intake is in the subpackage intake; monitors, SLOs and metrics are judged by the subpackages of their names.
package ddfake

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/synthetics"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/workflow"
)

// round is the time between two evaluations, as at Datadog.
const round = time.Minute

// maxRuns is how many workflows run at the same time; more wait.
const maxRuns = 16

// Options are the dependencies of a Datadog.
type Options struct {
	// Clock is required.
	Clock *Clock
	// HTTP is how workflows reach the functions; required.
	HTTP *http.Client
	// Send is how Synthetics tests reach the functions; by HTTP, and timed, when nil.
	Send synthetics.Send
	// Profile is how the intake behaves; the Lambda extension when empty.
	Profile intake.Profile
}

// Datadog is the stand-in. It is safe for concurrent use.
type Datadog struct {
	opts    Options
	metrics *metric.Store
	intake  *intake.Intake
	slots   chan struct{}
	runs    sync.WaitGroup
	// evaluating lets one round run at a time.
	evaluating sync.Mutex

	mu       sync.Mutex
	slos     map[string]*slo.SLO
	monitors map[int64]*watched
	// workflows and connections are kept by ID; recent are the latest starts of each workflow.
	workflows   map[string]*workflow.Workflow
	connections map[string]*workflow.Connection
	recent      map[string][]time.Time
	logs        logs
	checks      checks
	timeline    []Entry
	// started counts the runs, for their identifiers.
	started int
	// incidents are in the order of their numbers, from 1; pages are the titles of those that workflows sent, by ID.
	incidents []*incident
	pages     map[string]string
	// answered are the states of the incidents and pages that came over the API, by ID.
	answered map[string]string
}

// watched is a monitor with what it remembers.
type watched struct {
	*monitor.Monitor
	state monitor.State
}

// New checks the options and returns a stand-in without assets.
func New(opts Options) (*Datadog, error) {
	if opts.Clock == nil || opts.HTTP == nil {
		return nil, errors.New("ddfake: Clock and HTTP are required")
	}
	if opts.Send == nil {
		opts.Send = timed(opts.HTTP)
	}
	d := &Datadog{
		opts: opts, slots: make(chan struct{}, maxRuns), slos: map[string]*slo.SLO{}, monitors: map[int64]*watched{},
		workflows: map[string]*workflow.Workflow{}, connections: map[string]*workflow.Connection{}, recent: map[string][]time.Time{}, pages: map[string]string{}, answered: map[string]string{},
		logs: newLogs(), checks: newChecks(),
	}
	var err error
	if d.metrics, err = metric.New(metric.Options{}); err != nil {
		return nil, fmt.Errorf("make metric store: %w", err)
	}
	d.intake, err = intake.New(intake.Options{Metrics: d.metrics, Now: opts.Clock.Now, Profile: opts.Profile, OnEvent: func(e intake.Event) {
		d.record(Entry{Kind: KindEvent, Text: e.Title, Detail: map[string]any{"text": e.Text, "type": e.Alert, "tags": e.Tags}})
	}, OnLog: d.log})
	if err != nil {
		return nil, fmt.Errorf("make intake: %w", err)
	}
	return d, nil
}

// Metrics returns the metrics that came in.
func (d *Datadog) Metrics() *metric.Store { return d.metrics }

// Intake returns where telemetry goes in.
func (d *Datadog) Intake() *intake.Intake { return d.intake }

// uuid derives an identifier, so that it is the same on every run.
func uuid(kind, key string) string {
	b := sha256.Sum256([]byte(kind + "/" + key))
	// Version 8 of RFC 9562: the content is up to the maker.
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// data is what monitors look at.
type data struct {
	*metric.Store
	slos map[string]*slo.SLO
	of   *Datadog
}

func (d data) SLO(id string) (*slo.SLO, bool) { s, ok := d.slos[id]; return s, ok }

func (d *Datadog) data() data {
	d.mu.Lock()
	defer d.mu.Unlock()
	return data{d.metrics, maps.Clone(d.slos), d}
}

// Evaluate judges every monitor at the clock's time, and delivers what changed. The workflows that it starts run on
// until they are done or ctx ends; see Wait.
func (d *Datadog) Evaluate(ctx context.Context) {
	d.evaluating.Lock()
	defer d.evaluating.Unlock()
	now, data := d.opts.Clock.Now(), d.data()
	for _, w := range compositesLast(d.watched()) {
		state, transitions := w.Evaluate(data, w.state, now)
		d.mu.Lock()
		w.state = state
		d.mu.Unlock()
		for _, t := range transitions {
			d.deliver(ctx, w.Monitor, t)
		}
	}
	d.startChecks(ctx, now)
}

// watched returns the monitors in the order of their names.
func (d *Datadog) watched() []*watched {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.monitors), func(a, b *watched) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}

// Wait waits for the workflows and Synthetics tests that were started.
func (d *Datadog) Wait() { d.runs.Wait() }

// Run evaluates once a minute of the stand-in's time until ctx ends, and then waits for what it started.
func (d *Datadog) Run(ctx context.Context) {
	defer d.Wait()
	for d.opts.Clock.Wait(ctx, round) == nil {
		d.Evaluate(ctx)
	}
}

// deliver records a transition and follows the mentions of its message.
func (d *Datadog) deliver(ctx context.Context, m *monitor.Monitor, t monitor.Transition) {
	d.record(Entry{
		Kind: KindTransition, Monitor: m.Name, From: string(t.From), To: string(t.To), Text: m.Title(t, d.opts.Clock.Wall),
		Detail: map[string]any{"group": t.Group, "transition": string(t.Kind), "value": fmt.Sprintf("%.4g", t.Value), "threshold": fmt.Sprintf("%.4g", t.Threshold)},
	})
	from := source{name: m.Name, id: m.ID, transition: string(t.Kind)}
	d.mention(ctx, from, m.Message(t, d.opts.Clock.Wall))
}

// source is what sends a message: a monitor, or the monitor of a Synthetics test.
type source struct {
	name       string
	id         int64
	transition string
}

// mention follows the mentions of a message. Workflows are started when all the rest is recorded, the mentions of workflows that can't
// start too, so that the timeline has one order.
func (d *Datadog) mention(ctx context.Context, from source, message string) {
	var starts []func()
	for _, mention := range monitor.Mentions(message) {
		e := Entry{Monitor: from.name, Text: mention.Handle, Detail: map[string]any{"transition": from.transition, "to": string(mention.Kind)}}
		switch mention.Kind {
		case monitor.MentionWorkflow:
			starts = append(starts, d.ready(ctx, mention.Handle, trigger{from, mention.Params}))
			continue
		case monitor.MentionOnCall:
			e.Kind = KindPage
			if from.transition == string(monitor.KindRecovery) || from.transition == string(synthetics.Recovered) {
				e.Kind = KindPageResolved
			}
		case monitor.MentionIncident:
			e.Kind = KindIncident
		case monitor.MentionUnknown:
			e.Kind, e.Text = KindDeliveryFailure, fmt.Sprintf("@%s reaches nobody", mention.Handle)
		default:
			e.Kind = KindNotification
		}
		d.record(e)
	}
	for _, start := range starts {
		start()
	}
}
