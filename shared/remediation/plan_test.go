package remediation_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/remediation"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

var limits = remediation.Limits{
	Models: []string{"economy", "standard", "quality", "gemini-x"}, Functions: []string{"qa", "completion"}, Endpoints: []string{"/qa"}, Providers: []string{"google"},
	MaxDuration: 4 * time.Hour, DefaultDuration: 30 * time.Minute, DefaultCacheTTL: 10 * time.Minute, Cooldown: 5 * time.Minute,
	HourlyBudget: 3, FlapWindow: 15 * time.Minute, MaxAge: 15 * time.Minute, Skew: 5 * time.Minute,
}

// call is a good request of a monitor at noon, changed by edit.
func call(edit func(*remediation.Request)) remediation.Request {
	r := remediation.Request{
		ID: "new", Action: control.SwitchModel, Timestamp: noon, Scope: control.Scope{Function: "qa"}, Params: control.Params{Model: "economy"},
		Source:      control.Source{Kind: control.Monitor, Monitor: "Cost", MonitorID: "7", Cycle: "cycle-new"},
		TriggeredAt: noon.Add(-time.Minute),
	}
	if edit != nil {
		edit(&r)
	}
	return r
}

func operator(r *remediation.Request) {
	r.Source, r.TriggeredAt = control.Source{Kind: control.Operator, Operator: "ann"}, time.Time{}
}

// switched returns an automatic switch on qa that was made so many minutes before noon, for an hour.
func switched(id, model string, minutesAgo int) control.Override {
	start := noon.Add(-time.Duration(minutesAgo) * time.Minute)
	return control.Override{ID: id, Action: control.SwitchModel, Scope: control.Scope{Function: "qa"}, Params: control.Params{Model: model},
		Start: start, End: start.Add(time.Hour), Created: start, Source: control.Source{Kind: control.Monitor, MonitorID: "7", Cycle: "cycle-" + id}}
}

// ended returns the override as ended so many minutes before noon.
func ended(o control.Override, minutesAgo int, cause string) control.Override {
	o.Ended = &control.Ending{At: noon.Add(-time.Duration(minutesAgo) * time.Minute), Cause: cause}
	return o
}

func frozen(scope control.Scope) control.Override {
	o := switched("freeze", "", 30)
	o.Action, o.Scope, o.Source = control.Freeze, scope, control.Source{Kind: control.Operator}
	return o
}

func plan(r remediation.Request, overrides ...control.Override) (remediation.Decision, *remediation.Refusal) {
	return remediation.Plan(r, control.State{Overrides: overrides}, control.Settings{Model: "standard"}, limits, noon)
}

func TestGuards(t *testing.T) {
	type edit = func(*remediation.Request)
	quality := func(r *remediation.Request) { r.Params.Model = "quality" }
	reverted, superseded := remediation.CauseReverted, remediation.CauseSuperseded
	for name, tt := range map[string]struct {
		edit      edit
		overrides []control.Override
		// want is the reason of the refusal, empty when the action is applied.
		want  remediation.Reason
		retry time.Duration
	}{
		"a good call is applied": {nil, nil, "", 0},

		"no timestamp":                  {func(r *remediation.Request) { r.Timestamp = time.Time{} }, nil, remediation.BadTimestamp, 0},
		"a timestamp at the skew":       {func(r *remediation.Request) { r.Timestamp = noon.Add(-5 * time.Minute) }, nil, "", 0},
		"a timestamp past the skew":     {func(r *remediation.Request) { r.Timestamp = noon.Add(-5*time.Minute - 1) }, nil, remediation.BadTimestamp, 0},
		"a timestamp ahead of the skew": {func(r *remediation.Request) { r.Timestamp = noon.Add(5*time.Minute + 1) }, nil, remediation.BadTimestamp, 0},
		"an alert at the age":           {func(r *remediation.Request) { r.TriggeredAt = noon.Add(-15 * time.Minute) }, nil, "", 0},
		"an alert past the age":         {func(r *remediation.Request) { r.TriggeredAt = noon.Add(-15*time.Minute - 1) }, nil, remediation.Stale, 0},
		"an alert from the future":      {func(r *remediation.Request) { r.TriggeredAt = noon.Add(6 * time.Minute) }, nil, remediation.BadTimestamp, 0},
		"an operator needs no alert":    {operator, nil, "", 0},
		"an action nobody knows":        {func(r *remediation.Request) { r.Action = "reboot" }, nil, remediation.UnknownAction, 0},
		"a model off the list":          {func(r *remediation.Request) { r.Params.Model = "gpt-9" }, nil, remediation.UnknownModel, 0},
		"a function off the list":       {func(r *remediation.Request) { r.Scope.Function = "theater" }, nil, remediation.UnknownScope, 0},
		"an endpoint off the list":      {func(r *remediation.Request) { r.Scope.Endpoint = "/admin" }, nil, remediation.UnknownScope, 0},
		"everything, by a monitor":      {func(r *remediation.Request) { r.Scope = control.Scope{} }, nil, remediation.UnknownScope, 0},
		"everything, by an operator":    {func(r *remediation.Request) { operator(r); r.Scope = control.Scope{} }, nil, "", 0},
		"the longest duration":          {func(r *remediation.Request) { r.Duration = 4 * time.Hour }, nil, "", 0},
		"longer than the longest":       {func(r *remediation.Request) { r.Duration = 4*time.Hour + 1 }, nil, remediation.TooLong, 0},
		"a monitor without its cycle":   {func(r *remediation.Request) { r.Source.Cycle = "" }, nil, remediation.BadParams, 0},
		"an operator without a name":    {func(r *remediation.Request) { operator(r); r.Source.Operator = "" }, nil, remediation.BadParams, 0},
		"a key that is none":            {func(r *remediation.Request) { r.ID = "a b" }, nil, remediation.BadParams, 0},
		"parameters of another action":  {func(r *remediation.Request) { r.Params.MaxOutputTokens = 1 }, nil, remediation.BadParams, 0},
		"a limit without a cap":         {func(r *remediation.Request) { r.Action, r.Params = control.Limit, control.Params{} }, nil, remediation.BadParams, 0},
		"a limit":                       {func(r *remediation.Request) { r.Action, r.Params = control.Limit, control.Params{MaxOutputTokens: 9} }, nil, "", 0},
		"a limit of requests":           {func(r *remediation.Request) { r.Action, r.Params = control.Limit, control.Params{RequestsPerMinute: 5} }, nil, "", 0},
		"a route": {func(r *remediation.Request) {
			r.Action, r.Params = control.Route, control.Params{Strategy: "latency", QualityFloor: 0.7}
		}, nil, "", 0},
		"a route without a strategy": {func(r *remediation.Request) { r.Action, r.Params = control.Route, control.Params{QualityFloor: 0.7} }, nil, remediation.BadParams, 0},
		"a floor that is too high": {func(r *remediation.Request) {
			r.Action, r.Params = control.Route, control.Params{Strategy: "cost", QualityFloor: 7}
		}, nil, remediation.BadParams, 0},
		"a cheap route while a quality alert holds": {
			func(r *remediation.Request) { r.Action, r.Params = control.Route, control.Params{Strategy: "cost"} },
			[]control.Override{switched("a", "quality", 30)}, remediation.Flap, 0,
		},
		"a fast route while a quality alert holds": {
			func(r *remediation.Request) { r.Action, r.Params = control.Route, control.Params{Strategy: "latency"} },
			[]control.Override{switched("a", "quality", 30)}, "", 0,
		},
		"a failover off the list": {func(r *remediation.Request) { r.Action, r.Params = control.Failover, control.Params{Provider: "x"} }, nil, remediation.BadParams, 0},
		"a freeze":                {func(r *remediation.Request) { operator(r); r.Action, r.Params = control.Freeze, control.Params{} }, nil, "", 0},
		"a cache for more than a day": {func(r *remediation.Request) {
			r.Action, r.Params = control.EnableCache, control.Params{CacheTTL: control.Duration(25 * time.Hour)}
		}, nil, remediation.BadParams, 0},
		"a reused key":                      {func(r *remediation.Request) { r.ID = "a" }, []control.Override{switched("a", "economy", 30)}, remediation.IDReused, 0},
		"a freeze of the same scope":        {nil, []control.Override{frozen(control.Scope{Function: "qa"})}, remediation.Frozen, 0},
		"a freeze of everything":            {nil, []control.Override{frozen(control.Scope{})}, remediation.Frozen, 0},
		"a freeze of another function":      {nil, []control.Override{frozen(control.Scope{Function: "completion"})}, "", 0},
		"a freeze does not bind operators":  {operator, []control.Override{frozen(control.Scope{})}, "", 0},
		"a freeze that is over":             {nil, []control.Override{ended(frozen(control.Scope{}), 1, reverted)}, "", 0},
		"the same within the cooldown":      {nil, []control.Override{switched("a", "economy", 4)}, remediation.Cooldown, time.Minute},
		"the same on another function":      {func(r *remediation.Request) { r.Scope.Function = "completion" }, []control.Override{switched("a", "economy", 4)}, "", 0},
		"the same after the cooldown":       {nil, []control.Override{switched("a", "economy", 5)}, "", 0},
		"cooldown counts what was reverted": {nil, []control.Override{ended(switched("a", "economy", 4), 1, reverted)}, remediation.Cooldown, time.Minute},
		"another model has no cooldown":     {nil, []control.Override{switched("a", "standard", 4)}, "", 0},
		"operators have no cooldown":        {operator, []control.Override{switched("a", "economy", 4)}, "", 0},
		"a spent budget": {nil, []control.Override{switched("a", "standard", 50), switched("b", "standard", 40), switched("c", "standard", 30)},
			remediation.Budget, 10 * time.Minute},
		"a budget that has come back": {nil, []control.Override{switched("a", "standard", 60), switched("b", "standard", 40), switched("c", "standard", 30)}, "", 0},

		"quality soon after economy":            {quality, []control.Override{switched("a", "economy", 14)}, remediation.Flap, 0},
		"quality long after economy":            {quality, []control.Override{switched("a", "economy", 15)}, "", 0},
		"quality soon after economy elsewhere":  {func(r *remediation.Request) { quality(r); r.Scope.Function = "completion" }, []control.Override{switched("a", "economy", 1)}, "", 0},
		"quality on one endpoint soon after":    {func(r *remediation.Request) { quality(r); r.Scope.Endpoint = "/qa" }, []control.Override{switched("a", "economy", 1)}, remediation.Flap, 0},
		"an operator may reverse at once":       {func(r *remediation.Request) { quality(r); operator(r) }, []control.Override{switched("a", "economy", 1)}, "", 0},
		"economy while quality is in force":     {nil, []control.Override{switched("a", "quality", 50)}, remediation.Flap, 0},
		"quality after a recovery from economy": {quality, []control.Override{ended(switched("a", "economy", 14), 1, reverted)}, "", 0},
		"economy after a recovery from quality": {nil, []control.Override{ended(switched("a", "quality", 14), 1, reverted)}, "", 0},
		"quality soon after a superseded economy": {quality,
			[]control.Override{ended(switched("a", "economy", 40), 10, superseded), switched("b", "standard", 10)}, remediation.Flap, 0},
		"back and forth, though each recovered": {nil,
			[]control.Override{ended(switched("a", "economy", 14), 10, reverted), ended(switched("b", "quality", 9), 2, reverted)}, remediation.Flap, 0},
		"back and forth, but long ago": {nil,
			[]control.Override{ended(switched("a", "economy", 30), 16, reverted), ended(switched("b", "quality", 9), 2, reverted)}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d, refusal := plan(call(tt.edit), tt.overrides...)
			if tt.want == "" {
				if refusal != nil || d.Result != remediation.Applied || d.Overrides[0].ID != "new" {
					t.Errorf("got %v, %v, want applied", d.Result, refusal)
				}
				return
			}
			if refusal == nil || refusal.Reason != tt.want || refusal.RetryAfter != tt.retry {
				t.Fatalf("got %+v, %+v, want %s, retry after %v", d.Result, refusal, tt.want, tt.retry)
			}
		})
	}
}

func TestAppliedOverride(t *testing.T) {
	d, refusal := plan(call(nil))
	if refusal != nil {
		t.Fatal(refusal)
	}
	want := control.Override{ID: "new", Action: control.SwitchModel, Scope: control.Scope{Function: "qa"}, Params: control.Params{Model: "economy"},
		Start: noon, End: noon.Add(30 * time.Minute), Created: noon, Source: call(nil).Source}
	if diff := cmp.Diff([]control.Override{want}, d.Write); diff != "" {
		t.Errorf("write (-want +got):\n%s", diff)
	}
	if d.Before.Model != "standard" || d.After.Model != "economy" {
		t.Errorf("settings: got %s before, %s after, want standard, economy", d.Before.Model, d.After.Model)
	}
}

func TestNewSwitchSupersedesTheEarlier(t *testing.T) {
	earlier := switched("a", "standard", 30)
	byHand := switched("b", "standard", 20)
	byHand.Source.Kind = control.Operator
	elsewhere := switched("c", "standard", 20)
	elsewhere.Scope.Function = "completion"
	d, refusal := plan(call(nil), earlier, byHand, elsewhere)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if len(d.Write) != 2 || d.Write[1].ID != "a" || d.Write[1].Ended == nil || d.Write[1].Ended.Cause != remediation.CauseSuperseded || !d.Write[1].Ended.At.Equal(noon) {
		t.Errorf("write: got %+v, want the new one and the end of a", d.Write)
	}
	if len(d.Overrides) != 1 || d.Overrides[0].ID != "new" {
		t.Errorf("overrides: got %+v, want the new one", d.Overrides)
	}
}

func TestRepeatIsAnsweredAsTheFirstTime(t *testing.T) {
	first, refusal := plan(call(nil), switched("a", "standard", 30))
	if refusal != nil {
		t.Fatal(refusal)
	}
	later := noon.Add(4 * time.Minute)
	again := call(func(r *remediation.Request) {
		r.Timestamp = later
		r.Source.WorkflowRun = "another run"
		r.Duration = 30 * time.Minute
	})
	repeated, refusal := remediation.Plan(again, control.State{Overrides: []control.Override{first.Write[1], first.Write[0]}}, control.Settings{Model: "standard"}, limits, later)
	if refusal != nil {
		t.Fatal(refusal)
	}
	first.Result, first.Write = remediation.AlreadyApplied, nil
	if diff := cmp.Diff(first, repeated); diff != "" {
		t.Errorf("repeat (-want +got):\n%s", diff)
	}
}

func TestRepeatOfAnOldAlertIsNotStale(t *testing.T) {
	r := call(func(r *remediation.Request) {
		r.ID, r.Source.Cycle, r.Duration, r.TriggeredAt = "a", "cycle-a", time.Hour, noon.Add(-time.Hour)
	})
	if d, refusal := plan(r, switched("a", "economy", 50)); refusal != nil || d.Result != remediation.AlreadyApplied {
		t.Errorf("got %v, %v, want already_applied", d.Result, refusal)
	}
}

func TestRevert(t *testing.T) {
	by := func(cycle, id string) remediation.Request {
		return call(func(r *remediation.Request) {
			r.Action, r.Scope, r.Params, r.TriggeredAt = remediation.Revert, control.Scope{}, control.Params{}, time.Time{}
			r.Source = control.Source{Kind: control.Monitor}
			r.Cycle, r.OverrideID = cycle, id
		})
	}
	cached := switched("b", "", 20)
	cached.Action, cached.Params, cached.Source.Cycle = control.EnableCache, control.Params{CacheTTL: control.Duration(time.Minute)}, "cycle-a"
	state := []control.Override{switched("a", "economy", 30), cached, switched("c", "standard", 10), ended(switched("d", "economy", 40), 35, "reverted"), frozen(control.Scope{})}
	for name, tt := range map[string]struct {
		request remediation.Request
		want    remediation.Result
		ended   []string
		refused remediation.Reason
	}{
		"a cycle ends all that it made, also in a freeze": {by("cycle-a", ""), remediation.Reverted, []string{"a", "b"}, ""},
		"an ID ends one":                     {by("", "c"), remediation.Reverted, []string{"c"}, ""},
		"a cycle that made nothing":          {by("cycle-lost", ""), remediation.NothingToRevert, nil, ""},
		"a cycle that was reverted already":  {by("cycle-d", ""), remediation.NothingToRevert, nil, ""},
		"an override that was ended already": {by("", "d"), remediation.NothingToRevert, nil, ""},
		"an ID that nobody has":              {by("", "nobody"), "", nil, remediation.NotFound},
		"neither an ID nor a cycle":          {by("", ""), "", nil, remediation.BadParams},
		"both an ID and a cycle":             {by("cycle-a", "c"), "", nil, remediation.BadParams},
		"an old call, which may be a replay": {func() remediation.Request { r := by("cycle-a", ""); r.Timestamp = noon.Add(-time.Hour); return r }(), "", nil, remediation.BadTimestamp},
		"a dry run says what would be ended": {func() remediation.Request { r := by("cycle-a", ""); r.DryRun = true; return r }(), remediation.DryRun, []string{"a", "b"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, refusal := plan(tt.request, state...)
			if tt.refused != "" {
				if refusal == nil || refusal.Reason != tt.refused {
					t.Errorf("got %v, want %s", refusal, tt.refused)
				}
				return
			}
			if refusal != nil || d.Result != tt.want {
				t.Fatalf("got %s, %v, want %s", d.Result, refusal, tt.want)
			}
			var got []string
			for _, o := range d.Overrides {
				if o.Ended == nil || o.Ended.Cause != remediation.CauseReverted || !o.Ended.At.Equal(noon) {
					t.Errorf("%s was not ended now by the revert: %+v", o.ID, o.Ended)
				}
				got = append(got, o.ID)
			}
			if diff := cmp.Diff(tt.ended, got); diff != "" {
				t.Errorf("ended (-want +got):\n%s", diff)
			}
			if tt.request.DryRun && len(d.Write) > 0 {
				t.Error("a dry run writes")
			}
		})
	}
}

func TestDryRunSaysWhatARealOneDoes(t *testing.T) {
	state := switched("a", "standard", 30)
	applied, refusal := plan(call(nil), state)
	if refusal != nil {
		t.Fatal(refusal)
	}
	dry, refusal := plan(call(func(r *remediation.Request) { r.DryRun = true }), state)
	if refusal != nil {
		t.Fatal(refusal)
	}
	applied.Result, applied.Write = remediation.DryRun, nil
	if diff := cmp.Diff(applied, dry); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	if _, refusal := plan(call(func(r *remediation.Request) { r.DryRun = true }), switched("a", "economy", 1)); refusal == nil || refusal.Reason != remediation.Cooldown {
		t.Errorf("dry run within the cooldown: got %v, want cooldown", refusal)
	}
}
