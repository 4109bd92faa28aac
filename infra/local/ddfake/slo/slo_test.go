package slo_test

import (
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/slo"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

const (
	thresholds = `"thresholds":[{"timeframe":"30d","target":99},{"timeframe":"7d","target":95}]`
	latency    = `{"type":"time_slice","name":"p95","sli_specification":{"time_slice":{"comparator":"<","threshold":2000,"query_interval_seconds":60,
		"query":{"formulas":[{"formula":"query1"}],"queries":[{"data_source":"metrics","name":"query1","query":"p95:duration{*}"}]}}},` + thresholds + `}`
	ratio = `{"type":"metric","name":"availability","query":{
		"numerator":"sum:count{outcome:success}.as_count()","denominator":"sum:count{*}.as_count()"},` + thresholds + `}`
	goodAndBad = `{"type":"metric","name":"availability","sli_specification":{"count":{
		"good_events_formula":{"formula":"good"},"bad_events_formula":{"formula":"bad"},"queries":[
		{"data_source":"metrics","name":"good","query":"sum:count{outcome:success}.as_count()"},
		{"data_source":"metrics","name":"bad","query":"sum:count{outcome:error}.as_count()"}]}},` + thresholds + `}`
	goodOfTotal = `{"type":"metric","name":"availability","sli_specification":{"count":{
		"good_events_formula":{"formula":"all - bad"},"total_events_formula":{"formula":"all"},"queries":[
		{"data_source":"metrics","name":"all","query":"sum:count{*}.as_count()"},
		{"data_source":"metrics","name":"bad","query":"default_zero(sum:count{outcome:error}.as_count())"}]}},` + thresholds + `}`
)

func parse(t testing.TB, text string) *slo.SLO {
	t.Helper()
	s, err := slo.Parse("s", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newStore(t testing.TB) *metric.Store {
	t.Helper()
	s, err := metric.New(metric.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// requests adds one point each 10 s, for the minutes from..to after the start.
func requests(s *metric.Store, from, to int, duration float64, outcome string) {
	for at := from * 60; at < to*60; at += 10 {
		when := start.Add(time.Duration(at) * time.Second)
		s.Add("duration", []string{"outcome:" + outcome}, duration, when)
		s.Add("count", []string{"outcome:" + outcome}, 1, when)
	}
}

func TestStatus(t *testing.T) {
	tests := map[string]struct {
		slo  string
		feed func(s *metric.Store)
		want slo.Status // of the first hundred minutes
	}{
		"no data at all is uptime": {latency, func(*metric.Store) {}, slo.Status{Good: 100, Total: 100, SLI: 100, BudgetRemaining: 100}},
		"all slices are good": {latency, func(s *metric.Store) { requests(s, 0, 100, 500, "success") },
			slo.Status{Good: 100, Total: 100, SLI: 100, BudgetRemaining: 100}},
		"one bad minute of a hundred spends the budget of 99 %": {latency, func(s *metric.Store) {
			requests(s, 0, 99, 500, "success")
			requests(s, 99, 100, 3000, "success")
		}, slo.Status{Good: 99, Total: 100, SLI: 99, BudgetRemaining: 0}},
		"missing minutes count as good ones": {latency, func(s *metric.Store) { requests(s, 0, 2, 3000, "success") },
			slo.Status{Good: 98, Total: 100, SLI: 98, BudgetRemaining: -100}},
		"the threshold itself is not below it": {strings.Replace(latency, `"threshold":2000`, `"threshold":0`, 1),
			func(s *metric.Store) { requests(s, 0, 1, 0, "success") }, slo.Status{Good: 99, Total: 100, SLI: 99, BudgetRemaining: 0}},
		"a slice of five minutes is judged as one": {strings.Replace(latency, `"query_interval_seconds":60`, `"query_interval_seconds":300`, 1),
			func(s *metric.Store) { requests(s, 7, 8, 3000, "success") }, slo.Status{Good: 19, Total: 20, SLI: 95, BudgetRemaining: -400}},
		"a slice of five minutes is the default": {strings.Replace(latency, `"query_interval_seconds":60,`, ``, 1),
			func(s *metric.Store) { requests(s, 7, 8, 3000, "success") }, slo.Status{Good: 19, Total: 20, SLI: 95, BudgetRemaining: -400}},
		"no events are no downtime": {ratio, func(*metric.Store) {}, slo.Status{SLI: 100, BudgetRemaining: 100}},
		"good events of all": {ratio, func(s *metric.Store) {
			requests(s, 0, 50, 500, "success")
			requests(s, 0, 2, 500, "error")
		}, slo.Status{Good: 300, Total: 312, SLI: 100 * 300.0 / 312, BudgetRemaining: 100 * (1 - 12.0/312/0.01)}},
		"events before and after the window do not count": {ratio, func(s *metric.Store) {
			requests(s, -5, 1, 500, "success")
			requests(s, 99, 105, 500, "success")
		}, slo.Status{Good: 12, Total: 12, SLI: 100, BudgetRemaining: 100}},
		"good and bad events": {goodAndBad, func(s *metric.Store) {
			requests(s, 0, 99, 500, "success")
			requests(s, 99, 100, 500, "error")
		}, slo.Status{Good: 594, Total: 600, SLI: 99, BudgetRemaining: 0}},
		"only bad events": {goodAndBad, func(s *metric.Store) { requests(s, 0, 1, 500, "error") },
			slo.Status{Total: 6, BudgetRemaining: -9900}},
		"more good events than events are all of them": {strings.Replace(ratio, "sum:count{*}", "sum:count{outcome:error}", 1), func(s *metric.Store) {
			requests(s, 0, 2, 500, "success")
			requests(s, 0, 1, 500, "error")
		}, slo.Status{Good: 6, Total: 6, SLI: 100, BudgetRemaining: 100}},
		"a formula of two queries": {goodOfTotal, func(s *metric.Store) {
			requests(s, 0, 99, 500, "success")
			requests(s, 99, 100, 500, "error")
		}, slo.Status{Good: 594, Total: 600, SLI: 99, BudgetRemaining: 0}},
		"a formula of two queries, of which one has no data": {goodOfTotal, func(s *metric.Store) { requests(s, 0, 1, 500, "success") },
			slo.Status{Good: 6, Total: 6, SLI: 100, BudgetRemaining: 100}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := newStore(t)
			test.feed(data)
			got := parse(t, test.slo).Status(data, start, start.Add(100*time.Minute))
			if diff := cmp.Diff(test.want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Errorf("Status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheWindowEndsAtTheLastWholeSlice(t *testing.T) {
	data := newStore(t)
	requests(data, 0, 10, 500, "success")
	requests(data, 10, 11, 3000, "success")
	s := parse(t, latency)
	for name, test := range map[string]struct {
		to   time.Duration
		good float64
	}{
		"a slice that is not over is not judged": {10*time.Minute + 59*time.Second, 10},
		"when it is over, it is":                 {11 * time.Minute, 10},
	} {
		got := s.Status(data, start, start.Add(test.to))
		if want := math.Floor(test.to.Minutes()); got.Good != test.good || got.Total != want {
			t.Errorf("%s: %v of %v good, want %v of %v", name, got.Good, got.Total, test.good, want)
		}
	}
}

func TestBurnRate(t *testing.T) {
	tests := map[string]struct {
		slo, timeframe string
		feed           func(s *metric.Store)
		long, short    float64 // of one hour and of five minutes
	}{
		"no data burns nothing": {latency, "30d", func(*metric.Store) {}, 0, 0},
		"all bad burns at the highest rate": {latency, "30d", func(s *metric.Store) { requests(s, 0, 60, 3000, "success") },
			100, 100},
		"the target of the timeframe counts": {latency, "7d", func(s *metric.Store) { requests(s, 0, 60, 3000, "success") },
			20, 20},
		"a timeframe without a target burns nothing": {latency, "90d", func(s *metric.Store) { requests(s, 0, 60, 3000, "success") },
			0, 0},
		"twelve bad minutes that are over": {latency, "30d", func(s *metric.Store) {
			requests(s, 0, 12, 3000, "success")
			requests(s, 12, 60, 500, "success")
		}, 20, 0},
		"three bad minutes that just began": {latency, "30d", func(s *metric.Store) {
			requests(s, 0, 57, 500, "success")
			requests(s, 57, 60, 3000, "success")
		}, 5, 60},
		"events": {ratio, "30d", func(s *metric.Store) {
			requests(s, 0, 60, 500, "success")
			requests(s, 55, 60, 500, "error")
		}, 100 * 30.0 / 390, 50},
		"no events": {ratio, "30d", func(*metric.Store) {}, 0, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := newStore(t)
			test.feed(data)
			long, short := parse(t, test.slo).BurnRate(data, test.timeframe, time.Hour, 5*time.Minute, start.Add(time.Hour))
			if math.Abs(long-test.long) > 1e-9 || math.Abs(short-test.short) > 1e-9 {
				t.Errorf("BurnRate = %v, %v, want %v, %v", long, short, test.long, test.short)
			}
		})
	}
}

func TestBudgetSpent(t *testing.T) {
	const day = 24 * time.Hour
	tests := map[string]struct {
		slo, timeframe string
		feed           func(s *metric.Store)
		want           float64 // a week after the start
	}{
		"nothing happened":                  {latency, "30d", func(*metric.Store) {}, 0},
		"a hundred of the 432 minutes":      {latency, "30d", func(s *metric.Store) { requests(s, 0, 100, 3000, "success") }, 100.0 / 432 * 100},
		"a shorter timeframe has less":      {latency, "7d", func(s *metric.Store) { requests(s, 0, 100, 3000, "success") }, 100.0 / 504 * 100},
		"what lies before does not count":   {latency, "7d", func(s *metric.Store) { requests(s, -100, 0, 3000, "success") }, 0},
		"more than all":                     {ratio, "30d", func(s *metric.Store) { requests(s, 0, 1, 500, "error") }, 10000},
		"no timeframe":                      {latency, "90d", func(s *metric.Store) { requests(s, 0, 100, 3000, "success") }, 0},
		"events, of which one in a hundred": {ratio, "30d", func(s *metric.Store) { requests(s, 0, 99, 500, "success"); requests(s, 99, 100, 500, "error") }, 100},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := newStore(t)
			test.feed(data)
			if got := parse(t, test.slo).BudgetSpent(data, test.timeframe, start.Add(7*day)); math.Abs(got-test.want) > 1e-9 {
				t.Errorf("BudgetSpent = %v %%, want %v", got, test.want)
			}
		})
	}
}

func TestTargetAndMaxBurnRate(t *testing.T) {
	s := parse(t, strings.Replace(latency, thresholds, `"thresholds":[{"timeframe":"30d","target":99.9},{"timeframe":"7d","target":95}]`, 1))
	for timeframe, want := range map[string]struct {
		target, burn float64
		ok           bool
	}{"30d": {99.9, 1000, true}, "7d": {95, 20, true}, "90d": {0, 0, false}} {
		target, ok := s.Target(timeframe)
		if burn := s.MaxBurnRate(timeframe); target != want.target || ok != want.ok || burn != want.burn {
			t.Errorf("%s: target = %v, %v, highest burn rate = %v; want %v, %v, %v", timeframe, target, ok, burn, want.target, want.ok, want.burn)
		}
	}
}

func TestParse(t *testing.T) {
	s, err := slo.Parse("mine", []byte(`{"id":"theirs","type":"metric","name":"n","description":"d","tags":["a:b"],
		"query":{"numerator":"sum:a{*}.as_count()","denominator":"sum:b{*}.as_count()"},
		"thresholds":[{"timeframe":"30d","target":99,"warning":99.5,"target_display":"99.","warning_display":"99.5"}],
		"timeframe":"30d","target_threshold":99,"warning_threshold":99.5}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &slo.SLO{ID: "mine", Name: "n", Type: "metric", Tags: []string{"a:b"},
		Thresholds: []slo.Threshold{{Timeframe: "30d", Target: 99, Warning: 99.5, TargetDisplay: "99.", WarningDisplay: "99.5"}}}
	if diff := cmp.Diff(want, s, cmpopts.IgnoreUnexported(slo.SLO{})); diff != "" {
		t.Errorf("SLO (-want +got):\n%s", diff)
	}
}

func TestTheDeployedObjectivesAreEvaluated(t *testing.T) {
	files, err := fs.Glob(datadog.FS, "slos/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("list objectives: %d files, %v", len(files), err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(datadog.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := slo.Parse(name, text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := s.Status(newStore(t), start, start.Add(time.Hour)).SLI; got != 100 {
			t.Errorf("%s without data is at %v %%, want 100", name, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	change := func(text, from, to string) string {
		if !strings.Contains(text, from) {
			t.Fatalf("%q is not in %s", from, text)
		}
		return strings.Replace(text, from, to, 1)
	}
	tests := map[string]struct{ text, want string }{
		"what is not JSON":              {`{`, "unexpected EOF"},
		"text after the document":       {latency + "x", "text after the document"},
		"a key that it does not know":   {change(latency, `"name"`, `"groups":[],"name"`), `unknown field "groups"`},
		"no name":                       {change(latency, `"p95"`, `""`), "no name"},
		"a monitor SLO":                 {`{"type":"monitor","name":"n","monitor_ids":[1],` + thresholds + `}`, `unknown field "monitor_ids"`},
		"a type without specification":  {`{"type":"time_slice","name":"n",` + thresholds + `}`, `type "time_slice" with this specification is not evaluated here`},
		"another type":                  {`{"type":"composite","name":"n",` + thresholds + `}`, `type "composite" with this specification is not evaluated here`},
		"no thresholds":                 {change(latency, thresholds, `"thresholds":[]`), "no thresholds"},
		"a timeframe of a day":          {change(latency, `"30d"`, `"1d"`), `timeframe "1d" is not 7d, 30d or 90d`},
		"a timeframe twice":             {change(latency, `"7d"`, `"30d"`), "timeframe 30d twice"},
		"a target of 100":               {change(latency, `"target":99`, `"target":100`), "target 100 is not between 0 and 100"},
		"a target of 0":                 {change(latency, `"target":99`, `"target":0`), "target 0 is not between 0 and 100"},
		"a warning below the target":    {change(latency, `"target":99`, `"target":99,"warning":98`), "warning 98 is not between the target 99 and 100"},
		"a primary timeframe of none":   {change(latency, `"name"`, `"timeframe":"90d","name"`), "primary timeframe 90d with target 0 is not among the thresholds"},
		"another primary target":        {change(latency, `"name"`, `"timeframe":"30d","target_threshold":98,"name"`), "primary timeframe 30d with target 98 is not among the thresholds"},
		"another primary warning":       {change(latency, `"name"`, `"timeframe":"30d","target_threshold":99,"warning_threshold":99.9,"name"`), "primary timeframe 30d with warning 99.9 is not among the thresholds"},
		"slices of two minutes":         {change(latency, `_seconds":60`, `_seconds":120`), "query_interval_seconds 120 is not 60 or 300"},
		"an unknown comparator":         {change(latency, `"<"`, `"="`), `comparator "=" is not one of < <= > >=`},
		"two formulas":                  {change(latency, `[{"formula":"query1"}]`, `[{"formula":"query1"},{"formula":"query1"}]`), "2 formulas, want 1"},
		"a formula of an unknown query": {change(latency, `"formula":"query1"`, `"formula":"query2"`), `formula "query2" names no query query2`},
		"a formula with a function":     {change(latency, `"formula":"query1"`, `"formula":"abs(query1)"`), "function abs is not evaluated here"},
		"two queries of one name": {change(latency, `"queries":[`, `"queries":[{"data_source":"metrics","name":"query1","query":"sum:a{*}"},`),
			"query query1 twice"},
		"a query of logs":           {change(latency, `"metrics"`, `"logs"`), `data source "logs" of query1 is not evaluated here`},
		"a query that is none":      {change(latency, `p95:duration{*}`, `duration`), "query query1: metric query, offset 8: want : or ( after duration"},
		"groups":                    {change(latency, `p95:duration{*}`, `p95:duration{*} by {model}`), "groups {model} of an SLO are not evaluated here"},
		"groups of events":          {change(ratio, `sum:count{*}`, `sum:count{*} by {a}`), "bad or total events: groups {a} of an SLO are not evaluated here"},
		"good events that are none": {change(ratio, `sum:count{outcome:success}`, `x`), "good events: metric query"},
		"bad and total events":      {change(goodAndBad, `"queries"`, `"total_events_formula":{"formula":"bad"},"queries"`), "want good_events_formula and one of"},
		"no good events":            {change(goodAndBad, `"good_events_formula":{"formula":"good"},`, ``), "want good_events_formula and one of"},
		"bad events of no query":    {change(goodAndBad, `{"formula":"bad"}`, `{"formula":"worse"}`), `formula "worse" names no query worse`},
		"good events of no query":   {change(goodAndBad, `{"formula":"good"}`, `{"formula":"better"}`), `formula "better" names no query better`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := slo.Parse("s", []byte(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), "parse slo s: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Parse = %v, want parse slo s: … %s", err, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{latency, ratio, goodAndBad, goodOfTotal, `{}`, `{"type":"metric","query":null}`} {
		f.Add([]byte(seed))
	}
	data := newStore(f)
	requests(data, 0, 5, 3000, "success")
	requests(data, 2, 3, 100, "error")
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := slo.Parse("s", text)
		if err != nil {
			if s != nil {
				t.Fatalf("an SLO and the error %v", err)
			}
			return
		}
		st := s.Status(data, start, start.Add(10*time.Minute))
		if st.Total < st.Good || st.SLI > 100 || st.BudgetRemaining > 100 || math.IsNaN(st.SLI) {
			t.Fatalf("%q: status = %+v, want at most all of them good", text, st)
		}
		for _, th := range s.Thresholds {
			long, short := s.BurnRate(data, th.Timeframe, time.Hour, 5*time.Minute, start.Add(10*time.Minute))
			if math.IsNaN(long) || math.IsNaN(short) {
				t.Fatalf("%q: burn rates = %v, %v", text, long, short)
			}
			if spent := s.BudgetSpent(data, th.Timeframe, start.Add(10*time.Minute)); math.IsNaN(spent) || spent < 0 {
				t.Fatalf("%q: %v %% of the budget are spent", text, spent)
			}
		}
	})
}

func BenchmarkBurnRate(b *testing.B) {
	data := newStore(b)
	requests(data, 0, 60, 500, "success")
	s := parse(b, latency)
	for b.Loop() {
		s.BurnRate(data, "30d", time.Hour, 5*time.Minute, start.Add(time.Hour))
	}
}
