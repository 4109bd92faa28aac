package retry_test

import (
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/shared/retry"
)

func TestDelay(t *testing.T) {
	p := retry.Policy{Attempts: 4, Base: 100 * time.Millisecond, Cap: 300 * time.Millisecond}
	for name, tt := range map[string]struct {
		n           int
		after, left time.Duration
		low, high   time.Duration
		ok          bool
	}{
		"the first wait is about the base":                 {1, 0, time.Minute, 50 * time.Millisecond, 100 * time.Millisecond, true},
		"the second is about twice that":                   {2, 0, time.Minute, 100 * time.Millisecond, 200 * time.Millisecond, true},
		"no wait is longer than the cap":                   {3, 0, time.Minute, 150 * time.Millisecond, 300 * time.Millisecond, true},
		"what the provider asks for is honoured":           {1, 2 * time.Second, time.Minute, 2 * time.Second, 2 * time.Second, true},
		"a short wish does not shorten the backoff":        {1, time.Nanosecond, time.Minute, 50 * time.Millisecond, 100 * time.Millisecond, true},
		"a wish beyond the deadline is not worth waiting":  {1, 2 * time.Second, time.Second, 2 * time.Second, 2 * time.Second, false},
		"after the last attempt there is none":             {4, 0, time.Minute, 0, 0, false},
		"a request without time left makes no new attempt": {1, 0, 0, 50 * time.Millisecond, 100 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				wait, ok := p.Delay(tt.n, tt.after, tt.left)
				if ok != tt.ok || wait < tt.low || wait > tt.high {
					t.Fatalf("Delay = %v, %v; want %v to %v, %v", wait, ok, tt.low, tt.high, tt.ok)
				}
			}
		})
	}
}
