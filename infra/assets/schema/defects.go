package schema

import (
	"slices"

	"github.com/getkin/kin-openapi/openapi3"
)

// repair returns a schema without its defect. It must not change the one that it is given.
type repair func(*openapi3.Schema) *openapi3.Schema

// Defect is a place where Datadog's description refuses what its API takes.
type Defect struct {
	API, Schema string
	// Property is the property whose schema is wrong; empty when it is the schema itself.
	Property string
	Reason   string
	// Example is a valid value of the named schema that the description refuses.
	Example string

	repair repair
}

// Defects returns the known defects of the description, all repaired by Load.
func Defects() []Defect { return slices.Clone(defects) }

var defects = []Defect{
	{
		API: "v2", Schema: "HTTPHeader", Property: "name",
		Reason:  `the pattern's backslashes are written twice, so that \d and \- stand for the letters d and -, and no header name with a hyphen matches`,
		Example: `{"name": "X-Api-Key", "value": "v"}`,
		repair:  withPattern(`^[A-Za-z][A-Za-z\d\-\_]*$`),
	},
	{
		API: "v2", Schema: "HTTPToken", Property: "name",
		Reason:  `the pattern's backslashes are written twice, so that \d stands for the letter d, and no token name with a digit matches`,
		Example: `{"type": "SECRET", "name": "token1", "value": "v"}`,
		repair:  withPattern(`^[A-Za-z][A-Za-z\d]*$`),
	},
	{
		API: "v2", Schema: "AnyValue",
		Reason:  "declared as an object and as one of text, number, object, list and boolean at the same time, so that only objects match",
		Example: `"4"`,
		repair: func(s *openapi3.Schema) *openapi3.Schema {
			repaired := *s
			repaired.Type = nil
			return &repaired
		},
	},
}

func withPattern(pattern string) repair {
	return func(s *openapi3.Schema) *openapi3.Schema {
		repaired := *s
		repaired.Pattern = pattern
		return &repaired
	}
}
