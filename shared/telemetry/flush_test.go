package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// flaky is a sink whose flushes fail while err is set.
type flaky struct {
	telemetry.Memory
	err error
}

func (f *flaky) Flush(context.Context) error { return f.err }

func TestLogSaysOnceThatDeliveryFailsAndOnceThatItWorksAgain(t *testing.T) {
	var log bytes.Buffer
	sink := &flaky{err: errors.New("agent is slow")}
	c, err := telemetry.New(telemetry.Options{Sink: sink, Logger: telemetry.NewLogger(&log, nil, "s", "e", "v"), Function: "qa"})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		c.Flush(t.Context())
	}
	sink.err = nil
	for range 5 {
		c.Flush(t.Context())
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "not acknowledged") || !strings.Contains(lines[1], "acknowledged again") {
		t.Errorf("log of %d lines, want one of each kind:\n%s", len(lines), &log)
	}
}
