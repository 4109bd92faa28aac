// Command probe is a function that misbehaves on request. It shows what serverless makes of it.
package main

import (
	"context"
	"io"
	"net/http"
	"os"

	"github.com/llm-reliability/control-plane/shared/serverless"
)

func main() {
	serverless.Main("probe", func(context.Context, serverless.Deps) (serverless.Function, error) {
		mux := http.NewServeMux()
		mux.HandleFunc("POST /panic", func(http.ResponseWriter, *http.Request) { panic("on request") })
		mux.HandleFunc("POST /panic-in-stream", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: begun\n\n")
			panic("on request")
		})
		mux.HandleFunc("POST /gate", gate)
		mux.HandleFunc("POST /ok", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
		return serverless.Function{Handler: mux}, nil
	})
}

// gate sends a first piece, and a second one once GATE_URL has answered.
func gate(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "first ")
	// On Lambda each write leaves by itself, and there is nothing to flush.
	_ = http.NewResponseController(w).Flush()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, os.Getenv("GATE_URL"), nil)
	if err != nil {
		panic(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		_, _ = io.WriteString(w, err.Error())
		return
	}
	defer resp.Body.Close()
	_, _ = io.WriteString(w, "second")
}
