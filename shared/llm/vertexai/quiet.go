package vertexai

import (
	"bytes"
	"io"
	"log"
	"sync"
)

// notice is part of what the SDK's NewClient writes with package log: that the SDK is deprecated, in three lines. Nobody who
// runs this can act on it, and where every line of a log is JSON it breaks three.
const notice = "cloud.google.com/go/vertexai/genai package is deprecated"

// newClients makes those who open a client at the same time take turns with the output of package log.
var newClients sync.Mutex

// quietly runs open while the SDK's notice, and nothing else, is kept out of package log. The output of package log is the
// process's, so it is changed while a model is made, at start, and never at a call; lines of others pass meanwhile, and a
// new output that others set meanwhile stays.
func quietly(open func()) {
	newClients.Lock()
	defer newClients.Unlock()
	filter := &withoutNotice{log.Writer()}
	log.SetOutput(filter)
	defer func() {
		if log.Writer() == io.Writer(filter) {
			log.SetOutput(filter.Writer)
		}
	}()
	open()
}

// withoutNotice drops the notice. Package log writes one message at a time.
type withoutNotice struct{ io.Writer }

// Write implements io.Writer.
func (w *withoutNotice) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(notice)) {
		return len(line), nil
	}
	return w.Writer.Write(line)
}
