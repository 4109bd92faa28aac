// Package bolt keeps counters in one file with bbolt, for one machine. A sum is on disk, synced, before Add returns. One process at
// a time can hold the file.
package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/llm-reliability/control-plane/shared/internal/boltfile"
	"github.com/llm-reliability/control-plane/shared/limit"
)

// countersBucket holds a bucket for each window, so that windows go as a whole, and in it each counter as JSON under its caller.
var countersBucket = []byte("counters")

// Options say where the counters are.
type Options = boltfile.Options

// Counters are limit.Counters in one file.
type Counters struct{ file *boltfile.File }

var _ limit.Counters = (*Counters)(nil)

// kept is a counter in the file.
type kept struct {
	Requests int64     `json:"requests,omitempty"`
	Tokens   int64     `json:"tokens,omitempty"`
	NanoUSD  int64     `json:"nanousd,omitempty"`
	Expires  time.Time `json:"expires"`
}

// Open opens or makes the file, and drops the windows that have expired.
func Open(opts Options) (*Counters, error) {
	file, err := boltfile.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("open counters %s: %w", opts.Path, err)
	}
	if err := file.Update(context.Background(), func(tx *bbolt.Tx) error { return prepare(tx, time.Now()) }); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare counters %s: %w", opts.Path, err), file.Close())
	}
	return &Counters{file: file}, nil
}

// prepare makes the bucket, and deletes the windows whose counters have all expired.
func prepare(tx *bbolt.Tx, now time.Time) error {
	counters, err := tx.CreateBucketIfNotExists(countersBucket)
	if err != nil {
		return err
	}
	var gone [][]byte
	err = counters.ForEachBucket(func(window []byte) error {
		alive := false
		err := counters.Bucket(window).ForEach(func(_, value []byte) error {
			var k kept
			if err := json.Unmarshal(value, &k); err != nil {
				return fmt.Errorf("counter of window %q: %w", window, err)
			}
			alive = alive || now.Before(k.Expires)
			return nil
		})
		if !alive {
			gone = append(gone, window)
		}
		return err
	})
	for _, window := range gone {
		err = errors.Join(err, counters.DeleteBucket(window))
	}
	return err
}

// Add implements limit.Counters.
func (c *Counters) Add(ctx context.Context, deltas []limit.Delta) ([]limit.Amounts, error) {
	sums := make([]limit.Amounts, len(deltas))
	err := c.file.Update(ctx, func(tx *bbolt.Tx) error {
		for i, d := range deltas {
			sum, err := add(tx.Bucket(countersBucket), d)
			if err != nil {
				return err
			}
			sums[i] = sum
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("add to counters: %w", err)
	}
	return sums, nil
}

func add(counters *bbolt.Bucket, d limit.Delta) (limit.Amounts, error) {
	window, err := counters.CreateBucketIfNotExists([]byte(d.Key.Window))
	if err != nil {
		return limit.Amounts{}, err
	}
	var k kept
	if value := window.Get([]byte(d.Key.Caller)); value != nil {
		if err := json.Unmarshal(value, &k); err != nil {
			return limit.Amounts{}, fmt.Errorf("counter of window %q: %w", d.Key.Window, err)
		}
	}
	k.Requests, k.Tokens, k.NanoUSD = k.Requests+d.Add.Requests, k.Tokens+d.Add.Tokens, k.NanoUSD+d.Add.NanoUSD
	k.Expires = d.Expires.UTC()
	sum := limit.Amounts{Requests: k.Requests, Tokens: k.Tokens, NanoUSD: k.NanoUSD}
	if d.Add == (limit.Amounts{}) {
		return sum, nil
	}
	value, err := json.Marshal(k)
	if err != nil {
		return limit.Amounts{}, err
	}
	return sum, window.Put([]byte(d.Key.Caller), value)
}

// Close lets go of the file.
func (c *Counters) Close() error {
	if err := c.file.Close(); err != nil {
		return fmt.Errorf("close counters: %w", err)
	}
	return nil
}
