package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/intake"
)

// Extension is a stand-in of Datadog's Lambda extension: the agent's HTTP API, with concrete routes only, and
// DogStatsD. What it takes can be read from Intake.
type Extension struct {
	Intake *intake.Intake

	server *httptest.Server
	udp    *net.UDPConn

	mu     sync.Mutex
	posts  []Post
	synced chan struct{}
}

// Post is one request to the extension that carried data.
type Post struct {
	Path string
	// Received is when the request arrived, Acknowledged when the answer had been written.
	Received, Acknowledged time.Time
	Status                 int
}

// sentinel is a datagram that Sync sends to itself; it is no message of the protocol.
const sentinel = "runtimetest.sync"

// StartExtension starts an Extension that stops when the test ends. It answers every post after the given delay: what
// does not wait for an answer is seen not to.
func StartExtension(t testing.TB, delay time.Duration) *Extension {
	t.Helper()
	in, err := intake.New(intake.Options{Metrics: ignored{}, Now: time.Now, Profile: intake.Extension})
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	e := &Extension{Intake: in, udp: udp, synced: make(chan struct{}, 1)}
	e.server = httptest.NewServer(e.record(in.Agent(), delay))
	var reading sync.WaitGroup
	reading.Go(e.readDatagrams)
	t.Cleanup(func() {
		e.server.CloseClientConnections()
		e.server.Close()
		if err := udp.Close(); err != nil {
			t.Errorf("close DogStatsD: %v", err)
		}
		reading.Wait()
	})
	return e
}

// Env returns the variables that make a function use this extension.
func (e *Extension) Env() []string {
	host, port, err := net.SplitHostPort(e.udp.LocalAddr().String())
	if err != nil {
		panic(err) // the address of a socket always has a port
	}
	return []string{"DD_TRACE_AGENT_URL=" + e.server.URL, "DD_DOGSTATSD_HOST=" + host, "DD_DOGSTATSD_PORT=" + port}
}

// Posts returns the answered requests that carried data, in the order in which they were answered.
func (e *Extension) Posts() []Post {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.posts)
}

// Sync waits until every datagram that was sent before has been taken in.
func (e *Extension) Sync(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", e.udp.LocalAddr().String())
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(sentinel))
	if err = errors.Join(err, conn.Close()); err != nil {
		return err
	}
	select {
	case <-e.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Extension) record(next http.Handler, delay time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		post := Post{Path: r.URL.Path, Received: time.Now()}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
		post.Status, post.Acknowledged = answer.Code, time.Now()
		e.mu.Lock()
		e.posts = append(e.posts, post)
		e.mu.Unlock()
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		w.WriteHeader(answer.Code)
		// A client that is gone did not want the answer.
		_, _ = w.Write(answer.Body.Bytes())
	})
}

func (e *Extension) readDatagrams() {
	buf := make([]byte, 64<<10)
	for {
		n, err := e.udp.Read(buf)
		if err != nil {
			return // closed at the end of the test
		}
		if string(buf[:n]) == sentinel {
			e.synced <- struct{}{}
			continue
		}
		e.Intake.Datagram(bytes.Clone(buf[:n]))
	}
}

// ignored takes metric values that nobody looks at; the intake counts them.
type ignored struct{}

func (ignored) Add(string, []string, float64, time.Time) {}
