package dynamotest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
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
