package scenario

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// find returns the asset with a key.
func (s *stage) find(kind assets.Kind, key string) (object, bool) {
	i := slices.IndexFunc(s.objects, func(o object) bool { return o.kind == kind && o.key == key })
	if i < 0 {
		s.fail("there is no %s/%s", kind, key)
		return object{}, false
	}
	return s.objects[i], true
}

// at is when an expectation that is about one moment is judged.
func (e Expect) at(end time.Duration) time.Duration {
	if e.At == nil {
		return end
	}
	return time.Duration(*e.At)
}

// judgeAt judges what is expected of the moment that the evaluation at now was the last before.
func (s *stage) judgeAt(now time.Duration) {
	for _, e := range s.Expect {
		if at := min(e.at(time.Duration(s.Lasts)), time.Duration(s.Lasts)); at < now || at >= now+time.Duration(s.Step) {
			continue
		}
		switch {
		case e.Monitor != "" && e.Is != "":
			s.judgeStatus(e)
		case e.SLO != "":
			s.judgeSLO(e)
		case e.Metric != "":
			s.judgeMetric(e)
		case e.Synthetics != "":
			s.judgeCheck(e)
		}
	}
}

func (s *stage) judgeStatus(e Expect) {
	o, ok := s.find(assets.Monitor, e.Monitor)
	if !ok {
		return
	}
	for _, m := range s.datadog.Monitors() {
		if fmt.Sprint(m.ID) != o.id {
			continue
		}
		got := m.Status
		if e.Group != "" {
			got = m.Statuses[e.Group]
		}
		if got != e.Is {
			s.fail("%s: %s%s is %q, not %q; values %v", s.elapsed(), e.Monitor, e.group(), got, e.Is, m.Groups)
		}
		return
	}
	s.fail("%s: the monitor %s is not evaluated", s.elapsed(), e.Monitor)
}

func (e Expect) group() string {
	if e.Group == "" {
		return ""
	}
	return " of " + e.Group
}

func (s *stage) judgeSLO(e Expect) {
	o, ok := s.find(assets.SLO, e.SLO)
	if !ok {
		return
	}
	over := time.Duration(e.Over)
	if over == 0 {
		over = s.elapsed()
	}
	got, ok := s.datadog.SLOStatus(o.id, over)
	if !ok {
		s.fail("the SLO %s is not evaluated", e.SLO)
		return
	}
	s.near(e.SLI, got.SLI, e.Within, "SLI of %s over %v", e.SLO, over)
	s.near(e.Budget, got.BudgetRemaining, e.Within, "remaining budget of %s over %v", e.SLO, over)
}

func (s *stage) near(want *float64, got, within float64, format string, args ...any) {
	if want != nil && !(math.Abs(got-*want) <= within+1e-9) {
		s.fail("%s: the %s is %v, not %v", s.elapsed(), fmt.Sprintf(format, args...), got, *want)
	}
}

func (s *stage) judgeMetric(e Expect) {
	series, err := s.datadog.Series(e.Metric, time.Duration(e.Over))
	if err != nil {
		s.fail("metric %s: %v", e.Metric, err)
		return
	}
	if len(series) == 0 && *e.Value == 0 {
		return // nothing was counted
	}
	if len(series) != 1 || len(series[0].Values) != 1 {
		s.fail("%s: the metric %s has %d groups, not one value", s.elapsed(), e.Metric, len(series))
		return
	}
	s.near(e.Value, series[0].Values[0], e.Within, "value of %s", e.Metric)
}

func (s *stage) judgeCheck(e Expect) {
	o, ok := s.find(assets.SyntheticsTest, e.Synthetics)
	if !ok {
		return
	}
	for _, c := range s.datadog.Checks() {
		if c.ID != o.id {
			continue
		}
		if e.Passed != nil && (c.Last.IsZero() || c.Result.Passed != *e.Passed) {
			s.fail("%s: the test %s ran at %s and passed %v, not %v: %q", s.elapsed(), e.Synthetics, c.Last.Sub(s.start), c.Result.Passed, *e.Passed, c.Result.Failures)
		}
		if e.Alerting != nil && c.Alerting != *e.Alerting {
			s.fail("%s: the test %s alerts is %v, not %v", s.elapsed(), e.Synthetics, c.Alerting, *e.Alerting)
		}
		for _, want := range e.Failures {
			if !strings.Contains(strings.Join(c.Result.Failures, "\n"), want) {
				s.fail("%s: the failures %q of the test %s do not hold %q", s.elapsed(), c.Result.Failures, e.Synthetics, want)
			}
		}
		return
	}
	s.fail("the test %s is not run", e.Synthetics)
}

// judge judges what is expected of the whole case.
func (s *stage) judge() {
	timeline := s.datadog.Timeline()
	for _, e := range s.Expect {
		switch {
		case e.Monitor != "" && e.Is == "":
			s.judgeChanges(e, timeline)
		case e.Workflow != "":
			s.judgeRuns(e, timeline)
		case e.Call != "":
			s.judgeCalls(e)
		case e.Page != "":
			s.judgeEntries(e, timeline, ddfake.KindPage, e.Page)
		case e.Incident != "":
			s.judgeEntries(e, timeline, ddfake.KindIncident, e.Incident)
		case e.Notification != "":
			s.judgeEntries(e, timeline, ddfake.KindNotification, e.Notification)
		case e.Log != "":
			s.judgeLogs(e)
		}
	}
	s.judgeSurprises(timeline)
}

func (s *stage) judgeChanges(e Expect, timeline []ddfake.Entry) {
	o, ok := s.find(assets.Monitor, e.Monitor)
	if !ok {
		return
	}
	status, times := e.Turns, e.Times
	if e.Never != "" {
		status, times = e.Never, new(int)
	}
	var at []time.Duration
	for _, t := range timeline {
		if t.Kind == ddfake.KindTransition && t.Monitor == o.name && t.To == status && t.From != t.To && (e.Group == "" || t.Detail["group"] == e.Group) && s.within(e, t.At) {
			at = append(at, t.At.Sub(s.start))
		}
	}
	s.count(times, len(at), "changes of %s%s to %s%s, at %v", e.Monitor, e.group(), status, e.window(), at)
}

func (s *stage) within(e Expect, at time.Time) bool {
	t := at.Sub(s.start)
	return len(e.Between) == 0 || t >= time.Duration(e.Between[0]) && t <= time.Duration(e.Between[1])
}

func (e Expect) window() string {
	if len(e.Between) == 0 {
		return ""
	}
	return fmt.Sprintf(" between %v and %v", time.Duration(e.Between[0]), time.Duration(e.Between[1]))
}

// count judges how often something was there: at least once when nothing else was expected.
func (s *stage) count(want *int, got int, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	switch {
	case want == nil && got == 0:
		s.fail("no %s", what)
	case want != nil && *want != got:
		s.fail("%d, not %d %s", got, *want, what)
	}
}

func (s *stage) judgeRuns(e Expect, timeline []ddfake.Entry) {
	o, ok := s.find(assets.Workflow, e.Workflow)
	if !ok {
		return
	}
	steps := map[string][]string{}
	runs, wrong := 0, []string{}
	for _, t := range timeline {
		switch {
		case t.Workflow != o.name:
		case t.Kind == ddfake.KindWorkflowStep:
			steps[t.Run] = append(steps[t.Run], t.Step)
		case t.Kind == ddfake.KindWorkflowFinished:
			if !s.within(e, t.At) {
				continue
			}
			if e.Status != "" && t.Status != e.Status || e.Steps != nil && !slices.Equal(steps[t.Run], e.Steps) {
				wrong = append(wrong, fmt.Sprintf("%s by %s", t.Text, strings.Join(steps[t.Run], ", ")))
				continue
			}
			runs++
		}
	}
	s.count(e.Times, runs, "runs of %s that end as %q by %s%s; others: %q", e.Workflow, e.Status, strings.Join(e.Steps, ", "), e.window(), wrong)
}

func (s *stage) judgeCalls(e Expect) {
	n := 0
	var bodies []any
	for _, c := range s.calls.record.calls {
		if c.to != e.Call {
			continue
		}
		if e.Has == nil || part(normal(e.Has), c.body) {
			n++
		} else {
			bodies = append(bodies, c.body)
		}
	}
	s.count(e.Times, n, "calls of %s with %v; others: %v", e.Call, e.Has, bodies)
}

func (s *stage) judgeEntries(e Expect, timeline []ddfake.Entry, kind, text string) {
	n := 0
	var others []string
	for _, t := range timeline {
		if t.Kind != kind || !s.within(e, t.At) {
			continue
		}
		if strings.Contains(t.Text, text) && (e.Has == nil || part(normal(e.Has), normal(t.Detail))) {
			n++
		} else {
			others = append(others, fmt.Sprintf("%s %v", t.Text, t.Detail))
		}
	}
	s.count(e.Times, n, "%s entries with %q and %v%s; others: %q", kind, text, e.Has, e.window(), others)
}

func (s *stage) judgeLogs(e Expect) {
	q, err := search.Parse(e.Log)
	if err != nil {
		s.fail("log %q: %v", e.Log, err)
		return
	}
	n := 0
	for _, ev := range s.datadog.Logs() {
		if !q.Match(ev) {
			continue
		}
		n++
		if e.Status != "" && ev.Status != e.Status {
			s.fail("log %q has the status %q, not %q", e.Log, ev.Status, e.Status)
		}
		if e.Message != nil && ev.Message != *e.Message {
			s.fail("log %q has the message %q, not %q", e.Log, ev.Message, *e.Message)
		}
		if e.TraceID != "" && ev.TraceID != e.TraceID {
			s.fail("log %q belongs to the trace %q, not %q", e.Log, ev.TraceID, e.TraceID)
		}
		for _, tag := range e.Tags {
			if !slices.Contains(ev.Tags, tag) {
				s.fail("log %q has the tags %q, without %q", e.Log, ev.Tags, tag)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(e.Has)) {
			got, ok := lookup(ev.Attributes, name)
			if want := normal(e.Has[name]); !ok || !reflect.DeepEqual(normal(got), want) {
				s.fail("log %q has %s = %v, not %v", e.Log, name, got, want)
			}
		}
		for _, name := range e.Lacks {
			if got, ok := lookup(ev.Attributes, name); ok {
				s.fail("log %q still has %s = %v", e.Log, name, got)
			}
		}
	}
	s.count(e.Times, n, "logs that %q finds", e.Log)
}

// lookup finds an attribute by its path; a key may hold dots itself.
func lookup(attributes map[string]any, name string) (any, bool) {
	if v, ok := attributes[name]; ok {
		return v, true
	}
	for i, r := range name {
		if r != '.' {
			continue
		}
		if inner, ok := attributes[name[:i]].(map[string]any); ok {
			if v, ok := lookup(inner, name[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// judgeSurprises fails the case for a monitor or a Synthetics test that alerts though no expectation names it, and for a
// message that reached nobody.
func (s *stage) judgeSurprises(timeline []ddfake.Entry) {
	expected := map[string]bool{}
	for _, e := range s.Expect {
		for kind, key := range map[assets.Kind]string{assets.Monitor: e.Monitor, assets.SyntheticsTest: e.Synthetics} {
			if key == "" {
				continue
			}
			if o, ok := s.find(kind, key); ok {
				expected[o.name], expected["[Synthetics] "+o.name] = true, true
			}
		}
	}
	for _, t := range timeline {
		switch {
		case t.Kind == ddfake.KindTransition && t.To == "Alert" && !expected[t.Monitor]:
			s.fail("%s: %s, which no expectation names", t.At.Sub(s.start), t.Text)
		case t.Kind == ddfake.KindDeliveryFailure:
			s.fail("%s: %s", t.At.Sub(s.start), t.Text)
		}
	}
}

// normal makes the numbers of YAML and JSON alike, all the way down.
func normal(v any) any {
	switch v := v.(type) {
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = normal(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = normal(v[k])
		}
		return out
	}
	return v
}

// part says whether want is part of got: objects by the keys that are wanted, texts that begin and end with ~ by what they
// hold, everything else whole.
func part(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := normal(got).(map[string]any)
		if !ok {
			return false
		}
		for k, v := range want {
			if !part(v, have[k]) {
				return false
			}
		}
		return true
	case string:
		have, ok := got.(string)
		if inner, found := strings.CutPrefix(want, "~"); found {
			return ok && strings.Contains(have, strings.TrimSuffix(inner, "~"))
		}
		return ok && have == want
	}
	return reflect.DeepEqual(want, normal(got))
}
