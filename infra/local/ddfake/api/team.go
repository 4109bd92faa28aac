package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

const (
	teamKind   = "team"
	entityKind = "entity"
	rumKind    = "rum-application"
)

func teams() kind {
	return kind{
		name: teamKind, path: "/api/v2/team", api: "v2", create: "TeamCreateRequest", update: "TeamUpdateRequest", method: "PATCH",
		codes: [3]int{201, 200, 204}, id: uuidOf, merge: merged,
		check: func(c *call, o, _ *object) error {
			attrs, err := attributes(o.body, "team")
			if err != nil {
				return err
			}
			delete(sub(o.body, "data"), "id")
			handle := text(attrs, "handle")
			switch {
			case text(attrs, "name") == "" || len(text(attrs, "name")) > 200:
				return bad("name must have 1 to 200 characters")
			case handle == "" || len(handle) > 195 || handle != strings.ToLower(handle) || strings.ContainsAny(handle, " @"):
				return bad("handle is invalid: %q", handle)
			case c.a.store.find(teamKind, func(p *object) bool {
				return p.id != o.id && text(p.body, "data", "attributes", "handle") == handle
			}) != nil:
				return conflict("Team with handle %s already exists", handle)
			}
			return nil
		},
		view: func(_ *call, o *object) obj { return viewTeam(o) },
		wrap: inData,
		list: func(c *call, all []*object) (any, error) {
			p, err := numbered(c.q, "page[number]", "page[size]", 10, 100)
			if err != nil {
				return nil, err
			}
			var found []*object
			for _, o := range all {
				attrs := sub(o.body, "data", "attributes")
				if word := c.q.Get("filter[keyword]"); contains(text(attrs, "name"), word) || contains(text(attrs, "handle"), word) {
					found = append(found, o)
				}
			}
			return obj{
				"data": views(cut(found, p), viewTeam), "included": []any{},
				"meta": obj{"pagination": obj{"offset": p.offset, "first_offset": 0, "limit": p.size, "total": len(found), "type": "offset_limit"}},
			}, nil
		},
		// The routing rules of a team go with it.
		gone: func(c *call, o *object) error {
			if r := c.a.store.get(routingKind, o.id); r != nil {
				return c.a.drop(r)
			}
			return nil
		},
		absent: func(string) error { return missing("Team not found") },
	}
}

func viewTeam(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	fill(attrs, obj{
		"description": "", "summary": nil, "avatar": nil, "banner": 0, "hidden_modules": []any{}, "visible_modules": []any{}, "is_managed": false,
		"link_count": 0, "user_count": 0,
	})
	attrs["created_at"], attrs["modified_at"] = moment(o.created), moment(o.changed)
	v := resource(o, "team", attrs)
	v["relationships"] = obj{
		"team_links":            obj{"data": []any{}, "links": obj{"related": "/api/v2/team/" + o.id + "/links"}},
		"user_team_permissions": obj{"links": obj{"related": "/api/v2/team/" + o.id + "/permission-settings"}},
	}
	return v
}

// entityRoutes adds the software catalog: an upsert by kind, namespace and name, whose answer holds no specification.
func (a *API) entityRoutes() {
	a.kinds[entityKind] = maker{create: upsertEntity}
	a.route("POST /api/v2/catalog/entity", route{api: "v2", schema: "UpsertCatalogEntityRequest", handle: upsertEntity})
	a.route("GET /api/v2/catalog/entity", route{handle: func(c *call) (int, any, error) {
		p, err := ranged(c.q, "page[offset]", "page[limit]", 100, 1000)
		if err != nil {
			return 0, nil, err
		}
		var found []*object
		for _, o := range a.store.all(entityKind) {
			is := func(param, value string) bool { return !c.q.Has(param) || c.q.Get(param) == value }
			if is("filter[id]", o.id) && is("filter[ref]", entityRef(o.body)) && is("filter[name]", text(o.body, "metadata", "name")) &&
				is("filter[kind]", text(o.body, "kind")) && is("filter[owner]", text(o.body, "metadata", "owner")) {
				found = append(found, o)
			}
		}
		part := cut(found, p)
		included := []any{}
		if slices.Contains(split(c.q.Get("include")), "schema") {
			included = views(part, includedEntity)
		}
		return http.StatusOK, obj{"data": views(part, viewEntity), "included": included, "meta": obj{"count": len(part), "includeCount": len(included)}, "links": obj{}}, nil
	}})
	a.route("DELETE /api/v2/catalog/entity/{id}", route{handle: func(c *call) (int, any, error) {
		id := c.param("id")
		o := a.store.find(entityKind, func(o *object) bool { return o.id == id || entityRef(o.body) == id || entityRef(o.body) == fullRef(id) })
		if o == nil {
			return 0, nil, missing("entity %s not found", id)
		}
		return http.StatusNoContent, nil, a.drop(o)
	}})
}

// entityRef names an entity: kind:namespace/name.
func entityRef(b obj) string {
	namespace := text(b, "metadata", "namespace")
	if namespace == "" {
		namespace = "default"
	}
	return text(b, "kind") + ":" + namespace + "/" + text(b, "metadata", "name")
}

// fullRef adds the default namespace to a reference without one.
func fullRef(ref string) string {
	kind, name, _ := strings.Cut(ref, ":")
	if strings.Contains(name, "/") {
		return ref
	}
	return kind + ":default/" + name
}

func upsertEntity(c *call) (int, any, error) {
	b := c.body
	name := text(b, "metadata", "name")
	switch {
	case text(b, "apiVersion") != "v3":
		return 0, nil, bad("apiVersion must be v3")
	case !slices.Contains([]string{"service", "system", "datastore", "queue", "api"}, text(b, "kind")):
		return 0, nil, bad("kind is invalid")
	case name == "" || strings.ContainsAny(name, " /"):
		return 0, nil, bad("metadata.name is invalid: %q", name)
	}
	o := &object{kind: entityKind, id: c.a.uuid(), body: clone(b), created: c.now, changed: c.now, author: c.author}
	if old := c.a.store.find(entityKind, func(p *object) bool { return entityRef(p.body) == entityRef(b) }); old != nil {
		o.id, o.created, o.author = old.id, old.created, old.author
	}
	if err := c.commit(o); err != nil {
		return 0, nil, err
	}
	return http.StatusAccepted, obj{"data": []any{viewEntity(o)}, "included": []any{includedEntity(o)}, "meta": obj{"count": 1, "includeCount": 1}}, nil
}

func viewEntity(o *object) obj {
	attrs := obj{"apiVersion": o.body["apiVersion"], "kind": o.body["kind"], "namespace": "default", "tags": []any{}, "description": "", "displayName": "", "owner": ""}
	for _, key := range []string{"name", "namespace", "displayName", "description", "owner", "tags"} {
		if v := at(o.body, "metadata", key); v != nil {
			attrs[key] = copied(v)
		}
	}
	v := resource(o, "entity", attrs)
	v["meta"] = obj{"createdAt": moment(o.created), "modifiedAt": moment(o.changed), "origin": "api", "ingestionSource": "api"}
	v["relationships"] = obj{"schema": obj{"data": obj{"id": o.id, "type": "schema"}}}
	return v
}

// includedEntity is the specification, which lists hold only when asked.
func includedEntity(o *object) obj {
	schema := clone(o.body)
	if m := sub(schema, "metadata"); m != nil {
		fill(m, obj{"namespace": "default"})
		m["id"] = o.id
	}
	return obj{"id": o.id, "type": "schema", "attributes": obj{"schema": schema}}
}

// rumApplications may share a name: Datadog refuses no second one.
func rumApplications() kind {
	return kind{
		name: rumKind, path: "/api/v2/rum/applications", api: "v2", create: "RUMApplicationCreateRequest", update: "RUMApplicationUpdateRequest",
		method: "PATCH", codes: [3]int{200, 200, 204}, id: uuidOf,
		check: func(c *call, o, old *object) error {
			attrs, err := attributes(o.body, "rum_application_create")
			if err != nil {
				return err
			}
			if typ := text(attrs, "type"); typ != "" && !slices.Contains(strings.Fields("browser ios android react-native flutter roku electron unity kotlin-multiplatform"), typ) {
				return bad("type is invalid: %q", typ)
			}
			if text(attrs, "name") == "" {
				return bad("name is required")
			}
			if old == nil {
				o.made["client_token"] = "pub" + c.a.hex32()
			}
			return nil
		},
		merge: func(c *call, old *object) (obj, error) {
			if _, err := attributes(c.body, "rum_application_update"); err != nil {
				return nil, err
			}
			if id := text(c.body, "data", "id"); id != old.id {
				return nil, bad("data.id must be %s", old.id)
			}
			return merged(c, old)
		},
		view: func(_ *call, o *object) obj { return viewRUM(o, true) },
		wrap: inData,
		list: func(_ *call, all []*object) (any, error) {
			return obj{"data": views(all, func(o *object) obj { return viewRUM(o, false) })}, nil
		},
		absent: func(string) error { return missing("RUM application not found") },
	}
}

// viewRUM is how the API shows an application. What was asked of processing and retention comes back as product scales.
func viewRUM(o *object, token bool) obj {
	asked := sub(o.body, "data", "attributes")
	scale := func(key, otherwise string) obj {
		state := text(asked, key)
		if state == "" {
			state = otherwise
		}
		return obj{"state": state, "last_modified_at": o.changed.UnixMilli()}
	}
	attrs := obj{
		"name": asked["name"], "type": "browser", "application_id": o.id, "org_id": orgID, "is_active": false, "hash": "",
		"created_at": o.created.UnixMilli(), "created_by_handle": o.author.Email, "updated_at": o.changed.UnixMilli(), "updated_by_handle": o.author.Email,
		"product_scales": obj{
			"rum_event_processing_scale":        scale("rum_event_processing_state", "ALL"),
			"product_analytics_retention_scale": scale("product_analytics_retention_state", "NONE"),
		},
	}
	if typ := text(asked, "type"); typ != "" {
		attrs["type"] = typ
	}
	if token {
		maps.Copy(attrs, obj{"client_token": o.made["client_token"], "api_key_id": 1})
	}
	return resource(o, "rum_application", attrs)
}
