//go:build tools

package assets

// Datadog's OpenAPI description is in this module, in .generator/schemas. It is read where the module is; nothing of the
// module is compiled. This import, which no build includes, keeps it in go.mod.
import _ "github.com/DataDog/datadog-api-client-go/v2/api/datadog"
