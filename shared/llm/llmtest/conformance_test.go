package llmtest_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/llm/llmtest"
)

// model keeps the contract, but for what a test replaces.
type model struct {
	generate func(context.Context, llm.Request) (*llm.Response, error)
	stream   func(context.Context, llm.Request) iter.Seq2[llm.Chunk, error]
}

func (m model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	if m.generate != nil {
		return m.generate(ctx, req)
	}
	return generate(ctx, req)
}

func (m model) Stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	if m.stream != nil {
		return m.stream(ctx, req)
	}
	return stream(ctx, req)
}

func refuse(ctx context.Context, req llm.Request) error {
	if err := ctx.Err(); err != nil {
		return llm.AsError(err)
	}
	if req.Model == llmtest.UnknownModel {
		return &llm.Error{Kind: llm.NotFound}
	}
	return nil
}

func generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	if err := refuse(ctx, req); err != nil {
		return nil, err
	}
	return &llm.Response{Text: "one two", Model: req.Model, Provider: "test", Finish: llm.FinishStop}, nil
}

var chunks = []llm.Chunk{{Text: "one"}, {Text: " two"}, {Finish: llm.FinishStop}}

func stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	return yields(ctx, req, chunks...)
}

func yields(ctx context.Context, req llm.Request, chunks ...llm.Chunk) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) {
		for _, c := range chunks {
			if err := refuse(ctx, req); err != nil {
				yield(llm.Chunk{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

var request = llm.Request{Model: "m", Messages: []llm.Message{{Role: llm.User, Content: "?"}}}

func TestConformingModelPasses(t *testing.T) {
	llmtest.Conformance(t, func(*testing.T) (llm.Model, llm.Request) { return model{}, request })
}

func TestDiscreetModelPasses(t *testing.T) {
	llmtest.Discreet(t, map[string]func(*testing.T) (llm.Model, llm.Request){
		"a model that is not there": func(*testing.T) (llm.Model, llm.Request) {
			req := request
			req.Model = llmtest.UnknownModel
			return model{}, req
		},
	})
}

func TestViolationsAreFound(t *testing.T) {
	type (
		respond = func(context.Context, llm.Request) (*llm.Response, error)
		flow    = func(context.Context, llm.Request) iter.Seq2[llm.Chunk, error]
	)
	always := func(r *llm.Response, err error) respond {
		return func(context.Context, llm.Request) (*llm.Response, error) { return r, err }
	}
	of := func(chunks ...llm.Chunk) flow {
		return func(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
			return yields(ctx, req, chunks...)
		}
	}
	for name, tt := range map[string]struct {
		model model
		want  string
	}{
		"neither a response nor an error":     {model{generate: always(nil, nil)}, "neither a response nor an error"},
		"an empty answer":                     {model{generate: always(&llm.Response{Model: "m", Provider: "p", Finish: llm.FinishStop}, nil)}, "want a text"},
		"a response without a provider":       {model{generate: always(&llm.Response{Text: "t", Model: "m", Finish: llm.FinishStop}, nil)}, "a provider and a model"},
		"an error of another type":            {model{generate: always(nil, errors.New("plain"))}, "got plain, want an *llm.Error"},
		"one kind for everything":             {model{generate: always(nil, &llm.Error{Kind: llm.Internal})}, "got kind internal"},
		"more cached than input tokens":       {model{generate: always(&llm.Response{Text: "t", Model: "m", Provider: "p", Finish: llm.FinishStop, Usage: &llm.Usage{CachedTokens: 1}}, nil)}, "larger than its sum"},
		"a stream without a finish reason":    {model{stream: of(chunks[:2]...)}, "neither a finish reason nor an error"},
		"a stream that goes on after its end": {model{stream: of(append(chunks[:3:3], llm.Chunk{Text: "more"})...)}, "after finish"},
		"a stream of one piece":               {model{stream: of(llm.Chunk{Text: "all", Finish: llm.FinishStop})}, "two or more"},
		"a stream that does not look at ctx": {model{stream: func(_ context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
			return yields(context.Background(), req, chunks...)
		}}, "after the context had ended"},
		"a stream that can be read only once":  {model{stream: once}, "ended without a finish reason"},
		"a stream with a chunk after an error": {model{stream: goesOn}, "came"},
		"a model that appends to the messages": {model{generate: appends}, "slices changed"},
		"an error that quotes the question": {model{generate: func(_ context.Context, req llm.Request) (*llm.Response, error) {
			return nil, &llm.Error{Kind: llm.NotFound, Err: errors.New("who asks " + req.Messages[0].Content)}
		}}, "generate: the error quotes the request"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := llmtest.Violations(t.Context(), tt.model, request); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("violations: got %v, want %q among them", err, tt.want)
			}
		})
	}
}

func once(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	next, _ := iter.Pull2(stream(ctx, req))
	return func(yield func(llm.Chunk, error) bool) {
		for {
			c, err, ok := next()
			if !ok || !yield(c, err) {
				return
			}
		}
	}
}

func goesOn(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) {
		_ = yield(llm.Chunk{}, refuse(ctx, req)) && yield(chunks[0], nil) // on purpose: the contract forbids it
	}
}

func appends(ctx context.Context, req llm.Request) (*llm.Response, error) {
	req.Messages = append(req.Messages, llm.Message{Role: llm.System, Content: "be brief"})
	return generate(ctx, req)
}
