// Package ddapi is a thin client for Datadog's HTTP API: keys, sites, errors, retries, rate limits and pages. Bodies are
// JSON as they are; which paths exist and what they mean is for its users to know.
//
// What may be repeated is repeated: everything after 429, and after a lost answer or a status of 500 and above whatever has
// the same effect twice, which here includes PATCH, since Datadog's set attributes to given values. A POST is not, because it
// may have been carried out: its error says Unknown, so that the caller can look. The rate limits that Datadog announces are
// kept; a limit that it does not announce shows as 429, and costs one refused request.
package ddapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/retry"
)

// Options are the dependencies of a Client.
type Options struct {
	// Site is one of Sites; datadoghq.com when empty.
	Site string
	// APIKey is required. AppKey is too for all but the intake of events and metrics.
	APIKey, AppKey string
	// HTTP sends the requests; a client with a timeout of a minute when nil. Redirects are never followed, since the keys
	// would go with them.
	HTTP *http.Client
	// BaseURL is used instead of the site's hosts, for a stand-in: HTTPS, or HTTP on this machine.
	BaseURL string
	// UserAgent names the program.
	UserAgent string
	// Retry bounds the attempts after failures; four attempts from half a second to ten when zero.
	Retry retry.Policy
}

// Client talks to one site. It is safe for concurrent use.
type Client struct {
	opts       Options
	base       string
	limits     *limits
	repeatable bool
}

// maxRateLimited is how often one request may be answered by 429, maxBody is the size of the largest answer that is read.
const (
	maxRateLimited = 20
	maxBody        = 64 << 20
)

// New checks the options and returns a Client.
func New(opts Options) (*Client, error) {
	if opts.Site == "" {
		opts.Site = "datadoghq.com"
	}
	if !slices.Contains(Sites(), opts.Site) {
		return nil, fmt.Errorf("ddapi: %q is not a Datadog site; the sites are %s", opts.Site, strings.Join(Sites(), ", "))
	}
	if opts.APIKey == "" {
		return nil, errors.New("ddapi: APIKey is required")
	}
	for _, key := range []string{opts.APIKey, opts.AppKey} {
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("ddapi: a key has a character that no key has, such as a line break")
		}
	}
	if opts.UserAgent == "" {
		opts.UserAgent = "llm-reliability-control-plane"
	}
	if opts.Retry == (retry.Policy{}) {
		opts.Retry = retry.Policy{Attempts: 4, Base: 500 * time.Millisecond, Cap: 10 * time.Second}
	}
	client := http.Client{Timeout: time.Minute}
	if opts.HTTP != nil {
		client = *opts.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	opts.HTTP = &client
	c := &Client{opts: opts, base: "https://" + host(opts.Site, API), limits: newLimits()}
	if opts.BaseURL != "" {
		if err := checkBase(opts.BaseURL); err != nil {
			return nil, err
		}
		c.base = strings.TrimSuffix(opts.BaseURL, "/")
	}
	return c, nil
}

// checkBase refuses a base URL to which keys would go in the clear.
func checkBase(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("ddapi: BaseURL is not the URL of a server")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return errors.New("ddapi: BaseURL must be HTTPS, or HTTP on this machine")
}

// Site returns the site's name.
func (c *Client) Site() string { return c.opts.Site }

// At returns a client for another host of the same site. It fails where the site has no such host.
func (c *Client) At(h Host) (*Client, error) {
	name := host(c.opts.Site, h)
	if name == "" {
		return nil, fmt.Errorf("ddapi: %s has no such host", c.opts.Site)
	}
	other := *c
	if c.opts.BaseURL == "" {
		other.base = "https://" + name
	}
	return &other, nil
}

// Repeatable returns a client that repeats a POST as it does a GET: for a search, and for what does no harm twice.
func (c *Client) Repeatable() *Client {
	other := *c
	other.repeatable = true
	return &other
}

// Do sends a request and decodes the answer into out. in and out are anything that encoding/json takes, json.RawMessage
// among it, or nil; an answer without a body leaves out as it is. The error is an *Error, unless in can't be encoded.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	if in != nil {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(in); err != nil {
			return fmt.Errorf("encode the body of %s %s: %w", method, path, err)
		}
		body = bytes.TrimSpace(buf.Bytes())
	}
	group := groupOf(method, path)
	leave, err := c.limits.enter(ctx, group)
	if err != nil {
		return &Error{Method: method, Path: path, cause: err}
	}
	defer leave()
	repeat := c.repeatable || method != http.MethodPost
	var last *Error
	for failures, limited := 0, 0; ; {
		if err := c.limits.wait(ctx, group); err != nil {
			return ended(method, path, last, err)
		}
		var header http.Header
		var notSent bool
		header, notSent, last = c.once(ctx, method, path, query, body, out)
		if last == nil {
			c.limits.learn(group, http.StatusOK, header, 0)
			return nil
		}
		last.Unknown = last.Unknown && !repeat
		pause := time.Duration(0)
		switch {
		case last.Status == http.StatusTooManyRequests && limited < maxRateLimited:
			limited++
			after, _ := seconds(header.Get("Retry-After"))
			pause, _ = retry.Policy{Attempts: math.MaxInt, Base: c.opts.Retry.Base, Cap: c.opts.Retry.Cap}.Delay(limited, after, math.MaxInt64)
			c.limits.learn(group, last.Status, header, pause)
			continue
		case ctx.Err() != nil || !notSent && !(repeat && failed(last)):
			return last
		default:
			failures++
			left := time.Duration(math.MaxInt64)
			if deadline, ok := ctx.Deadline(); ok {
				left = time.Until(deadline)
			}
			after, _ := seconds(header.Get("Retry-After"))
			var again bool
			if pause, again = c.opts.Retry.Delay(failures, after, left); !again {
				return last
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return ended(method, path, last, err)
		}
	}
}

// ended is the error of a wait that the context ended: the failure before the wait says more than the context.
func ended(method, path string, last *Error, cause error) *Error {
	if last == nil {
		return &Error{Method: method, Path: path, cause: cause}
	}
	last.cause = cause
	return last
}

// failed reports whether a failure may pass: no answer, or one that says that the server is at fault.
func failed(e *Error) bool {
	return e.Status == 0 || e.Status >= 500 || e.Status == http.StatusRequestTimeout
}

// once sends a request once. notSent is set where it certainly did not reach Datadog.
func (c *Client) once(ctx context.Context, method, path string, query url.Values, body []byte, out any) (header http.Header, notSent bool, failure *Error) {
	fail := func(status int, unknown bool, cause error) *Error {
		return &Error{Method: method, Path: path, Status: status, Unknown: unknown, cause: cause}
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, false, fail(0, false, errors.New("the path is not valid"))
	}
	req.Header.Set("DD-API-KEY", c.opts.APIKey)
	if c.opts.AppKey != "" {
		req.Header.Set("DD-APPLICATION-KEY", c.opts.AppKey)
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.opts.HTTP.Do(req)
	if err != nil {
		var dial *net.OpError
		notSent = errors.As(err, &dial) && dial.Op == "dial"
		return nil, notSent, fail(0, !notSent, bare(err))
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case resp.StatusCode >= 300:
		f := fail(resp.StatusCode, resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout, nil)
		f.Errors = reasons(c.redacted(raw))
		return resp.Header, false, f
	case err != nil:
		return resp.Header, false, fail(0, true, fmt.Errorf("the answer broke off: %w", bare(err)))
	case out == nil || len(bytes.TrimSpace(raw)) == 0:
		return resp.Header, false, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(out); err != nil {
		return resp.Header, false, fail(0, true, errors.New("the answer is not the JSON that was expected"))
	}
	return resp.Header, false, nil
}

// bare takes the URL, which may hold an address in its query, off an error of net/http.
func bare(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// redacted takes the keys out of what a server says, before any of it is cut.
func (c *Client) redacted(body []byte) []byte {
	keys := []string{c.opts.APIKey, c.opts.AppKey}
	slices.SortFunc(keys, func(a, b string) int { return len(b) - len(a) }) // One may hold the other.
	for _, key := range keys {
		if key != "" {
			body = bytes.ReplaceAll(body, []byte(key), []byte("«key»"))
		}
	}
	return body
}
