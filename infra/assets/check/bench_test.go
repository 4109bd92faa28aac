package check_test

import (
	"testing"

	"github.com/llm-reliability/control-plane/datadog"
	"github.com/llm-reliability/control-plane/infra/assets/check"
)

// BenchmarkAll is the whole validation of the real assets, without the reading of Datadog's description.
func BenchmarkAll(b *testing.B) {
	all, d := fixture(b)
	for b.Loop() {
		check.All(check.Options{FS: datadog.FS, Assets: all, Description: d})
	}
}
