package genai_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/genai"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini/geminitest"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// open returns a model that calls a stand-in.
func open(t testing.TB, s *vertextest.Server) llm.Model {
	t.Helper()
	m, err := genai.New(t.Context(), genai.Options{Project: geminitest.Project, Location: geminitest.Location, BaseURL: "http://" + s.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return m
}

func TestAgainstTheStandIn(t *testing.T) {
	geminitest.Run(t, geminitest.Adapter{Transport: "rest", Open: open})
}

func TestGarbage(t *testing.T) {
	a := geminitest.Adapter{Transport: "rest", Open: open}
	geminitest.Garbage(t, a, "text/event-stream", func(messages ...string) string {
		return "data: " + strings.Join(messages, "\n\ndata: ") + "\n\n"
	})
}

var request = llm.Request{Model: "gemini-3.5-flash-lite", Messages: []llm.Message{{Role: llm.User, Content: "When was the mill built?"}}}

// answered opens a model that gets one response to everything.
func answered(t testing.TB, status int, kind, body string) *genai.Model {
	t.Helper()
	m, err := genai.New(t.Context(), genai.Options{Project: "p", HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestStreamsOfEvents(t *testing.T) {
	const said = `data: {"candidates":[{"content":{"parts":[{"text":"The"}]}}]}` + "\n\n"
	const done = `data: {"candidates":[{"finishReason":"STOP"}]}` + "\n\n"
	for name, tt := range map[string]struct {
		body string
		want llm.Kind // "" when the answer is whole
	}{
		"whole":                            {said + done, ""},
		"lines that end in CR LF":          {strings.ReplaceAll(said+done, "\n", "\r\n"), ""},
		"no empty line at the end":         {said + strings.TrimSpace(done), ""},
		"an end after the first":           {said, llm.BrokenStream},
		"no event":                         {"", llm.BrokenStream},
		"an error":                         {`data: {"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}` + "\n\n", llm.RateLimited},
		"an error that is no event":        {said + `{"error":{"code":503,"status":"UNAVAILABLE"}}`, llm.Overloaded},
		"an error that says nothing":       {said + `data: {"error":{}}` + "\n\n", llm.ProviderFault},
		"a stop that may be continued":     {said + `data: {"candidates":[{"finishReason":"CONTINUATION","continuationToken":"dG9rZW4="}]}` + "\n\n", ""},
		"a reason that is newer than this": {said + `data: {"candidates":[{"finishReason":"NEW"}]}` + "\n\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var kind llm.Kind
			var finish llm.FinishReason
			for chunk, err := range answered(t, 200, "text/event-stream", tt.body).Stream(t.Context(), request) {
				if err != nil {
					kind = llm.AsError(err).Kind
				}
				finish = chunk.Finish
			}
			if kind != tt.want || (kind == "") == (finish == "") {
				t.Errorf("got %q, finish %q, want %q", kind, finish, tt.want)
			}
		})
	}
}

func TestReasonsThatOnlyThisSDKKnows(t *testing.T) {
	for reason, want := range map[string]llm.FinishReason{
		"LANGUAGE": llm.FinishBlocked, "IMAGE_SAFETY": llm.FinishBlocked, "UNEXPECTED_TOOL_CALL": llm.FinishStop, "CONTINUATION": llm.FinishLength, "": llm.FinishStop,
	} {
		t.Run(reason, func(t *testing.T) {
			m := answered(t, 200, "application/json", `{"candidates":[{"content":{"parts":[{"text":"The"}]},"finishReason":"`+reason+`"}],"usageMetadata":{"promptTokenCount":3,"toolUsePromptTokenCount":4}}`)
			got, err := m.Generate(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			want := &llm.Response{Text: "The", Model: request.Model, Provider: "google", Finish: want, Usage: &llm.Usage{InputTokens: 7}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewChecksItsOptions(t *testing.T) {
	for name, o := range map[string]genai.Options{
		"no project":                   {BaseURL: "http://h"},
		"a project with a path in it":  {Project: "p/x", BaseURL: "http://h"},
		"a location that is a host":    {Project: "p", Location: "evil.example/", BaseURL: "http://h"},
		"a base URL without a scheme":  {Project: "p", BaseURL: "localhost:1"},
		"a base URL of another scheme": {Project: "p", BaseURL: "ftp://h"},
		"a base URL that is none":      {Project: "p", BaseURL: "http://[::1"},
		"an unknown safety threshold":  {Project: "p", BaseURL: "http://h", Safety: "LOW"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := genai.New(t.Context(), o); err == nil {
				t.Errorf("%+v was taken", o)
			}
		})
	}
}

// BenchmarkNew is what opening a model adds to a cold start.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		m, err := genai.New(b.Context(), genai.Options{Project: "p", BaseURL: "http://127.0.0.1:1"})
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	m := open(b, vertextest.Start(b, vertextest.Options{}))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Generate(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzResponse answers both methods with anything: what comes of it is an answer or a typed error.
func FuzzResponse(f *testing.F) {
	f.Add(200, "application/json", `{"candidates":[{"content":{"parts":[{"text":"The"}]},"finishReason":"STOP"}]}`)
	f.Add(200, "text/event-stream", "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"The\"}]},\"finishReason\":\"STOP\"}]}\n\n")
	f.Add(200, "text/event-stream", "data: {\"candidates\":[null],\"error\":7}\n\n")
	f.Add(429, "application/json", `{"error":{"status":"RESOURCE_EXHAUSTED","details":[{}]}}`)
	f.Add(500, "", "\x00")
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		m := answered(t, 100+max(status, -(status+1))%500, kind, body)
		r, err := m.Generate(t.Context(), request)
		var e *llm.Error
		if err != nil && !errors.As(err, &e) || err == nil && strings.TrimSpace(r.Text) == "" {
			t.Errorf("generate: %+v, %v", r, err)
		}
		var text string
		var last llm.Chunk
		var failure error
		for chunk, err := range m.Stream(t.Context(), request) {
			text, last, failure = text+chunk.Text, chunk, err
		}
		if failure != nil && !errors.As(failure, &e) || failure == nil && (strings.TrimSpace(text) == "" || last.Finish == "") {
			t.Errorf("stream: %q, %+v, %v", text, last, failure)
		}
	})
}
