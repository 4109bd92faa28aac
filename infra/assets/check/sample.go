package check

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
)

// settings are the choices of an organisation that assets may ask for, each with a value of the right form. A name that is
// not here is most often a typing error, which would else show only at an apply.
var settings = map[string]string{
	"slack_team":         "T00000000",
	"slack_channel":      "C00000000",
	"slack_channel_name": "llm-alerts",
	"slack_account":      "example",
	"pagerduty_service":  "example-service",
	"oncall_primary":     "primary@example.com",
	"oncall_secondary":   "secondary@example.com",
	"cost_primary":       "cost-primary@example.com",
	"cost_secondary":     "cost-secondary@example.com",
	"oncall_email":       "oncall@example.com",
	"cost_email":         "cost@example.com",
	"archive_bucket":     "example-bucket",
	"archive_store":      "s3",
	"archive_container":  "example-container",
	"datadog_app":        "https://app.datadoghq.com",
	"aws_account_id":     "123456789012",
	"aws_role_name":      "ExampleRole",
	"gcp_client_email":   "example@example.iam.gserviceaccount.com",
	"gcp_project":        "example",
}

// users are the settings that hold the address of a Datadog user.
var users = []string{"oncall_primary", "oncall_secondary", "cost_primary", "cost_secondary"}

// secrets are the values that must not be shown.
var secrets = []string{"control", "api_key"}

// sample returns a value of the right form for a placeholder, the same one every time.
func sample(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "/" + name))
	digest := hex.EncodeToString(sum[:16])
	switch kind {
	case assets.Function:
		return "https://" + strings.TrimSuffix(name, ".url") + ".example.com"
	case assets.Setting:
		return cmp.Or(settings[name], "unknown")
	case assets.Secret:
		return "sample-secret"
	}
	switch assets.Kind(kind) {
	case assets.SLO:
		return digest
	case assets.Monitor, assets.Notebook:
		return strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(name)))|1<<32, 10)
	case assets.Dashboard, assets.SyntheticsTest:
		return digest[:3] + "-" + digest[3:6] + "-" + digest[6:9]
	case assets.Webhook, assets.SpansMetric, assets.LogsMetric:
		return name
	}
	return digest[:8] + "-" + digest[8:12] + "-" + digest[12:16] + "-" + digest[16:20] + "-" + digest[20:]
}

// fill returns a value with sample values in place of its placeholders.
func fill(v any) any {
	switch v := v.(type) {
	case string:
		if !strings.Contains(v, "${") {
			return v
		}
		return placeholder.ReplaceAllStringFunc(v, func(found string) string {
			m := placeholder.FindStringSubmatch(found)
			return sample(m[1], m[2])
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
	d.body.each(func(at node) {
		for _, m := range placeholders(at.text()) {
			switch kind, name := m[1], m[2]; kind {
			case assets.Setting:
				if _, ok := settings[name]; !ok {
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
	})
}
