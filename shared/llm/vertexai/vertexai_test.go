package vertexai_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/auth"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini/geminitest"
	"github.com/llm-reliability/control-plane/shared/llm/vertexai"
	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

// open returns a model that calls a stand-in.
func open(t testing.TB, s *vertextest.Server, rest bool) llm.Model {
	t.Helper()
	m, err := vertexai.New(t.Context(), vertexai.Options{
		Project: geminitest.Project, Location: geminitest.Location, REST: rest, Endpoint: s.Host,
	})
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

func TestGRPC(t *testing.T) {
	geminitest.Run(t, geminitest.Adapter{Transport: "grpc", Open: func(t testing.TB, s *vertextest.Server) llm.Model {
		return open(t, s, false)
	}})
}

func TestREST(t *testing.T) {
	geminitest.Run(t, geminitest.Adapter{Transport: "rest", Open: func(t testing.TB, s *vertextest.Server) llm.Model {
		return open(t, s, true)
	}})
}

func TestGarbage(t *testing.T) {
	a := geminitest.Adapter{Transport: "rest", Open: func(t testing.TB, s *vertextest.Server) llm.Model { return open(t, s, true) }}
	geminitest.Garbage(t, a, "application/json", func(messages ...string) string {
		return "[" + strings.Join(messages, ",\n") + "]"
	})
}

func TestStreamsThatAreArrays(t *testing.T) {
	const said = `{"candidates":[{"content":{"parts":[{"text":"The"}]}}]}`
	const done = `{"candidates":[{"finishReason":1}]}`
	for name, tt := range map[string]struct {
		body string
		want llm.Kind // "" when the answer is whole
	}{
		"whole":                         {"[" + said + "\n,\r\n" + done + "]\n", ""},
		"an end that never comes":       {"[" + said + "," + done, ""},
		"an end after the first":        {"[" + said + "]", llm.BrokenStream},
		"an end within a message":       {"[" + said + "," + done[:20], llm.BrokenStream},
		"an end before the first":       {"[", llm.BrokenStream},
		"an array of nothing":           {"[]", llm.BrokenStream},
		"no comma":                      {"[" + said + done + "]", llm.ProviderFault},
		"an error as the only element":  {`[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]`, llm.RateLimited},
		"an error as an object":         {`{"error":{"code":503,"status":"UNAVAILABLE"}}`, llm.ProviderFault},
		"an error that is not a status": {`[` + said + `,{"error":"x"}]`, llm.BrokenStream},
	} {
		t.Run(name, func(t *testing.T) {
			s := vertextest.Start(t, vertextest.Options{Reply: func(*vertextest.Request) vertextest.Reply {
				return vertextest.Reply{Raw: &vertextest.Raw{ContentType: "application/json", Body: tt.body}}
			}})
			var kind llm.Kind
			var finish llm.FinishReason
			for chunk, err := range open(t, s, true).Stream(t.Context(), request) {
				if err != nil {
					kind = llm.AsError(err).Kind
				}
				finish = chunk.Finish
			}
			if kind != tt.want || (kind == "") != (finish == llm.FinishStop) {
				t.Errorf("got %q, finish %q, want %q", kind, finish, tt.want)
			}
		})
	}
}

var request = llm.Request{Model: "gemini-3.5-flash-lite", Messages: []llm.Message{{Role: llm.User, Content: "When was the mill built?"}}}

// TestServerThatSpeaksNoGRPC is a proxy, or a load balancer that has nobody behind it.
func TestServerThatSpeaksNoGRPC(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html>"+request.Messages[0].Content) // what arrives of it shows below
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	m, err := vertexai.New(t.Context(), vertexai.Options{Project: "p", Location: "l", Endpoint: server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = m.Generate(t.Context(), request)
	errs := []error{err}
	for _, err := range m.Stream(t.Context(), request) {
		errs = append(errs, err)
	}
	for _, err := range errs {
		if e := llm.AsError(err); e == nil || !e.Retryable() || e.Provider != "google" || strings.Contains(e.Error(), request.Messages[0].Content) {
			t.Errorf("got %v, want an error that may pass, without the page", err)
		}
	}
}

func TestSafetyIsSent(t *testing.T) {
	for threshold, want := range map[vertexai.Threshold]string{
		"": "BLOCK_ONLY_HIGH", vertexai.BlockLowAndAbove: "BLOCK_LOW_AND_ABOVE", vertexai.BlockMediumAndAbove: "BLOCK_MEDIUM_AND_ABOVE",
		vertexai.BlockOnlyHigh: "BLOCK_ONLY_HIGH", vertexai.BlockNone: "BLOCK_NONE", vertexai.Off: "OFF", vertexai.ModelDefault: "",
	} {
		t.Run(want, func(t *testing.T) {
			s := vertextest.Start(t, vertextest.Options{})
			m, err := vertexai.New(t.Context(), vertexai.Options{Project: "p", Location: "l", Endpoint: s.Host, Safety: threshold})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if _, err := m.Generate(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			safety := s.Requests()[0].Safety
			if got := safety["HARM_CATEGORY_HARASSMENT"]; got != want || want != "" && len(safety) != 4 {
				t.Errorf("got %v, want %q for four categories", safety, want)
			}
		})
	}
}

func TestNewChecksItsOptions(t *testing.T) {
	for name, o := range map[string]vertexai.Options{
		"no project":                   {Location: "l", Endpoint: "h:1"},
		"a project with a path in it":  {Project: "p/x", Location: "l", Endpoint: "h:1"},
		"no location":                  {Project: "p", Endpoint: "h:1"},
		"a location that is a host":    {Project: "p", Location: "evil.example", Endpoint: "h:1"},
		"an endpoint without a port":   {Project: "p", Location: "l", Endpoint: "localhost"},
		"an endpoint that is a URL":    {Project: "p", Location: "l", Endpoint: "http://localhost:1"},
		"an unknown safety threshold":  {Project: "p", Location: "l", Endpoint: "h:1", Safety: "LOW"},
		"REST, an endpoint like a URL": {Project: "p", Location: "l", REST: true, Endpoint: "http://localhost:1"},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := vertexai.New(t.Context(), o); err == nil {
				t.Errorf("%+v was taken", o)
				m.Close()
			}
		})
	}
}

// TestNewLeavesLinesOfOthersAlone opens models while others write with package log: of all that is written, only the SDK's
// notice is kept out, and the output stays what it was.
func TestNewLeavesLinesOfOthersAlone(t *testing.T) {
	lines := &lines{}
	before := log.Writer()
	log.SetOutput(lines)
	t.Cleanup(func() { log.SetOutput(before) })
	const each = 100
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				m, err := vertexai.New(t.Context(), vertexai.Options{Project: "p", Location: "l", Endpoint: "localhost:1", REST: true})
				if err != nil {
					t.Error(err)
					return
				}
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range each {
				log.Print("ours")
			}
		})
	}
	wg.Wait()
	if n := strings.Count(lines.buf.String(), "ours\n"); n != 4*each || strings.Count(lines.buf.String(), "\n") != n {
		t.Errorf("%d lines of ours among %d, want %d and no other", n, strings.Count(lines.buf.String(), "\n"), 4*each)
	}
	if log.Writer() != io.Writer(lines) {
		t.Error("package log has another output than before")
	}
}

// lines is an output of package log, which writes to it from one goroutine at a time.
type lines struct{ buf strings.Builder }

func (l *lines) Write(p []byte) (int, error) { return l.buf.Write(p) }

// BenchmarkNew is what opening a model adds to a cold start.
func BenchmarkNew(b *testing.B) {
	token := auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: noToken{}})
	for name, o := range map[string]vertexai.Options{
		"gRPC":              {Endpoint: "127.0.0.1:1"},
		"REST":              {Endpoint: "127.0.0.1:1", REST: true},
		"gRPC, credentials": {Credentials: token},
		"REST, credentials": {Credentials: token, REST: true},
	} {
		o.Project, o.Location = "p", "global"
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m, err := vertexai.New(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type noToken struct{}

func (noToken) Token(context.Context) (*auth.Token, error) { return nil, errors.New("none") }

func BenchmarkGenerate(b *testing.B) {
	for _, rest := range []bool{false, true} {
		b.Run(map[bool]string{false: "gRPC", true: "REST"}[rest], func(b *testing.B) {
			m := open(b, vertextest.Start(b, vertextest.Options{}), rest)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Generate(b.Context(), request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzREST answers both methods with anything: what comes of it is an answer or a typed error.
func FuzzREST(f *testing.F) {
	f.Add(200, "application/json", `{"candidates":[{"content":{"parts":[{"text":"The"}]},"finishReason":1}]}`)
	f.Add(200, "application/json", `[{"candidates":[{"content":{"parts":[{"text":"The"}]}}]},{"candidates":[{"finishReason":1}]}]`)
	f.Add(200, "application/json", `[{"error":{"code":503}}]`)
	f.Add(429, "application/json", `[{"error":{"status":"RESOURCE_EXHAUSTED","details":[{}]}}]`)
	f.Add(500, "", "\x00")
	var raw vertextest.Raw
	s := vertextest.Start(f, vertextest.Options{Reply: func(*vertextest.Request) vertextest.Reply { return vertextest.Reply{Raw: &raw} }})
	m := open(f, s, true)
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		raw = vertextest.Raw{Status: 200 + max(status, -(status+1))%400, ContentType: kind, Body: body}
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
