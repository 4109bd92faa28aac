// Command hello is the least that Datadog's wrapper can be around; its cold start is what ours is compared with.
package main

import (
	"context"

	"github.com/DataDog/datadog-lambda-go"
	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	hello := func(context.Context) (string, error) { return "hello", nil }
	lambda.Start(ddlambda.WrapFunction(hello, &ddlambda.Config{DDTraceEnabled: true}))
}
