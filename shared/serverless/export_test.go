package serverless

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
)

// Dispatch is for tests: on Lambda it takes whatever somebody invokes the function with.
func Dispatch(f Function, o Options) (func(context.Context, json.RawMessage) (any, error), error) {
	s, err := newScheduled(f, o)
	return dispatch(Wrap(f, o), s), err
}

// HTTP is h as serveHTTP gives it to the functions framework, and what serveHTTP does with it after a signal.
func HTTP(h http.Handler, log *slog.Logger) (http.Handler, func(context.Context, <-chan os.Signal) error) {
	d := newDrain(h, log)
	return slowness{d, bodyTimeout, writeTimeout}, d.stop
}

// LogFile opens a file of at most limit bytes, and returns what makes a writer beside it, and who is told why it was given
// up.
func LogFile(path string, limit int64) (beside func(io.Writer) io.Writer, report func(func(error))) {
	l := openLogFile(path, limit)
	return l.beside, l.report
}
