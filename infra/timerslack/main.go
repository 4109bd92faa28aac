//go:build linux

// Command timerslack starts a program whose timers the kernel may let fire a little late:
//
//	timerslack 1ms /function
//
// Go's runtime watches over itself from a thread of its own, which sleeps 20 µs at a time when an idle process gets a request; the kernel
// adds 50 µs, unless it is told otherwise. On a single core each time takes an interrupt and two changes of threads out of the request, which
// virtual machines make dear. With 1 ms, what a gateway has to do for a request is done first. Deadlines and waits come late by that
// much at most, where answers take hundreds of milliseconds; and as late the runtime notices that a thread is stuck in the kernel, and
// gives its processor to another.
//
// The program replaces this one, with the same process ID, standard streams and environment. A thread can set this only for itself
// and for what it starts, so it must come before Go's runtime; see prctl(2), PR_SET_TIMERSLACK. It makes no difference to a program but when its
// timers fire: where the kernel does not know how, as gVisor's may not, the program starts all the same.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := start(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "timerslack:", err)
		os.Exit(1)
	}
}

// start replaces this process; it returns only when that fails.
func start(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: timerslack DURATION PROGRAM [ARGUMENT...]")
	}
	slack, err := time.ParseDuration(args[1])
	if err != nil || slack <= 0 || slack > time.Second {
		return fmt.Errorf("%q is no duration of at most 1s such as 1ms", args[1])
	}
	program, err := exec.LookPath(args[2])
	if err != nil {
		return fmt.Errorf("find program: %w", err)
	}
	// The slack is the thread's, and stays with the one that makes way for the program.
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) // Without it the program is as right, and a little slower.
	if err := syscall.Exec(program, args[2:], os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	return nil
}
