package dynamodb_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/cache/cachetest"
	"github.com/llm-reliability/control-plane/shared/cache/dynamodb"
	controldynamodb "github.com/llm-reliability/control-plane/shared/control/dynamodb"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
	"github.com/llm-reliability/control-plane/shared/llm"
)

const table = "lrcp"

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, options sdk.Options, name string) *dynamodb.Tier {
	t.Helper()
	tier, err := dynamodb.New(dynamodb.Options{Client: sdk.New(options, controldynamodb.Configure), Table: name})
	if err != nil {
		t.Fatal(err)
	}
	return tier
}

func TestConformance(t *testing.T) {
	cachetest.Conformance(t, func(t *testing.T) cache.Tier {
		return open(t, dynamotest.Options(&dynamotest.Table{Name: table}), table)
	})
}

func TestConformanceOnTheEmulator(t *testing.T) {
	options := dynamotest.Options(nil)
	options.HTTPClient, options.BaseEndpoint = http.DefaultClient, aws.String(emulatortest.DynamoDB(t))
	client := sdk.New(options)
	cachetest.Conformance(t, func(t *testing.T) cache.Tier {
		name := strings.Map(func(r rune) rune {
			if r == '/' {
				return '-'
			}
			return r
		}, t.Name())
		if err := dynamotest.CreateTable(t.Context(), client, name); err != nil {
			t.Fatal(err)
		}
		return open(t, options, name)
	})
}

func TestNewRefuses(t *testing.T) {
	for want, options := range map[string]dynamodb.Options{
		"Client": {Table: table},
		"Table":  {Client: sdk.New(dynamotest.Options(nil))},
	} {
		if _, err := dynamodb.New(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
}

func entry(text string) cache.Entry {
	return cache.Entry{Response: llm.Response{Text: text, Finish: llm.FinishStop}, Stored: now}
}

// TestWire is about what is sent: roles and the time to live rest on keys and attribute types.
func TestWire(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	if err := open(t, dynamotest.Options(backend), table).Put(t.Context(), "0a1b", entry("yes"), now.Add(time.Minute+1)); err != nil {
		t.Fatal(err)
	}
	items := backend.Items()
	if len(items) != 1 {
		t.Fatalf("got %d items, want one", len(items))
	}
	body := items[0]["entry"]["S"]
	want := dynamotest.Item{
		"pk": {"S": "cache#0a1b"}, "sk": {"S": "entry"},
		"entry": {"S": body}, "until": {"S": "2026-11-24T12:01:00.000000001Z"}, "expires": {"N": "1795521661"}, // rounded up
	}
	if diff := cmp.Diff(want, items[0]); diff != "" {
		t.Errorf("item (-want +got):\n%s", diff)
	}
	if s, ok := body.(string); !ok || !strings.HasPrefix(s, `{"response":{`) || !strings.Contains(s, `"yes"`) {
		t.Errorf("entry: got %v, want it as JSON", body)
	}
}

// TestSize goes up to the limit of an item, which the stand-in has, too.
func TestSize(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	tier := open(t, dynamotest.Options(backend), table)
	taken, refused := 0, 0
	for n := 400<<10 - 300; n <= 400<<10-100; n += 9 {
		switch err := tier.Put(t.Context(), "key", entry(strings.Repeat("x", n)), now.Add(time.Hour)); {
		case err == nil:
			taken++
		case errors.Is(err, cache.ErrTooLarge):
			refused++
		default:
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if taken == 0 || refused == 0 {
		t.Errorf("%d were taken and %d refused, want some of both", taken, refused)
	}
	if got := len(backend.Requests()); got != taken {
		t.Errorf("%d were sent, want those that were taken, %d", got, taken)
	}
	backend.Intercept = func(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) {
		dynamotest.Fail(w, http.StatusBadRequest, "ValidationException", "Item size has exceeded the maximum allowed size")
	}
	if err := tier.Put(t.Context(), "key", entry("x"), now.Add(time.Hour)); !errors.Is(err, cache.ErrTooLarge) {
		t.Errorf("what DynamoDB refuses for its size: got %v, want ErrTooLarge", err)
	}
}

// TestDeletedWhenExpired deletes what DynamoDB would.
func TestDeletedWhenExpired(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	tier := open(t, dynamotest.Options(backend), table)
	expires := now.Add(1500 * time.Millisecond)
	if err := tier.Put(t.Context(), "key", entry("x"), expires); err != nil {
		t.Fatal(err)
	}
	backend.Expire(expires)
	if _, ok, err := tier.Get(t.Context(), "key", expires.Add(-1)); !ok || err != nil {
		t.Errorf("just before it expires: got %v, %v, want true, nil", ok, err)
	}
	backend.Expire(expires.Add(time.Minute))
	if got := backend.Items(); len(got) != 0 {
		t.Errorf("after it expired: got %v, want no item", got)
	}
}

// TestFaults has both calls meet each fault. Time is virtual.
func TestFaults(t *testing.T) {
	const timeout = 100 * time.Millisecond // that of a cache.Cache
	fail := func(status int, code string) func(http.ResponseWriter, *http.Request, string, func(http.ResponseWriter)) {
		return func(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) {
			dynamotest.Fail(w, status, code, "injected")
		}
	}
	for name, tt := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request, string, func(http.ResponseWriter))
		ends  bool // with the deadline
		tells string
	}{
		"throttled":           {fail(400, "ThrottlingException"), false, "ThrottlingException"},
		"an internal error":   {fail(500, "InternalServerError"), false, "InternalServerError"},
		"no table":            {fail(400, "ResourceNotFoundException"), false, `table "lrcp"`},
		"another bad request": {fail(400, "ValidationException"), false, "ValidationException"},
		"no answer": {func(_ http.ResponseWriter, r *http.Request, _ string, _ func(http.ResponseWriter)) {
			<-r.Context().Done()
		}, true, table},
		"an answer that is not JSON": {func(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) {
			_, _ = w.Write([]byte("<html>"))
		}, false, "deserialization"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tier := open(t, dynamotest.Options(&dynamotest.Table{Name: table, Intercept: tt.fault}), table)
				for call, do := range map[string]func(context.Context) error{
					"Get": func(ctx context.Context) error { _, _, err := tier.Get(ctx, "key", now); return err },
					"Put": func(ctx context.Context) error { return tier.Put(ctx, "key", entry("x"), now.Add(time.Hour)) },
				} {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					err := do(ctx)
					cancel()
					if err == nil || errors.Is(err, context.DeadlineExceeded) != tt.ends || !strings.Contains(err.Error(), tt.tells) || errors.Is(err, cache.ErrTooLarge) {
						t.Errorf("%s: got %v, want an error that tells of %s", call, err, tt.tells)
					}
					if err != nil && strings.Contains(err.Error(), "key") {
						t.Errorf("%s: the error has the key in it: %v", call, err)
					}
				}
			})
		})
	}
}

// TestItemsThatOthersChanged is about a table that a person edited.
func TestItemsThatOthersChanged(t *testing.T) {
	for name, tt := range map[string]struct{ item, want string }{
		"an entry that is no JSON": {`{"entry":{"S":"{"},"until":{"S":"2026-11-25T00:00:00Z"}}`, `"entry"`},
		"an end that is no time":   {`{"entry":{"S":"{}"},"until":{"S":"soon"}}`, `"until"`},
		"nothing but the key":      {`{}`, `"until"`},
	} {
		backend := &dynamotest.Table{Name: table, Intercept: func(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) {
			_, _ = w.Write([]byte(`{"Item":` + tt.item + `}`))
		}}
		if _, ok, err := open(t, dynamotest.Options(backend), table).Get(t.Context(), "k", now); ok || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, %v, want an error that tells of %s", name, ok, err, tt.want)
		}
	}
}
