//go:build without_lambda

package serverless

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/llm-reliability/control-plane/shared/telemetry"
)

type wrapper struct{}

func wrapLambda(output) *wrapper { return nil }

func (*wrapper) serve(http.Handler, *scheduled, *telemetry.Client, *slog.Logger, func(context.Context) error) error {
	return errors.New("this binary was built for elsewhere than AWS Lambda (build tag without_lambda)")
}
