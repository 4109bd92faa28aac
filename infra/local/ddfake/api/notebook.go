package api

import (
	"encoding/json"
	"slices"
	"strconv"
)

const notebookKind = "notebook"

func notebooks() kind {
	return kind{
		name: notebookKind, path: "/api/v1/notebooks", api: "v1", create: "NotebookCreateRequest", update: "NotebookUpdateRequest", method: "PUT",
		codes: [3]int{200, 200, 204},
		id:    func(c *call) string { return strconv.FormatInt(c.a.serial(), 10) },
		check: checkNotebook,
		view:  func(_ *call, o *object) obj { return viewNotebook(o, true) },
		wrap:  inData,
		list: func(c *call, all []*object) (any, error) {
			p, err := ranged(c.q, "start", "count", 100, 1000)
			if err != nil {
				return nil, err
			}
			var found []*object
			for _, o := range all {
				typ := text(o.body, "data", "attributes", "metadata", "type")
				if contains(text(o.body, "data", "attributes", "name"), c.q.Get("query")) && (c.q.Get("type") == "" || c.q.Get("type") == typ) {
					found = append(found, o)
				}
			}
			// The last changed one comes first.
			slices.SortStableFunc(found, func(a, b *object) int { return b.changed.Compare(a.changed) })
			return obj{
				"data": views(cut(found, p), func(o *object) obj { return viewNotebook(o, c.q.Get("include_cells") != "false") }),
				"meta": obj{"page": obj{"total_count": len(all), "total_filtered_count": len(found)}},
			}, nil
		},
		absent: func(string) error { return missing("Notebook not found") },
	}
}

// cells are the types of cells.
var cells = []string{"markdown", "timeseries", "toplist", "heatmap", "distribution", "log_stream"}

// checkNotebook judges a notebook. A cell keeps its identifier when the update names it.
func checkNotebook(c *call, o, _ *object) error {
	attrs, err := attributes(o.body, "notebooks")
	if err != nil {
		return err
	}
	delete(sub(o.body, "data"), "id")
	name, typ := text(attrs, "name"), text(attrs, "metadata", "type")
	_, isList := attrs["cells"].([]any)
	switch {
	case name == "" || len([]rune(name)) > 80:
		return bad("name must have 1 to 80 characters")
	case text(attrs, "time", "live_span") == "" && (text(attrs, "time", "start") == "" || text(attrs, "time", "end") == ""):
		return bad("time needs a live_span, or a start and an end")
	case !isList:
		return bad("cells are required")
	case typ != "" && !slices.Contains([]string{"postmortem", "runbook", "investigation", "documentation", "report"}, typ):
		return bad("metadata.type is invalid: %q", typ)
	}
	before := texts(o.made, "cells")
	ids := make([]any, len(list(attrs, "cells")))
	for i, cell := range objs(attrs, "cells") {
		definition := sub(cell, "attributes", "definition")
		switch {
		case text(cell, "type") != "notebook_cells":
			return bad("cells[%d].type must be notebook_cells", i)
		case !slices.Contains(cells, text(definition, "type")):
			return bad("cells[%d]: unknown type %q", i, text(definition, "type"))
		case text(definition, "type") == "markdown" && at(definition, "text") == nil:
			return bad("cells[%d]: text is required", i)
		}
		id, ok := cell["id"].(string)
		switch {
		case ok && slices.Contains(before, id):
			ids[i] = id
		case cell["id"] != nil:
			return bad("cells[%d]: cell %v not found", i, cell["id"])
		default:
			ids[i] = c.a.letters(8)
		}
		delete(cell, "id")
	}
	o.made["cells"] = ids
	return nil
}

func viewNotebook(o *object, withCells bool) obj {
	attrs := clone(sub(o.body, "data", "attributes"))
	ids := list(o.made, "cells")
	for i, cell := range objs(attrs, "cells") {
		cell["id"] = ids[i]
		if text(cell, "attributes", "definition", "type") != "markdown" {
			fill(sub(cell, "attributes"), obj{"graph_size": "m", "time": nil, "split_by": obj{"keys": []any{}, "tags": []any{}}})
		}
	}
	if !withCells {
		delete(attrs, "cells")
	}
	fill(attrs, obj{"status": "published", "metadata": obj{}, "template_variables": []any{}})
	if m := sub(attrs, "metadata"); m != nil {
		fill(m, obj{"type": nil, "is_template": false, "take_snapshots": false})
	}
	attrs["created"], attrs["modified"] = stamp(o.created), stamp(o.changed)
	attrs["author"] = obj{"email": o.author.Email, "handle": o.author.Email, "name": o.author.Name, "disabled": false, "verified": true, "status": "Active", "icon": "", "title": nil, "created_at": stamp(o.created)}
	return obj{"id": json.Number(o.id), "type": "notebooks", "attributes": attrs}
}
