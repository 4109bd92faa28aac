//go:build !without_lambda

package serverless

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/DataDog/datadog-lambda-go"
	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdaurl"

	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// sigtermTimeout bounds the work after SIGTERM; Lambda kills the process half a second after it.
const sigtermTimeout = 400 * time.Millisecond

// invoke answers one event.
type invoke = func(context.Context, json.RawMessage) (any, error)

// wrapper is Datadog's wrapper around a function that is still being built.
type wrapper struct {
	// answer is the function, once it is built.
	answer  invoke
	wrapped chan invoke
	out     output
}

// wrapLambda begins to wrap a function. It starts the tracer, which takes as long as building the function does: a cold start waits for
// the longer of the two. The wrapper is around a function and not a lambda.Handler: that for the latter reads a streamed response
// to its end before it sends the first byte.
func wrapLambda(out output) *wrapper {
	w := &wrapper{wrapped: make(chan invoke, 1), out: out}
	go func() {
		wrapped, _ := ddlambda.WrapFunction(func(ctx context.Context, event json.RawMessage) (any, error) { return w.answer(ctx, event) }, &ddlambda.Config{
			DDTraceEnabled: out.traced,
			TracerOptions:  out.tracerOptions,
		}).(invoke)
		w.wrapped <- wrapped
	}()
	return w
}

// serve answers events until Lambda ends the process.
func (w *wrapper) serve(h http.Handler, jobs *scheduled, t *telemetry.Client, log *slog.Logger, closeAll func(context.Context) error) error {
	w.answer = dispatch(h, jobs)
	wrapped := <-w.wrapped
	if wrapped == nil {
		return errors.New("datadog's wrapper returned a function of another type than ours")
	}
	lambda.StartWithOptions(flushed(wrapped, w.out.invoked, t), lambda.WithEnableSIGTERM(func() {
		ctx, cancel := context.WithTimeout(context.Background(), sigtermTimeout)
		defer cancel()
		if err := closeAll(ctx); err != nil {
			log.ErrorContext(ctx, "close function", slog.String("error.message", err.Error()))
		}
		// The runtime client does not stop by itself, and would be killed.
		os.Exit(0)
	}))
	return nil
}

// flushed ends each response only when the telemetry of the invocation was acknowledged, or the flush has given up. The
// flush around the handler is not enough: the wrapper's own span, the root of the trace, ends outside of it.
func flushed(next invoke, invoked func(), t *telemetry.Client) invoke {
	return func(ctx context.Context, event json.RawMessage) (any, error) {
		answer, err := next(ctx, event)
		invoked()
		if stream, ok := answer.(*events.LambdaFunctionURLStreamingResponse); ok && stream != nil {
			// The wrapper is done at the first byte, the handler at the last.
			stream.Body = &flushedBody{stream.Body, sync.OnceFunc(func() { t.Flush(ctx) })}
			return stream, err
		}
		t.Flush(ctx)
		return answer, err
	}
}

// flushedBody flushes before it says that it is at its end.
type flushedBody struct {
	io.Reader
	flush func()
}

// Read implements io.Reader.
func (b *flushedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		b.flush()
	}
	return n, err
}

// Close ends the handler's writes; the runtime client asks for it when nobody reads the response any more.
func (b *flushedBody) Close() error {
	if c, ok := b.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// dispatch serves the three kinds of event: the request of a function URL, whose response is streamed; a direct
// invocation, whose response is one JSON document; and that of a schedule. The first two pass h, authentication included.
//
// Lambda makes the event of a function URL, and only that has a requestContext: what its caller sends is in strings below
// headers and body, so that no request can be taken for another kind.
func dispatch(h http.Handler, s *scheduled) invoke {
	h = unsized{h}
	serveURL := lambdaurl.Wrap(h)
	return func(ctx context.Context, event json.RawMessage) (any, error) {
		var kind struct {
			RequestContext json.RawMessage `json:"requestContext"`
			scheduleEvent
		}
		if err := json.Unmarshal(event, &kind); err != nil {
			return nil, errUnknownEvent
		}
		if kind.RequestContext != nil {
			var url events.LambdaFunctionURLRequest
			if err := json.Unmarshal(event, &url); err != nil || url.RequestContext.HTTP.Method == "" {
				return nil, errUnknownEvent
			}
			return serveURL(ctx, &url)
		}
		if kind.scheduled() {
			return s.serve(ctx, kind.scheduleEvent)
		}
		var d direct
		if err := json.Unmarshal(event, &d); err != nil || d.Method == "" || !strings.HasPrefix(d.Path, "/") {
			return nil, errUnknownEvent
		}
		return serveDirect(ctx, h, d)
	}
}

// unsized takes the length off responses: a function URL sends them in chunks, and a header must not say otherwise.
type unsized struct{ next http.Handler }

// ServeHTTP implements http.Handler.
func (u unsized) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.next.ServeHTTP(&unsizedResponse{w}, r)
}

type unsizedResponse struct{ http.ResponseWriter }

// Unwrap is for http.ResponseController.
func (w *unsizedResponse) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// FlushError is for http.ResponseController: a function URL sends each write by itself, and a direct invocation nothing before
// its end.
func (w *unsizedResponse) FlushError() error {
	if _, whole := w.ResponseWriter.(*buffer); whole {
		return http.ErrNotSupported
	}
	return nil
}

// WriteHeader sends the headers without a length.
func (w *unsizedResponse) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

var errUnknownEvent = errors.New(`event is neither a function URL request nor {"method","path","headers","body"} nor that of a schedule`)
