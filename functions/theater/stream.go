package theater

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

const (
	// heartbeat is the longest silence of a stream: proxies cut what is silent for long.
	heartbeat = 15 * time.Second
	// maxID bounds the ID that a client says it saw last.
	maxID = 300
)

// look reads the source, and adds the stage's part.
func (f *Function) look(ctx context.Context) (State, error) {
	s, err := f.opts.Source.State(ctx)
	if err == nil && f.opts.Stage != nil {
		s.Performances = f.opts.Stage.Performances()
	}
	return s, err
}

func (f *Function) state(w http.ResponseWriter, r *http.Request) {
	s, err := f.look(r.Context())
	if err != nil {
		f.warn(r.Context(), err)
		fail(w, r, unavailable(err))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	httpjson.Write(w, http.StatusOK, s)
}

func unavailable(err error) *httpjson.Problem {
	return &httpjson.Problem{Status: http.StatusServiceUnavailable, Code: "source_unavailable", RetryAfter: 5 * time.Second, Err: err,
		Detail: "what the page shows could not be read"}
}

func (f *Function) warn(ctx context.Context, err error) {
	f.opts.Telemetry.Logger().WarnContext(ctx, "theater not shown", slog.String("http.request_id", serverless.RequestID(ctx)),
		slog.String("llm.function", "theater"), slog.String("error.message", err.Error()))
}

// events streams the state whenever it changes, and what happens as it happens. The events are "state"; "entry", with an ID after
// which the next stream goes on; "trouble" where the source can't be read; and "end" where the stream ends as it should, so that
// the page knows that nothing is wrong.
func (f *Function) events(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if f.opts.Watch > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.opts.Watch)
		defer cancel()
	}
	out := &stream{w: w, control: http.NewResponseController(w)}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)

	after := r.Header.Get("Last-Event-ID")
	if len(after) > maxID {
		after = ""
	}
	var shown, trouble string
	tick := time.NewTicker(f.opts.Interval)
	defer tick.Stop()
	for out.err == nil {
		problem := ""
		if err := f.show(ctx, out, &after, &shown); err != nil && ctx.Err() == nil {
			problem = "what the page shows could not be read"
			if trouble == "" {
				f.warn(ctx, err)
			}
		}
		if problem != trouble && ctx.Err() == nil {
			out.send("trouble", "", map[string]string{"detail": problem})
			trouble = problem
		}
		out.beat()
		select {
		case <-tick.C:
			continue
		case <-f.opts.Done:
		case <-ctx.Done():
		}
		if !errors.Is(context.Cause(ctx), context.Canceled) {
			out.send("end", "", struct{}{})
		}
		return
	}
}

// show sends what is new.
func (f *Function) show(ctx context.Context, out *stream, after, shown *string) error {
	entries, err := f.opts.Source.Entries(ctx, *after)
	if err != nil {
		return err
	}
	for _, e := range entries {
		out.send("entry", e.ID, e)
		*after = e.ID
	}
	s, err := f.look(ctx)
	if err != nil {
		return err
	}
	// That time passes is no change.
	at := s.At
	s.At = time.Time{}
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if string(data) != *shown {
		*shown = string(data)
		s.At = at
		out.send("state", "", s)
	}
	return nil
}

// stream writes server-sent events, and remembers that the client is gone.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    time.Time
	err     error
}

func (s *stream) send(event, id string, v any) {
	data, err := json.Marshal(v)
	if err != nil || s.err != nil {
		s.err = errors.Join(s.err, err)
		return
	}
	text := "event: " + event + "\n"
	if id != "" {
		text += "id: " + id + "\n"
	}
	s.write(text + "data: " + string(data) + "\n\n")
}

// beat keeps a silent stream alive.
func (s *stream) beat() {
	if time.Since(s.last) >= heartbeat {
		s.write(": still here\n\n")
	}
}

func (s *stream) write(text string) {
	if s.err != nil {
		return
	}
	s.last = time.Now()
	if _, s.err = s.w.Write([]byte(text)); s.err != nil {
		return
	}
	// A writer that can't be flushed sends each write by itself.
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.err = err
	}
}
