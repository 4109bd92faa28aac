package serverless

import (
	"context"
	"encoding/json"
)

// Dispatch is for tests: on Lambda it takes whatever somebody invokes the function with.
func Dispatch(f Function, o Options) (func(context.Context, json.RawMessage) (any, error), error) {
	s, err := newScheduled(f, o)
	return dispatch(Wrap(f, o), s), err
}
