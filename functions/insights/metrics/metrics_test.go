package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/insights/metrics"
)

// api answers with a document, and keeps what it was asked.
type api struct {
	doc  string
	err  error
	path string
	got  []byte
}

func (a *api) Do(_ context.Context, method, path string, _ url.Values, in, out any) error {
	a.path = method + " " + path
	a.got, _ = json.Marshal(in)
	if a.err != nil {
		return a.err
	}
	return json.Unmarshal([]byte(a.doc), out)
}

func TestRowsAreGroups(t *testing.T) {
	columns := func(text string) string { return `{"data":{"attributes":{"columns":[` + text + `]}}}` }
	for name, tt := range map[string]struct {
		doc  string
		want []metrics.Row
		bad  bool
	}{
		"two tags, two queries": {columns(`{"name":"model","type":"group","values":[["m1"],["m2"]]},{"name":"provider","type":"group","values":[["p"],["p"]]},
			{"name":"a","type":"number","values":[1,2]},{"name":"b","type":"number","values":[null,0.5]}`), []metrics.Row{
			{Tags: []string{"m1", "p"}, Values: map[string]float64{"a": 1}}, {Tags: []string{"m2", "p"}, Values: map[string]float64{"a": 2, "b": 0.5}},
		}, false},
		"a group without a number": {columns(`{"name":"model","type":"group","values":[["m1"]]}`), []metrics.Row{{Tags: []string{"m1"}, Values: map[string]float64{}}}, false},
		"no groups":                {columns(`{"name":"a","type":"number","values":[3]}`), []metrics.Row{{Values: map[string]float64{"a": 3}}}, false},
		"nothing":                  {columns(``), nil, false},
		"groups that are none":     {columns(`{"name":"model","type":"group","values":["m1"]}`), nil, true},
		"numbers that are none":    {columns(`{"name":"a","type":"number","values":[[1]]}`), nil, true},
	} {
		got, err := metrics.Datadog{API: &api{doc: tt.doc}}.Rows(t.Context(), nil, time.UnixMilli(1), time.UnixMilli(2))
		if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != tt.bad {
			t.Errorf("%s: error %v, want %v; rows (-want +got):\n%s", name, err, tt.bad, diff)
		}
	}
}

func TestQueriesAreWrittenAsDatadogReadsThem(t *testing.T) {
	for want, got := range map[string]metrics.Query{
		"sum:llm.request.cost{service:s}.as_count()":                       metrics.Sum("x", "llm.request.cost", "service:s"),
		"count:llm.request.cost{service:s} by {model,provider}.as_count()": metrics.Points("x", "llm.request.cost", "service:s", "model", "provider"),
		"sum:llm.request.cost{service:s,env:prod} by {caller}.as_count()":  metrics.Sum("x", "llm.request.cost", "service:s,env:prod", "caller"),
	} {
		if diff := cmp.Diff(metrics.Query{Name: "x", Text: want, Aggregator: "sum"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestEvents(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	a := &api{doc: `{"data":[{"id":"1","type":"event","attributes":{"timestamp":"2026-11-25T12:00:00Z","message":"text","tags":["story_key:k","b"],"attributes":{"title":"title","other":{}}}}],"meta":{}}`}
	got, err := metrics.Datadog{API: a}.Events(t.Context(), "source:watchdog", time.UnixMilli(1000), time.UnixMilli(2000), 5)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]metrics.Event{{At: at, Title: "title", Text: "text", Tags: []string{"story_key:k", "b"}}}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got[0].Tag("story_key") != "k" || got[0].Tag("nothing") != "" {
		t.Errorf("tags of %+v", got[0])
	}
	want := `POST /api/v2/events/search {"filter":{"from":"1000","to":"2000","query":"source:watchdog"},"page":{"limit":5},"sort":"-timestamp"}`
	if diff := cmp.Diff(want, a.path+" "+string(a.got)); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if _, err := (metrics.Datadog{API: &api{err: errors.New("403")}}).Events(t.Context(), "*", at, at, 1); err == nil || err.Error() != "search events: 403" {
		t.Errorf("error %v", err)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(`{"data":{"attributes":{"columns":[{"name":"m","type":"group","values":[["a","b"],[]]},{"name":"a","type":"number","values":[1,null,3]}]}}}`)
	f.Add(`{"data":[{"attributes":{"timestamp":"x"}}]}`)
	f.Fuzz(func(t *testing.T, doc string) {
		d := metrics.Datadog{API: &api{doc: doc}}
		rows, err := d.Rows(t.Context(), nil, time.UnixMilli(1), time.UnixMilli(2))
		for _, r := range rows {
			if r.Values == nil || err != nil {
				t.Errorf("%q: %+v, %v", doc, r, err)
			}
		}
		if _, err := d.Events(t.Context(), "*", time.UnixMilli(1), time.UnixMilli(2), 1); err == nil && doc == "" {
			t.Error("an empty document is an answer")
		}
	})
}
