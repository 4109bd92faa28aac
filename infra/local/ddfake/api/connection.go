package api

import (
	"regexp"
	"slices"
	"strings"
)

const connectionKind = "connection"

var tokenName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// connections have no list endpoint: only their id finds them again.
func connections() kind {
	return kind{
		name: connectionKind, path: "/api/v2/actions/connections", style: jsonAPI, api: "v2", create: "CreateActionConnectionRequest",
		update: "UpdateActionConnectionRequest", method: "PATCH", codes: [3]int{201, 200, 204}, id: uuidOf,
		check: checkConnection, merge: mergeConnection,
		view: func(_ *call, o *object) obj {
			attrs := clone(sub(o.body, "data", "attributes"))
			// A token's value is never shown.
			for _, t := range objs(attrs, "integration", "credentials", "tokens") {
				t["value"] = ""
			}
			fill(attrs, obj{"tags": []any{}})
			return resource(o, "action_connection", attrs)
		},
		wrap:   inData,
		absent: func(id string) error { return missing("connection %s not found", id) },
	}
}

func checkConnection(_ *call, o, _ *object) error {
	attrs, err := attributes(o.body, "action_connection")
	if err != nil {
		return err
	}
	delete(sub(o.body, "data"), "id")
	integration := sub(attrs, "integration")
	switch {
	case text(attrs, "name") == "":
		return bad("name is required")
	case text(integration, "type") == "":
		return bad("integration.type is required")
	case sub(integration, "credentials") == nil:
		return bad("integration.credentials is required")
	case text(integration, "type") != "HTTP":
		return nil
	case !strings.HasPrefix(text(integration, "base_url"), "http://") && !strings.HasPrefix(text(integration, "base_url"), "https://"):
		return bad("integration.base_url must be a URL")
	case text(integration, "credentials", "type") != "HTTPTokenAuth":
		return bad("integration.credentials.type must be HTTPTokenAuth")
	}
	for _, t := range objs(integration, "credentials", "tokens") {
		if !tokenName.MatchString(text(t, "name")) || text(t, "type") != "SECRET" || text(t, "value") == "" {
			return bad("integration.credentials.tokens: %q has a malformed name, no value, or is no SECRET", text(t, "name"))
		}
	}
	return nil
}

// mergeConnection changes what an update names. Tokens, headers and parameters are found by their names: those that are
// not named stay, and those that are marked deleted go.
func mergeConnection(c *call, old *object) (obj, error) {
	body, err := merged(c, old)
	if err != nil {
		return nil, err
	}
	before := sub(old.body, "data", "attributes", "integration", "credentials")
	changes := sub(c.body, "data", "attributes", "integration", "credentials")
	integration := over(sub(old.body, "data", "attributes", "integration"), sub(c.body, "data", "attributes", "integration"))
	credentials := over(before, changes)
	for _, key := range []string{"tokens", "headers", "url_parameters"} {
		named := clone(list(before, key))
		for _, change := range objs(changes, key) {
			i := slices.IndexFunc(named, func(v any) bool {
				o, ok := v.(obj)
				return ok && text(o, "name") == text(change, "name")
			})
			switch {
			case yes(change, "deleted") && i >= 0:
				named = slices.Delete(named, i, i+1)
			case yes(change, "deleted"):
			case i >= 0:
				named[i] = clone(change)
			default:
				named = append(named, clone(change))
			}
		}
		if len(named) > 0 {
			credentials[key] = named
		} else {
			delete(credentials, key)
		}
	}
	integration["credentials"] = credentials
	sub(body, "data", "attributes")["integration"] = integration
	return body, nil
}
