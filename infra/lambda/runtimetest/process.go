package runtimetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build builds the main package pkg into dir, with the flags of a deployment, and returns the path of the binary. The
// package is an import path, or a path that begins with a dot.
func Build(ctx context.Context, dir, pkg string) (string, error) {
	binary := filepath.Join(dir, strings.ReplaceAll(path.Clean(pkg), "/", "-"))
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags=-s -w", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return binary, nil
}

// Process is a running binary.
type Process struct {
	// Started is the time just before the process was made.
	Started time.Time
	// Env is its whole environment; nothing is inherited from the test.
	Env []string

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
	out    output
}

// StartProcess runs the binary with the given environment. It is killed when the test ends, if it still runs.
func StartProcess(t testing.TB, binary string, env ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.CommandContext(t.Context(), binary), Env: env, exited: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.Started = time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		// How it ended is read from the process state.
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.Kill)
	return p
}

// Kill ends the process at once, and waits until it is gone.
func (p *Process) Kill() {
	// It fails when the process is gone already.
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Terminate asks the process to end, as both platforms do.
func (p *Process) Terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// Wait waits until the process is gone and returns its exit code, -1 when a signal ended it.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the process to end: %w", ctx.Err())
	}
}

// Lines returns what the process has written so far to standard output and standard error, in order. Empty lines are
// kept.
func (p *Process) Lines() []string { return p.out.lines() }

// output collects what both standard streams carry. exec.Cmd writes to it from one goroutine, as it is the same writer.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(b)
}

func (o *output) lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(strings.Lines(o.all.String()))
}
