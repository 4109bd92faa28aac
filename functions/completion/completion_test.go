package completion_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/completion"
	"github.com/llm-reliability/control-plane/functions/internal/functiontest"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
)

func start(t testing.TB, model llm.Model) *functiontest.Function {
	return functiontest.Start(t, "completion", model, func(gw *gateway.Gateway) (http.Handler, error) {
		return completion.New(completion.Options{Gateway: gw})
	})
}

func post(t testing.TB, f *functiontest.Function, path, body string) (int, string) {
	t.Helper()
	resp, err := f.Client.Post(f.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

const mill = "The mill stands by the river. It was built in 1732 by the abbey. It grinds rye."

// pieces streams the given texts; then it ends, or breaks when broken is set.
type pieces struct {
	texts  []string
	broken bool
	ended  chan struct{}
}

func (p pieces) Generate(context.Context, llm.Request) (*llm.Response, error) {
	return &llm.Response{Text: strings.Join(p.texts, ""), Model: "embedded-standard", Provider: "embedded", Finish: llm.FinishStop}, nil
}

func (p pieces) Stream(ctx context.Context, _ llm.Request) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) {
		if p.ended != nil {
			defer close(p.ended)
		}
		usage := llm.Usage{InputTokens: 10, OutputTokens: len(p.texts)}
		for _, text := range p.texts {
			if !yield(llm.Chunk{Text: text, Usage: &usage}, nil) {
				return
			}
		}
		if p.broken {
			yield(llm.Chunk{}, &llm.Error{Kind: llm.BrokenStream})
			return
		}
		yield(llm.Chunk{Finish: llm.FinishStop, Usage: &usage}, nil)
	}
}

// events reads server-sent events as "name data" lines.
func events(body string) []string {
	var out []string
	name := ""
	for line := range strings.SplitSeq(body, "\n") {
		if n, ok := strings.CutPrefix(line, "event: "); ok {
			name = n + " "
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			out = append(out, name+data)
			name = ""
		}
	}
	return out
}

func TestCompletion(t *testing.T) {
	f := start(t, nil)
	status, body := post(t, f, "/completion", `{"prompt":"Who built the mill? `+mill+`"}`)
	var got completion.Response
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	if !strings.Contains(got.Completion, "abbey") || got.FinishReason != llm.FinishStop || got.Metadata.Provider != "embedded" {
		t.Errorf("response %s", body)
	}
}

func TestCompletionStreams(t *testing.T) {
	f := start(t, pieces{texts: []string{"one ", "two"}})
	status, body := post(t, f, "/completion", `{"prompt":"Count.","stream":true}`)
	got := events(body)
	if status != http.StatusOK || len(got) != 3 {
		t.Fatalf("status %d, events %q", status, got)
	}
	if diff := cmp.Diff([]string{`{"text":"one "}`, `{"text":"two"}`}, got[:2]); diff != "" {
		t.Errorf("pieces (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(got[2], `done {"finish_reason":"stop","metadata":{`) {
		t.Errorf("last event %s", got[2])
	}
}

func TestStreamThatBreaksEndsWithAnErrorEvent(t *testing.T) {
	for path, tt := range map[string]struct{ body, want string }{
		"/completion":          {`{"prompt":"Count.","stream":true}`, `error {"type":"about:blank","title":"Bad Gateway","status":502`},
		"/v1/chat/completions": {`{"model":"standard","messages":[{"role":"user","content":"Count."}],"stream":true}`, `{"error":{"message":`},
	} {
		t.Run(path, func(t *testing.T) {
			f := start(t, pieces{texts: []string{"one "}, broken: true})
			_, body := post(t, f, path, tt.body)
			got := events(body)
			if last := got[len(got)-1]; !strings.HasPrefix(last, tt.want) || strings.Contains(body, "[DONE]") {
				t.Errorf("stream ends with %s, want %s…", last, tt.want)
			}
			if _, n := f.Memory.Sum("llm.request.error", "error_type:broken_stream"); n != 1 {
				t.Errorf("the break was counted %d times, want once", n)
			}
			if sum, _ := f.Memory.Sum("llm.request.tokens.input"); sum != 10 {
				t.Errorf("input tokens %v, want 10: a broken stream is billed", sum)
			}
		})
	}
}

func TestStreamThatFailsBeforeItsFirstPieceHasAStatus(t *testing.T) {
	f := start(t, pieces{broken: true})
	if status, body := post(t, f, "/completion", `{"prompt":"Count.","stream":true}`); status != http.StatusBadGateway || !strings.Contains(body, `"status":502`) {
		t.Errorf("status %d: %s", status, body)
	}
}

func TestClientThatHangsUpEndsTheStream(t *testing.T) {
	ended := make(chan struct{})
	f := start(t, pieces{texts: make64k(), ended: ended})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL+"/completion", strings.NewReader(`{"prompt":"Count.","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := f.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the upstream call goes on after its client is gone")
	}
}

// make64k is more text than the buffers of a connection hold, so that a writer notices when nobody reads.
func make64k() []string {
	texts := make([]string, 4096)
	for i := range texts {
		texts[i] = strings.Repeat("x", 16<<10)
	}
	return texts
}

func TestBadInput(t *testing.T) {
	for name, tt := range map[string]struct {
		path, body string
		want       []string
	}{
		"nothing to complete":        {"/completion", `{}`, []string{`"field":"prompt"`}},
		"prompt and messages":        {"/completion", `{"prompt":"p","messages":[{"role":"user","content":"m"}]}`, []string{`"field":"messages"`}},
		"every bad field at once":    {"/completion", `{"prompt":"p","max_tokens":-1,"temperature":3}`, []string{`"field":"max_tokens"`, `"field":"temperature"`}},
		"a role that does not exist": {"/completion", `{"messages":[{"role":"root","content":"m"}]}`, []string{`"field":"messages"`}},
		"a field within a message":   {"/completion", `{"messages":[{"role":"user","content":"m","x":1}]}`, []string{`"field":"messages.x"`}},
		"chat without messages":      {"/v1/chat/completions", `{"model":"standard"}`, []string{`"param":"messages"`, `"invalid_request_error"`}},
		"chat with tools":            {"/v1/chat/completions", `{"messages":[{"role":"user","content":"m"}],"tools":[{}]}`, []string{`"param":"tools"`}},
		"chat with a picture":        {"/v1/chat/completions", `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, []string{"only text"}},
		"chat with two choices":      {"/v1/chat/completions", `{"messages":[{"role":"user","content":"m"}],"n":2}`, []string{`"param":"n"`}},
		"chat with an unknown field": {"/v1/chat/completions", `{"messages":[{"role":"user","content":"m"}],"x":2}`, []string{`"param":"x"`, "unknown field"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			status, body := post(t, f, tt.path, tt.body)
			if status != http.StatusBadRequest {
				t.Errorf("status %d, want 400", status)
			}
			for _, want := range tt.want {
				if !strings.Contains(body, want) {
					t.Errorf("%s\nlacks %s", body, want)
				}
			}
		})
	}
}

func FuzzChat(f *testing.F) {
	fn := start(f, nil)
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"text","text":"Who?"}]}],"stop":"x"}`))
	f.Add([]byte(`{"messages":[{"role":"user","content":"m"}],"stream":true,"stop":["a"],"n":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/chat/completions", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		fn.Handler.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusBadGateway {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}

func TestCallersAreToldWhereTheyStand(t *testing.T) {
	serve := func(rules string) http.Handler {
		return functiontest.StartWith(t, "completion", functiontest.Setup{Limits: functiontest.Limits(t, rules)}, func(gw *gateway.Gateway) (http.Handler, error) {
			return completion.New(completion.Options{Gateway: gw})
		}).Handler
	}
	limited := serve("*:rpm=3,tpm=30000")
	free := serve("*:usd_day=5")
	chat := func(stream string) string {
		return `{"stream":` + stream + `,"max_tokens":100,"messages":[{"role":"user","content":"Who built the mill?"}]}`
	}
	for _, step := range []struct {
		does               string
		handler            http.Handler
		path, body         string
		status             int
		most, left, tokens string
	}{
		{"a chat", limited, "/v1/chat/completions", chat("false"), http.StatusOK, "3", "2", "30000"},
		{"a stream", limited, "/v1/chat/completions", chat("true"), http.StatusOK, "3", "1", "30000"},
		{"a bad request, which takes nothing", limited, "/completion", `{"prompt":""}`, http.StatusBadRequest, "", "", ""},
		{"a completion", limited, "/completion", `{"prompt":"Who built the mill?","max_tokens":100}`, http.StatusOK, "3", "0", "30000"},
		{"one too many", limited, "/v1/chat/completions", chat("false"), http.StatusTooManyRequests, "3", "0", "30000"},
		{"one of a caller without a limit a minute", free, "/v1/chat/completions", chat("false"), http.StatusOK, "", "", ""},
	} {
		r := httptest.NewRequest(http.MethodPost, step.path, strings.NewReader(step.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		step.handler.ServeHTTP(w, r)
		h := w.Result().Header // as they were when the body began
		if w.Code != step.status || h.Get("X-Ratelimit-Limit-Requests") != step.most || h.Get("X-Ratelimit-Remaining-Requests") != step.left || h.Get("X-Ratelimit-Limit-Tokens") != step.tokens {
			t.Errorf("%s: status %d, headers %v; want %d, %s of %s requests left, and %s tokens", step.does, w.Code, h, step.status, step.left, step.most, step.tokens)
		}
		if step.most == "" {
			continue
		}
		for _, of := range []string{"Requests", "Tokens"} {
			if reset, err := time.ParseDuration(h.Get("X-Ratelimit-Reset-" + of)); err != nil || reset < 50*time.Second || reset > 2*time.Minute { // a minute may end meanwhile
				t.Errorf("%s: all %s are there again in %s, %v; want up to two minutes", step.does, of, reset, err)
			}
		}
		if left, err := strconv.Atoi(h.Get("X-Ratelimit-Remaining-Tokens")); err != nil || left < 29000 || left >= 30000 {
			t.Errorf("%s: %d tokens are left, %v; want some less than 30000", step.does, left, err)
		}
	}
}
