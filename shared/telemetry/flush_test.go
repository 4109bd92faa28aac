package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestARequestIsRecordedWhenItsSpanEnds(t *testing.T) {
	var sink telemetry.Memory
	c, err := telemetry.New(telemetry.Options{Sink: &sink, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	recorded := func(when string, want ...string) {
		t.Helper()
		var got []string
		for _, e := range sink.Exchanges() {
			got = append(got, e.RequestID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("recorded %s (-want +got):\n%s", when, diff)
		}
	}
	c.Record(t.Context(), &telemetry.Exchange{RequestID: "outside"})
	recorded("outside of a request", "outside")
	ctx, span := c.Begin(t.Context(), "f", http.Header{})
	c.Record(ctx, &telemetry.Exchange{RequestID: "first"})
	c.Record(ctx, &telemetry.Exchange{RequestID: "second"})
	recorded("while the request lasts", "outside")
	if n := len(sink.Statuses()); n != 0 {
		t.Errorf("%d spans have ended, want none", n)
	}
	span.End(200, nil)
	recorded("at its end", "outside", "first", "second")
	c.Record(ctx, &telemetry.Exchange{RequestID: "late"})
	recorded("after its end", "outside", "first", "second", "late")
}
