package diagnosis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// Credentials are what a provider lets us in with.
type Credentials interface {
	// Check asks the provider whether the credentials work, within the deadline of ctx, and returns what it tells of them.
	// An error is an *llm.Error, whose kind says what was wrong, or wraps ErrExpired; what could be told comes with it. It
	// must be safe for concurrent use.
	Check(ctx context.Context) (Credential, error)
}

// ErrExpired is wrapped by the error of credentials that were good once.
var ErrExpired = errors.New("the credentials have expired")

// ErrScope is wrapped by the error of credentials that are known, and were not asked for with the scope that the model needs.
var ErrScope = errors.New("the credentials lack the scope that the model asks for")

// Credential is what is known of credentials. It may be shown to whoever may ask, and so never holds a secret or a part of one.
// What the provider does not tell is absent.
type Credential struct {
	// Kind is "none", "api_key", or a name of the provider's, such as "service_account".
	Kind string `json:"kind"`
	// Identity is whom the provider takes us for.
	Identity  string     `json:"identity,omitempty"`
	Scopes    []string   `json:"scopes,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// TokenExpiresAt is the end of the token that the credentials were last exchanged for, where they are exchanged at all. Tokens are
	// renewed for as long as the credentials work.
	TokenExpiresAt *time.Time `json:"token_expires_at,omitempty"`
	// MayCall is whether we may call the model; absent where the call told nothing of it, or nothing needs a permission.
	MayCall *bool `json:"may_call_model,omitempty"`
}

// None are the credentials of a model that needs none.
type None struct{}

var _ Credentials = None{}

// Check implements Credentials.
func (None) Check(context.Context) (Credential, error) { return Credential{Kind: "none"}, nil }

// Key is the API key of a server that speaks chat completions. Such servers tell neither identity nor expiry, and many show
// their list of models to everybody, so the check is the call that the key is for, with a few tokens.
type Key struct {
	// Client sends the key; it is the one that requests use.
	Client llm.Model
	// Model is the model to call.
	Model string
}

var _ Credentials = Key{}

// Check implements Credentials.
func (k Key) Check(ctx context.Context) (Credential, error) {
	return Credential{Kind: "api_key"}, ask(ctx, k.Client, k.Model)
}

// soon is how long before their end credentials are worth a remark.
const soon = 24 * time.Hour

// check asks for the credentials of one backend.
func check(ctx context.Context, b Backend, timeout time.Duration) finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	credential, err := b.Credentials.Check(ctx)
	now := time.Now()
	observed, r := read(err)
	f := finding{verdict: r.auth, err: err, Evidence: Evidence{
		Source: b.name(), Observed: observed, Detail: r.detail, LatencyMS: ms(now.Sub(start)), Credential: &credential,
	}}
	if may := f.verdict == OK; (may || observed == string(llm.Forbidden)) && credential.Kind != "none" {
		credential.MayCall = &may
	}
	end := credential.ExpiresAt
	switch {
	case errors.Is(err, ErrExpired) || end != nil && !end.After(now):
		f.verdict, f.Observed, f.Detail = Expired, "expired", "the credentials have expired"
		f.next = "Renew the credentials of " + b.Provider + ", then ask again."
	case errors.Is(err, ErrScope):
		f.Detail = "our token has not the scope that the model asks for"
		f.next = "Ask for the token of " + b.Provider + " with the scope that its models need, then ask again."
	case f.verdict == Invalid && observed == string(llm.Forbidden):
		f.next = fmt.Sprintf("Grant our identity at %s the use of %s, then ask again.", b.Provider, b.Model)
	case f.verdict == Invalid:
		f.next = "Replace the credentials of " + b.Provider + " in the secret store, then ask again."
	case f.verdict == Unknown:
		f.next = "Ask POST /diagnosis/provider: the call failed before it could tell anything of the credentials."
	case credential.Kind == "none":
		f.Observed, f.Detail = "not_needed", "the provider needs no credentials"
	case end != nil && end.Sub(now) < soon:
		f.Detail = "the credentials work, and expire within a day"
	}
	return f
}
