package vertextest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/aiplatform/apiv1beta1/aiplatformpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/llm-reliability/control-plane/shared/llm/vertextest"
)

const (
	model = "projects/p/locations/l/publishers/google/models/gemini-3.5-flash-lite"
	ask   = `{"contents":[{"role":"user","parts":[{"text":"When?"}]}]}`
)

// post calls a REST path and returns the status, the content type and the body.
func post(t *testing.T, address, body string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer token")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(text)
}

// reply is a message as far as the test looks at it.
type reply struct {
	Candidates []struct {
		Content      struct{ Parts []struct{ Text string } }
		FinishReason any
	}
	UsageMetadata struct{ PromptTokenCount, CandidatesTokenCount int }
	ModelVersion  string
}

func text(replies []reply) string {
	var b strings.Builder
	for _, r := range replies {
		for _, c := range r.Candidates {
			for _, p := range c.Content.Parts {
				b.WriteString(p.Text)
			}
		}
	}
	return b.String()
}

func TestRESTInEveryForm(t *testing.T) {
	s := vertextest.Start(t, vertextest.Options{})
	ints := "?$alt=" + url.QueryEscape("json;enum-encoding=int")
	for name, tt := range map[string]struct {
		method string
		kind   string
		finish any
		split  func(string) []string // the messages of a body
	}{
		"a whole answer":               {":generateContent", "application/json", "STOP", func(b string) []string { return []string{b} }},
		"a whole answer, with numbers": {":generateContent" + ints, "application/json", 1.0, func(b string) []string { return []string{b} }},
		"a stream":                     {":streamGenerateContent", "application/json", "STOP", nil},
		"a stream, with numbers":       {":streamGenerateContent" + ints, "application/json", 1.0, nil},
		"a stream of events": {":streamGenerateContent?alt=sse", "text/event-stream", "STOP", func(b string) []string {
			var out []string
			for event := range strings.SplitSeq(strings.TrimSpace(b), "\r\n\r\n") {
				out = append(out, strings.TrimPrefix(event, "data: "))
			}
			return out
		}},
	} {
		t.Run(name, func(t *testing.T) {
			code, kind, body := post(t, "http://"+s.Host+"/v1beta1/"+model+tt.method, ask)
			if code != 200 || !strings.HasPrefix(kind, tt.kind) {
				t.Fatalf("status %d, content type %q, body %s", code, kind, body)
			}
			var replies []reply
			if tt.split == nil {
				if err := json.Unmarshal([]byte(body), &replies); err != nil {
					t.Fatal(err)
				}
			} else {
				for _, message := range tt.split(body) {
					var r reply
					if err := json.Unmarshal([]byte(message), &r); err != nil {
						t.Fatalf("%q: %v", message, err)
					}
					replies = append(replies, r)
				}
			}
			last := replies[len(replies)-1]
			if got := text(replies); got != "The stand-in for Gemini has read your question." {
				t.Errorf("text %q", got)
			}
			if last.Candidates[0].FinishReason != tt.finish || last.UsageMetadata.PromptTokenCount == 0 || last.ModelVersion != "gemini-3.5-flash-lite-001" {
				t.Errorf("the last message: %+v", last)
			}
		})
	}
	if got := s.Requests()[0]; got.Authorization != "Bearer token" || got.Project != "p" || got.Location != "l" || got.Transport != "rest" {
		t.Errorf("recorded %+v", *got)
	}
}

func TestWhatTheAPIRefuses(t *testing.T) {
	s := vertextest.Start(t, vertextest.Options{})
	turn := func(role, text string) string {
		return `{"role":"` + role + `","parts":[{"text":"` + text + `"}]}`
	}
	for name, tt := range map[string]struct {
		path, body string
		status     int
		says       string
	}{
		"a path that is not there":       {"/v2/" + model + ":generateContent", ask, 404, ""},
		"a method that is not there":     {"/v1beta1/" + model + ":countTokens", ask, 404, ""},
		"no JSON":                        {"/v1beta1/" + model + ":generateContent", "{", 400, "INVALID_ARGUMENT"},
		"a field that is not there":      {"/v1beta1/" + model + ":generateContent", `{"content":[]}`, 400, "INVALID_ARGUMENT"},
		"no contents":                    {"/v1beta1/" + model + ":generateContent", `{}`, 400, "at least one contents field"},
		"a part without text":            {"/v1beta1/" + model + ":generateContent", `{"contents":[` + turn("user", "") + `]}`, 400, "text parameter"},
		"a role that is not there":       {"/v1beta1/" + model + ":generateContent", `{"contents":[` + turn("system", "x") + `]}`, 400, "valid role"},
		"a role twice in a row":          {"/v1beta1/" + model + ":generateContent", `{"contents":[` + turn("user", "x") + "," + turn("user", "y") + `]}`, 400, "alternate"},
		"the model has the last word":    {"/v1beta1/" + model + ":generateContent", `{"contents":[` + turn("user", "x") + "," + turn("model", "y") + `]}`, 400, "alternate"},
		"a model that was retired":       {"/v1beta1/" + strings.ReplaceAll(model, "3.5", "1.5") + ":generateContent", ask, 404, "NOT_FOUND"},
		"a model that nobody has":        {"/v1beta1/" + strings.ReplaceAll(model, "gemini", "gpt") + ":generateContent", ask, 404, "was not found"},
		"a stream's error is in a list":  {"/v1beta1/" + strings.ReplaceAll(model, "3.5", "2.5") + ":streamGenerateContent", ask, 404, `[{"error":`},
		"an event stream's is an object": {"/v1beta1/" + strings.ReplaceAll(model, "3.5", "2.0") + ":streamGenerateContent?alt=sse", ask, 404, `{"error":`},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, body := post(t, "http://"+s.Host+tt.path, tt.body)
			if code != tt.status || !strings.Contains(body, tt.says) || strings.HasPrefix(tt.says, "{") && !strings.HasPrefix(body, tt.says) {
				t.Errorf("status %d: %s, want %d: %s", code, body, tt.status, tt.says)
			}
		})
	}
}

func TestErrorsOverREST(t *testing.T) {
	s := vertextest.Start(t, vertextest.Options{Reply: func(*vertextest.Request) vertextest.Reply {
		return vertextest.Reply{Error: &vertextest.Error{Code: codes.ResourceExhausted, Message: "m", RetryAfter: 1500 * time.Millisecond, Reason: "R"}}
	}})
	code, _, body := post(t, "http://"+s.Host+"/v1beta1/"+model+":generateContent", ask)
	const want = `{"error":{"code":429,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","domain":"aiplatform.googleapis.com","reason":"R"},` +
		`{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.5s"}],"message":"m","status":"RESOURCE_EXHAUSTED"}}`
	if diff := cmp.Diff(want, body); diff != "" || code != 429 {
		t.Errorf("status %d, body (-want +got):\n%s", code, diff)
	}
}

// dial returns a client of the gRPC service.
func dial(t *testing.T, s *vertextest.Server) aiplatformpb.PredictionServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(s.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return aiplatformpb.NewPredictionServiceClient(conn)
}

func question(model string) *aiplatformpb.GenerateContentRequest {
	return &aiplatformpb.GenerateContentRequest{Model: model, Contents: []*aiplatformpb.Content{
		{Role: "user", Parts: []*aiplatformpb.Part{{Data: &aiplatformpb.Part_Text{Text: "When?"}}}},
	}}
}

func TestGRPC(t *testing.T) {
	s := vertextest.Start(t, vertextest.Options{})
	client := dial(t, s)
	whole, err := client.GenerateContent(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer token"), question(model))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.StreamGenerateContent(t.Context(), question(model))
	if err != nil {
		t.Fatal(err)
	}
	var streamed string
	var pieces int
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		streamed += m.GetCandidates()[0].GetContent().GetParts()[0].GetText()
		pieces++
	}
	if got := whole.GetCandidates()[0].GetContent().GetParts()[0].GetText(); got != streamed || pieces < 2 {
		t.Errorf("whole %q, streamed %q in %d pieces", got, streamed, pieces)
	}
	requests := s.Requests()
	if requests[0].Authorization != "Bearer token" || requests[0].Stream || !requests[1].Stream {
		t.Errorf("recorded %+v and %+v", *requests[0], *requests[1])
	}
	for name, want := range map[string]codes.Code{
		"projects/p/locations/l/publishers/google/models/gemini-2.5-pro": codes.NotFound,
		"projects/p/locations/l/endpoints/1":                             codes.InvalidArgument,
	} {
		if _, err := client.GenerateContent(t.Context(), question(name)); status.Code(err) != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

func TestErrorsOverGRPC(t *testing.T) {
	s := vertextest.Start(t, vertextest.Options{Reply: func(*vertextest.Request) vertextest.Reply {
		return vertextest.Reply{Error: &vertextest.Error{Code: codes.ResourceExhausted, Message: "m", RetryAfter: time.Second}}
	}})
	_, err := dial(t, s).GenerateContent(t.Context(), question(model))
	got := status.Convert(err)
	if got.Code() != codes.ResourceExhausted || len(got.Details()) != 1 {
		t.Fatalf("got %v with %v", got, got.Details())
	}
	if info, ok := got.Details()[0].(*errdetails.RetryInfo); !ok || info.GetRetryDelay().AsDuration() != time.Second {
		t.Errorf("details %v", got.Details())
	}
}

func TestCancelIsRecorded(t *testing.T) {
	arrived := make(chan struct{})
	s := vertextest.Start(t, vertextest.Options{Reply: func(*vertextest.Request) vertextest.Reply {
		close(arrived)
		return vertextest.Reply{Hang: true}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := dial(t, s).GenerateContent(ctx, question(model)); status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want canceled", err)
	}
	select {
	case <-s.Requests()[0].Canceled:
	case <-time.After(10 * time.Second):
		t.Error("the cancel was not recorded")
	}
}

func TestTunnelLeadsToGoogleOnly(t *testing.T) {
	tunnel := vertextest.NewTunnel(t, vertextest.Start(t, vertextest.Options{}))
	var proxy string
	for _, setting := range tunnel.Env {
		if v, ok := strings.CutPrefix(setting, "HTTPS_PROXY="); ok {
			proxy = v
		}
	}
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u)}}
	for address, want := range map[string]string{
		"https://example.com":                                   "Forbidden",
		"https://aiplatform.googleapis.com":                     "certificate", // which only the tunnel's environment trusts
		"https://aiplatform.googleapis.com.example.com/v1beta1": "Forbidden",
	} {
		resp, err := client.Get(address)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
	if diff := cmp.Diff([]string{"aiplatform.googleapis.com"}, tunnel.Hosts()); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}
