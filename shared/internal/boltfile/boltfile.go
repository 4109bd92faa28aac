// Package boltfile opens a bbolt file for one process, and reads and writes it under a context. What is in the file, and what
// its errors mean, is for those who keep something there.
package boltfile

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrHeld is what Open returns when another process did not let go of the file in time.
var ErrHeld = errors.New("another process holds the file")

// Options say which file.
type Options struct {
	// Path is the file; it and its directory are made when they do not exist.
	Path string
	// LockTimeout bounds how long Open waits for another process to let go of the file; 1 s when 0.
	LockTimeout time.Duration
}

// File is an open file.
type File struct {
	db *bbolt.DB
	// writer is held while writing: bbolt's own lock for that cannot be given up when a context ends.
	writer chan struct{}
}

// Open opens or makes the file. The error is ErrHeld when another process holds it.
func Open(opts Options) (*File, error) {
	if opts.Path == "" {
		return nil, errors.New("boltfile: Path is required")
	}
	if err := os.MkdirAll(filepath.Dir(opts.Path), 0o700); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(opts.Path, 0o600, &bbolt.Options{Timeout: cmp.Or(opts.LockTimeout, time.Second)})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, ErrHeld
	}
	if err != nil {
		return nil, err
	}
	return &File{db: db, writer: make(chan struct{}, 1)}, nil
}

// View reads in one transaction. It returns the context's error when that has ended, and what read returns.
func (f *File) View(ctx context.Context, read func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.db.View(read)
}

// Update writes in one transaction, which is on disk, synced, when it returns nil; nothing is written otherwise. It waits for
// other writers, until the context ends, and returns the context's error then, or what write returns.
func (f *File) Update(ctx context.Context, write func(*bbolt.Tx) error) error {
	select {
	case f.writer <- struct{}{}:
		defer func() { <-f.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.db.Update(write)
}

// Close lets go of the file. It waits for the calls that are under way.
func (f *File) Close() error { return f.db.Close() }
