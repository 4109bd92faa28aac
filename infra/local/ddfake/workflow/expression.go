package workflow

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// A path is a name, then names behind dots and indexes in brackets: Steps.Switch_model.body.overrides[0].id.
	pathForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+|\[[0-9]{1,6}\])*$`)
	pathPart = regexp.MustCompile(`[A-Za-z0-9_-]+`)
)

// path is where a value is in the context of a run.
type path []string

func (p path) String() string { return strings.Join(p, ".") }

// template is a text with expressions in it: texts and paths, in turn as they come.
type template []any

// parseTemplate splits text at its expressions, {{ path }}. A text without any is a template of one text.
func parseTemplate(text string) (template, error) {
	var t template
	for {
		before, rest, found := strings.Cut(text, "{{")
		if before != "" {
			t = append(t, before)
		}
		if !found {
			return t, nil
		}
		inside, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return nil, fmt.Errorf("expression {{%s has no end", clip(rest))
		}
		inside = strings.TrimSpace(inside)
		if !pathForm.MatchString(inside) {
			return nil, fmt.Errorf("expression {{ %s }} is not a path", clip(inside))
		}
		t = append(t, path(pathPart.FindAllString(inside, -1)))
		text = after
	}
}

// compile returns v with every string that has expressions replaced by its template.
func compile(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, "${") {
			return nil, fmt.Errorf("inline expressions are not followed: %s", clip(v))
		}
		if !strings.Contains(v, "{{") {
			return v, nil
		}
		return parseTemplate(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = compile(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			var err error
			if out[k], err = compile(v[k]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// paths returns every path in a compiled value.
func paths(v any) []path {
	var out []path
	switch v := v.(type) {
	case path:
		out = append(out, v)
	case template:
		for _, piece := range v {
			out = append(out, paths(piece)...)
		}
	case []any:
		for _, item := range v {
			out = append(out, paths(item)...)
		}
	case map[string]any:
		for _, item := range v {
			out = append(out, paths(item)...)
		}
	}
	return out
}

// render returns a compiled value with its expressions replaced by what they mean in values.
func render(v any, values map[string]any) (any, error) {
	switch v := v.(type) {
	case template:
		if len(v) == 1 {
			return render(v[0], values)
		}
		var text strings.Builder
		for _, piece := range v {
			value, err := render(piece, values)
			if err != nil {
				return nil, err
			}
			text.WriteString(inText(value))
		}
		return text.String(), nil
	case path:
		return lookUp(v, values)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = render(v[i], values); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			var err error
			if out[k], err = render(v[k], values); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func lookUp(p path, values map[string]any) (any, error) {
	var v any = values
	for i, part := range p {
		var ok bool
		switch in := v.(type) {
		case map[string]any:
			v, ok = in[part]
		case []any:
			n, err := strconv.Atoi(part)
			if ok = err == nil && n >= 0 && n < len(in); ok {
				v = in[n]
			}
		}
		if !ok {
			return nil, fmt.Errorf("{{ %s }} has no value: there is no %s", p, p[:i+1])
		}
	}
	return v, nil
}

// inText is how a value looks amid text: texts as they are, nothing for null, the rest as JSON.
func inText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Only values that came from JSON get here, and those can be encoded.
		return ""
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
