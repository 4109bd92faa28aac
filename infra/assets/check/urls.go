package check

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
)

// functionURL is the URL of a function with what follows it.
var functionURL = regexp.MustCompile(`\$\{function:([^}]*)\}([^\s"'<>)\]]*)`)

// checkURLs holds that every URL of a function, wherever it is written, is one of a function that exists and a path that it
// serves. Where the method is known, it is checked too, by called.
func checkURLs(c *checker, d *doc) {
	for _, at := range d.texts {
		if !strings.Contains(at.text(), "${function:") {
			continue
		}
		for _, m := range functionURL.FindAllStringSubmatch(at.text(), -1) {
			c.route(d, at, m[1], m[2], "")
		}
	}
}

// called holds that a URL is that of a function, and that it serves the method. It returns the function's name.
func (c *checker) called(d *doc, at node, verb string) (function string, ok bool) {
	m := functionURL.FindStringSubmatch(at.text())
	if m == nil || m[0] != at.text() {
		c.bad(d, at, "%q is no URL of a function: begin it with a reference such as ${function:qa.url}", at.text())
		return "", false
	}
	name := strings.TrimSuffix(m[1], ".url")
	if verb != "" {
		c.route(d, at, m[1], m[2], verb)
	}
	return name, true
}

// route holds that a function serves a path; by any method when verb is empty.
func (c *checker) route(d *doc, at node, property, rest, verb string) {
	function, isURL := strings.CutSuffix(property, ".url")
	path, _, _ := strings.Cut(rest, "?")
	path, _, _ = strings.Cut(path, "#")
	exists, serves := false, false
	var methods []string
	for _, r := range c.o.Routes {
		exists = exists || r.Function == function
		if r.Function == function && r.Path == path {
			methods = append(methods, r.Method)
			serves = serves || verb == "" || r.Method == verb
		}
	}
	switch {
	case !isURL:
		c.bad(d, at, "${function:%s}: the only property of a function is its url", property)
	case !exists:
		c.bad(d, at, "there is no function %q", function)
	case path == "" || path == "/" && verb == "":
		if verb != "" {
			c.bad(d, at, "the URL has no path")
		}
	case len(methods) == 0:
		c.bad(d, at, "the function %s has no route %s", function, path)
	case !serves:
		c.bad(d, at, "the function %s serves %s by %s, not by %s", function, path, strings.Join(methods, " and "), verb)
	}
}

// checkConnection holds that a connection leads to a function, and shows a secret that is not written into the file.
func checkConnection(c *checker, d *doc) {
	integration := d.body.key("data", "attributes", "integration")
	if integration.key("type").text() != "HTTP" {
		return
	}
	if _, ok := c.called(d, integration.key("base_url"), ""); ok {
		if m := functionURL.FindStringSubmatch(integration.key("base_url").text()); m[2] != "" {
			c.bad(d, integration.key("base_url"), "the base URL has a path; steps give the path")
		}
	}
	tokens := map[string]bool{}
	for _, token := range integration.key("credentials", "tokens").items() {
		tokens[token.key("name").text()] = true
		c.secret(d, token.key("value"))
	}
	used := false
	for _, header := range integration.key("credentials", "headers").items() {
		for _, m := range doubleBraces.FindAllStringSubmatch(header.key("value").text(), -1) {
			used = true
			if !tokens[m[1]] {
				c.bad(d, header.key("value"), "there is no token %q", m[1])
			}
		}
	}
	if !used {
		c.bad(d, integration.key("credentials", "headers"), "no header shows a token, so the function answers 401")
	}
}

var doubleBraces = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// secret holds that a value is a reference to a secret, and nothing that a file should not hold.
func (c *checker) secret(d *doc, at node) {
	if r, ok := at.ref(); !ok || r.Kind != assets.Secret {
		c.bad(d, at, "a secret must not be in the file: refer to it, as in ${secret:control}")
	}
}

// checkWebhook holds that a webhook calls a function, and that its JSON texts are JSON.
func checkWebhook(c *checker, d *doc) {
	c.called(d, d.body.key("url"), http.MethodPost)
	for _, key := range []string{"custom_headers", "payload"} {
		at := d.body.key(key)
		if !at.exists() {
			continue
		}
		v, err := decode([]byte(at.text()))
		if err != nil {
			c.bad(d, at, "it is JSON in a text, and this is %v", err)
			continue
		}
		node{v: v}.each(func(text node) {
			for _, m := range webhookVariable.FindAllStringSubmatch(text.text(), -1) {
				if c.with(assets.WebhookVariable, m[1], "name") == nil && !builtIn[m[1]] {
					c.bad(d, at, "there is no variable $%s: no asset makes it, and it is none of Datadog's", m[1])
				}
			}
		})
	}
}

// checkWebhookVariable holds that the value of a variable is hidden, and not in the file.
func checkWebhookVariable(c *checker, d *doc) {
	if at := d.body.key("is_secret"); !at.is() {
		c.bad(d, at, "the value is shown to everybody who may read webhooks: set is_secret")
	}
	c.secret(d, d.body.key("value"))
}

var webhookVariable = regexp.MustCompile(`\$([A-Z][A-Z0-9_]*)`)

// builtIn are the variables of Datadog's page "Webhooks" that payloads may use.
var builtIn = map[string]bool{
	"AGGREG_KEY": true, "ALERT_CYCLE_KEY": true, "ALERT_ID": true, "ALERT_METRIC": true, "ALERT_PRIORITY": true, "ALERT_QUERY": true,
	"ALERT_SCOPE": true, "ALERT_STATUS": true, "ALERT_TITLE": true, "ALERT_TRANSITION": true, "ALERT_TYPE": true, "DATE": true, "DATE_POSIX": true,
	"EMAIL": true, "EVENT_MSG": true, "EVENT_TITLE": true, "EVENT_TYPE": true, "HOSTNAME": true, "ID": true, "LAST_UPDATED": true, "LINK": true,
	"LOGS_SAMPLE": true, "METRIC_NAMESPACE": true, "ORG_ID": true, "ORG_NAME": true, "PRIORITY": true, "SNAPSHOT": true, "TAGS": true, "TEXT_ONLY_MSG": true, "USER": true,
}
