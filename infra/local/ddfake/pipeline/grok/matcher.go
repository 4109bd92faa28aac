package grok

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	numberText   = `[+-]?(?:\d+(?:\.\d*)?|\.\d+)`
	integerText  = `[+-]?\d+`
	exponentText = `(?:[eE][+-]?\d+)?`
	byteText     = `(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`
	ipv4Text     = byteText + `(?:\.` + byteText + `){3}`
	// ipv6Text is what may be an IPv6 address; the parts are not counted.
	ipv6Text = `(?:[0-9A-Fa-f]{0,4}:){2,7}(?:` + ipv4Text + `|[0-9A-Fa-f]{0,4})(?:%[0-9A-Za-z_.-]+)?`
	nameText = `[0-9A-Za-z][0-9A-Za-z_-]{0,62}`
	hostText = nameText + `(?:\.` + nameText + `)*\.?`
)

// matchers are the matchers without arguments that keep the text.
func matchers(name string) (string, bool) {
	switch name {
	case "word":
		return `\b\w+\b`, true
	case "notSpace":
		return `\S+`, true
	case "data":
		return `(?s:.*?)`, true
	case "numberStr":
		return numberText, true
	case "numberExtStr":
		return numberText + exponentText, true
	case "integerStr":
		return integerText, true
	case "integerExtStr":
		return integerText + exponentText, true
	case "doubleQuotedString":
		return `"[^"]*"`, true
	case "singleQuotedString":
		return `'[^']*'`, true
	case "quotedString":
		return `(?:"[^"]*"|'[^']*')`, true
	case "uuid":
		return `[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}`, true
	case "mac":
		return `(?:[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})`, true
	case "ipv4":
		return ipv4Text, true
	case "ipv6":
		return ipv6Text, true
	case "ip":
		return `(?:` + ipv6Text + `|` + ipv4Text + `)`, true
	case "hostname":
		return hostText, true
	case "ipOrHost":
		return `(?:` + ipv6Text + `|` + ipv4Text + `|` + hostText + `)`, true
	}
	return "", false
}

type converter = func(text string, now time.Time) (any, bool)

// newMatcher returns the expression of a matcher, and what becomes of the text that it matches.
func newMatcher(c call) (string, converter, error) {
	if expression, ok := matchers(c.name); ok {
		return expression, nil, c.plain()
	}
	switch c.name {
	case "number":
		return numberText, asNumber, c.plain()
	case "numberExt":
		return numberText + exponentText, asNumber, c.plain()
	case "integer":
		return integerText, asNumber, c.plain()
	case "integerExt":
		return integerText + exponentText, asNumber, c.plain()
	case "port":
		return `(?:6553[0-5]|655[0-2]\d|65[0-4]\d{2}|6[0-4]\d{3}|[1-5]\d{4}|[1-9]\d{0,3})`, asNumber, c.plain()
	case "regex":
		texts, err := c.texts(1, 1)
		if err != nil {
			return "", nil, err
		}
		return texts[0], nil, nil
	case "boolean":
		return booleanMatcher(c)
	case "date":
		texts, err := c.texts(1, 3)
		if err != nil {
			return "", nil, err
		}
		return newDate(texts)
	}
	return "", nil, fmt.Errorf("there is no matcher and no rule above named %q", c.name)
}

// plain refuses arguments.
func (c call) plain() error {
	if len(c.args) > 0 {
		return fmt.Errorf("%s takes no arguments", c.name)
	}
	return nil
}

func asNumber(text string, _ time.Time) (any, bool) {
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

func booleanMatcher(c call) (string, converter, error) {
	if len(c.args) == 0 {
		return `(?i:true|false)`, func(text string, _ time.Time) (any, bool) { return strings.EqualFold(text, "true"), true }, nil
	}
	texts, err := c.texts(1, 2)
	if err != nil {
		return "", nil, err
	}
	no := `(?i:false)`
	if len(texts) == 2 {
		no = texts[1]
	}
	yes, err := regexp.Compile(`\A(?:` + texts[0] + `)\z`)
	if err != nil {
		return "", nil, fmt.Errorf("read the pattern of true: %w", err)
	}
	if _, err := regexp.Compile(no); err != nil {
		return "", nil, fmt.Errorf("read the pattern of false: %w", err)
	}
	return `(?:` + texts[0] + `|` + no + `)`, func(text string, _ time.Time) (any, bool) { return yes.MatchString(text), true }, nil
}
