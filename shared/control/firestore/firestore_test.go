package firestore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "cloud.google.com/go/firestore"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/control/firestore"
	"github.com/llm-reliability/control-plane/shared/control/firestore/firestoretest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
)

func open(t testing.TB, opts firestore.Options) *firestore.Store {
	t.Helper()
	store, err := firestore.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// prefixes gives every test that shares an emulator a collection of its own.
func prefixes() func() string {
	var mu sync.Mutex
	n := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("test%d", n)
	}
}

// The emulator was written by others from the protocol, which makes it a second opinion. It does less than the cloud: it
// has no real transactions, ignores the precondition on update times, keeps timestamps with nanoseconds, knows no limits,
// and its update times are of milliseconds. It keeps what the store rests on: a commit is made whole or not at all, and
// not if a document that must not exist does. What it lacks, the stand-in in firestoretest has.
func TestConformanceWithTheEmulator(t *testing.T) {
	t.Parallel()
	addr, prefix := emulatortest.Firestore(t), prefixes()
	controltest.Conformance(t, func(t *testing.T) control.Store {
		return open(t, firestore.Options{Client: firestoretest.Client(t, addr), Prefix: prefix()})
	})
	controltest.Durable(t, func(t *testing.T) control.Store {
		return open(t, firestore.Options{Client: firestoretest.Client(t, addr), Prefix: "durable"})
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	controltest.Conformance(t, func(t *testing.T) control.Store {
		return open(t, firestore.Options{Client: firestoretest.New(t).Client(t)})
	})
	server := firestoretest.New(t)
	controltest.Durable(t, func(t *testing.T) control.Store {
		return open(t, firestore.Options{Client: server.Client(t)})
	})
}

func TestNewRefusesOptions(t *testing.T) {
	t.Parallel()
	client := firestoretest.Client(t, "127.0.0.1:1")
	for name, tt := range map[string]struct {
		opts firestore.Options
		want string
	}{
		"no client":          {firestore.Options{}, "Client is required"},
		"negative retention": {firestore.Options{Client: client, Retention: -1}, "must not be negative"},
		"negative timeout":   {firestore.Options{Client: client, Timeout: -1}, "must not be negative"},
		"a path as prefix":   {firestore.Options{Client: client, Prefix: "a/b"}, `"a/b" contains a slash`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := firestore.New(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// epoch is far enough ahead that what is stored does not depend on the day of the test.
var epoch = time.Date(2126, 1, 2, 3, 4, 5, 678901234, time.UTC)

func override(id string) control.Override {
	return control.Override{ID: id, Action: control.SwitchModel, Params: control.Params{Model: "economy"},
		Start: epoch, End: epoch.Add(time.Hour), Created: epoch, Source: control.Source{Kind: control.Monitor, Cycle: "c"}}
}

func commit(t testing.TB, store control.Store, overrides ...control.Override) {
	t.Helper()
	if err := store.Commit(t.Context(), state(t, store).Version, overrides); err != nil {
		t.Fatal(err)
	}
}

func state(t testing.TB, store control.Store) control.State {
	t.Helper()
	s, err := store.State(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ids(s control.State) []string {
	var out []string
	for _, o := range s.Overrides {
		out = append(out, o.ID)
	}
	return out
}

// What other versions of this package, and the TTL policy, find in the database.
func TestDocuments(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	store := open(t, firestore.Options{Client: server.Client(t), Retention: 24 * time.Hour})
	commit(t, store, override("alert/12:apply@1.x"))
	first := state(t, store).Version
	ended := override("b")
	ended.Ended = &control.Ending{At: epoch.Add(time.Minute), Source: control.Source{Kind: control.Operator, Operator: "ann"}, Cause: "reverted"}
	commit(t, store, ended)
	if second := state(t, store).Version; !regexp.MustCompile(`^1-\d{19}$`).MatchString(string(first)) || !regexp.MustCompile(`^2-\d{19}$`).MatchString(string(second)) {
		t.Errorf("versions: got %q, %q, want a number and the time of update of meta", first, second)
	}

	// What differs from run to run: the first version, and what identifies a commit.
	random := regexp.MustCompile(string(first) + `|[A-Z2-7]{26}`)
	known := func(s string) string {
		return random.ReplaceAllStringFunc(s, func(s string) string {
			if s == string(first) {
				return "FIRST"
			}
			return "RANDOM"
		})
	}
	got := map[string]any{}
	for name, doc := range server.Documents() {
		text, err := protojson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		fields := &structpb.Struct{}
		if err := protojson.Unmarshal([]byte(known(string(text))), fields); err != nil {
			t.Fatal(err)
		}
		got[known(name)] = fields.AsMap()["fields"]
	}
	type value = map[string]any
	const common = `"start":"2126-01-02T03:04:05.678901234Z","end":"2126-01-02T04:04:05.678901234Z","created":"2126-01-02T03:04:05.678901234Z","source":{"kind":"monitor","cycle":"c"}`
	want := map[string]any{
		"lrcp-control/meta": value{
			"version": value{"integerValue": "2"},
			"until":   value{"timestampValue": "9999-12-31T00:00:00Z"},
		},
		"lrcp-control/after.0-RANDOM": value{
			"commit":  value{"stringValue": "RANDOM"},
			"expires": value{"timestampValue": "2126-01-03T04:04:05.678901Z"},
		},
		"lrcp-control/after.FIRST": value{
			"commit":  value{"stringValue": "RANDOM"},
			"expires": value{"timestampValue": "2126-01-03T03:05:05.678901Z"},
		},
		"lrcp-control/override.alert%2F12:apply@1.x": value{
			"override": value{"stringValue": `{"id":"alert/12:apply@1.x","action":"switch-model","scope":{},"params":{"model":"economy"},` + common + `}`},
			"until":    value{"timestampValue": "2126-01-02T04:04:05.678901Z"},
			"expires":  value{"timestampValue": "2126-01-03T04:04:05.678901Z"},
		},
		"lrcp-control/override.b": value{
			"override": value{"stringValue": `{"id":"b","action":"switch-model","scope":{},"params":{"model":"economy"},` + common +
				`,"ended":{"at":"2126-01-02T03:05:05.678901234Z","source":{"kind":"operator","operator":"ann"},"cause":"reverted"}}`},
			"until":   value{"timestampValue": "2126-01-02T03:05:05.678901Z"},
			"expires": value{"timestampValue": "2126-01-03T03:05:05.678901Z"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	store := open(t, firestore.Options{Client: firestoretest.New(t).Client(t)})
	valid := []string{"a", "a/b", "a//b/", "a..", "a:b@c.d-e_f", "meta", "0__", strings.Repeat("a/", 100)}
	for _, id := range valid {
		commit(t, store, override(id))
	}
	for _, id := range valid {
		if o, ok, err := store.Get(t.Context(), id); o.ID != id || !ok || err != nil {
			t.Errorf("get %q: got %q, %v, %v", id, o.ID, ok, err)
		}
	}
	for _, id := range []string{"", ".", "..", "__a__", "a%2Fb", "ä", strings.Repeat("a", 2000)} {
		if err := store.Commit(t.Context(), state(t, store).Version, []control.Override{override(id)}); err == nil || errors.Is(err, control.ErrConflict) {
			t.Errorf("commit %.20q: got %v, want it refused", id, err)
		}
		if _, ok, err := store.Get(t.Context(), id); ok || err != nil {
			t.Errorf("get %.20q: got %v, %v, want nothing", id, ok, err)
		}
	}
	if got := ids(state(t, store)); len(got) != len(valid) {
		t.Errorf("state: got %q", got)
	}
}

func TestTimesBeyondThoseOfFirestore(t *testing.T) {
	t.Parallel()
	store := open(t, firestore.Options{Client: firestoretest.New(t).Client(t)})
	o := override("for-ever")
	o.End = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	commit(t, store, o)
	for _, since := range []time.Time{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), o.End.Add(-1)} {
		got, err := store.State(t.Context(), since)
		if diff := cmp.Diff([]control.Override{o}, got.Overrides); err != nil || diff != "" {
			t.Errorf("state since %v: %v (-want +got):\n%s", since, err, diff)
		}
	}
	got, err := store.State(t.Context(), time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil || len(got.Overrides) != 0 || got.Version == "0" {
		t.Errorf("state since the year 12000: got %v, %v, want the version alone", got, err)
	}
}

// Each read that is billed costs, once a second and instance.
func TestReadsThatAreBilled(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	writer := open(t, firestore.Options{Client: server.Client(t)})
	reader := open(t, firestore.Options{Client: server.Client(t)})
	steps := []struct {
		name  string
		do    func()
		since time.Time
		reads int
		want  []string
	}{
		{name: "nothing was ever committed", reads: 1},
		{name: "three overrides, read for the first time", do: func() { commit(t, writer, override("a"), override("b"), override("c")) }, reads: 4, want: []string{"a", "b", "c"}},
		{name: "nothing new", reads: 1, want: []string{"a", "b", "c"}},
		{name: "nothing new, later", since: epoch, reads: 1, want: []string{"a", "b", "c"}},
		{name: "one ends early", do: func() {
			o := override("b")
			o.Ended = &control.Ending{At: epoch.Add(time.Minute)}
			commit(t, writer, o)
		}, since: epoch.Add(2 * time.Minute), reads: 1 + 3, want: []string{"a", "c"}},
		{name: "an earlier time than was read", since: epoch, reads: 4, want: []string{"a", "b", "c"}},
		{name: "a later time than was read", since: epoch.Add(2 * time.Minute), reads: 1, want: []string{"a", "c"}},
		{name: "all over", since: epoch.Add(2 * time.Hour), reads: 1},
	}
	for _, step := range steps {
		if step.do != nil {
			step.do()
		}
		before := server.Reads()
		got, err := reader.State(t.Context(), step.since)
		if diff := cmp.Diff(step.want, ids(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", step.name, err, diff)
		}
		if reads := server.Reads() - before; reads != step.reads {
			t.Errorf("%s: got %d reads, want %d", step.name, reads, step.reads)
		}
	}
	before := server.Reads()
	if err := reader.Ping(t.Context()); err != nil || server.Reads() != before+1 {
		t.Errorf("ping: got %v and %d reads, want 1", err, server.Reads()-before)
	}
}

// A quarter of a second is what a request waits for the state.
const quarter = 250 * time.Millisecond

func TestReadFaults(t *testing.T) {
	t.Parallel()
	always := func(method string, fault firestoretest.Fault) func(*firestoretest.Server) {
		return func(s *firestoretest.Server) { s.FailAlways(method, fault) }
	}
	for name, tt := range map[string]struct {
		set  func(*firestoretest.Server)
		want error // nil for a good answer
		text string
	}{
		"unavailable once": {func(s *firestoretest.Server) {
			s.Fail(firestoretest.RunQuery, firestoretest.Answer(codes.Unavailable))
			s.Fail(firestoretest.BatchGet, firestoretest.Answer(codes.Unavailable))
		}, nil, ""},
		"a query that breaks off after some documents, once": {func(s *firestoretest.Server) { s.Fail(firestoretest.RunQuery, firestoretest.Lose) }, nil, ""},
		"unavailable always":         {always(firestoretest.RunQuery, firestoretest.Answer(codes.Unavailable)), control.ErrUnavailable, "Unavailable"},
		"every query breaks off":     {always(firestoretest.RunQuery, firestoretest.Lose), control.ErrUnavailable, "answer was lost"},
		"quota exhausted":            {always(firestoretest.RunQuery, firestoretest.Answer(codes.ResourceExhausted)), control.ErrUnavailable, "ResourceExhausted"},
		"permission denied":          {always(firestoretest.RunQuery, firestoretest.Answer(codes.PermissionDenied)), control.ErrUnavailable, "PermissionDenied"},
		"no credentials":             {always(firestoretest.RunQuery, firestoretest.Answer(codes.Unauthenticated)), control.ErrUnavailable, "Unauthenticated"},
		"deadline on the other side": {always(firestoretest.RunQuery, firestoretest.Answer(codes.DeadlineExceeded)), control.ErrUnavailable, "DeadlineExceeded"},
		"aborted":                    {always(firestoretest.RunQuery, firestoretest.Answer(codes.Aborted)), control.ErrUnavailable, "Aborted"},
		"no answer":                  {always(firestoretest.RunQuery, firestoretest.Hang), context.DeadlineExceeded, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := firestoretest.New(t)
			store := open(t, firestore.Options{Client: server.Client(t)})
			commit(t, store, override("a"))
			tt.set(server)
			fresh := open(t, firestore.Options{Client: server.Client(t)})
			if err := fresh.Ping(t.Context()); err != nil { // connects, which may take long on a busy machine
				t.Fatal(err)
			}
			ctx := t.Context()
			if errors.Is(tt.want, context.DeadlineExceeded) {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, quarter)
				defer cancel()
			}
			got, err := fresh.State(ctx, time.Time{})
			if tt.want == nil {
				if err != nil || len(got.Overrides) != 1 {
					t.Errorf("got %v, %v, want the override", ids(got), err)
				}
				return
			}
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || len(got.Overrides) > 0 {
				t.Errorf("got %v, %v, want %v with %q", ids(got), err, tt.want, tt.text)
			}
		})
	}
}

// While overrides are in force, a State reads meta alone, and the SDK has its own way to repeat that.
func TestHeldStateIsNotServedUnchecked(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	store := open(t, firestore.Options{Client: server.Client(t), Timeout: time.Second})
	commit(t, store, override("a"))
	state(t, store)
	for name, fault := range map[string]firestoretest.Fault{
		"permission denied": firestoretest.Answer(codes.PermissionDenied), "quota exhausted": firestoretest.Answer(codes.ResourceExhausted),
		"unavailable": firestoretest.Answer(codes.Unavailable), "no answer": firestoretest.Hang,
	} {
		server.FailAlways(firestoretest.BatchGet, fault)
		var wg sync.WaitGroup
		for call, do := range map[string]func() error{
			"state": func() error { _, err := store.State(t.Context(), epoch); return err },
			"get":   func() error { _, _, err := store.Get(t.Context(), "a"); return err },
			"ping":  func() error { return store.Ping(t.Context()) },
		} {
			wg.Go(func() {
				if err := do(); !errors.Is(err, control.ErrUnavailable) {
					t.Errorf("%s, %s: got %v, want ErrUnavailable", name, call, err)
				}
			})
		}
		wg.Wait()
	}
	server.FailAlways(firestoretest.BatchGet, nil)
	server.Fail(firestoretest.BatchGet, firestoretest.Answer(codes.Unavailable))
	if got := ids(state(t, store)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("healed: got %v", got)
	}
}

// What a function sees of an outage.
func TestReaderOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	store := open(t, firestore.Options{Client: server.Client(t)})
	o := override("a")
	o.Start = time.Now().Add(-time.Minute)
	commit(t, store, o)
	reader, err := control.NewReader(control.ReaderOptions{Store: store, Base: control.Settings{Model: "standard"},
		Interval: time.Nanosecond, Timeout: 600 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		fault firestoretest.Fault
		stale bool
	}{
		{"before", nil, false},
		{"no answer", firestoretest.Hang, true},
		{"unavailable", firestoretest.Answer(codes.Unavailable), true},
		{"after", nil, false},
	} {
		for _, method := range []string{firestoretest.RunQuery, firestoretest.BatchGet} {
			server.FailAlways(method, step.fault)
		}
		settings, stale := reader.Settings(t.Context(), control.Target{}, "")
		if settings.Model != "economy" || stale != step.stale {
			t.Errorf("%s: got model %s, stale %v, want economy, %v", step.name, settings.Model, stale, step.stale)
		}
	}
}

func TestCommitFaults(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		faults []firestoretest.Fault // of Commit, one after the other; the last goes on
		check  firestoretest.Fault   // of BatchGet
		want   error
		made   bool
	}{
		"unavailable once":                  {faults: []firestoretest.Fault{firestoretest.Answer(codes.Unavailable), nil}, made: true},
		"quota exhausted once":              {faults: []firestoretest.Fault{firestoretest.Answer(codes.ResourceExhausted), nil}, made: true},
		"made, and its answer lost":         {faults: []firestoretest.Fault{firestoretest.Lose, nil}, made: true},
		"made, but every answer lost":       {faults: []firestoretest.Fault{firestoretest.Lose}, want: control.ErrUnavailable, made: true},
		"made and lost, and then no check":  {faults: []firestoretest.Fault{firestoretest.Lose, nil}, check: firestoretest.Answer(codes.PermissionDenied), want: control.ErrUnavailable, made: true},
		"made and lost, and then contended": {faults: []firestoretest.Fault{firestoretest.Lose, firestoretest.Answer(codes.Aborted), nil}, made: true},
		"contended":                         {faults: []firestoretest.Fault{firestoretest.Answer(codes.Aborted), nil}, want: control.ErrConflict},
		// Two codes that Firestore may have for a condition on a document that is gone.
		"meta was deleted":       {faults: []firestoretest.Fault{firestoretest.Answer(codes.NotFound), nil}, want: control.ErrConflict},
		"meta is another":        {faults: []firestoretest.Fault{firestoretest.Answer(codes.FailedPrecondition), nil}, want: control.ErrConflict},
		"unavailable always":     {faults: []firestoretest.Fault{firestoretest.Answer(codes.Unavailable)}, want: control.ErrUnavailable},
		"quota exhausted always": {faults: []firestoretest.Fault{firestoretest.Answer(codes.ResourceExhausted)}, want: control.ErrUnavailable},
		"permission denied":      {faults: []firestoretest.Fault{firestoretest.Answer(codes.PermissionDenied)}, want: control.ErrUnavailable},
		"an error inside":        {faults: []firestoretest.Fault{firestoretest.Answer(codes.Internal)}, want: control.ErrUnavailable},
		"no answer":              {faults: []firestoretest.Fault{firestoretest.Hang}, want: control.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := firestoretest.New(t)
			calm := open(t, firestore.Options{Client: server.Client(t)})
			commit(t, calm, override("before"))
			version := state(t, calm).Version
			store := open(t, firestore.Options{Client: server.Client(t), Timeout: time.Second})
			last := len(tt.faults) - 1
			server.Fail(firestoretest.Commit, tt.faults[:last]...)
			server.FailAlways(firestoretest.Commit, tt.faults[last])
			server.FailAlways(firestoretest.BatchGet, tt.check)
			err := store.Commit(t.Context(), version, []control.Override{override("new"), override("before")})
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			server.FailAlways(firestoretest.Commit, nil)
			server.FailAlways(firestoretest.BatchGet, nil)
			want, number := []string{"before"}, "1-"
			if tt.made {
				want, number = []string{"before", "new"}, "2-"
			}
			got := state(t, calm)
			if diff := cmp.Diff(want, ids(got)); diff != "" || !strings.HasPrefix(string(got.Version), number) {
				t.Errorf("version %s afterwards, want %s (-want +got):\n%s", got.Version, number, diff)
			}
		})
	}
}

// Between a commit that was made and the repetition by the SDK, others may have gone on.
func TestLostAnswerIsFoundUnderLaterCommits(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	store, other := open(t, firestore.Options{Client: server.Client(t)}), open(t, firestore.Options{Client: server.Client(t)})
	version := state(t, store).Version
	server.Fail(firestoretest.Commit, func(ctx context.Context, serve func() error) error {
		err := firestoretest.Lose(ctx, serve)
		for _, id := range []string{"b", "c"} {
			commit(t, other, override(id))
		}
		return err
	})
	if err := store.Commit(t.Context(), version, []control.Override{override("a")}); err != nil {
		t.Errorf("commit whose answer was lost: %v", err)
	}
	if err := store.Commit(t.Context(), version, []control.Override{override("d")}); !errors.Is(err, control.ErrConflict) {
		t.Errorf("commit against the version of before: got %v, want ErrConflict", err)
	}
	if got := ids(state(t, store)); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("state: got %v", got)
	}
}

func FuzzVersionsThatAreNotTheCurrentConflict(f *testing.F) {
	store := open(f, firestore.Options{Client: firestoretest.New(f).Client(f)})
	commit(f, store, override("a"))
	number, updated, _ := strings.Cut(string(state(f, store).Version), "-")
	for _, version := range []string{"", "x", "-1", "1e3", "0", "0-0", number, number + "-", number + "-" + updated + "x",
		number + "-1", number + "-" + updated[1:], "99999999999999999999-1", "57-1767323045000000000"} {
		f.Add(version)
	}
	f.Fuzz(func(t *testing.T, version string) {
		if strings.HasSuffix(version, "-"+updated) {
			t.Skip("the time of update is what counts for Firestore; no state had it with another number")
		}
		if err := store.Commit(t.Context(), control.Version(version), []control.Override{override("b")}); !errors.Is(err, control.ErrConflict) {
			t.Errorf("version %q: got %v, want ErrConflict", version, err)
		}
		if got := ids(state(t, store)); !slices.Equal(got, []string{"a"}) {
			t.Errorf("state: got %v", got)
		}
	})
}

// A backup is imported over what is there, or someone clears the collection by hand: nothing of that may end in a state
// that no commit can leave.
func TestCommitsGoOnWhenMetaWasChangedFromOutside(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(ctx context.Context, meta *sdk.DocumentRef) error{
		"set back": func(ctx context.Context, meta *sdk.DocumentRef) error {
			_, err := meta.Update(ctx, []sdk.Update{{Path: "version", Value: 1}})
			return err
		},
		"deleted": func(ctx context.Context, meta *sdk.DocumentRef) error {
			_, err := meta.Delete(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := firestoretest.New(t).Client(t)
			store := open(t, firestore.Options{Client: client})
			for _, id := range []string{"a", "b", "c"} {
				commit(t, store, override(id))
			}
			before := state(t, store).Version
			if err := change(t.Context(), client.Doc("lrcp-control/meta")); err != nil {
				t.Fatal(err)
			}
			if err := store.Commit(t.Context(), before, []control.Override{override("d")}); !errors.Is(err, control.ErrConflict) {
				t.Errorf("commit against the version of before: got %v, want ErrConflict", err)
			}
			for _, id := range []string{"e", "f", "g"} {
				commit(t, store, override(id))
			}
			if got := ids(state(t, store)); !slices.Equal(got, []string{"a", "b", "c", "e", "f", "g"}) {
				t.Errorf("state: got %v", got)
			}
		})
	}
}

func TestManyInstancesInConflict(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	const writers, each = 6, 4
	var wg sync.WaitGroup
	for w := range writers {
		store := open(t, firestore.Options{Client: server.Client(t)})
		wg.Go(func() {
			for i := range each {
				for {
					s, err := store.State(t.Context(), time.Time{})
					if err == nil {
						err = store.Commit(t.Context(), s.Version, []control.Override{override(fmt.Sprintf("w%d-%d", w, i))})
					}
					if err == nil {
						break
					}
					if !errors.Is(err, control.ErrConflict) {
						t.Errorf("writer %d: %v", w, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	got := state(t, open(t, firestore.Options{Client: server.Client(t)}))
	if len(got.Overrides) != writers*each || !strings.HasPrefix(string(got.Version), fmt.Sprint(writers*each, "-")) {
		t.Errorf("got %d overrides at version %s, want %d of each", len(got.Overrides), got.Version, writers*each)
	}
}

func TestContextsThatEnd(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	store := open(t, firestore.Options{Client: server.Client(t)})
	version := state(t, store).Version
	for _, method := range []string{firestoretest.RunQuery, firestoretest.BatchGet, firestoretest.Commit} {
		server.FailAlways(method, firestoretest.Hang)
	}
	for call, do := range map[string]func(context.Context) error{
		"state":  func(ctx context.Context) error { _, err := store.State(ctx, time.Time{}); return err },
		"get":    func(ctx context.Context) error { _, _, err := store.Get(ctx, "a"); return err },
		"commit": func(ctx context.Context) error { return store.Commit(ctx, version, nil) },
		"ping":   store.Ping,
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			start := time.Now()
			if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, control.ErrUnavailable) {
				t.Errorf("deadline: got %v, want context.DeadlineExceeded", err)
			}
			if took := time.Since(start); took > 3*time.Second { // Timeout is 5 s
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestNothingListens(t *testing.T) {
	t.Parallel()
	store := open(t, firestore.Options{Client: firestoretest.Client(t, "127.0.0.1:1"), Timeout: quarter})
	_, stateErr := store.State(t.Context(), time.Time{})
	_, _, getErr := store.Get(t.Context(), "a")
	for call, err := range map[string]error{
		"state": stateErr, "get": getErr, "ping": store.Ping(t.Context()), "commit": store.Commit(t.Context(), "0", []control.Override{override("a")}),
	} {
		if !errors.Is(err, control.ErrUnavailable) || !strings.Contains(err.Error(), firestoretest.Database) {
			t.Errorf("%s: got %v, want ErrUnavailable and the name of the database", call, err)
		}
	}
}

func TestMissingDatabase(t *testing.T) {
	t.Parallel()
	server := firestoretest.New(t)
	client := server.Client(t)
	other, err := sdk.NewClientWithDatabase(t.Context(), firestoretest.Project, "absent", firestoretest.Options(server.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	if err := open(t, firestore.Options{Client: client}).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := open(t, firestore.Options{Client: other})
	_, stateErr := store.State(t.Context(), time.Time{})
	_, _, getErr := store.Get(t.Context(), "a")
	for call, err := range map[string]error{
		"state": stateErr, "get": getErr, "ping": store.Ping(t.Context()), "commit": store.Commit(t.Context(), "0", []control.Override{override("a")}),
	} {
		if !errors.Is(err, control.ErrUnavailable) || !strings.Contains(err.Error(), "The database absent does not exist for project "+firestoretest.Project) {
			t.Errorf("%s: got %v, want ErrUnavailable that tells of the database", call, err)
		}
	}
}

func TestStrangeDocuments(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		id   string
		data map[string]any
		want string // part of the error; empty if it does not disturb
	}{
		"an override that is no JSON":    {"override.x", map[string]any{"override": "{", "until": epoch}, "document override.x: "},
		"an override of another type":    {"override.x", map[string]any{"override": 1, "until": epoch}, "document override.x: "},
		"a version that is no number":    {"meta", map[string]any{"version": "x", "until": epoch}, "document meta: "},
		"a document of another kind":     {"note", map[string]any{"text": "hello", "until": epoch}, ""},
		"an override without end":        {"override.x", map[string]any{"override": "{"}, ""},
		"a field that is of the future":  {"override.x", map[string]any{"override": `{"id":"x","end":"2126-01-02T03:04:05Z"}`, "until": epoch, "more": 1}, ""},
		"an override with unknown parts": {"override.x", map[string]any{"override": `{"id":"x","end":"2126-01-02T03:04:05Z","more":1}`, "until": epoch}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := firestoretest.New(t).Client(t)
			if _, err := client.Collection("lrcp-control").Doc(tt.id).Set(t.Context(), tt.data); err != nil {
				t.Fatal(err)
			}
			_, err := open(t, firestore.Options{Client: client}).State(t.Context(), time.Time{})
			if tt.want == "" {
				if err != nil {
					t.Errorf("state: %v", err)
				}
				return
			}
			if !errors.Is(err, control.ErrUnavailable) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("state: got %v, want ErrUnavailable with %q", err, tt.want)
			}
		})
	}
}

// Not parallel: it counts the goroutines of the process.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	server := firestoretest.New(t)
	before := goroutines()
	store := open(t, firestore.Options{Client: server.Client(t)})
	commit(t, store, override("a"))
	state(t, store)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	var left map[string]string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		left = goroutines()
		maps.DeleteFunc(left, func(number, _ string) bool { return before[number] != "" })
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left after Close:\n%s", strings.Join(slices.Collect(maps.Values(left)), "\n\n"))
}

// goroutines returns the stacks of all goroutines but this one, by their number.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	out := map[string]string{}
	for i, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		number, _, _ := strings.Cut(stack, " [")
		if i > 0 {
			out[number] = stack
		}
	}
	return out
}
