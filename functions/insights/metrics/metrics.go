// Package metrics reads metrics and events from Datadog's API: the queries that insights are made of, whatever they are about.
package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Query is a metric query in Datadog's text, and how its intervals are made one value.
type Query struct {
	Name       string
	Text       string
	Aggregator string
}

// Sum adds up the values of a metric, Points counts them. Scope selects the time series, as in a query's braces, and by are the
// tags to group by.
func Sum(name, metric, scope string, by ...string) Query {
	return counted(name, "sum", metric, scope, by)
}

// Points is like Sum.
func Points(name, metric, scope string, by ...string) Query {
	return counted(name, "count", metric, scope, by)
}

func counted(name, aggregator, metric, scope string, by []string) Query {
	text := aggregator + ":" + metric + "{" + scope + "}"
	if len(by) > 0 {
		text += " by {" + strings.Join(by, ",") + "}"
	}
	return Query{Name: name, Text: text + ".as_count()", Aggregator: "sum"}
}

// API calls Datadog's API; the client of shared/ddapi is one.
type API interface {
	Do(ctx context.Context, method, path string, query url.Values, in, out any) error
}

// Datadog reads from Datadog's API.
type Datadog struct {
	// API is required.
	API API
}

// Row is what the queries say about one group.
type Row struct {
	// Tags are the values of the group's tags, in the order in which the queries name them; none without groups.
	Tags []string
	// Values are by the name of the query; a query without data has no entry.
	Values map[string]float64
}

// The body and the answer of POST /api/v2/query/scalar, as far as it is used.
type (
	scalarRequest struct {
		Data scalarRequestData `json:"data"`
	}
	scalarRequestData struct {
		Type       string           `json:"type"`
		Attributes scalarAttributes `json:"attributes"`
	}
	scalarAttributes struct {
		From     int64           `json:"from"`
		To       int64           `json:"to"`
		Formulas []scalarFormula `json:"formulas"`
		Queries  []scalarQuery   `json:"queries"`
	}
	scalarFormula struct {
		Formula string `json:"formula"`
	}
	scalarQuery struct {
		DataSource string `json:"data_source"`
		Name       string `json:"name"`
		Query      string `json:"query"`
		Aggregator string `json:"aggregator"`
	}
	scalarResponse struct {
		Data struct {
			Attributes struct {
				Columns []struct {
					Name   string          `json:"name"`
					Type   string          `json:"type"`
					Values json.RawMessage `json:"values"`
				} `json:"columns"`
			} `json:"attributes"`
		} `json:"data"`
		Errors string `json:"errors"`
	}
)

// Scalar answers each query with one value over the time from from until before to, by the query's name. A query without data
// has no entry. It fails as a whole or not at all.
func (d Datadog) Scalar(ctx context.Context, queries []Query, from, to time.Time) (map[string]float64, error) {
	rows, err := d.Rows(ctx, queries, from, to)
	switch {
	case err != nil:
		return nil, err
	case len(rows) == 0:
		return map[string]float64{}, nil
	}
	return rows[0].Values, nil
}

// Rows is Scalar for queries with groups, which must be the same in all of them. Each query has a formula of its name alone, so
// that a column is named by the query whichever of the two the API names it by.
func (d Datadog) Rows(ctx context.Context, queries []Query, from, to time.Time) ([]Row, error) {
	req := scalarRequest{scalarRequestData{Type: "scalar_request", Attributes: scalarAttributes{From: from.UnixMilli(), To: to.UnixMilli()}}}
	attrs := &req.Data.Attributes
	for _, q := range queries {
		attrs.Formulas = append(attrs.Formulas, scalarFormula{q.Name})
		attrs.Queries = append(attrs.Queries, scalarQuery{"metrics", q.Name, q.Text, q.Aggregator})
	}
	var resp scalarResponse
	if err := d.API.Do(ctx, http.MethodPost, "/api/v2/query/scalar", nil, req, &resp); err != nil {
		return nil, fmt.Errorf("query metrics: %w", err)
	}
	if resp.Errors != "" {
		return nil, errors.New("query metrics: Datadog answered with errors")
	}
	var rows []Row
	row := func(i int) *Row {
		for len(rows) <= i {
			rows = append(rows, Row{Values: map[string]float64{}})
		}
		return &rows[i]
	}
	for _, c := range resp.Data.Attributes.Columns {
		switch c.Type {
		case "group":
			var column [][]string
			if err := json.Unmarshal(c.Values, &column); err != nil {
				return nil, fmt.Errorf("query metrics: the column %s holds no groups", c.Name)
			}
			for i, values := range column {
				r := row(i)
				r.Tags = append(r.Tags, strings.Join(values, ","))
			}
		case "number":
			var column []*float64
			if err := json.Unmarshal(c.Values, &column); err != nil {
				return nil, fmt.Errorf("query metrics: the column %s holds no numbers", c.Name)
			}
			for i, v := range column {
				if v != nil {
					row(i).Values[c.Name] = *v
				}
			}
		}
	}
	return rows, nil
}
