package gateway_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// model is a fake of function fields: what Generate and Stream do on call n, counted from 1.
type model struct {
	calls    atomic.Int32
	generate func(ctx context.Context, n int, req llm.Request) (*llm.Response, error)
	stream   func(ctx context.Context, n int, req llm.Request, yield func(llm.Chunk, error) bool)
}

func (m *model) Generate(ctx context.Context, req llm.Request) (*llm.Response, error) {
	return m.generate(ctx, int(m.calls.Add(1)), req)
}

func (m *model) Stream(ctx context.Context, req llm.Request) iter.Seq2[llm.Chunk, error] {
	return func(yield func(llm.Chunk, error) bool) { m.stream(ctx, int(m.calls.Add(1)), req, yield) }
}

var usage = llm.Usage{InputTokens: 1000, OutputTokens: 100}

// answers is a model that always answers, with its own name in the text.
func answers(provider string) *model {
	return &model{
		generate: func(_ context.Context, _ int, req llm.Request) (*llm.Response, error) {
			return &llm.Response{Text: "from " + req.Model, Model: req.Model, Provider: provider, Finish: llm.FinishStop, Usage: &usage}, nil
		},
		stream: func(_ context.Context, _ int, req llm.Request, yield func(llm.Chunk, error) bool) {
			_ = yield(llm.Chunk{Text: "from "}, nil) && yield(llm.Chunk{Text: req.Model}, nil) && yield(llm.Chunk{Finish: llm.FinishStop, Usage: &usage}, nil)
		},
	}
}

// fails is a model that always fails in the given way.
func fails(e llm.Error) *model {
	return &model{
		generate: func(context.Context, int, llm.Request) (*llm.Response, error) { return nil, &e },
		stream: func(_ context.Context, _ int, _ llm.Request, yield func(llm.Chunk, error) bool) {
			yield(llm.Chunk{}, &e)
		},
	}
}

// hangs is a model that answers only when the context ends.
func hangs() *model {
	return &model{
		generate: func(ctx context.Context, _ int, _ llm.Request) (*llm.Response, error) {
			<-ctx.Done()
			return nil, llm.AsError(ctx.Err())
		},
		stream: func(ctx context.Context, _ int, _ llm.Request, yield func(llm.Chunk, error) bool) {
			<-ctx.Done()
			yield(llm.Chunk{}, llm.AsError(ctx.Err()))
		},
	}
}

// settings are what the fake control state says to every request.
type settings struct {
	always control.Settings
	stale  bool
}

func (s settings) Settings(context.Context, control.Target, string) (control.Settings, bool) {
	return s.always, s.stale
}

type world struct {
	gw     *gateway.Gateway
	memory *telemetry.Memory
}

// newWorld makes a gateway whose backends are named google, then embedded, which are the providers with known prices.
func newWorld(t *testing.T, s settings, models ...llm.Model) world {
	t.Helper()
	if s.always.Model == "" {
		s.always.Model = "standard"
	}
	c, err := catalog.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	var backends []gateway.Backend
	for i, m := range models {
		provider := []string{"google", "embedded"}[i]
		backends = append(backends, gateway.Backend{Provider: provider, Model: m, Tiers: c.TierModels(provider)})
	}
	memory := &telemetry.Memory{}
	tel, err := telemetry.New(telemetry.Options{Sink: memory, Logger: slog.New(slog.DiscardHandler), Function: "qa"})
	if err != nil {
		t.Fatal(err)
	}
	answers, err := cache.New(cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	gw, err := gateway.New(gateway.Options{Backends: backends, Catalog: c, Control: s, Cache: answers, Telemetry: tel, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return world{gw, memory}
}

func call() gateway.Call {
	return gateway.Call{
		RequestID: "r1", Function: "qa", Endpoint: "/qa", Caller: "tests", Start: time.Now(),
		Request: llm.Request{Type: llm.QA, Question: "Who?", Messages: []llm.Message{{Role: llm.User, Content: "Who?"}}},
	}
}

func TestAttempts(t *testing.T) {
	for name, tt := range map[string]struct {
		first    *model
		second   *model
		wantText string
		wantErr  llm.Kind
		// wantCalls are the calls of the first and the second backend.
		wantCalls [2]int32
		within    time.Duration
	}{
		"the first backend answers": {answers("google"), answers("embedded"), "from gemini-3.8-flash", "", [2]int32{1, 0}, time.Second},
		"an overload is tried once more and then falls over": {
			fails(llm.Error{Kind: llm.Overloaded}), answers("embedded"), "from embedded-standard", "", [2]int32{2, 1}, time.Second},
		"a refusal of credentials falls over at once": {
			fails(llm.Error{Kind: llm.Unauthenticated}), answers("embedded"), "from embedded-standard", "", [2]int32{1, 1}, time.Second},
		"a retired model falls over at once": {
			fails(llm.Error{Kind: llm.NotFound}), answers("embedded"), "from embedded-standard", "", [2]int32{1, 1}, time.Second},
		"a bad request is not tried again anywhere": {
			fails(llm.Error{Kind: llm.InvalidRequest}), answers("embedded"), "", llm.InvalidRequest, [2]int32{1, 0}, time.Second},
		"a wish to wait beyond the deadline falls over instead of waiting": {
			fails(llm.Error{Kind: llm.RateLimited, RetryAfter: time.Hour}), answers("embedded"), "from embedded-standard", "", [2]int32{1, 1}, time.Second},
		"while others remain nobody waits because a provider asks for it": {
			fails(llm.Error{Kind: llm.RateLimited, RetryAfter: 2 * time.Second}), answers("embedded"), "from embedded-standard", "", [2]int32{1, 1}, time.Millisecond},
		"the last one's wish to wait is honoured": {
			fails(llm.Error{Kind: llm.NotFound}), fails(llm.Error{Kind: llm.Overloaded, RetryAfter: 2 * time.Second}), "", llm.Overloaded, [2]int32{1, 2}, 2 * time.Second},
		"a hang leaves half of the time to the next backend": {
			hangs(), answers("embedded"), "from embedded-standard", "", [2]int32{1, 1}, 5 * time.Second},
		"when all hang the deadline holds": {hangs(), hangs(), "", llm.Timeout, [2]int32{1, 1}, 10 * time.Second},
		"when all fail the last error is told": {
			fails(llm.Error{Kind: llm.ProviderFault}), fails(llm.Error{Kind: llm.RateLimited, RetryAfter: time.Hour}), "", llm.RateLimited, [2]int32{2, 1}, time.Second},
	} {
		for _, streamed := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", streamed"}[streamed], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tt.first.calls.Store(0)
					tt.second.calls.Store(0)
					w := newWorld(t, settings{}, tt.first, tt.second)
					var text strings.Builder
					var yield func(gateway.Piece) error
					if streamed {
						yield = func(p gateway.Piece) error { text.WriteString(p.Text); return nil }
					}
					begin := time.Now()
					e, err := w.gw.Do(t.Context(), call(), yield)
					if got := kind(err); got != tt.wantErr {
						t.Errorf("error kind %q, want %q", got, tt.wantErr)
					}
					if !streamed {
						text.WriteString(e.Output)
					}
					if text.String() != tt.wantText {
						t.Errorf("text %q, want %q", text.String(), tt.wantText)
					}
					if got := [2]int32{tt.first.calls.Load(), tt.second.calls.Load()}; got != tt.wantCalls {
						t.Errorf("calls %v, want %v", got, tt.wantCalls)
					}
					if took := time.Since(begin); took > tt.within {
						t.Errorf("took %v, want at most %v", took, tt.within)
					}
					if n := len(w.memory.Exchanges()); n != 1 {
						t.Errorf("%d exchanges recorded, want 1", n)
					}
				})
			})
		}
	}
}

func kind(err error) llm.Kind {
	if err == nil {
		return ""
	}
	return llm.AsError(err).Kind
}

func TestStreamThatBreaksAfterItsFirstPieceIsAnErrorAndIsBilled(t *testing.T) {
	broken := &model{stream: func(_ context.Context, _ int, _ llm.Request, yield func(llm.Chunk, error) bool) {
		_ = yield(llm.Chunk{Text: "half", Usage: &usage}, nil) && yield(llm.Chunk{}, &llm.Error{Kind: llm.BrokenStream})
	}}
	second := answers("embedded")
	w := newWorld(t, settings{}, broken, second)
	var got []string
	e, err := w.gw.Do(t.Context(), call(), func(p gateway.Piece) error { got = append(got, p.Text); return nil })
	if kind(err) != llm.BrokenStream || second.calls.Load() != 0 {
		t.Errorf("error %v, %d calls of the second backend; want a broken stream and none", err, second.calls.Load())
	}
	if diff := cmp.Diff([]string{"half"}, got); diff != "" {
		t.Errorf("pieces (-want +got):\n%s", diff)
	}
	if e.Usage == nil || *e.Usage != usage || e.CostUSD == nil {
		t.Errorf("usage %v, cost %v; want both counted", e.Usage, e.CostUSD)
	}
}

func TestStreamThatEndsWithoutAReasonIsBroken(t *testing.T) {
	silent := &model{stream: func(_ context.Context, _ int, _ llm.Request, yield func(llm.Chunk, error) bool) {
		yield(llm.Chunk{Text: "half"}, nil)
	}}
	w := newWorld(t, settings{}, silent)
	if _, err := w.gw.Do(t.Context(), call(), func(gateway.Piece) error { return nil }); kind(err) != llm.BrokenStream {
		t.Errorf("error %v, want a broken stream", err)
	}
}

func TestClientThatHangsUpEndsTheUpstreamCall(t *testing.T) {
	var released atomic.Bool
	endless := &model{stream: func(_ context.Context, _ int, _ llm.Request, yield func(llm.Chunk, error) bool) {
		defer released.Store(true)
		for yield(llm.Chunk{Text: "x", Usage: &usage}, nil) {
		}
	}}
	w := newWorld(t, settings{}, endless, answers("embedded"))
	e, err := w.gw.Do(t.Context(), call(), func(gateway.Piece) error { return errors.New("gone") })
	if kind(err) != llm.Canceled || !released.Load() {
		t.Errorf("error %v, released %v; want canceled and released", err, released.Load())
	}
	if e.Outcome != telemetry.OutcomeCanceled {
		t.Errorf("outcome %q, want canceled: a client that hangs up is not an error", e.Outcome)
	}
	if sum, n := w.memory.Sum("llm.request.error"); n != 0 {
		t.Errorf("llm.request.error = %v, want none", sum)
	}
	if sum, _ := w.memory.Sum("llm.request.tokens.input"); sum != 1000 {
		t.Errorf("input tokens %v, want 1000: what was used is billed", sum)
	}
}

func TestCostIsTheSumOverAllBilledAttempts(t *testing.T) {
	priced := 1000*0.75/1e6 + 100*3.75/1e6
	second := 1000*1.5/1e6 + 100*7.5/1e6
	unpriced := &model{generate: func(context.Context, int, llm.Request) (*llm.Response, error) {
		return &llm.Response{Text: "a", Model: "gemini-99", Provider: "google", Usage: &usage}, &llm.Error{Kind: llm.Unauthenticated}
	}}
	sum := priced + second
	for name, tt := range map[string]struct {
		first *model
		want  *float64
	}{
		"a failed attempt that was billed counts":             {fails(llm.Error{Kind: llm.Unauthenticated, Usage: &usage}), &sum},
		"a failed attempt that was not billed costs nothing":  {fails(llm.Error{Kind: llm.Unauthenticated}), &second},
		"one billed attempt of unknown price hides the total": {unpriced, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wait(time.Until(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)))
				w := newWorld(t, settings{}, tt.first, answers("embedded"))
				e, err := w.gw.Do(t.Context(), call(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if (e.CostUSD == nil) != (tt.want == nil) || (tt.want != nil && math.Abs(*e.CostUSD-*tt.want) > 1e-12) {
					t.Errorf("cost %v, want %v", show(e.CostUSD), show(tt.want))
				}
			})
		})
	}
}

func show(f *float64) any {
	if f == nil {
		return "unknown"
	}
	return *f
}

// wait lets virtual time pass.
func wait(d time.Duration) { <-time.After(d) }

func TestUnknownPriceIsAbsentNotZero(t *testing.T) {
	renamed := &model{generate: func(context.Context, int, llm.Request) (*llm.Response, error) {
		return &llm.Response{Text: "a", Model: "gemini-99", Provider: "google", Finish: llm.FinishStop, Usage: &usage}, nil
	}}
	w := newWorld(t, settings{}, renamed)
	e, err := w.gw.Do(t.Context(), call(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.CostUSD != nil {
		t.Errorf("cost %v, want none", *e.CostUSD)
	}
	if _, n := w.memory.Sum("llm.request.cost"); n != 0 {
		t.Errorf("llm.request.cost was emitted %d times, want none", n)
	}
}

func override(action control.Action) []control.Override {
	return []control.Override{{ID: "o1", Action: action, Source: control.Source{Kind: "monitor"}}}
}

func TestOverrideOfTheModelHoldsForCallersWhoNamedOne(t *testing.T) {
	for name, tt := range map[string]struct {
		settings control.Settings
		asked    string
		want     string
	}{
		"without an override the caller chooses":      {control.Settings{Model: "standard"}, "quality", "gemini-3.1-pro-preview"},
		"without a wish the settings choose":          {control.Settings{Model: "standard"}, "", "gemini-3.8-flash"},
		"a switch holds for those who asked for more": {control.Settings{Model: "economy", InForce: override(control.SwitchModel)}, "quality", "gemini-3.5-flash-lite"},
		"another override leaves the choice":          {control.Settings{Model: "standard", InForce: override(control.EnableCache)}, "quality", "gemini-3.1-pro-preview"},
		"the name of a model that is gone":            {control.Settings{Model: "standard"}, "gemini-1.5-flash", "gemini-3.5-flash-lite"},
		"and of another":                              {control.Settings{Model: "standard"}, "gemini-1.5-pro", "gemini-3.1-pro-preview"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, settings{always: tt.settings}, answers("google"))
			c := call()
			c.Model = tt.asked
			e, err := w.gw.Do(t.Context(), c, nil)
			if err != nil {
				t.Fatal(err)
			}
			if e.Model != tt.want {
				t.Errorf("model %q, want %q", e.Model, tt.want)
			}
			if sum, _ := w.memory.Sum("llm.remediation.active"); sum != float64(len(tt.settings.InForce)) {
				t.Errorf("llm.remediation.active = %v, want %d", sum, len(tt.settings.InForce))
			}
		})
	}
}

func TestBackendsAreAvoidedByTheirNames(t *testing.T) {
	c, err := catalog.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		avoid []string
		want  string
	}{
		"nothing is avoided":                         {nil, "europe-west1"},
		"a location":                                 {[]string{"europe-west1"}, "global"},
		"a provider's location":                      {[]string{"google/europe-west1"}, "global"},
		"the same location of another provider":      {[]string{"aws/europe-west1"}, "europe-west1"},
		"a provider, which would leave none, is not": {[]string{"google"}, "europe-west1"},
		"no more are locations that would":           {[]string{"global", "europe-west1"}, "europe-west1"},
	} {
		t.Run(name, func(t *testing.T) {
			tiers := c.TierModels("google")
			gw, err := gateway.New(gateway.Options{
				Backends: []gateway.Backend{
					{Provider: "google", Location: "europe-west1", Model: answers("google"), Tiers: tiers},
					{Provider: "google", Location: "global", Model: answers("google"), Tiers: tiers},
				},
				Catalog: c, Control: settings{always: control.Settings{Model: "standard", Avoid: tt.avoid}},
			})
			if err != nil {
				t.Fatal(err)
			}
			e, err := gw.Do(t.Context(), call(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Attempts[0]; got.Location != tt.want || got.Requested != "gemini-3.8-flash" {
				t.Errorf("asked %s in %s, want gemini-3.8-flash in %s", got.Requested, got.Location, tt.want)
			}
		})
	}
}

func TestCache(t *testing.T) {
	on := settings{always: control.Settings{CacheTTL: time.Minute}}
	synctest.Test(t, func(t *testing.T) {
		m := answers("google")
		w := newWorld(t, on, m)
		do := func(change func(*gateway.Call)) *telemetry.Exchange {
			t.Helper()
			c := call()
			if change != nil {
				change(&c)
			}
			e, err := w.gw.Do(t.Context(), c, nil)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		steps := []struct {
			name string
			e    *telemetry.Exchange
			want telemetry.CacheOutcome
		}{
			{"the first is a miss", do(nil), telemetry.CacheMiss},
			{"the same again is a hit", do(nil), telemetry.CacheHit},
			{"another caller has its own answers", do(func(c *gateway.Call) { c.Caller = "other" }), telemetry.CacheMiss},
			{"a fresh answer can be asked for", do(func(c *gateway.Call) { c.NoCache = true }), telemetry.CacheMiss},
		}
		for _, s := range steps {
			if s.e.Cache != s.want || s.e.Output != "from gemini-3.8-flash" {
				t.Errorf("%s: %s with %q, want %s", s.name, s.e.Cache, s.e.Output, s.want)
			}
		}
		if hit := steps[1].e; hit.CostUSD == nil || *hit.CostUSD != 0 || hit.Usage != nil || len(hit.Attempts) != 0 {
			t.Errorf("a hit has cost %v, usage %v, %d attempts; want 0, none, none", hit.CostUSD, hit.Usage, len(hit.Attempts))
		}
		wait(time.Minute + time.Second)
		if e := do(nil); e.Cache != telemetry.CacheMiss {
			t.Errorf("after the TTL: %s, want a miss", e.Cache)
		}
		var pieces []string
		if _, err := w.gw.Do(t.Context(), call(), func(p gateway.Piece) error { pieces = append(pieces, p.Text); return nil }); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(pieces, ""); got != "from gemini-3.8-flash" {
			t.Errorf("a cached stream is %q", got)
		}
	})
}

func TestLimits(t *testing.T) {
	var asked int
	m := answers("google")
	base := m.generate
	m.generate = func(ctx context.Context, n int, req llm.Request) (*llm.Response, error) {
		asked = req.MaxTokens
		return base(ctx, n, req)
	}
	w := newWorld(t, settings{always: control.Settings{MaxOutputTokens: 50, MaxPromptChars: 20}}, m)
	c := call()
	c.Request.MaxTokens = 4000
	if _, err := w.gw.Do(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	if asked != 50 {
		t.Errorf("asked for %d output tokens, want the cap of 50", asked)
	}
	c.Request.Messages = []llm.Message{{Role: llm.User, Content: strings.Repeat("x", 21)}}
	if e, err := w.gw.Do(t.Context(), c, nil); kind(err) != llm.TooLarge || e.Status != 413 {
		t.Errorf("error %v, status %d; want too large, 413", err, e.Status)
	}
}

func TestDegradedControlServesAndSaysSo(t *testing.T) {
	w := newWorld(t, settings{stale: true}, answers("google"))
	e, err := w.gw.Do(t.Context(), call(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"control"}, e.Degraded); diff != "" {
		t.Errorf("degraded (-want +got):\n%s", diff)
	}
}

func TestRejectIsCountedButIsNoError(t *testing.T) {
	w := newWorld(t, settings{}, answers("google"))
	w.gw.Reject(t.Context(), call(), &httpjson.Problem{Status: 400, Detail: "bad"})
	if sum, _ := w.memory.Sum("llm.request.count", "outcome:rejected"); sum != 1 {
		t.Errorf("llm.request.count with outcome rejected = %v, want 1", sum)
	}
	if _, n := w.memory.Sum("llm.request.error"); n != 0 {
		t.Error("a bad request counts as an error of ours")
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	if _, err := gateway.New(gateway.Options{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("New = %v, want an error", err)
	}
}
