// Package trim leaves out of a deployment's binaries what they never reach of SDKs that are generated for a whole cloud. The linker
// leaves out code by itself, but not what a package does when it is initialised, and message types are registered then: those of
// every service of Vertex AI cost a cold start about two milliseconds, and calls of a model need a tenth of their files.
//
// It copies such a module into the build folder, with what is out of reach blanked out, and writes a go.mod beside the copy that
// replaces the module with it, for go build -modfile. The declarations that are left are the module's own, byte for byte and line for
// line. Methods are never left out, and neither is what a file does when it is initialised, unless nothing else of the file is
// reached. What is left out by mistake does not compile.
//
// It builds nothing, and the module of the repository is not changed: other builds have the whole SDKs.
package trim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Modules are those that are trimmed: they do much when they are initialised, and most of it for services that nobody here calls.
// The list is short on purpose. Each entry must be worth a look at what an upgrade does to it.
func Modules() []string {
	return []string{"cloud.google.com/go/aiplatform", "google.golang.org/genai"}
}

// folder is where copies go, from the root of the module.
const folder = "build/trim"

// Options say what is built, and how.
type Options struct {
	// Dir is a folder of the module that is built; the current one when empty.
	Dir string
	// Package is the main package that is built, as a path that begins with a dot or an import path; required.
	Package string
	// Tags are the build tags that it is built with.
	Tags []string
	// Modules are trimmed where the package uses them.
	Modules []string
	// Env is the environment of the build, which chooses the platform; that of this process when nil.
	Env []string
	// Go is the go command; the one of PATH when empty.
	Go string
}

// listed is what go list says of a package.
type listed struct {
	ImportPath, Name, Dir                                                string
	GoFiles, Imports                                                     []string
	CgoFiles, SFiles, HFiles, CFiles, CXXFiles, SysoFiles, EmbedPatterns []string
	Module                                                               *struct {
		Path, Dir, GoMod string
		Main             bool
	}
}

// of is whether a package is one of modules'.
func of(p listed, modules []string) bool {
	return p.Module != nil && slices.Contains(modules, p.Module.Path)
}

// Write writes the copies and returns the absolute path of the go.mod for go build -modfile. Its folder is named after its content:
// the same source gives the same folder, which is written whole or not at all, and only once.
func Write(ctx context.Context, o Options) (string, error) {
	if o.Package == "" {
		return "", errors.New("trim: Package is required")
	}
	o.Dir, o.Go = cmp.Or(o.Dir, "."), cmp.Or(o.Go, "go")
	packages, err := list(ctx, o)
	if err != nil {
		return "", err
	}
	reached, err := reach(packages, o.Modules)
	if err != nil {
		return "", fmt.Errorf("trim: %w", err)
	}
	root, modules, files := "", map[string]string{}, map[string][]byte{}
	for _, p := range packages {
		if p.Module != nil && p.Module.Main {
			root = p.Module.Dir
		}
		if !of(p, o.Modules) {
			continue
		}
		module := path.Join("modules", p.Module.Path)
		if modules[p.Module.Path] == "" {
			mod, err := os.ReadFile(p.Module.GoMod)
			if err != nil {
				return "", fmt.Errorf("trim: read go.mod of %s: %w", p.Module.Path, err)
			}
			files[path.Join(module, "go.mod")], modules[p.Module.Path] = mod, module
		}
		for name, content := range reached[p.ImportPath] {
			files[path.Join(module, strings.TrimPrefix(p.ImportPath, p.Module.Path), name)] = content
		}
	}
	if root == "" {
		return "", fmt.Errorf("trim: %s is not of the module that it is built in", o.Package)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		// A module that needs no other one has no go.sum.
		if files[name], err = os.ReadFile(filepath.Join(root, name)); err != nil && (name == "go.mod" || !errors.Is(err, fs.ErrNotExist)) {
			return "", fmt.Errorf("trim: %w", err)
		}
	}
	// The replacements say where the copies are, which is after the digest of everything else.
	dir := path.Join(folder, digest(files))
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		files["go.mod"] = fmt.Appendf(files["go.mod"], "\nreplace %s => ./%s\n", module, path.Join(dir, modules[module]))
	}
	target := filepath.Join(root, filepath.FromSlash(dir))
	if err := write(target, files); err != nil {
		return "", fmt.Errorf("trim: write copies: %w", err)
	}
	return filepath.Join(target, "go.mod"), nil
}

// list returns the package and all that it is made from.
func list(ctx context.Context, o Options) ([]listed, error) {
	cmd := exec.CommandContext(ctx, o.Go, "list", "-deps", "-tags", strings.Join(o.Tags, ","),
		"-json=ImportPath,Name,Dir,GoFiles,Imports,CgoFiles,SFiles,HFiles,CFiles,CXXFiles,SysoFiles,EmbedPatterns,Module", o.Package)
	cmd.Dir, cmd.Env = o.Dir, o.Env
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("trim: list packages of %s: %w\n%s", o.Package, err, bytes.TrimSpace(trouble.Bytes()))
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("trim: read what go list says: %w", err)
		}
		packages = append(packages, p)
	}
}

func digest(files map[string][]byte) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		// Name and length stand before the content, so that no two sets of files are one text.
		fmt.Fprintf(sum, "%s %d\n", name, len(files[name]))
		sum.Write(files[name])
	}
	const length = 16
	return hex.EncodeToString(sum.Sum(nil))[:length]
}

// write writes a folder at once, unless it is there: builds that run at the same time may write the same.
func write(dir string, files map[string][]byte) (err error) {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(dir), ".unfinished-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(unfinished)) }()
	for name, content := range files {
		target := filepath.Join(unfinished, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o600); err != nil {
			return err
		}
	}
	if err := os.Rename(unfinished, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
