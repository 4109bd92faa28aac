package monitor_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
)

// withParts adds monitors with the ids 1, 2, … to a world: of the given groups, each by one more tag.
func withParts(t *testing.T, w world, by ...string) {
	t.Helper()
	for i, keys := range by {
		query := "max(last_5m):max:m{*} > 1"
		if keys != "" {
			query = "max(last_5m):max:m{*} by {" + keys + "} > 1"
		}
		m, err := parseMonitor("query alert", query, "")
		if err != nil {
			t.Fatal(err)
		}
		w.monitors[int64(i+1)] = m
	}
}

// stateOf reads "function:qa=Alert function:chat=OK", or the status of "*".
func stateOf(text string) monitor.State {
	if text == "" {
		return monitor.State{}
	}
	s := monitor.State{Groups: map[string]monitor.Group{}}
	for one := range strings.SplitSeq(text, "; ") {
		name, status, ok := strings.Cut(one, "=")
		if !ok {
			name, status = "*", one
		}
		g := monitor.Group{Status: monitor.Status(status), Value: float64(len(status))}
		if name != "*" {
			g.Tags = strings.Split(name, ",")
		}
		s.Groups[name] = g
	}
	return s
}

func TestComposite(t *testing.T) {
	tests := map[string]struct {
		query, options string
		by             []string   // of the parts
		states         [][]string // of the parts, by round
		want           []string   // group, kind and status of each transition, by round
	}{
		"both":              {"1 && 2", "", []string{"", ""}, [][]string{{"Alert", "OK"}, {"Alert", "Alert"}, {"OK", "Alert"}}, []string{"", "* alert Alert", "* recovery OK"}},
		"either":            {"1 || 2", "", []string{"", ""}, [][]string{{"OK", "OK"}, {"OK", "Alert"}, {"OK", "OK"}}, []string{"", "* alert Alert", "* recovery OK"}},
		"not":               {"!1", "", []string{""}, [][]string{{"Alert"}, {"OK"}, {"Warn"}}, []string{"", "* alert Alert", "* recovery OK"}},
		"one but not other": {"1 && !2", "", []string{"", ""}, [][]string{{"Alert", "Alert"}, {"Alert", "OK"}}, []string{"", "* alert Alert"}},
		"and binds closer":  {"1 || 2 && 3", "", []string{"", "", ""}, [][]string{{"OK", "Alert", "OK"}, {"Alert", "OK", "OK"}}, []string{"", "* alert Alert"}},
		"unless parted":     {"(1 || 2) && 3", "", []string{"", "", ""}, [][]string{{"Alert", "OK", "OK"}, {"Alert", "OK", "Alert"}}, []string{"", "* alert Alert"}},
		"not of parted":     {" ! ( 1 && 2 ) ", "", []string{"", ""}, [][]string{{"Alert", "Alert"}, {"Alert", "OK"}}, []string{"", "* alert Alert"}},

		"the least of both":                {"1 && 2", "", []string{"", ""}, [][]string{{"Alert", "Warn"}}, []string{"* warn Warn"}},
		"the most of either":               {"1 || 2", "", []string{"", ""}, [][]string{{"Alert", "Warn"}}, []string{"* alert Alert"}},
		"a warning of either":              {"1 || 2", "", []string{"", ""}, [][]string{{"Warn", "OK"}}, []string{"* warn Warn"}},
		"no data and a warning, told":      {"1 && 2", `"notify_no_data":true`, []string{"", ""}, [][]string{{"No Data", "Warn"}}, []string{"* no_data No Data"}},
		"no data and a warning, not told":  {"1 && 2", "", []string{"", ""}, [][]string{{"No Data", "Warn"}}, []string{""}},
		"no data or a warning":             {"1 || 2", "", []string{"", ""}, [][]string{{"No Data", "Warn"}}, []string{"* warn Warn"}},
		"no data and OK":                   {"1 && 2", `"notify_no_data":true`, []string{"", ""}, [][]string{{"No Data", "OK"}}, []string{""}},
		"no data or OK, told":              {"1 || 2", `"notify_no_data":true`, []string{"", ""}, [][]string{{"No Data", "OK"}}, []string{"* no_data No Data"}},
		"no data or OK, not told":          {"1 || 2", "", []string{"", ""}, [][]string{{"No Data", "OK"}}, []string{""}},
		"no data keeps what was":           {"1 || 2", "", []string{"", ""}, [][]string{{"Alert", "OK"}, {"No Data", "OK"}, {"OK", "OK"}}, []string{"* alert Alert", "", "* recovery OK"}},
		"not of no data":                   {"!1", `"notify_no_data":true`, []string{""}, [][]string{{"No Data"}}, []string{"* no_data No Data"}},
		"a part that was never judged":     {"1 && 2", "", []string{"", ""}, [][]string{{"Alert", ""}}, []string{""}},
		"a part that is gone keeps it":     {"1 && 9", "", []string{"", ""}, [][]string{{"Alert", "Alert"}}, []string{""}},
		"flapping of one part is not told": {"1 && 2", "", []string{"", ""}, [][]string{{"Alert", "OK"}, {"OK", "OK"}, {"Alert", "OK"}}, []string{"", "", ""}},

		"groups that both have": {"1 && 2", "", []string{"function", "function"},
			[][]string{{"function:qa=Alert; function:chat=Alert", "function:qa=Alert; function:probe=Alert"}}, []string{"function:qa alert Alert"}},
		"groups are separate": {"1 && 2", "", []string{"function", "function"},
			[][]string{{"function:qa=Alert; function:chat=OK", "function:qa=OK; function:chat=Alert"}}, []string{""}},
		"a simple monitor goes with all groups": {"1 && 2", "", []string{"function", ""},
			[][]string{{"function:qa=Alert; function:chat=Alert; function:x=OK", "Alert"}}, []string{"function:chat alert Alert, function:qa alert Alert"}},
		"groups of more tags": {"1 && 2", "", []string{"function", "model,function"},
			[][]string{{"function:qa=Alert; function:chat=OK", "model:a,function:qa=Alert; model:a,function:chat=Alert"}}, []string{"model:a,function:qa alert Alert"}},
		"groups of other keys": {"1 && 2", "", []string{"function", "endpoint"},
			[][]string{{"function:qa=Alert", "endpoint:qa=Alert"}}, []string{"function:qa alert Alert"}},
		"groups without anything in common": {"1 || 2", "", []string{"function", "model"},
			[][]string{{"function:qa=Alert", "model:a=Alert"}}, []string{""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := parseMonitor("composite", test.query, test.options)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			withParts(t, w, test.by...)
			var state monitor.State
			var got []string
			for round, states := range test.states {
				for i, text := range states {
					w.states[int64(i+1)] = stateOf(text)
				}
				next, transitions := m.Evaluate(w, state, start.Add(time.Duration(round)*time.Minute))
				state = next
				var told []string
				for _, tr := range transitions {
					told = append(told, fmt.Sprint(tr.Group, " ", tr.Kind, " ", tr.To))
				}
				got = append(got, strings.Join(told, ", "))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("transitions by round (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMessageOfAComposite(t *testing.T) {
	m, err := monitor.Parse(1, []byte(`{"name":"n","type":"composite","query":"2 && 1","message":"{{a.value}} and {{b.value}} of {{function.name}}"}`))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	withParts(t, w, "function", "")
	if err := m.Check(w); err != nil {
		t.Fatal(err)
	}
	w.states[1], w.states[2] = stateOf("function:qa=Alert"), stateOf("Warn")
	_, transitions := m.Evaluate(w, monitor.State{}, start)
	if len(transitions) != 1 || !math.IsNaN(transitions[0].Value) {
		t.Fatalf("transitions = %+v, want one without a value", transitions)
	}
	if got, want := m.Message(transitions[0], nil), "4 and 5 of qa"; got != want {
		t.Errorf("Message = %q, want %q", got, want)
	}
	if got, want := m.Title(transitions[0], nil), "[Warn on {function:qa}] n"; got != want {
		t.Errorf("Title = %q, want %q", got, want)
	}
}

func TestCheckOfAComposite(t *testing.T) {
	tests := map[string]struct{ query, message, want string }{
		"monitors that are":      {"1 && !2", "{{function.name}}", ""},
		"a monitor that is none": {"1 && 9", "", "monitor 7: no monitor 9"},
		"another composite":      {"1 && 3", "", "monitor 7: monitor 3 is a composite itself"},
		"a tag that no part has": {"1 && 2", "{{#is_match \\\"model.name\\\" \\\"x\\\"}}{{/is_match}}", "monitor 7: no monitor of the composite has groups by model"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := monitor.Parse(7, []byte(`{"name":"n","type":"composite","query":"`+test.query+`","message":"`+test.message+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			withParts(t, w, "function", "")
			w.monitors[3] = m
			if !m.Composite() || w.monitors[1].Composite() {
				t.Errorf("Composite() = %v of a composite, %v of a query", m.Composite(), w.monitors[1].Composite())
			}
			switch err := m.Check(w); {
			case err == nil && test.want != "", err != nil && err.Error() != test.want:
				t.Errorf("Check = %v, want %q", err, test.want)
			}
		})
	}
}
