package schema

import "github.com/getkin/kin-openapi/openapi3"

// Doc returns one version of the description, for tests that compare with other validators.
func Doc(d *Description, api string) *openapi3.T { return d.docs[api] }
