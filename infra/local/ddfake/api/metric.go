package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

const (
	metadataKind   = "metric-metadata"
	metricTagsKind = "metric-tags"
)

// units are Datadog's units that are likely for a service. One that Datadog has and this list lacks is refused here.
var units = strings.Fields(`bit byte kibibyte mebibyte gibibyte tebibyte pebibyte exbibyte nanosecond microsecond millisecond second minute
	hour day week percent_nano percent apdex fraction connection request packet segment response message payload timeout datagram route
	session hop process thread host node fault service instance cpu file inode sector block buffer error read write occurrence event time
	unit operation item task worker resource email sample stage monitor location check attempt device update method job container execution
	throttle invocation user success build prediction token character table index lock transaction query row key command offset record
	object cursor assertion scan document shard flush merge refresh fetch column commit wait ticket question hit miss eviction get set
	dollar cent microdollar euro pound penny yen hertz kilohertz megahertz gigahertz core millicore nanocore`)

// metricRoutes adds what makes a metric known, and its metadata.
func (a *API) metricRoutes() {
	submit := func(answer obj) handler {
		return func(c *call) (int, any, error) {
			series := objs(c.body, "series")
			if len(series) == 0 {
				return 0, nil, bad("Payload is not in the expected format: no series")
			}
			for _, s := range series {
				if !metricName.MatchString(text(s, "metric")) || len(list(s, "points")) == 0 {
					return 0, nil, bad("Payload is not in the expected format: a series has no metric or no points")
				}
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, s := range series {
				a.metrics[text(s, "metric")] = true
			}
			return http.StatusAccepted, answer, nil
		}
	}
	a.route("POST /api/v1/distribution_points", route{keyOnly: true, api: "v1", schema: "DistributionPointsPayload", handle: submit(obj{"status": "ok"})})
	a.route("POST /api/v2/series", route{keyOnly: true, api: "v2", schema: "MetricPayload", handle: submit(obj{"errors": []any{}})})
	a.route("GET /api/v1/metrics/{id}", route{handle: func(c *call) (int, any, error) {
		name := c.param("id")
		if !a.submitted(name) {
			return 0, nil, missing("Metric not found: %s", name)
		}
		return http.StatusOK, a.viewMetadata(name), nil
	}})
	a.route("PUT /api/v1/metrics/{id}", route{api: "v1", schema: "MetricMetadata", handle: putMetadata})
	a.kinds[metadataKind] = maker{create: putMetadata, params: func(body obj) map[string]string {
		name := text(body, "name")
		delete(body, "name")
		return map[string]string{"id": name}
	}}
}

var metricName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,199}$`)

// submitted reports whether a point of a metric has arrived.
func (a *API) submitted(metric string) bool {
	a.mu.Lock()
	known := a.metrics[metric]
	a.mu.Unlock()
	return known || a.opts.Submitted != nil && a.opts.Submitted(metric)
}

// putMetadata sets what it names. Metadata of a metric can't be deleted: it is gone when all of it is empty.
func putMetadata(c *call) (int, any, error) {
	name, a := c.param("id"), c.a
	if c.seeding {
		a.mu.Lock()
		a.metrics[name] = true
		a.mu.Unlock()
	}
	if !a.submitted(name) {
		return 0, nil, missing("Metric not found: %s", name)
	}
	for _, key := range []string{"unit", "per_unit"} {
		if u := text(c.body, key); u != "" && !slices.Contains(units, u) {
			return 0, nil, bad("Invalid %s: %s", key, u)
		}
	}
	if typ := text(c.body, "type"); typ != "" && !slices.Contains([]string{"gauge", "rate", "count", "distribution"}, typ) {
		return 0, nil, bad("Invalid type: %s", typ)
	}
	o := &object{kind: metadataKind, id: name, body: clone(c.body), created: c.now, changed: c.now, author: c.author}
	old := a.store.get(metadataKind, name)
	if old != nil {
		o.created, o.author, o.body = old.created, old.author, over(old.body, c.body)
	}
	empty := every([]string{"description", "short_name", "unit", "per_unit"}, func(key string) bool { return text(o.body, key) == "" })
	switch {
	case empty && old != nil:
		if err := a.drop(old); err != nil {
			return 0, nil, err
		}
	case !empty:
		if err := c.commit(o); err != nil {
			return 0, nil, err
		}
	}
	return http.StatusOK, a.viewMetadata(name), nil
}

// viewMetadata is how the API shows the metadata of a metric: what was never set is left out.
func (a *API) viewMetadata(name string) obj {
	v := obj{"type": "distribution"}
	if o := a.store.get(metadataKind, name); o != nil {
		maps.Copy(v, clone(o.body))
	}
	return v
}

// metricTags are tag configurations: their id is the name of the metric.
func metricTags() kind {
	return kind{
		name: metricTagsKind, path: "/api/v2/metrics/{id}/tags", item: "/api/v2/metrics/{id}/tags", api: "v2",
		create: "MetricTagConfigurationCreateRequest", update: "MetricTagConfigurationUpdateRequest", method: "PATCH", codes: [3]int{201, 200, 204},
		id:    func(c *call) string { return c.param("id") },
		check: checkMetricTags,
		merge: func(c *call, old *object) (obj, error) {
			if _, ok := sub(c.body, "data", "attributes")["metric_type"]; ok {
				return nil, bad("metric_type can not be changed")
			}
			return merged(c, old)
		},
		view: func(_ *call, o *object) obj {
			attrs := clone(sub(o.body, "data", "attributes"))
			fill(attrs, obj{"tags": []any{}, "exclude_tags_mode": false})
			if text(attrs, "metric_type") == "distribution" {
				fill(attrs, obj{"include_percentiles": false})
			} else {
				fill(attrs, obj{"aggregations": []any{}})
			}
			attrs["created_at"], attrs["modified_at"] = moment(o.created), moment(o.changed)
			return resource(o, "manage_tags", attrs)
		},
		wrap:   inData,
		absent: func(id string) error { return missing("Tag configuration for metric %s not found", id) },
		params: func(body obj) map[string]string { return map[string]string{"id": text(body, "data", "id")} },
	}
}

func checkMetricTags(c *call, o, old *object) error {
	attrs, err := attributes(o.body, "manage_tags")
	if err != nil {
		return err
	}
	_, percentiles := attrs["include_percentiles"]
	typ := text(attrs, "metric_type")
	switch {
	case text(o.body, "data", "id") != o.id:
		return bad("data.id must be the name of the metric, %s", o.id)
	case old == nil && c.a.store.get(metricTagsKind, o.id) != nil:
		return conflict("A tag configuration for metric %s exists already", o.id)
	case !c.seeding && !c.a.submitted(o.id):
		return bad("Metric %s has no points: a tag configuration needs a metric that was submitted", o.id)
	case !slices.Contains([]string{"gauge", "count", "rate", "distribution"}, typ):
		return bad("metric_type must be one of gauge, count, rate, distribution")
	case percentiles && typ != "distribution":
		return bad("include_percentiles is only for metrics of type distribution")
	case yes(attrs, "exclude_tags_mode") && len(list(attrs, "tags")) == 0:
		return bad("exclude_tags_mode needs at least one tag")
	}
	for _, t := range list(attrs, "tags") {
		if s, ok := t.(string); !ok || s == "" || strings.Contains(s, ":") {
			return bad("Invalid tag key %v", t)
		}
	}
	return nil
}

const (
	spansMetricKind = "spans-metric"
	logsMetricKind  = "logs-metric"
	retentionKind   = "retention-filter"
)

// generatedMetrics are metrics from spans or logs: the two differ in names only.
func generatedMetrics(name, path, typ, schema string) kind {
	return kind{
		name: name, path: path, api: "v2", create: schema + "CreateRequest", update: schema + "UpdateRequest", method: "PATCH", codes: [3]int{200, 200, 204},
		id: func(c *call) string { return text(c.body, "data", "id") },
		check: func(c *call, o, old *object) error {
			attrs, err := attributes(o.body, typ)
			if err != nil {
				return err
			}
			_, percentiles := sub(attrs, "compute")["include_percentiles"]
			aggregation := text(attrs, "compute", "aggregation_type")
			switch {
			case !metricName.MatchString(o.id):
				return bad("Invalid metric name %q", o.id)
			case aggregation != "count" && aggregation != "distribution":
				return bad("compute.aggregation_type must be count or distribution")
			case aggregation == "distribution" && text(attrs, "compute", "path") == "":
				return bad("compute.path is required for a distribution")
			case aggregation == "count" && (percentiles || text(attrs, "compute", "path") != ""):
				return bad("compute.path and compute.include_percentiles are only for a distribution")
			}
			for _, g := range objs(attrs, "group_by") {
				if text(g, "path") == "" {
					return bad("group_by.path is required")
				}
			}
			if old == nil && c.a.store.get(name, o.id) != nil {
				return conflict("Metric with name %s already exists", o.id)
			}
			return nil
		},
		merge: func(c *call, old *object) (obj, error) {
			body, err := merged(c, old)
			if err != nil {
				return nil, err
			}
			before, change := sub(old.body, "data", "attributes", "compute"), sub(c.body, "data", "attributes", "compute")
			for _, key := range []string{"aggregation_type", "path"} {
				if v, ok := change[key]; ok && v != before[key] {
					return nil, bad("compute.%s can not be changed", key)
				}
			}
			sub(body, "data", "attributes")["compute"] = over(before, change)
			return body, nil
		},
		view: func(_ *call, o *object) obj { return viewGenerated(o, typ) },
		wrap: inData,
		list: func(_ *call, all []*object) (any, error) {
			return obj{"data": views(all, func(o *object) obj { return viewGenerated(o, typ) })}, nil
		},
		absent: func(id string) error { return missing("Metric %s not found", id) },
	}
}

func viewGenerated(o *object, typ string) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	fill(attrs, obj{"filter": obj{"query": "*"}, "group_by": []any{}})
	if text(attrs, "compute", "aggregation_type") == "distribution" {
		fill(sub(attrs, "compute"), obj{"include_percentiles": false})
	}
	for _, g := range objs(attrs, "group_by") {
		fill(g, obj{"tag_name": strings.TrimPrefix(text(g, "path"), "@")})
	}
	return resource(o, typ, attrs)
}

// retentionFilters are those of APM. Every organisation has Datadog's own, which nobody can change.
func retentionFilters() kind {
	return kind{
		name: retentionKind, path: "/api/v2/apm/config/retention-filters", api: "v2", create: "RetentionFilterCreateRequest",
		update: "RetentionFilterUpdateRequest", method: "PUT", codes: [3]int{200, 200, 200},
		id: func(c *call) string { return c.a.letters(22) },
		check: func(c *call, o, old *object) error {
			attrs, err := attributes(o.body, "apm_retention_filter")
			if err != nil {
				return err
			}
			if old != nil && text(o.body, "data", "id") != o.id {
				return bad("data.id must be %s", o.id)
			}
			delete(sub(o.body, "data"), "id")
			taken := c.a.store.find(retentionKind, func(p *object) bool {
				return p.id != o.id && text(p.body, "data", "attributes", "name") == text(attrs, "name")
			})
			_, enabled := attrs["enabled"].(bool)
			rate, ok := number(attrs, "rate")
			traces, sampled := number(attrs, "trace_rate")
			switch {
			case text(attrs, "name") == "" || !enabled || text(attrs, "filter", "query") == "":
				return bad("name, enabled and filter.query are required")
			case text(attrs, "filter_type") != "spans-sampling-processor":
				return bad("filter_type must be spans-sampling-processor")
			case !ok || rate < 0 || rate > 1 || sampled && (traces < 0 || traces > 1):
				return bad("rate and trace_rate must be from 0 to 1")
			case taken != nil:
				return conflict("A retention filter with the name %s already exists", text(attrs, "name"))
			}
			return nil
		},
		view: viewRetention,
		wrap: inData,
		list: func(c *call, all []*object) (any, error) {
			return obj{"data": views(all, func(o *object) obj { return viewRetention(c, o) })}, nil
		},
	}
}

func viewRetention(c *call, o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	order := slices.IndexFunc(c.a.store.all(retentionKind), func(p *object) bool { return p.id == o.id }) + 1
	maps.Copy(attrs, obj{
		"created_at": o.created.Unix(), "created_by": o.author.Email, "modified_at": o.changed.Unix(), "modified_by": o.author.Email,
		"editable": !o.readOnly, "execution_order": order,
	})
	for _, key := range []string{"rate", "trace_rate"} {
		if f, ok := number(attrs, key); ok {
			attrs[key] = decimal(f)
		}
	}
	fill(attrs, obj{"trace_rate": json.Number("0.0")})
	return resource(o, "apm_retention_filter", attrs)
}

// retentionRoutes adds Datadog's own filters, and the order of all.
func (a *API) retentionRoutes() {
	for _, own := range [][2]string{{"Error Default", "spans-errors-sampling-processor"}, {"Application Security Default", "spans-appsec-sampling-processor"}} {
		a.store.put(&object{
			kind: retentionKind, id: a.letters(22), readOnly: true, derived: true, author: User{Email: "support@datadoghq.com"},
			body: obj{"data": obj{"type": "apm_retention_filter", "attributes": obj{
				"name": own[0], "enabled": true, "filter_type": own[1], "filter": obj{"query": "*"}, "rate": json.Number("1"),
			}}},
			created: a.opts.Now(), changed: a.opts.Now(),
		})
	}
	a.route("PUT /api/v2/apm/config/retention-filters-execution-order", route{
		api: "v2", schema: "ReorderRetentionFiltersRequest", handle: func(c *call) (int, any, error) {
			var ids []string
			for _, d := range objs(c.body, "data") {
				ids = append(ids, text(d, "id"))
			}
			if !a.exactly(retentionKind, ids) {
				return 0, nil, bad("the order must list every retention filter once")
			}
			a.store.reorder(retentionKind, ids)
			return http.StatusOK, nil, nil
		},
	})
}

// exactly reports whether ids are those of all objects of a kind, each once.
func (a *API) exactly(kind string, ids []string) bool {
	var have []string
	for _, o := range a.store.all(kind) {
		have = append(have, o.id)
	}
	return slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(ids)))
}
