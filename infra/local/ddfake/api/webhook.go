package api

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

const (
	webhookVariableKind = "webhook-variable"
	webhookKind         = "webhook"
)

const webhookPath = "/api/v1/integration/webhooks/configuration"

var (
	variableName = regexp.MustCompile(`^[A-Z0-9_]+$`)
	webhookName  = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

// webhookVariables are found by their names, and have no list.
func webhookVariables() kind {
	return kind{
		name: webhookVariableKind, path: webhookPath + "/custom-variables", api: "v1", create: "WebhooksIntegrationCustomVariable",
		update: "WebhooksIntegrationCustomVariableUpdateRequest", method: "PUT", codes: [3]int{201, 200, 200},
		id:    func(c *call) string { return text(c.body, "name") },
		merge: func(c *call, old *object) (obj, error) { return over(old.body, c.body), nil },
		check: func(c *call, o, old *object) error {
			_, ok := o.body["is_secret"].(bool)
			switch {
			case !variableName.MatchString(text(o.body, "name")):
				return bad("Invalid variable name %q", text(o.body, "name"))
			case !ok || text(o.body, "value") == "":
				return bad("value and is_secret are required")
			case text(o.body, "name") != o.id || old == nil && c.a.store.get(webhookVariableKind, o.id) != nil:
				return renamed(c, webhookVariableKind, o)
			}
			return nil
		},
		view: func(_ *call, o *object) obj {
			v := clone(o.body)
			// The value of a secret is never shown.
			if yes(v, "is_secret") {
				delete(v, "value")
			}
			return v
		},
		absent: func(id string) error { return missing("Custom variable %s not found", id) },
	}
}

// renamed refuses a name that is taken. A new name that is free is refused too: at Datadog it would be the object's new
// identifier, which nothing here needs.
func renamed(c *call, kind string, o *object) error {
	name := text(o.body, "name")
	if c.a.store.get(kind, name) != nil {
		return bad("%s %s already exists", kind, name)
	}
	return bad("%s %s can not be renamed", kind, o.id)
}

// webhooks are found by their names, and have no list.
func webhooks() kind {
	return kind{
		name: webhookKind, path: webhookPath + "/webhooks", api: "v1", create: "WebhooksIntegration", update: "WebhooksIntegrationUpdateRequest",
		method: "PUT", codes: [3]int{201, 200, 200},
		id:    func(c *call) string { return text(c.body, "name") },
		merge: func(c *call, old *object) (obj, error) { return over(old.body, c.body), nil },
		check: func(c *call, o, old *object) error {
			b := o.body
			encoding, headers := text(b, "encode_as"), text(b, "custom_headers")
			switch {
			case !webhookName.MatchString(text(b, "name")):
				return bad("Invalid webhook name %q", text(b, "name"))
			case !strings.HasPrefix(text(b, "url"), "http://") && !strings.HasPrefix(text(b, "url"), "https://"):
				return bad("Invalid url %q", text(b, "url"))
			case encoding != "" && encoding != "json" && encoding != "form":
				return bad("encode_as must be json or form")
			case headers != "" && !isObject(headers):
				return bad("custom_headers must be a JSON object in a string")
			case text(b, "payload") != "" && encoding != "form" && !json.Valid([]byte(text(b, "payload"))):
				return bad("payload must be JSON in a string")
			case text(b, "name") != o.id || old == nil && c.a.store.get(webhookKind, o.id) != nil:
				return renamed(c, webhookKind, o)
			}
			return nil
		},
		view: func(_ *call, o *object) obj {
			v := clone(o.body)
			fill(v, obj{"custom_headers": nil, "encode_as": "json", "payload": nil})
			return v
		},
		absent: func(id string) error { return missing("Webhook %s not found", id) },
	}
}

func isObject(s string) bool {
	_, err := decode([]byte(s))
	return err == nil
}

const (
	globalVariableKind = "global-variable"
	testKind           = "synthetics-test"
)

var globalName = regexp.MustCompile(`^[A-Z][A-Z0-9_]{2,}$`)

// globalVariables are those of Synthetics. A secure value is never shown.
func globalVariables() kind {
	return kind{
		name: globalVariableKind, path: "/api/v1/synthetics/variables", api: "v1", create: "SyntheticsGlobalVariableRequest", method: "PUT",
		codes: [3]int{200, 200, 200}, id: uuidOf,
		check: func(c *call, o, old *object) error {
			b := o.body
			delete(b, "id")
			name := text(b, "name")
			_, tagged := b["tags"].([]any)
			_, described := b["description"].(string)
			// An update may leave a value out, and keeps it then.
			if old != nil && at(b, "value", "value") == nil && sub(b, "value") != nil {
				sub(b, "value")["value"] = at(old.body, "value", "value")
			}
			switch {
			case !globalName.MatchString(name):
				return bad("name is invalid: %q", name)
			case !tagged || !described:
				return bad("description and tags are required")
			case text(b, "value", "value") == "" && b["parse_test_public_id"] == nil:
				return bad("value is required")
			case c.a.store.find(globalVariableKind, func(p *object) bool { return p.id != o.id && text(p.body, "name") == name }) != nil:
				return conflict("Variable name %s already exists", name)
			}
			return nil
		},
		view: func(_ *call, o *object) obj { return viewGlobal(o) },
		list: func(_ *call, all []*object) (any, error) { return obj{"variables": views(all, viewGlobal)}, nil },
		free: func(c *call, o *object) error {
			used := c.a.store.find(testKind, func(t *object) bool {
				return slices.ContainsFunc(objs(t.body, "config", "configVariables"), func(v obj) bool { return text(v, "id") == o.id })
			})
			if used != nil {
				return bad("Global variable is used by test %s", used.id)
			}
			return nil
		},
		left:   func(*object) any { return obj{} },
		absent: func(string) error { return missing("Variable not found") },
	}
}

func viewGlobal(o *object) obj {
	v := clone(o.body)
	if yes(v, "value", "secure") {
		delete(sub(v, "value"), "value")
	} else if value := sub(v, "value"); value != nil {
		fill(value, obj{"secure": false})
	}
	fill(v, obj{"is_totp": false, "is_fido": false, "attributes": obj{"restricted_roles": []any{}}})
	v["id"], v["created_at"], v["modified_at"], v["creator"] = o.id, stamp(o.created), stamp(o.changed), creator(o.author)
	v["type"] = "variable"
	return v
}
