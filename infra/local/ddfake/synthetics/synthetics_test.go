package synthetics_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/synthetics"
)

// document is a test that asks a question, with its parts replaced by those of a case.
func document(t *testing.T, changes map[string]any) []byte {
	t.Helper()
	doc := map[string]any{
		"type": "api", "subtype": "http", "name": "QA", "message": "@oncall-llm-platform", "locations": []any{"aws:eu-central-1"},
		"config": map[string]any{
			"configVariables": []any{map[string]any{"type": "global", "name": "KEY", "id": "id-1"}},
			"request": map[string]any{
				"method": "POST", "url": "https://qa.example/qa", "headers": map[string]any{"Authorization": "Bearer {{ KEY }}"},
				"body": `{"question":"?"}`, "bodyType": "application/json", "timeout": 10,
			},
			"assertions": []any{map[string]any{"type": "statusCode", "operator": "is", "target": 200}},
		},
		"options": map[string]any{"tick_every": 300, "min_failure_duration": 600, "retry": map[string]any{"count": 1, "interval": 500}},
	}
	for path, v := range changes {
		keys := strings.Split(path, ".")
		at := doc
		for _, k := range keys[:len(keys)-1] {
			inner, ok := at[k].(map[string]any)
			if !ok {
				t.Fatalf("%s is no object", k)
			}
			at = inner
		}
		at[keys[len(keys)-1]] = v
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func answer(status int, took time.Duration, body string) synthetics.Send {
	return func(r *http.Request) (*http.Response, time.Duration, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r,
		}, took, nil
	}
}

const body = `{"answer":"The abbey.","metadata":{"quality":{"groundedness":0.9},"cached":false,"overrides":["a","b"]}}`

func TestAssertions(t *testing.T) {
	path := func(path, operator string, target any) map[string]any {
		return map[string]any{"type": "body", "operator": "validatesJSONPath", "target": map[string]any{"jsonPath": path, "operator": operator, "targetValue": target}}
	}
	tests := map[string]struct {
		assertion map[string]any
		want      string // the failure, or nothing
	}{
		"the status is right":              {map[string]any{"type": "statusCode", "operator": "is", "target": 200}, ""},
		"the status is another":            {map[string]any{"type": "statusCode", "operator": "is", "target": 201}, `statusCode is 201, but is "200"`},
		"a pattern of the status":          {map[string]any{"type": "statusCode", "operator": "matches", "target": "^2"}, ""},
		"fast enough":                      {map[string]any{"type": "responseTime", "operator": "lessThan", "target": 2000}, ""},
		"too slow":                         {map[string]any{"type": "responseTime", "operator": "lessThan", "target": 100}, `responseTime lessThan 100, but is "150"`},
		"a header contains":                {map[string]any{"type": "header", "property": "content-type", "operator": "contains", "target": "json"}, ""},
		"a header is not there":            {map[string]any{"type": "header", "property": "x-a", "operator": "is", "target": "b"}, `header x-a is b, but is ""`},
		"the body contains":                {map[string]any{"type": "body", "operator": "contains", "target": "abbey"}, ""},
		"the body must not contain":        {map[string]any{"type": "body", "operator": "doesNotContain", "target": "abbey"}, `body doesNotContain abbey, but is "{\"answer\":\"The abbey.\"`},
		"a number at a path":               {path("$.metadata.quality.groundedness", "moreThan", 0.7), ""},
		"a number at a path as text":       {path("$.metadata.quality.groundedness", "moreThan", "0.7"), ""},
		"a number too small":               {path("$.metadata.quality.groundedness", "moreThan", 0.95), `$.metadata.quality.groundedness moreThan 0.95, but is "0.9"`},
		"a boolean at a path":              {path("$.metadata.cached", "is", false), ""},
		"a boolean as text":                {path("$.metadata.cached", "is", "false"), ""},
		"nothing at a path":                {path("$.metadata.cost", "moreThan", 0), `$.metadata.cost moreThan 0, but there is no such element`},
		"nothing at a path, negated":       {path("$.metadata.cost", "isNot", "x"), `$.metadata.cost isNot x, but there is no such element`},
		"the first of several":             {path("$.metadata.overrides[*]", "is", "a"), ""},
		"a text is no number":              {path("$.answer", "lessThan", 5), `$.answer lessThan 5, but is "The abbey."`},
		"a long value is cut in a failure": {path("$", "is", "x"), "…"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			test, err := synthetics.Parse("abc-def-ghi", document(t, map[string]any{"config.assertions": []any{tc.assertion}}))
			if err != nil {
				t.Fatal(err)
			}
			r := test.Run(t.Context(), answer(200, 150*time.Millisecond, body), map[string]string{"id-1": "key"})
			if r.Passed != (tc.want == "") || !strings.Contains(strings.Join(r.Failures, "\n"), tc.want) {
				t.Errorf("passed %v, failures %q, want %q", r.Passed, r.Failures, tc.want)
			}
			if want := map[bool]int{true: 1, false: 2}[r.Passed]; r.Attempts != want {
				t.Errorf("%d attempts, want %d", r.Attempts, want)
			}
		})
	}
}

func TestElements(t *testing.T) {
	for elements, want := range map[string]bool{"firstElementMatches": true, "everyElementMatches": false, "atLeastOneElementMatches": true} {
		target := map[string]any{"jsonPath": "$.metadata.overrides[*]", "operator": "is", "targetValue": "a", "elementsOperator": elements}
		test, err := synthetics.Parse("id", document(t, map[string]any{
			"config.assertions": []any{map[string]any{"type": "body", "operator": "validatesJSONPath", "target": target}},
		}))
		if err != nil {
			t.Fatal(err)
		}
		if r := test.Run(t.Context(), answer(200, 0, body), map[string]string{"id-1": "key"}); r.Passed != want {
			t.Errorf("%s: passed %v, want %v: %v", elements, r.Passed, want, r.Failures)
		}
	}
}

func TestTheRequestIsSentAsWritten(t *testing.T) {
	test, err := synthetics.Parse("id", document(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	send := func(r *http.Request) (*http.Response, time.Duration, error) {
		sent, err := io.ReadAll(r.Body)
		got = append(got, r.Method, r.URL.String(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(sent))
		return &http.Response{StatusCode: 200, Body: http.NoBody}, 0, err
	}
	if r := test.Run(t.Context(), send, map[string]string{"id-1": "key"}); !r.Passed {
		t.Fatalf("failures %q", r.Failures)
	}
	want := []string{"POST", "https://qa.example/qa", "Bearer key", "application/json", `{"question":"?"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestRunFailures(t *testing.T) {
	tests := map[string]struct {
		send   synthetics.Send
		values map[string]string
		want   string
	}{
		"no connection": {
			send: func(*http.Request) (*http.Response, time.Duration, error) { return nil, 0, errors.New("refused") }, values: map[string]string{"id-1": "k"},
			want: "no answer: refused",
		},
		"an answer after the timeout":        {answer(200, 11*time.Second, body), map[string]string{"id-1": "k"}, "no answer within 10s"},
		"a variable that has no value":       {answer(200, 0, body), nil, "no global variable for KEY"},
		"a body that breaks off":             {broken, map[string]string{"id-1": "k"}, "no answer: read answer: unexpected EOF"},
		"the answer that it did not ask for": {answer(503, 0, "{}"), map[string]string{"id-1": "k"}, `statusCode is 200, but is "503"`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			test, err := synthetics.Parse("id", document(t, nil))
			if err != nil {
				t.Fatal(err)
			}
			r := test.Run(t.Context(), tc.send, tc.values)
			if diff := cmp.Diff([]string{tc.want}, r.Failures); r.Passed || diff != "" {
				t.Errorf("passed %v, failures (-want +got):\n%s", r.Passed, diff)
			}
		})
	}
}

func broken(*http.Request) (*http.Response, time.Duration, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader("{"), failing{}))}, 0, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestParseRefuses(t *testing.T) {
	assertions := func(a string) map[string]any {
		return map[string]any{"config.assertions": []any{json.RawMessage(a)}}
	}
	tests := map[string]struct {
		changes map[string]any
		want    string
	}{
		"an unknown key":                    {map[string]any{"options.tickEvery": 60}, `unknown field "tickEvery"`},
		"a browser test":                    {map[string]any{"type": "browser"}, "type browser http: not evaluated here"},
		"ticks that are too near":           {map[string]any{"options.tick_every": 10}, "options.tick_every 10 is not from 30 to 604800 seconds"},
		"retries in seconds":                {map[string]any{"options.retry": map[string]any{"count": 9, "interval": 60000}}, "options.retry.interval 60000 is not up to 5000 milliseconds"},
		"more failed locations than exist":  {map[string]any{"options.min_location_failed": 2}, "options.min_location_failed 2 is more than the 1 locations"},
		"a variable that is not declared":   {map[string]any{"config.request.body": "{{ OTHER }}"}, "the variable {{ OTHER }} is not among configVariables"},
		"a variable that is never used":     {map[string]any{"config.request.headers": map[string]any{}}, "the variable KEY is never used"},
		"no URL":                            {map[string]any{"config.request.url": "/qa"}, `request.url "/qa" is no URL`},
		"no assertions":                     {map[string]any{"config.assertions": []any{}}, "no assertions"},
		"an operator of another type":       {assertions(`{"type":"responseTime","operator":"contains","target":1}`), `responseTime has no operator "contains"`},
		"a type that is not run":            {assertions(`{"type":"javascript","operator":"is","target":1}`), "not evaluated here"},
		"a misspelt key of a path":          {assertions(`{"type":"body","operator":"validatesJSONPath","target":{"json_path":"$.a","operator":"is","targetValue":1}}`), `unknown field "json_path"`},
		"a path that does not parse":        {assertions(`{"type":"body","operator":"validatesJSONPath","target":{"jsonPath":"a.b[","operator":"is","targetValue":1}}`), `jsonPath "a.b["`},
		"a bound that is no number":         {assertions(`{"type":"responseTime","operator":"lessThan","target":"fast"}`), "target fast of lessThan is not a number"},
		"a pattern that does not compile":   {assertions(`{"type":"body","operator":"matches","target":"("}`), "missing closing )"},
		"a header without a name":           {assertions(`{"type":"header","operator":"is","target":"a"}`), "property is the name of a header"},
		"a timezone that does not exist":    {map[string]any{"options.scheduling": map[string]any{"timezone": "Mars", "timeframes": []any{}}}, `scheduling.timezone "Mars" is unknown`},
		"a timeframe that ends as it began": {map[string]any{"options.scheduling": map[string]any{"timezone": "UTC", "timeframes": []any{map[string]any{"day": 1, "from": "10:00", "to": "10:00"}}}}, "scheduling.timeframes[0]"},
		"a status that does not exist":      {map[string]any{"status": "on"}, `status "on" is not live or paused`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := synthetics.Parse("id", document(t, tc.changes))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestDue(t *testing.T) {
	weekdays := map[string]any{"options.scheduling": map[string]any{"timezone": "Europe/Berlin", "timeframes": []any{map[string]any{"day": 1, "from": "08:00", "to": "18:00"}}}}
	monday := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC) // 08:00 in Berlin
	tests := map[string]struct {
		changes   map[string]any
		last, now time.Time
		want      bool
	}{
		"never ran":                  {nil, time.Time{}, monday, true},
		"ran a moment ago":           {nil, monday, monday.Add(4 * time.Minute), false},
		"ran an interval ago":        {nil, monday, monday.Add(5 * time.Minute), true},
		"paused":                     {map[string]any{"status": "paused"}, time.Time{}, monday, false},
		"inside the schedule":        {weekdays, time.Time{}, monday, true},
		"before the schedule":        {weekdays, time.Time{}, monday.Add(-time.Minute), false},
		"on another day than listed": {weekdays, time.Time{}, monday.Add(24 * time.Hour), false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			test, err := synthetics.Parse("id", document(t, tc.changes))
			if err != nil {
				t.Fatal(err)
			}
			if got := test.Due(tc.last, tc.now); got != tc.want {
				t.Errorf("due %v, want %v", got, tc.want)
			}
		})
	}
}

func TestNextAlertsAfterTheLeastDuration(t *testing.T) {
	test, err := synthetics.Parse("id", document(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	var state synthetics.State
	var got []string
	for i, passed := range []bool{true, false, true, false, false, false, false, true, true} {
		var tr synthetics.Transition
		at := now.Add(time.Duration(i) * test.Every)
		if state, tr = test.Next(state, synthetics.Result{Passed: passed}, at); tr != synthetics.None {
			got = append(got, fmt.Sprintf("%s after %v", tr, at.Sub(now)))
		}
	}
	// The single failure at 5 m is no alert; those from 15 m on are one at 25 m.
	if diff := cmp.Diff([]string{"Triggered after 25m0s", "Recovered after 35m0s"}, got); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"api","subtype":"http","name":"a","locations":["a"],"config":{"request":{"method":"GET","url":"http://a/{{ A }}"},"assertions":[{"type":"body","operator":"validatesJSONPath","target":{"jsonPath":"$..a","operator":"matches","targetValue":"a+"}}]},"options":{"tick_every":60}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		test, err := synthetics.Parse("id", raw)
		if err != nil {
			return
		}
		test.Run(t.Context(), answer(200, 0, string(raw)), nil)
	})
}
