package dynamotest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Options are those of a client of the SDK that calls a handler.
func Options(handler http.Handler) dynamodb.Options {
	return dynamodb.Options{
		Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		BaseEndpoint: aws.String("http://dynamodb.test"), HTTPClient: Direct{handler},
	}
}

// Direct is an HTTP client of the SDK that calls a handler without a network, so that tests with virtual time can use it.
// A handler that panics with http.ErrAbortHandler breaks the connection.
type Direct struct{ Handler http.Handler }

// Do implements the interface of the SDK's HTTP clients.
func (d Direct) Do(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		switch p := recover(); {
		case p == http.ErrAbortHandler: //nolint:errorlint // a value that is recovered is compared as net/http does
			resp, err = nil, fmt.Errorf("post: %w", io.ErrUnexpectedEOF)
		case p != nil:
			panic(p)
		}
		if ctxErr := r.Context().Err(); ctxErr != nil {
			resp, err = nil, ctxErr
		}
	}()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.Handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// CreateTable makes a table with the keys of ours in an emulator, and waits until it can be used.
func CreateTable(ctx context.Context, client *dynamodb.Client, name string) error {
	_, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
		},
	})
	if err != nil {
		return fmt.Errorf("create table %s: %w", name, err)
	}
	soon := func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}
	if err := dynamodb.NewTableExistsWaiter(client, soon).Wait(ctx, &dynamodb.DescribeTableInput{TableName: &name}, time.Minute); err != nil {
		return fmt.Errorf("wait for table %s: %w", name, err)
	}
	return nil
}
