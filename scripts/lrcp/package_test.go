package main

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/infra/lambda/template"
)

// smallModule makes a repository whose functions do nothing, with the real serverless.yml and its node modules.
func smallModule(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	definition, err := os.ReadFile(filepath.Join(root, "serverless.yml"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"serverless.yml": string(definition), "go.mod": "module example.com/small\n\ngo 1.26\n"}
	for _, name := range template.Functions() {
		files["functions/"+name+"/cmd/main.go"] = "package main\n\nfunc main() { println(\"" + name + "\") }\n"
	}
	dir := t.TempDir()
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPackage(t *testing.T) {
	dir := smallModule(t)
	// The digests of the table, by function.
	digests := func(args ...string) (map[string]string, string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"package", "--dir", dir}, args...), &out, &out)
		found := map[string]string{}
		for _, m := range regexp.MustCompile(`(?m)^(\w+) +\d+\.\d +\d+\.\d  ([0-9a-f]{64})$`).FindAllStringSubmatch(out.String(), -1) {
			found[m[1]] = m[2]
		}
		return found, out.String(), err
	}
	first, said, err := digests()
	if err != nil || !strings.Contains(said, "keeps all rules") {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, name := range template.Functions() {
		if first[name] == "" {
			t.Errorf("the table has no row for %s:\n%s", name, said)
		}
		if _, err := os.Stat(filepath.Join(dir, "build", "lambda", name+".zip")); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left beside serverless.yml: %v, %v", left, err)
	}

	second, said, err := digests("--stage", "prod", "--region", "eu-west-1", "--param", "log_retention_days=30", "--param", "provider=openai")
	if status, ok := errors.AsType[exitStatus](err); !ok || status != statusFailed || !strings.Contains(said, "WRONG QaLambdaFunction: LRCP_MODEL_STANDARD is missing, and LRCP_PROVIDER is openai") {
		t.Errorf("%v, want status 1 and the variable that is missing:\n%s", err, said)
	}
	// Another route of models is another binary, of those that call models and of no other.
	for name, digest := range first {
		if same := second[name] == digest; same == slices.Contains([]string{"completion", "diagnosis", "qa"}, name) {
			t.Errorf("%s: %s at first, then %s", name, digest, second[name])
		}
	}
	if len(first) != len(slices.Compact(slices.Sorted(maps.Values(first)))) {
		t.Error("two functions have the same zip")
	}
}

func TestPackageSaysWhatIsMissing(t *testing.T) {
	dir := smallModule(t)
	if err := os.Remove(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for name, tt := range map[string]struct{ dir, path, want string }{
		"another folder":     {t.TempDir(), os.Getenv("PATH"), "not the root of the repository"},
		"no Node":            {dir, t.TempDir(), "Node 20.19 or later is needed"},
		"no modules of Node": {dir, os.Getenv("PATH"), "`make node_modules` installs it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", tt.path)
			if err := run(t.Context(), []string{"package", "--dir", tt.dir}, &out, &out); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
