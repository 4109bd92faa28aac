//go:build without_dynamodb

package state

import "github.com/llm-reliability/control-plane/shared/env"

func newTable(e *env.Env, _ string, _ bool) place { return leftOut(e, inDynamo, "without_dynamodb") }
