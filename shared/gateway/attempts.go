package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// candidate is one model of one backend, on the route of a request.
type candidate struct {
	backend Backend
	model   string
}

// candidates returns the models that can serve a tier or a name, in route order, without retired ones. Backends to avoid
// are left out, unless that would leave none: a worse provider is better than no answer.
func (g *Gateway) candidates(model string, avoid []string, now time.Time) []candidate {
	var route, avoided []candidate
	for _, b := range g.opts.Backends {
		var name string
		tier, ok := g.opts.Catalog.Tier(model)
		if ok {
			name, ok = b.Tiers[tier]
		} else {
			if m, found := g.opts.Catalog.Find(b.Provider, model); found {
				name, ok = m.Name, true
			} else if ok = slices.Contains(tierNames(b), model); ok {
				name = model
			}
		}
		if m, found := g.opts.Catalog.Find(b.Provider, name); !ok || (found && m.Retired(now)) {
			continue
		}
		if b.avoided(avoid) {
			avoided = append(avoided, candidate{b, name})
		} else {
			route = append(route, candidate{b, name})
		}
	}
	if len(route) == 0 {
		return avoided
	}
	return route
}

// avoided is whether a list names the backend: by its provider, its location, or both as google/europe-west1.
func (b Backend) avoided(list []string) bool {
	return slices.ContainsFunc(list, func(name string) bool {
		return name == b.Provider || b.Location != "" && (name == b.Location || name == b.Provider+"/"+b.Location)
	})
}

func tierNames(b Backend) []string {
	names := make([]string, 0, len(b.Tiers))
	for _, name := range b.Tiers {
		names = append(names, name)
	}
	return names
}

// tier names the tier of a request for metrics: the one that was asked for, that of the named model, or "named".
func (g *Gateway) tier(model string) string {
	if tier, ok := g.opts.Catalog.Tier(model); ok {
		return string(tier)
	}
	for _, b := range g.opts.Backends {
		if m, ok := g.opts.Catalog.Find(b.Provider, model); ok && m.Tier != "" {
			return string(m.Tier)
		}
	}
	return "named"
}

// attempts calls the models along the route until one answers. The typed error decides what comes next: the same model
// again after a wait, the next model, or the end. A model that timed out is not asked again. Every attempt is kept in the exchange with its usage and cost.
func (g *Gateway) attempts(ctx context.Context, e *telemetry.Exchange, route []candidate, req llm.Request, yield func(Piece) error) (*llm.Response, *llm.Error) {
	var last *llm.Error
	for i, c := range route {
		for n := 1; ; n++ {
			if n > 1 {
				left := time.Until(deadline(ctx))
				wait, ok := g.opts.Retry.Delay(n-1, last.RetryAfter, left)
				if !ok || !last.Retryable() || last.Kind == llm.Timeout || !sleep(ctx, wait) {
					break
				}
			}
			a, response, err := g.attempt(ctx, c, req, len(route)-1-i, e, yield)
			a.Retry, a.Fallback = n > 1, n == 1 && i > 0
			g.bill(e, a)
			if err == nil {
				return response, nil
			}
			last = err
			begun := yield != nil && a.Output != ""
			if begun || ctx.Err() != nil || !err.Fallback() {
				return nil, err
			}
		}
	}
	return nil, last
}

// attempt makes one model call. While other models remain, it gets at most half of the time that is left, so that a
// provider that hangs does not take the whole deadline.
func (g *Gateway) attempt(ctx context.Context, c candidate, req llm.Request, remaining int, e *telemetry.Exchange, yield func(Piece) error) (telemetry.Attempt, *llm.Response, *llm.Error) {
	if remaining > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline(ctx))/2)
		defer cancel()
	}
	req.Model = c.model
	a := telemetry.Attempt{Requested: c.model, Model: c.model, Provider: c.backend.Provider, Location: c.backend.Location, Start: time.Now()}
	var response *llm.Response
	var err error
	if yield == nil {
		response, err = c.backend.Model.Generate(ctx, req)
	} else {
		response, err = stream(ctx, c, req, &a, e, yield)
	}
	a.Duration = time.Since(a.Start)
	if response != nil {
		a.Output, a.Finish, a.Usage = response.Text, response.Finish, response.Usage
		if response.Model != "" {
			a.Model = response.Model
		}
		e.Finish = response.Finish
	}
	e.Model, e.Provider = a.Model, a.Provider
	if err == nil {
		return a, response, nil
	}
	failure := llm.AsError(err)
	if failure.Usage != nil {
		a.Usage = failure.Usage
	}
	a.ErrorType, a.Err = string(failure.Kind), failure
	return a, nil, failure
}

// stream passes a streamed answer on as it comes and returns it whole, too. When the stream breaks, the response holds
// what arrived, so that its usage is counted.
func stream(ctx context.Context, c candidate, req llm.Request, a *telemetry.Attempt, e *telemetry.Exchange, yield func(Piece) error) (*llm.Response, error) {
	r := &llm.Response{Model: c.model, Provider: c.backend.Provider}
	var text strings.Builder
	for chunk, err := range c.backend.Model.Stream(ctx, req) {
		r.Text = text.String()
		if err != nil {
			return r, err
		}
		if chunk.Usage != nil {
			r.Usage = chunk.Usage
		}
		if chunk.Model != "" {
			r.Model = chunk.Model
		}
		if chunk.ID != "" {
			r.ID = chunk.ID
		}
		r.Finish = chunk.Finish
		if chunk.Text == "" {
			continue
		}
		text.WriteString(chunk.Text)
		r.Text = text.String()
		if a.FirstToken == 0 {
			a.FirstToken = time.Since(a.Start)
			e.FirstToken = time.Since(e.Start)
		}
		if err := yield(Piece{chunk.Text, r.Model}); err != nil {
			return r, &llm.Error{Kind: llm.Canceled, Provider: r.Provider, Model: r.Model, Err: fmt.Errorf("write to client: %w", err)}
		}
	}
	if r.Finish == "" {
		// The contract of llm.Model makes this an error of the adapter's; a silent truncation must not pass all the same.
		return r, &llm.Error{Kind: llm.BrokenStream, Provider: r.Provider, Model: r.Model, Err: errors.New("stream ended without a finish reason")}
	}
	return r, nil
}

// bill adds an attempt to the exchange. The sum of the cost is known only if that of every billed attempt is.
func (g *Gateway) bill(e *telemetry.Exchange, a telemetry.Attempt) {
	first := e.Usage == nil
	if a.Usage != nil {
		if cost, ok := g.opts.Catalog.Cost(a.Provider, a.Model, *a.Usage, a.Start); ok {
			total := cost.Total()
			a.CostUSD = &total
		}
		sum := *a.Usage
		if !first {
			sum = sum.Add(*e.Usage)
		}
		e.Usage = &sum
		switch {
		case a.CostUSD == nil:
			e.CostUSD = nil
		case first:
			total := *a.CostUSD
			e.CostUSD = &total
		case e.CostUSD != nil:
			total := *e.CostUSD + *a.CostUSD
			e.CostUSD = &total
		}
	}
	e.Attempts = append(e.Attempts, a)
}

func deadline(ctx context.Context) time.Time {
	t, _ := ctx.Deadline() // Do sets one, always.
	return t
}

// sleep waits for d and says whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
