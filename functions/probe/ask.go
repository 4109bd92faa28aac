package probe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/llm-reliability/control-plane/shared/quality"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

const (
	// maxAnswer bounds what is read of a response, in bytes.
	maxAnswer = 1 << 20
	// maxTokens caps a completion. Reasoning counts, so that it leaves room for more than the few words that are wanted.
	maxTokens = 2_048
)

// checkURL refuses what is no address of a server. It quotes nothing: a URL may hold a password.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("probe: QAURL and CompletionURL must be the URLs of servers")
	}
	return nil
}

// ask puts one question, and judges the answer.
func (f *Function) ask(ctx context.Context, c Case) Result {
	result := Result{Name: c.Name, Endpoint: c.Endpoint, RequestID: requestID(ctx, c)}
	if ctx.Err() != nil {
		return result.failed(NotAsked, "the time for all questions was over before this one could be asked")
	}
	asking, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	start := time.Now()
	status, header, body, err := f.post(asking, c, result.RequestID)
	result.LatencyMS = ms(time.Since(start))
	switch {
	case err != nil && asking.Err() != nil:
		return result.failed(Timeout, "no complete answer came in time")
	case errors.Is(err, errTooLarge):
		return result.failed(BadResponse, "the response is larger than 1 MB")
	case err != nil && status == 0:
		return result.failed(Unreachable, "the endpoint could not be reached")
	case err != nil:
		return result.failed(BadResponse, "the response broke off")
	}
	result.RequestID = shortOr(header.Get("X-Request-Id"), result.RequestID)
	if status != http.StatusOK {
		return result.refused(status)
	}
	return judge(c, result, body)
}

// requestID begins like that of the probe's own request, so that logs show what belongs together.
func requestID(ctx context.Context, c Case) string {
	const most = 64 // the functions take up to 128 characters
	own := serverless.RequestID(ctx)
	if own == "" || len(own) > most {
		return "probe." + c.Name
	}
	return own + "." + c.Name
}

var errTooLarge = errors.New("the response is too large")

// post sends the request of a case. The status is 0 when there was no response.
func (f *Function) post(ctx context.Context, c Case, id string) (status int, header http.Header, body []byte, err error) {
	base, in := f.opts.QAURL, any(struct {
		Question string `json:"question"`
		Document string `json:"document,omitempty"`
	}{c.Question, c.Document})
	if c.Endpoint == Completion {
		base, in = f.opts.CompletionURL, struct {
			Prompt    string `json:"prompt"`
			MaxTokens int    `json:"max_tokens"`
		}{prompt(c), maxTokens}
	}
	data, err := json.Marshal(in)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("encode question: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+c.Endpoint, bytes.NewReader(data))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+f.opts.APIKey.Reveal())
	req.Header.Set("Cache-Control", "no-cache")
	req.Header.Set("User-Agent", "llm-reliability-control-plane-probe")
	req.Header.Set("X-Request-Id", id)
	telemetry.Inject(ctx, req.Header)
	resp, err := f.opts.HTTP.Do(req)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("ask %s: %w", c.Endpoint, err)
	}
	defer func() {
		// The body is read or given up; closing it has no news.
		_ = resp.Body.Close()
	}()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errTooLarge
	}
	return resp.StatusCode, resp.Header, body, err
}

// prompt is a question for an endpoint that knows no documents.
func prompt(c Case) string {
	if c.Document == "" {
		return c.Question
	}
	return "Answer from this text alone, in one sentence.\n\n" + c.Document + "\n\n" + c.Question
}

// response is what both endpoints answer, as far as it is looked at.
type response struct {
	Answer     string `json:"answer"`
	Completion string `json:"completion"`
	Metadata   struct {
		RequestID string   `json:"request_id"`
		TraceID   string   `json:"trace_id"`
		Model     string   `json:"model"`
		Provider  string   `json:"provider"`
		CostUSD   *float64 `json:"cost_usd"`
		Quality   *struct {
			Groundedness *float64 `json:"groundedness"`
		} `json:"quality"`
	} `json:"metadata"`
}

// judge reads a response and scores the answer in it.
func judge(c Case, result Result, body []byte) Result {
	var r response
	if err := json.Unmarshal(body, &r); err != nil {
		return result.failed(BadResponse, "the response is not the JSON that the endpoint promises")
	}
	m := r.Metadata
	answer := cmp.Or(r.Answer, r.Completion)
	if answer == "" || shortOr(m.Model, "") == "" || shortOr(m.Provider, "") == "" {
		return result.failed(BadResponse, "the response lacks an answer, its model or its provider")
	}
	result.Model, result.Provider = m.Model, m.Provider
	result.RequestID, result.TraceID = shortOr(m.RequestID, result.RequestID), shortOr(m.TraceID, "")
	result.CostUSD = m.CostUSD
	if m.Quality != nil {
		result.Reported = m.Quality.Groundedness
	}
	if !c.Unanswerable {
		result.Groundedness = quality.Score(quality.Answer{Question: c.Question, Document: c.Document, Text: answer}).Groundedness
	}
	result.facts, result.Missing = c.Facts(), c.Missing(answer)
	switch {
	case len(result.Missing) > 0:
		return result.failed(FactsMissing, "the answer lacks facts that it must hold")
	case c.Forbidden(answer):
		return result.failed(Forbidden, "the answer claims what it must not")
	}
	result.Passed = true
	return result
}

// refused says what a status other than 200 means.
func (r Result) refused(status int) Result {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return r.failed(Refused, fmt.Sprintf("the endpoint refuses the API key, with status %d", status))
	case status >= http.StatusInternalServerError:
		return r.failed(Failed, fmt.Sprintf("the endpoint failed, with status %d", status))
	}
	return r.failed(Rejected, fmt.Sprintf("the endpoint does not take the request, with status %d", status))
}

func (r Result) failed(kind ErrorType, detail string) Result {
	r.ErrorType, r.Error = kind, detail
	return r
}

// shortOr returns an identifier that somebody else sent, if it is short and plain, and otherwise another. Models become metric tags,
// so that text of any kind must not pass for one.
func shortOr(id, otherwise string) string {
	const most = 128
	if id == "" || len(id) > most {
		return otherwise
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == ',' || c == '|' || c == '"' {
			return otherwise
		}
	}
	return id
}
