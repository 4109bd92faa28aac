package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/cache/cachetest"
	"github.com/llm-reliability/control-plane/shared/llm"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func newCache(t testing.TB, maxBytes uint64) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{MaxBytes: maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t testing.TB, c *cache.Cache, key string, r llm.Response, ttl time.Duration, now time.Time) {
	t.Helper()
	if err := c.Put(t.Context(), key, cache.Entry{Response: r, Stored: now}, ttl); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, c *cache.Cache, key string, maxAge time.Duration, now time.Time) (cache.Entry, bool) {
	t.Helper()
	e, ok, err := c.Get(t.Context(), key, maxAge, now)
	if err != nil {
		t.Fatal(err)
	}
	return e, ok
}

func TestGetHonoursTheAgeThatTheCallerAllows(t *testing.T) {
	c := newCache(t, 0)
	put(t, c, "k", llm.Response{Text: "answer", Finish: llm.FinishStop}, time.Hour, start)
	for name, tt := range map[string]struct {
		maxAge time.Duration
		after  time.Duration
		want   bool
	}{
		"younger than allowed":              {time.Minute, 59 * time.Second, true},
		"exactly as old as allowed":         {time.Minute, time.Minute, true},
		"older than allowed":                {time.Minute, time.Minute + 1, false},
		"older, but a longer age allows it": {time.Hour, 30 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, ok := get(t, c, "k", tt.maxAge, start.Add(tt.after)); ok != tt.want {
				t.Errorf("Get found it: %v, want %v", ok, tt.want)
			}
		})
	}
}

func TestPutKeepsOnlyCompleteAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		response llm.Response
		want     bool
	}{
		"a complete answer is kept":        {llm.Response{Text: "a", Finish: llm.FinishStop}, true},
		"a truncated answer is not kept":   {llm.Response{Text: "a", Finish: llm.FinishLength}, false},
		"a filtered answer is not kept":    {llm.Response{Text: "a", Finish: llm.FinishBlocked}, false},
		"an empty answer is not kept":      {llm.Response{Finish: llm.FinishStop}, false},
		"an unfinished answer is not kept": {llm.Response{Text: "a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t, 0)
			put(t, c, "k", tt.response, time.Hour, start)
			if _, ok := get(t, c, "k", time.Hour, start); ok != tt.want {
				t.Errorf("kept: %v, want %v", ok, tt.want)
			}
		})
	}
}

func TestWeightIsBounded(t *testing.T) {
	c := newCache(t, 64<<10)
	text := strings.Repeat("x", 8<<10)
	for i := range 100 {
		put(t, c, fmt.Sprint(i), llm.Response{Text: text, Finish: llm.FinishStop}, time.Hour, start)
	}
	kept := 0
	for i := range 100 {
		if _, ok := get(t, c, fmt.Sprint(i), time.Hour, start); ok {
			kept++
		}
	}
	if kept == 0 || kept > 8 {
		t.Errorf("kept %d answers of 8 KiB within 64 KiB, want 1 to 8", kept)
	}
}

// instance returns the cache of one more instance before a shared tier.
func instance(t *testing.T, tier cache.Tier) *cache.Cache {
	t.Helper()
	c, err := cache.New(cache.Options{Shared: tier, SharedTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestInstancesShareAnswers(t *testing.T) {
	var tier cachetest.Memory
	answer := llm.Response{Text: "answer", Finish: llm.FinishStop}
	put(t, instance(t, &tier), "k", answer, time.Hour, start)
	other := instance(t, &tier)
	if e, ok := get(t, other, "k", time.Minute, start.Add(time.Second)); !ok || e.Response.Text != "answer" || !e.Stored.Equal(start) {
		t.Errorf("the other instance got %+v, %v, want the answer of %v", e, ok, start)
	}
	if _, ok := get(t, other, "k", time.Minute, start.Add(2*time.Minute)); ok {
		t.Error("an answer came that is older than allowed")
	}
	if _, ok := get(t, instance(t, &tier), "k", 3*time.Hour, start.Add(time.Hour)); ok {
		t.Error("the shared tier gave an answer after its time to live")
	}
}

func TestSharedTierIsOptional(t *testing.T) {
	down := errors.New("the table is gone")
	var tier cachetest.Memory
	tier.Fail(down)
	c := instance(t, &tier)
	if err := c.Put(t.Context(), "k", cache.Entry{Response: llm.Response{Text: "answer", Finish: llm.FinishStop}, Stored: start}, time.Hour); !errors.Is(err, down) {
		t.Errorf("put: got %v, want %v", err, down)
	}
	if _, ok := get(t, c, "k", time.Hour, start); !ok {
		t.Error("this instance lost the answer")
	}
	if _, ok, err := c.Get(t.Context(), "other", time.Hour, start); ok || !errors.Is(err, down) {
		t.Errorf("get: got %v, %v, want a miss with %v", ok, err, down)
	}
	tier.Fail(fmt.Errorf("put: %w", cache.ErrTooLarge))
	put(t, instance(t, &tier), "large", llm.Response{Text: "answer", Finish: llm.FinishStop}, time.Hour, start)
}

// TestSharedTierThatHangs is about the time that a request waits.
func TestSharedTierThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tier cachetest.Memory
		tier.Hang()
		c := instance(t, &tier)
		began := time.Now()
		if _, ok, err := c.Get(t.Context(), "k", time.Hour, start); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("get: got %v, %v, want a miss with a passed deadline", ok, err)
		}
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("the request waited for %v, want 50ms", took)
		}
		began = time.Now()
		if _, ok, err := c.Get(t.Context(), "k", time.Hour, start); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the next get: got %v, %v, want a miss for the same reason", ok, err)
		}
		if err := c.Put(t.Context(), "k", cache.Entry{Response: llm.Response{Text: "answer", Finish: llm.FinishStop}, Stored: start}, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("put: got %v, want the same reason", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the next requests waited for %v, want not at all: the tier is left alone", took)
		}
		<-time.After(time.Second)
		began = time.Now()
		if _, _, err := c.Get(t.Context(), "other", time.Hour, start); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 50*time.Millisecond {
			t.Errorf("a second later: %v after %v, want another try", err, time.Since(began))
		}
	})
}

// A client that leaves says nothing of the tier.
func TestSharedTierIsNotLeftAloneForAClientThatLeft(t *testing.T) {
	var tier cachetest.Memory
	c := instance(t, &tier)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Get(ctx, "k", time.Hour, start); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the end of the context", err)
	}
	if _, _, err := c.Get(t.Context(), "k", time.Hour, start); err != nil {
		t.Errorf("the next request: %v", err)
	}
}

func TestKeyTellsRequestsApart(t *testing.T) {
	zero, one := 0.0, 1.0
	base := llm.Request{Type: llm.QA, Messages: []llm.Message{{Role: llm.User, Content: "ab"}}, Question: "q", Document: "d"}
	keys := map[string]string{}
	add := func(name, caller, model string, change func(*llm.Request)) {
		req := base
		if change != nil {
			change(&req)
		}
		k := cache.Key(caller, model, req)
		for other, otherKey := range keys {
			if k == otherKey {
				t.Errorf("%q and %q have the same key", name, other)
			}
		}
		keys[name] = k
	}
	add("base", "caller", "standard", nil)
	add("another caller", "caller2", "standard", nil)
	add("another tier", "caller", "economy", nil)
	add("text moved between fields", "caller", "standard", func(r *llm.Request) { r.Question, r.Document = "qd", "" })
	add("messages split differently", "caller", "standard", func(r *llm.Request) {
		r.Messages = []llm.Message{{Role: llm.User, Content: "a"}, {Role: llm.User, Content: "b"}}
	})
	add("temperature zero is not absent", "caller", "standard", func(r *llm.Request) { r.Temperature = &zero })
	add("temperature", "caller", "standard", func(r *llm.Request) { r.Temperature = &one })
	add("another cap", "caller", "standard", func(r *llm.Request) { r.MaxTokens = 7 })
	add("a stop string", "caller", "standard", func(r *llm.Request) { r.Stop = []string{"x"} })
	add("another type", "caller", "standard", func(r *llm.Request) { r.Type = llm.Chat })
	if got := cache.Key("caller", "standard", base); got != keys["base"] {
		t.Error("the same request has two keys")
	}
}

func BenchmarkHit(b *testing.B) {
	c := newCache(b, 0)
	req := llm.Request{Type: llm.QA, Question: "Who may grant a licence?", Document: strings.Repeat("A sentence of some length. ", 500)}
	put(b, c, cache.Key("caller", "standard", req), llm.Response{Text: "answer", Finish: llm.FinishStop}, time.Hour, start)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := c.Get(b.Context(), cache.Key("caller", "standard", req), time.Hour, start); !ok || err != nil {
			b.Fatal("miss", err)
		}
	}
}

func TestLocalNeverAsksTheSharedTier(t *testing.T) {
	shared := &cachetest.Memory{}
	var of [2]*cache.Cache
	for i := range of {
		var err error
		if of[i], err = cache.New(cache.Options{Shared: shared}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, of[0], "k", llm.Response{Text: "answer", Finish: llm.FinishStop}, time.Hour, start)
	for name, tt := range map[string]struct {
		c     *cache.Cache
		after time.Duration
		want  bool
	}{
		"what this process stored":              {of[0], time.Hour, true},
		"what it stored is too old":             {of[0], time.Hour + 1, false},
		"what another stored is not looked for": {of[1], 0, false},
	} {
		if e, ok := tt.c.Local("k", time.Hour, start.Add(tt.after)); ok != tt.want || ok && e.Response.Text != "answer" {
			t.Errorf("%s: %+v, %v; want %v", name, e, ok, tt.want)
		}
	}
}

// What was derived from an answer stays with it in this process, and never goes to a shared tier.
func TestWhatIsBesideAnAnswerStaysInTheProcess(t *testing.T) {
	c := newCache(t, 0)
	e := cache.Entry{Response: llm.Response{Text: "answer", Finish: llm.FinishStop}, Stored: start, Beside: "derived"}
	if err := c.Put(t.Context(), "k", e, time.Hour); err != nil {
		t.Fatal(err)
	}
	if e, _ := get(t, c, "k", time.Hour, start); e.Beside != "derived" {
		t.Errorf("here: %v, want what was put", e.Beside)
	}
	text, err := json.Marshal(e)
	if err != nil || strings.Contains(string(text), "derived") {
		t.Errorf("as tiers keep it: %s, %v; want it without what is beside", text, err)
	}
}
