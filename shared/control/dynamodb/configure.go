package dynamodb

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"
)

const (
	// attempts is how often a call is tried in all; maxPause bounds the wait before the last try, and half of that the one
	// before it. A read that is throttled all the way so ends well within the 250 ms that a control.Reader gives it.
	attempts = 3
	maxPause = 50 * time.Millisecond
)

// Configure sets what a client must be set to in a function: few tries, short pauses, and no log of its own. By default
// the SDK waits up to a second before it repeats a call that was throttled, which no request can afford. Use it as
//
//	dynamodb.NewFromConfig(cfg, controldynamodb.Configure)
//
// The environment variables AWS_RETRY_MODE and AWS_MAX_ATTEMPTS have no effect on such a client. How long a call may
// take in all is said by its context.
func Configure(o *dynamodb.Options) {
	o.RetryMaxAttempts = 0 // or it would be put over the retryer
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = attempts
		r.Backoff = retry.BackoffDelayerFunc(pause)
		r.Retryables = append(r.Retryables, retry.IsErrorRetryableFunc(throttledTransaction))
	})
	o.Logger, o.ClientLogMode = logging.Nop{}, aws.ClientLogMode(0)
}

// throttledTransaction is whether a transaction was canceled for want of capacity and nothing else. The SDK tries again when
// a request is throttled, but does not look at why a transaction was canceled.
func throttledTransaction(err error) aws.Ternary {
	var canceled *types.TransactionCanceledException
	if !errors.As(err, &canceled) {
		return aws.UnknownTernary
	}
	return aws.BoolTernary(!slices.ContainsFunc(canceled.CancellationReasons, func(r types.CancellationReason) bool {
		return !slices.Contains([]string{"", "None", "ThrottlingError", "ProvisionedThroughputExceeded"}, aws.ToString(r.Code))
	}))
}

// pause is how long to wait after a try failed: a random part of what doubles up to maxPause, so that instances which
// failed together do not come back together.
func pause(attempt int, _ error) (time.Duration, error) {
	bound := maxPause >> max(0, attempts-1-attempt)
	return bound/2 + rand.N(bound/2+1), nil //nolint:gosec // spreads load, protects nothing
}
