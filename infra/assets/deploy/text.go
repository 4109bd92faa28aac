package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/infra/assets/deploy/diff"
)

// signs stand before the actions.
var signs = map[Action]string{Create: "+", Update: "~", Replace: "±", Delete: "-"}

// maxValue is how much of a value a plan shows.
const maxValue = 160

// Text returns the plan for people: a line for each step that changes something, the changes below it, and a summary.
func (p Plan) Text() string {
	var b strings.Builder
	for _, s := range p.Steps {
		if s.Action == Unchanged {
			continue
		}
		fmt.Fprintf(&b, "%s %s %s%s\n", signs[s.Action], s.Action, s.Name(), quoted(s.Title))
		writeChanges(&b, s.Changes)
	}
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "! %s\n", note)
	}
	if p.Empty() {
		fmt.Fprintf(&b, "Nothing to do: %d assets at %s are as the files say.\n", len(p.Steps), p.Site)
		return b.String()
	}
	fmt.Fprintf(&b, "%s: %d to create, %d to update, %d to replace, %d to delete, %d unchanged.\n",
		p.Site, p.Count(Create), p.Count(Update), p.Count(Replace), p.Count(Delete), p.Count(Unchanged))
	return b.String()
}

func writeChanges(b *strings.Builder, changes []diff.Change) {
	for _, c := range changes {
		switch {
		case c.Old == nil:
			fmt.Fprintf(b, "    %s: %s\n", c.Path, shown(c.New))
		case c.New == nil:
			fmt.Fprintf(b, "    %s: %s → (removed)\n", c.Path, shown(c.Old))
		default:
			fmt.Fprintf(b, "    %s: %s → %s\n", c.Path, shown(c.Old), shown(c.New))
		}
	}
}

func quoted(title string) string {
	if title == "" {
		return ""
	}
	return fmt.Sprintf(" %q", title)
}

// shown returns a value as short JSON.
func shown(v any) string {
	if v == diff.Hidden {
		return diff.Hidden
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "?"
	}
	s := strings.TrimSpace(b.String())
	if utf8.RuneCountInString(s) > maxValue {
		s = string([]rune(s)[:maxValue]) + "…"
	}
	return s
}

// Text returns what was done, for people.
func (r Result) Text() string {
	var b strings.Builder
	for _, d := range r.Done {
		fmt.Fprintf(&b, "%s %s %s\n", signs[d.Action], past[d.Action], d.Name())
	}
	for _, left := range slices.Sorted(slices.Values(r.Left)) {
		fmt.Fprintf(&b, "! left: %s\n", left)
	}
	return b.String()
}

var past = map[Action]string{Create: "created", Update: "updated", Replace: "replaced", Delete: "deleted"}

// Text returns what differs, for people.
func (d Drift) Text() string {
	var b strings.Builder
	for _, item := range d.Items {
		if item.Deleted {
			fmt.Fprintf(&b, "- %s%s was deleted\n", item.Name(), quoted(item.Title))
			continue
		}
		fmt.Fprintf(&b, "~ %s%s was changed\n", item.Name(), quoted(item.Title))
		writeChanges(&b, item.Changes)
	}
	if d.Empty() {
		fmt.Fprintf(&b, "No drift: %d objects at %s are as they were applied.\n", d.Objects, d.Site)
		return b.String()
	}
	fmt.Fprintf(&b, "%s: %d of %d objects are not as they were applied.\n", d.Site, len(d.Items), d.Objects)
	return b.String()
}
