// Package llmtest holds the conformance test of llm.Model. It is for tests only, and knows no provider.
package llmtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// UnknownModel is the name of a model that no provider has.
const UnknownModel = "no-such-model"

// patience bounds what must happen soon. It is wide, since only a model that breaks its contract ever waits for it.
const patience = 10 * time.Second

// Conformance checks that a model keeps the contract of llm.Model. open returns the model, and a request that it answers
// with some text, in a stream with two pieces or more; whatever open starts must have ended when its t.Cleanup is through.
func Conformance(t *testing.T, open func(t *testing.T) (llm.Model, llm.Request)) {
	before := runtime.NumGoroutine()
	checks := checks()
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		t.Run(name, func(t *testing.T) {
			model, req := open(t)
			if err := checks[name](t.Context(), model, req); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("no goroutine is left", func(t *testing.T) {
		if !settles(func() bool { return runtime.NumGoroutine() <= before+1 }) { // this subtest is one
			stacks := make([]byte, 1<<20)
			t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	})
}

// Discreet checks that the errors of a model do not quote what it was asked: errors go to logs and spans, where prompts may
// not go. Each function opens a model whose provider fails both methods for the request, in one of its ways, and quotes the
// request's messages in what it says of that.
func Discreet(t *testing.T, open map[string]func(t *testing.T) (llm.Model, llm.Request)) {
	for _, name := range slices.Sorted(maps.Keys(open)) {
		t.Run(name, func(t *testing.T) {
			model, req := open[name](t)
			if err := indiscretion(t.Context(), model, req); err != nil {
				t.Error(err)
			}
		})
	}
}

// indiscretion is where an error of a model that fails quotes the request, or that it does not fail.
func indiscretion(ctx context.Context, model llm.Model, req llm.Request) error {
	_, err := model.Generate(ctx, req)
	_, streamErr := collect(ctx, model, req)
	for method, err := range map[string]error{"generate": err, "stream": streamErr} {
		if err == nil {
			return fmt.Errorf("%s: no error", method)
		}
		if quotes(err, req) {
			return fmt.Errorf("%s: the error quotes the request", method) // and is not quoted here
		}
	}
	return nil
}

// quotes is whether an error repeats something that a request says.
func quotes(err error, req llm.Request) bool {
	said := []string{req.Question, req.Document}
	for _, m := range req.Messages {
		said = append(said, m.Content)
	}
	return slices.ContainsFunc(said, func(text string) bool { return text != "" && strings.Contains(err.Error(), text) })
}

// Violations returns what Conformance would report of a model, joined, but for goroutines that are left; nil when the
// contract is kept.
func Violations(ctx context.Context, model llm.Model, req llm.Request) error {
	checks := checks()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		if err := checks[name](ctx, model, req); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

type check func(ctx context.Context, model llm.Model, req llm.Request) error

// checks are the parts of the contract.
func checks() map[string]check {
	return map[string]check{
		"an answer is complete":                      answers,
		"a stream is complete and ends":              streams,
		"a canceled context ends both":               ended(context.WithCancel, llm.Canceled),
		"a passed deadline ends both":                ended(passed, llm.Timeout),
		"a stream that is canceled ends with that":   canceledInMidStream,
		"an unknown model is not found":              unknownModel,
		"an error does not quote the request":        unquoted,
		"a consumer may leave, and come back":        leaves,
		"many calls at once do not meet":             concurrent,
		"what the request's slices hold stays so":    unchanged,
		"a stream may be ranged over more than once": twice,
	}
}

// settles waits until done, or until patience is over.
func settles(done func() bool) bool {
	for end := time.Now().Add(patience); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func passed(parent context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadline(parent, time.Now().Add(-time.Second))
}

// collected is a stream that was read to its end.
type collected struct {
	text   string
	pieces int
	last   llm.Chunk
}

// collect reads a stream and says where it breaks the contract, or what error it ended with.
func collect(ctx context.Context, model llm.Model, req llm.Request) (c collected, err error) {
	var text strings.Builder
	for chunk, err := range model.Stream(ctx, req) {
		if c.last.Finish != "" {
			return c, fmt.Errorf("after finish %q came %+v, %v", c.last.Finish, chunk, err)
		}
		if err != nil {
			return c, err
		}
		text.WriteString(chunk.Text)
		if chunk.Text != "" {
			c.pieces++
		}
		c.text, c.last = text.String(), chunk
	}
	if c.last.Finish == "" {
		return c, errors.New("the stream ended with neither a finish reason nor an error")
	}
	return c, nil
}

func answers(ctx context.Context, model llm.Model, req llm.Request) error {
	r, err := model.Generate(ctx, req)
	switch {
	case err != nil:
		return fmt.Errorf("generate: %w", err)
	case r == nil:
		return errors.New("generate: neither a response nor an error")
	case r.Text == "" || r.Finish == "" || r.Provider == "" || r.Model == "":
		return fmt.Errorf("generate: got %+v, want a text, a finish reason, a provider and a model", *r)
	}
	return plausible(r.Usage)
}

// plausible says whether the parts of a usage fit into their sums.
func plausible(u *llm.Usage) error {
	if u != nil && (u.InputTokens < u.CachedTokens || u.OutputTokens < u.ReasoningTokens || min(u.CachedTokens, u.ReasoningTokens) < 0) {
		return fmt.Errorf("usage %+v: a part is larger than its sum, or below 0", *u)
	}
	return nil
}

func streams(ctx context.Context, model llm.Model, req llm.Request) error {
	c, err := collect(ctx, model, req)
	if err != nil {
		return err
	}
	if c.text == "" || c.pieces < 2 {
		return fmt.Errorf("stream: got %q in %d pieces, want a text in two or more", c.text, c.pieces)
	}
	return plausible(c.last.Usage)
}

func twice(ctx context.Context, model llm.Model, req llm.Request) error {
	stream := model.Stream(ctx, req)
	for range 2 {
		finished := false
		for chunk, err := range stream {
			if err != nil {
				return err
			}
			finished = chunk.Finish != ""
		}
		if !finished {
			return errors.New("the stream ended without a finish reason")
		}
	}
	return nil
}

// wantKind says how an error differs from an *llm.Error of a kind.
func wantKind(method string, err error, want llm.Kind) error {
	var e *llm.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: got %v, want an *llm.Error of kind %s", method, err, want)
	}
	if e.Kind != want {
		return fmt.Errorf("%s: got kind %s (%w), want %s", method, e.Kind, err, want)
	}
	return nil
}

// fails checks that both methods fail with an error of a kind, and with nothing else.
func fails(ctx context.Context, model llm.Model, req llm.Request, want llm.Kind) error {
	r, err := model.Generate(ctx, req)
	if r != nil {
		return fmt.Errorf("generate: got %+v, want no response", *r)
	}
	errs := []error{wantKind("generate", err, want)}
	var failure error
	for chunk, err := range model.Stream(ctx, req) {
		switch {
		case failure != nil:
			return fmt.Errorf("stream: after %w came %+v", failure, chunk)
		case err == nil:
			return fmt.Errorf("stream: got %+v, want no chunk", chunk)
		}
		failure = err
	}
	return errors.Join(append(errs, wantKind("stream", failure, want))...)
}

func ended(with func(context.Context) (context.Context, context.CancelFunc), want llm.Kind) check {
	return func(ctx context.Context, model llm.Model, req llm.Request) error {
		ctx, cancel := with(ctx)
		cancel()
		return fails(ctx, model, req, want)
	}
}

func unknownModel(ctx context.Context, model llm.Model, req llm.Request) error {
	req.Model = UnknownModel
	return fails(ctx, model, req, llm.NotFound)
}

// unquoted looks at the failure that every provider has a message for. Discreet looks at all others.
func unquoted(ctx context.Context, model llm.Model, req llm.Request) error {
	req.Model = UnknownModel
	return indiscretion(ctx, model, req)
}

func canceledInMidStream(ctx context.Context, model llm.Model, req llm.Request) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	var failure error
	for chunk, err := range model.Stream(ctx, req) {
		if failure != nil {
			return fmt.Errorf("after %w came %+v, %v", failure, chunk, err)
		}
		if err == nil && ctx.Err() != nil {
			return fmt.Errorf("after the context had ended came %+v", chunk)
		}
		failure = err
		cancel()
	}
	if took := time.Since(start); took > patience {
		return fmt.Errorf("the stream ended after %v", took)
	}
	return wantKind("stream", failure, llm.Canceled)
}

// leaves breaks out of the loop at the first piece, over and over. A model that releases nothing at a break shows in the
// goroutines that are left, in an upstream that waits for its reader, or in what it answers afterwards.
func leaves(ctx context.Context, model llm.Model, req llm.Request) error {
	for range 16 {
		for _, err := range model.Stream(ctx, req) {
			if err != nil {
				return err
			}
			break
		}
	}
	return errors.Join(answers(ctx, model, req), streams(ctx, model, req))
}

func concurrent(ctx context.Context, model llm.Model, req llm.Request) error {
	const callers = 8
	errs := make([]error, 3*callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { errs[3*i] = answers(ctx, model, req) })
		wg.Go(func() { errs[3*i+1] = streams(ctx, model, req) })
		wg.Go(func() { errs[3*i+2] = unknownModel(ctx, model, req) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// unchanged gives the slices room beyond their length, too: an append to them would write there.
func unchanged(ctx context.Context, model llm.Model, req llm.Request) error {
	mark := llm.Message{Role: "mark", Content: "mark"}
	messages := append(slices.Clone(req.Messages), mark)
	stop := append(slices.Clone(req.Stop), "\x00mark")
	wantMessages, wantStop := slices.Clone(messages), slices.Clone(stop)
	req.Messages, req.Stop = messages[:len(messages)-1], stop[:len(stop)-1]
	if _, err := model.Generate(ctx, req); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	if _, err := collect(ctx, model, req); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if diff := cmp.Diff(wantMessages, messages) + cmp.Diff(wantStop, stop); diff != "" {
		return fmt.Errorf("the request's slices changed (-before +after):\n%s", diff)
	}
	return nil
}
