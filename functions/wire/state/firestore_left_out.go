//go:build without_firestore

package state

import "github.com/llm-reliability/control-plane/shared/env"

func newDatabase(e *env.Env, _, _ string, _ bool) place {
	return leftOut(e, inFire, "without_firestore")
}
