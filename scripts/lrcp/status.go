package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/shared/control"
)

// statusCommand tells what the theater shows.
type statusCommand struct {
	URL    string `name:"url" help:"Address of the function theater, or of the local stack." default:"http://127.0.0.1:8080"`
	Secret string `help:"A control secret; lrcp up prints it." env:"LRCP_CONTROL_SECRET"`
	JSON   bool   `name:"json" help:"The whole state as JSON."`
}

// Run implements the command.
func (c *statusCommand) Run(ctx context.Context, out io.Writer) error {
	if c.Secret == "" {
		return errors.New("a control secret is needed: --secret, or LRCP_CONTROL_SECRET; lrcp up prints it")
	}
	data, err := c.read(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := out.Write(data)
		return err
	}
	var s theater.State
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("decode the state: %w", err)
	}
	fmt.Fprint(out, statusText(s, time.Now()))
	return nil
}

func (c *statusCommand) read(ctx context.Context) (data []byte, err error) {
	const patience, most = 15 * time.Second, 8 << 20
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+"/theater/state", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask for the state: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for the state: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	data, err = io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var problem struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal(data, &problem) == nil && problem.Detail != "" {
			return nil, fmt.Errorf("%s answers %d: %s", c.URL, resp.StatusCode, problem.Detail)
		}
		return nil, fmt.Errorf("%s answers %d, and is no theater", c.URL, resp.StatusCode)
	}
	return data, nil
}

// statusText says what is in force, what fired, and what it cost.
func statusText(s theater.State, now time.Time) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if s.Health != nil && s.Health.Score != nil {
		line("health    %.0f of 100%s", *s.Health.Score, weak(*s.Health))
	} else {
		line("health    not known")
	}
	if s.Cost != nil {
		line("cost      %.6f USD in %s", s.Cost.USD, s.Cost.Window)
	} else {
		line("cost      not known")
	}
	line("")
	line("in force")
	for _, o := range s.InForce {
		line("  %s, %s left: %s", theater.Effect(o), o.Until().Sub(now).Round(time.Second), theater.Reason(o.Source))
	}
	if len(s.InForce) == 0 {
		line("  nothing")
	}
	line("")
	line("fired")
	fired := 0
	for _, m := range s.Monitors {
		if m.Status == "Alert" || m.Status == "Warn" {
			line("  %s: %s%s", m.Name, m.Status, value(m))
			fired++
		}
	}
	for _, o := range s.History[:min(5, len(s.History))] {
		line("  %s  %s, held %s, %s: %s", o.Start.Local().Format(time.TimeOnly), theater.Effect(o), o.Until().Sub(o.Start).Round(time.Second), ending(o), theater.Reason(o.Source))
		fired++
	}
	if fired == 0 {
		line("  nothing")
	}
	if len(s.Unavailable) > 0 {
		line("")
		line("not readable now: %s", strings.Join(s.Unavailable, ", "))
	}
	return b.String()
}

// weak names the parts that pull the score down.
func weak(h theater.Health) string {
	const good = 80
	var names []string
	for name, p := range h.Parts {
		if p.Score < good {
			names = append(names, fmt.Sprintf("%s %.0f", name, p.Score))
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return ": " + strings.Join(names, ", ")
}

func value(m theater.Monitor) string {
	if m.Value == nil || m.Critical == nil {
		return ""
	}
	return fmt.Sprintf(", %g where %g is critical", *m.Value, *m.Critical)
}

func ending(o control.Override) string {
	if o.Ended == nil {
		return "ran out"
	}
	return o.Ended.Cause
}
