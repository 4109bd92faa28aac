package completion_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
)

// chatFields are the fields of a chat, each with values that are taken and values that are refused. Those that are taken
// have an effect, or ask for what is done anyway, or are hints.
var chatFields = map[string]struct{ taken, refused []string }{
	"messages":               {refused: []string{`[]`, `"Who?"`, `[{"role":"root","content":"m"}]`}},
	"model":                  {taken: []string{`"standard"`, `"embedded-quality"`}},
	"stream":                 {taken: []string{`true`, `false`}, refused: []string{`"yes"`}},
	"stream_options":         {taken: []string{`{"include_usage":true}`, `{"include_obfuscation":false}`}},
	"max_tokens":             {taken: []string{`1`, `65536`}, refused: []string{`-1`, `65537`, `"1"`}},
	"max_completion_tokens":  {taken: []string{`1`, `65536`}, refused: []string{`-1`, `65537`, `1.5`}},
	"temperature":            {taken: []string{`0`, `0.7`, `2`}, refused: []string{`-0.1`, `2.1`, `"hot"`}},
	"stop":                   {taken: []string{`"END"`, `["a","b","c","d"]`}, refused: []string{`["a","b","c","d","e"]`, `1`, `[1]`}},
	"n":                      {taken: []string{`1`}, refused: []string{`0`, `2`, `128`}},
	"response_format":        {taken: []string{`{"type":"text"}`}, refused: []string{`{"type":"json_object"}`, `{"type":"json_schema","json_schema":{"name":"x"}}`}},
	"tools":                  {taken: []string{`[]`}, refused: []string{`[{"type":"function","function":{"name":"f"}}]`}},
	"tool_choice":            {taken: []string{`"none"`, `"auto"`}, refused: []string{`"required"`, `{"type":"function","function":{"name":"f"}}`}},
	"functions":              {taken: []string{`[]`}, refused: []string{`[{"name":"f"}]`}},
	"function_call":          {taken: []string{`"none"`, `"auto"`}, refused: []string{`{"name":"f"}`}},
	"modalities":             {taken: []string{`["text"]`}, refused: []string{`["text","audio"]`}},
	"audio":                  {refused: []string{`{"voice":"alloy","format":"mp3"}`}},
	"logprobs":               {taken: []string{`false`}, refused: []string{`true`}},
	"top_logprobs":           {taken: []string{`0`}, refused: []string{`5`}},
	"logit_bias":             {taken: []string{`{}`}, refused: []string{`{"50256":-100}`}},
	"web_search_options":     {refused: []string{`{}`}},
	"moderation":             {refused: []string{`{"model":"m"}`}},
	"top_p":                  {taken: []string{`0.9`}},
	"presence_penalty":       {taken: []string{`0.5`}},
	"frequency_penalty":      {taken: []string{`0.5`}},
	"seed":                   {taken: []string{`7`}},
	"user":                   {taken: []string{`"u"`}},
	"safety_identifier":      {taken: []string{`"u"`}},
	"metadata":               {taken: []string{`{"k":"v"}`}},
	"store":                  {taken: []string{`false`, `true`}},
	"service_tier":           {taken: []string{`"auto"`}},
	"reasoning_effort":       {taken: []string{`"low"`}},
	"verbosity":              {taken: []string{`"low"`}},
	"parallel_tool_calls":    {taken: []string{`true`}},
	"prediction":             {taken: []string{`{"type":"content","content":"m"}`}},
	"prompt_cache_key":       {taken: []string{`"k"`}},
	"prompt_cache_retention": {taken: []string{`"24h"`}},
	"prompt_cache_options":   {taken: []string{`{}`}},
}

func TestEachFieldOfAChat(t *testing.T) {
	f := start(t, nil)
	for name, values := range chatFields {
		t.Run(name, func(t *testing.T) {
			ask := func(value string) (int, string) {
				body := fmt.Sprintf(`{%q:%s}`, name, value)
				if name != "messages" {
					body = `{"messages":[{"role":"user","content":"Who built the mill? The abbey built the mill."}],` + body[1:]
				}
				return post(t, f, "/v1/chat/completions", body)
			}
			if name != "messages" {
				values.taken = append(values.taken, "null")
			}
			for _, value := range values.taken {
				if status, body := ask(value); status != http.StatusOK {
					t.Errorf("%s: status %d: %s", value, status, body)
				}
			}
			for _, value := range values.refused {
				status, body := ask(value)
				var doc struct {
					Error struct{ Message, Type, Param string }
				}
				if err := json.Unmarshal([]byte(body), &doc); err != nil {
					t.Fatal(err)
				}
				e := doc.Error
				if status != http.StatusBadRequest || e.Type != "invalid_request_error" || e.Param != name || !strings.Contains(e.Message, name+" ") {
					t.Errorf("%s: status %d, %+v; want a 400 that says what is wrong with %s", value, status, e, name)
				}
			}
		})
	}
}

// TestEachFieldOfTheOfficialClientIsDecided fails when a new version of the client can send something that nobody thought of.
func TestEachFieldOfTheOfficialClientIsDecided(t *testing.T) {
	params := reflect.TypeFor[openai.ChatCompletionNewParams]()
	n := 0
	for field := range params.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		n++
		if _, ok := chatFields[name]; !ok {
			t.Errorf("it is not decided what becomes of the field %s", name)
		}
	}
	if n < 30 {
		t.Fatalf("the client has %d fields, want more: they were not found", n)
	}
}
