package template

import (
	"maps"
	"slices"
	"strings"
)

// trust is who may take a function's role.
const trust = `[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"}}]`

// decrypt is the condition under which a role may use the key of the secrets.
const decrypt = `{"StringEquals":{"kms:ViaService":"secretsmanager.${AWS::Region}.amazonaws.com"}}`

// role compares what a role allows with what its function needs, permission by permission.
func (c *checker) role(f contract) {
	id := f.id("Role")
	p := c.Resources[id].Properties
	if p == nil {
		return
	}
	if got := text(get(p, "AssumeRolePolicyDocument", "Statement")); got != trust {
		c.say(id, "may be taken by %s, want Lambda alone", got)
	}
	if p["ManagedPolicyArns"] != nil {
		c.say(id, "has managed policies, which allow more than this function needs")
	}
	if length := len(text(p["RoleName"])); length > 64 {
		c.say(id, "RoleName has %d characters, and IAM takes 64: choose a shorter stage", length)
	}
	granted := c.grants(id, p)
	needed := c.needs(f)
	for _, g := range granted {
		condition := slices.IndexFunc(needed, func(n grant) bool { return n.action == g.action && n.resource == g.resource })
		switch {
		case strings.Contains(g.action, "*") || strings.Contains(g.resource, "*"):
			c.say(id, "allows %s on %s: a wildcard", g.action, g.resource)
		case slices.Contains(needed, g) || g.action == "kms:Decrypt" && g.condition == decrypt:
		case condition >= 0:
			c.say(id, "allows %s on %s under another condition than it should: %s", g.action, g.resource, orNone(g.condition))
		default:
			c.say(id, "allows %s on %s, which the function does not need", g.action, g.resource)
		}
	}
	for _, n := range needed {
		if !slices.Contains(granted, n) {
			c.say(id, "does not allow %s on %s", n.action, n.resource+under(n.condition))
		}
	}
}

func orNone(condition string) string {
	if condition == "" {
		return "none"
	}
	return condition
}

func under(condition string) string {
	if condition == "" {
		return ""
	}
	return " under " + condition
}

// grants are what the inline policies of a role allow.
func (c *checker) grants(id string, properties map[string]any) (grants []grant) {
	policies, _ := properties["Policies"].([]any)
	for _, policy := range policies {
		statements, ok := get(policy, "PolicyDocument", "Statement").([]any)
		if !ok {
			c.say(id, "has a policy whose statements are no list")
		}
		for _, s := range statements {
			statement, _ := s.(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(statement)) {
				if !slices.Contains([]string{"Sid", "Effect", "Action", "Resource", "Condition"}, name) {
					c.say(id, "has a statement with %s, which no rule knows", name)
				}
			}
			if text(statement["Effect"]) != "Allow" {
				c.say(id, "has a statement that is no Allow")
				continue
			}
			for _, action := range texts(statement["Action"]) {
				for _, resource := range texts(statement["Resource"]) {
					grants = append(grants, grant{action, resource, plain(statement["Condition"])})
				}
			}
		}
	}
	return grants
}

// plain is the text of a condition, with the functions inside it written out.
func plain(condition any) string {
	if condition == nil {
		return ""
	}
	return text(written(condition))
}

func written(v any) any {
	if name, _ := function(v); name != "" {
		return text(v)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for key, inner := range m {
		out[key] = written(inner)
	}
	return out
}

// needs are what the function does: write its log, read the secrets that its environment names, and what its contract says of the
// table. The ARN of a log group, as CloudFormation gives it, ends in :* and stands for the group's streams; it is the one resource
// here that stands for several.
func (c *checker) needs(f contract) []grant {
	log := "${" + f.id("LogGroup") + ".Arn}"
	needed := []grant{{"logs:CreateLogStream", log, ""}, {"logs:PutLogEvents", log, ""}}
	env, _ := get(c.Resources[f.id("LambdaFunction")].Properties, "Environment", "Variables").(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.HasSuffix(name, secretSuffix) {
			needed = append(needed, grant{"secretsmanager:GetSecretValue", text(env[name]), ""})
		}
	}
	return append(needed, f.table...)
}
