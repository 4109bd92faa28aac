package cachetest_test

import (
	"testing"

	"github.com/llm-reliability/control-plane/shared/cache"
	"github.com/llm-reliability/control-plane/shared/cache/cachetest"
)

func TestMemory(t *testing.T) {
	cachetest.Conformance(t, func(*testing.T) cache.Tier { return new(cachetest.Memory) })
}
