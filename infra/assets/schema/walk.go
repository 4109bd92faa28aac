package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
	"github.com/getkin/kin-openapi/openapi3"
)

// finding is a problem with its weight: how much it speaks against the branch of a oneOf in which it was found.
type finding struct {
	Problem
	weight int
	// given and known, where they are set, end the message with what was probably meant. It is looked for at the end only,
	// since most findings are those of branches that were not meant.
	given string
	known []string
}

// The weights. A key whose one allowed value is another says almost surely that another branch was meant.
const (
	light  = 1
	middle = 5
	strong = 20
)

type walker struct {
	repairs map[*openapi3.Schema]repair
}

func one(path string, weight int, format string, args ...any) []finding {
	return []finding{{Problem: Problem{path, fmt.Sprintf(format, args...)}, weight: weight}}
}

// meant adds what was given, and what would have been known.
func meant(found []finding, given string, known []string) []finding {
	for i := range found {
		found[i].given, found[i].known = given, known
	}
	return found
}

// value checks a value against a schema.
func (w walker) value(s *openapi3.Schema, v any, path string) []finding {
	if repaired, ok := w.repairs[s]; ok {
		s = repaired(s)
	}
	if v == nil {
		if s.Nullable {
			return nil
		}
		return one(path, light, "null is not allowed")
	}
	if s.Type != nil && !s.Type.Permits(typeOf(v)) && (typeOf(v) != "integer" || !s.Type.Permits("number")) {
		return one(path, middle, "%s is not of type %s", describe(v), strings.Join(s.Type.Slice(), " or "))
	}
	var found []finding
	found = append(found, enum(s, v, path)...)
	switch v := v.(type) {
	case string:
		found = append(found, text(s, v, path)...)
	case json.Number, float64, int:
		found = append(found, number(s, v, path)...)
	case []any:
		found = append(found, w.list(s, v, path)...)
	case map[string]any:
		found = append(found, w.object(s, v, path)...)
	}
	for _, all := range s.AllOf {
		found = append(found, w.value(all.Value, v, path)...)
	}
	if branches := slices.Concat(s.OneOf, s.AnyOf); len(branches) > 0 {
		found = append(found, w.branches(branches, v, path)...)
	}
	return found
}

// object checks the keys of an object and their values. The keys of branches are checked in the branches: Datadog's schemas
// have properties or branches, never both.
func (w walker) object(s *openapi3.Schema, v map[string]any, path string) []finding {
	var found []finding
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			found = append(found, one(Join(path, name), 2*middle, "required, but missing")...)
		}
	}
	if n := uint64(len(v)); n < s.MinProps || s.MaxProps != nil && n > *s.MaxProps {
		found = append(found, one(path, light, "has %d keys, which is out of bounds", n)...)
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		at := Join(path, name)
		if p, ok := s.Properties[name]; ok {
			if p.Value.ReadOnly {
				found = append(found, one(at, light, "only Datadog sets this key; it is dropped when it is sent")...)
				continue
			}
			found = append(found, w.value(p.Value, v[name], at)...)
			continue
		}
		if extra := s.AdditionalProperties.Schema; extra != nil {
			found = append(found, w.value(extra.Value, v[name], at)...)
			continue
		}
		if free(s) {
			continue
		}
		found = append(found, meant(one(at, light, "unknown key"), name, slices.Collect(maps.Keys(s.Properties)))...)
	}
	return found
}

// free reports whether an object may have any keys: it lists none, or its keys are those of its branches.
func free(s *openapi3.Schema) bool {
	closed := s.AdditionalProperties.Has != nil && !*s.AdditionalProperties.Has
	return len(s.Properties) == 0 && !closed
}

func (w walker) list(s *openapi3.Schema, v []any, path string) []finding {
	var found []finding
	switch n := uint64(len(v)); {
	case n < s.MinItems:
		found = append(found, one(path, light, "has %d items; at least %d are needed", n, s.MinItems)...)
	case s.MaxItems != nil && n > *s.MaxItems:
		found = append(found, one(path, light, "has %d items; at most %d are allowed", n, *s.MaxItems)...)
	}
	if s.UniqueItems {
		seen := map[string]bool{}
		for i, item := range v {
			raw, _ := json.Marshal(item) // What was decoded from JSON always encodes.
			if seen[string(raw)] {
				found = append(found, one(Index(path, i), light, "is there twice")...)
			}
			seen[string(raw)] = true
		}
	}
	if s.Items != nil {
		for i, item := range v {
			found = append(found, w.value(s.Items.Value, item, Index(path, i))...)
		}
	}
	return found
}

// branches checks a value against the branches of a oneOf. When none fits, the problems are those of the branch that was
// meant: the one whose discriminating key has the value, or else the one that the least speaks against.
func (w walker) branches(refs openapi3.SchemaRefs, v any, path string) []finding {
	candidates := flat(refs)
	if object, ok := v.(map[string]any); ok {
		key, values := discriminator(candidates)
		if key != "" {
			given, ok := object[key].(string)
			switch {
			case !ok && object[key] == nil:
				return one(Join(path, key), strong, "required, but missing: it says which form this is, one of %s", some(values))
			case ok && !slices.Contains(values, given):
				return meant(one(Join(path, key), strong, "%q is not one of %s", given, some(values)), given, values)
			}
			candidates = slices.DeleteFunc(candidates, func(s *openapi3.Schema) bool { return ok && !slices.Contains(texts(s.Properties[key]), given) })
		}
	}
	var best []finding
	weight := -1
	for _, s := range candidates {
		found := w.value(s, v, path)
		if len(found) == 0 {
			return nil
		}
		sum := 0
		for _, f := range found {
			sum += f.weight
		}
		if weight < 0 || sum < weight {
			best, weight = found, sum
		}
	}
	return best
}

// flat returns the branches of a oneOf, with a branch that is only a oneOf itself replaced by its own.
func flat(refs openapi3.SchemaRefs) []*openapi3.Schema {
	var out []*openapi3.Schema
	for _, r := range refs {
		if len(r.Value.OneOf) > 0 && len(r.Value.Properties) == 0 && !r.Value.Nullable {
			out = append(out, flat(r.Value.OneOf)...)
		} else {
			out = append(out, r.Value)
		}
	}
	return out
}

// discriminator returns the key that tells branches apart: each branch requires it, and allows one of few texts. The texts
// are those of all branches.
func discriminator(branches []*openapi3.Schema) (key string, values []string) {
	sets := 1 // One set of texts for all branches tells nothing apart.
	for _, name := range slices.Sorted(maps.Keys(branches[0].Properties)) {
		var all []string
		distinct := map[string]bool{}
		for _, b := range branches {
			own := texts(b.Properties[name])
			if own == nil || !slices.Contains(b.Required, name) {
				all = nil
				break
			}
			all = append(all, own...)
			distinct[strings.Join(own, "\x00")] = true
		}
		if all != nil && (len(distinct) > sets || len(branches) == 1 && name == "type") {
			slices.Sort(all)
			key, values, sets = name, slices.Compact(all), len(distinct)
		}
	}
	return key, values
}

// texts returns the texts that a property may have, nil when it is not restricted to some.
func texts(p *openapi3.SchemaRef) []string {
	if p == nil || p.Value == nil {
		return nil
	}
	var out []string
	for _, e := range p.Value.Enum {
		s, ok := e.(string)
		if !ok {
			return nil
		}
		out = append(out, s)
	}
	return out
}

func enum(s *openapi3.Schema, v any, path string) []finding {
	if len(s.Enum) == 0 {
		return nil
	}
	var allowed []string
	for _, e := range s.Enum {
		if fmt.Sprint(e) == fmt.Sprint(v) {
			return nil
		}
		allowed = append(allowed, fmt.Sprint(e))
	}
	weight := light
	if len(allowed) == 1 {
		weight = strong
	}
	given := fmt.Sprint(v)
	return meant(one(path, weight, "%q is not one of %s", given, some(allowed)), given, allowed)
}

func text(s *openapi3.Schema, v, path string) []finding {
	n := uint64(utf8.RuneCountInString(v))
	switch {
	case n < s.MinLength:
		return one(path, light, "has %d characters; at least %d are needed", n, s.MinLength)
	case s.MaxLength != nil && n > *s.MaxLength:
		return one(path, light, "has %d characters; at most %d are allowed", n, *s.MaxLength)
	case s.Pattern != "" && !matches(s.Pattern, v):
		return one(path, light, "%q does not match %s", v, s.Pattern)
	}
	switch s.Format {
	case "uuid":
		if !uuid.MatchString(v) {
			return one(path, light, "%q is not a UUID", v)
		}
	case "date-time":
		if _, err := time.Parse(time.RFC3339, v); err != nil {
			return one(path, light, "%q is not a time such as 2026-01-31T09:00:00Z", v)
		}
	case "date":
		if _, err := time.Parse(time.DateOnly, v); err != nil {
			return one(path, light, "%q is not a date such as 2026-01-31", v)
		}
	}
	return nil
}

// uuid takes every version, since Datadog's own examples do.
var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func matches(pattern, v string) bool {
	re, err := regexp2.Compile(pattern, regexp2.ECMAScript)
	if err != nil {
		return true // A pattern that can't be read holds nobody back; the test of this package looks for such.
	}
	re.MatchTimeout = time.Second
	ok, err := re.MatchString(v)
	return err == nil && ok
}

func number(s *openapi3.Schema, v any, path string) []finding {
	x, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	switch {
	case err != nil:
		return one(path, light, "%v is out of range", v)
	case s.Min != nil && x < *s.Min:
		return one(path, light, "%v is less than the minimum %v", v, *s.Min)
	case s.Max != nil && x > *s.Max:
		return one(path, light, "%v is more than the maximum %v", v, *s.Max)
	case s.Format == "int32" && (x < -1<<31 || x >= 1<<31):
		return one(path, light, "%v does not fit into 32 bits", v)
	}
	return nil
}

// typeOf returns the JSON schema type of a decoded value.
func typeOf(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case int:
		return "integer"
	case json.Number, float64:
		if x, err := strconv.ParseFloat(fmt.Sprint(v), 64); err == nil && x == float64(int64(x)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

func describe(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprint(v)
}

// some lists values for a message, the first of them when they are many.
func some(values []string) string {
	const most = 8
	var out []string
	for _, v := range values[:min(most, len(values))] {
		out = append(out, strconv.Quote(v))
	}
	if more := len(values) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(out, ", "), more)
	}
	return strings.Join(out, ", ")
}

// suggestion names what was probably meant, as the end of a message.
func suggestion(given string, known []string) string {
	known = slices.Sorted(slices.Values(known))
	best, least := "", 3
	for _, k := range known {
		if d := distance(normal(given), normal(k)); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; is %q meant?", best)
}

func normal(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// distance is the number of letters to add, drop or change to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, row[j]+1, last+1)
		}
	}
	return row[len(b)]
}

// Join returns the path of a key below path.
func Join(path, key string) string {
	switch {
	case !plain(key):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// plain reports whether a key needs no quotes in a path.
func plain(key string) bool {
	for i, r := range key {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return false
		}
	}
	return key != ""
}

// Index returns the path of a list's item below path.
func Index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
