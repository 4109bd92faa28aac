package runtimetest

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

	"github.com/llm-reliability/control-plane/infra/trim"
)

// Build builds the main package pkg into dir, with the flags of a deployment and the given build tags, and returns the path of
// the binary. The package is an import path, or a path that begins with a dot.
func Build(ctx context.Context, dir, pkg string, tags ...string) (string, error) {
	joined := strings.Join(tags, ",")
	binary := filepath.Join(dir, strings.ReplaceAll(path.Clean(pkg), "/", "-")+"-"+joined)
	env := append(os.Environ(), "CGO_ENABLED=0")
	modfile, err := trim.Write(ctx, trim.Options{Package: pkg, Tags: tags, Modules: trim.Modules(), Env: env})
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-modfile="+modfile, "-tags", joined, "-trimpath", "-ldflags=-s -w", "-o", binary, pkg)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return binary, nil
}

// Unpack writes the files of a function's zip into dir, with their modes, as Lambda does.
func Unpack(zipped []byte, dir string) error {
	files, err := zip.NewReader(bytes.NewReader(zipped), int64(len(zipped)))
	if err != nil {
		return fmt.Errorf("read zip: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as on Lambda
		return fmt.Errorf("unpack zip: %w", err)
	}
	for _, file := range files.File {
		if err := unpack(file, dir); err != nil {
			return fmt.Errorf("unpack %s: %w", file.Name, err)
		}
	}
	return nil
}

func unpack(file *zip.File, dir string) error {
	if !filepath.IsLocal(file.Name) {
		return errors.New("it would be outside of the folder")
	}
	in, err := file.Open()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(dir, file.Name), os.O_CREATE|os.O_WRONLY|os.O_EXCL, file.Mode())
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in) //nolint:gosec // the zip is our own
	return errors.Join(err, in.Close(), out.Close())
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

// Terminate asks the process to end, as both platforms do. A frozen one has to continue first.
func (p *Process) Terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// Stop freezes the process, and returns when it runs no more.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop the process: %w", err)
	}
	for tick := time.Tick(100 * time.Microsecond); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			return fmt.Errorf("see the process stop: %w", err)
		}
		// The state is behind the name of the binary, which is in parentheses.
		if _, state, _ := bytes.Cut(stat, []byte(") ")); len(state) > 0 && state[0] == 'T' {
			return nil
		}
		select {
		case <-tick:
		case <-p.exited:
			return errors.New("see the process stop: it is gone")
		}
	}
}

// Continue ends a freeze.
func (p *Process) Continue() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

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
