package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kong"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/assets/settings"
	"github.com/llm-reliability/control-plane/infra/cloudrun"
	"github.com/llm-reliability/control-plane/infra/deploy"
	"github.com/llm-reliability/control-plane/infra/lambda"
)

// deployCommand are the clouds that the functions run in.
type deployCommand struct {
	Lambda   lambdaCommand   `cmd:"" help:"AWS Lambda, by osls and the aws command."`
	CloudRun cloudRunCommand `cmd:"" name:"cloudrun" help:"Google Cloud Run, by the gcloud command."`
}

// lambdaCommand deploys to AWS Lambda.
type lambdaCommand struct{ deployment }

// Run implements the command.
func (c *lambdaCommand) Run(ctx context.Context, out io.Writer, parsed *kong.Context) error {
	return c.deploy(ctx, conversation{out: out, in: os.Stdin, again: parsed.Args}, settings.Lambda, func(d described) (deploy.Target, error) {
		credentials, err := federation(d.values["google_credentials"])
		if err != nil {
			return nil, err
		}
		d.values["site"], d.values["version"], d.values["google_credentials"] = c.Site, d.version, credentials
		return lambda.New(lambda.Options{
			Root: c.Root, Stage: c.Stage, Region: d.region, Params: d.values, Functions: routes.Functions(), Runner: d.runner, Tell: d.tell,
		})
	})
}

// cloudRunCommand deploys to Google Cloud Run.
type cloudRunCommand struct {
	deployment
	Purge bool `help:"With --destroy: delete data too, which are secrets, images, and a database of the stage's own."`
}

// Run implements the command.
func (c *cloudRunCommand) Run(ctx context.Context, out io.Writer, parsed *kong.Context) error {
	return c.deploy(ctx, conversation{out: out, in: os.Stdin, again: parsed.Args}, settings.CloudRun, func(d described) (deploy.Target, error) {
		d.values["site"], d.values["version"] = c.Site, d.version
		root, err := filepath.Abs(c.Root) // go list, which names the images, says whole paths.
		if err != nil {
			return nil, err
		}
		return cloudrun.New(cloudrun.Options{
			Root: root, Stage: c.Stage, Region: d.region, Params: d.values, Getenv: os.Getenv,
			Destroy: c.Destroy, Purge: c.Purge, Runner: d.runner, Tell: d.tell,
		})
	})
}

// federation returns a workload identity federation config as JSON on one line. It may be given as a file, which is what
// gcloud makes.
func federation(given string) (string, error) {
	if given == "" || strings.HasPrefix(given, "{") {
		return given, nil
	}
	raw, err := os.ReadFile(given)
	if err != nil {
		return "", fmt.Errorf("lambda.google_credentials: %w", err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return "", fmt.Errorf("lambda.google_credentials: %s is no JSON", given)
	}
	return line.String(), nil
}

// deployment is what can be said about a deployment to any cloud.
type deployment struct {
	folder
	Stage      string        `required:"" help:"Name of the deployment, such as prod: a letter, then letters, digits and dashes, 16 at most."`
	Region     string        `help:"Region of the cloud."`
	Settings   string        `help:"File with settings, also those of the cloud (YAML); see README." type:"existingfile" env:"LRCP_SETTINGS"`
	Yes        bool          `short:"y" help:"Do not ask."`
	DryRun     bool          `help:"Print every command and every change, and change nothing in the cloud or at Datadog."`
	Destroy    bool          `help:"Undo the deployment: the assets at Datadog, then the functions."`
	SkipAssets bool          `help:"Leave Datadog alone."`
	Site       string        `help:"Datadog site." env:"DD_SITE" default:"datadoghq.com"`
	API        string        `name:"api" help:"URL of a stand-in for the site's API, such as that of lrcp up."`
	Variant    string        `help:"Where log archives are: s3 or gcs; that of the cloud when not given." enum:"s3,gcs," default:"" env:"LRCP_ARCHIVE_STORE"`
	Version    string        `help:"What the functions say about their version; that of git when not given."`
	Wait       time.Duration `help:"How long to wait for the functions to answer." default:"2m"`
	Root       string        `help:"Root of the repository." default:"."`
}

// stageForm is the form of a stage: it becomes part of the names of many things, of which each cloud has its rules.
var stageForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,15}$`)

// Validate implements kong's check of flags.
func (d *deployment) Validate() error {
	if !stageForm.MatchString(d.Stage) || strings.HasSuffix(d.Stage, "-") {
		return fmt.Errorf("--stage %q: a lower-case letter, then lower-case letters, digits and dashes, 16 at most, and no dash at the end", d.Stage)
	}
	if d.Wait < 0 {
		return errors.New("--wait is below zero")
	}
	return nil
}

// conversation is with whom a command talks.
type conversation struct {
	out io.Writer
	in  io.Reader
	// again are the arguments that the command was called with: the way to go on after a failure.
	again []string
}

// described is what a target is made of.
type described struct {
	values  map[string]string
	region  string
	version string
	runner  deploy.Runner
	tell    func(string)
}

// deploy is the whole way: what is missing, build, plan, question, steps, table.
func (d *deployment) deploy(ctx context.Context, talk conversation, cloud string, connect func(described) (deploy.Target, error)) error {
	values, err := settings.Load(d.Settings, os.Getenv)
	if err != nil {
		return err
	}
	// What the tools say is shown while they change something. What they say while they look is theirs, but for errors.
	loud := &gate{out: talk.out}
	runner := deploy.Exec{Stderr: loud, Hide: secretVariables()}
	if d.DryRun {
		runner.Trace = func(c deploy.Command) { fmt.Fprintf(talk.out, "$ %s\n", c) }
	}
	described := described{
		values: values.Cloud(cloud), runner: runner, tell: func(what string) { fmt.Fprintln(talk.out, what) },
		version: cmp.Or(d.Version, d.gitVersion(ctx)),
	}
	described.region = cmp.Or(d.Region, described.values["region"], regionOf(cloud))
	delete(described.values, "region")
	target, err := connect(described)
	if err != nil {
		return err
	}
	work := &assetsWork{deployment: d, values: values, target: target, out: talk.out, variant: cmp.Or(d.Variant, variantOf(cloud))}
	smoke := &smokeTest{target: target, out: talk.out, wait: d.Wait, version: described.version, values: values}
	problems := target.Requirements(ctx)
	if !d.Destroy {
		problems = append(problems, pageProblems(d.Root)...)
	}
	if !d.SkipAssets {
		more, err := work.requirements(d.Destroy)
		if err != nil {
			return err
		}
		problems = append(problems, more...)
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if len(problems) > 0 {
		return deploy.Problems(problems)
	}
	if !d.Destroy {
		if err := target.Prepare(ctx); err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
	}
	plan, err := deploy.Look(ctx, d.steps(target, work, smoke))
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	fmt.Fprint(talk.out, plan.Text(d.DryRun))
	if d.DryRun {
		return nil
	}
	if !plan.Empty() && !d.Yes {
		if err := confirm(ctx, talk.out, talk.in); err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
	}
	loud.open.Store(true)
	report := plan.Apply(ctx, runner, func(s deploy.Planned) { fmt.Fprintf(talk.out, "%s …\n", s.Name) })
	loud.open.Store(false)
	if report.Err != nil {
		fmt.Fprint(talk.out, report.Text(talk.resume()))
		return statusFailed
	}
	return nil
}

// pageProblems says whether the page of the theater lacks its build, which is compiled into that function.
func pageProblems(root string) []deploy.Problem {
	web := filepath.Join(root, "functions", "theater", "web")
	if _, err := os.Stat(filepath.Join(web, "package.json")); err != nil {
		return nil // the sources are elsewhere, and what is missing with them is told by who builds
	}
	if _, err := os.Stat(filepath.Join(web, "dist", "index.html")); err != nil {
		return []deploy.Problem{{What: "the page of the theater is not built", Fix: "make web"}}
	}
	return nil
}

// steps returns those of a deployment, or of its end: monitors go before what they watch.
func (d *deployment) steps(target deploy.Target, work *assetsWork, smoke *smokeTest) []deploy.Step {
	var steps []deploy.Step
	switch {
	case d.Destroy && d.SkipAssets:
		return target.DestroySteps()
	case d.Destroy:
		return append([]deploy.Step{work.destroyStep()}, target.DestroySteps()...)
	}
	steps = target.Steps()
	if !d.SkipAssets {
		steps = append(steps, work.step())
	}
	return append(steps, smoke.step())
}

// secretVariables are what the tools have no use for: the secrets of the assets, and those that are put into a secret store.
func secretVariables() []string {
	return []string{
		"LRCP_SECRET_", "LRCP_API_KEYS=", "LRCP_CONTROL_SECRETS=", "LRCP_PROBE_API_KEY=", "LRCP_ESCALATION_APP_KEY=", "OPENAI_API_KEY=", "DD_API_KEY=", "DD_APP_KEY=",
	}
}

// regionOf returns the region that the cloud's own variables choose.
func regionOf(cloud string) string {
	if cloud == settings.Lambda {
		return cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	}
	return os.Getenv("CLOUDSDK_RUN_REGION")
}

// variantOf returns where a cloud has its log archives.
func variantOf(cloud string) string {
	if cloud == settings.Lambda {
		return "s3"
	}
	return "gcs"
}

// gitVersion is the commit that is deployed, or "" where git doesn't know.
func (d *deployment) gitVersion(ctx context.Context) string {
	out, err := deploy.Exec{Dir: d.Root}.Run(ctx, deploy.Command{Name: "git", Args: []string{"describe", "--tags", "--always", "--dirty"}})
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// resume returns the command to go on with.
func (c conversation) resume() string {
	return deploy.Command{Name: "lrcp", Args: c.again}.String()
}

// gate lets through what is written while it is open.
type gate struct {
	out  io.Writer
	open atomic.Bool
}

// Write implements io.Writer.
func (g *gate) Write(p []byte) (int, error) {
	if !g.open.Load() {
		return len(p), nil
	}
	return g.out.Write(p)
}
