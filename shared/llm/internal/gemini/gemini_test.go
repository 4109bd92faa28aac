package gemini_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/bounded"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func TestResponsesThatFailed(t *testing.T) {
	const retryInfo = `{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7s"}`
	object := func(status, message, details string) string {
		return `{"error":{"code":1,"message":"` + message + `","status":"` + status + `","details":[` + details + `]}}`
	}
	for name, tt := range map[string]struct {
		status int
		header string
		body   string
		want   llm.Kind
		after  time.Duration
		text   string
	}{
		"an object":                             {429, "", object("RESOURCE_EXHAUSTED", "m", retryInfo), llm.RateLimited, 7 * time.Second, "status 429 RESOURCE_EXHAUSTED"},
		"an array, as of streams":               {429, "", "[" + object("RESOURCE_EXHAUSTED", "m", retryInfo) + "\n]", llm.RateLimited, 7 * time.Second, "status 429 RESOURCE_EXHAUSTED"},
		"the code wins over the status":         {500, "", object("UNAVAILABLE", "m", ""), llm.Overloaded, 0, "status 500 UNAVAILABLE"},
		"no code":                               {403, "", `{"error":{"code":403,"message":"m"}}`, llm.Forbidden, 0, "status 403"},
		"a code that nobody knows":              {503, "", object("GONE_FISHING", "m", ""), llm.Overloaded, 0, "status 503 GONE_FISHING"},
		"a code that is a text":                 {503, "", object("who was it", "m", ""), llm.Overloaded, 0, "status 503"},
		"a reason":                              {403, "", object("PERMISSION_DENIED", "m", `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED"}`), llm.Forbidden, 0, "status 403 PERMISSION_DENIED SERVICE_DISABLED"},
		"a part of a second":                    {429, "", object("RESOURCE_EXHAUSTED", "m", strings.Replace(retryInfo, "7s", "0.25s", 1)), llm.RateLimited, 250 * time.Millisecond, "status 429 RESOURCE_EXHAUSTED"},
		"a negative wait":                       {429, "", object("RESOURCE_EXHAUSTED", "m", strings.Replace(retryInfo, "7s", "-7s", 1)), llm.RateLimited, 0, "status 429 RESOURCE_EXHAUSTED"},
		"a wait that is none":                   {429, "", object("RESOURCE_EXHAUSTED", "m", strings.Replace(retryInfo, "7s", "soon", 1)), llm.RateLimited, 0, "status 429 RESOURCE_EXHAUSTED"},
		"a wait that is a number":               {429, "", object("RESOURCE_EXHAUSTED", "m", strings.Replace(retryInfo, `"7s"`, "7", 1)), llm.RateLimited, 0, "status 429 RESOURCE_EXHAUSTED"},
		"details of other forms":                {429, "", object("RESOURCE_EXHAUSTED", "m", `7,null,"x",{"@type":7},`+retryInfo), llm.RateLimited, 7 * time.Second, "status 429 RESOURCE_EXHAUSTED"},
		"details that are no list":              {429, "", `{"error":{"code":429,"details":{}}}`, llm.RateLimited, 0, "status 429"},
		"a header says how long":                {429, "Retry-After: 3", object("RESOURCE_EXHAUSTED", "m", ""), llm.RateLimited, 3 * time.Second, "status 429 RESOURCE_EXHAUSTED"},
		"a header with a date":                  {503, "Retry-After: Wed, 25 Nov 2026 12:01:00 GMT", "", llm.Overloaded, time.Minute, "status 503"},
		"a header with a date that has passed":  {503, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", "", llm.Overloaded, 0, "status 503"},
		"a header with years":                   {503, "Retry-After: 9223372036854775807", "", llm.Overloaded, 24 * time.Hour, "status 503"},
		"a header with nonsense":                {503, "Retry-After: soon", "", llm.Overloaded, 0, "status 503"},
		"a page of a proxy":                     {502, "", "<html>Bad Gateway</html>", llm.ProviderFault, 0, "status 502"},
		"a page of a proxy that is too busy":    {503, "", "<html>", llm.Overloaded, 0, "status 503"},
		"a timeout of a proxy":                  {504, "", "", llm.Timeout, 0, "status 504"},
		"a body that is too large":              {413, "", "", llm.TooLarge, 0, "status 413"},
		"a token that a proxy refuses":          {401, "", "", llm.Unauthenticated, 0, "status 401"},
		"a path that is not there":              {404, "", "Not Found", llm.NotFound, 0, "status 404"},
		"a request that a proxy refuses":        {422, "", "", llm.InvalidRequest, 0, "status 422"},
		"a redirect":                            {302, "", "", llm.ProviderFault, 0, "status 302"},
		"an empty array":                        {500, "", "[]", llm.ProviderFault, 0, "status 500"},
		"null":                                  {500, "", "null", llm.ProviderFault, 0, "status 500"},
		"too long, in a code for other reasons": {500, "", object("INTERNAL", "The input token count (2) exceeds the maximum number of tokens allowed (1).", ""), llm.ProviderFault, 0, "status 500 INTERNAL"},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if k, v, ok := strings.Cut(tt.header, ": "); ok {
				h.Set(k, v)
			}
			e := gemini.FromHTTP(tt.status, h, []byte(tt.body), now).Error("m")
			if e.Kind != tt.want || e.RetryAfter != tt.after || e.Err.Error() != tt.text {
				t.Errorf("got %s after %v: %q, want %s after %v: %q", e.Kind, e.RetryAfter, e.Err, tt.want, tt.after, tt.text)
			}
		})
	}
}

func TestReasonsInAnyForm(t *testing.T) {
	for name, tt := range map[string]struct {
		reply  string
		finish llm.FinishReason
		fails  llm.Kind // without text
	}{
		"a number":                     {`{"finishReason":3}`, llm.FinishBlocked, llm.Blocked},
		"a number that nobody knows":   {`{"finishReason":99}`, llm.FinishStop, llm.Empty},
		"a negative number":            {`{"finishReason":-1}`, llm.FinishStop, llm.Empty},
		"the number of none":           {`{"finishReason":0}`, "", llm.Empty},
		"a name that says nothing":     {`{"finishReason":"FINISH_REASON_UNSPECIFIED"}`, "", llm.Empty},
		"a name that nobody knows":     {`{"finishReason":"NEW"}`, llm.FinishStop, llm.Empty},
		"a language":                   {`{"finishReason":"LANGUAGE"}`, llm.FinishBlocked, llm.Blocked},
		"a stop that may be continued": {`{"finishReason":"CONTINUATION"}`, llm.FinishLength, llm.Empty},
		"a tool that nobody offered":   {`{"finishReason":"UNEXPECTED_TOOL_CALL"}`, llm.FinishStop, llm.Empty},
		"a reason that is a quotation": {`{"finishReason":"because of what you said"}`, llm.FinishStop, llm.Empty},
	} {
		t.Run(name, func(t *testing.T) {
			var r gemini.Reply
			if err := json.Unmarshal([]byte(`{"candidates":[`+tt.reply+`]}`), &r); err != nil {
				t.Fatal(err)
			}
			a := gemini.NewAnswer(llm.Request{Model: "m"})
			a.Add(r)
			e := a.Judge()
			if a.Finish != tt.finish || e == nil || e.Kind != tt.fails {
				t.Errorf("got finish %q and %v, want %q and %s", a.Finish, e, tt.finish, tt.fails)
			}
			if e != nil && strings.Contains(e.Error(), "because") {
				t.Errorf("error %q quotes", e)
			}
		})
	}
	for _, bad := range []string{`{"finishReason":[]}`, `{"finishReason":1.5}`, `{"finishReason":true}`} {
		if err := json.Unmarshal([]byte(`{"candidates":[`+bad+`]}`), new(gemini.Reply)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestTokensForToolsAreInput(t *testing.T) {
	a := gemini.NewAnswer(llm.Request{Model: "m"})
	a.Add(gemini.Reply{Usage: &gemini.Usage{Prompt: 3, ToolUsePrompt: 4, Candidates: 5}})
	if diff := cmp.Diff(&llm.Usage{InputTokens: 7, OutputTokens: 5}, a.Usage); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

func TestThresholds(t *testing.T) {
	if err := gemini.DefaultThreshold.Check(); err != nil {
		t.Errorf("the default: %v", err)
	}
	if err := gemini.Threshold("block_none").Check(); err == nil {
		t.Error("block_none was taken")
	}
}

// FuzzFailure reads anything as a response that failed: what comes of it has a kind, a wait within bounds, and no text of
// the body but the names of codes.
func FuzzFailure(f *testing.F) {
	f.Add(429, "7", `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"google.rpc.RetryInfo","retryDelay":"1s"}]}}`)
	f.Add(500, "", `[{"error":{"code":1e9,"status":"x","details":[{}]}}]`)
	f.Fuzz(func(t *testing.T, status int, after, body string) {
		e := gemini.FromHTTP(status, http.Header{"Retry-After": {after}}, []byte(body), now).Error("m")
		if e.Kind == "" || e.RetryAfter < 0 || e.RetryAfter > 24*time.Hour {
			t.Errorf("got %+v", e)
		}
		if strings.ContainsAny(e.Err.Error(), "\n\"{}<>") {
			t.Errorf("error %q", e.Err)
		}
	})
}

// FuzzReply reads anything as a reply: its usage holds together, and without text there is an error.
func FuzzReply(f *testing.F) {
	f.Add(`{"candidates":[{"content":{"parts":[{"text":"The"},{"text":"Hm","thought":true}]},"finishReason":1}],"usageMetadata":{"promptTokenCount":3,"cachedContentTokenCount":9}}`)
	f.Add(`{"promptFeedback":{"blockReason":"SAFETY"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var r gemini.Reply
		if json.Unmarshal([]byte(text), &r) != nil {
			return
		}
		a := gemini.NewAnswer(llm.Request{Model: "m"})
		said := a.Add(r)
		if e := a.Judge(); (e == nil) != (strings.TrimSpace(said) != "") {
			t.Errorf("%q is judged %v", said, e)
		}
		if u := a.Usage; u != nil && (u.CachedTokens > u.InputTokens || u.ReasoningTokens > u.OutputTokens || min(u.CachedTokens, u.ReasoningTokens) < 0) {
			t.Errorf("usage %+v", *u)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("x"), len(p))), nil }

func (endless) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(endless{})}, nil
}

func TestResponseWithoutEndIsGivenUp(t *testing.T) {
	ctx, x := gemini.NewExchange(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := gemini.Transport{Base: endless{}}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != bounded.Most || err != nil {
		t.Errorf("read %d bytes and %v, want %d and an end", n, err, bounded.Most)
	}
	if e := x.Failure(ctx, "m", nil, false); e.Kind != llm.ProviderFault || !errors.Is(e, bounded.ErrTooLong) {
		t.Errorf("got %v, want a fault of the provider that says why", e)
	}
}
