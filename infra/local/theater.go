package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	assetfiles "github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/infra/local/ddfake"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/demo"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
)

const (
	// shown is how far back the charts go, in the stand-in's minutes; latest how many entries a page gets that knows none.
	shown  = 60
	latest = 200
	// kept bounds the entries that are remembered.
	kept = 2000
	// pastOverrides is how far back overrides are shown.
	pastOverrides = 24 * time.Hour
)

// theater is the page's function: the stand-in is its source, and this machine its stage.
func (f functions) theater() (http.Handler, error) {
	tel, err := f.telemetry("theater")
	if err != nil {
		return nil, err
	}
	source, err := newFeed(f.stack, f.store)
	if err != nil {
		return nil, err
	}
	free := !slices.ContainsFunc(f.stack.Providers, func(name string) bool { return name != embedded.Provider })
	playing := newStage(f.stack, source, f.traffic && free)
	done := make(chan struct{})
	opts := theater.Options{
		Source: source, Stage: playing, RemediationURL: f.stack.URL, QAURL: f.stack.URL, HTTP: f.stack.HTTP,
		ControlSecret: env.Secret(f.stack.ControlSecret), APIKey: env.Secret(f.stack.APIKey), Telemetry: tel,
		Service: service, Env: environment, Version: version, Interval: 250 * time.Millisecond, Done: done,
	}
	if f.stack.DatadogURL != "" {
		opts.Links = []theater.Link{{Title: "Stand-in for Datadog", URL: f.stack.DatadogURL}}
		opts.RUM = &theater.RUM{ApplicationID: rumApplication, ClientToken: f.stack.rumToken, Site: "datadoghq.com", Intake: f.stack.DatadogURL}
	}
	if opts.Analytics, err = f.analytics(tel); err != nil {
		return nil, err
	}
	t, err := theater.New(opts)
	if err != nil {
		return nil, err
	}
	f.stack.endStreams = sync.OnceFunc(func() { close(done) })
	f.stack.background("stage", playing.run)
	return f.wrap("theater", flushing(t.Handler(), opts.Analytics), theater.Auth(f.secrets), "", tel), nil
}

// rumApplication identifies the page at the stand-in.
const rumApplication = "00000000-0000-4000-8000-00000000cafe"

// feed is the theater's Source on this machine. It has no goroutine of its own: each look takes in what is new.
type feed struct {
	stack *Stack
	store control.Store
	slo   float64
	// boot tells the entries of this process from those of another.
	boot string

	mu sync.Mutex
	// told is how much of the stand-in's timeline is in the entries, seen which overrides are. dropped entries came before the
	// first that is kept.
	told    int
	seen    map[string]bool
	entries []theater.Entry
	dropped int
	// rows are those of the charts; spent and health are of the last of them, and judged is when the health was asked for.
	rows   []row
	spent  *theater.Cost
	health *theater.Health
	judged time.Time
	fresh  bool
}

var _ theater.Source = (*feed)(nil)

// row is what the charts show of one minute.
type row struct {
	at     time.Time
	values map[string]float64
}

func newFeed(s *Stack, store control.Store) (*feed, error) {
	// The objective is drawn as it stands in its asset.
	data, err := assetfiles.FS.ReadFile("slos/latency.json")
	if err != nil {
		return nil, fmt.Errorf("read the objective of the latency: %w", err)
	}
	var objective struct {
		SLI struct {
			Slice struct {
				Threshold float64 `json:"threshold"`
			} `json:"time_slice"`
		} `json:"sli_specification"`
	}
	if err := json.Unmarshal(data, &objective); err != nil {
		return nil, fmt.Errorf("read the objective of the latency: %w", err)
	}
	return &feed{stack: s, store: store, slo: objective.SLI.Slice.Threshold, boot: fmt.Sprintf("%x", time.Now().UnixNano()), seen: map[string]bool{}}, nil
}

// tell takes a line of the demo: what it does itself, since the rest is on the stand-in's timeline.
func (f *feed) tell(l demo.Line) {
	e := theater.Entry{At: l.At, Title: l.Text}
	label := l.Scenario
	for _, s := range demo.Scenarios() {
		if s.Name == l.Scenario {
			label = s.Label
		}
	}
	switch l.Kind {
	case "baseline":
		e.Kind, e.Title, e.Why = theater.KindScenario, label+" begins", "healthy traffic first, so that the monitor knows what is usual"
	case "fault":
		e.Kind, e.Title, e.Why = theater.KindFault, "Fault: "+l.Text, "put there on purpose, by the scenario "+label
		if l.Text == "the fault ends" {
			e.Kind, e.Title, e.Why = theater.KindCleared, "The fault ends", "the remedy was seen at work"
		}
	case "closed":
		e.Kind, e.Title, e.Why = theater.KindScenario, label+" is over: closed and reverted", l.Text
	case "failed":
		e.Kind, e.Title, e.Why = theater.KindFailure, label+" did not close", l.Text
	default:
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.catchUp(nil)
	f.add(e)
}

// add numbers an entry; f.mu is held.
func (f *feed) add(e theater.Entry) {
	e.ID = fmt.Sprintf("%s.%d", f.boot, f.dropped+len(f.entries)+1)
	f.entries = append(f.entries, e)
	if over := len(f.entries) - kept; over > 0 {
		f.entries = slices.Clone(f.entries[over:])
		f.dropped += over
	}
}

// catchUp takes in the stand-in's timeline, and what overrides did, in the order of their times; f.mu is held.
func (f *feed) catchUp(overrides []control.Override) {
	timeline := f.stack.Datadog.TimelineFrom(f.told)
	f.told += len(timeline)
	var fresh []theater.Entry
	for _, e := range timeline {
		if entry, ok := entryOf(e); ok {
			fresh = append(fresh, entry)
		}
	}
	for _, e := range theater.OverrideEntries(overrides, time.Now()) {
		if !f.seen[e.ID] {
			f.seen[e.ID] = true
			e.At = f.stack.Clock.Standing(e.At)
			fresh = append(fresh, e)
		}
	}
	slices.SortStableFunc(fresh, func(a, b theater.Entry) int { return a.At.Compare(b.At) })
	for _, e := range fresh {
		f.add(e)
	}
}

// Entries implements theater.Source.
func (f *feed) Entries(ctx context.Context, after string) ([]theater.Entry, error) {
	state, err := f.store.State(ctx, time.Now().Add(-pastOverrides))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.catchUp(state.Overrides)
	return slices.Clone(f.entries[f.after(after):]), err
}

// after is where the entries go on after the one with an ID; where the latest begin when there is none. f.mu is held.
func (f *feed) after(id string) int {
	text, ours := strings.CutPrefix(id, f.boot+".")
	n, err := strconv.Atoi(text)
	if !ours || err != nil || n < f.dropped || n > f.dropped+len(f.entries) {
		return max(0, len(f.entries)-latest)
	}
	return n - f.dropped
}

// State implements theater.Source.
func (f *feed) State(ctx context.Context) (theater.State, error) {
	now := f.stack.Clock.Now()
	s := theater.State{At: now.UTC(), Speed: f.stack.speed, InForce: []control.Override{}, History: []control.Override{}}
	state, err := f.store.State(ctx, time.Now().Add(-pastOverrides))
	if err != nil {
		s.Unavailable = append(s.Unavailable, "the overrides")
	}
	for _, o := range slices.Backward(state.Overrides) {
		if o.Active(time.Now()) {
			s.InForce = append(s.InForce, o)
		} else if !o.Start.After(time.Now()) && len(s.History) < 50 {
			s.History = append(s.History, o)
		}
	}
	monitors := f.stack.Datadog.Monitors()
	for _, m := range monitors {
		s.Monitors = append(s.Monitors, theater.Monitor{Name: m.Name, Status: m.Status, Value: worst(m), Critical: m.Thresholds.Critical})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.measure(now)
	s.Charts, s.Cost = f.charts(monitors), f.spent
	s.Health = f.judge(ctx)
	if s.Health == nil {
		s.Unavailable = append(s.Unavailable, "the health score")
	}
	return s, nil
}

// judge asks the function insights, once for each minute of the charts and at most once a second. f.mu is held.
func (f *feed) judge(ctx context.Context) *theater.Health {
	if f.health != nil && (!f.fresh || time.Since(f.judged) < time.Second) {
		return f.health
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/insights?only=health", http.NoBody)
	if err != nil || f.stack.insights == nil {
		return nil
	}
	out := httptest.NewRecorder()
	f.stack.insights.ServeHTTP(out, req)
	var health theater.Health
	if out.Code != http.StatusOK || json.Unmarshal(out.Body.Bytes(), &health) != nil {
		return nil
	}
	health.Window = "1h of the stand-in's clock"
	f.health, f.judged, f.fresh = &health, time.Now(), false
	return f.health
}

// measures are the lines that are no monitor's: their queries, over one minute.
var measures = []struct{ key, query string }{
	{"p50", "p50:llm.request.duration{service:" + service + "}"},
	{"p95", "p95:llm.request.duration{service:" + service + "}"},
	{"p99", "p99:llm.request.duration{service:" + service + "}"},
	{"cost", "sum:llm.request.cost{service:" + service + "}.as_count()"},
}

// watched are the monitors whose value is a line, by the key of it.
var watched = map[string]string{
	"quality": "Quality Degradation", "errors": "Error Burst", "safety": "Safety Block Surge", "health": "Health Score Degradation", "anomaly": "Cost Anomaly Detection",
}

// measure adds a row for each minute that is over since the last, and what was spent up to there; f.mu is held.
func (f *feed) measure(now time.Time) {
	minute := now.Truncate(time.Minute)
	next := minute.Add(-(shown - 1) * time.Minute)
	if len(f.rows) > 0 {
		if after := f.rows[len(f.rows)-1].at.Add(time.Minute); after.After(next) {
			next = after
		}
	}
	for at := next; !at.After(minute); at = at.Add(time.Minute) {
		r := row{at, map[string]float64{}}
		for _, m := range measures {
			if series, err := f.stack.Datadog.SeriesAt(m.query, at.Add(-time.Minute), at); err == nil && len(series) == 1 {
				r.values[m.key] = last(series[0].Values)
			}
		}
		for key, name := range watched {
			for _, sight := range f.stack.Datadog.Seen(name, at) {
				group := strings.TrimPrefix(sight.Group, "function:")
				r.values[key+" "+group] = sight.Value
				r.values[key+" point "+group], r.values[key+" upper "+group] = sight.Point, sight.Upper
			}
		}
		f.rows, f.fresh = append(f.rows, r), true
		spent, err := f.stack.Datadog.SeriesAt("sum:llm.request.cost{service:"+service+"}.as_count()", at.Add(-shown*time.Minute), at)
		if err == nil && len(spent) == 1 {
			if v := point(last(spent[0].Values)); v != nil {
				f.spent = &theater.Cost{USD: *v, Window: "1h"}
			}
		}
	}
	if over := len(f.rows) - shown; over > 0 {
		f.rows = slices.Clone(f.rows[over:])
	}
}

// charts draws the rows; f.mu is held.
func (f *feed) charts(monitors []ddfake.MonitorState) []theater.Chart {
	bounds := func(name, unit string) (out []theater.Threshold) {
		i := slices.IndexFunc(monitors, func(m ddfake.MonitorState) bool { return m.Name == name })
		if i < 0 {
			return nil
		}
		th := monitors[i].Thresholds
		for _, b := range []struct {
			kind  string
			value *float64
		}{{"critical", th.Critical}, {"warning", th.Warning}, {"recovery", th.CriticalRecovery}} {
			if b.value != nil {
				out = append(out, theater.Threshold{Kind: b.kind, Value: *b.value, Label: fmt.Sprintf("%s at %g%s", b.kind, *b.value, unit)})
			}
		}
		return out
	}
	line := func(name, key string) theater.Series { return theater.Series{Name: name, Values: f.column(key)} }
	edge := func(name, key string) theater.Series {
		return theater.Series{Name: name, Values: f.column(key), Bound: true}
	}
	charts := []theater.Chart{
		{Key: "latency", Title: "Latency", Unit: "ms", Monitor: "Latency SLO Burn",
			Series:     []theater.Series{line("p50", "p50"), line("p95", "p95"), line("p99", "p99")},
			Thresholds: []theater.Threshold{{Kind: "target", Value: f.slo, Label: fmt.Sprintf("SLO: p95 below %g ms", f.slo)}}},
		{Key: "cost", Title: "Cost per minute", Unit: "usd", Monitor: watched["anomaly"],
			Series: []theater.Series{
				line("qa", "anomaly point qa"), line("completion", "anomaly point completion"), edge("completion, expected at most", "anomaly upper completion"),
			}},
		{Key: "quality", Title: "Groundedness", Unit: "share", Monitor: watched["quality"],
			Series: []theater.Series{line("qa", "quality qa")}, Thresholds: bounds(watched["quality"], "")},
		{Key: "errors", Title: "Errors", Unit: "percent", Monitor: watched["errors"],
			Series: []theater.Series{line("qa", "errors qa"), line("completion", "errors completion")}, Thresholds: bounds(watched["errors"], " %")},
		{Key: "safety", Title: "Withheld by safety filters", Unit: "percent", Monitor: watched["safety"],
			Series: []theater.Series{line("all functions", "safety *")}, Thresholds: bounds(watched["safety"], " %")},
		{Key: "health", Title: "Health score", Unit: "score", Monitor: watched["health"],
			Series: []theater.Series{line("score", "health *")}, Thresholds: bounds(watched["health"], "")},
	}
	for i := range charts {
		for _, r := range f.rows {
			charts[i].At = append(charts[i].At, r.at.Unix())
		}
		charts[i].Thresholds = append([]theater.Threshold{}, charts[i].Thresholds...)
	}
	return charts
}

// column is one value of each row, null where there is no data.
func (f *feed) column(key string) []*float64 {
	out := make([]*float64, len(f.rows))
	for i, r := range f.rows {
		if v, ok := r.values[key]; ok {
			out[i] = point(v)
		}
	}
	return out
}

// point is a number that JSON knows, rounded to what can be seen.
func point(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	if v != 0 {
		digits := math.Pow(10, 4-math.Ceil(math.Log10(math.Abs(v))))
		v = math.Round(v*digits) / digits
	}
	return &v
}

func last(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return values[len(values)-1]
}

// worst is the value of the group that is nearest to the alert, or past it.
func worst(m ddfake.MonitorState) *float64 {
	values := make([]float64, 0, len(m.Groups))
	for _, v := range m.Groups {
		values = append(values, v)
	}
	if len(values) == 0 {
		return nil
	}
	if strings.Contains(m.Query, " < ") {
		return point(slices.Min(values))
	}
	return point(slices.Max(values))
}

// entryOf tells an entry of the stand-in's timeline as the page does. Events are not shown: those that matter are overrides, which
// the control state tells of.
func entryOf(e ddfake.Entry) (theater.Entry, bool) {
	out := theater.Entry{At: e.At, Monitor: e.Monitor, Workflow: e.Workflow, Status: e.Status, Title: e.Text}
	detail := func(key string) string {
		s, _ := e.Detail[key].(string)
		return s
	}
	switch e.Kind {
	case ddfake.KindTransition:
		out.Kind = theater.KindWarn
		switch monitor.Status(e.To) {
		case monitor.Alert:
			out.Kind = theater.KindAlert
		case monitor.OK:
			out.Kind = theater.KindRecovery
		case monitor.Warn, monitor.NoData:
		}
		out.Title = fmt.Sprintf("%s: %s → %s", e.Monitor, e.From, e.To)
		out.Why = transitionWhy(detail("value"), detail("threshold"), detail("group"))
	case ddfake.KindWorkflowStarted:
		out.Kind, out.Title, out.Why = theater.KindWorkflow, e.Workflow+" starts", "the monitor "+e.Monitor+" called it"
	case ddfake.KindWorkflowFinished:
		out.Kind, out.Title = theater.KindWorkflow, e.Workflow+" ends: "+e.Status
		if _, why, found := strings.Cut(e.Text, e.Status+": "); found {
			out.Why = why
		}
	case ddfake.KindWorkflowStep:
		out.Kind, out.Title, out.Why = theater.KindStep, strings.ReplaceAll(e.Step, "_", " "), stepWhy(e)
	case ddfake.KindIncident, ddfake.KindIncidentUpdate:
		out.Kind = theater.KindIncident
		number, text, _ := strings.Cut(e.Text, " ")
		out.Title, out.Why = "Incident "+number+" is open", text
		if e.Kind == ddfake.KindIncidentUpdate {
			out.Title = "Incident " + number + ": a line on its timeline"
		}
		if !strings.HasPrefix(number, "#") {
			out.Title, out.Why = "Incident "+e.Text+" is open", because(e)
		}
	case ddfake.KindPage:
		out.Kind, out.Title, out.Why = theater.KindPage, "Page: "+e.Text, because(e)
	case ddfake.KindPageResolved:
		out.Kind, out.Title, out.Why = theater.KindResolved, "Page resolved: "+e.Text, because(e)
	case ddfake.KindNotification:
		out.Kind, out.Title, out.Why = theater.KindNotification, "Notified: "+e.Text, because(e)
		if channel, text, found := strings.Cut(e.Text, ": "); found {
			out.Title, out.Why = "Message to "+channel, text
		}
	case ddfake.KindDeliveryFailure:
		out.Kind, out.Why = theater.KindFailure, because(e)
	default:
		return theater.Entry{}, false
	}
	return out, true
}

func transitionWhy(value, threshold, group string) string {
	var why string
	switch {
	case value == "" || value == "NaN":
		why = "there is no data"
	case threshold == "" || threshold == "NaN":
		why = "its value is " + value
	default:
		why = "its value is " + value + ", the threshold " + threshold
	}
	if group != "" && group != "*" {
		why += " (" + group + ")"
	}
	return why
}

// because names who made an entry.
func because(e ddfake.Entry) string {
	switch {
	case e.Workflow != "":
		return "by the workflow " + e.Workflow
	case e.Monitor != "":
		return "by the monitor " + e.Monitor
	}
	return ""
}

// stepWhy says what came out of a step, in a line.
func stepWhy(e ddfake.Entry) string {
	if e.Status != "success" {
		return e.Text
	}
	if _, branch, found := strings.Cut(e.Text, " → "); found && branch != "main" {
		return "the answer is " + branch
	}
	inputs, err := json.Marshal(e.Detail["inputs"])
	if err != nil {
		return ""
	}
	var in struct {
		Verb        string `json:"verb"`
		URL         string `json:"url"`
		Description string `json:"description"`
	}
	output, err := json.Marshal(e.Detail["output"])
	if err != nil {
		return ""
	}
	var out struct {
		Status int            `json:"status"`
		Code   int            `json:"statusCode"`
		Body   map[string]any `json:"body"`
	}
	// Inputs and outputs have a form for each action; what does not fit says nothing here.
	_ = json.Unmarshal(inputs, &in)
	_ = json.NewDecoder(bytes.NewReader(output)).Decode(&out)
	if in.URL == "" {
		return in.Description
	}
	path := in.URL
	if i := strings.Index(path, "://"); i >= 0 {
		if j := strings.IndexByte(path[i+3:], '/'); j >= 0 {
			path = path[i+3+j:]
		}
	}
	why := in.Verb + " " + path
	if status := cmp.Or(out.Status, out.Code); status != 0 {
		why += fmt.Sprintf(": %d", status)
	}
	for _, key := range []string{"result", "summary", "verdict", "detail"} {
		if text, ok := out.Body[key].(string); ok {
			return why + ", " + text
		}
	}
	return why
}
