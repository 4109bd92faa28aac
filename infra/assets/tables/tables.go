// Package tables writes the tables of the README that say which metrics and which assets there are, from the metric
// catalogue and the asset files. A test compares the README with them; -update writes it anew.
package tables

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/shared/telemetry"
)

// Metrics returns the table of the catalogue, in Markdown.
func Metrics(catalogue []telemetry.Metric) string {
	var b strings.Builder
	b.WriteString("| metric | read as | unit | tags | what it says |\n| --- | --- | --- | --- | --- |\n")
	for _, m := range catalogue {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Kind, m.Unit, strings.Join(m.Tags, ", "), m.Description)
	}
	return b.String()
}

// Assets returns the table of the assets by kind, in the order in which they are made, in Markdown. Of an asset in several
// forms one is counted.
func Assets(all []assets.Asset) string {
	var b strings.Builder
	b.WriteString("| kind | number | which |\n| --- | --- | --- |\n")
	total := 0
	for _, kind := range assets.Kinds() {
		var names []string
		for _, a := range all {
			if name := nameOf(a); a.Kind == kind && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			continue
		}
		total += len(names)
		slices.Sort(names)
		which := strings.Join(names, " · ")
		if kind.Folder() == "" {
			which = "made from the metric catalogue"
		}
		fmt.Fprintf(&b, "| %s | %d | %s |\n", kind, len(names), which)
	}
	fmt.Fprintf(&b, "| all | %d | |\n", total)
	return b.String()
}

// nameOf returns what Datadog's pages call an asset, or its key where they call it nothing.
func nameOf(a assets.Asset) string {
	var doc struct {
		Name, Title string
		Metadata    struct{ Name string }
		Data        struct {
			ID         string
			Attributes struct{ Name string }
		}
	}
	// What is no object has no name, and Load has refused it.
	_ = json.Unmarshal(a.Body, &doc)
	for _, name := range []string{doc.Name, doc.Title, doc.Metadata.Name, doc.Data.Attributes.Name, doc.Data.ID} {
		if name != "" && !strings.Contains(name, "${") {
			return name
		}
	}
	return a.Key
}

// Replace puts a table between the comments that mark its place in a document: <!-- NAME: … --> and <!-- end of NAME -->.
func Replace(document, name, table string) (string, error) {
	begin, end := "<!-- "+name+":", "<!-- end of "+name+" -->"
	i := strings.Index(document, begin)
	if i < 0 {
		return "", fmt.Errorf("the document has no place for the table %s: no %q", name, begin)
	}
	length := strings.Index(document[i:], "-->\n")
	j := strings.Index(document, end)
	if length < 0 || j < i+length {
		return "", fmt.Errorf("the place for the table %s does not end: no %q behind %q", name, end, begin)
	}
	return document[:i+length+len("-->\n")] + table + document[j:], nil
}
