package assets

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
)

// Sample returns a well-formed value for any placeholder, the same on every call: identifiers of the form that Datadog gives
// to assets of the kind, and addresses, URLs and words for the rest. It is the lookup by which assets are resolved to be
// checked, or tested, where nothing is deployed.
func Sample(kind, name string) (string, bool) {
	b := sha256.Sum256([]byte(kind + "/" + name))
	switch kind {
	case string(Monitor):
		return fmt.Sprint(binary.BigEndian.Uint32(b[:])), true
	case string(SLO):
		return fmt.Sprintf("%x", b[:16]), true
	case string(Dashboard), string(SyntheticsTest):
		text := fmt.Sprintf("%x", b[:8])
		return text[:3] + "-" + text[3:6] + "-" + text[6:9], true
	case string(Notebook):
		return fmt.Sprint(binary.BigEndian.Uint16(b[:])), true
	case Function:
		function, _, _ := strings.Cut(name, ".")
		return "https://" + function + ".functions.example", true
	case Setting:
		return sampleSetting(name), true
	case Secret:
		return "sample-secret-" + name, true
	}
	// Version 8 of RFC 9562: the content is up to the maker.
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16]), true
}

// sampleSetting returns a value of the form that a setting wants.
func sampleSetting(name string) string {
	switch {
	case name == "datadog_site":
		return "datadoghq.com"
	case name == "datadog_app":
		return "https://app.datadoghq.com"
	case name == "slack_team":
		return "T0000SAMPLE"
	case name == "slack_channel":
		return "#llm-reliability"
	case name == "aws_account_id":
		return "123456789012"
	case strings.HasSuffix(name, "_email"), strings.HasSuffix(name, "_primary"), strings.HasSuffix(name, "_secondary"):
		return strings.ReplaceAll(name, "_", "-") + "@example.com"
	}
	return strings.ReplaceAll(name, "_", "-")
}
