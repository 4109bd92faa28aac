// Package googleid lets the schedule of Google Cloud in: Cloud Scheduler calls a function over HTTPS with an identity token that
// Google has signed for the schedule's service account and for this function.
//
// It knows one caller and is no login: whoever else has a token of Google's is refused. On Lambda there is nothing for it to do.
package googleid

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/auth/credentials/idtoken"

	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// Caller is the name of the schedule as a caller.
const Caller = "schedule"

const (
	// certsURL is where Google publishes the keys that it signs identity tokens with.
	certsURL = "https://www.googleapis.com/oauth2/v3/certs"
	// maxToken bounds a token, in bytes. Google's have about a thousand.
	maxToken = 8 << 10
	// skew is how much the clock of whoever made a token may be ahead of ours.
	skew = time.Minute
)

// Options say whom to let in.
type Options struct {
	// Audience is what the token must be for: the URL of the function; required.
	Audience string
	// Identity is the e-mail address of the schedule's service account; required.
	Identity string
	// HTTP fetches Google's keys; a client of its own when nil. The answer is kept for as long as it says.
	HTTP *http.Client
	// Timeout bounds the fetching; 2 s when 0. When the keys can't be had, nobody is let in.
	Timeout time.Duration
}

// Authenticator accepts the tokens of one service account.
type Authenticator struct {
	opts      Options
	validator *idtoken.Validator
}

var _ serverless.Authenticator = (*Authenticator)(nil)

// New checks the options and returns an Authenticator.
func New(opts Options) (*Authenticator, error) {
	if opts.Audience == "" || opts.Identity == "" {
		return nil, errors.New("googleid: Audience and Identity are required")
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{}
	}
	if opts.Timeout == 0 {
		opts.Timeout = 2 * time.Second
	}
	client := *opts.HTTP
	client.Timeout = opts.Timeout
	validator, err := idtoken.NewValidator(&idtoken.ValidatorOptions{Client: &client, RS256CertsURL: certsURL})
	if err != nil {
		return nil, err
	}
	return &Authenticator{opts: opts, validator: validator}, nil
}

// FromEnv lets the schedule in that LRCP_SCHEDULE_IDENTITY names, the e-mail address of its service account, with tokens for
// LRCP_SCHEDULE_AUDIENCE, the URL of the function. It returns nil when neither is set.
func FromEnv(e *env.Env) serverless.Authenticator {
	opts := Options{Audience: e.String("LRCP_SCHEDULE_AUDIENCE", ""), Identity: e.String("LRCP_SCHEDULE_IDENTITY", "")}
	switch {
	case opts.Audience == "" && opts.Identity == "":
		return nil
	case opts.Audience == "":
		e.Refuse("LRCP_SCHEDULE_AUDIENCE", "is required where LRCP_SCHEDULE_IDENTITY is set")
		return nil
	case opts.Identity == "":
		e.Refuse("LRCP_SCHEDULE_IDENTITY", "is required where LRCP_SCHEDULE_AUDIENCE is set")
		return nil
	case !strings.HasPrefix(opts.Audience, "https://"):
		e.Refuse("LRCP_SCHEDULE_AUDIENCE", "must be the URL of the function")
	case !strings.Contains(opts.Identity, "@"):
		e.Refuse("LRCP_SCHEDULE_IDENTITY", "must be the e-mail address of a service account")
	}
	a, err := New(opts)
	if err != nil {
		e.Refuse("LRCP_SCHEDULE_AUDIENCE", "can't be used")
		return nil
	}
	return a
}

// header and claims are what a token says of itself.
type header struct {
	Algorithm string `json:"alg"`
}

type claims struct {
	Issuer        string `json:"iss"`
	Audience      string `json:"aud"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	IssuedAt      int64  `json:"iat"`
	Expires       int64  `json:"exp"`
}

// Authenticate implements serverless.Authenticator. What a token claims is looked at before its signature: a token that would be
// refused anyway costs no request to Google, and the library never sees a token whose form it does not expect, such as one with a
// short signature, which makes it panic.
func (a *Authenticator) Authenticate(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || !a.claimed(token, time.Now()) {
		return "", false
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.opts.Timeout)
	defer cancel()
	if _, err := a.validator.Validate(ctx, token, a.opts.Audience); err != nil {
		return "", false
	}
	return Caller, true
}

// claimed is whether a token says that it is Google's, of our schedule, for us, and good now.
func (a *Authenticator) claimed(token string, now time.Time) bool {
	parts := strings.Split(token, ".")
	var h header
	var c claims
	if len(token) > maxToken || len(parts) != 3 || !decode(parts[0], &h) || !decode(parts[1], &c) {
		return false
	}
	return h.Algorithm == "RS256" &&
		slices.Contains([]string{"https://accounts.google.com", "accounts.google.com"}, c.Issuer) &&
		c.Audience == a.opts.Audience && c.Email == a.opts.Identity && c.EmailVerified &&
		now.Unix() < c.Expires && c.IssuedAt <= now.Add(skew).Unix()
}

// decode reads a part of a token, which must be a JSON object.
func decode(part string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && strings.HasPrefix(string(text), "{") && json.Unmarshal(text, into) == nil
}
