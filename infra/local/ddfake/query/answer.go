package query

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/metric"
)

// The types of the requests.
const (
	scalarRequest     = "scalar_request"
	timeseriesRequest = "timeseries_request"
)

// data wraps the answer to a v2 request.
func data(typ string, attributes any) any {
	return map[string]any{"data": map[string]any{"type": typ, "attributes": attributes}}
}

// groupColumn is GroupScalarColumn, dataColumn is DataScalarColumn.
type groupColumn struct {
	Name   string     `json:"name"`
	Type   string     `json:"type"`
	Values [][]string `json:"values"`
}

type dataColumn struct {
	Name   string  `json:"name"`
	Type   string  `json:"type"`
	Values []value `json:"values"`
	Meta   meta    `json:"meta"`
}

type meta struct {
	Unit *struct{} `json:"unit"` // always null
}

// scalar answers POST /api/v2/query/scalar: one column for each tag of the groups, then one for each formula or query.
func (a api) scalar(r *http.Request) (any, error) {
	attrs, err := read(r, scalarRequest)
	if err != nil {
		return nil, err
	}
	if attrs.Interval != 0 {
		return nil, errors.New("unknown field interval")
	}
	w, err := a.windowOf(time.UnixMilli(*attrs.From), time.UnixMilli(*attrs.To), 0)
	if err != nil {
		return nil, err
	}
	evaluated := make([]table, len(attrs.Queries))
	for i, q := range attrs.Queries {
		evaluated[i] = a.reduced(q, w)
	}
	columns := attrs.columns(evaluated, 1)
	groups := attrs.groups(columns)
	out := []any{}
	for i, key := range attrs.Queries[0].parsed.By() {
		c := groupColumn{key, "group", [][]string{}}
		for _, g := range groups {
			c.Values = append(c.Values, []string{strings.TrimPrefix(tags(g)[i], key+":")})
		}
		out = append(out, c)
	}
	for _, c := range columns {
		d := dataColumn{Name: c.name, Type: "number", Values: []value{}}
		for _, g := range groups {
			v := value(math.NaN())
			if values := c.values[g]; len(values) > 0 {
				v = value(values[0])
			}
			d.Values = append(d.Values, v)
		}
		out = append(out, d)
	}
	return data("scalar_response", map[string]any{"columns": out}), nil
}

// maxInterval is the longest interval that makes a difference, in milliseconds: a window is no longer.
const maxInterval = int64(maxWindow / time.Millisecond)

// seriesOf is TimeseriesResponseSeries.
type seriesOf struct {
	GroupTags  []string  `json:"group_tags"`
	QueryIndex int       `json:"query_index"`
	Unit       *struct{} `json:"unit"` // always null
}

// timeseries answers POST /api/v2/query/timeseries.
func (a api) timeseries(r *http.Request) (any, error) {
	attrs, err := read(r, timeseriesRequest)
	if err != nil {
		return nil, err
	}
	w, err := a.windowOf(time.UnixMilli(*attrs.From), time.UnixMilli(*attrs.To), time.Duration(min(attrs.Interval, maxInterval))*time.Millisecond)
	if err != nil {
		return nil, err
	}
	evaluated := make([]table, len(attrs.Queries))
	for i, q := range attrs.Queries {
		evaluated[i] = a.series(q.parsed, w)
	}
	times := a.times(w)
	list, values := []seriesOf{}, [][]value{}
	for index, c := range attrs.columns(evaluated, len(times)) {
		for _, g := range attrs.groups([]column{c}) {
			list = append(list, seriesOf{GroupTags: tags(g), QueryIndex: index})
			row := make([]value, len(times))
			for i, v := range c.values[g] {
				row[i] = value(v)
			}
			values = append(values, row)
		}
	}
	return data("timeseries_response", map[string]any{"series": list, "times": times, "values": values}), nil
}

// times are the beginnings of the intervals in the caller's time, in milliseconds.
func (a api) times(w window) []int64 {
	out := []int64{}
	for t := w.from; t.Before(w.to); t = t.Add(w.interval) {
		out = append(out, a.opts.ToCaller(t).UnixMilli())
	}
	return out
}

// v1Series is MetricsQueryMetadata.
type v1Series struct {
	Aggr        string     `json:"aggr"`
	DisplayName string     `json:"display_name"`
	End         int64      `json:"end"`
	Expression  string     `json:"expression"`
	Interval    int64      `json:"interval"`
	Length      int        `json:"length"`
	Metric      string     `json:"metric"`
	Points      [][2]value `json:"pointlist"`
	QueryIndex  int        `json:"query_index"`
	Scope       string     `json:"scope"`
	Start       int64      `json:"start"`
	TagSet      []string   `json:"tag_set"`
}

// v1 answers GET /api/v1/query. Intervals without data have no point.
func (a api) v1(r *http.Request) (any, error) {
	params := r.URL.Query()
	from, err := v1Time(params.Get("from"))
	to, toErr := v1Time(params.Get("to"))
	if err = errors.Join(err, toErr); err != nil || !from.Before(to) {
		return nil, errors.New("from and to must be seconds since 1970, from before to")
	}
	text := params.Get("query")
	q, err := metric.Parse(text)
	if err != nil {
		return nil, err
	}
	w, err := a.windowOf(from, to, 0)
	if err != nil {
		return nil, err
	}
	times := a.times(w)
	// The wire has the interval in seconds, though the description says milliseconds; less than one is told as one.
	width := max(1, int64(w.interval.Seconds()/w.scale))
	aggregator, _, _ := strings.Cut(text, ":")
	list := []v1Series{}
	for _, s := range a.opts.Metrics.Series(q, w.from, w.to, w.interval) {
		out := v1Series{
			Aggr: aggregator, DisplayName: strings.Join(q.Metrics(), ", "), Metric: strings.Join(q.Metrics(), ", "), Expression: text,
			Start: from.UnixMilli(), End: to.UnixMilli() - 1, Interval: width, Points: [][2]value{}, Scope: s.Group, TagSet: tags(s.Group),
		}
		for i, v := range s.Values {
			if !math.IsNaN(v) {
				out.Points = append(out.Points, [2]value{value(times[i]), value(v)})
			}
		}
		out.Length = len(out.Points)
		list = append(list, out)
	}
	return map[string]any{
		"status": "ok", "res_type": "time_series", "query": text, "message": "", "from_date": from.UnixMilli(), "to_date": to.UnixMilli(),
		"group_by": slices.Concat([]string{}, q.By()), "series": list,
	}, nil
}

func v1Time(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxMillis/1000 {
		return time.Time{}, fmt.Errorf("%q is no time", text)
	}
	return time.Unix(n, 0), nil
}
