package scanner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline"
	"github.com/llm-reliability/control-plane/infra/local/ddfake/scanner"
)

type object = map[string]any

const (
	email = `[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}`
	// plain is an enabled group for all logs.
	plain = `"name": "group", "is_enabled": true, "filter": {"query": "*"}, "product_list": ["logs", "apm"], "samplings": [{"product": "logs", "rate": 100}, {"product": "apm", "rate": 10}]`
)

func group(attributes string) scanner.Document {
	return scanner.Document{ID: "g", Body: []byte(`{"meta": {}, "data": {"type": "sensitive_data_scanner_group", "attributes": {` + attributes + `},
		"relationships": {"configuration": {"data": {"type": "sensitive_data_scanner_configuration", "id": "c"}}, "rules": {"data": []}}}}`)}
}

func rule(attributes string) scanner.Document {
	return scanner.Document{ID: "r", Body: []byte(`{"meta": {}, "data": {"type": "sensitive_data_scanner_rule", "attributes": {` + attributes + `},
		"relationships": {"group": {"data": {"type": "sensitive_data_scanner_group", "id": "g"}}}}}`)}
}

func TestApply(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		group     string // "" for plain
		rules     []string
		log, want pipeline.Log
		matches   string // path and count of each, by rule
	}{
		"the whole event": {
			rules: []string{`"name": "email", "is_enabled": true, "pattern": "` + email + `", "tags": ["sensitive_data:email"], "text_replacement": {"type": "replacement_string", "replacement_string": "[EMAIL]"}`},
			log: pipeline.Log{Message: "mail a@example.com or b@example.com", Tags: []string{"env:prod"},
				Attributes: object{"llm": object{"prompt": "I am c@example.com"}, "list": []any{"x", object{"y": "d@example.com"}}, "n": 5.0, "b": true, "z": nil}},
			want: pipeline.Log{Message: "mail [EMAIL] or [EMAIL]", Tags: []string{"env:prod", "sensitive_data:email"},
				Attributes: object{"llm": object{"prompt": "I am [EMAIL]"}, "list": []any{"x", object{"y": "[EMAIL]"}}, "n": 5.0, "b": true, "z": nil}},
			matches: "email list.y 1, email llm.prompt 1, email message 2",
		},
		"nothing matches, nothing is tagged": {
			rules: []string{`"name": "email", "is_enabled": true, "pattern": "` + email + `", "tags": ["sensitive_data:email"], "text_replacement": {"type": "hash"}`},
			log:   pipeline.Log{Message: "hello", Attributes: object{"a": "b"}}, want: pipeline.Log{Message: "hello", Attributes: object{"a": "b"}},
		},
		"without a replacement there are only tags": {
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "secret", "tags": ["x:y"]`, `"name": "b", "is_enabled": true, "pattern": "secret", "tags": ["x:y"], "text_replacement": {"type": "none"}`},
			log:   pipeline.Log{Message: "a secret"}, want: pipeline.Log{Message: "a secret", Tags: []string{"x:y"}}, matches: "a message 1, b message 1",
		},
		"namespaces": {
			rules:   []string{`"name": "a", "is_enabled": true, "pattern": "\\d{4}", "namespaces": ["llm.prompt", "user"], "excluded_namespaces": ["user.id"], "text_replacement": {"type": "replacement_string", "replacement_string": "#"}`},
			log:     pipeline.Log{Message: "1234", Attributes: object{"llm": object{"prompt": "1234"}, "llm.prompt": "5678", "llm.prompts": "1234", "user": object{"id": "1234", "card": 4111.0}}},
			want:    pipeline.Log{Message: "1234", Attributes: object{"llm": object{"prompt": "#"}, "llm.prompt": "#", "llm.prompts": "1234", "user": object{"id": "1234", "card": "#"}}},
			matches: "a llm.prompt 1, a llm.prompt 1, a user.card 1",
		},
		"excluded namespaces only": {
			rules:   []string{`"name": "a", "is_enabled": true, "pattern": "x+", "excluded_namespaces": ["keep"], "text_replacement": {"type": "replacement_string", "replacement_string": ""}`},
			log:     pipeline.Log{Message: "axb", Attributes: object{"keep": object{"a": "x"}, "go": "xx"}},
			want:    pipeline.Log{Message: "ab", Attributes: object{"keep": object{"a": "x"}, "go": ""}},
			matches: "a go 1, a message 1",
		},
		"a part is replaced": {
			rules: []string{
				`"name": "a", "is_enabled": true, "pattern": "\\d{4}-\\d{4}", "namespaces": ["a"], "text_replacement": {"type": "partial_replacement_from_beginning", "number_of_chars": 5}`,
				`"name": "b", "is_enabled": true, "pattern": "ö\\w+", "namespaces": ["b"], "text_replacement": {"type": "partial_replacement_from_end", "number_of_chars": 9}`,
			},
			log: pipeline.Log{Attributes: object{"a": "card 1234-5678", "b": "öde"}}, want: pipeline.Log{Attributes: object{"a": "card *****5678", "b": "***"}}, matches: "a a 1, b b 1",
		},
		"equal matches have equal hashes": {
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "k\\d", "text_replacement": {"type": "hash"}`},
			log:   pipeline.Log{Message: "k1 k1"}, want: pipeline.Log{Message: "08be0f07b56224c1 08be0f07b56224c1"}, matches: "a message 2",
		},
		"rules see what those before them left": {
			rules: []string{
				`"name": "a", "is_enabled": true, "pattern": "abc", "text_replacement": {"type": "replacement_string", "replacement_string": "xyz"}`,
				`"name": "b", "is_enabled": true, "pattern": "c", "text_replacement": {"type": "replacement_string", "replacement_string": "?"}`,
			},
			log: pipeline.Log{Message: "abc c"}, want: pipeline.Log{Message: "xyz ?"}, matches: "a message 1, b message 1",
		},
		"keywords must be near": {
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "\\d{16}", "included_keyword_configuration": {"keywords": ["Card", "visa"], "character_count": 10},
				"text_replacement": {"type": "replacement_string", "replacement_string": "#"}`},
			log:     pipeline.Log{Message: "card no 4111111111111111, order 4222222222222222", Attributes: object{"a": "4111111111111111", "b": "a CARD: 4111111111111111"}},
			want:    pipeline.Log{Message: "card no #, order 4222222222222222", Attributes: object{"a": "4111111111111111", "b": "a CARD: #"}},
			matches: "a b 1, a message 1",
		},
		"suppressed matches stay": {
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "` + email + `", "suppressions": {"starts_with": ["noreply"], "ends_with": ["@example.com"], "exact_match": ["a@b.co"]},
				"text_replacement": {"type": "replacement_string", "replacement_string": "#"}`},
			log:     pipeline.Log{Message: "noreply@x.io x@example.com a@b.co aa@b.co"},
			want:    pipeline.Log{Message: "noreply@x.io x@example.com a@b.co #"},
			matches: "a message 1",
		},
		"what follows a reserved word stays": {
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "\\d{4}", "text_replacement": {"type": "replacement_string", "replacement_string": "#"}`},
			log: pipeline.Log{Message: "date 2026 and much, much more text until 1234; update 5678", Attributes: object{
				"dd.trace_id": "1234", "dd": object{"span_id": "1234"}, "http": object{"host": "1234"}, "ghost": "1234", "@timestamp": "2026-01-02"}},
			want: pipeline.Log{Message: "date 2026 and much, much more text until #; update #", Attributes: object{
				"dd.trace_id": "1234", "dd": object{"span_id": "1234"}, "http": object{"host": "1234"}, "ghost": "#", "@timestamp": "2026-01-02"}},
			matches: "a ghost 1, a message 2",
		},
		"only logs that the filter finds": {
			group: `"name": "group", "is_enabled": true, "filter": {"query": "service:a @safety:*"}`,
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "x", "text_replacement": {"type": "replacement_string", "replacement_string": "#"}`},
			log:   pipeline.Log{Service: "a", Message: "x"}, want: pipeline.Log{Service: "a", Message: "x"},
		},
		"a group that is off": {
			group: `"name": "group", "filter": {"query": "*"}`,
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "x", "text_replacement": {"type": "hash"}`},
			log:   pipeline.Log{Message: "x"}, want: pipeline.Log{Message: "x"},
		},
		"a rule that is off": {
			rules: []string{`"name": "a", "pattern": "x", "text_replacement": {"type": "hash"}`},
			log:   pipeline.Log{Message: "x"}, want: pipeline.Log{Message: "x"},
		},
		"a group for another product": {
			group: `"name": "group", "is_enabled": true, "filter": {"query": "*"}, "product_list": ["apm"]`,
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "x", "text_replacement": {"type": "hash"}`},
			log:   pipeline.Log{Message: "x"}, want: pipeline.Log{Message: "x"},
		},
		"tags and fields are not scanned": {
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "x", "text_replacement": {"type": "hash"}`},
			log:   pipeline.Log{Service: "x", Tags: []string{"k:x"}}, want: pipeline.Log{Service: "x", Tags: []string{"k:x"}},
		},
		"the scanner's own syntax": {
			rules: []string{`"name": "a", "is_enabled": true, "pattern": "\\Qa.b(\\E\\h+[\\h;]\\H(?i:Q)|\\Q[", "text_replacement": {"type": "replacement_string", "replacement_string": "#"}`},
			log:   pipeline.Log{Message: "a.b( \t;xq [ axb( ;xq"}, want: pipeline.Log{Message: "# # axb( ;xq"}, matches: "a message 2",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.group == "" {
				c.group = plain
			}
			var rules []scanner.Document
			for _, text := range c.rules {
				rules = append(rules, rule(text))
			}
			s, err := scanner.Parse([]scanner.Document{group(c.group)}, rules)
			if err != nil {
				t.Fatal(err)
			}
			before, err := json.Marshal(c.log)
			if err != nil {
				t.Fatal(err)
			}
			got, matches := s.Apply(c.log)
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var found []string
			for _, m := range matches {
				found = append(found, fmt.Sprintf("%s %s %d", m.Rule, m.Path, m.Count))
			}
			if text := strings.Join(found, ", "); text != c.matches {
				t.Errorf("matches are %q, want %q", text, c.matches)
			}
			if after, err := json.Marshal(c.log); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the log that was passed changed to %s: %v", after, err)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	good := `"name": "a", "is_enabled": true, "pattern": "x"`
	for name, c := range map[string]struct{ group, rule, want string }{
		"a group's key":          {`"name": "g", "enabled": true`, good, `unknown field "enabled"`},
		"a group's name":         {`"filter": {"query": "*"}`, good, "group g: it has no name"},
		"a group's filter":       {`"name": "g", "filter": {"query": "(a"}`, good, "a ( without its )"},
		"a product":              {`"name": "g", "product_list": ["metrics"]`, good, `no product "metrics"`},
		"a sampling":             {`"name": "g", "samplings": [{"product": "logs", "rate": 50}]`, good, "only 100"},
		"a rule's key":           {plain, good + `, "regex": "x"`, `unknown field "regex"`},
		"a rule's name":          {plain, `"pattern": "x"`, "rule r: it has no name"},
		"no pattern":             {plain, `"name": "a"`, "it is empty"},
		"a pattern":              {plain, `"name": "a", "pattern": "(x"`, "missing closing )"},
		"a lookaround":           {plain, `"name": "a", "pattern": "(?=x)"`, "no lookarounds"},
		"an atomic group":        {plain, `"name": "a", "pattern": "(?>x)"`, "atomic groups"},
		"a priority":             {plain, good + `, "priority": 6`, "1 to 5, not 6"},
		"a replacement":          {plain, good + `, "text_replacement": {"type": "redact"}`, `no replacement of type "redact"`},
		"a missing text":         {plain, good + `, "text_replacement": {"type": "replacement_string"}`, "replacement_string is missing"},
		"a missing size":         {plain, good + `, "text_replacement": {"type": "partial_replacement_from_end"}`, "needs number_of_chars"},
		"a match that is saved":  {plain, good + `, "text_replacement": {"type": "hash", "should_save_match": true}`, "only for replacement_string"},
		"an excluded namespace":  {plain, good + `, "namespaces": ["a"], "excluded_namespaces": ["b.c"]`, `"b.c" is not below`},
		"recommended keywords":   {plain, good + `, "included_keyword_configuration": {"keywords": [], "character_count": 30, "use_recommended_keywords": true}`, "only for standard patterns"},
		"the reach of a keyword": {plain, good + `, "included_keyword_configuration": {"keywords": ["x"], "character_count": 51}`, "1 to 50, not 51"},
	} {
		_, err := scanner.Parse([]scanner.Document{group(c.group)}, []scanner.Document{rule(c.rule)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for body, want := range map[string]string{
		`{"data": {"type": "sensitive_data_scanner_rule"}}`:                                                          "meta is missing",
		`{"meta": {}, "data": {"type": "rule"}}`:                                                                     "not sensitive_data_scanner_rule",
		`{"meta": {}, "data": {"type": "sensitive_data_scanner_rule", "attributes": {"name": "a", "pattern": "x"}}}`: "it names no group",
		`{"meta": {}, "data": {"type": "sensitive_data_scanner_rule", "attributes": {"name": "a", "pattern": "x"}, "relationships": {"group": {"data": {"type": "sensitive_data_scanner_group", "id": "other"}}}}}`: `no group "other"`,
		`{"meta": {}, "data": {"type": "sensitive_data_scanner_rule", "attributes": {"name": "a"}, "relationships": {"group": {"data": {"type": "sensitive_data_scanner_group", "id": "g"}},
			"standard_pattern": {"data": {"type": "sensitive_data_scanner_standard_pattern", "id": "s"}}}}}`: "standard patterns are not published",
	} {
		_, err := scanner.Parse([]scanner.Document{group(plain)}, []scanner.Document{{ID: "r", Body: []byte(body)}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
	if _, err := scanner.Parse([]scanner.Document{group(plain), group(plain)}, nil); err == nil || !strings.Contains(err.Error(), "two of this id") {
		t.Errorf("two groups of one id: %v", err)
	}
}

func FuzzApply(f *testing.F) {
	f.Add(`[a-z]+@[a-z.]+`, "mail a@b.c, date x@y.z", "card")
	f.Add(`\Qx\E[\h]+(?i)y|`, "x \tY host: x y", "")
	f.Fuzz(func(t *testing.T, pattern, text, keyword string) {
		attributes, err := json.Marshal(object{"name": "r", "is_enabled": true, "pattern": pattern, "tags": []string{"k:v"},
			"text_replacement":               object{"type": "partial_replacement_from_end", "number_of_chars": 3},
			"included_keyword_configuration": object{"keywords": []string{keyword}, "character_count": 20}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := scanner.Parse([]scanner.Document{group(plain)}, []scanner.Document{rule(string(attributes[1 : len(attributes)-1]))})
		if err != nil {
			return
		}
		log, matches := s.Apply(pipeline.Log{Message: text, Attributes: object{"a": []any{text}}})
		if (len(matches) > 0) != (len(log.Tags) > 0) {
			t.Fatalf("matches %v, tags %v", matches, log.Tags)
		}
		if len(matches) == 0 && log.Message != text {
			t.Fatalf("%q became %q without a match", text, log.Message)
		}
		if len([]rune(log.Message)) != len([]rune(text)) {
			t.Fatalf("%q became %q, of another length", text, log.Message)
		}
	})
}
