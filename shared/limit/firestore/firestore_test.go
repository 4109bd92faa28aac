package firestore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/llm-reliability/control-plane/shared/control/firestore/firestoretest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/limit/firestore"
	"github.com/llm-reliability/control-plane/shared/limit/limittest"
)

func open(t *testing.T, opts firestore.Options) *firestore.Counters {
	t.Helper()
	c, err := firestore.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformanceWithTheEmulator(t *testing.T) {
	t.Parallel()
	addr := emulatortest.Firestore(t)
	var n atomic.Int32
	limittest.Conformance(t, func(t *testing.T) limit.Counters {
		return open(t, firestore.Options{Client: firestoretest.Client(t, addr), Prefix: fmt.Sprint("test", n.Add(1))})
	})
}

func TestNewRefusesOptions(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]firestore.Options{
		"Client is required":     {},
		`"a/b" contains a slash`: {Client: firestoretest.Client(t, "127.0.0.1:1"), Prefix: "a/b"},
	} {
		if _, err := firestore.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestAnOutageEndsWithTheContext(t *testing.T) {
	t.Parallel()
	c := open(t, firestore.Options{Client: firestoretest.Client(t, "127.0.0.1:1")})
	ctx, cancel := context.WithTimeout(t.Context(), 100*1e6)
	defer cancel()
	_, err := c.Add(ctx, []limit.Delta{{Key: limit.Key{Caller: "web", Window: "m1"}, Add: limit.Amounts{Requests: 1}}})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "lrcp-limit") {
		t.Errorf("got %v, want that the deadline passed, and where", err)
	}
}
