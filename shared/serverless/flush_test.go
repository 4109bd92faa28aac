package serverless_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/llm-reliability/control-plane/shared/serverless"
)

// TestWhetherAResponseLeavesBeforeItsHandlerEnds is what work after a response depends on.
func TestWhetherAResponseLeavesBeforeItsHandlerEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		event  string
		leaves bool
	}{
		"a function URL sends each write":                  {`{"version":"2.0","rawPath":"/x","headers":{},"requestContext":{"domainName":"h","http":{"method":"GET"}}}`, true},
		"a direct invocation sends nothing before its end": {`{"method":"GET","path":"/x"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			flushed := make(chan error, 1)
			invoke, err := serverless.Dispatch(serverless.Function{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "{}")
				flushed <- http.NewResponseController(w).Flush()
			})}, serverless.Options{Name: "f"})
			if err != nil {
				t.Fatal(err)
			}
			answer, err := invoke(t.Context(), []byte(tt.event))
			if err != nil {
				t.Fatal(err)
			}
			if stream, ok := answer.(*events.LambdaFunctionURLStreamingResponse); ok {
				if _, err := io.Copy(io.Discard, stream.Body); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-flushed; (err == nil) != tt.leaves {
				t.Errorf("flush: %v, want that the response leaves: %v", err, tt.leaves)
			}
		})
	}
}
