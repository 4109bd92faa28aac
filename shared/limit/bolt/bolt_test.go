package bolt_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/limit/bolt"
	"github.com/llm-reliability/control-plane/shared/limit/limittest"
)

func open(t *testing.T, path string) *bolt.Counters {
	t.Helper()
	c, err := bolt.Open(bolt.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	limittest.Conformance(t, func(t *testing.T) limit.Counters {
		c := open(t, filepath.Join(t.TempDir(), "below", "limits.db"))
		t.Cleanup(func() { _ = c.Close() }) //nolint:errcheck // what was read is read
		return c
	})
}

func TestCountersOutliveTheProcessUntilTheyExpire(t *testing.T) {
	path := filepath.Join(t.TempDir(), "limits.db")
	key := func(window string) limit.Key { return limit.Key{Caller: "web", Window: window} }
	one := limit.Amounts{Requests: 1}
	c := open(t, path)
	if _, err := c.Add(t.Context(), []limit.Delta{{Key: key("d1"), Add: one, Expires: time.Now().Add(time.Hour)}, {Key: key("d0"), Add: one, Expires: time.Now().Add(-time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(bolt.Options{Path: path, LockTimeout: time.Millisecond}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a second process: %v, want an error that names the file", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, path)
	defer c.Close()
	got, err := c.Add(t.Context(), []limit.Delta{{Key: key("d1"), Expires: time.Now().Add(time.Hour)}, {Key: key("d0"), Expires: time.Now().Add(time.Hour)}})
	if err != nil || got[0] != one || got[1] != (limit.Amounts{}) {
		t.Errorf("got %v, %v, want the first to be kept and the other to be gone", got, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := bolt.Open(bolt.Options{}); err == nil {
		t.Error("no path: no error")
	}
}
