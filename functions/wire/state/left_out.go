//go:build without_dynamodb || without_firestore

package state

import "github.com/llm-reliability/control-plane/shared/env"

// leftOut refuses a kind of state whose SDK this binary was built without.
func leftOut(e *env.Env, kind, tag string) place {
	e.Refuse("LRCP_STATE", "names "+kind+", which this binary was built without (build tag "+tag+")")
	return nil
}
