package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	controlplane "github.com/llm-reliability/control-plane"
	"github.com/llm-reliability/control-plane/infra/local"
	"github.com/llm-reliability/control-plane/infra/local/demo"
)

// demoCommand plays the failures.
type demoCommand struct {
	Speed    float64  `help:"How many times faster than the wall clock the stand-in's clock runs." default:"250"`
	JSON     bool     `name:"json" help:"One JSON document a line: the timeline, then the result."`
	Scenario []string `help:"Play only these: cost, latency, quality."`
}

// Run implements the command. Its error is a status when a loop did not close and revert.
func (c *demoCommand) Run(ctx context.Context, out io.Writer) (err error) {
	names, err := c.names()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lrcp-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the control state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	begin := time.Now()
	stack, err := local.Start(ctx, local.Options{Listen: "127.0.0.1:0", DatadogListen: "127.0.0.1:0", StateDir: dir, Speed: c.Speed})
	if err != nil {
		return err
	}
	p := &printer{out: out, json: c.JSON}
	if !c.JSON {
		fmt.Fprintf(out, "real SDKs over sockets, the stand-in's clock %g times faster; its page: %s\n", c.Speed, stack.DatadogURL)
	}
	outcomes := demo.Play(ctx, demo.Options{
		HTTP: &http.Client{Timeout: time.Minute}, URL: stack.URL, APIKey: stack.APIKey, ControlSecret: stack.ControlSecret,
		Datadog: stack.Datadog, Clock: stack.Clock, Faults: stack.Faults, Document: controlplane.License(), Emit: p.line,
	}, names...)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := stack.Close(closing); err != nil {
		return err
	}
	if !p.result(outcomes, len(names), time.Since(begin)) {
		return statusFailed
	}
	return nil
}

func (c *demoCommand) names() ([]string, error) {
	if len(c.Scenario) == 0 {
		return demo.Names(), nil
	}
	known := map[string]bool{}
	for _, n := range demo.Names() {
		known[n] = true
	}
	for _, n := range c.Scenario {
		if !known[n] {
			return nil, fmt.Errorf("there is no scenario %q; there are %v", n, demo.Names())
		}
	}
	return c.Scenario, nil
}

// printer writes the timeline, in plain lines or as JSON.
type printer struct {
	out      io.Writer
	json     bool
	scenario string
}

func (p *printer) line(l demo.Line) {
	if p.json {
		p.encode(map[string]any{"line": l})
		return
	}
	if l.Scenario != p.scenario {
		p.scenario = l.Scenario
		fmt.Fprintf(p.out, "\n%s\n", l.Scenario)
	}
	fmt.Fprintf(p.out, "  %8s  %-18s %s\n", l.Elapsed.Round(time.Second), l.Kind, l.Text)
}

// result tells how each loop went, and returns whether all closed and reverted.
func (p *printer) result(outcomes []demo.Outcome, wanted int, wall time.Duration) bool {
	ok := len(outcomes) == wanted
	for _, o := range outcomes {
		ok = ok && o.Closed && o.Reverted
	}
	if p.json {
		p.encode(map[string]any{"ok": ok, "wall_seconds": wall.Seconds(), "outcomes": outcomes})
		return ok
	}
	fmt.Fprintln(p.out)
	for _, o := range outcomes {
		state := "closed and reverted"
		switch {
		case !o.Closed:
			state = "NOT CLOSED: " + o.Failure
		case !o.Reverted:
			state = "NOT REVERTED: " + o.Failure
		}
		fmt.Fprintf(p.out, "%-8s %s\n", o.Scenario, state)
	}
	fmt.Fprintf(p.out, "%d of %d loops closed and reverted, in %.1f s\n", count(outcomes), wanted, wall.Seconds())
	return ok
}

func count(outcomes []demo.Outcome) (n int) {
	for _, o := range outcomes {
		if o.Closed && o.Reverted {
			n++
		}
	}
	return n
}

func (p *printer) encode(v any) {
	// Plain structs always encode; a closed standard output has nobody to tell.
	_ = json.NewEncoder(p.out).Encode(v)
}
