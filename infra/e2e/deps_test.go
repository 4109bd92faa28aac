// Package e2e_test holds what is true of the whole module. This file holds the import rules of ARCHITECTURE.md.
//
// .golangci.yml says most of them a second time, for the editor. This test is the authority: it needs no tool but go, it
// knows every package and every library, and a package or a library that no rule names is a violation too.
package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/llm-reliability/control-plane"

// layers are the packages directly below shared. A package imports its own layer or a lower one.
var layers = map[string]int{
	"llm": 0, "retry": 0, "env": 0, "httpjson": 0, "prose": 0, "emulatortest": 0, "internal": 0,
	"catalog": 1, "quality": 1, "safety": 1, "control": 1, "cache": 1, "ddapi": 1, "outbox": 1, "limit": 1, "attribution": 1,
	"remediation": 2, "telemetry": 2, "analytics": 2,
	"gateway": 3, "serverless": 3,
}

// library is a module of others, and where it may be imported outside tests.
type library struct {
	path string
	in   []string // folders; every package below counts
	// oneFile is set where a swap of the library must stay a change of one file.
	oneFile bool
}

// libraries are all that code may import. Tests may import any of them, and those of testLibraries.
var libraries = []library{
	{path: "golang.org/x/sync", in: []string{"shared", "functions", "infra"}},
	{path: "golang.org/x/sys/unix", in: []string{"infra/timerslack"}, oneFile: true},
	{path: "github.com/maypok86/otter/v2", in: []string{"shared/cache"}, oneFile: true},
	{path: "go.etcd.io/bbolt", in: []string{"shared/internal/boltfile", "shared/control/bolt", "shared/outbox/bolt", "shared/limit/bolt"}},
	{path: "github.com/DataDog/dd-trace-go/v2", in: []string{"shared/telemetry/datadog", "shared/serverless"}},
	// The Lambda wrapper still starts the first major version of the tracer, so that serverless must silence its log.
	{path: "gopkg.in/DataDog/dd-trace-go.v1", in: []string{"shared/serverless"}, oneFile: true},
	// The tracer wants a statsd client of this type, if it is not to make one of its own.
	{path: "github.com/DataDog/datadog-go/v5", in: []string{"shared/telemetry/datadog"}, oneFile: true},
	{path: "github.com/DataDog/datadog-lambda-go", in: []string{"shared/serverless"}, oneFile: true},
	{path: "github.com/aws/aws-lambda-go", in: []string{"shared/serverless"}, oneFile: true},
	{path: "github.com/GoogleCloudPlatform/functions-framework-go", in: []string{"shared/serverless"}, oneFile: true},
	// The stand-in reads what the SDK writes: the message types and the sketch, and nothing that sends.
	{path: "github.com/DataDog/datadog-agent/pkg/proto", in: []string{"infra/local/ddfake"}},
	{path: "github.com/DataDog/sketches-go", in: []string{"infra/local/ddfake/metric"}},
	{path: "github.com/dop251/goja", in: []string{"infra/local/ddfake/workflow"}},
	{path: "github.com/theory/jsonpath", in: []string{"infra/local/ddfake/synthetics", "infra/assets/check"}},
	{path: "github.com/dlclark/regexp2/v2", in: []string{"infra/assets/schema"}, oneFile: true},
	{path: "github.com/ua-parser/uap-go", in: []string{"infra/local/ddfake/pipeline"}},
	{path: "github.com/getkin/kin-openapi", in: []string{"infra/assets/schema"}},
	{path: "go.yaml.in/yaml/v4", in: []string{"infra/local/scenario", "infra/assets/settings", "infra/assets/check", "infra/cloudrun/manifest"}},
	{path: "github.com/alecthomas/kong", in: []string{"scripts"}},
	{path: "github.com/go-json-experiment/json", in: []string{"shared/httpjson", "shared/llm/openai", "functions/completion"}},
	{path: "github.com/openai/openai-go/v3", in: []string{"shared/llm/openai"}},
	{path: "cloud.google.com/go/vertexai", in: []string{"shared/llm/vertexai"}, oneFile: true},
	{path: "google.golang.org/genai", in: []string{"shared/llm/genai"}, oneFile: true},
	{path: "cloud.google.com/go/auth", in: []string{"functions/wire/models", "shared/llm/vertexai", "shared/llm/genai", "shared/llm/googleauth", "shared/serverless/googleid"}},
	{path: "cloud.google.com/go/firestore", in: []string{"shared/control/firestore", "shared/cache/firestore", "shared/outbox/firestore", "shared/limit/firestore", "functions/wire"}},
	{path: "github.com/aws/aws-sdk-go-v2", in: []string{"shared/control/dynamodb", "shared/cache/dynamodb", "shared/outbox/dynamodb", "shared/limit/dynamodb", "functions/wire"}},
	{path: "github.com/aws/smithy-go", in: []string{"shared/control/dynamodb", "shared/cache/dynamodb", "shared/outbox/dynamodb", "shared/limit/dynamodb", "functions/wire"}},
	// What Google's SDKs are configured with, and the errors that they return.
	{path: "google.golang.org/grpc", in: googleSDKs},
	{path: "google.golang.org/api", in: googleSDKs},
	{path: "google.golang.org/protobuf", in: googleSDKs},
	{path: "google.golang.org/genproto", in: googleSDKs},
	{path: "github.com/googleapis/gax-go/v2", in: googleSDKs},
	// The messages of the stand-in for Vertex AI.
	{path: "cloud.google.com/go/aiplatform", in: []string{"shared/llm/vertextest"}},
	// Conformance tests are packages of their own.
	{path: "github.com/google/go-cmp", in: []string{"shared/control/controltest", "shared/llm/llmtest", "shared/cache/cachetest", "shared/outbox/outboxtest", "shared/limit/limittest"}},
}

// googleSDKs are the packages that call Google.
var googleSDKs = []string{
	"shared/llm/vertexai", "shared/llm/genai", "shared/llm/internal/gemini", "shared/llm/vertextest", "shared/llm/googleauth",
	"shared/control/firestore", "shared/cache/firestore", "shared/outbox/firestore", "shared/limit/firestore", "functions/wire",
}

// testLibraries may be imported by every test, beside those above.
var testLibraries = []string{"github.com/google/go-cmp"}

// coreLibraries are what the shared packages that are no adapters may need, all dependencies included. It is what keeps
// them quick to build and to test: no SDK comes in by a detour.
var coreLibraries = []string{
	"golang.org/x", "github.com/maypok86/otter/v2", "github.com/go-json-experiment/json",
}

// mainLines is the length below which a function's main.go is wiring only. Comments and blank lines are free: they say
// which variables it reads.
const mainLines = 60

// listed is one package, as far as the rules look at it.
type listed struct {
	name        string              // import path inside the module, "." for the root
	files       map[string][]string // imports of each file that is no test
	testImports []string            // imports of the tests, inside the package and beside it
	deps        []string            // import paths of everything that the package needs, tests not included
	lines       map[string]int      // lines of code of each file that is no test
}

// TestImportRules applies the rules to the module.
func TestImportRules(t *testing.T) {
	t.Parallel()
	packages := list(t)
	if !slices.ContainsFunc(packages, func(p listed) bool { return p.name == "shared/llm" }) {
		t.Fatalf("go list named %d packages, shared/llm not among them", len(packages))
	}
	for _, v := range violations(packages) {
		t.Error(v)
	}
}

// TestImportRulesCanFail shows each rule one package that breaks it, or that just doesn't.
func TestImportRulesCanFail(t *testing.T) {
	t.Parallel()
	one := func(name string, imports ...string) []listed {
		for i, imported := range imports {
			if slices.Contains([]string{"shared", "functions", "infra", "scripts"}, top(imported)) {
				imports[i] = module + "/" + imported
			}
		}
		return []listed{{name: name, files: map[string][]string{"a.go": imports}}}
	}
	tests := map[string]struct {
		packages []listed
		want     []string
	}{
		"the standard library is open to all": {packages: one("shared/llm", "net/http", "encoding/json")},
		"a layer imports a lower one":         {packages: one("shared/gateway", "shared/llm")},
		"a layer imports its own":             {packages: one("shared/cache", "shared/catalog")},
		"a layer imports a higher one": {
			packages: one("shared/llm", "shared/gateway"),
			want:     []string{"shared/llm imports shared/gateway: layer 0 imports layer 3"},
		},
		"an adapter counts as its parent's layer": {
			packages: one("shared/llm/openai", "shared/telemetry"),
			want:     []string{"shared/llm/openai imports shared/telemetry: layer 0 imports layer 2"},
		},
		"a test imports a higher layer": {
			packages: []listed{{name: "shared/llm", testImports: []string{module + "/shared/gateway"}}},
			want:     []string{"shared/llm imports shared/gateway in a test: layer 0 imports layer 3"},
		},
		"a shared package without a layer": {
			packages: one("shared/utils"),
			want:     []string{"shared/utils: shared/utils has no layer"},
		},
		"shared imports a function": {
			packages: one("shared/gateway", "functions/qa"),
			want:     []string{"shared/gateway imports functions/qa: shared imports only shared"},
		},
		"a function imports the local stack": {
			packages: one("functions/qa", "infra/local"),
			want:     []string{"functions/qa imports infra/local: functions imports only functions, shared"},
		},
		"infra imports a script": {
			packages: one("infra/local", "scripts/lrcp"),
			want:     []string{"infra/local imports scripts/lrcp: infra imports only infra, functions, shared, datadog, ."},
		},
		"a script imports everything": {packages: one("scripts/lrcp", "infra/local", "functions/qa", "shared/llm")},
		"a function imports a function": {
			packages: one("functions/qa", "functions/completion"),
			want:     []string{"functions/qa imports functions/completion: a function imports another function"},
		},
		"a function imports what functions share": {packages: one("functions/qa", "functions/internal/answer")},
		"what functions share chooses adapters":   {packages: one("functions/wire", "shared/llm/openai")},
		"a function's main imports it":            {packages: one("functions/qa/cmd", "functions/qa")},
		"what functions share imports a function": {
			packages: one("functions/internal/answer", "functions/qa"),
			want:     []string{"functions/internal/answer imports functions/qa: a function imports another function"},
		},
		"the runner starts the delivery": {packages: one("shared/serverless", "shared/telemetry/datadog")},
		"an adapter imports the encoder": {packages: one("shared/telemetry/datadog", "shared/telemetry/dogstatsd")},
		"a main imports an adapter":      {packages: one("functions/qa/cmd", "shared/llm/openai")},
		"infra imports an adapter":       {packages: one("infra/local", "shared/control/bolt")},
		"an adapter's test needs it":     {packages: []listed{{name: "shared/control/bolt", testImports: []string{module + "/shared/control/bolt"}}}},
		"a function imports an adapter": {
			packages: one("functions/qa", "shared/llm/openai"),
			want:     []string{"functions/qa imports shared/llm/openai: an adapter is chosen in functions/*/cmd, functions/wire, infra or scripts"},
		},
		"the request path imports an adapter": {
			packages: one("shared/gateway", "shared/control/bolt"),
			want:     []string{"shared/gateway imports shared/control/bolt: an adapter is chosen in functions/*/cmd, functions/wire, infra or scripts"},
		},
		"a test package in a test": {packages: []listed{{name: "shared/gateway", testImports: []string{module + "/shared/llm/llmtest"}}}},
		"a test package in code": {
			packages: one("shared/gateway", "shared/llm/llmtest"),
			want:     []string{"shared/gateway imports shared/llm/llmtest: a test package outside tests"},
		},
		"a test package in a test package": {packages: one("functions/internal/functiontest", "shared/control/controltest")},
		"a test package in the local stack": {
			packages: one("infra/local", "shared/control/controltest"),
		},
		"an SDK where it belongs": {packages: one("shared/serverless", "github.com/aws/aws-lambda-go/lambda")},
		"an SDK elsewhere": {
			packages: one("shared/gateway", "github.com/DataDog/dd-trace-go/v2/ddtrace/tracer"),
			want: []string{"shared/gateway imports github.com/DataDog/dd-trace-go/v2/ddtrace/tracer: " +
				"only shared/telemetry/datadog, shared/serverless may"},
		},
		"an SDK in two files": {
			packages: []listed{{name: "shared/serverless", files: map[string][]string{
				"a.go": {"github.com/aws/aws-lambda-go/lambda"},
				"b.go": {"github.com/aws/aws-lambda-go/events"},
			}}},
			want: []string{"shared/serverless/b.go imports github.com/aws/aws-lambda-go: shared/serverless/a.go does already, one file may"},
		},
		"an unknown library": {
			packages: one("shared/gateway", "github.com/some/thing"),
			want:     []string{"shared/gateway imports github.com/some/thing: no rule names this library"},
		},
		"a name that only begins like a library's": {
			packages: one("shared/cache", "github.com/maypok86/otter/v20"),
			want:     []string{"shared/cache imports github.com/maypok86/otter/v20: no rule names this library"},
		},
		"a test's library in a test": {
			packages: []listed{{name: "functions/qa", testImports: []string{"github.com/openai/openai-go/v3"}}},
		},
		"a test's library in code": {
			packages: one("functions/qa", "github.com/openai/openai-go/v3"),
			want:     []string{"functions/qa imports github.com/openai/openai-go/v3: only shared/llm/openai may"},
		},
		"the core needs an SDK by a detour": {
			packages: []listed{{name: "shared/telemetry", deps: []string{"fmt", "vendor/golang.org/x/net/idna", "github.com/DataDog/datadog-go/v5/statsd"}}},
			want:     []string{"shared/telemetry needs github.com/DataDog/datadog-go/v5/statsd: the core builds without it"},
		},
		"an adapter needs an SDK by a detour": {
			packages: []listed{{name: "shared/telemetry/datadog", deps: []string{"github.com/DataDog/datadog-go/v5/statsd"}}},
		},
		"a main with logic in it": {
			packages: []listed{{name: "functions/qa/cmd", lines: map[string]int{"main.go": mainLines}}},
			want:     []string{"functions/qa/cmd/main.go has 60 lines of code: wiring fits in fewer"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(violations(tc.packages), tc.want); diff != "" {
				t.Errorf("violations, got - want +:\n%s", diff)
			}
		})
	}
}

// violations returns every break of a rule, in the order of the packages.
func violations(packages []listed) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	firstFile := map[string]string{} // by library that one file may import
	for _, p := range packages {
		if top(p.name) == "shared" {
			if _, ok := layer(p.name); !ok {
				say("%s: %s has no layer", p.name, path.Join("shared", second(p.name)))
			}
		}
		for _, file := range sorted(p.files) {
			for _, imported := range p.files[file] {
				if why := forbidden(p.name, imported, false); why != "" {
					say("%s imports %s: %s", p.name, inModule(imported), why)
				}
				lib, ok := find(imported)
				if !ok || !lib.oneFile {
					continue
				}
				here := path.Join(p.name, file)
				if first, ok := firstFile[lib.path]; ok && first != here {
					say("%s imports %s: %s does already, one file may", here, lib.path, first)
					continue
				}
				firstFile[lib.path] = here
			}
		}
		if n := p.lines["main.go"]; path.Base(p.name) == "cmd" && n >= mainLines {
			say("%s/main.go has %d lines of code: wiring fits in fewer", p.name, n)
		}
		for _, imported := range p.testImports {
			if why := forbidden(p.name, imported, true); why != "" {
				say("%s imports %s in a test: %s", p.name, inModule(imported), why)
			}
		}
		if core(p.name) {
			for _, dep := range p.deps {
				if !standard(dep) && !own(dep) && !slices.ContainsFunc(coreLibraries, func(l string) bool { return below(dep, l) }) {
					say("%s needs %s: the core builds without it", p.name, dep)
				}
			}
		}
	}
	return found
}

// forbidden says why a package may not import another, or "".
func forbidden(importer, imported string, inTest bool) string {
	switch {
	case standard(imported):
		return ""
	case own(imported):
		return forbiddenOwn(importer, inModule(imported), inTest)
	default:
		return forbiddenLibrary(importer, imported, inTest)
	}
}

// forbiddenOwn judges an import inside the module.
func forbiddenOwn(importer, imported string, inTest bool) string {
	if importer == imported {
		return "" // a test beside its package
	}
	testing := inTest || isTest(importer)
	if isTest(imported) && !testing && !below(importer, "infra/local") {
		return "a test package outside tests"
	}
	allowed := map[string][]string{
		"shared":    {"shared"},
		"functions": {"functions", "shared"},
		"infra":     {"infra", "functions", "shared", "datadog", "."},
		"scripts":   {"scripts", "infra", "functions", "shared", "datadog", "."},
		"datadog":   {"datadog"},
	}[top(importer)]
	if !slices.Contains(allowed, top(imported)) {
		return fmt.Sprintf("%s imports only %s", top(importer), strings.Join(allowed, ", "))
	}
	if top(importer) == "functions" && top(imported) == "functions" &&
		!ofAllFunctions(imported) && second(imported) != second(importer) {
		return "a function imports another function"
	}
	if top(importer) == "shared" {
		from, known := layer(importer)
		to, knownToo := layer(imported)
		if known && knownToo && to > from {
			return fmt.Sprintf("layer %d imports layer %d", from, to)
		}
	}
	// The runner of all functions starts the delivery of their telemetry, since the Lambda wrapper must be handed to it.
	delivery := importer == "shared/serverless" && imported == "shared/telemetry/datadog"
	if adapter(imported) && !testing && !choosesAdapters(importer) && !delivery {
		return "an adapter is chosen in functions/*/cmd, functions/wire, infra or scripts"
	}
	return ""
}

// forbiddenLibrary judges an import of other people's code.
func forbiddenLibrary(importer, imported string, inTest bool) string {
	lib, ok := find(imported)
	if inTest || isTest(importer) {
		if ok || slices.ContainsFunc(testLibraries, func(l string) bool { return below(imported, l) }) {
			return ""
		}
	}
	if !ok {
		return "no rule names this library"
	}
	if !slices.ContainsFunc(lib.in, func(folder string) bool { return below(importer, folder) }) {
		return fmt.Sprintf("only %s may", strings.Join(lib.in, ", "))
	}
	return ""
}

// find returns the library that an import path belongs to.
func find(imported string) (library, bool) {
	i := slices.IndexFunc(libraries, func(l library) bool { return below(imported, l.path) })
	if i < 0 {
		return library{}, false
	}
	return libraries[i], true
}

// layer returns the layer of a shared package; what is below one has its layer.
func layer(name string) (int, bool) {
	n, ok := layers[second(name)]
	return n, ok
}

// adapter is whether a package is the one of many behind an interface: the third element of shared/llm/openai. The
// encoder of DogStatsD is none: it has no SDK, and adapters are built on it. Nor is what adapters share, or what is below a
// signal: its parts, and what it is trained and measured with.
func adapter(name string) bool {
	return top(name) == "shared" && strings.Count(name, "/") > 1 && !isTest(name) && name != "shared/telemetry/dogstatsd" &&
		!strings.Contains(name, "/internal/") && !below(name, "shared/quality") && !below(name, "shared/safety")
}

// ofAllFunctions is whether a package is what functions share, and not part of one of them.
func ofAllFunctions(name string) bool {
	return below(name, "functions/internal") || below(name, "functions/wire") || name == "functions/routes"
}

// choosesAdapters is whether a package decides what is behind the interfaces.
func choosesAdapters(name string) bool {
	return top(name) == "infra" || top(name) == "scripts" || below(name, "functions/wire") ||
		top(name) == "functions" && path.Base(name) == "cmd"
}

// core is whether a package is shared and neither an adapter, nor for tests, nor the platforms' edge.
func core(name string) bool {
	return top(name) == "shared" && !adapter(name) && !isTest(name) && name != "shared/serverless" && !strings.Contains(name, "/internal/")
}

func isTest(name string) bool { return strings.HasSuffix(name, "test") }

func own(importPath string) bool { return below(importPath, module) }

// standard is whether an import path is of the standard library: no dot in its first element, or a copy inside it.
func standard(importPath string) bool {
	return !strings.Contains(top(importPath), ".")
}

// inModule shortens an import path of this module.
func inModule(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// below is whether a path is the folder or inside it.
func below(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

func top(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

func second(name string) string {
	_, rest, _ := strings.Cut(name, "/")
	return top(rest)
}

func sorted(files map[string][]string) []string {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// list asks go for the packages of the module. A package that does not build is listed as well: that is the compiler's
// business, and its imports are judged all the same.
func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e",
		"-json=ImportPath,Dir,GoFiles,TestImports,XTestImports,Deps", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &stderr)
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir                          string
			GoFiles, TestImports, XTestImports, Deps []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("decode what go list says: %v", err)
		}
		l := listed{
			name: inModule(p.ImportPath), deps: p.Deps, testImports: slices.Concat(p.TestImports, p.XTestImports),
			files: map[string][]string{}, lines: map[string]int{},
		}
		for _, file := range p.GoFiles {
			l.files[file], l.lines[file] = imports(t, filepath.Join(p.Dir, file))
		}
		packages = append(packages, l)
	}
}

// imports returns the imports of a file, and how many lines of code it has.
func imports(t *testing.T, file string) ([]string, int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("read imports: %v", err)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ImportsOnly)
	if err != nil {
		t.Fatalf("read imports: %v", err)
	}
	var paths []string
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("read imports of %s: %v", file, err)
		}
		paths = append(paths, imported)
	}
	lines := 0
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) {
			lines++
		}
	}
	return paths, lines
}
