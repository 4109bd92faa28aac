package gateway

import (
	"context"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Limits admits requests by their caller; limit.Limiter is one. What Admit returns beside the decision says that its store could not be
// asked: the decision holds all the same. Standing says at once where the caller stands then.
type Limits interface {
	Admit(ctx context.Context, r limit.Request) (*limit.Ticket, *limit.Exceeded, error)
	Standing(r limit.Request) []limit.Standing
}

// The estimate of the tokens of a request, before it is known: a token is four characters or so, and an answer has this many
// where no cap says otherwise.
const (
	charsPerToken = 4
	answerTokens  = 512
)

// admit asks whether the caller may make this request. settle must be called when the exchange has all that the request took.
func (g *Gateway) admit(ctx context.Context, call Call, settings control.Settings, e *telemetry.Exchange) (settle func(), refused *llm.Error) {
	if g.opts.Limits == nil {
		return func() {}, nil
	}
	tokens := answerTokens
	if most := call.Request.MaxTokens; most > 0 {
		tokens = min(tokens, most)
	}
	for _, m := range call.Request.Messages {
		tokens += len(m.Content) / charsPerToken
	}
	request := limit.Request{Caller: call.Caller, Tokens: tokens, Cap: settings.RequestsPerMinute}
	ticket, exceeded, err := g.opts.Limits.Admit(ctx, request)
	degraded(e, "limits", err)
	if call.Standing != nil {
		call.Standing(g.opts.Limits.Standing(request))
	}
	if exceeded != nil {
		e.Limit = exceeded.Limit
		return nil, &llm.Error{Kind: llm.LimitExceeded, RetryAfter: exceeded.RetryAfter, Public: exceeded.Error(), Err: exceeded}
	}
	return func() {
		var total int
		var usd float64
		if e.Usage != nil {
			total = e.Usage.Total()
		}
		if e.CostUSD != nil {
			usd = *e.CostUSD
		}
		// A client that has gone has used what it has used.
		degraded(e, "limits", ticket.Settle(context.WithoutCancel(ctx), total, usd))
	}, nil
}
