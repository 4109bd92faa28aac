package local

import (
	"context"
	"slices"
	"sync"
	"time"

	controlplane "github.com/llm-reliability/control-plane"
	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/infra/local/demo"
)

const (
	// linger is how long the users stay after a scenario, in the stand-in's time, so that the charts show how it ends.
	linger = 30 * time.Minute
	// maxWaiting is how many scenarios may wait, maxKept how many are remembered.
	maxWaiting = 5
	maxKept    = 50
)

// stage plays the demo's scenarios on this stack, one at a time, for the theater. Its users are always there where that is wanted;
// otherwise they come with the first scenario, and go some time after the last.
type stage struct {
	stack *Stack
	// steady is whether the users are always there.
	steady bool
	feed   *feed
	asked  chan string

	mu sync.Mutex
	// played are in the order in which they were asked for.
	played []theater.Performance
}

var _ theater.Stage = (*stage)(nil)

func newStage(s *Stack, f *feed, steady bool) *stage {
	return &stage{stack: s, steady: steady, feed: f, asked: make(chan string, maxWaiting+1)}
}

// Scenarios implements theater.Stage.
func (s *stage) Scenarios() []theater.Scenario {
	var out []theater.Scenario
	for _, d := range demo.Scenarios() {
		out = append(out, theater.Scenario{Name: d.Name, Title: d.Label, Fault: d.Fault, Remedy: d.Remedy, Monitor: d.Monitor})
	}
	return out
}

// Play implements theater.Stage.
func (s *stage) Play(name, key string) (theater.Performance, error) {
	if !slices.Contains(demo.Names(), name) {
		return theater.Performance{}, theater.ErrUnknownScenario
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := 0
	for _, p := range s.played {
		if p.ID == key {
			if p.Scenario != name {
				return theater.Performance{}, theater.ErrKeyReused
			}
			return clone(p), nil
		}
		if p.State == theater.Queued {
			waiting++
		}
	}
	if waiting >= maxWaiting {
		return theater.Performance{}, theater.ErrFull
	}
	now := time.Now()
	p := theater.Performance{ID: key, Scenario: name, State: theater.Queued, Asked: now, Phases: []theater.Phase{
		{Name: "clicked", At: s.stack.Clock.Standing(now), Wall: now},
	}}
	s.played = append(s.played, p)
	s.forget()
	s.asked <- key // there is room for all that may wait
	return clone(p), nil
}

// forget drops the oldest that are over; s.mu is held.
func (s *stage) forget() {
	for i := 0; len(s.played) > maxKept && i < len(s.played); {
		if st := s.played[i].State; st == theater.Done || st == theater.Failed {
			s.played = slices.Delete(s.played, i, i+1)
			continue
		}
		i++
	}
}

// Performances implements theater.Stage.
func (s *stage) Performances() []theater.Performance {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]theater.Performance, 0, len(s.played))
	for _, p := range slices.Backward(s.played) {
		out = append(out, clone(p))
	}
	return out
}

func clone(p theater.Performance) theater.Performance {
	p.Phases = slices.Clone(p.Phases)
	return p
}

// change runs f on the performance with a key.
func (s *stage) change(key string, f func(*theater.Performance)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.played, func(p theater.Performance) bool { return p.ID == key }); i >= 0 {
		f(&s.played[i])
	}
}

// run plays what is asked for until ctx ends.
func (s *stage) run(ctx context.Context) {
	if s.steady {
		s.session(ctx)
		return
	}
	for {
		select {
		case key := <-s.asked:
			s.asked <- key
			s.session(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// session plays all that is asked for while its users stay.
func (s *stage) session(ctx context.Context) {
	opts := demo.Options{
		HTTP: s.stack.HTTP, URL: s.stack.URL, APIKey: s.stack.APIKey, ControlSecret: s.stack.ControlSecret,
		Datadog: s.stack.Datadog, Clock: s.stack.Clock, Faults: s.stack.Faults, Document: controlplane.License(), Emit: s.feed.tell,
	}
	opts.Traffic = demo.NewTraffic(opts)
	within, leave := context.WithCancel(ctx)
	var users sync.WaitGroup
	users.Go(func() { opts.Traffic.Run(within) })
	defer users.Wait()
	defer leave()
	for {
		select {
		case key := <-s.asked:
			s.play(ctx, opts, key)
		case <-s.bored(within, &users):
			return
		case <-ctx.Done():
			return
		}
	}
}

// bored is closed when the users have stayed long enough after what was played; never where they are always there.
func (s *stage) bored(ctx context.Context, users *sync.WaitGroup) <-chan struct{} {
	if s.steady {
		return nil
	}
	gone := make(chan struct{})
	users.Go(func() {
		if s.stack.Clock.Wait(ctx, linger) == nil {
			close(gone)
		}
	})
	return gone
}

func (s *stage) play(ctx context.Context, opts demo.Options, key string) {
	var name string
	s.change(key, func(p *theater.Performance) { p.State, name = theater.Playing, p.Scenario })
	opts.Reached = func(phase demo.Phase) {
		s.change(key, func(p *theater.Performance) { p.Phases = append(p.Phases, theater.Phase(phase)) })
	}
	for _, outcome := range demo.Play(ctx, opts, name) {
		s.change(key, func(p *theater.Performance) {
			p.State, p.Failure = theater.Done, outcome.Failure
			if !outcome.Closed || !outcome.Reverted {
				p.State = theater.Failed
			}
		})
	}
}
