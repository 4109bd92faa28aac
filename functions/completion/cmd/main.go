// Command completion is the deployed function: on Lambda, on Cloud Run, or on this machine.
package main

import (
	"net/http"

	"github.com/llm-reliability/control-plane/functions/completion"
	"github.com/llm-reliability/control-plane/functions/wire"
	"github.com/llm-reliability/control-plane/shared/gateway"
	"github.com/llm-reliability/control-plane/shared/serverless"
)

func main() {
	serverless.Main("completion", wire.DataFunction(func(gw *gateway.Gateway) (http.Handler, error) {
		return completion.New(completion.Options{Gateway: gw})
	}))
}
