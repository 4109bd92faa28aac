package search_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/search"
)

// event is a log of a request, as it is after the pipelines.
var event = search.Event{
	Service: "llm-reliability-control-plane",
	Status:  "error",
	Source:  "go",
	Host:    "host-1",
	TraceID: "68a1f0c700000000a1b2c3d4e5f60718",
	Message: "Request failed: provider_error after 3 attempts (model=embedded-standard)",
	Tags:    []string{"env:prod", "version:1.2.0", "team:llm-platform", "Region:eu-west-1", "canary"},
	Attributes: map[string]any{
		"llm": map[string]any{
			"provider": "google",
			"request":  map[string]any{"input_tokens": 812.0, "cost": 0.000656, "type": "qa"},
			"cache":    "miss",
			"empty":    "",
		},
		"http.status_code":      json.Number("502"),
		"http.url_details.path": "/qa",
		"duration":              int64(2500000000),
		"error":                 map[string]any{"kind": "provider_overload", "message": "the provider is overloaded"},
		"users":                 []any{map[string]any{"name": "Peter"}, map[string]any{"name": "Ada Lovelace"}},
		"kinds":                 []any{"email", "phone"},
		"blocked":               false,
		"nothing":               nil,
		"code":                  "007",
		"text":                  "hello:world (x)",
		"network":               map[string]any{"client": map[string]any{"ip": "13.4.5.6"}},
		"deep":                  map[string]any{"note": "refund of Order-17"},
	},
}

func parse(t *testing.T, text string) search.Query {
	t.Helper()
	q, err := search.Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return q
}

func TestMatch(t *testing.T) {
	t.Parallel()
	cases := map[string]map[string]bool{
		"nothing and a star find everything": {"": true, "   ": true, "*": true, "-*": false, "*:*": true},
		"words of the message are found in any case": {
			"failed": true, "FAILED": true, "fail": false, "request failed": true, "failed missing": false, "provider_error": true, "provider": true,
		},
		"free text also looks at titles and errors, and at no other attribute": {"overloaded": true, "google": false, "email": false},
		"phrases keep the order of words": {
			`"request failed"`: true, `"failed request"`: false, `"failed provider_error after"`: true, `"after 3 attempts"`: true, `"ttempts"`: false,
			`model\=embedded`: true,
		},
		"wildcards complete words of a message": {
			"fail*": true, "*ailed": true, "*aile*": true, "f*d": true, "f?iled": true, "fail?": false, "request*attempts": false, "failed?provider*": false,
			"3?attempts": true, `"fail*"`: false, `embedded-*`: true,
		},
		"message: looks only at the message": {"message:failed": true, "message:overloaded": false, `message:"after 3"`: true, "message:*": true, "message:(failed OR nope)": true},
		"*: looks everywhere":                {"*:failed": true, "*:google": true, "*:GOOGLE": true, `*:"order 17"`: true, "*:refun*": true, "*:phone": true, "*:nowhere": false},
		"reserved attributes are fields": {
			"service:llm-reliability-control-plane": true, "service:other": false, "service:llm-*": true, "status:error": true, "status:ERROR": true, "-status:error": false,
			"source:go": true, "host:host-1": true, "host:(host-2 OR host-1)": true, "trace_id:68a1f0c700000000a1b2c3d4e5f60718": true, "span_id:*": false,
		},
		"tags are found by key, in any case": {
			"env:prod": true, "env:PROD": true, "env:dev": false, "env:*": true, "region:eu-west-1": true, "nokey:*": false, "tags:canary": true, `tags:"env:prod"`: true,
			"version:1.2.?": true, "team:(llm-platform OR other)": true,
		},
		"attributes keep their case and match whole": {
			"@llm.provider:google": true, "@llm.provider:Google": false, "@llm.provider:goo": false, "@llm.provider:goo*": true, "@llm.provider:*oo?le": true,
			`@llm.provider:"google"`: true, `@llm.provider:"goo*"`: false, "@llm.request.type:qa": true,
		},
		"a key of an attribute may hold dots": {"@http.status_code:502": true, "@http.url_details.path:/qa": true, "@http:*": false},
		"numbers compare as numbers": {
			"@http.status_code:>500": true, "@http.status_code:>502": false, "@http.status_code:>=502": true, "@http.status_code:<502": false, "@http.status_code:<=502": true,
			"@http.status_code:502.0": true, "@llm.request.cost:<0.001": true, "@llm.request.cost:0.000656": true, "@duration:>2s": true, "@duration:<2500ms": false,
			"@llm.provider:>1": false, "@absent:<5": false, "@code:<10": true, "@code:7": false, "@code:007": true, "@llm.request.input_tokens:(>800 <900)": true,
			"@blocked:false": true, "@blocked:true": false, "@duration:>-5": true, "@duration:-5": false,
		},
		"ranges have inclusive and exclusive ends": {
			"@http.status_code:[500 TO 599]": true, "@http.status_code:{502 TO 599]": false, "@http.status_code:[400 TO 502}": false, "@http.status_code:[400 TO 502]": true,
			"@http.status_code:[500 TO *]": true, "@http.status_code:{* TO 500}": false, "@llm.provider:[1 TO 5]": false,
		},
		"existence": {
			"@llm.provider:*": true, "-@llm.provider:*": false, "@nothing:*": false, "-@nothing:*": true, "@llm.empty:*": true, `@llm.empty:""`: true, `@llm.provider:""`: false,
			"@llm:*": false, "-@llm.gone:*": true,
		},
		"elements of arrays count one by one": {
			"@kinds:email": true, "@kinds:phone": true, "-@kinds:phone": false, "@kinds:fax": false, "@users.name:Peter": true, `@users.name:"Ada Lovelace"`: true,
			`@users.name:Ada\ Lovelace`: true, "@users.name:Ada?Lovelace": true, "@users:*": false,
		},
		"special characters are escaped or quoted": {
			`@text:hello\:world\ \(x\)`: true, `@text:"hello:world (x)"`: true, `@text:hello\:*`: true, `@text:"hello:*"`: false, `@text:hello?world?\(x?`: true,
			`@http.url_details.path:\/qa`: true,
		},
		"operators": {
			"failed AND status:error": true, "failed status:ok": false, "failed OR status:ok": true, "nope OR status:ok": false, "NOT status:ok": true, "!status:ok": true,
			"failed && status:error": true, "nope || failed": true, "-(status:ok OR status:info)": true, "NOT (failed nope)": true, "--failed": true, "failed -nope": true,
			"failed and attempts": false, "NOT NOT failed": true, "env:(prod AND -dev)": true, "env:(NOT prod)": false,
			"nope nope OR failed": true, "failed OR nope nope": true, "nope (nope OR failed)": false, "-nope -never failed": true,
		},
		"blocks of addresses": {
			"CIDR(@network.client.ip,13.0.0.0/8)": true, "CIDR(@network.client.ip, 14.0.0.0/8, 13.4.0.0/16)": true, "CIDR(@network.client.ip,14.0.0.0/8)": false,
			"NOT(CIDR(@network.client.ip,13.0.0.0/8))": false, "-CIDR(@absent,13.0.0.0/8)": true, "CIDR(@llm.provider,0.0.0.0/0)": false, "cidr": false,
		},
	}
	for name, queries := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for text, want := range queries {
				q := parse(t, text)
				if got := q.Match(event); got != want {
					t.Errorf("%s: found is %t", text, got)
				}
				again := parse(t, q.String())
				if again.String() != q.String() || again.Match(event) != want {
					t.Errorf("%s: is %s in canonical form, which reads back as %s", text, q, again)
				}
			}
		})
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                   "*",
		" a  b ":                             "a AND b",
		"a b OR c AND -d":                    "a AND b OR c AND -d",
		"(a OR b) c":                         "(a OR b) AND c",
		"a (b c)":                            "a AND (b AND c)",
		"@x:(a OR -b)":                       "@x:a OR -@x:b",
		`@x:"a b" "c d"`:                     `@x:a\ b AND c\ d`,
		"NOT @x:{1 TO *]":                    "-@x:{1 TO *]",
		`\AND "OR" @y:"-5"`:                  `\AND AND \OR AND @y:\-5`,
		"CIDR(@a.ip, 10.1.2.3/8, 2001::/16)": "CIDR(@a.ip,10.0.0.0/8,2001::/16)",
		`*:x*y message:z tags:q`:             `*:x*y AND message:z AND tags:q`,
		`@x:>=1e3 @y:<5ms`:                   `@x:>=1e3 AND @y:<5ms`,
		`my\ key:v @a\:b:c`:                  `my\ key:v AND @a\:b:c`,
	} {
		if got := parse(t, text).String(); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	// The text of the query, then what the message must say.
	for text, want := range map[string]string{
		"(a":                       `at "(a": a ( without its )`,
		"a)":                       `at ")": a ) without its (`,
		"()":                       "a term is missing before )",
		"a OR":                     "at the end: a term is missing",
		"AND a":                    "AND needs a term on both sides",
		"a OR OR b":                "OR needs a term on both sides",
		"a && && b":                "&& needs a term on both sides",
		"- a":                      "nothing is negated",
		"a -":                      "nothing is negated",
		"NOT":                      "a term is missing",
		"service:":                 "a value is missing after :",
		"service: a":               "a value is missing after :",
		"service:)":                "a value is missing after :",
		"@x":                       `at "@x": an attribute needs a value`,
		"@:x":                      "the name of the attribute is missing",
		":x":                       "is special",
		"a:b:c":                    `is escaped as \:`,
		"@url:http://x":            `at "http://x": a : in a value is escaped`,
		"k:(a b:c)":                "there are no other keys",
		"@x:-foo":                  `a value that begins with - is escaped`,
		"@x:>abc":                  "only numbers are compared",
		"@x:>":                     "a number is missing",
		"@x:>NaN":                  "only numbers are compared",
		"@x:[1 5]":                 "a range is written [1 TO 5]",
		"@x:[1 TO 5":               "a range is written [1 TO 5]",
		"@x:[a TO b]":              "only numbers are compared",
		"@x:[5 TO 1]":              "begins above its end",
		"message:>5":               "text is not compared",
		"*:[1 TO 2]":               "text has no ranges",
		`"open`:                    "a quotation mark without its second one",
		`“curly”`:                  "straight quotes",
		`a\`:                       "escapes nothing",
		`user=Ada`:                 `'=' is special`,
		`hello!`:                   `'!' is special`,
		"#calc:5":                  `'#' is special`,
		"[error]":                  "is special",
		`"---"`:                    "nothing to search for",
		`"a":b`:                    "the name before : is not quoted",
		"ser*:x":                   "a name has no wildcards",
		`\*:x`:                     "a name has no wildcards",
		"_exists_:x":               "write @name:*",
		"CIDR(x,10.0.0.0/8)":       "CIDR takes an attribute and blocks",
		"CIDR(@x)":                 "CIDR takes an attribute and blocks",
		"CIDR(@x,10.0.0.0)":        `"10.0.0.0" is no block of addresses`,
		"CIDR(@x,10.0.0.0/8":       "a ( without its )",
		strings.Repeat("(", 200):   "more than 64 parentheses",
		strings.Repeat("-", 200):   "more than 64 parentheses",
		strings.Repeat("a", 1<<15): "longer than 16384 bytes",
		"a \xff":                   "not valid UTF-8",
	} {
		_, err := search.Parse(text)
		var syntax *search.SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.60q): %v, want %q", text, err, want)
		}
	}
}

func TestFacets(t *testing.T) {
	t.Parallel()
	q := parse(t, `service:a (env:b OR -@llm.cache:hit) @x:>5 @y:[1 TO 2] @z:* CIDR(@ip,10.0.0.0/8) text message:b`)
	want := []string{"@ip", "@llm.cache", "@x", "@y", "@z", "env", "message", "service"}
	if diff := cmp.Diff(want, q.Facets()); diff != "" {
		t.Errorf("facets (-want +got):\n%s", diff)
	}
	if q.FullText() || !parse(t, "a -*:b").FullText() {
		t.Error("FullText is wrong")
	}
	if got := parse(t, "").Facets(); len(got) != 0 {
		t.Errorf("the empty query has facets %v", got)
	}
}

func TestFacet(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"service":            {"llm-reliability-control-plane"},
		"status":             {"error"},
		"env":                {"prod"},
		"region":             {"eu-west-1"},
		"@http.status_code":  {"502"},
		"@llm.request.cost":  {"0.000656"},
		"@duration":          {"2500000000"},
		"@users.name":        {"Peter", "Ada Lovelace"},
		"@blocked":           {"false"},
		"@llm":               nil,
		"@nothing":           nil,
		"datacenter":         nil,
		"span_id":            nil,
		"@http.url_details":  nil,
		"@http.url_details.": nil,
	} {
		got, ok := event.Facet(name)
		if diff := cmp.Diff(want, got); diff != "" || ok != (want != nil) {
			t.Errorf("%s: %t (-want +got):\n%s", name, ok, diff)
		}
	}
	double := search.Event{Service: "a", Tags: []string{"service:b", "service:a"}}
	if got, _ := double.Facet("service"); !cmp.Equal(got, []string{"a", "b"}) {
		t.Errorf("a field and its tags are %v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "*", `service:a -status:(error OR "b c") @x.y:>=5`, "@x:{1 TO *] AND NOT (a OR b*)", `CIDR(@x,10.0.0.0/8) \- *:"q"`, "a?b@c @d:-5 k:(x -y >5)",
	} {
		f.Add(text, "some message, with words", "5")
	}
	f.Fuzz(func(t *testing.T, text, message, value string) {
		q, err := search.Parse(text)
		if err != nil {
			return
		}
		again, err := search.Parse(q.String())
		if err != nil {
			t.Fatalf("%q is %q, which does not read back: %v", text, q.String(), err)
		}
		if again.String() != q.String() {
			t.Fatalf("%q is %q, which reads back as %q", text, q.String(), again.String())
		}
		e := search.Event{Message: message, Status: value, Tags: []string{"k:" + value}, Attributes: map[string]any{"x": map[string]any{"y": value}, "d": message}}
		if q.Match(e) != again.Match(e) {
			t.Fatalf("%q matches %t, and as %q it does not", text, q.Match(e), q.String())
		}
	})
}
