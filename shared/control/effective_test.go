package control_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/control"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// made returns an automatic override on qa that was made so many minutes before noon and holds for an hour.
func made(id string, minutesAgo int, action control.Action, params control.Params) control.Override {
	start := noon.Add(-time.Duration(minutesAgo) * time.Minute)
	return control.Override{ID: id, Action: action, Scope: control.Scope{Function: "qa"}, Params: params,
		Start: start, End: start.Add(time.Hour), Created: start, Source: control.Source{Kind: control.Monitor}}
}

func byOperator(o control.Override) control.Override {
	o.Source.Kind = control.Operator
	return o
}

func model(name string) control.Params { return control.Params{Model: name} }

func ids(overrides []control.Override) []string {
	var out []string
	for _, o := range overrides {
		out = append(out, o.ID)
	}
	return out
}

func TestEffective(t *testing.T) {
	base := control.Settings{Model: "standard", MaxOutputTokens: 500, Avoid: []string{"old"}}
	ended := made("a", 10, control.SwitchModel, model("economy"))
	ended.Ended = &control.Ending{At: noon.Add(-time.Minute)}
	for name, tt := range map[string]struct {
		overrides []control.Override
		want      func(*control.Settings)
		inForce   []string
	}{
		"no override leaves the base": {nil, func(*control.Settings) {}, nil},
		"an override holds": {
			[]control.Override{made("a", 10, control.SwitchModel, model("economy"))},
			func(s *control.Settings) { s.Model = "economy" }, []string{"a"}},
		"one that is over does not": {
			[]control.Override{made("a", 60, control.SwitchModel, model("economy"))}, func(*control.Settings) {}, nil},
		"one that was ended does not": {[]control.Override{ended}, func(*control.Settings) {}, nil},
		"one that starts later does not": {
			[]control.Override{made("a", -1, control.SwitchModel, model("economy"))}, func(*control.Settings) {}, nil},
		"one that starts now does": {
			[]control.Override{made("a", 0, control.SwitchModel, model("economy"))},
			func(s *control.Settings) { s.Model = "economy" }, []string{"a"}},
		"of two switches, the latest": {
			[]control.Override{made("a", 5, control.SwitchModel, model("standard")), made("b", 10, control.SwitchModel, model("economy"))},
			func(s *control.Settings) { s.Model = "standard" }, []string{"a"}},
		"saving cost does not undo a quality alert": {
			[]control.Override{made("a", 10, control.SwitchModel, model("quality")), made("b", 5, control.SwitchModel, model("economy"))},
			func(s *control.Settings) { s.Model = "quality" }, []string{"a"}},
		"an operator beats automation": {
			[]control.Override{byOperator(made("a", 10, control.SwitchModel, model("economy"))), made("b", 5, control.SwitchModel, model("quality"))},
			func(s *control.Settings) { s.Model = "economy" }, []string{"a"}},
		"an operator can leave the quality tier": {
			[]control.Override{byOperator(made("a", 10, control.SwitchModel, model("quality"))), byOperator(made("b", 5, control.SwitchModel, model("economy")))},
			func(s *control.Settings) { s.Model = "economy" }, []string{"b"}},
		"caps fold to the strictest, the base's included": {
			[]control.Override{
				made("a", 10, control.Limit, control.Params{MaxOutputTokens: 900, MaxPromptChars: 50}),
				made("b", 5, control.Limit, control.Params{MaxOutputTokens: 400, MaxPromptChars: 60}),
				made("c", 3, control.Limit, control.Params{MaxOutputTokens: 600})},
			func(s *control.Settings) { s.MaxOutputTokens, s.MaxPromptChars = 400, 50 }, []string{"a", "b"}},
		"the same cap twice is decided by the older": {
			[]control.Override{made("a", 5, control.Limit, control.Params{RequestsPerMinute: 5}), made("b", 10, control.Limit, control.Params{RequestsPerMinute: 5})},
			func(s *control.Settings) { s.RequestsPerMinute = 5 }, []string{"b"}},
		"the latest cache duration": {
			[]control.Override{
				made("a", 10, control.EnableCache, control.Params{CacheTTL: control.Duration(time.Hour)}),
				made("b", 5, control.EnableCache, control.Params{CacheTTL: control.Duration(time.Minute)})},
			func(s *control.Settings) { s.CacheTTL = time.Minute }, []string{"b"}},
		"failovers add up, each provider once": {
			[]control.Override{
				made("a", 5, control.Failover, control.Params{Provider: "x"}), made("b", 10, control.Failover, control.Params{Provider: "x"}),
				made("c", 1, control.Failover, control.Params{Provider: "y"}), made("d", 1, control.Failover, control.Params{Provider: "old"})},
			func(s *control.Settings) { s.Avoid = []string{"old", "x", "y"} }, []string{"b", "c"}},
		"different actions hold together, oldest first": {
			[]control.Override{made("c", 1, control.Freeze, control.Params{}), made("a", 5, control.Route, control.Params{Strategy: "cost", QualityFloor: 0.5}),
				made("b", 3, control.SwitchModel, model("economy"))},
			func(s *control.Settings) {
				s.Frozen, s.Strategy, s.QualityFloor, s.Model = true, "cost", 0.5, "economy"
			}, []string{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := base
			tt.want(&want)
			got := control.Effective(base, tt.overrides, control.Target{Function: "qa", Endpoint: "/qa"}, "request-1", noon)
			if diff := cmp.Diff(tt.inForce, ids(got.InForce)); diff != "" {
				t.Errorf("in force (-want +got):\n%s", diff)
			}
			got.InForce = nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
			other := control.Effective(base, tt.overrides, control.Target{Function: "completion"}, "request-1", noon)
			if diff := cmp.Diff(base, other); diff != "" {
				t.Errorf("settings out of scope (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEffectivePercent(t *testing.T) {
	overrides := func(percent int) []control.Override {
		return []control.Override{made("a", 1, control.SwitchModel, control.Params{Model: "economy", Percent: percent})}
	}
	in := func(percent int, key string) bool {
		return control.Effective(control.Settings{Model: "standard"}, overrides(percent), control.Target{Function: "qa"}, key, noon).Model == "economy"
	}
	const requests = 20000
	small, large := 0, 0
	for i := range requests {
		key := fmt.Sprintf("request-%d", i)
		if in(10, key) {
			small++
			if !in(50, key) {
				t.Fatalf("%s is in 10 %% but not in 50 %%", key)
			}
		}
		if in(50, key) {
			large++
		}
	}
	// Six standard deviations of a binomial: 10 % ± 1.3 and 50 % ± 2.1.
	if small < requests*87/1000 || small > requests*113/1000 || large < requests*479/1000 || large > requests*521/1000 {
		t.Errorf("shares: got %d and %d of %d, want about 10 %% and 50 %%", small, large, requests)
	}
	if !in(1, "") {
		t.Error("the empty key is not in a share of 1 %")
	}
}

// FuzzEffective makes overrides out of bytes, five for each.
func FuzzEffective(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"), "request", byte(3))
	f.Add([]byte("\x03\x10\x01\xff\x01\x03\x20\x01\xff\x02\x03\x20\x02\xff\x02"), "", byte(1))
	actions := []control.Action{control.SwitchModel, control.EnableCache, control.Route, control.Limit, control.Failover, control.Freeze, "unknown"}
	models := []string{"economy", "standard", "quality", ""}
	f.Fuzz(func(t *testing.T, data []byte, key string, rotate byte) {
		var overrides []control.Override
		for d := range slices.Chunk(data, 5) {
			if len(d) < 5 {
				break
			}
			n := int(int8(d[3]))
			o := made(fmt.Sprintf("o%d", len(overrides)), int(d[1])%90-10, actions[int(d[0])%len(actions)], control.Params{
				Model: models[d[2]%4], Percent: n, CacheTTL: control.Duration(n), Strategy: models[d[4]%4], QualityFloor: float64(n),
				MaxOutputTokens: n, MaxPromptChars: int(d[2]), RequestsPerMinute: int(d[4]), Provider: models[d[3]%4]})
			if d[4]&1 != 0 {
				o.Source.Kind = control.Operator
			}
			if d[4]&2 != 0 {
				o.Ended = &control.Ending{At: o.Start.Add(time.Duration(d[4]) * time.Minute / 4)}
			}
			overrides = append(overrides, o)
		}
		base := control.Settings{Model: "standard", MaxOutputTokens: 50, Avoid: []string{"economy"}}
		target := control.Target{Function: "qa"}
		want := control.Effective(base, overrides, target, key, noon)

		if len(overrides) > 0 {
			k := int(rotate) % len(overrides)
			turned := slices.Concat(overrides[k:], overrides[:k])
			slices.Reverse(turned[:len(turned)/2])
			if diff := cmp.Diff(want, control.Effective(base, turned, target, key, noon)); diff != "" {
				t.Errorf("order matters (-want +got):\n%s", diff)
			}
		}
		active := slices.DeleteFunc(slices.Clone(overrides), func(o control.Override) bool { return !o.Active(noon) })
		if diff := cmp.Diff(want, control.Effective(base, active, target, key, noon)); diff != "" {
			t.Errorf("what is not active matters (-want +got):\n%s", diff)
		}
		// What is in force is all that is needed, and none of it is idle.
		if diff := cmp.Diff(want, control.Effective(base, want.InForce, target, key, noon)); diff != "" {
			t.Errorf("what is in force does not suffice (-want +got):\n%s", diff)
		}
	})
}

func BenchmarkEffective(b *testing.B) {
	overrides := []control.Override{made("a", 5, control.SwitchModel, model("economy")), made("b", 3, control.EnableCache, control.Params{CacheTTL: 1})}
	b.ReportAllocs()
	for b.Loop() {
		control.Effective(control.Settings{}, overrides, control.Target{Function: "qa"}, "request-1", noon)
	}
}
