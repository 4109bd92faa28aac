package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llm-reliability/control-plane/infra/local"
	"github.com/llm-reliability/control-plane/infra/local/ddfake"
	"github.com/llm-reliability/control-plane/shared/control"
)

// Options say what is played, and on which stack.
type Options struct {
	// HTTP reaches the functions at URL; APIKey and ControlSecret open them.
	HTTP                  *http.Client
	URL                   string
	APIKey, ControlSecret string
	// Datadog is the stand-in, Clock its clock, Faults the model that misbehaves.
	Datadog *ddfake.Datadog
	Clock   *ddfake.Clock
	Faults  local.Faults
	// Document is what questions are asked about: some pages of prose.
	Document string
	// Emit gets each line of the timeline as it happens; it is called by one goroutine at a time.
	Emit func(Line)
}

// Line is one line of the timeline.
type Line struct {
	// At is the stand-in's time, Elapsed how much of it has passed since the demo began.
	At       time.Time     `json:"at"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	Scenario string        `json:"scenario"`
	Kind     string        `json:"kind"`
	Text     string        `json:"text"`
}

// Outcome is how one loop went. The durations are in the stand-in's time.
type Outcome struct {
	Scenario string `json:"scenario"`
	Closed   bool   `json:"closed"`
	Reverted bool   `json:"reverted"`
	// Failure says why the loop did not close; empty when it did.
	Failure string `json:"failure,omitempty"`
	// Detected is the time from the fault to the monitor's alert, Remedied from there to the end of the workflow,
	// Recovered from the end of the fault to the monitor's recovery, Ended from there to the end of the override.
	Detected  time.Duration `json:"detected_ns"`
	Remedied  time.Duration `json:"remedied_ns"`
	Recovered time.Duration `json:"recovered_ns"`
	Ended     time.Duration `json:"ended_ns"`
	Before    sample        `json:"before"`
	During    sample        `json:"during"`
	Under     sample        `json:"under"`
	After     sample        `json:"after"`
	// Override is the one that the workflow made.
	Override *control.Override `json:"override,omitempty"`
}

// Names lists the scenarios in the order in which they are played.
func Names() []string {
	var names []string
	for _, s := range scenarios("") {
		names = append(names, s.name)
	}
	return names
}

// Play plays the named scenarios, one after the other, and returns how each went. It returns when the last is over or
// ctx ends; a scenario that fails does not keep the next from being played.
func Play(ctx context.Context, opts Options, names ...string) []Outcome {
	var outcomes []Outcome
	begin := opts.Clock.Now()
	for _, s := range scenarios(opts.Document) {
		if !slices.Contains(names, s.name) {
			continue
		}
		p := &play{
			Options: opts, scenario: s, begin: begin,
			client: client{opts.HTTP, opts.URL, opts.APIKey, opts.ControlSecret},
		}
		p.told = len(opts.Datadog.Timeline())
		p.heard = p.told
		p.outcome.Scenario = s.name
		if err := p.run(ctx); err != nil {
			p.outcome.Failure = err.Error()
			p.say("failed", err.Error())
		}
		outcomes = append(outcomes, p.outcome)
	}
	return outcomes
}

// play is one scenario under way.
type play struct {
	Options
	scenario
	client  client
	begin   time.Time
	faulty  atomic.Bool
	outcome Outcome
	// told is how much of the stand-in's timeline was told already, heard how much of it the waits have passed.
	told, heard int
}

// The bounds of waiting, in the stand-in's time.
const (
	// pace is the time between two requests of the traffic.
	pace = 10 * time.Second
	// patience is how long a transition or a workflow may take.
	patience = 40 * time.Minute
	// look is the time between two looks at the timeline.
	look = 5 * time.Second
)

func (p *play) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var traffic sync.WaitGroup
	traffic.Go(func() { p.drive(ctx) })
	defer traffic.Wait()
	defer cancel()
	defer p.Faults.Clear()

	p.say("baseline", fmt.Sprintf("healthy traffic for %v", p.baseline))
	if err := p.Clock.Wait(ctx, p.baseline); err != nil {
		return err
	}
	if p.outcome.Before, err = p.client.call(ctx, p.probe(false)); err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	p.say("answer", "before: "+p.outcome.Before.String())
	for _, e := range p.news() {
		p.heard++
		if p.transition(e) {
			return fmt.Errorf("the monitor %s changed its state in healthy traffic: %s", p.monitor, e.Text)
		}
	}

	p.say("fault", p.title)
	faultAt := p.Clock.Now()
	p.faulty.Store(true)
	p.Faults.Set(p.fault)
	if p.outcome.During, err = p.client.call(ctx, p.probe(true)); err != nil {
		return fmt.Errorf("under the fault: %w", err)
	}
	p.say("answer", "during: "+p.outcome.During.String())

	alert, err := p.await(ctx, func(e ddfake.Entry) bool {
		return p.transition(e) && e.To == "Alert"
	}, "alert of "+p.monitor)
	if err != nil {
		return err
	}
	p.outcome.Detected = alert.At.Sub(faultAt)
	done, err := p.awaitWorkflow(ctx)
	if err != nil {
		return err
	}
	p.outcome.Remedied = done.At.Sub(alert.At)
	if p.outcome.Override, err = p.override(ctx, func(o control.Override) bool { return o.Action == p.action && o.Active(time.Now()) }); err != nil {
		return err
	}
	if p.outcome.Under, err = p.sampleUnder(ctx); err != nil {
		return err
	}
	p.say("answer", "under the override: "+p.outcome.Under.String())
	if wrong := p.remedied(p.outcome.During, p.outcome.Under); wrong != "" {
		return fmt.Errorf("the remedy does not work: %s", wrong)
	}
	p.outcome.Closed = true

	p.say("fault", "the fault ends")
	clearAt := p.Clock.Now()
	p.faulty.Store(false)
	p.Faults.Clear()
	recovery, err := p.await(ctx, func(e ddfake.Entry) bool {
		return p.transition(e) && e.To == "OK"
	}, "recovery of "+p.monitor)
	if err != nil {
		return err
	}
	p.outcome.Recovered = max(0, recovery.At.Sub(clearAt))
	if done, err = p.awaitWorkflow(ctx); err != nil {
		return err
	}
	p.outcome.Ended = done.At.Sub(recovery.At)
	id := p.outcome.Override.ID
	if _, err := p.override(ctx, func(o control.Override) bool { return o.ID == id && o.Ended != nil && !o.Active(time.Now()) }); err != nil {
		return fmt.Errorf("the override was not ended: %w", err)
	}
	if p.outcome.After, err = p.sampleUntil(ctx, p.probe(false), func(s sample) bool { return !slices.Contains(s.Overrides, id) }); err != nil {
		return err
	}
	p.say("answer", "after: "+p.outcome.After.String())
	if got, want := p.outcome.After.Route, p.outcome.Before.Route; got != want {
		return fmt.Errorf("after the revert the route is %s, not %s", got, want)
	}
	p.outcome.Reverted = true
	p.say("closed", fmt.Sprintf("detected after %v, remedied %v later, recovered %v after the fault ended, reverted %v later",
		round(p.outcome.Detected), round(p.outcome.Remedied), round(p.outcome.Recovered), round(p.outcome.Ended)))
	return nil
}

// transition says whether an entry is a change of the scenario's monitor, in its group.
func (p *play) transition(e ddfake.Entry) bool {
	return e.Kind == ddfake.KindTransition && e.Monitor == p.monitor && e.Detail["group"] == p.group
}

func round(d time.Duration) time.Duration { return d.Round(time.Second) }

// drive sends traffic until ctx ends. Each request has a goroutine of its own, as users do not wait for each other.
func (p *play) drive(ctx context.Context) {
	const most = 256
	slots := make(chan struct{}, most)
	var requests sync.WaitGroup
	defer requests.Wait()
	for i := 0; p.Clock.Wait(ctx, pace) == nil; i++ {
		select {
		case slots <- struct{}{}:
		default:
			continue // users who find no free line go away
		}
		requests.Go(func() {
			defer func() { <-slots }()
			for _, r := range p.traffic(i, p.faulty.Load()) {
				// What goes wrong with single requests is what the monitors are there to notice.
				_, _ = p.client.call(ctx, r)
			}
		})
	}
}

// news tells what is new on the stand-in's timeline, and returns what no wait has passed yet.
func (p *play) news() []ddfake.Entry {
	timeline := p.Datadog.Timeline()
	for _, e := range timeline[p.told:] {
		p.Emit(Line{e.At, e.At.Sub(p.begin), p.name, e.Kind, e.Text})
	}
	p.told = len(timeline)
	return timeline[p.heard:]
}

// await follows the timeline up to the first entry that is wanted.
func (p *play) await(ctx context.Context, wanted func(ddfake.Entry) bool, what string) (ddfake.Entry, error) {
	for until := p.Clock.Now().Add(patience); p.Clock.Now().Before(until); {
		for _, e := range p.news() {
			p.heard++
			if wanted(e) {
				return e, nil
			}
		}
		if err := p.Clock.Wait(ctx, look); err != nil {
			return ddfake.Entry{}, err
		}
	}
	return ddfake.Entry{}, fmt.Errorf("no %s within %v", what, patience)
}

func (p *play) awaitWorkflow(ctx context.Context) (ddfake.Entry, error) {
	e, err := p.await(ctx, func(e ddfake.Entry) bool {
		return e.Kind == ddfake.KindWorkflowFinished && e.Workflow == p.workflow
	}, "end of the workflow "+p.workflow)
	if err == nil && e.Status != "success" {
		err = fmt.Errorf("the workflow %s ended as %s: %s", p.workflow, e.Status, e.Text)
	}
	return e, err
}

// override returns the newest override of the history that is wanted.
func (p *play) override(ctx context.Context, wanted func(control.Override) bool) (*control.Override, error) {
	history, err := p.client.overrides(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(history, wanted)
	if i < 0 {
		return nil, fmt.Errorf("the control state holds no such override: %+v", history)
	}
	return &history[i], nil
}

// sampleUnder asks until the override is seen at work. A cache needs a first answer before it can repeat it.
func (p *play) sampleUnder(ctx context.Context) (sample, error) {
	id := p.outcome.Override.ID
	return p.sampleUntil(ctx, p.probe(true), func(s sample) bool {
		return slices.Contains(s.Overrides, id) && (p.action != control.EnableCache || s.Cached)
	})
}

// sampleUntil asks until the answer is wanted, at most for the time that an override needs to reach every instance.
func (p *play) sampleUntil(ctx context.Context, r request, wanted func(sample) bool) (s sample, err error) {
	const within = 10 * time.Second
	for until := time.Now().Add(within); time.Now().Before(until); {
		if s, err = p.client.call(ctx, r); err != nil {
			return s, err
		}
		if wanted(s) {
			return s, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
	return s, fmt.Errorf("the state is not seen by requests after %v: %s", within, s)
}

func (p *play) say(kind, text string) {
	now := p.Clock.Now()
	p.Emit(Line{now, now.Sub(p.begin), p.name, kind, text})
}
