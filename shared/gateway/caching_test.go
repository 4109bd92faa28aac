package gateway_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// caching is a control state that has answers cached for a minute.
func caching() settings { return settings{always: control.Settings{CacheTTL: time.Minute}} }

// says is a model that answers with the text, after a second.
func says(text string, finish llm.FinishReason) *model {
	return &model{
		generate: func(ctx context.Context, _ int, req llm.Request) (*llm.Response, error) {
			if err := within(ctx, time.Second); err != nil {
				return nil, err
			}
			return &llm.Response{Text: text, Model: req.Model, Provider: "google", Finish: finish, Usage: &usage}, nil
		},
		stream: func(ctx context.Context, _ int, _ llm.Request, yield func(llm.Chunk, error) bool) {
			if err := within(ctx, time.Second); err != nil {
				yield(llm.Chunk{}, err)
				return
			}
			_ = yield(llm.Chunk{Text: text}, nil) && yield(llm.Chunk{Finish: finish, Usage: &usage}, nil)
		},
	}
}

func TestEqualRequestsAtTheSameTimeAskOnce(t *testing.T) {
	long := strings.Repeat("word ", 100)
	for name, tt := range map[string]struct {
		leader, others func(gateway.Piece) error
	}{
		"whole":                           {nil, nil},
		"streamed":                        {discard, discard},
		"streams wait for a whole answer": {nil, discard},
		"and the other way round":         {discard, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := says(long, llm.FinishStop)
				w := worldOf(t, caching(), nil, m)
				var group sync.WaitGroup
				for i := range 10 {
					yield := tt.others
					if i == 0 {
						yield = tt.leader
					}
					group.Go(func() {
						e, err := w.gw.Do(t.Context(), call(), yield)
						if err != nil || e.Output != long || (len(e.Attempts) > 0) != (i == 0) || e.Cached() != (i > 0) {
							t.Errorf("request %d: %v, cache %s, %d attempts; want the answer, asked for by the first", i, err, e.Cache, len(e.Attempts))
						}
					})
					synctest.Wait()
				}
				group.Wait()
				if n := m.calls.Load(); n != 1 {
					t.Errorf("%d calls, want 1", n)
				}
			})
		})
	}
}

func TestWhoWaitsForAnotherIsNotBoundToIt(t *testing.T) {
	t.Run("a waiter that leaves leaves alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := says("answer", llm.FinishStop)
			w := worldOf(t, caching(), nil, m)
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			group.Go(func() {
				if _, err := w.gw.Do(t.Context(), call(), nil); err != nil {
					t.Errorf("the leader: %v", err)
				}
			})
			synctest.Wait()
			group.Go(func() {
				if e, err := w.gw.Do(ctx, call(), nil); kind(err) != llm.Canceled || e.Outcome != telemetry.OutcomeCanceled {
					t.Errorf("who left: %v, outcome %s", err, e.Outcome)
				}
			})
			synctest.Wait()
			cancel()
			group.Wait()
			if n := m.calls.Load(); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	})
	for name, yield := range map[string]func(gateway.Piece) error{"whole": nil, "streamed": discard} {
		t.Run("when the leader hangs up one other asks, "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := says("answer", llm.FinishStop)
				w := worldOf(t, caching(), nil, m)
				ctx, cancel := context.WithCancel(t.Context())
				var group sync.WaitGroup
				group.Go(func() {
					if _, err := w.gw.Do(ctx, call(), yield); kind(err) != llm.Canceled {
						t.Errorf("the leader: %v, want canceled", err)
					}
				})
				synctest.Wait()
				for range 5 {
					group.Go(func() {
						if e, err := w.gw.Do(t.Context(), call(), yield); err != nil || e.Output != "answer" {
							t.Errorf("who waits: %q, %v", e.Output, err)
						}
					})
				}
				synctest.Wait()
				cancel()
				group.Wait()
				if n := m.calls.Load(); n != 2 {
					t.Errorf("%d calls, want 2", n)
				}
			})
		})
	}
	t.Run("a client that reads slowly keeps nobody waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := says("answer", llm.FinishStop)
			w := worldOf(t, caching(), nil, m)
			var group sync.WaitGroup
			group.Go(func() {
				_, _ = w.gw.Do(t.Context(), call(), func(gateway.Piece) error { wait(8 * time.Second); return nil })
			})
			synctest.Wait()
			begin := time.Now()
			if _, err := w.gw.Do(t.Context(), call(), nil); err != nil || time.Since(begin) != 3*time.Second {
				t.Errorf("%v after %v, want an answer after 3s: until the piece, of patience, and for a call of its own", err, time.Since(begin))
			}
			group.Wait()
		})
	})
	t.Run("a failure of the providers is everybody's, without a call for each", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := scripted(func(ctx context.Context, _ int) *llm.Error {
				_ = within(ctx, time.Second)
				return &llm.Error{Kind: llm.RateLimited, RetryAfter: time.Hour}
			})
			w := worldOf(t, caching(), nil, m)
			var group sync.WaitGroup
			for range 10 {
				group.Go(func() {
					if _, err := w.gw.Do(t.Context(), call(), nil); kind(err) != llm.RateLimited || llm.AsError(err).RetryAfter != time.Hour {
						t.Errorf("error %v, want rate limited for an hour", err)
					}
				})
			}
			group.Wait()
			if n := m.calls.Load(); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	})
	t.Run("a stream that breaks is its client's alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := answers("google")
			good := m.stream
			m.stream = func(ctx context.Context, n int, req llm.Request, yield func(llm.Chunk, error) bool) {
				_ = within(ctx, time.Second)
				if n == 1 {
					_ = yield(llm.Chunk{Text: "half"}, nil) && yield(llm.Chunk{}, &llm.Error{Kind: llm.BrokenStream})
					return
				}
				good(ctx, n, req, yield)
			}
			w := worldOf(t, caching(), nil, m)
			var group sync.WaitGroup
			group.Go(func() {
				if _, err := w.gw.Do(t.Context(), call(), discard); kind(err) != llm.BrokenStream {
					t.Errorf("the leader: %v, want a broken stream", err)
				}
			})
			synctest.Wait()
			if _, err := w.gw.Do(t.Context(), call(), discard); err != nil {
				t.Errorf("who waited: %v", err)
			}
			group.Wait()
		})
	})
	t.Run("a panic of the leader lets the others go on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := scripted(func(ctx context.Context, n int) *llm.Error {
				_ = within(ctx, time.Second)
				if n == 1 {
					panic("a defect of an adapter")
				}
				return nil
			})
			w := worldOf(t, caching(), nil, m)
			var group sync.WaitGroup
			group.Go(func() {
				defer func() { _ = recover() }()
				_, _ = w.gw.Do(t.Context(), call(), nil)
				t.Error("no panic")
			})
			synctest.Wait()
			if _, err := w.gw.Do(t.Context(), call(), nil); err != nil {
				t.Errorf("who waited: %v", err)
			}
			group.Wait()
		})
	})
}

func TestStaleAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   llm.Kind
		age     time.Duration
		noCache bool
		stale   time.Duration
		want    llm.Kind
	}{
		"a failure of the provider":          {llm.ProviderFault, 30 * time.Minute, false, time.Hour, ""},
		"a limit of the provider":            {llm.RateLimited, 30 * time.Minute, false, time.Hour, ""},
		"a hang of the provider":             {llm.Timeout, 30 * time.Minute, false, time.Hour, ""},
		"too old":                            {llm.ProviderFault, 62 * time.Minute, false, time.Hour, llm.ProviderFault},
		"switched off":                       {llm.ProviderFault, 2 * time.Minute, false, 0, llm.ProviderFault},
		"a bad request":                      {llm.InvalidRequest, 30 * time.Minute, false, time.Hour, llm.InvalidRequest},
		"a block":                            {llm.Blocked, 30 * time.Minute, false, time.Hour, llm.Blocked},
		"a client that wants a fresh answer": {llm.ProviderFault, 30 * time.Minute, true, time.Hour, llm.ProviderFault},
	} {
		for _, streamed := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", streamed"}[streamed], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := scripted(func(ctx context.Context, n int) *llm.Error {
						switch {
						case n == 1:
							return nil
						case tt.fault == llm.Timeout:
							<-ctx.Done()
						}
						return &llm.Error{Kind: tt.fault, RetryAfter: time.Hour}
					})
					w := worldOf(t, caching(), func(o *gateway.Options) { o.Stale = tt.stale }, m)
					var text strings.Builder
					var yield func(gateway.Piece) error
					if streamed {
						yield = func(p gateway.Piece) error { text.WriteString(p.Text); return nil }
					}
					if _, err := w.gw.Do(t.Context(), call(), yield); err != nil {
						t.Fatal(err)
					}
					wait(tt.age)
					text.Reset()
					c := call()
					c.NoCache = tt.noCache
					e, err := w.gw.Do(t.Context(), c, yield)
					if kind(err) != tt.want || (e.Cache == telemetry.CacheStale) != (tt.want == "") {
						t.Errorf("%v, cache %s; want %q", err, e.Cache, tt.want)
					}
					if streamed && text.String() != e.Output {
						t.Errorf("streamed %q, want %q", text.String(), e.Output)
					}
					if n, _ := w.memory.Sum("llm.cache.stale", "cache:stale", "outcome:success"); (n == 1) != (tt.want == "") {
						t.Errorf("llm.cache.stale = %v", n)
					}
					if len(e.Attempts) != 1 {
						t.Errorf("%d attempts told, want the one that failed", len(e.Attempts))
					}
				})
			})
		}
	}
}

func TestWhatIsKept(t *testing.T) {
	yes := func(*gateway.Call) {}
	for name, tt := range map[string]struct {
		m             *model
		first, second func(*gateway.Call)
		share         bool
		want          telemetry.CacheOutcome
		// calls are those of the model.
		calls int32
	}{
		"a complete answer":                         {says("answer", llm.FinishStop), yes, yes, false, telemetry.CacheHit, 1},
		"not one that was cut":                      {says("answer", llm.FinishLength), yes, yes, false, telemetry.CacheMiss, 2},
		"not one that a filter cut":                 {says("answer", llm.FinishBlocked), yes, yes, false, telemetry.CacheMiss, 2},
		"not one with personal data":                {says("write to jo.doe@example.com", llm.FinishStop), yes, yes, false, telemetry.CacheMiss, 2},
		"not one with a key":                        {says("use AKIAIOSFODNN7EXAMPLE", llm.FinishStop), yes, yes, false, telemetry.CacheMiss, 2},
		"an answer that was asked for fresh":        {says("answer", llm.FinishStop), func(c *gateway.Call) { c.NoCache = true }, yes, false, telemetry.CacheHit, 1},
		"not one that is to leave no trace":         {says("answer", llm.FinishStop), func(c *gateway.Call) { c.NoStore = true }, yes, false, telemetry.CacheMiss, 2},
		"and who wants none reads none":             {says("answer", llm.FinishStop), yes, func(c *gateway.Call) { c.NoStore = true }, false, telemetry.CacheOff, 2},
		"an answer of another caller is not served": {says("answer", llm.FinishStop), yes, func(c *gateway.Call) { c.Caller = "other" }, false, telemetry.CacheMiss, 2},
		"unless callers share":                      {says("answer", llm.FinishStop), yes, func(c *gateway.Call) { c.Caller = "other" }, true, telemetry.CacheHit, 1},
		"other parameters are another question":     {says("answer", llm.FinishStop), yes, func(c *gateway.Call) { c.Request.MaxTokens = 7 }, true, telemetry.CacheMiss, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := worldOf(t, caching(), func(o *gateway.Options) { o.ShareCache = tt.share }, tt.m)
				var e *telemetry.Exchange
				for _, change := range []func(*gateway.Call){tt.first, tt.second} {
					c := call()
					change(&c)
					var err error
					if e, err = w.gw.Do(t.Context(), c, nil); err != nil {
						t.Fatal(err)
					}
				}
				if n := tt.m.calls.Load(); e.Cache != tt.want || n != tt.calls {
					t.Errorf("cache %s after %d calls, want %s after %d", e.Cache, n, tt.want, tt.calls)
				}
			})
		})
	}
}

func TestFreshAnswerReplacesTheCachedOne(t *testing.T) {
	m := answers("google")
	m.generate = func(_ context.Context, n int, _ llm.Request) (*llm.Response, error) {
		return &llm.Response{Text: []string{"", "old", "new"}[n], Finish: llm.FinishStop}, nil
	}
	w := worldOf(t, caching(), nil, m)
	for _, step := range []struct {
		noCache bool
		want    string
	}{{false, "old"}, {false, "old"}, {true, "new"}, {false, "new"}} {
		c := call()
		c.NoCache = step.noCache
		if e, err := w.gw.Do(t.Context(), c, nil); err != nil || e.Output != step.want {
			t.Errorf("no-cache %v: %q, %v; want %q", step.noCache, e.Output, err, step.want)
		}
	}
}

func TestCachedStreamComesInPiecesOfWords(t *testing.T) {
	for name, tt := range map[string]struct {
		text        string
		least, most int
	}{
		"one word":                        {"answer", 1, 1},
		"a sentence":                      {"The mill was built in 1732 by the river.", 2, 3},
		"a long text":                     {strings.Repeat("The mill was built in 1732 by the river. ", 500), 16, 33},
		"a long text without white space": {strings.Repeat("x", 5000), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := worldOf(t, caching(), nil, &model{stream: func(_ context.Context, _ int, _ llm.Request, yield func(llm.Chunk, error) bool) {
				_ = yield(llm.Chunk{Text: tt.text}, nil) && yield(llm.Chunk{Finish: llm.FinishStop}, nil)
			}})
			for range 2 {
				var pieces []string
				e, err := w.gw.Do(t.Context(), call(), func(p gateway.Piece) error { pieces = append(pieces, p.Text); return nil })
				if err != nil || strings.Join(pieces, "") != tt.text {
					t.Fatalf("%v: %d pieces do not make the text", err, len(pieces))
				}
				if n := len(pieces); e.Cached() && (n < tt.least || n > tt.most) {
					t.Errorf("%d pieces, want %d to %d", n, tt.least, tt.most)
				}
			}
		})
	}
}
