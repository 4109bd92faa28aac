package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/scripts/bench/wire"
)

// mode tells the mock how to answer from now on.
func (b *bed) mode(m wire.Mode) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c := dial(b.mockAddr)
	defer c.close()
	head := fmt.Sprintf("POST /mode HTTP/1.1\r\nHost: mock\r\nContent-Length: %d\r\n\r\n", len(body))
	resp, err := c.do(append([]byte(head), body...), nil)
	if err == nil && resp.Status != http.StatusOK {
		err = fmt.Errorf("the mock answers %d: %s", resp.Status, resp.Body)
	}
	return err
}

// running are the targets that run, without direct.
func (b *bed) running() []*target {
	return slices.DeleteFunc(slices.Clone(b.targets[1:]), func(t *target) bool { return t.absent != "" })
}

// pairs are what one target took, in microseconds, and what it took more than the direct request beside it.
type pairs struct {
	added, direct []float64
	// requests and cpu are of the target's process.
	requests int
	cpu      time.Duration
	errors   int
	first    error
}

func (p *pairs) failed(err error) {
	p.errors++
	if p.first == nil {
		p.first = err
	}
}

// interleave sends requests in pairs, one straight to the mock and one through a target, in random order, on one
// connection each. Each round takes the targets in a new order and gives every one a block of pairs: so what a target still does
// after its answer falls on its own next request. The first pairs of a block are dropped.
func (b *bed) interleave(ctx context.Context, m wire.Mode, rounds, n int, stream bool, random *rand.Rand) (map[string]*pairs, error) {
	if err := b.mode(m); err != nil {
		return nil, err
	}
	size := wire.Small
	if m.Large {
		size = wire.Large
	}
	want := expect(wire.Text(size))
	// measure returns how long an answer took: to its first piece for a stream, whole otherwise.
	measure := func(c *conn, t *target) (time.Duration, error) {
		request := t.whole
		if stream {
			request = t.stream
		}
		begin := time.Now()
		resp, err := c.do(request, nil)
		took := time.Since(begin)
		switch {
		case err != nil:
			return 0, err
		case stream:
			return resp.First.Sub(begin), readStream(resp)
		}
		return took, want.read(resp)
	}
	straight := dial(b.mockAddr)
	defer straight.close()
	out := map[string]*pairs{}
	targets := b.running()
	for range rounds {
		random.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
		for _, t := range targets {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			p := out[t.name]
			if p == nil {
				p = &pairs{}
				out[t.name] = p
			}
			through := dial(t.addr)
			warmUp := max(3, n/10)
			var cpu time.Duration
			for i := range warmUp + n {
				if i == warmUp {
					cpu = t.proc.cpu()
				}
				var d, g time.Duration
				var errD, errG error
				if random.IntN(2) == 0 {
					d, errD = measure(straight, b.targets[0])
					g, errG = measure(through, t)
				} else {
					g, errG = measure(through, t)
					d, errD = measure(straight, b.targets[0])
				}
				if errD != nil {
					through.close()
					return nil, fmt.Errorf("ask the mock: %w", errD)
				}
				if i < warmUp {
					continue
				}
				p.requests++
				if errG != nil {
					p.failed(errG)
					continue
				}
				p.direct = append(p.direct, micros(d))
				p.added = append(p.added, micros(g-d))
			}
			p.cpu += t.proc.cpu() - cpu
			through.close()
		}
	}
	return out, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// run is what a target did under load.
type run struct {
	took     []float64 // microseconds
	elapsed  time.Duration
	requests int
	errors   int
	first    error
	cpu      time.Duration
	memory   int64 // the most that was seen
}

// fixedRate sends requests at times that were set before, whether or not earlier ones were answered. What a request
// took counts from the time at which it was due.
func (b *bed) fixedRate(t *target, rate int, during time.Duration) run {
	want := expect(wire.Text(wire.Small))
	n := int(during.Seconds() * float64(rate))
	var mu sync.Mutex
	var idle []*conn
	out := run{requests: n}
	cpu := t.cpu()
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		wg.Go(func() {
			mu.Lock()
			var c *conn
			if last := len(idle) - 1; last >= 0 {
				c, idle = idle[last], idle[:last]
			}
			mu.Unlock()
			if c == nil {
				c = dial(t.addr)
			}
			resp, err := c.do(t.whole, nil)
			took := time.Since(due)
			if err == nil {
				err = want.glance(resp)
			}
			mu.Lock()
			defer mu.Unlock()
			idle = append(idle, c)
			if err != nil {
				out.errors++
				if out.first == nil {
					out.first = err
				}
				return
			}
			out.took = append(out.took, micros(took))
		})
	}
	wg.Wait()
	out.elapsed, out.cpu = time.Since(begin), t.cpu()-cpu
	for _, c := range idle {
		c.close()
	}
	return out
}

// limit keeps so many connections busy for a time, and looks at the target's memory meanwhile.
func (b *bed) limit(t *target, connections int, during time.Duration) run {
	want := expect(wire.Text(wire.Small))
	var out run
	var mu sync.Mutex
	cpu := t.cpu()
	begin := time.Now()
	end := begin.Add(during)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if t.proc != nil {
				out.memory = max(out.memory, t.proc.memory())
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			c := dial(t.addr)
			defer c.close()
			var took []float64
			errors, first := 0, error(nil)
			for time.Now().Before(end) {
				at := time.Now()
				resp, err := c.do(t.whole, nil)
				if err == nil {
					err = want.glance(resp)
				}
				if err != nil {
					if errors++; first == nil {
						first = err
					}
					continue
				}
				took = append(took, micros(time.Since(at)))
			}
			mu.Lock()
			defer mu.Unlock()
			out.took = append(out.took, took...)
			out.errors += errors
			if out.first == nil {
				out.first = first
			}
		})
	}
	wg.Wait()
	out.elapsed, out.cpu = time.Since(begin), t.cpu()-cpu
	close(done)
	watching.Wait()
	out.requests = len(out.took) + out.errors
	return out
}

// cpu is what the target's process has used; nothing of the mock, which is shared.
func (t *target) cpu() time.Duration {
	if t.proc == nil {
		return 0
	}
	return t.proc.cpu()
}
