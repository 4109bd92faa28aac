package dogstatsd_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/dogstatsd"
)

// datagrams keeps what is written, one string for each datagram.
type datagrams []string

func (d *datagrams) Write(p []byte) (int, error) {
	*d = append(*d, string(p))
	return len(p), nil
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("connection refused") }

func newClient(t testing.TB, o dogstatsd.Options) *dogstatsd.Client {
	t.Helper()
	c, err := dogstatsd.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Points of one call may share their tags, or have others of the same number.
func TestEachPointHasItsOwnTags(t *testing.T) {
	var got datagrams
	c := newClient(t, dogstatsd.Options{Writer: &got, Tags: []string{"env:test"}})
	shared := []string{"a:1", "b:2"}
	c.Emit([]telemetry.Point{{Metric: "m1", Value: 1}, {Metric: "m2", Value: 1, Tags: shared}, {Metric: "m3", Value: 1, Tags: shared}, {Metric: "m4", Value: 1, Tags: shared[:1]},
		{Metric: "m5", Value: 1, Tags: []string{"c:3"}}, {Metric: "m6", Value: 1, Tags: []string{}}, {Metric: "m7", Value: 1, Tags: shared}})
	shared[0] = "a:9"
	c.Emit([]telemetry.Point{{Metric: "m8", Value: 1, Tags: shared}})
	c.Flush()
	want := "m1:1|d|#env:test\nm2:1|d|#env:test,a:1,b:2\nm3:1|d|#env:test,a:1,b:2\nm4:1|d|#env:test,a:1\nm5:1|d|#env:test,c:3\nm6:1|d|#env:test\n" +
		"m7:1|d|#env:test,a:1,b:2\nm8:1|d|#env:test,a:9,b:2"
	if diff := cmp.Diff(datagrams{want}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEmit(t *testing.T) {
	tests := map[string]struct {
		global []string
		point  telemetry.Point
		want   string
	}{
		"a point without tags":                   {nil, telemetry.Point{Metric: "llm.x", Value: 1}, "llm.x:1|d"},
		"own tags follow the global ones":        {[]string{"env:test"}, telemetry.Point{Metric: "llm.x", Value: 0.25, Tags: []string{"a:b", "c:d"}}, "llm.x:0.25|d|#env:test,a:b,c:d"},
		"only global tags":                       {[]string{"env:test", "service:s"}, telemetry.Point{Metric: "llm.x", Value: -3}, "llm.x:-3|d|#env:test,service:s"},
		"characters of the protocol are removed": {nil, telemetry.Point{Metric: "llm.x", Value: 1, Tags: []string{"a:b,c|d#e\nf"}}, "llm.x:1|d|#a:b_c_d_e_f"},
		"long tags are cut between characters":   {nil, telemetry.Point{Metric: "llm.x", Value: 1, Tags: []string{strings.Repeat("x", 199) + "é"}}, "llm.x:1|d|#" + strings.Repeat("x", 199)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got datagrams
			c := newClient(t, dogstatsd.Options{Writer: &got, Tags: tt.global})
			c.Emit([]telemetry.Point{tt.point})
			c.Flush()
			if diff := cmp.Diff(datagrams{tt.want}, got); diff != "" {
				t.Errorf("datagrams (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDatagramsAreFilledButNotOverfilled(t *testing.T) {
	var got datagrams
	c := newClient(t, dogstatsd.Options{Writer: &got, MaxBytes: 100})
	var points []telemetry.Point
	for i := range 40 {
		points = append(points, telemetry.Point{Metric: "llm.request.count", Value: float64(i)})
	}
	c.Emit(points)
	c.Flush()
	c.Flush()
	lines := 0
	for _, d := range got {
		if len(d) > 100 || strings.HasSuffix(d, "\n") {
			t.Errorf("datagram %q has %d bytes", d, len(d))
		}
		lines += strings.Count(d, "\n") + 1
	}
	if lines != 40 || len(got) > 11 {
		t.Errorf("got %d lines in %d datagrams, want 40 in at most 11", lines, len(got))
	}
}

func TestEvent(t *testing.T) {
	var got datagrams
	c := newClient(t, dogstatsd.Options{Writer: &got, Tags: []string{"env:test"}})
	c.Event(telemetry.Event{Title: "Modèle", Text: "one\ntwo", Type: "warning", Tags: []string{"action:limit"}, AggregationKey: "o|1"})
	c.Flush()
	want := datagrams{`_e{7,8}:Modèle|one\ntwo|k:o_1|t:warning|#env:test,action:limit`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("datagrams (-want +got):\n%s", diff)
	}
}

func TestLossIsCountedOnce(t *testing.T) {
	c := newClient(t, dogstatsd.Options{Writer: brokenWriter{}})
	c.Emit([]telemetry.Point{{Metric: "llm.a", Value: 1}, {Metric: "llm.b", Value: 1}, {Metric: "bad:name", Value: 1}, {Metric: "llm.c", Value: math.NaN()}})
	c.Flush()
	if got := c.TakeDropped(); got != 4 {
		t.Errorf("TakeDropped() = %d, want 4", got)
	}
	if got := c.TakeDropped(); got != 0 {
		t.Errorf("second TakeDropped() = %d, want 0", got)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]dogstatsd.Options{
		"no writer":       {},
		"a negative size": {Writer: io.Discard, MaxBytes: -1},
	} {
		if _, err := dogstatsd.New(o); err == nil {
			t.Errorf("New with %s did not fail", name)
		}
	}
}

// decode reads one line as the strictest receiver would.
func decode(line string) (telemetry.Point, error) {
	name, rest, ok := strings.Cut(line, ":")
	if !ok || name == "" {
		return telemetry.Point{}, fmt.Errorf("no name in %q", line)
	}
	parts := strings.Split(rest, "|")
	if len(parts) < 2 || len(parts) > 3 || parts[1] != "d" {
		return telemetry.Point{}, fmt.Errorf("bad parts in %q", line)
	}
	value, err := strconv.ParseFloat(parts[0], 64)
	if err != nil {
		return telemetry.Point{}, fmt.Errorf("value of %q: %w", line, err)
	}
	p := telemetry.Point{Metric: name, Value: value}
	if len(parts) == 3 {
		tags, ok := strings.CutPrefix(parts[2], "#")
		if !ok {
			return p, fmt.Errorf("tags of %q", line)
		}
		p.Tags = strings.Split(tags, ",")
	}
	return p, nil
}

func FuzzEmit(f *testing.F) {
	f.Add("llm.request.cost", 0.5, "model:m", "caller:a,b|c\n")
	f.Add("a:b", -1e300, "", "é")
	f.Fuzz(func(t *testing.T, metric string, value float64, one, two string) {
		var got datagrams
		c := newClient(t, dogstatsd.Options{Writer: &got, Tags: []string{"env:test"}})
		c.Emit([]telemetry.Point{{Metric: metric, Value: value, Tags: []string{one, two}}})
		c.Flush()
		if c.TakeDropped() == 1 {
			if len(got) != 0 {
				t.Fatalf("dropped and yet sent: %q", got)
			}
			return
		}
		if len(got) != 1 {
			t.Fatalf("got %d datagrams, want 1", len(got))
		}
		p, err := decode(got[0])
		if err != nil {
			t.Fatal(err)
		}
		if p.Metric != metric || len(p.Tags) != 3 || p.Value != value {
			t.Errorf("%q reads as %+v", got[0], p)
		}
		for i, tag := range []string{one, two} {
			if len(p.Tags[i+1]) > 200 || utf8.ValidString(tag) && !utf8.ValidString(p.Tags[i+1]) {
				t.Errorf("tag %q became %q", tag, p.Tags[i+1])
			}
		}
	})
}

func BenchmarkEmit15(b *testing.B) {
	c := newClient(b, dogstatsd.Options{Writer: io.Discard, Tags: []string{"env:test", "service:s", "version:1"}})
	tags := []string{"function:qa", "endpoint:/qa", "model:standard-1", "provider:google", "request_type:qa", "outcome:success", "cache:off", "tier:standard", "caller:web"}
	points := make([]telemetry.Point, 15)
	for i := range points {
		points[i] = telemetry.Point{Metric: "llm.request.duration", Value: 123.456, Tags: tags}
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Emit(points)
		c.Flush()
	}
}

// shared keeps what is written by a timer, too.
type shared struct {
	mu  sync.Mutex
	got datagrams
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

func (s *shared) written() datagrams {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func TestWithADelayLinesAreWrittenByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out shared
		c, err := dogstatsd.New(dogstatsd.Options{Writer: &out, MaxBytes: 20, Delay: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		point := func(name string) { c.Emit([]telemetry.Point{{Metric: name, Value: 1}}) }
		point("a")
		time.Sleep(999 * time.Millisecond)
		point("b")
		if got := out.written(); len(got) != 0 {
			t.Errorf("before its time: %q", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		point("c")
		c.Flush()
		time.Sleep(2 * time.Second)
		for _, name := range []string{"d", "e", "f", "g", "h"} { // more than one datagram takes
			point(name)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want := datagrams{"a:1|d\nb:1|d", "c:1|d", "d:1|d\ne:1|d\nf:1|d", "g:1|d\nh:1|d"}
		if diff := cmp.Diff(want, out.written()); diff != "" {
			t.Errorf("datagrams (-want +got):\n%s", diff)
		}
	})
}
