// Package googleauth finds the credentials that Google's models are called with, and tells what Google says of them: the JSON of a
// workload identity federation (on Lambda), a key or a user's login in a file, or the service account that the metadata server gives
// out (on Cloud Run).
//
// It is application default credentials without their surprises. Nothing here waits for the network before a token is needed, and
// every request ends with its context; the library's own search asks the metadata server first, without a deadline. Tokens are renewed
// within requests, not in the background, since functions freeze. No text of Google's, and nothing of a secret, gets into an error.
package googleauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"

	"github.com/llm-reliability/control-plane/shared/env"
)

// CloudPlatform is the scope of all of Google Cloud; what an identity may do is decided by its roles.
const CloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// Metadata is the kind of the credentials that the metadata server gives out. The other kinds are the types in Google's files.
const Metadata = "metadata"

// kinds are the types of files that a function may be given: none of them opens a browser.
var kinds = []string{
	string(credentials.ServiceAccount), string(credentials.AuthorizedUser), string(credentials.ExternalAccount),
	string(credentials.ImpersonatedServiceAccount), string(credentials.ExternalAccountAuthorizedUser),
}

// Options say where the credentials are.
type Options struct {
	// JSON is a file of Google's as text; the application default credentials when empty.
	JSON env.Secret
	// Scopes are asked for; CloudPlatform when none is given.
	Scopes []string
	// HTTP makes the requests for tokens and about them; a client with a timeout of 10 s when nil.
	HTTP *http.Client
	// Getenv looks up where the application default credentials are; os.Getenv when nil.
	Getenv func(string) string
}

// Credentials are found credentials. They are safe for concurrent use.
type Credentials struct {
	opts  Options
	json  []byte
	file  file
	creds *auth.Credentials
}

// file is what is looked at in one of Google's files.
type file struct {
	Type             string `json:"type"`
	ClientEmail      string `json:"client_email"`
	ClientID         string `json:"client_id"`
	Audience         string `json:"audience"`
	TokenURI         string `json:"token_uri"`
	TokenURL         string `json:"token_url"`
	ImpersonationURL string `json:"service_account_impersonation_url"`
}

// Detect finds the credentials: those of Options.JSON, of the file that GOOGLE_APPLICATION_CREDENTIALS names, of gcloud's file in
// the home directory, or else of the metadata server. It reads files and asks nobody, so that credentials which do not work are
// found out by the first request, or by Describe. An error is an *Error of kind Malformed.
func Detect(opts Options) (*Credentials, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	if len(opts.Scopes) == 0 {
		opts.Scopes = []string{CloudPlatform}
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: http.DefaultTransport}
	if opts.HTTP != nil {
		client = *opts.HTTP
		client.Transport = cmp.Or(client.Transport, http.DefaultTransport)
	}
	// A token goes to the address that it is for, and nowhere else.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	opts.HTTP = &client
	text, err := read(opts)
	if err != nil {
		return nil, err
	}
	c := &Credentials{opts: opts, json: text, file: file{Type: Metadata}}
	if text != nil {
		if c.file, err = parse(text); err != nil {
			return nil, err
		}
	}
	c.creds, err = c.build()
	return c, err
}

// FromEnv is Detect for a function: LRCP_GOOGLE_CREDENTIALS may hold the JSON, and application default credentials are found by the
// variables that Google's libraries read. What is wrong is recorded in e; then the result is nil.
func FromEnv(e *env.Env) *Credentials {
	const own = "LRCP_GOOGLE_CREDENTIALS"
	opts := Options{JSON: e.Secret(own), Getenv: func(name string) string { return e.String(name, "") }}
	c, err := Detect(opts)
	if err != nil {
		name := own
		if opts.JSON == "" {
			name = "GOOGLE_APPLICATION_CREDENTIALS"
		}
		e.Refuse(name, "can't be used: "+err.Error())
		return nil
	}
	return c
}

// Google returns the credentials as Google's SDKs take them.
func (c *Credentials) Google() *auth.Credentials { return c.creds }

// read returns the file with the credentials; nil when there is none.
func read(opts Options) ([]byte, error) {
	if opts.JSON != "" {
		return []byte(opts.JSON.Reveal()), nil
	}
	name := opts.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
	if name == "" {
		home := opts.Getenv("HOME")
		if home == "" {
			return nil, nil
		}
		name = filepath.Join(home, ".config", "gcloud", "application_default_credentials.json")
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	text, err := os.ReadFile(name) //nolint:gosec // the path is the operator's
	if err != nil {
		return nil, &Error{Kind: Malformed, Detail: "the file with the credentials can't be read", Err: err}
	}
	return text, nil
}

// parse checks a file before the library gets it, whose errors may quote.
func parse(text []byte) (file, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return file{}, &Error{Kind: Malformed, Detail: "the credentials are not the JSON of one of Google's files"}
	}
	if !slices.Contains(kinds, f.Type) {
		return file{}, &Error{Kind: Malformed, Detail: "the credentials are of no type that a function can use"}
	}
	for _, address := range []string{f.TokenURI, f.TokenURL, f.ImpersonationURL} {
		if address != "" && !private(address) {
			return file{}, &Error{Kind: Malformed, Detail: "the credentials name an address that is not HTTPS"}
		}
	}
	return f, nil
}

// private is whether what is sent to an address stays between us and it.
func private(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// build makes credentials that have no token yet. Their errors are *Errors.
func (c *Credentials) build() (*auth.Credentials, error) {
	cached := &auth.CachedTokenProviderOptions{DisableAsyncRefresh: true}
	if c.json == nil {
		return auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: auth.NewCachedTokenProvider(metadata{c.opts}, cached)}), nil
	}
	watched := &watch{next: c.opts.HTTP.Transport}
	client := *c.opts.HTTP
	client.Transport = watched
	creds, err := credentials.NewCredentialsFromJSON(credentials.CredType(c.file.Type), c.json, &credentials.DetectOptions{
		Scopes: c.opts.Scopes, Client: &client, DisableAsyncRefresh: true,
		// The SDK's logger is switched on by a variable, and then writes tokens.
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, &Error{Kind: Malformed, Detail: "the credentials lack something that their type must have"}
	}
	return auth.NewCredentials(&auth.CredentialsOptions{
		// The cache lets one caller at a time through, so that what is watched is the request of the caller that it is told to.
		TokenProvider: auth.NewCachedTokenProvider(explained{creds, watched}, cached), JSON: c.json,
		ProjectIDProvider: auth.CredentialsPropertyFunc(creds.ProjectID), QuotaProjectIDProvider: auth.CredentialsPropertyFunc(creds.QuotaProjectID),
		UniverseDomainProvider: auth.CredentialsPropertyFunc(creds.UniverseDomain),
	}), nil
}

// explained is a provider of tokens whose errors say in our words what is wrong.
type explained struct {
	of      auth.TokenProvider
	watched *watch
}

// Token implements auth.TokenProvider.
func (e explained) Token(ctx context.Context) (*auth.Token, error) {
	e.watched.forget()
	token, err := e.of.Token(ctx)
	switch {
	case err != nil:
		return nil, e.watched.explain(ctx, err)
	case token == nil || token.Value == "":
		return nil, &Error{Kind: Unavailable, Detail: "the answer holds no token"}
	}
	return token, nil
}

// identity is whom the file names; empty when it names nobody.
func (f file) identity() string {
	if _, account, ok := strings.Cut(f.ImpersonationURL, "/serviceAccounts/"); ok {
		account, _, _ = strings.Cut(account, ":")
		return account
	}
	switch credentials.CredType(f.Type) {
	case credentials.ServiceAccount:
		return f.ClientEmail
	case credentials.ExternalAccount, credentials.ExternalAccountAuthorizedUser:
		return f.Audience
	}
	return ""
}

// federated is whether tokens are those of an identity outside of Google, of which Google's tokeninfo knows nothing.
func (f file) federated() bool {
	return f.ImpersonationURL == "" &&
		(f.Type == string(credentials.ExternalAccount) || f.Type == string(credentials.ExternalAccountAuthorizedUser))
}

// metadata asks the metadata server of the machine, which is the cloud's own and reached in plain HTTP.
type metadata struct{ opts Options }

// Token implements auth.TokenProvider.
func (m metadata) Token(ctx context.Context) (*auth.Token, error) {
	query := url.Values{"scopes": {joined(m.opts.Scopes)}}
	text, err := m.get(ctx, "token?"+query.Encode())
	if err != nil {
		return nil, err
	}
	var token struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		TokenType   string `json:"token_type"`
	}
	if err := json.Unmarshal([]byte(text), &token); err != nil || token.AccessToken == "" || token.ExpiresIn <= 0 {
		return nil, &Error{Kind: Unavailable, Detail: "the metadata server sent no token"}
	}
	return &auth.Token{Value: token.AccessToken, Type: token.TokenType, Expiry: time.Now().Add(time.Duration(token.ExpiresIn) * time.Second)}, nil
}
