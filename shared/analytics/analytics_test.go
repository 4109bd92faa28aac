package analytics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/analytics"
	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// intake keeps what is sent.
type intake struct {
	mu    sync.Mutex
	got   []string
	err   error
	delay time.Duration
}

func (i *intake) Do(ctx context.Context, method, path string, _ url.Values, in, _ any) error {
	select {
	case <-time.After(i.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	body, err := json.Marshal(in)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return i.err
	}
	i.got = append(i.got, method+" "+path+" "+string(body))
	slices.Sort(i.got)
	return err
}

func start(t testing.TB, to *intake) (*analytics.Client, *telemetry.Memory) {
	t.Helper()
	memory := &telemetry.Memory{}
	tel, err := telemetry.New(telemetry.Options{Sink: memory, Logger: slog.New(slog.DiscardHandler), Function: "qa"})
	if err != nil {
		t.Fatal(err)
	}
	opts := analytics.Options{Telemetry: tel, Service: "s"}
	if to != nil {
		opts.API, opts.Application = to, "app"
	}
	c, err := analytics.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c, memory
}

var web = analytics.User{ID: "web", Session: "s-1"}

const head = `POST /api/v2/prodlytics {"type":"server","application":{"id":"app"},"event":{"name":"%s"},"usr":{"id":"web"},"session":{"id":"s-1"},"service":"s"%s}`

func TestWhatIsTracked(t *testing.T) {
	cost := 0.25
	bad := &telemetry.Quality{Ungrounded: true}
	exchange := func(outcome telemetry.Outcome, q *telemetry.Quality) *telemetry.Exchange {
		return &telemetry.Exchange{
			Endpoint: "/qa", Type: llm.QA, Caller: "web", Session: "s-1", Outcome: outcome, Duration: 1500 * time.Millisecond, CostUSD: &cost, Model: "m", Provider: "p",
			Tier: "standard", Cache: telemetry.CacheMiss, Quality: q,
		}
	}
	request := func(success bool, outcome, features string) string {
		return fmt.Sprintf(head, "endpoint_used", fmt.Sprintf(
			`,"llm":{"cache":"miss","cost_usd":0.25,"endpoint":"/qa",%s"latency_ms":1500,"model":"m","outcome":"%s","provider":"p","request_type":"qa","success":%v,"tier":"standard"}`, features, outcome, success))
	}
	for name, tt := range map[string]struct {
		track  func(ctx context.Context, c *analytics.Client)
		points map[string]float64
		events []string
		sent   []string
	}{
		"an endpoint": {
			func(ctx context.Context, c *analytics.Client) {
				c.TrackEndpointUsage(ctx, web, "/insights", "insights", true, time.Second, &cost)
			},
			map[string]float64{"product_analytics.endpoint_usage": 1, "product_analytics.endpoint_latency": 1000, "product_analytics.endpoint_cost": 0.25}, nil,
			[]string{fmt.Sprintf(head, "endpoint_used", `,"llm":{"cost_usd":0.25,"endpoint":"/insights","latency_ms":1000,"request_type":"insights","success":true}`)},
		},
		"an endpoint without a cost": {
			func(ctx context.Context, c *analytics.Client) {
				c.TrackEndpointUsage(ctx, web, "/insights", "insights", false, time.Second, nil)
			},
			map[string]float64{"product_analytics.endpoint_usage": 1, "product_analytics.endpoint_latency": 1000}, nil,
			[]string{fmt.Sprintf(head, "endpoint_used", `,"llm":{"endpoint":"/insights","latency_ms":1000,"request_type":"insights","success":false}`)},
		},
		"a request with a good answer": {
			func(ctx context.Context, c *analytics.Client) {
				e := exchange(telemetry.OutcomeSuccess, nil)
				e.Features = []string{"document"}
				c.TrackRequest(ctx, e)
			},
			map[string]float64{"product_analytics.conversion_value": 1}, []string{"Product Analytics: feature_used"},
			[]string{fmt.Sprintf(head, "answer_delivered", `,"llm":{"endpoint":"/qa","value":1}`), request(true, "success", `"features":["document"],`)},
		},
		"a request with a bad answer": {
			func(ctx context.Context, c *analytics.Client) {
				c.TrackRequest(ctx, exchange(telemetry.OutcomeSuccess, bad))
			},
			map[string]float64{}, nil, []string{request(true, "success", "")},
		},
		"a request that failed": {
			func(ctx context.Context, c *analytics.Client) {
				c.TrackRequest(ctx, exchange(telemetry.OutcomeError, nil))
			},
			map[string]float64{}, nil, []string{request(false, "error", "")},
		},
		"a feature": {
			func(ctx context.Context, c *analytics.Client) { c.TrackFeatureUsage(ctx, web, "stream") },
			map[string]float64{}, []string{"Product Analytics: feature_used"}, []string{fmt.Sprintf(head, "feature_used", `,"llm":{"feature":"stream"}`)},
		},
		"a click": {
			func(ctx context.Context, c *analytics.Client) { c.TrackUserAction(ctx, web, "click", "revert") },
			map[string]float64{}, []string{"Product Analytics: user_action"}, []string{fmt.Sprintf(head, "user_action", `,"llm":{"action":"click","target":"revert"}`)},
		},
		"a conversion": {
			func(ctx context.Context, c *analytics.Client) { c.TrackConversion(ctx, web, "signed_up", 9.5) },
			map[string]float64{"product_analytics.conversion_value": 9.5}, []string{"Product Analytics: signed_up"}, []string{fmt.Sprintf(head, "signed_up", `,"llm":{"value":9.5}`)},
		},
		"an event": {
			func(ctx context.Context, c *analytics.Client) { c.TrackEvent(ctx, web, "imported", nil) },
			map[string]float64{}, []string{"Product Analytics: imported"}, []string{fmt.Sprintf(head, "imported", "")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := &intake{}
			c, memory := start(t, to)
			tt.track(t.Context(), c)
			if len(to.got) > 0 {
				t.Errorf("sent before Flush: %v", to.got)
			}
			c.Flush(t.Context())
			points := map[string]float64{}
			for _, m := range telemetry.Catalogue() {
				if sum, n := memory.Sum(m.Name); n > 0 {
					points[m.Name] = sum
				}
			}
			var events []string
			for _, e := range memory.Events() {
				events = append(events, e.Title)
			}
			if diff := cmp.Diff(tt.points, points); diff != "" {
				t.Errorf("points (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.events, events); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.sent, to.got); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheStreamIsToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, memory := start(t, nil)
		for range 10 {
			c.TrackUserAction(t.Context(), web, "click", "revert")
			c.TrackUserAction(t.Context(), web, "click", "play")
		}
		time.Sleep(time.Minute)
		c.TrackUserAction(t.Context(), web, "click", "revert")
		var texts []string
		for _, e := range memory.Events() {
			texts = append(texts, e.Text)
		}
		want := []string{"click revert, by web, 1 times since the last of this instance", "click play, by web, 1 times since the last of this instance", "click revert, by web, 10 times since the last of this instance"}
		if diff := cmp.Diff(want, texts); diff != "" {
			t.Errorf("texts (-want +got):\n%s", diff)
		}
	})
}

func TestWhatCanNotBeSentIsCountedAndFailsNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		to   *intake
		n    int
		want float64
	}{
		"an intake that refuses":    {&intake{err: errors.New("403")}, 3, 3},
		"an intake that is slow":    {&intake{delay: time.Second}, 3, 3},
		"more than can wait":        {&intake{}, 150, 50},
		"an intake that takes them": {&intake{}, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, memory := start(t, tt.to)
				for range tt.n {
					c.TrackEvent(t.Context(), web, "imported", nil)
				}
				begin := time.Now()
				c.Flush(t.Context())
				if took := time.Since(begin); took > 300*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if got, _ := memory.Sum("llm.telemetry.dropped", "reason:analytics"); got != tt.want {
					t.Errorf("%v were counted as dropped, want %v", got, tt.want)
				}
				c.Flush(t.Context())
				if got, _ := memory.Sum("llm.telemetry.dropped"); got != tt.want {
					t.Errorf("after another flush %v are dropped, want %v", got, tt.want)
				}
			})
		})
	}
}

// TestOverTheWire goes through the real client, as far as the intake.
func TestOverTheWire(t *testing.T) {
	var path, key, body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		path, key, body = r.URL.Path, r.Header.Get("DD-API-KEY"), string(data)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	client, err := ddapi.New(ddapi.Options{APIKey: "k", BaseURL: server.URL, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	at, err := client.At(ddapi.AnalyticsIntake)
	if err != nil {
		t.Fatal(err)
	}
	c, err := analytics.New(analytics.Options{API: at, Application: "app", Service: "s", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	handler := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.TrackUserAction(r.Context(), web, "click", "play")
		_, _ = io.WriteString(w, "done")
	}))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if path != "/api/v2/prodlytics" || key != "k" || !strings.Contains(body, `"name":"user_action"`) || w.Body.String() != "done" {
		t.Errorf("got %s with key %q: %s; the answer is %q", path, key, body, w.Body)
	}
}

func TestNothingIsTrackedByNobody(t *testing.T) {
	var c *analytics.Client
	c.TrackEvent(t.Context(), web, "x", nil)
	c.TrackRequest(t.Context(), &telemetry.Exchange{})
	c.TrackConversion(t.Context(), web, "x", 1)
	c.TrackEndpointUsage(t.Context(), web, "/", "x", true, 0, nil)
	c.Flush(t.Context())
	next := http.NotFoundHandler()
	if c.Handler(next) == nil {
		t.Error("no handler")
	}
	if _, err := analytics.New(analytics.Options{Application: "app"}); err == nil {
		t.Error("an application without an API: no error")
	}
}
