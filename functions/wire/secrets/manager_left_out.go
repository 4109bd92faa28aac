//go:build without_lambda

package secrets

import (
	"context"
	"errors"
)

type manager struct{}

func newManager(context.Context) (manager, error) {
	return manager{}, errors.New("configuration: a variable ends in " + arnSuffix + ", and this binary was built without AWS Secrets Manager (build tag without_lambda)")
}

func (manager) value(context.Context, string) (string, error) { return "", errors.ErrUnsupported }
