package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseBenchmarks(t *testing.T) {
	out := []byte(`goos: linux
BenchmarkRecord/exchange-2         	   10000	     61000 ns/op	   30799 B/op	     307 allocs/op
BenchmarkRecord/exchange-2         	   10000	     60000 ns/op	   30700 B/op	     306 allocs/op
BenchmarkRecord/bare_SDK_spans-2   	   10000	     45000.5 ns/op	    1 B/op	     2 allocs/op
BenchmarkHit 	 1000000	       12.5 ns/op
BenchmarkLog-2
    log_test.go:1: BenchmarkOdd-2 words
BenchmarkBroken-2	x	12 ns/op
PASS
`)
	got := parseBenchmarks(out)
	want := []Benchmark{{"Record/exchange", 60000, 30700, 306}, {"Record/bare_SDK_spans", 45000.5, 1, 2}, {"Hit", 12.5, 0, 0}}
	if len(got) != len(want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}

func TestParsersOfProc(t *testing.T) {
	if got := parseVmRSS([]byte("Name:\tx\nVmPeak:\t  9 kB\nVmRSS:\t    1500 kB\n")); got != 1500<<10 {
		t.Errorf("resident set is %d, want %d", got, 1500<<10)
	}
	if got := parseSchedstat([]byte("123456789 22 33\n")); got != 123456789*time.Nanosecond {
		t.Errorf("time on a processor is %v", got)
	}
	if got := parseLoad([]byte("1.25 0.5 0.1 2/300 4711\n")); got != 1.25 {
		t.Errorf("load is %v, want 1.25", got)
	}
	for _, bad := range []string{"", "\n", "VmRSS:", "VmRSS: x kB", " "} {
		if parseVmRSS([]byte(bad)) != 0 || parseSchedstat([]byte(bad)) != 0 || parseLoad([]byte(bad)) != 0 {
			t.Errorf("%q is read as a number", bad)
		}
	}
}

func TestNumber(t *testing.T) {
	for want, got := range map[string]string{
		"0": number(0, 0), "999": number(999.4, 0), "1,000": number(999.6, 0), "1,234,567.9": number(1234567.89, 1), "-1,500": number(-1500, 0), "0.0": number(-0.01, 1),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func added(p50, ratio float64) *Added {
	return &Added{Quantiles: Quantiles{N: 3, P50: Estimate{p50, p50 - 1, p50 + 1}}, Direct: 50, Ratio: Estimate{ratio, ratio, ratio}}
}

func report() *Report {
	row := func(name string, p50, ratio, rps float64, loaded int64) *Row {
		return &Row{
			Name: name, Small: added(p50, ratio), Large: added(p50, ratio), Stream: added(p50, ratio), Loaded: loaded,
			Limit: &Limit{Connections: 64, RPS: rps}, Waiting: &Limit{Connections: 64, RPS: rps}, Open: []Rate{{Wanted: 100, Achieved: 99, P50: 21000, P99: 23000}},
		}
	}
	return &Report{
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Targets: []*Row{
			row(direct, 0, 0, 40000, 0), row(proxy, 200, 1, 10000, 20e6), row(oursOn, 240, 1.2, 9000, 50e6), row(bifrost, 300, 1.5, 7000, 60e6),
			{Name: portkey, Absent: "npm is | not\nhere"}, {Name: litellm, First: "status 500"},
		},
		Benchmarks: []Benchmark{{Name: "Record/exchange", NS: 90000}, {Name: "Record/bare_SDK_spans", NS: 50000}, {Name: "CacheHit", NS: 20000}},
	}
}

func TestGoals(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Report)
		// fails is a part of the names of the goals that are missed, unknown of those that can't be judged.
		fails, unknown string
	}{
		"all are met":                 {func(*Report) {}, "", ""},
		"slower than the proxy":       {func(r *Report) { r.row(oursOn).Small.Ratio.Value = 1.26 }, "reverse proxy", ""},
		"slower than Bifrost":         {func(r *Report) { r.row(oursOn).Small.P50.Value = 301 }, "Bifrost", ""},
		"less throughput":             {func(r *Report) { r.row(oursOn).Limit.RPS = 8400 }, "throughput", ""},
		"less with a model's delay":   {func(r *Report) { r.row(oursOn).Waiting.RPS = 8400 }, "20 ms", ""},
		"more memory":                 {func(r *Report) { r.row(oursOn).Loaded = 60e6 }, "memory", ""},
		"a record that costs more":    {func(r *Report) { r.Benchmarks[0].NS = 100001 }, "recording", ""},
		"a slow hit":                  {func(r *Report) { r.Benchmarks[2].NS = 100000 }, "hit", ""},
		"no benchmark":                {func(r *Report) { r.Benchmarks = nil }, "", "hit"},
		"Bifrost could not be had":    {func(r *Report) { *r.row(bifrost) = Row{Name: bifrost, Absent: "x"} }, "", "Bifrost"},
		"this gateway does not start": {func(r *Report) { *r.row(oursOn) = Row{Name: oursOn, Absent: "x"} }, "", "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			r := report()
			tt.change(r)
			r.judge()
			if len(r.Goals) != 7 {
				t.Errorf("%d goals, want 7", len(r.Goals))
			}
			failed, unknown := "", ""
			for _, g := range r.Goals {
				switch {
				case g.Unknown != "":
					unknown += g.Name + "; "
				case !g.Pass:
					failed += g.Name + "; "
				}
			}
			if (tt.fails == "") != (failed == "") || !strings.Contains(failed, tt.fails) {
				t.Errorf("missed: %q, want one of %q", failed, tt.fails)
			}
			if (tt.unknown == "") != (unknown == "") || !strings.Contains(unknown, tt.unknown) {
				t.Errorf("not judged: %q, want one of %q", unknown, tt.unknown)
			}
		})
	}
}

func TestMarkdown(t *testing.T) {
	r := report()
	r.judge()
	text := r.markdown()
	for _, want := range []string{
		"| ReverseProxy | 200 (199 to 201) |", "| Portkey | not run: npm is \\| not here |", "| LiteLLM proxy | not measured |",
		"The first error of LiteLLM proxy: status 500", "21.00 / 23.00, 99/s", "| met |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	// Within a table, all lines have as many cells.
	columns := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(line, "|") - strings.Count(line, "\\|")
		if columns != 0 && n != columns {
			t.Errorf("the line %q has %d cells, want %d", line, n-1, columns-1)
		}
		columns = n
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	r := report()
	r.judge()
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "20260102-030405.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.row(oursOn).Small.P50.Value != 240 || back.row(portkey).Absent == "" || len(back.Goals) != 7 {
		t.Errorf("the JSON lost something: %s", data)
	}
}

func TestChosen(t *testing.T) {
	for name, tt := range map[string]struct {
		target, only string
		want         bool
	}{
		"all":                     {portkey, "", true},
		"by a part, in any case":  {portkey, "port", true},
		"one of several":          {bifrost, "portkey, BIFROST", true},
		"not named":               {litellm, "portkey,bifrost", false},
		"a comma alone is no one": {litellm, ",", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := chosen(tt.target, tt.only); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
