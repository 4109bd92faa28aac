package googleauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind classifies an error by what there is to do about it.
type Kind string

// The kinds.
const (
	// Missing: there are no credentials here: no file, and no metadata server with a service account.
	Missing Kind = "missing"
	// Malformed: the credentials, or what they are made from, can't be used.
	Malformed Kind = "malformed"
	// Refused: Google does not accept the credentials.
	Refused Kind = "refused"
	// Expired: the credentials were good once.
	Expired Kind = "expired"
	// Unavailable: nobody could be asked, or the answer was of no use. It says nothing about the credentials.
	Unavailable Kind = "unavailable"
)

// Error is what is wrong with the credentials, in our words.
type Error struct {
	Kind   Kind
	Detail string
	// Status is that of the response that refused; 0 when there was none. Code is Google's word for the reason, such as
	// "invalid_grant"; empty when there was none.
	Status int
	Code   string
	// Err is the cause, where it may be shown: an error of the network, of a file, or of the context.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	s := "credentials for Google are " + string(e.Kind) + ": " + e.Detail
	if e.Kind == Unavailable {
		s = "credentials for Google: " + e.Detail
	}
	if e.Status != 0 {
		s += fmt.Sprintf(", with status %d", e.Status)
	}
	if e.Code != "" {
		s += ", " + e.Code
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Temporary is whether the error will pass by itself: what is wrong is not the credentials.
func (e *Error) Temporary() bool { return e.Kind == Unavailable }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Info is what is known of credentials. It holds no secret. What is not known is empty.
type Info struct {
	// Kind is Metadata, or the type of the file.
	Kind string
	// Identity is whom Google takes us for: mostly the e-mail address of a service account.
	Identity string
	// Scopes are those of the token.
	Scopes []string
	// ExpiresAt is the end of the token. It is renewed long before, for as long as the credentials work.
	ExpiresAt time.Time
}

// tokenInfo is where Google tells what a token is good for.
const tokenInfo = "https://oauth2.googleapis.com/tokeninfo"

// maxAnswer bounds what is read of a response, in bytes.
const maxAnswer = 64 << 10

// Describe fetches a new token, and asks Google what it is good for, all within the deadline of ctx. It says whether the credentials
// work now, whatever tokens requests still have. An error is an *Error; what could be told comes with it.
func (c *Credentials) Describe(ctx context.Context) (Info, error) {
	info := Info{Kind: c.file.Type, Identity: c.file.identity()}
	if c.json == nil {
		email, err := metadata{c.opts}.get(ctx, "email")
		if err != nil {
			return info, err
		}
		if email = strings.TrimSpace(email); plain(email) {
			info.Identity = email
		}
	}
	fresh, err := c.build()
	if err != nil {
		return info, err
	}
	token, err := fresh.Token(ctx)
	if err != nil {
		return info, err
	}
	info.ExpiresAt = token.Expiry
	if c.file.federated() {
		return info, nil
	}
	return c.ask(ctx, token.Value, info)
}

// plain is whether a text could be an identity.
func plain(text string) bool {
	const most = 256
	return text != "" && len(text) <= most && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' })
}

// ask completes what is known by what Google's tokeninfo says. A tokeninfo that can't be asked takes nothing back: there was a token.
func (c *Credentials) ask(ctx context.Context, token string, info Info) (Info, error) {
	// The token is in the body: URLs are written into logs.
	body := strings.NewReader(url.Values{"access_token": {token}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, tokenInfo, body)
	if err != nil {
		return info, &Error{Kind: Unavailable, Detail: "the question about the token can't be made"}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, answer, err := do(c.opts.HTTP, req)
	if err != nil {
		return info, nil //nolint:nilerr // see above
	}
	if status == http.StatusBadRequest || status == http.StatusUnauthorized {
		code, kind := verdict(answer)
		return info, &Error{Kind: kind, Detail: "Google does not accept the token", Status: status, Code: code}
	}
	var told struct {
		Scope string `json:"scope"`
		Email string `json:"email"`
		AZP   string `json:"azp"`
		Exp   string `json:"exp"`
	}
	if err := json.Unmarshal(answer, &told); err != nil || status != http.StatusOK {
		return info, nil //nolint:nilerr // see above
	}
	info.Scopes = strings.Fields(told.Scope)
	for _, identity := range []string{told.Email, told.AZP} {
		if info.Identity == "" && plain(identity) {
			info.Identity = identity
		}
	}
	if seconds, err := strconv.ParseInt(told.Exp, 10, 64); err == nil && seconds > 0 {
		info.ExpiresAt = time.Unix(seconds, 0).UTC()
	}
	if !info.ExpiresAt.IsZero() && !info.ExpiresAt.After(time.Now()) {
		return info, &Error{Kind: Expired, Detail: "the token has expired already"}
	}
	return info, nil
}

// get returns what the metadata server says of the service account of this machine.
func (m metadata) get(ctx context.Context, what string) (string, error) {
	host := m.opts.Getenv("GCE_METADATA_HOST")
	if host == "" {
		host = "169.254.169.254"
	}
	// Where there is no such server, packets to its address may just be dropped.
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(bounded, http.MethodGet, "http://"+host+"/computeMetadata/v1/instance/service-accounts/default/"+what, nil)
	if err != nil {
		return "", &Error{Kind: Malformed, Detail: "GCE_METADATA_HOST is no host"}
	}
	req.Header.Set("Metadata-Flavor", "Google")
	status, answer, err := do(m.opts.HTTP, req)
	switch {
	case ctx.Err() != nil:
		return "", &Error{Kind: Unavailable, Detail: "the metadata server did not answer in time", Err: ctx.Err()}
	case err != nil:
		return "", &Error{Kind: Missing, Detail: "there is no file with credentials, and no metadata server", Err: cause(err)}
	case status == http.StatusNotFound:
		return "", &Error{Kind: Missing, Detail: "the metadata server has no service account for us", Status: status}
	case status == http.StatusForbidden:
		return "", &Error{Kind: Refused, Detail: "the metadata server refuses", Status: status}
	case status != http.StatusOK:
		return "", &Error{Kind: Unavailable, Detail: "the metadata server failed", Status: status}
	}
	return string(answer), nil
}

// joined are the scopes as the metadata server takes them.
func joined(scopes []string) string { return strings.Join(scopes, ",") }

// do makes a request and reads the response.
func do(client *http.Client, req *http.Request) (status int, answer []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		// The body is read or given up; closing it has no news.
		_ = resp.Body.Close()
	}()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, answer, err
}

// cause is what may be shown of an error of the network: not the URL.
func cause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return nil
}

// watch is a transport that remembers the last answer. Google's library makes most failures one line of text, which does not tell
// the one that says "not you" from the one that says "not now".
type watch struct {
	next http.RoundTripper

	mu     sync.Mutex
	asked  bool
	status int
	answer []byte
	err    error
}

// RoundTrip implements http.RoundTripper.
func (w *watch) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.status, w.answer, w.err = true, 0, nil, err
	if err != nil {
		return nil, err
	}
	w.status = resp.StatusCode
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	w.answer, w.err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	rest := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(w.answer), rest}
	return resp, nil
}

// forget begins a new watch.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.status, w.answer, w.err = false, 0, nil, nil
}

// explain says why there is no token.
func (w *watch) explain(ctx context.Context, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return &Error{Kind: Unavailable, Detail: "no token came in time", Err: ctx.Err()}
	case !w.asked:
		e := &Error{Kind: Malformed, Detail: "a token could not even be asked for"}
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			e.Err = path
		}
		return e
	case w.err != nil:
		return &Error{Kind: Unavailable, Detail: "nobody could be reached for a token", Err: w.err}
	case w.status < http.StatusMultipleChoices:
		return &Error{Kind: Unavailable, Detail: "the answer holds no token"}
	case w.status >= http.StatusInternalServerError || w.status == http.StatusTooManyRequests || w.status < http.StatusBadRequest:
		return &Error{Kind: Unavailable, Detail: "whoever gives out tokens failed", Status: w.status}
	}
	code, kind := verdict(w.answer)
	return &Error{Kind: kind, Detail: "Google gives no token for them", Status: w.status, Code: code}
}

// word is whether a text looks like a code of Google's, which can't hold a secret.
func word(text string) bool {
	const most = 40
	return len(text) <= most && !strings.ContainsFunc(text, func(c rune) bool {
		return c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}

// verdict reads a refusal: OAuth's {"error","error_description","error_subtype"}, or an API's {"error":{"status"}}.
func verdict(answer []byte) (code string, kind Kind) {
	var oauth struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
		Subtype     string          `json:"error_subtype"`
	}
	kind = Refused
	if err := json.Unmarshal(answer, &oauth); err != nil {
		return "", kind
	}
	var api struct{ Status string }
	if json.Unmarshal(oauth.Error, &code) != nil && json.Unmarshal(oauth.Error, &api) == nil {
		code = api.Status
	}
	// A user's login ends, or must be renewed for a policy; and the keys that AWS gave this machine end.
	ended := strings.Contains(strings.ToLower(oauth.Description), "expired") || oauth.Subtype == "invalid_rapt"
	if ended && (code == "invalid_grant" || code == "invalid_token") {
		kind = Expired
	}
	if !word(code) {
		code = ""
	}
	return code, kind
}
