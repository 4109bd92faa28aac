package check

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/functions/routes"
	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/monitor"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/synthetics"
)

// locations are Datadog's managed locations that tests here may run from. GET /api/v1/synthetics/locations has all.
var locations = []string{
	"aws:af-south-1", "aws:ap-east-1", "aws:ap-northeast-1", "aws:ap-northeast-2", "aws:ap-northeast-3", "aws:ap-south-1", "aws:ap-southeast-1",
	"aws:ap-southeast-2", "aws:ap-southeast-3", "aws:ca-central-1", "aws:eu-central-1", "aws:eu-north-1", "aws:eu-south-1", "aws:eu-west-1", "aws:eu-west-2",
	"aws:eu-west-3", "aws:me-south-1", "aws:sa-east-1", "aws:us-east-1", "aws:us-east-2", "aws:us-west-1", "aws:us-west-2",
	"azure:eastus", "gcp:asia-northeast1", "gcp:europe-west3", "gcp:us-east4", "gcp:us-south1", "gcp:us-west1", "gcp:us-west2",
}

var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// checkGlobalVariable holds that a variable has a name that tests can use, and that its value is secret.
func checkGlobalVariable(c *checker, d *doc) {
	if at := d.body.key("name"); !variableName.MatchString(at.text()) {
		c.bad(d, at, "%q is not of upper-case letters, digits and underscores", at.text())
	}
	value := d.body.key("value")
	if !value.key("secure").is() {
		c.bad(d, value.key("secure"), "the value is shown to everybody who may read tests: set secure")
	}
	c.secret(d, value.key("value"))
}

// checkSyntheticsTest holds that a test calls a route, shows what the route asks for, and that its times and variables fit.
func checkSyntheticsTest(c *checker, d *doc) {
	request := d.body.key("config", "request")
	c.syntheticsCall(d, request)
	c.syntheticsVariables(d)
	for _, l := range d.body.key("locations").items() {
		if !slices.Contains(locations, l.text()) && !strings.HasPrefix(l.text(), "pl:") {
			c.bad(d, l, "%q is no managed location of Datadog", l.text())
		}
	}
	if len(d.body.key("locations").items()) == 0 {
		c.bad(d, d.body.key("locations"), "the test runs nowhere")
	}
	options := d.body.key("options")
	tick, ticks := options.key("tick_every").number()
	if !ticks || tick < 30 || tick > 604800 {
		c.bad(d, options.key("tick_every"), "a test runs every 30 to 604800 seconds")
	}
	if interval, ok := options.key("retry", "interval").number(); ok && (interval < 100 || interval > 5000) {
		c.bad(d, options.key("retry", "interval"), "%v is in milliseconds; Datadog waits from 100 to 5000 of them before a retry", interval)
	}
	if count, ok := options.key("retry", "count").number(); ok && (count < 0 || count > 5) {
		c.bad(d, options.key("retry", "count"), "a test is repeated up to 5 times, not %v", count)
	}
	if failed, ok := options.key("min_location_failed").number(); ok && (failed < 1 || int(failed) > len(d.body.key("locations").items())) {
		c.bad(d, options.key("min_location_failed"), "the test has %d locations, so %v can't fail", len(d.body.key("locations").items()), failed)
	}
	if n, ok := options.key("monitor_options", "renotify_interval").number(); ok && n > 0 && !options.key("monitor_options", "renotify_occurrences").exists() {
		c.bad(d, options.key("monitor_options", "renotify_occurrences"), "without a number of occurrences the test reminds for ever")
	}
	if p, ok := options.key("monitor_priority").number(); !ok || p < 1 || p > 5 {
		c.bad(d, options.key("monitor_priority"), "the test's monitor has no priority from 1 to 5")
	}
	if at := d.body.key("status"); at.text() != "live" {
		c.bad(d, at, "the test is %q, so it never runs", at.text())
	}
	assertions := d.body.key("config", "assertions")
	if len(assertions.items()) == 0 {
		c.bad(d, assertions, "the test asserts nothing")
	}
	for _, a := range assertions.items() {
		c.assertion(d, a)
	}
}

// syntheticsCall checks URL, method and what the route asks for.
func (c *checker) syntheticsCall(d *doc, request node) {
	at := request.key("url")
	verb := request.key("method").text()
	if _, ok := c.called(d, at, verb); !ok {
		return
	}
	m := functionURL.FindStringSubmatch(at.text())
	i := slices.IndexFunc(c.o.Routes, func(r routes.Route) bool {
		path, err := url.Parse(m[2])
		return err == nil && r.Function+".url" == m[1] && r.Path == path.Path && r.Method == verb
	})
	if i < 0 {
		return
	}
	headers := request.key("headers")
	shown := ""
	typed := false
	for _, name := range headers.keys() {
		if strings.EqualFold(name, "Authorization") {
			shown = headers.key(name).text()
		}
		typed = typed || strings.EqualFold(name, "Content-Type") && strings.HasPrefix(headers.key(name).text(), "application/json")
	}
	if c.o.Routes[i].Auth != routes.Open && !strings.HasPrefix(shown, "Bearer {{") {
		c.bad(d, headers, "the route asks for a bearer key: send the header Authorization: Bearer {{ VARIABLE }}")
	}
	if verb == "POST" {
		if !typed {
			c.bad(d, headers, "without the header Content-Type: application/json the function answers 415")
		}
		if body := request.key("body"); !strings.Contains(body.text(), "{{") {
			if _, err := decode([]byte(body.text())); err != nil {
				c.bad(d, body, "the body is JSON in a text, and this is %v", err)
			}
		}
	}
}

// syntheticsVariables holds that the variables of a test are those that it uses, and that each is a global one of ours.
func (c *checker) syntheticsVariables(d *doc) {
	declared := map[string]bool{}
	for _, v := range d.body.key("config", "configVariables").items() {
		name := v.key("name")
		declared[name.text()] = true
		if v.key("type").text() != "global" {
			c.bad(d, v.key("type"), "a variable of type %q has its value in the file: make it global", v.key("type").text())
			continue
		}
		key, ok := v.key("id").refers(assets.GlobalVariable)
		if !ok {
			c.bad(d, v.key("id"), "%q is no reference to a variable such as ${global-variable:api-key}", v.key("id").text())
			continue
		}
		if global := c.find(assets.GlobalVariable, key); global != nil && global.body.key("name").text() != name.text() {
			c.bad(d, name, "the variable is called %q, not %q", global.body.key("name").text(), name.text())
		}
	}
	used := map[string]bool{}
	d.body.key("config", "request").each(func(at node) {
		for _, m := range doubleBraces.FindAllStringSubmatch(at.text(), -1) {
			used[m[1]] = true
			if !declared[m[1]] {
				c.bad(d, at, "the variable %s is not in configVariables", m[1])
			}
		}
	})
	for _, v := range d.body.key("config", "configVariables").items() {
		if !used[v.key("name").text()] {
			c.bad(d, v, "the request does not use the variable %s", v.key("name").text())
		}
	}
}

// assertion holds that a regular expression can be read; JSON paths are the evaluator's.
func (c *checker) assertion(d *doc, a node) {
	if slices.Contains([]string{"matches", "doesNotMatch"}, a.key("operator").text()) && a.key("target").isText() {
		if _, err := regexp.Compile(a.key("target").text()); err != nil {
			c.bad(d, a.key("target"), "%v", err)
		}
	}
}

// checkSyntheticsMessage holds that a failing test reaches somebody, and tells of recovery too.
func checkSyntheticsMessage(c *checker, d *doc) {
	at := d.body.key("message")
	alerted := monitor.Mentions(onAlert.render(at.text()))
	recovered := monitor.Mentions(onRecovery.render(at.text()))
	if len(alerted) == 0 {
		c.bad(d, at, "a failure of this test reaches nobody")
	}
	for _, m := range slices.Concat(alerted, recovered) {
		c.resolve(d, at, m)
	}
	for _, m := range alerted {
		if m.Kind == monitor.MentionOnCall && !slices.ContainsFunc(recovered, func(r monitor.Mention) bool { return r.Kind == m.Kind && r.Handle == m.Handle }) {
			c.bad(d, at, "@oncall-%s is mentioned on alert but not on recovery, so its page is never resolved by itself", m.Handle)
		}
	}
}

var inAssertion = regexp.MustCompile(`^(?s:assertion ([0-9]+): (.*))$`)

// parseSynthetics lets the stand-in's evaluator read the test, and gives each of its problems the path in the file.
func parseSynthetics(c *checker, d *doc) {
	_, err := synthetics.Parse("id", d.full)
	if err == nil {
		return
	}
	for _, reason := range reasons(err) {
		at := d.body
		if m := inAssertion.FindStringSubmatch(reason); m != nil {
			i, _ := strconv.Atoi(m[1]) // The form lets only digits pass.
			at, reason = d.body.key("config", "assertions").index(i), m[2]
			if path := at.key("target", "jsonPath"); path.exists() {
				at = path
			}
		}
		c.unless(d, at.path, strings.TrimPrefix(reason, "parse synthetics test: "))
	}
}
