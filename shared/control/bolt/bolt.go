// Package bolt keeps the control state in one file with bbolt, for one machine. A commit is on disk, synced, before it
// returns. One process at a time can hold the file.
package bolt

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/internal/boltfile"
)

// The layout of the file.
var (
	// overridesBucket holds each override as JSON under its ID.
	overridesBucket = []byte("overrides")
	// untilBucket orders the IDs by the time until which an override holds, so that a State reads what it returns and
	// not the whole history.
	untilBucket = []byte("until")
	// metaBucket holds the version under versionKey, a decimal that each commit counts up.
	metaBucket = []byte("meta")
	versionKey = []byte("version")
)

// Options say where the state is.
type Options = boltfile.Options

// Store is a control.Store in one file.
type Store struct{ file *boltfile.File }

var _ control.Store = (*Store)(nil)

// Open opens or makes the file. The error wraps control.ErrUnavailable when another process holds it.
func Open(opts Options) (*Store, error) {
	file, err := boltfile.Open(opts)
	if errors.Is(err, boltfile.ErrHeld) {
		err = fmt.Errorf("%w: %w", control.ErrUnavailable, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open control state %s: %w", opts.Path, err)
	}
	if err := prepare(file); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare control state %s: %w", opts.Path, err), file.Close())
	}
	return &Store{file: file}, nil
}

// prepare makes the buckets that are missing. A write waits for the disk, and would do so at every cold start: a file
// that has them all is only read.
func prepare(file *boltfile.File) error {
	names := [][]byte{overridesBucket, untilBucket, metaBucket}
	ready := true
	err := file.View(context.Background(), func(tx *bbolt.Tx) error {
		for _, name := range names {
			ready = ready && tx.Bucket(name) != nil
		}
		return nil
	})
	if err != nil || ready {
		return err
	}
	return file.Update(context.Background(), func(tx *bbolt.Tx) error {
		for _, name := range names {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// State implements control.Store.
func (s *Store) State(ctx context.Context, since time.Time) (control.State, error) {
	var state control.State
	err := s.file.View(ctx, func(tx *bbolt.Tx) error {
		state.Version = version(tx)
		overrides, c := tx.Bucket(overridesBucket), tx.Bucket(untilBucket).Cursor()
		for k, id := c.Seek(timeKey(since.Add(1))); k != nil; k, id = c.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			o, err := decode(id, overrides.Get(id))
			if err != nil {
				return err
			}
			state.Overrides = append(state.Overrides, o)
		}
		return nil
	})
	if err != nil {
		return control.State{}, wrap("read control state", err)
	}
	slices.SortFunc(state.Overrides, func(a, b control.Override) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return state, nil
}

// Commit implements control.Store. It returns after the file was synced.
func (s *Store) Commit(ctx context.Context, expected control.Version, overrides []control.Override) error {
	err := s.file.Update(ctx, func(tx *bbolt.Tx) error {
		if version(tx) != expected {
			return control.ErrConflict
		}
		for _, o := range overrides {
			if err := put(tx, o); err != nil {
				return fmt.Errorf("override %s: %w", o.ID, err)
			}
		}
		n, err := strconv.ParseUint(string(expected), 10, 64)
		if err != nil {
			return fmt.Errorf("version %q: %w", expected, err)
		}
		return tx.Bucket(metaBucket).Put(versionKey, strconv.AppendUint(nil, n+1, 10))
	})
	return wrap("write control state", err)
}

// Get implements control.Store.
func (s *Store) Get(ctx context.Context, id string) (o control.Override, ok bool, err error) {
	err = s.file.View(ctx, func(tx *bbolt.Tx) error {
		value := tx.Bucket(overridesBucket).Get([]byte(id))
		if value == nil {
			return nil
		}
		ok = true
		o, err = decode([]byte(id), value)
		return err
	})
	if err != nil {
		return control.Override{}, false, wrap("read override "+strconv.Quote(id), err)
	}
	return o, ok, nil
}

// Ping implements control.Store.
func (s *Store) Ping(ctx context.Context) error {
	return wrap("reach control state", s.file.View(ctx, func(*bbolt.Tx) error { return nil }))
}

// Close implements control.Store. It waits for the calls that are under way.
func (s *Store) Close() error { return wrap("close control state", s.file.Close()) }

// put writes an override and moves its entry in the order of ends.
func put(tx *bbolt.Tx, o control.Override) error {
	id, overrides, until := []byte(o.ID), tx.Bucket(overridesBucket), tx.Bucket(untilBucket)
	if old := overrides.Get(id); old != nil {
		before, err := decode(id, old)
		if err != nil {
			return err
		}
		if err := until.Delete(untilKey(before)); err != nil {
			return err
		}
	}
	value, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := overrides.Put(id, value); err != nil {
		return err
	}
	return until.Put(untilKey(o), id)
}

func version(tx *bbolt.Tx) control.Version {
	if v := tx.Bucket(metaBucket).Get(versionKey); v != nil {
		return control.Version(v)
	}
	return "0"
}

func decode(id, value []byte) (control.Override, error) {
	var o control.Override
	if err := json.Unmarshal(value, &o); err != nil {
		return o, fmt.Errorf("override %s in the file: %w", id, err)
	}
	return o, nil
}

// untilKey orders overrides by their end; the ID keeps those apart that end together.
func untilKey(o control.Override) []byte {
	return append(timeKey(o.Until()), o.ID...)
}

// timeKey is 12 bytes that sort as times do: Unix seconds with the sign bit flipped, then nanoseconds, big-endian.
func timeKey(t time.Time) []byte {
	key := binary.BigEndian.AppendUint64(make([]byte, 0, 12), uint64(t.Unix())^1<<63)
	return binary.BigEndian.AppendUint32(key, uint32(t.Nanosecond()))
}

// wrap says what was tried. Conflicts and ended contexts stay what they are; all else makes the store unavailable.
func wrap(tried string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrConflict), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", tried, err)
	}
	return fmt.Errorf("%s: %w: %w", tried, control.ErrUnavailable, err)
}
