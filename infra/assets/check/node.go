package check

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/llm-reliability/control-plane/infra/assets"
	"github.com/llm-reliability/control-plane/infra/assets/schema"
)

// node is a value in a decoded body, with the path that leads to it. A node of what is not there has no value; asking on
// gives more such nodes, so that rules need no ladder of conditions. That a key is missing is the schema's business.
type node struct {
	v    any
	path string
}

// key returns the value below a chain of keys.
func (n node) key(names ...string) node {
	for _, name := range names {
		object, _ := n.v.(map[string]any)
		n = node{object[name], schema.Join(n.path, name)}
	}
	return n
}

// index returns an item of a list.
func (n node) index(i int) node {
	if list, ok := n.v.([]any); ok && i < len(list) {
		return node{list[i], schema.Index(n.path, i)}
	}
	return node{path: schema.Index(n.path, i)}
}

// items returns the items of a list.
func (n node) items() []node {
	list, _ := n.v.([]any)
	out := make([]node, len(list))
	for i := range list {
		out[i] = n.index(i)
	}
	return out
}

// keys returns the keys of an object in order.
func (n node) keys() []string {
	object, _ := n.v.(map[string]any)
	return slices.Sorted(maps.Keys(object))
}

func (n node) exists() bool { return n.v != nil }

// text returns a text, or "".
func (n node) text() string {
	s, _ := n.v.(string)
	return s
}

func (n node) isText() bool {
	_, ok := n.v.(string)
	return ok
}

// texts returns the texts of a list.
func (n node) texts() []string {
	var out []string
	for _, item := range n.items() {
		if item.isText() {
			out = append(out, item.text())
		}
	}
	return out
}

// number returns a number; ok is false for everything else.
func (n node) number() (float64, bool) {
	digits, ok := n.v.(json.Number)
	if !ok {
		return 0, false
	}
	x, err := strconv.ParseFloat(digits.String(), 64)
	return x, err == nil
}

// is reports whether the value is true.
func (n node) is() bool {
	b, _ := n.v.(bool)
	return b
}

// each calls f with every text in the value, itself included.
func (n node) each(f func(node)) {
	switch n.v.(type) {
	case string:
		f(n)
	case []any:
		for _, item := range n.items() {
			item.each(f)
		}
	case map[string]any:
		for _, k := range n.keys() {
			n.key(k).each(f)
		}
	}
}

// ref returns the placeholder that a text consists of; ok is false when it is anything else.
func (n node) ref() (r assets.Ref, ok bool) {
	found := assets.RefsIn(n.text())
	if len(found) != 1 || found[0].String() != n.text() {
		return assets.Ref{}, false
	}
	return found[0], true
}

// refers reports whether the value is a placeholder for an asset of a kind, and returns that asset's key.
func (n node) refers(kind assets.Kind) (key string, ok bool) {
	r, ok := n.ref()
	return r.Name, ok && r.Kind == string(kind)
}
