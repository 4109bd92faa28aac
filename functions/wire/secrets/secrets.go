// Package secrets lets a function read its secrets from the secret store of the cloud that it runs in. On Cloud Run the
// platform does that, and a build for it leaves AWS's SDK out by the build tag without_lambda; on Lambda this package does.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/serverless"
)

// arnSuffix makes the name of a variable that says where a secret is out of the name of the secret.
const arnSuffix = "_SECRET_ARN"

// secretsTimeout bounds the reading of all secrets, which happens while a cold start waits for it.
const secretsTimeout = 5 * time.Second

// Reading returns build with the secrets that names lists in its environment. For a secret X, the variable X_SECRET_ARN
// may hold the ARN of a secret of AWS Secrets Manager instead, so that its value is neither in the configuration of the
// function nor in a template. Secrets are read once, at start, all at the same time; one that can't be read stops the
// start. They are given to build only, and never put into the environment of the process, where libraries look.
func Reading(build func(context.Context, serverless.Deps) (serverless.Function, error), names ...string) func(context.Context, serverless.Deps) (serverless.Function, error) {
	return func(ctx context.Context, d serverless.Deps) (serverless.Function, error) {
		secrets, err := readSecrets(ctx, d.Getenv, names)
		if err != nil {
			return serverless.Function{}, err
		}
		getenv := d.Getenv
		d.Getenv = func(name string) string {
			if value, ok := secrets[name]; ok {
				return value
			}
			return getenv(name)
		}
		return build(ctx, d)
	}
}

// readSecrets returns the values of the secrets whose ARNs are set.
func readSecrets(ctx context.Context, getenv func(string) string, names []string) (map[string]string, error) {
	arns := map[string]string{}
	var errs []error
	for _, name := range names {
		arn := getenv(name + arnSuffix)
		if arn != "" && getenv(name) != "" {
			errs = append(errs, fmt.Errorf("configuration: both %s and %s%s are set", name, name, arnSuffix))
		}
		if arn != "" {
			arns[name] = arn
		}
	}
	if len(errs) > 0 || len(arns) == 0 {
		return nil, errors.Join(errs...)
	}
	ctx, cancel := context.WithTimeout(ctx, secretsTimeout)
	defer cancel()
	store, err := newManager(ctx)
	if err != nil {
		return nil, err
	}
	secrets := map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, arn := range arns {
		wg.Go(func() {
			value, err := store.value(ctx, arn)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("read the secret that %s%s names: %w", name, arnSuffix, err))
			case value == "":
				errs = append(errs, fmt.Errorf("the secret that %s%s names holds no text", name, arnSuffix))
			default:
				secrets[name] = value
			}
		})
	}
	wg.Wait()
	return secrets, errors.Join(errs...)
}
