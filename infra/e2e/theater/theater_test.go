// Package theater_test looks at the Failure Theater as people do: in a browser, against the local stack, over sockets.
package theater_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/llm-reliability/control-plane/functions/theater"
	"github.com/llm-reliability/control-plane/infra/local"
)

// The stand-in's clock runs faster than the wall's by speed, and by calm where nothing is played.
const (
	speed = 150
	calm  = 30
)

// web is the folder of the page.
const web = "../../../functions/theater/web"

// need returns the value, or skips the test and says what is missing; where a browser is required, it fails.
func need(t *testing.T, value, missing string) string {
	t.Helper()
	if value == "" {
		if os.Getenv("LRCP_REQUIRE_BROWSER") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing + "; with LRCP_REQUIRE_BROWSER=1 this fails")
	}
	return value
}

func find(names ...string) string {
	for _, name := range names {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// TestInABrowser runs the checks of tests/theater.mjs: every scenario from the click to the revert, and all that the page can do
// besides. With -short it opens the page and asks a question.
func TestInABrowser(t *testing.T) {
	chromium := need(t, find(os.Getenv("LRCP_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium"), "there is no Chromium; LRCP_CHROMIUM names one")
	node := need(t, find("node"), "there is no Node")
	built := ""
	if theater.Built() {
		built = "built"
	}
	need(t, built, "the page is not built: npm ci and npm run build in functions/theater/web")
	if _, err := os.Stat(filepath.Join(web, "node_modules", "playwright-core")); err != nil {
		need(t, "", "playwright-core is not installed: npm ci in functions/theater/web")
	}
	times := float64(speed)
	if testing.Short() {
		times = calm
	}
	stack, err := local.Start(t.Context(), local.Options{
		Listen: "127.0.0.1:0", DatadogListen: "127.0.0.1:0", StateDir: t.TempDir(), Speed: times, Traffic: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := stack.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	front := plugged(t, stack.URL)
	plug := httptest.NewServer(front)
	t.Cleanup(plug.Close)

	const patience = 85 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "tests/theater.mjs")
	cmd.Dir = web
	shots, err := filepath.Abs(filepath.Join(web, "screenshots"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "LRCP_URL="+front.address(), "LRCP_SECRET="+stack.ControlSecret, "LRCP_DATADOG="+stack.DatadogURL,
		"LRCP_PLUG="+plug.URL, "LRCP_CHROMIUM="+chromium, "LRCP_SHOTS="+shots)
	if testing.Short() {
		cmd.Env = append(cmd.Env, "LRCP_SMOKE=1")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("node: %v after %v\n%s", err, time.Since(began).Round(time.Second), &stderr)
	}
	judge(t, stack, out)
	t.Logf("%v in the browser, with the clock of the monitors at %g times the wall's", time.Since(began).Round(time.Millisecond), times)
}

// line is one line of the browser's report.
type line struct {
	Check       string
	OK          bool
	MS          int
	Detail      string
	Performance *theater.Performance
	Traces      []string
}

func judge(t *testing.T, stack *local.Stack, out []byte) {
	t.Helper()
	var played []theater.Performance
	checks := 0
	for scanner := bufio.NewScanner(bytes.NewReader(out)); scanner.Scan(); {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			t.Errorf("the browser's report: %v in %s", err, scanner.Bytes())
			continue
		}
		switch {
		case l.Check != "":
			checks++
			t.Run(l.Check, func(t *testing.T) {
				t.Logf("%d ms", l.MS)
				if !l.OK {
					t.Error(l.Detail)
				}
			})
		case l.Performance != nil:
			played = append(played, *l.Performance)
		default:
			t.Run("what the browser traces goes on in the functions", func(t *testing.T) { traced(t, stack, l.Traces) })
		}
	}
	want := 18
	if testing.Short() {
		want = 6
	}
	if checks < want {
		t.Errorf("%d checks were made, want at least %d", checks, want)
	}
	if len(played) > 0 {
		t.Logf("since the click, in seconds of the wall (of the monitors' clock)\n%s", table(played))
	}
}

// traced looks for the browser's traces among the spans that the functions sent.
func traced(t *testing.T, stack *local.Stack, ids []string) {
	t.Helper()
	if len(ids) == 0 {
		t.Error("the browser began no trace")
	}
	for _, id := range ids {
		var found []string
		for _, trace := range stack.Datadog.Intake().Traces() {
			for _, s := range trace {
				if s.TraceID == id || lower(s.TraceID) == lower(id) {
					found = append(found, s.Resource)
				}
			}
		}
		if !slices.ContainsFunc(found, func(r string) bool { return strings.Contains(r, "/qa") || strings.Contains(r, "qa") }) {
			t.Errorf("trace %s has the spans %q, want one of the function qa", id, found)
		}
	}
}

// lower is the lower half of a trace's ID, as a number: the browser writes that in decimal, spans may in hexadecimal.
func lower(id string) uint64 {
	if n, err := strconv.ParseUint(id, 10, 64); err == nil {
		return n
	}
	n, err := strconv.ParseUint(id[max(0, len(id)-16):], 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// table says how long each scenario took, as seen from the click.
func table(played []theater.Performance) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "scenario\tfault\talert\toverride\tcleared\trecovered\treverted")
	for _, p := range played {
		fmt.Fprint(w, p.Scenario)
		for _, name := range []string{"fault", "alert", "override", "cleared", "recovered", "reverted"} {
			i := slices.IndexFunc(p.Phases, func(f theater.Phase) bool { return f.Name == name })
			if i < 0 {
				fmt.Fprint(w, "\t-")
				continue
			}
			f, clicked := p.Phases[i], p.Phases[0]
			fmt.Fprintf(w, "\t%.1f (%.0f)", f.Wall.Sub(clicked.Wall).Seconds(), f.At.Sub(clicked.At).Seconds())
		}
		fmt.Fprintln(w)
	}
	// A strings.Builder takes everything.
	_ = w.Flush()
	return b.String()
}

// front is an address that can be taken away and brought back, with a server behind it that goes on: for a browser the same as a
// server that stops and starts.
type front struct {
	t     *testing.T
	proxy *httputil.ReverseProxy
	addr  string

	mu     sync.Mutex
	server *http.Server
}

func plugged(t *testing.T, target string) *front {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t: t, addr: "127.0.0.1:0", proxy: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}}
	// What breaks when the browser leaves is nobody's failure.
	f.proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {}
	if err := f.restore(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.cut)
	return f
}

func (f *front) address() string { return "http://" + f.addr }

// ServeHTTP takes POST /cut and POST /restore.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/cut":
		f.cut()
	case "/restore":
		if err := f.restore(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	default:
		http.NotFound(w, r)
	}
}

func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.server.Close(); err != nil {
		f.t.Error(err)
	}
}

func (f *front) restore() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", f.addr)
	if err != nil {
		return err
	}
	f.addr = l.Addr().String()
	f.server = &http.Server{Handler: f.proxy, ReadHeaderTimeout: 10 * time.Second}
	server := f.server
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			f.t.Error(err)
		}
	}()
	return nil
}
