package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

func categoryProcessor(raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Target     string `json:"target"`
		Categories []struct {
			Name   string     `json:"name"`
			Filter filterBody `json:"filter"`
		} `json:"categories"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	if body.Target == "" {
		return nil, errors.New("the target is missing")
	}
	if len(body.Categories) == 0 {
		return nil, errors.New("there are no categories")
	}
	type category struct {
		name  string
		query search.Query
	}
	var categories []category
	for _, c := range body.Categories {
		query, err := c.Filter.parse()
		if err != nil {
			return nil, fmt.Errorf("category %q: %w", c.Name, err)
		}
		if c.Name == "" || slices.ContainsFunc(categories, func(other category) bool { return other.name == c.Name }) {
			return nil, fmt.Errorf("the name %q of a category is empty, or there twice", c.Name)
		}
		categories = append(categories, category{c.Name, query})
	}
	return func(r *run) {
		for _, c := range categories {
			if c.query.Match(r.log) {
				set(r.log.Attributes, body.Target, c.name)
				return
			}
		}
		r.note("no category matches")
	}, nil
}

func arithmeticProcessor(raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Expression string `json:"expression"`
		Target     string `json:"target"`
		Replace    bool   `json:"is_replace_missing"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	if body.Target == "" {
		return nil, errors.New("the target is missing")
	}
	expression, err := parseExpression(body.Expression)
	if err != nil {
		return nil, fmt.Errorf("read the expression %q: %w", body.Expression, err)
	}
	return func(r *run) {
		missing := ""
		result := expression(func(name string) float64 {
			if v, ok := r.read(name); ok {
				if n, isNumber := search.Number(v); isNumber {
					return n
				}
			}
			if !body.Replace {
				missing = name
			}
			return 0
		})
		switch {
		case missing != "":
			r.note("%s is missing or is no number", missing)
			return
		case math.IsNaN(result) || math.IsInf(result, 0):
			r.note("the result is no number: a division by zero, or too large")
			return
		}
		// Beyond 1e6 the ninth decimal is more than a double holds, and scaling may overflow.
		if math.Abs(result) < 1e6 {
			result = math.Round(result*1e9) / 1e9
		}
		set(r.log.Attributes, body.Target, result)
	}, nil
}

// block is a piece of a template: raw text, or the path of an attribute.
type block struct{ text, path string }

func parseTemplate(template string) ([]block, error) {
	var blocks []block
	for template != "" {
		before, rest, ok := strings.Cut(template, "%{")
		blocks = append(blocks, block{text: before})
		if !ok {
			break
		}
		path, after, ok := strings.Cut(rest, "}")
		if !ok || strings.TrimSpace(path) == "" {
			return nil, fmt.Errorf("a block is written %%{attribute}, at %q", "%{"+rest)
		}
		blocks = append(blocks, block{path: strings.TrimSpace(path)})
		template = after
	}
	return blocks, nil
}

func stringBuilder(raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Template string `json:"template"`
		Target   string `json:"target"`
		Replace  bool   `json:"is_replace_missing"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	if body.Target == "" || body.Template == "" {
		return nil, errors.New("the template or the target is missing")
	}
	blocks, err := parseTemplate(body.Template)
	if err != nil {
		return nil, fmt.Errorf("read the template: %w", err)
	}
	const most = 256
	return func(r *run) {
		var b strings.Builder
		for _, piece := range blocks {
			b.WriteString(piece.text)
			if piece.path == "" {
				continue
			}
			text, ok := r.values(piece.path)
			if !ok && !body.Replace {
				r.note("%s has no value that can be written", piece.path)
				return
			}
			b.WriteString(text)
		}
		result := b.String()
		if utf8.RuneCountInString(result) > most {
			r.note("the result has more than %d characters and was cut", most)
			result = string([]rune(result)[:most])
		}
		set(r.log.Attributes, body.Target, result)
	}, nil
}

// values returns the values of an attribute, also those in arrays, separated by commas.
func (r *run) values(path string) (string, bool) {
	var texts []string
	for _, v := range search.Values(r.log.Attributes, path) {
		texts = append(texts, search.Text(v))
	}
	if texts == nil {
		if v, ok := r.read(path); ok && isScalar(v) {
			return search.Text(v), true
		}
		return "", false
	}
	return strings.Join(texts, ","), true
}

func excludeAttribute(raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Attribute string `json:"attribute_to_exclude"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	switch body.Attribute {
	case "":
		return nil, errors.New("attribute_to_exclude is missing")
	case "host", "source", "service", "status", "message", "timestamp":
		return nil, fmt.Errorf("the reserved attribute %s can't be excluded", body.Attribute)
	}
	return func(r *run) {
		if !remove(r.log.Attributes, body.Attribute) {
			r.note("there is no attribute %s", body.Attribute)
		}
	}, nil
}

type arrayOperation struct {
	Type     string `json:"type"`
	Source   string `json:"source"`
	Target   string `json:"target"`
	Filter   string `json:"filter"`
	Value    string `json:"value_to_extract"`
	Key      string `json:"key_to_extract"`
	Preserve *bool  `json:"preserve_source"`
	Override bool   `json:"override_on_conflict"`
}

func arrayProcessor(raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Operation arrayOperation `json:"operation"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	o := body.Operation
	if o.Source == "" || o.Target == "" && o.Type != "key-value" {
		return nil, errors.New("the source or the target of the operation is missing")
	}
	list := func(r *run) ([]any, bool) {
		v, _ := get(r.log.Attributes, o.Source)
		elements, ok := v.([]any)
		if !ok {
			r.note("the source %s is no array", o.Source)
		}
		return elements, ok
	}
	switch o.Type {
	case "length":
		return func(r *run) {
			if elements, ok := list(r); ok {
				set(r.log.Attributes, o.Target, float64(len(elements)))
			}
		}, nil
	case "append":
		return o.append, nil
	case "select":
		query, err := search.Parse("@" + strings.TrimSpace(o.Filter))
		if err != nil {
			return nil, fmt.Errorf("read filter %q: %w", o.Filter, err)
		}
		if o.Value == "" || slices.ContainsFunc(query.Facets(), func(f string) bool { return f[0] != '@' }) {
			return nil, fmt.Errorf("select takes value_to_extract, and a filter of one term as name:value, not %q", o.Filter)
		}
		return func(r *run) {
			elements, _ := list(r)
			for _, element := range elements {
				object, ok := element.(map[string]any)
				if !ok || !query.Match(Log{Attributes: object}) {
					continue
				}
				if v, found := get(object, o.Value); found {
					set(r.log.Attributes, o.Target, clone(v))
				}
				return
			}
		}, nil
	case "key-value":
		if o.Key == "" || o.Value == "" {
			return nil, errors.New("key-value takes key_to_extract and value_to_extract")
		}
		return func(r *run) {
			elements, _ := list(r)
			for _, element := range elements {
				o.pair(r, element)
			}
		}, nil
	}
	return nil, fmt.Errorf("there is no array operation %q", o.Type)
}

func (o arrayOperation) append(r *run) {
	v, ok := r.read(o.Source)
	if !ok {
		r.note("the source %s has no value", o.Source)
		return
	}
	have, exists := get(r.log.Attributes, o.Target)
	elements, isList := have.([]any)
	if exists && !isList {
		r.note("the target %s is no array", o.Target)
		return
	}
	set(r.log.Attributes, o.Target, append(slices.Clone(elements), clone(v)))
	// The API's description says that the source is kept unless it says otherwise.
	if o.Preserve != nil && !*o.Preserve {
		remove(r.log.Attributes, o.Source)
	}
}

func (o arrayOperation) pair(r *run, element any) {
	object, ok := element.(map[string]any)
	if !ok {
		return
	}
	key, hasKey := get(object, o.Key)
	value, hasValue := get(object, o.Value)
	if !hasKey || !hasValue || !isScalar(key) {
		return
	}
	path := search.Text(key)
	if o.Target != "" {
		path = o.Target + "." + path
	}
	if _, exists := get(r.log.Attributes, path); exists && !o.Override {
		r.note("%s is already set, and override_on_conflict is false", path)
		return
	}
	set(r.log.Attributes, path, clone(value))
}
