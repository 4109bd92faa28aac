// Package state opens the control state that the environment names, and the cache that all instances share beside it. It
// chooses between adapters; nothing above it knows which one there is.
package state

import (
	"context"
	"strings"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/bolt"
	"github.com/llm-reliability/control-plane/shared/env"
)

// forms are the values that LRCP_STATE may have.
const forms = "bolt:<path>"

// Config says where the state is.
type Config struct {
	kind, rest string
}

// FromEnv reads where the state is, and records in e what is wrong with it:
//
//	LRCP_STATE    bolt:<path>; required
func FromEnv(e *env.Env) Config {
	state := e.Required("LRCP_STATE")
	var c Config
	c.kind, c.rest, _ = strings.Cut(state, ":")
	if state != "" && (c.kind != "bolt" || c.rest == "") {
		e.Refuse("LRCP_STATE", "must be like "+forms)
	}
	return c
}

// State is what the instances of a deployment have in common.
type State struct {
	Control control.Store
	// Shared is the second tier of the response cache; nil where there is none.
	Shared cache.Tier
}

// Open opens the state.
func (c Config) Open(_ context.Context) (State, error) {
	store, err := bolt.Open(bolt.Options{Path: c.rest})
	if err != nil {
		return State{}, err
	}
	return State{Control: store}, nil
}

// Close closes what was opened.
func (s State) Close() error { return s.Control.Close() }
