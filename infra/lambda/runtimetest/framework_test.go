package runtimetest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
)

// server is a function's process as Cloud Run runs it.
type server struct {
	addr      string
	process   *runtimetest.Process
	extension *runtimetest.Extension
	logFile   string
}

func startServer(t *testing.T, pkg, name string, env ...string) server {
	t.Helper()
	bin := binary(t, pkg)
	s := server{addr: freeAddr(t), extension: runtimetest.StartExtension(t, delay), logFile: filepath.Join(t.TempDir(), "logs", "app.log")}
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	// What Cloud Run sets, and infra/cloudrun.
	platform := []string{
		"PORT=" + port, "LRCP_LISTEN=local", "K_SERVICE=" + name, "K_REVISION=" + name + "-00001-abc", "K_CONFIGURATION=" + name,
		"FUNCTION_TARGET=" + name, "LRCP_LOG_FILE=" + s.logFile,
	}
	s.process = runtimetest.StartProcess(t, bin, slices.Concat(s.extension.Env(), functionEnv(t), platform, env)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of the process:\n%s", strings.Join(s.process.Lines(), ""))
		}
	})
	ctx := patience(t)
	var dialer net.Dialer
	for tick := time.Tick(5 * time.Millisecond); ; {
		if conn, err := dialer.DialContext(ctx, "tcp", s.addr); err == nil {
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			return s
		}
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatalf("nothing listens on %s", s.addr)
		}
	}
}

// terminate asks the process to end, and waits until it takes no new request.
func (s server) terminate(t *testing.T) {
	t.Helper()
	if err := s.process.Terminate(); err != nil {
		t.Fatal(err)
	}
	for status := http.StatusOK; status != http.StatusServiceUnavailable; {
		var err error
		if status, err = s.health(patience(t)); err != nil {
			t.Fatalf("no new request is refused with 503: %v", err)
		}
	}
}

// ended checks that the process ends in good order, in the time that Cloud Run gives it from begin, and with its telemetry
// acknowledged, and that the log file has what standard output has.
func (s server) ended(t *testing.T, begin time.Time) {
	t.Helper()
	if code := exitCode(t, s.process); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the process took %s to end", took)
	}
	if paths := s.extension.Pending(); len(paths) > 0 {
		t.Errorf("when the process ended, these posts had no answer yet: %q", paths)
	}
	checkOutput(t, s.process)
	file, err := os.ReadFile(s.logFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(file), strings.Join(s.process.Lines(), "")); diff != "" {
		t.Errorf("the log file differs from standard output (-file +standard output):\n%s", diff)
	}
}

// freeAddr returns an address that was free a moment ago: the framework must be told a port.
func freeAddr(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s server) health(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/health", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func TestFunctionsFrameworkFinishesWhatIsInFlight(t *testing.T) {
	s := startServer(t, completion, "completion")
	ctx := patience(t)
	if status, err := s.health(ctx); err != nil || status != http.StatusOK {
		t.Fatalf("health is %d, %v, want 200", status, err)
	}

	// The server asks for the body when the handler reads it: then the request is in flight.
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	const body = `{"prompt":"Who wrote the first program? Ada Lovelace wrote the first program."}`
	_, err = fmt.Fprintf(conn, "POST /completion HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", apiKey, len(body))
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q, %v, want 100 Continue", line, err)
	}
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	begin := time.Now()
	s.terminate(t)
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(answer), "Ada Lovelace") {
		t.Errorf("the request in flight got %d %q, %v, want its answer", resp.StatusCode, answer, err)
	}
	s.ended(t, begin)
	if len(s.extension.Intake.LLMSpans()) == 0 {
		t.Error("no span of LLM Observability of the request in flight arrived")
	}
}

// gated starts the probe behind a gate, and a stream that has begun and goes on when the gate opens.
func gated(t *testing.T, env ...string) (s server, stream io.Reader, open func()) {
	t.Helper()
	opened := make(chan struct{})
	open = sync.OnceFunc(func() { close(opened) })
	t.Cleanup(open)
	gate := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-opened:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(gate.Close)
	s = startServer(t, probe, "probe", slices.Concat(env, []string{"GATE_URL=" + gate.URL})...)
	req, err := http.NewRequestWithContext(patience(t), http.MethodPost, "http://"+s.addr+"/gate", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // all that matters was read
	first := make([]byte, len("first "))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first " {
		t.Fatalf("the stream begins with %q, %v", first, err)
	}
	return s, resp.Body, open
}

func rest(t *testing.T, stream io.Reader) string {
	t.Helper()
	body, err := io.ReadAll(stream)
	if err != nil {
		t.Errorf("the stream broke off after %q: %v", body, err)
	}
	return string(body)
}

func TestStreamInFlightIsFinished(t *testing.T) {
	s, stream, open := gated(t)
	begin := time.Now()
	s.terminate(t)
	open()
	if got := rest(t, stream); got != "second" {
		t.Errorf("the stream ends with %q, want %q", got, "second")
	}
	s.ended(t, begin)
	if traces := s.extension.Intake.Traces(); len(traces) == 0 {
		t.Error("no trace of the stream arrived")
	}
}

func TestSecondSignalCutsWhatIsInFlight(t *testing.T) {
	s, stream, _ := gated(t)
	begin := time.Now()
	s.terminate(t)
	if err := s.process.Terminate(); err != nil {
		t.Fatal(err)
	}
	if got := rest(t, stream); !strings.Contains(got, "context deadline exceeded") {
		t.Errorf("the stream ends with %q, want the handler's own end of it", got)
	}
	s.ended(t, begin)
	lines := strings.Join(s.process.Lines(), "")
	if strings.Count(lines, `"message":"request cut"`) != 1 || !strings.Contains(lines, `"http.url":"/gate"`) {
		t.Errorf("no line says which request was cut: %s", lines)
	}
}

func TestIdleInstanceEndsAtOnce(t *testing.T) {
	s := startServer(t, probe, "probe")
	begin := time.Now()
	if err := s.process.Terminate(); err != nil {
		t.Fatal(err)
	}
	s.ended(t, begin)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("an idle instance took %s to end", took)
	}
}

func TestPlatformsDeadlineEndsARequest(t *testing.T) {
	_, stream, _ := gated(t, "CLOUD_RUN_TIMEOUT_SECONDS=1")
	if got := rest(t, stream); !strings.Contains(got, "context deadline exceeded") {
		t.Errorf("the stream ends with %q, want the platform's deadline", got)
	}
}

func TestFunctionServesWithoutItsLogFile(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, probe, "probe", "LRCP_LOG_FILE="+filepath.Join(blocked, "app.log"))
	if status, err := s.health(patience(t)); err != nil || status != http.StatusOK {
		t.Errorf("health is %d, %v, want 200", status, err)
	}
	if lines := strings.Join(s.process.Lines(), ""); strings.Count(lines, "log lines go to standard output only") != 1 {
		t.Errorf("want one line that says that there is no log file: %s", lines)
	}
}

func TestBadConfigurationStopsTheProcessAtStart(t *testing.T) {
	p := runtimetest.StartProcess(t, binary(t, completion), "LRCP_API_KEYS=s3cret", "PORT=none", "LRCP_LOG_LEVEL=loud",
		"FUNCTION_TARGET=chat", "CLOUD_RUN_TIMEOUT_SECONDS=soon")
	if code := exitCode(t, p); code != 1 {
		t.Errorf("exit code is %d, want 1", code)
	}
	checkOutput(t, p)
	all := strings.Join(p.Lines(), "")
	for _, name := range []string{"LRCP_API_KEYS", "LRCP_STATE", "PORT", "LRCP_LOG_LEVEL", "CLOUD_RUN_TIMEOUT_SECONDS", `FUNCTION_TARGET is \"chat\", and this binary is the function \"completion\"`} {
		if !strings.Contains(all, name) {
			t.Errorf("the log does not name %s: %s", name, all)
		}
	}
	if strings.Contains(all, "s3cret") {
		t.Errorf("the log shows a secret: %s", all)
	}
}
