package serverless_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/serverless"
)

func TestLogFileHasTheLinesOfStandardOutput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "app.log")
	for _, want := range []string{"first\n", "first\nsecond\n"} {
		var std bytes.Buffer
		beside, report := serverless.LogFile(path, 1000)
		report(func(err error) { t.Error(err) })
		w := beside(&std)
		line := want[strings.LastIndex(want[:len(want)-1], "\n")+1:]
		if n, err := io.WriteString(w, line); n != len(line) || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		if got := read(t, path); got != want || std.String() != line {
			t.Errorf("file has %q, want %q; standard output has %q, want %q", got, want, std.String(), line)
		}
	}
}

func TestLogFileHasWholeLinesOfManyGoroutines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	beside, _ := serverless.LogFile(path, 1<<30)
	// Each logger has a lock of its own.
	log, other := slog.New(slog.NewJSONHandler(beside(io.Discard), nil)), slog.New(slog.NewJSONHandler(beside(io.Discard), nil))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				log.Info("one", slog.Int("goroutine", i), slog.String("padding", strings.Repeat("x", 10*n)))
				other.Info("other", slog.Int("goroutine", i), slog.String("padding", strings.Repeat("y", 10*n)))
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q is no whole line", line)
		}
	}
	if len(lines) != 800 {
		t.Errorf("%d lines, want 800", len(lines))
	}
}

func TestFullLogFileBeginsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	beside, _ := serverless.LogFile(path, 10)
	w := beside(io.Discard)
	for _, line := range []string{"12345678\n", "abc\n", "def\n", "longer than the limit\n", "g\n"} {
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, path); got != "g\n" {
		t.Errorf("got %q, want %q", got, "g\n")
	}
}

func TestLogFileThatCannotBeUsedIsReportedOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"a directory that is a file": filepath.Join(file, "app.log"),
		"a file that is a directory": dir,
		// A device that takes no byte, as a volume that is full and stays so.
		"a file that takes nothing": "/dev/full",
	}
	for name, path := range tests {
		t.Run(name, func(t *testing.T) {
			var std bytes.Buffer
			var failures []string
			beside, report := serverless.LogFile(path, 1000)
			w := beside(&std)
			report(func(err error) { failures = append(failures, err.Error()) })
			for i := range 3 {
				if _, err := fmt.Fprintf(w, "line %d\n", i); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(std.String(), "line 0\nline 1\nline 2\n"); diff != "" {
				t.Errorf("standard output (-got +want):\n%s", diff)
			}
			if len(failures) != 1 || !strings.Contains(failures[0], "log file") {
				t.Errorf("reported %q, want one failure of the log file", failures)
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
