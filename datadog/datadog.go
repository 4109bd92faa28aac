// Package datadog carries the assets of this folder in the binary: monitors, SLOs, workflows, connections and playbooks.
// It holds no code that reads them; package infra/assets does.
package datadog

import "embed"

// FS holds everything in this folder: the asset files, one folder for each kind, in the form that Datadog's public API accepts, with
// placeholders such as ${slo:latency} for what only apply knows; their tests, and the playbooks.
//
//go:embed *
var FS embed.FS
