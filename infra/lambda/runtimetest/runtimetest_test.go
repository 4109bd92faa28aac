package runtimetest_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/infra/buildtags"
	"github.com/llm-reliability/control-plane/infra/lambda/bundle"
	"github.com/llm-reliability/control-plane/infra/lambda/runtimetest"

	// What the binaries are built from, so that go test runs anew, and does not repeat its last result, when it changes.
	_ "github.com/llm-reliability/control-plane/functions/completion"
	_ "github.com/llm-reliability/control-plane/functions/escalation"
	_ "github.com/llm-reliability/control-plane/functions/insights"
	_ "github.com/llm-reliability/control-plane/functions/remediation"
	_ "github.com/llm-reliability/control-plane/functions/wire"
)

// The binaries under test. Each is built once, by the first test that needs it.
const (
	completion  = "github.com/llm-reliability/control-plane/functions/completion/cmd"
	remediation = "github.com/llm-reliability/control-plane/functions/remediation/cmd"
	escalation  = "github.com/llm-reliability/control-plane/functions/escalation/cmd"
	insights    = "github.com/llm-reliability/control-plane/functions/insights/cmd"
	probe       = "./testdata/probe"
	hello       = "./testdata/hello"
	zipper      = "./testdata/zip"
)

var binaries struct {
	dir string

	mu    sync.Mutex
	paths map[string]string // by package
}

// given is the variable that names the binary under test to a test in a sandbox: the outer process has built it.
const given = "RUNTIMETEST_BINARY"

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "runtimetest")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binaries.dir, binaries.paths = dir, map[string]string{}
		return m.Run()
	}())
}

// binary is one that runs on Lambda and elsewhere, unless it is given tags, as those that are deployed are.
func binary(t testing.TB, pkg string, tags ...string) string {
	t.Helper()
	binaries.mu.Lock()
	defer binaries.mu.Unlock()
	if path := os.Getenv(given); path != "" {
		return path
	}
	if len(tags) == 0 {
		tags = []string{"lambda.norpc"}
	}
	key := pkg + " " + strings.Join(tags, ",")
	if _, ok := binaries.paths[key]; !ok {
		path, err := runtimetest.Build(t.Context(), binaries.dir, pkg, tags...)
		if err != nil {
			t.Fatal(err)
		}
		binaries.paths[key] = path
	}
	return binaries.paths[key]
}

// bootstrap is the binary of a function as Lambda gets and starts it: out of the zip that make package makes. Only one
// function goes that way; for the others it takes too long.
func bootstrap(t testing.TB, pkg string) string {
	t.Helper()
	if pkg != insights {
		return binary(t, pkg)
	}
	dir := filepath.Join(binaries.dir, "task")
	path := filepath.Join(dir, bundle.Name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	archive := filepath.Join(binaries.dir, "insights.zip")
	if out, err := exec.CommandContext(t.Context(), binary(t, zipper), binary(t, pkg, buildtags.Lambda("insights", "")...), archive).CombinedOutput(); err != nil {
		t.Fatalf("zip: %v: %s", err, out)
	}
	zipped, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := runtimetest.Unpack(zipped, dir); err != nil {
		t.Fatal(err)
	}
	return path
}

// delay is how long the extension takes to answer a post.
const delay = 20 * time.Millisecond

const apiKey = "runtimetest-key"

// functionEnv configures a data function. There is no API key of Datadog in it: the extension has that.
func functionEnv(t testing.TB) []string {
	t.Helper()
	sum := sha256.Sum256([]byte(apiKey))
	return []string{
		"LRCP_STATE=bolt:" + filepath.Join(t.TempDir(), "state.db"),
		"LRCP_API_KEYS=tests:" + hex.EncodeToString(sum[:]),
		"LRCP_PROVIDER=embedded", "DD_ENV=test", "DD_VERSION=1", "DD_ENHANCED_METRICS=false", "DD_INSTRUMENTATION_TELEMETRY_ENABLED=false",
	}
}

// lambda is a function's process between the stand-ins.
type lambda struct {
	*runtimetest.Runtime
	extension *runtimetest.Extension
	process   *runtimetest.Process
}

func startLambda(t testing.TB, pkg string, env ...string) lambda {
	t.Helper()
	e := runtimetest.StartExtension(t, delay)
	return startBeside(t, e, pkg, slices.Concat(e.Env(), env)...)
}

func startBeside(t testing.TB, extension *runtimetest.Extension, pkg string, env ...string) lambda {
	t.Helper()
	bin := bootstrap(t, pkg)
	l := lambda{Runtime: runtimetest.StartRuntime(t), extension: extension}
	l.process = runtimetest.StartProcess(t, bin, slices.Concat(l.Env(), functionEnv(t), env)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of the process:\n%s", strings.Join(l.process.Lines(), ""))
		}
	})
	return l
}

// patience bounds what should take milliseconds, on a machine that is busy.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wait(t *testing.T, inv *runtimetest.Invocation) runtimetest.Outcome {
	t.Helper()
	o, err := inv.Wait(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func response(t *testing.T, o runtimetest.Outcome) runtimetest.Response {
	t.Helper()
	r, err := o.Response()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func exitCode(t *testing.T, p *runtimetest.Process) int {
	t.Helper()
	code, err := p.Wait(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func checkOutput(t *testing.T, p *runtimetest.Process) {
	t.Helper()
	for _, line := range p.Lines() {
		if !json.Valid([]byte(line)) || !strings.HasPrefix(line, "{") {
			t.Errorf("a line of the log is no JSON object: %q", line)
		}
	}
}

const document = "Ada Lovelace wrote the first program for the Analytical Engine. Charles Babbage designed the Analytical Engine. " +
	"The engine was never completed in his lifetime. Her notes were published in 1843 in London."

func completionEvent(t testing.TB, stream bool) []byte {
	t.Helper()
	body, err := json.Marshal(map[string]any{"prompt": "Who wrote the first program? " + document, "stream": stream})
	if err != nil {
		t.Fatal(err)
	}
	return runtimetest.URLEvent(t, "POST", "/completion",
		map[string]string{"authorization": "Bearer " + apiKey, "content-type": "application/json"}, string(body))
}
