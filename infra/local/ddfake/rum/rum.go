// Package rum is the stand-in for Datadog's intake of browser events: it takes what @datadog/browser-rum sends, and keeps the most
// recent of it. It judges nothing, and has no sessions of its own.
//
//	here                                                at Datadog
//	-------------------------------------------------   ------------------------------------------------------------
//	POST /api/v2/rum, lines of JSON, not compressed     the same; compressed bodies (dd-evp-encoding) and replays, too
//	events need type, date, application and session     a schema for each type of event
//	telemetry, what the SDK says about itself: a date   the same schema; Datadog keeps it for itself
//	views are updated: the newest one of an ID counts   the same
//	one client token                                    one for each application
package rum

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxBody bounds a batch: the SDK keeps its own below a few hundred kilobytes.
	maxBody = 4 << 20
	// keep is how many events are kept.
	keep = 2000
)

// Event is one event, as far as it is looked at.
type Event struct {
	// Type is session, view, action, resource, error, long_task or vital; telemetry is about the SDK, and may have no application
	// and no session.
	Type        string    `json:"type"`
	At          time.Time `json:"at"`
	Application string    `json:"application"`
	Session     string    `json:"session"`
	// Name is that of an action or a view, the URL of a resource, or the message of an error or of telemetry.
	Name string `json:"name"`
	// TraceID is that of the request that a resource is about.
	TraceID string `json:"trace_id,omitempty"`
	// Raw is the event as it came.
	Raw json.RawMessage `json:"raw"`
}

// Intake takes events in. It is safe for concurrent use.
type Intake struct {
	token string

	mu      sync.Mutex
	events  []Event
	refused map[string]int
}

// New returns an intake for a client token.
func New(token string) (*Intake, error) {
	if token == "" {
		return nil, errors.New("rum: a client token is required")
	}
	return &Intake{token: token, refused: map[string]int{}}, nil
}

// Events returns what was kept, oldest first.
func (in *Intake) Events() []Event {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.events)
}

// Refused counts what was not taken, by reason.
func (in *Intake) Refused() map[string]int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.refused)
}

// Show answers with what was taken and refused, for people and tests.
func (in *Intake) Show(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(map[string]any{"events": in.Events(), "refused": in.Refused()})
}

// ServeHTTP takes a batch, of any origin: it comes from pages.
func (in *Intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	status, err := in.take(r)
	if err != nil {
		in.mu.Lock()
		in.refused[err.Error()]++
		in.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		// A client that is gone needs no answer.
		_ = json.NewEncoder(w).Encode(map[string][]string{"errors": {err.Error()}})
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (in *Intake) take(r *http.Request) (int, error) {
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, errors.New("use POST")
	case query.Get("dd-api-key") != in.token:
		return http.StatusForbidden, errors.New("unknown client token")
	case query.Get("ddsource") != "browser":
		return http.StatusBadRequest, errors.New("ddsource must be browser")
	case query.Get("dd-evp-encoding") != "":
		return http.StatusUnsupportedMediaType, errors.New("compressed batches are not taken here")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return http.StatusRequestEntityTooLarge, errors.New("the batch is too large, or broke off")
	}
	events, err := Parse(body)
	if err != nil {
		return http.StatusBadRequest, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.events = append(in.events, events...)
	in.events = slices.Clone(in.events[max(0, len(in.events)-keep):])
	return http.StatusAccepted, nil
}

var types = []string{"session", "view", "view_update", "action", "resource", "error", "long_task", "vital", "transition", "telemetry"}

// Parse reads a batch: one event on each line.
func Parse(body []byte) ([]Event, error) {
	var out []Event
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		e, err := parse(line)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, errors.New("the batch is empty")
	}
	return out, nil
}

func parse(line []byte) (Event, error) {
	type id struct {
		ID string `json:"id"`
	}
	var doc struct {
		Type        string  `json:"type"`
		Date        float64 `json:"date"`
		Application id      `json:"application"`
		Session     id      `json:"session"`
		Action      struct {
			Target struct {
				Name string `json:"name"`
			} `json:"target"`
		} `json:"action"`
		View struct {
			Name string `json:"name"`
			URL  string `json:"url"`
		} `json:"view"`
		Resource struct {
			URL string `json:"url"`
		} `json:"resource"`
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
		Telemetry struct {
			Message string `json:"message"`
		} `json:"telemetry"`
		DD struct {
			TraceID string `json:"trace_id"`
		} `json:"_dd"`
	}
	if err := json.Unmarshal(line, &doc); err != nil {
		return Event{}, errors.New("an event is no JSON object")
	}
	switch {
	case !slices.Contains(types, doc.Type):
		return Event{}, fmt.Errorf("unknown type of event %.40q", doc.Type)
	case doc.Date <= 0 || doc.Date > 1e15:
		return Event{}, errors.New("an event has no date")
	case doc.Type != "telemetry" && (doc.Application.ID == "" || doc.Session.ID == ""):
		return Event{}, errors.New("an event has no application or no session")
	}
	e := Event{
		Type: doc.Type, At: time.UnixMilli(int64(doc.Date)).UTC(), Application: doc.Application.ID, Session: doc.Session.ID,
		TraceID: doc.DD.TraceID, Raw: bytes.Clone(line),
	}
	switch doc.Type {
	case "action":
		e.Name = doc.Action.Target.Name
	case "resource":
		e.Name = doc.Resource.URL
	case "error":
		e.Name = doc.Error.Message
	case "telemetry":
		e.Name = doc.Telemetry.Message
	default:
		e.Name = strings.TrimSpace(doc.View.Name + " " + doc.View.URL)
	}
	return e, nil
}
