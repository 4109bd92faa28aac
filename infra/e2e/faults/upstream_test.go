package faults_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// upstream is a provider that speaks OpenAI's wire format and follows a script: one step for each call, the last of them
// for all that come after.
type upstream struct {
	script []step

	mu     sync.Mutex
	calls  int
	active atomic.Int64
}

// step answers one call, or does worse.
type step func(w *answerWriter, r *http.Request)

// ServeHTTP implements http.Handler.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.active.Add(1)
	defer u.active.Add(-1)
	var call struct {
		Model  string `json:"model"`
		Stream bool   `json:"stream"`
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		return // the caller left before it had asked
	}
	_, _ = io.Copy(io.Discard, r.Body) // the server watches for the caller to leave from here on
	u.mu.Lock()
	s := u.script[min(u.calls, len(u.script)-1)]
	u.calls++
	u.mu.Unlock()
	s(&answerWriter{ResponseWriter: w, model: call.Model, stream: call.Stream}, r)
}

// The answer of every upstream, in the tokens in which it is streamed.
var tokens = []string{"The mill", " was built", " by the abbey", " in 1732."}

const (
	inputTokens  = 100
	outputTokens = 20
)

// answerWriter writes in the form that was asked for.
type answerWriter struct {
	http.ResponseWriter
	model  string
	stream bool
}

func (w *answerWriter) put(format string, args ...any) {
	_, _ = fmt.Fprintf(w.ResponseWriter, format, args...) // the caller may be gone, which is the subject
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

func (w *answerWriter) begin(contentType string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
}

func (w *answerWriter) whole() string {
	return fmt.Sprintf(`{"id":"c1","object":"chat.completion","model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`, w.model, strings.Join(tokens, ""), inputTokens, outputTokens, inputTokens+outputTokens)
}

func (w *answerWriter) role() {
	w.begin("text/event-stream")
	w.put(`data: {"id":"c1","model":%q,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`+"\n\n", w.model)
}

func (w *answerWriter) token(text string) {
	w.put(`data: {"id":"c1","model":%q,"choices":[{"index":0,"delta":{"content":%q}}]}`+"\n\n", w.model, text)
}

func (w *answerWriter) end() {
	w.put(`data: {"id":"c1","model":%q,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n", w.model)
	w.put(`data: {"id":"c1","model":%q,"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`+"\n\n", w.model, inputTokens, outputTokens, inputTokens+outputTokens)
	w.put("data: [DONE]\n\n")
}

// answers is the only step that is no fault.
func answers(w *answerWriter, _ *http.Request) {
	if !w.stream {
		w.begin("application/json")
		w.put("%s", w.whole())
		return
	}
	w.role()
	for _, t := range tokens {
		w.token(t)
	}
	w.end()
}

// hangs never answers.
func hangs(_ *answerWriter, r *http.Request) { <-r.Context().Done() }

// trickles answers byte by byte, or token by token, with a pause before each.
func trickles(pause time.Duration) step {
	return func(w *answerWriter, r *http.Request) {
		wait := func() bool {
			select {
			case <-time.After(pause):
				return true
			case <-r.Context().Done():
				return false
			}
		}
		if w.stream {
			w.role()
			for wait() {
				w.token("drop ")
			}
			return
		}
		w.begin("application/json")
		for _, c := range w.whole() {
			if !wait() {
				return
			}
			w.put("%c", c)
		}
	}
}

// stalls streams two tokens, and then nothing.
func stalls(w *answerWriter, r *http.Request) {
	w.role()
	w.token(tokens[0])
	w.token(tokens[1])
	<-r.Context().Done()
}

// resets has the connection reset in place of an answer.
func resets(w *answerWriter, _ *http.Request) {
	raw, _, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		panic(err)
	}
	if c, ok := raw.(*conn); ok {
		c.reset()
	}
}

// breaksBeforeText ends a stream after the role and before any text.
func breaksBeforeText(w *answerWriter, _ *http.Request) {
	w.role()
	panic(http.ErrAbortHandler)
}

// breaksAfterText ends a stream after two tokens.
func breaksAfterText(w *answerWriter, _ *http.Request) {
	w.role()
	w.token(tokens[0])
	w.token(tokens[1])
	panic(http.ErrAbortHandler)
}

// endsSilently ends a stream after two tokens as if that were all.
func endsSilently(w *answerWriter, _ *http.Request) {
	w.role()
	w.token(tokens[0])
	w.token(tokens[1])
}

// failsInBand says within a stream that it failed.
func failsInBand(w *answerWriter, _ *http.Request) {
	w.role()
	w.token(tokens[0])
	w.put(`data: {"error":{"message":"overloaded","type":"overloaded_error","code":null}}` + "\n\n")
}

// says answers with a status, and headers in pairs.
func says(status int, body string, headers ...string) step {
	return func(w *answerWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		w.put("%s", body)
	}
}

// failsFor answers 500 until a time after begin, and then as it should.
func failsFor(d time.Duration) step {
	return func(w *answerWriter, r *http.Request) {
		if time.Since(begin) < d {
			says(500, "oops")(w, r)
			return
		}
		answers(w, r)
	}
}

// saysWhen answers 429 with the date at which the provider, whose clock is ahead, wants to be asked again.
func saysWhen(ahead time.Duration) step {
	return func(w *answerWriter, r *http.Request) {
		says(429, "", "Retry-After", time.Now().Add(ahead).UTC().Format(http.TimeFormat))(w, r)
	}
}

// garbage is what a proxy in between might say in place of an answer.
func garbage(w *answerWriter, _ *http.Request) {
	w.begin("text/html")
	w.put("<html><body>It works!</body></html>")
}

// brokenJSON is an answer whose end is missing, with a length that says that it is whole.
func brokenJSON(w *answerWriter, _ *http.Request) {
	w.begin("application/json")
	w.put("%s", w.whole()[:60])
}

// brokenEvents is a stream of what is no JSON.
func brokenEvents(w *answerWriter, _ *http.Request) {
	w.begin("text/event-stream")
	w.put("data: {\"choices\":[{\n\n")
}

// neverEnds answers with as much as anybody reads: one text, or one line of a stream.
func neverEnds(w *answerWriter, r *http.Request) {
	if w.stream {
		w.begin("text/event-stream")
		w.put(`data: {"choices":[{"index":0,"delta":{"content":"`)
	} else {
		w.begin("application/json")
		w.put(`{"choices":[{"index":0,"message":{"role":"assistant","content":"`)
	}
	piece := []byte(strings.Repeat("and so on ", 6400))
	for r.Context().Err() == nil {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// empty is a success that says nothing.
func empty(w *answerWriter, _ *http.Request) {
	w.begin("application/json")
	w.put(`{"id":"c1","model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":0}}`, w.model, inputTokens)
}

func silent() *log.Logger { return log.New(io.Discard, "", 0) }
