package serverless

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// logFileLimit is how large the log file may grow. On Cloud Run it lies in memory, which the instance pays for, and
// nobody removes it before the instance ends.
const logFileLimit = 16 << 20

// logFile is the second place of the log lines: the Datadog sidecar on Cloud Run can't read standard output, only files.
// A file that is full, by its limit or by that of its volume, begins anew; what reads it sees that it got shorter, and
// has had since its last reading to read the rest. A file that can't be written is given up, and the function goes on.
type logFile struct {
	limit int64

	mu   sync.Mutex
	file *os.File // nil when there is none, or no longer
	size int64
	// err is why the file was given up, and failed is told so, once.
	err    error
	failed func(error)
}

// openLogFile opens path for appending, and makes its directory. Without a path there is no file, which is no error.
func openLogFile(path string, limit int64) *logFile {
	l := &logFile{limit: limit, failed: func(error) {}}
	if path == "" {
		return l
	}
	l.err = l.open(path)
	return l
}

func (l *logFile) open(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the sidecar may run as another user
		return fmt.Errorf("make the directory of the log file: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644) //nolint:gosec // the path is the deployment's, and the sidecar reads it
	if err != nil {
		return fmt.Errorf("open the log file: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open the log file: %w", err), file.Close())
	}
	l.file, l.size = file, info.Size()
	return nil
}

// report sets who is told when the file is given up, which it may be already.
func (l *logFile) report(failed func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = failed
	if l.err != nil {
		failed(l.err)
	}
}

// beside returns a writer of whole lines to std and to the file.
func (l *logFile) beside(std io.Writer) io.Writer { return teed{std, l} }

type teed struct {
	std  io.Writer
	file *logFile
}

func (t teed) Write(line []byte) (int, error) {
	t.file.append(line)
	return t.std.Write(line)
}

// append writes the line as a whole or, in the end, not at all: of a line that did not fit nothing is left.
func (l *logFile) append(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	err := l.write(line, l.size > 0 && l.size+int64(len(line)) > l.limit)
	if err != nil {
		err = l.write(line, true)
	}
	if err != nil {
		l.err = errors.Join(fmt.Errorf("write the log file: %w", err), l.file.Close())
		l.file = nil
		l.failed(l.err)
	}
}

func (l *logFile) write(line []byte, anew bool) error {
	if anew {
		if err := l.file.Truncate(0); err != nil {
			return err
		}
		l.size = 0
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return err
}
