// Package bundle makes what Lambda runs: the binary of each function, and a zip with nothing in it but that binary. The same
// source makes the same bytes, on any machine and from any folder, as long as the Go toolchain is the same, so that a deployment
// can tell by its digest whether a function has changed. It uploads nothing and knows nothing of CloudFormation.
package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/buildtags"
	"github.com/llm-reliability/control-plane/infra/trim"
)

// Arch is the architecture that serverless.yml asks Lambda for.
const Arch = "arm64"

// Options say what is built, and where to.
type Options struct {
	// Dir is the root of the module; the current folder when empty.
	Dir string
	// Out is where the zips go, each as <function>.zip; required. It is made when it does not exist.
	Out string
	// Functions are the names of folders below functions; required.
	Functions []string
	// Route is the route of models, which says what the binaries are built without; see buildtags.
	Route string
	// GOARCH is the architecture of the binaries; Arch when empty.
	GOARCH string
	// Go is the go command; the one of PATH when empty.
	Go string
	// Progress hears which function is built next; nil hears nothing.
	Progress func(function string)
}

// Artifact is the zip of one function.
type Artifact struct {
	Function string
	Path     string
	// BinaryBytes is the size of the binary, Bytes that of the zip.
	BinaryBytes, Bytes int64
	// SHA256 is the digest of the zip, in hexadecimal digits.
	SHA256 string
}

// Build builds and zips every function, in the order of their names. A zip is written whole or not at all; those of functions
// before one that fails stay.
func Build(ctx context.Context, o Options) ([]Artifact, error) {
	if o.Out == "" || len(o.Functions) == 0 {
		return nil, errors.New("bundle: Out and Functions are required")
	}
	o.Dir, o.GOARCH, o.Go = cmp.Or(o.Dir, "."), cmp.Or(o.GOARCH, Arch), cmp.Or(o.Go, "go")
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	functions := slices.Sorted(slices.Values(o.Functions))
	for _, name := range functions {
		if !plain(name) {
			return nil, fmt.Errorf("bundle: %q is no name of a function", name)
		}
		if _, err := os.Stat(filepath.Join(o.Dir, "functions", name, "cmd")); err != nil {
			return nil, fmt.Errorf("bundle: there is no function %s: %w", name, err)
		}
	}
	command, err := exec.LookPath(o.Go)
	if err != nil {
		return nil, fmt.Errorf("bundle: Go is needed to build the functions, https://go.dev/dl has it: %w", err)
	}
	if err := os.MkdirAll(o.Out, 0o750); err != nil {
		return nil, fmt.Errorf("bundle: make folder for zips: %w", err)
	}
	var artifacts []Artifact
	for _, name := range functions {
		o.Progress(name)
		a, err := build(ctx, o, command, name)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, a)
	}
	return artifacts, nil
}

// plain is whether a name can be nothing but a folder directly below functions.
func plain(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// build makes the zip of one function.
func build(ctx context.Context, o Options, command, name string) (a Artifact, err error) {
	dir, err := os.MkdirTemp("", "bundle-")
	if err != nil {
		return Artifact{}, fmt.Errorf("bundle: make folder for binaries: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "bootstrap")
	pkg, tags := "./functions/"+name+"/cmd", buildtags.Lambda(name, o.Route)
	env := append(os.Environ(), "GOOS=linux", "GOARCH="+o.GOARCH, "CGO_ENABLED=0",
		// What a developer has set for other builds must not change the bytes of this one.
		"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOARM64=v8.0", "GOAMD64=v1")
	modfile, err := trim.Write(ctx, trim.Options{Dir: o.Dir, Package: pkg, Tags: tags, Modules: trim.Modules(), Env: env, Go: command})
	if err != nil {
		return Artifact{}, fmt.Errorf("bundle: build function %s: %w", name, err)
	}
	// The commit is left out of the binary, or a change of documentation would be a change of every function. What a function
	// says about its version comes from DD_VERSION.
	cmd := exec.CommandContext(ctx, command, "build", "-modfile="+modfile, "-tags", strings.Join(tags, ","), "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -buildid=", "-o", path, pkg)
	cmd.Dir, cmd.Env = o.Dir, env
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	if err := cmd.Run(); err != nil {
		return Artifact{}, fmt.Errorf("bundle: build function %s: %w\n%s", name, err, bytes.TrimSpace(trouble.Bytes()))
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return Artifact{}, fmt.Errorf("bundle: read binary of %s: %w", name, err)
	}
	zipped, err := Zip(binary)
	if err != nil {
		return Artifact{}, fmt.Errorf("bundle: zip function %s: %w", name, err)
	}
	target := filepath.Join(o.Out, name+".zip")
	if err := write(target, zipped); err != nil {
		return Artifact{}, fmt.Errorf("bundle: write zip of %s: %w", name, err)
	}
	digest := sha256.Sum256(zipped)
	return Artifact{
		Function: name, Path: target, BinaryBytes: int64(len(binary)), Bytes: int64(len(zipped)), SHA256: hex.EncodeToString(digest[:]),
	}, nil
}

// write replaces a file at once: who is interrupted is left with the old zip, not with half of one.
func write(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
