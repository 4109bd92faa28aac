package serverless_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

// pipes is a listener whose connections are in memory, so that their deadlines pass in virtual time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, open := <-p
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// serve is a server without any limits, as the framework's, for one connection, whose client's end it returns.
func serve(t *testing.T, h http.Handler) net.Conn {
	t.Helper()
	p := make(pipes)
	done := make(chan error)
	go func() { done <- (&http.Server{Handler: h}).Serve(p) }() //nolint:gosec // no limits is what this is about
	client, server := net.Pipe()
	p <- server
	t.Cleanup(func() {
		client.Close()
		close(p)
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return client
}

func quiet(h http.Handler) (http.Handler, func(context.Context, <-chan os.Signal) error) {
	return serverless.HTTP(h, slog.New(slog.DiscardHandler))
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func TestBodyThatTricklesInIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := quiet(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var doc struct{}
			serverless.WriteError(w, r, httpjson.FromError(httpjson.Decode(w, r, 1000, &doc)))
		}))
		conn := serve(t, h)
		begin := time.Now()
		send(t, conn, "POST /x HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n")
		var trickle sync.WaitGroup
		trickle.Go(func() {
			for err := error(nil); err == nil; <-time.After(time.Second) {
				_, err = io.WriteString(conn, "x")
			}
		})
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if took := time.Since(begin); resp.StatusCode != http.StatusRequestTimeout || took > 30*time.Second {
			t.Errorf("status %d after %s, want 408 within 30s", resp.StatusCode, took)
		}
		conn.Close()
		trickle.Wait()
	})
}

func TestBodyDeadlineEndsWithTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := quiet(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				t.Error(err)
			}
			select {
			case <-time.After(time.Hour):
			case <-r.Context().Done():
				t.Errorf("the request ended: %v", r.Context().Err())
			}
		}))
		conn := serve(t, h)
		send(t, conn, "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxy")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("status is %d, want 200", resp.StatusCode)
		}
	})
}

func TestLongStreamIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pieces = 100
		h, _ := quiet(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range pieces {
				<-time.After(15 * time.Second)
				_, err := io.WriteString(w, "x")
				if err = errors.Join(err, http.NewResponseController(w).Flush()); err != nil {
					t.Error(err)
				}
			}
		}))
		conn := serve(t, h)
		send(t, conn, "GET /x HTTP/1.1\r\nHost: test\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || len(body) != pieces {
			t.Errorf("got %d pieces, %v, want %d", len(body), err, pieces)
		}
	})
}

func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		h, _ := quiet(serverless.Wrap(serverless.Function{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var err error
			for r.Context().Err() == nil {
				_, err = w.Write(make([]byte, 1000)) // the failure ends the request
			}
			ended <- err // the cause is a race: net/http, too, ends the request when it sees the failure
		})}, serverless.Options{Name: "f", Timeout: time.Hour}))
		conn := serve(t, h)
		begin := time.Now()
		send(t, conn, "GET /x HTTP/1.1\r\nHost: test\r\n\r\n")
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) > 30*time.Second {
			t.Errorf("the request ended with %v after %s, want a write deadline within 30s", err, time.Since(begin))
		}
	})
}

// A connection that served a slow client, or none for long, must serve the next request in full.
func TestKeptConnectionHasNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := quiet(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
		conn := serve(t, h)
		reader := bufio.NewReader(conn)
		for range 3 {
			send(t, conn, "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxy")
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "xy" {
				t.Errorf("got %q, %v, want xy", body, err)
			}
			resp.Body.Close()
			<-time.After(time.Hour)
		}
	})
}

// What was started for a request learns of its end, as with net/http alone.
func TestContextEndsWithItsRequest(t *testing.T) {
	var got *http.Request
	h, _ := quiet(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r
		if err := r.Context().Err(); err != nil {
			t.Errorf("the context has ended before the request: %v", err)
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	if err := got.Context().Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("the context after the request has the error %v, want %v", err, context.Canceled)
	}
}

func TestStop(t *testing.T) {
	tests := map[string]struct {
		takes  time.Duration // how long the request in flight takes; 0 for none
		hangs  bool          // whether it also takes that long when it is cut
		second time.Duration // when a second signal comes; 0 for never
		// What is wanted: the request's status, how long it all takes, and whether the request is cut or left behind.
		status    int
		most      time.Duration
		cut, left bool
	}{
		"an idle instance stops at once":                      {0, false, 0, 0, 0, false, false},
		"a request in flight finishes":                        {3 * time.Second, false, 0, 200, 3500 * time.Millisecond, false, false},
		"one that takes too long is cut, and says so":         {time.Minute, false, 0, 504, 9 * time.Second, true, false},
		"one that does not end is left":                       {time.Minute, true, 0, 0, 9 * time.Second, true, true},
		"a second signal cuts what is in flight":              {time.Minute, false, time.Second, 504, 2 * time.Second, true, false},
		"a second signal on an idle instance changes nothing": {0, false, time.Second, 0, 0, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lines bytes.Buffer
				h, stop := serverless.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ended := r.Context().Done()
					if tt.hangs {
						ended = nil
					}
					select {
					case <-time.After(tt.takes):
					case <-ended:
						if err := context.Cause(r.Context()); !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("the context ended with %v, want its deadline", err)
						}
						w.WriteHeader(http.StatusGatewayTimeout)
					}
				}), slog.New(slog.NewJSONHandler(&lines, nil)))
				conn := serve(t, h)
				status := make(chan int, 1)
				if tt.takes > 0 {
					send(t, conn, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
					go func() {
						if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
							status <- resp.StatusCode
							resp.Body.Close()
						}
					}()
				}
				synctest.Wait()
				signals := make(chan os.Signal, 1)
				if tt.second > 0 {
					time.AfterFunc(tt.second, func() { signals <- syscall.SIGTERM })
				}
				begin := time.Now()
				err := stop(t.Context(), signals)
				if took := time.Since(begin); took > tt.most {
					t.Errorf("took %s, want %s at most", took, tt.most)
				}
				if (err != nil) != tt.left {
					t.Errorf("error is %v, want one: %v", err, tt.left)
				}
				if got := strings.Contains(lines.String(), `"msg":"request cut","http.method":"GET","http.url":"/slow"`); got != tt.cut {
					t.Errorf("logged that the request was cut is %v, want %v: %s", got, tt.cut, lines.String())
				}
				if tt.status != 0 {
					if got := <-status; got != tt.status {
						t.Errorf("status is %d, want %d", got, tt.status)
					}
				}
				<-time.After(time.Hour) // for the request that was left
			})
		})
	}
}

// A handler that waits for its client hears of no context.
func TestStopCutsRequestsThatWaitForTheirClient(t *testing.T) {
	tests := map[string]struct {
		request string
		handler http.HandlerFunc
	}{
		"a body that does not come": {
			"POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n",
			func(_ http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("reading the body ended with %v, want its deadline", err)
				}
			},
		},
		"a client that takes nothing": {
			"GET /x HTTP/1.1\r\nHost: test\r\n\r\n",
			func(w http.ResponseWriter, _ *http.Request) {
				if _, err := w.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("writing the response ended with %v, want its deadline", err)
				}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, stop := quiet(tt.handler)
				conn := serve(t, h)
				send(t, conn, tt.request)
				synctest.Wait()
				signals := make(chan os.Signal, 1)
				signals <- syscall.SIGTERM
				begin := time.Now()
				if err := stop(t.Context(), signals); err != nil || time.Since(begin) > time.Second {
					t.Errorf("stopped after %s with %v, want all ended within a second", time.Since(begin), err)
				}
			})
		})
	}
}
