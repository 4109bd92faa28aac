//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// build compiles the command.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "timerslack")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func TestProgramTakesOver(t *testing.T) {
	binary := build(t)
	// A shell tells its process ID, what it was given, and, as the kernel says it, the slack of its timers.
	cmd := exec.CommandContext(t.Context(), binary, "1ms", "sh", "-c", `echo "$$ $0 $A"; cat /proc/self/timerslack_ns; exit 3`, "zero")
	cmd.Env = append(cmd.Environ(), "A=kept")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("it ended with %v, want the program's own status", err)
	}
	if got, want := strings.Fields(out.String()), []string{strconv.Itoa(pid), "zero", "kept", "1000000"}; !slices.Equal(got, want) {
		t.Errorf("it says %q, want %q", got, want)
	}
}

func TestEveryThreadOfAGoProgramHasTheSlack(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), build(t), "2ms", own)
	cmd.Env = append(cmd.Environ(), tell+"=1")
	out, err := cmd.CombinedOutput()
	if want := strings.Repeat("2000000\n", threads); err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

// With tell in its environment, this program is not a test, but says what slack its threads have.
const (
	tell    = "TIMERSLACK_TELL"
	threads = 4
)

func TestMain(m *testing.M) {
	if os.Getenv(tell) == "" {
		os.Exit(m.Run())
	}
	var all sync.WaitGroup
	for range threads {
		all.Add(1)
		go func() {
			// Each has a thread of its own, since none gives its thread back before all have one.
			runtime.LockOSThread()
			slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
			if err != nil {
				panic(err)
			}
			fmt.Println(slack)
			all.Done()
			all.Wait()
		}()
	}
	all.Wait()
}

func TestMistakesAreNamed(t *testing.T) {
	binary := build(t)
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"nothing":                     {nil, "usage: timerslack DURATION PROGRAM"},
		"no program":                  {[]string{"1ms"}, "usage: timerslack DURATION PROGRAM"},
		"no duration":                 {[]string{"/function", "1ms"}, `"/function" is no duration of at most 1s such as 1ms`},
		"no slack":                    {[]string{"0s", "sh"}, `"0s" is no duration`},
		"less than none":              {[]string{"-1ms", "sh"}, `"-1ms" is no duration`},
		"more than anybody wants":     {[]string{"1m", "sh"}, `"1m" is no duration`},
		"a program that is not there": {[]string{"1ms", "/nowhere/function"}, "find program: "},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), binary, tt.args...).CombinedOutput()
			if err == nil || !strings.HasPrefix(string(out), "timerslack: "+tt.want) || strings.Count(string(out), "\n") != 1 {
				t.Errorf("%q, %v; want %q", out, err, tt.want)
			}
		})
	}
}
