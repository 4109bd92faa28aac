//go:build !without_framework

package serverless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

// serveHTTP serves h with the functions framework until SIGTERM or SIGINT, lets what is in flight finish, and closes. It
// takes less than ten seconds from the signal; a second one cuts what is in flight, a third ends the process.
//
// The framework offers neither its handler nor its server, nor a way to stop that. So limits and draining are around h,
// and the listener ends with the process. The framework ends a request's context by CLOUD_RUN_TIMEOUT_SECONDS.
func serveHTTP(ctx context.Context, h http.Handler, cfg config, log *slog.Logger, closeAll func(context.Context) error) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	// With K_SERVICE the framework prints an empty line after each request, without FUNCTION_TARGET a line of plain text
	// at start.
	if err := errors.Join(os.Unsetenv("K_SERVICE"), os.Setenv("FUNCTION_TARGET", cfg.name)); err != nil {
		return fmt.Errorf("set up the functions framework: %w", err)
	}
	d := newDrain(h, log)
	if err := funcframework.RegisterHTTPFunctionContext(ctx, "/", slowness{d, bodyTimeout, writeTimeout}.ServeHTTP); err != nil {
		return fmt.Errorf("register function: %w", err)
	}
	failed := make(chan error, 1)
	// The framework's server cannot be stopped: this goroutine ends with the process.
	go func() { failed <- funcframework.StartHostPort(cfg.host, cfg.port) }()
	log.InfoContext(ctx, "serving", slog.String("host", cfg.host), slog.String("port", cfg.port))

	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("serve on port %s: %w", cfg.port, err)
	case <-signals:
		err = d.stop(ctx, signals)
	}
	signal.Stop(signals)
	closing, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	return errors.Join(err, closeAll(closing))
}
