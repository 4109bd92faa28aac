package serverless

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// flush waits, for a bounded time, until the request's telemetry was acknowledged. With streaming, the Lambda wrapper
// flushes at the first byte, and without the wrapper nobody does: this one does not depend on it.
func flush(t *telemetry.Client) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer t.Flush(r.Context())
			next.ServeHTTP(w, r)
		})
	}
}

// span opens the span of the request and closes it with the status that was sent. A write that fails means that the
// client is gone, and cancels the request: the platform does not always say so, and a model call costs money.
func span(t *telemetry.Client, name string, early bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, s := t.Begin(r.Context(), name, r.Header)
			ctx, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			out := &response{ResponseWriter: w, cancel: cancel}
			defer func() { s.End(out.outcome()) }()
			next.ServeHTTP(out, r.WithContext(ctx))
			if early {
				out.send()
			}
		})
	}
}

// response remembers what was sent. It hides the optional interfaces of the writer below, which streams reach with
// http.ResponseController.
type response struct {
	http.ResponseWriter
	cancel context.CancelCauseFunc
	status int
	failed error
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader remembers the first final status.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write cancels the request when the client is gone.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	if err != nil {
		w.cancel(fmt.Errorf("write response: %w", err))
	}
	return n, err
}

// send pushes out a response that is known to be whole, so that its reader does not wait for what is done after it. One
// without a length has no end yet, and a platform that sends each write needs no push.
func (w *response) send() {
	if w.Header().Get("Content-Length") != "" {
		// A client that is gone was noticed when the response was written, or has it all.
		_ = http.NewResponseController(w).Flush()
	}
}

// outcome is the status and error of the span. A request that the server failed has an error even without a panic.
func (w *response) outcome() (int, error) {
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	if w.failed == nil && status >= 500 {
		return status, errors.New(httpjson.Title(status))
	}
	return status, w.failed
}

// requestID takes the ID that the caller sent, when it is short and plain, or makes one, and sends it back.
func requestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !plain(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

// plain is whether a caller's ID may go into logs and headers as it is.
func plain(id string) bool {
	const most = 128
	return id != "" && len(id) <= most && strings.IndexFunc(id, func(c rune) bool {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !letter && !strings.ContainsRune("-_.:", c)
	}) < 0
}

// recovery turns a panic into a 500, or ends a response that has begun so that its reader notices. The process lives:
// on Lambda a panic in a streamed handler would end it, after a 200 was promised.
func recovery(log *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out, ok := w.(*response)
			if !ok {
				out = &response{ResponseWriter: w, cancel: func(error) {}}
			}
			defer func() {
				v := recover()
				if v == nil {
					return
				}
				out.failed = fmt.Errorf("panic: %v", v)
				log.ErrorContext(r.Context(), "panic", slog.String("http.request_id", RequestID(r.Context())),
					slog.String("http.method", r.Method), slog.String("error.kind", "panic"), slog.String("error.message", fmt.Sprint(v)), slog.String("error.stack", string(debug.Stack())))
				p := &httpjson.Problem{Status: http.StatusInternalServerError, Detail: "an internal error occurred"}
				if out.status == 0 {
					WriteError(out, r, p)
					return
				}
				breakOff(out, r, p)
			}()
			next.ServeHTTP(out, r)
		})
	}
}

// breakOff ends a response that has begun: an event stream with an error event, another one by closing the connection.
// Lambda offers no way to break a stream of bytes; there the response just ends.
func breakOff(w http.ResponseWriter, r *http.Request, p *httpjson.Problem) {
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		event, doc := "event: error\n", any(p.Document(RequestID(r.Context())))
		if openAI(r) {
			event, doc = "", httpjson.OpenAIError(p)
		}
		// The documents are structs of plain values, which marshal; a failed write means that nobody reads.
		data, _ := json.Marshal(doc)
		_, _ = fmt.Fprintf(w, "\n\n%sdata: %s\n\n", event, data)
		return
	}
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		// The connection is given up; an error in closing it changes nothing.
		_ = conn.Close()
	}
}

// deadline gives the request the platform's deadline or the configured one, whichever is earlier, less the reserve.
func deadline(timeout, reserve time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			end := time.Now().Add(timeout)
			if platform, ok := r.Context().Deadline(); ok && platform.Before(end) {
				end = platform
			}
			ctx, cancel := context.WithDeadline(r.Context(), end.Add(-reserve))
			defer cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// healthTimeout bounds the check of the dependencies: who asks for health wants an answer soon.
const healthTimeout = 2 * time.Second

// HealthDocument is the answer of GET /health.
type HealthDocument struct {
	// Status is "ok", or "degraded" when the function works without something that it should have.
	Status   string `json:"status"`
	Function string `json:"function"`
	Version  string `json:"version,omitempty"`
	Provider string `json:"provider,omitempty"`
	// ControlState is "reachable" or "unreachable"; absent for a function without one.
	ControlState string `json:"control_state,omitempty"`
}

// health answers GET /health for everybody, always with 200: a function whose control state is down serves with its
// last good settings, and a platform that restarts it for that would only make things worse.
func health(check func(context.Context) Health, name, version string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/health" {
				next.ServeHTTP(w, r)
				return
			}
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Allow", "GET, HEAD")
				WriteError(w, r, &httpjson.Problem{Status: http.StatusMethodNotAllowed, Detail: "use GET"})
				return
			}
			doc := HealthDocument{Status: "ok", Function: name, Version: version}
			if check != nil {
				ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
				defer cancel()
				got := check(ctx)
				doc.Provider, doc.ControlState = got.Provider, "reachable"
				if !got.ControlReachable {
					doc.Status, doc.ControlState = "degraded", "unreachable"
				}
			}
			w.Header().Set("Cache-Control", "no-store")
			httpjson.Write(w, http.StatusOK, doc)
		})
	}
}

// routed answers what a ServeMux has no route for as a problem. Other handlers are left as they are.
func routed(h http.Handler) http.Handler {
	mux, ok := h.(*http.ServeMux)
	if !ok {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refusal, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		answer := &buffer{header: http.Header{}}
		refusal.ServeHTTP(answer, r)
		p := &httpjson.Problem{Status: http.StatusNotFound, Detail: "there is nothing here"}
		if answer.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", answer.header.Get("Allow"))
			p = &httpjson.Problem{Status: answer.status, Detail: "use " + answer.header.Get("Allow")}
		}
		WriteError(w, r, p)
	})
}

// WriteError sends p in the form that callers of r's path expect: OpenAI's below /v1/, a problem everywhere else.
func WriteError(w http.ResponseWriter, r *http.Request, p *httpjson.Problem) {
	if openAI(r) {
		httpjson.WriteOpenAIError(w, p, RequestID(r.Context()))
		return
	}
	httpjson.WriteProblem(w, p, RequestID(r.Context()))
}

func openAI(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1/") }

// buffer is a response that is kept whole.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header { return b.header }

func (b *buffer) WriteHeader(status int) {
	if b.status == 0 && status >= 200 {
		b.status = status
	}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}
