package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

// common are the keys that every processor has.
type common struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Enabled bool   `json:"is_enabled"`
}

func sortTags(tags []string) { slices.Sort(tags) }

func hasTag(tags []string, key string) bool {
	return slices.ContainsFunc(tags, func(t string) bool {
		k, _, ok := strings.Cut(t, ":")
		return ok && strings.EqualFold(k, key)
	})
}

// remapper makes an attribute a field of the log.
func remapper(kind string, raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Sources []string `json:"sources"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	if body.Sources == nil {
		switch kind {
		case "trace-id-remapper":
			body.Sources = []string{"dd.trace_id"}
		case "span-id-remapper":
			body.Sources = []string{"dd.span_id"}
		}
	}
	if len(body.Sources) == 0 || slices.Contains(body.Sources, "") {
		return nil, errors.New("sources are missing")
	}
	missing := func(r *run) { r.note("no source has a value: %s", strings.Join(body.Sources, ", ")) }
	if kind == "date-remapper" {
		return func(r *run) {
			for _, source := range body.Sources {
				v, ok := r.read(source)
				if !ok {
					continue
				}
				t, ok := date(v, r.log.Timestamp)
				if !ok {
					r.note("%s is no date that is recognised: %.60q", source, search.Text(v))
					continue
				}
				if r.once(kind) {
					r.log.Timestamp = t
				}
				return
			}
			missing(r)
		}, nil
	}
	return func(r *run) {
		text, ok := r.text(body.Sources)
		if !ok || text == "" {
			missing(r)
			return
		}
		switch kind {
		case "trace-id-remapper":
			r.log.TraceID = text
			return
		case "span-id-remapper":
			r.log.SpanID = text
			return
		}
		if !r.once(kind) {
			return
		}
		switch kind {
		case "status-remapper":
			r.log.Status = status(text)
		case "service-remapper":
			r.log.Service = text
		case "message-remapper":
			r.log.Message = text
		}
	}, nil
}

type attributeRemap struct {
	common
	Sources      []string `json:"sources"`
	SourceType   string   `json:"source_type"`
	Target       string   `json:"target"`
	TargetType   string   `json:"target_type"`
	TargetFormat string   `json:"target_format"`
	Preserve     bool     `json:"preserve_source"`
	Override     bool     `json:"override_on_conflict"`
}

func attributeRemapper(raw json.RawMessage) (func(*run), error) {
	var body attributeRemap
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	for _, kind := range []*string{&body.SourceType, &body.TargetType} {
		if *kind == "" {
			*kind = "attribute"
		}
		if *kind != "attribute" && *kind != "tag" {
			return nil, fmt.Errorf("source_type and target_type are attribute or tag, not %q", *kind)
		}
	}
	switch {
	case len(body.Sources) == 0 || slices.Contains(body.Sources, ""):
		return nil, errors.New("sources are missing")
	case body.Target == "":
		return nil, errors.New("the target is missing")
	case strings.ContainsAny(body.Target, ":,"):
		return nil, fmt.Errorf("the target %q has a : or a comma", body.Target)
	case body.TargetType == "tag" && body.TargetFormat != "":
		return nil, errors.New("target_format is not for a target that is a tag")
	case !slices.Contains([]string{"", "auto", "string", "integer", "double"}, body.TargetFormat):
		return nil, fmt.Errorf("target_format is auto, string, integer or double, not %q", body.TargetFormat)
	}
	return body.run, nil
}

func (b *attributeRemap) run(r *run) {
	found := false
	for _, source := range b.Sources {
		value, ok := b.read(r, source)
		if !ok {
			continue
		}
		found = true
		if b.SourceType == b.TargetType && source == b.Target {
			// The value is cast where it is.
			if b.TargetType == "attribute" {
				set(r.log.Attributes, b.Target, cast(value, b.TargetFormat))
			}
			continue
		}
		if b.exists(r) && !b.Override {
			r.note("%s is already set, and override_on_conflict is false", b.Target)
			continue
		}
		if !b.write(r, value) {
			r.note("%s is an object, which can't be a tag", source)
			continue
		}
		if !b.Preserve {
			b.remove(r, source)
		}
	}
	if !found {
		r.note("no source has a value: %s", strings.Join(b.Sources, ", "))
	}
}

func (b *attributeRemap) read(r *run, source string) (any, bool) {
	if b.SourceType == "attribute" {
		return r.read(source)
	}
	values := r.tagged(source)
	switch len(values) {
	case 0:
		return nil, false
	case 1:
		return values[0], true
	}
	list := make([]any, len(values))
	for i, v := range values {
		list[i] = v
	}
	return list, true
}

func (b *attributeRemap) exists(r *run) bool {
	if b.TargetType == "tag" {
		return hasTag(r.log.Tags, b.Target)
	}
	v, ok := get(r.log.Attributes, b.Target)
	return ok && v != nil
}

func (b *attributeRemap) write(r *run, value any) bool {
	if b.TargetType == "attribute" {
		set(r.log.Attributes, b.Target, cast(value, b.TargetFormat))
		return true
	}
	values, isList := value.([]any)
	if !isList {
		values = []any{value}
	}
	if slices.ContainsFunc(values, func(v any) bool { return !isScalar(v) }) {
		return false
	}
	withoutTag(r, b.Target)
	for _, v := range values {
		r.log.Tags = append(r.log.Tags, tag(b.Target, search.Text(v)))
	}
	return true
}

func (b *attributeRemap) remove(r *run, source string) {
	if b.SourceType == "tag" {
		withoutTag(r, source)
		return
	}
	remove(r.log.Attributes, source)
}

func withoutTag(r *run, key string) {
	r.log.Tags = slices.DeleteFunc(r.log.Tags, func(t string) bool {
		k, _, ok := strings.Cut(t, ":")
		return ok && strings.EqualFold(k, key)
	})
}

// cast changes the type of a value if that is possible.
func cast(v any, format string) any {
	if !isScalar(v) {
		return v
	}
	switch format {
	case "string":
		return search.Text(v)
	case "integer":
		if n, err := strconv.ParseInt(search.Text(v), 10, 64); err == nil {
			return float64(n)
		}
		if n, ok := search.Number(v); ok {
			return float64(int64(n))
		}
	case "double":
		if n, ok := search.Number(v); ok {
			return n
		}
	}
	return v
}
