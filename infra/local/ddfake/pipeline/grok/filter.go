package grok

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline/web"
)

// filter changes a value. It is false where the value is not of its kind.
type filter = func(value any) (any, bool)

// onText makes a filter of a function of texts.
func onText(f func(text string) (any, bool)) filter {
	return func(value any) (any, bool) {
		text, ok := value.(string)
		if !ok {
			return nil, false
		}
		return f(text)
	}
}

func newFilter(c call) (filter, error) {
	if f, ok := plainFilter(c.name); ok {
		return f, c.plain()
	}
	switch c.name {
	case "nullIf":
		texts, err := c.texts(1, 1)
		if err != nil {
			return nil, err
		}
		return func(value any) (any, bool) { return value, value != texts[0] }, nil
	case "scale":
		if len(c.args) != 1 {
			return nil, fmt.Errorf("scale takes one number")
		}
		factor, err := strconv.ParseFloat(c.args[0].text, 64)
		if err != nil {
			return nil, fmt.Errorf("scale takes one number, not %q", c.args[0].text)
		}
		return func(value any) (any, bool) {
			n, ok := toNumber(value)
			scaled, isNumber := n.(float64)
			return scaled * factor, ok && isNumber
		}, nil
	case "useragent":
		return userAgentFilter(c)
	case "keyvalue":
		return keyValueFilter(c)
	case "csv":
		return csvFilter(c)
	case "array":
		return arrayFilter(c)
	case "rubyhash", "xml":
		return nil, fmt.Errorf("the filter %s is not known here", c.name)
	}
	return nil, fmt.Errorf("there is no filter named %q", c.name)
}

func plainFilter(name string) (filter, bool) {
	switch name {
	case "number":
		return toNumber, true
	case "integer":
		return func(value any) (any, bool) {
			n, ok := toNumber(value)
			number, isNumber := n.(float64)
			return number, ok && isNumber && number == float64(int64(number))
		}, true
	case "boolean":
		return onText(func(text string) (any, bool) {
			yes := strings.EqualFold(text, "true")
			return yes, yes || strings.EqualFold(text, "false")
		}), true
	case "json":
		return onText(func(text string) (any, bool) {
			var value any
			err := json.Unmarshal([]byte(text), &value)
			return value, err == nil
		}), true
	case "lowercase":
		return onText(func(text string) (any, bool) { return strings.ToLower(text), true }), true
	case "uppercase":
		return onText(func(text string) (any, bool) { return strings.ToUpper(text), true }), true
	case "querystring":
		return onText(func(text string) (any, bool) { return web.Query(text), true }), true
	case "decodeuricomponent":
		return onText(func(text string) (any, bool) {
			plain, err := url.PathUnescape(text)
			return plain, err == nil
		}), true
	case "url":
		return onText(func(text string) (any, bool) {
			parts, err := web.URL(text, false)
			return parts, err == nil
		}), true
	}
	return nil, false
}

func toNumber(value any) (any, bool) {
	switch v := value.(type) {
	case float64:
		return v, true
	case string:
		n, err := strconv.ParseFloat(v, 64)
		return n, err == nil && strings.Trim(v, "0123456789+-.eE") == ""
	}
	return nil, false
}

func userAgentFilter(c call) (filter, error) {
	decode := false
	if len(c.args) > 1 {
		return nil, fmt.Errorf("useragent takes at most one argument")
	}
	if len(c.args) == 1 {
		switch c.args[0].text {
		case "decodeuricomponent:true":
			decode = true
		case "decodeuricomponent:false":
		default:
			return nil, fmt.Errorf("useragent takes decodeuricomponent:true or false, not %q", c.args[0].text)
		}
	}
	return onText(func(text string) (any, bool) {
		if decode {
			if plain, err := url.PathUnescape(text); err == nil {
				text = plain
			}
		}
		parts, err := web.UserAgent(text)
		return parts, err == nil
	}), nil
}

func csvFilter(c call) (filter, error) {
	texts, err := c.texts(1, 3)
	if err != nil {
		return nil, err
	}
	comma := ','
	if len(texts) > 1 {
		switch r, size := utf8.DecodeRuneInString(texts[1]); {
		case texts[1] == "tab":
			comma = '\t'
		case size == len(texts[1]) && size > 0:
			comma = r
		default:
			return nil, fmt.Errorf("csv takes one character as separator, not %q", texts[1])
		}
	}
	if len(texts) > 2 && texts[2] != `"` {
		return nil, fmt.Errorf("csv is known here only with \" as quotation mark")
	}
	var headers []string
	for header := range strings.SplitSeq(texts[0], ",") {
		headers = append(headers, strings.TrimSpace(header))
	}
	return onText(func(text string) (any, bool) {
		r := csv.NewReader(strings.NewReader(text))
		r.Comma, r.FieldsPerRecord = comma, -1
		values, readErr := r.Read()
		if readErr != nil {
			return nil, false
		}
		object := map[string]any{}
		for i := range min(len(headers), len(values)) {
			insert(object, headers[i], scalar(values[i]))
		}
		return object, true
	}), nil
}

// scalar casts a text to a number where it is one.
func scalar(text string) any {
	if n, ok := toNumber(text); ok {
		return n
	}
	return text
}

func arrayFilter(c call) (filter, error) {
	var texts []string
	var each filter
	for i, a := range c.args {
		switch {
		case a.quoted && len(texts) == i && i < 2:
			texts = append(texts, a.text)
		case !a.quoted && i == len(c.args)-1:
			var err error
			if each, err = newFilter(a.call); err != nil {
				return nil, fmt.Errorf("read the filter of the elements: %w", err)
			}
		default:
			return nil, fmt.Errorf("array takes brackets, a separator and a filter")
		}
	}
	brackets, separator := "", ","
	switch len(texts) {
	case 1:
		separator = texts[0]
	case 2:
		brackets, separator = texts[0], texts[1]
		if utf8.RuneCountInString(brackets) != 2 && brackets != "" {
			return nil, fmt.Errorf("array takes an opening and a closing bracket, not %q", brackets)
		}
	}
	if separator == "" {
		return nil, fmt.Errorf("array needs a separator")
	}
	return onText(func(text string) (any, bool) {
		text = strings.TrimSpace(text)
		if brackets != "" {
			_, size := utf8.DecodeRuneInString(brackets)
			if len(text) < len(brackets) || !strings.HasPrefix(text, brackets[:size]) || !strings.HasSuffix(text, brackets[size:]) {
				return nil, false
			}
			text = text[size : len(text)-len(brackets)+size]
		}
		list := []any{}
		if strings.TrimSpace(text) == "" {
			return list, true
		}
		for part := range strings.SplitSeq(text, separator) {
			var element any = strings.TrimSpace(part)
			if each != nil {
				var ok bool
				if element, ok = each(element); !ok {
					continue
				}
			}
			list = append(list, element)
		}
		return list, true
	}), nil
}

// keyValue holds what keyvalue was called with.
type keyValue struct {
	separator  string
	word       *regexp.Regexp
	quotes     []string
	delimiters []string
}

func keyValueFilter(c call) (filter, error) {
	texts, err := c.texts(0, 4)
	if err != nil {
		return nil, err
	}
	arg := func(i int, missing string) string {
		if i < len(texts) && texts[i] != "" {
			return texts[i]
		}
		return missing
	}
	k := keyValue{separator: arg(0, "="), quotes: []string{`<>`, `""`, `''`}, delimiters: []string{" ", ",", ";"}}
	if quotes := arg(2, ""); quotes != "" {
		if utf8.RuneCountInString(quotes) != 2 {
			return nil, fmt.Errorf("keyvalue takes an opening and a closing quotation mark, not %q", quotes)
		}
		k.quotes = []string{quotes}
	}
	if delimiter := arg(3, ""); delimiter != "" {
		k.delimiters = []string{delimiter}
	}
	// The list may hold escapes and ranges of a class, so it is copied as it is.
	if k.word, err = regexp.Compile(`\A[\w.\-_@` + arg(1, "") + `]+`); err != nil {
		return nil, fmt.Errorf("read the characters of keyvalue: %w", err)
	}
	return onText(func(text string) (any, bool) { return k.parse(text), true }), nil
}

func (k keyValue) parse(text string) map[string]any {
	object := map[string]any{}
	for text != "" {
		// A pair is at the beginning, or after a delimiter.
		rest, ok := k.pair(strings.TrimLeft(text, " \t"), object)
		if !ok {
			rest = text
		}
		next := len(rest)
		for _, delimiter := range k.delimiters {
			if i := strings.Index(rest, delimiter); i >= 0 {
				next = min(next, i+len(delimiter))
			}
		}
		text = rest[next:]
	}
	return object
}

// pair reads one pair that ends at a delimiter or at the end, and returns what follows.
func (k keyValue) pair(text string, object map[string]any) (string, bool) {
	key, _, rest := k.part(text)
	if key == "" || !strings.HasPrefix(rest, k.separator) {
		return "", false
	}
	value, quoted, rest := k.part(rest[len(k.separator):])
	ended := strings.TrimLeft(rest, " \t") == ""
	for _, delimiter := range k.delimiters {
		ended = ended || strings.HasPrefix(strings.TrimLeft(rest, " \t"), delimiter) || strings.HasPrefix(rest, delimiter)
	}
	if !ended {
		return "", false
	}
	switch {
	case quoted:
		insert(object, key, value)
	case value == "null":
	case value == "true", value == "false":
		insert(object, key, value == "true")
	default:
		insert(object, key, scalar(value))
	}
	return rest, true
}

// part reads a text in quotation marks, or a word.
func (k keyValue) part(text string) (part string, quoted bool, rest string) {
	for _, quotes := range k.quotes {
		_, size := utf8.DecodeRuneInString(quotes)
		if !strings.HasPrefix(text, quotes[:size]) {
			continue
		}
		if end := strings.Index(text[size:], quotes[size:]); end >= 0 {
			return text[size : size+end], true, text[size+end+len(quotes)-size:]
		}
	}
	word := k.word.FindString(text)
	return word, false, text[len(word):]
}
