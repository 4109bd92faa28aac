package outboxtest_test

import (
	"testing"

	"github.com/llm-reliability/control-plane/shared/outbox"
	"github.com/llm-reliability/control-plane/shared/outbox/outboxtest"
)

func TestConformance(t *testing.T) {
	outboxtest.Conformance(t, func(*testing.T) outbox.Store { return new(outboxtest.Memory) })
}
