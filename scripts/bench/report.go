package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is the result of a run.
type Report struct {
	At      time.Time `json:"at"`
	Quick   bool      `json:"quick"`
	Machine Machine   `json:"machine"`
	Targets []*Row    `json:"targets"`
	// Benchmarks are those in process.
	Benchmarks []Benchmark `json:"benchmarks"`
	// Delivered is what arrived at the stand-in for the agent, for each request that was sent with telemetry on.
	Delivered map[string]float64 `json:"delivered_per_request,omitempty"`
	Goals     []Goal             `json:"goals"`
	Notes     []string           `json:"notes"`
}

// Machine is where it ran.
type Machine struct {
	Processor  string  `json:"processor"`
	Cores      int     `json:"cores"`
	Go         string  `json:"go"`
	LoadBefore float64 `json:"load_before"`
	LoadAfter  float64 `json:"load_after"`
	Pinned     string  `json:"pinned"`
}

// Row is what was measured of one target. Times are in microseconds.
type Row struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Absent  string `json:"absent,omitempty"`
	// Small and Large are the added times of whole answers, Stream those to the first piece of a stream.
	Small  *Added `json:"small,omitempty"`
	Large  *Added `json:"large,omitempty"`
	Stream *Added `json:"stream,omitempty"`
	// Open are the fixed rates.
	Open []Rate `json:"open,omitempty"`
	// Limit is what it did at most, with a mock that answers at once; Waiting with one that takes as long as a quick model.
	Limit   *Limit `json:"limit,omitempty"`
	Waiting *Limit `json:"limit_with_delay,omitempty"`
	// Idle, Loaded and After are resident sets in bytes.
	Idle   int64        `json:"idle_bytes,omitempty"`
	Loaded int64        `json:"loaded_bytes,omitempty"`
	After  int64        `json:"after_bytes,omitempty"`
	Allocs *Allocations `json:"allocations,omitempty"`
	Errors int          `json:"errors"`
	// First is the first error.
	First string `json:"first_error,omitempty"`
}

// Added is what a target adds to a request.
type Added struct {
	Quantiles
	// Direct is the median of the direct requests beside them, Ratio that of the medians added, to the reverse proxy's.
	Direct float64  `json:"direct_p50"`
	Ratio  Estimate `json:"ratio_to_reverse_proxy"`
	// CPU is the processor time of 1,000 requests in milliseconds.
	CPU float64 `json:"cpu_ms_per_1000"`
}

// Rate is what came of a fixed rate.
type Rate struct {
	Wanted   int     `json:"wanted"`
	Achieved float64 `json:"achieved"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
	Errors   int     `json:"errors"`
}

// Limit is the throughput of connections that are always busy; the median of the rounds.
type Limit struct {
	Connections int       `json:"connections"`
	RPS         float64   `json:"rps"`
	Rounds      []float64 `json:"rounds"`
	P50         float64   `json:"p50"`
	P99         float64   `json:"p99"`
	CPU         float64   `json:"cpu_ms_per_1000"`
}

// Goal is a promise and what came of it.
type Goal struct {
	Name string  `json:"name"`
	Want string  `json:"want"`
	Got  string  `json:"got"`
	At   float64 `json:"value"`
	Pass bool    `json:"pass"`
	// Unknown is why it could not be judged.
	Unknown string `json:"unknown,omitempty"`
}

func (r *Report) row(name string) *Row {
	for _, row := range r.Targets {
		if row.Name == name {
			return row
		}
	}
	return nil
}

// judge holds the report to the goals.
func (r *Report) judge() {
	r.Goals = nil
	goal := func(name, want string, value func() (float64, string, error), pass func(float64) bool) {
		v, got, err := value()
		g := Goal{Name: name, Want: want, Got: got, At: v}
		if err != nil {
			g.Unknown, g.At = err.Error(), 0
		} else {
			g.Pass = pass(v)
		}
		r.Goals = append(r.Goals, g)
	}
	added := func(name string) (*Added, error) {
		if row := r.row(name); row != nil && row.Small != nil {
			return row.Small, nil
		}
		return nil, fmt.Errorf("%s was not measured", name)
	}
	goal("added p50 at one connection, full telemetry, to that of the bare reverse proxy", "≤ 1.25", func() (float64, string, error) {
		a, err := added(oursOn)
		if err != nil {
			return 0, "", err
		}
		return a.Ratio.Value, fmt.Sprintf("%.2f (%.2f to %.2f)", a.Ratio.Value, a.Ratio.Low, a.Ratio.High), nil
	}, func(v float64) bool { return v <= 1.25 })
	goal("added p50 at one connection, full telemetry, to that of Bifrost core", "< 1", func() (float64, string, error) {
		a, err := added(oursOn)
		if err != nil {
			return 0, "", err
		}
		b, err := added(bifrost)
		if err != nil {
			return 0, "", err
		}
		v := a.P50.Value / b.P50.Value
		return v, fmt.Sprintf("%.2f (%.0f µs, %.0f µs)", v, a.P50.Value, b.P50.Value), nil
	}, func(v float64) bool { return v < 1 })
	goal("throughput at 64 connections, full telemetry, to that of the bare reverse proxy", "≥ 0.85", func() (float64, string, error) {
		a, b := r.row(oursOn), r.row(proxy)
		if a == nil || b == nil || a.Limit == nil || b.Limit == nil {
			return 0, "", fmt.Errorf("it was not measured")
		}
		v := a.Limit.RPS / b.Limit.RPS
		return v, fmt.Sprintf("%.2f (%.0f/s, %.0f/s)", v, a.Limit.RPS, b.Limit.RPS), nil
	}, func(v float64) bool { return v >= 0.85 })
	goal("the same, with a model that takes 20 ms", "≥ 0.85", func() (float64, string, error) {
		a, b := r.row(oursOn), r.row(proxy)
		if a == nil || b == nil || a.Waiting == nil || b.Waiting == nil {
			return 0, "", fmt.Errorf("it was not measured")
		}
		v := a.Waiting.RPS / b.Waiting.RPS
		return v, fmt.Sprintf("%.2f (%.0f/s, %.0f/s)", v, a.Waiting.RPS, b.Waiting.RPS), nil
	}, func(v float64) bool { return v >= 0.85 })
	goal("memory at that load", "< 60 MB", func() (float64, string, error) {
		a := r.row(oursOn)
		if a == nil || a.Loaded == 0 {
			return 0, "", fmt.Errorf("it was not measured")
		}
		v := float64(a.Loaded) / 1e6
		return v, fmt.Sprintf("%.1f MB", v), nil
	}, func(v float64) bool { return v < 60 })
	goal("recording an exchange, to the bare SDK spans it makes", "≤ 2", func() (float64, string, error) {
		a, ok1 := find(r.Benchmarks, "Record/exchange")
		b, ok2 := find(r.Benchmarks, "Record/bare_SDK_spans")
		if !ok1 || !ok2 {
			return 0, "", fmt.Errorf("the benchmark did not run")
		}
		v := a.NS / b.NS
		return v, fmt.Sprintf("%.2f (%.1f µs, %.1f µs)", v, a.NS/1000, b.NS/1000), nil
	}, func(v float64) bool { return v <= 2 })
	goal("a hit of the cache", "< 100 µs", func() (float64, string, error) {
		b, ok := find(r.Benchmarks, "CacheHit")
		if !ok {
			return 0, "", fmt.Errorf("the benchmark did not run")
		}
		return b.NS / 1000, fmt.Sprintf("%.1f µs", b.NS/1000), nil
	}, func(v float64) bool { return v < 100 })
}

// markdown renders the report.
func (r *Report) markdown() string {
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("%s, %d cores, %s, %s; load average %.2f before, %.2f after. %s.", r.Machine.Processor, r.Machine.Cores, r.Machine.Go,
		r.At.UTC().Format("2006-01-02 15:04 UTC"), r.Machine.LoadBefore, r.Machine.LoadAfter, r.Machine.Pinned)
	for _, note := range r.Notes {
		line("%s", note)
	}
	line("")
	line("Added to a direct request, one connection, interleaved pairs, answers of 200 bytes, in µs with 95 %% intervals. CPU is the gateway's own.")
	line("")
	table(&s, []string{"target", "p50", "p90", "p99", "to ReverseProxy", "10 KB p50", "10 KB to ReverseProxy", "CPU ms per 1,000"}, r.Targets, func(t *Row) []string {
		if t.Name == direct {
			return []string{"(takes " + microseconds(t.Small.Direct) + ")", "", "", "", "(takes " + microseconds(t.Large.Direct) + ")", "", ""}
		}
		return []string{t.Small.P50.text(0), t.Small.P90.text(0), t.Small.P99.text(0), t.Small.Ratio.text(2), t.Large.P50.text(0), t.Large.Ratio.text(2), number(t.Small.CPU, 0)}
	})
	line("")
	line("Streams of 64 frames, one connection: added time to the first piece, in µs. Frames, text, finish reason, usage and [DONE] are checked.")
	line("")
	table(&s, []string{"target", "p50", "p90", "p99", "CPU ms per 1,000"}, r.Targets, func(t *Row) []string {
		if t.Name == direct {
			return []string{"(takes " + microseconds(t.Stream.Direct) + ")", "", "", ""}
		}
		return []string{t.Stream.P50.text(0), t.Stream.P90.text(0), t.Stream.P99.text(0), number(t.Stream.CPU, 0)}
	})
	line("")
	line("Fixed rates, the mock answers after 20 ms: p50 / p99 in ms from the time at which a request was due, and requests per second reached.")
	line("")
	heads := []string{"target"}
	if first := r.row(direct); first != nil {
		for _, rate := range first.Open {
			heads = append(heads, fmt.Sprintf("%d/s", rate.Wanted))
		}
	}
	table(&s, heads, r.Targets, func(t *Row) []string {
		var cells []string
		for _, rate := range t.Open {
			cell := fmt.Sprintf("%.2f / %.2f, %.0f/s", rate.P50/1000, rate.P99/1000, rate.Achieved)
			if rate.Errors > 0 {
				cell += fmt.Sprintf(", %d errors", rate.Errors)
			}
			cells = append(cells, cell)
		}
		return cells
	})
	line("")
	line("Limit with 64 connections, the mock answers at once; resident memory; heap per request at one connection; and what the same connections get when the mock answers after 20 ms.")
	line("")
	limit := r.row(proxy)
	table(&s, []string{"target", "requests/s", "to ReverseProxy", "p50 ms", "p99 ms", "CPU ms per 1,000", "idle MB", "loaded MB", "after MB", "allocations", "bytes", "requests/s, 20 ms", "to ReverseProxy", "errors in all"}, r.Targets, func(t *Row) []string {
		cells := []string{number(t.Limit.RPS, 0), "", number(t.Limit.P50/1000, 2), number(t.Limit.P99/1000, 2), "", "", "", "", "", "", "", "", fmt.Sprint(t.Errors)}
		if t.Waiting != nil {
			cells[10] = number(t.Waiting.RPS, 0)
			if limit != nil && limit.Waiting != nil && t.Name != direct {
				cells[11] = number(t.Waiting.RPS/limit.Waiting.RPS, 2)
			}
		}
		if t.Name != direct {
			if limit != nil && limit.Limit != nil {
				cells[1] = number(t.Limit.RPS/limit.Limit.RPS, 2)
			}
			cells[4] = number(t.Limit.CPU, 0)
			for i, n := range []int64{t.Idle, t.Loaded, t.After} {
				cells[5+i] = number(float64(n)/1e6, 1)
			}
		}
		if t.Allocs != nil {
			cells[8], cells[9] = number(t.Allocs.Objects, 0), number(t.Allocs.Bytes, 0)
		}
		return cells
	})
	if len(r.Delivered) > 0 {
		line("")
		line("With full telemetry, each request delivered %.2f traces, %.2f LLM Observability spans, %.2f evaluations and %.2f metric lines to the agent, in %.2f requests.",
			r.Delivered["traces"], r.Delivered["llm_spans"], r.Delivered["evaluations"], r.Delivered["metrics"], r.Delivered["requests"])
	}
	for _, t := range r.Targets {
		if t.First != "" {
			line("")
			line("The first error of %s: %s", t.Name, escape(t.First))
		}
	}
	if len(r.Benchmarks) > 0 {
		line("")
		line("| in process | µs | bytes | allocations |")
		line("| --- | ---: | ---: | ---: |")
		for _, b := range r.Benchmarks {
			line("| %s | %.2f | %.0f | %.0f |", escape(b.Name), b.NS/1000, b.Bytes, b.Allocs)
		}
	}
	line("")
	line("| goal | wanted | measured | |")
	line("| --- | --- | --- | --- |")
	for _, g := range r.Goals {
		verdict, got := "missed", g.Got
		switch {
		case g.Unknown != "":
			verdict, got = "not judged", g.Unknown
		case g.Pass:
			verdict = "met"
		}
		line("| %s | %s | %s | %s |", escape(g.Name), g.Want, escape(got), verdict)
	}
	return s.String()
}

// table writes a table with a line for each target. One that is absent has its reason in place of values, one of which a
// part was not measured has none.
func table(s *strings.Builder, heads []string, rows []*Row, cells func(*Row) []string) {
	fmt.Fprintf(s, "| %s |\n|%s\n", strings.Join(heads, " | "), " --- |"+strings.Repeat(" ---: |", len(heads)-1))
	for _, row := range rows {
		name := row.Name
		if row.Version != "" {
			name += " (" + row.Version + ")"
		}
		var values []string
		switch {
		case row.Absent != "":
			values = []string{"not run: " + row.Absent}
		case row.Small == nil || row.Large == nil || row.Stream == nil || row.Limit == nil:
			values = []string{"not measured"}
		default:
			values = cells(row)
		}
		for len(values) < len(heads)-1 {
			values = append(values, "")
		}
		for i := range values {
			values[i] = escape(values[i])
		}
		fmt.Fprintf(s, "| %s | %s |\n", escape(name), strings.Join(values, " | "))
	}
}

// escape keeps a text in its cell.
func escape(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "\r", " ").Replace(s)
}

func (e Estimate) text(digits int) string {
	if math.IsNaN(e.Value) {
		return "–"
	}
	return fmt.Sprintf("%s (%s to %s)", number(e.Value, digits), number(e.Low, digits), number(e.High, digits))
}

// number writes a number with separators of thousands.
func number(v float64, digits int) string {
	if math.IsNaN(v) {
		return "–"
	}
	whole, fraction, _ := strings.Cut(fmt.Sprintf("%.*f", digits, math.Abs(v)), ".")
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if v < 0 && strings.Trim(whole, "0.,") != "" {
		whole = "-" + whole
	}
	return whole
}

func microseconds(v float64) string { return number(v, 0) + " µs" }

// write puts the report into a folder, as JSON and as Markdown.
func (r *Report) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	name := filepath.Join(folder, r.At.UTC().Format("20060102-150405"))
	if err := os.WriteFile(name+".json", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(name+".md", []byte(r.markdown()), 0o644)
}

// jsonVersion reads the version of a package.json; "of an unknown version" where there is none.
func jsonVersion(path string) string {
	var doc struct {
		Version string `json:"version"`
	}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &doc) != nil || doc.Version == "" {
		return "of an unknown version"
	}
	return doc.Version
}
