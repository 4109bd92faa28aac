package runtimetest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"
)

// server is a function's process as Cloud Run runs it.
type server struct {
	addr    string
	process *runtimetest.Process
}

func startServer(t *testing.T, pkg string) server {
	t.Helper()
	bin := binary(t, pkg)
	s := server{addr: freeAddr(t)}
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	extension := runtimetest.StartExtension(t, delay)
	// K_SERVICE is what Cloud Run sets; it makes the functions framework print empty lines.
	env := []string{"PORT=" + port, "LRCP_LISTEN=local", "K_SERVICE=completion"}
	s.process = runtimetest.StartProcess(t, bin, slices.Concat(extension.Env(), functionEnv(t), env)...)
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
	s := startServer(t, completion)
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

	if err := s.process.Terminate(); err != nil {
		t.Fatal(err)
	}
	for status := http.StatusOK; status != http.StatusServiceUnavailable; {
		if status, err = s.health(ctx); err != nil {
			t.Fatalf("no new request is refused with 503: %v", err)
		}
	}

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
	if code := exitCode(t, s.process); code != 0 {
		t.Errorf("exit code is %d, want 0", code)
	}
	checkOutput(t, s.process)
}

func TestBadConfigurationStopsTheProcessAtStart(t *testing.T) {
	p := runtimetest.StartProcess(t, binary(t, completion), "LRCP_API_KEYS=s3cret", "PORT=none", "LRCP_LOG_LEVEL=loud")
	if code := exitCode(t, p); code != 1 {
		t.Errorf("exit code is %d, want 1", code)
	}
	checkOutput(t, p)
	all := strings.Join(p.Lines(), "")
	for _, name := range []string{"LRCP_API_KEYS", "LRCP_STATE", "PORT", "LRCP_LOG_LEVEL"} {
		if !strings.Contains(all, name) {
			t.Errorf("the log does not name %s: %s", name, all)
		}
	}
	if strings.Contains(all, "s3cret") {
		t.Errorf("the log shows a secret: %s", all)
	}
}
