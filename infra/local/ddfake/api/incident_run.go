package api

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// The kinds of what the API makes at run time, and no asset is.
const (
	incidentKind   = "incident"
	attachmentKind = "incident-attachment"
	pageKind       = "page"
)

// fieldTypes are the fields that every incident type has, and what they hold. An organisation may define more.
func fieldTypes() map[string]string {
	return map[string]string{
		"severity": "dropdown", "state": "dropdown", "detection_method": "dropdown", "root_cause": "textbox", "summary": "textbox",
		"services": "autocomplete", "teams": "autocomplete",
	}
}

// choices are the values of the dropdowns.
func choices() map[string][]string {
	return map[string][]string{
		"severity":         {"UNKNOWN", "SEV-1", "SEV-2", "SEV-3", "SEV-4", "SEV-5"},
		"state":            {"active", "stable", "resolved"},
		"detection_method": {"unknown", "customer", "employee", "monitor", "other"},
	}
}

func incidents() kind {
	return kind{
		name: incidentKind, path: "/api/v2/incidents", api: "v2", create: "IncidentCreateRequest", update: "IncidentUpdateRequest",
		method: "PATCH", codes: [3]int{201, 200, 204}, id: uuidOf, check: checkIncident,
		merge: func(c *call, old *object) (obj, error) {
			if id := text(c.body, "data", "id"); id != old.id {
				return nil, bad("data.id must be %s, not %q", old.id, id)
			}
			body, err := merged(c, old)
			if err != nil {
				return nil, err
			}
			// An update names the fields that it changes, and leaves the others.
			attrs := sub(body, "data", "attributes")
			attrs["fields"] = over(sub(old.body, "data", "attributes", "fields"), sub(c.body, "data", "attributes", "fields"))
			return body, nil
		},
		view: func(_ *call, o *object) obj { return viewIncident(o) },
		wrap: inData,
		list: func(c *call, all []*object) (any, error) {
			p, err := ranged(c.q, "page[offset]", "page[size]", 10, 100)
			if err != nil {
				return nil, err
			}
			return obj{"data": views(cut(all, p), viewIncident), "meta": paged(p)}, nil
		},
		absent: func(string) error { return missing("incident not found") },
	}
}

func paged(p page) obj {
	return obj{"pagination": obj{"offset": p.offset, "next_offset": p.offset + p.size, "size": p.size}}
}

// checkIncident judges an incident, and gives a new one its number.
func checkIncident(c *call, o, old *object) error {
	attrs, err := attributes(o.body, "incidents")
	if err != nil {
		return err
	}
	delete(sub(o.body, "data"), "id")
	if _, ok := attrs["customer_impacted"].(bool); !ok || text(attrs, "title") == "" {
		return bad("title and customer_impacted are required")
	}
	if yes(attrs, "customer_impacted") && text(attrs, "customer_impact_scope") == "" {
		return bad("customer_impact_scope is required when customer_impacted is true")
	}
	for name, value := range sub(attrs, "fields") {
		if err := checkField(name, value); err != nil {
			return err
		}
	}
	for i, cell := range objs(attrs, "initial_cells") {
		if text(cell, "cell_type") != "markdown" || text(cell, "content", "content") == "" {
			return bad("initial_cells[%d] must be of type markdown, with content.content", i)
		}
	}
	for i, h := range objs(attrs, "notification_handles") {
		if !strings.HasPrefix(text(h, "handle"), "@") {
			return bad("notification_handles[%d].handle must start with @", i)
		}
	}
	for _, name := range []string{"customer_impact_start", "customer_impact_end", "detected"} {
		if at := text(attrs, name); attrs[name] != nil {
			if _, err := time.Parse(time.RFC3339, at); err != nil {
				return bad("%s is no time: %q", name, at)
			}
		}
	}
	if id := text(attrs, "incident_type_uuid"); id != "" && id != incidentType {
		return bad("incident_type_uuid: %q is no incident type", id)
	}
	if old == nil {
		o.made["public_id"] = len(c.a.store.all(incidentKind)) + len(c.a.store.gone(incidentKind)) + 1
	}
	switch state := stateOf(attrs); {
	case state != "resolved":
		delete(o.made, "resolved")
	case o.made["resolved"] == nil:
		o.made = over(o.made, obj{"resolved": moment(c.now)})
	}
	return nil
}

// checkField judges a field. A value without its type is what the API drops in silence: here it is refused.
func checkField(name string, value any) error {
	field, ok := value.(obj)
	if !ok {
		return bad("fields.%s must be an object with type and value", name)
	}
	want, known := fieldTypes()[name]
	switch {
	case !known:
		return bad("fields.%s: there is no such field", name)
	case text(field, "type") != want:
		return bad("fields.%s: type must be %q", name, want)
	case field["value"] == nil:
		return nil
	case want == "autocomplete":
		if list(field, "value") == nil || len(texts(field, "value")) != len(list(field, "value")) {
			return bad("fields.%s: value must be a list of texts", name)
		}
		return nil
	}
	if _, ok := field["value"].(string); !ok {
		return bad("fields.%s: value must be a text", name)
	}
	if allowed := choices()[name]; allowed != nil && !slices.Contains(allowed, text(field, "value")) {
		return bad("fields.%s: %q is none of %v", name, text(field, "value"), allowed)
	}
	return nil
}

func stateOf(attrs obj) string {
	if s := text(attrs, "fields", "state", "value"); s != "" {
		return s
	}
	return "active"
}

func viewIncident(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	// The timeline is not part of an incident.
	delete(attrs, "initial_cells")
	severity := text(attrs, "fields", "severity", "value")
	if severity == "" {
		severity = "UNKNOWN"
	}
	fill(attrs, obj{"customer_impact_scope": "", "fields": obj{}, "notification_handles": []any{}, "incident_type_uuid": incidentType})
	for key, value := range o.made {
		attrs[key] = copied(value)
	}
	attrs["created"], attrs["modified"], attrs["state"], attrs["severity"] = moment(o.created), moment(o.changed), stateOf(attrs), severity
	return resource(o, "incidents", attrs)
}

// facet is one condition of a search: the field has one of the values.
type facet struct {
	field  string
	values []string
}

// searchTerm is a condition of a search.
var searchTerm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([a-z_]+):(?:([A-Za-z0-9_.-]+)|\(([^()]+)\))$`)
})

// facets reads what is documented of a query: facets joined by AND, values of one joined by OR.
func facets(query string) ([]facet, error) {
	var all []facet
	for term := range strings.SplitSeq(query, " AND ") {
		m := searchTerm().FindStringSubmatch(strings.TrimSpace(term))
		if m == nil {
			return nil, bad("query: %q is not like state:active or state:(active OR stable)", term)
		}
		values := strings.Split(m[2]+m[3], " OR ")
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		all = append(all, facet{m[1], values})
	}
	return all, nil
}

func (f facet) holds(o *object) bool {
	view := sub(viewIncident(o), "attributes")
	have := []string{text(view, f.field)}
	if f.field != "state" && f.field != "severity" {
		have = append(texts(view, "fields", f.field, "value"), text(view, "fields", f.field, "value"))
	}
	return slices.ContainsFunc(have, func(v string) bool { return v != "" && slices.Contains(f.values, v) })
}

// search answers with the incidents that a query asks for.
func (a *API) search(c *call) (int, any, error) {
	conditions, err := facets(c.q.Get("query"))
	if err != nil {
		return 0, nil, err
	}
	p, err := ranged(c.q, "page[offset]", "page[size]", 10, 100)
	if err != nil {
		return 0, nil, err
	}
	var found []*object
	for _, o := range a.store.all(incidentKind) {
		if !slices.ContainsFunc(conditions, func(f facet) bool { return !f.holds(o) }) {
			found = append(found, o)
		}
	}
	switch order := c.q.Get("sort"); order {
	case "", "created":
	case "-created":
		slices.Reverse(found)
	default:
		return 0, nil, bad("sort must be created or -created, not %q", order)
	}
	return http.StatusOK, obj{
		"data": obj{"type": "incidents_search_results", "attributes": obj{
			"total": len(found), "facets": obj{}, "incidents": views(cut(found, p), func(o *object) obj { return obj{"data": viewIncident(o)} }),
		}},
		"meta": paged(p),
	}, nil
}

// responseRoutes adds what the API has for incidents beside the incidents themselves, and pages.
func (a *API) responseRoutes() {
	a.route("GET /api/v2/incidents/search", route{handle: a.search})
	const attachments = "/api/v2/incidents/{id}/attachments"
	a.route("GET "+attachments, route{handle: func(c *call) (int, any, error) {
		if a.store.get(incidentKind, c.param("id")) == nil {
			return 0, nil, bad("incident not found")
		}
		var of []*object
		for _, o := range a.store.all(attachmentKind) {
			if text(o.made, "incident") == c.param("id") {
				of = append(of, o)
			}
		}
		return http.StatusOK, obj{"data": views(of, viewAttachment)}, nil
	}})
	a.route("POST "+attachments, route{api: "v2", schema: "CreateAttachmentRequest", handle: createAttachment})
	const pages = "/api/v2/on-call/pages"
	a.route("POST "+pages, route{api: "v2", schema: "CreatePageRequest", handle: createPage})
	for _, action := range []string{"acknowledge", "escalate", "resolve"} {
		a.route("POST "+pages+"/{id}/"+action, route{bodyless: true, handle: func(c *call) (int, any, error) {
			o := a.store.get(pageKind, c.param("id"))
			if o == nil {
				return 0, nil, missing("page not found")
			}
			next := *o
			next.body, next.changed = clone(o.body), c.now
			sub(next.body, "data", "attributes")["status"] = map[string]string{"acknowledge": "acknowledged", "escalate": "escalated", "resolve": "resolved"}[action]
			return http.StatusAccepted, nil, c.commit(&next)
		}})
	}
}

func createAttachment(c *call) (int, any, error) {
	if c.a.store.get(incidentKind, c.param("id")) == nil {
		return 0, nil, bad("incident not found")
	}
	attrs, err := attributes(c.body, "incident_attachments")
	if err != nil {
		return 0, nil, err
	}
	address, err := url.Parse(text(attrs, "attachment", "documentUrl"))
	switch {
	case text(attrs, "attachment_type") != "link" && text(attrs, "attachment_type") != "postmortem":
		return 0, nil, bad("attachment_type must be link or postmortem")
	case err != nil || address.Host == "" || text(attrs, "attachment", "title") == "":
		return 0, nil, bad("attachment needs a documentUrl and a title")
	}
	o := &object{
		kind: attachmentKind, id: c.a.uuid(), body: clone(c.body), made: obj{"incident": c.param("id")}, created: c.now, changed: c.now, author: c.author,
	}
	return http.StatusCreated, obj{"data": viewAttachment(o)}, c.commit(o)
}

func viewAttachment(o *object) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	attrs["modified"] = moment(o.changed)
	v := resource(o, "incident_attachments", attrs)
	v["relationships"] = obj{"incident": obj{"data": obj{"id": text(o.made, "incident"), "type": "incidents"}}, "last_modified_by_user": person(o.author)}
	return v
}

// createPage pages whom the target names. Nothing tells two pages apart that ask for the same: both are sent.
func createPage(c *call) (int, any, error) {
	attrs, err := attributes(c.body, "pages")
	if err != nil {
		return 0, nil, err
	}
	typ, who := text(attrs, "target", "type"), text(attrs, "target", "identifier")
	switch urgency := text(attrs, "urgency"); {
	case text(attrs, "title") == "":
		return 0, nil, bad("title is required")
	case urgency != "low" && urgency != "high":
		return 0, nil, bad("urgency must be low or high, not %q", urgency)
	}
	known := false
	switch typ {
	case "team_handle":
		known = c.a.store.find(teamKind, func(o *object) bool { return text(o.body, "data", "attributes", "handle") == who }) != nil
	case "team_id":
		known = c.a.store.get(teamKind, who) != nil
	case "user_id":
		_, known = c.a.known(who)
	}
	if !known {
		return 0, nil, bad("target: there is no %s %q", typ, who)
	}
	o := &object{kind: pageKind, id: c.a.uuid(), body: clone(c.body), made: obj{}, created: c.now, changed: c.now, author: c.author}
	sub(o.body, "data", "attributes")["status"] = "triggered"
	return http.StatusOK, obj{"data": obj{"id": o.id, "type": "pages"}}, c.commit(o)
}
