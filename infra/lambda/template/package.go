package template

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// PackageOptions say what is packaged.
type PackageOptions struct {
	// Dir is the folder of serverless.yml, which has node_modules and build/lambda/<function>.zip in it too; the current one when
	// empty.
	Dir string
	// Stage and Region are those of the stack; dev and us-east-1 when empty.
	Stage, Region string
	// Params are the parameters of serverless.yml; Placeholders has one value for each that is required.
	Params map[string]string
	// Out is the folder that osls leaves its templates in; build/lambda/package below Dir when empty. What was in it goes.
	Out string
}

// Placeholders are values of the parameters that serverless.yml requires, of the right form for a region and with nothing behind
// them: for packaging where no account is near.
func Placeholders(region string) map[string]string {
	params := map[string]string{
		"version": "placeholder", "site": "datadoghq.com", "google_project": "placeholder", "google_location": "us-central1",
		"google_credentials": `{"type":"external_account","audience":"placeholder"}`,
	}
	for _, name := range []string{"dd_api_key", "dd_app_key", "escalation_app_key", "api_keys", "control_secrets", "probe_key"} {
		params[name+"_arn"] = "arn:aws:secretsmanager:" + region + ":000000000000:secret:" + name + "-AAAAAA"
	}
	return params
}

// Installed says what must be installed before a folder can be packaged; nil when all is.
func Installed(dir string) error {
	_, err := installed(dir)
	return err
}

// installed returns the path of npx.
func installed(dir string) (string, error) {
	npx, err := exec.LookPath("npx")
	if err != nil {
		return "", fmt.Errorf("package: Node 20.19 or later is needed, https://nodejs.org has it: %w", err)
	}
	for _, module := range []string{"osls", "serverless-plugin-datadog"} {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", module)); err != nil {
			return "", fmt.Errorf("package: %s is not installed, `make node_modules` installs it: %w", module, err)
		}
	}
	return npx, nil
}

// Package runs osls, which asks neither AWS nor the network, and returns the CloudFormation template that it makes.
func Package(ctx context.Context, o PackageOptions) ([]byte, error) {
	o.Dir, o.Stage, o.Region = cmp.Or(o.Dir, "."), cmp.Or(o.Stage, "dev"), cmp.Or(o.Region, "us-east-1")
	o.Out = cmp.Or(o.Out, filepath.Join(o.Dir, "build", "lambda", "package"))
	out, err := filepath.Abs(o.Out)
	if err != nil {
		return nil, fmt.Errorf("package: %w", err)
	}
	npx, err := installed(o.Dir)
	if err != nil {
		return nil, err
	}
	args := []string{"--no-install", "osls", "package", "--stage", o.Stage, "--region", o.Region, "--package", out}
	for _, name := range slices.Sorted(maps.Keys(o.Params)) {
		args = append(args, "--param="+name+"="+o.Params[name])
	}
	cmd := exec.CommandContext(ctx, npx, args...)
	cmd.Dir = o.Dir
	cmd.Env = offline(os.Environ())
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("package: osls: %w", err), errors.New(strings.TrimSpace(said.String())))
	}
	data, err := os.ReadFile(filepath.Join(out, "cloudformation-template-update-stack.json"))
	if err != nil {
		return nil, fmt.Errorf("package: read template: %w", err)
	}
	return data, nil
}

// offline is the environment without what could change the template, or tempt somebody to ask AWS.
func offline(environ []string) []string {
	environ = slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		return strings.HasPrefix(variable, "AWS_") || strings.HasPrefix(variable, "SLS_") || strings.HasPrefix(variable, "SERVERLESS_") ||
			strings.HasPrefix(variable, "DATADOG_") || strings.HasPrefix(variable, "DD_")
	})
	return append(environ, "CI=1", "NO_COLOR=1", "AWS_EC2_METADATA_DISABLED=true", "npm_config_update_notifier=false")
}
