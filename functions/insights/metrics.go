package insights

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Metrics reads metrics.
type Metrics interface {
	// Scalar answers each query with one value over the time from from until before to, by the query's name. A query without
	// data has no entry. It fails as a whole or not at all.
	Scalar(ctx context.Context, queries []Query, from, to time.Time) (map[string]float64, error)
}

// Query is a metric query in Datadog's text, and how its intervals are made one value.
type Query struct {
	Name       string
	Text       string
	Aggregator string
}

// API calls Datadog's API; the client of shared/ddapi is one.
type API interface {
	Do(ctx context.Context, method, path string, query url.Values, in, out any) error
}

// Datadog implements Metrics with Datadog's API.
type Datadog struct {
	// API is required.
	API API
}

var _ Metrics = Datadog{}

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

// Scalar implements Metrics. Each query has a formula of its name alone, so that a column is named by the query whichever of the
// two the API names it by.
func (d Datadog) Scalar(ctx context.Context, queries []Query, from, to time.Time) (map[string]float64, error) {
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
	values := map[string]float64{}
	for _, c := range resp.Data.Attributes.Columns {
		var column []*float64
		if c.Type != "number" {
			continue
		}
		if err := json.Unmarshal(c.Values, &column); err != nil {
			return nil, fmt.Errorf("query metrics: the column %s holds no numbers", c.Name)
		}
		if len(column) > 0 && column[0] != nil {
			values[c.Name] = *column[0]
		}
	}
	return values, nil
}

// Queries returns what is read of the window, and what of the time before it. Scope selects the time series, as in a query's
// braces. Every metric stands in the catalogue of shared/telemetry.
func Queries(scope string) (window, before []Query) {
	count := func(name, metric string) Query {
		return Query{name, "sum:" + metric + "{" + scope + "}.as_count()", "sum"}
	}
	points := func(name, metric string) Query {
		return Query{name, "count:" + metric + "{" + scope + "}.as_count()", "sum"}
	}
	cost, priced := count("cost", "llm.request.cost"), points("priced", "llm.request.cost")
	window = []Query{
		count("requests", "llm.request.count"), count("errors", "llm.request.error"), count("fallbacks", "llm.request.fallback"),
		{"p95", "p95:llm.request.duration{" + scope + "}", "percentile"},
		cost, priced,
		count("grounded", "llm.quality.groundedness"), points("judged", "llm.quality.groundedness"), count("ungrounded", "llm.quality.ungrounded"),
		count("injections", "llm.safety.prompt_injection"), count("abuse", "llm.safety.token_abuse"), count("blocks", "llm.safety.block"),
	}
	return window, []Query{cost, priced}
}

// readings makes of the answers what they mean.
func readings(window, before map[string]float64) Readings {
	r := Readings{
		Requests: window["requests"], Errors: window["errors"], Fallbacks: window["fallbacks"],
		Injections: window["injections"], TokenAbuse: window["abuse"], Blocks: window["blocks"],
		Cost: ratio(window, "cost", "priced"), Baseline: ratio(before, "cost", "priced"), Groundedness: ratio(window, "grounded", "judged"),
	}
	if p95, ok := window["p95"]; ok {
		r.P95 = &p95
	}
	if judged := window["judged"]; judged > 0 {
		share := window["ungrounded"] / judged
		r.Ungrounded = &share
	}
	return r
}

// ratio is nil where there is nothing to divide by.
func ratio(values map[string]float64, above, below string) *float64 {
	if values[below] <= 0 {
		return nil
	}
	v := values[above] / values[below]
	return &v
}
