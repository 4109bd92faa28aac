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

// The kinds of placeholder that name no asset.
const (
	// Function is a property of a deployed function: ${function:remediation.url}.
	Function = "function"
	// Setting is a choice of the organisation: ${setting:slack_channel}.
	Setting = "setting"
	// Secret is a value that must not be shown: ${secret:control}.
	Secret = "secret"
	// User is the identifier of a person at Datadog, found by the address that the setting of the same name holds:
	// ${user:oncall_primary}.
	User = "user"
	// IncidentType is the identifier of an incident type of the organisation: ${incident-type:default}.
	IncidentType = "incident-type"
	// ScannerConfiguration is the identifier of the organisation's Sensitive Data Scanner: ${scanner-configuration:id}.
	ScannerConfiguration = "scanner-configuration"
)

var outside = []string{Function, Setting, Secret, User, IncidentType, ScannerConfiguration}

// Asset is one asset file.
type Asset struct {
	Kind Kind
	// Key is the name of the file without .json; it is unique in its kind and never changes.
	Key string
	// Variant is what follows @ in the name of the file: one of several forms of the same asset, such as an archive on
	// S3 or on Cloud Storage. Select chooses. It is empty for an asset of one form.
	Variant string
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
	placeholder = regexp.MustCompile(`\$\{([A-Za-z_-]+):([^}]*)\}`)
	refName     = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`)
)

// Load reads every asset in fsys, in the folders of the kinds. It returns them in the order in which they can be made: by
// kind, and within a kind those that others refer to first, then by key. What is in tests and logs/lifecycle are no assets.
// The error joins every problem found: JSON that is not one object without duplicate keys, a file in a folder of no known
// kind, and placeholders that are malformed, refer to an asset that does not exist, or to one that can't be made before it.
func Load(fsys fs.FS) ([]Asset, error) {
	var loaded []Asset
	var problems []error
	err := fs.WalkDir(fsys, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (file == "tests" || file == "logs/lifecycle"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(file) != ".json":
			return nil
		}
		a, err := read(fsys, file)
		if err != nil {
			problems = append(problems, err)
			return nil
		}
		loaded = append(loaded, a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list asset files: %w", err)
	}
	for _, a := range loaded {
		for _, ref := range Refs(a) {
			if reason := wrong(ref, a, loaded); reason != "" {
				problems = append(problems, fmt.Errorf("%s: %s %s", a.File, ref, reason))
			}
		}
	}
	loaded, err = ordered(loaded)
	return loaded, errors.Join(append(problems, err)...)
}

// read reads one asset file.
func read(fsys fs.FS, file string) (Asset, error) {
	i := slices.IndexFunc(kinds, func(k kindInfo) bool { return k.folder == path.Dir(file) })
	if i < 0 {
		return Asset{}, fmt.Errorf("%s: the folder is of no known kind", file)
	}
	body, err := fs.ReadFile(fsys, file)
	if err != nil {
		return Asset{}, fmt.Errorf("read %s: %w", file, err)
	}
	if _, err := decode(body); err != nil {
		return Asset{}, fmt.Errorf("%s: %w", file, err)
	}
	key, variant, _ := strings.Cut(strings.TrimSuffix(path.Base(file), ".json"), "@")
	if !refName.MatchString(key) || strings.Contains(path.Base(file), "@.") {
		return Asset{}, fmt.Errorf("%s: the name is not of lower-case letters, digits, hyphens and dots", file)
	}
	return Asset{Kind: kinds[i].kind, Key: key, Variant: variant, File: file, Body: body}, nil
}

// ordered sorts assets into the order in which they can be made. The error names assets of a kind that refer to each other
// in a circle.
func ordered(all []Asset) ([]Asset, error) {
	// depth is how many assets of its own kind must be made before one.
	depth := map[string]int{}
	name := func(a Asset) string { return string(a.Kind) + "/" + a.Key }
	for range all {
		changed := false
		for _, a := range all {
			for _, r := range Refs(a) {
				if r.Kind == string(a.Kind) && depth[name(a)] <= depth[r.Kind+"/"+r.Name] {
					depth[name(a)] = depth[r.Kind+"/"+r.Name] + 1
					changed = true
				}
			}
		}
		if !changed {
			break
		}
	}
	var circle []error
	for _, a := range all {
		if depth[name(a)] >= len(all) {
			circle = append(circle, fmt.Errorf("%s: refers to itself, by way of others of its kind", a.File))
		}
	}
	slices.SortFunc(all, func(a, b Asset) int {
		return cmp.Or(position(a.Kind)-position(b.Kind), depth[name(a)]-depth[name(b)], strings.Compare(a.Key, b.Key), strings.Compare(a.Variant, b.Variant))
	})
	return all, errors.Join(circle...)
}

// Select returns the assets of one form, and of those of several forms the named variant. The error names every asset
// that has no such variant.
func Select(all []Asset, variant string) ([]Asset, error) {
	var out []Asset
	var problems []error
	for _, a := range all {
		if a.Variant == "" || a.Variant == variant {
			out = append(out, a)
		}
	}
	for _, a := range all {
		if !slices.ContainsFunc(out, func(b Asset) bool { return a.Kind == b.Kind && a.Key == b.Key }) {
			problems = append(problems, fmt.Errorf("%s: there is no variant %q of it", a.File, variant))
		}
	}
	return out, errors.Join(problems...)
}

// wrong says what is wrong with a placeholder of an asset.
func wrong(ref Ref, of Asset, all []Asset) string {
	is := func(a Asset) bool { return string(a.Kind) == ref.Kind && a.Key == ref.Name }
	switch {
	case !refName.MatchString(ref.Name):
		return "has a malformed name"
	case slices.Contains(outside, ref.Kind):
		return ""
	case position(Kind(ref.Kind)) < 0:
		return "is of no known kind"
	case !slices.ContainsFunc(all, is):
		return "names no asset file"
	case position(Kind(ref.Kind)) > position(of.Kind):
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
		refs = append(refs, RefsIn(s)...)
		return s
	})
	slices.SortFunc(refs, func(a, b Ref) int { return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name)) })
	return slices.Compact(refs)
}

// RefsIn returns the placeholders of a text, in their order.
func RefsIn(text string) []Ref {
	if !strings.Contains(text, "${") {
		return nil // Most texts have none, and the expression is slow.
	}
	var refs []Ref
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		refs = append(refs, Ref{m[1], m[2]})
	}
	return refs
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
