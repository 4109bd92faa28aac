package escalation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/llm-reliability/control-plane/shared/ddapi"
	"github.com/llm-reliability/control-plane/shared/outbox"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

const (
	// leaseTime is for how long an attempt has the entry to itself: longer than an attempt may take, and than Datadog's search may be
	// behind what was written.
	leaseTime = time.Minute
	// saveTime is kept back from an attempt, to write down what came of it.
	saveTime = 2 * time.Second
	// breather is for how long a repeated call does not try again what has just failed.
	breather = 15 * time.Second
	// kept is for how long an event is known after it was last changed.
	kept = 30 * 24 * time.Hour
	// conflicts bounds how often an entry is read again because somebody else has written it.
	conflicts = 20
	// poll is how often is looked whether another instance has done what both were asked for.
	poll = 50 * time.Millisecond
)

// ask makes the state of an event what a request wants, and delivers it. s is what an alert says; nil for what follows one.
func (f *Function) ask(ctx context.Context, k kind, event, state, told string, s *spec) (held, Result, error) {
	changed := false
	for range conflicts {
		h, err := f.read(ctx, k, event)
		if err != nil {
			return held{}, "", err
		}
		now := time.Now()
		if h.record.Version == "" {
			if s == nil {
				return h, NothingOpen, nil
			}
			h.Spec = *s
		}
		news := h.want(state, told, now)
		if h.GivenUp && (news || s != nil) {
			h.rearm()
		}
		switch {
		case h.done() && !news:
			return h, result(&h, changed), nil
		case h.GivenUp:
			return h, "", nil
		case h.leased(now) && !news:
			return f.await(ctx, h, changed)
		case h.leased(now):
			// The holder meets the change when it writes down what it has done, and goes on.
			err = f.write(ctx, &h, h.record.Due)
		case h.overtaken():
			err = f.write(ctx, &h, time.Time{})
		case !news && h.Attempts > 0 && now.Before(h.Last.Add(breather)):
			return h, Queued, nil
		default:
			h.take(rand.Text(), now, now.Add(leaseTime))
			if err = f.write(ctx, &h, h.Lease); err == nil {
				return f.attempt(ctx, h, changed || news)
			}
		}
		switch {
		case err == nil:
			changed = changed || news
		case !errors.Is(err, outbox.ErrConflict):
			return held{}, "", err
		}
	}
	return held{}, "", fmt.Errorf("write entry %s: %w, %d times: %w", key(k, event), outbox.ErrUnavailable, conflicts, outbox.ErrConflict)
}

// result says what came of a request for an entry that is done.
func result(h *held, changed bool) Result {
	switch {
	case h.overtaken():
		return Overtaken
	case h.made:
		return Created
	case changed:
		return Updated
	}
	return Known
}

// await waits for the holder of an entry to be done, and answers as it will be found then.
func (f *Function) await(ctx context.Context, h held, changed bool) (held, Result, error) {
	for pause := poll; h.leased(time.Now()); pause = min(2*pause, time.Second) {
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause+saveTime {
			return h, Underway, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return h, Underway, nil
		}
		next, err := f.read(ctx, h.Kind, h.Event)
		if err != nil {
			return h, Underway, nil //nolint:nilerr // what was asked for is durable, which is what the caller must know
		}
		h = next
	}
	switch {
	case h.GivenUp:
		return h, "", nil
	case h.done():
		return h, result(&h, changed), nil
	}
	return h, Queued, nil
}

// attempt delivers an entry that is taken, and writes down what came of it. The result is empty when the entry is given up.
func (f *Function) attempt(ctx context.Context, h held, changed bool) (held, Result, error) {
	within := f.opts.Timeout
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline)-saveTime)
	}
	trying, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	// Whether the client still waits or not, what was done must be known.
	saving, done := context.WithTimeout(context.WithoutCancel(ctx), within+saveTime)
	defer done()
	var err, saved error
	for {
		err = f.deliver(trying, &h)
		var due time.Time
		e := h.entry
		e.Holder, e.Lease, e.Failure = "", time.Time{}, ""
		if err != nil {
			due = f.fail(&e, h.look, err)
		}
		if saved = f.release(saving, &h, e, due); !errors.Is(saved, outbox.ErrConflict) {
			f.record(ctx, &h.entry, err, due)
			break
		}
		// Another state was asked for meanwhile.
	}
	switch {
	case saved != nil:
		// What was done will be found out when the lease has run out.
		f.opts.Telemetry.Logger().WarnContext(ctx, "escalation not written down",
			slog.String("llm.escalation.event", h.Event), slog.String("error.message", saved.Error()))
		if err == nil && !errors.Is(saved, errLost) {
			return h, result(&h, changed), nil
		}
		return h, Underway, nil
	case h.GivenUp:
		return h, "", nil
	case !h.done():
		return h, Queued, nil
	}
	return h, result(&h, changed), nil
}

// fail writes into an entry what an error means for it, and returns when it is tried again; zero when it is given up.
func (f *Function) fail(e *entry, look bool, err error) time.Time {
	e.Failure = failureOf(err)
	// What was certainly not done need not be looked for.
	if e.ID == "" {
		_, told := errors.AsType[*ddapi.Error](err)
		e.Tried = look || !told || ddapi.Unknown(err)
	}
	next, again := e.after(f.opts.Bounds, time.Now())
	switch {
	case e.Failure == refused:
	case !again:
		e.Failure = expired
	default:
		return next
	}
	e.GivenUp = true
	return time.Time{}
}

// deliver does at Datadog what is missing there.
func (f *Function) deliver(ctx context.Context, h *held) error {
	for !h.done() {
		var err error
		if h.Kind == pageKind {
			err = f.deliverPage(ctx, h)
		} else {
			err = f.deliverIncident(ctx, h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Function) deliverIncident(ctx context.Context, h *held) error {
	var there incidentAnswer
	var err error
	switch {
	case h.ID != "":
		there, err = f.readIncident(ctx, h.ID)
	case h.look || h.Spec.Adopt:
		there, h.made, err = f.findIncident(ctx, &h.entry)
		if err != nil || h.made {
			break
		}
		fallthrough
	default:
		there, err = f.createIncident(ctx, &h.entry)
		h.made = err == nil
	}
	if err != nil {
		return err
	}
	if state := there.state(); h.ID == "" || slices.Contains(h.Kind.states(), state) {
		h.State = state
	}
	if h.ID == "" {
		h.ID, h.Number, h.Tried = there.ID, there.Attributes.Number, false
		if err := f.save(ctx, h); err != nil {
			return err
		}
	}
	if want := h.Want; !h.Dressed || !h.reached(want) {
		if err := f.updateIncident(ctx, &h.entry); err != nil {
			return err
		}
		if !h.reached(want) {
			h.State = want
		}
	}
	if !h.Dressed {
		if err := f.attachLinks(ctx, &h.entry); err != nil {
			return err
		}
		h.Dressed = true
	}
	return nil
}

func (f *Function) deliverPage(ctx context.Context, h *held) error {
	if h.ID == "" && h.Want == resolved {
		// It was overtaken while it waited. One that was sent, and whose answer was lost, could not be resolved by sending another.
		h.Tried = false
		return nil
	}
	if h.ID == "" {
		id, err := f.createPage(ctx, &h.entry, h.look)
		if err != nil {
			return err
		}
		h.ID, h.State, h.Tried, h.made = id, triggered, false, true
		if err := f.save(ctx, h); err != nil {
			return err
		}
	}
	if want := h.Want; !h.reached(want) {
		if err := f.updatePage(ctx, &h.entry); err != nil {
			return err
		}
		h.State = want
	}
	return nil
}

// Drain tries what is due, the longest due first, until all is done, Datadog can't be reached, or the time is over.
func (f *Function) Drain(ctx context.Context, limit int) (Report, error) {
	var report Report
	due, err := f.opts.Store.Due(ctx, time.Now(), limit)
	if err != nil {
		return report, err
	}
	for _, r := range due {
		if deadline, ok := ctx.Deadline(); ctx.Err() != nil || ok && time.Until(deadline) < 2*saveTime {
			break
		}
		h, err := decode(r)
		if err != nil {
			// What can't be read is of another version of this package, or broken: it would be due for ever.
			f.opts.Telemetry.Logger().ErrorContext(ctx, "escalation can't be read", slog.String("error.message", err.Error()))
			r.Due = time.Time{}
			_, _ = f.opts.Store.Put(ctx, r)
			f.opts.Telemetry.Add(ctx, "llm.escalation.failed", 1, "action:unknown", "reason:unreadable")
			report.GivenUp++
			continue
		}
		now := time.Now()
		h.take(rand.Text(), now, now.Add(leaseTime))
		if err := f.write(ctx, &h, h.Lease); err != nil {
			if errors.Is(err, outbox.ErrConflict) {
				continue // somebody else is at it
			}
			return report, err
		}
		h, result, err := f.attempt(ctx, h, false)
		switch {
		case err != nil:
			return report, err
		case result == "":
			report.GivenUp++
			continue
		case result != Queued && result != Underway:
			report.Done++
			continue
		}
		report.Waiting++
		if h.Failure != "" {
			break // the others would fail the same way, and use up their attempts
		}
	}
	return report, nil //nolint:nilerr // an entry that can't be read is told, and the others go on
}

// record counts and logs what came of an attempt.
func (f *Function) record(ctx context.Context, e *entry, err error, due time.Time) {
	tel, action := f.opts.Telemetry, "action:"+string(e.Kind)
	attrs := []slog.Attr{
		slog.String("llm.function", "escalation"), slog.String("llm.escalation.action", string(e.Kind)), slog.String("llm.escalation.event", e.Event),
		slog.String("llm.escalation.state", e.State), slog.Int("llm.escalation.attempts", e.Attempts),
	}
	if e.ID != "" {
		attrs = append(attrs, slog.String("llm.escalation.id", e.ID))
	}
	switch {
	case err == nil && e.overtaken():
		tel.Logger().LogAttrs(ctx, slog.LevelInfo, "escalation overtaken by its recovery", attrs...)
	case err == nil:
		tel.Add(ctx, "llm.escalation.sent", 1, action, "reason:"+e.State)
		tel.Logger().LogAttrs(ctx, slog.LevelInfo, "escalation sent", attrs...)
	case e.GivenUp:
		tel.Add(ctx, "llm.escalation.failed", 1, action, "reason:"+string(e.Failure))
		tel.Logger().LogAttrs(ctx, slog.LevelError, "escalation given up", append(attrs, slog.String("error.message", err.Error()))...)
		tel.Event(ctx, telemetry.Event{
			Title: "Escalation given up: " + e.Spec.Title, Text: fmt.Sprintf("The %s of event %s was not delivered in %d attempts, the last one of which failed as %s.", e.Kind, e.Event, e.Attempts, failureOf(err)),
			Type: "error", Tags: []string{action, "reason:" + string(e.Failure)}, AggregationKey: key(e.Kind, e.Event),
		})
	default:
		tel.Add(ctx, "llm.escalation.queued", 1, action, "reason:"+string(e.Failure))
		tel.Logger().LogAttrs(ctx, slog.LevelWarn, "escalation queued", append(attrs, slog.Time("llm.escalation.next_attempt", due), slog.String("error.message", err.Error()))...)
	}
}
