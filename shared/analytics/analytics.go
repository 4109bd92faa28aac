// Package analytics tells how the product is used: which endpoints and features by whom, what people click, and what they get out of
// it. It is on top of telemetry, which has the metrics product_analytics.*, and of Datadog's API, which takes server-side events of
// Product Analytics.
//
//	                    metrics                               event of the stream   server-side event
//	TrackEndpointUsage  endpoint_usage, _latency, _cost                             endpoint_used
//	TrackRequest        those are derived from the exchange                         endpoint_used, answer_delivered
//	TrackFeatureUsage                                         yes                   feature_used
//	TrackUserAction                                           yes                   user_action
//	TrackConversion     conversion_value                      yes                   its name
//	TrackEvent                                                yes                   its name
//
// Events of the stream are titled "Product Analytics: <name>". Of each name and subject one a minute is posted by each instance,
// which says how many there were: a stream that has one for every request is read by nobody, and Datadog takes a limited number.
// Server-side events are each sent, since funnels are made of them, and only where an application of Product Analytics is configured;
// they are billed. They wait for Flush, which is called once at the end of a request, after its response has been written.
//
// Nothing here fails a request. What could not be sent is counted in llm.telemetry.dropped, with the reason analytics.
package analytics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// API sends server-side events; a client of shared/ddapi at its host ddapi.AnalyticsIntake is one.
type API interface {
	Do(ctx context.Context, method, path string, query url.Values, in, out any) error
}

// Options configure a Client.
type Options struct {
	// Telemetry takes metrics and events; nil takes nothing.
	Telemetry *telemetry.Client
	// API takes server-side events of Application, the ID of an application of Product Analytics. Both or none.
	API         API
	Application string
	// Service names the product in server-side events.
	Service string
	// Timeout bounds a Flush; 300 ms when 0.
	Timeout time.Duration
}

// Bounds of what waits to be sent, of how many are sent at the same time, and of how often the stream tells of a name.
const (
	mostWaiting = 100
	atOnce      = 4
	every       = time.Minute
	mostNames   = 1000
)

// Client tracks. It is safe for concurrent use; a nil Client tracks nothing.
type Client struct {
	opts Options

	mu      sync.Mutex
	waiting []item
	lost    int
	told    map[string]*telling
}

// telling is when the stream was told of a name last, and how often it happened since.
type telling struct {
	at    time.Time
	since int
}

// New checks the options and returns a Client.
func New(opts Options) (*Client, error) {
	if (opts.API == nil) != (opts.Application == "") {
		return nil, fmt.Errorf("analytics: API and Application go together")
	}
	if opts.Timeout == 0 {
		opts.Timeout = 300 * time.Millisecond
	}
	return &Client{opts: opts, told: map[string]*telling{}}, nil
}

// User is who did something. One of the two is required for a server-side event.
type User struct {
	// ID is the name of an API key, or another of a bounded set: never a person's.
	ID string
	// Session groups what one user did in a row; empty when it is not known.
	Session string
}

// item is ProductAnalyticsServerSideEventItem, with attributes of our own.
type item struct {
	Type        string         `json:"type"`
	Application named          `json:"application"`
	Event       event          `json:"event"`
	User        *named         `json:"usr,omitempty"`
	Session     *named         `json:"session,omitempty"`
	Service     string         `json:"service,omitempty"`
	LLM         map[string]any `json:"llm,omitempty"`
}

type named struct {
	ID string `json:"id"`
}

type event struct {
	Name string `json:"name"`
}

// TrackEvent tells of anything that happened.
func (c *Client) TrackEvent(ctx context.Context, u User, name string, attributes map[string]any) {
	c.stream(ctx, name, "", u)
	c.send(u, name, attributes)
}

// TrackEndpointUsage tells of a request to an endpoint that does not go through the gateway. costUSD is nil where nothing is known.
func (c *Client) TrackEndpointUsage(ctx context.Context, u User, endpoint, requestType string, success bool, latency time.Duration, costUSD *float64) {
	if c == nil {
		return
	}
	outcome := telemetry.OutcomeSuccess
	if !success {
		outcome = telemetry.OutcomeError
	}
	tags := []string{"endpoint:" + endpoint, "request_type:" + requestType, "outcome:" + string(outcome), "caller:" + u.ID}
	ms := float64(latency) / float64(time.Millisecond)
	c.opts.Telemetry.Add(ctx, "product_analytics.endpoint_usage", 1, tags...)
	c.opts.Telemetry.Add(ctx, "product_analytics.endpoint_latency", ms, tags...)
	attributes := map[string]any{"endpoint": endpoint, "request_type": requestType, "success": success, "latency_ms": ms}
	if costUSD != nil {
		c.opts.Telemetry.Add(ctx, "product_analytics.endpoint_cost", *costUSD, tags...)
		attributes["cost_usd"] = *costUSD
	}
	c.send(u, "endpoint_used", attributes)
}

// TrackRequest tells of a request through the gateway, whose metrics its exchange has, and of the features that it used. An answer
// that was delivered, and that is none of a refusal, unsupported or cut, is a conversion: one answer.
func (c *Client) TrackRequest(ctx context.Context, e *telemetry.Exchange) {
	if c == nil {
		return
	}
	u := User{e.Caller, e.Session}
	success := e.Outcome == telemetry.OutcomeSuccess
	if c.opts.API != nil {
		c.send(u, "endpoint_used", attributes(e))
	}
	for _, f := range e.Features {
		c.stream(ctx, "feature_used", f, u)
	}
	if q := e.Quality; success && (q == nil || !q.Refusal && !q.Ungrounded && !q.Truncated) {
		c.opts.Telemetry.Add(ctx, "product_analytics.conversion_value", 1, "endpoint:"+e.Endpoint, "caller:"+u.ID)
		c.send(u, "answer_delivered", map[string]any{"endpoint": e.Endpoint, "value": 1})
	}
}

// attributes are what a server-side event says of a request.
func attributes(e *telemetry.Exchange) map[string]any {
	a := map[string]any{
		"endpoint": e.Endpoint, "request_type": string(e.Type), "success": e.Outcome == telemetry.OutcomeSuccess,
		"latency_ms": float64(e.Duration) / float64(time.Millisecond),
		"model":      e.Model, "provider": e.Provider, "tier": e.Tier, "cache": string(e.Cache), "outcome": string(e.Outcome),
	}
	if e.CostUSD != nil {
		a["cost_usd"] = *e.CostUSD
	}
	if len(e.Features) > 0 {
		a["features"] = e.Features
	}
	return a
}

// TrackFeatureUsage tells that a feature was used.
func (c *Client) TrackFeatureUsage(ctx context.Context, u User, feature string) {
	c.stream(ctx, "feature_used", feature, u)
	c.send(u, "feature_used", map[string]any{"feature": feature})
}

// TrackUserAction tells what a person did in the page, such as a click, and on what.
func (c *Client) TrackUserAction(ctx context.Context, u User, action, target string) {
	c.stream(ctx, "user_action", strings.TrimSpace(action+" "+target), u)
	c.send(u, "user_action", map[string]any{"action": action, "target": target})
}

// TrackConversion tells that a user got something of value, in the unit of whoever tracks it.
func (c *Client) TrackConversion(ctx context.Context, u User, name string, value float64) {
	if c == nil {
		return
	}
	c.opts.Telemetry.Add(ctx, "product_analytics.conversion_value", value, "caller:"+u.ID)
	c.stream(ctx, name, "", u)
	c.send(u, name, map[string]any{"value": value})
}

// stream posts an event of the event stream, if the last one of its name and subject was long enough ago.
func (c *Client) stream(ctx context.Context, name, subject string, u User) {
	if c == nil {
		return
	}
	n := c.times(name+"\x00"+subject, time.Now())
	if n == 0 {
		return
	}
	text := fmt.Sprintf("by %s, %d times since the last of this instance", u.ID, n)
	if subject != "" {
		text = subject + ", " + text
	}
	c.opts.Telemetry.Event(ctx, telemetry.Event{Title: "Product Analytics: " + name, Text: text, Type: "info", AggregationKey: "product-analytics"})
}

// times is how often something happened since it was told of last, and 0 when it is too early to tell of it.
func (c *Client) times(key string, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.told[key]
	if !ok {
		if len(c.told) >= mostNames {
			clear(c.told) // names are few, unless somebody makes them up
		}
		t = &telling{}
		c.told[key] = t
	}
	if t.since++; ok && now.Sub(t.at) < every {
		return 0
	}
	n := t.since
	t.at, t.since = now, 0
	return n
}

// send keeps a server-side event for Flush.
func (c *Client) send(u User, name string, attributes map[string]any) {
	if c == nil || c.opts.API == nil || u == (User{}) {
		return
	}
	i := item{Type: "server", Application: named{c.opts.Application}, Event: event{name}, Service: c.opts.Service, LLM: attributes}
	if u.ID != "" {
		i.User = &named{u.ID}
	}
	if u.Session != "" {
		i.Session = &named{u.Session}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= mostWaiting {
		c.lost++
		return
	}
	c.waiting = append(c.waiting, i)
}

// Flush sends what waits, at most for Timeout, and counts what it could not send. Within a request, where TrackRequest is put off by
// telemetry.Later, it must be, too.
func (c *Client) Flush(ctx context.Context) {
	if c == nil {
		return
	}
	c.mu.Lock()
	waiting, lost := c.waiting, c.lost
	c.waiting, c.lost = nil, 0
	c.mu.Unlock()
	if len(waiting) == 0 && lost == 0 {
		return
	}
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.Timeout)
	defer cancel()
	failed, why := c.deliver(sending, waiting)
	if lost += failed; lost > 0 {
		c.opts.Telemetry.Add(ctx, "llm.telemetry.dropped", float64(lost), "reason:analytics")
	}
	if why != nil {
		c.opts.Telemetry.Logger().WarnContext(ctx, "analytics not sent", slog.String("error.message", why.Error()))
	}
}

// deliver sends each event once: one that may have arrived is not sent again.
func (c *Client) deliver(ctx context.Context, items []item) (failed int, why error) {
	errs := make([]error, len(items))
	var senders sync.WaitGroup
	for first := range min(atOnce, len(items)) {
		senders.Go(func() {
			for i := first; i < len(items); i += atOnce {
				errs[i] = c.opts.API.Do(ctx, http.MethodPost, "/api/v2/prodlytics", nil, items[i], nil)
			}
		})
	}
	senders.Wait()
	for _, err := range errs {
		if err != nil {
			failed, why = failed+1, err
		}
	}
	return failed, why
}

// Handler flushes after each request: when its response has been written whole, and has left as far as the platform lets it. On a
// function URL of Lambda a response has no length, so that its reader waits for the end of Flush.
func (c *Client) Handler(next http.Handler) http.Handler {
	if c == nil || c.opts.API == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		telemetry.Later(r.Context(), func() {
			if w.Header().Get("Content-Length") != "" {
				_ = http.NewResponseController(w).Flush() //nolint:errcheck // where the response can't leave before its end, it leaves then
			}
			c.Flush(r.Context())
		})
	})
}
