package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake"
	"github.com/llm-reliability/control-plane/infra/local/fault"
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
	Faults  Faults
	// Document is what questions are asked about: some pages of prose.
	Document string
	// Emit gets each line of the timeline as it happens; it is called by one goroutine at a time.
	Emit func(Line)
	// Reached gets each phase of a scenario as it is reached, as Emit does; nil for nobody.
	Reached func(Phase)
	// Traffic is what runs already; nil has each scenario drive its own.
	Traffic *Traffic
}

// Faults make the models misbehave.
type Faults interface {
	Set(what fault.Fault)
	Clear()
}

// Phase is a point that a scenario reached: traffic, fault, alert, workflow, override, cleared, recovered, reverted, in this
// order. A scenario without a workflow or an override has an incident in the place of override, and its end in that of reverted.
type Phase struct {
	Name string `json:"name"`
	// At is the stand-in's time, Wall that of the process.
	At   time.Time `json:"at"`
	Wall time.Time `json:"wall"`
	Text string    `json:"text,omitempty"`
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
	// Override is the one that the workflow made; nil where the remedy is a person.
	Override *control.Override `json:"override,omitempty"`
	// Phases are those that were reached.
	Phases []Phase `json:"phases"`
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
	alertAt time.Time
	outcome Outcome
	// told is how much of the stand-in's timeline was told already, heard how much of it the waits have passed.
	told, heard int
}

// The bounds of waiting, in the stand-in's time.
const (
	// patience is how long a transition or a workflow may take.
	patience = 40 * time.Minute
	// look is the time between two looks at the timeline.
	look = 5 * time.Second
	// under is how long a failure goes on under the override, so that the remedy is seen at work: less than the window of any
	// monitor, which would recover otherwise, and end the override.
	under = 2 * time.Minute
	// people is how long a failure lasts that no override remedies, once people were called.
	people = 4 * time.Minute
)

func (p *play) run(ctx context.Context) (err error) {
	traffic := p.Traffic
	if traffic == nil {
		traffic = NewTraffic(p.Options)
		within, cancel := context.WithCancel(ctx)
		var driving sync.WaitGroup
		driving.Go(func() { traffic.Run(within) })
		defer driving.Wait()
		defer cancel()
	}
	defer p.Faults.Clear()
	defer traffic.healthy()

	if err := p.settle(ctx, traffic); err != nil {
		return err
	}
	if err := p.fail(ctx, traffic); err != nil {
		return err
	}
	if err := p.close(ctx); err != nil {
		return err
	}
	return p.revert(ctx, traffic)
}

// settle waits for what the monitor needs to know of healthy traffic.
func (p *play) settle(ctx context.Context, traffic *Traffic) (err error) {
	p.reach("traffic", p.say("baseline", fmt.Sprintf("healthy traffic for %v", p.baseline)), "healthy traffic, so that the monitor knows what is usual")
	if rest := p.baseline - traffic.lasted(); rest > 0 {
		if err := p.Clock.Wait(ctx, rest); err != nil {
			return err
		}
	}
	if p.outcome.Before, err = p.client.call(ctx, p.probe(false)); err != nil {
		return fmt.Errorf("before the fault: %w", err)
	}
	p.say("answer", "before: "+p.outcome.Before.String())
	for _, e := range p.news() {
		p.heard++
		if p.transition(e) && e.To != "OK" {
			return fmt.Errorf("the monitor %s changed its state in healthy traffic: %s", p.monitor, e.Text)
		}
	}
	return p.calm(ctx)
}

// calm waits until the monitor has no alert of an earlier time.
func (p *play) calm(ctx context.Context) error {
	for until := p.Clock.Now().Add(patience); p.Clock.Now().Before(until); {
		loud := slices.ContainsFunc(p.Datadog.Monitors(), func(m ddfake.MonitorState) bool {
			return m.Name == p.monitor && m.Statuses[p.group] == "Alert"
		})
		if !loud {
			return nil
		}
		if err := p.Clock.Wait(ctx, look); err != nil {
			return err
		}
	}
	return fmt.Errorf("the monitor %s still alerts, before anything was done", p.monitor)
}

// fail begins the fault, and follows it to the alert.
func (p *play) fail(ctx context.Context, traffic *Traffic) (err error) {
	faultAt := p.say("fault", p.title)
	p.reach("fault", faultAt, p.title)
	traffic.faulty(&p.scenario)
	p.Faults.Set(p.fault)
	if p.outcome.During, err = p.client.call(ctx, p.probe(true)); err != nil && !p.refused(err) {
		return fmt.Errorf("under the fault: %w", err)
	}
	if err != nil {
		p.outcome.During.Text = err.Error()
		p.say("answer", "during: "+err.Error())
	} else {
		p.say("answer", "during: "+p.outcome.During.String())
	}
	alert, err := p.await(ctx, func(e ddfake.Entry) bool {
		return p.transition(e) && e.To == "Alert"
	}, "alert of "+p.monitor)
	if err != nil {
		return err
	}
	p.alertAt = alert.At
	p.outcome.Detected = alert.At.Sub(faultAt)
	p.reachEntry("alert", alert, p.verdict(alert))
	return nil
}

// close follows the remedy: the workflow with its override, or the incident and the page, where people are the remedy.
func (p *play) close(ctx context.Context) (err error) {
	if p.workflow != "" {
		done, err := p.awaitWorkflow(ctx)
		if err != nil {
			return err
		}
		p.outcome.Remedied = done.At.Sub(p.alertAt)
		p.reachEntry("workflow", done, done.Text)
	}
	if p.action == "" {
		page, err := p.seen(ctx, ddfake.KindPage, p.alertAt)
		if err != nil {
			return err
		}
		incident, err := p.seen(ctx, ddfake.KindIncident, p.alertAt)
		if err != nil {
			return err
		}
		if p.workflow == "" {
			p.outcome.Remedied = page.At.Sub(p.alertAt)
		}
		p.reachEntry("override", incident, "incident "+incident.Text+"; page for "+page.Text)
		p.outcome.Closed = true
		// People take their time, too.
		return p.Clock.Wait(ctx, people)
	}
	if p.outcome.Override, err = p.override(ctx, func(o control.Override) bool { return o.Action == p.action && o.Active(time.Now()) }); err != nil {
		return err
	}
	o := p.outcome.Override
	p.reach("override", p.Clock.Standing(o.Start), fmt.Sprintf("%s, for %s at most", does(*o), strings.TrimSuffix(o.End.Sub(o.Start).Round(time.Second).String(), "0s")))
	if p.outcome.Under, err = p.sampleUnder(ctx); err != nil {
		return err
	}
	p.say("answer", "under the override: "+p.outcome.Under.String())
	p.outcome.Closed = true
	return p.Clock.Wait(ctx, under)
}

// revert ends the fault, and follows the way back to where all began.
func (p *play) revert(ctx context.Context, traffic *Traffic) (err error) {
	clearAt := p.say("fault", "the fault ends")
	p.reach("cleared", clearAt, "the fault ends")
	traffic.healthy()
	p.Faults.Clear()
	recovery, err := p.await(ctx, func(e ddfake.Entry) bool {
		return p.transition(e) && e.To == "OK"
	}, "recovery of "+p.monitor)
	if err != nil {
		return err
	}
	p.outcome.Recovered = max(0, recovery.At.Sub(clearAt))
	p.reachEntry("recovered", recovery, p.verdict(recovery))
	var done ddfake.Entry
	if p.workflow != "" {
		done, err = p.awaitWorkflow(ctx)
	} else {
		done, err = p.seen(ctx, ddfake.KindPageResolved, recovery.At)
	}
	if err != nil {
		return err
	}
	p.outcome.Ended = done.At.Sub(recovery.At)
	if err := p.restored(ctx, recovery.At); err != nil {
		return err
	}
	p.outcome.Reverted = true
	p.say("closed", fmt.Sprintf("detected after %v, remedied %v later, recovered %v after the fault ended, reverted %v later",
		round(p.outcome.Detected), round(p.outcome.Remedied), round(p.outcome.Recovered), round(p.outcome.Ended)))
	return nil
}

// restored makes sure that all is as it was before.
func (p *play) restored(ctx context.Context, since time.Time) (err error) {
	if p.action == "" {
		resolved, err := p.seen(ctx, ddfake.KindPageResolved, since)
		if err != nil {
			return err
		}
		p.reachEntry("reverted", resolved, "the page is resolved: "+resolved.Text)
		if p.outcome.After, err = p.client.call(ctx, p.probe(false)); err != nil {
			return fmt.Errorf("after the fault: %w", err)
		}
	} else {
		id := p.outcome.Override.ID
		ended, err := p.override(ctx, func(o control.Override) bool { return o.ID == id && o.Ended != nil && !o.Active(time.Now()) })
		if err != nil {
			return fmt.Errorf("the override was not ended: %w", err)
		}
		p.reach("reverted", p.Clock.Standing(ended.Ended.At), "the override ended: "+ended.Ended.Cause)
		if p.outcome.After, err = p.sampleUntil(ctx, p.probe(false), func(s sample) bool { return !slices.Contains(s.Overrides, id) }); err != nil {
			return err
		}
	}
	p.say("answer", "after: "+p.outcome.After.String())
	if got, want := p.outcome.After.Route, p.outcome.Before.Route; got != want {
		return fmt.Errorf("after the revert the route is %s, not %s", got, want)
	}
	return nil
}

// does says what the override of a scenario does.
func does(o control.Override) string {
	switch o.Action {
	case control.SwitchModel:
		return "the model " + o.Params.Model
	case control.EnableCache:
		return "repeats answered from the cache"
	}
	return string(o.Action)
}

// verdict says what a monitor saw.
func (p *play) verdict(e ddfake.Entry) string {
	text := p.monitor + ": " + e.To
	if p.group != "*" {
		text += " for " + strings.TrimPrefix(p.group, "function:")
	}
	value, okV := e.Detail["value"].(string)
	threshold, okT := e.Detail["threshold"].(string)
	if okV && okT && value != "NaN" && threshold != "NaN" {
		text += fmt.Sprintf(", %s where %s is the threshold", value, threshold)
	}
	return text
}

// reach records a phase.
func (p *play) reach(name string, at time.Time, text string) {
	p.reached(Phase{name, at, p.Clock.Wall(at), text})
}

// reachEntry records a phase at an entry of the timeline.
func (p *play) reachEntry(name string, e ddfake.Entry, text string) {
	p.reached(Phase{name, e.At, e.Wall, text})
}

func (p *play) reached(phase Phase) {
	p.outcome.Phases = append(p.outcome.Phases, phase)
	if p.Reached != nil {
		p.Reached(phase)
	}
}

// transition says whether an entry is a change of the scenario's monitor, in its group.
func (p *play) transition(e ddfake.Entry) bool {
	return e.Kind == ddfake.KindTransition && e.Monitor == p.monitor && e.Detail["group"] == p.group
}

func round(d time.Duration) time.Duration { return d.Round(time.Second) }

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

// seen waits for what the monitor brought about since a time, and may have passed already. Other groups of the monitor have theirs.
func (p *play) seen(ctx context.Context, kind string, since time.Time) (ddfake.Entry, error) {
	for until := p.Clock.Now().Add(patience); p.Clock.Now().Before(until); {
		p.news()
		timeline := p.Datadog.Timeline()
		i := slices.IndexFunc(timeline, func(e ddfake.Entry) bool { return e.Kind == kind && e.Monitor == p.monitor && !e.At.Before(since) })
		if i >= 0 {
			return timeline[i], nil
		}
		if err := p.Clock.Wait(ctx, look); err != nil {
			return ddfake.Entry{}, err
		}
	}
	return ddfake.Entry{}, fmt.Errorf("no %s of %s within %v", kind, p.monitor, patience)
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

// sampleUnder asks until the override is seen at work. A cache needs a first answer before it can repeat it, and who asks while
// that is being made waits for it.
func (p *play) sampleUnder(ctx context.Context) (sample, error) {
	id := p.outcome.Override.ID
	var wrong string
	s, err := p.sampleUntil(ctx, p.probe(true), func(s sample) bool {
		wrong = p.remedied(p.outcome.During, s)
		return slices.Contains(s.Overrides, id) && wrong == ""
	})
	if err != nil && wrong != "" {
		err = fmt.Errorf("the remedy does not work: %s: %w", wrong, err)
	}
	return s, err
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

func (p *play) say(kind, text string) time.Time {
	now := p.Clock.Now()
	p.Emit(Line{now, now.Sub(p.begin), p.name, kind, text})
	return now
}
