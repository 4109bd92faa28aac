// Package firestore keeps an outbox in Cloud Firestore, in Native mode: one document for each record, written under the condition of
// the update time that was read. It neither makes the database nor sets the TTL policy on the field "expires".
package firestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llm-reliability/control-plane/shared/outbox"
)

// prefix keeps the IDs of documents clear of those that Firestore forbids.
const prefix = "record."

// kept is the document of one record. Due is nil where nothing is to be done, and then in no comparison with a time.
type kept struct {
	Key string `firestore:"key"`
	// Write is different in each write, so that the SDK's repetition of one can be told from another writer.
	Write   string     `firestore:"write"`
	Due     *time.Time `firestore:"due"`
	Expires time.Time  `firestore:"expires"`
	Data    []byte     `firestore:"data"`
}

// Options are the dependencies of a Store.
type Options struct {
	// Client is required. The Store closes it.
	Client *firestore.Client
	// Name is the name of the collection; required.
	Name string
}

// Store is an outbox.Store in one collection. The caller's context alone bounds its calls.
type Store struct {
	client     *firestore.Client
	collection *firestore.CollectionRef
	closed     atomic.Bool
}

var _ outbox.Store = (*Store)(nil)

// New checks the options and returns a Store. It does not call Firestore.
func New(opts Options) (*Store, error) {
	switch {
	case opts.Client == nil:
		return nil, errors.New("firestore: Client is required")
	case opts.Name == "" || strings.Contains(opts.Name, "/"):
		return nil, errors.New("firestore: Name is required, and must not contain a slash, which separates collections from documents")
	}
	return &Store{client: opts.Client, collection: opts.Client.Collection(opts.Name)}, nil
}

// doc is the document of a key. A slash would separate it from a collection below.
func (s *Store) doc(key string) *firestore.DocumentRef {
	return s.collection.Doc(prefix + url.PathEscape(key))
}

// Get implements outbox.Store.
func (s *Store) Get(ctx context.Context, key string) (outbox.Record, bool, error) {
	_, r, ok, err := s.get(ctx, key)
	return r, ok, s.wrap(ctx, "read record", err)
}

func (s *Store) get(ctx context.Context, key string) (kept, outbox.Record, bool, error) {
	if err := s.usable(ctx); err != nil {
		return kept{}, outbox.Record{}, false, err
	}
	doc, err := s.doc(key).Get(ctx)
	switch {
	case doc != nil && !doc.Exists():
		return kept{}, outbox.Record{}, false, nil // a missing document is an error to the SDK
	case err != nil:
		return kept{}, outbox.Record{}, false, err
	}
	k, r, err := decode(doc)
	return k, r, err == nil, err
}

func decode(doc *firestore.DocumentSnapshot) (kept, outbox.Record, error) {
	var k kept
	if err := doc.DataTo(&k); err != nil {
		return kept{}, outbox.Record{}, fmt.Errorf("document %s: %w", doc.Ref.ID, err)
	}
	return k, k.record(doc.UpdateTime), nil
}

func (k kept) record(updated time.Time) outbox.Record {
	r := outbox.Record{Key: k.Key, Version: updated.UTC().Format(time.RFC3339Nano), Expires: k.Expires.UTC(), Data: k.Data}
	if k.Due != nil {
		r.Due = k.Due.UTC()
	}
	return r
}

// Put implements outbox.Store.
func (s *Store) Put(ctx context.Context, r outbox.Record) (outbox.Record, error) {
	next, err := s.put(ctx, r)
	return next, s.wrap(ctx, "write record", err)
}

func (s *Store) put(ctx context.Context, r outbox.Record) (outbox.Record, error) {
	if err := s.usable(ctx); err != nil {
		return outbox.Record{}, err
	}
	if err := outbox.Check(r); err != nil {
		return outbox.Record{}, err
	}
	k := kept{Key: r.Key, Write: rand.Text(), Expires: r.Expires.UTC().Truncate(time.Microsecond), Data: r.Data}
	if !r.Due.IsZero() {
		due := r.Due.UTC().Truncate(time.Millisecond)
		k.Due = &due
	}
	written, err := s.write(ctx, r, k)
	switch status.Code(err) {
	case codes.OK:
		return k.record(written.UpdateTime), nil
	case codes.AlreadyExists, codes.FailedPrecondition, codes.NotFound, codes.Aborted:
		// The SDK repeats a write to which it got no answer, and then meets what it has written itself.
		now, next, _, err := s.get(ctx, r.Key)
		if err == nil && now.Write != k.Write {
			err = outbox.ErrConflict
		}
		return next, err
	}
	return outbox.Record{}, err
}

func (s *Store) write(ctx context.Context, r outbox.Record, k kept) (*firestore.WriteResult, error) {
	if r.Version == "" {
		return s.doc(r.Key).Create(ctx, k)
	}
	updated, err := time.Parse(time.RFC3339Nano, r.Version)
	if err != nil {
		return nil, fmt.Errorf("version %q is none of this store: %w", r.Version, outbox.ErrConflict)
	}
	return s.doc(r.Key).Update(ctx, []firestore.Update{
		{Path: "write", Value: k.Write}, {Path: "due", Value: k.Due}, {Path: "expires", Value: k.Expires}, {Path: "data", Value: k.Data},
	}, firestore.LastUpdateTime(updated))
}

// Due implements outbox.Store. A query is ordered by what it compares; emulators may not do that.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]outbox.Record, error) {
	const tried = "list records that are due"
	if err := s.usable(ctx); err != nil {
		return nil, s.wrap(ctx, tried, err)
	}
	docs, err := s.collection.Where("due", "<=", now.UTC()).Limit(limit).Documents(ctx).GetAll()
	if err != nil {
		return nil, s.wrap(ctx, tried, err)
	}
	found := make([]outbox.Record, len(docs))
	for i, doc := range docs {
		if _, found[i], err = decode(doc); err != nil {
			return nil, s.wrap(ctx, tried, err)
		}
	}
	slices.SortStableFunc(found, func(a, b outbox.Record) int { return a.Due.Compare(b.Due) })
	return found, nil
}

// Ping implements outbox.Store. It reads one document that is not there.
func (s *Store) Ping(ctx context.Context) error {
	_, _, _, err := s.get(ctx, "ping")
	return s.wrap(ctx, "reach outbox", err)
}

// Close implements outbox.Store. Calls that are under way fail.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("close outbox: %w", err)
	}
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return errors.New("the store is closed")
	}
	return ctx.Err()
}

// wrap says what was tried and where. An ended context is told by its own error, which those of gRPC are not. The other side knows the
// deadline, and may tell that it has passed before the own clock does.
func (s *Store) wrap(ctx context.Context, tried string, err error) error {
	if err == nil {
		return nil
	}
	tried += " in " + s.collection.Path
	ended := ctx.Err()
	if ended == nil && status.Code(err) == codes.DeadlineExceeded {
		ended = context.DeadlineExceeded
	}
	switch {
	case errors.Is(err, outbox.ErrConflict):
		return fmt.Errorf("%s: %w", tried, err)
	case ended != nil:
		return fmt.Errorf("%s: %w: %w", tried, ended, err)
	}
	return fmt.Errorf("%s: %w: %w", tried, outbox.ErrUnavailable, err)
}
