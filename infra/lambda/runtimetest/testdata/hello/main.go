// Command hello is the least that Datadog's wrapper can be around; its cold start is what ours is compared with. It sends
// traces to the agent, as ours does, also where the wrapper does not find the extension's file.
package main

import (
	"context"

	"github.com/DataDog/datadog-lambda-go"
	"github.com/aws/aws-lambda-go/lambda"
	"gopkg.in/DataDog/dd-trace-go.v1/ddtrace/tracer"
)

func main() {
	hello := func(context.Context) (string, error) { return "hello", nil }
	lambda.Start(ddlambda.WrapFunction(hello, &ddlambda.Config{
		DDTraceEnabled: true,
		TracerOptions:  []tracer.StartOption{tracer.WithLambdaMode(false)},
	}))
}
