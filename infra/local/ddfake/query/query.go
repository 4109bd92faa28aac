// Package query is the stand-in for Datadog's API of queries: POST /api/v2/query/scalar and /api/v2/query/timeseries, and GET
// /api/v1/query, over the distributions of package metric, and POST /api/v2/events/search over the event stream, in the shapes of
// Datadog's OpenAPI description. It parses and evaluates no query text itself, and keeps nothing.
//
//	here                                                 at Datadog
//	---------------------------------------------------  -----------------------------------------------------------------
//	the data source metrics only; others get 400         events, spans, SLOs, processes, containers and cloud cost, too
//	query text as far as package metric reads it         all of it
//	formulas: + - * / ( ), numbers, default_zero         functions as well
//	all queries of a request have the same groups        queries of different groups are joined
//	one limit in a request                               one for each formula
//	intervals by a table of common windows, at most      the same for the first four rows; then its own choice
//	1500 points; "interval" is taken as the least one
//	intervals begin at "from"                            at multiples of the interval
//	the last interval may reach beyond "to"              the same
//	unknown fields are refused                           they are ignored
//	units are null                                       those of the metric's metadata
//	a query without a name is a, b, c … by position      not documented but by an example
//	a column is named by its formula, else its query     not documented but by an example
//	no rate limit                                        1600 queries an hour
//	windows of at most 100 days of the stand-in's time   15 months
//	events between two numbers of milliseconds           date math as well; cursors
package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// maxBody bounds a request, maxQueries the queries or formulas in it.
const (
	maxBody    = 1 << 20
	maxQueries = 50
)

// Options are the dependencies of the API.
type Options struct {
	// Metrics is required.
	Metrics *metric.Store
	// Events returns what the event stream has from one time of the store until before another; nil for no events.
	Events func(from, to time.Time) []search.Event
	// ToStandIn translates a time of the caller to one of the store, ToCaller does the reverse. Both or none; none is for a store
	// that runs on the caller's time.
	ToStandIn, ToCaller func(time.Time) time.Time
	// APIKey and AppKey are what the headers DD-API-KEY and DD-APPLICATION-KEY must hold; anything but nothing when empty.
	APIKey, AppKey string
}

type api struct{ opts Options }

// New returns the handler of the four paths.
func New(opts Options) (http.Handler, error) {
	if opts.Metrics == nil {
		return nil, errors.New("query: Metrics is required")
	}
	if (opts.ToStandIn == nil) != (opts.ToCaller == nil) {
		return nil, errors.New("query: ToStandIn and ToCaller go together")
	}
	if opts.ToStandIn == nil {
		same := func(t time.Time) time.Time { return t }
		opts.ToStandIn, opts.ToCaller = same, same
	}
	if opts.Events == nil {
		opts.Events = func(time.Time, time.Time) []search.Event { return nil }
	}
	a := api{opts}
	mux := http.NewServeMux()
	mux.Handle("POST /api/v2/query/scalar", a.authorized(a.scalar))
	mux.Handle("POST /api/v2/query/timeseries", a.authorized(a.timeseries))
	mux.Handle("GET /api/v1/query", a.authorized(a.v1))
	mux.Handle("POST /api/v2/events/search", a.authorized(a.events))
	return mux, nil
}

// authorized asks for both keys, as Datadog does, and answers what f returns.
func (a api) authorized(f func(*http.Request) (any, error)) http.Handler {
	holds := func(got, want string) bool { return got != "" && (want == "" || got == want) }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !holds(r.Header.Get("DD-API-KEY"), a.opts.APIKey) || !holds(r.Header.Get("DD-APPLICATION-KEY"), a.opts.AppKey) {
			write(w, http.StatusForbidden, failure{[]string{"Forbidden"}})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		doc, err := f(r)
		if err != nil {
			write(w, http.StatusBadRequest, failure{[]string{err.Error()}})
			return
		}
		write(w, http.StatusOK, doc)
	})
}

// failure is Datadog's APIErrorResponse.
type failure struct {
	Errors []string `json:"errors"`
}

func write(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The documents marshal; a client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(doc)
}

// value is a number, or null for no data.
type value float64

// MarshalJSON implements json.Marshaler.
func (v value) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(v), 'g', -1, 64), nil
}

// request is ScalarFormulaQueryRequest and TimeseriesFormulaQueryRequest.
type request struct {
	Data *struct {
		Type       string      `json:"type"`
		Attributes *attributes `json:"attributes"`
	} `json:"data"`
}

type attributes struct {
	From     *int64    `json:"from"`
	To       *int64    `json:"to"`
	Interval int64     `json:"interval"`
	Queries  []query   `json:"queries"`
	Formulas []formula `json:"formulas"`
}

type query struct {
	DataSource string `json:"data_source"`
	Query      string `json:"query"`
	Name       string `json:"name"`
	Aggregator string `json:"aggregator"`

	parsed metric.Query
}

type formula struct {
	Formula string `json:"formula"`
	Limit   *struct {
		Count int32  `json:"count"`
		Order string `json:"order"`
	} `json:"limit"`

	parsed root
}

// read decodes and checks the body of a v2 request; typ is the type that its data must have.
func read(r *http.Request, typ string) (*attributes, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, errors.New("the body could not be read")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var req request
	if err := dec.Decode(&req); err != nil {
		return nil, fmt.Errorf("invalid JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("invalid JSON: more follows the object")
	}
	if req.Data == nil || req.Data.Attributes == nil {
		return nil, errors.New("data and data.attributes are required")
	}
	if req.Data.Type != typ {
		return nil, fmt.Errorf("data.type must be %s", typ)
	}
	attrs := req.Data.Attributes
	switch {
	case attrs.From == nil || attrs.To == nil:
		return nil, errors.New("from and to are required")
	case *attrs.From < 0 || *attrs.From >= *attrs.To || *attrs.To > maxMillis:
		return nil, errors.New("from must be before to, both in milliseconds since 1970")
	case attrs.Interval < 0 || attrs.Interval > maxMillis:
		return nil, errors.New("interval must be in milliseconds")
	case len(attrs.Queries) == 0 || len(attrs.Queries) > maxQueries || len(attrs.Formulas) > maxQueries:
		return nil, fmt.Errorf("want 1 to %d queries and at most as many formulas", maxQueries)
	}
	if err := attrs.parse(typ == scalarRequest); err != nil {
		return nil, err
	}
	return attrs, nil
}

// maxMillis is the last millisecond of the year 9999.
const maxMillis = 253402300799999

// parse reads the texts of queries and formulas.
func (a *attributes) parse(scalar bool) error {
	names := map[string]bool{}
	for i := range a.Queries {
		q := &a.Queries[i]
		if q.Name == "" && i < 26 {
			q.Name = string(rune('a' + i))
		}
		switch {
		case q.DataSource != "metrics":
			return fmt.Errorf("queries[%d]: the data source %q is not evaluated here", i, q.DataSource)
		case !isName(q.Name):
			return fmt.Errorf("queries[%d]: %q is no name", i, q.Name)
		case names[q.Name]:
			return fmt.Errorf("queries[%d]: the name %s stands twice", i, q.Name)
		case scalar && !slices.Contains(aggregators, q.Aggregator):
			return fmt.Errorf("queries[%d]: aggregator must be one of %s", i, strings.Join(aggregators, ", "))
		case !scalar && q.Aggregator != "":
			return fmt.Errorf("queries[%d]: unknown field aggregator", i)
		}
		names[q.Name] = true
		var err error
		if q.parsed, err = metric.Parse(q.Query); err != nil {
			return fmt.Errorf("queries[%d]: %w", i, err)
		}
		if !slices.Equal(q.parsed.By(), a.Queries[0].parsed.By()) {
			return fmt.Errorf("queries[%d]: all queries of a request must have the same groups here", i)
		}
	}
	limits := 0
	for i := range a.Formulas {
		f := &a.Formulas[i]
		var err error
		if f.parsed, err = parseFormula(f.Formula, names); err != nil {
			return fmt.Errorf("formulas[%d]: %w", i, err)
		}
		if f.Limit == nil {
			continue
		}
		if limits++; limits > 1 {
			return fmt.Errorf("formulas[%d]: one limit is evaluated here", i)
		}
		if f.Limit.Count < 0 || !slices.Contains([]string{"", "asc", "desc"}, f.Limit.Order) {
			return fmt.Errorf("formulas[%d]: limit has a count of 0 or more and an order of asc or desc", i)
		}
	}
	return nil
}
