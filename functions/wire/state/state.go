// Package state opens the control state that the environment names, and the cache and the counters that all instances share beside it. It
// chooses between adapters; nothing above it knows which one there is.
//
// A build can leave out the SDK of the cloud that it will not run in, by the build tags without_dynamodb and without_firestore;
// package buildtags of infra says which ones deployments set. State that is kept by what was left out is refused.
package state

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/bolt"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/limit"
	boltlimit "github.com/llm-reliability/control-plane/shared/limit/bolt"
	"github.com/llm-reliability/control-plane/shared/outbox"
	boltoutbox "github.com/llm-reliability/control-plane/shared/outbox/bolt"
)

// The kinds of state that LRCP_STATE may name.
const (
	inFile   = "bolt"
	inDynamo = "dynamodb"
	inFire   = "firestore"
)

// Config says where the state is.
type Config struct {
	// name is the place as LRCP_STATE names it.
	name  string
	place place
}

// place is where all of the state is kept. Its calls reach nothing over the network.
type place interface {
	open(context.Context) (State, error)
	outbox(ctx context.Context, name string) (outbox.Store, error)
}

// FromEnv reads where the state is, and records in e what is wrong with it:
//
//	LRCP_STATE          bolt:<path>, dynamodb:<table> or firestore:<project>/<database>; required
//	LRCP_SHARED_CACHE   on or off: whether responses are cached in the same table or database, for all instances; on when
//	                    not set. A file has no shared cache
//
// DynamoDB's region, endpoint and credentials are found by the variables that AWS's SDK reads. Firestore's credentials are those
// of googleauth.FromEnv; where FIRESTORE_EMULATOR_HOST is set, none are needed.
func FromEnv(e *env.Env) Config {
	c := Config{name: e.Required("LRCP_STATE")}
	shared := e.OneOf("LRCP_SHARED_CACHE", "on", "on", "off") == "on"
	kind, where, _ := strings.Cut(c.name, ":")
	project, id, _ := strings.Cut(where, "/")
	switch {
	case kind == inFile && where != "":
		c.place = file(where)
	case kind == inDynamo && where != "":
		c.place = newTable(e, where, shared)
	case kind == inFire && project != "" && id != "":
		c.place = newDatabase(e, project, id, shared)
	case c.name != "":
		e.Refuse("LRCP_STATE", "must be bolt:<path>, dynamodb:<table> or firestore:<project>/<database>")
	}
	return c
}

// State is what the instances of a deployment have in common.
type State struct {
	Control control.Store
	// Shared is the second tier of the response cache; nil where there is none.
	Shared cache.Tier
	// Counters add up what callers have used.
	Counters limit.Counters

	close []func() error
}

// Open opens the state. It calls neither DynamoDB nor Firestore: a cold start does not wait for them.
func (c Config) Open(ctx context.Context) (State, error) {
	s, err := c.place.open(ctx)
	if err != nil {
		return State{}, fmt.Errorf("open state %s: %w", c.name, err)
	}
	return s, nil
}

// OpenOutbox opens an outbox in the same place, by a name of its own: in the same table or database, and in a file beside the one of
// the control state, whose name it ends. It calls neither DynamoDB nor Firestore.
func (c Config) OpenOutbox(ctx context.Context, name string) (outbox.Store, error) {
	store, err := c.place.outbox(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open outbox %s: %w", c.name, err)
	}
	return store, nil
}

// Close closes what was opened.
func (s State) Close() error {
	errs := []error{s.Control.Close()}
	for _, c := range s.close {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// file is the path of the control state's file; the counters are in one beside it.
type file string

func (f file) open(context.Context) (State, error) {
	store, err := bolt.Open(bolt.Options{Path: string(f)})
	if err != nil {
		return State{}, err
	}
	counters, err := boltlimit.Open(boltlimit.Options{Path: string(f) + "-limits"})
	if err != nil {
		return State{}, errors.Join(err, store.Close())
	}
	return State{Control: store, Counters: counters, close: []func() error{counters.Close}}, nil
}

func (f file) outbox(_ context.Context, name string) (outbox.Store, error) {
	return boltoutbox.Open(boltoutbox.Options{Path: string(f) + "-" + name})
}
