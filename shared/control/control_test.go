package control_test

import (
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/control"
)

func TestValidID(t *testing.T) {
	for name, tt := range map[string]struct {
		id   string
		want bool
	}{
		"a key as workflows make it":   {"cost-anomaly:12@2026-11-24/r_1.0", true},
		"one letter":                   {"a", true},
		"as long as may be":            {strings.Repeat("9", 200), true},
		"longer":                       {strings.Repeat("9", 201), false},
		"nothing":                      {"", false},
		"a sign at the beginning":      {"-a", false},
		"a space":                      {"a b", false},
		"a letter outside ASCII":       {"é", false},
		"a byte that begins no letter": {"a\xff", false},
		"a line end at the end":        {"a\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := control.ValidID(tt.id); got != tt.want {
				t.Errorf("ValidID(%q) = %v, want %v", tt.id, got, tt.want)
			}
		})
	}
}
