package metric_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

func newStore(t testing.TB, o metric.Options) *metric.Store {
	t.Helper()
	s, err := metric.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(t testing.TB, text string) metric.Query {
	t.Helper()
	q, err := metric.Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return q
}

func TestSeries(t *testing.T) {
	s := newStore(t, metric.Options{})
	add := func(name string, minute int, value float64, tags ...string) {
		s.Add(name, tags, value, start.Add(time.Duration(minute)*time.Minute))
	}
	add("count", 0, 4, "function:qa", "env:prod")
	add("count", 0, 6, "function:qa", "env:test")
	add("count", 2, 10, "function:qa", "env:prod")
	add("count", 0, 8, "function:chat", "env:prod")
	add("error", 0, 1, "Function:QA", "env:prod")
	missing := math.NaN()

	tests := map[string]struct {
		query string
		want  map[string][]float64
	}{
		"a missing minute is missing":              {"sum:count{*}", map[string][]float64{"*": {18, missing, 10}}},
		"default_zero fills it":                    {"default_zero(sum:count{*})", map[string][]float64{"*": {18, 0, 10}}},
		"groups are separate":                      {"sum:count{*} by {function}", map[string][]float64{"function:qa": {10, missing, 10}, "function:chat": {8, missing, missing}}},
		"a filter selects":                         {"sum:count{env:test}", map[string][]float64{"*": {6, missing, missing}}},
		"a negated filter excludes":                {"sum:count{!env:test,function:qa}", map[string][]float64{"*": {4, missing, 10}}},
		"OR joins":                                 {"sum:count{env:test OR function:chat}", map[string][]float64{"*": {14, missing, missing}}},
		"IN lists":                                 {"sum:count{function IN (chat,none)}", map[string][]float64{"*": {8, missing, missing}}},
		"a wildcard matches":                       {"sum:count{function:c*t}", map[string][]float64{"*": {8, missing, missing}}},
		"avg weighs by point":                      {"avg:count{*}", map[string][]float64{"*": {6, missing, 10}}},
		"min":                                      {"min:count{*}", map[string][]float64{"*": {4, missing, 10}}},
		"max":                                      {"max:count{*}", map[string][]float64{"*": {8, missing, 10}}},
		"count counts points":                      {"count:count{*}", map[string][]float64{"*": {3, missing, 1}}},
		"a ratio takes absent errors as zero":      {"default_zero(sum:error{*} by {function}.as_count()) / sum:count{*} by {function}.as_count() * 100", map[string][]float64{"function:qa": {10, missing, 0}, "function:chat": {0, missing, missing}}},
		"arithmetic binds as usual":                {"1 + 2 * sum:count{*} - (1 - 3)", map[string][]float64{"*": {39, missing, 23}}},
		"a division by zero is missing":            {"sum:count{*} / default_zero(sum:nothing{*})", map[string][]float64{"*": {missing, missing, missing}}},
		"no data is no series":                     {"sum:nothing{*}", map[string][]float64{}},
		"default_zero of no data is zero":          {"default_zero(sum:nothing{*})", map[string][]float64{"*": {0, 0, 0}}},
		"a rollup of two minutes lands on its own": {"sum:count{*}.rollup(sum, 120)", map[string][]float64{"*": {18, missing, 10}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := map[string][]float64{}
			for _, sr := range s.Series(parse(t, test.query), start, start.Add(3*time.Minute), time.Minute) {
				got[sr.Group] = sr.Values
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateNaNs(), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Errorf("Series (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhereDataBeginsAndEnds(t *testing.T) {
	s := newStore(t, metric.Options{})
	add := func(name string, second int, tags ...string) {
		s.Add(name, tags, 1, start.Add(time.Duration(second)*time.Second))
	}
	add("early", 65, "function:qa")
	add("early", 105, "function:chat")
	add("late", 95, "function:qa")
	add("late", 290, "function:qa")
	add("later", 295, "function:qa")

	type span struct{ From, To float64 } // seconds after the start
	tests := map[string]struct {
		query string
		want  map[string]span
	}{
		"to the bucket, not to the interval": {"sum:late{*}", map[string]span{"*": {90, 300}}},
		"over all series of a group":         {"sum:early{*}", map[string]span{"*": {60, 110}}},
		"of each group":                      {"sum:early{*} by {function}", map[string]span{"function:qa": {60, 70}, "function:chat": {100, 110}}},
		"where both sides have data":         {"sum:early{*} + sum:late{*}", map[string]span{"*": {90, 110}}},
		"of all when the sides are apart":    {"sum:later{*} / sum:early{*}", map[string]span{"*": {60, 300}}},
		"a constant has no say":              {"sum:early{*} * 100", map[string]span{"*": {60, 110}}},
		"a filled side has no say":           {"default_zero(sum:none{*}) / sum:early{*}", map[string]span{"*": {60, 110}}},
		"what is filled is data":             {"default_zero(sum:early{*})", map[string]span{"*": {0, 300}}},
		"what is filled from none is data":   {"default_zero(sum:none{*})", map[string]span{"*": {0, 300}}},
		"a rollup changes nothing":           {"sum:early{*}.rollup(sum, 120)", map[string]span{"*": {60, 110}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := map[string]span{}
			for _, sr := range s.Series(parse(t, test.query), start, start.Add(5*time.Minute), time.Minute) {
				got[sr.Group] = span{sr.First.Sub(start).Seconds(), sr.Last.Sub(start).Seconds()}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("First and Last (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPercentileStaysWithinItsAccuracy(t *testing.T) {
	s := newStore(t, metric.Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([]float64, 5000)
	for i := range values {
		values[i] = math.Exp(rng.NormFloat64())
		s.Add("d", []string{fmt.Sprint("model:", i%3)}, values[i], start.Add(time.Duration(i%60)*time.Second))
	}
	slices.Sort(values)
	for text, q := range map[string]float64{"p50": .5, "p75": .75, "p90": .9, "p95": .95, "p99": .99} {
		got := s.Series(parse(t, text+":d{*}"), start, start.Add(time.Minute), time.Minute)[0].Values[0]
		want := values[int(q*float64(len(values)-1))]
		if math.Abs(got-want)/want > 1.0/64 {
			t.Errorf("%s = %v, want %v within 1/64", text, got, want)
		}
	}
}

// Buckets keep few values as they are and many in a sketch; a percentile must not show which.
func TestPercentilesOfFewAndManyValues(t *testing.T) {
	tests := map[string]struct {
		perBucket []int // how many values the buckets of the minute get
		fine      time.Duration
		tolerance float64
	}{
		"few are exact":                        {[]int{3, 0, 5, 1}, 0, 0},
		"many":                                 {[]int{100, 200}, 0, 1.0 / 64},
		"few, then many":                       {[]int{3, 100, 2}, 0, 1.0 / 64},
		"many, then few":                       {[]int{100, 3}, 0, 1.0 / 64},
		"few that are rolled up":               {[]int{3, 0, 5, 1}, time.Minute, 0},
		"few that are many when rolled up":     {[]int{9, 9, 9}, time.Minute, 1.0 / 64},
		"few and many that are rolled up":      {[]int{3, 100, 2}, time.Minute, 1.0 / 64},
		"as many as are kept, and one of them": {[]int{16, 17}, 0, 1.0 / 64},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, metric.Options{Fine: test.fine})
			rng := rand.New(rand.NewPCG(5, 6))
			var values []float64
			for i, n := range test.perBucket {
				for range n {
					v := math.Exp(rng.NormFloat64())
					values = append(values, v)
					s.Add("d", nil, v, start.Add(time.Duration(i)*10*time.Second))
				}
			}
			// Much later, so that a short Fine rolls the minute up.
			s.Add("d", nil, 1, start.Add(2*time.Hour))
			slices.Sort(values)
			for text, q := range map[string]float64{"p50": .5, "p90": .9, "p99": .99} {
				got := s.Series(parse(t, text+":d{*}"), start, start.Add(time.Minute), time.Minute)[0].Values[0]
				want := values[int(q*float64(len(values)-1))]
				if math.Abs(got-want)/want > test.tolerance {
					t.Errorf("%s = %v, want %v within %v", text, got, want, test.tolerance)
				}
			}
		})
	}
}

func TestAQueryDoesNotChangeWhatIsStored(t *testing.T) {
	s := newStore(t, metric.Options{})
	for i := range 6 {
		s.Add("d", nil, float64(i), start.Add(time.Duration(i)*10*time.Second))
	}
	q := parse(t, "p50:d{*}")
	first := s.Series(q, start, start.Add(time.Minute), time.Minute)
	second := s.Series(q, start, start.Add(time.Minute), time.Minute)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the second answer differs (-first +second):\n%s", diff)
	}
}

func TestOldPointsAreRolledUpAndForgotten(t *testing.T) {
	s := newStore(t, metric.Options{Fine: time.Hour, Retention: 6 * time.Hour})
	for at := time.Duration(0); at < 12*time.Hour; at += 10 * time.Second {
		s.Add("d", nil, 1, start.Add(at))
	}
	st := s.Stats()
	// At most: one hour not yet swept and one fine hour of 360 buckets, six hours of minutes.
	if st.Buckets > 2*360+6*60+10 || st.ForgottenBuckets == 0 {
		t.Errorf("stats = %+v, want fewer than 1100 buckets and some forgotten", st)
	}
	got := s.Series(parse(t, "sum:d{*}"), start.Add(8*time.Hour), start.Add(9*time.Hour), time.Hour)
	if len(got) != 1 || got[0].Values[0] != 360 {
		t.Errorf("an hour after roll-up = %+v, want a sum of 360", got)
	}
	s.Add("d", nil, 1, start)
	if got := s.Stats().DroppedLate; got != 1 {
		t.Errorf("late points dropped = %d, want 1", got)
	}
}

func TestBoundsAreKeptAndCounted(t *testing.T) {
	s := newStore(t, metric.Options{MaxContexts: 2, MaxBuckets: 1000})
	for i := range 3 {
		s.Add("d", []string{fmt.Sprint("id:", i)}, 1, start)
	}
	s.Add("d", []string{"id:0"}, math.NaN(), start)
	s.Add("d", []string{"id:0"}, math.Inf(1), start)
	for i := range 5000 {
		s.Add("d", []string{"id:0"}, 1, start.Add(time.Duration(i)*10*time.Second))
	}
	st := s.Stats()
	if st.DroppedContexts != 1 || st.DroppedInvalid != 2 || st.Buckets > 1000 {
		t.Errorf("stats = %+v, want 1 context and 2 invalid dropped, at most 1000 buckets", st)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct {
		text string
		pos  int
	}{
		"an unknown aggregator":        {"median:a{*}", 0},
		"an unknown function":          {"abs(sum:a{*})", 0},
		"as_rate":                      {"sum:a{*}.as_rate()", 9},
		"a filter that does not end":   {"sum:a{b:c", 9},
		"no metric at all":             {"1 + 2", 5},
		"different groups":             {"sum:a{*} by {x} / sum:b{*} by {y}", 33},
		"a template variable":          {"sum:a{$env}", 6},
		"text after the end":           {"sum:a{*} > 5", 9},
		"as_count of an average":       {"avg:a{*}.as_count()", 18},
		"an average rollup of a sum":   {"sum:a{*}.rollup(avg, 60)", 19},
		"a rollup finer than the data": {"sum:a{*}.rollup(sum, 5)", 22},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := metric.Parse(test.text)
			var syntax *metric.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("Parse(%q) = %v, want a SyntaxError", test.text, err)
			}
			if syntax.Pos != test.pos {
				t.Errorf("position = %d, want %d (%v)", syntax.Pos, test.pos, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("p95:llm.request.duration{service:x,env:y} by {model}.rollup(avg, 60)")
	f.Add("default_zero(sum:e{!a:b AND (c:d* OR NOT e IN (f,g))}.as_count()) / (sum:c{*} - 1.5) * 100")
	f.Add("1-(2-sum:a{*})")
	f.Fuzz(func(t *testing.T, text string) {
		q, err := metric.Parse(text)
		if err != nil {
			return
		}
		again, err := metric.Parse(q.String())
		if err != nil {
			t.Fatalf("%q reads as %q, which is refused: %v", text, q, err)
		}
		if q.String() != again.String() {
			t.Fatalf("%q reads as %q, then as %q", text, q, again)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	s := newStore(b, metric.Options{})
	tags := []string{"service:llm", "env:test", "function:qa", "model:m"}
	i := 0
	for b.Loop() {
		s.Add("llm.request.duration", tags, float64(i%1000), start.Add(time.Duration(i)*100*time.Millisecond))
		i++
	}
}

func BenchmarkPercentileOfAnHour(b *testing.B) {
	s := newStore(b, metric.Options{})
	for i := range 360 {
		for k := range 36 {
			s.Add("d", []string{fmt.Sprint("k:", k%12)}, 300+float64((i*7+k*977)%1500), start.Add(time.Duration(i)*10*time.Second))
		}
	}
	q := parse(b, "p95:d{*}")
	b.ReportAllocs()
	for b.Loop() {
		s.Series(q, start, start.Add(time.Hour), time.Minute)
	}
}
