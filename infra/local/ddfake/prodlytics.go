package ddfake

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// ProductEvent is a server-side event of Product Analytics.
type ProductEvent struct {
	Name, User, Session string
	// Attributes are what the sender added, by the names of the outermost members.
	Attributes map[string]json.RawMessage
}

// ProductAnalytics is the stand-in for the intake of server-side events: POST /api/v2/prodlytics, one event a request, as Datadog's
// description has it. It checks what is required there and that the key is right, and keeps the most recent. Which applications
// exist it does not know.
type ProductAnalytics struct {
	// APIKey is what DD-API-KEY must hold.
	APIKey string

	mu     sync.Mutex
	events []ProductEvent
}

// Bounds of a request, and of what is kept.
const (
	maxProductEvent  = 5 << 20
	keepProductEvent = 1000
)

// Events returns what was sent, oldest first.
func (p *ProductAnalytics) Events() []ProductEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

// ServeHTTP takes an event.
func (p *ProductAnalytics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	refuse := func(status int, detail string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"detail": detail, "status": fmt.Sprint(status)}}})
	}
	if r.Header.Get("DD-API-KEY") != p.APIKey {
		refuse(http.StatusForbidden, "Forbidden")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxProductEvent))
	if err != nil {
		refuse(http.StatusRequestEntityTooLarge, "the body is larger than 5 MB")
		return
	}
	e, err := productEvent(body)
	if err != nil {
		refuse(http.StatusBadRequest, err.Error())
		return
	}
	p.mu.Lock()
	p.events = append(p.events, e)
	p.events = p.events[max(0, len(p.events)-keepProductEvent):]
	p.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, "{}")
}

func productEvent(body []byte) (ProductEvent, error) {
	type id struct {
		ID string `json:"id"`
	}
	var doc struct {
		Type        string                `json:"type"`
		Application id                    `json:"application"`
		Event       struct{ Name string } `json:"event"`
		User        id                    `json:"usr"`
		Account     id                    `json:"account"`
		Session     id                    `json:"session"`
	}
	e := ProductEvent{Attributes: map[string]json.RawMessage{}}
	if err := json.Unmarshal(body, &doc); err != nil {
		return e, fmt.Errorf("the body is no event: %w", err)
	}
	if err := json.Unmarshal(body, &e.Attributes); err != nil {
		return e, fmt.Errorf("the body is no event: %w", err)
	}
	var missing []string
	for name, ok := range map[string]bool{
		`type "server"`: doc.Type == "server", "application.id": doc.Application.ID != "", "event.name": doc.Event.Name != "",
		"usr, account or session": doc.User.ID != "" || doc.Account.ID != "" || doc.Session.ID != "",
	} {
		if !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return e, fmt.Errorf("required: %s", strings.Join(missing, ", "))
	}
	for _, known := range []string{"type", "application", "event", "usr", "account", "session"} {
		delete(e.Attributes, known)
	}
	e.Name, e.User, e.Session = doc.Event.Name, doc.User.ID, doc.Session.ID
	return e, nil
}
