package faults_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/functions/completion"
	"github.com/llm-reliability/control-plane/shared/catalog"
	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
	"github.com/llm-reliability/control-plane/shared/env"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/llm/embedded"
	"github.com/llm-reliability/control-plane/shared/serverless"
	"github.com/llm-reliability/control-plane/shared/telemetry"
	"github.com/llm-reliability/control-plane/shared/telemetry/datadog"
)

// agentFault is something wrong with Datadog's agent: the SDK is real, and so are the sockets and the time.
type agentFault struct {
	name string
	// agent answers the SDK; nil refuses connections.
	agent http.HandlerFunc
	// early and background are for a process that runs on between requests.
	early, background bool
	requests          int
}

// What a request may take, and how many goroutines of the SDK there may be, however many requests there were. A flush is given
// up after 300 ms; the rest is for a machine that does other work, too.
const (
	longest = 2 * time.Second
	// A request is a trace and two spans of LLM Observability. None may be lost without being counted.
	itemsOfARequest = 3
	mostGoroutines  = 48
)

var agentFaults = []agentFault{
	{name: "the agent is down", requests: 5},
	{name: "the agent is down, and the response leaves before its telemetry", requests: 5, early: true},
	{name: "the agent hangs", agent: hangingAgent, requests: 5},
	{name: "the agent hangs, and telemetry is sent in the background", agent: hangingAgent, early: true, background: true, requests: 200},
	{name: "the agent answers 500", agent: failingAgent, requests: 5},
}

func hangingAgent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the client leaves
	<-r.Context().Done()
}

// failingAgent says what it can do, and does none of it.
func failingAgent(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/info" {
		_, _ = io.WriteString(w, `{"endpoints":["/v0.4/traces","/info","/evp_proxy/v2/api/v2/llmobs"],"client_drop_p0s":false}`)
		return
	}
	w.WriteHeader(http.StatusInternalServerError)
}

func (f agentFault) play(t *testing.T, rows *[]row) {
	metrics := listenUDP(t)
	url, gone := refusing(t), func() {}
	if f.agent != nil {
		server := httptest.NewServer(f.agent)
		t.Cleanup(server.Close)
		url, gone = server.URL, func() {
			_ = server.Listener.Close() // for good
			server.CloseClientConnections()
		}
	}
	e := env.New(func(name string) string { return map[string]string{"DD_TRACE_AGENT_URL": url}[name] })
	config := datadog.ConfigFromEnv(e)
	check(t, e.Err())
	config.StatsdAddr, config.Function, config.Background = metrics.address, "completion", f.background
	config.Logger = slog.New(slog.DiscardHandler)
	sink := datadog.Start(t.Context(), config)
	tel, err := telemetry.New(telemetry.Options{Sink: sink, Logger: slog.New(slog.DiscardHandler), Function: "completion"})
	check(t, err)
	server := httptest.NewServer(serverless.Wrap(serverless.Function{Handler: plainFunction(t, tel)}, serverless.Options{Name: "completion", Telemetry: tel, Early: f.early}))
	t.Cleanup(server.Close)

	// Each request has a connection of its own: the next one on the same waits for the handler, not only for the response.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var got []string
	var slowest time.Duration
	for range f.requests {
		began := time.Now()
		resp, err := client.Post(server.URL+"/completion", "application/json", strings.NewReader(`{"prompt":"Who built the mill? The abbey built the mill."}`))
		check(t, err)
		body, err := io.ReadAll(resp.Body)
		check(t, err)
		resp.Body.Close()
		slowest = max(slowest, time.Since(began))
		answer := "the answer"
		if !strings.Contains(string(body), "abbey") {
			answer = string(body)
		}
		got = append(got, fmt.Sprintf("%d, %s", resp.StatusCode, answer))
	}
	running := ofSDK()
	server.Close() // it waits for what goes on after the last response has left
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = sink.Close(ctx) // what the agent has not taken is the subject
	gone()              // or the SDK would wait for it until its own timeouts, in a process that has ended otherwise
	r := row{f.name, tally(got), slowest.Round(time.Millisecond).String() + " (real)", "of the embedded model", metrics.dropped(t, itemsOfARequest*f.requests), leftOfSDK()}
	*rows = append(*rows, r)
	if running > mostGoroutines {
		t.Errorf("the SDK has %d goroutines after %d requests, want at most %d", running, f.requests, mostGoroutines)
	}
	if want := fmt.Sprintf("%d × 200, the answer", f.requests); r.caller != want {
		t.Errorf("the caller got\n\t%s\nwant\n\t%s", r.caller, want)
	}
	if slowest > longest {
		t.Errorf("it took %v, want at most %v", slowest, longest)
	}
	if r.leaked != "no" {
		t.Errorf("leaked: %s", r.leaked)
	}
}

// plainFunction is completion on the embedded model.
func plainFunction(t *testing.T, tel *telemetry.Client) http.Handler {
	t.Helper()
	known, err := catalog.BuiltIn()
	check(t, err)
	reader, err := control.NewReader(control.ReaderOptions{Store: &controltest.Memory{}, Base: control.Settings{Model: string(catalog.Standard)}})
	check(t, err)
	gw, err := gateway.New(gateway.Options{
		Backends: []gateway.Backend{{Provider: embedded.Provider, Model: embedded.New(), Tiers: known.TierModels(embedded.Provider)}},
		Catalog:  known, Control: reader, Telemetry: tel,
	})
	check(t, err)
	h, err := completion.New(completion.Options{Gateway: gw})
	check(t, err)
	return h
}

// refusing is an address at which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	check(t, l.Close())
	return "http://" + l.Addr().String()
}

// statsd takes metrics.
type statsd struct {
	address string
	mu      sync.Mutex
	lines   []string
}

func listenUDP(t *testing.T) *statsd {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	check(t, err)
	if udp, ok := conn.(*net.UDPConn); ok {
		check(t, udp.SetReadBuffer(4<<20)) // or as much as the system allows: what overflows would be missed
	}
	s := &statsd{address: conn.LocalAddr().String()}
	var group sync.WaitGroup
	group.Go(func() {
		packet := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.lines = append(s.lines, strings.Split(string(packet[:n]), "\n")...)
			s.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		group.Wait()
	})
	return s
}

// dropped waits until as much is counted as lost as was recorded, and says by which reason.
func (s *statsd) dropped(t *testing.T, want int) string {
	t.Helper()
	line := regexp.MustCompile(`^llm\.telemetry\.dropped:(\d+)\|d\|.*reason:(\w+)`)
	by, total := map[string]int{}, 0
	for until := time.Now().Add(5 * time.Second); total < want && time.Now().Before(until); <-time.After(5 * time.Millisecond) {
		clear(by)
		total = 0
		s.mu.Lock()
		for _, l := range s.lines {
			if m := line.FindStringSubmatch(l); m != nil {
				n, err := strconv.Atoi(m[1])
				check(t, err)
				by[m[2]] += n
				total += n
			}
		}
		s.mu.Unlock()
	}
	if total != want {
		t.Errorf("%d items are counted as dropped, want %d", total, want)
	}
	var out []string
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		out = append(out, fmt.Sprintf("%d items dropped by %s", by[reason], reason))
	}
	return strings.Join(out, "; ")
}

// ofSDK counts the goroutines of the SDK, and of what is ours around it.
func ofSDK() (n int) {
	stacks := make([]byte, 4<<20)
	for g := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(g, "DataDog/") || strings.Contains(g, "telemetry/datadog.") {
			n++
		}
	}
	return n
}

// leftOfSDK says how many goroutines of the SDK go on after it was closed.
func leftOfSDK() string {
	n := ofSDK()
	for until := time.Now().Add(10 * time.Second); n > 0 && time.Now().Before(until); <-time.After(5 * time.Millisecond) {
		n = ofSDK()
	}
	if n == 0 {
		return "no"
	}
	return fmt.Sprintf("%d goroutines", n)
}
