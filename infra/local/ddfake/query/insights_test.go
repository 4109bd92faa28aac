package query_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/functions/insights"
	"github.com/llm-reliability/control-plane/functions/insights/metrics"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/query"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// TestInsightsReadTheStandIn goes the whole way: what the functions record, the store, this API over a socket, the client, the
// function, and the score as a metric.
func TestInsightsReadTheStandIn(t *testing.T) {
	store, err := metric.New(metric.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const speed = 60 // the stand-in's hour is our minute
	now := time.Now()
	standIn := func(t time.Time) time.Time { return now.Add(t.Sub(now) * speed) }
	handler, err := query.New(query.Options{
		Metrics: store, APIKey: "k", AppKey: "a", ToStandIn: standIn, ToCaller: func(t time.Time) time.Time { return now.Add(t.Sub(now) / speed) },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	// A day of cheap traffic, then an hour that costs twice as much, is slow for one in ten, and fails for one in twenty.
	record := func(ago time.Duration, e telemetry.Exchange) {
		for _, p := range telemetry.Points(&e) {
			store.Add(p.Metric, append([]string{"service:s", "env:e"}, p.Tags...), p.Value, now.Add(-ago))
			store.Add(p.Metric, []string{"service:another"}, 1e6, now.Add(-ago))
		}
	}
	cost := func(v float64) *float64 { return &v }
	for i := range 500 {
		record(time.Hour+time.Duration(i+1)*2*time.Minute, telemetry.Exchange{Outcome: telemetry.OutcomeSuccess, Duration: 800 * time.Millisecond, CostUSD: cost(0.001)})
	}
	for i := range 100 {
		e := telemetry.Exchange{Outcome: telemetry.OutcomeSuccess, Duration: time.Second, CostUSD: cost(0.002)}
		if i%10 == 0 {
			e.Duration = 5 * time.Second
		}
		if i%20 == 5 {
			e.Outcome, e.ErrorType = telemetry.OutcomeError, "overloaded"
		}
		record(time.Minute+time.Duration(i)*30*time.Second, e)
	}

	client, err := ddapi.New(ddapi.Options{APIKey: "k", AppKey: "a", BaseURL: server.URL, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	memory := &telemetry.Memory{}
	tel, err := telemetry.New(telemetry.Options{Sink: memory, Logger: slog.New(slog.DiscardHandler), Function: "insights"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := insights.New(insights.Options{Metrics: metrics.Datadog{API: client.Repeatable()}, Telemetry: tel, Scope: "service:s,env:e", Window: time.Hour / speed})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/insights", nil)
	r.Header.Set(insights.EmitHeader, insights.EmitScore)
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	var got insights.Document
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("got %d %s, %v", w.Code, w.Body, err)
	}
	scores := map[string]string{}
	for name, p := range got.Parts {
		scores[name] = fmt.Sprint(p.Score)
	}
	want := map[string]string{"performance": "50", "reliability": "50", "cost": "50", "security": "100"}
	if diff := cmp.Diff(want, scores); diff != "" || got.Window != "1m" || len(got.LeftOut) != 1 || got.LeftOut[0].Part != "quality" {
		t.Errorf("%s; scores (-want +got):\n%s", w.Body, diff)
	}
	if sum, n := memory.Sum("llm.health_score", "function:insights"); n != 1 || got.Score == nil || sum != *got.Score {
		t.Errorf("emitted %v in %d points, want the score of %s", sum, n, w.Body)
	}

	server.Close()
	w = httptest.NewRecorder()
	if f.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/insights", nil)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without Datadog: got %d %s, want 503", w.Code, w.Body)
	}
}
