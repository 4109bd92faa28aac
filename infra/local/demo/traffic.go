package demo

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake"
)

// pace is the time between two rounds of the traffic, in the stand-in's time.
const pace = 10 * time.Second

// Traffic is what users send: the same mix all the time, but for what a scenario makes of it.
type Traffic struct {
	client  client
	clock   *ddfake.Clock
	usual   func(i int, faulty bool) []request
	trouble atomic.Pointer[scenario]
	began   atomic.Pointer[time.Time]
}

// NewTraffic returns traffic that does not run yet.
func NewTraffic(opts Options) *Traffic {
	return &Traffic{
		client: client{opts.HTTP, opts.URL, opts.APIKey, opts.ControlSecret}, clock: opts.Clock, usual: scenarios(opts.Document)[0].traffic,
	}
}

// Run sends until ctx ends. Each request has a goroutine of its own, as users do not wait for each other.
func (t *Traffic) Run(ctx context.Context) {
	began := t.clock.Now()
	t.began.Store(&began)
	const most = 256
	slots := make(chan struct{}, most)
	var requests sync.WaitGroup
	defer requests.Wait()
	for i := 0; t.clock.Wait(ctx, pace) == nil; i++ {
		select {
		case slots <- struct{}{}:
		default:
			continue // users who find no free line go away
		}
		requests.Go(func() {
			defer func() { <-slots }()
			round := t.usual(i, false)
			if s := t.trouble.Load(); s != nil {
				round = s.traffic(i, true)
			}
			for _, r := range round {
				// What goes wrong with single requests is what the monitors are there to notice.
				_, _ = t.client.call(ctx, r)
			}
		})
	}
}

// lasted is for how long the traffic runs, in the stand-in's time.
func (t *Traffic) lasted() time.Duration {
	began := t.began.Load()
	if began == nil {
		return 0
	}
	return t.clock.Now().Sub(*began)
}

func (t *Traffic) faulty(s *scenario) { t.trouble.Store(s) }
func (t *Traffic) healthy()           { t.trouble.Store(nil) }
