package pipeline

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline/grok"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline/web"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

func grokParser(raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Source  string   `json:"source"`
		Samples []string `json:"samples"`
		Grok    struct {
			Match   string `json:"match_rules"`
			Support string `json:"support_rules"`
		} `json:"grok"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	if body.Source == "" {
		return nil, errors.New("the source is missing")
	}
	if len(body.Samples) > 5 || slices.ContainsFunc(body.Samples, func(s string) bool { return utf8.RuneCountInString(s) > 5000 }) {
		return nil, errors.New("there are at most 5 samples, of 5000 characters")
	}
	rules, err := grok.Parse(body.Grok.Match, body.Grok.Support)
	if err != nil {
		return nil, err
	}
	return func(r *run) {
		v, ok := r.read(body.Source)
		text, isText := v.(string)
		if !ok || !isText {
			r.note("the source %s has no text", body.Source)
			return
		}
		found, _, ok := rules.Match(text, r.log.Timestamp)
		if !ok {
			r.note("no rule matches %.80q", text)
			return
		}
		r.merge("", found)
	}, nil
}

// details is the form of processors that make an object of a text.
type details struct {
	common
	Sources   []string `json:"sources"`
	Target    string   `json:"target"`
	Encoded   bool     `json:"is_encoded"`
	Normalize *bool    `json:"normalize_ending_slashes"`
}

func parseDetails(raw json.RawMessage, keys ...string) (details, error) {
	var body details
	if err := strictjson.Decode(raw, &body); err != nil {
		return details{}, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return details{}, err
	}
	for _, key := range []string{"is_encoded", "normalize_ending_slashes"} {
		if _, ok := all[key]; ok && !slices.Contains(keys, key) {
			return details{}, fmt.Errorf("unknown field %q", key)
		}
	}
	if len(body.Sources) == 0 || slices.Contains(body.Sources, "") {
		return details{}, errors.New("sources are missing")
	}
	if body.Target == "" {
		return details{}, errors.New("the target is missing")
	}
	return body, nil
}

func (d *details) run(r *run, parse func(string) (map[string]any, error)) {
	text, ok := r.text(d.Sources)
	if !ok {
		r.note("no source has a value: %s", strings.Join(d.Sources, ", "))
		return
	}
	parts, err := parse(text)
	if err != nil {
		r.note("%.80q: %v", text, err)
		return
	}
	r.merge(d.Target, parts)
}

func urlParser(raw json.RawMessage) (func(*run), error) {
	body, err := parseDetails(raw, "normalize_ending_slashes")
	if err != nil {
		return nil, err
	}
	trim := body.Normalize != nil && *body.Normalize
	return func(r *run) {
		body.run(r, func(text string) (map[string]any, error) { return web.URL(text, trim) })
	}, nil
}

func userAgentParser(raw json.RawMessage) (func(*run), error) {
	body, err := parseDetails(raw, "is_encoded")
	if err != nil {
		return nil, err
	}
	return func(r *run) {
		body.run(r, func(text string) (map[string]any, error) {
			if body.Encoded {
				plain, decodeErr := url.QueryUnescape(text)
				if decodeErr != nil {
					return nil, errors.New("not encoded as a URL is")
				}
				text = plain
			}
			return web.UserAgent(text)
		})
	}, nil
}

func geoIPParser(raw json.RawMessage) (func(*run), error) {
	if _, err := parseDetails(raw); err != nil {
		return nil, err
	}
	return func(r *run) { r.note("addresses are not looked up here: there is no database") }, nil
}

func lookupProcessor(raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Source  string   `json:"source"`
		Target  string   `json:"target"`
		Table   []string `json:"lookup_table"`
		Default *string  `json:"default_lookup"`
		// Of the processor's other shape:
		Reference *string `json:"lookup_enrichment_table"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	switch {
	case body.Reference != nil:
		return nil, errors.New("reference tables do not exist here")
	case body.Source == "" || body.Target == "":
		return nil, errors.New("the source or the target is missing")
	case len(body.Table) == 0:
		return nil, errors.New("the lookup_table is missing")
	}
	table := make(map[string]string, len(body.Table))
	for _, line := range body.Table {
		key, value, ok := strings.Cut(line, ",")
		if !ok {
			return nil, fmt.Errorf("a line of the lookup_table is \"key,value\", not %q", line)
		}
		table[key] = value
	}
	return func(r *run) {
		v, ok := r.read(body.Source)
		if !ok || !isScalar(v) {
			r.note("the source %s has no value", body.Source)
			return
		}
		value, ok := table[search.Text(v)]
		if !ok {
			if body.Default == nil {
				r.note("%q is not in the table", search.Text(v))
				return
			}
			value = *body.Default
		}
		set(r.log.Attributes, body.Target, value)
	}, nil
}

func decoderProcessor(raw json.RawMessage) (func(*run), error) {
	var body struct {
		common
		Source   string `json:"source"`
		Target   string `json:"target"`
		Encoding string `json:"binary_to_text_encoding"`
		Input    string `json:"input_representation"`
	}
	if err := strictjson.Decode(raw, &body); err != nil {
		return nil, err
	}
	if body.Source == "" || body.Target == "" {
		return nil, errors.New("the source or the target is missing")
	}
	if body.Encoding != "base64" && body.Encoding != "base16" {
		return nil, fmt.Errorf("binary_to_text_encoding is base64 or base16, not %q", body.Encoding)
	}
	if body.Input != "utf_8" {
		return nil, fmt.Errorf("input_representation is known here only as utf_8, not %q", body.Input)
	}
	return func(r *run) {
		text, ok := r.text([]string{body.Source})
		if !ok {
			r.note("the source %s has no value", body.Source)
			return
		}
		plain, err := hex.DecodeString(text)
		if body.Encoding == "base64" {
			plain, err = base64.StdEncoding.DecodeString(text)
		}
		if err != nil || !utf8.Valid(plain) {
			r.note("%s is not text in %s", body.Source, body.Encoding)
			return
		}
		set(r.log.Attributes, body.Target, string(plain))
	}, nil
}
