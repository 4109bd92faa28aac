package api_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A body of each kind, as small as it can be.
const (
	monitor    = `{"name":"p95","type":"query alert","query":"avg(last_5m):avg:llm.request.cost{service:x} > 2","message":"m","tags":["service:x","asset_key:monitor-p95"]}`
	slo        = `{"name":"latency","type":"time_slice","thresholds":[{"timeframe":"30d","target":99}],"tags":["service:x"],"sli_specification":{"time_slice":{"comparator":"<","threshold":2000,"query":{"formulas":[{"formula":"q"}],"queries":[{"data_source":"metrics","name":"q","query":"p95:llm.request.duration{*}"}]}}}}`
	dashboard  = `{"title":"LLM, all of it","layout_type":"ordered","widgets":[{"definition":{"type":"note","content":"x"}},{"definition":{"type":"group","layout_type":"ordered","widgets":[{"definition":{"type":"note","content":"y"}}]}}]}`
	connection = `{"data":{"type":"action_connection","attributes":{"name":"fn","integration":{"type":"HTTP","base_url":"https://fn.example.com","credentials":{"type":"HTTPTokenAuth","tokens":[{"type":"SECRET","name":"tok","value":"s3cret"}]}}}}}`
	workflow   = `{"data":{"type":"workflows","attributes":{"name":"Auto","published":true,"tags":["service:x"],"spec":{"handle":"auto","triggers":[{"monitorTrigger":{},"startStepNames":["A"]}],"steps":[{"name":"A","actionId":"com.datadoghq.core.noop"}]}}}}`
)

// life is the life of one object of a kind.
type life struct {
	kind string
	// path is of the collection, item of one object when it is not path/id. {a}, {b} stand for what before returned.
	path, item string
	// before makes what the object needs, and returns what stands for {a} and {b} in paths and bodies.
	before func(o *org) []string
	body   string
	// id is where the identifier is in the answer to a create.
	id string
	// shown is what an answer to a get has, in pairs.
	shown []string
	// method and change update the object; then get has changed, in pairs. {id} stands for the identifier.
	method, change string // change is the body itself, with its data.id, when empty
	changed        []string
	codes          [3]int
	// lists is a query that finds the object, and listed where its identifier is; "" when there is no list.
	lists, listed string
	// gone is the status of an object that is not there; 404 when zero.
	gone int
	// bad are bodies that are refused with 400 and a text in them, made by replacing a part of body with another.
	bad map[string]refusal
	// delete is the body of a delete.
	delete string
}

// refusal is a change that makes a body bad, and a part of the answer.
type refusal struct{ old, new, says string }

func TestLifeOfEveryKind(t *testing.T) {
	for _, l := range slices.Concat(firstLives, otherLives) {
		t.Run(l.kind, func(t *testing.T) { l.run(t) })
	}
}

func (l life) run(t *testing.T) {
	o := newOrg(t)
	fill := strings.NewReplacer()
	if l.before != nil {
		got := append(l.before(o), "", "")
		fill = strings.NewReplacer("{a}", got[0], "{b}", got[1])
	}
	path := fill.Replace(l.path)
	body := fill.Replace(l.body)
	id := o.do(l.codes[0], "POST", path, body).at(l.id)
	if id == "nothing" || id == "" {
		t.Fatalf("the answer to create has no %s", l.id)
	}
	fill = strings.NewReplacer("{id}", id)
	item := path + "/" + id
	if l.item != "" {
		item = fill.Replace(l.item)
	}
	o.do(200, "GET", item, "").want(t, l.shown...)
	if !slices.Contains(slices.Collect(maps.Keys(o.api.Objects(l.kind))), id) {
		t.Errorf("Objects has no %s, but %v", id, o.api.Objects(l.kind))
	}
	var asked, kept any
	if json.Unmarshal([]byte(body), &asked) != nil || json.Unmarshal(o.api.Objects(l.kind)[id], &kept) != nil || !covers(kept, asked) {
		t.Errorf("stored as %s, want all of %s", o.api.Objects(l.kind)[id], body)
	}
	if l.listed != "" {
		o.do(200, "GET", path+l.lists, "").want(t, l.listed, id)
	} else if r, err := o.try("GET", path, ""); err != nil || r.status != 405 && r.status != 404 {
		t.Errorf("a list that Datadog has not: %d %v", r.status, err)
	}
	if l.method != "" && l.change == "" {
		l.change = strings.Replace(body, `"data":{`, `"data":{"id":"`+id+`",`, 1)
	}
	if l.method != "" {
		o.do(l.codes[1], l.method, item, fill.Replace(l.change))
		o.do(200, "GET", item, "").want(t, l.changed...)
	} else if r, err := o.try("PUT", item, "{}"); err != nil || r.status != 405 {
		t.Errorf("an update that Datadog has not: %d %v", r.status, err)
	}
	for name, b := range l.bad {
		broken := strings.Replace(body, b.old, b.new, 1)
		if broken == body {
			t.Errorf("%s: the body has no %s", name, b.old)
		}
		if r := o.do(400, "POST", path, broken); !strings.Contains(r.raw, b.says) {
			t.Errorf("%s: %s, want %q in it", name, r.raw, b.says)
		}
	}
	before := len(o.api.Objects(l.kind))
	o.do(l.codes[2], "DELETE", item, l.delete)
	if n := len(o.api.Objects(l.kind)); n != before-1 {
		t.Errorf("%d objects after a delete, there were %d", n, before)
	}
	gone := cmp.Or(l.gone, 404)
	o.do(gone, "GET", item, "")
	o.do(gone, "DELETE", item, l.delete)
	if l.method != "" {
		o.do(gone, l.method, item, fill.Replace(l.change))
	}
}

// covers reports whether all that is in b is in a too, equal or within.
func covers(a, b any) bool {
	switch b := b.(type) {
	case map[string]any:
		in, ok := a.(map[string]any)
		for k, v := range b {
			ok = ok && covers(in[k], v)
		}
		return ok
	case []any:
		in, ok := a.([]any)
		ok = ok && len(in) == len(b)
		for i, v := range b {
			ok = ok && covers(in[i], v)
		}
		return ok
	}
	return a == b
}

var firstLives = []life{
	{
		kind: "monitor", path: "/api/v1/monitor", body: monitor, id: "id", codes: [3]int{200, 200, 200},
		shown: []string{
			"type", "metric alert", "options.thresholds.critical", "2", "options.include_tags", "true", "options.new_host_delay", "300", "creator.email", ann.Email,
			"created", "2026-11-25T12:00:00.000000+00:00", "overall_state", "No Data", "priority", "null", "multi", "false",
		},
		lists: "?monitor_tags=asset_key:monitor-p95,service:x", listed: "0.id",
		method: "PUT", change: `{"message":"other","priority":2}`, changed: []string{"message", "other", "priority", "2", "name", "p95"},
		bad: map[string]refusal{
			"an unknown type":                     {"query alert", "metrics alert", "'type' is invalid"},
			"no query":                            {`"query":`, `"queries":`, "'query' is invalid"},
			"a query without a threshold":         {"> 2", "", "comparison"},
			"a threshold that is not the query's": {`"message"`, `"options":{"thresholds":{"critical":3}},"message"`, "Alert threshold (3.0) does not match that used in the query (2.0)."},
			"a warning beyond the alert":          {`"message"`, `"options":{"thresholds":{"warning":3}},"message"`, "Warning threshold"},
			"a recovery beyond the alert":         {`"message"`, `"options":{"thresholds":{"critical_recovery":3}},"message"`, "recovery threshold"},
			"a recovery of no warning":            {`"message"`, `"options":{"thresholds":{"warning_recovery":1}},"message"`, "Warning recovery"},
			"a priority of 6":                     {`"message"`, `"priority":6,"message"`, "'priority'"},
			"tags that are no texts":              {`"service:x","asset`, `1,"asset`, "'tags'"},
			"both kinds of missing data":          {`"message"`, `"options":{"notify_no_data":true,"on_missing_data":"resolve"},"message"`, "on_missing_data"},
			"an anomaly without windows":          {"avg:llm.request.cost{service:x} > 2", "anomalies(avg:llm.request.cost{*}, 'agile', 3) >= 1", "threshold_windows"},
			"a composite of nothing":              {`"query alert","query":"avg(last_5m):avg:llm.request.cost{service:x} > 2"`, `"composite","query":"1 && 2"`, "Some monitor IDs are invalid"},
			"a burn rate of no SLO":               {`"query alert","query":"avg(last_5m):avg:llm.request.cost{service:x} > 2"`, `"slo alert","query":"burn_rate(\"x\").over(\"30d\").long_window(\"1h\").short_window(\"5m\") > 2"`, "not found"},
			"the monitor of a synthetics test":    {"query alert", "synthetics alert", "test"},
		},
	},
	{
		kind: "slo", path: "/api/v1/slo", body: slo, id: "data.0.id", codes: [3]int{200, 200, 200},
		shown: []string{
			"data.name", "latency", "data.thresholds.0.target_display", "99.", "data.timeframe", "30d", "data.target_threshold", "99", "data.type_id", "2",
			"data.sli_specification.time_slice.query_interval_seconds", "300", "data.created_at", "1795608000", "data.creator.handle", ann.Email,
		},
		lists: "?tags_query=service:x", listed: "data.0.id",
		method: "PUT", change: strings.Replace(slo, `"target":99`, `"target":99.5`, 1), changed: []string{"data.thresholds.0.target", "99.5"},
		bad: map[string]refusal{
			"no name":                   {`"name":"latency"`, `"name":""`, "name"},
			"an unknown type":           {"time_slice", "slices", "type"},
			"no threshold":              {`{"timeframe":"30d","target":99}`, "", "threshold"},
			"an unknown timeframe":      {"30d", "31d", "timeframe"},
			"a timeframe twice":         {`{"timeframe":"30d","target":99}`, `{"timeframe":"30d","target":99},{"timeframe":"30d","target":98}`, "twice"},
			"a target of 100":           {`:99}`, ":100}", "target"},
			"a warning below":           {`:99}`, `:99,"warning":98}`, "warning"},
			"no slice":                  {`"time_slice":{`, `"slice":{`, "time_slice"},
			"an interval of a minute":   {`"threshold":2000`, `"threshold":2000,"query_interval_seconds":61`, "query_interval_seconds"},
			"an unknown comparator":     {`"<"`, `"="`, "comparator"},
			"a metric SLO without":      {`"type":"time_slice"`, `"type":"metric"`, "numerator"},
			"a monitor SLO without":     {`"type":"time_slice"`, `"type":"monitor"`, "monitor_ids"},
			"a monitor SLO of no thing": {`"type":"time_slice"`, `"monitor_ids":[1],"type":"monitor"`, "not found"},
		},
	},
	{
		kind: "dashboard", path: "/api/v1/dashboard", body: dashboard, id: "id", codes: [3]int{200, 200, 200},
		shown: []string{
			"title", "LLM, all of it", "description", "null", "notify_list", "[]", "template_variables", "[]", "reflow_type", "auto", "is_read_only", "false",
			"author_handle", ann.Email, "tags", "[]",
		},
		lists: "?count=5&start=0", listed: "dashboards.0.id",
		method: "PUT", change: strings.Replace(dashboard, "all of it", "more", 1), changed: []string{"title", "LLM, more"},
		bad: map[string]refusal{
			"no title":                        {"LLM, all of it", "", "title"},
			"an unknown layout":               {`"layout_type":"ordered","widgets":[{"d`, `"layout_type":"grid","widgets":[{"d`, "layout_type"},
			"no widgets":                      {`"widgets"`, `"gadgets"`, "widgets"},
			"an unknown widget":               {`"type":"note"`, `"type":"notes"`, "notes"},
			"an unknown widget in a group":    {`"type":"note","content":"y"`, `"type":"notes"`, "notes"},
			"fixed without layouts":           {`"widgets"`, `"reflow_type":"fixed","widgets"`, "layout"},
			"free without layouts":            {`"layout_type":"ordered"`, `"layout_type":"free"`, "layout"},
			"auto with a layout":              {`"widgets":[{`, `"reflow_type":"auto","widgets":[{"layout":{"x":0,"y":0,"width":1,"height":1},`, "layout"},
			"half a layout":                   {`"widgets":[{`, `"widgets":[{"layout":{"x":0,"y":0,"width":1},`, "layout.height"},
			"an unknown reflow":               {`"widgets"`, `"reflow_type":"flow","widgets"`, "reflow_type"},
			"a reflow of a free layout":       {`"layout_type":"ordered"`, `"layout_type":"free","reflow_type":"auto"`, "reflow_type"},
			"a tag that is no team":           {`"widgets"`, `"tags":["service:x"],"widgets"`, "team:"},
			"six tags":                        {`"widgets"`, `"tags":["team:a","team:b","team:c","team:d","team:e","team:f"],"widgets"`, "5"},
			"a variable twice":                {`"widgets"`, `"template_variables":[{"name":"env"},{"name":"env"}],"widgets"`, "template variable"},
			"a variable that has no own name": {`"widgets"`, `"template_variables":[{"prefix":"env"}],"widgets"`, "template variable"},
		},
	},
	{
		kind: "connection", path: "/api/v2/actions/connections", body: connection, id: "data.id", codes: [3]int{201, 200, 204},
		shown:  []string{"data.attributes.integration.credentials.tokens.0.value", "", "data.attributes.integration.base_url", "https://fn.example.com"},
		method: "PATCH", change: `{"data":{"type":"action_connection","attributes":{"integration":{"type":"HTTP","base_url":"https://other.example.com"}}}}`,
		changed: []string{"data.attributes.integration.base_url", "https://other.example.com", "data.attributes.integration.credentials.tokens.0.name", "tok", "data.attributes.name", "fn"},
		bad: map[string]refusal{
			"no data":                {`"data"`, `"date"`, "data is required"},
			"another type":           {`"action_connection"`, `"connection"`, "data.type"},
			"no attributes":          {`"attributes"`, `"attribute"`, "data.attributes"},
			"no name":                {`"name":"fn"`, `"name":""`, "name"},
			"no integration":         {`"type":"HTTP"`, `"type":""`, "integration.type"},
			"no URL":                 {"https://fn", "fn", "base_url"},
			"other credentials":      {"HTTPTokenAuth", "Basic", "HTTPTokenAuth"},
			"no credentials":         {`"credentials"`, `"credential"`, "credentials"},
			"a token without value":  {`"s3cret"`, `""`, "tokens"},
			"a malformed token name": {`"tok"`, `"my-tok"`, "tokens"},
		},
	},
	{
		kind: "workflow", path: "/api/v2/workflows", body: workflow, id: "data.id", codes: [3]int{201, 200, 204},
		shown: []string{"data.attributes.spec.handle", "auto", "data.attributes.createdAt", "2026-11-25T12:00:00.000Z", "data.attributes.runAsUserMode", "owner", "data.relationships.creator.data.id", ann.ID},
		lists: "?filter[query]=service:x", listed: "data.0.id",
		method: "PATCH", change: `{"data":{"type":"workflows","id":"{id}","attributes":{"description":"d"}}}`, changed: []string{"data.attributes.description", "d", "data.attributes.name", "Auto"},
		bad: map[string]refusal{
			"another type":              {`"workflows"`, `"workflow"`, "data.type"},
			"no name":                   {`"Auto"`, `""`, "name"},
			"no spec":                   {`"spec"`, `"specs"`, "spec"},
			"no trigger":                {`{"monitorTrigger":{},"startStepNames":["A"]}`, "", "trigger"},
			"an unknown trigger":        {"monitorTrigger", "alertTrigger", "alertTrigger"},
			"a trigger twice":           {`{"monitorTrigger"`, `{"monitorTrigger":{}},{"monitorTrigger"`, "another"},
			"a trigger that is alone":   {`{"monitorTrigger"`, `{"workflowTrigger":{}},{"monitorTrigger"`, "only"},
			"an interval in minutes":    {`"monitorTrigger":{}`, `"monitorTrigger":{"rateLimit":{"count":1,"interval":"5m"}}`, "interval"},
			"a start that is no step":   {`["A"]`, `["B"]`, "not found"},
			"a step twice":              {`"steps":[`, `"steps":[{"name":"A","actionId":"x"},`, "taken"},
			"an edge to no step":        {`"actionId"`, `"outboundEdges":[{"branchName":"main","nextStepName":"Z"}],"actionId"`, "edge"},
			"a fallback to no step":     {`"actionId"`, `"errorHandlers":[{"fallbackStepName":"Z"}],"actionId"`, "error handler"},
			"a retry of no known kind":  {`"actionId"`, `"errorHandlers":[{"fallbackStepName":"A","retryStrategy":{"kind":"X"}}],"actionId"`, "retry"},
			"a label of no connection":  {`"actionId"`, `"connectionLabel":"L","actionId"`, "label"},
			"a connection of no id":     {`"triggers"`, `"connectionEnvs":[{"env":"default","connections":[{"label":"L","connectionId":"x"}]}],"triggers"`, "not found"},
			"another env":               {`"triggers"`, `"connectionEnvs":[{"env":"prod"}],"triggers"`, "default"},
			"a secret for no webhook":   {`"published"`, `"webhookSecret":"0123456789abcdef","published"`, "webhookSecret"},
			"a connection with no name": {`"triggers"`, `"connectionEnvs":[{"env":"default","connections":[{"connectionId":"x"}]}],"triggers"`, "label"},
		},
	},
}
