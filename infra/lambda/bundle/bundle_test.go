package bundle_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/lambda/bundle"
)

func TestZipHoldsOneExecutable(t *testing.T) {
	for name, binary := range map[string][]byte{
		"nothing":                        {},
		"a short file":                   []byte("#!/bin/sh\nexit 0\n"),
		"a file larger than any buffer":  bytes.Repeat([]byte("bootstrap"), 1<<20),
		"a file that can't be made less": noise(1 << 16),
	} {
		t.Run(name, func(t *testing.T) {
			first, err := bundle.Zip(binary)
			if err != nil {
				t.Fatal(err)
			}
			second, err := bundle.Zip(bytes.Clone(binary))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first, second) {
				t.Error("the same binary made two different zips")
			}
			archive, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.File) != 1 {
				t.Fatalf("%d files, want 1", len(archive.File))
			}
			f := archive.File[0]
			if f.Name != "bootstrap" || f.Mode() != 0o755 || f.Method != zip.Deflate || !f.Modified.Equal(time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("got %s, mode %v, method %d, time %v; want bootstrap, 0755, deflated, 1980", f.Name, f.Mode(), f.Method, f.Modified)
			}
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(content, binary) {
				t.Errorf("content of %d bytes, error %v; want the %d that went in", len(content), err, len(binary))
			}
		})
	}
}

// noise returns n bytes that do not repeat, always the same ones.
func noise(n int) []byte {
	var out []byte
	for sum := sha256.Sum256(nil); len(out) < n; sum = sha256.Sum256(sum[:]) {
		out = append(out, sum[:]...)
	}
	return out
}

// module writes a module with one function that prints a word, and returns its folder.
func module(t *testing.T, word string) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"go.mod":                      "module example.com/small\n\ngo 1.26\n",
		"functions/hello/cmd/main.go": "package main\n\nfunc main() { println(" + `"` + word + `"` + ") }\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func build(t *testing.T, dir string) bundle.Artifact {
	t.Helper()
	var built []string
	artifacts, err := bundle.Build(t.Context(), bundle.Options{
		Dir: dir, Out: filepath.Join(t.TempDir(), "new", "folder"), Functions: []string{"hello"}, GOARCH: runtime.GOARCH,
		Progress: func(name string) { built = append(built, name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"hello"}, built); diff != "" || len(artifacts) != 1 {
		t.Fatalf("%d artifacts; progress (-want +got):\n%s", len(artifacts), diff)
	}
	return artifacts[0]
}

// TestSameSourceMakesSameBytes builds the same module in two folders, of which one is a repository, with different settings of
// the developer, and runs what is in the zip.
func TestSameSourceMakesSameBytes(t *testing.T) {
	one, two, other := module(t, "ready"), module(t, "ready"), module(t, "changed")
	for _, args := range [][]string{
		{"init", "-q"},
		{"-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", "first"},
	} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", two}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	first := build(t, one)
	t.Setenv("GOFLAGS", "-buildvcs=true")
	t.Setenv("GOAMD64", "v3")
	second, third := build(t, two), build(t, other)
	if first.SHA256 != second.SHA256 || first.Bytes != second.Bytes || first.BinaryBytes != second.BinaryBytes {
		t.Errorf("two builds of one source: %+v and %+v", first, second)
	}
	if first.SHA256 == third.SHA256 {
		t.Error("a change of the source left the zip as it was")
	}
	zipped, err := os.ReadFile(first.Path)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(zipped)
	if first.Bytes != int64(len(zipped)) || first.SHA256 != hex.EncodeToString(digest[:]) || filepath.Base(first.Path) != "hello.zip" {
		t.Errorf("%+v is not what lies there: %d bytes, %x", first, len(zipped), digest)
	}
	archive, err := zip.OpenReader(first.Path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, archive); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "bootstrap")); err != nil || info.Size() != first.BinaryBytes {
		t.Fatalf("bootstrap: %v, %v, want %d bytes", info, err, first.BinaryBytes)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "bootstrap")).CombinedOutput()
	if err != nil || string(out) != "ready\n" {
		t.Errorf("the zipped binary says %q, error %v; want ready", out, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(first.Path), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWhatCannotBeBuiltIsNamed(t *testing.T) {
	dir := module(t, "ready")
	broken := filepath.Join(dir, "functions", "broken", "cmd")
	if err := os.MkdirAll(broken, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "main.go"), []byte("package main\n\nfunc main() { missing() }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		options bundle.Options
		want    []string
	}{
		"no folder for the zips": {bundle.Options{Functions: []string{"hello"}}, []string{"Out and Functions are required"}},
		"no function":            {bundle.Options{Out: "out"}, []string{"Out and Functions are required"}},
		"an unknown function":    {bundle.Options{Functions: []string{"hello", "theatre"}, Out: "out"}, []string{"there is no function theatre"}},
		"a path for a function":  {bundle.Options{Functions: []string{"../functions/hello"}, Out: "out"}, []string{`"../functions/hello" is no name of a function`}},
		"no Go":                  {bundle.Options{Functions: []string{"hello"}, Out: "out", Go: "no-such-go"}, []string{"Go is needed", "no-such-go"}},
		"a function that does not compile": {
			bundle.Options{Functions: []string{"broken"}, Out: "out", GOARCH: runtime.GOARCH}, []string{"build function broken", "undefined: missing"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.options.Dir = dir
			if tt.options.Out != "" {
				tt.options.Out = filepath.Join(t.TempDir(), tt.options.Out)
			}
			_, err := bundle.Build(t.Context(), tt.options)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want one with %q", err, want)
				}
			}
		})
	}
}
