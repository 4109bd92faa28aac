package firestoretest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llm-reliability/control-plane/shared/control/firestore/firestoretest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
)

// fields are those of a document.
type fields = map[string]any

// three sets the field n.
var three = []firestore.Update{{Path: "n", Value: 3}}

// database is one collection of a server. Calls that should end well end the test where they do not.
type database struct {
	*firestore.CollectionRef
	client *firestore.Client
	t      *testing.T
}

func (d database) set(id string, f fields) time.Time {
	d.t.Helper()
	w, err := d.Doc(id).Set(d.t.Context(), f)
	if err != nil {
		d.t.Fatalf("set %s: %v", id, err)
	}
	return w.UpdateTime
}

// has says how the documents a and b that exist differ from want.
func (d database) has(want ...string) error {
	docs, err := d.client.GetAll(d.t.Context(), []*firestore.DocumentRef{d.Doc("a"), d.Doc("b")})
	var got []string
	for _, doc := range docs {
		if doc.Exists() {
			got = append(got, doc.Ref.ID)
		}
	}
	if err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("documents: got %v, %w, want %v", got, err, want)
	}
	return nil
}

// holds says how the fields of a document differ from want.
func (d database) holds(id string, want fields) error {
	doc, err := d.Doc(id).Get(d.t.Context())
	if err != nil {
		return err
	}
	if diff := cmp.Diff(want, doc.Data()); diff != "" {
		return fmt.Errorf("fields of %s (-want +got):\n%s", id, diff)
	}
	return nil
}

// matching returns the IDs of the documents whose field is at or after t.
func (d database) matching(t time.Time) (ids []string) {
	d.t.Helper()
	docs, err := d.Where("at", ">=", t).Documents(d.t.Context()).GetAll()
	if err != nil {
		d.t.Fatalf("query: %v", err)
	}
	for _, doc := range docs {
		ids = append(ids, doc.Ref.ID)
	}
	slices.Sort(ids)
	return ids
}

// code says that a call should have ended otherwise.
func code(want codes.Code, err error) error {
	if got := status.Code(err); got != want {
		return fmt.Errorf("got %v (%w), want %v", got, err, want)
	}
	return nil
}

func only[T any](_ T, err error) error { return err }

// verdict is on the emulator.
type verdict int

const (
	doesNot verdict = iota
	does
	atTimes // its clock has milliseconds, and is not kept from standing still
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

// What of Firestore the stores rest on, shown through the SDK. What the emulator does otherwise is shown, too, so that
// nobody takes its word for it: if a new version does as Firestore does, this test says so by failing.
func TestBehaviour(t *testing.T) {
	t.Parallel()
	emulator := firestoretest.Client(t, emulatortest.Firestore(t))
	for name, tt := range map[string]struct {
		check    func(context.Context, database) error
		emulator verdict
	}{
		"what exists is not created again, and nothing after it is written": {emulator: does, check: func(ctx context.Context, d database) error {
			d.set("a", fields{"n": 1})
			_, err := d.client.Batch().Create(d.Doc("a"), fields{"n": 2}).Set(d.Doc("b"), fields{"n": 2}).Commit(ctx) //nolint:staticcheck // as the store does
			return errors.Join(code(codes.AlreadyExists, err), d.has("a"))
		}},
		"nor is what comes before it": {check: func(ctx context.Context, d database) error {
			d.set("a", fields{"n": 1})
			_, err := d.client.Batch().Set(d.Doc("b"), fields{"n": 2}).Create(d.Doc("a"), fields{"n": 2}).Commit(ctx) //nolint:staticcheck // as the store does
			return errors.Join(code(codes.AlreadyExists, err), d.has("a"))
		}},
		"an update wants the time of update that is given": {check: func(ctx context.Context, d database) error {
			updated := d.set("a", fields{"n": 1})
			d.set("a", fields{"n": 2})
			return code(codes.FailedPrecondition, only(d.Doc("a").Update(ctx, three, firestore.LastUpdateTime(updated))))
		}},
		"an update with the right time is made, and leaves other fields": {emulator: does, check: func(ctx context.Context, d database) error {
			updated := d.set("a", fields{"n": 1, "m": 1})
			if err := only(d.Doc("a").Update(ctx, three, firestore.LastUpdateTime(updated))); err != nil {
				return err
			}
			return d.holds("a", fields{"n": int64(3), "m": int64(1)})
		}},
		"times of update grow, however fast": {emulator: atTimes, check: func(_ context.Context, d database) error {
			for n, last := 0, (time.Time{}); n < 20; n++ {
				updated := d.set("a", fields{"n": n})
				if !updated.After(last) {
					return fmt.Errorf("update %d: got %v after %v", n, updated, last)
				}
				last = updated
			}
			return nil
		}},
		"a write that changes nothing keeps the time of update": {check: func(_ context.Context, d database) error {
			first := d.set("a", fields{"n": 1})
			for start := time.Now(); time.Since(start) < 5*time.Millisecond; {
				if again := d.set("a", fields{"n": 1}); !again.Equal(first) {
					return fmt.Errorf("got %v after %v", again, first)
				}
			}
			return nil
		}},
		"timestamps are rounded down to microseconds": {check: func(_ context.Context, d database) error {
			d.set("a", fields{"at": at})
			return d.holds("a", fields{"at": at.Truncate(time.Microsecond)})
		}},
		"a query leaves out what lacks the field, or has another type there": {emulator: does, check: func(_ context.Context, d database) error {
			for id, f := range map[string]fields{"early": {"at": at.Add(-time.Second)}, "same": {"at": at}, "late": {"at": at.Add(time.Second)}, "none": {"n": 1}, "text": {"at": "later"}} {
				d.set(id, f)
			}
			if got := d.matching(at); !slices.Equal(got, []string{"late", "same"}) {
				return fmt.Errorf("got %v, want late and same", got)
			}
			return nil
		}},
		"a replaced document has only its new fields": {check: func(_ context.Context, d database) error {
			d.set("a", fields{"n": 1})
			d.set("a", fields{"m": 1})
			return d.holds("a", fields{"m": int64(1)})
		}},
		"a deleted document is gone": {emulator: does, check: func(ctx context.Context, d database) error {
			d.set("a", fields{"n": 1})
			return errors.Join(only(d.Doc("a").Delete(ctx)), d.has())
		}},
		"IDs that are reserved or too long are refused": {check: func(ctx context.Context, d database) error {
			var errs []error
			for _, id := range []string{".", "..", "__a__", strings.Repeat("a", 1501)} {
				errs = append(errs, code(codes.InvalidArgument, only(d.Doc(id).Set(ctx, fields{"n": 1}))))
			}
			return errors.Join(errs...)
		}},
		"a document of more than 1 MiB is refused": {check: func(ctx context.Context, d database) error {
			return code(codes.InvalidArgument, only(d.Doc("a").Set(ctx, fields{"text": strings.Repeat("x", 1<<20)})))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := firestoretest.New(t).Client(t)
			if err := tt.check(t.Context(), database{client.Collection("test"), client, t}); err != nil {
				t.Errorf("stand-in: %v", err)
			}
			err := tt.check(t.Context(), database{emulator.Collection(name), emulator, t})
			if tt.emulator == does && err != nil {
				t.Errorf("emulator: %v", err)
			}
			if tt.emulator == doesNot && err == nil {
				t.Error("the emulator does this by now")
			}
		})
	}
}

// What is not implemented is refused, and not answered with something.
func TestWhatIsNotImplemented(t *testing.T) {
	t.Parallel()
	client := firestoretest.New(t).Client(t)
	c, ctx := client.Collection("test"), t.Context()
	for name, err := range map[string]error{
		"a transaction":      client.RunTransaction(ctx, func(context.Context, *firestore.Transaction) error { return nil }),
		"an order":           only(c.OrderBy("at", firestore.Asc).Documents(ctx).GetAll()),
		"two comparisons":    only(c.Where("at", ">", at).Where("at", "<", at).Documents(ctx).GetAll()),
		"another comparison": only(c.Where("at", "!=", at).Documents(ctx).GetAll()),
		"a list":             only(c.DocumentRefs(ctx).GetAll()),
		"a transform":        only(c.Doc("a").Set(ctx, fields{"at": firestore.ServerTimestamp})),
	} {
		if err := code(codes.Unimplemented, err); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
