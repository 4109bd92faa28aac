// Package assets reads the Datadog assets of a folder and fills in what only apply knows: the ids that Datadog gives,
// the URLs of deployed functions, settings and secrets. It neither knows what an asset means nor talks to Datadog.
package assets

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Kind is the kind of an asset.
type Kind string

// The kinds, in the order in which they are made: each refers only to kinds before it.
const (
	Connection Kind = "connection"
	SLO        Kind = "slo"
	Workflow   Kind = "workflow"
	Monitor    Kind = "monitor"
)

var order = []Kind{Connection, SLO, Workflow, Monitor}

// folder is where the files of a kind are.
func (k Kind) folder() string { return string(k) + "s" }

// The kinds of placeholder that name no asset.
const (
	// Function is a property of a deployed function: ${function:remediation.url}.
	Function = "function"
	// Setting is a choice of the organisation: ${setting:slack_channel}.
	Setting = "setting"
	// Secret is a value that must not be shown: ${secret:control}.
	Secret = "secret"
)

// Asset is one asset file.
type Asset struct {
	Kind Kind
	// Key is the name of the file without .json; it is unique in its kind and never changes.
	Key string
	// File is the path in the folder that was loaded, for messages.
	File string
	// Body is the request body of Datadog's API, with placeholders.
	Body json.RawMessage
}

// Ref is one placeholder, ${kind:name}.
type Ref struct{ Kind, Name string }

// String returns the placeholder as it is written.
func (r Ref) String() string { return "${" + r.Kind + ":" + r.Name + "}" }

// A placeholder has no space after the brace, which sets it apart from Datadog's own inline expressions, ${ … }.
var (
	placeholder = regexp.MustCompile(`\$\{([A-Za-z_]+):([^}]*)\}`)
	refName     = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`)
)

// Load reads every asset in fsys: <kind>s/<key>.json. It returns them in the order in which they can be made,
// connections first, and by key within a kind. The error joins every problem found: JSON that is not one object without
// duplicate keys, a file in a folder of no known kind, and placeholders that are malformed, refer to an asset that
// does not exist, or to one that can't be made before it.
func Load(fsys fs.FS) ([]Asset, error) {
	files, err := fs.Glob(fsys, "*/*.json")
	if err != nil {
		return nil, fmt.Errorf("list asset files: %w", err)
	}
	var loaded []Asset
	var problems []error
	for _, file := range files {
		i := slices.IndexFunc(order, func(k Kind) bool { return k.folder() == path.Dir(file) })
		if i < 0 {
			problems = append(problems, fmt.Errorf("%s: the folder is of no known kind", file))
			continue
		}
		body, err := fs.ReadFile(fsys, file)
		if err != nil {
			problems = append(problems, fmt.Errorf("read %s: %w", file, err))
			continue
		}
		if _, err := decode(body); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", file, err))
			continue
		}
		loaded = append(loaded, Asset{Kind: order[i], Key: strings.TrimSuffix(path.Base(file), ".json"), File: file, Body: body})
	}
	slices.SortFunc(loaded, func(a, b Asset) int {
		return cmp.Or(slices.Index(order, a.Kind)-slices.Index(order, b.Kind), strings.Compare(a.Key, b.Key))
	})
	for i, a := range loaded {
		for _, ref := range Refs(a) {
			if reason := wrong(ref, loaded[:i], loaded); reason != "" {
				problems = append(problems, fmt.Errorf("%s: %s %s", a.File, ref, reason))
			}
		}
	}
	return loaded, errors.Join(problems...)
}

// wrong says what is wrong with a placeholder, given the assets that are made before the one that has it.
func wrong(ref Ref, before, all []Asset) string {
	is := func(a Asset) bool { return string(a.Kind) == ref.Kind && a.Key == ref.Name }
	switch {
	case !refName.MatchString(ref.Name):
		return "has a malformed name"
	case ref.Kind == Function || ref.Kind == Setting || ref.Kind == Secret:
		return ""
	case !slices.Contains(order, Kind(ref.Kind)):
		return "is of no known kind"
	case !slices.ContainsFunc(all, is):
		return "names no asset file"
	case !slices.ContainsFunc(before, is):
		return "names an asset that is made later"
	}
	return ""
}

// Refs returns the placeholders of an asset, each once, sorted by kind and name. An asset whose body is not valid has
// none.
func Refs(a Asset) []Ref {
	v, err := decode(a.Body)
	if err != nil {
		return nil
	}
	var refs []Ref
	walk(v, func(s string) string {
		for _, m := range placeholder.FindAllStringSubmatch(s, -1) {
			refs = append(refs, Ref{m[1], m[2]})
		}
		return s
	})
	slices.SortFunc(refs, func(a, b Ref) int { return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name)) })
	return slices.Compact(refs)
}

// Missing is the error of Resolve when placeholders have no value.
type Missing struct {
	File string
	Refs []Ref
}

// Error names every placeholder that has no value.
func (m *Missing) Error() string {
	names := make([]string, len(m.Refs))
	for i, r := range m.Refs {
		names[i] = r.String()
	}
	return fmt.Sprintf("resolve %s: no value for %s", m.File, strings.Join(names, ", "))
}

// Resolve returns the body of a with every placeholder replaced by what lookup returns for it; ok is false where there
// is no value. Values are text: quotes in them can't end the JSON string that they are put into, and placeholders in
// them stay as they are. The result is compact JSON with sorted keys. The error is a *Missing that names every
// placeholder without a value, or says why the body is not valid.
func Resolve(a Asset, lookup func(kind, name string) (value string, ok bool)) ([]byte, error) {
	v, err := decode(a.Body)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", a.File, err)
	}
	values := map[Ref]string{}
	var missing []Ref
	for _, ref := range Refs(a) {
		if value, ok := lookup(ref.Kind, ref.Name); ok {
			values[ref] = value
		} else {
			missing = append(missing, ref)
		}
	}
	if len(missing) > 0 {
		return nil, &Missing{a.File, missing}
	}
	v = walk(v, func(s string) string {
		return placeholder.ReplaceAllStringFunc(s, func(found string) string {
			m := placeholder.FindStringSubmatch(found)
			return values[Ref{m[1], m[2]}]
		})
	})
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("resolve %s: %w", a.File, err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// walk returns v with each string value, but no key, replaced by what f makes of it.
func walk(v any, f func(string) string) any {
	switch v := v.(type) {
	case string:
		return f(v)
	case []any:
		for i := range v {
			v[i] = walk(v[i], f)
		}
	case map[string]any:
		for k := range v {
			v[k] = walk(v[k], f)
		}
	}
	return v
}

// decode reads one JSON object and refuses what encoding/json lets pass: duplicate keys, invalid UTF-8, and text after
// the object. Numbers keep their digits.
func decode(body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	v, err := value(dec, "")
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the JSON object")
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, errors.New("not a JSON object")
	}
	return v, nil
}

func value(dec *json.Decoder, at string) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := value(dec, fmt.Sprintf("%s[%d]", at, len(list)))
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	}
	object := map[string]any{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("not valid JSON: %w", err)
		}
		name, _ := key.(string) // The decoder lets no other token stand for a key.
		here := strings.TrimPrefix(at+"."+name, ".")
		if _, seen := object[name]; seen {
			return nil, fmt.Errorf("duplicate key %s", here)
		}
		if object[name], err = value(dec, here); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return object, err
}
