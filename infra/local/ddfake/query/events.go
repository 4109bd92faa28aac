package query

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// eventsRequest is EventsListRequest. Date math, cursors and options are refused.
type eventsRequest struct {
	Filter struct {
		From  string `json:"from"`
		To    string `json:"to"`
		Query string `json:"query"`
	} `json:"filter"`
	Page struct {
		Limit int `json:"limit"`
	} `json:"page"`
	Sort string `json:"sort"`
}

// eventResponse is EventResponse.
type eventResponse struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Attributes eventAttributes `json:"attributes"`
}

type eventAttributes struct {
	Attributes map[string]any `json:"attributes"`
	Message    string         `json:"message"`
	Tags       []string       `json:"tags"`
	Timestamp  time.Time      `json:"timestamp"`
}

// events answers POST /api/v2/events/search.
func (a api) events(r *http.Request) (any, error) {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	var req eventsRequest
	if err := decoder.Decode(&req); err != nil {
		return nil, fmt.Errorf("the body is no request for events: %w", err)
	}
	from, err := a.millis(req.Filter.From)
	to, toErr := a.millis(req.Filter.To)
	if err = errors.Join(err, toErr); err != nil || !from.Before(to) {
		return nil, errors.New("from and to must be milliseconds since 1970 as text, from before to")
	}
	q, err := search.Parse(cmp.Or(req.Filter.Query, "*"))
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(req.Page.Limit, 10)
	if limit < 1 || limit > 1000 || !slices.Contains([]string{"", "timestamp", "-timestamp"}, req.Sort) {
		return nil, errors.New("limit must be 1 to 1000, and sort timestamp or -timestamp")
	}
	found := slices.DeleteFunc(a.opts.Events(from, to), func(e search.Event) bool { return !q.Match(e) })
	slices.SortStableFunc(found, func(x, y search.Event) int { return x.Timestamp.Compare(y.Timestamp) })
	if req.Sort == "-timestamp" {
		slices.Reverse(found)
	}
	out := []eventResponse{}
	for i, e := range found[:min(len(found), limit)] {
		out = append(out, eventResponse{strconv.Itoa(i), "event", eventAttributes{
			e.Attributes, e.Message, slices.Concat([]string{}, e.Tags), a.opts.ToCaller(e.Timestamp).UTC(),
		}})
	}
	return map[string]any{"data": out}, nil
}

func (a api) millis(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxMillis {
		return time.Time{}, fmt.Errorf("%q is no time", text)
	}
	return a.opts.ToStandIn(time.UnixMilli(n)), nil
}
