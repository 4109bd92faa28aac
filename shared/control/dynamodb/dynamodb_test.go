package dynamodb_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
)

const table = "lrcp"

// start is before the ends of all overrides that the conformance test makes.
var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func open(t testing.TB, handler http.Handler, now func() time.Time) *dynamodb.Store {
	t.Helper()
	return openTable(t, handler, table, now)
}

func openTable(t testing.TB, handler http.Handler, name string, now func() time.Time) *dynamodb.Store {
	t.Helper()
	store, err := dynamodb.New(dynamodb.Options{Client: sdk.New(dynamotest.Options(handler), dynamodb.Configure), Table: name, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// emulator returns dynalite with one more table, which is empty, and the transactions that it lacks. The table's name
// begins with that of all tests.
func emulator(t *testing.T, url string, tables *int) (handler http.Handler, name string) {
	t.Helper()
	*tables++
	name = fmt.Sprintf("%s-%d", table, *tables)
	handler = dynamotest.WithTransactions(url, name)
	client := sdk.New(dynamotest.Options(handler))
	if err := dynamotest.CreateTable(t.Context(), client, name); err != nil {
		t.Fatal(err)
	}
	return handler, name
}

// TestConformance runs with a clock by which nothing has ended, so that all is in the head, and with one by which all has,
// so that every commit archives what the one before it wrote.
func TestConformance(t *testing.T) {
	url, tables := emulatortest.DynamoDB(t), 0
	for name, backend := range map[string]func(*testing.T) (http.Handler, string){
		"dynalite":                  func(t *testing.T) (http.Handler, string) { return emulator(t, url, &tables) },
		"stand-in":                  func(*testing.T) (http.Handler, string) { return &dynamotest.Table{Name: table}, table },
		"stand-in with small pages": func(*testing.T) (http.Handler, string) { return &dynamotest.Table{Name: table, PageBytes: 1}, table },
	} {
		for when, now := range map[string]func() time.Time{"all in the head": at(start), "all in the archive": time.Now} {
			t.Run(name+", "+when, func(t *testing.T) {
				controltest.Conformance(t, func(t *testing.T) control.Store {
					handler, name := backend(t)
					return openTable(t, handler, name, now)
				})
			})
		}
	}
}

func TestDurable(t *testing.T) {
	handler, name := emulator(t, emulatortest.DynamoDB(t), new(int))
	controltest.Durable(t, func(t *testing.T) control.Store { return openTable(t, handler, name, nil) })
}

// TestWhatTheEmulatorLacks says why the stand-in is there: once dynalite has one of these, a test can go to it instead.
func TestWhatTheEmulatorLacks(t *testing.T) {
	options := dynamotest.Options(nil)
	options.HTTPClient, options.BaseEndpoint = http.DefaultClient, aws.String(emulatortest.DynamoDB(t))
	client := sdk.New(options)
	_, transact := client.TransactWriteItems(t.Context(), &sdk.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: aws.String(table), Item: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "x"}}}},
	}})
	_, ttl := client.UpdateTimeToLive(t.Context(), &sdk.UpdateTimeToLiveInput{TableName: aws.String(table),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("expires"), Enabled: aws.Bool(true)}})
	for name, err := range map[string]error{"transactions": transact, "time to live": ttl} {
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "UnknownOperationException" {
			t.Errorf("%s: got %v, want an operation that is unknown", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	client := sdk.New(dynamotest.Options(nil))
	for name, tt := range map[string]struct {
		options dynamodb.Options
		want    string
	}{
		"no client":            {dynamodb.Options{Table: table}, "Client"},
		"no table":             {dynamodb.Options{Client: client}, "Table"},
		"a negative retention": {dynamodb.Options{Client: client, Table: table, Retention: -1}, "Retention"},
		"one without an end":   {dynamodb.Options{Client: client, Table: table, Retention: 1<<63 - 1}, "Retention"},
	} {
		if _, err := dynamodb.New(tt.options); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error about %s", name, err, tt.want)
		}
	}
}

// override returns one that is in force for an hour from start plus after.
func override(id string, after time.Duration) control.Override {
	from := start.Add(after)
	return control.Override{ID: id, Action: control.SwitchModel, Scope: control.Scope{Function: "qa"}, Params: control.Params{Model: "economy"},
		Start: from, End: from.Add(time.Hour), Created: from, Source: control.Source{Kind: control.Monitor, Cycle: "c"}}
}

func state(t testing.TB, store control.Store, since time.Time) control.State {
	t.Helper()
	s, err := store.State(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func commit(t testing.TB, store control.Store, overrides ...control.Override) {
	t.Helper()
	if err := store.Commit(t.Context(), state(t, store, start).Version, overrides); err != nil {
		t.Fatal(err)
	}
}

func ids(s control.State) []string {
	var out []string
	for _, o := range s.Overrides {
		out = append(out, o.ID)
	}
	return out
}

// TestBehavesAsMemory compares the store with the one in memory, over random commits, rewritten and moved overrides
// included, while time goes on and the head is archived again and again, by two instances whose clocks are hours apart.
func TestBehavesAsMemory(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 4))
		upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
		now := start
		backend, memory := &dynamotest.Table{Name: table, PageBytes: 2000}, new(controltest.Memory)
		stores := []control.Store{
			open(t, backend, func() time.Time { return now.Add(-5 * time.Hour) }), open(t, backend, func() time.Time { return now.Add(3 * time.Hour) }),
		}
		for range 40 {
			now = now.Add(upTo(2 * time.Hour))
			store := stores[random.IntN(2)]
			var writes []control.Override
			for range random.IntN(4) {
				o := override(fmt.Sprintf("o%d", random.IntN(12)), now.Sub(start)+upTo(4*time.Hour)-2*time.Hour)
				if random.IntN(3) == 0 {
					o.Ended = &control.Ending{At: o.Start.Add(upTo(2 * time.Hour)), Cause: "reverted"}
				}
				writes = append(writes, o)
			}
			commit(t, store, writes...)
			commit(t, memory, writes...)
			since := now.Add(-upTo(30 * time.Hour))
			if diff := cmp.Diff(state(t, memory, since).Overrides, state(t, store, since).Overrides); diff != "" {
				t.Fatalf("seed %d, state since %v (-memory +store):\n%s", seed, since, diff)
			}
			id := fmt.Sprintf("o%d", random.IntN(12))
			want, wantOK, _ := memory.Get(t.Context(), id)
			got, ok, err := store.Get(t.Context(), id)
			if diff := cmp.Diff(want, got); diff != "" || ok != wantOK || err != nil {
				t.Fatalf("seed %d, get %s: %v, %v (-memory +store):\n%s", seed, id, ok, err, diff)
			}
		}
	}
}

// TestStateIsWholeWhileATransactionIsUnderWay looks at the state from another instance between any two writes of every
// transaction, as a Query in DynamoDB may.
func TestStateIsWholeWhileATransactionIsUnderWay(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	writer, reader := open(t, backend, nil), open(t, backend, nil)
	const pairs = 10
	looks := 0
	backend.Between = func() {
		looks++
		if s := state(t, reader, time.Time{}); len(s.Overrides)%2 != 0 {
			t.Errorf("state within a transaction: got %v, want pairs", ids(s))
		}
	}
	for i := range pairs {
		commit(t, writer, override(fmt.Sprintf("a%d", i), 0), override(fmt.Sprintf("b%d", i), time.Minute))
	}
	if got := len(state(t, reader, time.Time{}).Overrides); got != 2*pairs {
		t.Errorf("state: got %d overrides, want %d", got, 2*pairs)
	}
	if looks < pairs {
		t.Errorf("looked %d times within transactions, want more", looks)
	}
}

// TestOvertakenWriterChangesNothing lets another writer commit twice while one is about to archive.
func TestOvertakenWriterChangesNothing(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	late, quick := open(t, backend, nil), open(t, backend, nil)
	commit(t, late, override("a", 0))
	version := state(t, late, start).Version
	moved := override("a", -30*time.Minute)
	overtake := true
	backend.Intercept = func(w http.ResponseWriter, _ *http.Request, operation string, serve func(http.ResponseWriter)) {
		if operation == "TransactWriteItems" && overtake {
			overtake = false
			commit(t, quick, moved)
			commit(t, quick, override("b", 0)) // which archives the one that was moved
		}
		serve(w)
	}
	if err := late.Commit(t.Context(), version, []control.Override{override("c", 0)}); !errors.Is(err, control.ErrConflict) {
		t.Errorf("late commit: got %v, want ErrConflict", err)
	}
	if diff := cmp.Diff([]control.Override{moved, override("b", 0)}, state(t, quick, time.Time{}).Overrides); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if got, _, err := quick.Get(t.Context(), "a"); err != nil || !got.End.Equal(moved.End) {
		t.Errorf("get: got an end at %v, %v, want %v", got.End, err, moved.End)
	}
}

// TestManyOverrides fills the head over and over: what is too much for it is archived, in force or not.
func TestManyOverrides(t *testing.T) {
	store := open(t, &dynamotest.Table{Name: table}, at(start))
	var want []string
	reason := strings.Repeat("x", 500)
	for i := range 5 {
		var writes []control.Override
		for j := range 99 {
			o := override(fmt.Sprintf("o%d-%02d", i, j), time.Duration(i)*time.Minute)
			o.Source.Reason = reason
			writes = append(writes, o)
			want = append(want, o.ID)
		}
		commit(t, store, writes...)
	}
	for name, since := range map[string]time.Time{"all": {}, "all in force": start.Add(59 * time.Minute)} {
		if diff := cmp.Diff(want, ids(state(t, store, since))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(want[99:], ids(state(t, store, start.Add(time.Hour)))); diff != "" {
		t.Errorf("what ends later than the first (-want +got):\n%s", diff)
	}
}

func TestCommitRefusesWhatDoesNotFit(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	store := open(t, backend, at(start))
	var many []control.Override
	for i := range 2000 {
		many = append(many, override(fmt.Sprintf("o%d", i), 0))
	}
	for name, tt := range map[string]struct {
		overrides []control.Override
		want      string
	}{
		"more than an item holds": {many, "2000 overrides at once"},
		"an ID that is none":      {[]control.Override{override("a", 0), override("", 0)}, `override ""`},
	} {
		before := len(backend.Requests())
		version := state(t, store, start).Version
		if err := store.Commit(t.Context(), version, tt.overrides); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error that says %s", name, err, tt.want)
		}
		if got := backend.Requests()[before:]; len(got) > 2 {
			t.Errorf("%s: %d requests, want none that writes", name, len(got))
		}
	}
	if got := ids(state(t, store, time.Time{})); len(got) != 0 {
		t.Errorf("state: got %v, want none", got)
	}
}

// TestRetention deletes what DynamoDB would.
func TestRetention(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	store := open(t, backend, at(start.Add(24*time.Hour)))
	commit(t, store, override("first", 0))
	commit(t, store, override("second", time.Minute)) // and archives the first
	end := start.Add(time.Hour)
	backend.Expire(end.Add(dynamodb.DefaultRetention))
	if diff := cmp.Diff([]string{"first", "second"}, ids(state(t, store, time.Time{}))); diff != "" {
		t.Errorf("at the end of the retention (-want +got):\n%s", diff)
	}
	// The head does not expire, whatever is in it.
	backend.Expire(end.Add(dynamodb.DefaultRetention + 1000*time.Hour))
	if diff := cmp.Diff([]string{"second"}, ids(state(t, store, time.Time{}))); diff != "" {
		t.Errorf("after it (-want +got):\n%s", diff)
	}
	if _, ok, err := store.Get(t.Context(), "first"); ok || err != nil {
		t.Errorf("get after it: got %v, %v, want false, nil", ok, err)
	}
}

// TestTableMadeAnew is about a local stack whose table was restarted, or one that was restored, while instances go on.
func TestTableMadeAnew(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	old, other := open(t, backend, at(start)), open(t, backend, at(start))
	commit(t, old, override("before", 0))
	version := state(t, old, start).Version
	backend.Clear()
	commit(t, other, override("after", 0))
	if diff := cmp.Diff([]string{"after"}, ids(state(t, old, start))); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if err := old.Commit(t.Context(), version, []control.Override{override("late", 0)}); !errors.Is(err, control.ErrConflict) {
		t.Errorf("commit against a version of the table before: got %v, want ErrConflict", err)
	}
}

// TestWire is about what is sent: roles and the time to live rest on keys and attribute types.
func TestWire(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	store := open(t, backend, at(start.Add(24*time.Hour)))
	o := override("a", 0)
	o.End = o.Start.Add(time.Hour + 1)
	commit(t, store, o)
	commit(t, store)
	encoded := `{"id":"a","action":"switch-model","scope":{"function":"qa"},"params":{"model":"economy"},"start":"2026-01-02T03:00:00Z",` +
		`"end":"2026-01-02T04:00:00.000000001Z","created":"2026-01-02T03:00:00Z","source":{"kind":"monitor","cycle":"c"}}`
	version := string(state(t, store, time.Time{}).Version)
	str := func(s string) map[string]any { return map[string]any{"S": s} }
	expires := map[string]any{"N": "1801886401"} // 400 days after 2026-01-02T04:00:00Z, rounded up
	want := []dynamotest.Item{
		{"pk": str("control"), "sk": str("head"), "version": str(version), "horizon": str("2026-01-02T04:00:00.000000001Z"), "overrides": str("[]")},
		{"pk": str("control"), "sk": str("id#a"), "override": str(encoded), "expires": expires},
		{"pk": str("control"), "sk": str("until#2026-01-02T04:00:00.000000001Z#a"), "override": str(encoded), "expires": expires},
	}
	if diff := cmp.Diff(want, backend.Items()); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if count, nonce, ok := strings.Cut(version, "-"); !ok || count != "2" || len(nonce) != 26 {
		t.Errorf("version: got %q, want 2 and a nonce", version)
	}
	// Every key that is named, by any operation, is of the one partition.
	for _, r := range backend.Requests() {
		for _, named := range regexp.MustCompile(`":?pk":\{"S":"([^"]*)"`).FindAllStringSubmatch(r.Body, -1) {
			if named[1] != "control" {
				t.Errorf("%s names the partition %q: %s", r.Operation, named[1], r.Body)
			}
		}
		if r.Operation != "TransactWriteItems" && !strings.Contains(r.Body, `"ConsistentRead":true`) {
			t.Errorf("%s is not read consistently: %s", r.Operation, r.Body)
		}
	}
}

// TestCost counts the calls.
func TestCost(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	now := start
	store := open(t, backend, func() time.Time { return now })
	for _, step := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"a read of the empty table", func() error { state(t, store, now); return nil }, []string{"GetItem"}},
		{"a commit after a read", func() error { return store.Commit(t.Context(), "0", []control.Override{override("a", 0)}) }, []string{"TransactWriteItems"}},
		{"a read of what has changed", func() error { state(t, store, now); return nil }, []string{"GetItem"}},
		{"a read of what remediation looks at", func() error { state(t, store, now.Add(-time.Hour)); return nil }, []string{"GetItem"}},
		{"a ping", func() error { return store.Ping(t.Context()) }, []string{"GetItem"}},
		{"a commit that archives", func() error {
			now = now.Add(24 * time.Hour)
			commit(t, store, override("b", 24*time.Hour))
			return nil
		}, []string{"GetItem", "GetItem", "TransactWriteItems", "TransactWriteItems"}},
		{"a read by a data function", func() error { state(t, store, now); return nil }, []string{"GetItem"}},
		{"a read of all history", func() error { state(t, store, time.Time{}); return nil }, []string{"GetItem", "Query", "GetItem"}},
		{"a repeated ID of long ago", func() error { _, _, err := store.Get(t.Context(), "a"); return err }, []string{"GetItem", "GetItem"}},
	} {
		before := len(backend.Requests())
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		var got []string
		for _, r := range backend.Requests()[before:] {
			got = append(got, r.Operation)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}

// BenchmarkStateUnchanged is what a data function does once a second. It counts no network.
func BenchmarkStateUnchanged(b *testing.B) {
	for _, n := range []int{0, 5, 50} {
		b.Run(fmt.Sprintf("%d overrides", n), func(b *testing.B) {
			store := open(b, &dynamotest.Table{Name: table}, at(start))
			for i := range n {
				commit(b, store, override(fmt.Sprint("o", i), 0))
			}
			b.ReportAllocs()
			for b.Loop() {
				state(b, store, start)
			}
		})
	}
}
