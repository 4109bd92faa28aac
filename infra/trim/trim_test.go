package trim_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/trim"
)

const sdk = "example.com/sdk"

// program makes a module with one main package, and a proxy that has the SDK that it requires. Names of files are as in
// "sdk/a.go" and "program/main.go"; the main package is in program. It returns options that trim the SDK.
func program(t *testing.T, files map[string]string) trim.Options {
	t.Helper()
	root := t.TempDir()
	var zipped bytes.Buffer
	archive := zip.NewWriter(&zipped)
	const gomod = "module " + sdk + "\n\ngo 1.26\n"
	add := func(name, content string) {
		w, err := archive.Create(sdk + "@v1.0.0/" + name)
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("go.mod", gomod)
	for name, content := range files {
		if after, ok := strings.CutPrefix(name, "sdk/"); ok {
			add(after, content)
			continue
		}
		save(t, filepath.Join(root, name), content)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	// Names of tests are part of the path, and a comma would divide it.
	proxy := filepath.Join(root, "proxy", sdk, "@v")
	save(t, filepath.Join(proxy, "v1.0.0.zip"), zipped.String())
	save(t, filepath.Join(proxy, "v1.0.0.mod"), gomod)
	save(t, filepath.Join(proxy, "v1.0.0.info"), `{"Version":"v1.0.0"}`)
	save(t, filepath.Join(root, "go.mod"), "module example.com/program\n\ngo 1.26\n\nrequire "+sdk+" v1.0.0\n")
	env := append(os.Environ(), "GOPROXY=file://"+filepath.Join(root, "proxy"), "GOSUMDB=off", "GOFLAGS=-modcacherw", "GOWORK=off",
		"GOMODCACHE="+t.TempDir(), "CGO_ENABLED=0")
	o := trim.Options{Dir: root, Package: "./program", Modules: []string{sdk}, Env: env}
	run(t, o, "go", "mod", "download", sdk)
	run(t, o, "go", "mod", "tidy")
	return o
}

func save(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run returns what a command of the program's module prints.
func run(t *testing.T, o trim.Options, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = o.Dir, o.Env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// left returns the lines with text of each file that was copied of the SDK.
func left(t *testing.T, modfile string) map[string][]string {
	t.Helper()
	root := filepath.Join(filepath.Dir(modfile), "modules", sdk)
	files := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "go.mod" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		for line := range strings.Lines(string(content)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "package ") {
				files[name] = append(files[name], line)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestWhatIsLeft(t *testing.T) {
	tests := map[string]struct {
		sdk  map[string]string
		main string // the body of main, which is printed with print
		want map[string][]string
		says string
	}{
		"a file that nothing reaches goes with what it does when it is initialised": {
			sdk: map[string]string{
				"a.go": "package sdk\nfunc A() string { return \"a\" }\nfunc init() { print(\"[a]\") }\n",
				"b.go": "package sdk\nfunc B() string { return \"b\" }\nfunc init() { print(\"[b]\") }\n",
			},
			main: "print(sdk.A())",
			want: map[string][]string{"a.go": {`func A() string { return "a" }`, `func init() { print("[a]") }`}},
			says: "[a]a",
		},
		"what is initialised reaches other files": {
			sdk: map[string]string{
				"a.go": "package sdk\nfunc A() {}\nvar _ = b()\n",
				"b.go": "package sdk\nfunc b() int { print(\"[b]\"); return 1 }\nfunc other() {}\n",
			},
			main: "sdk.A()",
			want: map[string][]string{"a.go": {"func A() {}", "var _ = b()"}, "b.go": {`func b() int { print("[b]"); return 1 }`}},
			says: "[b]",
		},
		"methods stay with their type in any file": {
			sdk: map[string]string{
				"a.go": "package sdk\ntype T[K any] struct{}\nfunc New() *T[int] { return nil }\n",
				"b.go": "package sdk\nfunc (t *T[K]) String() string { return b }\nconst b = \"b\"\n",
			},
			main: "print(sdk.New().String())",
			want: map[string][]string{
				"a.go": {"type T[K any] struct{}", "func New() *T[int] { return nil }"},
				"b.go": {"func (t *T[K]) String() string { return b }", `const b = "b"`},
			},
			says: "b",
		},
		"names of fields and methods and parameters reach nothing": {
			sdk: map[string]string{
				"a.go": "package sdk\ntype A struct{ B int }\nfunc (a A) C(D int) int { return a.B }\n",
				"b.go": "package sdk\ntype B struct{}\nfunc C() {}\nvar D int\n",
			},
			main: "print(sdk.A{}.C(0))",
			want: map[string][]string{"a.go": {"type A struct{ B int }", "func (a A) C(D int) int { return a.B }"}},
			says: "0",
		},
		"keys of a map are reached": {
			sdk: map[string]string{
				"a.go": "package sdk\nvar A = map[int]string{one: \"one\"}\n",
				"b.go": "package sdk\nconst (\n\tone = 1 + iota\n\ttwo\n)\n",
			},
			main: "print(sdk.A[1])",
			want: map[string][]string{"a.go": {`var A = map[int]string{one: "one"}`}, "b.go": {"const (", "one = 1 + iota", "two", ")"}},
			says: "one",
		},
		"imports stay where they are used or do something when they are initialised": {
			sdk: map[string]string{
				"a.go":       "package sdk\nimport (\n\tother \"fmt\"\n\t\"strings\"\n\t_ \"time\"\n)\n// A is.\nfunc A() string { return other.Sprint(1) }\n// B is.\nfunc B() string { return strings.ToUpper(\"b\") }\n",
				"b.go":       "package sdk\nimport \"example.com/sdk/inner\"\nfunc C() { inner.C() }\nvar D = 4\n",
				"inner/c.go": "package inner\nfunc C() {}\n",
			},
			main: "print(sdk.A(), sdk.D)",
			want: map[string][]string{
				"a.go": {"import (", `other "fmt"`, `_ "time"`, ")", "// A is.", "func A() string { return other.Sprint(1) }"},
				"b.go": {"var D = 4"},
			},
			says: "14",
		},
		"another package of the module is reached through the first": {
			sdk: map[string]string{
				"a.go":       "package sdk\nimport \"example.com/sdk/inner\"\nfunc A() int { return inner.C() }\n",
				"inner/c.go": "package inner\nfunc C() int { return 3 }\nfunc D() {}\n",
			},
			main: "print(sdk.A())",
			want: map[string][]string{
				"a.go":       {`import "example.com/sdk/inner"`, "func A() int { return inner.C() }"},
				"inner/c.go": {"func C() int { return 3 }"},
			},
			says: "3",
		},
		"lines keep their numbers": {
			sdk: map[string]string{
				"a.go": "// Package sdk is.\npackage sdk\nimport (\n\t\"os\"\n\t\"runtime\"\n)\n// B is gone.\nfunc B() {\n\tos.Exit(1)\n}\nfunc A() int {\n\t_, _, line, _ := runtime.Caller(0)\n\treturn line\n}\n",
			},
			main: "print(sdk.A())",
			want: map[string][]string{"a.go": {"// Package sdk is.", "import (", `"runtime"`, ")", "func A() int {", "_, _, line, _ := runtime.Caller(0)", "return line", "}"}},
			says: "12",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"program/main.go": "package main\n\nimport \"example.com/sdk\"\n\nfunc main() { " + tt.main + " }\n"}
			for name, content := range tt.sdk {
				files["sdk/"+name] = content
			}
			o := program(t, files)
			modfile, err := trim.Write(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, left(t, modfile)); diff != "" {
				t.Errorf("left, want - got +:\n%s", diff)
			}
			if said := run(t, o, "go", "run", "-modfile="+modfile, "./program"); said != tt.says {
				t.Errorf("the program says %q, want %q", said, tt.says)
			}
		})
	}
}

func TestWhatCannotBeTrimmedIsNamed(t *testing.T) {
	const uses = "package main\n\nimport \"example.com/sdk\"\n\nfunc main() { sdk.A() }\n"
	tests := map[string]struct {
		files map[string]string
		pkg   string
		want  string
	}{
		"a package with assembly": {
			files: map[string]string{"program/main.go": uses, "sdk/a.go": "package sdk\nfunc A()\n", "sdk/a.s": "\n"}, want: "a.s",
		},
		"an import without a name": {
			files: map[string]string{"program/main.go": "package main\n\nimport _ \"example.com/sdk\"\n\nfunc main() {}\n", "sdk/a.go": "package sdk\n"},
			want:  "it imports example.com/sdk as _",
		},
		"an import of all names": {
			files: map[string]string{"program/main.go": "package main\n\nimport . \"example.com/sdk\"\n\nfunc main() { A() }\n", "sdk/a.go": "package sdk\nfunc A() {}\n"},
			want:  "it imports example.com/sdk as .",
		},
		"a package that is not there": {
			files: map[string]string{"program/main.go": uses, "sdk/a.go": "package sdk\nfunc A() {}\n"}, pkg: "./missing", want: "list packages of ./missing",
		},
		"a package of nobody's module": {
			files: map[string]string{"program/main.go": uses, "sdk/a.go": "package sdk\nfunc A() {}\n"}, pkg: "fmt", want: "fmt is not of the module",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := program(t, tt.files)
			if tt.pkg != "" {
				o.Package = tt.pkg
			}
			if _, err := trim.Write(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if _, err := os.Stat(filepath.Join(o.Dir, "build")); err == nil {
				t.Error("something was written")
			}
		})
	}
	if _, err := trim.Write(t.Context(), trim.Options{}); err == nil {
		t.Error("no package was taken")
	}
}

// Deployments of all functions are built at the same time.
func TestSameSourceIsWrittenOnce(t *testing.T) {
	o := program(t, map[string]string{
		"program/main.go": "package main\n\nimport \"example.com/sdk\"\n\nfunc main() { sdk.A() }\n", "sdk/a.go": "package sdk\nfunc A() {}\nfunc B() {}\n",
	})
	const builds = 8
	modfiles := make([]string, builds)
	var all sync.WaitGroup
	for i := range modfiles {
		all.Go(func() {
			var err error
			if modfiles[i], err = trim.Write(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, m := range modfiles {
		if m != modfiles[0] || !filepath.IsAbs(m) {
			t.Errorf("wrote %s and %s", modfiles[0], m)
		}
	}
	entries, err := os.ReadDir(filepath.Join(o.Dir, "build", "trim"))
	if err != nil || len(entries) != 1 {
		t.Errorf("there are %v, %v", entries, err)
	}
	save(t, filepath.Join(o.Dir, "program", "main.go"), "package main\n\nimport \"example.com/sdk\"\n\nfunc main() { sdk.B() }\n")
	if other, err := trim.Write(t.Context(), o); err != nil || other == modfiles[0] {
		t.Errorf("what uses something else has %s, %v", other, err)
	}
}

// TestModules shows that each module of the list is used and worth its entry, and that what calls a model is still there.
func TestModules(t *testing.T) {
	modfile, err := trim.Write(t.Context(), trim.Options{Package: "../../functions/qa/cmd", Modules: trim.Modules()})
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range trim.Modules() {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-json=Dir", module).Output()
		if err != nil {
			t.Fatal(err)
		}
		var listed struct{ Dir string }
		if err := json.Unmarshal(out, &listed); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(filepath.Dir(modfile), "modules", module)
		gone := 0
		err = filepath.WalkDir(copied, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(copied, path)
			if err != nil {
				return err
			}
			whole, err := filepath.Glob(filepath.Join(listed.Dir, rel, "*.go"))
			for _, file := range whole {
				if _, missing := os.Stat(filepath.Join(path, filepath.Base(file))); missing != nil && !strings.HasSuffix(file, "_test.go") {
					gone++
				}
			}
			return err
		})
		if err != nil || gone == 0 {
			t.Errorf("%s: %d files are left out, %v", module, gone, err)
		}
	}
	for _, file := range []string{"cloud.google.com/go/aiplatform/apiv1beta1/prediction_client.go", "google.golang.org/genai/models.go"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(modfile), "modules", file)); err != nil {
			t.Error(err)
		}
	}
}
