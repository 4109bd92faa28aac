package firestore_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/llm-reliability/control-plane/shared/control/firestore/firestoretest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
	"github.com/llm-reliability/control-plane/shared/outbox"
	"github.com/llm-reliability/control-plane/shared/outbox/firestore"
	"github.com/llm-reliability/control-plane/shared/outbox/outboxtest"
)

func open(t *testing.T, opts firestore.Options) *firestore.Store {
	t.Helper()
	s, err := firestore.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	outboxtest.Conformance(t, func(t *testing.T) outbox.Store {
		return open(t, firestore.Options{Client: firestoretest.New(t).Client(t), Name: "lrcp-escalation"})
	})
}

// The emulator ignores a precondition on the time of update, which the stand-in checks as Firestore does.
func TestConformanceWithTheEmulator(t *testing.T) {
	t.Parallel()
	addr := emulatortest.Firestore(t)
	var n atomic.Int32
	outboxtest.Conformance(t, func(t *testing.T) outbox.Store {
		return open(t, firestore.Options{Client: firestoretest.Client(t, addr), Name: fmt.Sprint("test", n.Add(1))})
	}, outboxtest.StaleLoses, outboxtest.OneWins)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	client := firestoretest.Client(t, "127.0.0.1:1")
	for want, opts := range map[string]firestore.Options{
		"Client is required": {Name: "n"},
		"Name is required":   {Client: client},
		"contain a slash":    {Client: client, Name: "a/b"},
	} {
		if _, err := firestore.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

// TestLostAnswer has Firestore write, and its answer not arrive: the SDK's repetition meets the record, and is no conflict.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	store := open(t, firestore.Options{Client: server.Client(t), Name: "lrcp-escalation"})
	now := time.Now()
	r := outbox.Record{Key: "a/b", Due: now, Expires: now.Add(time.Hour)}
	for range 2 { // a new record, and one that is changed
		server.Fail("Commit", firestoretest.Lose)
		next, err := store.Put(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		r = next
	}
	if got, ok, err := store.Get(t.Context(), "a/b"); !ok || err != nil || got.Version != r.Version {
		t.Errorf("got %+v, %v, %v, want version %s", got, ok, err, r.Version)
	}
	server.FailAlways("Commit", firestoretest.Answer(codes.PermissionDenied))
	if _, err := store.Put(t.Context(), r); err == nil || !strings.Contains(err.Error(), "lrcp-escalation") {
		t.Errorf("got %v, want an error that says where", err)
	}
}
