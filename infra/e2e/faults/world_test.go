package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/llm-reliability/control-plane/functions/completion"
	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/cache/cachetest"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb"
	"github.com/llm-reliability/control-plane/shared/control/dynamodb/dynamotest"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/llm/openai"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// begin is when every bubble starts to be looked at: prices are known then.
var begin = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// The two places that serve the model, in the order of the route.
const (
	near = "europe-west1"
	far  = "global"
)

// setup is what a fault is played on.
type setup struct {
	// near and far are the scripts of the two places; one that is nil answers, and an empty one is of a place that refuses
	// connections. With alone, far is not on the route.
	near, far []step
	alone     bool
	// cacheTTL puts the cache in force.
	cacheTTL time.Duration
	// store is a new one when nil, sink the memory of the world.
	store *stores
	sink  telemetry.Sink
}

// world is a function that is deployed with everything around it, in one process and in virtual time: its HTTP server, the
// gateway with the settings of a deployment, real clients of two providers, and a store.
type world struct {
	t         *testing.T
	net       network
	upstreams map[string]*upstream
	store     *stores
	state     control.Store
	memory    *telemetry.Memory
	client    *http.Client
	// upstream is what the function calls providers with.
	upstream *http.Transport
	// before is how many goroutines there are when nothing happens.
	before int
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, net: network{}, upstreams: map[string]*upstream{}, store: s.store, memory: &telemetry.Memory{}}
	if w.store == nil {
		w.store = newStores()
	}
	if s.sink == nil {
		s.sink = w.memory
	}
	known, err := catalog.BuiltIn()
	check(t, err)
	var backends []gateway.Backend
	for place, script := range map[string][]step{near: s.near, far: s.far} {
		if script == nil {
			script = []step{answers}
		}
		if len(script) > 0 {
			w.upstreams[place] = &upstream{script: script}
			w.net.listen(t, place, w.upstreams[place])
		}
	}
	w.upstream = &http.Transport{DialContext: w.net.DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second}
	for _, place := range []string{near, far} {
		model, err := openai.New(openai.Options{BaseURL: "http://" + place + "/v1", Transport: w.upstream, Provider: "google"})
		check(t, err)
		backends = append(backends, gateway.Backend{Provider: "google", Location: place, Model: model, Tiers: known.TierModels("google")})
		if s.alone {
			break
		}
	}
	client := sdk.New(dynamotest.Options(w.store.table), dynamodb.Configure)
	w.state, err = dynamodb.New(dynamodb.Options{Client: client, Table: table})
	check(t, err)
	reader, err := control.NewReader(control.ReaderOptions{Store: w.state, Base: control.Settings{Model: string(catalog.Standard), CacheTTL: s.cacheTTL}})
	check(t, err)
	kept, err := cache.New(cache.Options{Shared: w.store})
	check(t, err)
	rules, err := limit.ParseRules("*:rpm=1000000,tpm=1000000000")
	check(t, err)
	limits, err := limit.New(limit.Options{Rules: rules, Counters: w.store})
	check(t, err)
	tel, err := telemetry.New(telemetry.Options{Sink: s.sink, Logger: slog.New(slog.DiscardHandler), Function: "completion"})
	check(t, err)
	gw, err := gateway.New(gateway.Options{
		Backends: backends, Catalog: known, Control: reader, Cache: kept, Limits: limits, Telemetry: tel, Stale: time.Hour,
	})
	check(t, err)
	handler, err := completion.New(completion.Options{Gateway: gw})
	check(t, err)
	w.net.listen(t, "function", serverless.Wrap(serverless.Function{Handler: handler}, serverless.Options{Name: "completion", Telemetry: tel, Early: true}))
	callers := &http.Transport{DialContext: w.net.DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second}
	w.client = &http.Client{Transport: callers}
	t.Cleanup(callers.CloseIdleConnections)
	t.Cleanup(w.upstream.CloseIdleConnections)
	synctest.Wait()
	w.before = goroutines()
	return w
}

// avoidNear puts an override in force, for half an hour, that keeps requests from the near place.
func (w *world) avoidNear() {
	w.t.Helper()
	now := time.Now()
	state, err := w.state.State(w.t.Context(), now)
	check(w.t, err)
	check(w.t, w.state.Commit(w.t.Context(), state.Version, []control.Override{{
		ID: "avoid", Action: control.Failover, Params: control.Params{Provider: near}, Start: now, End: now.Add(30 * time.Minute), Created: now,
		Source: control.Source{Kind: control.Operator, Operator: "test"},
	}}))
}

// reply is what a caller got.
type reply struct {
	status     int
	code       string
	retryAfter string
	// pieces are those of the text that came; ending is how a stream ended, empty for a whole answer.
	pieces int
	text   string
	ending string
	// failed is set when the connection said so.
	failed error
	took   time.Duration
}

// ask makes one call of the function, and reads what comes.
func (w *world) ask(ctx context.Context, stream bool) (got reply) {
	w.t.Helper()
	body := `{"messages":[{"role":"user","content":"Who built the mill?"}]}`
	if stream {
		body = strings.Replace(body, "{", `{"stream":true,"stream_options":{"include_usage":true},`, 1)
	}
	began := time.Now()
	defer func() { got.took = time.Since(began) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://function/v1/chat/completions", strings.NewReader(body))
	check(w.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		return reply{failed: err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	got = reply{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After"), failed: err}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		got.events(data)
		return got
	}
	var doc chunk
	if err := json.Unmarshal(data, &doc); err != nil && got.failed == nil {
		w.t.Errorf("body %q: %v", data, err)
	}
	got.code = doc.Error.Code
	for _, c := range doc.Choices {
		got.text += c.Message.Content
	}
	return got
}

// chunk is an answer, a part of one, or an error, in OpenAI's form.
type chunk struct {
	Choices []struct {
		Message struct{ Content string }
		Delta   struct{ Content string }
		Finish  string `json:"finish_reason"`
	}
	Error struct{ Code string }
}

// events reads a stream: its text, and how it ended.
func (r *reply) events(data []byte) {
	r.ending = "a clean end without a mark"
	for event := range bytes.SplitSeq(data, []byte("\n\n")) {
		text, ok := bytes.CutPrefix(event, []byte("data: "))
		if !ok {
			continue
		}
		if string(text) == "[DONE]" {
			r.ending = "done"
			continue
		}
		var c chunk
		if err := json.Unmarshal(text, &c); err != nil {
			r.ending = "garbage"
			return
		}
		if c.Error.Code != "" {
			r.ending = c.Error.Code
		}
		for _, choice := range c.Choices {
			if choice.Delta.Content != "" {
				r.pieces++
				r.text += choice.Delta.Content
			}
		}
	}
	if r.failed != nil {
		r.ending = "a broken connection"
	}
}

// String says what the caller got.
func (r reply) String() string {
	whole := r.text == strings.Join(tokens, "")
	switch {
	case r.status == 0 && errors.Is(r.failed, context.Canceled):
		return "nothing: it left"
	case r.status == 0:
		return "no response: " + r.failed.Error()
	case r.ending == "done" && whole:
		return fmt.Sprintf("%d, the whole stream", r.status)
	case r.ending != "":
		return fmt.Sprintf("%d, a stream of %d pieces, then %s", r.status, r.pieces, r.ending)
	case r.status == http.StatusOK && whole:
		return "200, the answer"
	case r.status == http.StatusOK:
		return "200, another answer"
	case r.retryAfter != "":
		return fmt.Sprintf("%d %s, Retry-After %s", r.status, r.code, r.retryAfter)
	}
	return fmt.Sprintf("%d %s", r.status, r.code)
}

// summary says what callers got, the most frequent first.
func summary(replies []reply) string {
	var lines []string
	for _, r := range replies {
		lines = append(lines, r.String())
	}
	return tally(lines)
}

// tally counts equal texts, the most frequent first.
func tally(lines []string) string {
	times := map[string]int{}
	var order []string
	for _, l := range lines {
		if times[l] == 0 {
			order = append(order, l)
		}
		times[l]++
	}
	if len(order) == 1 && len(lines) == 1 {
		return order[0]
	}
	slices.SortStableFunc(order, func(a, b string) int { return times[b] - times[a] })
	for i, l := range order {
		order[i] = fmt.Sprintf("%d × %s", times[l], l)
	}
	return strings.Join(order, "; ")
}

// attempts says which calls were made: in their order for one request, counted for many.
func (w *world) attempts() string {
	exchanges := w.memory.Exchanges()
	var all []string
	for _, e := range exchanges {
		for _, a := range e.Attempts {
			how := "ok"
			if a.ErrorType != "" {
				how = a.ErrorType
			}
			all = append(all, a.Location+" "+how)
		}
	}
	switch {
	case len(all) == 0:
		return "none"
	case len(exchanges) == 1:
		return strings.Join(all, " → ")
	}
	slices.Sort(all)
	return tally(all)
}

// counted says what the metrics are, and what of it is an estimate.
func (w *world) counted() string {
	var out []string
	add := func(name, metric string) {
		if sum, n := w.memory.Sum(metric); n > 0 {
			out = append(out, fmt.Sprintf("%s %g", name, sum))
		}
	}
	var kinds []string
	for _, e := range w.memory.Exchanges() {
		what := string(e.Outcome)
		if e.ErrorType != "" {
			what += " " + e.ErrorType
		}
		kinds = append(kinds, what)
	}
	out = append(out, tally(kinds))
	add("retries", "llm.request.retry")
	add("fallbacks", "llm.request.fallback")
	add("timeouts", "llm.request.timeout")
	add("left out by a breaker", "llm.breaker.open")
	add("cache hits", "llm.cache.hit")
	add("stale answers", "llm.cache.stale")
	if usd, n := w.memory.Sum("llm.request.cost"); n > 0 {
		out = append(out, fmt.Sprintf("%.6f USD", usd))
	}
	estimated, degraded := false, []string{}
	for _, e := range w.memory.Exchanges() {
		estimated = estimated || e.UsageEstimated
		for _, part := range e.Degraded {
			if !slices.Contains(degraded, part) {
				degraded = append(degraded, part)
			}
		}
	}
	if estimated {
		out = append(out, "estimated")
	}
	if len(degraded) > 0 {
		out = append(out, "without "+strings.Join(degraded, ", "))
	}
	return strings.Join(out, "; ")
}

// leaked says what is left when the world has been quiet for two minutes: calls of providers, connections, goroutines.
func (w *world) leaked() string {
	synctest.Wait()
	var left []string
	for place, u := range w.upstreams {
		if n := u.active.Load(); n != 0 {
			left = append(left, fmt.Sprintf("%d calls of %s", n, place))
		}
	}
	<-time.After(2 * time.Minute)
	synctest.Wait()
	for host, l := range w.net {
		if n := l.open.Load(); n != 0 {
			left = append(left, fmt.Sprintf("%d connections to %s", n, host))
		}
	}
	if n := goroutines() - w.before; n != 0 {
		left = append(left, fmt.Sprintf("%d goroutines", n))
	}
	if left == nil {
		return "no"
	}
	slices.Sort(left)
	return strings.Join(left, ", ")
}

// goroutines counts those of the bubble. Those of the process come and go with other tests.
func goroutines() int {
	stacks := make([]byte, 4<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("synctest bubble "))
}

// stores are what instances share: the control state in a real adapter over a stand-in's table, limits' counters, and the second
// tier of the cache. They have their faults together.
type stores struct {
	table    *dynamotest.Table
	counters limit.Memory
	tier     cachetest.Memory

	mu    sync.Mutex
	fault func(ctx context.Context) error
}

const table = "lrcp"

func newStores() *stores {
	s := &stores{}
	s.table = &dynamotest.Table{Name: table, Intercept: func(w http.ResponseWriter, r *http.Request, _ string, serve func(http.ResponseWriter)) {
		switch err := s.enter(r.Context()); {
		case errors.Is(err, errThrottled):
			dynamotest.Fail(w, http.StatusBadRequest, "ProvisionedThroughputExceededException", "slow down")
		case err != nil:
			panic(http.ErrAbortHandler) // no connection
		default:
			serve(w)
		}
	}}
	return s
}

var (
	errDown      = errors.New("connection refused")
	errThrottled = errors.New("throttled")
)

// set has every call meet a fault from now on; nil heals.
func (s *stores) set(fault func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *stores) enter(ctx context.Context) error {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx)
}

func down(context.Context) error { return errDown }

func throttled(context.Context) error { return errThrottled }

// slow is a store that answers after a while.
func slow(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Add implements limit.Counters.
func (s *stores) Add(ctx context.Context, deltas []limit.Delta) ([]limit.Amounts, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	return s.counters.Add(ctx, deltas)
}

// Get implements cache.Tier.
func (s *stores) Get(ctx context.Context, key string, now time.Time) (cache.Entry, bool, error) {
	if err := s.enter(ctx); err != nil {
		return cache.Entry{}, false, err
	}
	return s.tier.Get(ctx, key, now)
}

// Put implements cache.Tier.
func (s *stores) Put(ctx context.Context, key string, e cache.Entry, expires time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	return s.tier.Put(ctx, key, e, expires)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
