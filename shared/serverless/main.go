package serverless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// closeTimeout bounds what happens after the last request. Cloud Run kills the process ten seconds after SIGTERM, and
// in-flight requests may use most of them.
const closeTimeout = time.Second

// config is what every function is configured with.
type config struct {
	name                  string
	service, env, version string
	level                 slog.Level
	timeout               time.Duration
	host, port            string
	lambda                bool
}

// configFrom reads the variables that every function has:
//
//	DD_SERVICE, DD_ENV, DD_VERSION   tags of all telemetry; the service is the whole system's when not set
//	LRCP_LOG_LEVEL                   debug, info, warn or error; info when not set
//	LRCP_LOG_FILE                    a file that gets the log lines besides standard output; none when not set
//	LRCP_TIMEOUT                     the longest time for a request; 60s when not set
//	LRCP_LISTEN                      all, or local for the loopback interface only; not used on Lambda
//	PORT                             the TCP port; 8080 when not set; not used on Lambda
//	FUNCTION_TARGET                  the function that the platform means to run; this one when not set
//	CLOUD_RUN_TIMEOUT_SECONDS        the platform's deadline for a request; it holds besides LRCP_TIMEOUT
//
// AWS_LAMBDA_RUNTIME_API, which Lambda sets, chooses between the two platforms.
func configFrom(e *env.Env, name string) config {
	c := config{
		name:    name,
		service: e.String("DD_SERVICE", "llm-reliability-control-plane"),
		env:     e.String("DD_ENV", "local"),
		version: e.String("DD_VERSION", "dev"),
		timeout: e.Duration("LRCP_TIMEOUT", time.Minute),
		port:    e.String("PORT", "8080"),
		lambda:  e.String("AWS_LAMBDA_RUNTIME_API", "") != "",
	}
	level := e.OneOf("LRCP_LOG_LEVEL", "info", "debug", "info", "warn", "error")
	if err := c.level.UnmarshalText([]byte(level)); err != nil {
		e.Refuse("LRCP_LOG_LEVEL", "is no level")
	}
	if e.OneOf("LRCP_LISTEN", "all", "all", "local") == "local" {
		c.host = "127.0.0.1"
	}
	e.Int("PORT", 8080, 1, 65535)
	// The framework reads this one, and would complain in plain text at each request.
	e.Int("CLOUD_RUN_TIMEOUT_SECONDS", 3600, 1, 3600)
	// The framework would serve its only function under any name.
	if target := e.String("FUNCTION_TARGET", name); target != name {
		e.Refuse("FUNCTION_TARGET", fmt.Sprintf("is %q, and this binary is the function %q", target, name))
	}
	return c
}

// Main runs the function that build makes until the platform stops the process. It is the whole of a function's main.
// The error of a build that could not use its configuration is reported together with Main's own, as one log line on
// standard error that names every bad variable; the process then exits with status 1.
func Main(name string, build func(ctx context.Context, d Deps) (Function, error)) {
	lines := openLogFile(strings.TrimSpace(os.Getenv("LRCP_LOG_FILE")), logFileLimit)
	if err := run(context.Background(), name, os.Getenv, lines, build); err != nil {
		telemetry.NewLogger(lines.beside(os.Stderr), slog.LevelInfo, name, os.Getenv("DD_ENV"), os.Getenv("DD_VERSION")).
			Error("function stopped", slog.String("error.message", err.Error()))
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, getenv func(string) string, lines *logFile, build func(context.Context, Deps) (Function, error)) error {
	e := env.New(getenv)
	cfg := configFrom(e, name)
	log := telemetry.NewLogger(lines.beside(os.Stdout), cfg.level, cfg.service, cfg.env, cfg.version)
	lines.report(func(err error) {
		// The other logger may hold its lock while it waits for this line.
		telemetry.NewLogger(os.Stdout, cfg.level, cfg.service, cfg.env, cfg.version).
			WarnContext(ctx, "log lines go to standard output only", slog.String("error.message", err.Error()))
	})
	adoptLibraryLogs(log)
	out, err := openTelemetry(ctx, cfg, e, log)
	if err != nil {
		return err
	}
	client, err := telemetry.New(telemetry.Options{Sink: out.sink, Logger: log, Function: name})
	if err != nil {
		return err
	}
	var wrapping *wrapper
	if cfg.lambda {
		wrapping = wrapLambda(out)
	}
	f, err := build(ctx, Deps{Getenv: getenv, Telemetry: client, Logger: log})
	if err = errors.Join(e.Err(), err); err != nil {
		return err
	}
	opts := Options{Name: name, Version: cfg.version, Telemetry: client, Timeout: cfg.timeout, Early: out.background}
	jobs, err := newScheduled(f, opts)
	if err != nil {
		return err
	}
	h := Wrap(f, opts)
	closeAll := func(ctx context.Context) error {
		var errs []error
		if f.Close != nil {
			errs = append(errs, f.Close(ctx))
		}
		client.Flush(ctx)
		return errors.Join(append(errs, out.close(ctx))...)
	}
	if cfg.lambda {
		return wrapping.serve(h, jobs, client, log, closeAll)
	}
	return serveHTTP(ctx, h, cfg, log, closeAll)
}
