package ddapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// Pages is how a list is cut into pages. The zero value is a list that is not.
type Pages struct {
	// Items is the field that holds the list, "" when the answer is the list itself.
	Items string
	// Size and Limit are the parameter for the number of items of a page, and that number.
	Size  string
	Limit int
	// Number is the parameter that counts pages from 0; Offset is the one that counts items. One of them is set.
	Number, Offset string
}

// List returns all items of a list, page by page. It ends with a page that is not full, and with one that repeats the page
// before it, as a server answers that knows no pages.
func (c *Client) List(ctx context.Context, path string, query url.Values, pages Pages) ([]json.RawMessage, error) {
	var all []json.RawMessage
	var before []byte
	for page := 0; ; page++ {
		q := url.Values{}
		maps.Copy(q, query)
		if pages.Size != "" {
			q.Set(pages.Size, strconv.Itoa(pages.Limit))
		}
		switch {
		case pages.Number != "":
			q.Set(pages.Number, strconv.Itoa(page))
		case pages.Offset != "":
			q.Set(pages.Offset, strconv.Itoa(len(all)))
		}
		var raw json.RawMessage
		if err := c.Do(ctx, http.MethodGet, path, q, nil, &raw); err != nil {
			return nil, err
		}
		items, err := itemsOf(raw, pages.Items)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", path, err)
		}
		if page > 0 && bytes.Equal(raw, before) {
			return all, nil
		}
		all, before = append(all, items...), raw
		if pages.Size == "" || len(items) < pages.Limit {
			return all, nil
		}
	}
}

func itemsOf(raw json.RawMessage, field string) ([]json.RawMessage, error) {
	if field != "" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(raw, &object); err != nil {
			return nil, fmt.Errorf("not an object: %w", err)
		}
		raw = object[field]
	}
	if len(raw) == 0 {
		return nil, nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, fmt.Errorf("not a list: %w", err)
	}
	return items, nil
}
