package remote

import (
	"encoding/json"
	"slices"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
)

type object = map[string]any

// list returns the list at a path, or nil.
func list(v any, path string) []any {
	l, _ := diff.At(v, path).([]any)
	return l
}

// included returns a function that finds what an answer of JSON:API includes, by type and identifier.
func included(answer any) func(ref any) any {
	all := list(answer, "included")
	return func(ref any) any {
		i := slices.IndexFunc(all, func(v any) bool {
			return diff.Text(v, "id") == diff.Text(ref, "id") && diff.Text(v, "type") == diff.Text(ref, "type")
		})
		if i < 0 {
			return nil
		}
		return all[i]
	}
}

// openSLO takes the envelopes off: GET answers with one object, create and update with a list of one.
func openSLO(answer any) any {
	if all := list(answer, "data"); len(all) > 0 {
		return all[0]
	}
	if one := diff.At(answer, "data"); one != nil {
		return one
	}
	return answer
}

// openSchedule puts the layers and their members, which an answer includes, back into the attributes.
func openSchedule(answer any) any {
	find := included(answer)
	var layers []any
	for _, ref := range list(answer, "data.relationships.layers.data") {
		found := find(ref)
		layer, ok := diff.At(found, "attributes").(object)
		if !ok {
			continue
		}
		members := []any{}
		for _, member := range list(found, "relationships.members.data") {
			members = append(members, object{"user": object{"id": diff.Text(find(member), "relationships.user.data.id")}})
		}
		layers = append(layers, diff.With(diff.With(layer, "id", diff.Text(ref, "id")), "members", members))
	}
	answer = diff.With(answer, "included", nil)
	if layers == nil {
		return answer
	}
	return diff.With(answer, "data.attributes.layers", layers)
}

// openPolicy puts the steps and their targets back into the attributes. A schedule without a position is the shortcut for
// whoever is on call now.
func openPolicy(answer any) any {
	find := included(answer)
	var steps []any
	for _, ref := range list(answer, "data.relationships.steps.data") {
		found := find(ref)
		step, ok := diff.At(found, "attributes").(object)
		if !ok {
			continue
		}
		targets := []any{}
		for _, target := range list(found, "relationships.targets.data") {
			position, id := "current", diff.Text(target, "id")
			switch diff.Text(target, "type") {
			case "schedule_target":
				full := find(target)
				position, id = diff.Text(full, "attributes.position"), diff.Text(full, "relationships.schedule.data.id")
			case "schedules":
			default:
				targets = append(targets, object{"type": diff.Text(target, "type"), "id": id})
				continue
			}
			targets = append(targets, object{"type": "schedules", "id": id, "config": object{"schedule": object{"position": position}}})
		}
		steps = append(steps, diff.With(diff.With(step, "id", diff.Text(ref, "id")), "targets", targets))
	}
	answer = diff.With(answer, "included", nil)
	if steps == nil {
		return answer
	}
	return diff.With(answer, "data.attributes.steps", steps)
}

// openRouting puts the rules back into the attributes.
func openRouting(answer any) any {
	find := included(answer)
	rules := []any{}
	for _, ref := range list(answer, "data.relationships.rules.data") {
		found := find(ref)
		rule, ok := diff.At(found, "attributes").(object)
		if !ok {
			continue
		}
		var v any = rule
		if policy := diff.Text(found, "relationships.policy.data.id"); policy != "" {
			v = diff.With(v, "policy_id", policy)
		}
		rules = append(rules, v)
	}
	return diff.With(diff.With(answer, "included", nil), "data.attributes.rules", rules)
}

// openRUM puts what an answer shows as product scales where a request has it.
func openRUM(answer any) any {
	for field, at := range map[string]string{
		"rum_event_processing_state":        "rum_event_processing_scale",
		"product_analytics_retention_state": "product_analytics_retention_scale",
	} {
		if state := diff.At(answer, "data.attributes.product_scales."+at+".state"); state != nil {
			answer = diff.With(answer, "data.attributes."+field, state)
		}
	}
	return answer
}

// computed is what a metric from spans or logs measures, which no update changes.
var computed = []string{"data.attributes.compute.aggregation_type", "data.attributes.compute.path"}

// editMetric leaves what an update can change: percentiles, filter and groups.
func editMetric(_ Object, body any) any {
	attributes := object{}
	for _, field := range []string{"filter", "group_by"} {
		if v := diff.At(body, "data.attributes."+field); v != nil {
			attributes[field] = v
		}
	}
	if v := diff.At(body, "data.attributes.compute.include_percentiles"); v != nil {
		attributes["compute"] = object{"include_percentiles": v}
	}
	return object{"data": object{"type": diff.At(body, "data.type"), "attributes": attributes}}
}

// editConnection says which headers, parameters and tokens go: an update keeps those that it does not name.
func editConnection(live Object, body any) any {
	body = diff.With(body, "data.id", nil)
	const credentials = "data.attributes.integration.credentials."
	for _, field := range []string{"headers", "url_parameters", "tokens"} {
		want := slices.Clone(list(body, credentials+field))
		for _, v := range list(live.Body, credentials+field) {
			name := diff.Text(v, "name")
			if slices.ContainsFunc(want, func(w any) bool { return diff.Text(w, "name") == name }) {
				continue
			}
			gone := object{"name": name, "deleted": true}
			if field == "tokens" {
				gone["type"], gone["value"] = "SECRET", ""
			}
			want = append(want, gone)
		}
		if want != nil {
			body = diff.With(body, credentials+field, want)
		}
	}
	return body
}

// editSchedule gives layers of the same name the identifiers that they have, so that they stay the same layers.
func editSchedule(live Object, body any) any {
	return withIDs(live, body, "data.attributes.layers", func(want, have any, _, _ int) bool {
		return diff.Text(want, "name") == diff.Text(have, "name")
	})
}

// editPolicy does the same for steps, which have no name but a place.
func editPolicy(live Object, body any) any {
	return withIDs(live, body, "data.attributes.steps", func(_, _ any, i, j int) bool { return i == j })
}

// editNotebook does the same for cells, in their places, while they show the same kind of thing.
func editNotebook(live Object, body any) any {
	return withIDs(live, body, "data.attributes.cells", func(want, have any, i, j int) bool {
		const shows = "attributes.definition.type"
		return i == j && diff.Text(want, shows) == diff.Text(have, shows)
	})
}

func withIDs(live Object, body any, path string, same func(want, have any, i, j int) bool) any {
	want := slices.Clone(list(body, path))
	for i := range want {
		for j, have := range list(live.Body, path) {
			if id := diff.At(have, "id"); id != nil && same(want[i], have, i, j) {
				want[i] = diff.With(want[i], "id", id)
				break
			}
		}
	}
	return diff.With(body, path, want)
}

// orderPath is where the body of an order has its list.
func orderPath(kind assets.Kind) string {
	if kind == assets.ArchiveOrder {
		return "data.attributes.archive_ids"
	}
	return "pipeline_ids"
}

// ours returns the body of an order with only those identifiers that want names too, in the order of have.
func ours(kind assets.Kind, want, have any) any {
	wanted := list(want, orderPath(kind))
	var kept []any
	for _, id := range list(have, orderPath(kind)) {
		if slices.Contains(wanted, id) {
			kept = append(kept, id)
		}
	}
	return diff.With(have, orderPath(kind), kept)
}

// merged returns the body of an order in which the identifiers of want stand where they or others of want stood, in the
// order of want, and all others stay where they are. What has no place yet goes to the end.
func merged(kind assets.Kind, want, have any) any {
	next := list(want, orderPath(kind))
	wanted := slices.Clone(next)
	var all []any
	for _, id := range list(have, orderPath(kind)) {
		if slices.Contains(wanted, id) && len(next) > 0 {
			id, next = next[0], next[1:]
		}
		all = append(all, id)
	}
	return diff.With(want, orderPath(kind), append(all, next...))
}

// encode returns v as JSON; what was decoded from JSON always encodes.
func encode(v any) json.RawMessage {
	raw, _ := json.Marshal(v)
	return raw
}
