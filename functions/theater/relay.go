package theater

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// maxAnswer bounds what is relayed of an answer, in bytes.
const maxAnswer = 2 << 20

// revertRequest is the body of POST /theater/revert.
type revertRequest struct {
	call
	OverrideID string `json:"override_id"`
}

// Validate implements httpjson.Validator.
func (r *revertRequest) Validate() []httpjson.FieldError {
	bad := r.check(time.Now())
	if !control.ValidID(r.OverrideID) {
		bad = append(bad, httpjson.FieldError{Field: "override_id", Detail: "must be the ID of an override"})
	}
	return bad
}

// revert ends an override, as an operator.
func (f *Function) revert(w http.ResponseWriter, r *http.Request) {
	var req revertRequest
	if err := httpjson.Decode(w, r, maxBody, &req); err != nil {
		fail(w, r, err)
		return
	}
	body, err := json.Marshal(map[string]any{
		"idempotency_key": req.IdempotencyKey, "timestamp": time.Time(req.Timestamp).UTC().Format(time.RFC3339Nano), "override_id": req.OverrideID,
		"source": map[string]string{"kind": control.Operator, "operator": "theater", "reason": "reverted by hand in the Failure Theater"},
	})
	if err != nil {
		fail(w, r, fmt.Errorf("encode revert: %w", err))
		return
	}
	f.clicked(r, "revert_override", "")
	f.relay(w, r, f.opts.RemediationURL, "/remediation/revert", f.opts.ControlSecret, body)
}

// ask puts a question, which the function qa judges.
func (f *Function) ask(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	if err != nil {
		fail(w, r, &httpjson.Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is larger than %d bytes", maxQuestion), Err: err})
		return
	}
	f.clicked(r, "ask_question", "")
	f.relay(w, r, f.opts.QAURL, "/qa", f.opts.APIKey, body)
}

// relay sends a body to another function, and its answer back: status, type and body, and when to try again. The trace and the
// request's ID go along.
func (f *Function) relay(w http.ResponseWriter, r *http.Request, base, path string, secret env.Secret, body []byte) {
	ctx := r.Context()
	if base == "" {
		fail(w, r, &httpjson.Problem{Status: http.StatusNotFound, Code: "not_configured", Detail: "this deployment does not offer that"})
		return
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if session := r.Header.Get("X-Session-Id"); session != "" {
		h.Set("X-Session-Id", session)
	}
	status, header, answer, err := exchange(ctx, f.opts.HTTP, http.MethodPost, base+path, secret, h, body)
	if err != nil {
		f.warn(ctx, err)
		fail(w, r, &httpjson.Problem{Status: http.StatusBadGateway, Code: "unreachable", Detail: "the function behind this could not be reached", Err: err})
		return
	}
	if again := header.Get("Retry-After"); again != "" {
		w.Header().Set("Retry-After", again)
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		// The page's own secret was right; the relay's was not.
		fail(w, r, &httpjson.Problem{Status: http.StatusBadGateway, Code: "relay_refused", Detail: "the function behind this does not accept this function's secret"})
		return
	}
	w.Header().Set("Content-Type", header.Get("Content-Type"))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// A client that is gone needs no answer.
	_, _ = w.Write(answer)
}

// exchange makes one call with a secret, and reads the answer whole.
func exchange(ctx context.Context, client *http.Client, method, url string, secret env.Secret, h http.Header, body []byte) (status int, header http.Header, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("make request: %w", err)
	}
	if h != nil {
		req.Header = h
	}
	req.Header.Set("Authorization", "Bearer "+secret.Reveal())
	if id := serverless.RequestID(ctx); id != "" {
		req.Header.Set("X-Request-Id", id)
	}
	telemetry.Inject(ctx, req.Header)
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s %s: %w", method, req.URL.Path, err)
	}
	defer func() {
		// The body is read or given up; closing it has no news.
		_ = resp.Body.Close()
	}()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s %s: read answer: %w", method, req.URL.Path, err)
	}
	return resp.StatusCode, resp.Header, data, nil
}
