//go:build without_framework

package serverless

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
)

func serveHTTP(context.Context, http.Handler, config, *slog.Logger, func(context.Context) error) error {
	return errors.New("this binary was built for AWS Lambda, and serves no port (build tag without_framework)")
}
