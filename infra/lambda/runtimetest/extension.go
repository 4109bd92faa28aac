package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
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
	synced chan struct{}

	mu        sync.Mutex
	pending   map[string]int // by path
	posts     []Post
	calls     []Call
	telemetry [][]byte
}

// Post is one request to the extension that carried data.
type Post struct {
	Path string
	// Received is when the request arrived, Acknowledged when the answer had been written.
	Received, Acknowledged time.Time
	Status                 int
}

// Call is one request of Datadog's wrapper about an invocation. It stays inside of the sandbox: the extension takes from it
// what the invocation's span needs, and the payload itself only when it is told to capture it.
type Call struct {
	Path   string
	Header http.Header
	Body   []byte
	At     time.Time
}

// sentinel is a datagram that Sync sends to itself; it is no message of the protocol.
const sentinel = "runtimetest.sync"

// StartExtension starts an Extension that stops when the test ends. It answers every post after the given delay: what
// does not wait for an answer is seen not to.
func StartExtension(t testing.TB, delay time.Duration) *Extension {
	t.Helper()
	return startExtension(t, delay, "127.0.0.1:0", "127.0.0.1:0")
}

// The ports of the extension: what Datadog's libraries call when they are told nothing else.
const (
	lifecycleAddr = "127.0.0.1:8124"
	dogstatsdAddr = "127.0.0.1:8125"
	agentAddr     = "127.0.0.1:8126"
)

// StartLayer starts an Extension on the ports that it has on Lambda, with the routes by which Datadog's wrapper tells it
// of invocations. The ports are not free on any machine: this is for a network of the test's own, see InSandbox.
func StartLayer(t testing.TB, delay time.Duration) *Extension {
	t.Helper()
	e := startExtension(t, delay, agentAddr, dogstatsdAddr)
	server := httptest.NewUnstartedServer(http.HandlerFunc(e.lifecycle))
	listenAt(t, server, lifecycleAddr)
	return e
}

func startExtension(t testing.TB, delay time.Duration, agent, statsd string) *Extension {
	t.Helper()
	in, err := intake.New(intake.Options{Metrics: ignored{}, Now: time.Now, Profile: intake.Extension})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := net.ResolveUDPAddr("udp", statsd)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	e := &Extension{Intake: in, udp: udp, synced: make(chan struct{}, 1), pending: map[string]int{}}
	e.server = httptest.NewUnstartedServer(e.record(in.Agent(), delay))
	var reading sync.WaitGroup
	reading.Go(e.readDatagrams)
	t.Cleanup(func() {
		if err := udp.Close(); err != nil {
			t.Errorf("close DogStatsD: %v", err)
		}
		reading.Wait()
	})
	listenAt(t, e.server, agent)
	return e
}

// listenAt starts the server on addr, until the test ends.
func listenAt(t testing.TB, server *httptest.Server, addr string) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	server.Listener = l
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
}

// Env returns the variables that make a function use this extension.
func (e *Extension) Env() []string {
	host, port, err := net.SplitHostPort(e.udp.LocalAddr().String())
	if err != nil {
		panic(err) // the address of a socket always has a port
	}
	return []string{"DD_TRACE_AGENT_URL=" + e.server.URL, "DD_DOGSTATSD_HOST=" + host, "DD_DOGSTATSD_PORT=" + port}
}

// Disconnect closes the connections that wait for a request, as a server does after a while.
func (e *Extension) Disconnect() { e.server.CloseClientConnections() }

// Posts returns the answered requests that carried data, in the order in which they were answered.
func (e *Extension) Posts() []Post {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.posts)
}

// Pending returns the paths of the posts that have come and are not answered yet.
func (e *Extension) Pending() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.pending))
}

func (e *Extension) count(path string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending[path] += n; e.pending[path] == 0 {
		delete(e.pending, path)
	}
}

// Calls returns what the wrapper has told about invocations.
func (e *Extension) Calls() []Call {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

// Telemetry returns everything that was sent to leave the sandbox, as it came: the bodies of posts, and datagrams.
func (e *Extension) Telemetry() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return bytes.Join(e.telemetry, []byte("\n"))
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
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		e.count(r.URL.Path, 1)
		defer e.count(r.URL.Path, -1)
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
		e.telemetry = append(e.telemetry, body)
		e.mu.Unlock()
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		w.WriteHeader(answer.Code)
		// A client that is gone did not want the answer.
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// lifecycle answers as the extension does: it makes the trace that the function's spans belong to.
func (e *Extension) lifecycle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	e.mu.Lock()
	e.calls = append(e.calls, Call{r.URL.Path, r.Header.Clone(), body, time.Now()})
	n := len(e.calls)
	e.mu.Unlock()
	if r.URL.Path == "/lambda/start-invocation" {
		w.Header().Set("X-Datadog-Trace-Id", strconv.Itoa(1000+n))
		w.Header().Set("X-Datadog-Sampling-Priority", "1")
	}
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
		datagram := bytes.Clone(buf[:n])
		e.mu.Lock()
		e.telemetry = append(e.telemetry, datagram)
		e.mu.Unlock()
		e.Intake.Datagram(datagram)
	}
}

// ignored takes metric values that nobody looks at; the intake counts them.
type ignored struct{}

func (ignored) Add(string, []string, float64, time.Time) {}
