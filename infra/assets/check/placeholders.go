package check

import (
	"slices"

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

// checkPlaceholders holds that assets, settings, secrets and users that placeholders name exist.
func checkPlaceholders(c *checker, d *doc) {
	for _, at := range d.texts {
		for _, r := range assets.RefsIn(at.text()) {
			switch kind, name := r.Kind, r.Name; kind {
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
					c.bad(d, at, "%s is of no known kind", r)
				} else if c.find(assets.Kind(kind), name) == nil {
					c.bad(d, at, "%s names no asset file", r)
				}
			}
		}
	}
}
