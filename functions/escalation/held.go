package escalation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/llm-reliability/control-plane/shared/outbox"
)

// errLost is the end of an attempt whose lease has run out: somebody else has the entry.
var errLost = errors.New("the lease of the entry has run out")

// held is an entry with its record.
type held struct {
	entry
	record outbox.Record
	// look is whether it may be at Datadog although its ID is not known, made whether this attempt has made it or found it.
	look, made bool
}

// take gives the entry to a holder, for one attempt. That something may be at Datadog from now on is written before it is.
func (h *held) take(holder string, now, until time.Time) {
	h.entry.take(holder, now, until)
	h.look, h.Tried = h.Tried, h.ID == ""
}

// read returns the entry of an event; a new one when there is none.
func (f *Function) read(ctx context.Context, k kind, event string) (held, error) {
	r, ok, err := f.opts.Store.Get(ctx, key(k, event))
	if err != nil {
		return held{}, err
	}
	if !ok {
		return held{entry: entry{Kind: k, Event: event, Reached: map[string]time.Time{}}, record: outbox.Record{Key: key(k, event)}}, nil
	}
	return decode(r)
}

func decode(r outbox.Record) (held, error) {
	h := held{record: r}
	if err := json.Unmarshal(r.Data, &h.entry); err != nil {
		return held{}, fmt.Errorf("read entry %s: %w", r.Key, err)
	}
	if h.Reached == nil {
		h.Reached = map[string]time.Time{}
	}
	return h, nil
}

// write stores an entry, which waits until due; never when that is zero. A record outlives whatever it waits for.
func (f *Function) write(ctx context.Context, h *held, due time.Time) error {
	encoded, err := json.Marshal(h.entry)
	if err != nil {
		return fmt.Errorf("write entry %s: %w", h.record.Key, err)
	}
	next := h.record
	next.Data, next.Due, next.Expires = encoded, due, time.Now().Add(kept)
	if next, err = f.opts.Store.Put(ctx, next); err != nil {
		return err
	}
	h.record = next
	return nil
}

// save writes down what was done, while the lease goes on.
func (f *Function) save(ctx context.Context, h *held) error {
	err := f.write(ctx, h, h.record.Due)
	for errors.Is(err, outbox.ErrConflict) {
		if err = f.merge(ctx, h); err == nil {
			err = f.write(ctx, h, h.record.Due)
		}
	}
	return err
}

// release writes down what came of an attempt, and ends the lease. It returns outbox.ErrConflict when more is wanted by now of an entry
// that was delivered: then the lease goes on.
func (f *Function) release(ctx context.Context, h *held, e entry, due time.Time) error {
	for {
		next := held{entry: e, record: h.record, look: h.look, made: h.made}
		err := f.write(ctx, &next, due)
		if !errors.Is(err, outbox.ErrConflict) {
			*h = next
			return err
		}
		if err := f.merge(ctx, h); err != nil {
			return err
		}
		if e.Want, e.Reached, e.Told = h.Want, h.Reached, h.Told; e.Failure == "" && !e.done() {
			return outbox.ErrConflict
		}
	}
}

// merge takes over what others have written while the entry was held: a state that they want.
func (f *Function) merge(ctx context.Context, h *held) error {
	now, err := f.read(ctx, h.Kind, h.Event)
	if err != nil {
		return err
	}
	if now.Holder != h.Holder {
		return errLost
	}
	h.Want, h.Reached, h.Told, h.record = now.Want, now.Reached, now.Told, now.record
	return nil
}
