package ddapi

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// limits keeps what Datadog said about its rate limits. A limit holds for a group of requests: the method and the first
// element of the path. The log configuration has one group for what reads and one for what changes, and its requests go
// one at a time, since it allows only a few changes a minute.
type limits struct {
	mu     sync.Mutex
	until  map[string]time.Time
	serial chan struct{}
}

func newLimits() *limits {
	return &limits{until: map[string]time.Time{}, serial: make(chan struct{}, 1)}
}

const (
	logsRead  = "read the logs configuration"
	logsWrite = "change the logs configuration"
)

var (
	logsConfigPath = regexp.MustCompile(`^/api/v\d+/logs/config/`)
	version        = regexp.MustCompile(`^/api/[^/]+/`)
)

func groupOf(method, path string) string {
	switch {
	case !logsConfigPath.MatchString(path):
	case method == http.MethodGet:
		return logsRead
	default:
		return logsWrite
	}
	resource, _, _ := strings.Cut(version.ReplaceAllString(path, ""), "/")
	return method + " " + resource
}

// enter waits for the turn of a request in a group that is served one at a time. The caller must call leave.
func (l *limits) enter(ctx context.Context, group string) (leave func(), err error) {
	if group != logsRead && group != logsWrite {
		return func() {}, nil
	}
	select {
	case l.serial <- struct{}{}:
		return func() { <-l.serial }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// wait waits until the group may send again.
func (l *limits) wait(ctx context.Context, group string) error {
	for {
		l.mu.Lock()
		left := time.Until(l.until[group])
		l.mu.Unlock()
		if left <= 0 {
			return nil
		}
		if err := sleep(ctx, left); err != nil {
			return err
		}
	}
}

// learn takes what an answer says about its group: nothing remains until the reset, or, after 429, at least pause.
func (l *limits) learn(group string, status int, h http.Header, pause time.Duration) {
	reset, known := seconds(h.Get("X-RateLimit-Reset"))
	switch {
	case status == http.StatusTooManyRequests && known:
	case status == http.StatusTooManyRequests:
		reset = pause
	case h.Get("X-RateLimit-Remaining") != "0" || !known:
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(reset); until.After(l.until[group]) {
		l.until[group] = until
	}
}

// seconds reads a header that holds a number of seconds.
func seconds(s string) (time.Duration, bool) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0 && n < 1e6) {
		return 0, false
	}
	return time.Duration(n * float64(time.Second)), true
}

// sleep waits for d. It gives up at once when ctx has a deadline that comes first.
func sleep(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
