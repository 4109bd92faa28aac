package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Benchmark is a result of go test -bench.
type Benchmark struct {
	Name   string  `json:"name"`
	NS     float64 `json:"ns_per_op"`
	Bytes  float64 `json:"bytes_per_op"`
	Allocs float64 `json:"allocs_per_op"`
}

// parseBenchmarks reads what go test -bench prints. Of a benchmark that ran several times, the fastest is kept: what else
// the machine does only adds. The number of processors behind the name is taken off.
func parseBenchmarks(output []byte) []Benchmark {
	var out []Benchmark
	at := map[string]int{}
	for line := range bytes.Lines(output) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndex(name, "-"); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i]
			}
		}
		b := Benchmark{Name: name}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				break
			}
			switch fields[i+1] {
			case "ns/op":
				b.NS = value
			case "B/op":
				b.Bytes = value
			case "allocs/op":
				b.Allocs = value
			}
		}
		if b.NS == 0 {
			continue
		}
		i, seen := at[name]
		switch {
		case !seen:
			at[name] = len(out)
			out = append(out, b)
		case b.NS < out[i].NS:
			out[i] = b
		}
	}
	return out
}

// goBenchmarks runs the benchmarks of a package of the main module, with the SDK's reports on itself off, as in deployed functions. What
// is compared takes turns: one after the other, a slow moment of the machine would fall on one of them alone.
func goBenchmarks(ctx context.Context, root, pkg, pattern string, times int) ([]Benchmark, error) {
	binary, err := filepath.Abs(filepath.Join("build", path.Base(pkg)+".test"))
	if err != nil {
		return nil, err
	}
	if err := command(ctx, root, "go", "test", "-c", "-o", binary, pkg); err != nil {
		return nil, err
	}
	var all []byte
	for range times {
		cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", pattern, "-test.benchmem", "-test.benchtime", "0.5s")
		cmd.Dir = filepath.Join(root, pkg)
		cmd.Env = append(os.Environ(), "DD_INSTRUMENTATION_TELEMETRY_ENABLED=false")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("run benchmarks of %s: %w: %s", pkg, err, tail(out, 300))
		}
		all = append(all, out...)
	}
	found := parseBenchmarks(all)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no benchmark %s", pkg, pattern)
	}
	return found, nil
}

func find(benchmarks []Benchmark, name string) (Benchmark, bool) {
	for _, b := range benchmarks {
		if b.Name == name {
			return b, true
		}
	}
	return Benchmark{}, false
}
