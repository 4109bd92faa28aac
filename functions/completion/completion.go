// Package completion completes prompts and conversations: POST /completion in our own form, and POST
// /v1/chat/completions in the OpenAI wire format, each whole or streamed as server-sent events. GET /v1/models lists what may be
// asked for, as OpenAI's clients expect it.
//
// It decodes and encodes; everything in between is the gateway's.
package completion

import (
	"context"
	"errors"
	"net/http"

	"github.com/llm-reliability/control-plane/functions/internal/answer"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// maxBody bounds a request body, in bytes.
const maxBody = 2 << 20

// Options are the dependencies of the function.
type Options struct {
	// Gateway is required.
	Gateway *gateway.Gateway
}

// New returns the handler.
func New(opts Options) (http.Handler, error) {
	if opts.Gateway == nil {
		return nil, errors.New("completion: Gateway is required")
	}
	mux := http.NewServeMux()
	mux.Handle("POST /completion", handleCompletion(opts.Gateway))
	mux.Handle("POST /v1/chat/completions", handleChat(opts.Gateway))
	mux.Handle("GET /v1/models", handleModels(opts.Gateway))
	return mux, nil
}

func handleCompletion(gw *gateway.Gateway) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := answer.NewCall(w, r, "completion", llm.Completion)
		req := Request{offers: gw.Offers}
		if err := httpjson.Decode(w, r, maxBody, &req); err != nil {
			problem := httpjson.FromError(err)
			gw.Reject(r.Context(), call, problem)
			httpjson.WriteProblem(w, problem, call.RequestID)
			return
		}
		call.Model, call.Request = req.Model, req.call()
		serve(w, r, gw, call, req.Stream, plainFormat{requestID: call.RequestID})
	})
}

func handleChat(gw *gateway.Gateway) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := answer.NewCall(w, r, "completion", llm.Chat)
		req := ChatRequest{offers: gw.Offers}
		if err := httpjson.Decode(w, r, maxBody, &req); err != nil {
			problem := unknownModel(httpjson.FromError(err))
			gw.Reject(r.Context(), call, problem)
			httpjson.WriteOpenAIError(w, problem, call.RequestID)
			return
		}
		call.Model, call.Request = req.Model, req.call()
		serve(w, r, gw, call, req.Stream, newChatFormat(call, req))
	})
}

// format is how one of the endpoints writes an answer: whole, or as the events of a stream.
type format interface {
	whole(ctx context.Context, w http.ResponseWriter, e *telemetry.Exchange)
	failed(w http.ResponseWriter, p *httpjson.Problem)
	// first, piece and last make the events of a stream that goes well; broken makes the event that ends one that does
	// not. Each event is a complete server-sent event; first and broken may be empty.
	first(p gateway.Piece) []byte
	piece(p gateway.Piece) []byte
	last(ctx context.Context, e *telemetry.Exchange) []byte
	broken(p *httpjson.Problem) []byte
}

// serve answers a call in the given format. A stream's headers go out with its first piece of text, so that a failure
// before it still has its own status; after it, a failure is an event of the stream, and never a clean end.
func serve(w http.ResponseWriter, r *http.Request, gw *gateway.Gateway, call gateway.Call, streamed bool, f format) {
	ctx := r.Context()
	if !streamed {
		e, err := gw.Do(ctx, call, nil)
		if err != nil {
			f.failed(w, httpjson.FromError(err))
			return
		}
		f.whole(ctx, w, e)
		return
	}
	events := &eventWriter{w: w, controller: http.NewResponseController(w)}
	e, err := gw.Do(ctx, call, func(p gateway.Piece) error {
		if !events.begun {
			if err := events.write(f.first(p)); err != nil {
				return err
			}
		}
		return events.write(f.piece(p))
	})
	switch {
	case err == nil:
		// The client has the whole text by now; if it is gone, nobody misses the closing event.
		_ = events.write(f.last(ctx, e))
	case events.begun:
		_ = events.write(f.broken(httpjson.FromError(err)))
	default:
		f.failed(w, httpjson.FromError(err))
	}
}

// eventWriter writes server-sent events and pushes each out at once.
type eventWriter struct {
	w          http.ResponseWriter
	controller *http.ResponseController
	begun      bool
}

func (e *eventWriter) write(event []byte) error {
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		e.w.WriteHeader(http.StatusOK)
	}
	if _, err := e.w.Write(event); err != nil {
		return err
	}
	// On Lambda the writer is an unbuffered pipe, which can't and need not be flushed.
	if err := e.controller.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
