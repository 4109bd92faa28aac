// Package bolt keeps an outbox in one file with bbolt, for one machine. A write is on disk, synced, before it returns. One process at a
// time can hold the file.
package bolt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/llm-reliability/control-plane/shared/internal/boltfile"
	"github.com/llm-reliability/control-plane/shared/outbox"
)

// The layout of the file.
var (
	// recordsBucket holds each record as JSON under its key.
	recordsBucket = []byte("records")
	// dueBucket orders the keys by the time at which a record is due.
	dueBucket = []byte("due")
)

// Options say where the outbox is.
type Options = boltfile.Options

// Store is an outbox.Store in one file.
type Store struct{ file *boltfile.File }

var _ outbox.Store = (*Store)(nil)

// kept is a record in the file.
type kept struct {
	Version string    `json:"version"`
	Due     time.Time `json:"due,omitzero"`
	Expires time.Time `json:"expires"`
	Data    []byte    `json:"data"`
}

// Open opens or makes the file, and drops what has expired. The error wraps outbox.ErrUnavailable when another process holds it.
func Open(opts Options) (*Store, error) {
	file, err := boltfile.Open(opts)
	if err != nil {
		return nil, wrap("open outbox "+opts.Path, err)
	}
	if err := file.Update(context.Background(), func(tx *bbolt.Tx) error { return prepare(tx, time.Now()) }); err != nil {
		return nil, errors.Join(wrap("prepare outbox "+opts.Path, err), file.Close())
	}
	return &Store{file: file}, nil
}

// prepare makes the buckets, and deletes the records that have expired.
func prepare(tx *bbolt.Tx, now time.Time) error {
	for _, name := range [][]byte{recordsBucket, dueBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	records, due := tx.Bucket(recordsBucket), tx.Bucket(dueBucket)
	var gone [][]byte
	err := records.ForEach(func(key, value []byte) error {
		k, err := decode(key, value)
		if err != nil || now.Before(k.Expires) {
			return err
		}
		gone = append(gone, append(dueKey(k.Due), key...))
		return nil
	})
	for _, entry := range gone {
		err = errors.Join(err, records.Delete(entry[dueBytes:]), due.Delete(entry))
	}
	return err
}

// Get implements outbox.Store.
func (s *Store) Get(ctx context.Context, key string) (r outbox.Record, ok bool, err error) {
	err = s.file.View(ctx, func(tx *bbolt.Tx) error {
		value := tx.Bucket(recordsBucket).Get([]byte(key))
		if value == nil {
			return nil
		}
		ok = true
		r, err = record([]byte(key), value)
		return err
	})
	if err != nil {
		return outbox.Record{}, false, wrap("read record", err)
	}
	return r, ok, nil
}

// Put implements outbox.Store. It returns after the file was synced.
func (s *Store) Put(ctx context.Context, r outbox.Record) (outbox.Record, error) {
	const tried = "write record"
	if err := outbox.Check(r); err != nil {
		return outbox.Record{}, fmt.Errorf("%s: %w", tried, err)
	}
	next := r
	next.Version, next.Due = rand.Text(), r.Due.UTC().Truncate(time.Millisecond)
	err := s.file.Update(ctx, func(tx *bbolt.Tx) error {
		key, records, due := []byte(r.Key), tx.Bucket(recordsBucket), tx.Bucket(dueBucket)
		var before kept
		if value := records.Get(key); value != nil {
			var err error
			if before, err = decode(key, value); err != nil {
				return err
			}
		}
		if before.Version != r.Version {
			return outbox.ErrConflict
		}
		value, err := json.Marshal(kept{next.Version, next.Due, next.Expires, next.Data})
		if err != nil {
			return err
		}
		if err := errors.Join(due.Delete(append(dueKey(before.Due), key...)), records.Put(key, value)); err != nil || next.Due.IsZero() {
			return err
		}
		return due.Put(append(dueKey(next.Due), key...), key)
	})
	if err != nil {
		return outbox.Record{}, wrap(tried, err)
	}
	return next, nil
}

// Due implements outbox.Store.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) ([]outbox.Record, error) {
	var found []outbox.Record
	err := s.file.View(ctx, func(tx *bbolt.Tx) error {
		records, c := tx.Bucket(recordsBucket), tx.Bucket(dueBucket).Cursor()
		end := string(dueKey(now))
		for entry, key := c.First(); entry != nil && string(entry[:dueBytes]) <= end && len(found) < limit; entry, key = c.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := record(key, records.Get(key))
			if err != nil {
				return err
			}
			found = append(found, r)
		}
		return nil
	})
	if err != nil {
		return nil, wrap("list records that are due", err)
	}
	return found, nil
}

// Ping implements outbox.Store.
func (s *Store) Ping(ctx context.Context) error {
	return wrap("reach outbox", s.file.View(ctx, func(*bbolt.Tx) error { return nil }))
}

// Close implements outbox.Store. It waits for the calls that are under way.
func (s *Store) Close() error { return wrap("close outbox", s.file.Close()) }

func record(key, value []byte) (outbox.Record, error) {
	k, err := decode(key, value)
	return outbox.Record{Key: string(key), Version: k.Version, Due: k.Due, Expires: k.Expires, Data: k.Data}, err
}

func decode(key, value []byte) (kept, error) {
	var k kept
	if err := json.Unmarshal(value, &k); err != nil {
		return kept{}, fmt.Errorf("record %q in the file: %w", key, err)
	}
	return k, nil
}

// dueBytes is the length of what dueKey returns.
const dueBytes = 8

// dueKey is a time in milliseconds that sorts as times do: with the sign bit flipped, big-endian.
func dueKey(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(t.UnixMilli())^1<<63)
}

// wrap says what was tried. Conflicts and ended contexts stay what they are; all else makes the store unavailable.
func wrap(tried string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, outbox.ErrConflict), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", tried, err)
	}
	return fmt.Errorf("%s: %w: %w", tried, outbox.ErrUnavailable, err)
}
