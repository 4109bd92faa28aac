package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/scripts/bench/wire"
)

// The names of the targets, as tables show them.
const (
	direct  = "direct"
	proxy   = "ReverseProxy"
	oursOff = "this gateway, telemetry off"
	oursOn  = "this gateway, full telemetry"
	against = "the other checkout, full telemetry"
	bifrost = "Bifrost core"
	portkey = "Portkey"
	litellm = "LiteLLM proxy"
	// What the image of this gateway does for itself, left undone, and done for others.
	oursPrompt  = "this gateway, full telemetry, no timer slack"
	proxyLate   = "ReverseProxy, timer slack"
	bifrostLate = "Bifrost core, timer slack"

	apiKey = "sk-key-of-the-benchmark"
	// goEnv is Go's default, which Cloud Run leaves as it is: an instance serves many requests at once there, within its memory.
	goEnv    = "GOGC=100"
	cacheDir = "lrcp-bench"
	// deployedTags are what lrcp deploy cloudrun builds with where the route is openai; see infra/buildtags.
	deployedTags = "lambda.norpc,without_dynamodb,without_lambda,without_gemini"
	// slack is what the image's entry point says.
	slack = "1ms"
)

// target is something that requests are sent to.
type target struct {
	name, version string
	// absent is why it could not be installed or started; empty when it runs.
	absent string
	addr   string
	// headers are what it wants besides the request.
	headers string
	proc    *process
	// whole and stream are its requests, ready to be sent.
	whole, stream []byte
}

func (t *target) ready() {
	request := func(stream bool) []byte {
		body := wire.Request(stream)
		head := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json\r\nAuthorization: Bearer %s\r\n%sContent-Length: %d\r\n\r\n",
			t.addr, apiKey, t.headers, len(body))
		return append([]byte(head), body...)
	}
	t.whole, t.stream = request(false), request(true)
}

// answers waits until the target gives the mock's answer.
func (t *target) answers(ctx context.Context, within time.Duration) error {
	end := time.Now().Add(within)
	for {
		c := dial(t.addr)
		resp, err := c.do(t.whole, nil)
		c.close()
		if err == nil {
			err = expect(wire.Text(wire.Small)).read(resp)
		}
		if err == nil {
			return nil
		}
		gone := make(chan struct{})
		if t.proc != nil {
			gone = t.proc.exited
		}
		select {
		case <-gone:
			return fmt.Errorf("it ended: %s", t.proc.lastWords())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("no right answer within %s: %w", within, err)
		}
	}
}

// bed is everything that runs during a benchmark.
type bed struct {
	cores      cores
	root       string
	against    string
	further    []string // variables of this gateway with full telemetry
	mock       *process
	agent      *process
	mockAddr   string
	agentAddr  string
	statsdAddr string
	targets    []*target
	procs      []*process
}

// cores are where programs run; empty where any will do.
type cores struct{ gateway, load string }

func (b *bed) stop() {
	for _, p := range b.procs {
		p.stop()
	}
}

// build compiles the helpers, and the function and what starts it as they are deployed: with the flags of the Dockerfile.
func build(ctx context.Context, root, against string) error {
	for _, dir := range []string{"build/log", "build/state"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := command(ctx, ".", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", "build/", "./cmd/..."); err != nil {
		return err
	}
	out, err := filepath.Abs("build")
	if err != nil {
		return err
	}
	for name, dir := range map[string]string{"completion": root, "completion-against": against} {
		if dir == "" {
			continue
		}
		if err := command(ctx, dir, "go", "build", "-tags", deployedTags, "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(out, name), "./functions/completion/cmd"); err != nil {
			return err
		}
	}
	if err := command(ctx, root, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(out, "timerslack"), "./infra/timerslack"); err != nil {
		return err
	}
	return buildProfiled(ctx, root, out)
}

// profiling is a debug server for the function. It is laid over the function's main package at build time, so that the
// product has none.
const profiling = `package main

import (
	_ "expvar"
	"net/http"
	_ "net/http/pprof"
	"os"
)

var _ = func() struct{} {
	go http.ListenAndServe(os.Getenv("BENCH_DEBUG"), nil)
	return struct{}{}
}()
`

// buildProfiled builds the function with that server, and with its symbols.
func buildProfiled(ctx context.Context, root, out string) error {
	source := filepath.Join(out, "profiling.txt")
	if err := os.WriteFile(source, []byte(profiling), 0o644); err != nil {
		return err
	}
	overlay := fmt.Sprintf(`{"Replace":{%q:%q}}`, filepath.Join(root, "functions/completion/cmd/profiling.go"), source)
	list := filepath.Join(out, "overlay.json")
	if err := os.WriteFile(list, []byte(overlay), 0o644); err != nil {
		return err
	}
	return command(ctx, root, "go", "build", "-tags", deployedTags, "-overlay", list, "-o", filepath.Join(out, "completion-profiled"), "./functions/completion/cmd")
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(out, 600))
	}
	return nil
}

func tail(text []byte, n int) string {
	s := strings.TrimSpace(string(text))
	return s[max(0, len(s)-n):]
}

// setUp starts everything. A peer that cannot be had is a target that says why.
func (b *bed) setUp(ctx context.Context, only string) (err error) {
	var addrs [3]string
	for i := range addrs {
		if addrs[i], err = freeAddress(); err != nil {
			return err
		}
	}
	b.mockAddr, b.agentAddr, b.statsdAddr = addrs[0], addrs[1], addrs[2]
	if b.mock, err = b.run(ctx, b.cores.load, "mock", []string{goEnv}, "build/mock", "-listen", b.mockAddr); err != nil {
		return err
	}
	if b.agent, err = b.run(ctx, b.cores.load, "agent", []string{goEnv}, "build/agent", "-listen", b.agentAddr, "-statsd", b.statsdAddr); err != nil {
		return err
	}
	if err := errors.Join(listening(ctx, b.mockAddr), listening(ctx, b.agentAddr)); err != nil {
		return err
	}
	straight := &target{name: direct, addr: b.mockAddr}
	straight.ready()
	b.targets = []*target{straight}
	upstream := "http://" + b.mockAddr
	own := []string{"-listen", "", "-upstream", upstream}
	for _, t := range []struct {
		name    string
		wait    time.Duration
		headers string
		start   func(t *target) (*process, error)
	}{
		{proxy, 10 * time.Second, "", func(t *target) (*process, error) {
			t.version = "Go standard library"
			own[1] = t.addr
			return b.run(ctx, b.cores.gateway, "reverseproxy", []string{goEnv}, "build/reverseproxy", own...)
		}},
		{proxyLate, 10 * time.Second, "", func(t *target) (*process, error) {
			t.version = "Go standard library"
			own[1] = t.addr
			return b.late(ctx, "reverseproxy-late", []string{goEnv}, "build/reverseproxy", own...)
		}},
		{oursOff, 10 * time.Second, "", func(t *target) (*process, error) {
			return b.late(ctx, "ours-off", b.ours(t.addr, "off", false), "build/completion")
		}},
		{oursOn, 10 * time.Second, "", func(t *target) (*process, error) {
			return b.late(ctx, "ours-on", b.ours(t.addr, "on", true), "build/completion")
		}},
		{oursPrompt, 10 * time.Second, "", func(t *target) (*process, error) {
			return b.run(ctx, b.cores.gateway, "ours-prompt", b.ours(t.addr, "prompt", true), "build/completion")
		}},
		{against, 10 * time.Second, "", func(t *target) (*process, error) {
			return b.late(ctx, "against", b.ours(t.addr, "against", true), "build/completion-against")
		}},
		{bifrost, 20 * time.Second, "", func(t *target) (*process, error) {
			t.version = moduleVersion(ctx, "github.com/maximhq/bifrost/core") + " behind net/http"
			own[1] = t.addr
			return b.run(ctx, b.cores.gateway, "bifrost", []string{goEnv}, "build/bifrost", own...)
		}},
		{bifrostLate, 20 * time.Second, "", func(t *target) (*process, error) {
			t.version = moduleVersion(ctx, "github.com/maximhq/bifrost/core")
			own[1] = t.addr
			return b.late(ctx, "bifrost-late", []string{goEnv}, "build/bifrost", own...)
		}},
		{portkey, 30 * time.Second, "x-portkey-provider: openai\r\nx-portkey-custom-host: " + upstream + "/v1\r\n", func(t *target) (*process, error) {
			return b.portkey(ctx, t)
		}},
		{litellm, 120 * time.Second, "", func(t *target) (*process, error) { return b.litellm(ctx, t) }},
	} {
		if t.name == against && b.against == "" || t.name != proxy && t.name != against && !chosen(t.name, only) {
			continue
		}
		addr, err := freeAddress()
		if err != nil {
			return err
		}
		one := &target{name: t.name, addr: addr, headers: t.headers}
		one.ready()
		b.targets = append(b.targets, one)
		fmt.Fprintf(os.Stderr, "starting %s\n", t.name)
		one.proc, err = t.start(one)
		if err == nil {
			err = one.answers(ctx, t.wait)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			one.absent = strings.Join(strings.Fields(err.Error()), " ")
			fmt.Fprintf(os.Stderr, "%s is left out: %s\n", t.name, one.absent)
			if one.proc != nil {
				one.proc.stop()
				one.proc = nil
			}
		}
	}
	return nil
}

// chosen is whether a name has one of the parts that only lists; an empty list is all.
func chosen(name, only string) bool {
	if only == "" {
		return true
	}
	for part := range strings.SplitSeq(only, ",") {
		if part = strings.TrimSpace(part); part != "" && strings.Contains(strings.ToLower(name), strings.ToLower(part)) {
			return true
		}
	}
	return false
}

func (b *bed) run(ctx context.Context, core, name string, env []string, command string, args ...string) (*process, error) {
	p, err := start(ctx, core, name, env, command, args...)
	if err == nil {
		b.procs = append(b.procs, p)
	}
	return p, err
}

// late runs a gateway as the image of this one does, with timers that may be late; see infra/timerslack.
func (b *bed) late(ctx context.Context, name string, env []string, command string, args ...string) (*process, error) {
	return b.run(ctx, b.cores.gateway, name, env, "build/timerslack", append([]string{slack, command}, args...)...)
}

// ours is the environment of the function as on Cloud Run, with a file for its state, and with what is not the answer's done after it.
// Telemetry that is on is what the deployment has: traces, LLM Observability, metrics, and log lines to standard output and to the file
// that the sidecar reads. Off is none of it, and of the log only errors.
func (b *bed) ours(addr, name string, telemetry bool) []string {
	_, port, _ := net.SplitHostPort(addr)
	agentHost, agentPort, _ := net.SplitHostPort(b.agentAddr)
	_, statsdPort, _ := net.SplitHostPort(b.statsdAddr)
	sum := sha256.Sum256([]byte(apiKey))
	state := filepath.Join("build", "state", name+".db")
	// A state of an earlier run would do no harm, and a broken one would.
	_ = os.Remove(state)
	env := []string{
		goEnv, "PORT=" + port, "LRCP_LISTEN=local", "K_SERVICE=completion", "FUNCTION_TARGET=completion",
		"LRCP_PROVIDER=openai", "OPENAI_BASE_URL=http://" + b.mockAddr + "/v1", "OPENAI_API_KEY=none", "LRCP_MODEL_STANDARD=bench",
		"LRCP_STATE=bolt:" + state, "LRCP_API_KEYS=bench:" + hex.EncodeToString(sum[:]),
		"DD_SERVICE=bench", "DD_ENV=bench", "DD_VERSION=bench", "DD_INSTRUMENTATION_TELEMETRY_ENABLED=false", "DD_TRACE_STARTUP_LOGS=false", "LRCP_FLUSH=background",
	}
	if !telemetry {
		return append(env, "DD_TRACE_ENABLED=false", "DD_LLMOBS_ENABLED=false", "LRCP_LOG_LEVEL=error")
	}
	return append(append(env, "DD_TRACE_ENABLED=true", "DD_LLMOBS_ENABLED=true", "DD_LLMOBS_ML_APP=bench", "DD_LOGS_INJECTION=true",
		"DD_AGENT_HOST="+agentHost, "DD_TRACE_AGENT_PORT="+agentPort, "DD_DOGSTATSD_PORT="+statsdPort, "LRCP_LOG_FILE=build/log/ours-app.log"), b.further...)
}

// portkey starts Portkey's gateway from npm, which it installs where it is missing. With what npm resolves by itself its
// streams fail, so package.json pins @hono/node-server to the version of Portkey's own lock file.
func (b *bed) portkey(ctx context.Context, t *target) (*process, error) {
	const entry = "node_modules/@portkey-ai/gateway/build/start-server.js"
	if _, err := os.Stat(entry); err != nil {
		fmt.Fprintln(os.Stderr, "installing Portkey from npm")
		if err := command(ctx, ".", "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
			return nil, err
		}
	}
	t.version = jsonVersion("node_modules/@portkey-ai/gateway/package.json") + ", Node"
	_, port, _ := net.SplitHostPort(t.addr)
	return b.run(ctx, b.cores.gateway, "portkey", []string{"NODE_ENV=production"}, "node", entry, "--port="+port, "--headless")
}

// litellm starts the LiteLLM proxy from PyPI, in an environment of its own in the user's cache.
func (b *bed) litellm(ctx context.Context, t *target) (*process, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	venv := filepath.Join(cache, cacheDir, "venv")
	python := filepath.Join(venv, "bin", "python")
	if _, err := os.Stat(filepath.Join(venv, "bin", "litellm")); err != nil {
		fmt.Fprintln(os.Stderr, "installing LiteLLM from PyPI")
		if err := command(ctx, ".", "python3", "-m", "venv", venv); err != nil {
			return nil, err
		}
		if err := command(ctx, ".", python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "litellm[proxy]"); err != nil {
			return nil, err
		}
	}
	version, err := exec.CommandContext(ctx, python, "-c", "import importlib.metadata as m; print(m.version('litellm'))").Output()
	if err != nil {
		return nil, fmt.Errorf("ask for LiteLLM's version: %w", err)
	}
	t.version = strings.TrimSpace(string(version)) + ", Python, one worker"
	config := fmt.Sprintf(`model_list:
  - model_name: bench
    litellm_params: {model: openai/bench, api_base: "http://%s/v1", api_key: none}
litellm_settings: {num_retries: 0, telemetry: false, drop_params: true}
router_settings: {num_retries: 0}
general_settings: {master_key: %s}
`, b.mockAddr, apiKey)
	if err := os.WriteFile("build/litellm.yaml", []byte(config), 0o644); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(t.addr)
	return b.run(ctx, b.cores.gateway, "litellm", []string{"LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOG=ERROR", "LITELLM_MODE=PRODUCTION", "NO_DOCS=True"},
		filepath.Join(venv, "bin", "litellm"), "--config", "build/litellm.yaml", "--host", "127.0.0.1", "--port", port, "--num_workers", "1", "--telemetry", "False")
}

func listening(ctx context.Context, addr string) error {
	end := time.Now().Add(10 * time.Second)
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func moduleVersion(ctx context.Context, module string) string {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		return "of an unknown version"
	}
	return strings.TrimSpace(string(out))
}
