package controltest_test

import (
	"errors"
	"testing"

	"github.com/llm-reliability/control-plane/shared/control"
	"github.com/llm-reliability/control-plane/shared/control/controltest"
)

func TestMemory(t *testing.T) {
	controltest.Conformance(t, func(*testing.T) control.Store { return new(controltest.Memory) })
}

func TestMemoryFailsOnDemand(t *testing.T) {
	var store controltest.Memory
	cause := errors.New("network is down")
	store.Fail(cause)
	if err := store.Ping(t.Context()); !errors.Is(err, control.ErrUnavailable) || !errors.Is(err, cause) {
		t.Errorf("ping: got %v, want ErrUnavailable with its cause", err)
	}
	store.Fail(nil)
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("ping after it healed: %v", err)
	}
}
