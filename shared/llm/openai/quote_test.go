package openai_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/openai"
)

// TestErrorsDoNotQuoteThePrompt is about servers that repeat what they were asked in their error messages: errors go to logs
// and spans, where prompts may not go.
func TestErrorsDoNotQuoteThePrompt(t *testing.T) {
	const secret = "the-prompt-nobody-may-see"
	for name, tt := range map[string]struct {
		status      int
		contentType string
		body        string
	}{
		"a message":            {400, "application/json", `{"error":{"message":"bad prompt: ` + secret + `","type":"invalid_request_error","code":"bad_value"}}`},
		"a type and a code":    {400, "application/json", `{"error":{"message":"m","type":"about ` + secret + `","code":"` + secret + ` is wrong"}}`},
		"text":                 {500, "text/plain", secret},
		"an error in a 200":    {200, "application/json", `{"error":{"message":"` + secret + `"}}`},
		"an event in a stream": {200, "text/event-stream", `data: {"error":{"message":"` + secret + `"}}` + "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.contentType)
				w.WriteHeader(tt.status)
				if _, err := io.WriteString(w, tt.body); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			m, err := openai.New(openai.Options{BaseURL: server.URL + "/v1"})
			if err != nil {
				t.Fatal(err)
			}
			req := llm.Request{Model: "m", Messages: []llm.Message{{Role: llm.User, Content: secret}}}
			_, err = m.Generate(t.Context(), req)
			errs := []error{err}
			for _, err := range m.Stream(t.Context(), req) {
				errs = append(errs, err)
			}
			for _, err := range errs {
				if err == nil || strings.Contains(err.Error(), secret) {
					t.Errorf("error %v, want one without the prompt", err)
				}
			}
		})
	}
}
