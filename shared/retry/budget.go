package retry

import "sync"

// Budget bounds the extra calls of a service, so that repetitions never become a storm: every request pays in a share
// of a call, every extra call takes a whole one. Over any number of requests at most
//
//	Reserve + Share × requests
//
// extra calls are made. The reserve lets a quiet service repeat calls, too. Credit never grows beyond it: after a quiet
// night the morning's outage begins with no more than the reserve.
//
// It is safe for concurrent use.
type Budget struct {
	share, reserve float64
	mu             sync.Mutex
	credit         float64
}

// The budget of NewBudget.
const (
	Share   = 0.1
	Reserve = 10
)

// NewBudget returns a full budget of one extra call in ten requests.
func NewBudget() *Budget { return &Budget{share: Share, reserve: Reserve, credit: Reserve} }

// Deposit pays in for one request.
func (b *Budget) Deposit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.credit = min(b.reserve, b.credit+b.share)
}

// Withdraw takes one extra call, and says whether there was credit for it.
func (b *Budget) Withdraw() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.credit < 1 {
		return false
	}
	b.credit--
	return true
}
