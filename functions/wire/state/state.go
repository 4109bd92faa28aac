// Package state opens the control state that the environment names, and the cache and the counters that all instances share beside it. It
// chooses between adapters; nothing above it knows which one there is.
package state

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cloud.google.com/go/firestore"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"google.golang.org/api/option"

	"github.com/llm-reliability/control-plane/shared/cache"
	dynamocache "github.com/llm-reliability/control-plane/shared/cache/dynamodb"
	firecache "github.com/llm-reliability/control-plane/shared/cache/firestore"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/bolt"
	dynamocontrol "github.com/llm-reliability/control-plane/shared/control/dynamodb"
	firecontrol "github.com/llm-reliability/control-plane/shared/control/firestore"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/limit"
	boltlimit "github.com/llm-reliability/control-plane/shared/limit/bolt"
	dynamolimit "github.com/llm-reliability/control-plane/shared/limit/dynamodb"
	firelimit "github.com/llm-reliability/control-plane/shared/limit/firestore"
	"github.com/llm-reliability/control-plane/shared/llm/googleauth"
	"github.com/llm-reliability/control-plane/shared/outbox"
	boltoutbox "github.com/llm-reliability/control-plane/shared/outbox/bolt"
	dynamooutbox "github.com/llm-reliability/control-plane/shared/outbox/dynamodb"
	fireoutbox "github.com/llm-reliability/control-plane/shared/outbox/firestore"
)

// The kinds of state that LRCP_STATE may name.
const (
	inFile   = "bolt"
	inDynamo = "dynamodb"
	inFire   = "firestore"
)

// Config says where the state is.
type Config struct {
	kind string
	// place is a path or a table.
	place string
	// project and database are Firestore's.
	project, database string
	// shared is whether responses are cached there, too.
	shared bool
	// credentials are Google's; nil where the emulator needs none.
	credentials *googleauth.Credentials
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
	state := e.Required("LRCP_STATE")
	c := Config{shared: e.OneOf("LRCP_SHARED_CACHE", "on", "on", "off") == "on"}
	c.kind, c.place, _ = strings.Cut(state, ":")
	ok := c.place != ""
	switch c.kind {
	case inFile, inDynamo:
	case inFire:
		c.project, c.database, _ = strings.Cut(c.place, "/")
		ok = c.project != "" && c.database != ""
		if ok && e.String("FIRESTORE_EMULATOR_HOST", "") == "" {
			c.credentials = googleauth.FromEnv(e)
		}
	default:
		ok = false
	}
	if state != "" && !ok {
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
	var s State
	var err error
	switch c.kind {
	case inDynamo:
		s, err = c.dynamo(ctx)
	case inFire:
		s, err = c.firestore(ctx)
	default:
		s, err = c.file()
	}
	if err != nil {
		return State{}, fmt.Errorf("open state %s:%s: %w", c.kind, c.place, err)
	}
	return s, nil
}

// Close closes what was opened.
func (s State) Close() error {
	errs := []error{s.Control.Close()}
	for _, c := range s.close {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// file opens the control state, and the counters in a file beside it.
func (c Config) file() (State, error) {
	store, err := bolt.Open(bolt.Options{Path: c.place})
	if err != nil {
		return State{}, err
	}
	counters, err := boltlimit.Open(boltlimit.Options{Path: c.place + "-limits"})
	if err != nil {
		return State{}, errors.Join(err, store.Close())
	}
	return State{Control: store, Counters: counters, close: []func() error{counters.Close}}, nil
}

// OpenOutbox opens an outbox in the same place, by a name of its own: in the same table or database, and in a file beside the one of
// the control state, whose name it ends. It calls neither DynamoDB nor Firestore.
func (c Config) OpenOutbox(ctx context.Context, name string) (outbox.Store, error) {
	var store outbox.Store
	var err error
	switch c.kind {
	case inDynamo:
		var client *dynamodb.Client
		if client, err = dynamoClient(ctx); err == nil {
			store, err = dynamooutbox.New(dynamooutbox.Options{Client: client, Table: c.place, Name: name})
		}
	case inFire:
		var client *firestore.Client
		if client, err = c.fireClient(ctx); err == nil {
			store, err = fireoutbox.New(fireoutbox.Options{Client: client, Name: "lrcp-" + name})
		}
	default:
		store, err = boltoutbox.Open(boltoutbox.Options{Path: c.place + "-" + name})
	}
	if err != nil {
		return nil, fmt.Errorf("open outbox %s:%s: %w", c.kind, c.place, err)
	}
	return store, nil
}

func dynamoClient(ctx context.Context) (*dynamodb.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("configure AWS: %w", err)
	}
	return dynamodb.NewFromConfig(cfg, dynamocontrol.Configure), nil
}

func (c Config) fireClient(ctx context.Context) (*firestore.Client, error) {
	// Without this, the SDK makes spans and metrics for an exporter that there is none of.
	opts := []option.ClientOption{option.WithTelemetryDisabled()}
	if c.credentials != nil {
		opts = append(opts, option.WithAuthCredentials(c.credentials.Google()))
	}
	return firestore.NewClientWithDatabase(ctx, c.project, c.database, opts...)
}

func (c Config) dynamo(ctx context.Context) (s State, err error) {
	client, err := dynamoClient(ctx)
	if err != nil {
		return State{}, err
	}
	if s.Control, err = dynamocontrol.New(dynamocontrol.Options{Client: client, Table: c.place}); err != nil {
		return s, err
	}
	if s.Counters, err = dynamolimit.New(dynamolimit.Options{Client: client, Table: c.place}); err != nil || !c.shared {
		return s, err
	}
	s.Shared, err = dynamocache.New(dynamocache.Options{Client: client, Table: c.place})
	return s, err
}

func (c Config) firestore(ctx context.Context) (s State, err error) {
	client, err := c.fireClient(ctx)
	if err != nil {
		return State{}, err
	}
	if s.Control, err = firecontrol.New(firecontrol.Options{Client: client}); err != nil {
		return s, err
	}
	if s.Counters, err = firelimit.New(firelimit.Options{Client: client}); err != nil || !c.shared {
		return s, err
	}
	s.Shared, err = firecache.New(firecache.Options{Client: client})
	return s, err
}
