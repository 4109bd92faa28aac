package scenario_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/scenario"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// ours are the assets of this repository.
func ours(t *testing.T) []assets.Asset {
	t.Helper()
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		t.Fatal(err)
	}
	all, err := assets.Select(append(assets.Metrics(telemetry.Catalogue()), loaded...), "s3")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// failures runs one case with an expectation, and returns what was not as expected.
func failures(t *testing.T, covers, telemetryIn, answers, expect string) []string {
	t.Helper()
	f, err := scenario.Parse([]byte("covers: [" + covers + "]\ncases:\n  - name: a case\n    lasts: 30m\n    telemetry: [" + telemetryIn + "]\n    answers: [" + answers + "]\n    expect: [" + expect + "]\n"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := scenario.Run(t.Context(), scenario.Options{Assets: ours(t), Files: []scenario.File{f}})
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Failures
}

const (
	traffic = "{metric: llm.request.count, tags: {function: qa}, value: 1, times: 4, every: 10s}"
	errors  = "{metric: llm.request.error, tags: {function: qa, error_type: timeout}, value: 1, every: 10s, from: 10m}"
	verdict = "{to: POST /diagnosis/provider, status: 200, body: {verdict: ok}}, {to: POST /diagnosis/auth, status: 200, body: {verdict: ok}}"
	alerts  = "{monitor: error-burst, is: Alert}"
)

// TestEveryExpectationCanFail gives each kind of expectation something that is not so.
func TestEveryExpectationCanFail(t *testing.T) {
	burst := traffic + ", " + errors
	tests := map[string]struct{ covers, telemetry, answers, expect, want string }{
		"a status":                         {"", burst, verdict, "{monitor: error-burst, is: OK}", `error-burst is "Alert", not "OK"`},
		"a status of a group":              {"", burst, verdict, "{monitor: error-burst, group: 'function:qa', at: 5m, is: Alert}", `error-burst of function:qa is "OK", not "Alert"`},
		"a change outside its time":        {"", burst, verdict, "{monitor: error-burst, turns: Alert, between: [20m, 25m]}", "no changes of error-burst to Alert between 20m0s and 25m0s"},
		"a change that must not be":        {"", burst, verdict, "{monitor: error-burst, never: Alert}", "1, not 0 changes of error-burst to Alert"},
		"a monitor that does not exist":    {"", traffic, "", "{monitor: error-bust, never: Alert}", "there is no monitor/error-bust"},
		"an alert that nobody expected":    {"", burst, verdict, "{workflow: error-burst}", "Error Burst, which no expectation names"},
		"a workflow that did not run":      {"", traffic, "", "{workflow: error-burst}", "no runs of error-burst"},
		"a workflow by other steps":        {"", burst, verdict, alerts + ", {workflow: error-burst, steps: [Prepare]}", "no runs of error-burst"},
		"a call that was not made":         {"", burst, verdict, alerts + ", {call: POST /remediation/failover}", "no calls of POST /remediation/failover"},
		"a call with another body":         {"", burst, verdict, alerts + ", {call: POST /diagnosis/provider, has: {nothing: here}}", "no calls of POST /diagnosis/provider"},
		"a page too many":                  {"", burst, verdict, alerts + ", {page: Error Burst, times: 0}", "1, not 0 page entries"},
		"an incident of another gravity":   {"", burst, verdict, alerts + ", {incident: Error Burst, has: {severity: SEV-5}}", "no incident entries"},
		"a message that was not sent":      {"", burst, verdict, alerts + ", {notification: nothing of the kind}", "no notification entries"},
		"an objective":                     {"", "{metric: llm.request.duration, value: 9000, every: 10s}", "", "{monitor: latency-slo-burn, is: Alert}, {slo: latency, sli: 100}", "the SLI of latency over 30m0s is 0, not 100"},
		"a metric":                         {"", traffic, "", "{metric: 'sum:llm.request.count{*}.as_count()', over: 10m, value: 1}", "is 240, not 1"},
		"a log that is not there":          {"", "{log: {message: a, status: error}}", "", "{log: 'status:info'}", "no logs that"},
		"a log's attribute":                {"", "{log: {message: a, status: error, x: 1}}", "", "{log: '@x:1', has: {x: 2}}", "has x = 1, not 2"},
		"an attribute that is still there": {"", "{log: {message: a, status: error, x: 1}}", "", "{log: '@x:1', lacks: [x]}", "still has x = 1"},
		"a Synthetics test":                {"synthetics-test/health", "", "", "{synthetics: health, passed: true}", "passed false, not true"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(failures(t, tc.covers, tc.telemetry, tc.answers, tc.expect), "\n")
			if !strings.Contains(got, tc.want) {
				t.Errorf("failures:\n%s\nwant one with %q", got, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	one := func(rest string) string { return "cases:\n  - {name: a, lasts: 5m, " + rest + "}\n" }
	tests := map[string]struct{ file, want string }{
		"no cases":                        {"covers: []\n", "no cases"},
		"an unknown key":                  {one("expects: []"), "expects"},
		"nothing expected":                {one("expect: []"), "nothing is expected"},
		"a duration without unit":         {one("expect: [{monitor: a, is: OK, at: 5}]"), `"5" is no duration`},
		"an expectation about two things": {one("expect: [{monitor: a, workflow: b, is: OK}]"), "not about one of"},
		"a monitor without a status":      {one("expect: [{monitor: a}]"), "one of is, turns and never"},
		"an unknown status":               {one("expect: [{monitor: a, is: Fine}]"), `"Fine" is not OK`},
		"a time that ends before it is":   {one("expect: [{monitor: a, turns: OK, between: [5m, 1m]}]"), "two times in order"},
		"telemetry of no kind":            {one("expect: [{page: a}], telemetry: [{value: 1}]"), "not one of metric, log, line, event and span"},
		"an answer without a method":      {one("expect: [{page: a}], answers: [{to: /qa, status: 200}]"), "a method and a path"},
		"two cases of a name":             {one("expect: [{page: a}]") + "  - {name: a, lasts: 5m, expect: [{page: a}]}\n", `there is another "a"`},
		"a cover of no form":              {"covers: [error-burst]\n" + one("expect: [{page: a}]"), "no <kind>/<key>"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := scenario.Parse([]byte(tc.file)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestGaps(t *testing.T) {
	f, err := scenario.Parse([]byte("covers: [monitor/a, monitor/b, slo/c]\ncases:\n  - {name: x, lasts: 1m, expect: [{monitor: a, never: Alert}, {slo: c, sli: 1}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	f.Name = "f.yaml"
	want := []string{"f.yaml: monitor/a is never expected to alert", "f.yaml: monitor/b is covered by no expectation"}
	if diff := cmp.Diff(want, scenario.Gaps([]scenario.File{f})); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	raw, err := os.ReadFile("../../../datadog/tests/error-burst.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(_ *testing.T, raw []byte) {
		// Whatever is read is refused or understood.
		_, _ = scenario.Parse(raw)
	})
}

// BenchmarkRun runs every test of the assets once.
func BenchmarkRun(b *testing.B) {
	loaded, err := assets.Load(datadog.FS)
	if err != nil {
		b.Fatal(err)
	}
	all, err := assets.Select(append(assets.Metrics(telemetry.Catalogue()), loaded...), "s3")
	if err != nil {
		b.Fatal(err)
	}
	files, err := scenario.Load(datadog.FS)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := scenario.Run(b.Context(), scenario.Options{Assets: all, Files: files}); err != nil {
			b.Fatal(err)
		}
	}
}
