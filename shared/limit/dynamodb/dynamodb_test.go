package dynamodb_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	controldynamodb "github.com/llm-reliability/control-plane/shared/control/dynamodb"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
	"github.com/llm-reliability/control-plane/shared/emulatortest"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/limit/dynamodb"
	"github.com/llm-reliability/control-plane/shared/limit/limittest"
)

const table = "lrcp"

func open(t *testing.T, options sdk.Options, name string) *dynamodb.Counters {
	t.Helper()
	c, err := dynamodb.New(dynamodb.Options{Client: sdk.New(options, controldynamodb.Configure), Table: name})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	limittest.Conformance(t, func(t *testing.T) limit.Counters {
		return open(t, dynamotest.Options(&dynamotest.Table{Name: table}), table)
	})
}

func TestConformanceOnTheEmulator(t *testing.T) {
	options := dynamotest.Options(nil)
	options.HTTPClient, options.BaseEndpoint = http.DefaultClient, aws.String(emulatortest.DynamoDB(t))
	client := sdk.New(options)
	limittest.Conformance(t, func(t *testing.T) limit.Counters {
		name := strings.ReplaceAll(t.Name(), "/", "-")
		if err := dynamotest.CreateTable(t.Context(), client, name); err != nil {
			t.Fatal(err)
		}
		return open(t, options, name)
	})
}

func one(expires time.Time) []limit.Delta {
	return []limit.Delta{{Key: limit.Key{Caller: "web", Window: "m1"}, Add: limit.Amounts{Requests: 1, Tokens: 2, NanoUSD: 3}, Expires: expires}}
}

// TestItem holds what roles and the table's time to live rest on.
func TestItem(t *testing.T) {
	tab := &dynamotest.Table{Name: table}
	if _, err := open(t, dynamotest.Options(tab), table).Add(t.Context(), one(time.Unix(1000, 1))); err != nil {
		t.Fatal(err)
	}
	var body string
	for _, r := range tab.Requests() {
		body += r.Operation + r.Body
	}
	for _, want := range []string{"UpdateItem", `"pk":{"S":"limit#web"}`, `"sk":{"S":"m1"}`, `"#e":"expires"`, `":e":{"N":"1001"}`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
}

func TestWhatFailsIsSaidWithWhatWasTried(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"throttled": func(w http.ResponseWriter) {
			dynamotest.Fail(w, http.StatusBadRequest, "ThrottlingException", "slow down")
		},
		"down": func(w http.ResponseWriter) {
			dynamotest.Fail(w, http.StatusServiceUnavailable, "ServiceUnavailable", "down")
		},
		"denied": func(w http.ResponseWriter) { dynamotest.Fail(w, http.StatusBadRequest, "AccessDeniedException", "no") },
	} {
		tab := &dynamotest.Table{Name: table, Intercept: func(w http.ResponseWriter, _ *http.Request, _ string, _ func(http.ResponseWriter)) { answer(w) }}
		_, err := open(t, dynamotest.Options(tab), table).Add(t.Context(), one(time.Now()))
		if err == nil || !strings.Contains(err.Error(), `add to counters in DynamoDB table "lrcp" of region `) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	tab := &dynamotest.Table{Name: table, Intercept: func(_ http.ResponseWriter, r *http.Request, _ string, _ func(http.ResponseWriter)) {
		cancel()
		<-r.Context().Done()
	}}
	if _, err := open(t, dynamotest.Options(tab), table).Add(ctx, one(time.Now())); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled under way: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for want, options := range map[string]dynamodb.Options{
		"Client": {Table: table},
		"Table":  {Client: sdk.New(dynamotest.Options(nil))},
	} {
		if _, err := dynamodb.New(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
