package query_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/query"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/shared/ddapi"
)

// TestEventsAreSearchedAsWatchdogsStoriesAre goes over a socket, by the client that insights use.
func TestEventsAreSearchedAsWatchdogsStoriesAre(t *testing.T) {
	store, err := metric.New(metric.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := func(minute int) time.Time { return time.Date(2026, 11, 25, 12, minute, 0, 0, time.UTC) }
	story := func(minute int, key, service string) search.Event {
		return search.Event{
			Timestamp: at(minute), Source: "watchdog", Service: service, Message: "text of " + key,
			Tags: []string{"story_key:" + key, "story_category:apm"}, Attributes: map[string]any{"title": "title of " + key},
		}
	}
	all := []search.Event{story(1, "a", "s"), story(3, "c", "s"), story(2, "b", "s"), story(4, "d", "another"), {Timestamp: at(5), Source: "custom", Service: "s"}}
	handler, err := query.New(query.Options{
		Metrics: store, APIKey: "k", AppKey: "a",
		Events: func(from, to time.Time) (within []search.Event) {
			for _, e := range all {
				if !e.Timestamp.Before(from) && e.Timestamp.Before(to) {
					within = append(within, e)
				}
			}
			return within
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	client, err := ddapi.New(ddapi.Options{APIKey: "k", AppKey: "a", BaseURL: server.URL, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	datadog := metrics.Datadog{API: client.Repeatable()}
	got, err := datadog.Events(t.Context(), "source:watchdog service:s", at(0), at(10), 2)
	if err != nil {
		t.Fatal(err)
	}
	want := []metrics.Event{
		{At: at(3), Title: "title of c", Text: "text of c", Tags: []string{"story_key:c", "story_category:apm"}},
		{At: at(2), Title: "title of b", Text: "text of b", Tags: []string{"story_key:b", "story_category:apm"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for name, limit := range map[string]int{"source:(": 5, "*": 1001} {
		if _, err := datadog.Events(t.Context(), name, at(0), at(10), limit); err == nil {
			t.Errorf("%q with limit %d: no error", name, limit)
		}
	}
	if _, err := datadog.Events(t.Context(), "*", at(10), at(0), 1); err == nil {
		t.Error("backwards: no error")
	}
}
