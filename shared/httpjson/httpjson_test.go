package httpjson_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/shared/httpjson"
	"github.com/llm-reliability/control-plane/shared/llm"
)

// even reads a text of "2", "4", … and stands for the types that read themselves.
type even int

func (e *even) UnmarshalText(text []byte) error {
	if string(text) != "2" && string(text) != "4" {
		return fmt.Errorf("%q is not even", text)
	}
	*e = even(text[0] - '0')
	return nil
}

type body struct {
	Name   string   `json:"name"`
	Count  int      `json:"count"`
	Share  *float64 `json:"share,omitempty"`
	Even   even     `json:"even"`
	On     bool     `json:"on"`
	Words  []string `json:"words"`
	Nested struct {
		Depth int `json:"depth"`
	} `json:"nested"`
	Hidden string `json:"-"`
}

func (b *body) Validate() []httpjson.FieldError {
	if b.Count < 0 {
		return []httpjson.FieldError{{Field: "count", Detail: "must not be negative"}}
	}
	return nil
}

// problem returns the *Problem that err is, without its cause, or fails.
func problem(t testing.TB, err error) *httpjson.Problem {
	t.Helper()
	var p *httpjson.Problem
	if !errors.As(err, &p) {
		t.Fatalf("error = %#v, want a *Problem", err)
	}
	return p
}

func TestUnmarshalReadsAnObject(t *testing.T) {
	var got body
	err := httpjson.Unmarshal([]byte(` {"name":"a","count":3,"share":0.5,"even":"4","on":true,"words":["x","y"],"nested":{"depth":2}} `), &got)
	if err != nil {
		t.Fatal(err)
	}
	share := 0.5
	want := body{Name: "a", Count: 3, Share: &share, Even: 4, On: true, Words: []string{"x", "y"}}
	want.Nested.Depth = 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	const fields = "the request has fields that are not acceptable"
	long := strings.Repeat("ü", 100)
	tests := map[string]struct {
		body   string
		detail string
		errors []httpjson.FieldError
	}{
		"nothing":                      {"", "the body is empty", nil},
		"white space":                  {" \n", "the body is empty", nil},
		"bytes that are not UTF-8":     {"{\"name\":\"\xff\"}", "the body is not valid UTF-8", nil},
		"an array":                     {"[]", "the body must be a JSON object", nil},
		"null":                         {"null", "the body must be a JSON object", nil},
		"an object without an end":     {`{"name":"a"`, "the body is not valid JSON: it ends too early", nil},
		"a value without an end":       {`{"name":"a`, "the body is not valid JSON: it ends too early", nil},
		"a name without a value":       {`{"name":`, "the body is not valid JSON: it ends too early", nil},
		"a bracket that does not fit":  {`{"name":"a"]`, "the body is not valid JSON at byte 12", nil},
		"a comma too many":             {`{"name":"a",}`, "the body is not valid JSON at byte 13", nil},
		"a word that is none":          {`{"name": nil}`, "the body is not valid JSON at byte 11", nil},
		"a second object":              {`{}{}`, "the body must be one JSON object and nothing after it", nil},
		"text after the object":        {`{}x`, "the body must be one JSON object and nothing after it", nil},
		"an unknown field":             {`{"nmae":"a"}`, fields, []httpjson.FieldError{{Field: "nmae", Detail: "unknown field"}}},
		"another case":                 {`{"Name":"a"}`, fields, []httpjson.FieldError{{Field: "Name", Detail: "unknown field"}}},
		"a field that is not for JSON": {`{"Hidden":"a"}`, fields, []httpjson.FieldError{{Field: "Hidden", Detail: "unknown field"}}},
		"an unknown field of a field":  {`{"nested":{"width":1}}`, fields, []httpjson.FieldError{{Field: "nested.width", Detail: "unknown field"}}},
		"a field twice":                {`{"name":"a","name":"b"}`, fields, []httpjson.FieldError{{Field: "name", Detail: "appears more than once"}}},
		"a name too long to repeat":    {`{"` + long + `":1}`, fields, []httpjson.FieldError{{Field: strings.Repeat("ü", 40) + "…", Detail: "unknown field"}}},
		"every wrong type at once": {`{"name":1,"count":"x","share":"x","on":1,"words":"x","nested":[]}`, fields, []httpjson.FieldError{
			{Field: "count", Detail: "must be a whole number, not string"},
			{Field: "name", Detail: "must be a string, not number"},
			{Field: "nested", Detail: "must be an object, not array"},
			{Field: "on", Detail: "must be true or false, not number"},
			{Field: "share", Detail: "must be a number, not string"},
			{Field: "words", Detail: "must be an array, not string"},
		}},
		"a wrong type in a field":             {`{"nested":{"depth":"x"}}`, fields, []httpjson.FieldError{{Field: "nested.depth", Detail: "must be a whole number, not string"}}},
		"a fraction for a whole number":       {`{"count":1.5}`, fields, []httpjson.FieldError{{Field: "count", Detail: "must be a whole number, not number 1.5"}}},
		"a number too long to repeat":         {`{"count":` + strings.Repeat("9", 200) + `}`, fields, []httpjson.FieldError{{Field: "count", Detail: "must be a whole number, not number " + strings.Repeat("9", 45) + "…"}}},
		"a text that its type refuses":        {`{"even":"3"}`, fields, []httpjson.FieldError{{Field: "even", Detail: `"3" is not even`}}},
		"a number where a type reads text":    {`{"even":2}`, fields, []httpjson.FieldError{{Field: "even", Detail: "must be a string, not number"}}},
		"what Validate refuses":               {`{"count":-1}`, fields, []httpjson.FieldError{{Field: "count", Detail: "must not be negative"}}},
		"an unknown field, before Validate":   {`{"count":-1,"x":1}`, fields, []httpjson.FieldError{{Field: "x", Detail: "unknown field"}}},
		"a field deeper than JSON may nest":   {`{"name":` + strings.Repeat("[", 20000) + `}`, "the body is not valid JSON at byte 10008", nil},
		"a name that is not a string":         {`{1:2}`, "the body is not valid JSON at byte 2", nil},
		"a name without the colon after it":   {`{"name" "a"}`, "the body is not valid JSON at byte 9", nil},
		"members without a comma between":     {`{"name":"a" "on":true}`, "the body is not valid JSON at byte 13", nil},
		"an escape that JSON does not define": {`{"name":"\q"}`, "the body is not valid JSON at byte 11", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := *problem(t, httpjson.Unmarshal([]byte(test.body), &body{}))
			want := httpjson.Problem{Status: http.StatusBadRequest, Detail: test.detail, Errors: test.errors}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	broken := errors.New("connection reset")
	tests := map[string]struct {
		contentType string
		body        io.Reader
		want        *httpjson.Problem // nil for none
	}{
		"JSON is read":                {"application/json", strings.NewReader(`{"name":"a"}`), nil},
		"a charset is allowed":        {"application/json; charset=utf-8", strings.NewReader(`{}`), nil},
		"the case does not matter":    {"Application/JSON", strings.NewReader(`{}`), nil},
		"a body of the limit is read": {"application/json", strings.NewReader(`{"name":"abcdefg"}  `), nil},
		"one byte more is not": {"application/json", strings.NewReader(`{"name":"abcdefg"}   `),
			&httpjson.Problem{Status: 413, Detail: "the body is larger than 20 bytes"}},
		"text is refused": {"text/plain", strings.NewReader(`{}`),
			&httpjson.Problem{Status: 415, Detail: "the content type must be application/json"}},
		"no content type is refused": {"", strings.NewReader(`{}`),
			&httpjson.Problem{Status: 415, Detail: "the content type must be application/json"}},
		"a body that breaks off is refused": {"application/json", iotest.ErrReader(broken),
			&httpjson.Problem{Status: 400, Detail: "the body could not be read", Err: broken}},
		"what Unmarshal refuses is refused": {"application/json", strings.NewReader(`[]`),
			&httpjson.Problem{Status: 400, Detail: "the body must be a JSON object"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", test.body)
			r.Header.Set("Content-Type", test.contentType)
			err := httpjson.Decode(httptest.NewRecorder(), r, 20, &body{})
			if test.want == nil {
				if err != nil {
					t.Errorf("Decode = %v, want nil", err)
				}
				return
			}
			got := problem(t, err)
			if !errors.Is(got, test.want.Err) && test.want.Err != nil {
				t.Errorf("cause = %v, want %v", got.Err, test.want.Err)
			}
			if got.Status != test.want.Status || got.Detail != test.want.Detail {
				t.Errorf("problem = %d %q, want %d %q", got.Status, got.Detail, test.want.Status, test.want.Detail)
			}
		})
	}
}

func TestFromError(t *testing.T) {
	own := &httpjson.Problem{Status: 418, Detail: "own"}
	secret := errors.New("upstream said: key sk-123 is bad")
	tests := map[string]struct {
		err        error
		status     int
		code       string
		retryAfter time.Duration
	}{
		"a problem stays what it is":               {fmt.Errorf("read: %w", own), 418, "", 0},
		"a request that the model refuses":         {&llm.Error{Kind: llm.InvalidRequest, Err: secret}, 400, "invalid_request", 0},
		"a prompt that is too large":               {&llm.Error{Kind: llm.TooLarge, Err: secret}, 413, "too_large", 0},
		"our credentials":                          {&llm.Error{Kind: llm.Unauthenticated, Err: secret}, 502, "unauthenticated", 0},
		"our rights":                               {&llm.Error{Kind: llm.Forbidden, Err: secret}, 502, "forbidden", 0},
		"a retired model":                          {&llm.Error{Kind: llm.NotFound, Err: secret}, 502, "not_found", 0},
		"a full provider":                          {&llm.Error{Kind: llm.RateLimited, Err: secret}, 503, "rate_limited", time.Second},
		"a full provider that says how long":       {&llm.Error{Kind: llm.RateLimited, RetryAfter: 7 * time.Second}, 503, "rate_limited", 7 * time.Second},
		"an overloaded provider":                   {&llm.Error{Kind: llm.Overloaded, Err: secret}, 503, "overloaded", time.Second},
		"a provider's fault":                       {&llm.Error{Kind: llm.ProviderFault, Err: secret}, 502, "provider_fault", 0},
		"a deadline":                               {fmt.Errorf("call: %w", context.DeadlineExceeded), 504, "timeout", 0},
		"a client that left":                       {fmt.Errorf("call: %w", context.Canceled), 499, "canceled", 0},
		"a safety filter":                          {&llm.Error{Kind: llm.Blocked, Err: secret}, 422, "blocked", 0},
		"an empty answer":                          {&llm.Error{Kind: llm.Empty, Err: secret}, 502, "empty", 0},
		"a broken stream":                          {&llm.Error{Kind: llm.BrokenStream, Err: secret}, 502, "broken_stream", 0},
		"a caller over its limit":                  {&llm.Error{Kind: llm.LimitExceeded, Err: secret}, 429, "limit_exceeded", time.Second},
		"a defect":                                 {secret, 500, "internal", 0},
		"a kind that the table forgot is a defect": {&llm.Error{Kind: "new", Err: secret}, 500, "new", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := httpjson.FromError(test.err)
			if got.Status != test.status || got.Code != test.code || got.RetryAfter != test.retryAfter {
				t.Errorf("FromError = %d %q after %v, want %d %q after %v", got.Status, got.Code, got.RetryAfter, test.status, test.code, test.retryAfter)
			}
			if got.Detail == "" {
				t.Error("no detail")
			}
			w := httptest.NewRecorder()
			httpjson.WriteProblem(w, got, "r1")
			if strings.Contains(w.Body.String(), "sk-123") {
				t.Errorf("the cause was sent: %s", w.Body)
			}
			if !errors.Is(got, test.err) && !errors.Is(test.err, got) {
				t.Errorf("the cause %v is lost", test.err)
			}
		})
	}
}

func TestWriteProblem(t *testing.T) {
	tests := map[string]struct {
		problem    httpjson.Problem
		requestID  string
		body       string
		retryAfter string
	}{
		"a bare status": {httpjson.Problem{Status: 404}, "",
			`{"type":"about:blank","title":"Not Found","status":404}`, ""},
		"fields, with the request": {httpjson.Problem{Status: 400, Detail: "d", Errors: []httpjson.FieldError{{Field: "a", Detail: "b"}}, Err: errors.New("x")}, "r1",
			`{"type":"about:blank","title":"Bad Request","status":400,"detail":"d","request_id":"r1","errors":[{"field":"a","detail":"b"}]}`, ""},
		"a wait is rounded up": {httpjson.Problem{Status: 429, Code: "limit_exceeded", RetryAfter: 1001 * time.Millisecond}, "",
			`{"type":"about:blank","title":"Too Many Requests","status":429,"code":"limit_exceeded"}`, "2"},
		"a type and title of its own": {httpjson.Problem{Status: 409, Type: "urn:flap", Title: "Flapping"}, "",
			`{"type":"urn:flap","title":"Flapping","status":409}`, ""},
		"a client that left": {httpjson.Problem{Status: 499}, "",
			`{"type":"about:blank","title":"Client Closed Request","status":499}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			httpjson.WriteProblem(w, &test.problem, test.requestID)
			if w.Code != test.problem.Status || w.Body.String() != test.body+"\n" {
				t.Errorf("response = %d %s, want %d %s", w.Code, w.Body, test.problem.Status, test.body)
			}
			want := http.Header{
				"Content-Type": {"application/problem+json"}, "Content-Length": {strconv.Itoa(len(test.body) + 1)}, "X-Content-Type-Options": {"nosniff"},
			}
			if test.retryAfter != "" {
				want.Set("Retry-After", test.retryAfter)
			}
			if diff := cmp.Diff(want, w.Header()); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if test.problem.RequestID != "" {
				t.Errorf("the problem was changed: request ID %q", test.problem.RequestID)
			}
		})
	}
}

func TestWriteOfWhatCannotBeJSONIsA500(t *testing.T) {
	w := httptest.NewRecorder()
	httpjson.Write(w, http.StatusOK, func() {})
	if w.Code != 500 || w.Header().Get("Content-Type") != "application/problem+json" || !json.Valid(w.Body.Bytes()) {
		t.Errorf("response = %d %s %s, want a problem of 500", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
}

func TestWriteOpenAIError(t *testing.T) {
	fields := []httpjson.FieldError{{Field: "model", Detail: "unknown field"}, {Field: "n", Detail: "must be 1"}}
	tests := map[string]struct {
		problem httpjson.Problem
		body    string
	}{
		"bad fields are all named": {httpjson.Problem{Status: 400, Detail: "bad", Errors: fields},
			`{"error":{"message":"bad: model unknown field; n must be 1","type":"invalid_request_error","param":"model","code":null}}`},
		"no detail is the title": {httpjson.Problem{Status: 404, Code: "model_not_found"},
			`{"error":{"message":"Not Found","type":"invalid_request_error","param":null,"code":"model_not_found"}}`},
		"unauthenticated": {httpjson.Problem{Status: 401, Detail: "d"},
			`{"error":{"message":"d","type":"authentication_error","param":null,"code":null}}`},
		"forbidden": {httpjson.Problem{Status: 403, Detail: "d"},
			`{"error":{"message":"d","type":"permission_error","param":null,"code":null}}`},
		"too many": {httpjson.Problem{Status: 429, Detail: "d", RetryAfter: time.Second},
			`{"error":{"message":"d","type":"rate_limit_error","param":null,"code":null}}`},
		"a fault": {httpjson.Problem{Status: 503, Detail: "d", Err: errors.New("sk-123")},
			`{"error":{"message":"d","type":"server_error","param":null,"code":null}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			httpjson.WriteOpenAIError(w, &test.problem, "r1")
			if w.Code != test.problem.Status || w.Body.String() != test.body+"\n" {
				t.Errorf("response = %d %s, want %d %s", w.Code, w.Body, test.problem.Status, test.body)
			}
			if got := w.Header().Get("X-Request-Id"); got != "r1" {
				t.Errorf("X-Request-Id = %q, want r1", got)
			}
			if got, want := w.Header().Get("Retry-After") != "", test.problem.RetryAfter > 0; got != want {
				t.Errorf("Retry-After sent = %v, want %v", got, want)
			}
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"name":"a","count":3,"share":0.5,"even":"4","on":true,"words":["x"],"nested":{"depth":2}}`,
		`{"name":1,"x":2,"x":3}`, `{"nested":{"x":1}}`, `{"even":2}`, `{"count":1e999}`, `{"name":"\ud800"}`, `[`, `{"a" 1}`, `{}{}`, `{"":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var first body
		err := httpjson.Unmarshal(text, &first)
		if err == nil {
			// What was accepted is JSON, and says the same when it is written and read again.
			again, err := json.Marshal(first)
			if err != nil {
				t.Fatal(err)
			}
			var std body
			if err := json.Unmarshal(text, &std); err != nil {
				t.Fatalf("%q was accepted, but is refused by encoding/json: %v", text, err)
			}
			want, err := json.Marshal(std)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, want) {
				t.Fatalf("%q reads as %s, want %s", text, again, want)
			}
			return
		}
		p := problem(t, err)
		if p.Status < 400 || p.Status > 499 || p.Detail == "" {
			t.Fatalf("problem of %q = %+v, want a status of 4xx and a detail", text, p)
		}
		for _, e := range p.Errors {
			if e.Detail == "" || len(e.Field) > 200 || len(e.Detail) > 200 {
				t.Fatalf("field error of %q = %+v, want a short detail", text, e)
			}
		}
		w := httptest.NewRecorder()
		httpjson.WriteProblem(w, p, "r")
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("the problem of %q is not JSON: %s", text, w.Body)
		}
	})
}

// common is what several bodies have, embedded.
type common struct {
	Key string `json:"key"`
}

func TestUnmarshalReadsEmbeddedFields(t *testing.T) {
	var got struct {
		common
		Name string `json:"name"`
	}
	if err := httpjson.Unmarshal([]byte(`{"key":"k","name":"n"}`), &got); err != nil || got.Key != "k" || got.Name != "n" {
		t.Errorf("got %+v, %v", got, err)
	}
	p := problem(t, httpjson.Unmarshal([]byte(`{"key":1,"common":{},"nam":""}`), &got))
	if len(p.Errors) != 3 {
		t.Errorf("got %v, want three fields", p.Errors)
	}
}
