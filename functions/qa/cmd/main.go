// Command qa is the deployed function: on Lambda, on Cloud Run, or on this machine.
package main

import (
	"net/http"

	"github.com/llm-reliability/control-plane/functions/qa"
	"github.com/llm-reliability/control-plane/functions/wire"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

func main() {
	serverless.Main("qa", wire.JudgedFunction(func(gw *gateway.Gateway, j wire.Judging) (http.Handler, error) {
		return qa.New(qa.Options{Gateway: gw, Judging: qa.Judging{Judge: j.Judge, Sample: j.Sample, Telemetry: j.Telemetry}})
	}))
}
