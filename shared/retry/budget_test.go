package retry_test

import (
	"sync"
	"testing"

	"github.com/llm-reliability/control-plane/shared/retry"
)

// TestBudgetBoundsExtraCallsAtAnyLoad lets every request ask for as many extra calls as it can get.
func TestBudgetBoundsExtraCallsAtAnyLoad(t *testing.T) {
	for name, requests := range map[string]int{"no request": 0, "a few": 7, "many": 10_000} {
		t.Run(name, func(t *testing.T) {
			b := retry.NewBudget()
			var group sync.WaitGroup
			var mu sync.Mutex
			extra := 0
			for range requests {
				group.Go(func() {
					b.Deposit()
					for b.Withdraw() {
						mu.Lock()
						extra++
						mu.Unlock()
					}
				})
			}
			group.Wait()
			for b.Withdraw() {
				extra++
			}
			if most := retry.Reserve + int(retry.Share*float64(requests)); extra > most || extra < retry.Reserve {
				t.Errorf("%d extra calls over %d requests, want %d to %d", extra, requests, int(retry.Reserve), most)
			}
		})
	}
}

func TestBudgetDoesNotSaveUp(t *testing.T) {
	b := retry.NewBudget()
	for range 10_000 {
		b.Deposit()
	}
	extra := 0
	for b.Withdraw() {
		extra++
	}
	if extra != retry.Reserve {
		t.Errorf("%d extra calls after a quiet time, want the reserve of %d", extra, int(retry.Reserve))
	}
}
