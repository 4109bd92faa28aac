// Package fault makes a model misbehave on purpose: slow, wrong, or failing. Only the local stack, the demo and tests
// install it; functions have no switch for it, and no request can ask for it.
package fault

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/llm-reliability/control-plane/shared/llm"
)

// Fault is how a model misbehaves. The zero Fault is none.
type Fault struct {
	// Models limits the fault to these model names; empty means all.
	Models []string
	// Latency is waited before each answer.
	Latency time.Duration
	// Answer replaces the text of each answer, as a model does that lost its grip on the document.
	Answer string
	// Error fails each call.
	Error *llm.Error
}

// Model wraps another model. It is safe for concurrent use, and the fault may change at any time.
type Model struct {
	base  llm.Model
	fault atomic.Pointer[Fault]
}

var _ llm.Model = (*Model)(nil)

// Wrap returns base without a fault.
func Wrap(base llm.Model) *Model { return &Model{base: base} }

// Set makes the model misbehave from the next call on.
func (m *Model) Set(f Fault) { m.fault.Store(&f) }

// Clear ends the fault.
func (m *Model) Clear() { m.fault.Store(nil) }

// current returns the fault that holds for a call of the named model.
func (m *Model) current(model string) Fault {
	f := m.fault.Load()
	if f == nil || (len(f.Models) > 0 && !slices.Contains(f.Models, model)) {
		return Fault{}
	}
	return *f
}

// begin waits and fails as the fault says.
func (f Fault) begin(ctx context.Context) error {
	if f.Latency > 0 {
		timer := time.NewTimer(f.Latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return llm.AsError(ctx.Err())
		}
	}
	if f.Error != nil {
		return f.Error
	}
	return nil
}

// Generate implements llm.Model.
func (m *Model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	f := m.current(req.Model)
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	r, err := m.base.Generate(ctx, req)
	if err == nil && f.Answer != "" {
		wrong := *r
		wrong.Text = f.Answer
		return &wrong, nil
	}
	return r, err
}

// Stream implements llm.Model.
func (m *Model) Stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) {
		f := m.current(req.Model)
		if err := f.begin(ctx); err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		begun := false
		for chunk, err := range m.base.Stream(ctx, req) {
			if err == nil && f.Answer != "" {
				if chunk.Text != "" && !begun {
					chunk.Text, begun = f.Answer, true
				} else {
					chunk.Text = ""
				}
			}
			if !yield(chunk, err) {
				return
			}
		}
	}
}
