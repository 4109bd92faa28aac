package scenario

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	function "github.com/llm-reliability/control-plane/functions/remediation"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/remediation"
)

// recorder keeps the calls, and how often each answer was used. It is safe for concurrent use.
type recorder struct {
	mu    sync.Mutex
	calls []call
	used  map[int]int
}

func (r *recorder) add(c call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
}

// next returns the first answer to a call that is not used up.
func (r *recorder) next(answers []Answer, to string, now time.Duration) (*Answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == nil {
		r.used = map[int]int{}
	}
	for i, a := range answers {
		if a.To != to || now < time.Duration(a.From) || a.Until != nil && now >= time.Duration(*a.Until) || a.Times > 0 && r.used[i] >= a.Times {
			continue
		}
		r.used[i]++
		return &answers[i], true
	}
	return nil, false
}

// newRemediation is the remediation function, on a control state of its own in which nothing is in force at first.
func newRemediation(now func() time.Time) (http.Handler, error) {
	c, err := remediation.New(remediation.Options{
		Store: new(controltest.Memory), Base: control.Settings{Model: string(catalog.Standard)}, Now: now,
		Limits: remediation.Limits{
			Models:    []string{string(catalog.Economy), string(catalog.Standard), string(catalog.Quality)},
			Functions: []string{"qa", "completion"},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make remediation controller: %w", err)
	}
	h, err := function.New(function.Options{Controller: c})
	if err != nil {
		return nil, fmt.Errorf("make remediation function: %w", err)
	}
	return h, nil
}

// serve lets a handler answer a request.
func serve(h http.Handler, r *http.Request, body []byte) *http.Response {
	in := r.Clone(r.Context())
	in.Body, in.RequestURI = io.NopCloser(bytes.NewReader(body)), r.URL.RequestURI()
	out := httptest.NewRecorder()
	h.ServeHTTP(out, in)
	resp := out.Result()
	resp.Request = r
	return resp
}
