package strictjson_test

import (
	"testing"

	"github.com/llm-reliability/control-plane/infra/local/ddfake/strictjson"
)

func TestDecode(t *testing.T) {
	tests := map[string]struct{ raw, want string }{
		"a document":                   {`{"a":{"b":1}} `, ""},
		"an unknown key":               {`{"c":1}`, `unknown field "c"`},
		"an unknown key further below": {`{"a":{"c":1}}`, `unknown field "c"`},
		"text after it":                {`{"a":{"b":1}} x`, "text after the document, or more than one document"},
		"another document":             {`{"a":{"b":1}} {}`, "text after the document, or more than one document"},
		"nothing":                      {"", "EOF"},
		"a value of another type":      {`{"a":1}`, "cannot unmarshal number into Go struct field .A of type struct { B int }"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var into struct {
				A struct{ B int }
			}
			got := ""
			if err := strictjson.Decode([]byte(tc.raw), &into); err != nil {
				got = err.Error()
			}
			if got != tc.want || got == "" && into.A.B != 1 {
				t.Errorf("error %q, want %q; read %+v", got, tc.want, into)
			}
		})
	}
}
