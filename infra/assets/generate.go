package assets

import (
	"encoding/json"
	"slices"

	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Unified are the tag keys of Datadog's unified service tagging, which every metric has.
var unified = []string{"service", "env", "version"}

// Metrics returns the assets that follow from the metric catalogue: the metadata of each metric, and for each that is read
// by percentile the tag configuration that enables percentiles. The allow-list of tags holds every key that the catalogue
// knows, since a tag that is not listed can't be queried.
func Metrics(catalogue []telemetry.Metric) []Asset {
	var metadata, tags []Asset
	for _, m := range catalogue {
		body := map[string]any{"type": "distribution", "description": m.Description, "short_name": m.Name}
		if m.Unit != "" {
			body["unit"] = m.Unit
		}
		metadata = append(metadata, generated(MetricMetadata, m.Name, body))
		if m.Percentiles() {
			tags = append(tags, generated(MetricTags, m.Name, map[string]any{"data": map[string]any{
				"type": "manage_tags", "id": m.Name,
				"attributes": map[string]any{"metric_type": "distribution", "include_percentiles": true, "tags": slices.Concat(unified, m.Tags)},
			}}))
		}
	}
	return append(metadata, tags...)
}

func generated(kind Kind, key string, body map[string]any) Asset {
	// A map of texts, booleans and lists always encodes.
	raw, _ := json.Marshal(body)
	return Asset{Kind: kind, Key: key, File: "metric catalogue: " + string(kind) + " of " + key, Body: raw}
}
