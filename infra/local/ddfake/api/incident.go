package api

import (
	"net/http"
	"slices"
	"strings"
)

const (
	incidentHandleKind = "incident-handle"
	incidentRuleKind   = "incident-rule"
	// incidentType is the id of the organisation's only incident type.
	incidentType = "1c1de700-0000-4000-8000-000000000001"
	handlesPath  = "/api/v2/incidents/config/global/incident-handles"
)

func incidentRules() kind {
	return kind{
		name: incidentRuleKind, path: "/api/v2/incidents/config/notification-rules", api: "v2", create: "CreateIncidentNotificationRuleRequest",
		update: "PutIncidentNotificationRuleRequest", method: "PUT", codes: [3]int{201, 200, 204}, id: uuidOf,
		check: func(_ *call, o, old *object) error {
			attrs, err := attributes(o.body, "incident_notification_rules")
			if err != nil {
				return err
			}
			if old != nil && text(o.body, "data", "id") != o.id {
				return bad("data.id must be %s", o.id)
			}
			delete(sub(o.body, "data"), "id")
			visibility := text(attrs, "visibility")
			switch {
			case !slices.Contains([]string{"incident_created_trigger", "incident_saved_trigger"}, text(attrs, "trigger")):
				return bad("trigger is invalid: %q", text(attrs, "trigger"))
			case len(list(attrs, "conditions")) == 0 || len(list(attrs, "handles")) == 0:
				return bad("conditions and handles are required")
			case visibility != "" && !slices.Contains([]string{"all", "organization", "private"}, visibility):
				return bad("visibility is invalid: %q", visibility)
			}
			for _, c := range objs(attrs, "conditions") {
				if text(c, "field") == "" || len(list(c, "values")) == 0 {
					return bad("a condition needs a field and values")
				}
			}
			for _, h := range list(attrs, "handles") {
				if s, ok := h.(string); !ok || !strings.HasPrefix(s, "@") {
					return bad("a handle must start with @: %v", h)
				}
			}
			return checkIncidentType(o.body)
		},
		view: func(_ *call, o *object) obj { return viewIncidentRule(o) },
		wrap: inData,
		list: func(_ *call, all []*object) (any, error) {
			return obj{"data": views(all, viewIncidentRule), "included": []any{}, "meta": obj{"pagination": obj{"offset": 0, "next_offset": len(all), "size": len(all)}}}, nil
		},
	}
}

// checkIncidentType judges the relationship to an incident type.
func checkIncidentType(b obj) error {
	if id := text(b, "data", "relationships", "incident_type", "data", "id"); id != incidentType {
		return bad("relationships.incident_type: %q is no incident type", id)
	}
	return nil
}

func viewIncidentRule(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	fill(attrs, obj{"enabled": false, "visibility": "organization", "renotify_on": []any{}})
	attrs["created"], attrs["modified"] = moment(o.created), moment(o.changed)
	v := resource(o, "incident_notification_rules", attrs)
	v["relationships"] = over(sub(o.body, "data", "relationships"), obj{"created_by_user": person(o.author), "last_modified_by_user": person(o.author)})
	return v
}

// incidentRoutes adds the incident types, and the handles, whose paths have no id: the body of an update has it, and so
// has, here, the body of a delete.
func (a *API) incidentRoutes() {
	viewType := func() obj {
		return obj{"id": incidentType, "type": "incident_types", "attributes": obj{
			"name": "Default", "description": "", "is_default": true, "prefix": "IR", "createdBy": a.opts.Users[0].ID, "lastModifiedBy": a.opts.Users[0].ID,
		}}
	}
	a.route("GET /api/v2/incidents/config/types", route{handle: func(*call) (int, any, error) {
		return http.StatusOK, obj{"data": []any{viewType()}}, nil
	}})
	a.route("GET /api/v2/incidents/config/types/{id}", route{handle: func(c *call) (int, any, error) {
		if c.param("id") != incidentType {
			return 0, nil, missing("incident type not found")
		}
		return http.StatusOK, obj{"data": viewType()}, nil
	}})
	a.kinds[incidentHandleKind] = maker{create: createHandle}
	a.route("POST "+handlesPath, route{style: jsonAPI, api: "v2", schema: "IncidentHandleRequest", handle: createHandle})
	a.route("GET "+handlesPath, route{style: jsonAPI, handle: func(*call) (int, any, error) {
		return http.StatusOK, obj{"data": views(a.store.all(incidentHandleKind), viewHandle), "included": []any{}}, nil
	}})
	a.route("PUT "+handlesPath, route{style: jsonAPI, api: "v2", schema: "IncidentHandleRequest", handle: func(c *call) (int, any, error) {
		old := a.store.get(incidentHandleKind, text(c.body, "data", "id"))
		if old == nil {
			return 0, nil, bad("handle %q not found", text(c.body, "data", "id"))
		}
		o := *old
		o.body, o.changed = clone(c.body), c.now
		if err := checkHandle(c, &o); err != nil {
			return 0, nil, err
		}
		return http.StatusOK, obj{"data": viewHandle(&o)}, c.commit(&o)
	}})
	a.route("DELETE "+handlesPath, route{style: jsonAPI, handle: func(c *call) (int, any, error) {
		o := a.store.get(incidentHandleKind, text(c.body, "data", "id"))
		if o == nil {
			return 0, nil, bad("handle %q not found", text(c.body, "data", "id"))
		}
		return http.StatusNoContent, nil, a.drop(o)
	}})
}

func createHandle(c *call) (int, any, error) {
	o := &object{kind: incidentHandleKind, id: c.a.uuid(), body: clone(c.body), created: c.now, changed: c.now, author: c.author}
	if err := checkHandle(c, o); err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, obj{"data": viewHandle(o)}, c.commit(o)
}

func checkHandle(c *call, o *object) error {
	attrs, err := attributes(o.body, "incidents_handles")
	if err != nil {
		return err
	}
	delete(sub(o.body, "data"), "id")
	name := text(attrs, "name")
	if !strings.HasPrefix(name, "@incident-") || name == "@incident-" || strings.ContainsAny(name, " \t\n") {
		return bad("name must be of the form @incident-<name>")
	}
	if c.a.store.find(incidentHandleKind, func(p *object) bool { return p.id != o.id && text(p.body, "data", "attributes", "name") == name }) != nil {
		return bad("a handle %s exists already", name)
	}
	return checkIncidentType(o.body)
}

func viewHandle(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	fill(attrs, obj{"fields": obj{"severity": []any{}}})
	attrs["created_at"], attrs["modified_at"] = moment(o.created), moment(o.changed)
	v := resource(o, "incidents_handles", attrs)
	v["relationships"] = over(sub(o.body, "data", "relationships"), obj{"created_by_user": person(o.author), "last_modified_by_user": person(o.author)})
	return v
}
