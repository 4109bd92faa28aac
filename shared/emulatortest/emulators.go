// Package emulatortest starts the emulators of DynamoDB and Firestore that tests run the real SDKs against. They are npm
// packages, which `make test` installs. They are not the clouds: what they do less than those is said where it matters.
package emulatortest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// DynamoDB starts dynalite with no table, and returns its URL. It stops when the test ends.
func DynamoDB(t testing.TB) string {
	t.Helper()
	return "http://" + start(t, "dynamodb.cjs")
}

// Firestore starts a Firestore emulator with no document, and returns its address, in the form of the variable
// FIRESTORE_EMULATOR_HOST. It stops when the test ends.
func Firestore(t testing.TB) string {
	t.Helper()
	return start(t, "firestore.cjs")
}

// start runs one of the scripts beside this file, which prints the port that it listens on and ends with its input.
func start(t testing.TB, script string) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("where the source is was not compiled in")
	}
	node := exec.CommandContext(t.Context(), "node", filepath.Join(filepath.Dir(file), script))
	var trouble strings.Builder
	node.Stderr = &trouble
	in, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatalf("start the emulator: %v; Node 20.19 or later is needed", err)
	}
	t.Cleanup(func() {
		// The script ends with its input. The context of the test has killed it already where it did not.
		_ = in.Close()
		if err := node.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("emulator %s: %v\n%s", script, err, trouble.String())
		}
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		err := errors.Join(lines.Err(), node.Wait())
		t.Fatalf("emulator %s did not start: %v; `make node_modules` installs what it needs\n%s", script, err, trouble.String())
	}
	var port int
	if _, err := fmt.Sscanf(lines.Text(), "%d", &port); err != nil {
		t.Fatalf("emulator %s printed %q, want its port", script, lines.Text())
	}
	go func() {
		for lines.Scan() { // until the emulator ends
			_, _ = fmt.Fprintln(os.Stderr, script+":", lines.Text())
		}
	}()
	return fmt.Sprintf("127.0.0.1:%d", port)
}
