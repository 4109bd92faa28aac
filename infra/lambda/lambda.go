// Package lambda deploys the functions to AWS Lambda, as serverless.yml says: it is the deploy.Target of that cloud. What changes
// something is osls, the packager; what looks is the aws command. Both are run as people would run them, so everything that is
// done can be read in a dry run, and done by hand.
//
// The stack of CloudFormation is the only record of what is deployed. A plan compares the template that is generated with the
// one that was deployed, and the digest of each zip with that of the code that runs, so that a deployment without changes runs
// no command that changes anything. Who is interrupted while CloudFormation works goes on with the same command: it waits
// for CloudFormation first.
//
// It makes no secrets and no workload identity federation: both are made once, by people who may. deployer.json is the policy
// of who deploys. It was put together from what osls and CloudFormation document and from the calls that are made here, and
// has not been tried in an account.
package lambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets/settings"
	"github.com/llm-reliability/control-plane/infra/deploy"
	"github.com/llm-reliability/control-plane/infra/lambda/bundle"
)

// Service is the name of the service in serverless.yml; the stack is <service>-<stage>.
const Service = "llm-reliability-control-plane"

// Options say what is deployed, and where to.
type Options struct {
	// Root is the folder with serverless.yml; required.
	Root string
	// Stage is required, Region a requirement that is told of with the others.
	Stage, Region string
	// Params are those of serverless.yml, without what is empty: the settings, with "site" and "version".
	Params map[string]string
	// Functions are the names of all functions; required.
	Functions []string
	// Runner is required.
	Runner deploy.Runner
	// Tell hears what is being built or waited for; nil hears nothing.
	Tell func(string)
}

// Target deploys one stage.
type Target struct {
	opts  Options
	stack string
	// account is known when the requirements were looked at.
	account string
}

var _ deploy.Target = (*Target)(nil)

// New checks the options and returns a Target.
func New(opts Options) (*Target, error) {
	if opts.Root == "" || opts.Stage == "" || len(opts.Functions) == 0 || opts.Runner == nil {
		return nil, errors.New("lambda: Root, Stage, Functions and Runner are required")
	}
	if opts.Tell == nil {
		opts.Tell = func(string) {}
	}
	opts.Params = maps.Clone(opts.Params)
	maps.DeleteFunc(opts.Params, func(_, value string) bool { return value == "" })
	return &Target{opts: opts, stack: Service + "-" + opts.Stage}, nil
}

// required are the parameters without a value of their own. Those of Google are so only for its providers.
func (t *Target) required() []string {
	names := []string{"site", "version", "dd_api_key_arn", "dd_app_key_arn", "escalation_app_key_arn", "api_keys_arn", "control_secrets_arn", "probe_key_arn"}
	provider, given := t.opts.Params["provider"]
	if !given || strings.Contains(provider, "vertexai") || strings.Contains(provider, "genai") {
		names = append(names, "google_project", "google_location", "google_credentials")
	}
	return names
}

// tools are what must be installed, and where to get it.
func tools() []deploy.Problem {
	return []deploy.Problem{
		{What: "go", Fix: "https://go.dev/dl"},
		{What: "node", Fix: "https://nodejs.org, version 20.19 or later"},
		{What: "npx", Fix: "it comes with Node"},
		{What: "aws", Fix: "https://docs.aws.amazon.com/cli"},
	}
}

// Requirements implements deploy.Target.
func (t *Target) Requirements(ctx context.Context) []deploy.Problem {
	var problems []deploy.Problem
	missing := map[string]bool{}
	for _, tool := range tools() {
		if err := t.opts.Runner.Look(tool.What); err != nil {
			missing[tool.What] = true
			problems = append(problems, deploy.Problem{What: tool.What + " is not installed", Fix: tool.Fix})
		}
	}
	if _, err := os.Stat(filepath.Join(t.opts.Root, "serverless.yml")); err != nil {
		problems = append(problems, deploy.Problem{What: "there is no serverless.yml here", Fix: "run this in the root of the repository"})
	} else if _, err := os.Stat(filepath.Join(t.opts.Root, "node_modules", "osls", "package.json")); err != nil {
		problems = append(problems, deploy.Problem{What: "osls, the packager, is not installed", Fix: "make node_modules"})
	}
	for _, name := range t.required() {
		if t.opts.Params[name] != "" {
			continue
		}
		p := deploy.Problem{What: "lambda." + name + " is not set", Fix: help(name) + ", in the settings file or as LRCP_LAMBDA_" + strings.ToUpper(name)}
		if name == "version" || name == "site" {
			p = deploy.Problem{What: "there is no " + name, Fix: "--" + name}
		}
		problems = append(problems, p)
	}
	if problem := checkCredentials(t.opts.Params["google_credentials"]); problem != "" {
		problems = append(problems, deploy.Problem{What: "lambda.google_credentials " + problem})
	}
	arns, wrong := t.secrets()
	problems = append(problems, wrong...)
	if t.opts.Region == "" {
		problems = append(problems, deploy.Problem{What: "no AWS region is chosen", Fix: "--region, lambda.region in the settings file, or AWS_REGION"})
	}
	if missing["aws"] {
		return problems
	}
	return append(problems, t.cloudRequirements(ctx, arns)...)
}

// help says what a setting is.
func help(name string) string {
	keys := settings.Keys(settings.Lambda)
	if i := slices.IndexFunc(keys, func(k settings.Key) bool { return k.Name == name }); i >= 0 {
		return keys[i].Help
	}
	return name
}

// arnForm is the form of a secret's ARN, complete with the six characters that AWS puts behind its name.
var arnForm = regexp.MustCompile(`^arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):\d{12}:secret:[A-Za-z0-9/_+=.@-]+-[A-Za-z0-9]{6}$`)

// secrets returns the parameters that are ARNs of secrets, and those that can't be.
func (t *Target) secrets() (names []string, wrong []deploy.Problem) {
	for _, name := range slices.Sorted(maps.Keys(t.opts.Params)) {
		if !strings.HasSuffix(name, "_arn") || strings.Contains(name, "kms") {
			continue
		}
		if !arnForm.MatchString(t.opts.Params[name]) {
			// What was given may be the secret itself, so it is not repeated.
			wrong = append(wrong, deploy.Problem{
				What: "lambda." + name + " is no complete ARN of a secret",
				Fix:  "aws secretsmanager create-secret prints it, arn:aws:secretsmanager:<region>:<account>:secret:<name>-<six characters>",
			})
			continue
		}
		if region := arnForm.FindStringSubmatch(t.opts.Params[name])[1]; region != t.opts.Region && t.opts.Region != "" {
			wrong = append(wrong, deploy.Problem{
				What: fmt.Sprintf("lambda.%s is of a secret in %s, and functions read secrets of their own region, %s", name, region, t.opts.Region),
			})
			continue
		}
		names = append(names, name)
	}
	return names, wrong
}

// cloudRequirements asks AWS.
func (t *Target) cloudRequirements(ctx context.Context, arns []string) (problems []deploy.Problem) {
	out, err := t.aws(ctx, "sts", "get-caller-identity")
	var caller struct{ Account string }
	if err == nil {
		err = json.Unmarshal(out, &caller)
	}
	if err != nil {
		return []deploy.Problem{{What: "no AWS credentials that work: " + reason(err), Fix: "aws configure, aws sso login, or AWS_PROFILE"}}
	}
	t.account = caller.Account
	for _, name := range arns {
		arn := t.opts.Params[name]
		out, err := t.aws(ctx, "secretsmanager", "describe-secret", "--secret-id", arn)
		var secret struct{ DeletedDate any }
		switch {
		case err != nil:
			problems = append(problems, deploy.Problem{What: fmt.Sprintf("lambda.%s: the secret %s can't be seen: %s", name, arn, reason(err))})
		case json.Unmarshal(out, &secret) == nil && secret.DeletedDate != nil:
			problems = append(problems, deploy.Problem{
				What: fmt.Sprintf("lambda.%s: the secret %s is to be deleted", name, arn), Fix: "aws secretsmanager restore-secret --secret-id " + arn,
			})
		}
	}
	return problems
}

// reason is what a command said, or how it ended.
func reason(err error) string {
	if failed, ok := errors.AsType[*deploy.CommandError](err); ok && failed.Stderr != "" {
		return failed.Stderr
	}
	return err.Error()
}

// checkCredentials says what is wrong with a workload identity federation config, or "". A key of a service account must not
// get into a function's environment.
func checkCredentials(text string) string {
	if text == "" {
		return ""
	}
	var config struct {
		Type       string `json:"type"`
		PrivateKey string `json:"private_key"`
	}
	switch err := json.Unmarshal([]byte(text), &config); {
	case err != nil:
		return "is no JSON"
	case config.PrivateKey != "":
		return "is the key of a service account, a secret; it must be a workload identity federation config"
	case config.Type != "external_account":
		return `is no workload identity federation config: its type is not "external_account"`
	}
	return ""
}

// The folders that are written to: zips where serverless.yml looks for them, and what osls generates.
func (t *Target) zips() string { return filepath.Join(t.opts.Root, "build", "lambda") }

func (t *Target) packageDir() string { return filepath.Join("build", "package", t.opts.Stage) }

// Prepare implements deploy.Target: it builds the zips, and generates the template from serverless.yml.
func (t *Target) Prepare(ctx context.Context) error {
	_, err := bundle.Build(ctx, bundle.Options{
		Dir: t.opts.Root, Out: t.zips(), Functions: t.opts.Functions, Route: t.opts.Params["provider"],
		Progress: func(function string) { t.opts.Tell("building ./functions/" + function + "/cmd") },
	})
	if err != nil {
		return err
	}
	t.opts.Tell("packaging")
	_, err = t.opts.Runner.Run(ctx, t.osls("package"))
	return err
}

// osls returns a call of the packager.
func (t *Target) osls(verb string) deploy.Command {
	args := []string{"--no-install", "osls", verb, "--stage", t.opts.Stage, "--region", t.opts.Region}
	if verb != "remove" {
		args = append(args, "--package", t.packageDir())
	}
	for _, name := range slices.Sorted(maps.Keys(t.opts.Params)) {
		args = append(args, "--param", name+"="+t.opts.Params[name])
	}
	c := deploy.Command{Name: "npx", Args: args}
	if t.opts.Root != "." {
		c.Dir = t.opts.Root
	}
	return c
}

// aws runs the aws command in the region, and returns what it said as JSON.
func (t *Target) aws(ctx context.Context, args ...string) ([]byte, error) {
	return t.opts.Runner.Run(ctx, awsCommand(t.opts.Region, args...))
}

func awsCommand(region string, args ...string) deploy.Command {
	if region != "" {
		args = append(args, "--region", region)
	}
	return deploy.Command{Name: "aws", Args: append(args, "--output", "json")}
}
