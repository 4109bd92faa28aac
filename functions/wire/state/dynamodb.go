//go:build !without_dynamodb

package state

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	dynamocache "github.com/llm-reliability/control-plane/shared/cache/dynamodb"
	dynamocontrol "github.com/llm-reliability/control-plane/shared/control/dynamodb"
	"github.com/llm-reliability/control-plane/shared/env"
	dynamolimit "github.com/llm-reliability/control-plane/shared/limit/dynamodb"
	"github.com/llm-reliability/control-plane/shared/outbox"
	dynamooutbox "github.com/llm-reliability/control-plane/shared/outbox/dynamodb"
)

// table is a table of DynamoDB.
type table struct {
	name string
	// shared is whether responses are cached there, too.
	shared bool
}

func newTable(_ *env.Env, name string, shared bool) place { return table{name, shared} }

func (t table) client(ctx context.Context) (*dynamodb.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("configure AWS: %w", err)
	}
	return dynamodb.NewFromConfig(cfg, dynamocontrol.Configure), nil
}

func (t table) open(ctx context.Context) (s State, err error) {
	client, err := t.client(ctx)
	if err != nil {
		return State{}, err
	}
	if s.Control, err = dynamocontrol.New(dynamocontrol.Options{Client: client, Table: t.name}); err != nil {
		return s, err
	}
	if s.Counters, err = dynamolimit.New(dynamolimit.Options{Client: client, Table: t.name}); err != nil || !t.shared {
		return s, err
	}
	s.Shared, err = dynamocache.New(dynamocache.Options{Client: client, Table: t.name})
	return s, err
}

func (t table) outbox(ctx context.Context, name string) (outbox.Store, error) {
	client, err := t.client(ctx)
	if err != nil {
		return nil, err
	}
	return dynamooutbox.New(dynamooutbox.Options{Client: client, Table: t.name, Name: name})
}
