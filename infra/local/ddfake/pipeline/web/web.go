// Package web takes URLs, query strings and user agents apart into the attributes that Datadog makes of them, for the grok
// filters and for the log processors alike.
//
//	what           as Datadog                                        differs here
//	URL            scheme, host, port, path, queryString, hash       "hash" is a guess at the name of the fragment
//	query string   one attribute per key, a list where a key is      the same, as far as it is documented
//	               repeated
//	user agent     os.family, browser.family, device.family, with    by the public list of uap-core, which may be of another
//	               major, minor and patch where known                version; device.category is not made
package web

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ua-parser/uap-go/uaparser"
)

const maxLength = 8 << 10

// URL takes an absolute URL, or a path with or without a query, apart.
func URL(text string, trimSlashes bool) (map[string]any, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("longer than %d bytes", maxLength)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	parts := map[string]any{}
	set := func(name, value string) {
		if value != "" {
			parts[name] = value
		}
	}
	path := u.Path
	if trimSlashes && len(path) > 1 {
		path = "/" + strings.Trim(path, "/")
	}
	set("scheme", u.Scheme)
	set("host", u.Hostname())
	set("path", path)
	set("hash", u.Fragment)
	if port, convErr := strconv.Atoi(u.Port()); convErr == nil {
		parts["port"] = float64(port)
	}
	if query := Query(u.RawQuery); len(query) > 0 {
		parts["queryString"] = query
	}
	return parts, nil
}

// Query takes a query string apart, with or without its question mark. What can't be unescaped stays as it is.
func Query(text string) map[string]any {
	keys := map[string]any{}
	for pair := range strings.SplitSeq(strings.TrimPrefix(text, "?"), "&") {
		key, value, _ := strings.Cut(pair, "=")
		key, value = unescape(key), unescape(value)
		if key == "" {
			continue
		}
		switch have := keys[key].(type) {
		case nil:
			keys[key] = value
		case []any:
			keys[key] = append(slices.Clip(have), value)
		default:
			keys[key] = []any{have, value}
		}
	}
	return keys
}

func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// agents compiles the list of user agents, which takes some time, when it is first needed.
var agents = sync.OnceValues(func() (*uaparser.Parser, error) { return uaparser.New() })

// UserAgent takes a user agent apart.
func UserAgent(text string) (map[string]any, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("longer than %d bytes", maxLength)
	}
	parser, err := agents()
	if err != nil {
		return nil, fmt.Errorf("read the list of user agents: %w", err)
	}
	client := parser.Parse(text)
	return map[string]any{
		"os":      present("family", client.Os.Family, "major", client.Os.Major, "minor", client.Os.Minor, "patch", client.Os.Patch),
		"browser": present("family", client.UserAgent.Family, "major", client.UserAgent.Major, "minor", client.UserAgent.Minor, "patch", client.UserAgent.Patch),
		"device":  present("family", client.Device.Family, "brand", client.Device.Brand, "model", client.Device.Model),
	}, nil
}

// present makes an object of the pairs that have a value.
func present(pairs ...string) map[string]any {
	object := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			object[pairs[i]] = pairs[i+1]
		}
	}
	return object
}
