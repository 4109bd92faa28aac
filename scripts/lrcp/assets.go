package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/check"
	"github.com/llm-reliability/control-plane/infra/assets/schema"
	"github.com/llm-reliability/control-plane/infra/local/scenario"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// assetsCommand are the verbs about the Datadog assets.
type assetsCommand struct {
	Validate validateCommand `cmd:"" help:"Check form and meaning of every asset, offline."`
	Test     testCommand     `cmd:"" help:"Execute the tests of the assets: telemetry in, states, calls and pages out."`
	Plan     planCommand     `cmd:"" help:"Show what apply would do. Status 2 when there is something to do."`
	Apply    applyCommand    `cmd:"" help:"Make the assets at Datadog what the files say."`
	Destroy  destroyCommand  `cmd:"" help:"Delete what is ours at Datadog, and nothing else."`
	Drift    driftCommand    `cmd:"" help:"Show what was changed at Datadog since it was applied. Status 2 when something was."`
	Import   importCommand   `cmd:"" help:"Adopt assets that exist at Datadog already, by name or by identifier."`
}

// exitStatus is the error that ends the program with a status after everything was said.
type exitStatus int

// Error implements error.
func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// The statuses of the assets commands: what is wanted is there, an error, and there is something to do.
const (
	statusFailed  exitStatus = 1
	statusPending exitStatus = 2
)

// folder is where the assets are.
type folder struct {
	Dir string `help:"Folder of the assets; those that lrcp was built with when not given." type:"existingdir"`
}

func (f folder) fs() fs.FS {
	if f.Dir == "" {
		return datadog.FS
	}
	return os.DirFS(f.Dir)
}

// load returns the assets, those of the metric catalogue included, in the chosen variant.
func (f folder) load(variant string) ([]assets.Asset, error) {
	loaded, err := assets.Load(f.fs())
	if err != nil {
		return nil, err
	}
	return assets.Select(append(assets.Metrics(telemetry.Catalogue()), loaded...), variant)
}

// validateCommand checks the assets.
type validateCommand struct {
	folder
	OpenAPI string `name:"openapi" help:"Folder with v1/openapi.yaml and v2/openapi.yaml of Datadog's API client; found through go when not given." type:"existingdir"`
	JSON    bool   `name:"json" help:"The report as JSON."`
}

// Run implements the command.
func (c *validateCommand) Run(ctx context.Context, out io.Writer) error {
	description, err := schema.Load(ctx, schema.Options{Dir: c.OpenAPI})
	if err != nil {
		return err
	}
	report, err := check.Run(ctx, check.Options{FS: c.fs(), Description: description})
	if err != nil {
		return err
	}
	write := report.WriteText
	if c.JSON {
		write = report.WriteJSON
	}
	if err := write(out); err != nil {
		return err
	}
	if !report.OK() {
		return statusFailed
	}
	return nil
}

// testCommand executes the tests of the assets.
type testCommand struct {
	folder
	Only    string `name:"run" help:"Only cases whose file and name match this regular expression."`
	Variant string `help:"Form of assets that have several." default:"s3"`
	JSON    bool   `name:"json" help:"One JSON document a case."`
	Verbose bool   `short:"v" help:"Name the cases that pass too."`
}

// Run implements the command.
func (c *testCommand) Run(ctx context.Context, out io.Writer) error {
	loaded, err := c.load(c.Variant)
	if err != nil {
		return err
	}
	files, err := scenario.Load(c.fs())
	if err != nil {
		return err
	}
	pattern, err := regexp.Compile(c.Only)
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	results, err := scenario.Run(ctx, scenario.Options{
		Assets: loaded, Files: files, Select: func(file, name string) bool { return pattern.MatchString(file + ": " + name) },
	})
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return errors.New("no case matches")
	}
	failed := 0
	for _, r := range results {
		if len(r.Failures) > 0 {
			failed++
		}
		if c.JSON {
			if err := json.NewEncoder(out).Encode(r); err != nil {
				return fmt.Errorf("write result: %w", err)
			}
			continue
		}
		c.tell(out, r)
	}
	gaps := scenario.Gaps(files)
	if !c.JSON {
		for _, gap := range gaps {
			fmt.Fprintf(out, "GAP   %s\n", gap)
		}
		fmt.Fprintf(out, "%d cases passed, %d failed, %d gaps.\n", len(results)-failed, failed, len(gaps))
	}
	if failed+len(gaps) > 0 {
		return statusFailed
	}
	return nil
}

func (c *testCommand) tell(out io.Writer, r scenario.Result) {
	if len(r.Failures) == 0 {
		if c.Verbose {
			fmt.Fprintf(out, "ok    %s: %s (%d ms)\n", r.File, r.Name, r.Took.Milliseconds())
		}
		return
	}
	fmt.Fprintf(out, "FAIL  %s: %s\n", r.File, r.Name)
	for _, f := range r.Failures {
		fmt.Fprintf(out, "      %s\n", f)
	}
	if c.Verbose {
		for _, line := range r.Timeline {
			fmt.Fprintf(out, "        %s\n", line)
		}
	}
}

// statePath is where the state of a site is kept when nothing else is said.
func statePath(given, site string) string { return cmp.Or(given, ".lrcp/assets-"+site+".json") }
