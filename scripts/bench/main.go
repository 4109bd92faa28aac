// Command bench compares this gateway with others on one machine: the same mock of a provider, the same requests, one run.
//
//	go run .          a quarter of an hour
//	go run . -quick   about two minutes
//
// What it does, in this order: pairs of requests, one direct and one through a gateway, at one connection; streams the same way;
// fixed rates; the limit with 64 connections; memory; allocations; benchmarks in process. It prints tables and how the goals
// fared, and writes both into results. No figure is better than the machine is quiet: the load average is printed, and
// -strict refuses to measure on a busy one.
//
// It is a module of its own, so that nothing of the gateways that it compares with is a dependency of the product. It needs
// Linux, Go, and for all peers npm and python3 with access to their registries at the first run. A peer that cannot be had is in
// the tables with the reason.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/llm-reliability/control-plane/scripts/bench/wire"
)

type options struct {
	quick, strict, pin, inProcess bool
	root, out, profile, only, env string
	against                       string
	seed                          uint64
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "a short run, whose tails mean little")
	flag.BoolVar(&o.strict, "strict", false, "refuse to measure when the load average is above half a core per core")
	flag.BoolVar(&o.pin, "pin", true, "run gateways on one core, and mock and load on another, where taskset can")
	flag.BoolVar(&o.inProcess, "benchmarks", true, "run the benchmarks in process, too")
	flag.StringVar(&o.root, "root", "../..", "the main module")
	flag.StringVar(&o.against, "against", "", "another checkout of the main module, whose function with full telemetry is one more target; none when empty")
	flag.StringVar(&o.out, "out", "results", "the folder of results")
	flag.StringVar(&o.profile, "profile", "", "a folder for profiles of this gateway; none when empty")
	flag.StringVar(&o.only, "only", "", "only these gateways, by parts of their names and commas; ReverseProxy is always there")
	flag.StringVar(&o.env, "env", "", "further variables of this gateway with full telemetry, by commas, to compare settings")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "the seed of all orders and bootstraps")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := measure(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if err := report.write(o.out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	fmt.Print(report.markdown())
}

// plan is how much is measured.
type plan struct {
	rounds, small, large, streams int
	rates                         []int
	during, limit                 time.Duration
	limitRounds                   int
	rest                          time.Duration
	allocs, benchTimes            int
}

var (
	full  = plan{rounds: 5, small: 400, large: 150, streams: 8, rates: []int{100, 300, 600}, during: 6 * time.Second, limit: 4 * time.Second, limitRounds: 3, rest: 30 * time.Second, allocs: 2000, benchTimes: 5}
	quick = plan{rounds: 3, small: 60, large: 25, streams: 3, rates: []int{300}, during: 1500 * time.Millisecond, limit: 800 * time.Millisecond, limitRounds: 2, rest: 2 * time.Second, allocs: 300, benchTimes: 1}
)

// modelDelay is how long the mock waits where it plays a model, and not nothing.
const modelDelay = 20 * time.Millisecond

// between is the time between the frames of a stream.
const between = 3 * time.Millisecond

func measure(ctx context.Context, o options) (*Report, error) {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat("cmd/mock"); err != nil {
		return nil, errors.New("run it in scripts/bench")
	}
	p := full
	if o.quick {
		p = quick
	}
	r := &Report{At: time.Now(), Quick: o.quick, Machine: Machine{Processor: processor(), Cores: runtime.NumCPU(), Go: runtime.Version(), LoadBefore: load()}}
	if busy := r.Machine.LoadBefore > 0.5*float64(r.Machine.Cores); busy && o.strict {
		return nil, fmt.Errorf("the load average is %.2f on %d cores: what is measured now says little", r.Machine.LoadBefore, r.Machine.Cores)
	} else if busy {
		r.Notes = append(r.Notes, fmt.Sprintf("**The machine was busy** (load average %.2f on %d cores): read ratios, not times.", r.Machine.LoadBefore, r.Machine.Cores))
	}
	if o.quick {
		r.Notes = append(r.Notes, "A quick run: its tails mean little.")
	}
	r.Notes = append(r.Notes, "Every gateway runs alone under load, caches are off, and retries are as each has them by default or off; all programs in Go collect their garbage at GOGC=100, as this gateway does on Cloud Run.",
		"Full telemetry is traces, LLM Observability, metrics and log lines, sent in the background to a stand-in for the agent as on Cloud Run; off is none of it but the log's errors.",
		"This gateway is started as its image starts it, with timers that may be "+slack+" late (infra/timerslack), but for the row that says otherwise; where a row of another says so, that is, too.")

	fmt.Fprintln(os.Stderr, "building")
	if err := build(ctx, root, o.against); err != nil {
		return nil, err
	}
	if o.inProcess {
		r.inProcess(ctx, root, p.benchTimes)
	}
	b := &bed{root: root}
	b.against = o.against
	if o.env != "" {
		b.further = strings.Split(o.env, ",")
		r.Notes = append(r.Notes, "With full telemetry, this gateway had the further variables "+o.env+".")
	}
	r.Machine.Pinned = b.pin(ctx, o.pin)
	defer b.stop()
	if err := b.setUp(ctx, o.only); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(o.seed, 1))
	for _, t := range b.targets {
		row := &Row{Name: t.name, Version: t.version, Absent: t.absent}
		if t.proc != nil {
			row.Idle = t.proc.memory()
		}
		r.Targets = append(r.Targets, row)
	}
	for _, step := range []func() error{
		func() error {
			return r.pairs(ctx, b, p.rounds, p.small, wire.Mode{}, false, random, func(row *Row) **Added { return &row.Small })
		},
		func() error {
			return r.pairs(ctx, b, p.rounds, p.large, wire.Mode{Large: true}, false, random, func(row *Row) **Added { return &row.Large })
		},
		func() error {
			return r.pairs(ctx, b, p.rounds, p.streams, wire.Mode{Between: between}, true, random, func(row *Row) **Added { return &row.Stream })
		},
		func() error { return r.openLoop(ctx, b, p, random) },
		func() error { return r.closedLoop(ctx, b, p, random) },
		func() error { return r.allocations(ctx, b, p, o.profile) },
	} {
		err := step()
		// A signal ends the processes, too: then it is the reason, and not what failed for want of them.
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	r.Machine.LoadAfter = load()
	r.judge()
	return r, nil
}

// pairs measures what the targets add at one connection.
func (r *Report) pairs(ctx context.Context, b *bed, rounds, n int, m wire.Mode, stream bool, random *rand.Rand, field func(*Row) **Added) error {
	fmt.Fprintf(os.Stderr, "pairs at one connection, %+v, streams %v\n", m, stream)
	before, err := b.arrived()
	if err != nil {
		return err
	}
	measured, err := b.interleave(ctx, m, rounds, n, stream, random)
	if err != nil {
		return err
	}
	after, err := b.settled()
	if err != nil {
		return err
	}
	var straight []float64
	for _, row := range r.Targets {
		got := measured[row.Name]
		if got == nil {
			continue
		}
		straight = append(straight, got.direct...)
		row.fail(got.errors, got.first)
		if len(got.added) == 0 {
			continue
		}
		a := &Added{Quantiles: summarize(got.added, random), Direct: median(got.direct), CPU: perThousand(got.cpu, got.requests)}
		if base := measured[proxy]; base != nil && len(base.added) > 0 {
			a.Ratio = ratio(got.added, base.added, random)
		}
		*field(row) = a
	}
	if len(straight) > 0 {
		*field(r.Targets[0]) = &Added{Quantiles: Quantiles{N: len(straight)}, Direct: median(straight)}
	}
	sent := 0.0
	for _, name := range []string{oursOn, oursPrompt, against} {
		if got := measured[name]; got != nil {
			// The warm-up is delivered as well.
			sent += float64(got.requests + rounds*max(3, n/10))
		}
	}
	if sent > 0 && !stream && !m.Large {
		r.Delivered = map[string]float64{}
		for name, count := range after {
			r.Delivered[name] = (count - before[name]) / sent
		}
	}
	return nil
}

// arrived asks the stand-in for the agent what it has got.
func (b *bed) arrived() (map[string]float64, error) {
	c := dial(b.agentAddr)
	defer c.close()
	resp, err := c.do([]byte("GET /counts HTTP/1.1\r\nHost: agent\r\n\r\n"), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	counts := map[string]float64{}
	if err := json.Unmarshal(resp.Body, &counts); err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	return counts, nil
}

// settled is arrived, when nothing more arrives: what is sent in the background is sent every two seconds.
func (b *bed) settled() (map[string]float64, error) {
	last, err := b.arrived()
	for range 5 {
		time.Sleep(2500 * time.Millisecond)
		now, again := b.arrived()
		if again != nil || maps.Equal(now, last) {
			return now, errors.Join(err, again)
		}
		last = now
	}
	return last, err
}

func perThousand(cpu time.Duration, requests int) float64 {
	return float64(cpu.Microseconds()) / float64(max(1, requests))
}

func (row *Row) fail(errors int, first error) {
	row.Errors += errors
	if first != nil && row.First == "" {
		row.First = first.Error()
	}
}

// openLoop measures at fixed rates.
func (r *Report) openLoop(ctx context.Context, b *bed, p plan, random *rand.Rand) error {
	if err := b.mode(wire.Mode{Delay: modelDelay}); err != nil {
		return err
	}
	for _, rate := range p.rates {
		fmt.Fprintf(os.Stderr, "fixed rate of %d/s\n", rate)
		for _, t := range b.shuffled(random) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			b.fixedRate(t, min(rate, 100), 300*time.Millisecond) // warm-up
			got := b.fixedRate(t, rate, p.during)
			row := r.row(t.name)
			row.fail(got.errors, got.first)
			q := summarize(append([]float64{0}[:0], got.took...), random)
			row.Open = append(row.Open, Rate{Wanted: rate, Achieved: float64(len(got.took)) / got.elapsed.Seconds(), P50: q.P50.Value, P99: q.P99.Value, Errors: got.errors})
		}
	}
	return nil
}

// shuffled are all targets that run, and direct, in a new order.
func (b *bed) shuffled(random *rand.Rand) []*target {
	targets := append(b.running(), b.targets[0])
	random.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	return targets
}

// closedLoop measures the limit, and memory.
func (r *Report) closedLoop(ctx context.Context, b *bed, p plan, random *rand.Rand) error {
	if err := r.busy(ctx, b, p, modelDelay, random, func(row *Row) **Limit { return &row.Waiting }); err != nil {
		return err
	}
	if err := r.busy(ctx, b, p, 0, random, func(row *Row) **Limit { return &row.Limit }); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(p.rest):
	}
	for _, t := range b.running() {
		r.row(t.name).After = t.proc.memory()
	}
	return nil
}

// busy measures what 64 connections that never rest get from a target.
func (r *Report) busy(ctx context.Context, b *bed, p plan, delay time.Duration, random *rand.Rand, field func(*Row) **Limit) error {
	const connections = 64
	fmt.Fprintf(os.Stderr, "limit with %d connections, the mock waits %s\n", connections, delay)
	if err := b.mode(wire.Mode{Delay: delay}); err != nil {
		return err
	}
	for range p.limitRounds {
		for _, t := range b.shuffled(random) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			b.limit(t, connections, 300*time.Millisecond) // warm-up
			got := b.limit(t, connections, p.limit)
			row := r.row(t.name)
			row.fail(got.errors, got.first)
			if len(got.took) == 0 {
				continue
			}
			l := *field(row)
			if l == nil {
				l = &Limit{Connections: connections}
				*field(row) = l
			}
			l.Rounds = append(l.Rounds, float64(len(got.took))/got.elapsed.Seconds())
			l.RPS = median(l.Rounds)
			q := summarize(got.took[:min(len(got.took), 20000)], random)
			// Of several rounds the last one's times and cost stand.
			l.P50, l.P99, l.CPU = q.P50.Value, q.P99.Value, perThousand(got.cpu, got.requests)
			row.Loaded = max(row.Loaded, got.memory)
		}
	}
	return nil
}

// allocations counts what a request costs of the heap, for this gateway.
func (r *Report) allocations(ctx context.Context, b *bed, p plan, profiles string) error {
	if profiles != "" {
		if err := os.MkdirAll(profiles, 0o755); err != nil {
			return err
		}
	}
	for name, telemetry := range map[string]bool{oursOff: false, oursOn: true} {
		row := r.row(name)
		if row == nil || row.Absent != "" {
			continue
		}
		fmt.Fprintf(os.Stderr, "allocations of %s\n", name)
		short := "profiled-" + map[bool]string{true: "on", false: "off"}[telemetry]
		got, err := b.inspect(ctx, short, telemetry, p.allocs, profiles)
		if err != nil {
			return fmt.Errorf("inspect %s: %w", name, err)
		}
		row.Allocs = &got
	}
	return nil
}

// inProcess runs the benchmarks of the main module that goals are about. One that fails leaves its goal open.
func (r *Report) inProcess(ctx context.Context, root string, times int) {
	for _, one := range []struct{ pkg, pattern string }{
		{"./shared/telemetry/datadog", "^BenchmarkRecord$"},
		{"./shared/gateway", "^BenchmarkCacheHit$"},
	} {
		fmt.Fprintf(os.Stderr, "benchmarks of %s\n", one.pkg)
		found, err := goBenchmarks(ctx, root, one.pkg, one.pattern, times)
		if err != nil {
			r.Notes = append(r.Notes, "A benchmark did not run: "+strings.Join(strings.Fields(err.Error()), " "))
		}
		r.Benchmarks = append(r.Benchmarks, found...)
	}
}

// pin puts this program on the second core and chooses the first for gateways; it returns what came of it.
func (b *bed) pin(ctx context.Context, wanted bool) string {
	if !wanted {
		return "Nothing was pinned to a core, as was asked"
	}
	if _, err := exec.LookPath("taskset"); err != nil || runtime.NumCPU() < 2 {
		return "Nothing was pinned to a core: that takes taskset and two cores"
	}
	if err := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", "1", strconv.Itoa(os.Getpid())).Run(); err != nil {
		return "Nothing was pinned to a core: taskset failed"
	}
	b.cores = cores{gateway: "0", load: "1"}
	return "Gateways were pinned to core 0; mock, agent and load to core 1"
}

// processor is the name of the machine's processor.
func processor() string {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
