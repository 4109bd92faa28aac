package openai_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/llmtest"
	"github.com/llm-reliability/control-plane/shared/llm/openai"
)

const key = env.Secret("sk-test")

// serve returns a model that calls handler over a connection.
func serve(t testing.TB, handler http.HandlerFunc) *openai.Model {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return model(t, openai.Options{BaseURL: server.URL + "/v1", APIKey: key, Transport: server.Client().Transport})
}

func model(t testing.TB, o openai.Options) *openai.Model {
	t.Helper()
	m, err := openai.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// call is a request as the server reads it.
type call struct {
	Model               string              `json:"model"`
	Messages            []map[string]string `json:"messages"`
	MaxTokens           *int                `json:"max_tokens"`
	MaxCompletionTokens *int                `json:"max_completion_tokens"`
	Temperature         *float64            `json:"temperature"`
	Stop                []string            `json:"stop"`
	Stream              bool                `json:"stream"`
	StreamOptions       map[string]bool     `json:"stream_options"`
}

const usage = `{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,` +
	`"prompt_tokens_details":{"cached_tokens":16},"completion_tokens_details":{"reasoning_tokens":5}}`

var wantUsage = &llm.Usage{InputTokens: 20, OutputTokens: 9, CachedTokens: 16, ReasoningTokens: 5}

func completion(content, finish string) string {
	return fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m-2026","choices":[{"index":0,"message":`+
		`{"role":"assistant","content":%q,"refusal":null},"finish_reason":%q}],"usage":%s}`, content, finish, usage)
}

// event is one event of a stream: a piece of text, or a finish reason.
func event(content, finish string) string {
	reason := "null"
	if finish != "" {
		reason = `"` + finish + `"`
	}
	return fmt.Sprintf("data: "+`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m-2026",`+
		`"choices":[{"index":0,"delta":{"content":%q},"finish_reason":%s}],"usage":null}`+"\n\n", content, reason)
}

const (
	usageEvent = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m-2026","choices":[],"usage":` + usage + "}\n\n"
	done       = "data: [DONE]\n\n"
)

// speak is a server that behaves.
func speak(w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer sk-test" {
		http.Error(w, "what?", http.StatusBadRequest)
		return
	}
	if c.Model != "m" {
		reply(w, 404, `{"error":{"message":"The model does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}`)
		return
	}
	if !c.Stream {
		reply(w, 200, completion("The mill was built in 1732.", "stop"))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range []string{": hello\n\n", event("", ""), event("The mill was", ""), event(" built", ""), event(" in 1732.", ""), event("", "stop"), usageEvent, done} {
		write(w, e)
	}
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	write(w, body)
}

func write(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, text) // the client may be gone, and the test sees what it got
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// request is one that speak answers.
var request = llm.Request{Model: "m", Messages: []llm.Message{{Role: llm.User, Content: "When was the mill built?"}}}

// collect reads a stream to its end.
func collect(ctx context.Context, m *openai.Model, req llm.Request) (text string, last llm.Chunk, err error) {
	for chunk, err := range m.Stream(ctx, req) {
		if err != nil {
			return text, last, err
		}
		text, last = text+chunk.Text, chunk
	}
	return text, last, nil
}

func TestConformance(t *testing.T) {
	llmtest.Conformance(t, func(t *testing.T) (llm.Model, llm.Request) {
		return serve(t, speak), llm.Request{Model: "m", Stop: []string{"spring"}, Messages: []llm.Message{
			{Role: llm.System, Content: "Answer briefly."}, {Role: llm.User, Content: "When was the mill built?"},
		}}
	})
}

func TestAnswerIsTranslated(t *testing.T) {
	m := serve(t, speak)
	got, err := m.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	want := &llm.Response{Text: "The mill was built in 1732.", Model: "m-2026", Provider: "openai", Finish: llm.FinishStop, Usage: wantUsage, ID: "chatcmpl-1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
	text, last, err := collect(t.Context(), m, request)
	if err != nil || text != want.Text {
		t.Errorf("stream: got %q, %v, want %q", text, err, want.Text)
	}
	if diff := cmp.Diff(llm.Chunk{Finish: llm.FinishStop, Usage: wantUsage, Model: "m-2026", ID: "chatcmpl-1"}, last); diff != "" {
		t.Errorf("last chunk (-want +got):\n%s", diff)
	}
}

func TestRequestIsTranslated(t *testing.T) {
	zero, most := 0.0, 50
	req := llm.Request{Model: "m", MaxTokens: most, Temperature: &zero, Stop: []string{"END"}, Messages: []llm.Message{
		{Role: llm.System, Content: "s"}, {Role: llm.User, Content: "u"}, {Role: llm.Assistant, Content: "a"},
	}}
	messages := []map[string]string{{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}}
	for name, tt := range map[string]struct {
		req  llm.Request
		base string
		want call
	}{
		"everything":              {req, "http://server/v1", call{Model: "m", Messages: messages, MaxTokens: &most, Temperature: &zero, Stop: []string{"END"}}},
		"the least":               {llm.Request{Model: "m", Messages: req.Messages}, "http://server/v1/", call{Model: "m", Messages: messages}},
		"OpenAI has a newer name": {llm.Request{Model: "m", Messages: req.Messages, MaxTokens: most}, "", call{Model: "m", Messages: messages, MaxCompletionTokens: &most}},
	} {
		t.Run(name, func(t *testing.T) {
			var got call
			var path, auth string
			m := model(t, openai.Options{BaseURL: tt.base, Transport: transport(func(r *http.Request) (*http.Response, error) {
				path, auth, got = r.URL.Path, r.Header.Get("Authorization"), call{}
				return nil, errors.Join(json.NewDecoder(r.Body).Decode(&got), errors.New("that is enough"))
			})})
			_, _ = m.Generate(t.Context(), tt.req) // the transport always fails
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("generate (-want +got):\n%s", diff)
			}
			_, _, _ = collect(t.Context(), m, tt.req)
			tt.want.Stream, tt.want.StreamOptions = true, map[string]bool{"include_usage": true}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("stream (-want +got):\n%s", diff)
			}
			if path != "/v1/chat/completions" || auth != "" {
				t.Errorf("called %s with authorization %q, want /v1/chat/completions without, for there is no key", path, auth)
			}
		})
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestSettingsOfTheProcessAreIgnored(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-of-the-process")
	t.Setenv("OPENAI_BASE_URL", "http://of-the-process")
	t.Setenv("OPENAI_ORG_ID", "org-of-the-process")
	var got *http.Request
	m := model(t, openai.Options{BaseURL: "http://server/v1", Transport: transport(func(r *http.Request) (*http.Response, error) {
		got = r
		return nil, errors.New("that is enough")
	})})
	_, _ = m.Generate(t.Context(), request) // the transport always fails
	if got.URL.Host != "server" || got.Header.Get("Authorization") != "" || got.Header.Get("OpenAI-Organization") != "" {
		t.Errorf("called %s with %v, want server, without authorization and organization", got.URL.Host, got.Header)
	}
}

// fails checks that both methods fail with the kind, and returns the errors.
func fails(t *testing.T, m *openai.Model, want llm.Kind) []*llm.Error {
	t.Helper()
	r, err := m.Generate(t.Context(), request)
	if r != nil {
		t.Errorf("generate: got %+v, want an error", *r)
	}
	_, _, streamErr := collect(t.Context(), m, request)
	var out []*llm.Error
	for method, err := range map[string]error{"generate": err, "stream": streamErr} {
		var e *llm.Error
		if !errors.As(err, &e) || e.Kind != want || e.Provider != "openai" || e.Model != "m" {
			t.Errorf("%s: got %v, want %s: openai/m", method, err, want)
			continue
		}
		out = append(out, e)
	}
	return out
}

func TestStatusBecomesKind(t *testing.T) {
	object := func(kind, code, message string) string {
		return fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%s}}`, message, kind, code)
	}
	for name, tt := range map[string]struct {
		status int
		header string
		body   string
		want   llm.Kind
		after  time.Duration
	}{
		"a malformed request":                 {400, "", object("invalid_request_error", `null`, "bad"), llm.InvalidRequest, 0},
		"an unprocessable request":            {422, "", `{"detail":[{"msg":"bad"}]}`, llm.InvalidRequest, 0},
		"a wrong key":                         {401, "", object("invalid_request_error", `"invalid_api_key"`, "no"), llm.Unauthenticated, 0},
		"a forbidden model":                   {403, "", object("", `null`, "no"), llm.Forbidden, 0},
		"a missing model":                     {404, "", object("", `"model_not_found"`, "no"), llm.NotFound, 0},
		"a missing model by its code only":    {400, "", object("", `"model_not_found"`, "no"), llm.NotFound, 0},
		"a prompt over the window":            {400, "", object("invalid_request_error", `"context_length_exceeded"`, "long"), llm.TooLarge, 0},
		"a prompt over the window, no code":   {400, "", object("BadRequestError", `400`, "This model's maximum context length is 4096 tokens."), llm.TooLarge, 0},
		"a window without an envelope":        {400, "", `{"object":"error","message":"maximum context length is 1","type":"x","code":400}`, llm.TooLarge, 0},
		"a body that is too large":            {413, "", "", llm.TooLarge, 0},
		"a filtered prompt":                   {400, "", object("", `"content_filter"`, "filtered"), llm.Blocked, 0},
		"too many requests":                   {429, "", object("", `"rate_limit_exceeded"`, "slow"), llm.RateLimited, 0},
		"too many requests, wait seconds":     {429, "Retry-After: 7", object("", `null`, "slow"), llm.RateLimited, 7 * time.Second},
		"too many requests, wait a part":      {429, "Retry-After: 0.5", "", llm.RateLimited, 500 * time.Millisecond},
		"too many requests, milliseconds":     {429, "Retry-After-Ms: 1500", "", llm.RateLimited, 1500 * time.Millisecond},
		"a wait in the past":                  {429, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", "", llm.RateLimited, 0},
		"a wait of years is cut":              {429, "Retry-After: 1e300", "", llm.RateLimited, 24 * time.Hour},
		"a wait that is none":                 {429, "Retry-After: soon", "", llm.RateLimited, 0},
		"a negative wait":                     {429, "Retry-After: -5", "", llm.RateLimited, 0},
		"a balance that is used up":           {402, "", object("", `null`, "pay"), llm.RateLimited, 0},
		"a fault":                             {500, "", object("server_error", `null`, "oops"), llm.ProviderFault, 0},
		"a fault of a proxy, in HTML":         {502, "", "<html>Bad Gateway</html>", llm.ProviderFault, 0},
		"an overload with a wait":             {503, "Retry-After: 2", "overloaded", llm.Overloaded, 2 * time.Second},
		"an overload in a status of its own":  {529, "", object("overloaded_error", `null`, "busy"), llm.Overloaded, 0},
		"a timeout of a proxy":                {504, "", "", llm.Timeout, 0},
		"an error object that is only a text": {503, "", `{"error":"Model is loading"}`, llm.Overloaded, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if k, v, ok := strings.Cut(tt.header, ": "); ok {
					w.Header().Set(k, v)
				}
				reply(w, tt.status, tt.body)
			})
			for _, e := range fails(t, m, tt.want) {
				if e.RetryAfter != tt.after {
					t.Errorf("retry after: got %v, want %v", e.RetryAfter, tt.after)
				}
				if !strings.Contains(e.Error(), fmt.Sprintf("status %d", tt.status)) {
					t.Errorf("error %q does not name status %d", e, tt.status)
				}
			}
		})
	}
}

func TestRetryAfterAsADate(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))
		reply(w, 503, "")
	})
	for _, e := range fails(t, m, llm.Overloaded) {
		if e.RetryAfter < 50*time.Second || e.RetryAfter > time.Minute {
			t.Errorf("retry after: got %v, want about a minute", e.RetryAfter)
		}
	}
}

func TestBodyOfAnAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, body string
		want       llm.Response
		fails      llm.Kind
	}{
		"cut at the limit":                  {"", completion("The", "length"), llm.Response{Text: "The", Finish: llm.FinishLength}, ""},
		"a part before the filter":          {"", completion("The", "content_filter"), llm.Response{Text: "The", Finish: llm.FinishBlocked}, ""},
		"a reason that nobody knows":        {"", completion("The", "eos"), llm.Response{Text: "The", Finish: llm.FinishStop}, ""},
		"nothing before the filter":         {"", completion("", "content_filter"), llm.Response{}, llm.Blocked},
		"a refusal":                         {"", strings.Replace(completion("", "stop"), `"refusal":null`, `"refusal":"I won't"`, 1), llm.Response{}, llm.Blocked},
		"no text":                           {"", completion("", "stop"), llm.Response{}, llm.Empty},
		"white space":                       {"", completion(" \n", "stop"), llm.Response{}, llm.Empty},
		"a server that gave up":             {"", completion("The", "error"), llm.Response{}, llm.ProviderFault},
		"no choices":                        {"", `{"id":"1","choices":[]}`, llm.Response{}, llm.ProviderFault},
		"null":                              {"", `null`, llm.Response{}, llm.ProviderFault},
		"half of a body":                    {"", completion("The", "stop")[:60], llm.Response{}, llm.ProviderFault},
		"a page of HTML":                    {"text/html", "<html>Welcome</html>", llm.Response{}, llm.ProviderFault},
		"garbage that says it is JSON":      {"", "\x00\xff{", llm.Response{}, llm.ProviderFault},
		"nothing":                           {"", "", llm.Response{}, llm.ProviderFault},
		"an error in a successful response": {"", `{"error":{"message":"busy","code":503}}`, llm.Response{}, llm.Overloaded},
	} {
		t.Run(name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if tt.kind != "" {
					w.Header().Set("Content-Type", tt.kind)
				}
				write(w, tt.body)
			})
			r, err := m.Generate(t.Context(), request)
			if tt.fails != "" {
				if e := llm.AsError(err); r != nil || e == nil || e.Kind != tt.fails {
					t.Errorf("got %v, %v, want %s", r, err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Model, tt.want.Provider, tt.want.ID, tt.want.Usage = "m-2026", "openai", "chatcmpl-1", wantUsage
			if diff := cmp.Diff(tt.want, *r); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUsageIsAbsentOrInItself(t *testing.T) {
	for name, tt := range map[string]struct {
		usage string
		want  *llm.Usage
	}{
		"not reported":                    {"null", nil},
		"without details":                 {`{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}`, &llm.Usage{InputTokens: 3, OutputTokens: 2}},
		"parts that exceed their sums":    {`{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9},"completion_tokens_details":{"reasoning_tokens":9}}`, &llm.Usage{InputTokens: 3, OutputTokens: 2, CachedTokens: 3, ReasoningTokens: 2}},
		"numbers that no count can be":    {`{"prompt_tokens":-3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":-1}}`, &llm.Usage{OutputTokens: 2}},
		"details that are null, as often": {`{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":null}`, &llm.Usage{InputTokens: 3, OutputTokens: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, r *http.Request) {
				var c call
				if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
					t.Errorf("request: %v", err)
				}
				if c.Stream {
					w.Header().Set("Content-Type", "text/event-stream")
					write(w, event("The", "")+event("", "stop")+strings.Replace(usageEvent, usage, tt.usage, 1)+done)
					return
				}
				reply(w, 200, strings.Replace(completion("The", "stop"), usage, tt.usage, 1))
			})
			r, err := m.Generate(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			_, last, err := collect(t.Context(), m, request)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, r.Usage) + cmp.Diff(tt.want, last.Usage); diff != "" {
				t.Errorf("usage (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndOfAStream(t *testing.T) {
	const text = "The mill"
	begun := event("The", "") + event(" mill", "")
	for name, tt := range map[string]struct {
		body string
		// cut breaks the connection after the body.
		cut   bool
		text  string
		last  llm.Chunk
		fails llm.Kind
	}{
		"usage in the event that finishes":      {body: begun + strings.Replace(event("", "stop"), `"usage":null`, `"usage":`+usage, 1) + done, text: text, last: llm.Chunk{Finish: llm.FinishStop, Usage: wantUsage}},
		"the reason stands beside the text":     {body: event("The", "") + event(" mill", "length") + usageEvent + done, text: text, last: llm.Chunk{Finish: llm.FinishLength, Usage: wantUsage}},
		"no [DONE]":                             {body: begun + event("", "stop"), text: text, last: llm.Chunk{Finish: llm.FinishStop}},
		"cut after the reason":                  {body: begun + event("", "stop"), cut: true, text: text, last: llm.Chunk{Finish: llm.FinishStop}},
		"lines that end in CR LF":               {body: strings.ReplaceAll(begun+event("", "stop")+done, "\n", "\r\n"), text: text, last: llm.Chunk{Finish: llm.FinishStop}},
		"filtered after a part":                 {body: begun + event("", "content_filter") + done, text: text, last: llm.Chunk{Finish: llm.FinishBlocked}},
		"filtered before any":                   {body: event("", "content_filter") + done, fails: llm.Blocked},
		"no text":                               {body: event("", "") + event("", "stop") + usageEvent + done, fails: llm.Empty},
		"cut after the headers":                 {cut: true, fails: llm.BrokenStream},
		"cut in mid-stream":                     {body: begun, cut: true, text: text, fails: llm.BrokenStream},
		"ended cleanly without a reason":        {body: begun, text: text, fails: llm.BrokenStream},
		"[DONE] without a reason":               {body: begun + done, text: text, fails: llm.BrokenStream},
		"cut within an event":                   {body: begun + event("", "stop")[:40], cut: true, text: text, fails: llm.BrokenStream},
		"garbage for an event":                  {body: begun + "data: {\x00\xff\n\n" + done, text: text, fails: llm.ProviderFault},
		"an event of another shape":             {body: begun + "data: [1,2]\n\n" + done, text: text, fails: llm.ProviderFault},
		"an error that says nothing":            {body: begun + "data: {\"error\":{}}\n\n", text: text, fails: llm.BrokenStream},
		"an error that says it is a fault":      {body: begun + "data: {\"error\":{\"type\":\"server_error\",\"message\":\"oops\"}}\n\n", text: text, fails: llm.ProviderFault},
		"an error that says it is an overload":  {body: begun + "data: {\"error\":{\"code\":503,\"message\":\"busy\"}}\n\n", text: text, fails: llm.Overloaded},
		"an error that says it is a rate limit": {body: "data: {\"error\":{\"code\":\"rate_limit_exceeded\"}}\n\n", fails: llm.RateLimited},
		"an error that is null":                 {body: strings.ReplaceAll(begun, `"usage":null`, `"error":null`) + event("", "stop") + done, text: text, last: llm.Chunk{Finish: llm.FinishStop}},
		"a server that gives up":                {body: begun + event("", "error") + done, text: text, fails: llm.ProviderFault},
		"a page of HTML":                        {body: "<html>Welcome</html>", fails: llm.ProviderFault},
	} {
		t.Run(name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				if strings.HasPrefix(tt.body, "<") {
					w.Header().Set("Content-Type", "text/html")
				}
				write(w, tt.body)
				if tt.cut {
					panic(http.ErrAbortHandler)
				}
			})
			text, last, err := collect(t.Context(), m, request)
			if text != tt.text {
				t.Errorf("text: got %q, want %q", text, tt.text)
			}
			if tt.fails != "" {
				if e := llm.AsError(err); e == nil || e.Kind != tt.fails {
					t.Errorf("got %v, want %s", err, tt.fails)
				}
				return
			}
			tt.last.Model, tt.last.ID = "m-2026", "chatcmpl-1"
			if diff := cmp.Diff(tt.last, last); diff != "" || err != nil {
				t.Errorf("error %v; last chunk (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestUsageBeforeAFailureIsBilled(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		write(w, event("The", "")+usageEvent)
	})
	_, _, err := collect(t.Context(), m, request)
	if e := llm.AsError(err); e == nil || cmp.Diff(wantUsage, e.Usage) != "" {
		t.Errorf("got %+v, want an error with usage %+v", e, wantUsage)
	}
}

func TestServerThatHangs(t *testing.T) {
	for name, body := range map[string]string{"before its headers": "", "in mid-stream": event("The", ""), "after the reason": event("The", "stop")} {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan struct{}, 2)
			m := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err != nil { // only then does the server notice that the client leaves
					t.Errorf("request: %v", err)
				}
				if body != "" {
					w.Header().Set("Content-Type", "text/event-stream")
					write(w, body)
				}
				arrived <- struct{}{}
				<-r.Context().Done()
			})
			const patience = 50 * time.Millisecond
			for method, do := range map[string]func(context.Context) error{
				"generate": func(ctx context.Context) error { _, err := m.Generate(ctx, request); return err },
				"stream":   func(ctx context.Context) error { _, _, err := collect(ctx, m, request); return err },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if e := llm.AsError(do(ctx)); e == nil || e.Kind != llm.Timeout || e.Provider != "openai" {
					t.Errorf("%s with a deadline: got %v, want timeout", method, e)
				}
				cancel()
				<-arrived
				ctx, cancel = context.WithCancel(t.Context())
				go func() { <-arrived; cancel() }()
				if e := llm.AsError(do(ctx)); e == nil || e.Kind != llm.Canceled {
					t.Errorf("%s with a caller that leaves: got %v, want canceled", method, e)
				}
			}
		})
	}
}

func TestTimeoutOfTheTransportItself(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the client gives up while it waits for the headers
		<-r.Context().Done()
	}))
	defer server.Close()
	fails(t, model(t, openai.Options{BaseURL: server.URL, Transport: &http.Transport{ResponseHeaderTimeout: 20 * time.Millisecond}}), llm.Timeout)
}

// TestAnswerWithoutEnd is given up before it has taken the memory of the process.
func TestAnswerWithoutEnd(t *testing.T) {
	for kind, answer := range map[string]struct{ begin, more string }{
		"application/json":  {`{"choices":[{"message":{"role":"assistant","content":"`, "and so on "},
		"text/event-stream": {"", event(strings.Repeat("and so on ", 100_000), "")},
	} {
		m := model(t, openai.Options{BaseURL: "http://server/v1", Transport: transport(func(*http.Request) (*http.Response, error) {
			body := io.MultiReader(strings.NewReader(answer.begin), &repeated{text: answer.more})
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(body)}, nil
		})})
		want, err := llm.BrokenStream, error(nil)
		if answer.begin != "" {
			want = llm.ProviderFault
			_, err = m.Generate(t.Context(), request)
		} else {
			_, _, err = collect(t.Context(), m, request)
		}
		if e := llm.AsError(err); e == nil || e.Kind != want || !strings.Contains(e.Error(), "longer than any answer") {
			t.Errorf("%s: got %v, want a %s that says why", kind, err, want)
		}
	}
}

// repeated is a text again and again.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

func TestServerThatIsNotThere(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	fails(t, model(t, openai.Options{BaseURL: server.URL}), llm.ProviderFault)
}

func TestLeavingAStreamEndsTheUpstreamCall(t *testing.T) {
	ended := make(chan struct{})
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is read is not of interest, only that it was
		w.Header().Set("Content-Type", "text/event-stream")
		write(w, event("The", ""))
		<-r.Context().Done()
		close(ended)
	})
	for chunk, err := range m.Stream(t.Context(), request) {
		if err != nil || chunk.Text != "The" {
			t.Fatalf("got %+v, %v, want The", chunk, err)
		}
		break
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the server still waits for the client")
	}
}

func TestCallsGoBelowTheBaseURL(t *testing.T) {
	for base, want := range map[string]string{
		"":                                "https://api.openai.com/v1/chat/completions",
		"http://server:8000/v1":           "http://server:8000/v1/chat/completions",
		"http://server/v1/":               "http://server/v1/chat/completions",
		"http://server":                   "http://server/chat/completions",
		"https://server/v1?api-version=2": "https://server/v1/chat/completions?api-version=2",
	} {
		t.Run(base, func(t *testing.T) {
			var got string
			m := model(t, openai.Options{BaseURL: base, Transport: transport(func(r *http.Request) (*http.Response, error) {
				got = r.Method + " " + r.URL.String()
				return nil, errors.New("that is enough")
			})})
			_, _ = m.Generate(t.Context(), request) // the transport always fails
			if got != "POST "+want {
				t.Errorf("got %s, want POST %s", got, want)
			}
		})
	}
}

func TestNewChecksTheAddress(t *testing.T) {
	for name, base := range map[string]string{"no scheme": "localhost:8000/v1", "another scheme": "ftp://h/v1", "no host": "http:///v1", "no URL": "http://[::1"} {
		t.Run(name, func(t *testing.T) {
			if _, err := openai.New(openai.Options{BaseURL: base}); err == nil {
				t.Errorf("%q was taken", base)
			}
		})
	}
}

// FuzzResponse answers both methods with anything: what comes of it is an answer or a typed error.
func FuzzResponse(f *testing.F) {
	f.Add(200, "application/json", completion("The mill", "stop"))
	f.Add(200, "text/event-stream", event("The", "")+event("", "stop")+usageEvent+done)
	f.Add(200, "text/event-stream", "data: {\"error\":{\"code\":503}}\n\n")
	f.Add(429, "application/json", `{"error":{"message":"m","type":"t","code":null}}`)
	f.Add(500, "", "\x00")
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		m := model(t, openai.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 100 + abs(status)%500, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})})
		r, err := m.Generate(t.Context(), request)
		var e *llm.Error
		if err != nil && !errors.As(err, &e) || err == nil && strings.TrimSpace(r.Text) == "" {
			t.Errorf("generate: %+v, %v", r, err)
		}
		text, last, err := collect(t.Context(), m, request)
		if err != nil && !errors.As(err, &e) || err == nil && (strings.TrimSpace(text) == "" || last.Finish == "") {
			t.Errorf("stream: %q, %+v, %v", text, last, err)
		}
	})
}

// The head of a request would go out by itself, as a packet more, where net/http does not know that the body is in memory.
func TestRequestGoesOutInOneWrite(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(speak))
	t.Cleanup(server.Close)
	var writes atomic.Int64
	client := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &counted{c, &writes}, err
	}}
	m := model(t, openai.Options{BaseURL: server.URL + "/v1", APIKey: key, Transport: client})
	if _, err := m.Generate(t.Context(), request); err != nil || writes.Load() != 1 {
		t.Errorf("the whole answer took %d writes and ended with %v, want 1 write", writes.Load(), err)
	}
	if _, _, err := collect(t.Context(), m, request); err != nil || writes.Load() != 2 {
		t.Errorf("the stream took %d writes and ended with %v, want 1 write", writes.Load()-1, err)
	}
	client.CloseIdleConnections()
}

// A connection is worth keeping: to open one costs up to three round trips. net/http keeps it when the response was read to its end,
// which comes after the last event.
func TestStreamIsReadToItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		// end is what the server does after the last event.
		end   func(ctx context.Context) error
		ended bool
		took  time.Duration
	}{
		"the server ends its response": {func(context.Context) error { return io.EOF }, true, 0},
		"the server ends it late": {func(context.Context) error {
			<-time.After(20 * time.Millisecond)
			return io.EOF
		}, true, 20 * time.Millisecond},
		"the server says that it is done, and does not end it": {func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, false, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := false
				m := model(t, openai.Options{BaseURL: "http://server/v1", Transport: transport(func(r *http.Request) (*http.Response, error) {
					end := reader(func([]byte) (int, error) {
						err := tt.end(r.Context())
						ended = errors.Is(err, io.EOF)
						return 0, err
					})
					body := io.MultiReader(strings.NewReader(event("The mill", "")+event("", "stop")+usageEvent+done), end)
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(body)}, nil
				})})
				begin := time.Now()
				text, last, err := collect(t.Context(), m, request)
				if text != "The mill" || last.Finish != llm.FinishStop || last.Usage == nil || err != nil {
					t.Errorf("got %q, %+v and %v, want the answer with its end and usage", text, last, err)
				}
				if ended != tt.ended || time.Since(begin) != tt.took {
					t.Errorf("ended is %t after %s, want %t after %s", ended, time.Since(begin), tt.ended, tt.took)
				}
			})
		})
	}
}

type reader func([]byte) (int, error)

func (f reader) Read(p []byte) (int, error) { return f(p) }

// counted counts the writes to a connection.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// What callers wrote, and the key, go to the server that is configured, and to no other.
func TestRedirectIsNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other server was called") }))
	defer elsewhere.Close()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusTemporaryRedirect} {
		m := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		fails(t, m, llm.ProviderFault)
	}
}

func abs(n int) int { return max(n, -(n + 1)) }

func BenchmarkGenerate(b *testing.B) {
	m := serve(b, speak)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Generate(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}
