package local

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/llm-reliability/control-plane/functions/escalation"
	"github.com/llm-reliability/control-plane/shared/outbox/bolt"
)

// escalation opens incidents and pages at the stand-in; once a minute of its clock it tries what waits.
func (f functions) escalation() (http.Handler, error) {
	tel, err := f.telemetry("escalation")
	if err != nil {
		return nil, err
	}
	client, err := f.stack.datadogClient()
	if err != nil {
		return nil, err
	}
	store, err := bolt.Open(bolt.Options{Path: filepath.Join(f.stateDir, "escalation.db")})
	if err != nil {
		return nil, err
	}
	f.stack.onClose("escalations", func(context.Context) error { return store.Close() })
	e, err := escalation.New(escalation.Options{Datadog: client, Store: store, Service: service, Team: "llm-platform", Telemetry: tel})
	if err != nil {
		return nil, err
	}
	f.stack.background("escalations that wait", func(ctx context.Context) {
		for f.stack.Clock.Wait(ctx, time.Minute) == nil {
			if _, err := e.Drain(ctx, 50); err != nil && ctx.Err() == nil {
				tel.Logger().WarnContext(ctx, "escalations that wait were not tried", slog.String("error.message", err.Error()))
			}
		}
	})
	return f.wrap("escalation", e.Handler(), f.secrets, "", tel), nil
}
