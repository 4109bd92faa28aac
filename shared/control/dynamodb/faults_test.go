package dynamodb_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
)

// readTimeout is what a control.Reader gives a read.
const readTimeout = 250 * time.Millisecond

// interceptor is what a Table hands its requests to.
type interceptor = func(w http.ResponseWriter, r *http.Request, operation string, serve func(http.ResponseWriter))

func failing(status int, code string) interceptor {
	return func(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) {
		dynamotest.Fail(w, status, code, "injected")
	}
}

func garbage(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) {
	_, _ = w.Write([]byte("<html>"))
}

func hanging(_ http.ResponseWriter, r *http.Request, _ string, _ func(http.ResponseWriter)) {
	<-r.Context().Done()
}

func broken(http.ResponseWriter, *http.Request, string, func(http.ResponseWriter)) {
	panic(http.ErrAbortHandler)
}

// lost has the request executed, and breaks the connection instead of answering.
func lost(_ http.ResponseWriter, _ *http.Request, _ string, serve func(http.ResponseWriter)) {
	serve(httptest.NewRecorder())
	panic(http.ErrAbortHandler)
}

// first applies a fault to the first n requests only.
func first(n int, fault interceptor) interceptor {
	return func(w http.ResponseWriter, r *http.Request, operation string, serve func(http.ResponseWriter)) {
		if n--; n >= 0 {
			fault(w, r, operation, serve)
			return
		}
		serve(w)
	}
}

// always is more often than anything is tried.
const always = 1000

// calls are those of a store, each as one request when nothing is archived.
var calls = map[string]func(context.Context, control.Store, control.Version) error{
	"State": func(ctx context.Context, s control.Store, _ control.Version) error {
		_, err := s.State(ctx, start)
		return err
	},
	"Commit": func(ctx context.Context, s control.Store, v control.Version) error { return s.Commit(ctx, v, nil) },
	"Get": func(ctx context.Context, s control.Store, _ control.Version) error {
		_, _, err := s.Get(ctx, "a")
		return err
	},
	"Ping": func(ctx context.Context, s control.Store, _ control.Version) error { return s.Ping(ctx) },
}

// TestFaults has each call meet each fault within the time of a read. Time is virtual.
func TestFaults(t *testing.T) {
	const throttled = "ProvisionedThroughputExceededException"
	for name, tt := range map[string]struct {
		times int
		fault interceptor
		want  error // nil: the call succeeds all the same
		tells string
		tried int
	}{
		"throttled once":                            {1, failing(400, throttled), nil, "", 2},
		"throttled twice":                           {2, failing(400, "ThrottlingException"), nil, "", 3},
		"throttled always":                          {always, failing(400, throttled), control.ErrUnavailable, throttled, 3},
		"the account's requests are limited":        {always, failing(400, "RequestLimitExceeded"), control.ErrUnavailable, "RequestLimitExceeded", 3},
		"an internal error once":                    {1, failing(500, "InternalServerError"), nil, "", 2},
		"internal errors always":                    {always, failing(500, "InternalServerError"), control.ErrUnavailable, "InternalServerError", 3},
		"unavailable always":                        {always, failing(503, "ServiceUnavailable"), control.ErrUnavailable, "ServiceUnavailable", 3},
		"an answer that is no JSON":                 {always, garbage, control.ErrUnavailable, "deserialization", 1},
		"a connection that breaks once":             {1, broken, nil, "", 2},
		"connections that break":                    {always, broken, control.ErrUnavailable, "EOF", 3},
		"an answer that is lost":                    {1, lost, nil, "", 2},
		"no answer":                                 {always, hanging, context.DeadlineExceeded, table, 1},
		"no permission":                             {always, failing(400, "AccessDeniedException"), control.ErrUnavailable, "AccessDeniedException", 1},
		"no table":                                  {always, failing(400, "ResourceNotFoundException"), control.ErrUnavailable, `table "lrcp"`, 1},
		"the transaction before is still under way": {1, failing(400, "TransactionInProgressException"), nil, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			for call, do := range calls {
				synctest.Test(t, func(t *testing.T) {
					backend := &dynamotest.Table{Name: table}
					store := open(t, backend, at(start))
					commit(t, store, override("a", 0))
					version := state(t, store, start).Version
					sent := len(backend.Requests())
					backend.Intercept = first(tt.times, tt.fault)
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), readTimeout)
					defer cancel()
					err := do(ctx, store, version)
					if !errors.Is(err, tt.want) || (tt.want != nil && !strings.Contains(err.Error(), tt.tells)) {
						t.Errorf("%s: got %v, want %v that tells of %s", call, err, tt.want, tt.tells)
					}
					if took := time.Since(began); took >= readTimeout && !errors.Is(tt.want, context.DeadlineExceeded) {
						t.Errorf("%s: took %v, want less than %v", call, took, readTimeout)
					}
					if got := len(backend.Requests()) - sent; got != tt.tried {
						t.Errorf("%s: tried %d times, want %d", call, got, tt.tried)
					}
				})
			}
		})
	}
}

// TestThrottledUntilTheDeadline is about what the caller hears of: its own deadline, and what was the matter.
func TestThrottledUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &dynamotest.Table{Name: table, Intercept: failing(400, "ThrottlingException")}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		defer cancel()
		_, err := open(t, backend, nil).State(ctx, start)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a passed deadline", err)
		}
	})
}

// TestCommitWithoutAnAnswer is made whole or not at all, and the same commit again tells which.
func TestCommitWithoutAnAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		fault interceptor
		want  error
		made  bool
	}{
		"made, and every answer is lost": {lost, control.ErrUnavailable, true},
		"made, and the deadline passes": {func(_ http.ResponseWriter, r *http.Request, _ string, serve func(http.ResponseWriter)) {
			serve(httptest.NewRecorder())
			<-r.Context().Done()
		}, context.DeadlineExceeded, true},
		"not made, and the deadline passes": {hanging, context.DeadlineExceeded, false},
		"not made, and connections break":   {broken, control.ErrUnavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend := &dynamotest.Table{Name: table}
				store := open(t, backend, at(start))
				commit(t, store, override("a", 0))
				version := state(t, store, start).Version
				backend.Intercept = tt.fault
				ctx, cancel := context.WithTimeout(t.Context(), readTimeout)
				defer cancel()
				writes := []control.Override{override("b", 0), override("c", 0)}
				if err := store.Commit(ctx, version, writes); !errors.Is(err, tt.want) || errors.Is(err, control.ErrConflict) {
					t.Errorf("commit: got %v, want %v", err, tt.want)
				}
				backend.Intercept = nil
				want, again := []string{"a"}, error(nil)
				if tt.made {
					want, again = []string{"a", "b", "c"}, control.ErrConflict
				}
				if diff := cmp.Diff(want, ids(state(t, store, start))); diff != "" {
					t.Errorf("state (-want +got):\n%s", diff)
				}
				if err := store.Commit(t.Context(), version, writes); !errors.Is(err, again) {
					t.Errorf("the same commit again: got %v, want %v", err, again)
				}
			})
		})
	}
}

// TestLostAnswerAndAnotherWriter has another instance commit between the first try, whose answer is lost, and the second.
func TestLostAnswerAndAnotherWriter(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	store, other := open(t, backend, at(start)), open(t, backend, at(start))
	version := state(t, store, start).Version
	interrupted := false
	backend.Intercept = func(w http.ResponseWriter, _ *http.Request, _ string, serve func(http.ResponseWriter)) {
		if interrupted {
			serve(w)
			return
		}
		interrupted = true
		serve(httptest.NewRecorder())
		commit(t, other, override("b", 0))
		panic(http.ErrAbortHandler)
	}
	if err := store.Commit(t.Context(), version, []control.Override{override("a", 0)}); err != nil {
		t.Errorf("commit: got %v, though it was made", err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, ids(state(t, store, start))); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// TestFaultsWhileArchiving breaks each request of a commit that archives, and of a read of the archive.
func TestFaultsWhileArchiving(t *testing.T) {
	for n := 1; ; n++ {
		backend := &dynamotest.Table{Name: table, PageBytes: 1}
		store := open(t, backend, nil)
		commit(t, store, override("a", 0), override("b", time.Minute))
		version := state(t, store, start).Version
		count := 0
		backend.Intercept = func(w http.ResponseWriter, _ *http.Request, _ string, serve func(http.ResponseWriter)) {
			if count++; count == n {
				dynamotest.Fail(w, http.StatusBadRequest, "AccessDeniedException", "injected")
				return
			}
			serve(w)
		}
		err := store.Commit(t.Context(), version, []control.Override{override("c", 2*time.Minute)})
		want := []string{"a", "b"}
		if err == nil {
			want = append(want, "c")
		} else if !errors.Is(err, control.ErrUnavailable) {
			t.Errorf("commit with fault %d: got %v, want ErrUnavailable", n, err)
		}
		s, readErr := store.State(t.Context(), time.Time{})
		if readErr != nil && !errors.Is(readErr, control.ErrUnavailable) {
			t.Errorf("state with fault %d: got %v, want ErrUnavailable", n, readErr)
		}
		if readErr == nil {
			if diff := cmp.Diff(want, ids(s)); diff != "" {
				t.Errorf("state with fault %d (-want +got):\n%s", n, diff)
			}
		}
		backend.Intercept = nil
		if diff := cmp.Diff(want, ids(state(t, store, time.Time{}))); diff != "" {
			t.Errorf("state after fault %d (-want +got):\n%s", n, diff)
		}
		if count < n { // all requests have had their turn
			if n < 8 {
				t.Errorf("there were %d requests, want more", n-1)
			}
			return
		}
	}
}

// TestClientOfAFunction builds the client as functions do, from the environment, and talks over a socket.
func TestClientOfAFunction(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	server := httptest.NewServer(backend)
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_ENDPOINT_URL_DYNAMODB": server.URL, "AWS_MAX_ATTEMPTS": "9", "AWS_RETRY_MODE": "adaptive",
	} {
		t.Setenv(name, value)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store, err := dynamodb.New(dynamodb.Options{Client: sdk.NewFromConfig(cfg, dynamodb.Configure), Table: table})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, store, override("a", 0))
	backend.Intercept = failing(400, "ThrottlingException")
	sent := len(backend.Requests())
	if err := store.Ping(t.Context()); !errors.Is(err, control.ErrUnavailable) {
		t.Errorf("ping: got %v, want ErrUnavailable", err)
	}
	if got := len(backend.Requests()) - sent; got != 3 {
		t.Errorf("tried %d times, want 3", got)
	}
	// What hangs ends with the context, on a connection, too.
	backend.Intercept = hanging
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := store.State(ctx, start); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("state: got %v, want a passed deadline", err)
	}
}

func TestConnectionRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	options := dynamotest.Options(nil)
	options.HTTPClient, options.BaseEndpoint = http.DefaultClient, aws.String("http://"+address)
	store, err := dynamodb.New(dynamodb.Options{Client: sdk.New(options, dynamodb.Configure), Table: table})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Ping(t.Context()); !errors.Is(err, control.ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want ErrUnavailable that tells of a refused connection", err)
	}
}

// TestTransactionConflict is about another writer that is at it, whatever comes of it.
func TestTransactionConflict(t *testing.T) {
	backend := &dynamotest.Table{Name: table}
	store, other := open(t, backend, nil), open(t, backend, nil)
	commit(t, store, override("a", 0))
	version := state(t, other, start).Version
	met := false
	backend.Between = func() { // within the transaction that archives
		if met {
			return
		}
		met = true
		if err := other.Commit(t.Context(), version, nil); !errors.Is(err, control.ErrConflict) {
			t.Errorf("commit within a transaction: got %v, want ErrConflict", err)
		}
	}
	commit(t, store, override("b", 0))
	if !met {
		t.Error("no transaction of several items came")
	}
}

// TestCanceledTransactions has the transaction of a commit canceled for each reason that DynamoDB knows.
func TestCanceledTransactions(t *testing.T) {
	for name, tt := range map[string]struct {
		times int
		codes []string
		want  error
		tried int
	}{
		"throttled once":                          {1, []string{"ThrottlingError"}, nil, 2},
		"throttled always":                        {always, []string{"ThrottlingError"}, control.ErrUnavailable, 3},
		"without capacity once":                   {1, []string{"None", "ProvisionedThroughputExceeded"}, nil, 2},
		"overtaken":                               {always, []string{"ConditionalCheckFailed"}, control.ErrConflict, 1},
		"another transaction is under way":        {always, []string{"None", "TransactionConflict"}, control.ErrConflict, 1},
		"throttled, and overtaken":                {always, []string{"ThrottlingError", "ConditionalCheckFailed"}, control.ErrConflict, 1},
		"a value that is not valid":               {always, []string{"ValidationError"}, control.ErrUnavailable, 1},
		"a partition that has reached its bounds": {always, []string{"ItemCollectionSizeLimitExceeded"}, control.ErrUnavailable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend := &dynamotest.Table{Name: table}
				store := open(t, backend, at(start))
				version := state(t, store, start).Version
				sent := len(backend.Requests())
				backend.Intercept = first(tt.times, func(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) {
					dynamotest.Cancel(w, tt.codes...)
				})
				if err := store.Commit(t.Context(), version, nil); !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if got := len(backend.Requests()) - sent; got != tt.tried {
					t.Errorf("tried %d times, want %d", got, tt.tried)
				}
			})
		})
	}
}

// TestItemsThatOthersChanged is about a table that a person edited.
func TestItemsThatOthersChanged(t *testing.T) {
	for name, tt := range map[string]struct {
		head, want string
	}{
		"overrides that are no JSON":    {`{"version":{"S":"1-x"},"horizon":{"S":"0001-01-01T00:00:00.000000000Z"},"overrides":{"S":"["}}`, `"overrides"`},
		"overrides of another type":     {`{"version":{"S":"1-x"},"horizon":{"S":"0001-01-01T00:00:00.000000000Z"},"overrides":{"N":"1"}}`, `"overrides"`},
		"a horizon that is no time":     {`{"version":{"S":"1-x"},"horizon":{"S":"soon"},"overrides":{"S":"[]"}}`, `"horizon"`},
		"an item that has the key only": {`{}`, `"horizon"`},
	} {
		backend := &dynamotest.Table{Name: table, Intercept: func(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) {
			_, _ = w.Write([]byte(`{"Item":` + tt.head + `}`))
		}}
		_, err := open(t, backend, nil).State(t.Context(), start)
		if !errors.Is(err, control.ErrUnavailable) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want ErrUnavailable that tells of %s", name, err, tt.want)
		}
	}
}

// FuzzAnswers has the table answer a read with anything.
func FuzzAnswers(f *testing.F) {
	f.Add(`{}`, `{}`)
	f.Add(`{"Item":{"version":{"S":"2-x"},"horizon":{"S":"2026-01-02T04:00:00.000000000Z"},"overrides":{"S":"[{\"id\":\"a\"}]"}}}`,
		`{"Items":[{"sk":{"S":"until#x"},"override":{"S":"{\"id\":\"b\",\"end\":\"2026-01-02T04:00:00Z\"}"}}],"Count":1}`)
	f.Add(`{"Item":{"version":{"N":"2"},"horizon":{"S":"9999-12-31T23:59:59.999999999Z"},"overrides":{"S":"null"}}}`, `{"Items":[{}]}`)
	f.Add(`{"Item":{"version":null}}`, `{"Items":null,"LastEvaluatedKey":{}}`)
	f.Fuzz(func(t *testing.T, item, page string) {
		queries := 0
		backend := &dynamotest.Table{Name: table, Intercept: func(w http.ResponseWriter, _ *http.Request, operation string, _ func(http.ResponseWriter)) {
			answer := item
			if operation == "Query" {
				answer = page
				if queries++; queries > 3 { // or a key to go on from would be answered with itself
					answer = "{}"
				}
			}
			_, _ = w.Write([]byte(answer))
		}}
		store := open(t, backend, nil)
		s, err := store.State(t.Context(), start)
		if err != nil && !errors.Is(err, control.ErrUnavailable) {
			t.Errorf("state: got %v, want ErrUnavailable", err)
		}
		for _, o := range s.Overrides {
			if !o.Until().After(start) {
				t.Errorf("state: got %v, which ended before", o)
			}
		}
		if _, _, err := store.Get(t.Context(), "a"); err != nil && !errors.Is(err, control.ErrUnavailable) {
			t.Errorf("get: got %v, want ErrUnavailable", err)
		}
		if err := store.Commit(t.Context(), s.Version, nil); err != nil && !errors.Is(err, control.ErrUnavailable) && !errors.Is(err, control.ErrConflict) {
			t.Errorf("commit: got %v, want ErrUnavailable or ErrConflict", err)
		}
	})
}
