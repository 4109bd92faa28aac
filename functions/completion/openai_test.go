package completion_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"

	"github.com/llm-reliability/control-plane/functions/completion"
	"github.com/llm-reliability/control-plane/functions/internal/functiontest"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// scripted does what the last message says.
type scripted struct {
	// ended counts the calls that the model saw being given up.
	ended atomic.Int32
}

var scriptedUsage = llm.Usage{InputTokens: 30, OutputTokens: 12, CachedTokens: 8, ReasoningTokens: 5}

func (m *scripted) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	text := req.Messages[len(req.Messages)-1].Content
	switch text {
	case "fault":
		return nil, &llm.Error{Kind: llm.ProviderFault}
	case "blocked":
		return nil, &llm.Error{Kind: llm.Blocked}
	case "hang":
		<-ctx.Done()
		m.ended.Add(1)
		return nil, llm.AsError(ctx.Err())
	case "long":
		return &llm.Response{Text: "one two", Model: "embedded-standard", Provider: "embedded", Finish: llm.FinishLength, Usage: &scriptedUsage}, nil
	}
	return &llm.Response{Text: "you said: " + text, Model: "embedded-standard", Provider: "embedded", Finish: llm.FinishStop, Usage: &scriptedUsage}, nil
}

func (m *scripted) Stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	text := req.Messages[len(req.Messages)-1].Content
	return func(yield func(llm.Chunk, error) bool) {
		for _, piece := range []string{"one ", "two ", "three"} {
			if text == "fault" {
				yield(llm.Chunk{}, &llm.Error{Kind: llm.ProviderFault})
				return
			}
			if !yield(llm.Chunk{Text: piece, Model: "embedded-standard"}, nil) {
				return
			}
			if text == "break" {
				yield(llm.Chunk{}, &llm.Error{Kind: llm.BrokenStream})
				return
			}
			if text == "hang" {
				<-ctx.Done()
				m.ended.Add(1)
				yield(llm.Chunk{}, llm.AsError(ctx.Err()))
				return
			}
		}
		yield(llm.Chunk{Finish: llm.FinishStop, Usage: &scriptedUsage}, nil)
	}
}

// refusing refuses every other request of the caller hasty, for a second.
type refusing struct{ n atomic.Int32 }

func (r *refusing) Admit(_ context.Context, req limit.Request) (*limit.Ticket, *limit.Exceeded, error) {
	if req.Caller == "hasty" && r.n.Add(1)%2 == 1 {
		return nil, &limit.Exceeded{Limit: limit.Requests, Caller: req.Caller, Allowed: "1 requests a second", RetryAfter: time.Second}, nil
	}
	return nil, nil, nil
}

func (r *refusing) Standing(limit.Request) []limit.Standing { return nil }

// clientCall is one call, as both clients are told to make it.
type clientCall struct {
	Key       string         `json:"key"`
	Retries   int            `json:"retries"`
	TimeoutMS int            `json:"timeout_ms"`
	Leave     int            `json:"leave_after"`
	Body      map[string]any `json:"body"`
}

// clientResult is what became of a call.
type clientResult struct {
	Text   string        `json:"text"`
	Finish string        `json:"finish"`
	Role   string        `json:"role"`
	Model  string        `json:"model"`
	Usage  []int64       `json:"usage"`
	Error  *clientFailed `json:"error,omitempty"`
}

type clientFailed struct {
	// Kind is the class of the Node client's error; the Go client has none.
	Kind       string `json:"kind"`
	Status     int    `json:"status"`
	Code       string `json:"code"`
	Param      string `json:"param"`
	Type       string `json:"type"`
	RetryAfter string `json:"retry_after"`
}

func says(text string, more map[string]any) map[string]any {
	body := map[string]any{"model": "standard", "messages": []any{map[string]any{"role": "developer", "content": "Be brief."}, map[string]any{"role": "user", "content": text}}}
	maps.Copy(body, more)
	return body
}

// clientTests are calls with what both clients must make of them.
var clientTests = map[string]struct {
	call clientCall
	want clientResult
}{
	"a chat": {
		clientCall{Body: says("hello", map[string]any{"max_tokens": 50, "temperature": 0.2, "top_p": 0.9, "seed": 7, "user": "u", "n": 1, "stop": "END", "response_format": map[string]any{"type": "text"}})},
		clientResult{Text: "you said: hello", Role: "assistant", Finish: "stop", Model: "embedded-standard", Usage: []int64{30, 12, 42, 8, 5}},
	},
	"content in parts, and the newer name of the cap": {
		clientCall{Body: map[string]any{"model": "economy", "max_completion_tokens": 50, "stop": []string{"A", "B"}, "messages": []any{map[string]any{
			"role": "user", "content": []any{map[string]any{"type": "text", "text": "one"}, map[string]any{"type": "text", "text": "two"}},
		}}}},
		clientResult{Text: "you said: one\ntwo", Role: "assistant", Finish: "stop", Model: "embedded-standard", Usage: []int64{30, 12, 42, 8, 5}},
	},
	"an answer that was cut": {
		clientCall{Body: says("long", nil)},
		clientResult{Text: "one two", Role: "assistant", Finish: "length", Model: "embedded-standard", Usage: []int64{30, 12, 42, 8, 5}},
	},
	"a stream with its usage": {
		clientCall{Body: says("stream", map[string]any{"stream": true, "stream_options": map[string]any{"include_usage": true}})},
		clientResult{Text: "one two three", Role: "assistant", Finish: "stop", Model: "embedded-standard", Usage: []int64{30, 12, 42, 8, 5}},
	},
	"a stream without": {
		clientCall{Body: says("stream", map[string]any{"stream": true})},
		clientResult{Text: "one two three", Role: "assistant", Finish: "stop", Model: "embedded-standard"},
	},
	"a stream that breaks is an error, and keeps what came": {
		clientCall{Body: says("break", map[string]any{"stream": true})},
		clientResult{Text: "one ", Role: "assistant", Model: "embedded-standard", Error: &clientFailed{Kind: "APIError", Code: "broken_stream", Type: "server_error"}},
	},
	"a stream that fails before it begins has a status": {
		clientCall{Body: says("fault", map[string]any{"stream": true})},
		clientResult{Error: &clientFailed{Kind: "InternalServerError", Status: 502, Code: "provider_fault", Type: "server_error"}},
	},
	"a key that nobody has": {
		clientCall{Key: "wrong", Body: says("hello", nil)},
		clientResult{Error: &clientFailed{Kind: "AuthenticationError", Status: 401, Type: "authentication_error"}},
	},
	"two choices": {
		clientCall{Body: says("hello", map[string]any{"n": 2})},
		clientResult{Error: &clientFailed{Kind: "BadRequestError", Status: 400, Param: "n", Type: "invalid_request_error"}},
	},
	"tools": {
		clientCall{Body: says("hello", map[string]any{"tools": []any{map[string]any{"type": "function", "function": map[string]any{"name": "f"}}}})},
		clientResult{Error: &clientFailed{Kind: "BadRequestError", Status: 400, Param: "tools", Type: "invalid_request_error"}},
	},
	"an answer in JSON": {
		clientCall{Body: says("hello", map[string]any{"response_format": map[string]any{"type": "json_object"}})},
		clientResult{Error: &clientFailed{Kind: "BadRequestError", Status: 400, Param: "response_format", Type: "invalid_request_error"}},
	},
	"a picture": {
		clientCall{Body: map[string]any{"model": "standard", "messages": []any{map[string]any{"role": "user", "content": []any{map[string]any{"type": "image_url", "image_url": map[string]any{"url": "https://example.com/a.png"}}}}}}},
		clientResult{Error: &clientFailed{Kind: "BadRequestError", Status: 400, Param: "messages", Type: "invalid_request_error"}},
	},
	"a model that is not on offer": {
		clientCall{Body: map[string]any{"model": "gpt-9", "messages": []any{map[string]any{"role": "user", "content": "hello"}}}},
		clientResult{Error: &clientFailed{Kind: "NotFoundError", Status: 404, Code: "model_not_found", Param: "model", Type: "invalid_request_error"}},
	},
	"a body that is too large": {
		clientCall{Body: says(strings.Repeat("x", 3<<20), nil)},
		clientResult{Error: &clientFailed{Kind: "APIError", Status: 413, Type: "invalid_request_error"}},
	},
	"a caller over its limit": {
		clientCall{Key: "hasty", Body: says("hello", nil)},
		clientResult{Error: &clientFailed{Kind: "RateLimitError", Status: 429, Code: "limit_exceeded", Type: "rate_limit_error", RetryAfter: "1"}},
	},
	"a caller over its limit whose client tries again when it was told to": {
		clientCall{Key: "hasty", Retries: 2, Body: says("hello", nil)},
		clientResult{Text: "you said: hello", Role: "assistant", Finish: "stop", Model: "embedded-standard", Usage: []int64{30, 12, 42, 8, 5}},
	},
	"a provider that fails": {
		clientCall{Body: says("fault", nil)},
		clientResult{Error: &clientFailed{Kind: "InternalServerError", Status: 502, Code: "provider_fault", Type: "server_error"}},
	},
	"an answer that a filter withheld": {
		clientCall{Body: says("blocked", nil)},
		clientResult{Error: &clientFailed{Kind: "UnprocessableEntityError", Status: 422, Code: "blocked", Type: "invalid_request_error"}},
	},
	"a model that does not answer in time": {
		clientCall{Body: says("hang", nil)},
		clientResult{Error: &clientFailed{Kind: "InternalServerError", Status: 504, Code: "timeout", Type: "server_error"}},
	},
	"a client that does not wait": {
		clientCall{TimeoutMS: 100, Body: says("hang", nil)},
		clientResult{Error: &clientFailed{Kind: "APIConnectionTimeoutError"}},
	},
	"a client that leaves a stream": {
		clientCall{Leave: 4, Body: says("hang", map[string]any{"stream": true})},
		clientResult{Text: "one ", Role: "assistant", Model: "embedded-standard"},
	},
}

// serveClients serves the function to clients with the keys right and hasty.
func serveClients(t *testing.T, m *scripted) *functiontest.Function {
	t.Helper()
	var pairs []env.Secret
	for _, name := range []string{"right", "hasty"} {
		sum := sha256.Sum256([]byte(name))
		pairs = append(pairs, env.Secret(name+":"+hex.EncodeToString(sum[:])))
	}
	keys, err := serverless.ParseAPIKeys(pairs)
	if err != nil {
		t.Fatal(err)
	}
	return functiontest.StartWith(t, "completion", functiontest.Setup{Model: m, Limits: &refusing{}, Auth: keys, Timeout: 700 * time.Millisecond},
		func(gw *gateway.Gateway) (http.Handler, error) {
			return completion.New(completion.Options{Gateway: gw})
		})
}

// prepared fills in what most calls have.
func (c clientCall) prepared() clientCall {
	if c.Key == "" {
		c.Key = "right"
	}
	return c
}

func TestOfficialGoClientOfOpenAI(t *testing.T) {
	for name, tt := range clientTests {
		t.Run(name, func(t *testing.T) {
			m := &scripted{}
			f := serveClients(t, m)
			got := callFromGo(t, f.URL+"/v1", tt.call.prepared())
			want := tt.want
			if want.Error != nil {
				failed := *want.Error
				failed.Kind = ""
				if failed.Status == 0 {
					failed = clientFailed{} // an error without a response is a plain one
				}
				want.Error = &failed
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			abandoned(t, m, tt.call)
		})
	}
	f := serveClients(t, &scripted{})
	client := openai.NewClient(option.WithBaseURL(f.URL+"/v1"), option.WithAPIKey("right"))
	page, err := client.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range page.Data {
		names = append(names, m.ID)
	}
	if diff := cmp.Diff([]string{"economy", "standard", "quality", "embedded-economy", "embedded-standard", "embedded-quality"}, names); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
}

// abandoned waits until the model has seen that its client is gone.
func abandoned(t *testing.T, m *scripted, c clientCall) {
	t.Helper()
	if c.TimeoutMS == 0 && c.Leave == 0 {
		return
	}
	deadline := time.After(500 * time.Millisecond) // below the request's own deadline
	for m.ended.Load() == 0 {
		select {
		case <-deadline:
			t.Fatal("the call to the model goes on without its client")
		case <-time.After(time.Millisecond):
		}
	}
}

func callFromGo(t *testing.T, base string, c clientCall) (r clientResult) {
	t.Helper()
	body, err := json.Marshal(c.Body)
	if err != nil {
		t.Fatal(err)
	}
	opts := []option.RequestOption{option.WithBaseURL(base), option.WithAPIKey(c.Key), option.WithMaxRetries(c.Retries)}
	if c.TimeoutMS > 0 {
		opts = append(opts, option.WithRequestTimeout(time.Duration(c.TimeoutMS)*time.Millisecond))
	}
	client := openai.NewClient(opts...)
	params := param.Override[openai.ChatCompletionNewParams](json.RawMessage(body))
	usage := func(u openai.CompletionUsage) []int64 {
		return []int64{u.PromptTokens, u.CompletionTokens, u.TotalTokens, u.PromptTokensDetails.CachedTokens, u.CompletionTokensDetails.ReasoningTokens}
	}
	if c.Body["stream"] != true {
		answer, err := client.Chat.Completions.New(t.Context(), params)
		if err != nil {
			return clientResult{Error: failureInGo(err)}
		}
		choice := answer.Choices[0]
		return clientResult{
			Text: choice.Message.Content, Role: string(choice.Message.Role), Finish: choice.FinishReason, Model: answer.Model, Usage: usage(answer.Usage),
		}
	}
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	defer stream.Close()
	for stream.Next() {
		chunk := stream.Current()
		r.Model = chunk.Model
		if chunk.JSON.Usage.Valid() {
			r.Usage = usage(chunk.Usage)
		}
		for _, choice := range chunk.Choices {
			if choice.Delta.Role != "" {
				r.Role = choice.Delta.Role
			}
			if choice.FinishReason != "" {
				r.Finish = choice.FinishReason
			}
			r.Text += choice.Delta.Content
		}
		if c.Leave > 0 && len(r.Text) >= c.Leave {
			return r
		}
	}
	if err := stream.Err(); err != nil {
		r.Error = failureInGo(err)
	}
	return r
}

func failureInGo(err error) *clientFailed {
	var e *openai.Error
	if !errors.As(err, &e) {
		return &clientFailed{}
	}
	return &clientFailed{Status: e.StatusCode, Code: e.Code, Param: e.Param, Type: e.Type, RetryAfter: e.Response.Header.Get("Retry-After")}
}

func TestOfficialNodeClientOfOpenAI(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	m := &scripted{}
	f := serveClients(t, m)
	var names []string
	var calls []clientCall
	leaving := int32(0)
	for name, tt := range clientTests {
		names, calls = append(names, name), append(calls, tt.call.prepared())
		if tt.call.Leave > 0 || tt.call.TimeoutMS > 0 {
			leaving++
		}
	}
	input, err := json.Marshal(map[string]any{"baseURL": f.URL + "/v1", "calls": calls})
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), "node", filepath.Join(root, "functions/completion/testdata/openai.mjs"))
	var out, trouble bytes.Buffer
	node.Stdin, node.Stdout, node.Stderr = bytes.NewReader(input), &out, &trouble
	if err := node.Run(); err != nil {
		t.Fatalf("run the client: %v; `make node_modules` installs it\n%s", err, trouble.String())
	}
	var results []clientResult
	if err := json.Unmarshal(out.Bytes(), &results); err != nil || len(results) != len(calls) {
		t.Fatalf("%d results, %v: %s", len(results), err, out.String())
	}
	for i, name := range names {
		if diff := cmp.Diff(clientTests[name].want, results[i]); diff != "" {
			t.Errorf("%s: result (-want +got):\n%s", name, diff)
		}
	}
	if n := m.ended.Load(); n < leaving {
		t.Errorf("the model saw %d calls end, want at least the %d whose clients left", n, leaving)
	}
}
