package ddfake

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/synthetics"
)

// checks are the Synthetics tests, and the values of global variables, both by id.
type checks struct {
	tests  map[string]*check
	values map[string]string
}

// check is a test with what it remembers.
type check struct {
	*synthetics.Test
	state   synthetics.State
	running bool
}

func newChecks() checks { return checks{tests: map[string]*check{}, values: map[string]string{}} }

// startChecks runs every test that is due, each in a goroutine of its own.
func (d *Datadog) startChecks(ctx context.Context, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(d.checks.tests)) {
		c := d.checks.tests[id]
		if c.running || !c.Due(c.state.Last, now) {
			continue
		}
		c.running = true
		values := maps.Clone(d.checks.values)
		d.background(ctx, func() { d.check(ctx, c, values, now) }, func(error) { d.endCheck(c, c.state) })
	}
}

// check runs a test, and sends its message when its state has changed.
func (d *Datadog) check(ctx context.Context, c *check, values map[string]string, now time.Time) {
	result := c.Run(ctx, d.opts.Send, values)
	if ctx.Err() != nil {
		d.endCheck(c, c.state) // the stand-in ends: that is no result
		return
	}
	state, transition := c.Next(c.state, result, now)
	d.endCheck(c, state)
	if transition == synthetics.None {
		return
	}
	name := "[Synthetics] " + c.Name
	d.record(Entry{
		Kind: KindTransition, Monitor: name, From: map[bool]string{true: "Alert", false: "OK"}[!state.Alerting], To: map[bool]string{true: "Alert", false: "OK"}[state.Alerting],
		Text:   fmt.Sprintf("[%s] %s", transition, c.Name),
		Detail: map[string]any{"group": "*", "transition": string(transition), "failures": strings.Join(result.Failures, "; ")},
	})
	d.mention(ctx, source{name: name, transition: string(transition)}, c.Message)
}

func (d *Datadog) endCheck(c *check, state synthetics.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.state, c.running = state, false
}

// timed sends requests, and measures in the process's time how long each answer took.
func timed(client *http.Client) synthetics.Send {
	return func(r *http.Request) (*http.Response, time.Duration, error) {
		begin := time.Now()
		resp, err := client.Do(r)
		return resp, time.Since(begin), err
	}
}

// CheckState is how a Synthetics test stands.
type CheckState struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Alerting bool              `json:"alerting"`
	Last     time.Time         `json:"last"`
	Result   synthetics.Result `json:"result"`
}

// Checks returns how every Synthetics test stands, in the order of their names.
func (d *Datadog) Checks() []CheckState {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]CheckState, 0, len(d.checks.tests))
	for id, c := range d.checks.tests {
		out = append(out, CheckState{ID: id, Name: c.Name, Alerting: c.state.Alerting, Last: c.state.Last, Result: c.state.Result})
	}
	slices.SortFunc(out, func(a, b CheckState) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID)) })
	return out
}
