package api

import (
	"net/http"
	"slices"
	"strings"
)

const (
	pipelineKind      = "pipeline"
	pipelineOrderKind = "pipeline-order"
	archiveKind       = "archive"
	archiveOrderKind  = "archive-order"
)

// processors are the types of log processors.
var processors = strings.Fields(`grok-parser date-remapper status-remapper service-remapper message-remapper attribute-remapper url-parser
	user-agent-parser category-processor arithmetic-processor string-builder-processor pipeline geo-ip-parser lookup-processor
	trace-id-remapper span-id-remapper array-processor decoder-processor schema-processor exclude-attribute array-map`)

// pipelines that are not there answer 400, as Datadog's do, not 404.
func pipelines() kind {
	return kind{
		name: pipelineKind, path: "/api/v1/logs/config/pipelines", style: logsAPI, logs: true, api: "v1", create: "LogsPipeline", method: "PUT",
		codes: [3]int{200, 200, 200},
		id:    func(c *call) string { return c.a.letters(22) },
		check: func(c *call, o, _ *object) error {
			if c.seeding {
				o.readOnly = yes(o.body, "is_read_only")
			}
			for _, key := range []string{"id", "type", "is_read_only"} {
				delete(o.body, key)
			}
			if text(o.body, "name") == "" {
				return bad("Pipeline name is required")
			}
			return checkProcessors(o.body, "processors", true)
		},
		view: func(_ *call, o *object) obj { return viewPipeline(o) },
		list: func(_ *call, all []*object) (any, error) { return views(all, viewPipeline), nil },
		left: func(*object) any { return obj{} },
		absent: func(string) error {
			return bad("Non existing pipeline")
		},
	}
}

// checkProcessors judges the processors of a pipeline, and of pipelines nested in it: one level.
func checkProcessors(in obj, path string, outer bool) error {
	for i, p := range objs(in, "processors") {
		typ := text(p, "type")
		switch {
		case !slices.Contains(processors, typ):
			return bad("%s[%d]: unknown type %q", path, i, typ)
		case typ == "pipeline" && !outer:
			return bad("%s[%d]: a nested pipeline can only contain processors", path, i)
		case typ == "grok-parser" && (text(p, "source") == "" || text(p, "grok", "match_rules") == ""):
			return bad("%s[%d]: a grok parser needs a source and match_rules", path, i)
		case typ == "grok-parser" && len(list(p, "samples")) > 5:
			return bad("%s[%d]: a grok parser has at most 5 samples", path, i)
		case strings.HasSuffix(typ, "-remapper") && len(list(p, "sources")) == 0:
			return bad("%s[%d]: a remapper needs sources", path, i)
		case typ == "attribute-remapper" && text(p, "target") == "", typ == "category-processor" && text(p, "target") == "":
			return bad("%s[%d]: target is required", path, i)
		}
		if err := checkProcessors(p, path+".processors", false); err != nil {
			return err
		}
	}
	return nil
}

// viewPipeline is how the API shows a pipeline. What a processor leaves out is filled in: it is off.
func viewPipeline(o *object) obj {
	v := clone(o.body)
	fill(v, obj{"is_enabled": false, "filter": obj{"query": ""}, "processors": []any{}, "tags": []any{}, "description": ""})
	complete(v)
	v["id"], v["type"], v["is_read_only"] = o.id, "pipeline", o.readOnly
	return v
}

func complete(in obj) {
	for _, p := range objs(in, "processors") {
		fill(p, obj{"is_enabled": false, "name": ""})
		switch text(p, "type") {
		case "attribute-remapper":
			fill(p, obj{"preserve_source": false, "override_on_conflict": false, "source_type": "attribute", "target_type": "attribute"})
		case "grok-parser":
			fill(p, obj{"samples": []any{}})
			fill(sub(p, "grok"), obj{"support_rules": ""})
		case "url-parser":
			fill(p, obj{"normalize_ending_slashes": false})
		case "user-agent-parser":
			fill(p, obj{"is_encoded": false})
		case "arithmetic-processor", "string-builder-processor":
			fill(p, obj{"is_replace_missing": false})
		}
		complete(p)
	}
}

func archives() kind {
	return kind{
		name: archiveKind, path: "/api/v2/logs/config/archives", logs: true, api: "v2", create: "LogsArchiveCreateRequest", method: "PUT",
		codes: [3]int{200, 200, 204},
		id:    func(c *call) string { return c.a.letters(22) },
		check: checkArchive,
		view:  func(_ *call, o *object) obj { return viewArchive(o) },
		wrap:  inData,
		list: func(_ *call, all []*object) (any, error) {
			return obj{"data": views(all, viewArchive)}, nil
		},
		absent: func(string) error { return missing("Archive not found") },
	}
}

// checkArchive judges an archive. Whether the integration that writes to the bucket exists is not known here.
func checkArchive(_ *call, o, _ *object) error {
	attrs, err := attributes(o.body, "archives")
	if err != nil {
		return err
	}
	delete(sub(o.body, "data"), "id")
	if text(attrs, "name") == "" || at(attrs, "query") == nil {
		return bad("name and query are required")
	}
	required := map[string][][]string{
		"s3":    {{"bucket"}, {"integration", "account_id"}, {"integration", "role_name"}},
		"gcs":   {{"bucket"}, {"integration", "client_email"}},
		"azure": {{"container"}, {"storage_account"}, {"integration", "tenant_id"}, {"integration", "client_id"}},
	}
	typ := text(attrs, "destination", "type")
	paths, ok := required[typ]
	if !ok {
		return bad("destination.type must be one of s3, gcs, azure")
	}
	for _, p := range paths {
		if text(sub(attrs, "destination"), p...) == "" {
			return bad("destination.%s is required for %s", strings.Join(p, "."), typ)
		}
	}
	return nil
}

func viewArchive(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	fill(attrs, obj{
		"include_tags": false, "rehydration_tags": []any{}, "rehydration_max_scan_size_in_gb": nil, "compression_method": "GZIP", "state": "UNKNOWN",
	})
	fill(sub(attrs, "destination"), obj{"path": ""})
	return resource(o, "archives", attrs)
}

// logsRoutes adds the orders of pipelines and archives: single objects, of which a PUT replaces the whole.
func (a *API) logsRoutes() {
	a.order("/api/v1/logs/config/pipeline-order", pipelineOrderKind, pipelineKind, logsAPI, "v1", "LogsPipelinesOrder",
		func(b obj) (obj, string) { return b, "pipeline_ids" },
		func(ids []string) obj { return obj{"pipeline_ids": anys(ids)} })
	a.order("/api/v2/logs/config/archive-order", archiveOrderKind, archiveKind, plain, "v2", "LogsArchiveOrder",
		func(b obj) (obj, string) { return sub(b, "data", "attributes"), "archive_ids" },
		func(ids []string) obj {
			return obj{"data": obj{"type": "archive_order", "attributes": obj{"archive_ids": anys(ids)}}}
		})
}

// order registers the order of a kind. where says what in a body holds the ids, and under which key.
func (a *API) order(path, name, of string, s style, version, schema string, where func(obj) (obj, string), show func([]string) obj) {
	ids := func() []string {
		var out []string
		for _, o := range a.store.all(of) {
			out = append(out, o.id)
		}
		return out
	}
	put := func(c *call) (int, any, error) {
		in, key := where(c.body)
		if list(in, key) == nil {
			return 0, nil, bad("%s is required", key)
		}
		want := texts(in, key)
		if !a.exactly(of, want) {
			return 0, nil, &failure{status: http.StatusUnprocessableEntity, messages: []string{key + " must list every " + of + " once"}}
		}
		if err := c.commit(&object{kind: name, id: name, body: show(want), created: c.now, changed: c.now, author: c.author}); err != nil {
			return 0, nil, err
		}
		a.store.reorder(of, want)
		return http.StatusOK, show(want), nil
	}
	a.kinds[name] = maker{create: put}
	a.route("PUT "+path, route{style: s, logs: true, api: version, schema: schema, handle: put})
	a.route("GET "+path, route{style: s, logs: true, handle: func(*call) (int, any, error) { return http.StatusOK, show(ids()), nil }})
}
