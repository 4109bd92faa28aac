package check

import (
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
)

// settings are the choices of an organisation that assets may ask for. A name that is not here is most often a typing error,
// which would else show only at an apply.
var settings = []string{
	"archive_bucket", "archive_container", "archive_store", "aws_account_id", "aws_role_name", "cost_email", "cost_primary", "cost_secondary",
	"datadog_app", "datadog_site", "gcp_client_email", "gcp_project", "oncall_email", "oncall_primary", "oncall_secondary", "pagerduty_service",
	"slack_account", "slack_channel", "slack_channel_name", "slack_team",
}

// users are the settings that hold the address of a Datadog user.
var users = []string{"oncall_primary", "oncall_secondary", "cost_primary", "cost_secondary"}

// secrets are the values that must not be shown.
var secrets = []string{"control", "api_key"}

// fill returns a value with sample values in place of its placeholders.
func fill(v any) any {
	switch v := v.(type) {
	case string:
		if !strings.Contains(v, "${") {
			return v
		}
		return placeholder.ReplaceAllStringFunc(v, func(found string) string {
			m := placeholder.FindStringSubmatch(found)
			value, ok := assets.Sample(m[1], m[2])
			if !ok {
				return found // checkPlaceholders says that it is of no known kind.
			}
			return value
		})
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = fill(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = fill(v[k])
		}
		return out
	}
	return v
}

// checkPlaceholders holds that assets, settings, secrets and users that placeholders name exist.
func checkPlaceholders(c *checker, d *doc) {
	for _, at := range d.texts {
		for _, m := range placeholders(at.text()) {
			switch kind, name := m[1], m[2]; kind {
			case assets.Setting:
				if !slices.Contains(settings, name) {
					c.bad(d, at, "there is no setting %q", name)
				}
			case assets.User:
				if !slices.Contains(users, name) {
					c.bad(d, at, "the setting %q holds no address of a Datadog user", name)
				}
			case assets.Secret:
				if !slices.Contains(secrets, name) {
					c.bad(d, at, "there is no secret %q", name)
				}
			case assets.IncidentType:
				if name != "default" {
					c.bad(d, at, "the only incident type that is looked up is default, not %q", name)
				}
			case assets.ScannerConfiguration:
				if name != "id" {
					c.bad(d, at, "the only property of the scanner configuration is id, not %q", name)
				}
			case assets.Function: // checkURLs sees to it.
			default:
				if !assets.Kind(kind).Known() {
					c.bad(d, at, "%s is of no known kind", m[0])
				} else if c.find(assets.Kind(kind), name) == nil {
					c.bad(d, at, "%s names no asset file", m[0])
				}
			}
		}
	}
}
