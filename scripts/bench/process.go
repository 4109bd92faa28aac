package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that the benchmark has started.
type process struct {
	cmd    *exec.Cmd
	log    *os.File
	exited chan struct{} // closed when it is gone
}

// start starts a program on a core; an empty core is any. What it prints goes to a file in the folder of logs.
func start(ctx context.Context, core, name string, env []string, command string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join("build", "log", name+".log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if core != "" {
		// taskset replaces itself by the program, which so keeps its process ID.
		command, args = "taskset", append([]string{"-c", core, command}, args...)
	}
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	p := &process{cmd, log, make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // How it ended shows in its log.
		_ = log.Close()
	}()
	return p, nil
}

// stop ends the program and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // It may be gone already.
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill() // It may be gone by now.
		<-p.exited
	}
}

// lastWords are the last lines that it has printed.
func (p *process) lastWords() string {
	content, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " / ")
}

// memory returns the resident set of the program in bytes.
func (p *process) memory() int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	return parseVmRSS(content)
}

// parseVmRSS reads the resident set in bytes from /proc/…/status; 0 when it is not there.
func parseVmRSS(status []byte) int64 {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			fields := bytes.Fields(value)
			if len(fields) == 0 {
				return 0
			}
			kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// cpu returns the time that the program's threads were on a processor. The scheduler counts it in nanoseconds.
func (p *process) cpu() time.Duration {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	var sum time.Duration
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // The thread has ended.
		}
		sum += parseSchedstat(content)
	}
	return sum
}

// parseSchedstat reads the time on a processor from /proc/…/schedstat.
func parseSchedstat(content []byte) time.Duration {
	first, _, _ := bytes.Cut(content, []byte(" "))
	ns, err := strconv.ParseInt(string(first), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}

// load returns the load average of the last minute.
func load() float64 {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	return parseLoad(content)
}

func parseLoad(content []byte) float64 {
	first, _, _ := bytes.Cut(content, []byte(" "))
	value, err := strconv.ParseFloat(string(first), 64)
	if err != nil {
		return 0
	}
	return value
}

// freeAddress returns a loopback address that nothing listens at. Another program could take it before its user does;
// then that one does not start, and says so.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
