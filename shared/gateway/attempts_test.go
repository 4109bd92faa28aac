package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/retry"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// worldOf is newWorld with options changed.
func worldOf(t testing.TB, s settings, change func(*gateway.Options), models ...llm.Model) world {
	t.Helper()
	if s.always.Model == "" {
		s.always.Model = "standard"
	}
	c, err := catalog.BuiltIn()
	if err != nil {
		t.Fatal(err)
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
	opts := gateway.Options{Catalog: c, Control: s, Cache: answers, Telemetry: tel, Timeout: 10 * time.Second}
	for i, m := range models {
		provider := []string{"google", "embedded"}[i]
		opts.Backends = append(opts.Backends, gateway.Backend{Provider: provider, Model: m, Tiers: c.TierModels(provider)})
	}
	if change != nil {
		change(&opts)
	}
	gw, err := gateway.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return world{gw, memory}
}

// scripted is a model that does what next says for each of its calls, streamed or not: fail, or answer after a time.
func scripted(next func(ctx context.Context, n int) *llm.Error) *model {
	a := answers("google")
	generate, stream := a.generate, a.stream
	a.generate = func(ctx context.Context, n int, req llm.Request) (*llm.Response, error) {
		if err := next(ctx, n); err != nil {
			return nil, err
		}
		return generate(ctx, n, req)
	}
	a.stream = func(ctx context.Context, n int, req llm.Request, yield func(llm.Chunk, error) bool) {
		if err := next(ctx, n); err != nil {
			yield(llm.Chunk{}, err)
			return
		}
		stream(ctx, n, req, yield)
	}
	return a
}

// within waits, or says that the context ended.
func within(ctx context.Context, d time.Duration) *llm.Error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return llm.AsError(ctx.Err())
	}
}

func discard(gateway.Piece) error { return nil }

func TestExtraCallsStayWithinTheBudgetAtAnyLoad(t *testing.T) {
	for name, tt := range map[string]struct {
		fails func(n int) bool
		least float64
	}{
		"a third of the calls fails":  {func(n int) bool { return n%3 == 0 }, 1.05},
		"every call fails":            {func(int) bool { return true }, 1},
		"the first thousand fail":     {func(n int) bool { return n <= 1000 }, 1},
		"nine of twenty calls fail":   {func(n int) bool { return n%20 < 9 }, 1.05},
		"no call fails: nothing more": {func(int) bool { return false }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const requests = 2000
				first := scripted(func(ctx context.Context, n int) *llm.Error {
					if err := within(ctx, 20*time.Millisecond); err != nil {
						return err
					}
					if tt.fails(n) {
						return &llm.Error{Kind: llm.Overloaded}
					}
					return nil
				})
				second := answers("embedded")
				w := worldOf(t, settings{}, nil, first, second)
				var group sync.WaitGroup
				for range requests {
					group.Go(func() { _, _ = w.gw.Do(t.Context(), call(), nil) })
					wait(time.Millisecond)
				}
				group.Wait()
				calls := float64(first.calls.Load())
				if most := (1+retry.Share)*requests + retry.Reserve; calls > most {
					t.Errorf("%v calls for %d requests, want at most %v", calls, requests, most)
				}
				if n := second.calls.Load(); n > requests {
					t.Errorf("%d calls of the fallback for %d requests, want at most one each", n, requests)
				}
				if sum, _ := w.memory.Sum("llm.request.count", "outcome:success"); sum != requests {
					t.Errorf("%v answers to %d requests; the fallback answers", sum, requests)
				}
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	limited := func(after time.Duration) *model {
		return fails(llm.Error{Kind: llm.RateLimited, RetryAfter: after})
	}
	for name, tt := range map[string]struct {
		models []llm.Model
		// want is the Retry-After that the caller is told, took how long it waited.
		want, took time.Duration
		calls      int
	}{
		"that fits is honoured":                         {[]llm.Model{limited(2 * time.Second)}, 2 * time.Second, 2 * time.Second, 2},
		"beyond the total deadline goes to the caller":  {[]llm.Model{limited(time.Hour)}, time.Hour, 0, 1},
		"of all of the route: the shortest is told":     {[]llm.Model{limited(time.Minute), limited(time.Hour)}, time.Minute, 0, 2},
		"is told though the last one failed otherwise":  {[]llm.Model{limited(time.Hour), fails(llm.Error{Kind: llm.NotFound})}, time.Hour, 0, 2},
		"of the second is told though the first is out": {[]llm.Model{fails(llm.Error{Kind: llm.NotFound}), limited(time.Hour)}, time.Hour, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := worldOf(t, settings{}, nil, tt.models...)
				begin := time.Now()
				e, err := w.gw.Do(t.Context(), call(), nil)
				if kind(err) != llm.RateLimited || llm.AsError(err).RetryAfter != tt.want || e.Status != 503 {
					t.Errorf("error %v after %v with status %d, want rate limited, %v, 503", err, llm.AsError(err).RetryAfter, e.Status, tt.want)
				}
				if took := time.Since(begin); took != tt.took || len(e.Attempts) != tt.calls {
					t.Errorf("took %v and %d calls, want %v and %d", took, len(e.Attempts), tt.took, tt.calls)
				}
			})
		})
	}
}

func TestBlockedAnswerFallsOverOnlyWhereThatIsAllowed(t *testing.T) {
	for allowed, want := range map[bool]llm.Kind{false: llm.Blocked, true: ""} {
		second := answers("embedded")
		w := worldOf(t, settings{}, func(o *gateway.Options) { o.FallbackOnBlock = allowed }, fails(llm.Error{Kind: llm.Blocked}), second)
		for _, yield := range []func(gateway.Piece) error{nil, discard} {
			if _, err := w.gw.Do(t.Context(), call(), yield); kind(err) != want {
				t.Errorf("allowed %v: error %v, want kind %q", allowed, err, want)
			}
		}
		if n := second.calls.Load(); (n == 2) != allowed {
			t.Errorf("allowed %v: %d calls of the second backend", allowed, n)
		}
	}
}

func TestHangFallsOverWithinHalfOfTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worldOf(t, settings{}, nil, hangs(), answers("embedded"))
		for _, yield := range []func(gateway.Piece) error{nil, discard} {
			begin := time.Now()
			e, err := w.gw.Do(t.Context(), call(), yield)
			if took := time.Since(begin); err != nil || took != 5*time.Second || e.Attempts[0].ErrorType != "timeout" {
				t.Errorf("%v, attempts %+v after %v; want an answer of the second after 5s", err, e.Attempts, took)
			}
		}
	})
}

func TestBreaker(t *testing.T) {
	down := &llm.Error{Kind: llm.ProviderFault}
	// do makes a number of requests, one after the other.
	do := func(t *testing.T, w world, n int) (e *telemetry.Exchange, err error) {
		t.Helper()
		for range n {
			e, err = w.gw.Do(t.Context(), call(), nil)
		}
		return e, err
	}
	t.Run("opens after five failures, each attempt counted, and is told", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first := scripted(func(context.Context, int) *llm.Error { return down })
			w := worldOf(t, settings{}, nil, first, answers("embedded"))
			e, err := do(t, w, 10)
			if n := first.calls.Load(); n != 5 {
				t.Errorf("%d calls of the failing model, want 5", n)
			}
			if diff := cmp.Diff([]string{"google/gemini-3.8-flash"}, e.Skipped); diff != "" || err != nil {
				t.Errorf("%v, skipped (-want +got):\n%s", err, diff)
			}
			if sum, _ := w.memory.Sum("llm.breaker.open"); sum != 7 {
				t.Errorf("llm.breaker.open = %v, want 7", sum)
			}
		})
	})
	t.Run("lets one probe through, and closes when it is answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			first := scripted(func(_ context.Context, n int) *llm.Error {
				if n <= 5 {
					return down
				}
				<-release
				return nil
			})
			second := answers("embedded")
			w := worldOf(t, settings{}, nil, first, second)
			_, _ = do(t, w, 10)
			wait(10 * time.Second)
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() { _, _ = w.gw.Do(t.Context(), call(), nil) })
			}
			synctest.Wait()
			if n := first.calls.Load(); n != 6 {
				t.Errorf("%d calls while the probe is out, want 6", n)
			}
			close(release)
			group.Wait()
			if e, err := do(t, w, 1); err != nil || e.Provider != "google" || e.Skipped != nil {
				t.Errorf("after the probe: %v by %s, skipped %v; want google", err, e.Provider, e.Skipped)
			}
		})
	})
	t.Run("opens again when the probe fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first := scripted(func(context.Context, int) *llm.Error { return down })
			w := worldOf(t, settings{}, nil, first, answers("embedded"))
			_, _ = do(t, w, 10)
			wait(10 * time.Second)
			_, _ = do(t, w, 10)
			if n := first.calls.Load(); n != 6 {
				t.Errorf("%d calls, want 5 and a probe", n)
			}
		})
	})
	t.Run("stays open for as long as the provider asks, up to a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first := fails(llm.Error{Kind: llm.RateLimited, RetryAfter: 30 * time.Second})
			w := worldOf(t, settings{}, nil, first, answers("embedded"))
			_, _ = do(t, w, 10)
			wait(29 * time.Second)
			_, _ = do(t, w, 1)
			before := first.calls.Load()
			wait(time.Second)
			_, _ = do(t, w, 1)
			if after := first.calls.Load(); before != 5 || after != 6 {
				t.Errorf("%d calls before, %d after; want 5, 6", before, after)
			}
		})
	})
	t.Run("a route that is open everywhere is tried once all the same, without repetition", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			healthy := false
			models := []llm.Model{}
			var calls [2]*model
			for i := range calls {
				calls[i] = scripted(func(context.Context, int) *llm.Error {
					if healthy {
						return nil
					}
					return down
				})
				models = append(models, calls[i])
			}
			w := worldOf(t, settings{}, nil, models...)
			_, _ = do(t, w, 10)
			before := calls[0].calls.Load() + calls[1].calls.Load()
			e, err := do(t, w, 1)
			if n := calls[0].calls.Load() + calls[1].calls.Load() - before; n != 1 || kind(err) != llm.ProviderFault || len(e.Skipped) != 1 {
				t.Errorf("%d calls, %v, skipped %v; want one call, its error, and one skipped", n, err, e.Skipped)
			}
			healthy = true
			if _, err := do(t, w, 1); err != nil {
				t.Errorf("a provider that is back: %v", err)
			}
			if e, err := do(t, w, 1); err != nil || len(e.Skipped) != 1 {
				t.Errorf("afterwards: %v, skipped %v; want the other one skipped still", err, e.Skipped)
			}
		})
	})
	for name, next := range map[string]func(context.Context) *llm.Error{
		"bad requests":           func(context.Context) *llm.Error { return &llm.Error{Kind: llm.InvalidRequest} },
		"prompts too large":      func(context.Context) *llm.Error { return &llm.Error{Kind: llm.TooLarge} },
		"blocked answers":        func(context.Context) *llm.Error { return &llm.Error{Kind: llm.Blocked} },
		"deadlines near already": func(ctx context.Context) *llm.Error { <-ctx.Done(); return llm.AsError(ctx.Err()) },
	} {
		t.Run("does not count "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := scripted(func(ctx context.Context, _ int) *llm.Error { return next(ctx) })
				w := worldOf(t, settings{}, nil, first, answers("embedded"))
				for range 20 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					_, _ = w.gw.Do(ctx, call(), nil)
					cancel()
				}
				if n := first.calls.Load(); n != 20 {
					t.Errorf("%d calls for 20 requests", n)
				}
			})
		})
	}
	t.Run("counts a timeout that had more time than answers take", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first := scripted(func(ctx context.Context, n int) *llm.Error {
				if n <= 5 {
					return within(ctx, 500*time.Millisecond)
				}
				return within(ctx, time.Hour)
			})
			w := worldOf(t, settings{}, nil, first, answers("embedded"))
			_, _ = do(t, w, 5)
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				_, _ = w.gw.Do(ctx, call(), nil)
				cancel()
			}
			if n := first.calls.Load(); n != 10 {
				t.Errorf("%d calls, want 5 that were answered and 5 that were not", n)
			}
		})
	})
	t.Run("a probe whose client hangs up leaves room for the next", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first := scripted(func(ctx context.Context, n int) *llm.Error {
				switch {
				case n <= 5:
					return down
				case n == 6:
					return within(ctx, time.Hour)
				}
				return nil
			})
			w := worldOf(t, settings{}, nil, first, answers("embedded"))
			_, _ = do(t, w, 10)
			wait(10 * time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if _, err := w.gw.Do(ctx, call(), nil); kind(err) != llm.Canceled {
				t.Errorf("error %v, want canceled", err)
			}
			if e, err := do(t, w, 1); err != nil || e.Provider != "google" {
				t.Errorf("%v by %s, want google", err, e.Provider)
			}
		})
	})
}

func TestHedge(t *testing.T) {
	// slow answers 20 times within 100 ms, then does as told.
	slow := func(then func(context.Context, int) *llm.Error) *model {
		return scripted(func(ctx context.Context, n int) *llm.Error {
			if n <= 20 {
				return within(ctx, 100*time.Millisecond)
			}
			return then(ctx, n)
		})
	}
	for name, tt := range map[string]struct {
		first, second *model
		wantErr       llm.Kind
		provider      string
		took          time.Duration
		attempts      int
	}{
		"the second answers first":            {slow(func(ctx context.Context, _ int) *llm.Error { return within(ctx, time.Second) }), answers("embedded"), "", "embedded", 100 * time.Millisecond, 2},
		"the first answers in time":           {slow(func(ctx context.Context, _ int) *llm.Error { return within(ctx, 50*time.Millisecond) }), answers("embedded"), "", "google", 50 * time.Millisecond, 1},
		"the second fails, the first is late": {slow(func(ctx context.Context, _ int) *llm.Error { return within(ctx, time.Second) }), fails(llm.Error{Kind: llm.NotFound}), "", "google", time.Second, 2},
		"both fail": {slow(func(ctx context.Context, _ int) *llm.Error {
			_ = within(ctx, time.Second)
			return &llm.Error{Kind: llm.Forbidden}
		}), fails(llm.Error{Kind: llm.NotFound}), llm.Forbidden, "", time.Second, 2},
		"with one backend the same is asked": {slow(func(ctx context.Context, n int) *llm.Error {
			if n == 21 {
				return within(ctx, time.Second)
			}
			return nil
		}), nil, "", "google", 100 * time.Millisecond, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				models := []llm.Model{tt.first}
				if tt.second != nil {
					models = append(models, tt.second)
				}
				w := worldOf(t, settings{}, func(o *gateway.Options) { o.Hedge = true }, models...)
				for range 20 {
					if _, err := w.gw.Do(t.Context(), call(), nil); err != nil {
						t.Fatal(err)
					}
				}
				begin := time.Now()
				e, err := w.gw.Do(t.Context(), call(), nil)
				if kind(err) != tt.wantErr || err == nil && e.Provider != tt.provider {
					t.Errorf("%v by %s, want %q by %s", err, e.Provider, tt.wantErr, tt.provider)
				}
				if took := time.Since(begin); took != tt.took || len(e.Attempts) != tt.attempts {
					t.Errorf("took %v with %d attempts, want %v with %d", took, len(e.Attempts), tt.took, tt.attempts)
				}
				if n, _ := w.memory.Sum("llm.request.hedge"); n != float64(tt.attempts-1) {
					t.Errorf("llm.request.hedge = %v, want %d", n, tt.attempts-1)
				}
				// What is streamed is not hedged: there is no calling a piece back.
				if e, err := w.gw.Do(t.Context(), call(), discard); err == nil && slices.ContainsFunc(e.Attempts, func(a telemetry.Attempt) bool { return a.Hedge }) {
					t.Errorf("a stream was hedged: %+v", e.Attempts)
				}
			})
		})
	}
}

func TestHedgesComeOutOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := scripted(func(ctx context.Context, n int) *llm.Error {
			if n <= 20 {
				return within(ctx, time.Millisecond)
			}
			return within(ctx, time.Duration(n)*time.Millisecond) // Ever slower: each would be hedged.
		})
		w := worldOf(t, settings{}, func(o *gateway.Options) { o.Hedge = true }, first)
		const requests = 400
		for range requests {
			if _, err := w.gw.Do(t.Context(), call(), nil); err != nil {
				t.Fatal(err)
			}
		}
		hedges, _ := w.memory.Sum("llm.request.hedge")
		if most := retry.Reserve + retry.Share*requests; hedges > most || hedges < retry.Reserve {
			t.Errorf("%v hedges in %d requests, want %d to %v", hedges, requests, int(retry.Reserve), most)
		}
	})
}

func TestUsageOfTheLoserOfAHedgeIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := scripted(func(ctx context.Context, n int) *llm.Error {
			if n <= 20 {
				return within(ctx, time.Millisecond)
			}
			<-ctx.Done()
			return &llm.Error{Kind: llm.Canceled, Usage: &llm.Usage{InputTokens: 7}}
		})
		w := worldOf(t, settings{}, func(o *gateway.Options) { o.Hedge = true }, first, answers("embedded"))
		for range 20 {
			_, _ = w.gw.Do(t.Context(), call(), nil)
		}
		e, err := w.gw.Do(t.Context(), call(), nil)
		if err != nil || e.Usage.InputTokens != usage.InputTokens+7 || e.Outcome != telemetry.OutcomeSuccess {
			t.Errorf("%v, usage %+v, outcome %s; want the sum of both", err, e.Usage, e.Outcome)
		}
	})
}

// pieces is a model that streams texts, each after a pause, and then ends as told.
func pieces(end llm.Chunk, fault error, pauses ...time.Duration) *model {
	m := answers("google")
	m.stream = func(ctx context.Context, _ int, _ llm.Request, yield func(llm.Chunk, error) bool) {
		for _, pause := range pauses {
			if err := within(ctx, pause); err != nil {
				yield(llm.Chunk{}, err)
				return
			}
			if !yield(llm.Chunk{Text: "12345678"}, nil) {
				return
			}
		}
		yield(end, fault)
	}
	return m
}

func TestStreams(t *testing.T) {
	stop := llm.Chunk{Finish: llm.FinishStop}
	broken := &llm.Error{Kind: llm.BrokenStream}
	for name, tt := range map[string]struct {
		first    *model
		wantErr  llm.Kind
		wantText string
		took     time.Duration
		// output are the tokens that were counted, and whether as an estimate.
		output    int
		estimated bool
	}{
		"that breaks before its first token falls over":        {pieces(llm.Chunk{}, &llm.Error{Kind: llm.ProviderFault}), "", "from embedded-standard", time.Second, 100, false},
		"that is empty falls over":                             {pieces(stop, nil), "", "from embedded-standard", time.Second, 100, false},
		"that hangs before its first token falls over":         {pieces(stop, nil, time.Hour), "", "from embedded-standard", 5 * time.Second, 100, false},
		"that flows may take longer than the share":            {pieces(stop, nil, 2*time.Second, 2*time.Second, 2*time.Second), "", "123456781234567812345678", 6 * time.Second, 6, true},
		"that stalls later ends within the idle bound":         {pieces(stop, nil, time.Second, time.Hour), llm.Timeout, "12345678", 4 * time.Second, 2, true},
		"that breaks later is an error, and its usage counted": {pieces(llm.Chunk{}, broken, 0, 0), llm.BrokenStream, "1234567812345678", 0, 4, true},
		"without usage is estimated, never free":               {pieces(stop, nil, 0), "", "12345678", 0, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wait(time.Until(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))) // Prices are known from then on.
				w := worldOf(t, settings{}, func(o *gateway.Options) { o.StreamIdle = 3 * time.Second }, tt.first, answers("embedded"))
				var text strings.Builder
				begin := time.Now()
				e, err := w.gw.Do(t.Context(), call(), func(p gateway.Piece) error { text.WriteString(p.Text); return nil })
				if kind(err) != tt.wantErr || text.String() != tt.wantText {
					t.Errorf("%q, %v; want %q, %q", text.String(), err, tt.wantText, tt.wantErr)
				}
				if took := time.Since(begin); took > tt.took {
					t.Errorf("took %v, want at most %v", took, tt.took)
				}
				if e.Usage == nil || e.Usage.OutputTokens != tt.output || e.UsageEstimated != tt.estimated || e.CostUSD == nil || *e.CostUSD <= 0 {
					t.Errorf("usage %+v, estimated %v, cost %v; want %d tokens, estimated %v, and a cost", e.Usage, e.UsageEstimated, show(e.CostUSD), tt.output, tt.estimated)
				}
			})
		})
	}
}

func TestSlowReaderIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := pieces(llm.Chunk{Finish: llm.FinishStop}, nil, 0, time.Millisecond, time.Millisecond)
		w := worldOf(t, settings{}, func(o *gateway.Options) { o.StreamIdle = time.Second }, first)
		if _, err := w.gw.Do(t.Context(), call(), func(gateway.Piece) error { wait(3 * time.Second); return nil }); err != nil {
			t.Errorf("a client that reads slowly: %v", err)
		}
	})
}

func TestCancelledByTheClientIsCancelledUpstreamAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		first  *model
		yield  func(gateway.Piece) error
		output int
	}{
		"while a call runs":              {hangs(), nil, 0},
		"before a stream's first token":  {hangs(), discard, 0},
		"within a stream":                {pieces(llm.Chunk{}, nil, 0, time.Hour), discard, 2},
		"while waiting to ask again":     {fails(llm.Error{Kind: llm.RateLimited, RetryAfter: 5 * time.Second}), nil, 0},
		"however the adapter calls that": {scripted(func(ctx context.Context, _ int) *llm.Error { <-ctx.Done(); return &llm.Error{Kind: llm.ProviderFault} }), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := worldOf(t, settings{}, nil, tt.first)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				begin := time.Now()
				e, err := w.gw.Do(ctx, call(), tt.yield)
				if took := time.Since(begin); kind(err) != llm.Canceled || e.Outcome != telemetry.OutcomeCanceled || took != time.Second {
					t.Errorf("%v, outcome %s after %v; want canceled after 1s", err, e.Outcome, took)
				}
				if n := tt.first.calls.Load(); n != 1 {
					t.Errorf("%d calls, want 1", n)
				}
				if got := 0; tt.output > 0 {
					if e.Usage != nil {
						got = e.Usage.OutputTokens
					}
					if got != tt.output || !e.UsageEstimated {
						t.Errorf("%d output tokens counted, estimated %v; want %d, true", got, e.UsageEstimated, tt.output)
					}
				}
			})
		})
	}
}

func TestStrategies(t *testing.T) {
	for name, tt := range map[string]struct {
		asked    string
		settings control.Settings
		// took are the durations of earlier answers of google and embedded.
		took [2]time.Duration
		want []string
	}{
		"without one the order is that of the backends": {"", control.Settings{}, [2]time.Duration{}, []string{"gemini-3.8-flash", "embedded-standard"}},
		"cost":                                    {"", control.Settings{Strategy: "cost"}, [2]time.Duration{}, []string{"gemini-3.8-flash", "embedded-standard"}},
		"cost with a floor takes a cheaper tier":  {"quality", control.Settings{Strategy: "cost", QualityFloor: 0.7}, [2]time.Duration{}, []string{"gemini-3.8-flash", "embedded-standard", "gemini-3.1-pro-preview", "embedded-quality"}},
		"cost with a floor above what was asked":  {"economy", control.Settings{Strategy: "cost", QualityFloor: 0.9}, [2]time.Duration{}, []string{"gemini-3.1-pro-preview", "embedded-quality"}},
		"a floor that nothing reaches is none":    {"economy", control.Settings{Strategy: "cost", QualityFloor: 2}, [2]time.Duration{}, []string{"gemini-3.5-flash-lite", "embedded-economy"}},
		"quality takes better tiers":              {"", control.Settings{Strategy: "quality"}, [2]time.Duration{}, []string{"gemini-3.1-pro-preview", "embedded-quality", "gemini-3.8-flash", "embedded-standard"}},
		"latency takes the faster":                {"", control.Settings{Strategy: "latency"}, [2]time.Duration{time.Second, time.Millisecond}, []string{"embedded-standard", "gemini-3.8-flash"}},
		"latency measures what it does not know":  {"", control.Settings{Strategy: "latency"}, [2]time.Duration{time.Second, 0}, []string{"embedded-standard", "gemini-3.8-flash"}},
		"a named model is that model":             {"gemini-3.5-flash-lite", control.Settings{Strategy: "quality", QualityFloor: 1}, [2]time.Duration{}, []string{"gemini-3.5-flash-lite"}},
		"an unknown strategy changes nothing":     {"", control.Settings{Strategy: "luck"}, [2]time.Duration{}, []string{"gemini-3.8-flash", "embedded-standard"}},
		"what is to be avoided is, in every tier": {"", control.Settings{Strategy: "quality", Avoid: []string{"google"}}, [2]time.Duration{}, []string{"embedded-quality", "embedded-standard"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wait(time.Until(time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)))
				down := false
				var models []llm.Model
				for i := range 2 {
					models = append(models, scripted(func(ctx context.Context, _ int) *llm.Error {
						if down {
							return &llm.Error{Kind: llm.NotFound}
						}
						return within(ctx, tt.took[i])
					}))
				}
				// A control state that can be changed: while it warms up, each backend is asked in turn.
				state := &switched{}
				w := worldOf(t, settings{}, func(o *gateway.Options) { o.Control = state }, models...)
				for i, avoid := range []string{"embedded", "google"} {
					if tt.took[i] == 0 {
						continue
					}
					state.now = control.Settings{Model: "standard", Avoid: []string{avoid}}
					for range 5 {
						if _, err := w.gw.Do(t.Context(), call(), nil); err != nil {
							t.Fatal(err)
						}
					}
				}
				down, state.now = true, tt.settings
				state.now.Model = "standard"
				c := call()
				c.Model = tt.asked
				e, err := w.gw.Do(t.Context(), c, nil)
				if kind(err) != llm.NotFound {
					t.Fatalf("error %v, want that all were asked in vain", err)
				}
				var got []string
				for _, a := range e.Attempts {
					got = append(got, a.Requested)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// switched is a control state that says what a test wants next.
type switched struct{ now control.Settings }

func (s *switched) Settings(context.Context, control.Target, string) (control.Settings, bool) {
	return s.now, false
}

func TestPanicOfAHedgedCallReachesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := scripted(func(_ context.Context, n int) *llm.Error {
			if n > 20 {
				panic(errors.New("a defect of an adapter"))
			}
			return nil
		})
		w := worldOf(t, settings{}, func(o *gateway.Options) { o.Hedge = true }, first)
		for range 20 {
			_, _ = w.gw.Do(t.Context(), call(), nil)
		}
		defer func() {
			if got := fmt.Sprint(recover()); got != "a defect of an adapter" {
				t.Errorf("recovered %q, want the adapter's panic", got)
			}
		}()
		_, err := w.gw.Do(t.Context(), call(), nil)
		t.Errorf("no panic, but %v", err)
	})
}
