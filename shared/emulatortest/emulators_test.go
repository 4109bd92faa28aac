package emulatortest_test

import (
	"net"
	"strings"
	"testing"

	"github.com/llm-reliability/control-plane/shared/emulatortest"
)

func TestEmulatorsListen(t *testing.T) {
	for name, addr := range map[string]string{
		"DynamoDB":  strings.TrimPrefix(emulatortest.DynamoDB(t), "http://"),
		"Firestore": emulatortest.Firestore(t),
	} {
		t.Run(name, func(t *testing.T) {
			var dialer net.Dialer
			conn, err := dialer.DialContext(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
