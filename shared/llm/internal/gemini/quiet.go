package gemini

import (
	"bytes"
	"io"
	"log"
	"slices"
	"sync"
)

// opening makes those who open a client at the same time take turns with the output of package log.
var opening sync.Mutex

// Quietly runs open, and keeps messages out of package log that contain one of the notices: what SDKs say when a client is
// opened, in plain lines that nobody who runs this can act on, and that break a log where every line is JSON. The output of
// package log is the process's, so it is changed while a model is made, at start, and never at a call; lines of others pass
// meanwhile, and a new output that others set meanwhile stays.
func Quietly(open func(), notices ...string) {
	opening.Lock()
	defer opening.Unlock()
	filter := &withoutNotices{log.Writer(), notices}
	log.SetOutput(filter)
	defer func() {
		if log.Writer() == io.Writer(filter) {
			log.SetOutput(filter.Writer)
		}
	}()
	open()
}

// withoutNotices drops the notices. Package log writes one message at a time.
type withoutNotices struct {
	io.Writer
	notices []string
}

// Write implements io.Writer.
func (w *withoutNotices) Write(message []byte) (int, error) {
	if slices.ContainsFunc(w.notices, func(notice string) bool { return bytes.Contains(message, []byte(notice)) }) {
		return len(message), nil
	}
	return w.Writer.Write(message)
}
