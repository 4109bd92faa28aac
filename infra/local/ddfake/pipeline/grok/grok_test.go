package grok_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/pipeline/grok"
)

var now = time.Date(2020, 4, 24, 12, 0, 0, 0, time.UTC)

type object = map[string]any

func TestMatch(t *testing.T) {
	t.Parallel()
	cases := map[string][]struct {
		rule, text string
		want       object // nil where the rule must not match
	}{
		"matchers": {
			{`r %{word:a} %{notSpace:b} %{data:c}`, "user_1 x-y/z: and all the rest\nof it", object{"a": "user_1", "b": "x-y/z:", "c": "and all the rest\nof it"}},
			{`r %{number:a} %{number:b} %{numberStr:c}`, "-1.5 .5 7", object{"a": -1.5, "b": 0.5, "c": "7"}},
			{`r %{numberExt:a} %{numberExtStr:b} %{integerExt:c}`, "1.5e3 2E-1 -1e2", object{"a": 1500.0, "b": "2E-1", "c": -100.0}},
			{`r %{integer:a} %{integerStr:b}`, "+42 -7", object{"a": 42.0, "b": "-7"}},
			{`r %{integer:a}`, "4.2", nil},
			{`r %{boolean:a} %{boolean("yes","no"):b} %{boolean("on"):c}`, "TRUE no on", object{"a": true, "b": false, "c": true}},
			{`r %{doubleQuotedString:a} %{singleQuotedString:b} %{quotedString:c}`, `"x y" 'z' "q"`, object{"a": `"x y"`, "b": "'z'", "c": `"q"`}},
			{`r %{uuid:a} %{mac:b}`, "123e4567-e89b-12d3-a456-426614174000 00:1A:2b:3c:4d:5e", object{"a": "123e4567-e89b-12d3-a456-426614174000", "b": "00:1A:2b:3c:4d:5e"}},
			{`r %{ipv4:a} %{ipv6:b} %{ip:c} %{ip:d}`, "10.0.0.1 2001:db8::1 ::1 192.168.0.255", object{"a": "10.0.0.1", "b": "2001:db8::1", "c": "::1", "d": "192.168.0.255"}},
			{`r %{ipv4:a}`, "10.0.0.256", nil},
			{`r %{hostname:a}:%{port:p} %{ipOrHost:b} %{ipOrHost:c}`, "api.example.com:8080 10.0.0.1 db_1", object{"a": "api.example.com", "p": 8080.0, "b": "10.0.0.1", "c": "db_1"}},
			{`r %{port:p}`, "65536", nil},
			{`r %{regex("[a-z]*"):user.first}_%{regex("[a-zA-Z0-9]*"):user.id} .*`, "john_1a2b3c4 connected on 11/08/2017", object{"user": object{"first": "john", "id": "1a2b3c4"}}},
			{`r %{regex("\\w"):level}%{regex("\d+"):n} "%{regex("[^\"]*"):q}"`, `W42 "a } b"`, object{"level": "W", "n": "42", "q": "a } b"}},
		},
		"extracts": {
			{`r %{word:a.b.c} %{word:a.d}`, "x y", object{"a": object{"b": object{"c": "x"}, "d": "y"}}},
			{`r %{word} %{word:a}`, "x y", object{"a": "y"}},
			{`r %{integer:f} %{notSpace:f:uppercase} %{notSpace:f:nullIf("-")}`, "1 info -", object{"f": []any{1.0, "INFO"}}},
			{`r %{word:a} %{word:a.b}`, "x y", object{"a": "x", "a.b": "y"}},
			{`r (?<http.version>\d\.\d) (?:%{word:w})`, "1.1 x", object{"http": object{"version": "1.1"}, "w": "x"}},
		},
		"a rule matches the whole text": {
			{`r %{word:a}`, "x y", nil},
			{`r %{word:a}.*`, "x y", object{"a": "x"}},
			{`r %{word:a}`, "", nil},
			{`r a|b`, "xb", nil},
		},
		"alternatives and optional parts": {
			{`r (%{integer:user.id}|%{word:user.name}) connected`, "john connected", object{"user": object{"name": "john"}}},
			{`r (%{integer:user.id}|%{word:user.name}) connected`, "12345 connected", object{"user": object{"id": 12345.0}}},
			{`r %{word:name} (%{integer:id} )?connected`, "john connected", object{"name": "john"}},
			{`r %{word:name} (%{integer:id} )?connected`, "john 7 connected", object{"name": "john", "id": 7.0}},
			{`r (?>%{word:m} |)%{notSpace:u}(?> v%{number:v}|)`, "GET /x v2", object{"m": "GET", "u": "/x", "v": 2.0}},
			{`r [[:alpha:]]++%{data:rest} [^]]*+[]]`, "abc xyz]", object{}},
		},
		"filters": {
			{`r %{data:a:number} %{data:b:integer} %{data:c:boolean}`, "1.5 7 False", object{"a": 1.5, "b": 7.0, "c": false}},
			{`r %{notSpace:a:number} %{notSpace:b:integer}`, "x 7.5", object{}},
			{`r %{notSpace:a:lowercase} %{notSpace:b:uppercase}`, "AbC dEf", object{"a": "abc", "b": "DEF"}},
			{`r %{notSpace:a:nullIf("-")}`, "-", object{}},
			{`r %{number:d:scale(1000000000)} %{integer:i:scale(0.5)} %{notSpace:s:scale(2)}`, "0.202 3 x", object{"d": 202000000.0, "i": 1.5}},
			{`r %{notSpace:a:decodeuricomponent}`, "%2Fservice%2Ftest", object{"a": "/service/test"}},
			{`r %{notSpace:q:querystring}`, "?productId=super&tag=a&tag=b", object{"q": object{"productId": "super", "tag": []any{"a", "b"}}}},
			{`r %{notSpace:u:url}`, "https://example.com:8443/a?x=1#f", object{"u": object{"scheme": "https", "host": "example.com", "port": 8443.0, "path": "/a", "hash": "f", "queryString": object{"x": "1"}}}},
			{`r %{data::json}`, `{"a": {"b": [1, null, "x"]}, "c": null, "d": ""}`, object{"a": object{"b": []any{1.0, nil, "x"}}}},
			{`r %{data:o:json}`, `{"a": true}`, object{"o": object{"a": true}}},
			{`r %{data:o:json}`, `{broken`, object{}},
			{`r %{data:ua:useragent}`, "curl/8.5.0", object{"ua": object{
				"browser": object{"family": "curl", "major": "8", "minor": "5", "patch": "0"}, "os": object{"family": "Other"}, "device": object{"family": "Other"}}}},
			{`r %{data:ua:useragent(decodeuricomponent:true)}`, "curl%2F8.5.0", object{"ua": object{
				"browser": object{"family": "curl", "major": "8", "minor": "5", "patch": "0"}, "os": object{"family": "Other"}, "device": object{"family": "Other"}}}},
		},
		"arrays": {
			{`r Users %{data:users:array("[]",",")} added`, "Users [John, Oliver, Marc] added", object{"users": []any{"John", "Oliver", "Marc"}}},
			{`r Users %{data:users:array("{}","-")} added`, "Users {John-Oliver} added", object{"users": []any{"John", "Oliver"}}},
			{`r %{data:n:array("[]",",",integer)}`, "[1, 2, x]", object{"n": []any{1.0, 2.0}}},
			{`r %{data:n:array(";")}`, "a;b", object{"n": []any{"a", "b"}}},
			{`r %{data:n:array}`, "a,b", object{"n": []any{"a", "b"}}},
			{`r %{data:n:array("[]",",",nullIf("-"))}`, "[a,-]", object{"n": []any{"a"}}},
			{`r %{data:n:array("[]",",")}`, "a,b", object{}},
			{`r %{data:n:array("[]",",")}`, "[]", object{"n": []any{}}},
		},
		"csv": {
			{`r %{data:user:csv("first_name,name,st_nb,st_name,city")}`, "John,Doe,120,Jefferson St.,Riverside",
				object{"user": object{"first_name": "John", "name": "Doe", "st_nb": 120.0, "st_name": "Jefferson St.", "city": "Riverside"}}},
			{`r %{data::csv("a,b")}`, `"John ""Da Man""",Doe,more`, object{"a": `John "Da Man"`, "b": "Doe"}},
			{`r %{data::csv("a,b,c")}`, `1,,3`, object{"a": 1.0, "c": 3.0}},
			{`r %{data::csv("a,b","|")}`, `x|y`, object{"a": "x", "b": "y"}},
			{`r %{data::csv("a,b","tab")}`, "x\ty", object{"a": "x", "b": "y"}},
		},
		"key and value": {
			{`r %{data::keyvalue}`, "user=john connect_date=11/08/2017 id=123 action=click", object{"user": "john", "id": 123.0, "action": "click"}},
			{`r %{data:kv:keyvalue}`, "a=1", object{"kv": object{"a": 1.0}}},
			{`r %{data::keyvalue(": ")}`, "user: john id: 123 action: click", object{"user": "john", "id": 123.0, "action": "click"}},
			{`r %{data::keyvalue("=","/:")}`, "url=https://app.datadoghq.com/event/stream user=john", object{"url": "https://app.datadoghq.com/event/stream", "user": "john"}},
			{`r %{data::keyvalue}`, "key=<valueStr>", object{"key": "valueStr"}},
			{`r %{data::keyvalue}`, `"key"="valueStr" other='x y'`, object{"key": "valueStr", "other": "x y"}},
			{`r %{data::keyvalue(":", "/")}`, `key:"/valueStr"`, object{"key": "/valueStr"}},
			{`r %{data::keyvalue(":", "/")}`, `/key:/valueStr`, object{"/key": "/valueStr"}},
			{`r %{data::keyvalue(":=", "", "{}")}`, `key:={valueStr}`, object{"key": "valueStr"}},
			{`r %{data::keyvalue("=", "", "", "|")}`, `key1=value1|key2="value2"`, object{"key1": "value1", "key2": "value2"}},
			{`r %{data::keyvalue(":=","","<>")}`, `key1:=valueStr key2:=</valueStr2> key3:="valueStr3"`, object{"key1": "valueStr", "key2": "/valueStr2"}},
			{`r %{data::keyvalue}`, `a= b=null c=true,d=false; e="5" f.g=1.5 and some words`, object{"c": true, "d": false, "e": "5", "f": object{"g": 1.5}}},
			{`r %{data:x:keyvalue("=")}`, `key:=valueStr`, object{"x": object{}}},
		},
		"dates are milliseconds": {
			{`r %{date("HH:mm:ss"):d}`, "14:20:15", object{"d": 51615000.0}},
			{`r %{date("hh:mm:ss a"):d}`, "02:20:15 PM", object{"d": 51615000.0}},
			{`r %{date("dd/MM/yyyy"):d}`, "11/10/2014", object{"d": 1412985600000.0}},
			{`r %{date("EEE MMM dd HH:mm:ss yyyy"):d}`, "Thu Jun 16 08:29:03 2016", object{"d": 1466065743000.0}},
			{`r %{date("EEE MMM d HH:mm:ss yyyy"):d}`, "Tue Nov 1 08:29:03 2016", object{"d": 1477988943000.0}},
			{`r %{date("dd/MMM/yyyy:HH:mm:ss Z"):d}`, "06/Mar/2013:01:36:30 +0900", object{"d": 1362501390000.0}},
			{`r %{date("yyyy-MM-dd'T'HH:mm:ss.SSSZ"):d}`, "2016-11-29T16:21:36.431+0000", object{"d": 1480436496431.0}},
			{`r %{date("yyyy-MM-dd'T'HH:mm:ss.SSSZZ"):d}`, "2016-11-29T16:21:36.431+00:00", object{"d": 1480436496431.0}},
			{`r %{date("dd/MMM/yyyy:HH:mm:ss.SSS"):d}`, "06/Feb/2009:12:14:14.655", object{"d": 1233922454655.0}},
			{`r %{date("yyyy-MM-dd HH:mm:ss.SSS z"):d}`, "2007-08-31 19:22:22.427 ADT", object{"d": 1188598942427.0}},
			{`r %{date("EEE MMM dd HH:mm:ss yyyy","Europe/Paris"):d}`, "Thu Jun 16 08:29:03 2016", object{"d": 1466058543000.0}},
			{`r %{date("EEE MMM dd HH:mm:ss yyyy","UTC+5"):d}`, "Thu Jun 16 08:29:03 2016", object{"d": 1466047743000.0}},
			{`r %{date("EEE MMM dd HH:mm:ss yyyy","+3"):d}`, "Thu Jun 16 08:29:03 2016", object{"d": 1466054943000.0}},
			{`r %{date("EEE MMM dd HH:mm:ss yyyy","-0300","en"):d}`, "Thu Jun 16 08:29:03 2016", object{"d": 1466076543000.0}},
			{`r %{regex("\\w"):l}%{date("MMdd HH:mm:ss.SSSSSS"):d}`, "W0424 11:47:41.605188", object{"l": "W", "d": 1587728861605.0}},
			{`r %{date("dd/MM/yy"):d}`, "31/02/20", object{}},
			{`r %{date("dd/MM/yyyy"):d}`, "1/2/2020", nil},
		},
	}
	for name, tests := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, test := range tests {
				rules, err := grok.Parse(test.rule, "")
				if err != nil {
					t.Errorf("%s: %v", test.rule, err)
					continue
				}
				got, _, ok := rules.Match(test.text, now)
				if ok != (test.want != nil) {
					t.Errorf("%s matches %q: %t", test.rule, test.text, ok)
					continue
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s of %q (-want +got):\n%s", test.rule, test.text, diff)
				}
			}
		})
	}
}

// access are rules for access logs, of helpers on helpers.
const (
	accessSupport = `_client %{ipOrHost:network.client.ip}
_auth %{notSpace:http.auth:nullIf("-")}
_date %{date("dd/MMM/yyyy:HH:mm:ss Z"):date_access}
_request (?>%{word:http.method} |)%{notSpace:http.url}(?> HTTP\/(?<http.version>\d+\.\d+)|)
_result %{integer:http.status_code} (?>%{integer:network.bytes_written}|-)
`
	accessMatch = `access.common %{_client} %{notSpace:http.ident:nullIf("-")} %{_auth} \[%{_date}\] "%{_request}" %{_result}
access.combined %{access.common} (%{number:duration:scale(1000000000)} )?"%{notSpace:http.referer}" "%{regex("[^\\\"]*"):http.useragent}"( "%{notSpace:x:nullIf("-")}")?.*
`
)

func TestAccessLogs(t *testing.T) {
	t.Parallel()
	rules, err := grok.Parse(accessMatch, accessSupport)
	if err != nil {
		t.Fatal(err)
	}
	common := object{
		"network":     object{"client": object{"ip": "127.0.0.1"}, "bytes_written": 2326.0},
		"http":        object{"auth": "frank", "method": "GET", "url": "/qa?x=1", "version": "1.1", "status_code": 200.0},
		"date_access": 1468407336000.0,
	}
	got, name, _ := rules.Match(`127.0.0.1 - frank [13/Jul/2016:10:55:36 +0000] "GET /qa?x=1 HTTP/1.1" 200 2326`, now)
	if diff := cmp.Diff(common, got); diff != "" || name != "access.common" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
	got, name, _ = rules.Match(`127.0.0.1 - frank [13/Jul/2016:10:55:36 +0000] "GET /qa?x=1 HTTP/1.1" 200 2326 0.202 "http://www.example.com/" "Mozilla/5.0 (X11; Linux x86_64)" "-"`, now)
	http, _ := common["http"].(object)
	http["referer"], http["useragent"], common["duration"] = "http://www.example.com/", "Mozilla/5.0 (X11; Linux x86_64)", 202000000.0
	if diff := cmp.Diff(common, got); diff != "" || name != "access.combined" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
	if _, _, ok := rules.Match("something else", now); ok {
		t.Error("another text matches")
	}
}

func TestTheFirstRuleThatMatchesWins(t *testing.T) {
	t.Parallel()
	rules, err := grok.Parse("one %{integer:n}\n\ntwo %{notSpace:s}\nthree %{one} %{two:both}", "")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]object{"5": {"n": 5.0}, "x": {"s": "x"}, "5 x": {"n": 5.0, "s": "x", "both": "x"}} {
		if got, name, _ := rules.Match(text, now); !cmp.Equal(want, got) {
			t.Errorf("%q is %v by %s, want %v", text, got, name, want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]string{
		"":                                    "there is no match rule",
		"%{data}":                             "a rule is a name",
		"lonely":                              "a rule is a name",
		"a x\na y":                            "two rules are named a",
		"r %{word:a":                          "a %{ without its }",
		"r %{unknown:a}":                      `no matcher and no rule above named "unknown"`,
		"r %{later}\nlater x":                 `no matcher and no rule above named "later"`,
		"r %{data:a:unknown}":                 `no filter named "unknown"`,
		"r %{data:a:rubyhash}":                "rubyhash is not known here",
		"r %{regex(1):a}":                     "texts in quotation marks",
		"r %{regex():a}":                      "regex() has no arguments",
		"r %{data:a:scale()}":                 "scale() has no arguments",
		"r %{data:a:scale(\"x\")}":            "scale takes one number",
		"r %{data:a b}":                       "is not the path of an attribute",
		"r %{data:a..b}":                      "is not the path of an attribute",
		"r %{data:a:lowercase:uppercase}":     "unexpected",
		"r %{word(\"x\"):a}":                  "word takes no arguments",
		"r %{date(\"qq\"):a}":                 `has "qq", which is not known here`,
		"r %{date(\"HH:mm\",\"Mars\"):a}":     `the time zone "Mars" is not known`,
		"r %{date(\"HH:mm\",\"+19\"):a}":      "more than 18 hours away",
		"r %{date(\"HH\",\"Z\",\"fr\"):a}":    "only English",
		"r %{date(\"'x\"):a}":                 "lacks a second '",
		"r (?=x)x":                            "without lookarounds",
		"r (x":                                "missing closing )",
		"r %{regex(\"(?<=a)b\"):a}":           "without lookarounds",
		"r %{data:a:array(\"[\",\",\")}":      "an opening and a closing bracket",
		"r %{data:a:csv(\"a\",\"ab\")}":       "one character as separator",
		"r %{data:a:keyvalue(\"=\",\"]\\\")}": "a %{ without its }",
		"r %{data:a:keyvalue(\"=\",\"z-a\")}": "read the characters of keyvalue",
	} {
		_, err := grok.Parse(rule, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", rule, err, want)
		}
	}
	if _, err := grok.Parse("r x", "helper %{nothing}"); err == nil || !strings.Contains(err.Error(), "support rules: rule helper") {
		t.Errorf("a broken helper rule: %v", err)
	}
	doubling := "a %{word:x} aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
	for c := 'b'; c <= 'z'; c++ {
		doubling += string(c) + " %{" + string(c-1) + "}%{" + string(c-1) + "}\n"
	}
	if _, err := grok.Parse(doubling, ""); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("rules that double each other: %v", err)
	}
}

// TestHostileTextIsNoProblem takes forever with an engine that backtracks.
func TestHostileTextIsNoProblem(t *testing.T) {
	t.Parallel()
	rules, err := grok.Parse(`r (a+)+(a|aa)+(%{data:x} )*(%{word:y},?)*b`, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := rules.Match(strings.Repeat("a", 20000)+"!", now); ok {
		t.Error("a text that ends in ! matches a rule that ends in b")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(accessMatch, accessSupport, `127.0.0.1 - frank [13/Jul/2016:10:55:36 +0000] "GET /qa HTTP/1.1" 200 2326`)
	f.Add(`r %{data:a:array("[]",",",nullIf("-"))} %{data::keyvalue(": ","/","<>","|")}`, "h %{date(\"MMM d yyyy z\",\"+3\"):x}", "[a,-] k: <v>|")
	f.Add(`r %{data:a.b:json} (?>x|)(?<y.z>[[:alpha:]]++) %{boolean("a","b"):b}`, "", `{"x":1} abc b`)
	f.Add(`r %{number:a:scale(2)} %{data::csv("x,y","tab")} %{data:u:url}`, "", "1 a\tb http://x/?a=b")
	f.Fuzz(func(t *testing.T, match, support, text string) {
		rules, err := grok.Parse(match, support)
		if err != nil {
			return
		}
		first, name, ok := rules.Match(text, now)
		again, nameAgain, okAgain := rules.Match(text, now)
		if ok != okAgain || name != nameAgain || !cmp.Equal(first, again) {
			t.Fatalf("%q is %v by %s, and then %v by %s", text, first, name, again, nameAgain)
		}
	})
}
