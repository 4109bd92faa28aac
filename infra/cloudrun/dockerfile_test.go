package cloudrun_test

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/llm-reliability/control-plane/infra/cloudrun/manifest"
)

// The repository, seen from here.
const repo = "../.."

// instruction is one of a Dockerfile.
type instruction struct{ name, args string }

// readDockerfile takes the Dockerfile apart. Neither comments between nor lines that go on are used, and both fail.
func readDockerfile(t *testing.T) []instruction {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var list []instruction
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, args, _ := strings.Cut(line, " ")
		if strings.HasSuffix(line, "\\") || name != strings.ToUpper(name) {
			t.Fatalf("line %q", line)
		}
		list = append(list, instruction{name, args})
	}
	return list
}

func TestDockerfile(t *testing.T) {
	instructions := readDockerfile(t)
	var names, froms []string
	for _, i := range instructions {
		names = append(names, i.name)
		if i.name == "FROM" {
			froms = append(froms, i.args)
		}
	}
	want := []string{"FROM", "WORKDIR", "COPY", "COPY", "COPY", "COPY", "COPY", "ARG", "ARG", "RUN", "FROM", "COPY", "USER", "ENTRYPOINT"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatalf("instructions, want - got +: no ADD, no ENV, no second layer in the image:\n%s", diff)
	}
	compiler := regexp.MustCompile(`^golang:(\d+\.\d+)\.\d+-bookworm AS build$`).FindStringSubmatch(froms[0])
	mod, err := os.ReadFile(filepath.Join(repo, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if compiler == nil || !strings.Contains(string(mod), "\ngo "+compiler[1]+".") {
		t.Errorf("the compiler %q is not pinned to a patch of go.mod's version", froms[0])
	}
	if !regexp.MustCompile(`^gcr\.io/distroless/static-debian12:nonroot@sha256:[0-9a-f]{64}$`).MatchString(froms[1]) {
		t.Errorf("the base %q is not pinned to a digest", froms[1])
	}
	final := instructions[9:]
	for _, w := range []instruction{{"COPY", "--from=build /out/function /out/timerslack /"}, {"USER", "65532:65532"}, {"ENTRYPOINT", `["/timerslack", "1ms", "/function"]`}} {
		if !slices.Contains(final, w) {
			t.Errorf("the image lacks %s %s", w.name, w.args)
		}
	}
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{":latest", "http://", "https://", "--mount=type=secret", "DD_API_KEY", "curl", "apt-get"} {
		if strings.Contains(string(text), bad) {
			t.Errorf("%s is in the Dockerfile", bad)
		}
	}
}

// TestBuildAsTheDockerfileSays does what the Dockerfile says in a folder of its own: copies what may be copied, and runs the
// command for one function. It is the nearest to an image that works without a container engine.
func TestBuildAsTheDockerfileSays(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a function, at the same time as infra/lambda/runtimetest; make test runs it after that")
	}
	src, out := t.TempDir(), t.TempDir()
	ignored := dockerIgnored(t)
	var script, tags string
	var entry []string
	for _, i := range readDockerfile(t) {
		switch words := strings.Fields(i.args); {
		case i.name == "ENTRYPOINT":
			if err := json.Unmarshal([]byte(i.args), &entry); err != nil {
				t.Fatalf("the entry point %s: %v", i.args, err)
			}
		case i.name == "RUN":
			script = i.args
		case i.name == "ARG" && strings.HasPrefix(i.args, "TAGS="):
			tags = i.args
		case i.name == "COPY" && !strings.HasPrefix(i.args, "--from"):
			for _, source := range words[:len(words)-1] {
				copyContext(t, source, src, ignored)
			}
		}
	}
	if strings.Count(script, "/out/function") != 1 || !strings.Contains(script, "${FUNCTION}") {
		t.Fatalf("the command %q", script)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", strings.ReplaceAll(script, "/out/", out+"/"))
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "FUNCTION=probe", tags)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, said)
	}
	// This function reaches nothing that is trimmed; that a build with what was written works is shown by runtimetest.
	if trimmed, err := filepath.Glob(filepath.Join(src, "build", "trim", "*", "go.mod")); err != nil || len(trimmed) != 1 || !strings.Contains(script, `go build -modfile "${modfile}"`) {
		t.Errorf("it is not built with what trim writes, %v, %v: %s", trimmed, err, script)
	}
	for i, word := range entry {
		if name, ok := strings.CutPrefix(word, "/"); ok {
			entry[i] = filepath.Join(out, name)
			t.Run(name, func(t *testing.T) { standsAlone(t, filepath.Join(out, name), src) })
		}
	}
	t.Run("it serves with the environment of its manifest", func(t *testing.T) { serve(t, entry) })
}

// standsAlone checks that a binary wants nothing that the image has not, and tells nothing of where it was built.
func standsAlone(t *testing.T, binary, src string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 || f.Section(".symtab") != nil {
		t.Errorf("machine %v, symbols %v", f.Machine, f.Section(".symtab") != nil)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary wants a %v, which the image has not", p.Type)
		}
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, []byte(src)) {
		t.Error("the binary tells where it was built")
	}
}

// serve runs the function probe as Cloud Run would with the manifest: with its variables, secrets included, and a port. Then it
// stops it, as Cloud Run does.
func serve(t *testing.T, entry []string) {
	t.Helper()
	s := manifest.Settings{
		Project: projectID, ProjectNumber: projectNumber, Region: region, Stage: "prod", Environment: "prod", Database: "lrcp-prod",
		ModelLocation: region, Site: "datadoghq.eu", Version: "1.4.0",
	}
	f := manifest.Functions()[slices.IndexFunc(manifest.Functions(), func(f manifest.Function) bool { return f.Name == "probe" })]
	versions := map[string]int{}
	for _, secret := range s.Secrets() {
		versions[s.SecretName(secret)] = 1
	}
	svc, err := manifest.Render(s, f, s.Image(f.Name, "x"), versions)
	if err != nil {
		t.Fatal(err)
	}
	logFile := filepath.Join(t.TempDir(), "logs", "app.log")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	// The container has its own volume and its own loopback interface, with an agent on it.
	replaced := map[string]string{"LRCP_LOG_FILE": logFile}
	env := []string{"PORT=" + port, "K_SERVICE=" + svc.Metadata.Name, "K_REVISION=x-1", "K_CONFIGURATION=x", "LRCP_LISTEN=local"}
	for _, v := range svc.Spec.Template.Spec.Containers[0].Env {
		value := v.Value
		if v.ValueFrom != nil {
			value = strings.Repeat("0123456789abcdef", 2)
		}
		if other, ok := replaced[v.Name]; ok {
			value = other
		}
		env = append(env, v.Name+"="+value)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, entry[0], entry[1:]...)
	cmd.Env = env
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	// The port is given up for the function at the last moment.
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	serving := false
	for !serving && lines.Scan() {
		serving = strings.Contains(lines.Text(), `"serving"`)
		if !serving {
			t.Log(lines.Text())
		}
	}
	if !serving {
		t.Fatalf("it ended: %v", cmd.Wait())
	}
	// The line is written before the port is open, so the first connections may be refused.
	var health *http.Response
	for health == nil && ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if health, err = http.DefaultClient.Do(request); err != nil {
			runtime.Gosched()
		}
	}
	if health == nil {
		t.Fatal("nobody answers")
	}
	defer health.Body.Close()
	body, err := io.ReadAll(health.Body)
	if err != nil || health.StatusCode != http.StatusOK || !strings.Contains(string(body), `"version":"1.4.0"`) {
		t.Errorf("health %d: %s, %v", health.StatusCode, body, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if kept, err := os.ReadFile(logFile); err != nil || !strings.Contains(string(kept), `"serving"`) {
		t.Errorf("the file for the sidecar has %q, %v", kept, err)
	}
}

// ignores are the lines of a file that says what is not sent.
func ignores(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repo, name))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// dockerIgnored returns whether .dockerignore keeps a file back. It understands the three forms that are used there: everything,
// "!" before a path, and "**/" before a name.
func dockerIgnored(t *testing.T) func(file string) bool {
	t.Helper()
	lines := ignores(t, ".dockerignore")
	return func(file string) bool {
		ignored := false
		for _, line := range lines {
			kept, isKept := strings.CutPrefix(line, "!")
			pattern, anywhere := strings.CutPrefix(line, "**/")
			switch {
			case line == "*":
				ignored = true
			case isKept:
				ignored = ignored && file != kept && !strings.HasPrefix(file, kept+"/")
			case anywhere:
				for part := range strings.SplitSeq(file, "/") {
					match, err := path.Match(pattern, part)
					if err != nil {
						t.Fatal(err)
					}
					ignored = ignored || match
				}
			default:
				t.Fatalf(".dockerignore: %q", line)
			}
		}
		return ignored
	}
}

// copyContext copies a file or folder of the repository, as COPY does.
func copyContext(t *testing.T, source, to string, ignored func(string) bool) {
	t.Helper()
	copied := 0
	err := filepath.WalkDir(filepath.Join(repo, source), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(repo, file)
		if err != nil || ignored(filepath.ToSlash(rel)) {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		copied++
		write(t, to, rel, string(content))
		return nil
	})
	if err != nil || copied == 0 {
		t.Fatalf("copy %s: %d files, %v", source, copied, err)
	}
}

func TestIgnored(t *testing.T) {
	ignored := dockerIgnored(t)
	for file, want := range map[string]bool{
		"go.mod": false, "shared/llm/llm.go": false, "functions/qa/cmd/main.go": false, "shared/catalog/models.json": false,
		".git/config": true, ".lrcp/assets.json": true, "node_modules/a/b.js": true, "bin/lrcp": true, "sharedx": true, "infra/trim/trim.go": false, "infra/trim/cmd/main.go": false, "infra/timerslack/main.go": false, "infra/timerslack/main_test.go": true,
		"shared/llm/llm_test.go": true, "shared/llm/testdata/a.json": true, "infra/local/local.go": true, ".env": true,
	} {
		if got := ignored(file); got != want {
			t.Errorf("%s: ignored %v, want %v", file, got, want)
		}
	}
	// Cloud Build needs what Docker needs, the two files that Docker reads besides, and nothing else.
	kept := func(name string) map[string]bool {
		set := map[string]bool{}
		for _, line := range ignores(t, name) {
			if after, ok := strings.CutPrefix(line, "!"); ok {
				set[strings.TrimPrefix(after, "/")] = true
			}
		}
		return set
	}
	want := kept(".dockerignore")
	maps.Copy(want, map[string]bool{".dockerignore": true, "infra": true, "infra/cloudrun": true, "infra/cloudrun/Dockerfile": true})
	if diff := cmp.Diff(want, kept(".gcloudignore")); diff != "" {
		t.Errorf(".gcloudignore, want - got +:\n%s", diff)
	}
	for _, name := range []string{".dockerignore", ".gcloudignore"} {
		if first := strings.TrimPrefix(ignores(t, name)[0], "/"); first != "*" {
			t.Errorf("%s does not begin with everything, but with %s", name, first)
		}
	}
}

func TestCloudBuild(t *testing.T) {
	text, err := os.ReadFile("cloudbuild.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Steps []struct {
			ID, Name string
			Args     []string
		}
		Images  []string
		Timeout string
		Options map[string]string
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	want := []string{"build", "--file", "infra/cloudrun/Dockerfile", "--build-arg", "FUNCTION=${_FUNCTION}", "--build-arg", "TAGS=${_TAGS}", "--tag", "${_IMAGE}", "."}
	if len(doc.Steps) != 1 || !slices.Equal(doc.Steps[0].Args, want) || !slices.Equal(doc.Images, []string{"${_IMAGE}"}) {
		t.Errorf("steps %v, images %v", doc.Steps, doc.Images)
	}
	if doc.Options["logging"] != "CLOUD_LOGGING_ONLY" {
		t.Errorf("options %v: a build with an account of its own is refused", doc.Options)
	}
	for _, f := range manifest.Functions() {
		if _, err := os.Stat(filepath.Join(repo, "functions", f.Name, "cmd", "main.go")); err != nil {
			t.Errorf("%s has no main: %v", f.Name, err)
		}
	}
}
