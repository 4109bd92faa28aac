package vertexai

import (
	"context"
	"encoding/json"
	"sync/atomic"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"

	"github.com/llm-reliability/control-plane/shared/llm/internal/gemini"
)

// scope is what a token must be good for.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// call is what is seen of one call below the SDK. It belongs to one goroutine but for what is atomic.
type call struct {
	replies  []gemini.Reply
	exchange *gemini.Exchange
	// garbage is set when a response was read that is none.
	garbage bool
	// headers and trailers are set when the server sent them over gRPC: without trailers, a status is not the server's.
	headers, trailers atomic.Bool
	// untokened is why there was no access token.
	untokened atomic.Pointer[error]
}

type callKey struct{}

func newCall(ctx context.Context) (context.Context, *call) {
	ctx, x := gemini.NewExchange(ctx)
	c := &call{exchange: x}
	return context.WithValue(ctx, callKey{}, c), c
}

func callOf(ctx context.Context) *call {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return &call{exchange: new(gemini.Exchange)} // a call that is not a Model's; there are none
	}
	return c
}

// take returns the replies that were read since the last time.
func (c *call) take() []gemini.Reply {
	r := c.replies
	c.replies = nil
	return r
}

// clean is whether nothing is known to have gone wrong.
func (c *call) clean() bool {
	return !c.garbage && !c.exchange.Failed()
}

// add reads a reply.
func (c *call) add(text []byte) bool {
	var r gemini.Reply
	if err := json.Unmarshal(text, &r); err != nil {
		c.garbage = true
		return false
	}
	c.replies = append(c.replies, r)
	return true
}

// tokens returns the credentials, so that a call knows why it has no token: gRPC leaves only a text of that. A token is
// renewed by the call that needs it, and not in the background: functions freeze between calls.
func tokens(o Options) (*auth.Credentials, error) {
	c := o.Credentials
	if c == nil {
		var err error
		c, err = credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{scope}, UseSelfSignedJWT: true, DisableAsyncRefresh: true})
		if err != nil {
			return nil, err
		}
	}
	return auth.NewCredentials(&auth.CredentialsOptions{
		TokenProvider: seenTokens{c}, JSON: c.JSON(), ProjectIDProvider: auth.CredentialsPropertyFunc(c.ProjectID),
		QuotaProjectIDProvider: auth.CredentialsPropertyFunc(c.QuotaProjectID), UniverseDomainProvider: auth.CredentialsPropertyFunc(c.UniverseDomain),
	}), nil
}

type seenTokens struct{ auth.TokenProvider }

// Token implements auth.TokenProvider.
func (s seenTokens) Token(ctx context.Context) (*auth.Token, error) {
	t, err := s.TokenProvider.Token(ctx)
	if err != nil {
		callOf(ctx).untokened.Store(&err)
	}
	return t, err
}
