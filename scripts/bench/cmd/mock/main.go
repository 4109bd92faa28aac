// Command mock is the model provider of the benchmark: it speaks OpenAI's chat completions and gives the same bytes each
// time. How long it waits and how much it says is set by a request to /mode, so that all gateways keep one address.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/llm-reliability/control-plane/scripts/bench/wire"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "the address to serve at")
	flag.Parse()
	var mode atomic.Pointer[wire.Mode]
	mode.Store(&wire.Mode{})
	var served atomic.Int64
	small, large := wire.Completion(wire.Small), wire.Completion(wire.Large)
	handler := func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/mode":
			m := &wire.Mode{}
			if err := json.Unmarshal(ctx.PostBody(), m); err != nil {
				ctx.Error(err.Error(), http.StatusBadRequest)
				return
			}
			mode.Store(m)
		case "/served":
			fmt.Fprint(ctx, served.Load())
		case "/v1/chat/completions":
			served.Add(1)
			m := mode.Load()
			if m.Delay > 0 {
				time.Sleep(m.Delay)
			}
			if bytes.Contains(ctx.PostBody(), []byte(`"stream":true`)) || bytes.Contains(ctx.PostBody(), []byte(`"stream": true`)) {
				stream(ctx, m.Between)
				return
			}
			ctx.SetContentType("application/json")
			body := small
			if m.Large {
				body = large
			}
			_, _ = ctx.Write(body) // It writes to memory.
		default:
			ctx.SetStatusCode(http.StatusNotFound)
		}
	}
	server := &fasthttp.Server{Handler: handler, MaxRequestBodySize: 16 << 20, NoDefaultServerHeader: true}
	log.Fatal(server.ListenAndServe(*listen))
}

// stream sends the frames one by one, each when its time has come since the first.
func stream(ctx *fasthttp.RequestCtx, between time.Duration) {
	ctx.SetContentType("text/event-stream")
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		begin := time.Now()
		for i, frame := range wire.Stream() {
			if wait := time.Until(begin.Add(time.Duration(i) * between)); between > 0 && wait > 0 {
				time.Sleep(wait)
			}
			// The client is gone when this fails; then nobody counts the frames.
			if _, err := w.Write(frame); err != nil || w.Flush() != nil {
				return
			}
		}
	})
}
