// Package controlplane is the root of the module. It holds only the text of the licence, which the demo uses as the
// document that questions are asked about: five pages of real, dense prose that everybody can check the answers against.
package controlplane

import _ "embed"

//go:embed LICENSE
var license string

// License returns the text of the Apache License, version 2.0.
func License() string { return license }
