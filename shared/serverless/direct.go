package serverless

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// direct is the payload of a direct invocation, which Datadog's action for Lambda sends.
type direct struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

// directResponse answers a direct invocation.
type directResponse struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	// Body is the response's JSON, or its text as a JSON string.
	Body json.RawMessage `json:"body,omitempty"`
}

func serveDirect(ctx context.Context, h http.Handler, d direct) (*directResponse, error) {
	body := []byte(d.Body)
	var text string
	if err := json.Unmarshal(body, &text); err == nil {
		body = []byte(text) // a body given as text is sent as that text
	}
	r, err := http.NewRequestWithContext(ctx, d.Method, "https://lambda.invalid"+d.Path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read direct invocation: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range d.Headers {
		r.Header.Set(name, value)
	}
	return answer(h, r)
}
