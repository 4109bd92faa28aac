package api_test

import (
	"strings"
	"testing"
)

const incident = `{"data":{"type":"incidents","attributes":{"title":"Error burst","customer_impacted":true,"customer_impact_scope":"answers fail",
	"fields":{"severity":{"type":"dropdown","value":"SEV-2"},"state":{"type":"dropdown","value":"active"},"services":{"type":"autocomplete","value":["llm"]},
	"summary":{"type":"textbox","value":"about"}},
	"initial_cells":[{"cell_type":"markdown","content":{"content":"began"},"important":true}],
	"notification_handles":[{"display_name":"Slack","handle":"@slack-a-b"}]}}}`

func TestIncidents(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v2/incidents"
	id := o.made(201, path, "data.id", incident)
	o.do(200, "GET", path+"/"+id, "").want(t, "data.attributes.public_id", "1", "data.attributes.state", "active", "data.attributes.severity", "SEV-2", "data.attributes.initial_cells", "null")
	second := o.made(201, path, "data.id", strings.NewReplacer("SEV-2", "SEV-4", "Error burst", "Cost").Replace(incident))
	o.do(200, "GET", path, "").want(t, "data.1.id", second)

	search := func(query string, ids ...string) {
		t.Helper()
		r := o.do(200, "GET", path+"/search?sort=-created&query="+strings.ReplaceAll(query, " ", "+"), "")
		for i, want := range append(ids, "nothing") {
			r.want(t, "data.attributes.incidents."+string(rune('0'+i))+map[bool]string{true: ".data.id"}[want != "nothing"], want)
		}
	}
	search("state:(active OR stable) AND services:llm", second, id)
	search("severity:SEV-2", id)
	search("services:other")
	o.refused("query", "GET", path+"/search?query=", "")
	o.refused("query", "GET", path+"/search?query=llm+burst", "")
	o.refused("sort", "GET", path+"/search?query=state:active&sort=title", "")

	resolve := `{"data":{"type":"incidents","id":"` + id + `","attributes":{"customer_impact_end":"2026-11-25T12:00:00Z","fields":{"state":{"type":"dropdown","value":"resolved"}}}}}`
	o.do(200, "PATCH", path+"/"+id, resolve).want(t, "data.attributes.state", "resolved", "data.attributes.severity", "SEV-2", "data.attributes.resolved", "2026-11-25T12:00:00.000Z", "data.attributes.public_id", "1")
	search("state:active", second)
	o.refused("data.id", "PATCH", path+"/"+second, resolve)
	o.do(404, "PATCH", path+"/x", resolve)

	for says, change := range map[string][2]string{
		"title":                 {`"title":"Error burst"`, `"title":""`},
		"customer_impacted":     {`"customer_impacted":true,`, ``},
		"customer_impact_scope": {`"answers fail"`, `""`},
		"type and value":        {`{"type":"dropdown","value":"SEV-2"}`, `"SEV-2"`},
		"none of":               {`SEV-2`, `SEV-9`},
		`dropdown`:              {`{"type":"dropdown","value":"active"}`, `{"type":"textbox","value":"active"}`},
		"list":                  {`["llm"]`, `"llm"`},
		"no such field":         {`"summary"`, `"summery"`},
		"markdown":              {`"markdown"`, `"text"`},
		"start with @":          {`@slack`, `slack`},
	} {
		if changed := strings.Replace(incident, change[0], change[1], 1); changed == incident {
			t.Errorf("%s: nothing was changed", says)
		} else {
			o.refused(says, "POST", path, changed)
		}
	}

	link := `{"data":{"type":"incident_attachments","attributes":{"attachment_type":"link","attachment":{"documentUrl":"https://example.com/a","title":"Playbook"}}}}`
	o.do(201, "POST", path+"/"+id+"/attachments", link)
	o.do(200, "GET", path+"/"+id+"/attachments", "").want(t, "data.0.attributes.attachment.title", "Playbook", "data.1", "nothing")
	o.do(200, "GET", path+"/"+second+"/attachments", "").want(t, "data", "[]")
	o.refused("attachment_type", "POST", path+"/"+id+"/attachments", strings.Replace(link, `"link"`, `"picture"`, 1))
	o.refused("documentUrl", "POST", path+"/"+id+"/attachments", strings.Replace(link, `https://example.com/a`, `a`, 1))
	o.refused("not found", "POST", path+"/x/attachments", link)
}

func TestPages(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v2/on-call/pages"
	page := `{"data":{"type":"pages","attributes":{"title":"Error burst","urgency":"high","tags":["route:critical-errors"],"target":{"type":"team_handle","identifier":"llm"}}}}`
	o.refused("team_handle", "POST", path, page)
	o.made(201, "/api/v2/team", "data.id", `{"data":{"type":"team","attributes":{"name":"LLM","handle":"llm"}}}`)
	first, second := o.made(200, path, "data.id", page), o.made(200, path, "data.id", page)
	if first == second {
		t.Errorf("two requests made one page, %s", first)
	}
	for range 2 {
		o.do(202, "POST", path+"/"+first+"/acknowledge", "")
		o.do(202, "POST", path+"/"+first+"/resolve", "")
	}
	pages := o.api.Objects("page")
	if !strings.Contains(string(pages[first]), `"status":"resolved"`) || !strings.Contains(string(pages[second]), `"status":"triggered"`) {
		t.Errorf("pages: %s", pages)
	}
	o.do(404, "POST", path+"/x/resolve", "")
	for says, change := range map[string][2]string{
		"title": {`"Error burst"`, `""`}, "urgency": {`"high"`, `"medium"`}, "no slack": {`"team_handle"`, `"slack"`}, "data.type": {`"pages"`, `"page"`},
	} {
		o.refused(says, "POST", path, strings.Replace(page, change[0], change[1], 1))
	}
}
