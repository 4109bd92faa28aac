package ddapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/ddapi"
)

const (
	apiKey = "key-that-nobody-sees"
	appKey = "application-key-that-nobody-sees"
)

// answer is one scripted answer: a response, or an error of the network.
type answer struct {
	status int
	body   string
	header map[string]string
	err    error
}

// script answers requests in order, and repeats the last answer. It keeps what was asked, and when.
type script struct {
	mu      sync.Mutex
	answers []answer
	asked   []string
	at      []time.Time
	last    *http.Request
	sent    string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.asked, s.at, s.last, s.sent = append(s.asked, r.Method+" "+r.URL.String()), append(s.at, time.Now()), r, string(body)
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	if a.err != nil {
		return nil, a.err
	}
	w := httptest.NewRecorder()
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status)
	w.Body = bytes.NewBufferString(a.body)
	return w.Result(), nil
}

func client(t *testing.T, s http.RoundTripper) *ddapi.Client {
	t.Helper()
	c, err := ddapi.New(ddapi.Options{APIKey: apiKey, AppKey: appKey, HTTP: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRetries(t *testing.T) {
	t.Parallel()
	ok := answer{status: 200, body: `{"id":1}`}
	limited := answer{status: 429, header: map[string]string{"X-RateLimit-Reset": "30"}}
	lost := answer{err: io.ErrUnexpectedEOF}
	refused := answer{err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
	tests := map[string]struct {
		method  string
		answers []answer
		calls   int
		status  int
		unknown bool
		fails   bool
		// least is the time that must pass.
		least time.Duration
	}{
		"an answer is an answer":                              {method: "GET", answers: []answer{ok}, calls: 1},
		"GET is repeated after a lost answer":                 {method: "GET", answers: []answer{lost, ok}, calls: 2},
		"PUT is repeated after 503":                           {method: "PUT", answers: []answer{{status: 503}, {status: 502}, ok}, calls: 3},
		"DELETE is repeated after 500":                        {method: "DELETE", answers: []answer{{status: 500}, ok}, calls: 2},
		"PATCH sets values, so it is repeated too":            {method: "PATCH", answers: []answer{{status: 500}, ok}, calls: 2},
		"GET ends after four attempts":                        {method: "GET", answers: []answer{{status: 500}}, calls: 4, status: 500, fails: true},
		"POST is not repeated after a lost answer":            {method: "POST", answers: []answer{lost, ok}, calls: 1, unknown: true, fails: true},
		"POST is not repeated after 504":                      {method: "POST", answers: []answer{{status: 504}, ok}, calls: 1, status: 504, unknown: true, fails: true},
		"an answer that is cut may have been a success":       {method: "POST", answers: []answer{{status: 200, body: `{"id":`}, ok}, calls: 1, unknown: true, fails: true},
		"POST is repeated when there was no connection":       {method: "POST", answers: []answer{refused, ok}, calls: 2},
		"POST is repeated after 429, when the limit is reset": {method: "POST", answers: []answer{limited, limited, ok}, calls: 3, least: time.Minute},
		"429 without a reset backs off":                       {method: "GET", answers: []answer{{status: 429}, ok}, calls: 2, least: 250 * time.Millisecond},
		"Retry-After is honoured":                             {method: "GET", answers: []answer{{status: 503, header: map[string]string{"Retry-After": "7"}}, ok}, calls: 2, least: 7 * time.Second},
		"400 is final":                                        {method: "PUT", answers: []answer{{status: 400}, ok}, calls: 1, status: 400, fails: true},
		"404 is final":                                        {method: "GET", answers: []answer{{status: 404}, ok}, calls: 1, status: 404, fails: true},
		"a redirect is not followed":                          {method: "GET", answers: []answer{{status: 307, header: map[string]string{"Location": "https://example.com/"}}, ok}, calls: 1, status: 307, fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: test.answers}
				begin := time.Now()
				var out struct{ ID int }
				err := client(t, s).Do(t.Context(), test.method, "/api/v1/monitor", nil, json.RawMessage(`{"a":"<b>"}`), &out)
				if (err != nil) != test.fails || ddapi.Status(err) != test.status || ddapi.Unknown(err) != test.unknown {
					t.Errorf("error = %v, status %d, unknown %t", err, ddapi.Status(err), ddapi.Unknown(err))
				}
				if !test.fails && out.ID != 1 {
					t.Errorf("the answer was not decoded: %+v", out)
				}
				if len(s.asked) != test.calls {
					t.Errorf("%d calls, want %d", len(s.asked), test.calls)
				}
				if took := time.Since(begin); took < test.least {
					t.Errorf("took %s, want at least %s", took, test.least)
				}
				if s.sent != `{"a":"<b>"}` {
					t.Errorf("sent %q", s.sent)
				}
			})
		})
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	last := answer{status: 200, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20"}}
	ok := answer{status: 200}
	t.Run("the next request of the group waits for the reset", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &script{answers: []answer{last, ok}}
			c := client(t, s)
			for _, path := range []string{"/api/v1/monitor/1", "/api/v1/slo", "/api/v1/monitor/2"} {
				if err := c.Do(t.Context(), "GET", path, nil, nil, nil); err != nil {
					t.Fatal(err)
				}
			}
			if other, same := s.at[1].Sub(s.at[0]), s.at[2].Sub(s.at[0]); other != 0 || same != 20*time.Second {
				t.Errorf("another group waited %s, the same %s", other, same)
			}
		})
	})
	t.Run("a wait longer than the deadline is not begun", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &script{answers: []answer{{status: 429, body: `{"errors":["slow down"]}`, header: map[string]string{"X-RateLimit-Reset": "3600"}}}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begin := time.Now()
			err := client(t, s).Do(ctx, "GET", "/api/v1/monitor", nil, nil, nil)
			if !errors.Is(err, context.DeadlineExceeded) || ddapi.Status(err) != 429 || time.Since(begin) != 0 {
				t.Errorf("error = %v after %s", err, time.Since(begin))
			}
		})
	})
	t.Run("the log configuration is changed by one request at a time", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var now, most int
			var mu sync.Mutex
			c := client(t, roundTrip(func(r *http.Request) (*http.Response, error) {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				<-time.After(time.Second)
				mu.Lock()
				now--
				mu.Unlock()
				return httptest.NewRecorder().Result(), nil
			}))
			var wait sync.WaitGroup
			for i := range 8 {
				wait.Go(func() {
					if err := c.Do(t.Context(), "PUT", []string{"/api/v1/logs/config/pipelines/1", "/api/v2/logs/config/archives/1"}[i%2], nil, nil, nil); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			if most != 1 {
				t.Errorf("%d requests at once", most)
			}
		})
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestErrorsTellWhatDatadogSaid(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want []string
	}{
		"texts, as the first version has them":  {`{"errors":["bad query","bad name"]}`, []string{"bad query", "bad name"}},
		"objects, as the second has them":       {`{"errors":[{"title":"Invalid","detail":"no name","source":{"pointer":"/data/attributes"}}]}`, []string{"/data/attributes: Invalid: no name"}},
		"texts by id, as deleted SLOs have":     {`{"errors":{"b":"in use","a":"gone"}}`, []string{"a: gone", "b: in use"}},
		"one object, as log configuration has":  {`{"error":{"code":"x","message":"bad filter","details":[{"message":"here"}]}}`, []string{"bad filter", "here"}},
		"one text":                              {`{"error":"no"}`, []string{"no"}},
		"a page of a proxy is not repeated":     {`<html>secret proxy</html>`, nil},
		"a key that a server repeats is hidden": {`{"errors":["` + apiKey + ` and ` + appKey + ` are wrong"]}`, []string{"«key» and «key» are wrong"}},
		"a long text is cut":                    {`{"errors":["` + strings.Repeat("x", 600) + `"]}`, []string{strings.Repeat("x", 500) + "…"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{answers: []answer{{status: 400, body: test.body}}}
			err := client(t, s).Do(t.Context(), "POST", "/api/v1/monitor", url.Values{"filter": {"ada@example.com"}}, json.RawMessage(`{"value":"hush"}`), nil)
			var e *ddapi.Error
			if !errors.As(err, &e) {
				t.Fatalf("error = %v", err)
			}
			if diff := cmp.Diff(test.want, e.Errors); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if s.last.Header.Get("DD-API-KEY") != apiKey || s.last.Header.Get("DD-APPLICATION-KEY") != appKey {
				t.Error("the keys were not sent")
			}
			for _, hidden := range []string{apiKey, appKey, "hush", "ada@example.com"} {
				if strings.Contains(fmt.Sprintf("%v %+v", err, *e), hidden) {
					t.Errorf("the error holds %q: %v", hidden, err)
				}
			}
		})
	}
}

func TestListReadsEveryPage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		pages ddapi.Pages
		wants []string
	}{
		"pages by number": {ddapi.Pages{Items: "data", Size: "page[size]", Limit: 2, Number: "page[number]"}, []string{"0", "1", "2"}},
		"pages by offset": {ddapi.Pages{Items: "data", Size: "count", Limit: 2, Offset: "start"}, []string{"0", "2", "4"}},
		"no pages":        {ddapi.Pages{Items: "data"}, []string{""}},
	}
	all := []string{"1", "2", "3", "4", "5"}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			c := client(t, roundTrip(func(r *http.Request) (*http.Response, error) {
				at, from, to := r.FormValue(test.pages.Number+test.pages.Offset), 0, len(all)
				asked = append(asked, at)
				if n, err := strconv.Atoi(at); err == nil {
					from = n
					if test.pages.Number != "" {
						from = n * test.pages.Limit
					}
					to = min(from+test.pages.Limit, len(all))
				}
				w := httptest.NewRecorder()
				fmt.Fprintf(w, `{"data":[%s]}`, strings.Join(all[from:to], ","))
				return w.Result(), nil
			}))
			items, err := c.List(t.Context(), "/api/v2/things", url.Values{"include": {"x"}}, test.pages)
			if err != nil || len(items) != len(all) || string(items[4]) != "5" {
				t.Errorf("items = %s, %v", items, err)
			}
			if !slices.Equal(asked, test.wants) {
				t.Errorf("asked for %q, want %q", asked, test.wants)
			}
		})
	}
	t.Run("a server that knows no pages is asked twice", func(t *testing.T) {
		t.Parallel()
		s := &script{answers: []answer{{status: 200, body: `[1,2]`}}}
		items, err := client(t, s).List(t.Context(), "/api/v1/monitor", nil, ddapi.Pages{Size: "page_size", Limit: 2, Number: "page"})
		if err != nil || len(items) != 2 || len(s.asked) != 2 {
			t.Errorf("items = %s after %d calls, %v", items, len(s.asked), err)
		}
	})
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for _, site := range ddapi.Sites() {
		s := &script{answers: []answer{{status: 200}}}
		c, err := ddapi.New(ddapi.Options{Site: site, APIKey: apiKey, HTTP: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []ddapi.Host{ddapi.API, ddapi.EventIntake, ddapi.OnCallPaging} {
			at, err := c.At(h)
			if gov := strings.HasSuffix(site, "ddog-gov.com"); h == ddapi.OnCallPaging && gov {
				if err == nil {
					t.Errorf("%s has a paging host", site)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := at.Do(t.Context(), "GET", "/x", nil, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if want := "GET https://api." + site + "/x"; s.asked[0] != want {
			t.Errorf("asked %s, want %s", s.asked[0], want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts ddapi.Options
		want string
	}{
		"a host that is no site":           {ddapi.Options{Site: "evil.example.com", APIKey: apiKey}, "is not a Datadog site"},
		"no key":                           {ddapi.Options{}, "APIKey is required"},
		"a key with a line break":          {ddapi.Options{APIKey: apiKey + "\n"}, "line break"},
		"keys in the clear to another":     {ddapi.Options{APIKey: apiKey, BaseURL: "http://example.com"}, "must be HTTPS"},
		"a base URL that is none":          {ddapi.Options{APIKey: apiKey, BaseURL: "example.com"}, "not the URL"},
		"a base URL that holds a password": {ddapi.Options{APIKey: apiKey, BaseURL: "https://a:b@example.com"}, "not the URL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ddapi.New(test.opts)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), apiKey) {
				t.Errorf("error = %v, want %q", err, test.want)
			}
		})
	}
	if _, err := ddapi.New(ddapi.Options{APIKey: apiKey, BaseURL: "http://127.0.0.1:1"}); err != nil {
		t.Errorf("a stand-in on this machine: %v", err)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(400, `{"errors":["a"]}`)
	f.Add(409, `{"errors":{"a":1},"error":{"details":[{}]}}`)
	f.Add(200, `[{}]`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 499 || status == 429 || status == 408 {
			return
		}
		c := client(t, roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
		}))
		var out json.RawMessage
		err := c.Do(t.Context(), "POST", "/x", nil, nil, &out)
		if err == nil && len(out) > 0 && !json.Valid(out) {
			t.Errorf("not JSON: %s", out)
		}
		if err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}
