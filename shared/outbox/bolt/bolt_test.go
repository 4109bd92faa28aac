package bolt_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/shared/outbox"
	"github.com/llm-reliability/control-plane/shared/outbox/bolt"
	"github.com/llm-reliability/control-plane/shared/outbox/outboxtest"
)

func open(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(bolt.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	outboxtest.Conformance(t, func(t *testing.T) outbox.Store { return open(t, filepath.Join(t.TempDir(), "new", "outbox.db")) })
}

func TestWhatWasWrittenOutlivesTheProcessAndWhatExpiredDoesNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	first, err := bolt.Open(bolt.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for key, expires := range map[string]time.Time{"kept": now.Add(time.Hour), "expired": now.Add(-time.Minute)} {
		if _, err := first.Put(t.Context(), outbox.Record{Key: key, Due: now.Add(-2 * time.Hour), Expires: expires}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bolt.Open(bolt.Options{Path: path, LockTimeout: time.Millisecond}); !errors.Is(err, outbox.ErrUnavailable) {
		t.Errorf("a second process: got %v, want unavailable", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	due, err := open(t, path).Due(t.Context(), now, 10)
	if err != nil || len(due) != 1 || due[0].Key != "kept" {
		t.Errorf("due after a restart: got %+v, %v, want the one that has not expired", due, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := bolt.Open(bolt.Options{}); err == nil {
		t.Error("no path was taken")
	}
}
