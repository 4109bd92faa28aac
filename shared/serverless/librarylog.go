package serverless

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"log/slog"
)

// libraryLog makes log lines of ours out of what libraries write with package log, so that every line of a function is
// one JSON object. Some of them write JSON already, behind a date.
type libraryLog struct{ log *slog.Logger }

// adoptLibraryLogs sends the lines of package log to l for the rest of the process.
func adoptLibraryLogs(l *slog.Logger) {
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(libraryLog{l})
}

// Write takes one line, as package log writes them.
func (l libraryLog) Write(line []byte) (int, error) {
	var doc struct {
		Status       string `json:"status"`       // Datadog's wrapper
		Message      string `json:"message"`      // Datadog's wrapper
		ErrorMessage string `json:"errorMessage"` // Lambda's runtime client
	}
	level, message := slog.LevelWarn, string(bytes.TrimSpace(line))
	if json.Unmarshal(line, &doc) == nil && doc.Message+doc.ErrorMessage != "" {
		message = doc.Message + doc.ErrorMessage
		if doc.ErrorMessage != "" {
			level = slog.LevelError
		} else if err := level.UnmarshalText([]byte(doc.Status)); err != nil {
			level = slog.LevelWarn // a status that slog has no name for
		}
	}
	l.log.LogAttrs(context.Background(), level, "library", slog.String("error.message", message))
	return len(line), nil
}
