package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets/deploy"
	"github.com/llm-reliability/control-plane/infra/assets/settings"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// site says to which Datadog a command goes, and with what.
type site struct {
	folder
	Site     string `help:"Datadog site." env:"DD_SITE" default:"datadoghq.com"`
	API      string `name:"api" help:"URL of a stand-in for the site's API, such as that of lrcp up."`
	Settings string `help:"File with the settings and the URLs of the functions (YAML); see README." type:"existingfile" env:"LRCP_SETTINGS"`
	State    string `help:"File with the identifiers that Datadog gave; .lrcp/assets-<site>.json when not given."`
	Variant  string `help:"Where log archives are: s3 or gcs." default:"s3" enum:"s3,gcs" env:"LRCP_ARCHIVE_STORE"`
	Parallel int    `help:"How many objects are read or made at a time." default:"8"`
	JSON     bool   `name:"json" help:"Everything as JSON."`
}

// deployer connects a deployer whose values are those of the settings.
func (s *site) deployer(progress func(deploy.Event)) (*deploy.Deployer, error) {
	values, err := settings.Load(s.Settings, os.Getenv)
	if err != nil {
		return nil, err
	}
	return s.connect(values.Lookup, progress)
}

// connect connects a deployer. The keys are DD_API_KEY and DD_APP_KEY.
func (s *site) connect(values func(kind, name string) (string, bool), progress func(deploy.Event)) (*deploy.Deployer, error) {
	loaded, err := s.load(s.Variant)
	if err != nil {
		return nil, err
	}
	if missing := missingKeys(); len(missing) > 0 {
		return nil, fmt.Errorf("set %s", strings.Join(missing, " and "))
	}
	client, err := ddapi.New(ddapi.Options{
		Site: s.Site, APIKey: os.Getenv("DD_API_KEY"), AppKey: os.Getenv("DD_APP_KEY"), BaseURL: s.API, UserAgent: "lrcp",
	})
	if err != nil {
		return nil, err
	}
	name := s.name()
	state, err := deploy.OpenState(statePath(s.State, name), name)
	if err != nil {
		return nil, err
	}
	return deploy.New(deploy.Options{
		Client: client, State: state, Site: name, Assets: loaded, Values: values, Parallel: s.Parallel, Progress: progress,
	})
}

// name is what the site is called in plans and in the state.
func (s *site) name() string {
	if s.API != "" {
		return strings.NewReplacer("://", "-", ":", "-", "/", "-").Replace(s.API)
	}
	return s.Site
}

// missingKeys are the variables with Datadog's keys that are not set.
func missingKeys() (missing []string) {
	for _, name := range []string{"DD_API_KEY", "DD_APP_KEY"} {
		if os.Getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	return missing
}

// text is what can be shown to people.
type text interface{ Text() string }

func (s *site) show(out io.Writer, what text) error {
	if s.JSON {
		if err := json.NewEncoder(out).Encode(what); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	_, err := io.WriteString(out, what.Text())
	return err
}

// planCommand shows what apply would do.
type planCommand struct{ site }

// Run implements the command.
func (c *planCommand) Run(ctx context.Context, out io.Writer) error {
	return c.look(out, func(d *deploy.Deployer) (difference, error) { return d.Plan(ctx) })
}

// difference is what may be empty.
type difference interface {
	text
	Empty() bool
}

// look shows a difference, and ends with the status that says whether there is one.
func (s *site) look(out io.Writer, find func(*deploy.Deployer) (difference, error)) error {
	d, err := s.deployer(nil)
	if err != nil {
		return err
	}
	found, err := find(d)
	if err != nil {
		return err
	}
	if err := s.show(out, found); err != nil {
		return err
	}
	if !found.Empty() {
		return statusPending
	}
	return nil
}

// applyCommand makes the assets what the files say.
type applyCommand struct {
	site
	Yes bool `short:"y" help:"Do not ask."`
}

// Run implements the command.
func (c *applyCommand) Run(ctx context.Context, out io.Writer) error {
	return c.carryOut(ctx, out, c.Yes, (*deploy.Deployer).Plan)
}

// destroyCommand deletes what is ours.
type destroyCommand struct {
	site
	Yes bool `short:"y" help:"Do not ask."`
}

// Run implements the command.
func (c *destroyCommand) Run(ctx context.Context, out io.Writer) error {
	return c.carryOut(ctx, out, c.Yes, (*deploy.Deployer).PlanDestroy)
}

// carryOut shows a plan, asks, and does it.
func (s *site) carryOut(ctx context.Context, out io.Writer, yes bool, plans func(*deploy.Deployer, context.Context) (deploy.Plan, error)) error {
	tell := progress(out)
	if s.JSON {
		tell = nil
	}
	d, err := s.deployer(tell)
	if err != nil {
		return err
	}
	plan, err := plans(d, ctx)
	if err != nil {
		return err
	}
	if err := s.show(out, plan); err != nil {
		return err
	}
	if plan.Empty() {
		// Nothing changes at Datadog, but the state learns what was found by its mark.
		_, err := d.Apply(ctx, plan)
		return err
	}
	if !yes {
		if err := confirm(ctx, out, os.Stdin); err != nil {
			return err
		}
	}
	result, err := d.Apply(ctx, plan)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.show(out, result)
	}
	for _, left := range slices.Sorted(slices.Values(result.Left)) {
		fmt.Fprintf(out, "left: %s\n", left)
	}
	fmt.Fprintf(out, "%s: %d steps done.\n", result.Site, len(result.Done))
	return nil
}

// confirm asks a person.
func confirm(ctx context.Context, out io.Writer, in io.Reader) error {
	fmt.Fprint(out, "Go on? [y/N] ")
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	// Who interrupts leaves this one waiting for the terminal, until the program ends right after. It only reads.
	go func() {
		text, err := bufio.NewReader(in).ReadString('\n')
		read <- line{text, err}
	}()
	var answer line
	select {
	case answer = <-read:
	case <-ctx.Done():
		fmt.Fprintln(out)
		return context.Cause(ctx)
	}
	switch {
	case errors.Is(answer.err, io.EOF):
		fmt.Fprintln(out)
		return errors.New("there is nobody to ask: say --yes to go on")
	case answer.err != nil:
		return fmt.Errorf("read the answer: %w", answer.err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer.text)); a != "y" && a != "yes" {
		return errors.New("not done")
	}
	return nil
}

// progress tells of each step as it ends: over one line on a terminal, but for failures, and line by line elsewhere.
func progress(out io.Writer) func(deploy.Event) {
	file, ok := out.(*os.File)
	onTerminal := ok && terminal(file)
	return func(e deploy.Event) {
		switch {
		case !e.Ended:
		case e.Error != "":
			fmt.Fprintf(out, "%s%s %s: %s\n", cmp.Or(map[bool]string{true: "\r\x1b[K"}[onTerminal], ""), e.Step.Action, e.Step.Name(), e.Error)
		case onTerminal:
			fmt.Fprintf(out, "\r\x1b[K%d/%d %s %s", e.Done, e.Total, e.Step.Action, e.Step.Name())
			if e.Done == e.Total {
				fmt.Fprintln(out)
			}
		default:
			fmt.Fprintf(out, "%d/%d %s %s\n", e.Done, e.Total, e.Step.Action, e.Step.Name())
		}
	}
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// driftCommand shows what was changed at Datadog.
type driftCommand struct{ site }

// Run implements the command.
func (c *driftCommand) Run(ctx context.Context, out io.Writer) error {
	return c.look(out, func(d *deploy.Deployer) (difference, error) { return d.Drift(ctx) })
}

// importCommand adopts what exists.
type importCommand struct {
	site
	Targets []string `arg:"" help:"<kind>/<key>, with =<identifier> where the name does not tell it: monitor/error-burst, connection/remediation=<uuid>."`
}

// Run implements the command.
func (c *importCommand) Run(ctx context.Context, out io.Writer) error {
	var targets []deploy.Target
	var problems []error
	for _, text := range c.Targets {
		t, err := deploy.ParseTarget(text)
		problems = append(problems, err)
		targets = append(targets, t)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	d, err := c.deployer(nil)
	if err != nil {
		return err
	}
	if err := d.Import(ctx, targets); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d assets are ours now; the next apply makes them as the files say.\n", len(targets))
	return nil
}
