package check

import (
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
)

const (
	service = "llm-reliability-control-plane"
	team    = "llm-platform"
)

// checkSchema holds the body, with sample values for its placeholders, against Datadog's OpenAPI description.
func checkSchema(c *checker, d *doc) {
	if c.o.Description == nil {
		return
	}
	api, name := d.Kind.Schema()
	for _, p := range c.o.Description.Check(api, name, d.full) {
		c.problems = append(c.problems, Problem{File: d.File, Path: p.Path, Reason: p.Reason})
	}
}

// tagsOf says where the kinds with free tags have them, and markOf where kinds without have a text. A kind in neither is
// known again by its name, and owned by what the state file says.
var (
	tagsOf = map[assets.Kind][]string{
		assets.Entity:         {"metadata", "tags"},
		assets.Pipeline:       {"tags"},
		assets.Connection:     {"data", "attributes", "tags"},
		assets.GlobalVariable: {"tags"},
		assets.Workflow:       {"data", "attributes", "tags"},
		assets.SLO:            {"tags"},
		assets.Monitor:        {"tags"},
		assets.SyntheticsTest: {"tags"},
	}
	markOf = map[assets.Kind][]string{
		assets.Team:         {"data", "attributes", "description"},
		assets.ScannerGroup: {"data", "attributes", "description"},
		assets.ScannerRule:  {"data", "attributes", "description"},
		assets.Dashboard:    {"description"},
	}
	nameOf = map[assets.Kind][]string{
		assets.SpansMetric:      {"data", "id"},
		assets.LogsMetric:       {"data", "id"},
		assets.RetentionFilter:  {"data", "attributes", "name"},
		assets.Team:             {"data", "attributes", "handle"},
		assets.Entity:           {"metadata", "name"},
		assets.ScannerGroup:     {"data", "attributes", "name"},
		assets.ScannerRule:      {"data", "attributes", "name"},
		assets.Pipeline:         {"name"},
		assets.Archive:          {"data", "attributes", "name"},
		assets.Connection:       {"data", "attributes", "name"},
		assets.WebhookVariable:  {"name"},
		assets.Webhook:          {"name"},
		assets.GlobalVariable:   {"name"},
		assets.Workflow:         {"data", "attributes", "name"},
		assets.SLO:              {"name"},
		assets.IncidentHandle:   {"data", "attributes", "name"},
		assets.Schedule:         {"data", "attributes", "name"},
		assets.EscalationPolicy: {"data", "attributes", "name"},
		assets.Monitor:          {"name"},
		assets.MonitorRule:      {"data", "attributes", "name"},
		assets.SyntheticsTest:   {"name"},
		assets.Dashboard:        {"title"},
		assets.Notebook:         {"data", "attributes", "name"},
		assets.RUMApplication:   {"data", "attributes", "name"},
	}
)

// checkOwnership holds that an asset says whose it is, and which: without that an apply could not tell it from the assets of
// others.
func checkOwnership(c *checker, d *doc) {
	if path, ok := tagsOf[d.Kind]; ok {
		at := d.body.key(path...)
		for _, tag := range []string{"service:" + service, "team:" + team, "managed_by:" + service, "asset_key:" + string(d.Kind) + "-" + d.Key} {
			if !slices.Contains(at.texts(), tag) {
				c.bad(d, at, "the tag %s is missing, by which an apply knows the asset again", tag)
			}
		}
		return
	}
	mark := "managed-by:" + service + " key:" + string(d.Kind) + "/" + d.Key
	at := d.body.key(markOf[d.Kind]...)
	switch {
	case d.Kind == assets.Notebook:
		at = lastMarkdown(d)
		if lines := strings.Split(strings.TrimSpace(at.text()), "\n"); lines[len(lines)-1] == mark {
			return
		}
	case markOf[d.Kind] == nil, strings.Contains(at.text(), mark):
		return
	}
	c.bad(d, at, "the mark %q is missing, by which an apply knows the asset again", mark)
}

// lastMarkdown returns the text of a notebook's last Markdown cell.
func lastMarkdown(d *doc) node {
	last := d.body.key("data", "attributes", "cells")
	for _, cell := range last.items() {
		if definition := cell.key("attributes", "definition"); definition.key("type").text() == "markdown" {
			last = definition.key("text")
		}
	}
	return last
}

// checkNames holds that no two assets of a kind have one name: people, mentions and imports tell them apart by it.
func checkNames(c *checker) {
	type name struct {
		kind assets.Kind
		text string
	}
	first, keys := map[name]*doc{}, map[name]*doc{}
	unique := func(seen map[name]*doc, d *doc, at node, what string) {
		n := name{d.Kind, at.text()}
		if n.text == "" {
			return
		}
		other, ok := seen[n]
		if !ok {
			seen[n] = d
		} else if other.Key != d.Key {
			c.bad(d, at, "the %s %q is also that of %s", what, n.text, other.File)
		}
	}
	for _, d := range c.docs {
		unique(first, d, d.body.key(nameOf[d.Kind]...), "name")
		if d.Kind == assets.Workflow {
			unique(keys, d, d.body.key("data", "attributes", "spec", "handle"), "handle")
		}
	}
	for i, d := range c.docs {
		for _, other := range c.docs[:i] {
			if other.Kind == d.Kind && other.Key == d.Key && other.Variant == d.Variant {
				c.bad(d, node{}, "the key %s/%s is also that of %s", d.Kind, d.Key, other.File)
			}
		}
	}
}

// checkUse holds that what exists only to be referred to is referred to.
func checkUse(c *checker) {
	used := map[assets.Ref]bool{}
	for _, d := range c.docs {
		for _, at := range d.texts {
			for _, r := range assets.RefsIn(at.text()) {
				used[r] = true
			}
		}
	}
	for _, d := range c.docs {
		switch d.Kind {
		case assets.Connection, assets.GlobalVariable, assets.Schedule, assets.EscalationPolicy, assets.ScannerGroup, assets.NotificationChannel:
			if !used[assets.Ref{Kind: string(d.Kind), Name: d.Key}] {
				c.bad(d, node{}, "nothing refers to it: write ${%s:%s} where it is used, or delete it", d.Kind, d.Key)
			}
		}
	}
}
