package metrics

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Event is one of Datadog's events.
type Event struct {
	At    time.Time
	Title string
	Text  string
	Tags  []string
}

// Tag returns the value of the first tag with a key; empty when there is none.
func (e Event) Tag(key string) string {
	for _, t := range e.Tags {
		if v, ok := strings.CutPrefix(t, key+":"); ok {
			return v
		}
	}
	return ""
}

// The body and the answer of POST /api/v2/events/search, as far as it is used.
type (
	eventsRequest struct {
		Filter eventsFilter `json:"filter"`
		Page   eventsPage   `json:"page"`
		Sort   string       `json:"sort"`
	}
	eventsFilter struct {
		From  string `json:"from"`
		To    string `json:"to"`
		Query string `json:"query"`
	}
	eventsPage struct {
		Limit int `json:"limit"`
	}
	eventsResponse struct {
		Data []struct {
			Attributes struct {
				Timestamp  time.Time `json:"timestamp"`
				Message    string    `json:"message"`
				Tags       []string  `json:"tags"`
				Attributes struct {
					Title string `json:"title"`
				} `json:"attributes"`
			} `json:"attributes"`
		} `json:"data"`
	}
)

// Events searches events, newest first. The application key needs the permission events_read.
func (d Datadog) Events(ctx context.Context, query string, from, to time.Time, limit int) ([]Event, error) {
	req := eventsRequest{eventsFilter{strconv.FormatInt(from.UnixMilli(), 10), strconv.FormatInt(to.UnixMilli(), 10), query}, eventsPage{limit}, "-timestamp"}
	var resp eventsResponse
	if err := d.API.Do(ctx, http.MethodPost, "/api/v2/events/search", nil, req, &resp); err != nil {
		return nil, fmt.Errorf("search events: %w", err)
	}
	out := make([]Event, 0, len(resp.Data))
	for _, e := range resp.Data {
		a := e.Attributes
		out = append(out, Event{a.Timestamp, a.Attributes.Title, a.Message, a.Tags})
	}
	return out, nil
}
