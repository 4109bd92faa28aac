package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/api"
)

// refused sends a request that must be refused with 400 and a text.
func (o *org) refused(says, method, path, body string) {
	o.t.Helper()
	if r := o.do(400, method, path, body); !strings.Contains(r.raw, says) {
		o.t.Errorf("%s %s: %s, want %q in it", method, path, r.raw, says)
	}
}

// burn is a burn-rate monitor on an SLO.
func burn(slo, threshold string) string {
	return fmt.Sprintf(`{"name":"burn","type":"slo alert","query":"burn_rate(\"%s\").over(\"30d\").long_window(\"1h\").short_window(\"5m\") > %s","message":""}`, slo, threshold)
}

func TestMonitors(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v1/monitor"
	id := o.made(200, path, "id", monitor)
	o.do(400, "POST", path, monitor).want(t, "errors.0", "Duplicate of an existing monitor_id:"+id+" org_id:4242")
	o.do(200, "POST", path+"/validate", strings.Replace(monitor, "p95", "p99", 1))
	o.refused("Duplicate", "POST", path+"/validate", monitor)
	o.do(200, "POST", path+"/"+id+"/validate", monitor)
	o.do(404, "POST", path+"/1/validate", monitor)
	if n := len(o.api.Objects("monitor")); n != 1 {
		t.Errorf("validation made monitors: %d", n)
	}
	o.refused("type can not be changed", "PUT", path+"/"+id, `{"type":"log alert","query":"logs(\"x\").index(\"*\").rollup(\"count\").last(\"5m\") > 2"}`)
	o.do(200, "PUT", path+"/"+id, `{"type":"metric alert"}`)

	percentile := o.made(200, path, "id", strings.NewReplacer("p95", "p99", "avg(last_5m):avg:", "percentile(last_5m):p99:").Replace(monitor))
	o.do(200, "GET", path+"/"+percentile, "").want(t, "type", "query alert")
	composite := o.made(200, path, "id", `{"name":"both","type":"composite","query":"`+id+` && `+percentile+`","message":""}`)
	o.refused("referenced in composite", "DELETE", path+"/"+id, "")
	o.do(409, "GET", path+"/can_delete?monitor_ids="+id+","+composite, "").want(t, "data.ok.0", composite)
	o.refused("invalid", "POST", path, `{"name":"deep","type":"composite","query":"`+composite+` && `+id+`","message":""}`)
	of := o.made(200, "/api/v1/slo", "data.0.id", `{"name":"m","type":"monitor","monitor_ids":[`+percentile+`],"thresholds":[{"timeframe":"7d","target":99}]}`)
	o.do(200, "DELETE", path+"/"+composite, "").want(t, "deleted_monitor_id", composite)
	o.refused("referenced in slos: ["+of+"]", "DELETE", path+"/"+percentile, "")
	o.do(200, "DELETE", path+"/"+percentile+"?force=true", "")

	o.do(200, "GET", path+"?page=0&page_size=1", "").want(t, "0.id", id, "1", "nothing")
	o.do(200, "GET", path+"?page=1&page_size=1", "").want(t, "0", "nothing")
	o.do(200, "GET", path+"?monitor_tags=service:y", "").want(t, "0", "nothing")
	o.do(200, "GET", path+"?tags=service:x&name=P95", "").want(t, "0.id", id)
	o.do(200, "GET", path+"?id_offset="+id, "").want(t, "0", "nothing")
	o.do(200, "GET", path+"/search?query=tag:(service:x)+type:alert+p95", "").want(t, "monitors.0.id", id, "metadata.total_count", "1")
	o.do(200, "GET", path+"/search?query=id:1", "").want(t, "metadata.total_count", "0")
	o.refused("page", "GET", path+"?page=first", "")
}

func TestBurnRatesAndTheirSLO(t *testing.T) {
	o := newOrg(t)
	id := o.made(200, "/api/v1/slo", "data.0.id", slo)
	o.do(200, "GET", "/api/v1/slo/can_delete?ids="+id, "").want(t, "data.ok.0", id)
	o.refused("at most 100.0", "POST", "/api/v1/monitor", burn(id, "101"))
	o.refused("7d", "POST", "/api/v1/monitor", strings.Replace(burn(id, "2"), "30d", "7d", 1))
	o.refused("long window", "POST", "/api/v1/monitor", strings.Replace(burn(id, "2"), `\"1h\"`, `\"30m\"`, 1))
	o.refused("short window", "POST", "/api/v1/monitor", strings.Replace(burn(id, "2"), `\"5m\"`, `\"x\"`, 1))
	alert := o.made(200, "/api/v1/monitor", "id", burn(id, "14.4"))
	o.do(200, "GET", "/api/v1/slo/"+id+"?with_configured_alert_ids=true", "").want(t, "data.configured_alert_ids", "["+alert+"]")
	o.do(409, "DELETE", "/api/v1/slo/"+id, "").want(t, "errors."+id, "This SLO is used in a monitor")
	o.do(409, "GET", "/api/v1/slo/can_delete?ids="+id, "")
	o.do(200, "DELETE", "/api/v1/slo/"+id+"?force=true", "").want(t, "data.0", id)
	o.do(404, "GET", "/api/v1/slo/"+id, "")
	o.do(200, "GET", "/api/v1/slo?is_deleted=true", "").want(t, "data.0.id", id)
	o.do(404, "GET", "/api/v1/slo?ids="+id, "")
	o.refused("type can not be changed", "PUT", "/api/v1/slo/"+o.made(200, "/api/v1/slo", "data.0.id", slo), `{"name":"x","type":"metric","thresholds":[{"timeframe":"7d","target":9}]}`)
	o.do(200, "GET", "/api/v1/slo/search?query=service:x", "").want(t, "data.attributes.slos.0.data.attributes.name", "latency", "meta.pagination.total", "1")
	o.do(200, "GET", "/api/v1/slo?query=nothing&limit=1", "").want(t, "data", "[]", "metadata.page.total_count", "1")
}

func TestDashboards(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v1/dashboard"
	r := o.do(200, "POST", path, strings.Replace(dashboard, `"widgets"`, `"tags":["team:x"],"description":"managed-by:x","widgets"`, 1))
	id, widget, inner := r.at("id"), r.at("widgets.0.id"), r.at("widgets.1.definition.widgets.0.id")
	if widget == "null" || inner == "null" {
		t.Fatalf("widgets without ids: %s", r.raw)
	}
	o.do(200, "GET", path+"/"+id, "").want(t, "widgets.0.id", widget, "widgets.1.definition.widgets.0.id", inner, "url", "/dashboard/"+id+"/llm-all-of-it")
	if kept := string(o.api.Objects("dashboard")[id]); strings.Contains(kept, widget) {
		t.Errorf("what was sent is kept with what the server made: %s", kept)
	}
	o.do(200, "GET", path, "").want(t, "dashboards.0.description", "managed-by:x", "dashboards.0.tags", "null", "dashboards.0.widgets", "null")
	o.do(200, "PUT", path+"/"+id, strings.Replace(dashboard, `{"definition":{"type":"note","content":"x"}}`, `{"id":`+widget+`,"definition":{"type":"note","content":"z"}}`, 1)).
		want(t, "widgets.0.id", widget, "tags", "[]", "description", "null")
	o.do(200, "DELETE", path+"/"+id, "").want(t, "deleted_dashboard_id", id)
	o.do(200, "GET", path, "").want(t, "dashboards", "[]")
	o.do(200, "GET", path+"?filter[deleted]=true", "").want(t, "dashboards.0.id", id)
	o.do(200, "GET", path+"?filter[shared]=true", "").want(t, "dashboards", "[]")
}

func TestWorkflowsInLists(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v2/workflows"
	public := o.made(201, path, "data.id", workflow)
	draft := o.made(201, path, "data.id", strings.Replace(workflow, `"published":true`, `"published":false`, 1))
	o.do(200, "GET", path, "").want(t, "data.0.id", public, "data.0.attributes.spec", "null", "data.1", "nothing", "meta.page.totalCount", "2", "meta.page.totalFilteredCount", "1")
	o.do(200, "GET", path+"?filter[includeUnpublished]=true&filter[includeSpecs]=true", "").want(t, "data.1.id", draft, "data.0.attributes.spec.handle", "auto")
	o.do(200, "GET", path+"?filter[includeUnpublished]=true&limit=1&page=1", "").want(t, "data.0.id", draft, "data.1", "nothing")
	o.do(200, "GET", path+"?filter[query]=service:y", "").want(t, "data", "[]")
	o.do(200, "GET", path+"?filter[query]=AUT", "").want(t, "data.0.id", public)
	o.do(404, "GET", path+"/x", "").want(t, "errors.0.status", "404", "errors.0.title", "Not Found", "errors.0.detail", "workflow x not found")
}

func TestConnectionTokens(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v2/actions/connections"
	id := o.made(201, path, "data.id", connection)
	change := func(tokens string) string {
		return `{"data":{"type":"action_connection","attributes":{"integration":{"type":"HTTP","credentials":{"type":"HTTPTokenAuth","tokens":[` + tokens + `]}}}}}`
	}
	o.do(200, "PATCH", path+"/"+id, change(`{"type":"SECRET","name":"tok","value":"new"},{"type":"SECRET","name":"more","value":"m"}`))
	if kept := string(o.api.Objects("connection")[id]); !strings.Contains(kept, `"new"`) || strings.Contains(kept, "s3cret") || !strings.Contains(kept, `"more"`) {
		t.Errorf("after an update: %s", kept)
	}
	o.do(200, "PATCH", path+"/"+id, change(`{"type":"SECRET","name":"tok","value":"","deleted":true}`)).
		want(t, "data.attributes.integration.credentials.tokens.0.name", "more", "data.attributes.integration.credentials.tokens.1", "nothing")
	if r := o.do(200, "GET", path+"/"+id, ""); strings.Contains(r.raw, `"m"`) {
		t.Errorf("a token is shown: %s", r.raw)
	}
	used := strings.Replace(workflow, `"triggers"`, `"connectionEnvs":[{"env":"default","connections":[{"label":"L","connectionId":"`+id+`"}]}],"triggers"`, 1)
	o.do(201, "POST", "/api/v2/workflows", strings.Replace(used, `"actionId"`, `"connectionLabel":"L","actionId"`, 1))
	o.do(204, "DELETE", path+"/"+id, "")
}

// test is a Synthetics test of a variable.
func test(variable string) string {
	return `{"type":"api","name":"health","message":"","locations":["aws:eu-west-1"],"tags":["service:x"],"options":{"tick_every":60},"config":{"request":{"url":"https://fn.example.com/health"},
		"assertions":[{"type":"statusCode","operator":"is","target":200}],"configVariables":[{"type":"global","name":"LRCP_KEY","id":"` + variable + `"}]}}`
}

func TestSyntheticsTests(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v1/synthetics/tests"
	variable := o.made(200, "/api/v1/synthetics/variables", "id", global)
	o.do(409, "POST", "/api/v1/synthetics/variables", global)
	body := test(variable)
	r := o.do(200, "POST", path+"/api", body)
	id, of := r.at("public_id"), r.at("monitor_id")
	r.want(t, "status", "live", "subtype", "http", "options.min_location_failed", "1", "options.monitor_options.renotify_interval", "0")
	o.do(200, "GET", path+"/api/"+id, "").want(t, "name", "health")
	o.do(200, "GET", path+"/"+id, "").want(t, "monitor_id", of)
	o.do(200, "GET", path, "").want(t, "tests.0.public_id", id)
	o.do(200, "GET", path+"?page_size=1&page_number=1", "").want(t, "tests", "[]")
	o.do(200, "GET", path+"/search?text=tag:service:x", "").want(t, "tests.0.public_id", id)

	// The monitor of the test is in the lists of monitors, with the tags of the test. It is nobody's asset.
	o.do(200, "GET", "/api/v1/monitor?monitor_tags=service:x", "").want(t, "0.id", of, "0.type", "synthetics alert", "0.name", "[Synthetics] health", "0.options.synthetics_check_id", id)
	if n := len(o.api.Objects("monitor")); n != 0 {
		t.Errorf("%d monitors are objects of their own", n)
	}
	o.refused("synthetics", "DELETE", "/api/v1/monitor/"+of, "")
	o.refused("used by test "+id, "DELETE", "/api/v1/synthetics/variables/"+variable, "")

	for says, b := range map[string][2]string{
		"type":            {`"type":"api"`, `"type":"browser"`},
		"name":            {`"health"`, `""`},
		"message":         {`"message"`, `"massage"`},
		"locations":       {`"aws:eu-west-1"`, ``},
		"unknown loc":     {`aws:eu-west-1`, `here`},
		"tick_every":      {`:60`, `:10`},
		"options":         {`"options"`, `"option"`},
		"url":             {`"url"`, `"uri"`},
		"operator":        {`"operator"`, `"op"`},
		"target":          {`"target"`, `"targets"`},
		"status":          {`"message"`, `"status":"off","message"`},
		"subtype":         {`"message"`, `"subtype":"ftp","message"`},
		"global variable": {variable, "x"},
		"name and a":      {`"name":"LRCP_KEY"`, `"names":"LRCP_KEY"`},
	} {
		o.refused(says, "POST", path+"/api", strings.Replace(body, b[0], b[1], 1))
	}
	o.do(200, "PUT", path+"/api/"+id, strings.Replace(body, `"health"`, `"alive"`, 1)).want(t, "name", "alive", "monitor_id", of)
	o.do(200, "GET", "/api/v1/monitor/"+of, "").want(t, "name", "[Synthetics] alive")
	o.do(404, "PUT", path+"/api/x", body)
	o.do(405, "DELETE", path+"/api/"+id, "")
	o.refused("public_ids", "POST", path+"/delete", `{}`)
	o.do(404, "POST", path+"/delete", `{"public_ids":["x"]}`)
	o.do(200, "POST", path+"/delete", `{"public_ids":["`+id+`"]}`).want(t, "deleted_tests.0.public_id", id)
	o.do(404, "GET", path+"/api/"+id, "")
	o.do(404, "GET", "/api/v1/monitor/"+of, "")
	o.do(200, "DELETE", "/api/v1/synthetics/variables/"+variable, "")
	if told := strings.Join(o.told, ","); strings.Contains(told, "monitor") {
		t.Errorf("the sink is told of the monitor of a test: %s", told)
	}
}

func TestMetrics(t *testing.T) {
	o := newOrg(t, func(opts *api.Options) { opts.Submitted = func(name string) bool { return name == "llm.seen" } })
	const path = "/api/v1/metrics/llm.request.cost"
	metadata := `{"type":"distribution","description":"Cost","unit":"dollar","short_name":"cost"}`
	o.do(404, "GET", path, "")
	o.do(404, "PUT", path, metadata)
	o.refused("no points", "POST", "/api/v2/metrics/llm.request.cost/tags", tagConfig)
	o.refused("series", "POST", "/api/v1/distribution_points", `{}`)
	o.refused("metric", "POST", "/api/v1/distribution_points", `{"series":[{"metric":"1"}]}`)
	o.do(202, "POST", "/api/v1/distribution_points", points).want(t, "status", "ok")
	o.do(202, "POST", "/api/v2/series", `{"series":[{"metric":"llm.other","type":1,"points":[{"timestamp":1795608000,"value":1}]}]}`)
	o.do(200, "GET", "/api/v1/metrics/llm.other", "")
	o.do(200, "GET", "/api/v1/metrics/llm.seen", "")
	o.do(200, "GET", path, "").want(t, "description", "null", "type", "distribution")
	o.do(200, "PUT", path, metadata).want(t, "unit", "dollar")
	o.refused("unit", "PUT", path, `{"unit":"furlong"}`)
	o.refused("type", "PUT", path, `{"type":"histogram"}`)
	o.do(200, "PUT", path, `{"unit":"cent"}`).want(t, "unit", "cent", "description", "Cost")
	o.do(200, "PUT", path, `{"unit":"","description":"","short_name":""}`)
	if got := o.api.Objects("metric-metadata"); len(got) != 0 {
		t.Errorf("empty metadata is kept: %s", got)
	}

	const tags = "/api/v2/metrics/llm.request.cost/tags"
	for says, b := range map[string][2]string{
		"metric_type":         {`"distribution"`, `"histogram"`},
		"include_percentiles": {`"distribution"`, `"count"`},
		"exclude_tags_mode":   {`"tags":["service","env"]`, `"exclude_tags_mode":true`},
		"tag key":             {`"env"`, `"env:prod"`},
	} {
		o.refused(says, "POST", tags, strings.Replace(tagConfig, b[0], b[1], 1))
	}
	o.do(201, "POST", tags, tagConfig)
	o.do(409, "POST", tags, tagConfig)
	o.refused("metric_type", "PATCH", tags, tagConfig)

	o.do(200, "POST", "/api/v2/apm/config/metrics", spansMetric)
	o.do(409, "POST", "/api/v2/apm/config/metrics", spansMetric)
	o.refused("compute.path can not be changed", "PATCH", "/api/v2/apm/config/metrics/llm.span.duration", strings.Replace(spansMetric, "@duration", "@other", 1))
}

func TestRetentionFilters(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v2/apm/config/retention-filters"
	r := o.do(200, "GET", path, "")
	r.want(t, "data.0.attributes.filter_type", "spans-errors-sampling-processor", "data.0.attributes.editable", "false", "data.2", "nothing")
	own, other := r.at("data.0.id"), r.at("data.1.id")
	o.do(403, "DELETE", path+"/"+own, "")
	o.do(403, "PUT", path+"/"+own, filter)
	id := o.made(200, path, "data.id", filter)
	o.do(409, "POST", path, filter)
	o.refused("data.id", "PUT", path+"/"+id, filter)
	order := func(ids ...string) string {
		return `{"data":[{"type":"apm_retention_filter","id":"` + strings.Join(ids, `"},{"type":"apm_retention_filter","id":"`) + `"}]}`
	}
	o.refused("every", "PUT", path+"-execution-order", order(id))
	o.do(200, "PUT", path+"-execution-order", order(id, other, own))
	o.do(200, "GET", path+"/"+id, "").want(t, "data.attributes.execution_order", "1")
	if n := len(o.api.Objects("retention-filter")); n != 1 {
		t.Errorf("Datadog's own filters are objects: %d", n)
	}
}

func TestTeams(t *testing.T) {
	o := newOrg(t)
	id := withTeam(o)[0]
	o.do(409, "POST", "/api/v2/team", team)
	for i := range 12 {
		o.made(201, "/api/v2/team", "data.id", strings.NewReplacer("llm-platform", fmt.Sprintf("t%d", i)).Replace(team))
	}
	o.do(200, "GET", "/api/v2/team", "").want(t, "data.9.type", "team", "data.10", "nothing", "meta.pagination.total", "13")
	o.do(200, "GET", "/api/v2/team?page[number]=1", "").want(t, "data.2.type", "team", "data.3", "nothing")
	o.do(200, "GET", "/api/v2/team/"+id, "").want(t, "data.relationships.team_links.links.related", "/api/v2/team/"+id+"/links")
}

func TestEntities(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v2/catalog/entity"
	entity := `{"apiVersion":"v3","kind":"service","metadata":{"name":"lrcp","owner":"llm-platform","tags":["a:b"]},"spec":{"tier":"1"}}`
	id := o.made(202, path, "data.0.id", entity)
	o.do(202, "POST", path, strings.Replace(entity, `"1"`, `"2"`, 1)).want(t, "data.0.id", id)
	o.do(200, "GET", path+"?filter[ref]=service:default/lrcp", "").want(t, "data.0.attributes.owner", "llm-platform", "data.0.attributes.spec", "null", "included", "[]")
	o.do(200, "GET", path+"?filter[name]=lrcp&include=schema", "").want(t, "included.0.attributes.schema.spec.tier", "2")
	o.do(200, "GET", path+"?filter[kind]=system", "").want(t, "data", "[]", "meta.count", "0")
	for says, b := range map[string][2]string{"apiVersion": {"v3", "v2"}, "kind": {`"service"`, `"server"`}, "metadata.name": {"lrcp", "l rcp"}} {
		o.refused(says, "POST", path, strings.Replace(entity, b[0], b[1], 1))
	}
	o.do(404, "DELETE", path+"/service:other", "")
	o.do(204, "DELETE", path+"/service:lrcp", "")
	o.made(202, path, "data.0.id", entity)
	o.do(204, "DELETE", path+"/service:default%2Flrcp", "")
	id = o.made(202, path, "data.0.id", entity)
	o.do(204, "DELETE", path+"/"+id, "")
	if n := len(o.api.Objects("entity")); n != 0 {
		t.Errorf("%d entities are left", n)
	}
}

func TestScanner(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v2/sensitive-data-scanner/config"
	configuration := o.do(200, "GET", path, "").at("data.id")
	group := `{"meta":{},"data":{"type":"sensitive_data_scanner_group","attributes":{"name":"LLM","description":"d","filter":{"query":"service:x"},"product_list":["logs"]},
		"relationships":{"configuration":{"data":{"type":"sensitive_data_scanner_configuration","id":"` + configuration + `"}},"rules":{"data":[]}}}}`
	for says, b := range map[string][2]string{
		"meta":            {`"meta":{},`, ``},
		"version 9":       {`"meta":{}`, `"meta":{"version":9}`},
		"configuration":   {configuration, "x"},
		"must be empty":   {`"data":[]`, `"data":[{"id":"r","type":"sensitive_data_scanner_rule"}]`},
		"name":            {`"LLM"`, `""`},
		"unknown product": {`["logs"]`, `["mail"]`},
		"samplings":       {`"product_list"`, `"samplings":[{"product":"rum","rate":100}],"product_list"`},
	} {
		o.refused(says, "POST", path+"/groups", strings.Replace(group, b[0], b[1], 1))
	}
	id := o.made(201, path+"/groups", "data.id", group)
	rule := `{"meta":{},"data":{"type":"sensitive_data_scanner_rule","attributes":{"name":"emails","pattern":"[a-z]+@[a-z]+","text_replacement":{"type":"replacement_string","replacement_string":"[x]"}},
		"relationships":{"group":{"data":{"type":"sensitive_data_scanner_group","id":"` + id + `"}}}}}`
	for says, b := range map[string][2]string{
		"group":              {id, "x"},
		"name":               {`"emails"`, `""`},
		"either pattern":     {`"pattern"`, `"patterns"`},
		"text_replacement.t": {`"type":"replacement_string"`, `"type":"rot13"`},
		"replacement_string": {`"replacement_string":"[x]"`, `"replacement_string":""`},
		"priority":           {`"pattern"`, `"priority":9,"pattern"`},
		"standard_pattern":   {`"pattern":"[a-z]+@[a-z]+",`, ``},
	} {
		broken := strings.Replace(rule, b[0], b[1], 1)
		if says == "standard_pattern" {
			broken = strings.Replace(broken, `"relationships":{`, `"relationships":{"standard_pattern":{"data":{"id":"x","type":"sensitive_data_scanner_standard_pattern"}},`, 1)
		}
		o.refused(says, "POST", path+"/rules", broken)
	}
	first := o.made(201, path+"/rules", "data.id", rule)
	pattern := o.do(200, "GET", path+"/standard-patterns", "").at("data.0.id")
	second := o.made(201, path+"/rules", "data.id", strings.NewReplacer(`"pattern":"[a-z]+@[a-z]+",`, "", `"relationships":{`,
		`"relationships":{"standard_pattern":{"data":{"id":"`+pattern+`","type":"sensitive_data_scanner_standard_pattern"}},`).Replace(rule))
	r := o.do(200, "GET", path, "")
	r.want(t, "included.0.id", id, "included.0.relationships.rules.data.1.id", second, "included.0.attributes.samplings.0.rate", "100",
		"included.1.attributes.priority", "1", "included.2.relationships.standard_pattern.data.id", pattern)
	version := r.at("meta.version")

	update := `{"meta":{"version":` + version + `},"data":{"type":"sensitive_data_scanner_group","id":"` + id + `","attributes":{"name":"LLM 2"},"relationships":{"rules":{"data":[{"id":"%s","type":"sensitive_data_scanner_rule"}%s]}}}}`
	o.refused("every rule", "PATCH", path+"/groups/"+id, fmt.Sprintf(update, first, ""))
	o.do(200, "PATCH", path+"/groups/"+id, fmt.Sprintf(update, second, `,{"id":"`+first+`","type":"sensitive_data_scanner_rule"}`))
	o.refused("version", "PATCH", path+"/groups/"+id, fmt.Sprintf(update, second, `,{"id":"`+first+`","type":"sensitive_data_scanner_rule"}`))
	o.do(200, "GET", path, "").want(t, "included.0.relationships.rules.data.0.id", second, "included.0.attributes.name", "LLM 2", "included.0.attributes.filter.query", "service:x")
	o.do(200, "PATCH", path+"/rules/"+first, `{"meta":{},"data":{"type":"sensitive_data_scanner_rule","id":"`+first+`","attributes":{"priority":2}}}`)
	o.do(404, "PATCH", path+"/rules/x", `{"meta":{},"data":{"type":"sensitive_data_scanner_rule","attributes":{}}}`)
	o.refused("type", "PATCH", path+"/rules/"+first, `{"meta":{},"data":{"type":"rule","attributes":{}}}`)

	other := o.made(201, path+"/groups", "data.id", group)
	order := `{"meta":{},"data":{"type":"sensitive_data_scanner_configuration","relationships":{"groups":{"data":[{"id":"` + other + `","type":"sensitive_data_scanner_group"}%s]}}}}`
	o.refused("every group", "PATCH", path, fmt.Sprintf(order, ""))
	o.do(200, "PATCH", path, fmt.Sprintf(order, `,{"id":"`+id+`","type":"sensitive_data_scanner_group"}`))
	o.do(200, "GET", path, "").want(t, "data.relationships.groups.data.0.id", other)

	o.refused("meta", "DELETE", path+"/rules/"+first, "")
	o.do(200, "DELETE", path+"/rules/"+first, `{"meta":{}}`)
	o.do(404, "DELETE", path+"/rules/"+first, `{"meta":{}}`)
	o.do(200, "DELETE", path+"/groups/"+id, `{"meta":{}}`)
	o.do(404, "DELETE", path+"/groups/"+id, `{"meta":{}}`)
	if n := len(o.api.Objects("scanner-rule")); n != 0 {
		t.Errorf("%d rules outlive their group", n)
	}
}

func TestOrders(t *testing.T) {
	o := newOrg(t)
	foreign, err := o.api.Seed("pipeline", json.RawMessage(`{"name":"nginx","is_read_only":true,"is_enabled":true}`))
	if err != nil {
		t.Fatal(err)
	}
	const pipelines, order = "/api/v1/logs/config/pipelines", "/api/v1/logs/config/pipeline-order"
	id := o.made(200, pipelines, "id", pipeline)
	o.do(200, "GET", pipelines+"/"+foreign, "").want(t, "is_read_only", "true")
	o.do(403, "PUT", pipelines+"/"+foreign, pipeline).want(t, "errors.0", "pipeline "+foreign+" is read-only")
	o.do(403, "DELETE", pipelines+"/"+foreign, "")
	o.do(400, "GET", pipelines+"/x", "").want(t, "error.code", "InvalidArgument")
	o.do(200, "GET", order, "").want(t, "pipeline_ids", `["`+foreign+`","`+id+`"]`)
	o.do(422, "PUT", order, `{"pipeline_ids":["`+id+`"]}`)
	o.do(422, "PUT", order, `{"pipeline_ids":["`+id+`","`+id+`"]}`)
	o.do(400, "PUT", order, `{}`)
	want := `{"pipeline_ids":["` + id + `","` + foreign + `"]}`
	o.do(200, "PUT", order, want)
	if got := string(o.api.Objects("pipeline-order")["pipeline-order"]); got != want {
		t.Errorf("the order is stored as %s, want %s", got, want)
	}
	o.do(200, "GET", pipelines, "").want(t, "0.id", id, "1.id", foreign)

	const archives = "/api/v2/logs/config/archives"
	a := o.made(200, archives, "data.id", archive)
	b := o.made(200, archives, "data.id", strings.Replace(archive, `"all"`, `"errors"`, 1))
	body := func(ids string) string {
		return `{"data":{"type":"archive_order","attributes":{"archive_ids":[` + ids + `]}}}`
	}
	o.do(422, "PUT", "/api/v2/logs/config/archive-order", body(`"`+b+`"`))
	o.do(200, "PUT", "/api/v2/logs/config/archive-order", body(`"`+b+`","`+a+`"`))
	o.do(200, "GET", "/api/v2/logs/config/archive-order", "").want(t, "data.attributes.archive_ids", `["`+b+`","`+a+`"]`)
}

func TestIncidentHandles(t *testing.T) {
	o := newOrg(t)
	const path = "/api/v2/incidents/config/global/incident-handles"
	typ := o.do(200, "GET", "/api/v2/incidents/config/types", "").at("data.0.id")
	o.do(200, "GET", "/api/v2/incidents/config/types/"+typ, "").want(t, "data.attributes.is_default", "true")
	o.do(404, "GET", "/api/v2/incidents/config/types/x", "")
	handle := `{"data":{"type":"incidents_handles","attributes":{"name":"@incident-llm","fields":{"severity":["SEV-2"]}},"relationships":{"incident_type":{"data":{"id":"` + typ + `","type":"incident_types"}}}}}`
	for says, b := range map[string][2]string{"@incident-": {"@incident-llm", "@llm"}, "incident type": {typ, "x"}, "type": {"incidents_handles", "handles"}} {
		o.refused(says, "POST", path, strings.Replace(handle, b[0], b[1], 1))
	}
	id := o.made(201, path, "data.id", handle)
	o.refused("exists", "POST", path, handle)
	o.do(200, "GET", path, "").want(t, "data.0.id", id, "data.0.attributes.fields.severity.0", "SEV-2")
	withID := strings.Replace(handle, `"data":{`, `"data":{"id":"`+id+`",`, 1)
	o.do(200, "PUT", path, strings.Replace(withID, "SEV-2", "SEV-3", 1)).want(t, "data.attributes.fields.severity.0", "SEV-3")
	o.refused("not found", "PUT", path, handle)
	o.refused("not found", "DELETE", path, "")
	o.do(204, "DELETE", path, withID)
	o.refused("not found", "DELETE", path, withID)
}

func TestOnCall(t *testing.T) {
	o := newOrg(t)
	ids := withPolicy(o)
	team, policyID := ids[0], ids[1]
	list := o.do(200, "GET", "/api/v2/on-call/schedules?filter[query]=team.id:"+team, "")
	scheduleID := list.at("data.0.id")
	list.want(t, "data.0.relationships.layers", "null", "meta.page.total", "1")
	o.do(200, "GET", "/api/v2/on-call/schedules?filter[query]=second*", "").want(t, "data", "[]")

	// Layers, members and people are seen only with include.
	full := "/api/v2/on-call/schedules/" + scheduleID + "?include=layers,layers.members,layers.members.user,teams"
	r := o.do(200, "GET", full, "")
	r.want(t, "included.0.type", "members", "included.1.attributes.email", ann.Email, "included.2.attributes.interval.days", "7", "included.3.attributes.handle", "llm-platform")
	layer := r.at("data.relationships.layers.data.0.id")
	update := strings.NewReplacer("{a}", team, `"data":{"type":"schedules"`, `"data":{"id":"`+scheduleID+`","type":"schedules"`, `"name":"week"`, `"id":"`+layer+`","name":"week"`, `"days":7`, `"days":1`).Replace(schedule)
	o.do(200, "PUT", "/api/v2/on-call/schedules/"+scheduleID, update).want(t, "data.relationships.layers.data.0.id", layer)
	o.do(200, "GET", full, "").want(t, "included.2.attributes.interval.days", "1", "included.2.id", layer)
	o.refused("data.id", "PUT", "/api/v2/on-call/schedules/"+scheduleID, strings.ReplaceAll(schedule, "{a}", team))

	o.do(200, "GET", "/api/v2/on-call/escalation-policies/"+policyID+"?include=steps,steps.targets", "").want(t,
		"included.0.type", "schedule_target", "included.0.attributes.position", "current", "included.0.relationships.schedule.data.id", scheduleID,
		"included.1.attributes.escalate_after_seconds", "300", "included.1.relationships.targets.data.0.type", "schedule_target", "included.2.relationships.targets.data.0.id", team)

	path := "/api/v2/on-call/teams/" + team + "/routing-rules"
	o.do(404, "GET", "/api/v2/on-call/teams/11111111-1111-4111-8111-111111111111/routing-rules", "")
	o.do(200, "GET", path+"?include=rules", "").want(t, "data.relationships.rules.data", "[]", "included", "null")
	rules := func(all string) string {
		return `{"data":{"type":"team_routing_rules","attributes":{"rules":[` + all + `]}}}`
	}
	last := `{"policy_id":"` + policyID + `","urgency":"dynamic"}`
	for says, b := range map[string]string{
		"last rule":           `{"query":"priority:1","policy_id":"` + policyID + `"}`,
		"must have no query":  `{"actions":[{"type":"send_slack_message","workspace":"T","channel":"C"}]}`,
		"neither":             `{"query":"priority:1"},` + last,
		"not found":           `{"policy_id":"x"}`,
		"urgency":             `{"policy_id":"` + policyID + `","urgency":"medium"}`,
		"needs a policy":      `{"urgency":"high","actions":[{"type":"escalation_policy","policy_id":"` + policyID + `"}]}`,
		"unknown type":        `{"actions":[{"type":"send_mail"}]}`,
		"channel is":          `{"actions":[{"type":"send_slack_message","workspace":"T"}]}`,
		"exclude":             `{"policy_id":"` + policyID + `","actions":[{"type":"escalation_policy","policy_id":"` + policyID + `"}]}`,
		"ack_timeout_minutes": `{"actions":[{"type":"escalation_policy","policy_id":"` + policyID + `","ack_timeout_minutes":5}]}`,
		"reroute":             `{"actions":[{"type":"reroute_to_team","destination_team_id":"x"}]},` + last,
	} {
		o.refused(says, "PUT", path, rules(b))
	}
	o.do(200, "PUT", path, rules(`{"query":"priority:1","actions":[{"type":"workflow","handle":"x"}]},`+last))
	o.do(200, "GET", path+"?include=rules,rules.policy", "").want(t, "included.0.attributes.query", "priority:1", "included.0.relationships", "{}",
		"included.1.type", "policies", "included.1.id", policyID, "included.2.attributes.urgency", "dynamic", "included.2.relationships.policy.data.id", policyID)
	if kept := string(o.api.Objects("routing-rules")[team]); !strings.Contains(kept, `"id":"`+team+`"`) {
		t.Errorf("the sink can't know the team: %s", kept)
	}
	o.refused("data.id", "PUT", path, strings.Replace(rules(last), `"data":{`, `"data":{"id":"x",`, 1))
	o.do(200, "PUT", path, rules(""))
	if n := len(o.api.Objects("routing-rules")); n != 0 {
		t.Errorf("empty rules are kept: %d", n)
	}
	o.do(200, "PUT", path, rules(last))
	o.do(204, "DELETE", "/api/v2/team/"+team, "")
	if n := len(o.api.Objects("routing-rules")); n != 0 {
		t.Errorf("rules outlive their team: %d", n)
	}
}

func TestNotificationsAreOfOneUser(t *testing.T) {
	o := newOrg(t)
	anns := "/api/v2/on-call/users/" + ann.ID
	id := o.made(201, bobs+"/notification-channels", "data.id", channel)
	o.do(404, "GET", anns+"/notification-channels/"+id, "")
	o.do(200, "GET", anns+"/notification-channels", "").want(t, "data", "[]")
	o.do(404, "POST", "/api/v2/on-call/users/33333333-3333-4333-8333-333333333333/notification-channels", channel)
	o.refused("no such channel", "POST", anns+"/notification-rules", strings.ReplaceAll(notifyRule, "{a}", id))
	rule := o.made(201, bobs+"/notification-rules", "data.id", strings.ReplaceAll(notifyRule, "{a}", id))
	o.do(200, "GET", bobs+"/notification-rules/"+rule+"?include=channel", "").want(t, "included.0.attributes.config.address", "a@example.com")
	if kept := string(o.api.Objects("notification-channel")[id]); !strings.Contains(kept, bob.ID) {
		t.Errorf("the sink can't know the user: %s", kept)
	}
	phone := o.made(201, bobs+"/notification-channels", "data.id", `{"data":{"type":"notification_channels","attributes":{"config":{"type":"phone","number":"+4930123456"}}}}`)
	o.do(200, "GET", bobs+"/notification-channels/"+phone, "").want(t, "data.attributes.active", "false")
	o.do(204, "DELETE", bobs+"/notification-channels/"+id, "")
	o.do(404, "GET", bobs+"/notification-rules/"+rule, "")
}

func TestNotebookCellsKeepTheirIDs(t *testing.T) {
	o := newOrg(t)
	r := o.do(200, "POST", "/api/v1/notebooks", notebook)
	id, cell := r.at("data.id"), r.at("data.attributes.cells.0.id")
	o.do(200, "PUT", "/api/v1/notebooks/"+id, strings.Replace(notebook, `{"type":"notebook_cells"`, `{"id":"`+cell+`","type":"notebook_cells"`, 1)).
		want(t, "data.attributes.cells.0.id", cell)
	o.do(200, "GET", "/api/v1/notebooks?include_cells=false&count=1", "").want(t, "data.0.attributes.cells", "null", "meta.page.total_count", "1")
	o.do(200, "GET", "/api/v1/notebooks?type=runbook", "").want(t, "data", "[]")
}

func TestRateLimits(t *testing.T) {
	clock := now.Add(10 * time.Second)
	o := newOrg(t, func(opts *api.Options) { opts.RateLimit, opts.Now = true, func() time.Time { return clock } })
	const path = "/api/v1/logs/config/pipelines"
	for range 2 {
		o.do(200, "POST", path, pipeline)
	}
	r := o.do(429, "POST", path, pipeline)
	got := fmt.Sprint(r.header["X-Ratelimit-Limit"], r.header["X-Ratelimit-Period"], r.header["X-Ratelimit-Remaining"], r.header["X-Ratelimit-Reset"])
	if want := "[2] [60] [0] [50]"; got != want {
		t.Errorf("limit, period, remaining, reset are %s, want %s", got, want)
	}
	for range 84 {
		o.do(200, "GET", path, "")
	}
	o.do(429, "GET", path, "")
	o.do(200, "GET", "/api/v1/monitor", "")
	clock = clock.Add(50 * time.Second)
	o.do(200, "POST", path, pipeline)
	if n := len(o.api.Objects("pipeline")); n != 3 {
		t.Errorf("%d pipelines, want 3", n)
	}
	if name := o.do(200, "GET", path, "").header.Get("X-RateLimit-Name"); !strings.Contains(name, "read") {
		t.Errorf("the limit of reads is named %q", name)
	}
}

func TestSeed(t *testing.T) {
	o := newOrg(t)
	id, err := o.api.Seed("monitor", json.RawMessage(monitor))
	if err != nil {
		t.Fatal(err)
	}
	o.do(200, "GET", "/api/v1/monitor/"+id, "").want(t, "creator.email", "somebody.else@example.com")
	if len(o.told) != 1 || len(o.api.Requests()) != 1 {
		t.Errorf("told %v, requests %v", o.told, o.api.Requests())
	}
	team, err := o.api.Seed("team", json.RawMessage(team))
	if err != nil {
		t.Fatal(err)
	}
	o.do(200, "GET", "/api/v2/team/"+team, "")
	for kind, body := range map[string]string{
		"metric-metadata":      `{"name":"llm.x","unit":"dollar"}`,
		"metric-tags":          tagConfig,
		"notification-channel": strings.Replace(channel, `"type":"notification_channels",`, `"type":"notification_channels","relationships":{"user":{"data":{"id":"`+bob.ID+`"}}},`, 1),
	} {
		if _, err := o.api.Seed(kind, json.RawMessage(body)); err != nil {
			t.Error(err)
		}
	}
	o.do(200, "GET", "/api/v1/metrics/llm.x", "").want(t, "unit", "dollar")
	for name, tc := range map[string][2]string{"an unknown kind": {"index", "{}"}, "no JSON": {"monitor", "{"}, "a bad body": {"monitor", "{}"}} {
		if _, err := o.api.Seed(tc[0], json.RawMessage(tc[1])); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// A request is answered in a process without a server too.
func TestWithoutAServer(t *testing.T) {
	o := newOrg(t)
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		o.api.SetFault(api.Fault{Match: func(*http.Request) bool { return true }})
		r, err := http.NewRequest(http.MethodGet, "/api/v1/monitor", nil)
		if err != nil {
			panic(err)
		}
		o.api.ServeHTTP(nil, r)
	}()
	got := <-done
	if err, ok := got.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		t.Errorf("a hang-up is %v, want http.ErrAbortHandler", got)
	}
}
