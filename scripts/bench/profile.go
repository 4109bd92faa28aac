package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/llm-reliability/control-plane/scripts/bench/wire"
)

// Allocations are what one request costs of the heap, counted by the runtime of the process that served it.
type Allocations struct {
	Objects float64 `json:"objects"`
	Bytes   float64 `json:"bytes"`
}

// inspect runs the function with a debug server beside it, counts its allocations per request, and, where a folder is
// given, writes profiles of its processor time and allocations there.
func (b *bed) inspect(ctx context.Context, name string, telemetry bool, requests int, folder string) (Allocations, error) {
	if err := b.mode(wire.Mode{}); err != nil {
		return Allocations{}, err
	}
	addr, err := freeAddress()
	if err != nil {
		return Allocations{}, err
	}
	debug, err := freeAddress()
	if err != nil {
		return Allocations{}, err
	}
	t := &target{name: name, addr: addr}
	t.ready()
	if t.proc, err = start(ctx, b.cores.gateway, name, append(b.ours(addr, name, telemetry), "BENCH_DEBUG="+debug), "build/timerslack", slack, "build/completion-profiled"); err != nil {
		return Allocations{}, err
	}
	defer t.proc.stop()
	if err := t.answers(ctx, 10*time.Second); err != nil {
		return Allocations{}, err
	}
	c := dial(addr)
	defer c.close()
	want := expect(wire.Text(wire.Small))
	send := func(n int) error {
		for range n {
			resp, err := c.do(t.whole, nil)
			if err == nil {
				err = want.glance(resp)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := send(requests / 4); err != nil {
		return Allocations{}, err
	}
	objects, bytes, err := heap(ctx, debug)
	if err != nil {
		return Allocations{}, err
	}
	if err := send(requests); err != nil {
		return Allocations{}, err
	}
	objectsAfter, bytesAfter, err := heap(ctx, debug)
	if err != nil {
		return Allocations{}, err
	}
	out := Allocations{(objectsAfter - objects) / float64(requests), (bytesAfter - bytes) / float64(requests)}
	if folder == "" {
		return out, nil
	}
	for kind, connections := range map[string]int{"c1": 1, "c64": 64} {
		done := make(chan error, 1)
		go func() {
			done <- save(ctx, "http://"+debug+"/debug/pprof/profile?seconds=8", filepath.Join(folder, name+"-"+kind+".cpu.pprof"))
		}()
		b.limit(t, connections, 9*time.Second)
		if err := <-done; err != nil {
			return out, err
		}
	}
	return out, save(ctx, "http://"+debug+"/debug/pprof/allocs", filepath.Join(folder, name+".allocs.pprof"))
}

func heap(ctx context.Context, debug string) (objects, bytes float64, err error) {
	body, err := get(ctx, "http://"+debug+"/debug/vars")
	if err != nil {
		return 0, 0, err
	}
	var doc struct {
		Memstats struct{ Mallocs, TotalAlloc float64 } `json:"memstats"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return 0, 0, fmt.Errorf("read the runtime's counters: %w", err)
	}
	return doc.Memstats.Mallocs, doc.Memstats.TotalAlloc, nil
}

func save(ctx context.Context, url, path string) error {
	body, err := get(ctx, url)
	if err != nil {
		return err
	}
	return os.WriteFile(path, body, 0o644)
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: status %d: %.200s", url, resp.StatusCode, body)
	}
	return body, err
}
