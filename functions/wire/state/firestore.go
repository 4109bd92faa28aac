//go:build !without_firestore

package state

import (
	"context"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"

	firecache "github.com/llm-reliability/control-plane/shared/cache/firestore"
	firecontrol "github.com/llm-reliability/control-plane/shared/control/firestore"
	"github.com/llm-reliability/control-plane/shared/env"
	firelimit "github.com/llm-reliability/control-plane/shared/limit/firestore"
	"github.com/llm-reliability/control-plane/shared/llm/googleauth"
	"github.com/llm-reliability/control-plane/shared/outbox"
	fireoutbox "github.com/llm-reliability/control-plane/shared/outbox/firestore"
)

// database is a database of Firestore.
type database struct {
	project, id string
	// shared is whether responses are cached there, too.
	shared bool
	// credentials are Google's; nil where the emulator needs none.
	credentials *googleauth.Credentials
}

func newDatabase(e *env.Env, project, id string, shared bool) place {
	d := database{project: project, id: id, shared: shared}
	if e.String("FIRESTORE_EMULATOR_HOST", "") == "" {
		d.credentials = googleauth.FromEnv(e)
	}
	return d
}

func (d database) client(ctx context.Context) (*firestore.Client, error) {
	// Without this, the SDK makes spans and metrics for an exporter that there is none of.
	opts := []option.ClientOption{option.WithTelemetryDisabled()}
	if d.credentials != nil {
		opts = append(opts, option.WithAuthCredentials(d.credentials.Google()))
	}
	return firestore.NewClientWithDatabase(ctx, d.project, d.id, opts...)
}

func (d database) open(ctx context.Context) (s State, err error) {
	client, err := d.client(ctx)
	if err != nil {
		return State{}, err
	}
	if s.Control, err = firecontrol.New(firecontrol.Options{Client: client}); err != nil {
		return s, err
	}
	if s.Counters, err = firelimit.New(firelimit.Options{Client: client}); err != nil || !d.shared {
		return s, err
	}
	s.Shared, err = firecache.New(firecache.Options{Client: client})
	return s, err
}

func (d database) outbox(ctx context.Context, name string) (outbox.Store, error) {
	client, err := d.client(ctx)
	if err != nil {
		return nil, err
	}
	return fireoutbox.New(fireoutbox.Options{Client: client, Name: "lrcp-" + name})
}
