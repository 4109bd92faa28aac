package synthetics

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/theory/jsonpath"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

// response is what an assertion looks at.
type response struct {
	status  int
	took    time.Duration
	headers http.Header
	body    []byte
}

// assertion judges one thing about a response; judge returns why it does not hold, or "".
type assertion struct {
	text  string
	judge func(response) string
}

type assertionDocument struct {
	Type     string          `json:"type"`
	Operator string          `json:"operator"`
	Property string          `json:"property"`
	Target   json.RawMessage `json:"target"`
}

type pathTarget struct {
	Path     string          `json:"jsonPath"`
	Operator string          `json:"operator"`
	Elements string          `json:"elementsOperator"`
	Value    json.RawMessage `json:"targetValue"`
}

// The operators of each type of assertion, as Datadog documents them.
var operators = map[string][]string{
	"statusCode":   {"is", "isNot", "matches", "doesNotMatch", "lessThan", "lessThanOrEqual", "moreThan", "moreThanOrEqual"},
	"responseTime": {"lessThan", "lessThanOrEqual", "moreThan", "moreThanOrEqual"},
	"header":       {"contains", "doesNotContain", "is", "isNot", "matches", "doesNotMatch"},
	"body":         {"contains", "doesNotContain", "is", "isNot", "matches", "doesNotMatch", "validatesJSONPath"},
	"jsonPath": {
		"contains", "doesNotContain", "is", "isNot", "lessThan", "lessThanOrEqual", "moreThan", "moreThanOrEqual", "matches", "doesNotMatch",
	},
}

func parseAssertion(raw []byte) (assertion, error) {
	var doc assertionDocument
	if err := strictjson.Decode(raw, &doc); err != nil {
		return assertion{}, err
	}
	known, ok := operators[doc.Type]
	if !ok || doc.Type == "jsonPath" {
		return assertion{}, fmt.Errorf("type %q: %w", doc.Type, ErrNotEvaluated)
	}
	if !slices.Contains(known, doc.Operator) {
		return assertion{}, fmt.Errorf("%s has no operator %q", doc.Type, doc.Operator)
	}
	if (doc.Property != "") != (doc.Type == "header") {
		return assertion{}, errors.New("property is the name of a header, and needed there")
	}
	if doc.Operator == "validatesJSONPath" {
		return parsePath(doc.Target)
	}
	holds, target, err := comparison(doc.Operator, doc.Target)
	if err != nil {
		return assertion{}, fmt.Errorf("%s: %w", doc.Type, err)
	}
	name := strings.TrimSpace(doc.Type + " " + doc.Property)
	read := map[string]func(response) any{
		"statusCode":   func(r response) any { return float64(r.status) },
		"responseTime": func(r response) any { return float64(r.took) / float64(time.Millisecond) },
		"header":       func(r response) any { return strings.Join(r.headers.Values(doc.Property), ", ") },
		"body":         func(r response) any { return string(r.body) },
	}[doc.Type]
	text := name + " " + doc.Operator + " " + target
	return assertion{text, func(r response) string {
		got := read(r)
		if holds(got) {
			return ""
		}
		return text + ", but is " + brief(got)
	}}, nil
}

func parsePath(raw []byte) (assertion, error) {
	var doc pathTarget
	if err := strictjson.Decode(raw, &doc); err != nil {
		return assertion{}, fmt.Errorf("target: %w", err)
	}
	path, err := jsonpath.Parse(doc.Path)
	if err != nil {
		return assertion{}, fmt.Errorf("jsonPath %q: %w", doc.Path, err)
	}
	if !slices.Contains(operators["jsonPath"], doc.Operator) {
		return assertion{}, fmt.Errorf("a JSON path has no operator %q", doc.Operator)
	}
	holds, target, err := comparison(doc.Operator, doc.Value)
	if err != nil {
		return assertion{}, err
	}
	if !slices.Contains([]string{"", "firstElementMatches", "everyElementMatches", "atLeastOneElementMatches"}, doc.Elements) {
		return assertion{}, fmt.Errorf("elementsOperator %q: %w", doc.Elements, ErrNotEvaluated)
	}
	text := doc.Path + " " + doc.Operator + " " + target
	return assertion{text, func(r response) string {
		var v any
		if err := json.Unmarshal(r.body, &v); err != nil {
			return text + ", but the body is no JSON"
		}
		found := []any(path.Select(v))
		if len(found) == 0 {
			return text + ", but there is no such element"
		}
		ok := holds(found[0])
		switch doc.Elements {
		case "everyElementMatches":
			ok = !slices.ContainsFunc(found, func(v any) bool { return !holds(v) })
		case "atLeastOneElementMatches":
			ok = slices.ContainsFunc(found, holds)
		}
		if ok {
			return ""
		}
		return text + ", but is " + brief(found[0])
	}}, nil
}

// comparison returns the test of an operator against a target, and the target as text.
func comparison(operator string, raw []byte) (holds func(any) bool, text string, err error) {
	var target any
	if err := json.Unmarshal(raw, &target); err != nil {
		return nil, "", fmt.Errorf("target: %w", err)
	}
	text = asText(target)
	negated := strings.HasPrefix(operator, "doesNot") || operator == "isNot"
	switch operator {
	case "is", "isNot":
		holds = func(got any) bool { return equal(got, target) }
	case "contains", "doesNotContain":
		holds = func(got any) bool { return strings.Contains(asText(got), text) }
	case "matches", "doesNotMatch":
		pattern, err := regexp.Compile(text)
		if err != nil {
			return nil, "", fmt.Errorf("target: %w", err)
		}
		holds = func(got any) bool { return pattern.MatchString(asText(got)) }
	default:
		bound, ok := number(target)
		if !ok {
			return nil, "", fmt.Errorf("target %s of %s is not a number", text, operator)
		}
		holds = func(got any) bool {
			v, ok := number(got)
			return ok && map[string]bool{
				"lessThan": v < bound, "lessThanOrEqual": v <= bound, "moreThan": v > bound, "moreThanOrEqual": v >= bound,
			}[operator]
		}
	}
	if negated {
		positive := holds
		holds = func(got any) bool { return !positive(got) }
	}
	return holds, text, nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case string:
		n, err := strconv.ParseFloat(v, 64)
		return n, err == nil
	}
	return 0, false
}

// equal compares values, numbers and texts by what they say.
func equal(a, b any) bool {
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return x == y
		}
	}
	return reflect.DeepEqual(a, b) || asText(a) == asText(b)
}

func asText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	// What was decoded from JSON encodes again.
	b, _ := json.Marshal(v)
	return string(b)
}

func brief(v any) string {
	const most = 80
	text := asText(v)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strconv.Quote(text)
}
