// Command lrcp runs and shows the LLM Reliability Control Plane on one machine, brings its Datadog assets to a site, and deploys
// functions and assets together to a cloud.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands are the verbs of the program.
type commands struct {
	Up      upCommand      `cmd:"" help:"Run every function, and the stand-in for Datadog, until interrupted."`
	Assets  assetsCommand  `cmd:"" help:"The Datadog assets: validate, test, plan, apply, destroy, drift, import."`
	Deploy  deployCommand  `cmd:"" help:"The functions and the assets, to a cloud: lambda or cloudrun."`
	Demo    demoCommand    `cmd:"" help:"Play the failures and their remedies, and say whether every loop closed and reverted."`
	Status  statusCommand  `cmd:"" help:"What is in force, what fired, and what it cost, on a running stack."`
	Package packageCommand `cmd:"" help:"Build the zips of the functions for Lambda, twice the same bytes, and package serverless.yml without credentials."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		os.Exit(int(status))
	}
	fmt.Fprintln(os.Stderr, "lrcp:", err)
	os.Exit(1)
}

// run parses the arguments and runs the chosen command.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var cmd commands
	parser, err := kong.New(&cmd, kong.Name("lrcp"), kong.UsageOnError(),
		kong.Description("The LLM Reliability Control Plane on one machine."), kong.Writers(stdout, stderr))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return err
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.BindTo(stdout, (*io.Writer)(nil))
	return parsed.Run()
}
