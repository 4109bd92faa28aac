// Package outbox keeps work that was accepted and has to be done, once, whatever happens to the process that accepted it: a record for
// each piece of work, written only where nobody else wrote it meanwhile, and found again when it is due.
//
// It does none of the work, and knows nothing of it: what is in a record, how often it is tried, and when it is done is for its users
// to say. Stores live in subpackages named for their technology.
package outbox

import (
	"context"
	"errors"
	"time"
)

// Record is one piece of work. It stays when the work is done, so that whoever asks for it again finds that it was.
type Record struct {
	// Key identifies the work: 1 to 400 bytes of UTF-8.
	Key string
	// Version is what a store gave the record when it was written last; empty for one that was never stored. Only the store that
	// made it knows its form.
	Version string
	// Due is when somebody has to look at the record; zero when nothing is to be done. Stores keep it to the millisecond.
	Due time.Time
	// Expires is when the record may be forgotten; required, and later than Due. It may be found for longer.
	Expires time.Time
	// Data is what the user keeps, at most MaxData bytes.
	Data []byte
}

// The bounds of a record, which every technology can hold.
const (
	MaxKey  = 400
	MaxData = 256 << 10
)

// The errors of a Store that callers branch on.
var (
	// ErrConflict: the record was written since the version was read; read again and decide again.
	ErrConflict = errors.New("record changed meanwhile")
	// ErrUnavailable: the store cannot be reached or does not answer.
	ErrUnavailable = errors.New("outbox unavailable")
)

// Store keeps records. Every implementation passes outboxtest.Conformance:
//
//   - Get returns the record that was written last; ok is false when there is none.
//   - Put writes a record if the store still has its version, or has none of its key when Version is empty, and returns it with its
//     new version. Otherwise it returns ErrConflict and writes nothing. When it returns nil, the write is durable, and every later Get
//     and Due, from any process, sees it.
//   - Due returns up to limit records that are due at now, those that are due for longest first.
//   - Failures to reach the store, a closed one included, wrap ErrUnavailable.
//   - All methods may be called concurrently. They return soon after ctx ends, with its error; a Put that returned it was made whole
//     or not at all.
type Store interface {
	Get(ctx context.Context, key string) (r Record, ok bool, err error)
	Put(ctx context.Context, r Record) (Record, error)
	Due(ctx context.Context, now time.Time, limit int) ([]Record, error)
	// Ping says whether the store can be reached, cheaply.
	Ping(ctx context.Context) error
	Close() error
}

// Check returns what is wrong with a record that is to be written, or nil. Stores call it.
func Check(r Record) error {
	switch {
	case r.Key == "" || len(r.Key) > MaxKey:
		return errors.New("the key of a record must be 1 to 400 bytes long")
	case len(r.Data) > MaxData:
		return errors.New("a record must not hold more than 256 KiB")
	case r.Expires.IsZero() || r.Expires.Before(r.Due):
		return errors.New("a record must expire, and not before it is due")
	}
	return nil
}
