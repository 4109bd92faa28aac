package dynamodb_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	controldynamodb "github.com/llm-reliability/control-plane/shared/control/dynamodb"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
	"github.com/llm-reliability/control-plane/shared/outbox"
	"github.com/llm-reliability/control-plane/shared/outbox/dynamodb"
	"github.com/llm-reliability/control-plane/shared/outbox/outboxtest"
)

const table = "lrcp"

func open(t *testing.T, options sdk.Options, name string) *dynamodb.Store {
	t.Helper()
	s, err := dynamodb.New(dynamodb.Options{Client: sdk.New(options, controldynamodb.Configure), Table: table, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	outboxtest.Conformance(t, func(t *testing.T) outbox.Store {
		return open(t, dynamotest.Options(&dynamotest.Table{Name: table}), "escalation")
	})
}

// TestConformanceOnTheEmulator has all outboxes in one table, apart by their names.
func TestConformanceOnTheEmulator(t *testing.T) {
	options := dynamotest.Options(nil)
	options.HTTPClient, options.BaseEndpoint = http.DefaultClient, aws.String(emulatortest.DynamoDB(t))
	client := sdk.New(options)
	if err := dynamotest.CreateTable(t.Context(), client, table); err != nil {
		t.Fatal(err)
	}
	outboxtest.Conformance(t, func(t *testing.T) outbox.Store { return open(t, options, t.Name()) })
}

func TestNewRefuses(t *testing.T) {
	client := sdk.New(dynamotest.Options(nil))
	for want, options := range map[string]dynamodb.Options{
		"Client":             {Table: table, Name: "n"},
		"Table":              {Client: client, Name: "n"},
		"Name is required":   {Client: client, Table: table},
		"must not contain #": {Client: client, Table: table, Name: "a#b"},
	} {
		if _, err := dynamodb.New(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
}

// TestWire is about what is sent: roles and the time to live rest on keys and attribute types.
func TestWire(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	due := time.Date(2026, 11, 24, 12, 0, 0, 5_600_000, time.UTC)
	r, err := open(t, dynamotest.Options(backend), "escalation").Put(t.Context(), outbox.Record{Key: "incident:7", Due: due, Expires: due.Add(time.Hour + 1), Data: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	want := []dynamotest.Item{
		{"pk": {"S": "escalation#due"}, "sk": {"S": r.Version}, "key": {"S": "incident:7"}, "expires": {"N": "1795525201"}},
		{
			"pk": {"S": "escalation#record#incident:7"}, "sk": {"S": "record"}, "version": {"S": r.Version}, "due": {"S": "2026-11-24T12:00:00.005Z"},
			"until": {"S": "2026-11-24T13:00:00.005600001Z"}, "data": {"B": "e30="}, "expires": {"N": "1795525201"},
		},
	}
	if diff := cmp.Diff(want, backend.Items()); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(r.Version, "2026-11-24T12:00:00.005Z#") {
		t.Errorf("version %q does not sort by the time at which the record is due", r.Version)
	}
}

// TestLostAnswer has DynamoDB write, and its answer not arrive: the SDK's repetition meets the record, and is no conflict.
func TestLostAnswer(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	lost := 0
	backend.Intercept = func(w http.ResponseWriter, _ *http.Request, operation string, serve func(http.ResponseWriter)) {
		if operation == "PutItem" {
			if lost++; lost == 2 { // the first is the marker's
				serve(discard{})
				dynamotest.Fail(w, http.StatusInternalServerError, "InternalServerError", "injected")
				return
			}
		}
		serve(w)
	}
	store := open(t, dynamotest.Options(backend), "escalation")
	now := time.Now()
	r, err := store.Put(t.Context(), outbox.Record{Key: "a", Due: now, Expires: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok, err := store.Get(t.Context(), "a"); !ok || err != nil || got.Version != r.Version {
		t.Errorf("got %+v, %v, %v, want version %s", got, ok, err, r.Version)
	}
}

type discard struct{ http.ResponseWriter }

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// TestMarkersWithoutARecord are what a writer leaves that dies between its two writes: they list nothing, and go when they are old.
func TestMarkersWithoutARecord(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	store := open(t, dynamotest.Options(backend), "escalation")
	writes := 0
	backend.Intercept = func(w http.ResponseWriter, _ *http.Request, operation string, serve func(http.ResponseWriter)) {
		if operation == "PutItem" {
			if writes++; writes > 1 {
				dynamotest.Fail(w, http.StatusInternalServerError, "InternalServerError", "injected")
				return
			}
		}
		serve(w)
	}
	now := time.Now()
	if _, err := store.Put(t.Context(), outbox.Record{Key: "a", Due: now, Expires: now.Add(time.Hour)}); err == nil {
		t.Fatal("a write that failed was none")
	}
	if due, err := store.Due(t.Context(), now.Add(time.Minute), 10); err != nil || len(due) != 0 || len(backend.Items()) != 1 {
		t.Errorf("when it is new: got %v, %v and %d items, want no record and the marker", due, err, len(backend.Items()))
	}
	if due, err := store.Due(t.Context(), now.Add(2*time.Hour), 10); err != nil || len(due) != 0 || len(backend.Items()) != 0 {
		t.Errorf("when it is old: got %v, %v and %d items, want none", due, err, len(backend.Items()))
	}
}
