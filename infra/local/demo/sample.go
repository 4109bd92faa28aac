package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/llm-reliability/control-plane/shared/control"
)

// sample is what one answer told about itself.
type sample struct {
	Text         string   `json:"text"`
	Model        string   `json:"model"`
	Route        string   `json:"route"`
	LatencyMS    float64  `json:"latency_ms"`
	CostUSD      *float64 `json:"cost_usd,omitempty"`
	Cached       bool     `json:"cached"`
	Overrides    []string `json:"overrides"`
	Groundedness *float64 `json:"groundedness,omitempty"`
}

// String is one line for the timeline.
func (s sample) String() string {
	line := fmt.Sprintf("%s, %.0f ms", s.Model, s.LatencyMS)
	if s.Cached {
		line += ", from the cache"
	}
	if s.CostUSD != nil {
		line += fmt.Sprintf(", %.6f USD", *s.CostUSD)
	}
	if s.Groundedness != nil {
		line += fmt.Sprintf(", groundedness %.2f", *s.Groundedness)
	}
	if len(s.Overrides) > 0 {
		line += fmt.Sprintf(", overrides %v", s.Overrides)
	}
	return line
}

// client calls the functions as their users do.
type client struct {
	http                  *http.Client
	url                   string
	apiKey, controlSecret string
}

// call sends a request to a data function and reads the metadata of its answer.
func (c client) call(ctx context.Context, r request) (sample, error) {
	body, err := json.Marshal(r.body)
	if err != nil {
		return sample{}, fmt.Errorf("encode request: %w", err)
	}
	var answer struct {
		Answer     string `json:"answer"`
		Completion string `json:"completion"`
		Metadata   struct {
			sample
			Quality struct {
				Groundedness *float64 `json:"groundedness"`
			} `json:"quality"`
		} `json:"metadata"`
	}
	if err := c.do(ctx, http.MethodPost, r.path, c.apiKey, body, &answer); err != nil {
		return sample{}, err
	}
	s := answer.Metadata.sample
	s.Text, s.Groundedness = answer.Answer+answer.Completion, answer.Metadata.Quality.Groundedness
	return s, nil
}

// overrides reads the control state: what is in force, and what was.
func (c client) overrides(ctx context.Context) ([]control.Override, error) {
	var state struct {
		InForce []control.Override `json:"in_force"`
		History []control.Override `json:"history"`
	}
	if err := c.do(ctx, http.MethodGet, "/remediation", c.controlSecret, nil, &state); err != nil {
		return nil, err
	}
	return append(state.InForce, state.History...), nil
}

func (c client) do(ctx context.Context, method, path, secret string, body []byte, out any) (err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	const most = 1 << 20
	data, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return fmt.Errorf("%s %s: read answer: %w", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return &statusError{resp.StatusCode, fmt.Sprintf("%s %s: status %d: %.300s", method, path, resp.StatusCode, data)}
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", method, path, err)
	}
	return nil
}

// statusError is an answer other than 200.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }
