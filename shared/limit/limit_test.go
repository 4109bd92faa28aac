package limit_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/limit"
	"github.com/llm-reliability/control-plane/shared/limit/limittest"
)

func TestConformanceOfMemory(t *testing.T) {
	limittest.Conformance(t, func(*testing.T) limit.Counters { return &limit.Memory{} })
}

func limiter(t testing.TB, rules string, counters limit.Counters) *limit.Limiter {
	t.Helper()
	parsed, err := limit.ParseRules(rules)
	if err != nil {
		t.Fatal(err)
	}
	l, err := limit.New(limit.Options{Rules: parsed, Counters: counters})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// admit asks once, and settles with the estimate.
func admit(t testing.TB, l *limit.Limiter, r limit.Request, usd float64) *limit.Exceeded {
	t.Helper()
	ticket, refused, err := l.Admit(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := ticket.Settle(context.Background(), r.Tokens, usd); err != nil {
		t.Fatal(err)
	}
	return refused
}

// admitted asks once for web, and must be admitted.
func admitted(t testing.TB, l *limit.Limiter, usd float64) {
	t.Helper()
	if refused := admit(t, l, limit.Request{Caller: "web"}, usd); refused != nil {
		t.Fatal(refused)
	}
}

func TestEachLimitRefusesWithWhatWasExceededAndWhenToComeAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		rules    string
		request  limit.Request
		usd      float64
		admitted int
		want     limit.Exceeded
	}{
		"requests": {
			"web:rpm=3", limit.Request{Caller: "web"}, 0, 3,
			limit.Exceeded{Limit: "requests", Caller: "web", Allowed: "3 requests a minute", RetryAfter: 80 * time.Second},
		},
		"requests of a rule for everybody": {
			"*:rpm=3;web:tpm=1", limit.Request{Caller: "other"}, 0, 3,
			limit.Exceeded{Limit: "requests", Caller: "other", Allowed: "3 requests a minute", RetryAfter: 80 * time.Second},
		},
		"tokens": {
			"web:tpm=1000", limit.Request{Caller: "web", Tokens: 300}, 0, 3,
			limit.Exceeded{Limit: "tokens", Caller: "web", Allowed: "1000 tokens a minute", RetryAfter: time.Minute + 13333333334},
		},
		"a budget": {
			"web:usd_day=2", limit.Request{Caller: "web"}, 0.5, 4,
			limit.Exceeded{Limit: "budget", Caller: "web", Allowed: "2 USD a day", RetryAfter: 24 * time.Hour},
		},
		"a cap that is in force for a while": {
			"web:rpm=30", limit.Request{Caller: "web", Cap: 2}, 0, 2,
			limit.Exceeded{Limit: "override", Caller: "web", Allowed: "2 requests a minute", RetryAfter: 90 * time.Second},
		},
		"a cap where there is no rule": {
			"", limit.Request{Caller: "web", Cap: 2}, 0, 2,
			limit.Exceeded{Limit: "override", Caller: "web", Allowed: "2 requests a minute", RetryAfter: 90 * time.Second},
		},
		"the one that holds longest": {
			"web:rpm=1,usd_day=0.5", limit.Request{Caller: "web"}, 0.5, 1,
			limit.Exceeded{Limit: "budget", Caller: "web", Allowed: "0.5 USD a day", RetryAfter: 24 * time.Hour},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // it begins at midnight UTC
				l := limiter(t, tt.rules, &limit.Memory{})
				for i := range tt.admitted {
					if refused := admit(t, l, tt.request, tt.usd); refused != nil {
						t.Fatalf("request %d: %+v", i, refused)
					}
				}
				refused := admit(t, l, tt.request, 0)
				if refused == nil {
					t.Fatal("one too many was admitted")
				}
				if diff := cmp.Diff(tt.want, *refused); diff != "" {
					t.Errorf("refusal (-want +got):\n%s", diff)
				}
				if text := refused.Error(); !strings.Contains(text, tt.want.Allowed) || !strings.Contains(text, tt.want.Caller) {
					t.Errorf("it says %q", text)
				}
				if refused := admit(t, l, limit.Request{Caller: "third"}, 0); refused != nil {
					t.Errorf("another caller: %+v", refused)
				}
				time.Sleep(refused.RetryAfter - time.Millisecond)
				if tt.want.Limit != limit.Tokens { // what is rounded up in the sum may admit a token's time earlier
					if early := admit(t, l, tt.request, 0); early == nil {
						t.Error("it is admitted before the time that it was told")
					}
				}
				time.Sleep(time.Millisecond)
				if late := admit(t, l, tt.request, 0); late != nil {
					t.Errorf("it is not admitted at the time that it was told: %+v", late)
				}
			})
		})
	}
}

func TestStanding(t *testing.T) {
	const rules = "web:rpm=10,tpm=1000,usd_day=5;paid:usd_day=5;words:tpm=1000"
	web := limit.Request{Caller: "web", Tokens: 300}
	for name, tt := range map[string]struct {
		before  int           // requests that were admitted before
		wait    time.Duration // since then
		request limit.Request
		want    []limit.Standing
	}{
		"of nothing asked yet":               {0, 0, web, []limit.Standing{{"requests", 10, 10, 0}, {"tokens", 1000, 1000, 0}}},
		"after some requests":                {2, 0, web, []limit.Standing{{"requests", 10, 8, 2 * time.Minute}, {"tokens", 1000, 400, 2 * time.Minute}}},
		"later in the minute":                {2, 15 * time.Second, web, []limit.Standing{{"requests", 10, 8, 105 * time.Second}, {"tokens", 1000, 400, 105 * time.Second}}},
		"in the next minute, half of it":     {2, 90 * time.Second, web, []limit.Standing{{"requests", 10, 9, 30 * time.Second}, {"tokens", 1000, 700, 30 * time.Second}}},
		"two minutes later":                  {2, 2 * time.Minute, web, []limit.Standing{{"requests", 10, 10, 0}, {"tokens", 1000, 1000, 0}}},
		"below what a cap has been set to":   {2, 0, limit.Request{Caller: "web", Cap: 1}, []limit.Standing{{"requests", 1, 0, 2 * time.Minute}, {"tokens", 1000, 400, 2 * time.Minute}}},
		"of a caller without a limit":        {2, 0, limit.Request{Caller: "other"}, nil},
		"of a caller with a limit of tokens": {2, 0, limit.Request{Caller: "words"}, []limit.Standing{{"tokens", 1000, 1000, 0}}},
		"of a caller with a budget only":     {2, 0, limit.Request{Caller: "paid"}, nil},
		"of a caller without one, but a cap": {0, 0, limit.Request{Caller: "other", Cap: 5}, []limit.Standing{{"requests", 5, 5, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // it begins at midnight UTC
				l := limiter(t, rules, &limit.Memory{})
				for range tt.before {
					if refused := admit(t, l, web, 0); refused != nil {
						t.Fatal(refused)
					}
				}
				time.Sleep(tt.wait)
				if diff := cmp.Diff(tt.want, l.Standing(tt.request)); diff != "" {
					t.Errorf("standing (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestWithoutLimitsNothingIsCounted(t *testing.T) {
	l := limiter(t, "web:rpm=1", broken{})
	ticket, refused, err := l.Admit(t.Context(), limit.Request{Caller: "other", Tokens: 1e9})
	if ticket != nil || refused != nil || err != nil {
		t.Errorf("got %v, %v, %v", ticket, refused, err)
	}
	if err := ticket.Settle(t.Context(), 1, 1); err != nil {
		t.Error(err)
	}
}

func TestWhatIsSettledIsWhatWasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, "web:tpm=1000", &limit.Memory{})
		for i := range 50 { // far more than the estimates would allow
			ticket, refused, err := l.Admit(t.Context(), limit.Request{Caller: "web", Tokens: 900})
			if refused != nil || err != nil {
				t.Fatalf("request %d: %v, %v", i, refused, err)
			}
			if err := ticket.Settle(t.Context(), 2, 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, refused, _ := l.Admit(t.Context(), limit.Request{Caller: "web", Tokens: 950}); refused == nil {
			t.Error("100 tokens and 950 are within 1000")
		}
		// One that is larger than the limit is admitted when there is nothing else.
		time.Sleep(3 * time.Minute)
		if _, refused, _ := l.Admit(t.Context(), limit.Request{Caller: "web", Tokens: 5000}); refused != nil {
			t.Errorf("a large one alone: %v", refused)
		}
		if _, refused, _ := l.Admit(t.Context(), limit.Request{Caller: "web", Tokens: 1}); refused == nil {
			t.Error("beside a large one: admitted")
		}
	})
}

// TestOvershootIsBounded lets several instances spend one limit in every mix of speeds.
func TestOvershootIsBounded(t *testing.T) {
	for _, instances := range []int{1, 2, 5, 10} {
		for seed := range uint64(5) {
			synctest.Test(t, func(t *testing.T) {
				const most = 1000
				counters := &limit.Memory{}
				var all []*limit.Limiter
				for range instances {
					all = append(all, limiter(t, "web:rpm=1000", counters))
				}
				random := rand.New(rand.NewPCG(seed, uint64(instances)))
				admitted := 0
				for range 4000 {
					if admit(t, all[random.IntN(instances)], limit.Request{Caller: "web"}, 0) == nil {
						admitted++
					}
					time.Sleep(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
					if time.Now().Second() > 55 {
						break
					}
				}
				// What one instance admits in an interval is 1 s / 10 ms / instances, on the mean.
				bound := most + (instances-1)*(200/instances)
				if admitted < most || admitted > bound {
					t.Errorf("%d instances admitted %d of %d, want at most %d", instances, admitted, most, bound)
				}
			})
		}
	}
}

// TestOneRoomForMany has many instances ask for the last place at once.
func TestOneRoomForMany(t *testing.T) {
	for range 20 {
		counters := &limit.Memory{}
		var wg sync.WaitGroup
		var mu sync.Mutex
		admitted := 0
		for range 16 {
			l := limiter(t, "web:rpm=1", counters)
			wg.Go(func() {
				if _, refused, err := l.Admit(context.Background(), limit.Request{Caller: "web"}); refused == nil && err == nil {
					mu.Lock()
					admitted++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if admitted > 1 {
			t.Fatalf("%d were admitted where there is room for 1", admitted)
		}
	}
}

// broken fails.
type broken struct{}

func (broken) Add(context.Context, []limit.Delta) ([]limit.Amounts, error) {
	return nil, errors.New("down")
}

// breaking fails while down is set.
type breaking struct {
	limit.Memory
	down  bool
	calls int
}

func (b *breaking) Add(ctx context.Context, d []limit.Delta) ([]limit.Amounts, error) {
	if b.calls++; b.down {
		return nil, errors.New("down")
	}
	return b.Memory.Add(ctx, d)
}

func TestWithoutTheStoreEachInstanceGoesOnAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := &breaking{}
		one, two := limiter(t, "web:rpm=10", counters), limiter(t, "web:rpm=10", counters)
		for range 4 {
			admitted(t, one, 0)
		}
		admitted(t, two, 0) // it knows of the three that were told by then
		counters.down = true
		counts := map[*limit.Limiter]int{}
		failures := 0
		time.Sleep(time.Second)
		for range 20 {
			for _, l := range []*limit.Limiter{one, two} {
				_, refused, err := l.Admit(t.Context(), limit.Request{Caller: "web"})
				if refused == nil {
					counts[l]++
				}
				if err != nil {
					failures++
				}
			}
		}
		if counts[one] != 6 || counts[two] != 6 || failures != 2 {
			t.Errorf("admitted %d and %d with %d failures, want 6 each, and one failure each: it is not asked again within the interval", counts[one], counts[two], failures)
		}
		// What was admitted meanwhile is added when the store is back.
		counters.down = false
		time.Sleep(time.Second)
		third := limiter(t, "web:rpm=10", counters)
		for _, l := range []*limit.Limiter{one, two} {
			_, _, _ = l.Admit(t.Context(), limit.Request{Caller: "web"})
		}
		if admit(t, third, limit.Request{Caller: "web"}, 0) == nil {
			t.Error("a third instance does not know what the others have admitted")
		}
	})
}

// slow answers when the context ends.
type slow struct{}

func (slow) Add(ctx context.Context, _ []limit.Delta) ([]limit.Amounts, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestASlowStoreCostsOneTimeoutAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, "web:rpm=1000", slow{})
		start := time.Now()
		for range 100 {
			if _, refused, _ := l.Admit(t.Context(), limit.Request{Caller: "web"}); refused != nil {
				t.Fatal(refused)
			}
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("100 requests waited %v", took)
		}
	})
}

// TestWhatIsGivenBackMakesNoRoomInAnotherMinute settles after the minute has ended, with far less than was estimated.
func TestWhatIsGivenBackMakesNoRoomInAnotherMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := &limit.Memory{}
		l := limiter(t, "web:tpm=1000", counters)
		time.Sleep(55 * time.Second)
		ticket, refused, err := l.Admit(t.Context(), limit.Request{Caller: "web", Tokens: 900})
		if refused != nil || err != nil {
			t.Fatal(refused, err)
		}
		time.Sleep(10 * time.Second) // five seconds into the next minute
		if err := ticket.Settle(t.Context(), 2, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if refused := admit(t, limiter(t, "web:tpm=1000", counters), limit.Request{Caller: "web", Tokens: 900}, 0); refused != nil {
			t.Errorf("another instance does not see what was given back: %v", refused)
		}
		time.Sleep(2 * time.Minute)
		took := 0
		for range 500 {
			if admit(t, l, limit.Request{Caller: "web", Tokens: 10}, 0) != nil {
				break
			}
			took += 10
		}
		if took != 1000 {
			t.Errorf("%d tokens of 1000 in a minute", took)
		}
	})
}

func TestWhatIsRefusedCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := &limit.Memory{}
		one := limiter(t, "web:rpm=10", counters)
		for range 10 {
			admitted(t, one, 0)
		}
		for range 20 {
			if admit(t, limiter(t, "web:rpm=10", counters), limit.Request{Caller: "web"}, 0) == nil {
				t.Error("one too many was admitted")
			}
		}
		sums, err := counters.Add(t.Context(), []limit.Delta{{Key: limit.Key{Caller: "web", Window: "m" + strconv.FormatInt(time.Now().Unix()/60, 10)}}})
		if err != nil || sums[0].Requests != 10 {
			t.Errorf("%v, %v: want 10 requests", sums, err)
		}
	})
}

// TestInstancesThatServeOneRequestKeepTheBudget has each instance end after its request.
func TestInstancesThatServeOneRequestKeepTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters, spent := &limit.Memory{}, 0.0
		for range 100 {
			l := limiter(t, "web:usd_day=1", counters)
			ticket, refused, err := l.Admit(t.Context(), limit.Request{Caller: "web"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // a model takes its time
			if refused == nil {
				spent += 0.5
			}
			if err := ticket.Settle(t.Context(), 10, 0.5); err != nil {
				t.Fatal(err)
			}
		}
		if spent != 1 {
			t.Errorf("they spent %v of 1 USD", spent)
		}
	})
}

func TestTheDayBeginsAnewAtMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, "web:usd_day=1", &limit.Memory{})
		time.Sleep(23 * time.Hour)
		admitted(t, l, 1)
		refused := admit(t, l, limit.Request{Caller: "web"}, 0)
		if refused == nil || refused.RetryAfter != time.Hour {
			t.Fatalf("got %+v, want a refusal until midnight", refused)
		}
		time.Sleep(time.Hour)
		if refused := admit(t, l, limit.Request{Caller: "web"}, 0); refused != nil {
			t.Errorf("after midnight: %+v", refused)
		}
	})
}

func TestParseRules(t *testing.T) {
	for text, want := range map[string]limit.Rules{
		"":                                     {},
		"web:rpm=60":                           {"web": {RequestsPerMinute: 60}},
		"*:rpm=600 ; web:tpm=7, usd_day=2.50;": {"*": {RequestsPerMinute: 600}, "web": {TokensPerMinute: 7, USDPerDay: 2.5}},
	} {
		got, err := limit.ParseRules(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v; rules (-want +got):\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"web":                 `"web" is not like web:rpm=60`,
		":rpm=1":              `":rpm=1" is not like`,
		"web:":                `web: "" is none of rpm, tpm and usd_day`,
		"web:rps=1":           `web: "rps" is none of`,
		"web:rpm=0":           `web: rpm must be a whole number from 1`,
		"web:rpm=1.5,tpm=-1":  "web: rpm must be a whole number from 1 to 1000000000\nweb: tpm must be",
		"web:usd_day=0":       `web: usd_day must be USD from`,
		"web:usd_day=NaN":     `web: usd_day must be USD from`,
		"web:rpm=1;web:rpm=2": `web has two rules`,
		"web:rpm=1,rpm=2":     `web: rpm stands there twice`,
		"a:rpm=x;b:tpm=y;c":   "a: rpm must be",
	} {
		if got, err := limit.ParseRules(text); err == nil || !strings.Contains(err.Error(), want) || got != nil {
			t.Errorf("%q: got %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add("*:rpm=600;web:rpm=60,tpm=100000,usd_day=2.50")
	f.Add(";;:=,")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := limit.ParseRules(text)
		for caller, l := range rules {
			if err != nil || caller == "" || l.RequestsPerMinute < 0 || l.TokensPerMinute < 0 || !(l.USDPerDay >= 0) {
				t.Errorf("%q: %+v, %v", text, rules, err)
			}
		}
	})
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := limit.New(limit.Options{}); err == nil {
		t.Error("no counters: no error")
	}
}

func BenchmarkAdmitAndSettle(b *testing.B) {
	l := limiter(b, "web:rpm=1000000000,tpm=1000000000,usd_day=1000000", &limit.Memory{})
	for b.Loop() {
		ticket, _, _ := l.Admit(b.Context(), limit.Request{Caller: "web", Tokens: 100})
		_ = ticket.Settle(b.Context(), 90, 0.0001)
	}
}
