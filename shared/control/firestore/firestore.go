// Package firestore keeps the control state in Cloud Firestore, in Native mode, for as many processes as there are. It
// neither makes the database nor sets the TTL policy on the field "expires": deployment does.
//
// One collection holds it all:
//
//   - meta has the version, a number that each commit counts up.
//   - override.<ID> is an override: its JSON, since a timestamp of Firestore is cut to microseconds, and beside it the
//     time until which it holds, for the query.
//   - after.<version> says which commit followed that version. It tells a commit whose answer was lost that it was made.
//
// A commit is one call, made whole or not at all, under the condition that meta has the update time that was read with the
// version, and that nothing followed it. Firestore needs but the first condition; the second also holds in emulators, which
// ignore update times.
//
// A query is a snapshot. The one by which State reads returns overrides and meta alike, because meta holds until the end
// of time: version and overrides are of one moment, without a transaction. It needs no index beyond those that Firestore
// makes by itself.
package firestore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llm-reliability/control-plane/shared/control"
)

// Options are the dependencies of a Store.
type Options struct {
	// Client is required. Close closes it.
	Client *firestore.Client
	// Prefix begins the collection's name, <prefix>-control; "lrcp" when empty.
	Prefix string
	// Retention is how long a document stays after its override has ended, before the TTL policy deletes it; 400 days when 0.
	Retention time.Duration
	// Timeout bounds each call, with everything that the SDK repeats in it: by itself, that goes on for a minute or for
	// ever. 5 s when 0.
	Timeout time.Duration
}

// Store is a control.Store in one collection.
type Store struct {
	client     *firestore.Client
	collection *firestore.CollectionRef
	retention  time.Duration
	timeout    time.Duration
	closed     atomic.Bool
	last       atomic.Pointer[snapshot]
}

var _ control.Store = (*Store)(nil)

// snapshot is a state that was read, with all overrides whose Until is after since. It is never changed.
type snapshot struct {
	control.State
	since time.Time
}

// New checks the options and returns a Store. It does not call Firestore.
func New(opts Options) (*Store, error) {
	if opts.Client == nil {
		return nil, errors.New("firestore: Client is required")
	}
	if opts.Retention < 0 || opts.Timeout < 0 {
		return nil, errors.New("firestore: Retention and Timeout must not be negative")
	}
	name := cmp.Or(opts.Prefix, "lrcp") + "-control"
	if strings.Contains(name, "/") {
		return nil, fmt.Errorf("firestore: Prefix %q contains a slash, which separates collections from documents", opts.Prefix)
	}
	return &Store{
		client:     opts.Client,
		collection: opts.Client.Collection(name),
		retention:  cmp.Or(opts.Retention, 400*24*time.Hour),
		timeout:    cmp.Or(opts.Timeout, 5*time.Second),
	}, nil
}

// State implements control.Store.
//
// Firestore bills each document that it returns, and this is called once a second by every process. While overrides are in
// force, and the last state that was read covers what is asked for, only meta is read, to see that it still holds. Without
// overrides the query returns nothing else anyhow.
func (s *Store) State(ctx context.Context, since time.Time) (control.State, error) {
	var state control.State
	err := s.call(ctx, "read control state", func(ctx context.Context) error {
		if last := s.last.Load(); last != nil && len(last.Overrides) > 0 && !since.Before(last.since) {
			m, err := s.meta(ctx)
			if err != nil {
				return err
			}
			if m.version() == last.Version {
				state = last.after(since)
				return nil
			}
		}
		read, err := s.query(ctx, since)
		if err != nil {
			return err
		}
		if read.Version != none { // which any state without meta has
			s.last.Store(read)
		}
		state = read.after(since)
		return nil
	})
	return state, err
}

// after returns the part of the state that is after since, for the caller to keep.
func (s *snapshot) after(since time.Time) control.State {
	state := control.State{Version: s.Version}
	for _, o := range s.Overrides {
		if !o.Until().After(since) {
			continue
		}
		if o.Ended != nil {
			ended := *o.Ended
			o.Ended = &ended
		}
		state.Overrides = append(state.Overrides, o)
	}
	return state
}

// meta reads the version. Before the first commit there is none.
func (s *Store) meta(ctx context.Context) (m meta, err error) {
	doc, err := s.get(ctx, metaID, &m)
	if doc != nil {
		m.updated = doc.UpdateTime
	}
	return m, err
}

// get reads one document into to. It returns nil when there is none.
func (s *Store) get(ctx context.Context, id string, to any) (*firestore.DocumentSnapshot, error) {
	docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{s.collection.Doc(id)})
	if err != nil || !docs[0].Exists() {
		return nil, err
	}
	return docs[0], read(docs[0], to)
}

// query reads meta and the overrides that hold after since, at one moment.
func (s *Store) query(ctx context.Context, since time.Time) (*snapshot, error) {
	// What is stored is rounded down. So is what it is compared with, and snapshot.after leaves out what is too early.
	q := s.collection.Where("until", ">=", stored(since))
	docs, err := q.Documents(ctx).GetAll()
	if status.Code(err) == codes.Unavailable {
		// The SDK repeats other reads itself. A connection that broke while the instance was frozen must not cost a State.
		docs, err = q.Documents(ctx).GetAll()
	}
	if err != nil {
		return nil, err
	}
	var m meta
	state := &snapshot{since: since}
	for _, doc := range docs {
		switch id := doc.Ref.ID; {
		case id == metaID:
			if err := read(doc, &m); err != nil {
				return nil, err
			}
			m.updated = doc.UpdateTime
		case strings.HasPrefix(id, overridePrefix):
			var k kept
			if err := read(doc, &k); err != nil {
				return nil, err
			}
			o, err := k.decode(doc)
			if err != nil {
				return nil, err
			}
			state.Overrides = append(state.Overrides, o)
		}
	}
	state.Version = m.version()
	slices.SortFunc(state.Overrides, func(a, b control.Override) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return state, nil
}

// Commit implements control.Store. It returns ErrConflict also when Firestore gives up on contention.
func (s *Store) Commit(ctx context.Context, version control.Version, overrides []control.Override) error {
	commit := rand.Text()
	batch, after, err := s.batch(version, commit, overrides)
	if err != nil {
		return fmt.Errorf("write control state: %w", err)
	}
	return s.call(ctx, "write control state", func(ctx context.Context) error {
		_, err := batch.Commit(ctx)
		switch status.Code(err) {
		case codes.AlreadyExists, codes.FailedPrecondition, codes.NotFound, codes.Aborted:
		default:
			return err
		}
		// The SDK repeats a commit to which it got no answer, and then meets what it has made itself.
		var f followed
		if _, err := s.get(ctx, after, &f); err != nil {
			return fmt.Errorf("read what followed version %s: %w", version, err)
		}
		if f.Commit != commit {
			return control.ErrConflict
		}
		return nil
	})
}

// batch returns the writes of a commit, and the ID of the document that tells whether it was made.
//
// They are no transaction: that would be a call more, and would lock what is read once a second by every process. The
// successor of Batch that its deprecation names does not write all or none.
func (s *Store) batch(version control.Version, commit string, overrides []control.Override) (*firestore.WriteBatch, string, error) { //nolint:staticcheck // see above
	last := time.Now()
	for _, o := range overrides {
		if o.Until().After(last) {
			last = o.Until()
		}
	}
	batch, after := s.client.Batch(), afterPrefix+string(version) //nolint:staticcheck // see above
	if version == none {
		// Nothing is known of what was there before: the ID must be one that no other commit has.
		after += "-" + commit
		batch.Create(s.collection.Doc(metaID), meta{Version: 1, Until: lastTime})
		batch.Create(s.collection.Doc(after), followed{commit, s.expires(last)})
	} else {
		m, ok := parse(version)
		if !ok {
			return nil, "", fmt.Errorf("%w: version %q is none of this store", control.ErrConflict, version)
		}
		batch.Create(s.collection.Doc(after), followed{commit, s.expires(last)})
		batch.Update(s.collection.Doc(metaID), []firestore.Update{{Path: "version", Value: m.Version + 1}, {Path: "until", Value: lastTime}},
			firestore.LastUpdateTime(m.updated))
	}
	for _, o := range overrides {
		if !control.ValidID(o.ID) {
			return nil, "", fmt.Errorf("%q cannot be the ID of an override", o.ID)
		}
		value, err := json.Marshal(o)
		if err != nil {
			return nil, "", fmt.Errorf("override %s: %w", o.ID, err)
		}
		batch.Set(s.collection.Doc(overrideID(o.ID)), kept{string(value), stored(o.Until()), s.expires(o.Until())})
	}
	return batch, after, nil
}

func (s *Store) expires(until time.Time) time.Time { return stored(until.Add(s.retention)) }

// Get implements control.Store.
func (s *Store) Get(ctx context.Context, id string) (o control.Override, ok bool, err error) {
	err = s.call(ctx, "read override "+strconv.Quote(id), func(ctx context.Context) error {
		if !control.ValidID(id) {
			return nil // Commit takes no such ID, and Firestore would refuse a very long one
		}
		var k kept
		doc, err := s.get(ctx, overrideID(id), &k)
		if err != nil || doc == nil {
			return err
		}
		ok = true
		o, err = k.decode(doc)
		return err
	})
	if err != nil {
		return control.Override{}, false, err
	}
	return o, ok, nil
}

// Ping implements control.Store. It reads one document.
func (s *Store) Ping(ctx context.Context) error {
	return s.call(ctx, "reach control state", func(ctx context.Context) error {
		_, err := s.meta(ctx)
		return err
	})
}

// Close implements control.Store. Calls that are under way fail.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("close control state: %w", err)
	}
	return nil
}

// moment is by how much the clocks of two sides of a call may differ in when a deadline has passed.
const moment = 10 * time.Millisecond

// call bounds what f does, and says what was tried and where. Conflicts stay what they are, and an ended context is told
// by its own error, which those of gRPC are not; all else makes the store unavailable.
func (s *Store) call(ctx context.Context, tried string, f func(context.Context) error) error {
	tried += " in " + s.collection.Path
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", tried, err)
	}
	if s.closed.Load() {
		return fmt.Errorf("%s: %w: the store is closed", tried, control.ErrUnavailable)
	}
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := f(bounded)
	if deadline, _ := bounded.Deadline(); err != nil && time.Until(deadline) < moment {
		<-bounded.Done() // the other side is told the deadline, and may tell that it has passed before the own clock does
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrConflict):
		return fmt.Errorf("%s: %w", tried, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", tried, ctx.Err(), err)
	case bounded.Err() != nil:
		return fmt.Errorf("%s: %w: no answer within %v", tried, control.ErrUnavailable, s.timeout)
	}
	return fmt.Errorf("%s: %w: %w", tried, control.ErrUnavailable, err)
}
