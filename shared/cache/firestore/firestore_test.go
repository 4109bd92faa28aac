package firestore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/cache/cachetest"
	"github.com/llm-reliability/control-plane/shared/cache/firestore"
	"github.com/llm-reliability/control-plane/shared/control/firestore/firestoretest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
	"github.com/llm-reliability/control-plane/shared/llm"
)

func open(t *testing.T, opts firestore.Options) *firestore.Tier {
	t.Helper()
	tier, err := firestore.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return tier
}

// The emulator knows no limit of a document's size; the stand-in does.
func TestConformanceWithTheEmulator(t *testing.T) {
	t.Parallel()
	addr := emulatortest.Firestore(t)
	var n atomic.Int32
	cachetest.Conformance(t, func(t *testing.T) cache.Tier {
		return open(t, firestore.Options{Client: firestoretest.Client(t, addr), Prefix: fmt.Sprint("test", n.Add(1))})
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	cachetest.Conformance(t, func(t *testing.T) cache.Tier {
		return open(t, firestore.Options{Client: firestoretest.New(t).Client(t)})
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

var stored = time.Date(2126, 1, 2, 3, 4, 5, 678901234, time.UTC)

func entry(text string) cache.Entry {
	return cache.Entry{Response: llm.Response{Text: text, Finish: llm.FinishStop}, Stored: stored}
}

// What other versions of this package, and the TTL policy, find in the database.
func TestDocument(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	tier, e := open(t, firestore.Options{Client: server.Client(t)}), entry("yes")
	if err := tier.Put(t.Context(), "a/b", e, stored.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	doc := server.Documents()["lrcp-cache/entry.a%2Fb"]
	if len(server.Documents()) != 1 || doc == nil {
		t.Fatalf("documents: got %v, want lrcp-cache/entry.a%%2Fb alone", server.Documents())
	}
	value, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	text, err := protojson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Fields map[string]map[string]string }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		"entry":   {"stringValue": string(value)},
		"expires": {"timestampValue": "2126-01-02T04:04:05.678901Z"},
	}
	if diff := cmp.Diff(want, got.Fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestKeysDoNotMeet(t *testing.T) {
	t.Parallel()
	tier := open(t, firestore.Options{Client: firestoretest.New(t).Client(t)})
	keys := []string{"", ".", "..", "/", "a/b", "a%2Fb", "a", "__a__", "entry.a", "ä", "\xff", strings.Repeat("f", 64)}
	for _, key := range keys {
		if err := tier.Put(t.Context(), key, entry("of "+key), stored); err != nil {
			t.Errorf("put %q: %v", key, err)
		}
	}
	for _, key := range keys {
		want := strings.ToValidUTF8("of "+key, "\ufffd")
		if e, ok, err := tier.Get(t.Context(), key, time.Now()); e.Response.Text != want || !ok || err != nil {
			t.Errorf("get %q: got %q, %v, %v", key, e.Response.Text, ok, err)
		}
	}
}

// The largest entry that is sent is one that Firestore takes, even under a long key.
func TestLargestEntry(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	tier := open(t, firestore.Options{Client: server.Client(t)})
	key := strings.Repeat("k", 1000)
	value, err := json.Marshal(entry(""))
	if err != nil {
		t.Fatal(err)
	}
	const most = 1<<20 - 8<<10
	largest := entry(strings.Repeat("x", most-len(value)-len(`"text":""`)))
	for range 2 { // the field "text" may or may not be there when it is empty
		if value, err = json.Marshal(largest); err != nil {
			t.Fatal(err)
		}
		largest.Response.Text = strings.Repeat("x", len(largest.Response.Text)+most-len(value))
	}
	if err := tier.Put(t.Context(), key, largest, stored); err != nil {
		t.Errorf("put of %d bytes: %v", most, err)
	}
	if got, ok, err := tier.Get(t.Context(), key, time.Now()); !ok || err != nil || got.Response.Text != largest.Response.Text {
		t.Errorf("get: got %d bytes, %v, %v", len(got.Response.Text), ok, err)
	}
	before := server.Calls(firestoretest.Commit)
	if err := tier.Put(t.Context(), key, entry(largest.Response.Text+"x"), stored); !errors.Is(err, cache.ErrTooLarge) {
		t.Errorf("put of a byte more: got %v, want ErrTooLarge", err)
	}
	if server.Calls(firestoretest.Commit) != before {
		t.Error("what is too large was sent")
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		once, always firestoretest.Fault
		want         string // part of the error; empty for none
	}{
		"unavailable once": {once: firestoretest.Answer(codes.Unavailable)},
		"a lost answer":    {once: firestoretest.Lose},
		// The SDK tries five times, with pauses that are random, so that the context may or may not end before.
		"unavailable always": {always: firestoretest.Answer(codes.Unavailable), want: "lrcp-cache"},
		"no answer":          {always: firestoretest.Hang, want: "context deadline exceeded"},
		"permission denied":  {always: firestoretest.Answer(codes.PermissionDenied), want: "PermissionDenied"},
		"no database":        {always: firestoretest.Answer(codes.NotFound), want: "NotFound"},
		"an internal error":  {always: firestoretest.Answer(codes.DataLoss), want: "DataLoss"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := firestoretest.New(t)
			tier := open(t, firestore.Options{Client: server.Client(t)})
			if err := tier.Put(t.Context(), "key", entry("first"), stored); err != nil { // connects
				t.Fatal(err)
			}
			for _, method := range []string{firestoretest.Commit, firestoretest.BatchGet} {
				if tt.once != nil {
					server.Fail(method, tt.once)
				}
				server.FailAlways(method, tt.always)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			putErr := tier.Put(ctx, "key", entry("second"), stored)
			ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			got, ok, getErr := tier.Get(ctx, "key", time.Now())
			if tt.want == "" {
				if diff := cmp.Diff(entry("second"), got); diff != "" || !ok || putErr != nil || getErr != nil {
					t.Errorf("put %v, get %v, %v (-want +got):\n%s", putErr, ok, getErr, diff)
				}
				return
			}
			for call, err := range map[string]error{"put": putErr, "get": getErr} {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), firestoretest.Database) {
					t.Errorf("%s: got %v, want an error with %q and the name of the database", call, err, tt.want)
				}
				if tt.want == "context deadline exceeded" && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: got %v, want the context's error", call, err)
				}
			}
			if ok {
				t.Errorf("get: got %v with its error", got)
			}
		})
	}
}

func TestStrangeDocuments(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]map[string]any{
		"no JSON":         {"entry": "{", "expires": stored},
		"another type":    {"entry": 1, "expires": stored},
		"expires as text": {"entry": "{}", "expires": "tomorrow"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := firestoretest.New(t).Client(t)
			if _, err := client.Collection("lrcp-cache").Doc("entry.key").Set(t.Context(), data); err != nil {
				t.Fatal(err)
			}
			tier := open(t, firestore.Options{Client: client})
			if _, ok, err := tier.Get(t.Context(), "key", time.Now()); ok || err == nil {
				t.Errorf("get: got %v, %v, want an error", ok, err)
			}
			if err := tier.Put(t.Context(), "key", entry("new"), stored); err != nil {
				t.Fatal(err)
			}
			if _, ok, err := tier.Get(t.Context(), "key", time.Now()); !ok || err != nil {
				t.Errorf("get after it was replaced: %v, %v", ok, err)
			}
		})
	}
}
